/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests.h"

#define LEN 5000

static uint8_t whole[LEN];

static int fill_whole(void **state)
{
	(void)state;
	glk_pattern_fill(whole, sizeof(whole), 77, 0);
	return 0;
}

/* Any part, at any alignment, is that part of the whole, and nothing beside
 * it is written. */
static void parts(void **state)
{
	uint8_t buf[LEN + 32];

	(void)state;
	for (size_t offset = 0; offset < 40; offset++)
		for (size_t len = 0; len < 120; len++)
			for (size_t align = 0; align < 9; align += 3) {
				memset(buf, 0xee, sizeof(buf));
				glk_pattern_fill(buf + 8 + align, len, 77, offset);
				assert_memory_equal(buf + 8 + align, whole + offset, len);
				assert_int_equal(buf[7 + align], 0xee);
				assert_int_equal(buf[8 + align + len], 0xee);
				assert_true(glk_pattern_verify(buf + 8 + align, len, 77,
							       offset, NULL));
			}
}

static void inverse_differs_everywhere(void **state)
{
	uint8_t buf[LEN];

	(void)state;
	glk_pattern_fill_inverse(buf, sizeof(buf), 77, 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], (uint8_t)~whole[i]);
}

static void every_byte_is_looked_at(void **state)
{
	(void)state;
	for (size_t offset = 0; offset < 10; offset++)
		for (size_t i = 0; i < 200; i++) {
			struct glk_difference first = { 0 };
			uint8_t buf[200];

			glk_pattern_fill(buf, sizeof(buf), 3, offset);
			buf[i] ^= 0x10;
			if (i + 1 < sizeof(buf))
				buf[sizeof(buf) - 1] ^= 1;	/* not the first */
			assert_false(glk_pattern_verify(buf, sizeof(buf), 3, offset,
							&first));
			assert_int_equal(first.offset, i);
			assert_int_equal(first.found ^ first.expected, 0x10);
		}
}

static void place_and_seed_matter(void **state)
{
	uint8_t buf[LEN];

	(void)state;
	for (uint64_t shift = 1; shift < 70; shift++) {
		glk_pattern_fill(buf, 64, 77, shift);
		assert_false(glk_pattern_verify(buf, 64, 77, 0, NULL));
	}
	for (unsigned int bit = 12; bit < 40; bit++) {
		glk_pattern_fill(buf, 64, 77, (uint64_t)1 << bit);
		assert_false(glk_pattern_verify(buf, 64, 77, 0, NULL));
	}
	for (uint64_t seed = 0; seed < 70; seed++) {
		glk_pattern_fill(buf, 64, seed, 0);
		assert_int_equal(glk_pattern_verify(buf, 64, 77, 0, NULL), seed == 77);
	}
	/* Near seeds are not the same sequence a few words on. */
	glk_pattern_fill(buf, LEN, 78, 0);
	for (size_t at = 0; at + 8 <= LEN; at += 8)
		assert_memory_not_equal(buf, whole + at, 8);
}

static void no_word_twice(void **state)
{
	uint64_t words[LEN / 8];

	(void)state;
	memcpy(words, whole, sizeof(words));
	for (size_t i = 0; i < LEN / 8; i++)
		for (size_t j = i + 1; j < LEN / 8; j++)
			assert_int_not_equal(words[i], words[j]);
}

/* The format is a contract with machines that run another build. */
static void first_words_are_fixed(void **state)
{
	uint8_t buf[20];

	(void)state;
	glk_pattern_fill(buf, sizeof(buf), 1, 0);
	assert_int_equal(glk_crc32c(0, buf, sizeof(buf)), 0x781df51e);
}

static void crc_without_buffer(void **state)
{
	(void)state;
	for (size_t offset = 0; offset < 20; offset++)
		for (size_t len = 0; len + offset < LEN; len += 1 + len / 3)
			assert_int_equal(glk_pattern_crc32c(0, 77, offset, len),
					 glk_crc32c(0, whole + offset, len));
	/* longer than its inner buffer */
	assert_int_equal(glk_pattern_crc32c(glk_pattern_crc32c(0, 4, 1, 8190), 4, 8191, 20001),
			 glk_pattern_crc32c(0, 4, 1, 28191));
}

/* Against the other ways, for lengths around those where its steps end. */
static void crc_by_folding(void **state)
{
	static const uint64_t words[] = {
		5276, 5277, 5279, 6041, 6042, 6043, 7799, 10550, 10551, 16384, 21658,
		21659, 21660, 38043, 38050, 100003,
	};
	const size_t most = 100003 * 8;
	uint8_t *buf = malloc(most);
	uint32_t crc = 7;

	(void)state;
	assert_non_null(buf);
	for (uint64_t first = 0; first < 4; first++) {
		glk_pattern_fill(buf, most, 99, first * 8);
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			for (uint32_t before = 0; before < 3; before++) {
				crc = before * 0x9abcdef1u;
				assert_true(glk_pattern_crc32c_fold(&crc, 99, first,
								    words[i]));
				assert_int_equal(crc, glk_crc32c(before * 0x9abcdef1u,
								 buf, words[i] * 8));
			}
		}
	}
	free(buf);
	crc = 7;
	assert_false(glk_pattern_crc32c_fold(&crc, 99, 0, 5275));
	assert_int_equal(crc, 7);
}

/* From wherever to wherever, in one go or in parts. */
static void long_crc_without_buffer(void **state)
{
	const uint64_t len = (1 << 20) + 12345;

	(void)state;
	for (uint64_t offset = 0; offset < 9; offset++) {
		uint32_t parts = 0;

		for (uint64_t at = 0; at < len; at += 65521)
			parts = glk_pattern_crc32c(parts, 5, offset + at,
				len - at < 65521 ? len - at : 65521);
		for (int fold = 0; fold < 2; fold++)
			assert_int_equal(glk_pattern_crc32c_with(0, 5, offset, len,
								 fold), parts);
		assert_int_equal(glk_pattern_crc32c(0, 5, offset, len), parts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts),
		cmocka_unit_test(inverse_differs_everywhere),
		cmocka_unit_test(every_byte_is_looked_at),
		cmocka_unit_test(place_and_seed_matter),
		cmocka_unit_test(no_word_twice),
		cmocka_unit_test(first_words_are_fixed),
		cmocka_unit_test(crc_without_buffer),
		cmocka_unit_test(crc_by_folding),
		cmocka_unit_test(long_crc_without_buffer),
	};

	return cmocka_run_group_tests_name("pattern", tests, fill_whole, NULL);
}
