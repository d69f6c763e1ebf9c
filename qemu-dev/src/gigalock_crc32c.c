/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: CRC-32C (RFC 3720).
 *
 * With SSE4.2 one instruction takes 8 bytes, but its result is there only
 * three cycles later. So three streams run side by side, one for each third
 * of a block, and their checksums are put together at the end of the block:
 * appending n zero bytes to a message is a linear map of its checksum, and a
 * table per byte of the checksum applies it.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "gigalock_crc32c.h"

#define POLY 0x82f63b78u            /* bit-reversed 0x1edc6f41 */

static uint32_t byte_table[8][256];

/* Feed one zero bit through the (bit-reversed) register. */
static uint32_t step_bit(uint32_t crc)
{
    return (crc >> 1) ^ ((crc & 1) ? POLY : 0);
}

static void init_byte_tables(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (unsigned bit = 0; bit < 8; bit++) {
            crc = step_bit(crc);
        }
        byte_table[0][i] = crc;
    }
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned k = 1; k < 8; k++) {
            uint32_t prev = byte_table[k - 1][i];

            byte_table[k][i] = byte_table[0][prev & 0xff] ^ (prev >> 8);
        }
    }
}

/* Eight bytes a turn through eight tables. */
static uint32_t crc_portable(uint32_t crc, const uint8_t *p, size_t len)
{
    while (len >= 8) {
        uint64_t v = ldq_le_p(p) ^ crc;

        crc = 0;
        for (unsigned k = 0; k < 8; k++) {
            crc ^= byte_table[7 - k][(v >> (8 * k)) & 0xff];
        }
        p += 8;
        len -= 8;
    }
    while (len--) {
        crc = byte_table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    }
    return crc;
}

static uint32_t (*crc_impl)(uint32_t crc, const uint8_t *p, size_t len) =
    crc_portable;

#ifdef __x86_64__

/* Bytes of one stream in a block: long ones first, then short ones. */
#define LONG_STREAM 4096
#define SHORT_STREAM 256

static uint32_t long_shift[4][256];
static uint32_t short_shift[4][256];

/* The map "append @bytes zero bytes", as four tables. */
static void init_shift(uint32_t table[4][256], size_t bytes)
{
    uint32_t image[32];

    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t crc = 1u << bit;

        for (size_t i = 0; i < bytes; i++) {
            crc = byte_table[0][crc & 0xff] ^ (crc >> 8);
        }
        image[bit] = crc;
    }
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned i = 0; i < 256; i++) {
            uint32_t sum = 0;

            for (unsigned bit = 0; bit < 8; bit++) {
                if (i & (1u << bit)) {
                    sum ^= image[8 * k + bit];
                }
            }
            table[k][i] = sum;
        }
    }
}

static inline uint32_t apply_shift(uint32_t table[4][256], uint32_t crc)
{
    return table[0][crc & 0xff] ^ table[1][(crc >> 8) & 0xff] ^
           table[2][(crc >> 16) & 0xff] ^ table[3][crc >> 24];
}

__attribute__((target("sse4.2")))
static uint32_t crc_block(uint32_t crc, const uint8_t *p, size_t stream,
                          uint32_t shift[4][256])
{
    uint64_t a = crc, b = 0, c = 0;

    for (const uint8_t *end = p + stream; p < end; p += 8) {
        uint64_t va, vb, vc;

        memcpy(&va, p, 8);
        memcpy(&vb, p + stream, 8);
        memcpy(&vc, p + 2 * stream, 8);
        a = __builtin_ia32_crc32di(a, va);
        b = __builtin_ia32_crc32di(b, vb);
        c = __builtin_ia32_crc32di(c, vc);
    }
    return apply_shift(shift, apply_shift(shift, a) ^ b) ^ c;
}

__attribute__((target("sse4.2")))
static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
    while (len >= 3 * LONG_STREAM) {
        crc = crc_block(crc, p, LONG_STREAM, long_shift);
        p += 3 * LONG_STREAM;
        len -= 3 * LONG_STREAM;
    }
    while (len >= 3 * SHORT_STREAM) {
        crc = crc_block(crc, p, SHORT_STREAM, short_shift);
        p += 3 * SHORT_STREAM;
        len -= 3 * SHORT_STREAM;
    }
    while (len >= 8) {
        uint64_t v;

        memcpy(&v, p, 8);
        crc = __builtin_ia32_crc32di(crc, v);
        p += 8;
        len -= 8;
    }
    while (len--) {
        crc = __builtin_ia32_crc32qi(crc, *p++);
    }
    return crc;
}

static void init_x86(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) {
        init_shift(long_shift, LONG_STREAM);
        init_shift(short_shift, SHORT_STREAM);
        crc_impl = crc_sse42;
    }
}

#else

static void init_x86(void)
{
}

#endif

void gl_crc32c_init(void)
{
    static gsize done;

    if (g_once_init_enter(&done)) {
        init_byte_tables();
        init_x86();
        g_once_init_leave(&done, 1);
    }
}

uint32_t gl_crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~crc_impl(~crc, data, len);
}

/* The product of two polynomials modulo ours; bit 31 is x to the 0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t sum = 0;

    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit) {
            sum ^= b;
        }
        b = step_bit(b);
    }
    return sum;
}

uint32_t gl_crc32c_append(uint32_t crc, uint32_t next, uint64_t len)
{
    uint32_t power = 1u << 23;      /* x to the 8: one byte */

    /* The inversions at both ends cancel out. */
    for (; len; len >>= 1) {
        if (len & 1) {
            crc = multiply(power, crc);
        }
        power = multiply(power, power);
    }
    return crc ^ next;
}
