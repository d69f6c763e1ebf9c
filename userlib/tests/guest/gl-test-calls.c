/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls themselves: mapping, ids, the failure log, poll(), and several
 * threads that wait on one file. In guests with the card.
 */
#include "tap.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define COHERENT GIGALOCK_STRATEGY_COHERENT
#define CONTIG_RANGE GIGALOCK_STRATEGY_CONTIG_RANGE
#define SG GIGALOCK_STRATEGY_SG
#define BOTH GIGALOCK_DIR_BOTH
#define PAGE ((uint64_t)4096)
#define WHOLE (16 * MIB)
#define HOLD_AT (5 * MIB + 12345)

static struct gigalock_lock raw_lock(int fd, uint32_t strategy, uint64_t bytes,
				     void *memory)
{
	struct gigalock_lock call = {
		.size = sizeof(call), .strategy = strategy, .direction = BOTH,
		.bytes = bytes, .user_addr = (uintptr_t)memory,
	};

	if (ioctl(fd, GIGALOCK_IOC_LOCK, &call))
		FAIL("lock by %s: %s", glk_strategy_name(strategy), strerror(errno));
	CHECK(call.id > 0);
	return call;
}

static int raw_unlock(int fd, uint32_t id)
{
	struct gigalock_unlock call = { .size = sizeof(call), .id = id };

	return ioctl(fd, GIGALOCK_IOC_UNLOCK, &call) ? errno : 0;
}

static uint32_t raw_submit(int fd, uint32_t lock, uint64_t length, uint64_t cookie)
{
	struct gigalock_submit call = {
		.size = sizeof(call), .id = lock, .length = length,
		.direction = GIGALOCK_DIR_TO_CARD, .cookie = cookie,
	};

	if (ioctl(fd, GIGALOCK_IOC_SUBMIT, &call))
		FAIL("submit: %s", strerror(errno));
	CHECK(call.xfer > 0);
	return call.xfer;
}

/* 0 with the transfer's number and cookie, or a positive errno. */
static int raw_wait(int fd, uint32_t *xfer, int timeout_ms, uint64_t *cookie)
{
	struct gigalock_wait call = {
		.size = sizeof(call), .xfer = *xfer, .timeout_ms = timeout_ms,
	};

	if (ioctl(fd, GIGALOCK_IOC_WAIT, &call))
		return errno;
	*xfer = call.xfer;
	if (cookie)
		*cookie = call.cookie;
	return 0;
}

/* ---- mmap -------------------------------------------------------------------- */

static void no_map(int fd, uint64_t length, int flags, uint64_t offset, int err)
{
	void *data = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd,
			  (off_t)offset);

	if (data != MAP_FAILED)
		FAIL("%" PRIu64 " bytes at offset 0x%" PRIx64 " could be mapped",
		     length, offset);
	EQUAL(errno, err);
}

static void mmap_of_a_lock(void)
{
	struct glk_card *card = open_card();
	int fd = glk_card_fd(card);

	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++) {
		struct gigalock_lock lock;
		unsigned char *data, *part;
		uint64_t at;

		if (s == SG || !easy_strategy(card, s))
			continue;
		lock = raw_lock(fd, s, 4 * PAGE, NULL);
		at = lock.mmap_offset;
		/* Writes to a private copy would never reach the card. */
		no_map(fd, 4 * PAGE, MAP_PRIVATE, at, EINVAL);
		no_map(fd, 5 * PAGE, MAP_SHARED, at, EINVAL);
		no_map(fd, 4 * PAGE, MAP_SHARED, at + PAGE, EINVAL);
		no_map(fd, PAGE, MAP_SHARED, at + 4 * PAGE, ENOENT);
		no_map(fd, PAGE, MAP_SHARED, at - PAGE, ENOENT);
		no_map(fd, PAGE, MAP_SHARED, at + 64 * MIB, ENOENT);
		CHECK(at > 0 && at % PAGE == 0 && at < (uint64_t)1 << 44);
		no_map(fd, PAGE, MAP_SHARED, at + 1, EINVAL);
		/* All of it, and any part of it, is the same memory. */
		data = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    (off_t)at);
		part = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd,
			    (off_t)(at + 3 * PAGE));
		CHECK(data != MAP_FAILED && part != MAP_FAILED);
		EQUAL(part[17], 0);
		data[3 * PAGE + 17] = 0x5a;
		EQUAL(part[17], 0x5a);
		EQUAL(raw_unlock(fd, lock.id), EBUSY);
		EQUAL(munmap(data, 4 * PAGE), 0);
		EQUAL(raw_unlock(fd, lock.id), EBUSY);
		EQUAL(munmap(part, PAGE), 0);
		EQUAL(raw_unlock(fd, lock.id), 0);
		no_map(fd, 4 * PAGE, MAP_SHARED, at, ENOENT);
	}
}

