// SPDX-License-Identifier: GPL-2.0-only
/*
 * One lock with every option the ABI has, told as one line of JSON; what the
 * library doesn't offer can be asked for here.
 *
 *   gl-lock [NAME=VALUE]...
 *
 *   strategy, direction, bytes, flags, width, node, max-segment, timeout, fd,
 *   region   fields of struct gigalock_lock; bytes and max-segment with K, M, G
 *   of       DMABUF: what to import: a lock by the strategy of that name (chunked),
 *            udmabuf, or system (a heap); as long as bytes
 *   of-node  that lock's memory is of this node
 *   file     SG: lock a shared mapping of that file, from its beginning on
 *   align    SG, HUGETLB: start that many bytes behind a page boundary; the
 *            memory is this program's
 *   touch    so many times, map it (unless flags say not to), check that every
 *            byte of it is zero ("dirty" is the first word that isn't), write to
 *            each cache line
 *   times    lock and unlock that often
 *   fail     first, so many times, a lock that must fail
 *   hold     seconds to stay with the lock held, told by a first line "held"
 *   keep     take locks until one fails, or that many are held
 *
 * Prints {"ok": true, "id": ..., ...} or {"ok": false, "errno": ..., "reason":
 * ..., ...}; its exit code is 0 for either, 2 when it could not even try.
 */
#include "card.h"

#include <inttypes.h>

#include "dmabuf.h"

#define STRIDE	8	/* words: a cache line */

static int fd;
static struct gigalock_lock want = { .size = sizeof(want),
				     .direction = GIGALOCK_DIR_BOTH };
static struct gigalock_failure why;
static uint64_t align, touch, times = 1, fail, hold, keep = 1;
static uint64_t of_node = UINT64_MAX;
static const char *of = "chunked";
static const char *file;
static uint64_t dirty = UINT64_MAX;

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	switch (*end) {
	case 'G': n <<= 10; /* fall through */
	case 'M': n <<= 10; /* fall through */
	case 'K': n <<= 10; end++;
	}
	if (end == text || *end)
		bail("%s is no number", text);
	return n;
}

static void option(const char *arg)
{
	static const struct { const char *name; void *to; int size; } known[] = {
		{ "strategy", &want.strategy, 4 }, { "direction", &want.direction, 4 },
		{ "bytes", &want.bytes, 8 }, { "flags", &want.flags, 4 },
		{ "width", &want.address_width, 4 }, { "node", &want.node, 4 },
		{ "max-segment", &want.max_segment, 8 },
		{ "timeout", &want.timeout_ms, 4 }, { "fd", &want.fd, 4 },
		{ "region", &want.region, 4 }, { "align", &align, 8 },
		{ "touch", &touch, 8 }, { "times", &times, 8 }, { "fail", &fail, 8 },
		{ "hold", &hold, 8 }, { "keep", &keep, 8 },
		{ "of-node", &of_node, 8 },
	};
	const char *value = strchr(arg, '=');

	if (!value)
		bail("%s is not NAME=VALUE", arg);
	if (!strncmp(arg, "of=", 3)) {
		of = value + 1;
		return;
	}
	if (!strncmp(arg, "file=", 5)) {
		file = value + 1;
		return;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint64_t n;

		if (strlen(known[i].name) != (size_t)(value - arg) ||
		    strncmp(arg, known[i].name, value - arg))
			continue;
		n = number(value + 1);
		memcpy(known[i].to, &n, known[i].size);
		return;
	}
	bail("%s: no such option", arg);
}

static bool take(struct gigalock_lock *lock)
{
	*lock = want;
	memset(&why, 0, sizeof(why));
	why.size = sizeof(why);
	lock->failure_addr = (uintptr_t)&why;
	return ioctl(fd, GIGALOCK_IOC_LOCK, lock) == 0;
}

/* The caller's memory for a lock of @strategy. */
static uint8_t *get_memory(uint32_t strategy, uint64_t bytes)
{
	int huge = strategy == GIGALOCK_STRATEGY_HUGETLB ? MAP_HUGETLB : 0;
	uint8_t *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);

	if (mem == MAP_FAILED)
		bail("mmap");
	return mem;
}

/* A page of it is there, so that only its kind can be in the way. */
static uint8_t *get_file(uint64_t bytes)
{
	int from = open(file, O_RDWR);
	uint8_t *mem;

	if (from < 0)
		bail("%s", file);
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
	if (mem == MAP_FAILED)
		bail("mmap of %s", file);
	*(volatile uint8_t *)mem = 1;
	return mem;
}

