// SPDX-License-Identifier: GPL-2.0-only
/*
 * A lock handed on as a dma-buf: to other locks and other drivers, and to be
 * mapped through its own file.
 *
 * The dma-buf holds the lock, whatever becomes of the file that it was made on.
 * When the card goes, what processes have mapped is taken away, and nobody new can
 * attach. Who is attached keeps the memory until it lets go, and the kernel's own
 * addresses can still be had: it isn't the card's. Coherent memory is: only the card itself may
 * import that, as its own imports end before it goes.
 */
#include <linux/dma-buf.h>
#include <linux/file.h>
#include <linux/iosys-map.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "gl.h"

struct gl_export {
	struct gl_lock *lock;		/* held */
	struct gl_card *card;		/* held */
	struct dma_buf *buf;
	struct list_head node;		/* in gl_card.exports */
	struct mutex mutex;		/* all below */
	unsigned int vmas;		/* each of which holds the file */
	struct list_head importers;	/* of gl_importer */
};

struct gl_importer {
	struct list_head node;
	struct device *dev;
	struct gl_table table;
	enum dma_data_direction dir;
	bool mapped;
};

/* Is there still a card? Asked under its SRCU by who then needs it. */
static bool gl_export_orphaned(struct gl_export *export)
{
	return READ_ONCE(export->card->gone);
}

/* Does its memory go with the card? */
static bool gl_export_of_card(struct gl_export *export)
{
	switch (export->lock->backing) {
	case GIGALOCK_BACKING_BUDDY:
	case GIGALOCK_BACKING_CMA:
	case GIGALOCK_BACKING_IOMMU:
		return true;
	default:
		return false;
	}
}

/*
 * Memory of the caller's that was pinned for reading only: the caller may have no
 * right to write there, and nobody marks it dirty when it is let go.
 */
static bool gl_export_read_only(struct gl_lock *lock)
{
	return lock->strategy->user_memory &&
	       !(lock->direction & GIGALOCK_DIR_FROM_CARD);
}

/* ---- importers ---- */

static int gl_export_attach(struct dma_buf *buf, struct dma_buf_attachment *attachment)
{
	struct gl_export *export = buf->priv;
	struct gl_importer *importer;

	/* The card's memory stays, and mapping asks again. */
	if (gl_export_orphaned(export))
		return -ENODEV;
	if (gl_export_of_card(export) && attachment->dev != gl_dev(export->card))
		return -EOPNOTSUPP;
	importer = kzalloc(sizeof(*importer), GFP_KERNEL_ACCOUNT);
	if (!importer)
		return -ENOMEM;
	importer->dev = attachment->dev;
	attachment->priv = importer;
	mutex_lock(&export->mutex);
	list_add(&importer->node, &export->importers);
	mutex_unlock(&export->mutex);
	return 0;
}

static void gl_export_detach(struct dma_buf *buf, struct dma_buf_attachment *attachment)
{
	struct gl_importer *importer = attachment->priv;
	struct gl_export *export = buf->priv;

	mutex_lock(&export->mutex);
	list_del(&importer->node);
	mutex_unlock(&export->mutex);
	kfree(importer);
}

/* The lock's pages, in the longest entries that the importer's device can take. */
static int gl_export_fill(struct gl_lock *lock, struct gl_importer *importer)
{
	u64 most = min_t(u64, dma_max_mapping_size(importer->dev),
			 dma_get_max_seg_size(importer->dev));
	struct gl_table *table = &importer->table;
	struct scatterlist *s;
	unsigned int i;
	u64 page, run;
	int err = 0;

	/* Nothing that the kernel knows as memory. */
	if (lock->no_pages)
		return -EOPNOTSUPP;
	gl_table_init(table, max_t(u64, most, PAGE_SIZE));
	if (lock->sgt) {
		for_each_sgtable_sg(lock->sgt, s, i) {
			err = gl_table_add(table, sg_page(s), s->offset, s->length);
			if (err)
				return err;
			cond_resched();
		}
		return 0;
	}
	for (page = 0; page < lock->bytes >> PAGE_SHIFT && !err; page += run) {
		unsigned long pfn = lock->strategy->pfn(lock, page, &run);

		if (!run)
			return -EIO;
		err = gl_table_add(table, pfn_to_page(pfn), 0, run << PAGE_SHIFT);
	}
	return err;
}

