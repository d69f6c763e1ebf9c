/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: what descriptors do: every operation, checksums, chains, rings that
 * wrap.
 */
#include "gigalock-card.h"

static const size_t sizes[] = {
    1, 7, 8, 63, 4095, 4096, 4097, 65537, 300001, 1 << 20,
};

static uint32_t crc_of(const uint8_t *data, size_t len)
{
    return crc32c_of(0, data, len);
}

static void test_copy(Card *c)
{
    ring_enable(c, 0, 5, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t n = sizes[i];
        g_autofree uint8_t *data = noise(n, i), *got = g_malloc(n + 2);
        uint32_t crc = crc_of(data, n);
        struct gl_cpl r;

        host_write(c, BUF + i, data, n);
        r = card_do(c, GL_OP_H2C, F_CRC, BUF + i, 3 * i, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc);
        mem_read(c, 3 * i, got, n);
        g_assert(!memcmp(data, got, n));

        qtest_memset(c->qts, BUF + 0x200000, 0xee, n + 2);
        r = card_do(c, GL_OP_C2H, F_CRC, 3 * i, BUF + 0x200001, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc);
        host_read(c, BUF + 0x200000, got, n + 2);
        g_assert(!memcmp(data, got + 1, n));
        /* Not a byte before, not a byte after. */
        g_assert_cmphex(got[0], ==, 0xee);
        g_assert_cmphex(got[n + 1], ==, 0xee);

        r = card_do(c, GL_OP_H2H, F_CRC, BUF + i, BUF + 0x400003, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc);
        host_read(c, BUF + 0x400003, got, n);
        g_assert(!memcmp(data, got, n));

        r = card_do(c, GL_OP_C2C, F_CRC, 3 * i, 0x800001, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc);
        mem_read(c, 0x800001, got, n);
        g_assert(!memcmp(data, got, n));
    }
}

/* Larger than any chunk the engine works in. */
static void test_copy_large(Card *c)
{
    size_t n = 17 * MiB + 5;
    g_autofree uint8_t *data = noise(n, 9), *got = g_malloc(n);
    struct gl_cpl r;

    host_write(c, BUF, data, n);
    ring_enable(c, 0, 4, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 1, n), GL_ERR_NONE, n, 0);
    qtest_memset(c->qts, BUF, 0, n);
    r = card_do(c, GL_OP_C2H, F_CRC, 1, BUF + 3, n);
    CHECK_CPL(r, GL_ERR_NONE, n, 0);
    g_assert_cmphex(r.crc, ==, crc_of(data, n));
    host_read(c, BUF + 3, got, n);
    g_assert(!memcmp(data, got, n));
    r = card_do(c, GL_OP_CRC_CARD, GL_DESC_F_CRC_INIT, 1, 0, n);
    CHECK_CPL(r, GL_ERR_NONE, n, 0);
    g_assert_cmphex(r.crc, ==, crc_of(data, n));
}

/* Card to card, one range over the other, either way round. */
static void test_overlap(Card *c)
{
    static const struct { size_t src, dst, n; } cases[] = {
        { 0, 1, 100000 }, { 1, 0, 100000 }, { 0, 99999, 100000 },
        { 5000, 5000, 300 }, { 0, 4096, 9 * MiB }, { 4096, 0, 9 * MiB },
    };

    ring_enable(c, 0, 4, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t src = cases[i].src, dst = cases[i].dst, n = cases[i].n;
        size_t all = MAX(src, dst) + n;
        g_autofree uint8_t *data = noise(all, i), *got = g_malloc(all);
        uint32_t crc = crc_of(data + src, n);
        struct gl_cpl r;

        mem_write(c, 0, data, all);
        r = card_do(c, GL_OP_C2C, F_CRC, src, dst, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc);
        memmove(data + dst, data + src, n);
        mem_read(c, 0, got, all);
        g_assert(!memcmp(data, got, all));
    }
}

