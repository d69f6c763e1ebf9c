// SPDX-License-Identifier: GPL-2.0-only
/*
 * The caller's memory as a scatter/gather lock.
 *
 *   gl-sg apart MIB	pages that are all apart: pieces, the tables' memory, small
 *			tables, odd places, where a sync may begin and end, the same page
 *			many times, time limits
 *   gl-sg cost MIB huge|small	how long pinning takes, ours beside the kernel's own
 *			gup_test, as one line of JSON
 *   gl-sg big GIB	a lock longer than 32 bits can say, of memory of that size
 *   gl-sg long MIB TIMES	the same, of MIB that are mapped again and again
 */
#include "card.h"

#include <time.h>

#define PAGE	4096UL

static char *get(uint64_t bytes, int huge)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		bail("mmap");
	madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

static uint64_t vmstat(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	char line[128];
	uint64_t n = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ' ')
			n = strtoull(line + strlen(name), NULL, 0);
	if (f)
		fclose(f);
	return n;
}

static uint64_t pinned(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);

	/* Each CPU counts for itself; writing brings them together. */
	if (fd < 0 || write(fd, "1", 1) < 0)
		bail("stat_refresh");
	close(fd);
	return vmstat("nr_foll_pin_acquired") - vmstat("nr_foll_pin_released");
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* ---- what the kernel allocates in large pieces while we lock ---- */

#define TRACE	"/sys/kernel/tracing/"

static bool put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	bool good = f && fputs(text, f) >= 0;

	if (f && fclose(f))
		good = false;
	return good;
}

static bool trace_begin(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	/* 64 KiB are order 4. */
	return put(TRACE "set_event_pid", pid) &&
	       put(TRACE "events/kmem/mm_page_alloc/filter", "order >= 4") &&
	       put(TRACE "trace", "") && put(TRACE "events/kmem/mm_page_alloc/enable", "1");
}

static int trace_end(void)
{
	char line[512];
	int n = 0;
	FILE *f;

	put(TRACE "events/kmem/mm_page_alloc/enable", "0");
	f = fopen(TRACE "trace", "r");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "mm_page_alloc")) {
			if (!n)
				printf("# %s", line);
			n++;
		}
	if (f)
		fclose(f);
	return n;
}

static uint64_t meminfo_kib(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	uint64_t n = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			n = strtoull(line + strlen(name) + 1, NULL, 0);
	if (f)
		fclose(f);
	return n;
}

/* ---- pages apart ---- */

/*
 * Fresh memory comes in a row, up or down: touched with 1023 others in between, no
 * page lies beside the one before it.
 */
static char *get_apart(uint64_t bytes)
{
	const uint64_t stride = 1024 * PAGE;
	char *mem = get(bytes, 0);

	for (uint64_t first = 0; first < stride; first += PAGE)
		for (uint64_t at = first; at < bytes; at += stride)
			mem[at] = 1;
	return mem;
}

