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

static inline uint64_t finish(uint64_t weyl)
{
	uint64_t word = weyl ^ (weyl >> 32);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
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

uint32_t glk_pattern_crc32c(uint32_t crc, uint64_t seed, uint64_t offset,
			    uint64_t len)
{
	uint8_t chunk[8192];

	while (len > 0) {
		size_t n = len < sizeof(chunk) ? len : sizeof(chunk);

		fill(chunk, n, seed, offset, 0);
		crc = glk_crc32c(crc, chunk, n);
		offset += n;
		len -= n;
	}
	return crc;
}
