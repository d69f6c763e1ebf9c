/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: registers, their reset values, and what an access may not do.
 */
#include "gigalock-card.h"

static const uint32_t all_ops =
    1u << GL_OP_NOP | 1u << GL_OP_H2C | 1u << GL_OP_C2H | 1u << GL_OP_H2H |
    1u << GL_OP_C2C | 1u << GL_OP_FILL_CARD | 1u << GL_OP_FILL_HOST |
    1u << GL_OP_CMP_HC | 1u << GL_OP_CMP_HH | 1u << GL_OP_CMP_CC |
    1u << GL_OP_CRC_HOST | 1u << GL_OP_CRC_CARD;

static void check_reset_values(Card *c, unsigned channels)
{
    g_assert_cmphex(card_rd(c, GL_REG_ID), ==, GL_ID_MAGIC);
    g_assert_cmphex(card_rd(c, GL_REG_VERSION), ==,
                    GL_VERSION_MAJOR << 16 | GL_VERSION_MINOR);
    g_assert_cmphex(card_rd(c, GL_REG_CTRL), ==, 0);
    g_assert_cmphex(card_rd(c, GL_REG_STATUS), ==, STATUS_READY);
    g_assert_cmphex(card_rd(c, GL_REG_SCRATCH), ==, 0);
    g_assert_cmphex(card_rd(c, GL_REG_OPS), ==, all_ops);
    for (unsigned ch = 0; ch < channels; ch++) {
        for (uint32_t reg = 0; reg < GL_CH_STRIDE; reg += 4) {
            g_assert_cmphex(ch_rd(c, ch, reg), ==, 0);
        }
    }
}

static void test_reset_values(Card *c)
{
    check_reset_values(c, 2);
    g_assert_cmphex(card_rd(c, GL_REG_CAP), ==,
                    2 << GL_CAP_CHANNELS_SHIFT | 64 << GL_CAP_ADDR_WIDTH_SHIFT |
                    16 << GL_CAP_MAX_RING_SHIFT);
    g_assert_cmphex(card_rd64(c, GL_REG_CARD_SIZE_LO), ==, CARD_MEM);
    g_assert_cmphex(card_rd64(c, GL_REG_MAX_XFER_LO), ==, 1 * TiB);
    g_assert_cmphex(card_rd(c, GL_REG_ALIGN), ==, 1);
    g_assert_cmphex(card_rd64(c, GL_REG_MAX_SEG_LO), ==, UINT64_MAX);
    g_assert_cmphex(card_rd64(c, GL_REG_BOUNDARY_LO), ==, 0);
    g_assert_cmphex(card_rd(c, GL_REG_LINK), ==, 0);
    g_assert_cmphex(card_rd(c, GL_REG_LINK_LATENCY), ==, 0);
    g_assert_cmphex(card_rd64(c, GL_REG_LINK_RATE_LO), ==, 0);
    g_assert_cmphex(card_rd(c, GL_REG_WORKERS), ==, knob_get(c, "workers"));
}

static void test_properties_show(Card *c)
{
    g_assert_cmphex(card_rd(c, GL_REG_CAP), ==,
                    16 << GL_CAP_CHANNELS_SHIFT |
                    33 << GL_CAP_ADDR_WIDTH_SHIFT | 9 << GL_CAP_MAX_RING_SHIFT);
    g_assert_cmphex(card_rd64(c, GL_REG_CARD_SIZE_LO), ==, 8 * MiB);
    g_assert_cmphex(card_rd64(c, GL_REG_MAX_XFER_LO), ==, 3 * GiB);
    g_assert_cmphex(card_rd(c, GL_REG_ALIGN), ==, 64);
    g_assert_cmphex(card_rd64(c, GL_REG_MAX_SEG_LO), ==, 5 * GiB);
    g_assert_cmphex(card_rd64(c, GL_REG_BOUNDARY_LO), ==, 8 * GiB);
    g_assert_cmphex(card_rd(c, GL_REG_LINK), ==,
                    3 << GL_LINK_GEN_SHIFT | 4 << GL_LINK_LANES_SHIFT);
    g_assert_cmphex(card_rd(c, GL_REG_LINK_LATENCY), ==, 700);
    /* 8 GT/s, 4 lanes, 128 bits of payload in 130. */
    g_assert_cmphex(card_rd64(c, GL_REG_LINK_RATE_LO) / 1000000, ==, 3938);
    check_reset_values(c, 16);
}

