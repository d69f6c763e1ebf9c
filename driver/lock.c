// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lock objects: made by one of the strategies, named by an id on their file,
 * gone when the file, the mappings and the transfers have let go.
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "gl.h"

static const struct gl_strategy * const gl_strategies[GIGALOCK_STRATEGY_COUNT] = {
	[GIGALOCK_STRATEGY_COHERENT] = &gl_strategy_coherent,
	[GIGALOCK_STRATEGY_CONTIG_RANGE] = &gl_strategy_contig_range,
	[GIGALOCK_STRATEGY_SG] = &gl_strategy_sg,
	[GIGALOCK_STRATEGY_HUGETLB] = &gl_strategy_hugetlb,
	[GIGALOCK_STRATEGY_CHUNKED] = &gl_strategy_chunked,
#ifdef CONFIG_DMA_SHARED_BUFFER
	[GIGALOCK_STRATEGY_DMABUF] = &gl_strategy_dmabuf,
#endif
	[GIGALOCK_STRATEGY_RESERVED] = &gl_strategy_reserved,
	[GIGALOCK_STRATEGY_POOL] = &gl_strategy_pool,
};

static void gl_lock_release(struct kref *ref)
{
	struct gl_lock *lock = container_of(ref, struct gl_lock, ref);
	struct gl_card *card = lock->card;

	gl_lock_detach(lock);
	lock->strategy->free(lock);
	gl_marks_free(&lock->marks);
	gl_budget_give(lock);
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
	if (lock->deadline_ns && ktime_get_ns() > lock->deadline_ns) {
		gl_fail_set(fail, GIGALOCK_REASON_TIMEOUT, stage, -ETIMEDOUT,
			    lock->timeout_ms, 0, 0);
		fail->unit = GIGALOCK_UNIT_MILLISECONDS;
		return -ETIMEDOUT;
	}
	/* What belongs to the module is got for no card. */
	if (lock->card && READ_ONCE(lock->card->gone))
		return gl_fail_set(fail, GIGALOCK_REASON_DEVICE_GONE, stage, -ENODEV,
				   0, lock->bytes, done);
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

/* What the call asks for beside the memory itself, held against what there is. */
static int gl_lock_check_options(struct gl_card *card, const struct gl_strategy *s,
				 const struct gigalock_lock *arg,
				 struct gl_fail *fail)
{
	if (arg->flags & ~GIGALOCK_LOCK_FLAGS)
		return gl_fail_argument(fail, arg->flags, GIGALOCK_LOCK_FLAGS);
	if (arg->address_width && arg->address_width < GL_MIN_WIDTH)
		return gl_fail_argument(fail, arg->address_width, GL_MIN_WIDTH);
	if (arg->address_width > card->addr_width)
		return gl_fail_argument(fail, arg->address_width, card->addr_width);
	if (!(arg->flags & GIGALOCK_LOCK_NODE)) {
		if (arg->node)
			return gl_fail_argument(fail, arg->node, 0);
	} else if (arg->node >= nr_node_ids || !node_online(arg->node)) {
		return gl_fail_argument(fail, arg->node, nr_node_ids - 1);
	}
	if (!PAGE_ALIGNED(arg->max_segment))
		return gl_fail_argument(fail, arg->max_segment, PAGE_SIZE);
	if (s->number != GIGALOCK_STRATEGY_DMABUF && arg->fd)
		return gl_fail_argument(fail, (u32)arg->fd, 0);
	if (s->number != GIGALOCK_STRATEGY_RESERVED && arg->region)
		return gl_fail_argument(fail, arg->region, 0);
	return 0;
}

static int gl_lock_check(struct gl_card *card, const struct gl_strategy *s,
			 struct gigalock_lock *arg, struct gl_fail *fail)
{
	/* One byte less than half the address space: no sum below can wrap. */
	u64 most = min_t(u64, S64_MAX, (u64)LONG_MAX) & PAGE_MASK;
	u64 least = s->zero_is_all ? 0 : 1;
	int err;

	err = gl_lock_check_options(card, s, arg, fail);
	if (err)
		return err;
	if (!arg->direction || arg->direction > GIGALOCK_DIR_BOTH)
		return gl_fail_argument(fail, arg->direction, GIGALOCK_DIR_BOTH);
	if (arg->bytes < least || arg->bytes > most ||
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

/* The options, as the strategies want them. */
static void gl_lock_set_options(struct gl_lock *lock, const struct gigalock_lock *arg,
				u64 start)
{
	struct gl_card *card = lock->card;

	lock->flags = arg->flags;
	lock->direction = arg->direction;
	lock->dma_dir = arg->direction == GIGALOCK_DIR_TO_CARD ? DMA_TO_DEVICE :
			arg->direction == GIGALOCK_DIR_FROM_CARD ? DMA_FROM_DEVICE :
			DMA_BIDIRECTIONAL;
	lock->top = gl_card_dma_limit(card);
	if (arg->address_width)
		lock->top = min(lock->top, DMA_BIT_MASK(arg->address_width));
	lock->node = NUMA_NO_NODE;
	if (arg->flags & GIGALOCK_LOCK_NODE)
		lock->node = array_index_nospec(arg->node, nr_node_ids);
	lock->max_segment = max_t(u64, card->max_xfer & PAGE_MASK, PAGE_SIZE);
	if (arg->max_segment)
		lock->max_segment = min(lock->max_segment, arg->max_segment);
	if (arg->flags & GIGALOCK_LOCK_ENTRY_PER_PAGE)
		lock->max_segment = PAGE_SIZE;
	lock->timeout_ms = arg->timeout_ms;
	if (arg->timeout_ms)
		lock->deadline_ns = start + (u64)arg->timeout_ms * NSEC_PER_MSEC;
}

/* Does it need more address bits than the lock may have, wherever it lies? */
static int gl_lock_check_width(struct gl_lock *lock, struct gl_fail *fail)
{
	/* The caller's range may be one page, many times. */
	if (lock->strategy->user_memory || !lock->bytes ||
	    lock->bytes - 1 <= lock->top)
		return 0;
	return gl_fail_address(fail, GIGALOCK_STAGE_ARGUMENTS, lock->top,
			       lock->bytes - 1);
}

static const struct gl_strategy *gl_strategy(u32 number)
{
	if (number >= GIGALOCK_STRATEGY_COUNT)
		return NULL;
	return gl_strategies[array_index_nospec(number, GIGALOCK_STRATEGY_COUNT)];
}

int gl_lock_create(struct gl_file *file, struct gigalock_lock *arg,
		   struct gl_inside *inside, struct gl_fail *fail)
{
	const struct gl_strategy *s = gl_strategy(arg->strategy);
	struct gl_card *card = file->card;
	u64 start = ktime_get_ns();
	struct gl_lock *lock;
	int err;

	if (!s) {
		gl_fail_set(fail, GIGALOCK_REASON_BAD_STRATEGY,
			    GIGALOCK_STAGE_ARGUMENTS, -EINVAL,
			    GIGALOCK_STRATEGY_COUNT, arg->strategy, 0);
		fail->unit = GIGALOCK_UNIT_COUNT;
		return -EINVAL;
	}
	err = gl_lock_check(card, s, arg, fail);
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
	lock->inside = inside;
	gl_lock_set_options(lock, arg, start);

	err = gl_lock_check_width(lock, fail);
	if (!err)
		err = gl_budget_take(lock, arg, fail);
	if (!err)
		err = s->lock(lock, arg, fail);
	if (err) {
		gl_budget_give(lock);
		kfree(lock);
		return err;
	}
	lock->attached = true;
	lock->inside = NULL;
	atomic_inc(&card->locks);
	atomic64_add(lock->bytes, &card->locked_bytes);

	err = gl_lock_verify(lock, fail);
	if (!err)
		err = gl_budget_take_table(lock, fail);
	if (err) {
		gl_lock_put(lock);
		return err;
	}
	arg->backing = lock->backing;
	arg->table_bytes = lock->table_bytes;
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
	else if (atomic_read(&lock->mappings) || atomic_read(&lock->exports) ||
		 atomic_read(&lock->inflight))
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
	u64 len;

	if (arg->reserved || (arg->flags != GIGALOCK_SYNC_FOR_DEVICE &&
			      arg->flags != GIGALOCK_SYNC_FOR_CPU))
		return -EINVAL;
	lock = gl_lock_get(file, arg->id, false);
	if (!lock)
		return -ENOENT;
	if (arg->offset > lock->bytes ||
	    arg->length > lock->bytes - arg->offset) {
		err = -EINVAL;
	} else {
		/* From the very end on there is nothing, and no place to look for. */
		len = arg->length ?: lock->bytes - arg->offset;
		if (len && lock->strategy->sync)
			err = lock->strategy->sync(lock, arg->offset, len,
						   arg->flags == GIGALOCK_SYNC_FOR_CPU);
	}
	gl_lock_put(lock);
	return err;
}
