/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the programming examples of the datasheet, compiled and run. What
 * stands between "example" and "end of example" is in docs/device.md word for
 * word; a test of the datasheet sees to that.
 */
#include "gigalock-card.h"

/* ---- example: a ring ---- */
#define LOG2    4                       /* 16 places */
#define PLACE(i) (((i) & ((1u << LOG2) - 1)) * 32)

static void start_ring(Card *c, unsigned ch, Ring *r, bool irq)
{
    uint8_t zero[32 << LOG2] = { 0 };

    /* What lies there from before must not look like a completion. */
    host_write(c, r->cpl, zero, sizeof(zero));
    r->tail = r->seen = 0;
    ch_wr(c, ch, GL_CH_RING_LO, r->ring);
    ch_wr(c, ch, GL_CH_RING_HI, r->ring >> 32);
    ch_wr(c, ch, GL_CH_CPL_LO, r->cpl);
    ch_wr(c, ch, GL_CH_CPL_HI, r->cpl >> 32);
    ch_wr(c, ch, GL_CH_RING_LOG2, LOG2);
    ch_wr(c, ch, GL_CH_CTRL, 1u << GL_CH_CTRL_ENABLE_SHIFT |
          irq << GL_CH_CTRL_IRQ_SHIFT);
}

static void put(Card *c, unsigned ch, Ring *r, struct gl_desc d)
{
    /* No more than 16 without a completion: that is the driver's to count. */
    host_write(c, r->ring + PLACE(r->tail), &d, sizeof(d));
    r->tail++;
    /* A write barrier here, on a machine that needs one. */
    ch_wr(c, ch, GL_CH_DOORBELL, r->tail);
}

static bool take(Card *c, Ring *r, struct gl_cpl *done)
{
    uint64_t at = r->cpl + PLACE(r->seen);
    uint32_t seq;

    host_read(c, at + offsetof(struct gl_cpl, seq), &seq, sizeof(seq));
    if (seq != r->seen + 1) {
        return false;                   /* not yet */
    }
    /* And a read barrier: seq was written last, so it is read first. */
    host_read(c, at, done, sizeof(*done));
    r->seen++;
    return true;
}

static bool wait_for(Card *c, unsigned ch, Ring *r, struct gl_cpl *done)
{
    while (!take(c, r, done)) {
        if (ch_rd(c, ch, GL_CH_STATUS) >> GL_CH_STATUS_HALTED_SHIFT & 1) {
            return take(c, r, done);    /* false: it will never come */
        }
    }
    return true;
}
/* ---- end of example ---- */