/*
 * Under SRCU: the card is there. The same pages are mapped for the lock's own
 * card, and for whoever else imports them: which the DMA API allows for where
 * mapping and unmapping move no bytes by themselves. They are handed over by a
 * sync of their own.
 */
static int gl_export_map_table(struct gl_export *export,
			       struct gl_importer *importer,
			       enum dma_data_direction dir)
{
	int err = gl_export_fill(export->lock, importer);

	if (!err) {
		sg_mark_end(importer->table.last);
		err = dma_map_sgtable(importer->dev, &importer->table.sgt, dir,
				      DMA_ATTR_SKIP_CPU_SYNC);
	}
	if (err)
		gl_table_free(&importer->table);
	else
		dma_sync_sgtable_for_device(importer->dev, &importer->table.sgt, dir);
	return err;
}

static struct sg_table *gl_export_map(struct dma_buf_attachment *attachment,
				      enum dma_data_direction dir)
{
	struct gl_importer *importer = attachment->priv;
	struct gl_export *export = attachment->dmabuf->priv;
	int err = -ENODEV, idx;

	if (gl_export_read_only(export->lock) && dir != DMA_TO_DEVICE)
		return ERR_PTR(-EACCES);
	idx = srcu_read_lock(&export->card->srcu);
	if (!gl_export_orphaned(export))
		err = gl_export_map_table(export, importer, dir);
	srcu_read_unlock(&export->card->srcu, idx);
	if (err)
		return ERR_PTR(err);
	mutex_lock(&export->mutex);
	importer->dir = dir;
	importer->mapped = true;
	mutex_unlock(&export->mutex);
	return &importer->table.sgt;
}

static void gl_export_unmap(struct dma_buf_attachment *attachment,
			    struct sg_table *sgt, enum dma_data_direction dir)
{
	struct gl_importer *importer = attachment->priv;
	struct gl_export *export = attachment->dmabuf->priv;

	mutex_lock(&export->mutex);
	importer->mapped = false;
	mutex_unlock(&export->mutex);
	dma_sync_sgtable_for_cpu(importer->dev, sgt, dir);
	dma_unmap_sgtable(importer->dev, sgt, dir, DMA_ATTR_SKIP_CPU_SYNC);
	gl_table_free(&importer->table);
}

static int gl_export_begin_cpu(struct dma_buf *buf, enum dma_data_direction dir)
{
	struct gl_export *export = buf->priv;
	struct gl_importer *importer;

	mutex_lock(&export->mutex);
	list_for_each_entry(importer, &export->importers, node)
		if (importer->mapped)
			dma_sync_sgtable_for_cpu(importer->dev, &importer->table.sgt,
						 importer->dir);
	mutex_unlock(&export->mutex);
	return 0;
}

static int gl_export_end_cpu(struct dma_buf *buf, enum dma_data_direction dir)
{
	struct gl_export *export = buf->priv;
	struct gl_importer *importer;

	mutex_lock(&export->mutex);
	list_for_each_entry(importer, &export->importers, node)
		if (importer->mapped)
			dma_sync_sgtable_for_device(importer->dev, &importer->table.sgt,
						    importer->dir);
	mutex_unlock(&export->mutex);
	return 0;
}

/* ---- the CPU ---- */

static vm_fault_t gl_export_fault_order(struct vm_fault *vmf, unsigned int order)
{
	struct gl_export *export = vmf->vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	int idx;

	idx = srcu_read_lock(&export->card->srcu);
	if (!gl_export_orphaned(export))
		ret = gl_fault_pfns(export->lock, vmf, vmf->pgoff, order);
	srcu_read_unlock(&export->card->srcu, idx);
	return ret;
}

static vm_fault_t gl_export_fault(struct vm_fault *vmf)
{
	return gl_export_fault_order(vmf, 0);
}

#ifdef GL_HUGE_PFNS
static vm_fault_t gl_export_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	return gl_export_fault_order(vmf, order);
}
#endif

static void gl_export_vma_open(struct vm_area_struct *vma)
{
	struct gl_export *export = vma->vm_private_data;

	mutex_lock(&export->mutex);
	export->vmas++;
	mutex_unlock(&export->mutex);
}

