/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: every limit and every error, with the address and the bytes that
 * the completion reports.
 */
#include "gigalock-card.h"

#define APIC        0xfee00000u
#define NO_MEMORY   0x40000000000ull

static void test_malformed(Card *c)
{
    static const struct { unsigned op, flags; uint64_t len; uint32_t error; }
    cases[] = {
        { GL_OP_CRC_CARD + 1, 0, 1, GL_ERR_OP },
        { 0xffff, 0, 1, GL_ERR_OP },
        { GL_OP_H2C, GL_DESC_F_ALL + 1, 1, GL_ERR_DESC },
        { GL_OP_C2H, 0x8000, 1, GL_ERR_DESC },
        { GL_OP_NOP, 0, 1, GL_ERR_DESC },
        { GL_OP_H2C, 0, 0, GL_ERR_LEN },
        { GL_OP_C2C, 0, 0, GL_ERR_LEN },
        { GL_OP_CRC_HOST, 0, 0, GL_ERR_LEN },
    };
    uint64_t errors = knob_get(c, "stat-errors");

    ring_enable(c, 0, 4, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CHECK_CPL(card_do(c, cases[i].op, cases[i].flags, BUF, 0,
                          cases[i].len), cases[i].error, 0, 0);
    }
    g_assert_cmpuint(knob_get(c, "stat-errors") - errors, ==,
                     ARRAY_SIZE(cases));
    check_works(c, 0);
}

/* The operations with a host range in src, and those with one in dst. */
static const unsigned from_host[] = {
    GL_OP_H2C, GL_OP_H2H, GL_OP_CMP_HC, GL_OP_CMP_HH, GL_OP_CRC_HOST,
};
static const unsigned to_host[] = {
    GL_OP_C2H, GL_OP_H2H, GL_OP_FILL_HOST, GL_OP_CMP_HH,
};

/* All of these have to fail with @error at @bad, before a byte moves. */
static void refuse_host(Card *c, uint64_t at, uint64_t len, uint32_t error,
                        uint64_t bad)
{
    for (size_t i = 0; i < ARRAY_SIZE(from_host); i++) {
        CHECK_CPL(card_do(c, from_host[i], 0, at, BUF, len), error, 0, bad);
    }
    for (size_t i = 0; i < ARRAY_SIZE(to_host); i++) {
        /* Of two sides that are too long, the source is named. */
        if ((error == GL_ERR_LEN && to_host[i] != GL_OP_FILL_HOST) ||
            (error == GL_ERR_SEG && (to_host[i] == GL_OP_H2H ||
                                     to_host[i] == GL_OP_CMP_HH))) {
            continue;
        }
        CHECK_CPL(card_do(c, to_host[i], 0, 0, at, len), error, 0, bad);
    }
}

static void test_addr_width(Card *c)
{
    uint64_t limit = 1ull << 27;

    ring_enable(c, 0, 5, 0);
    refuse_host(c, limit, 1, GL_ERR_ADDR_WIDTH, limit);
    refuse_host(c, limit - 10, 11, GL_ERR_ADDR_WIDTH, limit);
    refuse_host(c, limit + 5, 4, GL_ERR_ADDR_WIDTH, limit + 5);
    refuse_host(c, UINT64_MAX, 1, GL_ERR_ADDR_WIDTH, UINT64_MAX);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, limit - 10, 0, 10), GL_ERR_NONE, 10, 0);
    /* A ring out there, its last entry only. */
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable_at(c, 0, 4, limit - 512 + 64, 1 * MiB, 0);
    check_halted(c, 0, GL_ERR_RING_CONFIG);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable_at(c, 0, 4, 1 * MiB, limit, 0);
    check_halted(c, 0, GL_ERR_RING_CONFIG);
}

static void test_addr_wraps(Card *c)
{
    ring_enable(c, 0, 4, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, -8ull, 0, 9), GL_ERR_ADDR_WIDTH, 0, 0);
    CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, -8ull, 9), GL_ERR_ADDR_WIDTH, 0, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, -8ull, 0, 8), GL_ERR_HOST_READ, 0,
              -8ull);
    CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, -8ull, 8), GL_ERR_HOST_WRITE, 0,
              -8ull);
}

static void test_align(Card *c)
{
    ring_enable(c, 0, 5, 0);
    refuse_host(c, BUF + 32, 64, GL_ERR_ALIGN, BUF + 32);
    refuse_host(c, BUF + 1, 64, GL_ERR_ALIGN, BUF + 1);
    /* Lengths and card addresses are free. */
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF + 64, 3, 13), GL_ERR_NONE, 13, 0);
}

