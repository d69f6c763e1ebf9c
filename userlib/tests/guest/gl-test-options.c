/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of a lock: what they do, what is refused, and callers of another
 * age. In guests with the card, as root.
 */
#include "tap.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#define COHERENT GIGALOCK_STRATEGY_COHERENT
#define CONTIG_RANGE GIGALOCK_STRATEGY_CONTIG_RANGE
#define SG GIGALOCK_STRATEGY_SG
#define BOTH GIGALOCK_DIR_BOTH
#define PAGE ((uint64_t)4096)

static struct glk_lock_options options(uint32_t strategy, uint64_t bytes)
{
	return (struct glk_lock_options){
		.size = sizeof(struct glk_lock_options), .strategy = strategy,
		.bytes = bytes,
	};
}

static struct glk_lock *lock(struct glk_card *card, struct glk_lock_options o)
{
	struct gigalock_failure f;
	struct glk_lock *got;
	int ret = glk_lock_new(card, &o, &got, &f);

	if (ret) {
		char text[GLK_TEXT_MAX];

		glk_failure_message(&f, text, sizeof(text));
		FAIL("%s", text);
	}
	return got;
}

static struct gigalock_failure no_lock(struct glk_card *card,
				       struct glk_lock_options o, int err,
				       uint32_t reason)
{
	struct gigalock_info before = card_info(card);
	struct gigalock_failure f;
	struct glk_lock *got;

	EQUAL(glk_lock_new(card, &o, &got, &f), -err);
	CHECK(!got);
	expect_reason(&f, reason);
	EQUAL(f.err, err);
	EQUAL(card_info(card).locks, before.locks);
	return f;
}

/* ---- addresses and pieces -------------------------------------------------------- */

static void address_width(void)
{
	struct glk_card *card = open_card();
	uint32_t strategies[] = { COHERENT, CONTIG_RANGE, SG };
	struct glk_lock_options o;
	struct gigalock_failure f;

	for (int i = 0; i < 3; i++) {
		struct glk_lock *got;

		o = options(strategies[i], MIB);
		o.address_width = 32;
		got = lock(card, o);
		round_trip(got, 0, MIB, 0);
		EQUAL(glk_lock_free(got), 0);
		/* 24 bits: 16 MiB, not all of which is memory */
		o.address_width = 24;
		o.bytes = 17 * MIB;
		if (strategies[i] == SG) {
			f = no_lock(card, o, ERANGE, GIGALOCK_REASON_ADDRESS_WIDTH);
			EQUAL(f.limit, 0xffffff);
			CHECK(f.request > 0xffffff);
			EQUAL(f.unit, GIGALOCK_UNIT_ADDRESS);
		} else {
			EQUAL(glk_lock_new(card, &o, &got, &f), -ERANGE);
			EQUAL(f.reason, GIGALOCK_REASON_ADDRESS_WIDTH);
		}
	}
	o = options(COHERENT, MIB);
	o.address_width = 23;
	EQUAL(no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT).request, 23);
	o.address_width = card_info(card).address_width + 1;
	EQUAL(no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT).limit,
	      card_info(card).address_width);
}

static void longest_piece(void)
{
	struct glk_card *card = open_card();
	uint32_t strategies[] = { COHERENT, CONTIG_RANGE, SG };

	for (int i = 0; i < 3; i++) {
		struct glk_lock_options o = options(strategies[i], MIB);
		struct glk_lock *got;

		o.max_segment = 16 * PAGE;
		got = lock(card, o);
		CHECK(glk_lock_longest_segment(got) <= 16 * PAGE);
		CHECK(glk_lock_segments(got) >= 16);
		round_trip(got, 777, MIB - 1000, 99);
		EQUAL(glk_lock_free(got), 0);
		o.max_segment = PAGE + 1;
		EQUAL(no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT).request,
		      PAGE + 1);
	}
}

static void a_piece_a_page(void)
{
	struct glk_card *card = open_card();
	struct glk_lock_options o = options(SG, 4 * MIB);
	struct glk_lock *merged, *got;

	o.flags = GLK_LOCK_HUGEPAGE;
	merged = lock(card, o);
	CHECK(glk_lock_segments(merged) <= 4);
	o.flags |= GLK_LOCK_ENTRY_PER_PAGE;
	got = lock(card, o);
	EQUAL(glk_lock_segments(got), 4 * MIB / PAGE);
	EQUAL(glk_lock_longest_segment(got), PAGE);
	CHECK(glk_lock_table_bytes(got) > glk_lock_table_bytes(merged));
	CHECK(glk_lock_table_bytes(merged) > 0);
	round_trip(got, 0, 4 * MIB, 0);
	EQUAL(glk_lock_free(got), 0);
	EQUAL(glk_lock_free(merged), 0);
	/* and of what is in one piece by nature */
	for (uint32_t s = COHERENT; s <= CONTIG_RANGE; s++) {
		o.strategy = s;
		o.flags = GLK_LOCK_ENTRY_PER_PAGE;
		got = lock(card, o);
		EQUAL(glk_lock_segments(got), 4 * MIB / PAGE);
		EQUAL(glk_lock_longest_segment(got), PAGE);
		round_trip(got, 1, 4 * MIB - 1, 0);
		EQUAL(glk_lock_free(got), 0);
	}
}