static void gl_export_vma_close(struct vm_area_struct *vma)
{
	struct gl_export *export = vma->vm_private_data;

	mutex_lock(&export->mutex);
	export->vmas--;
	mutex_unlock(&export->mutex);
}

static const struct vm_operations_struct gl_export_vm_ops = {
	.open = gl_export_vma_open,
	.close = gl_export_vma_close,
	.fault = gl_export_fault,
#ifdef GL_HUGE_PFNS
	.huge_fault = gl_export_huge_fault,
#endif
};

/* The core has checked the range. */
static int gl_export_mmap(struct dma_buf *buf, struct vm_area_struct *vma)
{
	struct gl_export *export = buf->priv;
	struct gl_lock *lock = export->lock;
	int err = -ENODEV, idx;

	/* Shared: of a file that is for reading only, the core takes VM_SHARED away. */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (lock->flags & GIGALOCK_LOCK_NO_USER_MAP)
		return -EACCES;
	/* Pages only, and the caller's memory may begin within one. */
	if (lock->strategy->user_memory && lock->sgt->sgl->offset)
		return -EINVAL;
	if (gl_export_read_only(lock)) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		gl_vm_flags_clear(vma, VM_MAYWRITE);
	}
	idx = srcu_read_lock(&export->card->srcu);
	if (!gl_export_orphaned(export)) {
		gl_vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
		vma->vm_private_data = export;
		vma->vm_ops = &gl_export_vm_ops;
		gl_export_vma_open(vma);
		err = 0;
	}
	srcu_read_unlock(&export->card->srcu, idx);
	return err;
}

/*
 * Can the kernel have it at addresses of its own? The core warns when an exporter
 * with such a call fails in it, so what can't be is told by having none. Not what
 * goes with the card, as there is no way to take it back; nor what may only be
 * read, as a driver that writes would be ended by a fault of the caller's making.
 */
static bool gl_export_can_vmap(struct gl_export *export)
{
	struct gl_lock *lock = export->lock;

	if (gl_export_of_card(export) || gl_export_read_only(lock) || lock->no_pages)
		return false;
	/* Pages only, and no more of them than vmap() takes. */
	return !(lock->strategy->user_memory && lock->sgt->sgl->offset) &&
	       PFN_UP(lock->bytes) <= totalram_pages();
}

/* All pages of the lock, one by one. */
static int gl_export_pages(struct gl_lock *lock, u64 pages, struct page **array)
{
	u64 page, run, i;

	for (page = 0; page < pages; page += run) {
		unsigned long pfn = lock->strategy->pfn(lock, page, &run);

		if (!run)
			return -EIO;
		run = min(run, pages - page);
		for (i = 0; i < run; i++)
			array[page + i] = pfn_to_page(pfn + i);
		cond_resched();
	}
	return 0;
}

/* The memory is the lock's and not the card's: it is there when that is gone. */
static int gl_export_vmap(struct dma_buf *buf, struct iosys_map *map)
{
	struct gl_export *export = buf->priv;
	u64 pages = PFN_UP(export->lock->bytes);
	struct page **array;
	void *vaddr;
	int err;

	array = __vmalloc(array_size(pages, sizeof(*array)), GFP_KERNEL_ACCOUNT);
	if (!array)
		return -ENOMEM;
	err = gl_export_pages(export->lock, pages, array);
	vaddr = err ? NULL : vmap(array, pages, VM_MAP, PAGE_KERNEL);
	vfree(array);
	if (!vaddr)
		return err ?: -ENOMEM;
	iosys_map_set_vaddr(map, vaddr);
	return 0;
}

static void gl_export_vunmap(struct dma_buf *buf, struct iosys_map *map)
{
	vunmap(map->vaddr);
}

/* ---- the dma-buf ---- */

/*
 * Called from the last fput(), which never happens in the course of another
 * call: no lock is held. The list's mutex is also that of who takes the lock's
 * DMA mapping when this is the last to hold it.
 */
static void gl_export_release(struct dma_buf *buf)
{
	struct gl_export *export = buf->priv;
	struct gl_card *card = export->card;

	mutex_lock(&card->exports_lock);
	list_del(&export->node);
	atomic_dec(&export->lock->exports);
	gl_lock_put(export->lock);
	mutex_unlock(&card->exports_lock);
	put_device(&card->chr);
	kfree(export);
}