static void test_max_seg(Card *c)
{
    ring_enable(c, 0, 5, 0);
    refuse_host(c, BUF, 8193, GL_ERR_SEG, BUF + 8192);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 0, 8192), GL_ERR_NONE, 8192, 0);
    CHECK_CPL(card_do(c, GL_OP_C2C, 0, 0, 1 * MiB, 100000), GL_ERR_NONE,
              100000, 0);
}

static void test_boundary(Card *c)
{
    ring_enable(c, 0, 5, 0);
    refuse_host(c, BUF + 65535, 2, GL_ERR_BOUNDARY, BUF + 65536);
    refuse_host(c, BUF + 1, 65536, GL_ERR_BOUNDARY, BUF + 65536);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 5, 65536), GL_ERR_NONE, 65536, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF + 65535, 5, 1), GL_ERR_NONE, 1, 0);
}

static void test_max_xfer(Card *c)
{
    ring_enable(c, 0, 5, 0);
    refuse_host(c, BUF, 70000, GL_ERR_LEN, 0 + BUF + 65536);
    CHECK_CPL(card_do(c, GL_OP_C2C, 0, 4, 9, UINT64_MAX), GL_ERR_LEN, 0,
              65536 + 4);
    CHECK_CPL(card_do(c, GL_OP_FILL_CARD, 0, 4, 9, 65537), GL_ERR_LEN, 0,
              65536 + 9);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 0, 65536), GL_ERR_NONE, 65536, 0);
}

static void test_max_ring(Card *c)
{
    static const uint32_t bad[] = { 0, 3, 7, 17, 32, 64, UINT32_MAX };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t errors = knob_get(c, "stat-errors");

        ring_enable_at(c, 0, bad[i], 1 * MiB, 2 * MiB, 0);
        g_assert_cmphex(ch_error(c, 0), ==, GL_ERR_RING_CONFIG);
        g_assert_cmpuint(knob_get(c, "stat-errors"), ==, errors + 1);
        check_halted(c, 0, GL_ERR_RING_CONFIG);
        ch_wr(c, 0, GL_CH_CTRL, 0);
    }
    ring_enable(c, 0, 6, 0);
    check_works(c, 0);
}

static void test_ring_alignment(Card *c)
{
    ring_enable_at(c, 0, 4, 1 * MiB + 32, 2 * MiB, 0);
    check_halted(c, 0, GL_ERR_RING_CONFIG);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable_at(c, 0, 4, 1 * MiB, 2 * MiB + 1, 0);
    check_halted(c, 0, GL_ERR_RING_CONFIG);
}

static void test_card_range(Card *c)
{
    static const struct { uint64_t at, len, bad; } cases[] = {
        { CARD_MEM - 10, 11, CARD_MEM }, { CARD_MEM, 1, CARD_MEM },
        { CARD_MEM + 9, 1, CARD_MEM + 9 }, { UINT64_MAX, 1, UINT64_MAX },
        { -8ull, 16, -8ull }, { 0, CARD_MEM + 1, CARD_MEM },
        { 4096, UINT64_MAX - 4095, CARD_MEM },
    };
    static const unsigned in_src[] = { GL_OP_C2C, GL_OP_CMP_CC,
                                       GL_OP_CRC_CARD };
    static const unsigned in_dst[] = { GL_OP_C2C, GL_OP_FILL_CARD,
                                       GL_OP_CMP_CC };

    ring_enable(c, 0, 6, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t at = cases[i].at, len = cases[i].len, bad = cases[i].bad;

        for (size_t o = 0; o < ARRAY_SIZE(in_src); o++) {
            CHECK_CPL(card_do(c, in_src[o], 0, at, 0, len), GL_ERR_CARD_RANGE,
                      0, bad);
        }
        for (size_t o = 0; o < ARRAY_SIZE(in_dst); o++) {
            /* A source that is too long as well is named first. */
            CHECK_CPL(card_do(c, in_dst[o], 0, 0, at, len), GL_ERR_CARD_RANGE,
                      0, in_dst[o] != GL_OP_FILL_CARD && len > CARD_MEM ?
                      CARD_MEM : bad);
        }
        CHECK_CPL(card_do(c, GL_OP_H2C, 0, 0, at, len), GL_ERR_CARD_RANGE, 0,
                  bad);
        CHECK_CPL(card_do(c, GL_OP_C2H, 0, at, 0, len), GL_ERR_CARD_RANGE, 0,
                  bad);
        CHECK_CPL(card_do(c, GL_OP_CMP_HC, 0, 0, at, len), GL_ERR_CARD_RANGE,
                  0, bad);
    }
    check_works(c, 0);
}