static void mmap_of_no_lock(void)
{
	int fd = glk_card_fd(open_card()), other = glk_card_fd(open_card());
	struct gigalock_lock coherent = raw_lock(fd, COHERENT, MIB, NULL);
	struct gigalock_lock range = raw_lock(fd, CONTIG_RANGE, MIB, NULL);
	uint64_t first = coherent.mmap_offset, second = range.mmap_offset;
	struct gigalock_lock sg;

	CHECK(first && second);
	CHECK(first + MIB <= second || second + MIB <= first);
	sg = raw_lock(fd, SG, MIB, scattered(MIB));
	EQUAL(sg.mmap_offset, 0);
	no_map(fd, PAGE, MAP_SHARED, 0, ENOENT);
	no_map(fd, PAGE, MAP_SHARED, (first > second ? first : second) + MIB, ENOENT);
	no_map(fd, PAGE, MAP_SHARED, (uint64_t)INT64_MAX / PAGE * PAGE - PAGE, ENOENT);
	/* A lock of another open file, though the card is the same. */
	no_map(other, MIB, MAP_SHARED, coherent.mmap_offset, ENOENT);
	no_map(other, MIB, MAP_SHARED, range.mmap_offset, ENOENT);
	EQUAL(raw_unlock(fd, coherent.id), 0);
	EQUAL(raw_unlock(fd, range.id), 0);
	EQUAL(raw_unlock(fd, sg.id), 0);
}

/* ---- ids --------------------------------------------------------------------- */

#define ROUNDS 100

static void all_different(uint32_t *ids, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = 0; j < i; j++)
			if (ids[i] == ids[j])
				FAIL("rounds %u and %u have the same id %u", j, i,
				     ids[i]);
}

/* Or who still waits for the old one would meet the new one. */
static void ids_of_transfers_go_round(void)
{
	int fd = glk_card_fd(open_card());
	struct gigalock_lock lock = raw_lock(fd, SG, MIB, scattered(MIB));
	uint32_t ids[ROUNDS];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t cookie = 0;
		uint32_t one;

		one = ids[i] = raw_submit(fd, lock.id, 1 + i, 1000 + i);
		EQUAL(raw_wait(fd, &one, 10000, &cookie), 0);
		EQUAL(one, ids[i]);
		EQUAL(cookie, 1000 + i);
		EQUAL(raw_wait(fd, &one, 0, NULL), ENOENT);
	}
	all_different(ids, ROUNDS);
	EQUAL(raw_unlock(fd, lock.id), 0);
}

static void ids_of_locks_go_round(void)
{
	int fd = glk_card_fd(open_card());
	uint32_t ids[ROUNDS];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		ids[i] = raw_lock(fd, COHERENT, PAGE, NULL).id;
		EQUAL(raw_unlock(fd, ids[i]), 0);
		EQUAL(raw_unlock(fd, ids[i]), ENOENT);
	}
	all_different(ids, ROUNDS);
}

/* ---- the failure log --------------------------------------------------------- */

/* Each failure has its own number in it. */
static void fail_with(int fd, uint32_t strategy)
{
	struct gigalock_lock call = {
		.size = sizeof(call), .strategy = strategy, .direction = BOTH,
		.bytes = PAGE,
	};

	EQUAL(ioctl(fd, GIGALOCK_IOC_LOCK, &call), -1);
	EQUAL(errno, EINVAL);
}

