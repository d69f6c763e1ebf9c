// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: a driver that imports a dma-buf, with a device that isn't there: what
 * it would read and write is read and written where its bus addresses lead. Each
 * opening of the debugfs file gl-importer is one importer; written to it:
 *
 *   get FD			hold the dma-buf, until put or the file's end
 *   attach, detach		the device, to the dma-buf
 *   map DIR, unmap		for the device; DIR of enum dma_data_direction
 *   device-fill SALT		the device writes to all of it eight bytes that no
 *				other place has
 *   device-check SALT		-EILSEQ unless the device reads what fill leaves
 *   vmap, vunmap		into the kernel
 *   fill SALT, check SALT	the same there
 *   begin DIR, end DIR		access by the CPU
 *   put
 *
 * What needs a step before that was not done is -ENOENT.
 */
#include <linux/debugfs.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/iosys-map.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "compat.h"

struct importer {
	struct mutex mutex;		/* all below; what isn't there is NULL */
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
	struct sg_table *sgt;
	enum dma_data_direction dir;
	struct iosys_map map;
};

static struct platform_device *importer_device;
static struct dentry *importer_file;

/* ---- words that say where they are ---- */

/* As mark_of() of card.h makes them. */
static u64 importer_word(u64 i, u64 salt)
{
	return (i + salt + 1) * 0x9e3779b97f4a7c15ULL;
}

/* Words from number @first on. */
static int importer_words(u64 *at, u64 first, u64 count, u64 salt, bool check)
{
	u64 i;

	for (i = 0; i < count; i++) {
		if (!check)
			at[i] = importer_word(first + i, salt);
		else if (at[i] != importer_word(first + i, salt))
			return -EILSEQ;
		if (!(i % SZ_128K))
			cond_resched();
	}
	return 0;
}

static int importer_cpu(struct importer *own, u64 salt, bool check)
{
	if (!own->map.vaddr)
		return -ENOENT;
	return importer_words(own->map.vaddr, 0, own->buf->size / sizeof(u64), salt,
			      check);
}

static int importer_dma(struct importer *own, u64 salt, bool check)
{
	struct scatterlist *s;
	unsigned int i;
	u64 done = 0;

	if (!own->sgt)
		return -ENOENT;
	for_each_sgtable_dma_sg(own->sgt, s, i) {
		u64 count = sg_dma_len(s) / sizeof(u64);
		int err;

		/* No IOMMU is in front of a device of this kind. */
		err = importer_words(phys_to_virt(sg_dma_address(s)), done, count, salt,
				     check);
		if (err)
			return err;
		done += count;
	}
	return done == own->buf->size / sizeof(u64) ? 0 : -EIO;
}

/* ---- steps, and the way back ---- */

static int importer_get(struct importer *own, int fd)
{
	struct dma_buf *buf;

	if (own->buf)
		return -EBUSY;
	buf = dma_buf_get(fd);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	own->buf = buf;
	return 0;
}

static int importer_attach(struct importer *own)
{
	struct dma_buf_attachment *attachment;

	if (!own->buf || own->attachment)
		return own->buf ? -EBUSY : -ENOENT;
	attachment = dma_buf_attach(own->buf, &importer_device->dev);
	if (IS_ERR(attachment))
		return PTR_ERR(attachment);
	own->attachment = attachment;
	return 0;
}

static int importer_map(struct importer *own, enum dma_data_direction dir)
{
	struct sg_table *sgt;

	if (!own->attachment || own->sgt)
		return own->attachment ? -EBUSY : -ENOENT;
	sgt = dma_buf_map_attachment_unlocked(own->attachment, dir);
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	own->sgt = sgt;
	own->dir = dir;
	return 0;
}

static int importer_vmap(struct importer *own)
{
	if (!own->buf || own->map.vaddr)
		return own->buf ? -EBUSY : -ENOENT;
	return gl_dma_buf_vmap(own->buf, &own->map);
}