static void test_overlap(Card *c)
{
    ring_enable(c, 0, 4, 0);
    CHECK_CPL(card_do(c, GL_OP_H2H, 0, BUF, BUF + 99, 100), GL_ERR_OVERLAP, 0,
              BUF + 99);
    CHECK_CPL(card_do(c, GL_OP_H2H, 0, BUF + 99, BUF, 100), GL_ERR_OVERLAP, 0,
              BUF + 99);
    CHECK_CPL(card_do(c, GL_OP_H2H, 0, BUF, BUF, 1), GL_ERR_OVERLAP, 0, BUF);
    CHECK_CPL(card_do(c, GL_OP_H2H, 0, BUF, BUF + 100, 100), GL_ERR_NONE, 100,
              0);
}

/* Memory ends in the middle: what lies before it arrives, and is counted. */
static void test_end_of_memory(Card *c)
{
    static const uint64_t before[] = { 0, 1, 4097, 9 * MiB + 3 };

    ring_enable(c, 0, 6, 0);
    qtest_memset(c->qts, RAM_SIZE - 10 * MiB, 0x33, 10 * MiB);
    qtest_memset(c->qts, c->card.addr, 0x33, 10 * MiB);
    for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
        uint64_t n = before[i], at = RAM_SIZE - n, len = n + 5000;
        struct gl_cpl r = card_do(c, GL_OP_H2C, F_CRC, at, 0, len);
        uint32_t crc = r.crc;

        CHECK_CPL(r, GL_ERR_HOST_READ, n, RAM_SIZE);
        r = card_do(c, GL_OP_CRC_HOST, F_CRC, at, 0, len);
        CHECK_CPL(r, GL_ERR_HOST_READ, n, RAM_SIZE);
        g_assert_cmphex(r.crc, ==, crc);
        CHECK_CPL(card_do(c, GL_OP_CMP_HC, 0, at, 0, len), GL_ERR_HOST_READ,
                  n, RAM_SIZE);
        CHECK_CPL(card_do(c, GL_OP_CMP_HH, 0, BUF, RAM_SIZE, len),
                  GL_ERR_HOST_READ, 0, RAM_SIZE);
        CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, at, len), GL_ERR_HOST_WRITE, n,
                  RAM_SIZE);
        CHECK_CPL(card_do(c, GL_OP_H2H, 0, BUF, at, len), GL_ERR_HOST_WRITE, n,
                  RAM_SIZE);
        CHECK_CPL(card_do(c, GL_OP_FILL_HOST, F_CRC, 0x3333333333333333, at,
                          len), GL_ERR_HOST_WRITE, n, RAM_SIZE);
    }
    check_works(c, 0);
}

/* Registers, our own and others': an error status, never an access. */
static void test_registers_are_no_memory(Card *c)
{
    QPCIDevice *edu = qpci_device_find(c->dev.bus, QPCI_DEVFN(5, 0));
    uint64_t at[4];

    qpci_device_enable(edu);
    at[0] = c->regs.addr;
    at[1] = c->regs.addr + GL_CH_BASE;
    at[2] = APIC;
    at[3] = qpci_iomap(edu, 0, NULL).addr;
    ring_enable(c, 0, 5, 0);
    card_wr(c, GL_REG_SCRATCH, 0x5c5c5c5c);
    qtest_writel(c->qts, at[3] + 4, 0x1234);    /* it keeps the complement */
    qtest_memset(c->qts, c->card.addr, 0xff, 64);
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        CHECK_CPL(card_do(c, GL_OP_H2C, 0, at[i], 0, 64), GL_ERR_HOST_READ, 0,
                  at[i]);
        CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, at[i], 64), GL_ERR_HOST_WRITE, 0,
                  at[i]);
        CHECK_CPL(card_do(c, GL_OP_FILL_HOST, 0, -1, at[i], 64),
                  GL_ERR_HOST_WRITE, 0, at[i]);
        CHECK_CPL(card_do(c, GL_OP_CMP_HH, 0, at[i], BUF, 64),
                  GL_ERR_HOST_READ, 0, at[i]);
    }
    g_assert_cmphex(card_rd(c, GL_REG_SCRATCH), ==, 0x5c5c5c5c);
    g_assert_cmphex(qtest_readl(c->qts, at[3] + 4), ==, ~0x1234u);

    /* Rings there. */
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        ch_wr(c, 0, GL_CH_CTRL, 0);
        ring_enable_at(c, 0, 4, at[i], 1 * MiB, 0);
        ch_wr(c, 0, GL_CH_DOORBELL, 3);
        check_halted(c, 0, GL_ERR_RING_FETCH);
        ch_wr(c, 0, GL_CH_CTRL, 0);
        ring_enable_at(c, 0, 4, 1 * MiB, at[i], 0);
        ring_put(c, 0, GL_OP_NOP, F_CPL, 0, 0, 0, 0);
        ring_bell(c, 0);
        check_halted(c, 0, GL_ERR_CPL_WRITE);
    }
    g_free(edu);
}

