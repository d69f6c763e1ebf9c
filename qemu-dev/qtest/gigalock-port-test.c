/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: cards that come and go behind a root port, properties that are
 * refused, and rings behind an IOMMU.
 */
#include "gigalock-card.h"

#define PORT " -device pcie-root-port,id=rp0,addr=06.0,chassis=1" \
             " -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off" \
             " -object memory-backend-ram,id=odd,size=12M"
#define ERR_NOT_SPENT "{ 'execute': 'device_add', 'arguments': {" \
                      "'driver': 'gigalock', 'bus': 'rp0', 'id': 'gl1', "

static void test_refused_properties(Card *c)
{
    static const struct { const char *option, *says; } cases[] = {
        { "'channels': 0", "channels=0" },
        { "'channels': 17", "channels=17" },
        { "'workers': 17", "workers=17" },
        { "'workers': -2", "workers=-2" },
        { "'addr-width': 23", "addr-width=23" },
        { "'addr-width': 65", "addr-width=65" },
        { "'max-ring': 3", "max-ring=3" },
        { "'max-ring': 17", "max-ring=17" },
        { "'max-xfer': 0", "max-xfer=0" },
        { "'max-seg': 0", "max-seg=0" },
        { "'align': 0", "align=0" },
        { "'align': 48", "align=48" },
        { "'align': 8192", "align=8192" },
        { "'boundary': 3000", "2048" },
        { "'card-mem': 2048", "card-mem of 2048" },
        { "'card-mem': 12582912", "8388608" },
        { "'memdev': 'odd'", "memdev of 12582912" },
        { "'link-gen': 9", "link-gen=9" },
        { "'link-gen': 1, 'link-lanes': 3", "link-lanes=3" },
        { "'link-latency': 2000000000", "link-latency=2000000000" },
        { "'fault': 'nonsense'", "nonsense" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *json = g_strdup_printf("%s%s } }", ERR_NOT_SPENT,
                                                cases[i].option);
        QDict *answer = qtest_qmp(c->qts, json, NULL);
        QDict *error = qdict_get_qdict(answer, "error");

        g_test_message("%s", cases[i].option);
        g_assert_nonnull(error);
        g_assert_nonnull(strstr(qdict_get_str(error, "desc"), cases[i].says));
        qobject_unref(answer);
    }
    check_works((ring_enable(c, 0, 4, 0), c), 0);
}

static void test_unplug(Card *c)
{
    port_setup(c);
    for (unsigned round = 0; round < 4; round++) {
        Card *p = port_plug(c, ", 'card-mem': 67108864, 'channels': 3");

        ring_enable(p, 0, 4, 0);
        check_works(p, 0);
        for (unsigned i = 0; i < 14; i++) {
            ring_put(p, 0, GL_OP_H2C, F_CPL, i, BUF, 0, 60 * MiB);
        }
        ring_bell(p, 0);
        qtest_qmp_assert_success(c->qts, "{ 'execute': 'device_del',"
                                 "'arguments': { 'id': 'gl1' } }");
        /* In the middle of its work. */
        port_power(c, false);
        qtest_qmp_eventwait(c->qts, "DEVICE_DELETED");
        g_free(p);
    }
    ring_enable(c, 0, 4, 0);
    check_works(c, 0);
}

/* ---- VT-d: three levels, 4 KiB pages, tables by hand ---- */

#define VTD     0xfed90000u
#define TABLES  0x3000000u
#define IOVA    0x40000000ull
#define PAGE    4096

typedef struct Tables {
    Card *c;
    uint64_t root, context, top, free;
} Tables;

static uint64_t new_table(Tables *t)
{
    uint64_t at = t->free;

    qtest_memset(t->c->qts, at, 0, PAGE);
    t->free += PAGE;
    return at;
}

static uint64_t below(Tables *t, uint64_t entry)
{
    uint64_t v = qtest_readq(t->c->qts, entry);

    if (!v) {
        v = new_table(t) | 3;
        qtest_writeq(t->c->qts, entry, v);
    }
    return v & ~4095ull;
}

static void map_page(Tables *t, uint64_t iova, uint64_t addr, unsigned rights)
{
    uint64_t l2 = below(t, t->top + (iova >> 30) * 8);
    uint64_t l1 = below(t, l2 + (iova >> 21 & 511) * 8);

    qtest_writeq(t->c->qts, l1 + (iova >> 12 & 511) * 8,
                 rights ? addr | rights : 0);
}

static void tables_init(Tables *t, Card *c)
{
    t->c = c;
    t->free = TABLES;
    t->root = new_table(t);
    t->context = new_table(t);
    t->top = new_table(t);
    qtest_writeq(c->qts, t->root, t->context | 1);
    qtest_writeq(c->qts, t->context + (4 << 3) * 16, t->top | 1);
    qtest_writeq(c->qts, t->context + (4 << 3) * 16 + 8, 1 | 1 << 8);
    /* Rings where they are. */
    for (uint64_t at = 1 * MiB; at < 2 * MiB; at += PAGE) {
        map_page(t, at, at, 3);
    }
}

static void tables_on(Tables *t)
{
    qtest_writel(t->c->qts, VTD + 0x20, t->root);
    qtest_writel(t->c->qts, VTD + 0x24, 0);
    qtest_writel(t->c->qts, VTD + 0x18, 1u << 30);
    qtest_writel(t->c->qts, VTD + 0x18, 1u << 31);
    /* Fault interrupts on: raised off the big lock they would end QEMU. */
    qtest_writel(t->c->qts, VTD + 0x40, 0xfee00000);
    qtest_writel(t->c->qts, VTD + 0x3c, 0x31);
    qtest_writel(t->c->qts, VTD + 0x38, 0);
}

static void test_iommu(Card *c)
{
    unsigned pages = 2500;
    size_t n = pages * PAGE - 100;
    g_autofree uint8_t *data = noise(pages * PAGE, 8), *got = g_malloc(n);
    Tables t;

    ring_enable(c, 0, 5, 0);
    check_works(c, 0);                  /* not switched on */
    ch_wr(c, 0, GL_CH_CTRL, 0);
    tables_init(&t, c);
    /* Scattered: pages in reverse order, and an address in their middle. */
    for (unsigned i = 0; i < pages; i++) {
        map_page(&t, IOVA + i * PAGE, BUF + (pages - 1 - i) * PAGE, 3);
        host_write(c, BUF + (pages - 1 - i) * PAGE, data + i * PAGE, PAGE);
    }
    map_page(&t, IOVA + pages * PAGE, BUF, 1);
    map_page(&t, IOVA + (pages + 1) * PAGE, BUF, 2);
    tables_on(&t);
    ring_enable(c, 0, 5, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, IOVA + 77, 5, n), GL_ERR_NONE, n, 0);
    mem_read(c, 5, got, n);
    g_assert(!memcmp(got, data + 77, n));
    CHECK_CPL(card_do(c, GL_OP_CMP_HC, 0, IOVA + 77, 5, n), GL_ERR_NONE, n, 0);
    for (unsigned i = 0; i < 20; i++) {
        ring_put(c, 0, GL_OP_C2H, F_CPL, i, 5, IOVA + i * 9000, 9000);
    }
    ring_bell(c, 0);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_CPL(ring_wait(c, 0), GL_ERR_NONE, 9000, 0);
    }
    /* Refused: reading what may only be written, the reverse, and nothing. */
    for (unsigned i = 0; i < 50; i++) {
        uint64_t end = IOVA + pages * PAGE;

        CHECK_CPL(card_do(c, GL_OP_C2H, 0, 0, end - 9, 20), GL_ERR_HOST_WRITE,
                  9, end);
        CHECK_CPL(card_do(c, GL_OP_H2C, 0, end + PAGE, 0, 20),
                  GL_ERR_HOST_READ, 0, end + PAGE);
        CHECK_CPL(card_do(c, GL_OP_H2C, 0, end + 2 * PAGE, 0, 20),
                  GL_ERR_HOST_READ, 0, end + 2 * PAGE);
        CHECK_CPL(card_do(c, GL_OP_H2C, 0, end, 0, 20), GL_ERR_NONE, 20, 0);
    }
    g_assert_cmphex(qtest_readl(c->qts, VTD + 0x34) & 2, ==, 2);
    knob_set_str(c, "fault", "corrupt");
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, IOVA + 77, 5, n), GL_ERR_NONE, n, 0);
    knob_set_str(c, "fault", "none");
    /* A ring, and completions, that are not mapped. */
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable_at(c, 0, 4, 0x90000000, 1 * MiB, 0);
    ch_wr(c, 0, GL_CH_DOORBELL, 1);
    UNTIL(ch_error(c, 0) == GL_ERR_RING_FETCH);
    ch_wr(c, 0, GL_CH_CTRL, 0);
    ring_enable_at(c, 0, 4, 1 * MiB, 0x90000000, 0);
    ring_put(c, 0, GL_OP_NOP, F_CPL, 0, 0, 0, 0);
    ring_bell(c, 0);
    UNTIL(ch_error(c, 0) == GL_ERR_CPL_WRITE);
    /* Reset while it waits for the IOMMU, many times. */
    for (unsigned i = 0; i < 30; i++) {
        ch_wr(c, 0, GL_CH_CTRL, 0);
        ring_enable_at(c, 0, 4, 1 * MiB + PAGE, 1 * MiB + 2 * PAGE, 0);
        for (unsigned k = 0; k < 16; k++) {
            ring_put(c, 0, GL_OP_H2C, F_CPL, k, IOVA, 0, n);
        }
        ring_bell(c, 0);
        card_wr(c, GL_REG_CTRL, 1);
        g_assert_cmphex(ch_rd(c, 0, GL_CH_STATUS), ==, 0);
    }
    ring_enable_at(c, 0, 4, 1 * MiB + PAGE, 1 * MiB + 3 * PAGE, 0);
    CHECK_CPL(card_do(c, GL_OP_H2C, 0, IOVA, 0, 10), GL_ERR_NONE, 10, 0);
}

static const CardTest tests[] = {
    { "refused-properties", test_refused_properties, NULL, PORT },
    { "unplug", test_unplug, NULL, PORT },
    { "iommu", test_iommu, NULL, " -device intel-iommu" },
};

static void register_tests(void)
{
    add_card_tests("port", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
