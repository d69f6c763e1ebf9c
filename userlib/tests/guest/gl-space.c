/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The address space of a process: several buffers of 1 GiB are more than 32 bits
 * can name. Run as a 32-bit program in a guest with the card and RAM enough.
 */
#include "tap.h"

#include <sys/mman.h>

#define GIB ((uint64_t)1 << 30)

static struct glk_lock *try_lock(struct glk_card *card, uint32_t strategy,
				 uint32_t flags, struct gigalock_failure *failure)
{
	const struct glk_lock_options o = {
		.size = sizeof(o), .strategy = strategy, .bytes = GIB, .flags = flags,
	};
	struct glk_lock *lock;

	return glk_lock_new(card, &o, &lock, failure) ? NULL : lock;
}

static void no_room_for(const struct gigalock_failure *failure, uint32_t stage)
{
	expect_reason(failure, GIGALOCK_REASON_ADDRESS_SPACE);
	EQUAL(failure->err, ENOMEM);
	EQUAL(failure->stage, stage);
	EQUAL(failure->request, GIB);
	EQUAL(failure->limit, 4 * GIB);
	CHECK(failure->available < GIB);
	EQUAL(failure->seq, 0);		/* the kernel had no objection */
}

/* One and then another, until there is no room for the mapping. */
static void several_gigabytes(uint32_t strategy, uint32_t stage)
{
	struct glk_card *card = open_card();
	struct gigalock_failure failure;
	struct glk_lock *locks[4], *unmapped;
	int count = 0;

	EQUAL(sizeof(void *), 4);
	while (count < 4) {
		locks[count] = try_lock(card, strategy, 0, &failure);
		if (!locks[count])
			break;
		CHECK(glk_lock_data(locks[count]));
		count++;
	}
	CHECK(count >= 2 && count < 4);
	no_room_for(&failure, stage);
	EQUAL(card_info(card).locks, count);
	/* Nothing but the mapping is in the way; how RAM is laid out is not asked. */
	unmapped = try_lock(card, GIGALOCK_STRATEGY_CHUNKED, GLK_LOCK_NO_MAP, &failure);
	CHECK(unmapped);
	EQUAL(glk_lock_free(unmapped), 0);
	/* And one that is given back makes room for one. */
	EQUAL(glk_lock_free(locks[--count]), 0);
	locks[count] = try_lock(card, strategy, 0, &failure);
	CHECK(locks[count]);
	for (; count >= 0; count--)
		EQUAL(glk_lock_free(locks[count]), 0);
	EQUAL(card_info(card).locks, 0);
}

static void several_ranges(void)
{
	several_gigabytes(GIGALOCK_STRATEGY_CONTIG_RANGE, GIGALOCK_STAGE_USER_MAP);
}

static void several_times_pages(void)
{
	several_gigabytes(GIGALOCK_STRATEGY_SG, GIGALOCK_STAGE_ALLOCATE);
}

/* What 32 bits can't even count is refused before any of it is tried. */
static void beyond_32_bits(void)
{
	struct glk_lock_options o = {
		.size = sizeof(o), .strategy = GIGALOCK_STRATEGY_SG,
		.bytes = 4 * GIB + 1,
	};
	struct glk_card *card = open_card();
	struct gigalock_failure failure;
	struct glk_lock *lock;

	EQUAL(glk_size_limit(), 4 * GIB);
	EQUAL(glk_lock_new(card, &o, &lock, &failure), -EINVAL);
	expect_reason(&failure, GIGALOCK_REASON_BAD_SIZE);
	EQUAL(failure.limit, 4 * GIB);
	o.bytes = 4 * GIB;
	EQUAL(glk_lock_new(card, &o, &lock, &failure), -ENOMEM);
	expect_reason(&failure, GIGALOCK_REASON_ADDRESS_SPACE);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(several_ranges),
		TEST(several_times_pages),
		TEST(beyond_32_bits),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
