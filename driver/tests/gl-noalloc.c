// SPDX-License-Identifier: GPL-2.0-only
/*
 * No allocation on the way of a transfer, small or large, good or bad, waited for
 * in any way, nor of a queue's. Seen twice:
 *
 *   traced	all allocations that the kernel makes meanwhile are looked through: of
 *		this process, of the card's interrupt threads, and whatever the module
 *		itself asks for, in any process. Any kernel with trace events.
 *   failing	each allocation of this process is made to fail by the kernel's own
 *		fault injection, and all goes on as before. Needs failslab and
 *		fail_page_alloc.
 *
 *   gl-noalloc traced|failing
 */
#include <dirent.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>

#include "queue.h"

#define DEBUG	"/sys/kernel/debug/"
#define TRACE	"/sys/kernel/tracing/"
#define MIB	(1UL << 20)
#define TO	GIGALOCK_DIR_TO_CARD
#define FROM	GIGALOCK_DIR_FROM_CARD
#define THREADS	64

static const char * const events[] = { "kmalloc", "kmem_cache_alloc", "mm_page_alloc" };
static struct gigalock_lock a;
static uint8_t *mem;
static struct queue q;

static void put(const char *file, const char *text)
{
	int f = open(file, O_WRONLY | O_TRUNC);

	if (f < 0 || write(f, text, strlen(text)) != (ssize_t)strlen(text))
		bail("%s", file);
	close(f);
}

/* ---- the work ---- */

static bool submit(uint32_t direction, uint64_t length, uint32_t op, uint32_t *xfer)
{
	struct gigalock_submit s = { .size = sizeof(s), .id = a.id, .op = op,
				     .direction = direction, .length = length,
				     .timeout_ms = 60000 };

	if (op == GIGALOCK_XFER_OP_MOVE)
		s.flags = GIGALOCK_XFER_CRC;
	if (ioctl(card, GIGALOCK_IOC_SUBMIT, &s))
		return false;
	*xfer = s.xfer;
	return true;
}

static bool reap(uint32_t xfer, uint32_t status)
{
	struct gigalock_failure why = { .size = sizeof(why) };
	struct gigalock_wait w = { .size = sizeof(w), .xfer = xfer, .timeout_ms = 20000,
				   .failure_addr = (uintptr_t)&why };

	return !ioctl(card, GIGALOCK_IOC_WAIT, &w) && w.status == status;
}

/* Thirty-two in flight, some that fail; then one that fills a ring for itself. */
static bool transfers(void)
{
	struct gigalock_progress p = { .size = sizeof(p) };
	struct gigalock_lock_stats st = { .size = sizeof(st), .id = a.id };
	struct gigalock_cancel c = { .size = sizeof(c) };
	struct pollfd news = { .fd = card, .events = POLLIN };
	uint32_t xfer[32];

	for (int i = 0; i < 32; i++)
		if (!submit(1 + i % 2, 4096, GIGALOCK_XFER_OP_MOVE, &xfer[i]))
			return false;
	for (int i = 0; i < 32; i++)
		if (poll(&news, 1, 20000) != 1 || !reap(i % 2 ? 0 : xfer[i], 0))
			return false;
	/* Not what the card has: its first byte is another. */
	mem[0] ^= 1;
	if (!submit(TO, 4096, GIGALOCK_XFER_OP_COMPARE, &xfer[0]) || !reap(xfer[0], EIO))
		return false;
	mem[0] ^= 1;
	if (!submit(TO, MIB, GIGALOCK_XFER_OP_MOVE, &p.xfer) ||
	    ioctl(card, GIGALOCK_IOC_PROGRESS, &p) || !reap(p.xfer, 0))
		return false;
	if (!submit(TO, MIB, GIGALOCK_XFER_OP_MOVE, &c.xfer) ||
	    ioctl(card, GIGALOCK_IOC_CANCEL, &c))
		return false;
	/* It may have been done before. */
	reap(c.xfer, ECANCELED);
	return !try_sync(a.id, GIGALOCK_SYNC_FOR_CPU, 0, 0) &&
	       !try_sync(a.id, GIGALOCK_SYNC_FOR_DEVICE, 0, 0) &&
	       !ioctl(card, GIGALOCK_IOC_LOCK_STATS, &st);
}

static bool queued(void)
{
	struct gigalock_queue_wait w = { .size = sizeof(w), .id = q.c.id,
					 .timeout_ms = 20000 };
	struct gigalock_queue_entry e[32];
	struct gigalock_completion c;

	for (int i = 0; i < 32; i++)
		e[i] = move_of(&a, 1 + i % 2, 0, 4096);
	if (queue_put(&q, e, 32) != 32)
		return false;
	for (int i = 0; i < 32; i++)
		queue_next(&q, &c);
	mem[0] ^= 1;
	e[0].op = GIGALOCK_XFER_OP_COMPARE;
	w.seen = q.seen;
	if (queue_put(&q, e, 1) != 1 || ioctl(card, GIGALOCK_IOC_QUEUE_WAIT, &w))
		return false;
	queue_next(&q, &c);
	mem[0] ^= 1;
	return c.status == 0x0c;
}

static bool work(int rounds)
{
	for (int i = 0; i < rounds; i++)
		if (!transfers() || !queued())
			return false;
	return true;
}