GL_IMPORT_DMA_BUF;

static const struct dma_buf_ops gl_export_ops = {
	.attach = gl_export_attach,
	.detach = gl_export_detach,
	.map_dma_buf = gl_export_map,
	.unmap_dma_buf = gl_export_unmap,
	.begin_cpu_access = gl_export_begin_cpu,
	.end_cpu_access = gl_export_end_cpu,
	.mmap = gl_export_mmap,
	.release = gl_export_release,
};

static const struct dma_buf_ops gl_export_vmap_ops = {
	.attach = gl_export_attach,
	.detach = gl_export_detach,
	.map_dma_buf = gl_export_map,
	.unmap_dma_buf = gl_export_unmap,
	.begin_cpu_access = gl_export_begin_cpu,
	.end_cpu_access = gl_export_end_cpu,
	.mmap = gl_export_mmap,
	.vmap = gl_export_vmap,
	.vunmap = gl_export_vunmap,
	.release = gl_export_release,
};

/* A lock of this file that may be exported, held and counted. */
static struct gl_lock *gl_export_get(struct gl_file *file, u32 id, u32 flags)
{
	struct gl_lock *lock;

	mutex_lock(&file->lock);
	lock = xa_load(&file->locks, id);
	if (!lock) {
		lock = ERR_PTR(-ENOENT);
	} else if (lock->strategy->number == GIGALOCK_STRATEGY_DMABUF) {
		lock = ERR_PTR(-EOPNOTSUPP);
	} else if (gl_export_read_only(lock) && (flags & O_ACCMODE) != O_RDONLY) {
		lock = ERR_PTR(-EACCES);
	} else {
		kref_get(&lock->ref);
		atomic_inc(&lock->exports);
	}
	mutex_unlock(&file->lock);
	return lock;
}

/* @made: to be installed as arg->fd, or to be put with it. */
int gl_lock_export(struct gl_file *file, struct gigalock_export *arg,
		   struct file **made)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct gl_card *card = file->card;
	struct gl_export *export;
	struct gl_lock *lock;
	int fd;

	if (arg->flags & ~(O_CLOEXEC | O_RDONLY | O_RDWR))
		return -EINVAL;
	lock = gl_export_get(file, arg->id, arg->flags);
	if (IS_ERR(lock))
		return PTR_ERR(lock);
	export = kzalloc(sizeof(*export), GFP_KERNEL_ACCOUNT);
	if (!export) {
		atomic_dec(&lock->exports);
		gl_lock_put(lock);
		return -ENOMEM;
	}
	export->lock = lock;
	export->card = card;
	mutex_init(&export->mutex);
	INIT_LIST_HEAD(&export->importers);
	get_device(&card->chr);

	info.exp_name = GL_NAME;
	info.ops = gl_export_can_vmap(export) ? &gl_export_vmap_ops : &gl_export_ops;
	info.size = lock->bytes;
	info.flags = arg->flags & O_ACCMODE;
	info.priv = export;
	export->buf = dma_buf_export(&info);
	if (IS_ERR(export->buf)) {
		int err = PTR_ERR(export->buf);

		put_device(&card->chr);
		atomic_dec(&lock->exports);
		gl_lock_put(lock);
		kfree(export);
		return err;
	}
	mutex_lock(&card->exports_lock);
	list_add(&export->node, &card->exports);
	mutex_unlock(&card->exports_lock);

	fd = get_unused_fd_flags(arg->flags & O_CLOEXEC);
	if (fd < 0) {
		dma_buf_put(export->buf);	/* ... and with it the rest */
		return fd;
	}
	arg->fd = fd;
	*made = export->buf->file;
	return 0;
}

/* The card is gone and no call is inside: what only an export holds goes with it. */
void gl_exports_detach(struct gl_card *card)
{
	struct gl_export *export;

	mutex_lock(&card->exports_lock);
	list_for_each_entry(export, &card->exports, node) {
		/* Without a VMA the file may be half gone: its release waits for us. */
		mutex_lock(&export->mutex);
		if (export->vmas)
			unmap_mapping_range(export->buf->file->f_mapping, 0, 0, 1);
		mutex_unlock(&export->mutex);
		gl_lock_detach(export->lock);
	}
	mutex_unlock(&card->exports_lock);
}
