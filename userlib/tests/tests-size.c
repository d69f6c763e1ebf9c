/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests.h"

static void good_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{ "1", 1 }, { "4096", 4096 }, { "64K", 65536 }, { "64k", 65536 },
		{ "64KiB", 65536 }, { "1536M", (uint64_t)1536 << 20 },
		{ "1G", (uint64_t)1 << 30 }, { "1GiB", (uint64_t)1 << 30 },
		{ "1gib", (uint64_t)1 << 30 }, { "2T", (uint64_t)2 << 40 },
		{ "007", 7 }, { "128T", (uint64_t)128 << 40 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;

		if (glk_size_parse(cases[i].text, &bytes, NULL, 0))
			fail_msg("%s refused", cases[i].text);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void bad_sizes(void **state)
{
	static const struct {
		const char *text;
		int err;
		const char *says;
	} cases[] = {
		{ "0", -EINVAL, "zero" }, { "0G", -EINVAL, "zero" },
		{ "-1", -EINVAL, "negative" }, { "-1G", -EINVAL, "negative" },
		{ "", -EINVAL, "not a number" }, { "G", -EINVAL, "not a number" },
		{ "ten", -EINVAL, "not a number" }, { " 1", -EINVAL, "not a number" },
		{ "+1", -EINVAL, "not a number" }, { "1 G", -EINVAL, "unit" },
		{ "1.5G", -EINVAL, "unit" }, { "1GB", -EINVAL, "unit" },
		{ "1P", -EINVAL, "unit" }, { "1GiBx", -EINVAL, "unit" },
		{ "0x1000", -EINVAL, "unit" }, { "1Gi", -EINVAL, "unit" },
		{ "129T", -ERANGE, "address space" },
		{ "140737488355329", -ERANGE, "address space" },
		{ "18446744073709551615", -ERANGE, "address space" },
		{ "18446744073709551616", -ERANGE, "address space" },
		{ "99999999999999999999999G", -ERANGE, "address space" },
		/* 2^65 + 15: must not wrap to 15 */
		{ "36893488147419103247", -ERANGE, "address space" },
		/* 2^34 G = 2^64: must not wrap to 0 */
		{ "17179869184G", -ERANGE, "address space" },
		{ "17179869185G", -ERANGE, "address space" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 77;
		char error[256] = "";
		int ret = glk_size_parse(cases[i].text, &bytes, error, sizeof(error));

		if (ret != cases[i].err)
			fail_msg("\"%s\" gives %d", cases[i].text, ret);
		assert_int_equal(bytes, 77);
		/* The value, why, and the limit. */
		assert_non_null(strstr(error, cases[i].text));
		assert_non_null(strstr(error, cases[i].says));
		assert_non_null(strstr(error, "128 TiB"));
	}
}

static void errors_fit_their_buffer(void **state)
{
	char error[8] = "zzzzzzz";
	uint64_t bytes;

	(void)state;
	assert_int_equal(glk_size_parse("0", &bytes, error, 4), -EINVAL);
	assert_string_equal(error, "siz");
	assert_int_equal(error[4], 'z');
}

static void formats(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 bytes" }, { 1, "1 byte" }, { 1023, "1023 bytes" },
		{ 1024, "1 KiB" }, { 1025, "1.0 KiB" }, { 65536, "64 KiB" },
		{ (uint64_t)1536 << 20, "1536 MiB" }, { (uint64_t)1 << 30, "1 GiB" },
		{ 989003776, "943.2 MiB" },
		{ 1922170880, "1833.1 MiB" }, { (uint64_t)128 << 40, "128 TiB" },
		{ UINT64_MAX, "16777216.0 TiB" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[32];

		assert_int_equal(glk_size_format(cases[i].bytes, text, sizeof(text)),
				 strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_sizes),
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test(errors_fit_their_buffer),
		cmocka_unit_test(formats),
	};

	return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
