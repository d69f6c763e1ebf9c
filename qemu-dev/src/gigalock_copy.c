/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: copying large blocks.
 *
 * The C library goes around the caches only for a single copy larger than a
 * good part of the last-level cache: on a host with a large one that is
 * hundreds of MiB, and anything below is half as fast. The engine copies in
 * smaller chunks, but knows that they belong to something large, be it one
 * descriptor or many: so it stores past the caches itself. Such stores may be
 * seen late; gl_copy_done() comes before whoever is told.
 */
#include "compat.h"
#include "gigalock.h"

/* Below this the destination is better left in the caches. */
#define GL_STREAM_MIN GL_LARGE
/* A piece of something large is copied so from this size on. */
#define GL_STREAM_PIECE 1024
/* Of the next piece this much is fetched ahead. */
#define GL_AHEAD 512

#ifdef __SSE2__
#include <emmintrin.h>

/* Streams side by side: each page has a row of memory banks of its own. */
#define LANES 4
#define LANE 4096
#define BLOCK (LANES * LANE)

static void gl_stream_line(uint8_t *to, const uint8_t *from)
{
    __m128i a = _mm_loadu_si128((const __m128i *)from);
    __m128i b = _mm_loadu_si128((const __m128i *)(from + 16));
    __m128i c = _mm_loadu_si128((const __m128i *)(from + 32));
    __m128i d = _mm_loadu_si128((const __m128i *)(from + 48));

    _mm_stream_si128((__m128i *)to, a);
    _mm_stream_si128((__m128i *)(to + 16), b);
    _mm_stream_si128((__m128i *)(to + 32), c);
    _mm_stream_si128((__m128i *)(to + 48), d);
}

static size_t gl_stream(uint8_t *to, const uint8_t *from, size_t len,
                        const uint8_t *ahead)
{
    size_t lead = -(uintptr_t)to & 63;
    size_t done = lead;

    memcpy(to, from, lead);
    for (; len - done >= BLOCK; done += BLOCK) {
        for (size_t at = done; at < done + LANE; at += 64) {
            for (size_t lane = 0; lane < BLOCK; lane += LANE) {
                gl_stream_line(to + at + lane, from + at + lane);
            }
        }
    }
    /* The CPU follows a row of lines by itself, but not to another page. */
    for (size_t at = 0; ahead && at < MIN(len, GL_AHEAD); at += 64) {
        __builtin_prefetch(ahead + at);
    }
    for (; len - done >= 64; done += 64) {
        gl_stream_line(to + done, from + done);
    }
    return done;
}

void gl_copy_done(void)
{
    _mm_sfence();
}
#else
static size_t gl_stream(uint8_t *to, const uint8_t *from, size_t len,
                        const uint8_t *ahead)
{
    return 0;
}

void gl_copy_done(void)
{
}
#endif

void gl_copy_block(void *to, const void *from, size_t len, bool large,
                   const void *ahead)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    size_t done = 0;
    bool apart = t >= f + len || f >= t + len;

    if (len >= (large ? GL_STREAM_PIECE : GL_STREAM_MIN) && apart) {
        done = gl_stream(t, f, len, ahead);
    }
    /* The rest; a host address may lie in card memory, too, and overlap. */
    memmove(t + done, f + done, len - done);
}
