/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For tests of transfers: a lock that is mapped, a queue with its ring.
 */
#ifndef GIGALOCK_TEST_QUEUE_H
#define GIGALOCK_TEST_QUEUE_H

#include "card.h"

/* Lock and map @bytes; the address. */
static inline void *lock_map(struct gigalock_lock *lock, uint32_t strategy,
			     uint32_t direction, uint64_t bytes)
{
	void *mem;

	*lock = (struct gigalock_lock){ .strategy = strategy, .direction = direction,
					.bytes = bytes };
	if (strategy == GIGALOCK_STRATEGY_SG) {
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mem == MAP_FAILED)
			bail("mmap");
		lock->user_addr = (uintptr_t)mem;
	}
	do_lock(lock);
	if (strategy != GIGALOCK_STRATEGY_SG) {
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, card,
			   lock->mmap_offset);
		if (mem == MAP_FAILED)
			bail("mmap of the lock");
	}
	return mem;
}

/* A queue, its ring, and how far it is. */
struct queue {
	struct gigalock_queue_create c;
	const volatile struct gigalock_completion *ring;
	uint32_t submitted;
	uint32_t seen;
	struct gigalock_failure why;
};

static inline void queue_make(struct queue *q, uint32_t entries, uint32_t flags)
{
	memset(q, 0, sizeof(*q));
	q->c.size = sizeof(q->c);
	q->c.entries = entries;
	q->c.flags = flags;
	if (ioctl(card, GIGALOCK_IOC_QUEUE_CREATE, &q->c))
		bail("QUEUE_CREATE");
	q->ring = mmap(NULL, q->c.ring_bytes, PROT_READ, MAP_SHARED, card,
		       q->c.mmap_offset);
	if (q->ring == MAP_FAILED)
		bail("mmap of the ring");
}

static inline int queue_destroy(struct queue *q)
{
	struct gigalock_queue_destroy d = { .size = sizeof(d), .id = q->c.id };

	return ioctl(card, GIGALOCK_IOC_QUEUE_DESTROY, &d);
}

/* How many were taken, or -1. */
static inline int queue_put(struct queue *q, const struct gigalock_queue_entry *e,
			    uint32_t count)
{
	struct gigalock_queue_submit s = {
		.size = sizeof(s), .id = q->c.id, .entries = (uintptr_t)e,
		.count = count, .entry_size = sizeof(*e), .seen = q->seen,
		.failure_addr = (uintptr_t)&q->why,
	};

	q->why = (struct gigalock_failure){ .size = sizeof(q->why) };
	errno = 0;
	if (ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s))
		return -1;
	q->submitted += s.count;
	return s.count;
}

/* Is the next completion there? Then it counts as read. */
static inline bool queue_look(struct queue *q, struct gigalock_completion *c)
{
	uint32_t place = q->seen & (q->c.entries - 1);

	if (__atomic_load_n(&q->ring[place].seq, __ATOMIC_ACQUIRE) != q->seen + 1)
		return false;
	*c = q->ring[place];
	q->seen++;
	return true;
}

/* Poll for it, without a call, for some seconds. */
static inline void queue_next(struct queue *q, struct gigalock_completion *c)
{
	for (int i = 0; i < 20000; i++) {
		for (int j = 0; j < 1000; j++)
			if (queue_look(q, c))
				return;
		usleep(500);
	}
	errno = ETIMEDOUT;
	bail("completion %u of %u", q->seen, q->submitted);
}

/* A move of part of a lock, to the same place of card memory. */
static inline struct gigalock_queue_entry move_of(const struct gigalock_lock *lock,
						  uint32_t direction, uint64_t offset,
						  uint64_t length)
{
	return (struct gigalock_queue_entry){
		.lock = lock->id, .direction = direction, .offset = offset,
		.length = length, .card_offset = offset,
	};
}

/* CRC-32C, bit by bit: slow and plain. */
static inline uint32_t crc32c(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* Bytes that repeat nowhere near. */
static inline void scribble(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = seed >> 24;
	}
}

#endif /* GIGALOCK_TEST_QUEUE_H */
