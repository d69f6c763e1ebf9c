/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What transfers can do besides moving: fill, compare, checksum; their own time
 * limit; the eventfd; and what the kernel counts. In guests with the card.
 */
#include "tap.h"

#include <poll.h>
#include <sys/eventfd.h>

#define SG GIGALOCK_STRATEGY_SG
#define BOTH GIGALOCK_DIR_BOTH
#define TO_CARD GIGALOCK_DIR_TO_CARD
#define FROM_CARD GIGALOCK_DIR_FROM_CARD
#define ERR_COMPARE 0x0c	/* the card's code, see its datasheet */
#define BUSY_BYTES (16 * MIB)
#define HOLD_AT (5 * MIB + 12345)
#define WORD 0x8877665544332211

static struct glk_xfer_options options(uint32_t op, uint64_t offset, uint64_t length)
{
	struct glk_xfer_options o = {
		.size = sizeof(o), .op = op, .offset = offset, .length = length,
		.direction = op == GIGALOCK_XFER_OP_FILL ? FROM_CARD : TO_CARD,
	};

	if (op == GIGALOCK_XFER_OP_FILL)
		o.pattern = WORD;
	if (op == GIGALOCK_XFER_OP_CRC)
		o.flags = GIGALOCK_XFER_CRC;
	return o;
}

static struct glk_xfer_result run(struct glk_lock *lock, struct glk_xfer_options o)
{
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct gigalock_failure f;
	int ret = glk_transfer(lock, &o, 30000, &r, &f);

	if (ret)
		FAIL("op %u: %s, %s", o.op, strerror(-ret), glk_reason_name(f.reason));
	EQUAL(r.bytes, o.length);
	return r;
}

/* ---- fill ------------------------------------------------------------------- */

/* The word goes on over the pieces, of which there is one a page. */
static void fill_of(uint64_t offset, uint64_t length)
{
	const struct glk_lock_options o = {
		.size = sizeof(o), .strategy = SG, .bytes = MIB,
		.flags = GLK_LOCK_ENTRY_PER_PAGE,
	};
	struct glk_card *card = open_card();
	struct glk_lock *lock;
	unsigned char *data;

	EQUAL(glk_lock_new(card, &o, &lock, NULL), 0);
	EQUAL(glk_lock_segments(lock), MIB / 4096);
	data = glk_lock_data(lock);
	memset(data, 0xee, MIB);
	run(lock, options(GIGALOCK_XFER_OP_FILL, offset, length));
	for (uint64_t i = 0; i < MIB; i++) {
		bool inside = i >= offset && i < offset + length;
		unsigned char want = inside ? WORD >> 8 * ((i - offset) % 8) : 0xee;

		if (data[i] != want)
			FAIL("byte %" PRIu64 " is 0x%02x, not 0x%02x", i, data[i], want);
	}
	EQUAL(glk_lock_free(lock), 0);
	glk_card_close(card);
}

static void fills(void)
{
	fill_of(0, MIB);
	fill_of(0, 8);
	fill_of(4096, 3);
	fill_of(4090, 4096 + 11);
	fill_of(12345, 100001);
	fill_of(MIB - 1, 1);
}

static void fill_and_checksum(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_COHERENT,
					    2 * MIB, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_FILL, 8, MIB + 5);
	struct glk_xfer_result r;

	run(lock, o);
	r = run(lock, options(GIGALOCK_XFER_OP_CRC, 8, MIB + 5));
	EQUAL(r.crc32c, glk_word_crc32c(WORD, MIB + 5));
	EQUAL(r.crc32c, glk_crc32c(0, (char *)glk_lock_data(lock) + 8, MIB + 5));
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- checksum and comparison -------------------------------------------------- */

static void checksum_of_anything(void)
{
	static const uint64_t sizes[] = { 1, 7, 8, 4095, 4097, 100003, 3 * MIB - 77 };
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, 4 * MIB, TO_CARD,
					    scattered(4 * MIB));
	unsigned char *data = glk_lock_data(lock);

	glk_pattern_fill(data, 4 * MIB, 77, 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t offset = 1000 * i + 13;
		struct glk_xfer_result r = run(lock,
			options(GIGALOCK_XFER_OP_CRC, offset, sizes[i]));

		EQUAL(r.crc32c, glk_crc32c(0, data + offset, sizes[i]));
	}
	EQUAL(glk_lock_free(lock), 0);
}

