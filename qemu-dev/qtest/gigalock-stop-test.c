/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: stopping, in the middle of a transfer that is held there, and while
 * bytes fly: reset, ENABLE, FLR, bus master, power state, a stopped machine,
 * unplug. And garbage, while all that happens.
 */
#include "gigalock-card.h"

#define TOTAL   (20 * MiB)
#define HOLD    (9 * MiB + 12345)

/* Not a byte more, and no completion, even when nothing holds it. */
static void check_nothing_moves(Card *c)
{
    uint64_t moved = knob_get(c, "stat-bytes");

    knob_set(c, "pause-after", PAUSE_OFF);
    g_usleep(50000);
    g_assert_cmpuint(knob_get(c, "stat-bytes"), ==, moved);
    g_assert_cmphex(qtest_readq(c->qts, c->card.addr + HOLD + 7), ==, 0);
    g_assert_cmphex(ring_peek(c, 0, 0).seq, ==, 0);
}

static void check_after(Card *c)
{
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable(c, 0, 4, 0);
    check_works(c, 0);
}

/* Bus addresses and registers are gone after some resets. */
static void map_again(Card *c)
{
    qpci_config_writel(&c->dev, PCI_BASE_ADDRESS_0, c->regs.addr);
    qpci_config_writel(&c->dev, PCI_BASE_ADDRESS_2, c->card.addr);
    qpci_device_enable(&c->dev);
}

static void test_pause(Card *c)
{
    hold_transfer(c, 0, TOTAL, HOLD);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==,
                    STATUS_RUNNING | STATUS_BUSY);
    g_assert_cmphex(qtest_readb(c->qts, c->card.addr + HOLD - 1), ==, 0x5a);
    g_assert_cmphex(qtest_readb(c->qts, c->card.addr + HOLD), ==, 0);
    g_assert_cmpuint(knob_get(c, "pause-after"), ==, HOLD);
    /* On, by so many more; then to the end. */
    knob_set(c, "pause-after", 1000);
    UNTIL(ch_bytes(c, 0) == HOLD + 1000 && card_paused(c));
    knob_set(c, "pause-after", PAUSE_OFF);
    CHECK_CPL(ring_wait(c, 0), GL_ERR_NONE, TOTAL, 0);
}

static void test_reset(Card *c)
{
    hold_transfer(c, 0, TOTAL, HOLD);
    card_wr(c, GL_REG_CTRL, 1);
    g_assert_cmphex(card_rd(c, GL_REG_STATUS), ==, STATUS_READY);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==, 0);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_CTRL), ==, 0);
    check_nothing_moves(c);
    check_after(c);
}

static void test_disable(Card *c)
{
    hold_transfer(c, 0, TOTAL, HOLD);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    UNTIL(ch_rd(c, 0, GL_CH_STATUS) == 0);
    check_nothing_moves(c);
    check_after(c);
    /* Enabled anew without waiting: the old work is gone. */
    hold_transfer(c, 0, TOTAL, HOLD);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    knob_set(c, "pause-after", PAUSE_OFF);
    check_after(c);
    g_assert_cmpuint(ch_bytes(c, 0), ==, 10000);
}

static void test_flr(Card *c)
{
    uint8_t cap = qpci_find_capability(&c->dev, PCI_CAP_ID_EXP, 0);

    hold_transfer(c, 0, TOTAL, HOLD);
    qpci_config_writew(&c->dev, cap + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    g_assert_cmphex(qpci_config_readw(&c->dev, PCI_COMMAND) & 7, ==, 0);
    map_again(c);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==, 0);
    check_nothing_moves(c);
    check_after(c);
}

static void test_system_reset(Card *c)
{
    hold_transfer(c, 0, TOTAL, HOLD);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(c->qts, "RESET");
    map_again(c);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==, 0);
    knob_set(c, "pause-after", PAUSE_OFF);
    check_after(c);
}

static void test_bus_master(Card *c)
{
    hold_transfer(c, 0, TOTAL, HOLD);
    qpci_config_writew(&c->dev, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==, STATUS_HALTED |
                    GL_ERR_BUS_MASTER << GL_CH_STATUS_ERROR_SHIFT);
    check_nothing_moves(c);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    /* Off from the start. */
    ring_enable(c, 0, 4, 0);
    ring_put(c, 0, GL_OP_NOP, F_CPL, 0, 0, 0, 0);
    ring_bell(c, 0);
    UNTIL(ch_error(c, 0) == GL_ERR_BUS_MASTER);
    qpci_device_enable(&c->dev);
    check_halted(c, 0, GL_ERR_BUS_MASTER);
}

static void test_power_state(Card *c)
{
    uint8_t cap = qpci_find_capability(&c->dev, PCI_CAP_ID_PM, 0);

    hold_transfer(c, 0, TOTAL, HOLD);
    card_wr(c, GL_REG_SCRATCH, 77);
    qpci_config_writew(&c->dev, cap + PCI_PM_CTRL, 3);
    g_assert_cmphex(ch_error(c, 0), ==, GL_ERR_BUS_MASTER);
    check_nothing_moves(c);
    qpci_config_writew(&c->dev, cap + PCI_PM_CTRL, 0);
    g_assert_cmphex(card_rd(c, GL_REG_SCRATCH), ==, 77);
    check_halted(c, 0, GL_ERR_BUS_MASTER);
}

