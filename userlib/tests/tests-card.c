/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be said of cards and arguments without a card. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests.h"

static void no_such_card(void **state)
{
	static const char *const devices[] = { "/dev/no-such-card", "4242", "/dev" };
	static const int errors[] = { -ENOENT, -ENOENT, -EISDIR };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct glk_card *card = (void *)1;
		struct gigalock_failure f;

		assert_int_equal(glk_card_open(devices[i], &card, &f), errors[i]);
		assert_null(card);
		assert_int_equal(f.reason, GIGALOCK_REASON_NO_DEVICE);
		assert_int_equal(f.stage, GIGALOCK_STAGE_OPEN);
		assert_int_equal(f.err, -errors[i]);
		assert_int_equal(glk_card_open(devices[i], &card, NULL), errors[i]);
	}
}

static void not_a_card(void **state)
{
	/* The second refuses a call that it doesn't know with EINVAL. */
	static const char *const devices[] = { "/dev/null", "/dev/urandom" };
	struct gigalock_failure f;
	struct glk_card *card;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(glk_card_open(devices[i], &card, &f), -ENOTTY);
		assert_int_equal(f.reason, GIGALOCK_REASON_NO_DEVICE);
		assert_int_equal(f.err, ENOTTY);
	}
}

static void no_permission(void **state)
{
	char path[] = "/tmp/glk-card-XXXXXX";
	struct gigalock_failure f;
	struct glk_card *card;
	int fd = mkstemp(path);
	uid_t uid = geteuid();

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	chmod(path, 0);
	if (uid == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(glk_card_open(path, &card, &f), -EACCES);
	if (uid == 0)
		assert_int_equal(seteuid(0), 0);
	unlink(path);
	assert_int_equal(f.reason, GIGALOCK_REASON_PERMISSION);
	assert_int_equal(f.err, EACCES);
}

/* Refused before any card is asked: the file of this one is closed. */
static void bad_lock_options(void **state)
{
	struct glk_card card = { .fd = -1 };
	static char memory[16];
	static const struct {
		struct glk_lock_options o;
		uint32_t reason;
		uint64_t request;
	} cases[] = {
		{ { .bytes = 0 }, GIGALOCK_REASON_BAD_SIZE, 0 },
		{ { .bytes = UINT64_MAX }, GIGALOCK_REASON_BAD_SIZE, UINT64_MAX },
		{ { .bytes = 1, .min_bytes = 2 }, GIGALOCK_REASON_BAD_SIZE, 2 },
		{ { .bytes = 1, .strategy = GIGALOCK_STRATEGY_COUNT },
		  GIGALOCK_REASON_BAD_STRATEGY, GIGALOCK_STRATEGY_COUNT },
		{ { .bytes = 1, .direction = 4 }, GIGALOCK_REASON_BAD_ARGUMENT, 4 },
		{ { .bytes = 1, .flags = 0x80 }, GIGALOCK_REASON_BAD_ARGUMENT, 0x80 },
		{ { .bytes = 1, .reserved = 9 }, GIGALOCK_REASON_BAD_ARGUMENT, 9 },
		{ { .bytes = 1, .memory = memory }, GIGALOCK_REASON_BAD_ARGUMENT,
		  (uintptr_t)memory },
		{ { .bytes = 9, .min_bytes = 1, .memory = memory,
		    .strategy = GIGALOCK_STRATEGY_HUGETLB },
		  GIGALOCK_REASON_BAD_ARGUMENT, (uintptr_t)memory },
		{ { .bytes = 1, .memory = memory, .page_size = 2 << 20,
		    .strategy = GIGALOCK_STRATEGY_HUGETLB },
		  GIGALOCK_REASON_BAD_ARGUMENT, 2 << 20 },
		{ { .bytes = 1, .page_size = 3 << 20,
		    .strategy = GIGALOCK_STRATEGY_HUGETLB },
		  GIGALOCK_REASON_BAD_ARGUMENT, 3 << 20 },
		{ { .bytes = 1, .page_size = 512,
		    .strategy = GIGALOCK_STRATEGY_HUGETLB },
		  GIGALOCK_REASON_BAD_ARGUMENT, 512 },
		{ { .bytes = 1, .page_size = 2 << 20,
		    .strategy = GIGALOCK_STRATEGY_SG },
		  GIGALOCK_REASON_BAD_ARGUMENT, 2 << 20 },
		{ { .bytes = 1, .region = 3, .strategy = GIGALOCK_STRATEGY_POOL },
		  GIGALOCK_REASON_BAD_ARGUMENT, 3 },
		{ { .bytes = 1, .node = 2 }, GIGALOCK_REASON_BAD_ARGUMENT, 2 },
		{ { .bytes = 1, .reserved2 = 8 }, GIGALOCK_REASON_BAD_ARGUMENT, 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct glk_lock_options o = cases[i].o;
		struct glk_lock *lock = (void *)1;
		struct gigalock_failure f;

		o.size = sizeof(o);
		assert_int_equal(glk_lock_new(&card, &o, &lock, &f), -EINVAL);
		assert_null(lock);
		assert_int_equal(f.reason, cases[i].reason);
		assert_int_equal(f.request, cases[i].request);
		assert_int_equal(f.stage, GIGALOCK_STAGE_ARGUMENTS);
		assert_int_equal(glk_lock_new(&card, &o, &lock, NULL), -EINVAL);
	}
}

/* A caller of an older or a newer library. */
static void option_sizes(void **state)
{
	struct { struct glk_lock_options o; uint64_t newer; } wide = { 0 };
	struct glk_lock_options copy;
	char result[sizeof(struct glk_xfer_result) + 8];
	struct glk_xfer_result from = { .size = sizeof(from), .crc32c = 5, .bytes = 6 };
	struct glk_xfer_result *to = (void *)result;

	(void)state;
	wide.o.size = offsetof(struct glk_lock_options, strategy);
	wide.o.bytes = 7;
	wide.o.strategy = 99;		/* beyond its size: not seen */
	assert_true(GLK_COPY_OPTIONS(copy, &wide.o));
	assert_int_equal(copy.bytes, 7);
	assert_int_equal(copy.strategy, 0);
	wide.o.size = sizeof(wide);
	assert_true(GLK_COPY_OPTIONS(copy, &wide.o));
	wide.newer = 1;
	assert_false(GLK_COPY_OPTIONS(copy, &wide.o));
	wide.o.size = 0;
	assert_false(GLK_COPY_OPTIONS(copy, &wide.o));
	assert_false(GLK_COPY_OPTIONS(copy, NULL));

	memset(result, 0xaa, sizeof(result));
	to->size = offsetof(struct glk_xfer_result, bytes);
	glk_copy_result(to, &from, sizeof(from));
	assert_int_equal(to->crc32c, 5);
	assert_int_equal(to->bytes, 0xaaaaaaaaaaaaaaaa);
	to->size = sizeof(result);
	glk_copy_result(to, &from, sizeof(from));
	assert_int_equal(to->bytes, 6);
	assert_int_equal(result[sizeof(result) - 1], 0);
	glk_copy_result(NULL, &from, sizeof(from));
}

static void bad_limit_options(void **state)
{
	struct glk_lock_options lock = { .size = 1 };
	struct glk_limit_options o = { .size = sizeof(o), .bytes = 0 };
	struct glk_limit_result r = { .size = sizeof(r) };
	struct gigalock_failure f;

	(void)state;
	assert_int_equal(glk_limit_search("/dev/no-such-card", &o, &r, &f), -EINVAL);
	assert_int_equal(f.reason, GIGALOCK_REASON_BAD_SIZE);
	o.bytes = 4096;
	o.strategy = GIGALOCK_STRATEGY_COUNT;
	assert_int_equal(glk_limit_search("/dev/no-such-card", &o, &r, &f), -EINVAL);
	assert_int_equal(f.reason, GIGALOCK_REASON_BAD_STRATEGY);
	o.strategy = 0;
	o.lock = &lock;
	assert_int_equal(glk_limit_search("/dev/no-such-card", &o, &r, &f), -EINVAL);
	assert_int_equal(f.reason, GIGALOCK_REASON_BAD_ARGUMENT);
	lock.size = sizeof(lock);
	assert_int_equal(glk_limit_search("/dev/no-such-card", &o, &r, &f), -ENOENT);
	assert_int_equal(f.reason, GIGALOCK_REASON_NO_DEVICE);
}

static void null_handles(void **state)
{
	(void)state;
	glk_card_close(NULL);
	assert_int_equal(glk_lock_free(NULL), 0);
	glk_xfer_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_such_card),
		cmocka_unit_test(not_a_card),
		cmocka_unit_test(no_permission),
		cmocka_unit_test(bad_lock_options),
		cmocka_unit_test(option_sizes),
		cmocka_unit_test(bad_limit_options),
		cmocka_unit_test(null_handles),
	};

	return cmocka_run_group_tests_name("card", tests, NULL, NULL);
}
