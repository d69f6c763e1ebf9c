/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks: one attempt, several strategies, decreasing sizes.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

static const uint32_t auto_order[] = {
	GIGALOCK_STRATEGY_COHERENT,
	GIGALOCK_STRATEGY_CONTIG_RANGE,
	GIGALOCK_STRATEGY_SG,
};

/* ---- arguments ----------------------------------------------------------- */

static int refuse(struct gigalock_failure *failure,
		  const struct glk_lock_options *o, uint32_t reason,
		  uint32_t unit, uint64_t request, uint64_t limit)
{
	const struct glk_cause cause = {
		.reason = reason,
		.stage = GIGALOCK_STAGE_ARGUMENTS,
		.err = EINVAL,
		.unit = unit,
		.request = request,
		.limit = limit,
	};

	return glk_fail(failure, &cause, GIGALOCK_OP_LOCK, o->strategy, o->bytes);
}

static int check(const struct glk_lock_options *o,
		 struct gigalock_failure *failure)
{
	const uint32_t known = GLK_LOCK_NO_MAP | GLK_LOCK_HUGEPAGE;

	if (o->strategy != GLK_STRATEGY_AUTO &&
	    o->strategy >= GIGALOCK_STRATEGY_COUNT)
		return refuse(failure, o, GIGALOCK_REASON_BAD_STRATEGY,
			      GIGALOCK_UNIT_COUNT, o->strategy,
			      GIGALOCK_STRATEGY_COUNT);
	if (o->bytes == 0 || o->bytes > glk_size_limit())
		return refuse(failure, o, GIGALOCK_REASON_BAD_SIZE,
			      GIGALOCK_UNIT_BYTES, o->bytes, glk_size_limit());
	if (o->min_bytes > o->bytes)
		return refuse(failure, o, GIGALOCK_REASON_BAD_SIZE,
			      GIGALOCK_UNIT_BYTES, o->min_bytes, o->bytes);
	if (o->flags & ~known)
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT, o->flags, known);
	if (o->direction > GIGALOCK_DIR_BOTH)
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT, o->direction,
			      GIGALOCK_DIR_BOTH);
	if (o->reserved)
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT, o->reserved, 0);
	/* Memory of the caller's can be neither moved nor made smaller. */
	if (o->memory && (o->strategy != GIGALOCK_STRATEGY_SG || o->min_bytes))
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_ADDRESS, (uintptr_t)o->memory, 0);
	return 0;
}

/* ---- one attempt --------------------------------------------------------- */

/* Map a lock of the kernel's memory. */
static int map_lock(struct glk_lock *lock, void *hint,
		    struct gigalock_failure *failure)
{
	struct glk_evidence evidence;
	struct glk_cause cause;
	void *data;
	int err;

	data = mmap(hint, lock->bytes, PROT_READ | PROT_WRITE,
		    MAP_SHARED | (hint ? MAP_FIXED_NOREPLACE : 0),
		    lock->card->fd, (off_t)lock->mmap_offset);
	if (data != MAP_FAILED) {
		lock->data = data;
		lock->mapped = true;
		return 0;
	}
	err = errno;
	glk_evidence_read(&evidence, "/proc");
	glk_evidence_explain(&evidence, lock->bytes, err, &cause);
	cause.stage = GIGALOCK_STAGE_USER_MAP;
	if (err == ENODEV) {
		cause.reason = GIGALOCK_REASON_DEVICE_GONE;
	} else if (err != ENOMEM) {
		cause.reason = GIGALOCK_REASON_BAD_ARGUMENT;
		cause.available = 0;
	}
	return glk_fail(failure, &cause, GIGALOCK_OP_LOCK, lock->strategy,
			lock->bytes);
}

static int unlock(struct glk_card *card, uint32_t id)
{
	struct gigalock_unlock call = { .size = sizeof(call), .id = id };

	return glk_ioctl(card->fd, GIGALOCK_IOC_UNLOCK, &call);
}

static int get_memory(struct glk_lock *lock, const struct glk_lock_options *o,
		      struct gigalock_failure *failure)
{
	struct glk_cause cause;
	int ret;

	if (o->memory) {
		lock->data = o->memory;
		return 0;
	}
	ret = glk_memory_new(lock->bytes, o->flags & GLK_LOCK_HUGEPAGE,
			     &lock->data, &cause);
	if (ret)
		return glk_fail(failure, &cause, GIGALOCK_OP_LOCK,
				lock->strategy, lock->bytes);
	lock->owns_memory = true;
	return 0;
}