/* Memory stands still while the machine does; then it goes on. */
static void test_stopped_machine(Card *c)
{
    uint64_t moved;

    ring_enable(c, 0, 4, 0);
    for (unsigned i = 0; i < 16; i++) {
        ring_put(c, 0, GL_OP_H2C, i == 15 ? F_CPL : 0, i, BUF, 0, 8 * MiB);
    }
    ring_bell(c, 0);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'stop' }");
    moved = ch_bytes(c, 0);
    g_usleep(50000);
    g_assert_cmpuint(ch_bytes(c, 0), ==, moved);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'cont' }");
    CHECK_CPL(ring_wait(c, 0), GL_ERR_NONE, 16 * 8 * MiB, 0);
}

static void test_faults(Card *c)
{
    g_autofree uint8_t *data = noise(200001, 5), *got = g_malloc(200001);
    size_t n = 200001;
    uint64_t errors = knob_get(c, "stat-errors");

    host_write(c, BUF, data, n);
    ring_enable(c, 0, 4, 0);
    knob_set_str(c, "fault", "no-copy");
    mem_write(c, 0, got, n);
    mem_read(c, 0, got, n);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 0, n), GL_ERR_NONE, n, 0);
    {
        g_autofree uint8_t *same = g_malloc(n);

        mem_read(c, 0, same, n);
        g_assert(!memcmp(got, same, n));
    }
    knob_set_str(c, "fault", "wrong-place");
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, BUF, 0, n), GL_ERR_NONE, n, 0);
    mem_read(c, 0, got, n);
    g_assert(got[0] == data[n - 1] && !memcmp(got + 1, data, n - 1));
    knob_set_str(c, "fault", "corrupt");
    CHECK_CPL(card_do(c, GL_OP_H2C, F_CRC, BUF, 0, n), GL_ERR_NONE, n, 0);
    mem_read(c, 0, got, n);
    g_assert_cmphex(got[n / 2], !=, data[n / 2]);
    got[n / 2] = data[n / 2];
    g_assert(!memcmp(got, data, n));
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, RAM_SIZE - 100, 0, n),
              GL_ERR_HOST_READ, 100, RAM_SIZE);
    CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, RAM_SIZE - 100, n),
              GL_ERR_HOST_WRITE, 100, RAM_SIZE);
    knob_set_str(c, "fault", "hang");
    ring_put(c, 0, GL_OP_NOP, F_CPL, 0, 0, 0, 0);
    ring_bell(c, 0);
    g_usleep(30000);
    g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==,
                    STATUS_RUNNING | STATUS_BUSY);
    knob_set_str(c, "fault", "none");
    CHECK_CPL(ring_wait(c, 0), GL_ERR_NONE, 0, 0);
    g_assert_cmpuint(knob_get(c, "stat-errors"), ==, errors + 2);
    {
        QDict *r = qtest_qmp(c->qts, "{ 'execute': 'qom-set', 'arguments': {"
                             "'path': '/machine/peripheral/gl0',"
                             "'property': 'fault', 'value': 'nonsense' } }");

        g_assert(qdict_haskey(r, "error"));
        qobject_unref(r);
    }
}

/*
 * Random descriptors, partly in bounds, from a seed that is printed. Whatever
 * they say, the card goes through them, or can be reset out of them.
 */
static void fill_garbage(Card *c, unsigned ch, GRand *rng, unsigned n)
{
    g_autofree struct gl_desc *d = g_new0(struct gl_desc, n);
    uint64_t marks[] = {
        RAM_SIZE, 4 * GiB, c->regs.addr, c->card.addr, 0xfee00000u, -4096ull,
        BUF, BUF + 32 * MiB, 64 * MiB, 0xfed00000u, 0,
    };

    for (unsigned i = 0; i < n; i++) {
        uint64_t a[2];

        if (g_rand_int_range(rng, 0, 4) == 0) {
            for (unsigned k = 0; k < sizeof(d[i]); k++) {
                ((uint8_t *)&d[i])[k] = g_rand_int_range(rng, 0, 256);
            }
            /* Not where the rings lie: the test has to see the end. */
            d[i].dst |= cpu_to_le64(BUF);
            continue;
        }
        for (unsigned k = 0; k < 2; k++) {
            a[k] = marks[g_rand_int_range(rng, 0, ARRAY_SIZE(marks))] +
                   g_rand_int_range(rng, -9000, 9000);
            if (a[k] < BUF) {
                a[k] = g_rand_int_range(rng, 0, 2) ? BUF + a[k] : CARD_MEM - 1;
            }
        }
        d[i].op = cpu_to_le16(g_rand_int_range(rng, 0, GL_OP_CRC_CARD + 2));
        d[i].flags = cpu_to_le16(F_CPL | g_rand_int_range(rng, 0, 64));
        d[i].cookie = cpu_to_le32(i);
        d[i].src = cpu_to_le64(a[0]);
        d[i].dst = cpu_to_le64(a[1]);
        d[i].len = cpu_to_le64(g_rand_int_range(rng, 0, 20000));
    }
    host_write(c, c->ch[ch].ring, d, n * sizeof(d[0]));
}