static void small_table(void)
{
	const uint64_t most = GIGALOCK_SMALL_TABLE_ENTRIES * PAGE;
	struct glk_card *card = open_card();
	struct glk_lock_options o = options(SG, most);
	struct gigalock_failure f;
	struct glk_lock *got;

	o.flags = GLK_LOCK_SMALL_TABLE | GLK_LOCK_ENTRY_PER_PAGE;
	got = lock(card, o);
	EQUAL(glk_lock_segments(got), GIGALOCK_SMALL_TABLE_ENTRIES);
	EQUAL(glk_lock_free(got), 0);
	o.bytes = most + 1;
	f = no_lock(card, o, E2BIG, GIGALOCK_REASON_TOO_MANY_SEGMENTS);
	CHECK(f.available == most || f.limit == GIGALOCK_SMALL_TABLE_ENTRIES);
	/* Merged, it fits; and so does what is in one piece. */
	o = options(SG, 4 * MIB);
	o.flags = GLK_LOCK_SMALL_TABLE | GLK_LOCK_HUGEPAGE;
	EQUAL(glk_lock_free(lock(card, o)), 0);
	o = options(CONTIG_RANGE, 32 * MIB);
	o.flags = GLK_LOCK_SMALL_TABLE;
	EQUAL(glk_lock_free(lock(card, o)), 0);
}

/* ---- where, how long, for whom ----------------------------------------------------- */

static void numa_node(void)
{
	struct glk_card *card = open_card();
	uint32_t strategies[] = { COHERENT, CONTIG_RANGE, SG };

	for (int i = 0; i < 3; i++) {
		struct glk_lock_options o = options(strategies[i], MIB);

		o.flags = GLK_LOCK_NODE;
		EQUAL(glk_lock_free(lock(card, o)), 0);
		o.node = 99;
		EQUAL(no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT).request,
		      99);
		o.flags = 0;	/* a node that was not asked for */
		no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT);
	}
}

static void time_limit(void)
{
	struct glk_card *card = open_card();
	struct glk_lock_options o = options(SG, 512 * MIB);
	struct gigalock_failure f;

	o.timeout_ms = 1;
	f = no_lock(card, o, ETIMEDOUT, GIGALOCK_REASON_TIMEOUT);
	EQUAL(f.limit, 1);
	EQUAL(f.unit, GIGALOCK_UNIT_MILLISECONDS);
	o.bytes = PAGE;
	o.timeout_ms = 60000;
	EQUAL(glk_lock_free(lock(card, o)), 0);
}

static void never_mapped(void)
{
	struct glk_card *card = open_card();
	uint32_t strategies[] = { COHERENT, CONTIG_RANGE };

	for (int i = 0; i < 2; i++) {
		struct gigalock_lock call = {
			.size = sizeof(call), .strategy = strategies[i],
			.direction = BOTH, .bytes = MIB,
			.flags = GIGALOCK_LOCK_NO_USER_MAP,
		};
		struct glk_lock_options o = options(strategies[i], MIB);
		struct glk_xfer_options x = {
			.size = sizeof(x), .direction = GIGALOCK_DIR_TO_CARD,
			.length = MIB, .flags = GIGALOCK_XFER_CRC,
		};
		struct glk_xfer_result r = { .size = sizeof(r) };
		struct glk_lock *got;

		EQUAL(ioctl(glk_card_fd(card), GIGALOCK_IOC_LOCK, &call), 0);
		EQUAL(call.mmap_offset, 0);
		o.flags = GLK_LOCK_NO_USER_MAP;
		got = lock(card, o);
		CHECK(!glk_lock_data(got));
		/* The device sees zeroes, none of another's data. */
		EQUAL(glk_transfer(got, &x, 30000, &r, NULL), 0);
		EQUAL(r.crc32c, glk_word_crc32c(0, MIB));
		EQUAL(glk_lock_free(got), 0);
	}
}

static void kinds_of_memory(void)
{
	struct glk_card *card = open_card();
	struct gigalock_info info = card_info(card);
	static const uint32_t kinds[] = {
		[COHERENT] = GIGALOCK_BACKING_BUDDY,
		[CONTIG_RANGE] = GIGALOCK_BACKING_RANGE,
		[SG] = GIGALOCK_BACKING_PAGES,
	};

	if (info.iommu)
		tap_skip("an IOMMU is behind coherent");
	for (uint32_t s = 0; s <= SG; s++) {
		struct glk_lock *got = lock(card, options(s, MIB));

		EQUAL(glk_lock_backing(got), kinds[s]);
		EQUAL(glk_lock_free(got), 0);
	}
}

/* ---- options that don't go together -------------------------------------------------- */

