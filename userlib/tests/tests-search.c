/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The search against model machines: what it finds, and in how many tries. */
#include "tests.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

struct model {
	uint64_t most;		/* that can be locked */
	uint32_t reason;
	uint32_t stage;
	uint32_t strategy;
	uint64_t limit;
	uint64_t available;
	uint64_t comfortable;
	uint64_t finest;
	unsigned int kills;	/* failed tries: each could wake the OOM killer */
	uint64_t largest_ok;
	uint64_t biggest_try;
	int broken;		/* errno that ends the search */
};

static int attempt(uint64_t bytes, struct glk_try *try, void *arg)
{
	struct model *m = arg;

	if (m->broken)
		return -m->broken;
	assert_true(bytes > 0);
	if (bytes > m->biggest_try)
		m->biggest_try = bytes;
	try->ok = bytes <= m->most;
	if (try->ok) {
		if (bytes > m->largest_ok)
			m->largest_ok = bytes;
		return 0;
	}
	m->kills++;
	try->failure.reason = m->reason;
	try->failure.stage = m->stage;
	try->failure.strategy = m->strategy;
	try->failure.limit = m->limit;
	try->failure.available = m->available;
	return 0;
}

static uint64_t comfortable(void *arg)
{
	return ((struct model *)arg)->comfortable;
}

static struct glk_limit_result run(struct model *m, uint64_t bytes,
				   uint64_t granule, uint32_t per_mille)
{
	struct glk_limit_result result = { .size = sizeof(result) };
	const struct glk_search search = {
		.bytes = bytes,
		.granule = granule,
		.finest = m->finest,
		.per_mille = per_mille,
		.attempt = attempt,
		.comfortable = m->comfortable ? comfortable : NULL,
		.arg = m,
	};

	m->kills = 0;
	m->largest_ok = m->biggest_try = 0;
	assert_int_equal(glk_search_run(&search, &result), 0);
	/* Never a size that was not truly locked. */
	assert_int_equal(result.largest, m->largest_ok);
	assert_true(m->biggest_try <= bytes);
	return result;
}

static void near_enough(uint64_t largest, uint64_t most, uint64_t granule,
			uint32_t per_mille)
{
	uint64_t slack = largest / 1000 * per_mille;

	if (slack < granule)
		slack = granule;
	if (largest > most || most - largest >= slack)
		fail_msg("found %llu of %llu", (unsigned long long)largest,
			 (unsigned long long)most);
}

static void it_fits(void **state)
{
	struct model m = { .most = 2 * GIB };
	struct glk_limit_result r = run(&m, GIB, 4096, 10);

	(void)state;
	assert_true(r.wanted_locked);
	assert_int_equal(r.largest, GIB);
	assert_int_equal(r.tries, 1);
}

static void odd_size_that_fits(void **state)
{
	struct model m = { .most = 2 * GIB };

	(void)state;
	assert_int_equal(run(&m, 4097, 4096, 10).largest, 4097);
	assert_int_equal(run(&m, 1, 4096, 10).largest, 1);
}

static void buddy_limit_takes_two_tries(void **state)
{
	struct model m = {
		.most = 4 * MIB, .reason = GIGALOCK_REASON_BUDDY_LIMIT,
		.limit = 4 * MIB,
	};
	struct glk_limit_result r = run(&m, GIB, 4096, 10);

	(void)state;
	assert_int_equal(r.largest, 4 * MIB);
	assert_int_equal(r.tries, 2);
	assert_false(r.wanted_locked);
	assert_int_equal(r.failure.reason, GIGALOCK_REASON_BUDDY_LIMIT);
}

/* Pieces of 256 KiB are all that can be bounced: no whole granule is, but that is. */
static void below_a_granule(void **state)
{
	struct model m = {
		.most = 256 << 10, .reason = GIGALOCK_REASON_SWIOTLB_SEGMENT,
		.limit = 256 << 10, .available = 256 << 10, .finest = 4096,
	};
	struct model nothing = {
		.reason = GIGALOCK_REASON_POOL_EMPTY, .finest = 4096,
	};

	(void)state;
	assert_int_equal(run(&m, 32 * MIB, 2 * MIB, 10).largest, 256 << 10);
	m.most = 3 * MIB + 4096;
	m.available = m.limit = 0;
	near_enough(run(&m, 32 * MIB, 2 * MIB, 10).largest, m.most, 2 * MIB, 10);
	/* Where no size will do, none is looked for. */
	assert_int_equal(run(&nothing, 32 * MIB, 2 * MIB, 10).tries, 1);
}