static void log_keeps_the_last_ones(void)
{
	struct gigalock_failure log[GIGALOCK_FAILURE_LOG + 8];
	struct glk_card *card = open_card();
	int64_t before = glk_card_failure_seq(card);
	const unsigned int made = 3 * GIGALOCK_FAILURE_LOG / 2 + 1;
	int fd = glk_card_fd(card);

	CHECK(before >= 0);
	for (unsigned int i = 0; i < made; i++)
		fail_with(fd, 1000 + i);
	EQUAL(glk_card_failure_seq(card), before + made);
	/* Older than the log, and just as old: what is kept. More room than
	 * that changes nothing. */
	for (uint64_t since = 0; since <= (uint64_t)before; since += before ? before : 1) {
		memset(log, 0xee, sizeof(log));
		EQUAL(glk_card_failures(card, since, log, GIGALOCK_FAILURE_LOG + 8),
		      GIGALOCK_FAILURE_LOG);
		for (unsigned int i = 0; i < GIGALOCK_FAILURE_LOG; i++) {
			unsigned int which = made - GIGALOCK_FAILURE_LOG + i;

			EQUAL(log[i].seq, before + 1 + which);
			EQUAL(log[i].request, 1000 + which);
			expect_reason(&log[i], GIGALOCK_REASON_BAD_STRATEGY);
			CHECK(!i || log[i].time_ns >= log[i - 1].time_ns);
		}
		EQUAL(log[GIGALOCK_FAILURE_LOG].seq, 0xeeeeeeeeeeeeeeee);
	}
}

static void log_gives_what_fits(void)
{
	struct gigalock_failure log[GIGALOCK_FAILURE_LOG];
	struct glk_card *card = open_card();
	int64_t before = glk_card_failure_seq(card);
	int fd = glk_card_fd(card);

	for (unsigned int i = 0; i < 10; i++)
		fail_with(fd, 2000 + i);
	memset(log, 0xee, sizeof(log));
	EQUAL(glk_card_failures(card, before, log, 3), 3);
	for (unsigned int i = 0; i < 3; i++)
		EQUAL(log[i].request, 2000 + i);	/* oldest first */
	EQUAL(log[3].seq, 0xeeeeeeeeeeeeeeee);
	/* Read on from there. */
	EQUAL(glk_card_failures(card, log[2].seq, log, GIGALOCK_FAILURE_LOG), 7);
	EQUAL(log[0].request, 2003);
	EQUAL(log[6].seq, before + 10);
	EQUAL(glk_card_failures(card, before + 10, log, GIGALOCK_FAILURE_LOG), 0);
	EQUAL(glk_card_failures(card, UINT64_MAX, log, GIGALOCK_FAILURE_LOG), 0);
	EQUAL(glk_card_failures(card, before, log, 0), 0);
	EQUAL(glk_card_failures(card, before, (void *)16, 1), -EFAULT);
}

/* ---- poll -------------------------------------------------------------------- */

static void poll_while_it_runs(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, WHOLE, BOTH, NULL);
	struct glk_xfer *xfer = half_way(lock, HOLD_AT);
	struct pollfd fd = { .fd = glk_card_fd(card), .events = POLLIN };

	EQUAL(poll(&fd, 1, 100), 0);
	let_card_go();
	EQUAL(poll(&fd, 1, 30000), 1);
	EQUAL(fd.revents, POLLIN);
	EQUAL(glk_xfer_wait(xfer, 0, NULL, NULL), 0);
	EQUAL(poll(&fd, 1, 0), 0);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
}

/* Ready as long as there is one to reap, and only on its own file. */
static void poll_until_all_are_reaped(void)
{
	struct glk_card *card = open_card(), *other = open_card();
	struct pollfd fds[2] = {
		{ .fd = glk_card_fd(card), .events = POLLIN | POLLOUT },
		{ .fd = glk_card_fd(other), .events = POLLIN },
	};
	int fd = glk_card_fd(card);
	struct gigalock_lock lock = raw_lock(fd, SG, MIB, scattered(MIB));
	uint32_t ids[5];

	for (int i = 0; i < 5; i++)
		ids[i] = raw_submit(fd, lock.id, MIB, 0);
	for (int i = 4; i >= 0; i--) {
		EQUAL(poll(fds, 2, 10000), 1);
		EQUAL(fds[0].revents, POLLIN);
		EQUAL(fds[1].revents, 0);
		EQUAL(raw_wait(fd, &ids[i], 10000, NULL), 0);
	}
	EQUAL(poll(fds, 2, 0), 0);
	EQUAL(raw_unlock(fd, lock.id), 0);
}