/* ---- example: interrupts ---- */
static void irq_setup(Card *c, unsigned ch, unsigned vector, uint64_t addr,
                      uint32_t data)
{
    uint8_t cap = qpci_find_capability(&c->dev, PCI_CAP_ID_MSIX, 0);

    qpci_io_writel(&c->dev, c->msix, vector * 16, addr);
    qpci_io_writel(&c->dev, c->msix, vector * 16 + 4, addr >> 32);
    qpci_io_writel(&c->dev, c->msix, vector * 16 + 8, data);
    qpci_io_writel(&c->dev, c->msix, vector * 16 + 12, 0);  /* not masked */
    qpci_config_writew(&c->dev, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    ch_wr(c, ch, GL_CH_VECTOR, vector);
    /* One message for 8 completions, or 200 us after the first of them. */
    ch_wr(c, ch, GL_CH_COALESCE_COUNT, 8);
    ch_wr(c, ch, GL_CH_COALESCE_TIME, 200);
}

/* One message speaks for all that is there: take them until there is none. */
static unsigned irq_handler(Card *c, Ring *r)
{
    struct gl_cpl done;
    unsigned n = 0;

    while (take(c, r, &done)) {
        g_assert(done.status == GL_ERR_NONE);
        n++;
    }
    return n;
}
/* ---- end of example ---- */

/* ---- example: errors ---- */
/* The channel stands: say why, and start it anew. What it had is lost. */
static uint32_t restart(Card *c, unsigned ch, Ring *r, bool irq)
{
    uint32_t status = ch_rd(c, ch, GL_CH_STATUS);

    ch_wr(c, ch, GL_CH_CTRL, 0);
    while (ch_rd(c, ch, GL_CH_STATUS) >> GL_CH_STATUS_RUNNING_SHIFT & 1) {
        /* The engine may still touch memory. */
    }
    start_ring(c, ch, r, irq);
    return status >> GL_CH_STATUS_ERROR_SHIFT & 0xff;
}

/* All channels, and what is programmed into them: as after power on. */
static void reset(Card *c)
{
    card_wr(c, GL_REG_CTRL, 1u << GL_CTRL_RESET_SHIFT);
}
/* ---- end of example ---- */

static void memory_for(Card *c, Ring *r)
{
    r->ring = guest_alloc(c->alloc, 32 << LOG2);
    r->cpl = guest_alloc(c->alloc, 32 << LOG2);
}

static void test_ring(Card *c)
{
    g_autofree uint8_t *data = noise(5000, 3), *got = g_malloc(5000);
    struct gl_cpl done;
    Ring r;

    memory_for(c, &r);
    host_write(c, BUF, data, 5000);
    /* What an earlier driver left in the memory of the completions. */
    for (uint32_t i = 0; i < 1u << LOG2; i++) {
        struct gl_cpl old = { .seq = i + 1 };

        host_write(c, r.cpl + PLACE(i), &old, sizeof(old));
    }
    start_ring(c, 1, &r, false);
    g_assert(!take(c, &r, &done));
    /* Around the ring and on. */
    for (uint32_t i = 0; i < 40; i++) {
        put(c, 1, &r, (struct gl_desc) {
            .op = i % 2 ? GL_OP_C2H : GL_OP_H2C,
            .flags = GL_DESC_F_CPL,
            .cookie = i,
            .src = i % 2 ? 4096 : BUF,
            .dst = i % 2 ? BUF + 65536 : 4096,
            .len = 5000,
        });
        g_assert(wait_for(c, 1, &r, &done));
        g_assert_cmphex(done.cookie, ==, i);
        CHECK_CPL(done, GL_ERR_NONE, 5000, 0);
    }
    host_read(c, BUF + 65536, got, 5000);
    g_assert(!memcmp(got, data, 5000));
    ch_wr(c, 1, GL_CH_CTRL, 0);
}

static void test_interrupts(Card *c)
{
    const struct gl_desc nop = {
        .op = GL_OP_NOP,
        .flags = GL_DESC_F_CPL | GL_DESC_F_IRQ,
    };
    Ring r;

    memory_for(c, &r);
    msix_on(c, 0);
    irq_setup(c, 0, 1, c->msg + 16, 0x51);
    start_ring(c, 0, &r, true);
    for (unsigned round = 0, n; round < 6; round++) {
        unsigned want = round % 2 ? 8 : 1;      /* by the count, by the time */

        for (unsigned i = 0; i < want; i++) {
            put(c, 0, &r, nop);
        }
        for (n = 0; n < want; n += irq_handler(c, &r)) {
            UNTIL(msix_take(c, 1) == 0x51);
        }
        g_assert_cmpuint(n, ==, want);
        g_assert_cmphex(ch_rd(c, 0, GL_CH_CPL_COUNT), ==, r.seen);
    }
    ch_wr(c, 0, GL_CH_CTRL, 0);
}

static void test_errors(Card *c)
{
    const struct gl_desc fine = {
        .op = GL_OP_FILL_CARD,
        .flags = GL_DESC_F_CPL,
        .src = 0x1122334455667788,
        .len = 64,
    };
    struct gl_desc outside = fine;
    struct gl_cpl done;
    Ring r;

    memory_for(c, &r);
    start_ring(c, 0, &r, false);
    /* Of a descriptor: the channel goes on. */
    outside.dst = CARD_MEM - 32;
    put(c, 0, &r, outside);
    g_assert(wait_for(c, 0, &r, &done));
    CHECK_CPL(done, GL_ERR_CARD_RANGE, 0, CARD_MEM);
    put(c, 0, &r, fine);
    g_assert(wait_for(c, 0, &r, &done));
    CHECK_CPL(done, GL_ERR_NONE, 64, 0);
    /* Of the ring: it stands, and starts anew. */
    ch_wr(c, 0, GL_CH_DOORBELL, r.tail + 17);
    g_assert(!wait_for(c, 0, &r, &done));
    g_assert_cmphex(restart(c, 0, &r, false), ==, GL_ERR_DOORBELL);
    put(c, 0, &r, fine);
    g_assert(wait_for(c, 0, &r, &done));
    CHECK_CPL(done, GL_ERR_NONE, 64, 0);
    /* The whole card. */
    reset(c);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_RING_LO), ==, 0);
    start_ring(c, 0, &r, false);
    put(c, 0, &r, fine);
    g_assert(wait_for(c, 0, &r, &done));
    CHECK_CPL(done, GL_ERR_NONE, 64, 0);
    ch_wr(c, 0, GL_CH_CTRL, 0);
}

static const CardTest tests[] = {
    { "example-ring", test_ring },
    { "example-interrupts", test_interrupts },
    { "example-errors", test_errors },
};

static void register_tests(void)
{
    add_card_tests("example", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