static void comparison(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, 4 * MIB, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_MOVE, 100, 3 * MIB);
	struct glk_xfer_result r = { .size = sizeof(r) };
	unsigned char *data = glk_lock_data(lock);
	struct gigalock_failure f;

	glk_pattern_fill(data, 4 * MIB, 5, 0);
	o.card_offset = 4321;
	run(lock, o);
	o.op = GIGALOCK_XFER_OP_COMPARE;
	run(lock, o);
	for (uint64_t i = 0; i < 3; i++) {
		static const uint64_t where[] = { 0, 2 * MIB + 3, 3 * MIB - 1 };

		data[100 + where[i]] ^= 1;
		EQUAL(glk_transfer(lock, &o, 30000, &r, &f), -EIO);
		expect_reason(&f, GIGALOCK_REASON_DEVICE_ERROR);
		EQUAL(f.request, ERR_COMPARE);
		EQUAL(r.status, -EIO);
		EQUAL(r.bytes, where[i]);
		data[100 + where[i]] ^= 1;
	}
	/* around it nothing counts */
	data[99] ^= 1;
	data[100 + 3 * MIB] ^= 1;
	run(lock, o);
	EQUAL(glk_lock_free(lock), 0);
}

static void refused_operations(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options good[] = {
		options(GIGALOCK_XFER_OP_MOVE, 0, 8),
		options(GIGALOCK_XFER_OP_FILL, 0, 8),
		options(GIGALOCK_XFER_OP_COMPARE, 0, 8),
		options(GIGALOCK_XFER_OP_CRC, 0, 8),
	};
	struct glk_xfer_options bad[9];
	struct gigalock_failure f;
	struct glk_xfer *xfer;
	int n = 0;

	bad[n] = good[0], bad[n++].op = GIGALOCK_XFER_OP_COUNT;
	bad[n] = good[0], bad[n++].pattern = 1;
	bad[n] = good[1], bad[n++].direction = TO_CARD;
	bad[n] = good[1], bad[n++].card_offset = 8;
	bad[n] = good[2], bad[n++].direction = FROM_CARD;
	bad[n] = good[2], bad[n++].pattern = 1;
	bad[n] = good[3], bad[n++].direction = FROM_CARD;
	bad[n] = good[3], bad[n++].flags = 0;
	bad[n] = good[3], bad[n++].card_offset = 8;
	for (int i = 0; i < n; i++) {
		if (glk_xfer_submit(lock, &bad[i], &xfer, &f) != -EINVAL)
			FAIL("case %d was not refused", i);
		expect_reason(&f, GIGALOCK_REASON_BAD_ARGUMENT);
	}
	/* A fill that the lock is not for. */
	EQUAL(glk_lock_free(lock), 0);
	lock = lock_memory(card, SG, MIB, TO_CARD, NULL);
	EQUAL(glk_xfer_submit(lock, &good[1], &xfer, &f), -EACCES);
	EQUAL(glk_lock_free(lock), 0);
}

static void range_of_a_fill(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_FILL, MIB - 7, 8);
	struct gigalock_failure f;
	struct glk_xfer *xfer;

	EQUAL(glk_xfer_submit(lock, &o, &xfer, &f), -ERANGE);
	expect_reason(&f, GIGALOCK_REASON_LOCK_RANGE);
	EQUAL(f.limit, MIB);
	EQUAL(glk_lock_free(lock), 0);
}

/* Fill and checksum need no card memory: longer than that is fine. */
static void longer_than_the_card(void)
{
	struct glk_card *card = open_card();
	uint64_t bytes = card_info(card).card_bytes + 3 * MIB;
	struct glk_lock *lock = lock_memory(card, SG, bytes, BOTH, NULL);

	run(lock, options(GIGALOCK_XFER_OP_FILL, 0, bytes));
	EQUAL(run(lock, options(GIGALOCK_XFER_OP_CRC, 0, bytes)).crc32c,
	      glk_word_crc32c(WORD, bytes));
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- a time limit of its own -------------------------------------------------- */

static void its_own_time_limit(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_MOVE, 0, BUSY_BYTES);
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct gigalock_failure f;
	struct glk_xfer *xfer;

	hold_card(HOLD_AT);
	o.timeout_ms = 100;
	EQUAL(glk_xfer_submit(lock, &o, &xfer, &f), 0);
	EQUAL(glk_xfer_wait(xfer, 30000, &r, &f), -ETIMEDOUT);
	EQUAL(r.status, -ETIMEDOUT);
	CHECK(r.bytes < BUSY_BYTES);
	expect_reason(&f, GIGALOCK_REASON_TIMEOUT);
	EQUAL(f.limit, 100);
	EQUAL(f.unit, GIGALOCK_UNIT_MILLISECONDS);
	EQUAL(glk_xfer_wait(xfer, 0, &r, NULL), -EALREADY);
	glk_xfer_free(xfer);
	EQUAL(glk_lock_free(lock), 0);	/* the card no longer touches it */
	let_card_go();
}