/* One loop over the card and other files, as servers have it. */
static void epoll_with_other_files(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, WHOLE, BOTH, NULL);
	int loop = epoll_create1(EPOLL_CLOEXEC), bell = eventfd(0, EFD_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = 1 };
	struct glk_xfer *xfer;
	uint64_t one = 1;

	EQUAL(epoll_ctl(loop, EPOLL_CTL_ADD, glk_card_fd(card), &event), 0);
	event.data.u32 = 2;
	EQUAL(epoll_ctl(loop, EPOLL_CTL_ADD, bell, &event), 0);
	xfer = half_way(lock, HOLD_AT);
	EQUAL(epoll_wait(loop, &event, 1, 50), 0);
	EQUAL(write(bell, &one, sizeof(one)), sizeof(one));
	EQUAL(epoll_wait(loop, &event, 1, 1000), 1);
	EQUAL(event.data.u32, 2);
	let_card_go();
	EQUAL(epoll_wait(loop, &event, 1, 30000), 1);
	EQUAL(event.data.u32, 1);
	EQUAL(event.events, EPOLLIN);
	/* Edges: told once, though it was not reaped yet. */
	EQUAL(epoll_wait(loop, &event, 1, 50), 0);
	EQUAL(glk_xfer_wait(xfer, 0, NULL, NULL), 0);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- threads that wait ------------------------------------------------------- */

struct waiter {
	pthread_t thread;
	struct glk_card *card;
	struct glk_xfer *xfer;	/* or NULL: any */
	int fd;
	uint32_t id;
	int ret;
	struct glk_xfer_result result;
	struct gigalock_failure failure;
	struct glk_xfer *got;
};

static void *wait_raw(void *arg)
{
	struct waiter *w = arg;

	w->ret = raw_wait(w->fd, &w->id, 30000, NULL);
	return NULL;
}

static void *wait_by_library(void *arg)
{
	struct waiter *w = arg;

	w->result.size = sizeof(w->result);
	if (w->xfer)
		w->ret = glk_xfer_wait(w->xfer, 30000, &w->result, &w->failure);
	else
		w->ret = glk_card_wait_any(w->card, 30000, &w->got, &w->result,
					   &w->failure);
	return NULL;
}

static void start(struct waiter *w, unsigned int count, void *(*run)(void *))
{
	const struct timespec tick = { .tv_nsec = 50 * 1000 * 1000 };

	for (unsigned int i = 0; i < count; i++)
		EQUAL(pthread_create(&w[i].thread, NULL, run, &w[i]), 0);
	nanosleep(&tick, NULL);		/* so that most are inside the call */
}

static void join(struct waiter *w, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		EQUAL(pthread_join(w[i].thread, NULL), 0);
}

/* The kernel gives it to one and tells the others that there is none. */
static void several_wait_for_one(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, WHOLE, BOTH, NULL);
	struct waiter w[4] = { 0 };
	int fd = glk_card_fd(card), got = 0;
	uint32_t id;

	hold_card(HOLD_AT);
	id = raw_submit(fd, glk_lock_id(lock), WHOLE, 0);
	for (int i = 0; i < 4; i++)
		w[i] = (struct waiter){ .fd = fd, .id = id };
	start(w, 4, wait_raw);
	let_card_go();
	join(w, 4);
	for (int i = 0; i < 4; i++) {
		got += w[i].ret == 0;
		CHECK(w[i].ret == 0 || w[i].ret == ENOENT);
		EQUAL(w[i].id, id);
	}
	EQUAL(got, 1);
	EQUAL(glk_lock_free(lock), 0);
}

static void several_wait_for_one_handle(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, WHOLE, BOTH, NULL);
	struct glk_xfer *xfer = half_way(lock, HOLD_AT);
	struct waiter w[4] = { 0 };
	int got = 0;

	for (int i = 0; i < 4; i++)
		w[i] = (struct waiter){ .card = card, .xfer = xfer };
	start(w, 4, wait_by_library);
	let_card_go();
	join(w, 4);
	for (int i = 0; i < 4; i++) {
		if (w[i].ret == 0) {
			EQUAL(w[i].result.bytes, WHOLE);
			got++;
		} else {
			EQUAL(w[i].ret, -EALREADY);
			expect_reason(&w[i].failure, GIGALOCK_REASON_BAD_ARGUMENT);
		}
	}
	EQUAL(got, 1);
	EQUAL(glk_xfer_wait(xfer, 0, NULL, NULL), -EALREADY);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
}

