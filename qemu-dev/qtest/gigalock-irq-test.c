/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: MSI-X: vectors, masks, pending bits, coalescing. The messages land
 * in memory, where they can be read.
 */
#include "gigalock-card.h"

static void nop(Card *c, unsigned ch, unsigned flags)
{
    ring_put(c, ch, GL_OP_NOP, flags | F_CPL, 0, 0, 0, 0);
    ring_bell(c, ch);
    ring_wait(c, ch);
}

/* No message, after the main loop went round. */
static bool quiet(Card *c)
{
    knob_get(c, "stat-bytes");
    knob_get(c, "stat-bytes");
    return !msix_take(c, 0) && !msix_take(c, 1);
}

static void test_vectors(Card *c)
{
    msix_on(c, 2);
    for (unsigned ch = 0; ch < 2; ch++) {
        for (unsigned v = 0; v < 2; v++) {
            ch_wr(c, ch, GL_CH_VECTOR, v);
            ring_enable(c, ch, 4, CTRL_IRQ);
            nop(c, ch, F_IRQ);
            UNTIL(msix_take(c, v) == 0x50 + v);
            g_assert_cmphex(msix_take(c, 1 - v), ==, 0);
            nop(c, ch, 0);
            g_assert(quiet(c));
            ch_wr(c, ch, GL_CH_CTRL, 0);
        }
    }
    /* A vector that is not there. */
    ch_wr(c, 0, GL_CH_VECTOR, 2);
    ring_enable(c, 0, 4, CTRL_IRQ);
    nop(c, 0, F_IRQ);
    ch_wr(c, 0, GL_CH_VECTOR, UINT32_MAX);
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
    /* The channel forbids it. */
    ch_wr(c, 0, GL_CH_VECTOR, 0);
    ch_wr(c, 0, GL_CH_CTRL, CTRL_ENABLE);
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
}

static void test_masked_is_pending(Card *c)
{
    uint8_t cap = qpci_find_capability(&c->dev, PCI_CAP_ID_MSIX, 0);

    msix_on(c, 2);
    ring_enable(c, 0, 4, CTRL_IRQ);
    msix_mask(c, 0, true);
    nop(c, 0, F_IRQ);
    UNTIL(msix_pending(c) == 1);
    g_assert(quiet(c));
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
    msix_mask(c, 0, false);             /* two that waited are one message */
    UNTIL(msix_take(c, 0) == 0x50);
    g_assert_cmphex(msix_pending(c), ==, 0);
    g_assert(quiet(c));

    /* The mask of the whole function. */
    qpci_config_writew(&c->dev, cap + PCI_MSIX_FLAGS,
                       PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    ch_wr(c, 0, GL_CH_VECTOR, 1);
    nop(c, 0, F_IRQ);
    UNTIL(msix_pending(c) == 2);
    g_assert(quiet(c));
    qpci_config_writew(&c->dev, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    UNTIL(msix_take(c, 1) == 0x51);
    g_assert_cmphex(msix_pending(c), ==, 0);

    /* Off: nothing is kept. */
    qpci_config_writew(&c->dev, cap + PCI_MSIX_FLAGS, 0);
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
    g_assert_cmphex(msix_pending(c), ==, 0);
    qpci_config_writew(&c->dev, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    g_assert(quiet(c));
}

static void test_failures_interrupt(Card *c)
{
    msix_on(c, 2);
    ch_wr(c, 0, GL_CH_COALESCE_COUNT, 100);     /* they don't wait for it */
    ring_enable(c, 0, 4, CTRL_IRQ);
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
    ring_put(c, 0, 99, F_IRQ, 0, 0, 0, 0);
    ring_bell(c, 0);
    g_assert_cmphex(ring_wait(c, 0).status, ==, GL_ERR_OP);
    UNTIL(msix_take(c, 0) == 0x50);
    ch_wr(c, 0, GL_CH_DOORBELL, 99);
    UNTIL(msix_take(c, 0) == 0x50);
    check_halted(c, 0, GL_ERR_DOORBELL);
}

static void test_coalesce_count(Card *c)
{
    msix_on(c, 2);
    ch_wr(c, 0, GL_CH_COALESCE_COUNT, 4);
    ring_enable(c, 0, 4, CTRL_IRQ);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 3; i++) {
            nop(c, 0, F_IRQ);
            nop(c, 0, 0);               /* doesn't count */
            g_assert(quiet(c));
        }
        nop(c, 0, F_IRQ);
        UNTIL(msix_take(c, 0) == 0x50);
        g_assert(quiet(c));
    }
    /* Another rule announces what waits. */
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
    ch_wr(c, 0, GL_CH_COALESCE_COUNT, 1);
    UNTIL(msix_take(c, 0) == 0x50);
    nop(c, 0, F_IRQ);
    UNTIL(msix_take(c, 0) == 0x50);
}

static void test_coalesce_time(Card *c)
{
    gint64 start;

    msix_on(c, 2);
    ch_wr(c, 0, GL_CH_COALESCE_COUNT, 1000);
    ch_wr(c, 0, GL_CH_COALESCE_TIME, 300000);
    ring_enable(c, 0, 4, CTRL_IRQ);
    start = g_get_monotonic_time();
    nop(c, 0, F_IRQ);
    nop(c, 0, F_IRQ);
    UNTIL(msix_take(c, 0) == 0x50);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 250000);
    /* Forgotten with the channel. */
    nop(c, 0, F_IRQ);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    UNTIL(!(ch_rd(c, 0, GL_CH_STATUS) & STATUS_RUNNING));
    ring_enable(c, 0, 4, CTRL_IRQ);
    g_usleep(400000);
    g_assert(quiet(c));
    /* A stopped machine is told before it stops. */
    nop(c, 0, F_IRQ);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'stop' }");
    UNTIL(msix_take(c, 0) == 0x50);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'cont' }");
}

static void test_lost(Card *c)
{
    msix_on(c, 2);
    ring_enable(c, 0, 4, CTRL_IRQ);
    knob_set_str(c, "fault", "no-irq");
    nop(c, 0, F_IRQ);
    g_assert(quiet(c));
    knob_set_str(c, "fault", "none");
    nop(c, 0, F_IRQ);
    UNTIL(msix_take(c, 0) == 0x50);
}

static const CardTest tests[] = {
    { "msix-vectors", test_vectors },
    { "msix-pending", test_masked_is_pending },
    { "msix-failures", test_failures_interrupt },
    { "msix-coalesce-count", test_coalesce_count },
    { "msix-coalesce-time", test_coalesce_time },
    { "msix-lost", test_lost },
};

static void register_tests(void)
{
    add_card_tests("irq", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
