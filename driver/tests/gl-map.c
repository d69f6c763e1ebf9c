// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping a lock into a process: offsets, what is refused, that the CPU sees the
 * memory that the card sees, in the same order; and what it costs.
 *
 *   gl-map STRATEGY MIB [SPARSE]
 *   gl-map quarters MIB	a table with an entry for every page: does touching
 *				the last quarter take longer than touching the first?
 *
 * With SPARSE only a page every 2 MiB is touched. Last it prints "# pte KIB",
 * the page tables that the mapping of all of it took.
 */
#include "card.h"

#include <sys/wait.h>
#include <time.h>

#define PAGE	4096UL

static struct gigalock_lock lock;

static void *map(uint64_t length, uint64_t offset, int flags)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, flags, card, offset);
}

static void refused(uint64_t length, uint64_t offset, int flags, int want, const char *what)
{
	void *p = map(length, offset, flags);

	fails(p == MAP_FAILED ? -1 : 0, want, what);
	if (p != MAP_FAILED)
		munmap(p, length);
}

static void test_offsets(void)
{
	struct gigalock_lock a = { .strategy = lock.strategy, .bytes = PAGE }, b = a, c = a;

	ok(lock.mmap_offset && lock.mmap_offset % PAGE == 0, "the offset is a page's");
	ok(lock.mmap_offset + lock.bytes <= 1ULL << 44, "and below 2^44");
	ok(lock.bytes < 2UL << 20 || lock.mmap_offset % (2UL << 20) == 0,
	   "and a huge page's, if the lock is that long");
	do_lock(&a);
	do_lock(&b);
	ok(a.mmap_offset + a.bytes <= b.mmap_offset || b.mmap_offset + b.bytes <= a.mmap_offset,
	   "two locks have two ranges of offsets");
	do_unlock(a.id);
	do_lock(&c);
	ok(c.mmap_offset != a.mmap_offset && c.mmap_offset != b.mmap_offset,
	   "an offset given back is not at once another's");
	refused(PAGE, a.mmap_offset, MAP_SHARED, ENOENT, "an offset given back");
	do_unlock(b.id);
	do_unlock(c.id);
	a.flags = GIGALOCK_LOCK_NO_USER_MAP;
	do_lock(&a);
	is(a.mmap_offset, 0, "a lock that is never mapped has no offset");
	do_unlock(a.id);
}

static void test_refused(void)
{
	refused(lock.bytes, lock.mmap_offset, MAP_PRIVATE, EINVAL, "a private mapping");
	refused(lock.bytes + PAGE, lock.mmap_offset, MAP_SHARED, EINVAL, "a page too long");
	refused(lock.bytes, lock.mmap_offset + PAGE, MAP_SHARED, EINVAL, "a page too far");
	refused(PAGE, lock.mmap_offset + lock.bytes, MAP_SHARED, ENOENT, "behind its end");
	refused(PAGE, lock.mmap_offset - PAGE, MAP_SHARED, ENOENT, "before its start");
	refused(PAGE, 0, MAP_SHARED, ENOENT, "offset 0");
	refused(PAGE, 1ULL << 44, MAP_SHARED, ENOENT, "beyond all offsets");
	refused(PAGE, 1ULL << 62, MAP_SHARED, ENOENT, "far beyond");
}

