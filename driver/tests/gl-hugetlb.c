// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locking huge pages: pieces, what kind of page is told, what is refused and how
 * far it was good.
 *
 *   gl-hugetlb PAGE-MIB PAGES	at least 3; the guest has set them aside
 */
#include "card.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT	26
#endif

static uint64_t huge, bytes;

static char *get(uint64_t n, int flags)
{
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		bail("mmap of %llu", (unsigned long long)n);
	return p;
}

static void refused(char *at, uint64_t n, int want, uint32_t reason, uint64_t good,
		    const char *what)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_HUGETLB, .bytes = n,
				   .user_addr = (uintptr_t)at };

	if (!fails(try_lock(&l), want, what))
		return;
	is(card_why.reason, reason, "  for its reason");
	is(card_why.available, good, "  with the length before it");
	is(card_why.stage, GIGALOCK_STAGE_PIN, "  where pages are pinned");
}

int main(int argc, char **argv)
{
	uint32_t kind;
	uint64_t n;
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_HUGETLB };
	int flags;
	char *mem, *area, *small;

	if (argc != 3)
		bail("usage: gl-hugetlb PAGE-MIB PAGES");
	card_open();
	huge = strtoull(argv[1], NULL, 0) << 20;
	n = strtoull(argv[2], NULL, 0);
	bytes = huge * n;
	kind = huge == 2UL << 20 ? GIGALOCK_BACKING_HUGE_2M : GIGALOCK_BACKING_HUGE_1G;
	flags = MAP_HUGETLB | __builtin_ctzll(huge) << MAP_HUGE_SHIFT;
	mem = get(bytes, flags);

	l.bytes = bytes;
	l.user_addr = (uintptr_t)mem;
	/* From the end on, as the kernel hands them out downwards: some are neighbours. */
	for (uint64_t i = n; i--;)
		mem[i * huge] = 1;
	do_lock(&l);
	ok(l.segments >= 1 && l.segments <= n, "at most a piece for every huge page: %u of %llu",
	   l.segments, (unsigned long long)n);
	is(l.segments, physical_runs(mem, bytes, ~0U & ~4095U), "neighbours are one piece");
	is(l.backing, kind, "the kind of page is told");
	is(l.mmap_offset, 0, "the caller has it mapped already");
	ok(l.longest_segment >= huge, "no huge page is in pieces");
	is(there_and_back(l.id, mem, 4UL << 20), 4UL << 20, "4 MiB go to the card and back");
	do_unlock(l.id);

	/* Neither begins nor ends with a huge page. */
	l.user_addr = (uintptr_t)mem + 4096 + 100;
	l.bytes = bytes - 3 * 4096;
	do_lock(&l);
	ok(l.segments >= 1 && l.segments <= n, "a part of them, at odd places: %u pieces",
	   l.segments);
	is(there_and_back(l.id, mem + 4096 + 100, 1UL << 20), 1UL << 20, "goes there and back");
	do_unlock(l.id);

	l.user_addr = (uintptr_t)mem;
	l.bytes = 8UL << 20 > bytes ? bytes : 8UL << 20;
	l.flags = GIGALOCK_LOCK_ENTRY_PER_PAGE;
	do_lock(&l);
	is(l.segments, l.bytes / 4096, "with an entry per page, as many as there are pages");
	is(l.longest_segment, 4096, "of that length");
	do_unlock(l.id);
	l.flags = 0;

	small = get(2 * huge, 0);
	refused(small, huge, EMEDIUMTYPE, GIGALOCK_REASON_NOT_HUGETLB, 0, "ordinary memory");
	refused(small + 4096 + 100, huge, EMEDIUMTYPE, GIGALOCK_REASON_NOT_HUGETLB, 0,
		"ordinary memory, at an odd place");
	munmap(small, 2 * huge);

	/* All huge pages but the last, then ordinary memory, then nothing. */
	munmap(mem, bytes);
	area = get(bytes + huge, 0);
	mem = (char *)(((uintptr_t)area + huge - 1) / huge * huge);
	munmap(area, bytes + huge);
	if (mmap(mem, bytes - huge, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0) != mem ||
	    mmap(mem + bytes - huge, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		bail("mmap side by side");
	refused(mem + 100, bytes - huge, EMEDIUMTYPE, GIGALOCK_REASON_NOT_HUGETLB,
		bytes - huge - 100, "ordinary memory behind huge pages");
	munmap(mem + bytes - huge, 4096);
	refused(mem + 4096, bytes, EFAULT, GIGALOCK_REASON_BAD_ADDRESS,
		bytes - huge - 4096, "nothing behind huge pages");
	l.user_addr = (uintptr_t)mem;
	l.bytes = bytes - huge;
	do_lock(&l);
	ok(true, "just the huge pages");
	do_unlock(l.id);
	mprotect(mem, bytes - huge, PROT_READ);
	refused(mem, bytes - huge, EFAULT, GIGALOCK_REASON_READ_ONLY, 0, "read-only huge pages");
	l.direction = GIGALOCK_DIR_TO_CARD;
	do_lock(&l);
	ok(true, "those are good enough for the card to read");
	do_unlock(l.id);
	return tap_done();
}
