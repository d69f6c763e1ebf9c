// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy dmabuf: another driver's buffer, or another lock, imported. Its
 * exporter decides where it lies and whether this card may have it.
 */
#include <linux/dma-buf.h>
#include <linux/slab.h>

#include "compat.h"
#include "gl.h"

struct gl_import {
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
};

static int gl_import_refused(struct gl_lock *lock, u32 stage, int err,
			     struct gl_fail *fail)
{
	return gl_fail_set(fail, GIGALOCK_REASON_DMABUF_REFUSED, stage, err, 0,
			   lock->bytes, 0);
}

/* The bytes that are asked for must be there. */
static int gl_import_size(struct gl_lock *lock, struct dma_buf *buf,
			  struct gl_fail *fail)
{
	if (!lock->bytes)
		lock->bytes = buf->size;
	if (lock->bytes && lock->bytes <= buf->size)
		return 0;
	return gl_fail_set(fail, GIGALOCK_REASON_BAD_SIZE, GIGALOCK_STAGE_ARGUMENTS,
			   -EINVAL, buf->size, lock->bytes, buf->size);
}

static void gl_import_unmap(struct gl_lock *lock, struct gl_import *import)
{
	dma_buf_unmap_attachment_unlocked(import->attachment, lock->sgt, lock->dma_dir);
	dma_buf_detach(import->buf, import->attachment);
	lock->sgt = NULL;
}

static int gl_import_attach(struct gl_lock *lock, struct gl_import *import,
			    struct gl_fail *fail)
{
	struct dma_buf_attachment *attachment;
	struct scatterlist *s;
	struct sg_table *sgt;
	unsigned int i;
	u64 mapped = 0;
	int err;

	attachment = dma_buf_attach(import->buf, gl_dev(lock->card));
	if (IS_ERR(attachment))
		return gl_import_refused(lock, GIGALOCK_STAGE_DMA_MAP,
					 PTR_ERR(attachment), fail);
	err = gl_inject(lock->card, GL_INJECT_MAP);
	sgt = err ? ERR_PTR(err) :
	      dma_buf_map_attachment_unlocked(attachment, lock->dma_dir);
	if (IS_ERR(sgt)) {
		dma_buf_detach(import->buf, attachment);
		return gl_import_refused(lock, GIGALOCK_STAGE_DMA_MAP, PTR_ERR(sgt),
					 fail);
	}
	import->attachment = attachment;
	lock->sgt = sgt;
	for_each_sgtable_dma_sg(sgt, s, i)
		mapped += sg_dma_len(s);
	/* Transfers go by the table; its exporter may have made a short one. */
	if (mapped < lock->bytes)
		err = gl_import_refused(lock, GIGALOCK_STAGE_DMA_MAP, -EIO, fail);
	/* How long it took was the exporter's business. */
	if (!err)
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_DMA_MAP, lock->bytes, fail);
	if (err)
		gl_import_unmap(lock, import);
	return err;
}

static int gl_import_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			  struct gl_fail *fail)
{
	struct gl_import *import;
	int err;

	import = kzalloc(sizeof(*import), GFP_KERNEL_ACCOUNT);
	if (!import)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0,
				   sizeof(*import), 0);
	import->buf = dma_buf_get(arg->fd);
	if (IS_ERR(import->buf)) {
		/* A file, but of another kind, is -EINVAL there. */
		err = gl_import_refused(lock, GIGALOCK_STAGE_ARGUMENTS, -EBADF, fail);
		goto free;
	}
	err = gl_import_size(lock, import->buf, fail);
	if (!err)
		err = gl_import_attach(lock, import, fail);
	if (err)
		goto put;
	lock->priv = import;
	lock->backing = GIGALOCK_BACKING_DMABUF;
	return 0;
put:
	dma_buf_put(import->buf);
free:
	kfree(import);
	return err;
}

static void gl_import_detach(struct gl_lock *lock)
{
	gl_import_unmap(lock, lock->priv);
}

static void gl_import_free(struct gl_lock *lock)
{
	struct gl_import *import = lock->priv;

	dma_buf_put(import->buf);
	kfree(import);
}

/* A dma-buf is handed over as a whole. */
static int gl_import_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	struct gl_import *import = lock->priv;

	if (for_cpu)
		return dma_buf_begin_cpu_access(import->buf, lock->dma_dir);
	/* Exporters refuse an end without a beginning, which is no error of a sync. */
	dma_buf_end_cpu_access(import->buf, lock->dma_dir);
	return 0;
}

const struct gl_strategy gl_strategy_dmabuf = {
	.name = "dmabuf",
	.number = GIGALOCK_STRATEGY_DMABUF,
	.page_sized = true,
	.zero_is_all = true,
	.lock = gl_import_lock,
	.detach = gl_import_detach,
	.free = gl_import_free,
	.sync = gl_import_sync,
};
