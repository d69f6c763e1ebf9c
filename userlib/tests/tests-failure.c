/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests.h"

#define GIB ((uint64_t)1 << 30)

static struct gigalock_failure make(uint32_t reason)
{
	struct gigalock_failure f = {
		.size = sizeof(f), .reason = reason, .err = ENOMEM,
		.request = GIB, .limit = 4 << 20, .available = 300 << 20,
		.lock_size = GIB,
	};

	return f;
}

/* Which of the three numbers a reason must name. */
enum { REQUEST = 1, LIMIT = 2, AVAILABLE = 4 };
static const int names[GIGALOCK_REASON_COUNT] = {
	[GIGALOCK_REASON_BAD_SIZE] = REQUEST | LIMIT,
	[GIGALOCK_REASON_BAD_STRATEGY] = REQUEST | LIMIT,
	[GIGALOCK_REASON_BAD_ARGUMENT] = REQUEST | LIMIT,
	[GIGALOCK_REASON_BUDDY_LIMIT] = REQUEST | LIMIT,
	[GIGALOCK_REASON_NO_FREE_BLOCK] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_RAM_TOO_SMALL] = REQUEST | LIMIT,
	[GIGALOCK_REASON_NO_FREE_RANGE] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_NO_MEMORY] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_KILLED] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_MEMLOCK_LIMIT] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_BAD_ADDRESS] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_READ_ONLY] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_UNPINNABLE] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_KERNEL_METADATA] = REQUEST,
	[GIGALOCK_REASON_DMA_MAP] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_SWIOTLB_SEGMENT] = REQUEST | LIMIT,
	[GIGALOCK_REASON_SWIOTLB_FULL] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_ADDRESS_WIDTH] = REQUEST | LIMIT,
	[GIGALOCK_REASON_CARD_RANGE] = REQUEST | LIMIT,
	[GIGALOCK_REASON_LOCK_RANGE] = REQUEST | LIMIT,
	[GIGALOCK_REASON_DEVICE_ERROR] = AVAILABLE,
	[GIGALOCK_REASON_TIMEOUT] = REQUEST | LIMIT,
	[GIGALOCK_REASON_CANCELLED] = AVAILABLE,
	[GIGALOCK_REASON_OVERCOMMIT] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_ADDRESS_SPACE] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_CMA_TOO_SMALL] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_CMA_FULL] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_CMA_BUSY] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_CMA_ABOVE_WIDTH] = LIMIT,
	[GIGALOCK_REASON_IOVA_SPACE] = REQUEST | LIMIT,
	[GIGALOCK_REASON_TOO_MANY_SEGMENTS] = LIMIT | AVAILABLE,
	[GIGALOCK_REASON_NONPAGED_POOL] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_MAPPING_ENTRIES] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_RESERVED_MISSING] = REQUEST | LIMIT,
	[GIGALOCK_REASON_RESERVED_NOT_RESERVED] = REQUEST,
	[GIGALOCK_REASON_RESERVED_SMALL] = REQUEST | LIMIT,
	[GIGALOCK_REASON_RESERVED_BUSY] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_POOL_EMPTY] = LIMIT,
	[GIGALOCK_REASON_POOL_SMALL] = REQUEST | LIMIT,
	[GIGALOCK_REASON_NOT_HUGETLB] = REQUEST | AVAILABLE,
	[GIGALOCK_REASON_NODE_MEMORY] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_HUGETLB_SIZE] = REQUEST,
	[GIGALOCK_REASON_HUGETLB_POOL] = REQUEST | LIMIT | AVAILABLE,
	[GIGALOCK_REASON_IO_URING_BUFFER] = REQUEST | LIMIT,
};

