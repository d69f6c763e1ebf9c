// SPDX-License-Identifier: GPL-2.0-only
/*
 * For a guest booted with swiotlb=force: all DMA goes through a bounce buffer, so
 * sync really moves bytes, and a sync that moves too many overwrites what the CPU
 * wrote beside the transfer.
 *
 *   gl-bounce [/dev/gigalock0]
 *
 * The guest has two huge pages set aside, and a pool of a buffer of 128 KiB.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/gigalock.h>

#include "tap.h"

#define SIZE	((4UL << 20) + 100)	/* ends a little way into a page */

static int fd;

static void sync_range(uint32_t id, uint32_t flags, uint64_t offset, uint64_t length)
{
	struct gigalock_sync s = { .size = sizeof(s), .id = id, .flags = flags,
				   .offset = offset, .length = length };

	if (ioctl(fd, GIGALOCK_IOC_SYNC, &s))
		bail("SYNC");
}

static void transfer(uint32_t id, uint32_t direction, uint64_t offset, uint64_t length)
{
	struct gigalock_submit s = { .size = sizeof(s), .id = id, .direction = direction,
				     .offset = offset, .length = length,
				     .card_offset = offset };
	struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 30000 };

	if (ioctl(fd, GIGALOCK_IOC_SUBMIT, &s))
		bail("SUBMIT");
	w.xfer = s.xfer;
	if (ioctl(fd, GIGALOCK_IOC_WAIT, &w) || w.status)
		bail("WAIT: status %u", w.status);
}

static uint8_t pattern(uint64_t i)
{
	return i * 2654435761U >> 24;
}

static uint64_t same_until(const uint8_t *mem, uint64_t from, uint64_t to)
{
	while (from < to && mem[from] == pattern(from))
		from++;
	return from;
}

/*
 * Both ways with one byte that is synced and one that isn't, by any strategy: what
 * @bounces loses the second, what the card reaches by itself does not.
 */
static void one(uint32_t strategy, uint64_t bytes, bool bounces)
{
	static const char * const names[] = {
		"coherent", "contig-range", "sg", "reserved", "pool", "hugetlb", "chunked",
	};
	struct gigalock_lock l = { .size = sizeof(l), .strategy = strategy,
				   .direction = GIGALOCK_DIR_BOTH, .bytes = bytes };
	struct gigalock_unlock u = { .size = sizeof(u) };
	const uint64_t synced = bytes / 2 + 77, left = bytes / 2 + 78;
	bool own = strategy == GIGALOCK_STRATEGY_HUGETLB;
	uint8_t *mem = NULL;

	if (own) {
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		l.user_addr = (uintptr_t)mem;
	}
	if (mem == MAP_FAILED || ioctl(fd, GIGALOCK_IOC_LOCK, &l))
		bail("LOCK by %s", names[strategy]);
	u.id = l.id;
	if (!own)
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   l.mmap_offset);
	if (mem == MAP_FAILED)
		bail("mmap by %s", names[strategy]);
	for (uint64_t i = 0; i < bytes; i++)
		mem[i] = pattern(i);
	sync_range(l.id, GIGALOCK_SYNC_FOR_DEVICE, 0, 0);
	mem[synced] = ~pattern(synced);
	mem[left] = ~pattern(left);
	sync_range(l.id, GIGALOCK_SYNC_FOR_DEVICE, synced, 1);
	transfer(l.id, GIGALOCK_DIR_TO_CARD, 0, bytes);
	memset(mem, 0, bytes);
	sync_range(l.id, GIGALOCK_SYNC_FOR_DEVICE, 0, 0);
	transfer(l.id, GIGALOCK_DIR_FROM_CARD, 0, bytes);
	ok(!mem[1] == bounces, "%s: the CPU sees what the card wrote without a sync: %s",
	   names[strategy], bounces ? "no" : "yes");
	sync_range(l.id, GIGALOCK_SYNC_FOR_CPU, synced, 1);
	ok(!mem[left] == bounces, "  a sync brings its own byte alone");
	is(mem[synced], (uint8_t)~pattern(synced), "  what was synced came to the card and back");
	sync_range(l.id, GIGALOCK_SYNC_FOR_CPU, 0, 0);
	is(mem[left], bounces ? pattern(left) : (uint8_t)~pattern(left),
	   bounces ? "  what was not did not" : "  so did what was not");
	mem[synced] = pattern(synced);
	mem[left] = pattern(left);
	is(same_until(mem, 0, bytes), bytes, "  every other byte is back");
	munmap(mem, bytes);
	if (ioctl(fd, GIGALOCK_IOC_UNLOCK, &u))
		bail("UNLOCK by %s", names[strategy]);
}

