// SPDX-License-Identifier: GPL-2.0-only
/*
 * The largest blocks there are, on a machine that has few: the memory of the guest
 * is taken to pieces, and the pieces of a lock are held against what the page
 * allocator said it had.
 *
 *   gl-chunked HOLD_MIB STRIDE_KIB MIB
 *
 * Of HOLD_MIB one page is kept pinned every STRIDE_KIB and all others are given
 * back, then MIB are locked. 0 for HOLD_MIB: the memory as it is.
 */
#include "card.h"

#define PAGE	4096UL
#define ORDERS	32

static uint64_t kept;

/* Pinned pages can't be moved away to make larger blocks. */
static char *take_to_pieces(uint64_t bytes, uint64_t stride)
{
	char *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		bail("mmap of %llu", (unsigned long long)bytes);
	madvise(mem, bytes, MADV_NOHUGEPAGE);
	for (uint64_t at = 0; at < bytes; at += PAGE)
		mem[at] = 1;
	for (uint64_t at = 0; at < bytes; at += stride) {
		struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = PAGE,
					   .user_addr = (uintptr_t)mem + at };

		do_lock(&l);
		kept++;
		if (madvise(mem + at + PAGE, stride - PAGE, MADV_DONTNEED))
			bail("madvise");
	}
	return mem;
}

/* Free blocks of each order, as the allocator tells. */
static void free_blocks(uint64_t count[ORDERS])
{
	FILE *f = fopen("/proc/buddyinfo", "r");
	char line[1024];

	memset(count, 0, ORDERS * sizeof(count[0]));
	while (f && fgets(line, sizeof(line), f)) {
		char *p = strstr(line, "zone"), *end;

		if (!p)
			continue;
		/* The name of the zone; then numbers. */
		p += strcspn(p, " ");
		p += strspn(p, " ");
		p += strcspn(p, " ");
		for (int order = 0; order < ORDERS; order++) {
			uint64_t n = strtoull(p, &end, 10);

			if (end == p)
				break;
			count[order] += n;
			p = end;
		}
	}
	if (f)
		fclose(f);
}

/* How many blocks it takes, the largest first; 0: there are not enough. */
static uint64_t blocks_for(const uint64_t count[ORDERS], uint64_t bytes)
{
	uint64_t pages = bytes / PAGE, used = 0;

	for (int order = ORDERS - 1; order >= 0 && pages; order--) {
		uint64_t n = pages >> order;

		if (n > count[order])
			n = count[order];
		used += n;
		pages -= n << order;
	}
	return pages ? 0 : used;
}

/* Free it is, but pages that can't be moved lie in between. */
static void test_in_a_row(uint64_t bytes)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_CONTIG_RANGE, .bytes = bytes };

	fails(try_lock(&l), EBUSY, "as much in a row is nowhere");
	is(card_why.reason, GIGALOCK_REASON_NO_FREE_RANGE, "  for its reason");
	is(card_why.stage, GIGALOCK_STAGE_ALLOCATE, "  while allocating");
	is(card_why.request, bytes, "  with what was asked for");
	ok(card_why.available && card_why.available < bytes && card_why.available == card_why.limit,
	   "  and the longest there is: %llu", (unsigned long long)card_why.available);
	l.bytes = card_why.available;
	fails(try_lock(&l), 0, "which can be had");
	do_unlock(l.id);
}

static void test_too_much(void)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_CHUNKED };
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	uint64_t kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemTotal: %llu", (unsigned long long *)&kib) == 1)
			break;
	if (f)
		fclose(f);
	l.bytes = kib << 10 & ~(PAGE - 1);
	fails(try_lock(&l), ENOMEM, "as much as all RAM");
	is(card_why.reason, GIGALOCK_REASON_NO_MEMORY, "  for its reason");
	is(card_why.stage, GIGALOCK_STAGE_ALLOCATE, "  while allocating");
	is(card_why.request, l.bytes, "  with what was asked for");
	ok(card_why.available > 0 && card_why.available < l.bytes, "  and what was got: %llu",
	   (unsigned long long)card_why.available);
	l.bytes *= 2;
	fails(try_lock(&l), ENOMEM, "twice all RAM");
	is(card_why.reason, GIGALOCK_REASON_RAM_TOO_SMALL, "  for its reason");
	l.bytes = 64UL << 20;
	l.timeout_ms = 0;
	do_lock(&l);
	ok(true, "memory is there again afterwards");
	do_unlock(l.id);
}

int main(int argc, char **argv)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_CHUNKED };
	uint64_t count[ORDERS], blocks, hold, stride, large = 0;
	char *mem;

	if (argc != 4)
		bail("usage: gl-chunked HOLD_MIB STRIDE_KIB MIB");
	card_open();
	hold = strtoull(argv[1], NULL, 0) << 20;
	stride = strtoull(argv[2], NULL, 0) << 10;
	l.bytes = strtoull(argv[3], NULL, 0) << 20;
	if (hold)
		take_to_pieces(hold, stride);
	free_blocks(count);
	for (int order = 0; order < ORDERS; order++)
		if (PAGE << order >= stride)
			large += count[order] << order;
	if (hold)
		ok(large * PAGE < l.bytes, "%llu pages pinned: only %llu MiB are in blocks of %s KiB or more",
		   (unsigned long long)kept, (unsigned long long)large * PAGE >> 20, argv[2]);
	blocks = blocks_for(count, l.bytes);
	ok(blocks, "the allocator has that much: in %llu blocks", (unsigned long long)blocks);
	do_lock(&l);
	/* A few blocks are left for others, and their place is taken by smaller ones. */
	ok(l.segments <= blocks + blocks / 20 + 8, "%u pieces, where there were %llu blocks",
	   l.segments, (unsigned long long)blocks);
	if (hold)
		ok(l.segments >= (l.bytes - large * PAGE) / stride,
		   "they can't be longer than what lies between two pinned pages");
	else
		ok(l.segments <= 16, "fresh memory is in few pieces");
	is(l.backing, GIGALOCK_BACKING_BLOCKS, "the lock says what it is made of");
	mem = mmap(NULL, l.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, card, l.mmap_offset);
	if (mem == MAP_FAILED)
		bail("mmap");
	is(zero_until(mem, l.bytes), l.bytes, "all zero");
	is(there_and_back(l.id, mem, l.bytes), l.bytes, "every byte goes to the card and back");
	munmap(mem, l.bytes);
	do_unlock(l.id);
	if (hold) {
		l.flags = GIGALOCK_LOCK_SMALL_TABLE;
		fails(try_lock(&l), E2BIG, "a table of 256 entries is too small for it");
		is(card_why.reason, GIGALOCK_REASON_TOO_MANY_SEGMENTS, "  for its reason");
		test_in_a_row(l.bytes);
	}
	test_too_much();
	return tap_done();
}