static void every_reason_has_words(void **state)
{
	(void)state;
	for (uint32_t r = 0; r < GIGALOCK_REASON_COUNT; r++) {
		struct gigalock_failure f = make(r);
		char text[GLK_TEXT_MAX], remedy[GLK_TEXT_MAX], all[GLK_TEXT_MAX];

		assert_true(glk_failure_text(&f, text, sizeof(text)) < GLK_TEXT_MAX);
		assert_true(glk_failure_remedy(&f, remedy, sizeof(remedy)) < GLK_TEXT_MAX);
		assert_true(glk_failure_message(&f, all, sizeof(all)) < GLK_TEXT_MAX);
		assert_true(strlen(text) > 8);
		assert_true(strlen(remedy) > 8);
		/* one line, all placeholders replaced, all three parts there */
		assert_null(strpbrk(all, "{}[]\n"));
		assert_non_null(strstr(all, text));
		assert_non_null(strstr(all, remedy));
		assert_int_equal(strncmp(all, glk_reason_name(r),
					 strlen(glk_reason_name(r))), 0);
		if (names[r] & REQUEST && !strstr(text, "1 GiB"))
			fail_msg("%s names no request: %s", glk_reason_name(r), text);
		if (names[r] & LIMIT && !strstr(text, "4 MiB"))
			fail_msg("%s names no limit: %s", glk_reason_name(r), text);
		if (names[r] & AVAILABLE && !strstr(text, "300 MiB") &&
		    !strstr(text, "0x12c00000"))
			fail_msg("%s names no available: %s", glk_reason_name(r), text);
	}
}

/* Numbers that are not known leave no hole in the sentence. */
static void unknown_numbers(void **state)
{
	(void)state;
	for (uint32_t r = 0; r < GIGALOCK_REASON_COUNT; r++) {
		struct gigalock_failure f = make(r);
		char all[GLK_TEXT_MAX];

		f.available = 0;
		glk_failure_message(&f, all, sizeof(all));
		assert_null(strpbrk(all, "{}[]"));
		assert_null(strstr(all, "300 MiB"));
		assert_null(strstr(all, "  "));
		assert_null(strstr(all, "0x0"));
		if (r != GIGALOCK_REASON_MEMLOCK_LIMIT)
			assert_null(strstr(all, " 0 bytes"));
	}
}

static void exact_words(void **state)
{
	struct gigalock_failure f = make(GIGALOCK_REASON_BUDDY_LIMIT);
	char text[GLK_TEXT_MAX];

	(void)state;
	glk_failure_message(&f, text, sizeof(text));
	assert_string_equal(text,
		"buddy-limit: 1 GiB asked for, but the page allocator's largest block is "
		"4 MiB, and this machine has neither a CMA area nor an IOMMU to go beyond "
		"it. Use strategy sg or contig-range, or a machine with an IOMMU; where "
		"the kernel has CMA, boot with cma= larger than 1 GiB.");
	f = make(GIGALOCK_REASON_TIMEOUT);
	f.unit = GIGALOCK_UNIT_MILLISECONDS;
	f.request = 0;
	f.limit = 1500;
	glk_failure_text(&f, text, sizeof(text));
	assert_string_equal(text, "not finished within 1500 ms");
	f = make(GIGALOCK_REASON_DEVICE_ERROR);
	f.unit = GIGALOCK_UNIT_COUNT;
	f.request = 7;
	f.available = 0xfee00000;
	glk_failure_text(&f, text, sizeof(text));
	assert_string_equal(text,
		"the card reported error 0x07 in the transfer at bus address 0xfee00000");
	f = make(GIGALOCK_REASON_MEMLOCK_LIMIT);
	f.limit = f.available = 0;
	glk_failure_text(&f, text, sizeof(text));
	assert_string_equal(text, "1 GiB asked for, but RLIMIT_MEMLOCK is 0 bytes");
}

static void unknown_reason(void **state)
{
	struct gigalock_failure f = make(4711);
	char text[GLK_TEXT_MAX];

	(void)state;
	glk_failure_message(&f, text, sizeof(text));
	assert_non_null(strstr(text, "unknown: a reason that this library does not know"));
}