static void test_fill(Card *c)
{
    uint64_t pattern = 0x8877665544332211;

    ring_enable(c, 0, 5, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t n = sizes[i];
        g_autofree uint8_t *want = g_malloc(n), *got = g_malloc(n + 2);
        struct gl_cpl r;

        for (size_t at = 0; at < n; at++) {
            want[at] = 0x11 * (at % 8 + 1);
        }
        qtest_memset(c->qts, BUF, 0, n + 2);
        r = card_do(c, GL_OP_FILL_HOST, F_CRC, pattern, BUF + 1, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc_of(want, n));
        host_read(c, BUF, got, n + 2);
        g_assert(!memcmp(want, got + 1, n) && !got[0] && !got[n + 1]);

        qtest_memset(c->qts, c->card.addr, 0, n + 2);
        r = card_do(c, GL_OP_FILL_CARD, F_CRC, pattern, 1, n);
        CHECK_CPL(r, GL_ERR_NONE, n, 0);
        g_assert_cmphex(r.crc, ==, crc_of(want, n));
        mem_read(c, 0, got, n + 2);
        g_assert(!memcmp(want, got + 1, n) && !got[0] && !got[n + 1]);
    }
}

static void test_compare(Card *c)
{
    static const size_t at[] = { 0, 1, 4095, 4096, 65536, 1048575 };
    size_t n = 1 << 20;
    g_autofree uint8_t *data = noise(n, 1);

    ring_enable(c, 0, 5, 0);
    host_write(c, BUF, data, n);
    host_write(c, BUF + 0x200003, data, n);
    mem_write(c, 7, data, n);
    mem_write(c, 0x300000, data, n);
    CHECK_CPL(card_do(c, GL_OP_CMP_HC, F_CRC, BUF, 7, n), GL_ERR_NONE, n, 0);
    CHECK_CPL(card_do(c, GL_OP_CMP_HH, 0, BUF, BUF + 0x200003, n),
              GL_ERR_NONE, n, 0);
    CHECK_CPL(card_do(c, GL_OP_CMP_CC, 0, 7, 0x300000, n), GL_ERR_NONE, n, 0);
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        uint8_t wrong = data[at[i]] ^ 0x40;
        struct gl_cpl r;

        /* The first difference is reported, as an address of the source. */
        host_write(c, BUF + at[i], &wrong, 1);
        r = card_do(c, GL_OP_CMP_HC, F_CRC, BUF, 7, n);
        CHECK_CPL(r, GL_ERR_COMPARE, at[i], BUF + at[i]);
        g_assert_cmphex(r.crc, ==, crc_of(data, at[i]));
        CHECK_CPL(card_do(c, GL_OP_CMP_HH, 0, BUF, BUF + 0x200003, n),
                  GL_ERR_COMPARE, at[i], BUF + at[i]);
        host_write(c, BUF + at[i], data + at[i], 1);
        mem_write(c, 7 + at[i], &wrong, 1);
        CHECK_CPL(card_do(c, GL_OP_CMP_CC, 0, 7, 0x300000, n),
                  GL_ERR_COMPARE, at[i], 7 + at[i]);
        mem_write(c, 7 + at[i], data + at[i], 1);
    }
}

/* The running checksum goes from descriptor to descriptor until told. */
static void test_crc(Card *c)
{
    g_autofree uint8_t *data = noise(100000, 4);
    struct gl_cpl r;

    host_write(c, BUF, data, 100000);
    mem_write(c, 0, data, 100000);
    ring_enable(c, 0, 4, 0);
    r = card_do(c, GL_OP_CRC_HOST, GL_DESC_F_CRC_INIT, BUF, 0, 30000);
    g_assert_cmphex(r.crc, ==, crc_of(data, 30000));
    r = card_do(c, GL_OP_H2C, GL_DESC_F_CRC, BUF + 30000, 1 << 20, 20000);
    g_assert_cmphex(r.crc, ==, crc_of(data, 50000));
    r = card_do(c, GL_OP_CRC_CARD, 0, 50000, 0, 50000);
    g_assert_cmphex(r.crc, ==, crc_of(data, 100000));
    r = card_do(c, GL_OP_NOP, 0, 0, 0, 0);
    g_assert_cmphex(r.crc, ==, crc_of(data, 100000));
    r = card_do(c, GL_OP_NOP, GL_DESC_F_CRC_INIT, 0, 0, 0);
    g_assert_cmphex(r.crc, ==, 0);
    /* RFC 3720 B.4: 32 bytes of zeros. */
    qtest_memset(c->qts, BUF, 0, 32);
    r = card_do(c, GL_OP_CRC_HOST, F_CRC, BUF, 0, 32);
    g_assert_cmphex(r.crc, ==, 0x8a9136aa);
}