/* The longest range seen is right: it, and one step that fails. */
static void right_hint(void **state)
{
	struct model m = {
		.most = 512 * MIB, .reason = GIGALOCK_REASON_NO_FREE_RANGE,
		.available = 512 * MIB, .strategy = GIGALOCK_STRATEGY_CONTIG_RANGE,
	};
	struct glk_limit_result r = run(&m, GIB, 2 * MIB, 10);

	(void)state;
	assert_int_equal(r.largest, 512 * MIB);
	assert_true(r.tries <= 3);
}

/* Killed after 900 MiB: no more than one kill besides the first. */
static void killed_by_oom(void **state)
{
	(void)state;
	for (uint64_t most = 850; most <= 905; most++) {
		struct model m = {
			.most = most * MIB, .reason = GIGALOCK_REASON_KILLED,
			.stage = GIGALOCK_STAGE_PIN, .strategy = GIGALOCK_STRATEGY_SG,
			.available = 900 * MIB, .comfortable = 840 * MIB,
		};
		struct glk_limit_result r;

		if (m.most > m.available)
			m.most = m.available;
		r = run(&m, GIB, 4096, 10);
		near_enough(r.largest, m.most, 4096, 10);
		assert_true(r.tries <= 9);
		if (most >= 895)
			assert_true(m.kills <= 2);
	}
}

/* Overcommit refuses for nothing; then MemAvailable, not RAM, is tried. */
static void overcommit_then_available(void **state)
{
	struct model m = {
		.most = 930 * MIB, .reason = GIGALOCK_REASON_OVERCOMMIT,
		.limit = 970 * MIB, .comfortable = 900 * MIB,
	};
	struct glk_limit_result r = run(&m, GIB, 4096, 10);

	(void)state;
	near_enough(r.largest, m.most, 4096, 10);
	assert_true(r.tries <= 8);
	assert_true(m.kills <= 4);
}

/* Hints of any kind, right, wrong or absent, never spoil the result. */
static void any_hint(void **state)
{
	static const uint32_t reasons[] = {
		GIGALOCK_REASON_NO_FREE_RANGE, GIGALOCK_REASON_NO_FREE_BLOCK,
		GIGALOCK_REASON_NO_MEMORY, GIGALOCK_REASON_SWIOTLB_FULL,
	};
	static const uint64_t shares[] = { 0, 1, 300, 999, 1000, 1001, 1700, 100000 };

	(void)state;
	for (size_t k = 0; k < sizeof(reasons) / sizeof(reasons[0]); k++)
		for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++)
			for (uint64_t most = 8 * MIB; most < GIB;
			     most = most * 3 / 2 + 4096) {
				struct model m = {
					.most = most, .reason = reasons[k],
					.available = most / 1000 * shares[s],
				};
				struct glk_limit_result r = run(&m, GIB, 4096, 10);

				near_enough(r.largest, most, 4096, 10);
				assert_true(r.tries <= 30);
			}
}

static void resolution(void **state)
{
	struct model m = {
		.most = 333 * MIB + 4096, .reason = GIGALOCK_REASON_NO_FREE_BLOCK,
	};
	unsigned int coarse, fine;

	(void)state;
	coarse = run(&m, GIB, 4096, 100).tries;
	near_enough(run(&m, GIB, 4096, 100).largest, m.most, 4096, 100);
	fine = run(&m, GIB, 4096, 1).tries;
	near_enough(run(&m, GIB, 4096, 1).largest, m.most, 4096, 1);
	assert_true(coarse < fine);
}

static void granule(void **state)
{
	struct model m = {
		.most = 77 * MIB, .reason = GIGALOCK_REASON_NO_FREE_RANGE,
		.available = 77 * MIB,
	};

	(void)state;
	assert_int_equal(run(&m, GIB, 2 * MIB, 10).largest, 76 * MIB);
}

