/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks: one attempt, several strategies, decreasing sizes.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* One piece first; of those, what was set aside for it after what is free for
 * all. Then few pieces, then whatever. */
static const uint32_t auto_order[] = {
	GIGALOCK_STRATEGY_COHERENT,
	GIGALOCK_STRATEGY_CONTIG_RANGE,
	GIGALOCK_STRATEGY_POOL,
	GIGALOCK_STRATEGY_RESERVED,
	GIGALOCK_STRATEGY_HUGETLB,
	GIGALOCK_STRATEGY_CHUNKED,
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

/* Is an option of one strategy given to another? Auto gives each its own. */
static bool misplaced(const struct glk_lock_options *o, uint32_t strategy)
{
	return o->strategy != strategy && o->strategy != GLK_STRATEGY_AUTO;
}

static int check_places(const struct glk_lock_options *o,
			struct gigalock_failure *failure)
{
	uint64_t page = glk_page_size();

	/* Memory of the caller's can be neither moved nor made smaller. */
	if (o->memory && ((o->strategy != GIGALOCK_STRATEGY_SG &&
			   o->strategy != GIGALOCK_STRATEGY_HUGETLB) ||
			  o->min_bytes))
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_ADDRESS, (uintptr_t)o->memory, 0);
	if (o->page_size && (o->memory || o->page_size < page ||
			     o->page_size & (o->page_size - 1) ||
			     misplaced(o, GIGALOCK_STRATEGY_HUGETLB)))
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_BYTES, o->page_size, 0);
	if (o->region && misplaced(o, GIGALOCK_STRATEGY_RESERVED))
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT, o->region, 0);
	if (o->node && !(o->flags & GLK_LOCK_NODE))
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT, o->node, 0);
	return 0;
}

static int check(const struct glk_lock_options *o,
		 struct gigalock_failure *failure)
{
	const uint32_t known = GLK_LOCK_NO_MAP | GLK_LOCK_HUGEPAGE |
			       GLK_LOCK_NO_USER_MAP | GLK_LOCK_ENTRY_PER_PAGE |
			       GLK_LOCK_SMALL_TABLE | GLK_LOCK_NODE;
	const bool any_size = o->strategy == GIGALOCK_STRATEGY_DMABUF;

	if (o->strategy != GLK_STRATEGY_AUTO &&
	    o->strategy >= GIGALOCK_STRATEGY_COUNT)
		return refuse(failure, o, GIGALOCK_REASON_BAD_STRATEGY,
			      GIGALOCK_UNIT_COUNT, o->strategy,
			      GIGALOCK_STRATEGY_COUNT);
	if ((o->bytes == 0 && !any_size) || o->bytes > glk_size_limit())
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
	if (o->reserved || o->reserved2)
		return refuse(failure, o, GIGALOCK_REASON_BAD_ARGUMENT,
			      GIGALOCK_UNIT_COUNT,
			      o->reserved ? o->reserved : o->reserved2, 0);
	return check_places(o, failure);
}

/* ---- one attempt --------------------------------------------------------- */

/* Map a lock of the kernel's memory. */
static int map_lock(struct glk_lock *lock, void *hint,
		    struct gigalock_failure *failure)
{
	struct glk_evidence evidence;
	struct glk_cause cause;
	void *data = MAP_FAILED;
	int err = ENOMEM;

	if (glk_fits(lock->bytes)) {
		data = mmap(hint, (size_t)lock->bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | (hint ? MAP_FIXED_NOREPLACE : 0),
			    lock->card->fd, (off_t)lock->mmap_offset);
		err = errno;
	}
	if (data != MAP_FAILED) {
		lock->data = data;
		lock->mapped = true;
		return 0;
	}
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

/* The caller's memory, or new memory that becomes his. */
static int get_memory(struct glk_lock *lock, const struct glk_lock_options *o,
		      struct gigalock_failure *failure)
{
	struct glk_cause cause;
	uint64_t page = o->page_size;
	int ret;

