// SPDX-License-Identifier: GPL-2.0-only
/*
 * No allocation on the way of a transfer: with every allocation of this task
 * made to fail by the kernel's own fault injection, transfers and queues go on
 * as before. Needs a kernel with failslab and fail_page_alloc, and root.
 */
#include "queue.h"

#define DEBUG "/sys/kernel/debug/"

static struct gigalock_lock a;

static void put(const char *file, const char *text)
{
	int f = open(file, O_WRONLY);

	if (f < 0 || write(f, text, strlen(text)) < 0)
		bail("%s", file);
	close(f);
}

static void prepare(const char *what)
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

/* Thirty-two in flight, all reaped. */
static bool transfers(void)
{
	for (int i = 0; i < 32; i++) {
		struct gigalock_submit s = { .size = sizeof(s), .id = a.id,
					     .direction = 1 + i % 2, .length = 4096 };

		if (ioctl(card, GIGALOCK_IOC_SUBMIT, &s))
			return false;
	}
	for (int i = 0; i < 32; i++) {
		struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 20000 };

		if (ioctl(card, GIGALOCK_IOC_WAIT, &w) || w.status)
			return false;
	}
	return true;
}

static bool queue(struct queue *q)
{
	struct gigalock_queue_entry e[32];
	struct gigalock_completion c;

	for (int i = 0; i < 32; i++)
		e[i] = move_of(&a, 1 + i % 2, 0, 4096);
	if (queue_put(q, e, 32) != 32)
		return false;
	for (int i = 0; i < 32; i++)
		queue_next(q, &c);
	return true;
}

int main(void)
{
	struct gigalock_lock more = { .strategy = GIGALOCK_STRATEGY_COHERENT,
				      .bytes = 4096 };
	bool moved = true, queued = true;
	struct queue q;
	int fail, refused;

	card_open();
	prepare("failslab");
	prepare("fail_page_alloc");
	put(DEBUG "fail_page_alloc/min-order", "0");
	fail = open("/proc/self/make-it-fail", O_WRONLY);
	if (fail < 0)
		bail("make-it-fail");
	lock_map(&a, GIGALOCK_STRATEGY_SG, GIGALOCK_DIR_BOTH, 1 << 20);
	queue_make(&q, 64, 0);
	/* The first ones make what the file keeps, and touch every page. */
	if (!transfers() || !queue(&q) || write(fail, "1", 1) != 1)
		bail("the first transfers");
	for (int i = 0; i < 100; i++) {
		moved &= transfers();
		queued &= queue(&q);
	}
	refused = try_lock(&more);
	if (pwrite(fail, "0", 1, 0) != 1)
		bail("make-it-fail");
	ok(refused && card_why.reason == GIGALOCK_REASON_KERNEL_METADATA,
	   "a lock is refused: allocations do fail");
	ok(moved, "3200 transfers without an allocation");
	ok(queued, "3200 transfers of a queue without an allocation");
	return tap_done();
}
