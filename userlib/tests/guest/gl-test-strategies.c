/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strategies that bring memory of another kind: huge pages and the largest
 * blocks. In guests with the card, as root.
 */
#include "tap.h"

#include <fcntl.h>
#include <sys/mman.h>

#define HUGETLB GIGALOCK_STRATEGY_HUGETLB
#define CHUNKED GIGALOCK_STRATEGY_CHUNKED
#define BOTH GIGALOCK_DIR_BOTH
#define HUGE_2M (2 * MIB)
#define POOL 48			/* pages of 2 MiB that are set aside */
#define PAGE ((uint64_t)4096)

/* ---- the kernel's huge pages --------------------------------------------------------- */

#define POOL_DIR "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint64_t read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long value;

	CHECK(file && fscanf(file, "%llu", &value) == 1);
	fclose(file);
	return value;
}

static void set_aside(unsigned int pages)
{
	FILE *file = fopen(POOL_DIR "nr_hugepages", "we");

	CHECK(file && fprintf(file, "%u", pages) > 0 && !fclose(file));
	EQUAL(read_number(POOL_DIR "nr_hugepages"), pages);
}

static uint64_t free_pages(void)
{
	return read_number(POOL_DIR "free_hugepages") -
	       read_number(POOL_DIR "resv_hugepages");
}

static struct glk_lock_options huge(uint64_t bytes, uint64_t page_size)
{
	return (struct glk_lock_options){
		.size = sizeof(struct glk_lock_options), .strategy = HUGETLB,
		.bytes = bytes, .page_size = page_size,
	};
}

static struct gigalock_failure no_lock(struct glk_card *card,
				       struct glk_lock_options o, int err,
				       uint32_t reason)
{
	uint64_t unused = free_pages();
	struct gigalock_failure f;
	struct glk_lock *lock;

	EQUAL(glk_lock_new(card, &o, &lock, &f), -err);
	CHECK(!lock);
	expect_reason(&f, reason);
	EQUAL(free_pages(), unused);
	return f;
}

static void huge_pages_of_the_library(void)
{
	static const uint64_t sizes[] = { 1, 4096, HUGE_2M, 33 * MIB + 4321 };
	struct glk_card *card = open_card();

	set_aside(POOL);
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 2; j++) {
			uint64_t pages = (sizes[i] + HUGE_2M - 1) / HUGE_2M;
			struct glk_lock_options o = huge(sizes[i], j ? HUGE_2M : 0);
			struct glk_lock *lock;

			EQUAL(glk_lock_new(card, &o, &lock, NULL), 0);
			EQUAL(glk_lock_bytes(lock), sizes[i]);
			EQUAL(glk_lock_backing(lock), GIGALOCK_BACKING_HUGE_2M);
			CHECK(glk_lock_segments(lock) <= pages);
			EQUAL((uintptr_t)glk_lock_data(lock) % HUGE_2M, 0);
			EQUAL(free_pages(), POOL - pages);
			round_trip(lock, 0, sizes[i], 0);
			EQUAL(glk_lock_free(lock), 0);
			EQUAL(free_pages(), POOL);
		}
}

