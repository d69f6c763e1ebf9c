/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What most test programs do with a card: lock, unlock, sync, move bytes both
 * ways. Whatever should work and doesn't ends the program.
 */
#ifndef GIGALOCK_TEST_CARD_H
#define GIGALOCK_TEST_CARD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* memfd_create() and such; before any other header */
#endif

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/gigalock.h>

#include "tap.h"

static int card = -1;
static struct gigalock_info card_info = { .size = sizeof(card_info) };

/*
 * Open the first card from number @from on, and say which it is: one that comes
 * back while in use has another number.
 */
static inline int card_node(int from, int *fd)
{
	char path[32];

	for (int i = from; i < 16; i++) {
		snprintf(path, sizeof(path), "/dev/gigalock%d", i);
		*fd = open(path, O_RDWR | O_CLOEXEC);
		if (*fd >= 0)
			return i;
	}
	bail("open a card");
}

static inline void card_open(void)
{
	card_node(0, &card);
	if (ioctl(card, GIGALOCK_IOC_INFO, &card_info))
		bail("INFO");
}

static inline uint32_t strategy_number(const char *name)
{
	static const char * const names[GIGALOCK_STRATEGY_COUNT] = {
		"coherent", "contig-range", "sg", "reserved", "pool", "hugetlb",
		"chunked", "dmabuf",
	};

	for (uint32_t i = 0; i < GIGALOCK_STRATEGY_COUNT; i++)
		if (!strcmp(name, names[i]))
			return i;
	errno = EINVAL;
	bail("strategy %s", name);
}

static struct gigalock_failure card_why;

/* LOCK as it is; -1 and errno, and the reason in card_why. */
static inline int try_lock(struct gigalock_lock *lock)
{
	card_why = (struct gigalock_failure){ .size = sizeof(card_why) };
	lock->size = sizeof(*lock);
	lock->failure_addr = (uintptr_t)&card_why;
	if (!lock->direction)
		lock->direction = GIGALOCK_DIR_BOTH;
	return ioctl(card, GIGALOCK_IOC_LOCK, lock);
}

static inline void do_lock(struct gigalock_lock *lock)
{
	if (try_lock(lock))
		bail("LOCK of %llu bytes by strategy %u: reason %u",
		     (unsigned long long)lock->bytes, lock->strategy, card_why.reason);
}

static inline int try_unlock(uint32_t id)
{
	struct gigalock_unlock u = { .size = sizeof(u), .id = id };

	return ioctl(card, GIGALOCK_IOC_UNLOCK, &u);
}

static inline void do_unlock(uint32_t id)
{
	if (try_unlock(id))
		bail("UNLOCK %u", id);
}

static inline int try_sync(uint32_t id, uint32_t flags, uint64_t offset, uint64_t length)
{
	struct gigalock_sync s = { .size = sizeof(s), .id = id, .flags = flags,
				   .offset = offset, .length = length };

	return ioctl(card, GIGALOCK_IOC_SYNC, &s);
}

static inline void do_sync(uint32_t id, uint32_t flags, uint64_t offset, uint64_t length)
{
	if (try_sync(id, flags, offset, length))
		bail("SYNC");
}

/* One transfer with the sync it needs; returns its status. */
static inline uint32_t try_move(uint32_t id, uint32_t direction, uint64_t offset,
				uint64_t length, uint64_t card_offset)
{
	struct gigalock_submit s = { .size = sizeof(s), .id = id, .direction = direction,
				     .offset = offset, .length = length,
				     .card_offset = card_offset };
	struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 60000 };

	if (direction == GIGALOCK_DIR_TO_CARD)
		do_sync(id, GIGALOCK_SYNC_FOR_DEVICE, offset, length);
	if (ioctl(card, GIGALOCK_IOC_SUBMIT, &s))
		bail("SUBMIT of %llu bytes", (unsigned long long)length);
	w.xfer = s.xfer;
	if (ioctl(card, GIGALOCK_IOC_WAIT, &w))
		bail("WAIT");
	if (direction == GIGALOCK_DIR_FROM_CARD)
		do_sync(id, GIGALOCK_SYNC_FOR_CPU, offset, length);
	return w.status;
}