static void nothing_at_all(void **state)
{
	struct model m = { .most = 0, .reason = GIGALOCK_REASON_DMA_MAP };
	struct glk_limit_result r = run(&m, GIB, 4096, 10);

	(void)state;
	assert_int_equal(r.largest, 0);
	assert_false(r.wanted_locked);
	assert_true(r.tries < 25);
}

static void broken_attempts_end_it(void **state)
{
	struct model m = { .broken = EAGAIN };
	struct glk_limit_result result = { .size = sizeof(result) };
	const struct glk_search search = {
		.bytes = GIB, .granule = 4096, .per_mille = 10,
		.attempt = attempt, .arg = &m,
	};

	(void)state;
	assert_int_equal(glk_search_run(&search, &result), -EAGAIN);
}

/* Where no size will do, that is seen at once; but not of auto, whose other
 * strategies may do. */
static void nothing_will_do(void **state)
{
	static const uint32_t reasons[] = {
		GIGALOCK_REASON_BAD_STRATEGY, GIGALOCK_REASON_BAD_ARGUMENT,
		GIGALOCK_REASON_RESERVED_MISSING, GIGALOCK_REASON_POOL_EMPTY,
		GIGALOCK_REASON_HUGETLB_SIZE, GIGALOCK_REASON_DMABUF_REFUSED,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		struct model m = { .most = 0, .reason = reasons[i] };
		struct glk_limit_result r = run(&m, GIB, 4096, 10);

		assert_int_equal(r.largest, 0);
		assert_true(r.tries <= 2);
	}
	struct model m = { .most = 300 * MIB, .reason = GIGALOCK_REASON_BAD_ARGUMENT };
	const struct glk_search search = {
		.bytes = GIB, .granule = 4096, .per_mille = 10, .several = true,
		.attempt = attempt, .arg = &m,
	};
	struct glk_limit_result r;

	assert_int_equal(glk_search_run(&search, &r), 0);
	near_enough(r.largest, 300 * MIB, 4096, 10);
}

/* Bounds that the new reasons prove: there in two or three tries. */
static void bounds_of_what_is_set_aside(void **state)
{
	static const struct {
		uint32_t reason;
		bool by_limit;
	} cases[] = {
		{ GIGALOCK_REASON_POOL_SMALL, true },
		{ GIGALOCK_REASON_RESERVED_SMALL, true },
		{ GIGALOCK_REASON_RESERVED_BUSY, false },
		{ GIGALOCK_REASON_HUGETLB_POOL, false },
		{ GIGALOCK_REASON_TOO_MANY_SEGMENTS, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct model m = { .most = 96 * MIB, .reason = cases[i].reason };
		struct glk_limit_result r;

		if (cases[i].by_limit)
			m.limit = m.most;
		else
			m.available = m.most;
		r = run(&m, GIB, 4096, 10);
		assert_int_equal(r.largest, 96 * MIB);
		assert_true(r.tries <= 3);
	}
}

/* Of a budget, a table that didn't fit proves nothing about the memory. */
static void budget(void **state)
{
	struct gigalock_failure f = {
		.reason = GIGALOCK_REASON_NONPAGED_POOL, .lock_size = 8 * MIB,
		.request = 8 * MIB, .available = 3 * MIB,
	};

	(void)state;
	assert_int_equal(glk_search_bound(&f), 3 * MIB);
	f.request = 16;
	f.available = 0;
	assert_int_equal(glk_search_bound(&f), UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_fits),
		cmocka_unit_test(odd_size_that_fits),
		cmocka_unit_test(buddy_limit_takes_two_tries),
		cmocka_unit_test(below_a_granule),
		cmocka_unit_test(right_hint),
		cmocka_unit_test(killed_by_oom),
		cmocka_unit_test(overcommit_then_available),
		cmocka_unit_test(any_hint),
		cmocka_unit_test(resolution),
		cmocka_unit_test(granule),
		cmocka_unit_test(nothing_at_all),
		cmocka_unit_test(broken_attempts_end_it),
		cmocka_unit_test(nothing_will_do),
		cmocka_unit_test(bounds_of_what_is_set_aside),
		cmocka_unit_test(budget),
	};

	return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}
