/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32C (Castagnoli, RFC 3720): by the CPU's instruction or by tables,
 * whichever is faster here, and the CRC of two parts put together.
 */
#include <string.h>

#include "internal.h"

/* The polynomial with its bits reversed: bit 31 is the coefficient of x^0. */
#define POLY 0x82f63b78u

static uint32_t table[8][256];

static void make_tables(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? POLY : 0);
		table[0][byte] = crc;
	}
	for (unsigned int byte = 0; byte < 256; byte++)
		for (int t = 1; t < 8; t++) {
			uint32_t before = table[t - 1][byte];

			table[t][byte] = (before >> 8) ^ table[0][before & 0xff];
		}
}

static uint64_t load_le64(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* Eight bytes a step: one table per byte, their entries added up. */
static uint32_t by_tables(uint32_t state, const uint8_t *p, size_t len)
{
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t word = load_le64(p) ^ state;

		state = table[7][word & 0xff] ^
			table[6][(word >> 8) & 0xff] ^
			table[5][(word >> 16) & 0xff] ^
			table[4][(word >> 24) & 0xff] ^
			table[3][(word >> 32) & 0xff] ^
			table[2][(word >> 40) & 0xff] ^
			table[1][(word >> 48) & 0xff] ^
			table[0][word >> 56];
	}
	for (; len > 0; len--, p++)
		state = (state >> 8) ^ table[0][(state ^ *p) & 0xff];
	return state;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t by_instruction(uint32_t state, const uint8_t *p, size_t len)
{
	uint64_t wide = state;

	for (; len >= 8; len -= 8, p += 8)
		wide = __builtin_ia32_crc32di(wide, load_le64(p));
	state = (uint32_t)wide;
	for (; len > 0; len--, p++)
		state = __builtin_ia32_crc32qi(state, *p);
	return state;
}

static bool have_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#else
static bool have_instruction(void)
{
	return false;
}
#define by_instruction by_tables
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static glk_crc32c_fn chosen;

static uint64_t time_of(glk_crc32c_fn fn)
{
	static const uint8_t sample[8192];
	uint64_t best = UINT64_MAX;

	for (int round = 0; round < 3; round++) {
		uint64_t start = glk_now_ns();
		volatile uint32_t keep = fn(0, sample, sizeof(sample));
		uint64_t took = glk_now_ns() - start;

		(void)keep;
		if (took < best)
			best = took;
	}
	return best;
}

/*
 * The instruction is far faster on a real CPU, and far slower where it is
 * emulated (QEMU's TCG goes bit by bit). So measure once, some 20 us.
 */
static void choose(void)
{
	make_tables();
	chosen = by_tables;
	if (have_instruction() && time_of(by_instruction) < time_of(by_tables))
		chosen = by_instruction;
}

static uint32_t tables_ready(uint32_t state, const uint8_t *p, size_t len)
{
	pthread_once(&once, choose);
	return by_tables(state, p, len);
}

const glk_crc32c_fn glk_crc32c_tables = tables_ready;

glk_crc32c_fn glk_crc32c_instruction(void)
{
	return have_instruction() ? by_instruction : NULL;
}

bool glk_crc32c_by_tables(void)
{
	pthread_once(&once, choose);
	return chosen == by_tables;
}

uint32_t glk_crc32c(uint32_t crc, const void *buf, size_t len)
{
	pthread_once(&once, choose);
	return ~chosen(~crc, buf, len);
}

/* a * b modulo the polynomial, both with reversed bits. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = (b >> 1) ^ (b & 1 ? POLY : 0);
	}
	return product;
}

/*
 * A followed by len_b zero bytes is A times x^(8 len_b); the inversions before
 * and after cancel out, so adding the CRC of B gives that of A, B.
 */
uint32_t glk_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
	uint32_t power = 0x80000000u >> 8;	/* x^8: one byte */
	uint32_t shift = 0x80000000u;		/* 1 */

	for (; len_b > 0; len_b >>= 1) {
		if (len_b & 1)
			shift = multiply(shift, power);
		power = multiply(power, power);
	}
	return multiply(crc_a, shift) ^ crc_b;
}

uint32_t glk_word_crc32c(uint64_t pattern, uint64_t len)
{
	uint8_t bytes[8];
	uint32_t crc = 0, doubled;
	uint64_t unit = sizeof(bytes);

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(pattern >> (8 * i));
	/* Of the words, those of 1, 2, 4, ... of them, put before the rest. */
	doubled = glk_crc32c(0, bytes, sizeof(bytes));
	for (uint64_t words = len / 8; words > 0; words >>= 1) {
		if (words & 1)
			crc = glk_crc32c_combine(crc, doubled, unit);
		doubled = glk_crc32c_combine(doubled, doubled, unit);
		unit *= 2;
	}
	return glk_crc32c(crc, bytes, len % 8);
}