/* Every register that a driver may not change stays as it is. */
static void test_read_only(Card *c)
{
    uint32_t *before = g_new(uint32_t, GL_BAR_REGS_SIZE / 4);

    for (uint32_t at = 0; at < GL_BAR_REGS_SIZE; at += 4) {
        before[at / 4] = card_rd(c, at);
    }
    for (uint32_t at = 0; at < GL_BAR_REGS_SIZE; at += 4) {
        uint32_t reg = at % GL_CH_STRIDE;
        bool rw = at == GL_REG_SCRATCH || at == GL_REG_CTRL ||
            (at >= GL_CH_BASE && at < GL_CH(2) &&
             (reg == GL_CH_CTRL || (reg >= GL_CH_RING_LO &&
                                    reg <= GL_CH_VECTOR) ||
              reg == GL_CH_COALESCE_COUNT || reg == GL_CH_COALESCE_TIME));

        if (!rw) {
            card_wr(c, at, 0xa5a5a5a5);
        }
    }
    for (uint32_t at = 0; at < GL_BAR_REGS_SIZE; at += 4) {
        g_assert_cmphex(card_rd(c, at), ==, before[at / 4]);
    }
    g_free(before);
}

static void test_read_write(Card *c)
{
    static const uint32_t regs[] = {
        GL_CH_RING_LO, GL_CH_RING_HI, GL_CH_CPL_LO, GL_CH_CPL_HI,
        GL_CH_RING_LOG2, GL_CH_VECTOR, GL_CH_COALESCE_COUNT,
        GL_CH_COALESCE_TIME,
    };

    card_wr(c, GL_REG_SCRATCH, 0x12345678);
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        ch_wr(c, 0, regs[i], 0x1000 + i);
        ch_wr(c, 1, regs[i], 0x2000 + i);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        g_assert_cmphex(ch_rd(c, 0, regs[i]), ==, 0x1000 + i);
        g_assert_cmphex(ch_rd(c, 1, regs[i]), ==, 0x2000 + i);
    }
    g_assert_cmphex(card_rd(c, GL_REG_SCRATCH), ==, 0x12345678);
    card_wr(c, GL_REG_CTRL, 0);
    g_assert_cmphex(card_rd(c, GL_REG_SCRATCH), ==, 0x12345678);
    card_wr(c, GL_REG_CTRL, 1);
    check_reset_values(c, 2);
}

/* Only aligned 32-bit accesses count. */
static void test_access_size(Card *c)
{
    uint64_t at = c->regs.addr + GL_REG_SCRATCH;

    card_wr(c, GL_REG_SCRATCH, 0x11223344);
    qtest_writeb(c->qts, at, 0xff);
    qtest_writew(c->qts, at, 0xffff);
    qtest_writew(c->qts, at + 2, 0xffff);
    qtest_writel(c->qts, at + 1, 0xffffffff);
    g_assert_cmphex(card_rd(c, GL_REG_SCRATCH), ==, 0x11223344);
    g_assert_cmphex(qtest_readb(c->qts, at), !=, 0x44);
    g_assert_cmphex(card_rd(c, GL_REG_ID), ==, GL_ID_MAGIC);
}

static void test_bytes_latch(Card *c)
{
    ring_enable(c, 0, 4, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 0, 12345), GL_ERR_NONE, 12345, 0);
    g_assert_cmphex(ch_bytes(c, 0), ==, 12345);
    g_assert_cmphex(knob_get(c, "stat-bytes"), >=, 12345);
    g_assert_cmphex(knob_get(c, "stat-descriptors"), >=, 1);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    UNTIL(!(ch_rd(c, 0, GL_CH_STATUS) & STATUS_RUNNING));
    ring_enable(c, 0, 4, 0);
    g_assert_cmphex(ch_bytes(c, 0), ==, 0);
}

/* Card memory is memory; what was never written is zero. */
static void test_card_memory(Card *c)
{
    g_autofree uint8_t *data = noise(70000, 3), *got = g_malloc(70000);

    mem_write(c, CARD_MEM - 70000, data, 70000);
    mem_read(c, CARD_MEM - 70000, got, 70000);
    g_assert(!memcmp(data, got, 70000));
    card_wr(c, GL_REG_CTRL, 1);         /* a reset keeps it */
    mem_read(c, CARD_MEM - 70000, got, 70000);
    g_assert(!memcmp(data, got, 70000));
}

static const CardTest tests[] = {
    { "reset-values", test_reset_values },
    { "properties-show", test_properties_show,
      "channels=16,addr-width=33,max-ring=9,max-xfer=3G,max-seg=5G,align=64,"
      "boundary=8G,link-gen=3,link-lanes=4,link-latency=700,card-mem=8M" },
    { "read-only", test_read_only },
    { "read-write", test_read_write },
    { "access-size", test_access_size },
    { "bytes-latch", test_bytes_latch },
    { "card-memory", test_card_memory },
    { "memdev", test_card_memory, "memdev=card0",
      " -object memory-backend-memfd,id=card0,size=64M" },
};

static void register_tests(void)
{
    add_card_tests("regs", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