int main(int argc, char **argv)
{
	struct gigalock_lock lock = { .size = sizeof(lock),
				      .strategy = GIGALOCK_STRATEGY_SG,
				      .direction = GIGALOCK_DIR_BOTH, .bytes = SIZE };
	struct gigalock_unlock unlock = { .size = sizeof(unlock) };
	struct gigalock_info info = { .size = sizeof(info) };
	uint8_t *mem;

	fd = open(argc > 1 ? argv[1] : "/dev/gigalock0", O_RDWR);
	if (fd < 0)
		bail("open");
	if (ioctl(fd, GIGALOCK_IOC_INFO, &info))
		bail("INFO");
	ok(info.swiotlb_max_bytes, "this guest bounces");
	mem = mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (mem == MAP_FAILED)
		bail("mmap");
	lock.user_addr = (uintptr_t)mem;
	for (uint64_t i = 0; i < SIZE; i++)
		mem[i] = pattern(i);
	if (ioctl(fd, GIGALOCK_IOC_LOCK, &lock))
		bail("LOCK");
	unlock.id = lock.id;
	ok(lock.longest_segment <= info.swiotlb_max_bytes, "no piece is longer than a bounce");

	/* Written after the lock: only a sync brings it to the card. */
	mem[5000] = ~pattern(5000);
	transfer(lock.id, GIGALOCK_DIR_TO_CARD, 0, SIZE);
	memset(mem, 0, SIZE);
	transfer(lock.id, GIGALOCK_DIR_FROM_CARD, 0, SIZE);
	is(mem[5000], 0, "without a sync the CPU doesn't see what the card wrote");
	sync_range(lock.id, GIGALOCK_SYNC_FOR_CPU, 0, 0);
	is(mem[5000], pattern(5000), "a write that was not synced did not reach the card");
	is(same_until(mem, 0, SIZE), SIZE, "every byte is back");

	mem[5000] = ~pattern(5000);
	sync_range(lock.id, GIGALOCK_SYNC_FOR_DEVICE, 5000, 1);
	transfer(lock.id, GIGALOCK_DIR_TO_CARD, 0, SIZE);
	memset(mem, 0, SIZE);
	transfer(lock.id, GIGALOCK_DIR_FROM_CARD, 0, SIZE);
	sync_range(lock.id, GIGALOCK_SYNC_FOR_CPU, 0, 0);
	is(mem[5000], (uint8_t)~pattern(5000), "one that was synced did");
	mem[5000] = pattern(5000);

	/* Two parts of one piece: the CPU's stays while the other is synced. */
	memset(mem + 8192, 0x11, 4096);
	transfer(lock.id, GIGALOCK_DIR_FROM_CARD, 0, 4096);
	sync_range(lock.id, GIGALOCK_SYNC_FOR_CPU, 0, 4096);
	is(mem[8192], 0x11, "sync of one part leaves its neighbour alone, before it");
	is(mem[12287], 0x11, "and to its end");
	sync_range(lock.id, GIGALOCK_SYNC_FOR_DEVICE, 8192, 4096);

	/* Behind the end, in the last page: never the device's. */
	memset(mem + SIZE, 0x77, 4096 - 100);
	transfer(lock.id, GIGALOCK_DIR_FROM_CARD, 0, SIZE);
	sync_range(lock.id, GIGALOCK_SYNC_FOR_CPU, 0, 0);
	is(mem[SIZE], 0x77, "a sync leaves alone what lies behind the buffer");
	if (ioctl(fd, GIGALOCK_IOC_UNLOCK, &unlock))
		bail("UNLOCK");
	is(mem[SIZE], 0x77, "unlocking, too");
	is(mem[SIZE + 3995], 0x77, "to the end of the page");
	one(GIGALOCK_STRATEGY_COHERENT, 64 << 10, false);
	one(GIGALOCK_STRATEGY_CONTIG_RANGE, 128 << 10, true);
	one(GIGALOCK_STRATEGY_POOL, 128 << 10, true);
	one(GIGALOCK_STRATEGY_HUGETLB, 4 << 20, true);
	one(GIGALOCK_STRATEGY_CHUNKED, 4 << 20, true);
	return tap_done();
}