static void test_chain(Card *c)
{
    struct gl_cpl r;

    ring_enable(c, 0, 4, 0);
    qtest_memset(c->qts, BUF, 7, 4096);
    for (unsigned i = 0; i < 9; i++) {
        ring_put(c, 0, GL_OP_H2C, i % 3 == 2 ? F_CPL : GL_DESC_F_FENCE, i,
                 BUF, i * 100, 100 + i);
    }
    ring_bell(c, 0);
    for (unsigned i = 2; i < 9; i += 3) {
        r = ring_wait(c, 0);
        CHECK_CPL(r, GL_ERR_NONE, 300 + 3 * i - 3, 0);
        g_assert_cmphex(r.cookie, ==, i);
    }
    g_assert_cmphex(ch_rd(c, 0, GL_CH_HEAD), ==, 9);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_CPL_COUNT), ==, 3);
}

/* The failed one completes at once, the rest of its chain is skipped. */
static void test_failed_chain(Card *c)
{
    g_autofree uint8_t *got = g_malloc(500);
    struct gl_cpl r;

    msix_on(c, 2);
    ring_enable(c, 0, 4, CTRL_IRQ);
    qtest_memset(c->qts, BUF, 7, 4096);
    qtest_memset(c->qts, c->card.addr, 0, 500);
    ring_put(c, 0, GL_OP_H2C, 0, 1, BUF, 0, 100);
    ring_put(c, 0, GL_OP_H2C, 0, 2, RAM_SIZE - 10, 100, 100);
    ring_put(c, 0, GL_OP_H2C, 0, 3, BUF, 200, 100);
    ring_put(c, 0, GL_OP_H2C, F_CPL | F_IRQ, 4, BUF, 300, 100);
    ring_put(c, 0, GL_OP_H2C, F_CPL, 5, BUF, 400, 100);
    ring_bell(c, 0);
    r = ring_wait(c, 0);
    CHECK_CPL(r, GL_ERR_HOST_READ, 110, RAM_SIZE);
    g_assert_cmphex(r.cookie, ==, 2);
    r = ring_wait(c, 0);
    CHECK_CPL(r, GL_ERR_NONE, 100, 0);
    g_assert_cmphex(r.cookie, ==, 5);
    UNTIL(ch_rd(c, 0, GL_CH_HEAD) == 5);
    mem_read(c, 0, got, 500);
    g_assert(got[0] == 7 && got[99] == 7 && got[400] == 7);
    for (unsigned i = 200; i < 400; i++) {
        g_assert_cmphex(got[i], ==, 0);
    }
    UNTIL(msix_take(c, 0) == 0x50);
}

static void test_ring_wrap(Card *c)
{
    uint32_t total = 16 * 7 + 3, put = 0, taken = 0;

    ring_enable(c, 0, 4, 0);
    while (taken < total) {
        unsigned n = 1 + (put * 7) % 16;

        for (unsigned i = 0; i < n && put < total; i++, put++) {
            ring_put(c, 0, GL_OP_FILL_CARD, F_CPL, put, put, 8 * put, 8);
        }
        ring_bell(c, 0);
        while (taken < put) {
            struct gl_cpl r = ring_wait(c, 0);

            CHECK_CPL(r, GL_ERR_NONE, 8, 0);
            g_assert_cmphex(r.cookie, ==, taken++);
        }
    }
    g_assert_cmphex(ch_rd(c, 0, GL_CH_HEAD), ==, total);
    for (uint32_t i = 0; i < total; i++) {
        g_assert_cmphex(qtest_readq(c->qts, c->card.addr + 8 * i), ==, i);
    }
}

