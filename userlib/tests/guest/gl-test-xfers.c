/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers: ranges that are refused, waiting, polling, time limits, cancelling,
 * and ends of processes in mid-transfer. In guests with the card.
 */
#include "tap.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

#define SG GIGALOCK_STRATEGY_SG
#define BOTH GIGALOCK_DIR_BOTH
#define TO_CARD GIGALOCK_DIR_TO_CARD
#define FROM_CARD GIGALOCK_DIR_FROM_CARD

/* A transfer that the card holds on its way, where no piece ends. */
#define BUSY_BYTES (16 * MIB)
#define HOLD_AT (5 * MIB + 12345)

static struct glk_xfer_options to_card(uint64_t offset, uint64_t length,
				       uint64_t card_offset)
{
	return (struct glk_xfer_options){
		.size = sizeof(struct glk_xfer_options), .direction = TO_CARD,
		.offset = offset, .length = length, .card_offset = card_offset,
	};
}

static struct glk_xfer *submit(struct glk_lock *lock,
			       const struct glk_xfer_options *options)
{
	struct gigalock_failure f;
	struct glk_xfer *xfer;
	int ret = glk_xfer_submit(lock, options, &xfer, &f);

	if (ret)
		FAIL("submit: %s: %s", strerror(-ret), glk_reason_name(f.reason));
	return xfer;
}

static void finish(struct glk_xfer **xfers, int count)
{
	for (int i = 0; i < count; i++) {
		EQUAL(glk_xfer_wait(xfers[i], 30000, NULL, NULL), 0);
		glk_xfer_free(xfers[i]);
	}
}

/* ---- ranges ---------------------------------------------------------------- */

static void not_submitted(struct glk_lock *lock, struct glk_xfer_options o,
			  int err, uint32_t reason, uint64_t limit)
{
	struct gigalock_failure f;
	struct glk_xfer *xfer;

	EQUAL(glk_xfer_submit(lock, &o, &xfer, &f), -err);
	CHECK(!xfer);
	expect_reason(&f, reason);
	if (limit)
		EQUAL(f.limit, limit);
	EQUAL(f.op, GIGALOCK_OP_TRANSFER);
	EQUAL(glk_transfer(lock, &o, 1000, NULL, &f), -err);
	expect_reason(&f, reason);
}

static void past_the_end_of_the_lock(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);

	not_submitted(lock, to_card(0, MIB + 1, 0), ERANGE,
		      GIGALOCK_REASON_LOCK_RANGE, MIB);
	not_submitted(lock, to_card(MIB, 1, 0), ERANGE,
		      GIGALOCK_REASON_LOCK_RANGE, MIB);
	not_submitted(lock, to_card(UINT64_MAX, 2, 0), ERANGE,
		      GIGALOCK_REASON_LOCK_RANGE, MIB);
	not_submitted(lock, to_card(1, UINT64_MAX, 0), ERANGE,
		      GIGALOCK_REASON_LOCK_RANGE, MIB);
	round_trip(lock, MIB - 1, 1, 0);
	EQUAL(glk_lock_free(lock), 0);
}

static void past_the_end_of_the_card(void)
{
	struct glk_card *card = open_card();
	uint64_t card_bytes = card_info(card).card_bytes;
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);

	not_submitted(lock, to_card(0, MIB, card_bytes - MIB + 1), ERANGE,
		      GIGALOCK_REASON_CARD_RANGE, card_bytes);
	not_submitted(lock, to_card(0, 1, card_bytes), ERANGE,
		      GIGALOCK_REASON_CARD_RANGE, card_bytes);
	not_submitted(lock, to_card(0, 2, UINT64_MAX), ERANGE,
		      GIGALOCK_REASON_CARD_RANGE, card_bytes);
	round_trip(lock, 0, MIB, card_bytes - MIB);
	EQUAL(glk_lock_free(lock), 0);
}