static int importer_vunmap(struct importer *own)
{
	if (!own->map.vaddr)
		return -ENOENT;
	gl_dma_buf_vunmap(own->buf, &own->map);
	iosys_map_clear(&own->map);
	return 0;
}

static int importer_unmap(struct importer *own)
{
	if (!own->sgt)
		return -ENOENT;
	dma_buf_unmap_attachment_unlocked(own->attachment, own->sgt, own->dir);
	own->sgt = NULL;
	return 0;
}

static int importer_detach(struct importer *own)
{
	if (!own->attachment)
		return -ENOENT;
	importer_unmap(own);
	dma_buf_detach(own->buf, own->attachment);
	own->attachment = NULL;
	return 0;
}

static int importer_put(struct importer *own)
{
	if (!own->buf)
		return -ENOENT;
	importer_vunmap(own);
	importer_detach(own);
	dma_buf_put(own->buf);
	own->buf = NULL;
	return 0;
}

/* ---- the file ---- */

static int importer_do(struct importer *own, const char *step, u64 n)
{
	if (!strcmp(step, "get"))
		return importer_get(own, n);
	if (!strcmp(step, "attach"))
		return importer_attach(own);
	if (!strcmp(step, "map"))
		return importer_map(own, n);
	if (!strcmp(step, "vmap"))
		return importer_vmap(own);
	if (!strcmp(step, "vunmap"))
		return importer_vunmap(own);
	if (!strcmp(step, "unmap"))
		return importer_unmap(own);
	if (!strcmp(step, "detach"))
		return importer_detach(own);
	if (!strcmp(step, "put"))
		return importer_put(own);
	if (!strcmp(step, "fill") || !strcmp(step, "check"))
		return importer_cpu(own, n, *step == 'c');
	if (!strcmp(step, "device-fill") || !strcmp(step, "device-check"))
		return importer_dma(own, n, step[7] == 'c');
	if (!own->buf)
		return -ENOENT;
	if (!strcmp(step, "begin"))
		return dma_buf_begin_cpu_access(own->buf, n);
	if (!strcmp(step, "end"))
		return dma_buf_end_cpu_access(own->buf, n);
	return -EINVAL;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct importer *own = kzalloc(sizeof(*own), GFP_KERNEL);

	if (!own)
		return -ENOMEM;
	mutex_init(&own->mutex);
	file->private_data = own;
	return 0;
}

static ssize_t importer_write(struct file *file, const char __user *from,
			      size_t count, loff_t *pos)
{
	struct importer *own = file->private_data;
	char line[40], step[16];
	u64 n = 0;
	int err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, count))
		return -EFAULT;
	line[count] = '\0';
	if (sscanf(line, "%15s %llu", step, &n) < 1)
		return -EINVAL;
	mutex_lock(&own->mutex);
	err = importer_do(own, step, n);
	mutex_unlock(&own->mutex);
	return err ?: count;
}

static int importer_release(struct inode *inode, struct file *file)
{
	struct importer *own = file->private_data;

	importer_put(own);
	kfree(own);
	return 0;
}

static const struct file_operations importer_fops = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.write = importer_write,
	.release = importer_release,
};

static int __init importer_init(void)
{
	struct platform_device *pdev;
	int err;

	pdev = platform_device_register_simple("gl-importer", PLATFORM_DEVID_NONE,
					       NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err) {
		platform_device_unregister(pdev);
		return err;
	}
	importer_device = pdev;
	importer_file = debugfs_create_file("gl-importer", 0200, NULL, NULL,
					    &importer_fops);
	return 0;
}

static void __exit importer_exit(void)
{
	debugfs_remove(importer_file);
	platform_device_unregister(importer_device);
}

module_init(importer_init);
module_exit(importer_exit);
GL_IMPORT_DMA_BUF;
MODULE_DESCRIPTION("gigalock: imports dma-bufs for tests");
MODULE_LICENSE("GPL");
