/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring of a queue, written here as the card writes it. The handle is the
 * library's own affair, so its file is part of this one.
 */
#include "../lib/queue.c"

#include "tests.h"

#define PLACES 16

static struct gigalock_completion ring[PLACES];

static struct glk_queue queue_at(uint32_t seen)
{
	static struct glk_card card = { .fd = -1 };
	struct glk_queue queue = {
		.card = &card, .ring = ring, .ring_bytes = sizeof(ring),
		.entries = PLACES,
	};

	memset(ring, 0, sizeof(ring));
	atomic_init(&queue.submitted, seen);
	atomic_init(&queue.seen, seen);
	atomic_init(&queue.known, seen);
	return queue;
}

/* Completion number @n, its seq last. */
static void complete(uint32_t n)
{
	ring[n % PLACES] = (struct gigalock_completion) {
		.cookie = ~n, .status = n % 7, .bytes = (uint64_t)n << 8,
		.fault_addr = n % 5, .crc = n ^ 0x5a5a, .seq = n + 1,
	};
}

static void check(const struct gigalock_completion *done, uint32_t n)
{
	assert_int_equal(done->cookie, ~n);
	assert_int_equal(done->status, n % 7);
	assert_int_equal(done->bytes, (uint64_t)n << 8);
	assert_int_equal(done->fault_addr, n % 5);
	assert_int_equal(done->crc, n ^ 0x5a5a);
	assert_int_equal(done->seq, n + 1);
}

static void nothing_is_there_yet(void **state)
{
	struct glk_queue queue = queue_at(0);
	struct gigalock_completion done[4];

	(void)state;
	atomic_fetch_add(&queue.submitted, 3);
	assert_int_equal(glk_queue_reap(&queue, done, 4), 0);
	/* The second is there, the first is not: they come in order. */
	complete(1);
	assert_int_equal(glk_queue_reap(&queue, done, 4), 0);
	complete(0);
	assert_int_equal(glk_queue_reap(&queue, done, 1), 1);
	check(&done[0], 0);
	assert_int_equal(glk_queue_reap(&queue, done, 4), 1);
	check(&done[0], 1);
	assert_int_equal(glk_queue_reap(&queue, done, 0), 0);
}

/* What is left of the round before is not taken for new. */
static void around_and_around(void **state)
{
	static const uint32_t starts[] = { 0, 1000, UINT32_MAX - 40, UINT32_MAX - 15 };

	(void)state;
	for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
		struct glk_queue queue = queue_at(starts[s]);
		uint32_t n = starts[s], next = starts[s];

		for (uint32_t round = 0; round < 40; round++) {
			struct gigalock_completion done[PLACES + 4];
			uint32_t count = 1 + round * 5 % PLACES, got;

			for (uint32_t i = 0; i < count; i++)
				complete(n++);
			atomic_fetch_add(&queue.submitted, count);
			assert_int_equal(glk_queue_pending(&queue), count);
			got = glk_queue_reap(&queue, done, PLACES + 4);
			assert_int_equal(got, count);
			for (uint32_t i = 0; i < got; i++)
				check(&done[i], next++);
			assert_int_equal(glk_queue_pending(&queue), 0);
			assert_int_equal(glk_queue_reap(&queue, done, 4), 0);
		}
	}
}

/* Waiting asks the kernel only when nothing is there: this one has none. */
static void wait_looks_first(void **state)
{
	struct glk_queue queue = queue_at(5);

	(void)state;
	atomic_fetch_add(&queue.submitted, 1);
	assert_int_equal(glk_queue_wait(&queue, 0), -EBADF);
	complete(5);
	assert_int_equal(glk_queue_wait(&queue, -1), 0);
}