static void bad_arguments(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, 1, 0);

	o.direction = 0;
	not_submitted(lock, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT, 0);
	o.direction = BOTH;
	not_submitted(lock, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT, 0);
	o = to_card(0, 1, 0);
	o.flags = 0x80;
	not_submitted(lock, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT, 0);
	o = to_card(0, 0, 0);
	{
		struct gigalock_failure f;
		struct glk_xfer *xfer;

		EQUAL(glk_xfer_submit(lock, &o, &xfer, &f), -EINVAL);
		CHECK(f.reason != GIGALOCK_REASON_NONE);
	}
	EQUAL(glk_lock_sync_for_device(lock, 0, MIB + 1), -EINVAL);
	EQUAL(glk_lock_sync_for_cpu(lock, MIB + 1, 0), -EINVAL);
	EQUAL(glk_lock_sync_for_cpu(lock, UINT64_MAX, 2), -EINVAL);
	EQUAL(glk_lock_sync_for_cpu(lock, 17, 100), 0);
	EQUAL(glk_lock_sync_for_device(lock, 0, 0), 0);
	EQUAL(glk_lock_free(lock), 0);
}

static void wrong_direction(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *reads = lock_memory(card, SG, MIB, TO_CARD, NULL);
	struct glk_lock *writes = lock_memory(card, SG, MIB, FROM_CARD, NULL);
	struct glk_xfer_options o = to_card(0, MIB, 0);

	not_submitted(writes, o, EACCES, GIGALOCK_REASON_BAD_ARGUMENT, 0);
	EQUAL(glk_transfer(reads, &o, 1000, NULL, NULL), 0);
	o.direction = FROM_CARD;
	not_submitted(reads, o, EACCES, GIGALOCK_REASON_BAD_ARGUMENT, 0);
	EQUAL(glk_transfer(writes, &o, 1000, NULL, NULL), 0);
	EQUAL(glk_lock_free(reads), 0);
	EQUAL(glk_lock_free(writes), 0);
}

/* ---- waiting ----------------------------------------------------------------- */

static void poll_says_when(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct pollfd fd = { .fd = glk_card_fd(card), .events = POLLIN };
	struct glk_xfer_options o = to_card(0, MIB, 0);
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct glk_xfer *xfer;

	EQUAL(poll(&fd, 1, 0), 0);
	xfer = submit(lock, &o);
	EQUAL(poll(&fd, 1, 10000), 1);
	CHECK(fd.revents & POLLIN);
	EQUAL(glk_xfer_progress(xfer, NULL, NULL), GIGALOCK_XFER_DONE);
	EQUAL(glk_xfer_wait(xfer, 0, &r, NULL), 0);
	EQUAL(r.bytes, MIB);
	EQUAL(poll(&fd, 1, 0), 0);
	EQUAL(glk_xfer_wait(xfer, 0, &r, NULL), -EALREADY);
	EQUAL(glk_xfer_cancel(xfer), -EALREADY);
	EQUAL(glk_xfer_progress(xfer, NULL, NULL), -EALREADY);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
}

static void wait_for_any(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	bool seen[16] = { false };
	struct gigalock_failure f;
	struct glk_xfer *xfer;

	EQUAL(glk_card_wait_any(card, 0, &xfer, NULL, &f), -ENOENT);
	CHECK(!xfer);
	for (uintptr_t i = 0; i < 16; i++) {
		struct glk_xfer_options o = to_card(i * 1000, 999 - i, i * 2000);

		o.direction = i % 2 ? FROM_CARD : TO_CARD;
		o.user_data = (void *)i;
		submit(lock, &o);
	}
	for (int i = 0; i < 16; i++) {
		struct glk_xfer_result r = { .size = sizeof(r) };
		uintptr_t which;

		EQUAL(glk_card_wait_any(card, 10000, &xfer, &r, &f), 0);
		CHECK(xfer);
		which = (uintptr_t)glk_xfer_user_data(xfer);
		CHECK(which < 16 && !seen[which]);
		seen[which] = true;
		EQUAL(r.bytes, 999 - which);
		glk_xfer_free(xfer);
	}
	EQUAL(glk_card_wait_any(card, 0, &xfer, NULL, &f), -ENOENT);
	EQUAL(glk_lock_free(lock), 0);
}