static void huge_pages_of_the_caller(void)
{
	struct glk_card *card = open_card();
	unsigned char *memory;

	set_aside(POOL);
	memory = mmap(NULL, 4 * HUGE_2M, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	CHECK(memory != MAP_FAILED);
	for (int i = 0; i < 3; i++) {
		static const uint64_t from[] = { 0, 100, HUGE_2M - 1 };
		struct glk_lock *lock = lock_memory(card, HUGETLB, 2 * HUGE_2M + 77,
						    BOTH, memory + from[i]);

		CHECK(glk_lock_data(lock) == memory + from[i]);
		EQUAL(glk_lock_backing(lock), GIGALOCK_BACKING_HUGE_2M);
		round_trip(lock, 0, 2 * HUGE_2M + 77, 0);
		EQUAL(glk_lock_free(lock), 0);
		/* It is the caller's as before. */
		memory[from[i]]++;
	}
	EQUAL(munmap(memory, 4 * HUGE_2M), 0);
	EQUAL(free_pages(), POOL);
}

static void other_pages_are_refused(void)
{
	struct glk_card *card = open_card();
	struct gigalock_failure f;
	unsigned char *place;

	set_aside(POOL);
	f = refused(card, HUGETLB, MIB, BOTH, scattered(MIB), EMEDIUMTYPE,
		    GIGALOCK_REASON_NOT_HUGETLB);
	EQUAL(f.available, 0);
	EQUAL(f.request, MIB);
	/* Huge ones, then a transparent one that only looks so, then none. */
	place = mmap(NULL, 8 * HUGE_2M, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(place != MAP_FAILED);
	place += (HUGE_2M - (uintptr_t)place % HUGE_2M) % HUGE_2M;
	CHECK(mmap(place, 2 * HUGE_2M, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED, -1, 0) ==
	      place);
	CHECK(mmap(place + 2 * HUGE_2M, HUGE_2M, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	madvise(place + 2 * HUGE_2M, HUGE_2M, MADV_HUGEPAGE);
	memset(place + 2 * HUGE_2M, 1, HUGE_2M);
	EQUAL(refused(card, HUGETLB, 3 * HUGE_2M - 100, BOTH, place + 100,
		      EMEDIUMTYPE, GIGALOCK_REASON_NOT_HUGETLB).available,
	      2 * HUGE_2M - 100);
	EQUAL(munmap(place + 2 * HUGE_2M, HUGE_2M), 0);
	EQUAL(refused(card, HUGETLB, 3 * HUGE_2M, BOTH, place, EFAULT,
		      GIGALOCK_REASON_BAD_ADDRESS).available, 2 * HUGE_2M);
	EQUAL(glk_lock_free(lock_memory(card, HUGETLB, 2 * HUGE_2M, BOTH, place)), 0);
}

static void too_few_huge_pages(void)
{
	struct glk_card *card = open_card();
	struct gigalock_failure f;
	struct glk_lock *lock;

	set_aside(POOL);
	f = no_lock(card, huge(512 * MIB, HUGE_2M), ENOMEM,
		    GIGALOCK_REASON_HUGETLB_POOL);
	EQUAL(f.request, 512 * MIB);
	EQUAL(f.limit, POOL * HUGE_2M);
	EQUAL(f.available, POOL * HUGE_2M);
	EQUAL(f.stage, GIGALOCK_STAGE_ALLOCATE);
	EQUAL(f.seq, 0);	/* the driver was never asked */
	lock = lock_memory(card, HUGETLB, 40 * HUGE_2M, BOTH, NULL);
	f = no_lock(card, huge(10 * HUGE_2M, HUGE_2M), ENOMEM,
		    GIGALOCK_REASON_HUGETLB_POOL);
	EQUAL(f.available, 8 * HUGE_2M);
	EQUAL(glk_lock_free(lock), 0);
	/* There are pages of 1 GiB in this CPU, but none set aside. */
	f = no_lock(card, huge(1024 * MIB, 1024 * MIB), ENOMEM,
		    GIGALOCK_REASON_HUGETLB_POOL);
	EQUAL(f.limit, 0);
	set_aside(0);
	f = no_lock(card, huge(MIB, 0), ENOMEM, GIGALOCK_REASON_HUGETLB_POOL);
	EQUAL(f.limit, 0);
	EQUAL(f.request, HUGE_2M);
}

static void no_huge_pages_of_that_size(void)
{
	struct gigalock_failure f;

	f = no_lock(open_card(), huge(8 * MIB, 8 * MIB), EINVAL,
		    GIGALOCK_REASON_HUGETLB_SIZE);
	EQUAL(f.request, 8 * MIB);
	EQUAL(no_lock(open_card(), huge(8 * MIB, 3 * MIB), EINVAL,
		      GIGALOCK_REASON_BAD_ARGUMENT).request, 3 * MIB);
}

/* ---- auto and the search --------------------------------------------------------------- */

static struct glk_try tries[16];
static unsigned int try_count;

static void collect(const struct glk_try *attempt, void *arg)
{
	(void)arg;
	CHECK(try_count < 16);
	tries[try_count++] = *attempt;
}

static bool was_tried(uint32_t strategy)
{
	for (unsigned int i = 0; i < try_count; i++)
		if (tries[i].strategy == strategy)
			return true;
	return false;
}

/* What auto finds, page by page; or when no range can be had, nor what comes before. */
static uint32_t auto_lock(struct glk_card *card, struct glk_lock_options *o, bool no_range)
{
	struct glk_lock *lock;
	uint32_t strategy;

	if (no_range) {
		FILE *file = fopen("/sys/kernel/debug/gigalock/gigalock0/inject", "we");

		/* The first to ask is coherent, which fails by itself. */
		CHECK(file && fprintf(file, "alloc %d 1", EIO) > 0 && !fclose(file));
	}
	try_count = 0;
	EQUAL(glk_lock_new(card, o, &lock, NULL), 0);
	strategy = glk_lock_strategy(lock);
	EQUAL(glk_lock_segments(lock), o->bytes / PAGE);
	EQUAL(glk_lock_free(lock), 0);
	return strategy;
}

/* Huge pages count only when there are enough; what was never loaded, never. */
static void auto_tries_what_there_is(void)
{
	struct glk_lock_options o = {
		.size = sizeof(o), .strategy = GLK_STRATEGY_AUTO,
		.bytes = (uint64_t)1 << 40, .tried = collect,
	};
	struct glk_card *card = open_card();
	struct glk_lock *lock;

	set_aside(POOL);
	CHECK(glk_lock_new(card, &o, &lock, NULL) < 0);
	CHECK(was_tried(GIGALOCK_STRATEGY_COHERENT));
	CHECK(was_tried(GIGALOCK_STRATEGY_CONTIG_RANGE));
	CHECK(was_tried(CHUNKED));
	CHECK(was_tried(GIGALOCK_STRATEGY_SG));
	CHECK(!was_tried(HUGETLB));
	CHECK(!was_tried(GIGALOCK_STRATEGY_RESERVED));
	CHECK(!was_tried(GIGALOCK_STRATEGY_POOL));
	CHECK(!was_tried(GIGALOCK_STRATEGY_DMABUF));
	/* Pages one by one: no strategy is left out for that. */
	o.bytes = 64 * MIB;
	o.flags = GLK_LOCK_ENTRY_PER_PAGE;
	EQUAL(auto_lock(card, &o, 0), GIGALOCK_STRATEGY_CONTIG_RANGE);
	/* When there is no range, the next in order. */
	EQUAL(auto_lock(card, &o, 1), HUGETLB);
	set_aside(0);
	EQUAL(auto_lock(card, &o, 1), CHUNKED);
	CHECK(!was_tried(HUGETLB));
}

static void most_huge_pages(void)
{
	struct glk_limit_options o = {
		.size = sizeof(o), .bytes = 512 * MIB, .strategy = HUGETLB,
	};
	struct glk_limit_result r = { .size = sizeof(r) };
	struct gigalock_failure f;

	set_aside(POOL);
	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	EQUAL(r.largest, POOL * HUGE_2M);
	CHECK(r.tries <= 3);
	expect_reason(&r.failure, GIGALOCK_REASON_HUGETLB_POOL);
	set_aside(0);
	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	EQUAL(r.largest, 0);
	CHECK(r.tries <= 2);
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void largest_blocks(void)
{
	static const uint64_t sizes[] = { PAGE, 3 * PAGE, 5 * MIB, 64 * MIB + PAGE };
	struct glk_card *card = open_card();

	for (int i = 0; i < 4; i++) {
		struct glk_lock *lock = lock_memory(card, CHUNKED, sizes[i], BOTH, NULL);
		const unsigned char *data = glk_lock_data(lock);

		EQUAL(glk_lock_bytes(lock), sizes[i]);
		EQUAL(glk_lock_backing(lock), GIGALOCK_BACKING_BLOCKS);
		/* a guest that has just started: 4 MiB at a time, or nearly */
		CHECK(glk_lock_segments(lock) <= 8 + sizes[i] / MIB);
		for (uint64_t at = 0; at < sizes[i]; at++)
			if (data[at])
				FAIL("byte %" PRIu64 " is 0x%02x", at, data[at]);
		round_trip(lock, 0, sizes[i] < 64 * MIB ? sizes[i] : 64 * MIB, 0);
		EQUAL(glk_lock_free(lock), 0);
	}
}

static void blocks_page_by_page(void)
{
	struct glk_card *card = open_card();
	struct glk_lock_options o = {
		.size = sizeof(o), .strategy = CHUNKED, .bytes = 4 * MIB,
		.flags = GLK_LOCK_ENTRY_PER_PAGE,
	};
	struct gigalock_failure f;
	struct glk_lock *lock;

	EQUAL(glk_lock_new(card, &o, &lock, &f), 0);
	EQUAL(glk_lock_segments(lock), 4 * MIB / PAGE);
	round_trip(lock, 4095, 3 * MIB, 1);
	EQUAL(glk_lock_free(lock), 0);
	o.flags |= GLK_LOCK_SMALL_TABLE;
	EQUAL(glk_lock_new(card, &o, &lock, &f), -E2BIG);
	expect_reason(&f, GIGALOCK_REASON_TOO_MANY_SEGMENTS);
	o.flags = GLK_LOCK_NO_USER_MAP;
	EQUAL(glk_lock_new(card, &o, &lock, &f), 0);
	CHECK(!glk_lock_data(lock));
	EQUAL(glk_lock_free(lock), 0);
}

/* It gives up before the OOM killer comes, and says what there was. */
static void more_blocks_than_memory(void)
{
	struct glk_card *card = open_card();
	struct gigalock_failure f;
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib;
	uint64_t total;

	CHECK(file && fscanf(file, "MemTotal: %llu", &kib) == 1);
	fclose(file);
	total = (uint64_t)kib * 1024;
	f = refused(card, CHUNKED, (uint64_t)1 << 40, BOTH, NULL, ENOMEM,
		    GIGALOCK_REASON_RAM_TOO_SMALL);
	CHECK(f.limit >= total);
	f = refused(card, CHUNKED, total / PAGE * PAGE, BOTH, NULL, ENOMEM,
		    GIGALOCK_REASON_NO_MEMORY);
	CHECK(f.available > total / 4 && f.available < total);
	/* What it had got was given back. */
	EQUAL(glk_lock_free(lock_memory(card, CHUNKED, total / 4 / PAGE * PAGE, BOTH,
					NULL)), 0);
}

static void most_blocks(void)
{
	struct glk_limit_options o = {
		.size = sizeof(o), .bytes = 4096 * MIB, .strategy = CHUNKED,
	};
	struct glk_limit_result r = { .size = sizeof(r) };
	struct gigalock_failure f;

	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	CHECK(r.largest > 256 * MIB && r.largest < 1024 * MIB);
	CHECK(r.tries <= 10);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(huge_pages_of_the_library),
		TEST(huge_pages_of_the_caller),
		TEST(other_pages_are_refused),
		TEST(too_few_huge_pages),
		TEST(no_huge_pages_of_that_size),
		TEST(auto_tries_what_there_is),
		TEST(most_huge_pages),
		TEST(largest_blocks),
		TEST(blocks_page_by_page),
		TEST(more_blocks_than_memory),
		TEST(most_blocks),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