/* Card memory as the host sees it is memory; past its end there is none. */
static void test_peer(Card *c)
{
    uint64_t at = c->card.addr;

    ring_enable(c, 0, 4, 0);
    qtest_memset(c->qts, at, 0x77, 4096);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, at, 8192, 4096), GL_ERR_NONE, 4096, 0);
    g_assert_cmphex(qtest_readb(c->qts, at + 8192 + 4095), ==, 0x77);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, at + CARD_MEM - 4096, 0, 8192),
              GL_ERR_HOST_READ, 4096, at + CARD_MEM);
}

static void test_lying_indices(Card *c)
{
    static const uint32_t lies[] = { 17, 0x80000000, UINT32_MAX };

    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        ring_enable(c, 0, 4, 0);
        ch_wr(c, 0, GL_CH_DOORBELL, lies[i]);
        check_halted(c, 0, GL_ERR_DOORBELL);
        /* After some work, too: then the same number lies by less. */
        ch_wr(c, 0, GL_CH_DOORBELL, c->ch[0].tail + 17);
        check_halted(c, 0, GL_ERR_DOORBELL);
        ch_wr(c, 0, GL_CH_CTRL, 0);
    }
    /* Taken back. */
    ring_enable(c, 0, 4, 0);
    knob_set(c, "pause-after", 0);
    for (unsigned i = 0; i < 5; i++) {
        ring_put(c, 0, GL_OP_H2C, F_CPL, i, BUF, 0, 1);
    }
    ring_bell(c, 0);
    UNTIL(card_paused(c));
    ch_wr(c, 0, GL_CH_DOORBELL, 3);
    knob_set(c, "pause-after", PAUSE_OFF);
    check_halted(c, 0, GL_ERR_DOORBELL);
    /* Nobody listens: not enabled, and not there. */
    ch_wr(c, 1, GL_CH_DOORBELL, 9);
    ch_wr(c, 9, GL_CH_DOORBELL, 9);
    g_assert_cmphex(ch_rd(c, 1, GL_CH_STATUS), ==, 0);
    g_assert_cmphex(ch_rd(c, 1, GL_CH_HEAD), ==, 0);
}

static void test_no_memory(Card *c)
{
    ring_enable_at(c, 0, 4, NO_MEMORY, 1 * MiB, 0);
    ch_wr(c, 0, GL_CH_DOORBELL, 1);
    check_halted(c, 0, GL_ERR_RING_FETCH);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable_at(c, 0, 4, 1 * MiB, NO_MEMORY, 0);
    ring_put(c, 0, GL_OP_NOP, 0, 0, 0, 0, 0);
    ring_put(c, 0, GL_OP_NOP, F_CPL, 0, 0, 0, 0);
    ring_bell(c, 0);
    check_halted(c, 0, GL_ERR_CPL_WRITE);
}

#define EDU " -device edu,addr=05.0"

static const CardTest tests[] = {
    { "malformed", test_malformed },
    { "addr-width", test_addr_width, "addr-width=27" },
    { "addr-wraps", test_addr_wraps },
    { "align", test_align, "align=64" },
    { "max-seg", test_max_seg, "max-seg=8K" },
    { "boundary", test_boundary, "boundary=64K" },
    { "max-xfer", test_max_xfer, "max-xfer=64K" },
    { "max-ring", test_max_ring, "max-ring=6" },
    { "ring-alignment", test_ring_alignment },
    { "card-range", test_card_range, "max-xfer=18446744073709551615" },
    { "host-overlap", test_overlap },
    { "end-of-memory", test_end_of_memory },
    { "registers-are-no-memory", test_registers_are_no_memory, NULL, EDU },
    { "peer", test_peer },
    { "lying-indices", test_lying_indices },
    { "no-memory", test_no_memory },
};

static void register_tests(void)
{
    add_card_tests("errors", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