static void time_limit_of_a_wait(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer *xfer = half_way(lock, HOLD_AT);
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct gigalock_failure f;
	uint64_t bytes;

	EQUAL(glk_xfer_wait(xfer, 0, NULL, &f), -ETIMEDOUT);
	expect_reason(&f, GIGALOCK_REASON_TIMEOUT);
	EQUAL(glk_xfer_wait(xfer, 30, NULL, &f), -ETIMEDOUT);
	EQUAL(f.limit, 30);
	EQUAL(f.unit, GIGALOCK_UNIT_MILLISECONDS);
	EQUAL(glk_xfer_progress(xfer, &bytes, NULL), GIGALOCK_XFER_RUNNING);
	EQUAL(bytes, HOLD_AT);
	let_card_go();		/* and it goes on */
	EQUAL(glk_xfer_wait(xfer, 30000, &r, NULL), 0);
	EQUAL(r.bytes, BUSY_BYTES);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
}

/* A blocking transfer behind one that is held: it is given up, and nothing of
 * it stays. */
static void time_limit_of_a_transfer(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_lock *other = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, MIB, 0);
	struct glk_xfer *xfer = half_way(lock, HOLD_AT);
	struct gigalock_failure f;

	EQUAL(glk_transfer(other, &o, 30, NULL, &f), -ETIMEDOUT);
	expect_reason(&f, GIGALOCK_REASON_TIMEOUT);
	EQUAL(f.lock_size, MIB);
	EQUAL(f.limit, 30);
	EQUAL(glk_lock_free(other), 0);
	let_card_go();
	finish(&xfer, 1);
	EQUAL(glk_lock_free(lock), 0);
}

/* The one that is held itself: a blocking transfer that never ends. */
static void time_limit_in_mid_transfer(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, BUSY_BYTES, 0);
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct gigalock_failure f;

	hold_card(HOLD_AT);
	EQUAL(glk_transfer(lock, &o, 200, &r, &f), -ETIMEDOUT);
	expect_reason(&f, GIGALOCK_REASON_TIMEOUT);
	EQUAL(f.limit, 200);
	EQUAL(r.status, -ECANCELED);
	CHECK(r.bytes > 0 && r.bytes < BUSY_BYTES);
	EQUAL(glk_lock_free(lock), 0);
	let_card_go();
}

static void cancel_in_the_queue(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, BUSY_BYTES, 0);
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct glk_xfer *xfers[4], *queued;
	struct gigalock_failure f;
	uint64_t bytes;

	xfers[0] = half_way(lock, HOLD_AT);
	xfers[1] = submit(lock, &o);
	queued = submit(lock, &o);
	xfers[2] = submit(lock, &o);
	EQUAL(glk_xfer_progress(queued, &bytes, NULL), GIGALOCK_XFER_QUEUED);
	EQUAL(bytes, 0);
	EQUAL(glk_xfer_cancel(queued), 0);
	EQUAL(glk_xfer_wait(queued, 5000, &r, &f), -ECANCELED);
	EQUAL(r.status, -ECANCELED);
	EQUAL(r.bytes, 0);
	expect_reason(&f, GIGALOCK_REASON_CANCELLED);
	glk_xfer_free(queued);
	EQUAL(glk_xfer_progress(xfers[0], &bytes, NULL), GIGALOCK_XFER_RUNNING);
	EQUAL(bytes, HOLD_AT);
	let_card_go();
	finish(xfers, 3);	/* the others are not hurt */
	round_trip(lock, 0, BUSY_BYTES, 0);
	EQUAL(glk_lock_free(lock), 0);
}

static void cancel_in_mid_transfer(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, BUSY_BYTES, 0);
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct glk_xfer *xfer = half_way(lock, HOLD_AT), *next;
	struct gigalock_failure f;

	next = submit(lock, &o);
	EQUAL(glk_xfer_cancel(xfer), 0);
	/* The card no longer touches it, held or not. */
	EQUAL(glk_xfer_progress(xfer, NULL, NULL), GIGALOCK_XFER_DONE);
	EQUAL(glk_xfer_wait(xfer, 0, &r, &f), -ECANCELED);
	EQUAL(r.status, -ECANCELED);
	CHECK(r.bytes < BUSY_BYTES);
	expect_reason(&f, GIGALOCK_REASON_CANCELLED);
	EQUAL(f.lock_size, BUSY_BYTES);
	glk_xfer_free(xfer);
	let_card_go();
	finish(&next, 1);
	round_trip(lock, 0, BUSY_BYTES, 0);
	EQUAL(glk_lock_free(lock), 0);
}

