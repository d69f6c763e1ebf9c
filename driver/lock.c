// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lock objects: made by one of the strategies, named by an id on their file,
 * gone when the file, the mappings and the transfers have let go.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "gl.h"

static const struct gl_strategy * const gl_strategies[GIGALOCK_STRATEGY_COUNT] = {
	[GIGALOCK_STRATEGY_COHERENT] = &gl_strategy_coherent,
	[GIGALOCK_STRATEGY_CONTIG_RANGE] = &gl_strategy_contig_range,
	[GIGALOCK_STRATEGY_SG] = &gl_strategy_sg,
};

static void gl_lock_release(struct kref *ref)
{
	struct gl_lock *lock = container_of(ref, struct gl_lock, ref);
	struct gl_card *card = lock->card;

	gl_lock_detach(lock);
	lock->strategy->free(lock);
	atomic_dec(&card->locks);
	atomic64_sub(lock->bytes, &card->locked_bytes);
	kfree(lock);
}

void gl_lock_put(struct gl_lock *lock)
{
	kref_put(&lock->ref, gl_lock_release);
}

/* Either the last user or the card's removal; never both at once. */
void gl_lock_detach(struct gl_lock *lock)
{
	if (!lock->attached)
		return;
	lock->attached = false;
	lock->strategy->detach(lock);
}

struct gl_lock *gl_lock_get(struct gl_file *file, u32 id, bool for_transfer)
{
	struct gl_lock *lock;

	mutex_lock(&file->lock);
	lock = xa_load(&file->locks, id);
	if (lock) {
		kref_get(&lock->ref);
		if (for_transfer)
			atomic_inc(&lock->inflight);
	}
	mutex_unlock(&file->lock);
	return lock;
}

int gl_lock_give_up(struct gl_lock *lock, u32 stage, u64 done,
		    struct gl_fail *fail)
{
	if (fatal_signal_pending(current))
		return gl_fail_set(fail, GIGALOCK_REASON_KILLED, stage, -EINTR, 0,
				   lock->bytes, done);
	if (lock->deadline_ns && ktime_get_ns() > lock->deadline_ns)
		return gl_fail_set(fail, GIGALOCK_REASON_TIMEOUT, stage,
				   -ETIMEDOUT, 0, lock->bytes, done);
	return 0;
}

u32 gl_lock_strategies(void)
{
	u32 known = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(gl_strategies); i++)
		if (gl_strategies[i])
			known |= BIT(i);
	return known;
}

static int gl_lock_check(const struct gl_strategy *s, struct gigalock_lock *arg,
			 struct gl_fail *fail)
{
	/* One byte less than half the address space: no sum below can wrap. */
	u64 most = min_t(u64, S64_MAX, (u64)LONG_MAX) & PAGE_MASK;

	if (arg->flags & ~GIGALOCK_LOCK_FLAGS)
		return gl_fail_argument(fail, arg->flags, GIGALOCK_LOCK_FLAGS);
	if (arg->flags & GIGALOCK_LOCK_ENTRY_PER_PAGE && !s->table)
		return gl_fail_argument(fail, arg->flags, GIGALOCK_LOCK_FLAGS &
					~GIGALOCK_LOCK_ENTRY_PER_PAGE);
	/* Since version 1; the strategies learn them one by one. */
	if (arg->flags || arg->address_width || arg->node || arg->max_segment ||
	    arg->timeout_ms || arg->fd || arg->region || arg->backing ||
	    arg->table_bytes)
		return gl_fail_argument(fail, arg->flags, 0);
	if (!arg->direction || arg->direction > GIGALOCK_DIR_BOTH)
		return gl_fail_argument(fail, arg->direction, GIGALOCK_DIR_BOTH);
	if (!arg->bytes || arg->bytes > most ||
	    (s->page_sized && !PAGE_ALIGNED(arg->bytes)))
		return gl_fail_set(fail, GIGALOCK_REASON_BAD_SIZE,
				   GIGALOCK_STAGE_ARGUMENTS, -EINVAL,
				   !arg->bytes || arg->bytes > most ? most : PAGE_SIZE,
				   arg->bytes, 0);
	if (!s->user_memory && arg->user_addr)
		return gl_fail_argument(fail, arg->user_addr, 0);
	if (s->user_memory && (arg->user_addr >= TASK_SIZE_MAX ||
			       arg->bytes > TASK_SIZE_MAX - arg->user_addr)) {
		gl_fail_set(fail, GIGALOCK_REASON_BAD_ADDRESS,
			    GIGALOCK_STAGE_ARGUMENTS, -EFAULT, TASK_SIZE_MAX,
			    arg->user_addr, 0);
		fail->unit = GIGALOCK_UNIT_ADDRESS;
		return -EFAULT;
	}
	return 0;
}

int gl_lock_create(struct gl_file *file, struct gigalock_lock *arg,
		   struct gl_fail *fail)
{
	struct gl_card *card = file->card;
	const struct gl_strategy *s;
	u64 start = ktime_get_ns();
	struct gl_lock *lock;
	int err;

	s = arg->strategy < GIGALOCK_STRATEGY_COUNT ?
	    gl_strategies[arg->strategy] : NULL;
	if (!s) {
		gl_fail_set(fail, GIGALOCK_REASON_BAD_STRATEGY,
			    GIGALOCK_STAGE_ARGUMENTS, -EINVAL,
			    GIGALOCK_STRATEGY_COUNT, arg->strategy, 0);
		fail->unit = GIGALOCK_UNIT_COUNT;
		return -EINVAL;
	}
	err = gl_lock_check(s, arg, fail);
	if (err)
		return err;