static void test_tables(char *mem, uint64_t bytes)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes,
				   .user_addr = (uintptr_t)mem };
	uint64_t runs = physical_runs(mem, bytes, ~0U & ~(PAGE - 1)), most = bytes / 1024 * 9;
	uint64_t before_free, free_kib, before_slab, slab_kib;
	bool traced;

	ok(runs > bytes / PAGE * 99 / 100, "%llu of %llu pages are apart",
	   (unsigned long long)runs, (unsigned long long)bytes / PAGE);
	traced = trace_begin();
	before_free = meminfo_kib("MemFree");
	before_slab = meminfo_kib("Slab");
	do_lock(&l);
	free_kib = before_free - meminfo_kib("MemFree");
	slab_kib = meminfo_kib("Slab") - before_slab;
	if (traced)
		is(trace_end(), 0, "nothing of 64 KiB or more is allocated in one piece");
	is(l.segments, runs, "a piece for every run of pages");
	printf("# table_bytes %llu, MemFree fell by %lld KiB, Slab grew by %lld KiB\n",
	       (unsigned long long)l.table_bytes, (long long)free_kib, (long long)slab_kib);
	/* 9 MiB for a GiB, and as much of it as this is; the rest may move a little. */
	ok(l.table_bytes * 1024 <= most * 1024, "its tables take %llu bytes, at most %llu",
	   (unsigned long long)l.table_bytes, (unsigned long long)most);
	ok(l.table_bytes >= runs * 32, "and that is no less than it must be");
	ok((int64_t)free_kib <= (int64_t)(most / 1024 + 512), "no more is gone of the free memory");
	is(there_and_back(l.id, mem, 8UL << 20), 8UL << 20, "8 MiB of it go there and back");
	do_unlock(l.id);

	l.flags = GIGALOCK_LOCK_ENTRY_PER_PAGE;
	before_free = meminfo_kib("MemFree");
	do_lock(&l);
	free_kib = before_free - meminfo_kib("MemFree");
	is(l.segments, bytes / PAGE, "with an entry a page there are as many as pages");
	ok(l.table_bytes <= most, "and the tables take no more: %llu",
	   (unsigned long long)l.table_bytes);
	ok((int64_t)free_kib <= (int64_t)(most / 1024 + 512), "nor does it cost: %lld KiB",
	   (long long)free_kib);
	do_unlock(l.id);
}

static void test_small_table(char *mem, uint64_t bytes)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes,
				   .user_addr = (uintptr_t)mem,
				   .flags = GIGALOCK_LOCK_SMALL_TABLE };
	uint64_t acquired = vmstat("nr_foll_pin_acquired"), was = pinned();
	uint64_t most = GIGALOCK_SMALL_TABLE_ENTRIES;

	fails(try_lock(&l), E2BIG, "a table of 256 entries is too small");
	is(card_why.reason, GIGALOCK_REASON_TOO_MANY_SEGMENTS, "  for its reason");
	is(card_why.limit, most, "  with its room");
	is(card_why.unit, GIGALOCK_UNIT_COUNT, "  which is a count");
	ok(card_why.available >= most && card_why.available < most + 16,
	   "  and how many pages fitted: %llu", (unsigned long long)card_why.available);
	ok(vmstat("nr_foll_pin_acquired") - acquired < 4096,
	   "seen early, not when all was pinned: %llu pages",
	   (unsigned long long)(vmstat("nr_foll_pin_acquired") - acquired));
	is(pinned(), was, "and none is left pinned");
	l.bytes = most * PAGE;
	do_lock(&l);
	is(l.segments, physical_runs(mem, l.bytes, ~0U & ~(PAGE - 1)), "256 pages fit");
	do_unlock(l.id);
}

/* Neither begins nor ends with a page: what lies beside it is not the device's. */
static void test_odd_places(char *mem)
{
	uint64_t start = 3 * PAGE + 104, bytes = 37 * PAGE + 16;
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes,
				   .user_addr = (uintptr_t)mem + start };

	memset(mem, 0x33, 64 * PAGE);
	do_lock(&l);
	is(there_and_back(l.id, mem + start, bytes), bytes, "a buffer at an odd place");
	do_unlock(l.id);
	ok(mem[start - 1] == 0x33 && mem[start + bytes] == 0x33 && mem[start - 104] == 0x33,
	   "what lies beside it stays as it was");
}

/* A sync of nothing is one, wherever it lies; one that leaves the lock is none. */
static void test_sync_ends(char *mem)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = 5 * PAGE + 8,
				   .user_addr = (uintptr_t)mem };
	const uint64_t end = l.bytes;

	do_lock(&l);
	for (uint32_t to = GIGALOCK_SYNC_FOR_DEVICE; to <= GIGALOCK_SYNC_FOR_CPU; to++) {
		is(try_sync(l.id, to, end - 8, 8), 0, "sync of the last bytes");
		is(try_sync(l.id, to, end, 0), 0, "sync from the end on");
		fails(try_sync(l.id, to, end, 1), EINVAL, "sync of a byte behind the end");
		fails(try_sync(l.id, to, end + 1, 0), EINVAL, "sync that begins behind it");
	}
	do_unlock(l.id);
}

