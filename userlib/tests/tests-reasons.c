/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names against numbers written down here. test_names.py compares them
 * with the comments of the kernel header. */
#include "tests.h"

static void a_few_by_hand(void **state)
{
	uint32_t strategy = 99;

	(void)state;
	assert_string_equal(glk_reason_name(0), "none");
	assert_string_equal(glk_reason_name(4), "buddy-limit");
	assert_string_equal(glk_reason_name(28), "permission");
	assert_string_equal(glk_reason_name(48), "io-uring-buffer");
	assert_string_equal(glk_reason_name(GIGALOCK_REASON_COUNT), "unknown");
	assert_string_equal(glk_stage_name(5), "pin");
	assert_string_equal(glk_stage_name(999), "unknown");
	assert_string_equal(glk_strategy_name(1), "contig-range");
	assert_string_equal(glk_strategy_name(GLK_STRATEGY_AUTO), "auto");
	assert_string_equal(glk_strategy_name(7), "dmabuf");
	assert_string_equal(glk_strategy_list(),
			    "coherent, contig-range, sg, reserved, pool, hugetlb, "
			    "chunked, dmabuf, auto");
	assert_int_equal(glk_strategy_by_name("sg", &strategy), 0);
	assert_int_equal(strategy, GIGALOCK_STRATEGY_SG);
	assert_int_equal(glk_strategy_by_name("SG", &strategy), -ENOENT);
	assert_int_equal(glk_strategy_by_name("", &strategy), -ENOENT);
	assert_int_equal(strategy, GIGALOCK_STRATEGY_SG);
	assert_string_equal(glk_unit_name(GIGALOCK_UNIT_ADDRESS), "address");
	assert_string_equal(glk_backing_name(GIGALOCK_BACKING_CMA), "cma");
	assert_string_equal(glk_backing_name(GIGALOCK_BACKING_COUNT), "unknown");
	for (uint32_t b = 1; b < GIGALOCK_BACKING_COUNT; b++)
		assert_string_not_equal(glk_backing_name(b), "unknown");
	assert_string_equal(glk_version(), GLK_VERSION_STRING);
}

static void there_and_back(void **state)
{
	(void)state;
	for (uint32_t r = 0; r < GIGALOCK_REASON_COUNT; r++) {
		assert_int_equal(glk_reason_by_name(glk_reason_name(r)), r);
		assert_true(strlen(glk_reason_observation(r)) > 5);
	}
	assert_int_equal(glk_reason_by_name("buddy"), -ENOENT);
}

/* Each has its own words: nothing left out, nothing copied. */
static void templates_are_complete(void **state)
{
	(void)state;
	for (uint32_t r = 0; r < GIGALOCK_REASON_COUNT; r++) {
		const char *text = glk_reason_text_template(r);

		assert_true(*text);
		assert_true(*glk_reason_remedy_template(r));
		for (uint32_t other = 0; other < r; other++)
			assert_string_not_equal(text, glk_reason_text_template(other));
	}
	assert_string_equal(glk_reason_text_template(GIGALOCK_REASON_COUNT), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_few_by_hand),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(templates_are_complete),
	};

	return cmocka_run_group_tests_name("reasons", tests, NULL, NULL);
}