static void time_enough(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_MOVE, 0, MIB);

	o.timeout_ms = 60000;
	for (int i = 0; i < 20; i++)
		run(lock, o);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- the eventfd ---------------------------------------------------------------- */

static void told_by_an_eventfd(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_MOVE, 0, MIB);
	int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct pollfd fd = { .fd = bell, .events = POLLIN };
	struct glk_xfer *xfers[3];
	uint64_t count, sum = 0;

	EQUAL(glk_card_set_eventfd(card, 12345), -EBADF);
	EQUAL(glk_card_set_eventfd(card, STDIN_FILENO), -EINVAL);
	EQUAL(glk_card_set_eventfd(card, bell), 0);
	for (int i = 0; i < 3; i++)
		EQUAL(glk_xfer_submit(lock, &o, &xfers[i], NULL), 0);
	while (sum < 3) {
		EQUAL(poll(&fd, 1, 30000), 1);
		EQUAL(read(bell, &count, sizeof(count)), sizeof(count));
		sum += count;
	}
	EQUAL(sum, 3);
	for (int i = 0; i < 3; i++) {
		EQUAL(glk_xfer_wait(xfers[i], 0, NULL, NULL), 0);
		glk_xfer_free(xfers[i]);
	}
	/* A new one takes its place. */
	EQUAL(glk_card_set_eventfd(card, other), 0);
	EQUAL(glk_transfer(lock, &o, 30000, NULL, NULL), 0);
	EQUAL(read(other, &count, sizeof(count)), sizeof(count));
	EQUAL(count, 1);
	EQUAL(read(bell, &count, sizeof(count)), -1);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- statistics ------------------------------------------------------------------ */

static struct gigalock_lock_stats stats_of(struct glk_lock *lock)
{
	struct gigalock_lock_stats s = { .size = sizeof(s) };

	EQUAL(glk_lock_stats(lock, &s), 0);
	return s;
}

static void what_is_counted(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_COHERENT, MIB,
					    BOTH, NULL);
	struct glk_lock *other = lock_memory(card, SG, BUSY_BYTES, BOTH, NULL);
	struct glk_xfer_options o = options(GIGALOCK_XFER_OP_MOVE, 0, 1000);
	struct gigalock_lock_stats s = stats_of(lock);
	struct glk_xfer *xfer;

	EQUAL(s.transfers, 0);
	EQUAL(s.busy_ns, 0);
	EQUAL(s.mappings, 1);
	EQUAL(stats_of(other).mappings, 0);
	run(lock, o);
	o.direction = FROM_CARD;
	o.length = 333;
	run(lock, o);
	s = stats_of(lock);
	EQUAL(s.transfers, 2);
	EQUAL(s.to_card_bytes, 1000);
	EQUAL(s.from_card_bytes, 333);
	EQUAL(s.errors, 0);
	CHECK(s.busy_ns > 0);
	/* A comparison that fails, one that is cancelled, one under way. */
	memset(glk_lock_data(lock), 0x5a, MIB);
	o = options(GIGALOCK_XFER_OP_COMPARE, 0, 1000);
	EQUAL(glk_transfer(lock, &o, 30000, NULL, NULL), -EIO);
	s = stats_of(lock);
	EQUAL(s.transfers, 3);
	EQUAL(s.errors, 1);
	xfer = half_way(other, HOLD_AT);
	EQUAL(stats_of(other).inflight, 1);
	EQUAL(stats_of(lock).inflight, 0);
	glk_xfer_free(xfer);
	let_card_go();
	s = stats_of(other);
	EQUAL(s.cancelled, 1);
	EQUAL(s.errors, 0);
	EQUAL(s.inflight, 0);
	EQUAL(glk_lock_free(lock), 0);
	EQUAL(glk_lock_free(other), 0);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(fills),
		TEST(fill_and_checksum),
		TEST(checksum_of_anything),
		TEST(comparison),
		TEST(refused_operations),
		TEST(range_of_a_fill),
		TEST(longer_than_the_card),
		TEST(its_own_time_limit),
		TEST(time_enough),
		TEST(told_by_an_eventfd),
		TEST(what_is_counted),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