static GRand *garbage_seed(void)
{
    const char *given = g_getenv("GIGALOCK_SEED");
    uint32_t seed = given ? g_ascii_strtoull(given, NULL, 0) :
                    g_get_real_time();

    g_test_message("GIGALOCK_SEED=%u", seed);
    return g_rand_new_with_seed(seed);
}

static void test_garbage(Card *c)
{
    GRand *rng = garbage_seed();

    msix_on(c, 2);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned ch = 0; ch < 2; ch++) {
            ring_enable(c, ch, 10, CTRL_IRQ);
            fill_garbage(c, ch, rng, 1024);
            ch_wr(c, ch, GL_CH_COALESCE_COUNT, g_rand_int_range(rng, 0, 9));
            ch_wr(c, ch, GL_CH_DOORBELL, 1024);
        }
        for (unsigned ch = 0; ch < 2; ch++) {
            UNTIL(ch_rd(c, ch, GL_CH_HEAD) == 1024 ||
                  (ch_rd(c, ch, GL_CH_STATUS) & STATUS_HALTED));
            g_assert_cmphex(ch_rd(c, ch, GL_CH_STATUS) & STATUS_HALTED, ==, 0);
            ch_wr(c, ch, GL_CH_CTRL, 0);
            UNTIL(!(ch_rd(c, ch, GL_CH_STATUS) & STATUS_RUNNING));
            guest_free(c->alloc, c->ch[ch].ring);
            guest_free(c->alloc, c->ch[ch].cpl);
        }
    }
    g_rand_free(rng);
    check_after(c);
}

/*
 * Descriptors aimed at registers, at another device's, at ourselves and at
 * memory, and every kind of reset in the middle. It may not hang.
 */
static void test_reset_in_garbage(Card *c)
{
    GRand *rng = garbage_seed();
    uint8_t cap = qpci_find_capability(&c->dev, PCI_CAP_ID_EXP, 0);
    QPCIDevice *edu = qpci_device_find(c->dev.bus, QPCI_DEVFN(5, 0));
    uint64_t at;

    qpci_device_enable(edu);
    at = qpci_iomap(edu, 0, NULL).addr;
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned ch = 0; ch < 2; ch++) {
            ring_enable(c, ch, 8, CTRL_IRQ);
            fill_garbage(c, ch, rng, 256);
            for (unsigned i = 0; i < 64; i++) {
                ring_put(c, ch, i % 2 ? GL_OP_C2H : GL_OP_H2C, F_CPL | F_IRQ,
                         i, i % 2 ? 0 : at, i % 2 ? c->regs.addr : 0, 8192);
                ring_put(c, ch, GL_OP_H2C, F_CPL | F_IRQ, i, BUF, 0, 1 * MiB);
            }
            ch_wr(c, ch, GL_CH_DOORBELL, 256);
        }
        g_usleep(g_rand_int_range(rng, 0, 3000));
        switch (round % 5) {
        case 0:
            card_wr(c, GL_REG_CTRL, 1);
            break;
        case 1:
            qpci_config_writew(&c->dev, cap + PCI_EXP_DEVCTL,
                               PCI_EXP_DEVCTL_BCR_FLR);
            break;
        case 2:
            qpci_config_writew(&c->dev, PCI_COMMAND, PCI_COMMAND_MEMORY);
            break;
        case 3:
            qtest_qmp_assert_success(c->qts, "{ 'execute': 'system_reset' }");
            qtest_qmp_eventwait(c->qts, "RESET");
            qpci_config_writel(edu, PCI_BASE_ADDRESS_0, at);
            qpci_device_enable(edu);
            break;
        default:
            qtest_qmp_assert_success(c->qts, "{ 'execute': 'stop' }");
            qtest_qmp_assert_success(c->qts, "{ 'execute': 'cont' }");
            break;
        }
        map_again(c);
        for (unsigned ch = 0; ch < 2; ch++) {
            ch_wr(c, ch, GL_CH_CTRL, 0);
            UNTIL(!(ch_rd(c, ch, GL_CH_STATUS) & STATUS_RUNNING));
            guest_free(c->alloc, c->ch[ch].ring);
            guest_free(c->alloc, c->ch[ch].cpl);
        }
    }
    g_rand_free(rng);
    g_free(edu);
    check_after(c);
}

#define EDU " -device edu,addr=05.0"

static const CardTest tests[] = {
    { "pause", test_pause },
    { "reset", test_reset },
    { "disable", test_disable },
    { "flr", test_flr },
    { "system-reset", test_system_reset },
    { "bus-master", test_bus_master },
    { "power-state", test_power_state },
    { "stopped-machine", test_stopped_machine },
    { "faults", test_faults },
    { "garbage", test_garbage },
    { "reset-in-garbage", test_reset_in_garbage, NULL, EDU },
};

static void register_tests(void)
{
    add_card_tests("stop", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