/* One page, mapped three times, is three places of the lock. */
static void test_same_page(void)
{
	int fd = memfd_create("page", 0);
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = 3 * PAGE };
	uint64_t was = pinned();
	char *mem = get(3 * PAGE, 0);

	if (fd < 0 || ftruncate(fd, PAGE))
		bail("memfd");
	for (int i = 0; i < 3; i++)
		if (mmap(mem + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 fd, 0) == MAP_FAILED)
			bail("mmap of one page");
	l.user_addr = (uintptr_t)mem;
	do_lock(&l);
	is(l.segments, 3, "one page three times is three pieces");
	is(pinned() - was, 3, "pinned three times");
	mark(mem, PAGE, 9);
	do_move(l.id, GIGALOCK_DIR_TO_CARD, 2 * PAGE, PAGE, 0);
	memset(mem, 0, PAGE);
	do_move(l.id, GIGALOCK_DIR_FROM_CARD, 0, PAGE, 0);
	is(marked_until(mem + PAGE, PAGE, 9), PAGE, "all of them the same bytes");
	do_unlock(l.id);
	is(pinned(), was, "released three times");
}

static void test_time_limit(uint64_t bytes)
{
	char *mem = get(bytes, 0);	/* untouched: pinning has to fetch every page */
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes,
				   .user_addr = (uintptr_t)mem, .timeout_ms = 1 };
	uint64_t was = pinned();

	fails(try_lock(&l), ETIMEDOUT, "a time limit of 1 ms");
	is(card_why.reason, GIGALOCK_REASON_TIMEOUT, "  for its reason");
	is(card_why.stage, GIGALOCK_STAGE_PIN, "  while pinning");
	is(card_why.limit, 1, "  with the limit");
	is(pinned(), was, "nothing is left pinned");
	is(status_kib("VmPin"), 0, "nor charged");
	munmap(mem, bytes);
}

static void run_apart(uint64_t bytes)
{
	char *mem = get_apart(bytes);

	test_tables(mem, bytes);
	test_small_table(mem, bytes);
	test_odd_places(mem);
	test_sync_ends(mem);
	test_same_page();
	munmap(mem, bytes);
	test_time_limit(bytes);
}

/* ---- how long it takes ---- */

/* The argument of the kernel's gup_test, and its call for long-term pins. */
struct gup_call {
	uint64_t get_us;
	uint64_t put_us;
	uint64_t addr;
	uint64_t size;
	uint32_t pages_per_call;
	uint32_t gup_flags;
	uint32_t test_flags;
	uint32_t which_pages[8];
};

#define PIN_LONGTERM	_IOWR('g', 3, struct gup_call)
#define FOR_WRITING	1

static void run_cost(uint64_t bytes, int huge)
{
	static const uint32_t batches[] = { 512, 4096, 1 << 18 };
	int gup = open("/sys/kernel/debug/gup_test", O_RDWR);
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes };
	uint64_t ours = UINT64_MAX, theirs = UINT64_MAX, unlock = UINT64_MAX;
	char *mem = get(bytes, huge);

	if (gup < 0)
		bail("gup_test: a kernel without CONFIG_GUP_TEST");
	memset(mem, 1, bytes);
	l.user_addr = (uintptr_t)mem;
	/* The best of each: what comes between is not theirs. */
	for (int round = 0; round < 6; round++) {
		struct gup_call c = { .addr = (uintptr_t)mem, .size = bytes,
				      .pages_per_call = batches[round % 3],
				      .gup_flags = FOR_WRITING };
		uint64_t start = now_ns(), t;

		do_lock(&l);
		t = now_ns() - start;
		if (t < ours)
			ours = t;
		start = now_ns();
		do_unlock(l.id);
		t = now_ns() - start;
		if (t < unlock)
			unlock = t;
		if (ioctl(gup, PIN_LONGTERM, &c) || c.size != bytes)
			bail("gup_test");
		if (c.get_us * 1000 < theirs)
			theirs = c.get_us * 1000;
	}
	printf("{\"lock_ns\": %llu, \"gup_test_ns\": %llu, \"unlock_ns\": %llu, "
	       "\"segments\": %u, \"table_bytes\": %llu}\n",
	       (unsigned long long)ours, (unsigned long long)theirs,
	       (unsigned long long)unlock, l.segments, (unsigned long long)l.table_bytes);
	exit(0);
}