static void drop_memory(struct glk_lock *lock)
{
	if (lock->owns_memory)
		glk_memory_free(lock->data, lock->bytes);
	lock->owns_memory = false;
	lock->data = NULL;
}

static int lock_once(struct glk_card *card, const struct glk_lock_options *o,
		     uint32_t strategy, uint64_t bytes, struct glk_lock **out,
		     struct gigalock_failure *failure)
{
	struct gigalock_lock call = { .size = sizeof(call) };
	struct glk_lock *lock = calloc(1, sizeof(*lock));
	int ret;

	if (!lock)
		return glk_fail_call(failure, ENOMEM, GIGALOCK_OP_LOCK,
				     GIGALOCK_STAGE_ALLOCATE, strategy, bytes,
				     sizeof(*lock));
	lock->card = card;
	lock->strategy = strategy;
	lock->direction = o->direction ? o->direction : GIGALOCK_DIR_BOTH;
	lock->bytes = bytes;
	if (strategy == GIGALOCK_STRATEGY_SG) {
		ret = get_memory(lock, o, failure);
		if (ret)
			goto fail_memory;
		call.user_addr = (uintptr_t)lock->data;
	} else {
		uint64_t page = glk_page_size();

		lock->bytes = (bytes + page - 1) / page * page;
	}

	call.strategy = strategy;
	call.direction = lock->direction;
	call.bytes = lock->bytes;
	call.failure_addr = (uintptr_t)failure;
	ret = glk_ioctl(card->fd, GIGALOCK_IOC_LOCK, &call);
	if (ret) {
		glk_fail_call(failure, -ret, GIGALOCK_OP_LOCK,
			      GIGALOCK_STAGE_ARGUMENTS, strategy, lock->bytes,
			      lock->bytes);
		goto fail_lock;
	}
	lock->id = call.id;
	lock->segments = call.segments;
	lock->longest_segment = call.longest_segment;
	lock->mmap_offset = call.mmap_offset;
	lock->ns = call.lock_ns;

	if (strategy != GIGALOCK_STRATEGY_SG && !(o->flags & GLK_LOCK_NO_MAP)) {
		ret = map_lock(lock, NULL, failure);
		if (ret)
			goto fail_map;
	}
	glk_card_get(card);
	*out = lock;
	return 0;

fail_map:
	unlock(card, lock->id);
fail_lock:
	drop_memory(lock);
fail_memory:
	free(lock);
	return ret;
}

/* ---- several ------------------------------------------------------------- */

static int try_once(struct glk_card *card, const struct glk_lock_options *o,
		    uint32_t strategy, uint64_t bytes, struct glk_lock **lock,
		    struct gigalock_failure *failure)
{
	struct glk_try attempt = {
		.size = sizeof(attempt),
		.strategy = strategy,
		.bytes = bytes,
	};
	uint64_t start = glk_now_ns();
	int ret;

	glk_failure_reset(failure);
	ret = lock_once(card, o, strategy, bytes, lock, failure);
	attempt.elapsed_ns = glk_now_ns() - start;
	attempt.ok = ret == 0;
	attempt.failure = *failure;
	if (o->tried)
		o->tried(&attempt, o->tried_arg);
	return ret;
}

/*
 * Pages that are not there are had by killing someone, perhaps the caller. When
 * a smaller size will do, sg is spared sizes beyond what can be had without:
 * that size, or 0 when this one may be tried.
 */
static uint64_t spared(const struct glk_lock_options *o, uint32_t strategy,
		       uint64_t bytes)
{
	struct glk_evidence evidence;

	if (strategy != GIGALOCK_STRATEGY_SG || !o->min_bytes ||
	    bytes <= o->min_bytes)
		return 0;
	glk_evidence_read(&evidence, "/proc");
	return bytes > evidence.mem_available ? evidence.mem_available : 0;
}

/* Each strategy that is asked for, at one size. @best: the most that a failure
 * says could be had. */
static int try_strategies(struct glk_card *card,
			  const struct glk_lock_options *o, uint64_t bytes,
			  struct glk_lock **lock,
			  struct gigalock_failure *failure, uint64_t *best)
{
	const uint32_t *order = &o->strategy;
	size_t count = 1;
	int ret = -ENOMEM;

