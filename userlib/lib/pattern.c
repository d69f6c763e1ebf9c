/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seeded, position-dependent test pattern.
 *
 * Word i is mix(seed, i) = w ^ (w >> 32), with w = start(seed) + i * STEP and
 * STEP odd. i -> w is one to one modulo 2^64, and so is w -> w ^ (w >> 32): no
 * two words of a seed are the same. From word to word it costs an addition, a
 * shift and an exclusive or, for guests fill gigabytes with it under an
 * emulated CPU; the loops are kept scalar for the same reason (see Makefile).
 * start() spreads the seeds, so that near seeds don't give shifted patterns.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define STEP 0x9e3779b97f4a7c15u	/* 2^64 / golden ratio, odd */

static uint64_t start_of(uint64_t seed)
{
	uint64_t x = seed + STEP;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static inline uint64_t little_endian(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

static inline uint64_t finish(uint64_t weyl)
{
	return little_endian(weyl ^ (weyl >> 32));
}

static inline uint64_t weyl_at(uint64_t start, uint64_t index)
{
	return start + index * STEP;
}

/* Bytes of the pattern's word that holds @offset, from @offset on. */
static size_t part_of_word(uint8_t *out, size_t len, uint64_t start,
			   uint64_t offset, uint64_t invert)
{
	uint64_t word = finish(weyl_at(start, offset / 8)) ^ invert;
	size_t skip = offset % 8;
	size_t n = 8 - skip < len ? 8 - skip : len;

	memcpy(out, (const uint8_t *)&word + skip, n);
	return n;
}

static void fill(uint8_t *p, size_t len, uint64_t seed, uint64_t offset,
		 uint64_t invert)
{
	uint64_t start = start_of(seed);
	uint64_t weyl;

	if (offset % 8 && len) {
		size_t n = part_of_word(p, len, start, offset, invert);

		p += n;
		offset += n;
		len -= n;
	}
	weyl = weyl_at(start, offset / 8);
	offset += len & ~(size_t)7;
	for (; len >= 32; len -= 32, p += 32) {
		uint64_t four[4];

		four[0] = finish(weyl) ^ invert;
		four[1] = finish(weyl + STEP) ^ invert;
		four[2] = finish(weyl + 2 * STEP) ^ invert;
		four[3] = finish(weyl + 3 * STEP) ^ invert;
		weyl += 4 * STEP;
		memcpy(p, &four[0], 8);
		memcpy(p + 8, &four[1], 8);
		memcpy(p + 16, &four[2], 8);
		memcpy(p + 24, &four[3], 8);
	}
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t word = finish(weyl) ^ invert;

		weyl += STEP;
		memcpy(p, &word, 8);
	}
	if (len)
		part_of_word(p, len, start, offset, invert);
}

void glk_pattern_fill(void *buf, size_t len, uint64_t seed, uint64_t offset)
{
	fill(buf, len, seed, offset, 0);
}

void glk_pattern_fill_inverse(void *buf, size_t len, uint64_t seed,
			      uint64_t offset)
{
	fill(buf, len, seed, offset, ~(uint64_t)0);
}

/* Find the difference that is known to be in these bytes, at most 32. */
static bool find(const uint8_t *p, size_t len, uint64_t seed, uint64_t offset,
		 size_t base, struct glk_difference *first)
{
	uint8_t expected[32];

	fill(expected, len, seed, offset, 0);
	for (size_t i = 0; i < len; i++) {
		if (p[i] == expected[i])
			continue;
		if (first) {
			first->offset = base + i;
			first->expected = expected[i];
			first->found = p[i];
		}
		return false;
	}
	return true;
}

bool glk_pattern_verify(const void *buf, size_t len, uint64_t seed,
			uint64_t offset, struct glk_difference *first)
{
	const uint8_t *p = buf;
	size_t at = 0;
	uint64_t weyl;

	if (offset % 8) {
		size_t n = 8 - offset % 8;

		if (n > len)
			n = len;
		if (!find(p, n, seed, offset, 0, first))
			return false;
		at = n;
	}
	weyl = weyl_at(start_of(seed), (offset + at) / 8);
	for (; len - at >= 32; at += 32) {
		uint64_t w0, w1, w2, w3;

		memcpy(&w0, p + at, 8);
		memcpy(&w1, p + at + 8, 8);
		memcpy(&w2, p + at + 16, 8);
		memcpy(&w3, p + at + 24, 8);
		w0 ^= finish(weyl);
		w1 ^= finish(weyl + STEP);
		w2 ^= finish(weyl + 2 * STEP);
		w3 ^= finish(weyl + 3 * STEP);
		weyl += 4 * STEP;
		if (w0 | w1 | w2 | w3)
			return find(p + at, 32, seed, offset + at, at, first);
	}
	return len == at || find(p + at, len - at, seed, offset + at, at, first);
}

/*
 * The CRC without tables: x^5275 + x^4508 + x^2751 + 1 is a multiple of the
 * CRC's polynomial (the shortest with four terms), and so is its 64th power,
 * whose terms lie 64 times as far apart: whole words. Adding a multiple doesn't
 * change the CRC. So each word in turn is made 0, by adding it to the three
 * words that are 767, 2524 and 5275 places further on; what is left at the end
 * are 5275 words. Three loads and a store for each, and no chain through them
 * all: less than half the time of tables where the CPU is emulated.
 */
#define FOLD_FAR 5275u
#define FOLD_MIDDLE (FOLD_FAR - 2751u)
#define FOLD_NEAR (FOLD_FAR - 4508u)
#define FOLD_LEAST ((uint64_t)1 << 20)	/* bytes that are worth it */
#define FOLD_STEP 16384u	/* words from one move of the rest to the next */

/* Make @words of the pattern 0; v[] gets what each was, to be added later. */
static void fold(uint64_t *v, size_t words, uint64_t weyl)
{
	const uint64_t *near = v - FOLD_NEAR;
	const uint64_t *middle = v - FOLD_MIDDLE;
	const uint64_t *far = v - FOLD_FAR;
	size_t i = 0;

	for (; i + 4 <= words; i += 4, weyl += 4 * STEP) {
		uint64_t w0 = finish(weyl) ^ far[i];
		uint64_t w1 = finish(weyl + STEP) ^ far[i + 1];
		uint64_t w2 = finish(weyl + 2 * STEP) ^ far[i + 2];
		uint64_t w3 = finish(weyl + 3 * STEP) ^ far[i + 3];

		v[i] = w0 ^ near[i] ^ middle[i];
		v[i + 1] = w1 ^ near[i + 1] ^ middle[i + 1];
		v[i + 2] = w2 ^ near[i + 2] ^ middle[i + 2];
		v[i + 3] = w3 ^ near[i + 3] ^ middle[i + 3];
	}
	for (; i < words; i++, weyl += STEP)
		v[i] = finish(weyl) ^ near[i] ^ middle[i] ^ far[i];
}

bool glk_pattern_crc32c_fold(uint32_t *crc, uint64_t seed, uint64_t first_word,
			     uint64_t words)
{
	uint64_t weyl = weyl_at(start_of(seed), first_word);
	uint64_t *rest, *v;

	if (words <= FOLD_FAR)
		return false;
	/* The words before the first are 0. */
	rest = calloc(FOLD_FAR + FOLD_STEP, sizeof(*rest));
	if (!rest)
		return false;
	v = rest + FOLD_FAR;
	/* The CRC so far counts as if it were added to the first four bytes:
	 * put where it is added to the first word, and to no other. */
	rest[0] = little_endian((uint32_t)~*crc);
	for (words -= FOLD_FAR; words > 0;) {
		size_t n = words < FOLD_STEP ? (size_t)words : FOLD_STEP;

		fold(v, n, weyl);
		weyl += n * STEP;
		words -= n;
		for (size_t i = 0; i < FOLD_FAR; i++)
			rest[i] = rest[n + i];
	}
	/* Words after the last one that was made 0 get no more from each other. */
	for (size_t i = 0; i < FOLD_FAR; i++, weyl += STEP) {
		v[i] = rest[i] ^ finish(weyl);
		if (i < FOLD_MIDDLE)
			v[i] ^= rest[i + FOLD_FAR - FOLD_MIDDLE];
		if (i < FOLD_NEAR)
			v[i] ^= rest[i + FOLD_FAR - FOLD_NEAR];
	}
	*crc = ~glk_crc32c_tables(0, (const uint8_t *)v, FOLD_FAR * sizeof(*v));
	free(rest);
	return true;
}

uint32_t glk_pattern_crc32c_with(uint32_t crc, uint64_t seed, uint64_t offset,
				 uint64_t len, bool may_fold)
{
	uint8_t chunk[8192];

	/* Whole words, and enough of them. */
	if (len >= FOLD_LEAST && may_fold) {
		size_t n = (8 - offset % 8) % 8;

		fill(chunk, n, seed, offset, 0);
		crc = glk_crc32c(crc, chunk, n);
		offset += n;
		len -= n;
		if (glk_pattern_crc32c_fold(&crc, seed, offset / 8, len / 8)) {
			offset += len / 8 * 8;
			len %= 8;
		}
	}
	while (len > 0) {
		size_t n = len < sizeof(chunk) ? (size_t)len : sizeof(chunk);

		fill(chunk, n, seed, offset, 0);
		crc = glk_crc32c(crc, chunk, n);
		offset += n;
		len -= n;
	}
	return crc;
}

uint32_t glk_pattern_crc32c(uint32_t crc, uint64_t seed, uint64_t offset,
			    uint64_t len)
{
	/* A real CPU's instruction is faster than anything. */
	return glk_pattern_crc32c_with(crc, seed, offset, len,
				       glk_crc32c_by_tables());
}