static inline void do_move(uint32_t id, uint32_t direction, uint64_t offset,
			   uint64_t length, uint64_t card_offset)
{
	uint32_t status = try_move(id, direction, offset, length, card_offset);

	if (status)
		bail("a transfer ended with status %u", status);
}

/* Eight bytes that no other place has. */
static inline uint64_t mark_of(uint64_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15ULL;
}

static inline void mark(void *mem, uint64_t bytes, uint64_t salt)
{
	uint64_t *p = mem;

	for (uint64_t i = 0; i < bytes / 8; i++)
		p[i] = mark_of(i + salt);
}

/* The first place that doesn't have its mark, or @bytes. */
static inline uint64_t marked_until(const void *mem, uint64_t bytes, uint64_t salt)
{
	const uint64_t *p = mem;

	for (uint64_t i = 0; i < bytes / 8; i++)
		if (p[i] != mark_of(i + salt))
			return i * 8;
	return bytes;
}

static inline uint64_t zero_until(const void *mem, uint64_t bytes)
{
	const uint64_t *p = mem;

	for (uint64_t i = 0; i < bytes / 8; i++)
		if (p[i])
			return i * 8;
	return bytes;
}

/*
 * Every byte of a lock to the card and back, a card's memory full at a time: the
 * first place that came back wrong, or @bytes. @mem is what the CPU sees of it.
 */
static inline uint64_t there_and_back(uint32_t id, void *mem, uint64_t bytes)
{
	uint64_t step = bytes < card_info.card_bytes ? bytes : card_info.card_bytes;

	for (uint64_t at = 0; at < bytes; at += step) {
		uint64_t n = bytes - at < step ? bytes - at : step, good;

		mark((char *)mem + at, n, at / 8);
		do_move(id, GIGALOCK_DIR_TO_CARD, at, n, 0);
		memset((char *)mem + at, 0x5a, n);
		do_move(id, GIGALOCK_DIR_FROM_CARD, at, n, 0);
		good = marked_until((char *)mem + at, n & ~7ULL, at / 8);
		if (good < (n & ~7ULL))
			return at + good;
	}
	return bytes;
}

/*
 * The physical runs that memory lies in, as the kernel's own pagemap tells: the
 * pieces that a device sees of it when all neighbours merge, none longer than
 * @most bytes (whole pages, counted from a page boundary).
 */
static inline uint64_t physical_runs(const void *mem, uint64_t bytes, uint64_t most)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t first = (uintptr_t)mem / 4096, runs = 0, next = 0, length = 0;
	uint64_t pages = ((uintptr_t)mem + bytes + 4095) / 4096 - first;

	for (uint64_t i = 0; i < pages; i++) {
		static uint64_t entries[4096];
		uint64_t pfn, n = pages - i < 4096 ? pages - i : 4096;

		if (i % 4096 == 0 && pread(fd, entries, n * 8, (first + i) * 8) != (ssize_t)n * 8)
			bail("pagemap");
		if (!(entries[i % 4096] >> 63))
			bail("pagemap has no page %llu", (unsigned long long)i);
		pfn = entries[i % 4096] & ((1ULL << 55) - 1);
		if (!pfn)
			bail("pagemap tells no page numbers");
		if (pfn != next || length + 4096 > most) {
			runs++;
			length = 0;
		}
		length += 4096;
		next = pfn + 1;
	}
	close(fd);
	return runs;
}

/* A line of /proc/self/status, in KiB. */
static inline long status_kib(const char *field)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long n = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, strlen(field)) && line[strlen(field)] == ':')
			n = atol(line + strlen(field) + 1);
	if (f)
		fclose(f);
	return n;
}

#endif /* GIGALOCK_TEST_CARD_H */
