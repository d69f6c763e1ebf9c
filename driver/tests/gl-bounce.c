// SPDX-License-Identifier: GPL-2.0-only
/*
 * For a guest booted with swiotlb=force: all DMA goes through a bounce buffer, so
 * sync really moves bytes, and a sync that moves too many overwrites what the CPU
 * wrote beside the transfer.
 *
 *   gl-bounce [/dev/gigalock0]
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
	return tap_done();
}
