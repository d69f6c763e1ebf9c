/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The search for the largest size, without the locking: which size to try
 * next. An attempt is dear (it may touch all memory, or wake the OOM killer),
 * so every number that a failure carries is used before halving.
 */
#include <string.h>

#include "internal.h"

#define MAX_TRIES 64

struct state {
	const struct glk_search *search;
	uint64_t lo;		/* locked; 0 at first */
	uint64_t hi;		/* could not be locked */
	uint64_t granule;
	uint64_t hint;		/* what the last failure says was there */
	uint64_t stride;	/* of the steps upwards, 0 after a failure */
	bool last_ok;
	bool none;		/* a failure said that no size will do */
};

/*
 * Some failures prove a bound: beyond it nothing can succeed. The others only
 * give a hint (the longest range seen, free memory in all).
 */
uint64_t glk_search_bound(const struct gigalock_failure *failure)
{
	/* No size will do. */
	switch (failure->reason) {
	case GIGALOCK_REASON_BAD_STRATEGY:
	case GIGALOCK_REASON_BAD_ARGUMENT:
	case GIGALOCK_REASON_RESERVED_MISSING:
	case GIGALOCK_REASON_RESERVED_NOT_RESERVED:
	case GIGALOCK_REASON_POOL_EMPTY:
	case GIGALOCK_REASON_HUGETLB_SIZE:
	case GIGALOCK_REASON_DMABUF_REFUSED:
		return 0;
	default:
		break;
	}
	if (failure->unit != GIGALOCK_UNIT_BYTES)
		return UINT64_MAX;
	switch (failure->reason) {
	case GIGALOCK_REASON_BUDDY_LIMIT:
	case GIGALOCK_REASON_RAM_TOO_SMALL:
	case GIGALOCK_REASON_RESERVED_SMALL:
	case GIGALOCK_REASON_POOL_SMALL:
	case GIGALOCK_REASON_NODE_MEMORY:
		return failure->limit ? failure->limit : UINT64_MAX;
	case GIGALOCK_REASON_RESERVED_BUSY:
	case GIGALOCK_REASON_HUGETLB_POOL:
		return failure->available;
	case GIGALOCK_REASON_NONPAGED_POOL:
		/* Of the memory; a table that didn't fit proves nothing. */
		return failure->request == failure->lock_size ?
		       failure->available : UINT64_MAX;
	case GIGALOCK_REASON_OVERCOMMIT:
	case GIGALOCK_REASON_MEMLOCK_LIMIT:
	case GIGALOCK_REASON_ADDRESS_SPACE:
		if (failure->available)
			return failure->available;
		return failure->limit ? failure->limit : UINT64_MAX;
	case GIGALOCK_REASON_KILLED:
	case GIGALOCK_REASON_NO_MEMORY:
		/* Memory ended after that much: a fresh attempt meets the same
		 * end. Only what was got counts, free memory is a hint. */
		if (failure->strategy == GIGALOCK_STRATEGY_SG &&
		    failure->stage == GIGALOCK_STAGE_PIN && failure->available)
			return failure->available;
		return UINT64_MAX;
	default:
		return UINT64_MAX;
	}
}

static uint64_t round_down(const struct state *s, uint64_t bytes)
{
	return bytes / s->granule * s->granule;
}

/* The bounds may stay this far apart. */
static uint64_t tolerance(const struct state *s, uint64_t bytes)
{
	uint64_t share = bytes / 1000 * s->search->per_mille;

	return share > s->granule ? share : s->granule;
}

static bool inside(const struct state *s, uint64_t bytes)
{
	return bytes > s->lo && bytes < s->hi;
}

static uint64_t next_size(struct state *s)
{
	uint64_t size;

	/* A bound that was just proved: the size right at it. With sg, memory
	 * that was there a moment ago needs a little slack. */
	if (s->hint) {
		size = round_down(s, s->hint);
		s->hint = 0;
		if (s->lo == 0 && s->search->comfortable) {
			uint64_t easy = round_down(s,
				s->search->comfortable(s->search->arg));

			if (easy && easy < size)
				size = easy;
		}
		if (inside(s, size))
			return size;
	}
	/* After a success, one step that ends the search if it fails. */
	if (s->last_ok) {
		s->stride = s->stride ? s->stride * 2 : tolerance(s, s->lo);
		size = round_down(s, s->lo + s->stride);
		if (inside(s, size) && size - s->lo < (s->hi - s->lo) / 2)
			return size;
	}
	s->stride = 0;
	size = round_down(s, s->lo + (s->hi - s->lo) / 2);
	return inside(s, size) ? size : s->lo;
}

/* Below a granule, bytes may be had where no whole granule can: of bounce buffers. */
static bool look_closer(struct state *s)
{
	if (s->lo || s->none || !s->search->finest || s->granule <= s->search->finest)
		return false;
	s->granule = s->search->finest;
	return true;
}

static void failed(struct state *s, uint64_t bytes,
		   const struct gigalock_failure *failure)
{
	uint64_t bound = glk_search_bound(failure);

	if (!bound && s->search->several)
		bound = UINT64_MAX;
	s->none |= !bound;
	s->hi = bytes;
	if (bound < s->hi) {
		/* The bound itself may do; the next size up may not. */
		if (round_down(s, bound) + s->granule < s->hi)
			s->hi = round_down(s, bound) + s->granule;
		s->hint = bound;
		if (bound && failure->stage == GIGALOCK_STAGE_PIN &&
		    failure->reason != GIGALOCK_REASON_MEMLOCK_LIMIT)
			s->hint = bound - tolerance(s, bound) / 2;
	} else if (failure->unit == GIGALOCK_UNIT_BYTES &&
		   failure->available < bytes) {
		s->hint = failure->available;
	}
	s->last_ok = false;
	s->stride = 0;
}

int glk_search_run(const struct glk_search *search,
		   struct glk_limit_result *result)
{
	struct state s = { .search = search, .granule = search->granule };
	uint64_t size = search->bytes;

	result->largest = 0;
	result->tries = 0;
	result->wanted_locked = false;
	memset(&result->failure, 0, sizeof(result->failure));
	for (;;) {
		struct glk_try attempt = {
			.size = sizeof(attempt),
			.bytes = size,
		};
		uint64_t start = glk_now_ns();
		int ret = search->attempt(size, &attempt, search->arg);

		if (ret)
			return ret;
		attempt.elapsed_ns = glk_now_ns() - start;
		if (search->tried)
			search->tried(&attempt, search->tried_arg);
		result->tries++;
		if (attempt.ok) {
			s.lo = size;
			s.last_ok = true;
			result->largest = size;
		} else {
			failed(&s, size, &attempt.failure);
		}
		if (size == search->bytes) {
			result->wanted_locked = attempt.ok;
			result->failure = attempt.failure;
			if (attempt.ok)
				return 0;
		}
		if (result->tries >= MAX_TRIES ||
		    (s.hi - s.lo <= tolerance(&s, s.lo) && !look_closer(&s)))
			return 0;
		size = next_size(&s);
		if (size <= s.lo)
			return 0;
	}
}
