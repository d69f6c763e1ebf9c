/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests.h"

/* RFC 3720, appendix B.4, and the customary check value. */
static void known_vectors(void **state)
{
	uint8_t data[48];
	static const uint8_t scsi_read[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
		0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
	};

	(void)state;
	memset(data, 0, 32);
	assert_int_equal(glk_crc32c(0, data, 32), 0x8a9136aa);
	memset(data, 0xff, 32);
	assert_int_equal(glk_crc32c(0, data, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)i;
	assert_int_equal(glk_crc32c(0, data, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)(31 - i);
	assert_int_equal(glk_crc32c(0, data, 32), 0x113fdb5c);
	assert_int_equal(glk_crc32c(0, scsi_read, 48), 0xd9963a56);
	assert_int_equal(glk_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(glk_crc32c(0, "", 0), 0);
}

static void both_ways_agree(void **state)
{
	glk_crc32c_fn instruction = glk_crc32c_instruction();
	uint8_t data[300];

	(void)state;
	if (!instruction) {
		print_message("this CPU has no CRC instruction\n");
		skip();
	}
	glk_pattern_fill(data, sizeof(data), 5, 3);
	for (size_t start = 0; start < 9; start++)
		for (size_t len = 0; len + start <= sizeof(data); len += 1 + len / 7)
			assert_int_equal(instruction(0xdeadbeef, data + start, len),
					 glk_crc32c_tables(0xdeadbeef, data + start, len));
}

static void in_pieces(void **state)
{
	uint8_t data[1000];
	uint32_t whole;

	(void)state;
	glk_pattern_fill(data, sizeof(data), 9, 0);
	whole = glk_crc32c(0, data, sizeof(data));
	for (size_t cut = 0; cut <= sizeof(data); cut++) {
		uint32_t a = glk_crc32c(0, data, cut);
		uint32_t b = glk_crc32c(0, data + cut, sizeof(data) - cut);

		assert_int_equal(glk_crc32c(a, data + cut, sizeof(data) - cut), whole);
		assert_int_equal(glk_crc32c_combine(a, b, sizeof(data) - cut), whole);
	}
}

/* Lengths beyond 32 bits: compare with a combination in two steps. */
static void combine_large(void **state)
{
	uint64_t big = ((uint64_t)5 << 32) + 12345;
	uint32_t a = 0x12345678, zero = 0, b = 0x9abcdef0;
	uint32_t once, twice;

	(void)state;
	once = glk_crc32c_combine(a, b, big);
	twice = glk_crc32c_combine(a, zero, big - 99);
	twice = glk_crc32c_combine(twice, b, 99);
	assert_int_equal(once, twice);
	assert_int_not_equal(once, glk_crc32c_combine(a, b, 12345));
}

/* Without a buffer the same as with one. */
static void of_one_word(void **state)
{
	static const uint64_t words[] = { 0, UINT64_MAX, 1, 0x8877665544332211 };
	static uint8_t buffer[100003];

	(void)state;
	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
		for (size_t i = 0; i < sizeof(buffer); i++)
			buffer[i] = (uint8_t)(words[w] >> (8 * (i % 8)));
		for (size_t len = 0; len < 70; len++)
			assert_int_equal(glk_word_crc32c(words[w], len),
					 glk_crc32c(0, buffer, len));
		assert_int_equal(glk_word_crc32c(words[w], sizeof(buffer)),
				 glk_crc32c(0, buffer, sizeof(buffer)));
	}
	/* A gibibyte is made of its halves. */
	assert_int_equal(glk_word_crc32c(5, (uint64_t)1 << 30),
			 glk_crc32c_combine(glk_word_crc32c(5, 1 << 29),
					    glk_word_crc32c(5, 1 << 29), 1 << 29));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_vectors),
		cmocka_unit_test(both_ways_agree),
		cmocka_unit_test(in_pieces),
		cmocka_unit_test(combine_large),
		cmocka_unit_test(of_one_word),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