	if (o->memory) {
		lock->data = o->memory;
		return 0;
	}
	lock->owned = lock->bytes;
	if (lock->strategy == GIGALOCK_STRATEGY_HUGETLB) {
		if (!page)
			page = glk_huge_page_fit(GLK_SYS_HUGEPAGES, lock->bytes);
		if (!page)
			page = glk_huge_page_smallest(GLK_SYS_HUGEPAGES);
		ret = glk_huge_new(lock->bytes, page, &lock->data, &lock->owned,
				   &cause);
	} else {
		ret = glk_memory_new(lock->bytes, o->flags & GLK_LOCK_HUGEPAGE,
				     &lock->data, &cause);
	}
	if (!ret && o->flags & GLK_LOCK_NODE)
		glk_memory_prefer(lock->data, lock->owned, o->node);
	if (!ret)
		return 0;
	lock->owned = 0;
	return glk_fail(failure, &cause, GIGALOCK_OP_LOCK, lock->strategy,
			lock->bytes);
}

static void drop_memory(struct glk_lock *lock)
{
	if (lock->owned)
		glk_memory_free(lock->data, lock->owned);
	lock->owned = 0;
	lock->data = NULL;
}

/* A dma-buf is mapped through its own file; some can't be. */
static void map_dmabuf(struct glk_lock *lock, int fd)
{
	int prot = PROT_READ | PROT_WRITE;
	void *data;

	if (!glk_fits(lock->bytes))
		return;
	data = mmap(NULL, (size_t)lock->bytes, prot, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return;
	lock->data = data;
	lock->owned = lock->bytes;
}

static uint32_t kernel_flags(uint32_t flags)
{
	uint32_t out = 0;

	if (flags & GLK_LOCK_NO_USER_MAP)
		out |= GIGALOCK_LOCK_NO_USER_MAP;
	if (flags & GLK_LOCK_ENTRY_PER_PAGE)
		out |= GIGALOCK_LOCK_ENTRY_PER_PAGE;
	if (flags & GLK_LOCK_SMALL_TABLE)
		out |= GIGALOCK_LOCK_SMALL_TABLE;
	if (flags & GLK_LOCK_NODE)
		out |= GIGALOCK_LOCK_NODE;
	return out;
}

/* What the kernel is asked for, but for the memory. */
static void fill_call(struct gigalock_lock *call, const struct glk_lock *lock,
		      const struct glk_lock_options *o, bool own_memory)
{
	*call = (struct gigalock_lock) {
		.size = sizeof(*call),
		.flags = kernel_flags(o->flags),
		.strategy = lock->strategy,
		.direction = lock->direction,
		.bytes = lock->bytes,
		.address_width = o->address_width,
		.node = o->node,
		.max_segment = o->max_segment,
		.timeout_ms = o->timeout_ms,
	};
	if (lock->strategy == GIGALOCK_STRATEGY_RESERVED)
		call->region = o->region;
	if (lock->strategy == GIGALOCK_STRATEGY_DMABUF)
		call->fd = o->fd;
	if (own_memory)
		call->user_addr = (uintptr_t)lock->data;
}

static void take_answer(struct glk_lock *lock, const struct gigalock_lock *call)
{
	lock->id = call->id;
	lock->segments = call->segments;
	lock->longest_segment = call->longest_segment;
	lock->mmap_offset = call->mmap_offset;
	lock->ns = call->lock_ns;
	lock->backing = call->backing;
	lock->table_bytes = call->table_bytes;
}

/* All of a dma-buf: so many bytes. 0 when it can't be told. */
static uint64_t bytes_of(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);

	return end < 0 ? 0 : (uint64_t)end;
}

static int lock_once(struct glk_card *card, const struct glk_lock_options *o,
		     uint32_t strategy, uint64_t bytes, struct glk_lock **out,
		     struct gigalock_failure *failure)
{
	const bool own_memory = strategy == GIGALOCK_STRATEGY_SG ||
				strategy == GIGALOCK_STRATEGY_HUGETLB;
	const bool no_map = o->flags & (GLK_LOCK_NO_MAP | GLK_LOCK_NO_USER_MAP);
	struct glk_lock *lock = calloc(1, sizeof(*lock));
	uint64_t page = glk_page_size();
	struct gigalock_lock call;
	int ret;

	if (!lock)
		return glk_fail_call(failure, ENOMEM, GIGALOCK_OP_LOCK,
				     GIGALOCK_STAGE_ALLOCATE, strategy, bytes,
				     sizeof(*lock));
	lock->card = card;
	lock->strategy = strategy;
	lock->direction = o->direction ? o->direction : GIGALOCK_DIR_BOTH;
	lock->bytes = bytes;
	if (!own_memory)
		lock->bytes = (bytes + page - 1) / page * page;
	if (strategy == GIGALOCK_STRATEGY_DMABUF && !bytes)
		lock->bytes = bytes_of(o->fd);
	if (own_memory) {
		ret = get_memory(lock, o, failure);
		if (ret)
			goto fail_memory;
	}

	fill_call(&call, lock, o, own_memory);
	call.failure_addr = (uintptr_t)failure;
	ret = glk_ioctl(card->fd, GIGALOCK_IOC_LOCK, &call);
	if (ret) {
		glk_fail_call(failure, -ret, GIGALOCK_OP_LOCK,
			      GIGALOCK_STAGE_ARGUMENTS, strategy, lock->bytes,
			      lock->bytes);
		goto fail_lock;
	}
	take_answer(lock, &call);

	if (strategy == GIGALOCK_STRATEGY_DMABUF && !no_map) {
		map_dmabuf(lock, o->fd);
	} else if (!own_memory && !no_map) {
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
 * a smaller size will do, sg and chunked are spared sizes beyond what can be had
 * without: that size, or 0 when this one may be tried.
 */
static uint64_t spared(const struct glk_lock_options *o, uint32_t strategy,
		       uint64_t bytes)
{
	struct glk_evidence evidence;

	if ((strategy != GIGALOCK_STRATEGY_SG &&
	     strategy != GIGALOCK_STRATEGY_CHUNKED) ||
	    !o->min_bytes || bytes <= o->min_bytes)
		return 0;
	glk_evidence_read(&evidence, "/proc");
	return bytes > evidence.mem_available ? evidence.mem_available : 0;
}

/* Is it one that auto tries here? */
static bool auto_tries(const struct glk_card *card,
		       const struct glk_lock_options *o, uint32_t strategy,
		       uint64_t bytes)
{
	struct glk_huge_pool pool;

	if (!(card->strategies & UINT32_C(1) << strategy))
		return false;
	if (strategy == GIGALOCK_STRATEGY_RESERVED)
		return glk_module_has("/sys", card->bus, "reserved");
	if (strategy == GIGALOCK_STRATEGY_POOL)
		return glk_module_has("/sys", card->bus, "pool_count");
	if (strategy != GIGALOCK_STRATEGY_HUGETLB)
		return true;
	/* Huge pages were set aside for someone. If we may have them, it shows. */
	if (o->page_size)
		return glk_huge_pool_read(&pool, GLK_SYS_HUGEPAGES, o->page_size) &&
		       pool.free >= bytes;
	return glk_huge_page_fit(GLK_SYS_HUGEPAGES, bytes) != 0;
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
		uint64_t bound;

		if (o->strategy == GLK_STRATEGY_AUTO &&
		    !auto_tries(card, o, order[i], bytes))
			continue;
		bound = spared(o, order[i], bytes);
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
		munmap(lock->data, (size_t)lock->bytes);
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