/* The longest ring, twice around, filled in one go; far more than one fetch. */
static void test_longest_ring(Card *c)
{
    uint32_t n = 1u << GL_MAX_RING_LOG2;
    g_autofree struct gl_desc *d = g_new0(struct gl_desc, n);

    for (uint32_t i = 0; i < n; i++) {
        d[i] = (struct gl_desc) {
            .op = cpu_to_le16(GL_OP_NOP),
            .flags = cpu_to_le16(i % 64 == 63 ? F_CPL : 0),
            .cookie = cpu_to_le32(i),
        };
    }
    ring_enable(c, 0, GL_MAX_RING_LOG2, 0);
    host_write(c, c->ch[0].ring, d, n * sizeof(d[0]));
    for (uint32_t round = 1; round <= 3; round++) {
        ch_wr(c, 0, GL_CH_DOORBELL, round * n);
        UNTIL(ch_rd(c, 0, GL_CH_HEAD) == round * n);
        UNTIL(ch_rd(c, 0, GL_CH_CPL_COUNT) == round * n / 64);
    }
    g_assert_cmphex(ring_peek(c, 0, 3 * n / 64 - 1).seq, ==, 3 * n / 64);
    g_assert_cmphex(ring_peek(c, 0, 3 * n / 64 - 1).cookie, ==, n - 1);
    g_assert_cmphex(ring_peek(c, 0, 3 * n / 64).seq, ==, 0);
}

/* All channels at once: each keeps its order, none sees another's bytes. */
static void test_channels(Card *c)
{
    for (unsigned ch = 0; ch < 16; ch++) {
        qtest_memset(c->qts, BUF + ch * MiB, 0x30 + ch, MiB);
        ring_enable(c, ch, 6, 0);
        for (unsigned i = 0; i < 60; i++) {
            ring_put(c, ch, GL_OP_H2C, F_CPL, i, BUF + ch * MiB, ch * MiB,
                     MiB / (i + 1));
        }
    }
    for (unsigned ch = 0; ch < 16; ch++) {
        ring_bell(c, ch);
    }
    for (unsigned ch = 0; ch < 16; ch++) {
        for (unsigned i = 0; i < 60; i++) {
            struct gl_cpl r = ring_wait(c, ch);

            CHECK_CPL(r, GL_ERR_NONE, MiB / (i + 1), 0);
            g_assert_cmphex(r.cookie, ==, i);
        }
        g_assert_cmphex(qtest_readb(c->qts, c->card.addr + ch * MiB), ==,
                        0x30 + ch);
        g_assert_cmphex(qtest_readb(c->qts, c->card.addr + ch * MiB + MiB - 1),
                        ==, 0x30 + ch);
    }
}

/* A slow link takes its time: 250 MB/s for 16 MiB, less 10 % for a slow host's clock. */
static void test_link(Card *c)
{
    uint64_t rate = card_rd64(c, GL_REG_LINK_RATE_LO), n = 16 * MiB;
    uint8_t express = qpci_find_capability(&c->dev, PCI_CAP_ID_EXP, 0);
    gint64 start;

    g_assert_cmpuint(rate, ==, 250000000);
    g_assert_cmphex(qpci_config_readw(&c->dev, express + PCI_EXP_LNKSTA) &
                    (PCI_EXP_LNKSTA_CLS | PCI_EXP_LNKSTA_NLW), ==, 0x11);
    ring_enable(c, 0, 4, 0);
    start = g_get_monotonic_time();
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 0, n), GL_ERR_NONE, n, 0);
    g_assert_cmpint(g_get_monotonic_time() - start, >=,
                    n * 900000 / rate);
    start = g_get_monotonic_time();
    CHECK_CPL(card_do(c, GL_OP_CMP_HH, 0, BUF, BUF, MiB), GL_ERR_NONE, MiB, 0);
    CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, BUF, MiB), GL_ERR_NONE, MiB, 0);
    CHECK_CPL(card_do(c, GL_OP_C2C, 0, 0, MiB, MiB), GL_ERR_NONE, MiB, 0);
    g_assert_cmpint(g_get_monotonic_time() - start, >=,
                    3 * MiB * 900000 / rate);
}

static const CardTest tests[] = {
    { "copy", test_copy },
    { "copy-large", test_copy_large },
    { "overlap", test_overlap },
    { "fill", test_fill },
    { "compare", test_compare },
    { "crc", test_crc },
    { "chain", test_chain },
    { "failed-chain", test_failed_chain },
    { "ring-wrap", test_ring_wrap },
    { "longest-ring", test_longest_ring },
    { "channels", test_channels, "channels=16" },
    { "link", test_link, "link-gen=1,link-lanes=1,link-latency=1000" },
};

static void register_tests(void)
{
    add_card_tests("ops", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