/* Some wait for one by its name, some for any: each is reaped once, and who
 * came too late is told so. */
static void any_and_one_at_a_time(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, WHOLE, BOTH, NULL);
	struct glk_xfer_options o = {
		.size = sizeof(o), .direction = GIGALOCK_DIR_TO_CARD,
	};
	struct waiter w[8] = { 0 };
	struct glk_xfer *xfers[4];
	int times[4] = { 0 };

	for (int round = 0; round < 10; round++) {
		xfers[0] = half_way(lock, HOLD_AT);
		for (int i = 1; i < 4; i++) {
			o.length = 1000 + i;
			EQUAL(glk_xfer_submit(lock, &o, &xfers[i], NULL), 0);
		}
		for (int i = 0; i < 8; i++)
			w[i] = (struct waiter){
				.card = card, .xfer = i % 2 ? xfers[i / 2] : NULL,
			};
		start(w, 8, wait_by_library);
		let_card_go();
		join(w, 8);
		memset(times, 0, sizeof(times));
		for (int i = 0; i < 8; i++) {
			struct glk_xfer *mine = w[i].xfer ? w[i].xfer : w[i].got;

			if (w[i].ret) {
				EQUAL(w[i].ret, w[i].xfer ? -EALREADY : -ENOENT);
				CHECK(!w[i].got);
				continue;
			}
			for (int x = 0; x < 4; x++)
				if (mine == xfers[x]) {
					times[x]++;
					EQUAL(w[i].result.bytes,
					      x ? 1000 + (uint64_t)x : WHOLE);
				}
		}
		for (int x = 0; x < 4; x++) {
			EQUAL(times[x], 1);
			glk_xfer_free(xfers[x]);
		}
	}
	EQUAL(glk_lock_free(lock), 0);
}

/*
 * One thread submits, and gives its lock back as soon as it may; the other
 * reaps and frees whatever there is. Neither touches what is gone by then.
 */
static atomic_bool enough;

static void *any_in_a_loop(void *arg)
{
	struct waiter *w = arg;
	unsigned int reaped = 0;

	for (;;) {
		bool last = atomic_load(&enough);
		int ret = glk_card_wait_any(w->card, 10000, &w->got, NULL, NULL);

		if (ret == 0) {
			glk_xfer_free(w->got);
			reaped++;
		} else if (ret != -ENOENT) {
			w->ret = ret;
			return NULL;
		} else if (last) {
			w->ret = (int)reaped;
			return NULL;
		}
	}
}

static void one_submits_and_one_reaps(void)
{
	struct glk_card *card = open_card();
	struct glk_xfer_options o = {
		.size = sizeof(o), .direction = GIGALOCK_DIR_TO_CARD, .length = PAGE,
	};
	struct waiter w = { .card = card };
	struct glk_xfer *xfer;

	start(&w, 1, any_in_a_loop);
	for (int i = 0; i < 300; i++) {
		struct glk_lock *lock = lock_memory(card, SG, PAGE, BOTH, NULL);
		int ret;

		for (int j = 0; j < 3; j++)
			EQUAL(glk_xfer_submit(lock, &o, &xfer, NULL), 0);
		while ((ret = glk_lock_free(lock)) == -EBUSY)
			sched_yield();
		EQUAL(ret, 0);
	}
	atomic_store(&enough, true);
	join(&w, 1);
	EQUAL(w.ret, 900);
	EQUAL(card_info(card).locks, 0);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(mmap_of_a_lock),
		TEST(mmap_of_no_lock),
		TEST(ids_of_transfers_go_round),
		TEST(ids_of_locks_go_round),
		TEST(log_keeps_the_last_ones),
		TEST(log_gives_what_fits),
		TEST(poll_while_it_runs),
		TEST(poll_until_all_are_reaped),
		TEST(epoll_with_other_files),
		TEST(several_wait_for_one),
		TEST(several_wait_for_one_handle),
		TEST(any_and_one_at_a_time),
		TEST(one_submits_and_one_reaps),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