/* ---- longer than 4 GiB ---- */

/* Around every GiB boundary, and at the end: each place is its own. */
static void test_boundaries(uint32_t id, char *mem, uint64_t bytes)
{
	const uint64_t step = 1UL << 30, around = 128UL << 10;
	uint64_t good = 0, places = 0;

	for (uint64_t at = step; at - step < bytes; at += step) {
		uint64_t middle = at < bytes ? at : bytes - around;
		char *from = mem + middle - around;

		mark(from, 2 * around, middle);
		do_move(id, GIGALOCK_DIR_TO_CARD, middle - around, 2 * around, 0);
		memset(from, 0, 2 * around);
		do_move(id, GIGALOCK_DIR_FROM_CARD, middle - around, 2 * around, 0);
		good += marked_until(from, 2 * around, middle) == 2 * around;
		places++;
	}
	is(good, places, "bytes around every GiB boundary go there and back");
	fails(try_unlock(id), 0, "UNLOCK");
}

static void run_big(uint64_t bytes)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes };
	char *mem = get(bytes, 1);

	l.user_addr = (uintptr_t)mem;
	do_lock(&l);
	ok(l.segments >= 1, "%llu MiB are locked, in %u pieces", (unsigned long long)bytes >> 20,
	   l.segments);
	ok(l.longest_segment <= bytes && l.longest_segment >= PAGE, "none of them too long");
	test_boundaries(l.id, mem, bytes);
}

/* The same file of huge pages, mapped end to end: long, and yet little memory. */
static void run_long(uint64_t part, uint64_t times)
{
	struct gigalock_lock l = { .strategy = GIGALOCK_STRATEGY_SG, .bytes = part * times };
	int fd = memfd_create("part", MFD_HUGETLB);
	const uint64_t huge = 2UL << 20;
	char *mem = (char *)(((uintptr_t)get(l.bytes + huge, 0) + huge - 1) & ~(huge - 1));
	uint64_t was = pinned();

	if (fd < 0 || ftruncate(fd, part))
		bail("memfd");
	for (uint64_t i = 0; i < times; i++)
		if (mmap(mem + i * part, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 0) == MAP_FAILED)
			bail("mmap");
	l.user_addr = (uintptr_t)mem;
	do_lock(&l);
	ok(l.bytes > 1ULL << 33, "a lock of %llu MiB", (unsigned long long)l.bytes >> 20);
	is(pinned() - was, l.bytes / PAGE, "every page pinned as often as it is there");
	if (card_info.iommu)
		/* As full as an entry can be that counts its bytes in 32 bits. */
		is(l.segments, (l.bytes - 1) / ((1UL << 32) - huge) + 1, "in as few pieces as can be");
	else
		is(l.segments, physical_runs(mem, l.bytes, ~0U & ~(PAGE - 1)),
		   "in as many pieces as runs");
	if (ioctl(card, GIGALOCK_IOC_INFO, &card_info))
		bail("INFO");
	is(card_info.locked_bytes, l.bytes, "the card counts all of its bytes");
	test_boundaries(l.id, mem, l.bytes);
	is(pinned(), was, "and all are released");
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;

	if (!n)
		bail("usage: gl-sg apart MIB | cost MIB huge|small | big GIB | long MIB TIMES");
	card_open();
	if (!strcmp(argv[1], "apart"))
		run_apart(n << 20);
	else if (!strcmp(argv[1], "cost") && argc > 3)
		run_cost(n << 20, !strcmp(argv[3], "huge"));
	else if (!strcmp(argv[1], "big"))
		run_big(n << 30);
	else if (!strcmp(argv[1], "long") && argc > 3)
		run_long(n << 20, strtoull(argv[3], NULL, 0));
	else
		bail("unknown words");
	return tap_done();
}