static bool of_user(uint32_t strategy)
{
	return strategy == GIGALOCK_STRATEGY_SG || strategy == GIGALOCK_STRATEGY_HUGETLB;
}

/* What a dmabuf lock imports. */
static int get_dmabuf(void)
{
	struct gigalock_lock l = { .size = sizeof(l), .bytes = want.bytes,
				   .direction = GIGALOCK_DIR_BOTH };
	struct gigalock_export e = { .size = sizeof(e), .flags = O_RDWR };
	char *seen;

	if (!strcmp(of, "udmabuf") || !strcmp(of, "system"))
		return make_dmabuf(of, want.bytes, &seen);
	l.strategy = strategy_number(of);
	if (of_user(l.strategy))
		l.user_addr = (uintptr_t)get_memory(l.strategy, l.bytes);
	if (of_node != UINT64_MAX) {
		l.flags = GIGALOCK_LOCK_NODE;
		l.node = of_node;
	}
	if (ioctl(fd, GIGALOCK_IOC_LOCK, &l))
		bail("LOCK of what is to be imported");
	e.id = l.id;
	if (ioctl(fd, GIGALOCK_IOC_EXPORT, &e))
		bail("EXPORT");
	return e.fd;
}

static void touch_it(const struct gigalock_lock *lock)
{
	uint64_t words = lock->bytes / 8;
	uint64_t *mem;

	if (!lock->mmap_offset)
		return;
	mem = mmap(NULL, lock->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   lock->mmap_offset);
	if (mem == MAP_FAILED)
		bail("mmap of the lock");
	for (uint64_t i = 0; i < words; i++)
		if (mem[i]) {
			dirty = i * 8;
			break;
		}
	for (uint64_t i = 0; i < words; i += STRIDE)
		mem[i] = 0xd1d1d1d1d1d1d1d1 ^ i;
	munmap(mem, lock->bytes);
}

static void unlock(const struct gigalock_lock *lock)
{
	struct gigalock_unlock u = { .size = sizeof(u), .id = lock->id };

	if (ioctl(fd, GIGALOCK_IOC_UNLOCK, &u))
		bail("UNLOCK");
}

static void failed(uint64_t held)
{
	printf("{\"ok\": false, \"errno\": %d, \"reason\": %u, \"stage\": %u, \"limit\": %llu, "
	       "\"request\": %llu, \"available\": %llu, \"unit\": %u, \"held\": %" PRIu64 "}\n",
	       errno, why.reason, why.stage, (unsigned long long)why.limit,
	       (unsigned long long)why.request, (unsigned long long)why.available, why.unit,
	       held);
}

static void worked(const struct gigalock_lock *lock, uint64_t held)
{
	printf("{\"ok\": true, \"id\": %u, \"segments\": %u, \"longest\": %llu, "
	       "\"backing\": %u, \"table_bytes\": %llu, \"mmap_offset\": %llu, "
	       "\"lock_ns\": %llu, \"held\": %" PRIu64 ", \"dirty\": %" PRId64 "}\n",
	       lock->id, lock->segments, (unsigned long long)lock->longest_segment,
	       lock->backing, (unsigned long long)lock->table_bytes,
	       (unsigned long long)lock->mmap_offset, (unsigned long long)lock->lock_ns,
	       held, (int64_t)dirty);
}

int main(int argc, char **argv)
{
	struct gigalock_lock lock;
	uint64_t held;

	for (int i = 1; i < argc; i++)
		option(argv[i]);
	fd = open("/dev/gigalock0", O_RDWR);
	if (fd < 0)
		bail("/dev/gigalock0");
	if (of_user(want.strategy))
		want.user_addr = align + (uintptr_t)(file ? get_file(want.bytes + align) :
					get_memory(want.strategy, want.bytes + align));
	if (want.strategy == GIGALOCK_STRATEGY_DMABUF && !want.fd)
		want.fd = get_dmabuf();
	for (uint64_t n = 0; n < fail; n++)
		if (take(&lock))
			bail("lock number %llu did not fail", (unsigned long long)n);
	for (uint64_t n = 1; n < times; n++) {
		if (!take(&lock)) {
			failed(n - 1);
			return 0;
		}
		for (uint64_t i = 0; i < touch; i++)
			touch_it(&lock);
		unlock(&lock);
	}
	for (held = 0; held < keep; held++) {
		if (!take(&lock)) {
			failed(held);
			break;
		}
		for (uint64_t i = 0; i < touch; i++)
			touch_it(&lock);
	}
	if (held == keep)
		worked(&lock, held);
	fflush(stdout);
	if (hold)
		sleep(hold);
	return 0;
}
