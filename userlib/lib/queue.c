/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queues: a channel of one's own. The card writes each completion into a ring
 * that is mapped here, its seq last; so reaping is reading memory.
 *
 * One thread submits while another reaps: what they share is counters, each
 * written by one of them.
 *
 * The ring says what the card wrote, and a card can write of what it was never told
 * to do. So no more is believed than was submitted; what the kernel says is done, it
 * has seen of a submission, even if the thread that made it hasn't counted it yet.
 */
#define _DEFAULT_SOURCE
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

struct glk_queue {
	struct glk_card *card;
	const struct gigalock_completion *ring;
	size_t ring_bytes;
	uint32_t id;
	uint32_t entries;
	uint32_t channel;
	atomic_uint submitted;	/* written by who submits */
	atomic_uint seen;	/* by who reaps */
	atomic_uint known;	/* by who reaps: done, as the kernel says */
};

_Static_assert(sizeof(struct gigalock_completion) == 32, "as the card writes it");
_Static_assert(sizeof(struct gigalock_queue_entry) == 56, "keeps its size");

static void destroy(struct glk_card *card, uint32_t id)
{
	struct gigalock_queue_destroy call = { .size = sizeof(call), .id = id };

	glk_ioctl(card->fd, GIGALOCK_IOC_QUEUE_DESTROY, &call);
}

int glk_queue_new(struct glk_card *card, const struct glk_queue_options *options,
		  struct glk_queue **out)
{
	struct glk_queue_options o = { .size = sizeof(o) };
	struct gigalock_queue_create call = { .size = sizeof(call) };
	struct glk_queue *queue;
	void *ring;
	int ret;

	*out = NULL;
	if (options && !GLK_COPY_OPTIONS(o, options))
		return -EINVAL;
	queue = calloc(1, sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	call.entries = o.entries;
	call.flags = o.flags;
	ret = glk_ioctl(card->fd, GIGALOCK_IOC_QUEUE_CREATE, &call);
	if (ret)
		goto fail_create;
	/* Places are found with a mask, and must all be in the mapping. */
	ret = -EPROTO;
	if (!call.entries || call.entries & (call.entries - 1) ||
	    !glk_fits(call.ring_bytes) ||
	    call.ring_bytes / sizeof(*queue->ring) < call.entries)
		goto fail_map;
	ring = mmap(NULL, (size_t)call.ring_bytes, PROT_READ, MAP_SHARED, card->fd,
		    (off_t)call.mmap_offset);
	if (ring == MAP_FAILED) {
		ret = -errno;
		goto fail_map;
	}
	queue->ring = ring;
	queue->ring_bytes = (size_t)call.ring_bytes;
	queue->id = call.id;
	queue->entries = call.entries;
	queue->channel = call.channel;
	queue->card = glk_card_get(card);
	*out = queue;
	return 0;

fail_map:
	destroy(card, call.id);
fail_create:
	free(queue);
	return ret;
}

void glk_queue_free(struct glk_queue *queue)
{
	if (!queue)
		return;
	destroy(queue->card, queue->id);
	munmap((void *)(uintptr_t)queue->ring, queue->ring_bytes);
	glk_card_put(queue->card);
	free(queue);
}

int glk_queue_submit(struct glk_queue *queue,
		     const struct gigalock_queue_entry *entries,
		     unsigned int count, struct gigalock_failure *failure)
{
	struct gigalock_queue_submit call = {
		.size = sizeof(call),
		.id = queue->id,
		.entries = (uintptr_t)entries,
		.count = count,
		.entry_size = sizeof(*entries),
		.seen = atomic_load_explicit(&queue->seen, memory_order_acquire),
		.failure_addr = (uintptr_t)failure,
	};
	int ret;

	if (failure)
		glk_failure_reset(failure);
	ret = glk_ioctl(queue->card->fd, GIGALOCK_IOC_QUEUE_SUBMIT, &call);
	if (ret == -EAGAIN && failure && failure->reason == GIGALOCK_REASON_NONE) {
		const struct glk_cause cause = {
			.reason = GIGALOCK_REASON_BAD_ARGUMENT,
			.stage = GIGALOCK_STAGE_TRANSFER,
			.err = EAGAIN,
			.unit = GIGALOCK_UNIT_COUNT,
			.request = count,
			.limit = queue->entries,
		};

		return glk_fail(failure, &cause, GIGALOCK_OP_TRANSFER,
				GLK_STRATEGY_AUTO, 0);
	}
	if (ret)
		return glk_fail_call(failure, -ret, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_TRANSFER, GLK_STRATEGY_AUTO, 0,
				     count);
	atomic_fetch_add_explicit(&queue->submitted, call.count,
				  memory_order_release);
	return (int)call.count;
}

/* How far @count is ahead of @seen; two threads' counters may be read out of turn. */
static uint32_t ahead(uint32_t count, uint32_t seen)
{
	return count - seen > INT32_MAX ? 0 : count - seen;
}

/* The completions that there can be: who looks has read @seen of them. */
static uint32_t can_be(struct glk_queue *queue, uint32_t seen)
{
	uint32_t submitted = ahead(atomic_load_explicit(&queue->submitted,
							memory_order_acquire), seen);
	uint32_t known = ahead(atomic_load_explicit(&queue->known,
						    memory_order_relaxed), seen);

	return submitted > known ? submitted : known;
}

/* Is completion number @n there? Its seq is read before all else. */
static bool is_there(const struct glk_queue *queue, uint32_t n)
{
	const struct gigalock_completion *at =
		&queue->ring[n & (queue->entries - 1)];

	return le32toh(__atomic_load_n(&at->seq, __ATOMIC_ACQUIRE)) == n + 1;
}

unsigned int glk_queue_reap(struct glk_queue *queue,
			    struct gigalock_completion *done, unsigned int max)
{
	uint32_t seen = atomic_load_explicit(&queue->seen, memory_order_relaxed);
	uint32_t most = can_be(queue, seen);
	unsigned int count = 0;

