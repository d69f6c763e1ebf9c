// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy pool: a lock on a buffer that the pool has had since the module was
 * loaded, or on the beginning of one. Cleared each time: the last user was
 * another.
 */
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "compat.h"
#include "pool.h"

struct gl_pooled {
	struct gl_pool_buf *buf;
	struct gl_table table;		/* chunked: of the part that is used */
};

/* ---- each kind of memory ---- */

static int gl_pooled_range(struct gl_lock *lock, struct gl_pooled *own,
			   struct gl_fail *fail)
{
	int err = gl_run_clear(lock, own->buf->pfn, lock->bytes, fail);

	lock->backing = GIGALOCK_BACKING_RANGE;
	return err ?: gl_run_map(lock, own->buf->pfn, fail);
}

static int gl_pooled_blocks(struct gl_lock *lock, struct gl_pooled *own,
			    struct gl_fail *fail)
{
	u64 left = lock->bytes;
	struct scatterlist *s;
	unsigned int i;
	int err;

	gl_table_init_lock(&own->table, lock);
	for_each_sgtable_sg(&own->buf->blocks.table.sgt, s, i) {
		u64 n = min_t(u64, left, s->length);

		if (!n)
			break;
		err = gl_run_clear(lock, page_to_pfn(sg_page(s)), n, fail);
		if (err)
			return err;
		err = gl_table_add(&own->table, sg_page(s), 0, n);
		if (err)
			return gl_table_why(lock->bytes, &own->table, err, fail);
		left -= n;
		cond_resched();
	}
	lock->backing = GIGALOCK_BACKING_BLOCKS;
	return gl_table_map(lock, &own->table, fail);
}

static int gl_pooled_coherent(struct gl_lock *lock, struct gl_pooled *own,
			      struct gl_fail *fail)
{
	struct gl_lock *maker = &own->buf->maker;
	u64 done;
	int err;

	for (done = 0; done < lock->bytes; done += SZ_4M) {
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE, done, fail);
		if (err)
			return err;
		memset(gl_coherent_cpu(maker) + done, 0,
		       min_t(u64, SZ_4M, lock->bytes - done));
		cond_resched();
	}
	lock->dma_addr = maker->dma_addr;
	lock->backing = maker->backing;
	return 0;
}

/* ---- the strategy ---- */

static int gl_pooled_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			  struct gl_fail *fail)
{
	struct gl_pooled *own = kzalloc(sizeof(*own), GFP_KERNEL_ACCOUNT);
	int err;

	if (!own)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0, sizeof(*own), 0);
	own->buf = gl_pool_take(lock, fail);
	if (!own->buf) {
		kfree(own);
		return fail->err;
	}
	switch (gl_pool_kind()) {
	case GIGALOCK_STRATEGY_COHERENT:
		err = gl_pooled_coherent(lock, own, fail);
		break;
	case GIGALOCK_STRATEGY_CHUNKED:
		err = gl_pooled_blocks(lock, own, fail);
		break;
	default:
		err = gl_pooled_range(lock, own, fail);
	}
	if (err) {
		gl_table_free(&own->table);
		gl_pool_give(own->buf);
		kfree(own);
		return err;
	}
	lock->table_bytes += sizeof(*own);
	lock->priv = own;
	return 0;
}

static void gl_pooled_detach(struct gl_lock *lock)
{
	struct gl_pooled *own = lock->priv;

	switch (gl_pool_kind()) {
	case GIGALOCK_STRATEGY_COHERENT:
		/* It goes with the card. */
		gl_pool_give(own->buf);
		own->buf = NULL;
		break;
	case GIGALOCK_STRATEGY_CHUNKED:
		gl_table_unmap(lock);
		break;
	default:
		gl_run_unmap(lock);
	}
}

static void gl_pooled_free(struct gl_lock *lock)
{
	struct gl_pooled *own = lock->priv;

	gl_table_free(&own->table);
	if (own->buf)
		gl_pool_give(own->buf);
	kfree(own);
}

static unsigned long gl_pooled_pfn(struct gl_lock *lock, u64 page, u64 *run)
{
	struct gl_pooled *own = lock->priv;

	switch (gl_pool_kind()) {
	case GIGALOCK_STRATEGY_COHERENT:
		return gl_coherent_page(&own->buf->maker, page, run);
	case GIGALOCK_STRATEGY_CHUNKED:
		return gl_table_pfn(&own->table, page, run);
	default:
		*run = (lock->bytes >> PAGE_SHIFT) - page;
		return own->buf->pfn + page;
	}
}

static int gl_pooled_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	switch (gl_pool_kind()) {
	case GIGALOCK_STRATEGY_COHERENT:
		return 0;
	case GIGALOCK_STRATEGY_CHUNKED:
		return gl_table_sync(lock, offset, len, for_cpu);
	default:
		return gl_run_sync(lock, offset, len, for_cpu);
	}
}

const struct gl_strategy gl_strategy_pool = {
	.name = "pool",
	.number = GIGALOCK_STRATEGY_POOL,
	.page_sized = true,
	.lock = gl_pooled_lock,
	.detach = gl_pooled_detach,
	.free = gl_pooled_free,
	.mmap = gl_mmap_pfns,
	.pfn = gl_pooled_pfn,
	.sync = gl_pooled_sync,
};