	if (o->strategy == GLK_STRATEGY_AUTO) {
		order = auto_order;
		count = sizeof(auto_order) / sizeof(auto_order[0]);
	}
	*best = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t bound = spared(o, order[i], bytes);

		if (!bound) {
			ret = try_once(card, o, order[i], bytes, lock, failure);
			if (!ret || ret == -ENODEV)
				return ret;
			if (failure->unit != GIGALOCK_UNIT_BYTES)
				continue;
			bound = glk_search_bound(failure);
			if (bound == UINT64_MAX)
				bound = failure->available;
		}
		if (bound > *best)
			*best = bound;
	}
	return ret;
}

/* The next smaller size: what was there if that is known, else an eighth less. */
static uint64_t smaller(uint64_t bytes, uint64_t best)
{
	uint64_t page = glk_page_size();
	uint64_t next = bytes - bytes / 8;

	if (best && best < next)
		next = best;
	if (next > page)
		next = next / page * page;
	return next < bytes ? next : bytes - 1;
}

int glk_lock_new(struct glk_card *card, const struct glk_lock_options *options,
		 struct glk_lock **lock, struct gigalock_failure *failure)
{
	struct gigalock_failure scratch;
	struct glk_lock_options o = { .size = 0 };
	uint64_t bytes, best;
	int ret;

	if (!failure)
		failure = &scratch;
	if (!lock || !GLK_COPY_OPTIONS(o, options))
		return refuse(failure, &o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT, o.size, sizeof(o));
	*lock = NULL;
	ret = check(&o, failure);
	if (ret)
		return ret;
	bytes = o.bytes;
	for (;;) {
		ret = try_strategies(card, &o, bytes, lock, failure, &best);
		if (!ret || ret == -ENODEV || !o.min_bytes ||
		    bytes <= o.min_bytes)
			return ret;
		bytes = smaller(bytes, best);
		if (bytes < o.min_bytes)
			bytes = o.min_bytes;
	}
}

int glk_lock_free(struct glk_lock *lock)
{
	struct glk_card *card;
	unsigned int xfers;
	int ret;

	if (!lock)
		return 0;
	card = lock->card;
	pthread_mutex_lock(&card->mutex);
	xfers = lock->xfers;
	pthread_mutex_unlock(&card->mutex);
	if (xfers)
		return -EBUSY;
	if (lock->mapped)
		munmap(lock->data, lock->bytes);
	ret = unlock(card, lock->id);
	if (ret == -EBUSY) {
		/* Someone else maps it. Put back what was there. */
		if (lock->mapped)
			map_lock(lock, lock->data, NULL);
		return ret;
	}
	drop_memory(lock);
	free(lock);
	glk_card_put(card);
	return ret;
}

/* ---- what it is ---------------------------------------------------------- */

void *glk_lock_data(const struct glk_lock *lock)
{
	return lock->data;
}

uint64_t glk_lock_bytes(const struct glk_lock *lock)
{
	return lock->bytes;
}

uint32_t glk_lock_strategy(const struct glk_lock *lock)
{
	return lock->strategy;
}

uint32_t glk_lock_direction(const struct glk_lock *lock)
{
	return lock->direction;
}

uint32_t glk_lock_segments(const struct glk_lock *lock)
{
	return lock->segments;
}

uint64_t glk_lock_longest_segment(const struct glk_lock *lock)
{
	return lock->longest_segment;
}

uint64_t glk_lock_ns(const struct glk_lock *lock)
{
	return lock->ns;
}

uint32_t glk_lock_id(const struct glk_lock *lock)
{
	return lock->id;
}

static int sync_lock(struct glk_lock *lock, uint32_t flags, uint64_t offset,
		     uint64_t length)
{
	struct gigalock_sync call = {
		.size = sizeof(call),
		.id = lock->id,
		.flags = flags,
		.offset = offset,
		.length = length,
	};

	return glk_ioctl(lock->card->fd, GIGALOCK_IOC_SYNC, &call);
}

int glk_lock_sync_for_device(struct glk_lock *lock, uint64_t offset,
			     uint64_t length)
{
	return sync_lock(lock, GIGALOCK_SYNC_FOR_DEVICE, offset, length);
}

int glk_lock_sync_for_cpu(struct glk_lock *lock, uint64_t offset,
			  uint64_t length)
{
	return sync_lock(lock, GIGALOCK_SYNC_FOR_CPU, offset, length);
}