	if (max > most)
		max = most;
	for (; count < max && is_there(queue, seen); count++, seen++) {
		const struct gigalock_completion *at =
			&queue->ring[seen & (queue->entries - 1)];

		done[count] = (struct gigalock_completion) {
			.cookie = le32toh(at->cookie),
			.status = le32toh(at->status),
			.bytes = le64toh(at->bytes),
			.fault_addr = le64toh(at->fault_addr),
			.crc = le32toh(at->crc),
			.seq = seen + 1,
		};
	}
	if (!count)
		return 0;
	/* Left behind for 2^31 completions it would seem to be ahead. */
	if (!ahead(atomic_load_explicit(&queue->known, memory_order_relaxed), seen))
		atomic_store_explicit(&queue->known, seen, memory_order_relaxed);
	/* Read before the place is given to the card again. */
	atomic_store_explicit(&queue->seen, seen, memory_order_release);
	return count;
}

int glk_queue_wait(struct glk_queue *queue, int timeout_ms)
{
	uint32_t seen = atomic_load_explicit(&queue->seen, memory_order_relaxed);
	struct gigalock_queue_wait call = {
		.size = sizeof(call),
		.id = queue->id,
		.seen = seen,
		.timeout_ms = timeout_ms < 0 ? -1 : timeout_ms,
	};
	int ret;

	if (can_be(queue, seen) && is_there(queue, seen))
		return 0;
	ret = glk_ioctl(queue->card->fd, GIGALOCK_IOC_QUEUE_WAIT, &call);
	if (!ret)
		atomic_store_explicit(&queue->known, call.seen, memory_order_relaxed);
	return ret;
}

unsigned int glk_queue_pending(const struct glk_queue *queue)
{
	uint32_t submitted = atomic_load_explicit(&queue->submitted,
						  memory_order_acquire);

	return ahead(submitted, atomic_load_explicit(&queue->seen,
						     memory_order_acquire));
}

unsigned int glk_queue_entries(const struct glk_queue *queue)
{
	return queue->entries;
}

unsigned int glk_queue_channel(const struct glk_queue *queue)
{
	return queue->channel;
}