/* A part of it, from the middle of a huge page on, and what a child does to it. */
static void test_parts(char *mem)
{
	uint64_t at = lock.bytes > (4UL << 20) ? (2UL << 20) + 5 * PAGE : PAGE;
	uint64_t n = lock.bytes - at - PAGE;
	char *part = map(n, lock.mmap_offset + at, MAP_SHARED);
	int status;

	if (part == MAP_FAILED)
		bail("mmap of a part");
	mem[at] = 'a';
	mem[at + n - 1] = 'z';
	is(part[0], 'a', "a mapping of a part sees its first byte");
	is(part[n - 1], 'z', "and its last");
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while mapped");
	if (!fork()) {
		part[n - 1]++;
		mem[at]++;
		_exit(0);
	}
	wait(&status);
	is(part[0], 'b', "what a child writes is seen, in one mapping");
	is(mem[at + n - 1], '{', "and in the other");
	munmap(part, n);
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while one of two is mapped");
	/* In two: a hole in the middle. */
	munmap(mem + at, PAGE);
	mem[at - 1] = 'x';
	mem[at + PAGE] = 'y';
	ok(mem[at - 1] == 'x' && mem[at + PAGE] == 'y', "with a hole in it, both sides live on");
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void run_quarters(void)
{
	uint64_t quarter = lock.bytes / 4, best[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX,
						       UINT64_MAX };
	char *mem = NULL;

	/* The best of each: what comes between is not the driver's. */
	for (int round = 0; round < 3; round++) {
		if (mem)
			munmap(mem, lock.bytes);
		mem = map(lock.bytes, lock.mmap_offset, MAP_SHARED);
		if (mem == MAP_FAILED)
			bail("mmap");
		for (int q = 0; q < 4; q++) {
			uint64_t start = now_ns(), t;

			for (uint64_t at = q * quarter; at < (q + 1) * quarter; at += PAGE)
				*(uint64_t *)(mem + at) = mark_of(at);
			t = now_ns() - start;
			if (t < best[q])
				best[q] = t;
		}
	}
	printf("# us: %llu %llu %llu %llu\n", (unsigned long long)best[0] / 1000,
	       (unsigned long long)best[1] / 1000, (unsigned long long)best[2] / 1000,
	       (unsigned long long)best[3] / 1000);
	ok(best[3] < 3 * best[0], "the last quarter takes no longer than the first");
	for (uint64_t at = 0; at < lock.bytes; at += PAGE)
		if (*(uint64_t *)(mem + at) != mark_of(at))
			bail("the page at %llu is another's", (unsigned long long)at);
	ok(true, "no page is there twice");
	mark(mem + lock.bytes - 5 * PAGE, 5 * PAGE, 7);
	do_move(lock.id, GIGALOCK_DIR_TO_CARD, lock.bytes - 5 * PAGE, 5 * PAGE, 0);
	do_move(lock.id, GIGALOCK_DIR_FROM_CARD, lock.bytes / 2, 5 * PAGE, 0);
	is(marked_until(mem + lock.bytes / 2, 5 * PAGE, 7), 5 * PAGE,
	   "the card sees what the CPU sees, far behind the beginning");
}

int main(int argc, char **argv)
{
	uint64_t good, tables;
	char *mem;

	if (argc < 3)
		bail("usage: gl-map STRATEGY MIB [SPARSE]");
	card_open();
	lock.bytes = strtoull(argv[2], NULL, 0) << 20;
	if (!strcmp(argv[1], "quarters")) {
		lock.strategy = GIGALOCK_STRATEGY_CHUNKED;
		lock.flags = GIGALOCK_LOCK_ENTRY_PER_PAGE;
		do_lock(&lock);
		run_quarters();
		return tap_done();
	}
	lock.strategy = strategy_number(argv[1]);
	do_lock(&lock);
	test_offsets();
	test_refused();

	tables = status_kib("VmPTE");
	mem = map(lock.bytes, lock.mmap_offset, MAP_SHARED);
	if (mem == MAP_FAILED)
		bail("mmap");
	if (argc > 3) {
		for (good = 0; good < lock.bytes && !*(uint64_t *)(mem + good); good += 2UL << 20)
			*(uint64_t *)(mem + good) = mark_of(good);
		ok(good >= lock.bytes, "it is all zero, looked at here and there");
		for (good = 0; good < lock.bytes; good += 2UL << 20)
			if (*(uint64_t *)(mem + good) != mark_of(good))
				break;
		ok(good >= lock.bytes, "and no page is there twice");
	} else {
		is(zero_until(mem, lock.bytes), lock.bytes, "it is all zero");
	}
	tables = status_kib("VmPTE") - tables;
	if (argc > 3)
		is(there_and_back(lock.id, mem, 2UL << 20), 2UL << 20,
		   "its beginning goes to the card and back");
	else
		is(there_and_back(lock.id, mem, lock.bytes), lock.bytes,
		   "every byte goes to the card and back");
	test_parts(mem);
	munmap(mem, lock.bytes);
	fails(try_unlock(lock.id), 0, "UNLOCK when no longer mapped");
	refused(PAGE, lock.mmap_offset, MAP_SHARED, ENOENT, "its offset then");
	printf("# pte %llu\n", (unsigned long long)tables);
	return tap_done();
}