static void short_buffers(void **state)
{
	struct gigalock_failure f = make(GIGALOCK_REASON_KILLED);
	char full[GLK_TEXT_MAX], part[GLK_TEXT_MAX];
	int len = glk_failure_message(&f, full, sizeof(full));

	(void)state;
	assert_int_equal(len, strlen(full));
	assert_int_equal(glk_failure_message(&f, NULL, 0), len);
	for (size_t room = 1; room < 40; room++) {
		memset(part, 'z', sizeof(part));
		assert_int_equal(glk_failure_message(&f, part, room), len);
		assert_int_equal(strlen(part), room - 1);
		assert_memory_equal(part, full, room - 1);
		assert_int_equal(part[room], 'z');
	}
}

static void user_space_failures(void **state)
{
	const struct glk_cause cause = {
		.reason = GIGALOCK_REASON_OVERCOMMIT, .stage = GIGALOCK_STAGE_ALLOCATE,
		.err = ENOMEM, .limit = 5, .request = 6, .available = 7,
	};
	struct gigalock_failure f;

	(void)state;
	prctl(PR_SET_NAME, "fifteen-letters");
	memset(&f, 0xff, sizeof(f));
	assert_int_equal(glk_fail(&f, &cause, GIGALOCK_OP_LOCK,
				  GIGALOCK_STRATEGY_SG, 6), -ENOMEM);
	assert_int_equal(f.size, sizeof(f));
	assert_int_equal(f.reason, GIGALOCK_REASON_OVERCOMMIT);
	assert_int_equal(f.err, ENOMEM);
	assert_int_equal(f.limit, 5);
	assert_int_equal(f.request, 6);
	assert_int_equal(f.available, 7);
	assert_int_equal(f.pid, getpid());
	assert_int_equal(f.seq, 0);
	assert_true(f.time_ns > 0);
	assert_string_equal((char *)f.comm, "fifteen-letters");
	assert_int_equal(glk_fail(NULL, &cause, GIGALOCK_OP_LOCK, 0, 0), -ENOMEM);
}

static void kernels_record_is_kept(void **state)
{
	struct gigalock_failure f;

	(void)state;
	glk_failure_reset(&f);
	f.reason = GIGALOCK_REASON_NO_FREE_RANGE;
	f.limit = 99;
	assert_int_equal(glk_fail_call(&f, EBUSY, GIGALOCK_OP_LOCK, 0, 0, 0, 1), -EBUSY);
	assert_int_equal(f.reason, GIGALOCK_REASON_NO_FREE_RANGE);
	assert_int_equal(f.limit, 99);
	glk_failure_reset(&f);
	assert_int_equal(glk_fail_call(&f, ENODEV, GIGALOCK_OP_LOCK, 0, 0, 0, 1), -ENODEV);
	assert_int_equal(f.reason, GIGALOCK_REASON_DEVICE_GONE);
	assert_int_equal(f.err, ENODEV);
}

/* Without a record in the log: only SIGKILL counts as killed. */
static void children(void **state)
{
	struct glk_card card = { .fd = -1 };
	struct gigalock_failure f;
	int status;

	(void)state;
	status = SIGKILL;	/* as waitpid() gives it */
	assert_true(WIFSIGNALED(status));
	assert_int_equal(glk_failure_of_child(&card, 123, status, 0, &f), 1);
	assert_int_equal(f.reason, GIGALOCK_REASON_KILLED);
	assert_int_equal(f.pid, 123);
	assert_int_equal(glk_failure_of_child(&card, 123, SIGSEGV, 0, &f), -EBADF);
	assert_int_equal(glk_failure_of_child(&card, 123, 1 << 8, 0, &f), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_has_words),
		cmocka_unit_test(unknown_numbers),
		cmocka_unit_test(exact_words),
		cmocka_unit_test(unknown_reason),
		cmocka_unit_test(short_buffers),
		cmocka_unit_test(user_space_failures),
		cmocka_unit_test(kernels_record_is_kept),
		cmocka_unit_test(children),
	};

	return cmocka_run_group_tests_name("failure", tests, NULL, NULL);
}
