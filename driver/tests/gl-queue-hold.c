// SPDX-License-Identifier: GPL-2.0-only
/*
 * A queue caught with work in flight. Fills a queue with transfers that the
 * card's pause knob holds, waits until they stand still, and does what it was
 * asked to:
 *
 *   gl-queue-hold ACTION [irq]
 *
 *   sleep    stay until killed
 *   exit     leave without closing anything
 *   close    unmap and close
 *   unlock   UNLOCK is refused; and works after the queue was destroyed
 *   destroy  destroy; the ring doesn't change any more, the lock is free
 *   wait     QUEUE_WAIT until all is done, or the queue is over
 *   submit   fill it again and again until it is over
 *   spin     look at the ring until all is done; ask now and then if it is over
 *   poll     poll() until there is something
 *   stray    end all that, say "all"; one more when /tmp/one is there; then another
 *            one when /tmp/another is, and is it done before its time?
 *
 * It prints "held SEEN of SUBMITTED" when it stands still, "over ERRNO seen N"
 * when a call said that the queue is over, "done" at the end.
 */
#include <poll.h>
#include <time.h>

#include "queue.h"

#define ENTRIES	16
#define LENGTH	65536

static struct gigalock_lock lock;
static struct queue q;
static uint32_t wrong;

static int wait_queue(int ms)
{
	struct gigalock_queue_wait w = { .size = sizeof(w), .id = q.c.id,
					 .seen = q.seen, .timeout_ms = ms };

	return ioctl(card, GIGALOCK_IOC_QUEUE_WAIT, &w);
}

static void look_at_all(void)
{
	struct gigalock_completion c;

	while (q.seen != q.submitted && queue_look(&q, &c))
		wrong += c.status != 0;
}

static void wait_all(void)
{
	while (q.seen != q.submitted) {
		if (wait_queue(-1))
			bail("QUEUE_WAIT");
		look_at_all();
	}
}

/* One transfer when the test has made a file. */
static void put_one(const char *when)
{
	struct gigalock_queue_entry e = move_of(&lock, GIGALOCK_DIR_FROM_CARD, 0, LENGTH);

	while (access(when, F_OK))
		usleep(20000);
	unlink(when);
	e.cookie = q.submitted;
	if (queue_put(&q, &e, 1) != 1)
		bail("QUEUE_SUBMIT of one");
}

static int fill(void)
{
	struct gigalock_queue_entry e[ENTRIES];

	for (uint32_t i = 0; i < ENTRIES; i++) {
		e[i] = move_of(&lock, GIGALOCK_DIR_FROM_CARD, i * LENGTH, LENGTH);
		e[i].cookie = i;
	}
	return queue_put(&q, e, ENTRIES);
}

static void wait_still(void)
{
	uint32_t last = ~0u;

	for (int i = 0; i < 200; i++) {
		look_at_all();
		if (q.seen == last && i > 2)
			break;
		last = q.seen;
		usleep(100000);
	}
	if (q.seen == q.submitted)
		bail("all is done: nothing held it");
	printf("held %u of %u\n", q.seen, q.submitted);
	fflush(stdout);
}

static void over(void)
{
	int err = errno;

	look_at_all();
	printf("over %d seen %u of %u, %u wrong\n", err, q.seen, q.submitted, wrong);
}

int main(int argc, char **argv)
{
	const char *action = argc > 1 ? argv[1] : "";

	card_open();
	lock.strategy = GIGALOCK_STRATEGY_COHERENT;
	lock.bytes = ENTRIES * LENGTH;
	do_lock(&lock);
	queue_make(&q, ENTRIES, argc > 2 ? GIGALOCK_QUEUE_IRQ : 0);
	if (fill() < 1)
		bail("QUEUE_SUBMIT");
	wait_still();

	if (!strcmp(action, "sleep")) {
		for (;;)
			pause();
	} else if (!strcmp(action, "exit")) {
		_exit(0);
	} else if (!strcmp(action, "close")) {
		munmap((void *)q.ring, q.c.ring_bytes);
		close(card);
	} else if (!strcmp(action, "unlock")) {
		if (!try_unlock(lock.id) || errno != EBUSY)
			bail("UNLOCK in flight was not refused");
		if (queue_destroy(&q))
			bail("QUEUE_DESTROY");
		do_unlock(lock.id);
	} else if (!strcmp(action, "destroy")) {
		struct gigalock_completion before[ENTRIES];

		memcpy(before, (void *)q.ring, sizeof(before));
		if (queue_destroy(&q))
			bail("QUEUE_DESTROY");
		do_unlock(lock.id);
		printf("destroyed\n");
		fflush(stdout);
		sleep(2);
		if (memcmp(before, (void *)q.ring, sizeof(before)))
			bail("the ring changed");
		if (before[q.seen % ENTRIES].seq == q.seen + 1)
			bail("one was completed that was not");
	} else if (!strcmp(action, "wait")) {
		while (q.seen != q.submitted) {
			if (wait_queue(-1)) {
				over();
				break;
			}
			look_at_all();
		}
	} else if (!strcmp(action, "submit")) {
		while (fill() >= 0 || errno == EAGAIN)
			look_at_all();
		over();
	} else if (!strcmp(action, "spin")) {
		time_t next = time(NULL);

		while (q.seen != q.submitted) {
			look_at_all();
			if (time(NULL) <= next)
				continue;
			next = time(NULL);
			if (wait_queue(0) && errno != ETIMEDOUT) {
				over();
				break;
			}
		}
	} else if (!strcmp(action, "stray")) {
		wait_all();
		printf("all\n");
		fflush(stdout);
		put_one("/tmp/one");
		wait_all();
		printf("one\n");
		fflush(stdout);
		put_one("/tmp/another");
		if (wait_queue(500) != -1 || errno != ETIMEDOUT)
			bail("done before its time");
		if (!try_unlock(lock.id) || errno != EBUSY)
			bail("UNLOCK in flight was not refused");
		printf("still in flight\n");
		fflush(stdout);
		wait_all();
	} else if (!strcmp(action, "poll")) {
		struct pollfd p = { .fd = card, .events = POLLIN };

		/* What it has seen is said by a call. */
		if (!wait_queue(0) || errno != ETIMEDOUT)
			bail("QUEUE_WAIT");
		if (poll(&p, 1, 0))
			bail("poll() has something");
		printf("polled %d", poll(&p, 1, 60000));
		printf("%s%s\n", p.revents & POLLIN ? " in" : "",
		       p.revents & POLLHUP ? " hup" : "");
		if (wait_queue(0))
			over();
	} else {
		errno = EINVAL;
		bail("action %s", action);
	}
	if (q.seen == q.submitted)
		printf("all %u, %u wrong\n", q.seen, wrong);
	printf("done\n");
	return 0;
}