static void options_of_other_strategies(void)
{
	struct glk_card *card = open_card();
	struct glk_lock_options o = options(SG, MIB);

	o.page_size = 2 * MIB;
	EQUAL(no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT).request, 2 * MIB);
	o = options(COHERENT, MIB);
	o.region = 1;
	no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT);
	o = options(SG, MIB);
	o.flags = 0x8000;
	EQUAL(no_lock(card, o, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT).request, 0x8000);
	/* auto gives each its own: so they don't matter to those that succeed */
	o = options(GLK_STRATEGY_AUTO, MIB);
	o.page_size = 2 * MIB;
	o.region = 1;
	EQUAL(glk_lock_free(lock(card, o)), 0);
}

static void search_with_options(void)
{
	struct glk_lock_options lock_options = options(0, 0);
	struct glk_limit_options o = {
		.size = sizeof(o), .bytes = 8 * MIB, .strategy = SG,
		.lock_flags = GLK_LOCK_SMALL_TABLE | GLK_LOCK_ENTRY_PER_PAGE,
	};
	struct glk_limit_result r = { .size = sizeof(r) };
	struct gigalock_failure f;

	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	expect_reason(&r.failure, GIGALOCK_REASON_TOO_MANY_SEGMENTS);
	CHECK(r.largest <= GIGALOCK_SMALL_TABLE_ENTRIES * PAGE);
	CHECK(r.largest >= GIGALOCK_SMALL_TABLE_ENTRIES * PAGE * 98 / 100);
	/* and with those of a struct */
	o.lock_flags = GLK_LOCK_SMALL_TABLE;
	lock_options.max_segment = 2 * PAGE;
	o.lock = &lock_options;
	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	CHECK(r.largest <= 2 * GIGALOCK_SMALL_TABLE_ENTRIES * PAGE);
	CHECK(r.largest >= 2 * GIGALOCK_SMALL_TABLE_ENTRIES * PAGE * 98 / 100);
}

/* ---- callers of another age ------------------------------------------------------------ */

/* The structs as they were before options were added: what is known is used, and
 * nothing beyond them is touched. */
static void callers_of_the_first_version(void)
{
	int fd = glk_card_fd(open_card());
	struct {
		struct gigalock_lock call;
		unsigned char beyond[8];
	} l;
	struct {
		struct gigalock_submit call;
		unsigned char beyond[8];
	} s;
	struct gigalock_wait wait = { .size = sizeof(wait), .timeout_ms = 30000 };
	struct gigalock_unlock unlock = { .size = sizeof(unlock) };
	const uint32_t lock_size = offsetof(struct gigalock_lock, address_width);
	const uint32_t submit_size = offsetof(struct gigalock_submit, timeout_ms);

	EQUAL(lock_size, 72);
	EQUAL(submit_size, 64);
	memset(&l, 0xee, sizeof(l));
	memset(&l, 0, lock_size);
	l.call.size = lock_size;
	l.call.strategy = COHERENT;
	l.call.direction = BOTH;
	l.call.bytes = MIB;
	EQUAL(ioctl(fd, GIGALOCK_IOC_LOCK, &l), 0);
	CHECK(l.call.id && l.call.segments && l.call.mmap_offset);
	for (unsigned char *at = (unsigned char *)&l + lock_size;
	     at < (unsigned char *)(&l + 1); at++)
		EQUAL(*at, 0xee);
	memset(&s, 0xee, sizeof(s));
	memset(&s, 0, submit_size);
	s.call.size = submit_size;
	s.call.id = l.call.id;
	s.call.direction = GIGALOCK_DIR_TO_CARD;
	s.call.length = MIB;
	EQUAL(ioctl(fd, GIGALOCK_IOC_SUBMIT, &s), 0);
	CHECK(s.call.xfer);
	for (unsigned char *at = (unsigned char *)&s + submit_size;
	     at < (unsigned char *)(&s + 1); at++)
		EQUAL(*at, 0xee);
	EQUAL(ioctl(fd, GIGALOCK_IOC_WAIT, &wait), 0);
	EQUAL(wait.status, 0);
	EQUAL(wait.bytes, MIB);
	unlock.id = l.call.id;
	EQUAL(ioctl(fd, GIGALOCK_IOC_UNLOCK, &unlock), 0);
}

static void callers_of_a_later_version(void)
{
	int fd = glk_card_fd(open_card());
	struct {
		struct gigalock_lock call;
		uint64_t more;
	} l = {
		.call = { .size = sizeof(l), .strategy = COHERENT,
			  .direction = BOTH, .bytes = MIB },
	};

	EQUAL(ioctl(fd, GIGALOCK_IOC_LOCK, &l), 0);
	l.more = 1;
	EQUAL(ioctl(fd, GIGALOCK_IOC_LOCK, &l), -1);
	EQUAL(errno, E2BIG);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(address_width),
		TEST(longest_piece),
		TEST(a_piece_a_page),
		TEST(small_table),
		TEST(numa_node),
		TEST(time_limit),
		TEST(never_mapped),
		TEST(kinds_of_memory),
		TEST(options_of_other_strategies),
		TEST(search_with_options),
		TEST(callers_of_the_first_version),
		TEST(callers_of_a_later_version),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