	err = gl_inject(card, GL_INJECT_METADATA);
	lock = err ? NULL : kzalloc(sizeof(*lock), GFP_KERNEL_ACCOUNT);
	if (!lock)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, err ?: -ENOMEM, 0,
				   sizeof(*lock), 0);
	kref_init(&lock->ref);
	lock->file = file;
	lock->card = card;
	lock->strategy = s;
	lock->map.ops = &gl_lock_mapping_ops;
	lock->map.card = card;
	lock->bytes = arg->bytes;
	lock->flags = arg->flags;
	lock->direction = arg->direction;
	lock->top = gl_card_dma_limit(card);
	lock->max_segment = U64_MAX & PAGE_MASK;
	lock->node = NUMA_NO_NODE;
	lock->dma_dir = arg->direction == GIGALOCK_DIR_TO_CARD ? DMA_TO_DEVICE :
			arg->direction == GIGALOCK_DIR_FROM_CARD ? DMA_FROM_DEVICE :
			DMA_BIDIRECTIONAL;

	err = s->lock(lock, arg, fail);
	if (err) {
		kfree(lock);
		return err;
	}
	lock->attached = true;
	atomic_inc(&card->locks);
	atomic64_add(lock->bytes, &card->locked_bytes);

	arg->segments = lock->segments;
	arg->longest_segment = lock->longest;
	mutex_lock(&file->lock);
	err = xa_alloc_cyclic(&file->locks, &lock->id, lock,
			      XA_LIMIT(1, INT_MAX),
			      &file->next_lock, GFP_KERNEL_ACCOUNT);
	if (err >= 0 && s->mmap && !(lock->flags & GIGALOCK_LOCK_NO_USER_MAP)) {
		err = gl_mapping_add(file, &lock->map, lock->bytes);
		if (err)
			xa_erase(&file->locks, lock->id);
	}
	/* Read here: once the mutex is free, another thread may give it back. */
	arg->id = lock->id;
	arg->mmap_offset = lock->map.base << PAGE_SHIFT;
	mutex_unlock(&file->lock);
	if (err < 0) {
		gl_lock_put(lock);
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, err, 0, sizeof(void *), 0);
	}
	arg->lock_ns = ktime_get_ns() - start;
	return 0;
}

int gl_lock_remove(struct gl_file *file, u32 id)
{
	struct gl_lock *lock;
	int err = 0;

	/* What is over may not have been looked at: queues need no interrupts. */
	lock = gl_lock_get(file, id, false);
	if (lock) {
		if (atomic_read(&lock->inflight))
			gl_card_reap(file->card);
		gl_lock_put(lock);
	}
	/*
	 * New users come through gl_lock_get() under the same mutex, so a count
	 * of 0 seen here stays 0.
	 */
	mutex_lock(&file->lock);
	lock = xa_load(&file->locks, id);
	if (!lock)
		err = -ENOENT;
	else if (atomic_read(&lock->mappings) || atomic_read(&lock->inflight))
		err = -EBUSY;
	if (lock && !err) {
		xa_erase(&file->locks, id);
		gl_mapping_remove(file, &lock->map);
	}
	mutex_unlock(&file->lock);
	if (!err)
		gl_lock_put(lock);
	return err;
}

int gl_lock_sync(struct gl_file *file, struct gigalock_sync *arg)
{
	struct gl_lock *lock;
	int err = 0;

	if (arg->reserved || (arg->flags != GIGALOCK_SYNC_FOR_DEVICE &&
			      arg->flags != GIGALOCK_SYNC_FOR_CPU))
		return -EINVAL;
	lock = gl_lock_get(file, arg->id, false);
	if (!lock)
		return -ENOENT;
	if (arg->offset > lock->bytes ||
	    arg->length > lock->bytes - arg->offset)
		err = -EINVAL;
	else if (lock->strategy->sync)
		lock->strategy->sync(lock, arg->offset,
				     arg->length ?: lock->bytes - arg->offset,
				     arg->flags == GIGALOCK_SYNC_FOR_CPU);
	gl_lock_put(lock);
	return err;
}

/* ---- walking what the device sees ---- */

void gl_lock_seek(struct gl_lock *lock, u64 offset, struct gl_pos *pos)
{
	pos->offset = offset;
	pos->sg = NULL;
	if (!lock->sgt)
		return;
	pos->sg = lock->sgt->sgl;
	while (pos->offset >= sg_dma_len(pos->sg)) {
		pos->offset -= sg_dma_len(pos->sg);
		pos->sg = sg_next(pos->sg);
	}
}

/* The next piece of at most @most bytes; moves @pos past it. */
u64 gl_lock_next(struct gl_lock *lock, struct gl_pos *pos, u64 most,
		 dma_addr_t *addr)
{
	u64 len;

	if (!lock->sgt) {
		*addr = lock->dma_addr + pos->offset;
		len = min(most, lock->bytes - pos->offset);
		pos->offset += len;
		return len;
	}
	*addr = sg_dma_address(pos->sg) + pos->offset;
	len = min(most, sg_dma_len(pos->sg) - pos->offset);
	pos->offset += len;
	if (pos->offset == sg_dma_len(pos->sg)) {
		pos->sg = sg_next(pos->sg);
		pos->offset = 0;
	}
	return len;
}