static void prepare(uint32_t flags)
{
	struct gigalock_eventfd e = { .size = sizeof(e), .fd = eventfd(0, EFD_NONBLOCK) };

	mem = lock_map(&a, GIGALOCK_STRATEGY_SG, GIGALOCK_DIR_BOTH, MIB);
	scribble(mem, MIB, 3);
	queue_make(&q, 64, flags);
	if (e.fd < 0 || ioctl(card, GIGALOCK_IOC_EVENTFD, &e))
		bail("eventfd");
	do_move(a.id, TO, 0, MIB, 0);
	/* The first ones make what the file keeps, and touch every page. */
	if (!work(3))
		bail("the first transfers");
}

static void finish(void)
{
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
	do_unlock(a.id);
	munmap(mem, MIB);
}

/* ---- looking ---- */

static int watched[THREADS], nr_watched;

/* This process, and the threads that take in the card's interrupts. */
static void watch(void)
{
	DIR *d = opendir("/proc");
	struct dirent *one;

	nr_watched = 0;
	watched[nr_watched++] = getpid();
	while (d && (one = readdir(d)) && nr_watched < THREADS) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", one->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strncmp(name, "irq/", 4) &&
		    strstr(name, "gigalock"))
			watched[nr_watched++] = atoi(one->d_name);
		fclose(f);
	}
	if (d)
		closedir(d);
}

static void trace_events(const char *on)
{
	char file[128];

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		snprintf(file, sizeof(file), TRACE "events/kmem/%s/enable", events[i]);
		put(file, on);
	}
}

/* By a file that is open all the time: opening one allocates. */
static void trace(const char *on)
{
	static int f = -1;

	if (f < 0)
		f = open(TRACE "tracing_on", O_WRONLY);
	if (f < 0 || pwrite(f, on, 1, 0) != 1)
		bail(TRACE "tracing_on");
}

/*
 * "comm-PID [CPU] FLAGS TIME: EVENT: ...": an interrupt on top of a process, which
 * the third of the flags tells, is not its own doing.
 */
static bool is_ours(const char *line)
{
	const char *cpu = strstr(line, " ["), *flags = cpu ? strchr(cpu, ']') : NULL;
	const char *pid = cpu;

	if (strstr(line, "[gigalock]"))
		return true;
	if (!flags || flags[1] != ' ' || strlen(flags) < 5 || flags[4] != '.')
		return false;
	while (pid > line && pid[-1] == ' ')
		pid--;
	while (pid > line && pid[-1] >= '0' && pid[-1] <= '9')
		pid--;
	for (int i = 0; i < nr_watched; i++)
		if (atoi(pid) == watched[i])
			return true;
	return false;
}

static int allocations(void)
{
	FILE *f = fopen(TRACE "trace", "r");
	char line[1024];
	int n = 0;

	if (!f)
		bail(TRACE "trace");
	while (fgets(line, sizeof(line), f))
		if (line[0] != '#' && is_ours(line) && n++ < 5)
			printf("# %s", line);
	fclose(f);
	put(TRACE "trace", "\n");
	return n;
}

static void traced(uint32_t flags)
{
	struct gigalock_lock more = { .strategy = GIGALOCK_STRATEGY_COHERENT,
				      .bytes = 4096 };
	bool good;

	if (mount("tracefs", TRACE, "tracefs", 0, NULL) && errno != EBUSY)
		bail("tracefs");
	prepare(flags);
	watch();
	ok(nr_watched >= 2, "%d threads of the card's interrupts", nr_watched - 1);
	trace("0");
	trace_events("1");
	put(TRACE "trace", "\n");
	trace("1");
	good = work(20);
	trace("0");
	ok(good, "700 transfers, and as many of a queue %s", flags ? "with interrupts" :
	   "without");
	is(allocations(), 0, "without an allocation");
	trace("1");
	good = !try_lock(&more);
	trace("0");
	ok(good && allocations() > 0, "one for a lock is seen");
	trace_events("0");
	trace("1");
	do_unlock(more.id);
	finish();
}

/* ---- failing ---- */

static void arm(const char *what)
{
	static const char * const set[][2] = {
		{ "task-filter", "Y" }, { "probability", "100" }, { "interval", "1" },
		{ "times", "-1" }, { "space", "0" }, { "verbose", "0" },
		{ "ignore-gfp-wait", "N" },
	};
	char file[128];

	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
		snprintf(file, sizeof(file), DEBUG "%s/%s", what, set[i][0]);
		put(file, set[i][1]);
	}
}

static void failing(uint32_t flags)
{
	struct gigalock_lock more = { .strategy = GIGALOCK_STRATEGY_COHERENT,
				      .bytes = 4096 };
	int fail = open("/proc/self/make-it-fail", O_WRONLY), refused;
	bool good;

	if (fail < 0)
		bail("make-it-fail");
	prepare(flags);
	if (write(fail, "1", 1) != 1)
		bail("make-it-fail");
	good = work(100);
	refused = try_lock(&more);
	if (pwrite(fail, "0", 1, 0) != 1)
		bail("make-it-fail");
	close(fail);
	ok(refused && card_why.reason == GIGALOCK_REASON_KERNEL_METADATA,
	   "a lock is refused: allocations do fail");
	ok(good, "3500 transfers, and as many of a queue %s", flags ? "with interrupts" :
	   "without");
	finish();
}

int main(int argc, char **argv)
{
	bool fail = argc > 1 && !strcmp(argv[1], "failing");

	if (argc != 2 || (!fail && strcmp(argv[1], "traced")))
		bail("usage: gl-noalloc traced|failing");
	card_open();
	if (fail) {
		arm("failslab");
		arm("fail_page_alloc");
		put(DEBUG "fail_page_alloc/min-order", "0");
	}
	for (uint32_t flags = 0; flags <= GIGALOCK_QUEUE_IRQ; flags++)
		(fail ? failing : traced)(flags);
	return tap_done();
}
