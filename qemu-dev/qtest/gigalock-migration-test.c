/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: saved in the middle of a transfer, and loaded into another QEMU;
 * into one with another card, and from a file that lies.
 */
#include "gigalock-card.h"

#define TOTAL   (4 * MiB)
#define HOLD    (1 * MiB + 12345)
#define NAME    "\x15" "0000:00:04.0/gigalock"

/* The engine of the card under test; the others get the same. */
static const char *engine(Card *c)
{
    return card_rd(c, GL_REG_WORKERS) ? "workers=2" : "workers=0";
}

static char *save(Card *c)
{
    char *path = g_strdup_printf("%s/gigalock-%d", g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strdup_printf("exec:cat >%s", path);

    hold_transfer(c, 0, TOTAL, HOLD);
    ring_put(c, 0, GL_OP_NOP, F_CPL, 77, 0, 0, 0);
    ring_bell(c, 0);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'migrate', 'arguments': {"
                             "'uri': %s} }", uri);
    qtest_qmp_eventwait(c->qts, "STOP");
    for (;;) {
        QDict *answer = qtest_qmp(c->qts, "{ 'execute': 'query-migrate' }");
        const char *status = qdict_get_str(qdict_get_qdict(answer, "return"),
                                           "status");
        bool done = !strcmp(status, "completed");

        g_assert_cmpstr(status, !=, "failed");
        qobject_unref(answer);
        if (done) {
            return path;
        }
        g_usleep(1000);
    }
}

/* The next test may get this QEMU: let it run. */
static void end(Card *c, const char *path)
{
    unlink(path);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'cont' }");
    knob_set(c, "pause-after", PAUSE_OFF);
    CHECK_CPL(ring_wait(c, 0), GL_ERR_NONE, TOTAL, 0);
}

static QTestState *load(const char *path, const char *card)
{
    g_autofree char *uri = g_strdup_printf("exec:cat %s", path);
    QTestState *qts = qtest_initf("-M q35 -nodefaults -m 256M -incoming defer "
                                  "-device gigalock,addr=04.0,id=gl0,%s",
                                  card);

    qtest_qmp_send(qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
                   "'uri': %s} }", uri);
    return qts;
}

static void test_file(Card *c)
{
    g_autofree char *path = save(c);
    g_autofree uint8_t *got = g_malloc(TOTAL);
    Card twin = *c;
    uint32_t status = ch_rd(c, 0, GL_CH_STATUS);

    twin.qts = load(path, engine(c));
    twin.dev.bus = qpci_new_pc(twin.qts, c->alloc);
    qobject_unref(qtest_qmp_receive(twin.qts));     /* of the command */
    qtest_qmp_eventwait(twin.qts, "RESUME");
    g_assert_cmphex(ch_rd(&twin, 0, GL_CH_STATUS) & STATUS_RUNNING, ==,
                    status & STATUS_RUNNING);
    CHECK_CPL(ring_wait(&twin, 0), GL_ERR_NONE, TOTAL, 0);
    g_assert_cmpuint(ring_wait(&twin, 0).cookie, ==, 77);
    g_assert_cmphex(ch_bytes(&twin, 0), ==, TOTAL);
    mem_read(&twin, 0, got, TOTAL);
    for (size_t i = 0; i < TOTAL; i++) {
        g_assert_cmphex(got[i], ==, 0x5a);
    }
    check_works(&twin, 0);
    qpci_free_pc(twin.dev.bus);
    qtest_quit(twin.qts);
    end(c, path);
}

/* QEMU says why, and ends. */
static void check_refused(const char *path, const char *card)
{
    QTestState *qts = load(path, card);

    qtest_set_expected_status(qts, EXIT_FAILURE);
    UNTIL(!qtest_probe_child(qts));
    qtest_quit(qts);
}

static void test_refused(Card *c)
{
    static const char *const others[] = {
        "channels=3", "addr-width=40", "max-ring=9", "align=8",
        "boundary=65536", "max-seg=4096", "link-gen=1",
    };
    /* Where a channel's image has what, and what it cannot be. */
    static const struct { size_t at; uint8_t byte; } lies[] = {
        { 3, 7 },               /* CTRL */
        { 3, 0 },
        { 40, 0 },              /* runs */
        { 46, 99 },             /* TAIL */
        { 70, 3 },              /* a ring address */
        { 82, 3 },              /* RING_LOG2 */
        { 83 + 16, 0x80 },      /* a descriptor's destination */
        { 83 + 2048 + 3, 200 }, /* how many are fetched */
        { 83 + 2048 + 3, 3 },
        { 83 + 2048 + 7, 2 },   /* the one in work */
        { 83 + 2048 + 9, 1 },   /* its status, */
        { 83 + 2048 + 13, 1 },  /* and how much of it is done */
    };
    g_autofree char *path = save(c), *data = NULL;
    size_t len, image = 0;

    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        check_refused(path, others[i]);
    }
    g_assert(g_file_get_contents(path, &data, &len, NULL));
    for (size_t i = 0; i + sizeof(NAME) < len && !image; i++) {
        if (!memcmp(data + i, NAME, sizeof(NAME) - 1)) {
            /* Instance and version, the identity, SCRATCH. */
            image = i + sizeof(NAME) - 1 + 8 + 12 * 8 + 4;
        }
    }
    g_assert_cmpuint(image, >, 0);
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        char was = data[image + lies[i].at];

        g_test_message("byte %zu", lies[i].at);
        data[image + lies[i].at] = lies[i].byte;
        g_assert(g_file_set_contents(path, data, len, NULL));
        check_refused(path, engine(c));
        data[image + lies[i].at] = was;
    }
    end(c, path);
}

static void test_never_ran(Card *c)
{
    ring_enable(c, 0, 4, 0);
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'migrate', 'arguments': {"
                             "'uri': 'exec:cat >/dev/null'} }");
    for (bool over = false; !over; g_usleep(1000)) {
        QDict *answer = qtest_qmp(c->qts, "{ 'execute': 'query-migrate' }");
        const char *status = qdict_get_str(qdict_get_qdict(answer, "return"),
                                           "status");

        g_assert_cmpstr(status, !=, "completed");
        over = !strcmp(status, "failed");
        qobject_unref(answer);
    }
    check_works(c, 0);
}

static const CardTest tests[] = {
    { "never-ran", test_never_ran, NULL, " -S" },
    { "file", test_file },
    { "refused", test_refused },
};

static void register_tests(void)
{
    add_card_tests("migration", tests, ARRAY_SIZE(tests));
}

libqos_init(register_tests);