/* A record of what nobody submitted: not taken, not counted, and not waited for. */
static void what_nobody_submitted(void **state)
{
	static const uint32_t starts[] = { 0, 7, INT32_MAX - 1, UINT32_MAX - 1 };

	(void)state;
	for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
		struct glk_queue queue = queue_at(starts[s]);
		struct gigalock_completion done[PLACES];

		for (uint32_t n = 0; n < PLACES; n++)
			complete(starts[s] + n);
		assert_int_equal(glk_queue_reap(&queue, done, PLACES), 0);
		assert_int_equal(glk_queue_pending(&queue), 0);
		assert_int_equal(glk_queue_wait(&queue, 0), -EBADF);
		atomic_fetch_add(&queue.submitted, 2);
		assert_int_equal(glk_queue_wait(&queue, 0), 0);
		assert_int_equal(glk_queue_reap(&queue, done, PLACES), 2);
		check(&done[1], starts[s] + 1);
		assert_int_equal(glk_queue_reap(&queue, done, PLACES), 0);
		assert_int_equal(glk_queue_pending(&queue), 0);
	}
}

/* Done, says the kernel, before the thread that submitted has counted: it counts. */
static void done_before_it_is_counted(void **state)
{
	struct glk_queue queue = queue_at(9);
	struct gigalock_completion done[4];

	(void)state;
	complete(9);
	complete(10);
	atomic_store(&queue.known, 10);
	assert_int_equal(glk_queue_reap(&queue, done, 4), 1);
	check(&done[0], 9);
	assert_int_equal(glk_queue_pending(&queue), 0);
	atomic_fetch_add(&queue.submitted, 2);
	assert_int_equal(glk_queue_pending(&queue), 1);
	assert_int_equal(glk_queue_reap(&queue, done, 4), 1);
	assert_int_equal(glk_queue_pending(&queue), 0);
}

/* Who never waits has nothing from the kernel, for as long as it likes. */
static void never_waited(void **state)
{
	struct glk_queue queue = queue_at(0);
	struct gigalock_completion done[PLACES];

	(void)state;
	for (uint32_t seen = 0; seen < 0xe0000000; seen += 0x20000000) {
		/* As after so many transfers. */
		atomic_store(&queue.seen, seen);
		atomic_store(&queue.submitted, seen + 1);
		complete(seen);
		complete(seen + 1);
		assert_int_equal(glk_queue_reap(&queue, done, PLACES), 1);
	}
}

static void refused_options(void **state)
{
	struct { struct glk_queue_options o; uint64_t newer; } wide = {
		.o.size = sizeof(wide), .newer = 1,
	};
	struct glk_card card = { .fd = -1 };
	struct glk_queue *queue = (void *)1;

	(void)state;
	assert_int_equal(glk_queue_new(&card, &wide.o, &queue), -EINVAL);
	assert_null(queue);
	wide.newer = 0;
	assert_int_equal(glk_queue_new(&card, &wide.o, &queue), -EBADF);
	assert_int_equal(glk_queue_new(&card, NULL, &queue), -EBADF);
	assert_null(queue);
	glk_queue_free(NULL);
}

static void submit_fails_with_a_reason(void **state)
{
	struct glk_queue queue = queue_at(0);
	struct gigalock_queue_entry entry = { .length = 1 };
	struct gigalock_failure f;

	(void)state;
	assert_int_equal(glk_queue_submit(&queue, &entry, 1, &f), -EBADF);
	assert_int_equal(f.reason, GIGALOCK_REASON_BAD_ARGUMENT);
	assert_int_equal(f.op, GIGALOCK_OP_TRANSFER);
	assert_int_equal(glk_queue_submit(&queue, &entry, 1, NULL), -EBADF);
	assert_int_equal(glk_queue_pending(&queue), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_there_yet),
		cmocka_unit_test(around_and_around),
		cmocka_unit_test(wait_looks_first),
		cmocka_unit_test(what_nobody_submitted),
		cmocka_unit_test(done_before_it_is_counted),
		cmocka_unit_test(never_waited),
		cmocka_unit_test(refused_options),
		cmocka_unit_test(submit_fails_with_a_reason),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