static void too_many(void)
{
	static struct glk_xfer *xfers[GIGALOCK_MAX_XFERS];
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, 1, 0);
	struct gigalock_failure f;
	struct glk_xfer *one;

	for (int i = 0; i < GIGALOCK_MAX_XFERS; i++)
		xfers[i] = submit(lock, &o);
	EQUAL(glk_xfer_submit(lock, &o, &one, &f), -EAGAIN);
	CHECK(f.reason != GIGALOCK_REASON_NONE);
	/* one reaped makes room for one */
	EQUAL(glk_xfer_wait(xfers[0], 10000, NULL, NULL), 0);
	glk_xfer_free(xfers[0]);
	xfers[0] = submit(lock, &o);
	finish(xfers, GIGALOCK_MAX_XFERS);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- ends -------------------------------------------------------------------- */

static void unlock_in_mid_transfer(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct gigalock_unlock call = {
		.size = sizeof(call), .id = glk_lock_id(lock),
	};
	struct glk_xfer *xfer = half_way(lock, HOLD_AT);
	struct glk_xfer_result r = { .size = sizeof(r) };

	EQUAL(ioctl(glk_card_fd(card), GIGALOCK_IOC_UNLOCK, &call), -1);
	EQUAL(errno, EBUSY);
	EQUAL(glk_lock_free(lock), -EBUSY);
	EQUAL(glk_lock_bytes(lock), BUSY_BYTES);
	EQUAL(card_info(card).locks, 1);
	let_card_go();		/* nothing changed */
	EQUAL(glk_xfer_wait(xfer, 30000, &r, NULL), 0);
	EQUAL(r.bytes, BUSY_BYTES);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
}

static void free_stops_a_transfer(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer_options o = to_card(0, BUSY_BYTES, 0);
	struct glk_xfer *xfer = half_way(lock, HOLD_AT), *queued;

	queued = submit(lock, &o);
	glk_xfer_free(queued);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);
	EQUAL(card_info(card).locks, 0);
	let_card_go();
}

/* All that a process had is given back, however it ends. */
static void killed_in_mid_transfer(void)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	struct glk_card *watch = open_card();

	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++) {
		uint64_t bytes = s == GIGALOCK_STRATEGY_COHERENT ? 4 * MIB :
				 BUSY_BYTES;
		int ready[2], status;
		char byte;
		pid_t pid;

		if (!easy_strategy(watch, s))
			continue;
		EQUAL(pipe(ready), 0);
		pid = fork();
		if (pid == 0) {
			struct glk_card *card = open_card();
			struct glk_lock *lock = lock_memory(card, s, bytes, BOTH,
							    NULL);

			half_way(lock, bytes / 2 + 77);
			EQUAL(write(ready[1], "x", 1), 1);
			pause();
		}
		close(ready[1]);
		/* The end of the pipe: it failed, or there is no knob. */
		if (read(ready[0], &byte, 1) != 1) {
			EQUAL(waitpid(pid, &status, 0), pid);
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
		}
		EQUAL(card_info(watch).locks, 1);
		kill(pid, SIGKILL);
		EQUAL(waitpid(pid, &status, 0), pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		/* While the card is still held. */
		for (int i = 0; i < 250 && card_info(watch).locks; i++)
			nanosleep(&tick, NULL);
		EQUAL(card_info(watch).locks, 0);
		EQUAL(card_info(watch).locked_bytes, 0);
		close(ready[0]);
		let_card_go();
	}
	round_trip(lock_memory(watch, SG, MIB, BOTH, NULL), 0, MIB, 0);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(past_the_end_of_the_lock),
		TEST(past_the_end_of_the_card),
		TEST(bad_arguments),
		TEST(wrong_direction),
		TEST(poll_says_when),
		TEST(wait_for_any),
		TEST(time_limit_of_a_wait),
		TEST(time_limit_of_a_transfer),
		TEST(time_limit_in_mid_transfer),
		TEST(cancel_in_the_queue),
		TEST(cancel_in_mid_transfer),
		TEST(too_many),
		TEST(unlock_in_mid_transfer),
		TEST(free_stops_a_transfer),
		TEST(killed_in_mid_transfer),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
