/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the card as a driver sees it, and the graph of devices it is a
 * part of: machine q35, its PCIe root bus, the card at 00:04.0.
 */
#include "gigalock-card.h"

#define SLOT            4
#define PORT_SLOT       6
#define PORT_WINDOW     0xf0000000u
#define PORT_WINDOW_LEN 0x0c000000u
#define ID              "gl0"
#define PATH            "/machine/peripheral/" ID

/* ---- Registers and memory ---- */

uint32_t card_rd(Card *c, uint32_t reg)
{
    return qpci_io_readl(&c->dev, c->regs, reg);
}

void card_wr(Card *c, uint32_t reg, uint32_t value)
{
    qpci_io_writel(&c->dev, c->regs, reg, value);
}

uint64_t card_rd64(Card *c, uint32_t lo)
{
    uint64_t low = card_rd(c, lo);

    return low | (uint64_t)card_rd(c, lo + 4) << 32;
}

uint32_t ch_rd(Card *c, unsigned ch, uint32_t reg)
{
    return card_rd(c, GL_CH(ch) + reg);
}

void ch_wr(Card *c, unsigned ch, uint32_t reg, uint32_t value)
{
    card_wr(c, GL_CH(ch) + reg, value);
}

uint64_t ch_bytes(Card *c, unsigned ch)
{
    return card_rd64(c, GL_CH(ch) + GL_CH_BYTES_LO);
}

uint32_t ch_error(Card *c, unsigned ch)
{
    return ch_rd(c, ch, GL_CH_STATUS) >> GL_CH_STATUS_ERROR_SHIFT &
           ((1u << GL_CH_STATUS_ERROR_LEN) - 1);
}

/* In parts: QEMU takes a command a few bytes at a time, and looks at all of it. */
#define PART (64 * KiB)

void host_write(Card *c, uint64_t at, const void *data, size_t len)
{
    for (size_t done = 0; done < len; done += PART) {
        qtest_bufwrite(c->qts, at + done, data + done, MIN(PART, len - done));
    }
}

void host_read(Card *c, uint64_t at, void *data, size_t len)
{
    for (size_t done = 0; done < len; done += PART) {
        qtest_bufread(c->qts, at + done, data + done, MIN(PART, len - done));
    }
}

void mem_write(Card *c, uint64_t at, const void *data, size_t len)
{
    host_write(c, c->card.addr + at, data, len);
}

void mem_read(Card *c, uint64_t at, void *data, size_t len)
{
    host_read(c, c->card.addr + at, data, len);
}

uint8_t *noise(size_t len, uint32_t seed)
{
    uint8_t *data = g_malloc(len + 1);
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = x >> 24;
    }
    return data;
}

uint32_t crc32c_of(uint32_t crc, const uint8_t *data, size_t len)
{
    static uint32_t table[256];
    static bool ready;

    for (uint32_t i = 0; !ready && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) {
            table[i] = (table[i] >> 1) ^ (table[i] & 1 ? 0x82f63b78 : 0);
        }
    }
    ready = true;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc = table[(uint8_t)(crc ^ data[i])] ^ crc >> 8;
    }
    return ~crc;
}

/* ---- Rings ---- */

void ring_enable_at(Card *c, unsigned ch, unsigned log2, uint64_t ring,
                    uint64_t cpl, uint32_t ctrl)
{
    Ring *r = &c->ch[ch];

    r->ring = ring;
    r->cpl = cpl;
    r->log2 = log2;
    r->tail = r->seen = 0;
    ch_wr(c, ch, GL_CH_RING_LO, ring);
    ch_wr(c, ch, GL_CH_RING_HI, ring >> 32);
    ch_wr(c, ch, GL_CH_CPL_LO, cpl);
    ch_wr(c, ch, GL_CH_CPL_HI, cpl >> 32);
    ch_wr(c, ch, GL_CH_RING_LOG2, log2);
    ch_wr(c, ch, GL_CH_CTRL, CTRL_ENABLE | ctrl);
}

void ring_enable(Card *c, unsigned ch, unsigned log2, uint32_t ctrl)
{
    size_t size = sizeof(struct gl_desc) << log2;
    uint64_t ring = guest_alloc(c->alloc, size);
    uint64_t cpl = guest_alloc(c->alloc, size);

    qtest_memset(c->qts, cpl, 0, size);
    ring_enable_at(c, ch, log2, ring, cpl, ctrl);
}

void ring_put(Card *c, unsigned ch, unsigned op, unsigned flags,
              uint32_t cookie, uint64_t src, uint64_t dst, uint64_t len)
{
    Ring *r = &c->ch[ch];
    struct gl_desc d = {
        .op = cpu_to_le16(op),
        .flags = cpu_to_le16(flags),
        .cookie = cpu_to_le32(cookie),
        .src = cpu_to_le64(src),
        .dst = cpu_to_le64(dst),
        .len = cpu_to_le64(len),
    };

    host_write(c, r->ring + (r->tail & ((1u << r->log2) - 1)) * sizeof(d), &d,
               sizeof(d));
    r->tail++;
}

void ring_bell(Card *c, unsigned ch)
{
    ch_wr(c, ch, GL_CH_DOORBELL, c->ch[ch].tail);
}

struct gl_cpl ring_peek(Card *c, unsigned ch, uint32_t index)
{
    Ring *r = &c->ch[ch];
    struct gl_cpl cpl;

    host_read(c, r->cpl + (index & ((1u << r->log2) - 1)) * sizeof(cpl), &cpl,
              sizeof(cpl));
    cpl.cookie = le32_to_cpu(cpl.cookie);
    cpl.status = le32_to_cpu(cpl.status);
    cpl.bytes = le64_to_cpu(cpl.bytes);
    cpl.fault_addr = le64_to_cpu(cpl.fault_addr);
    cpl.crc = le32_to_cpu(cpl.crc);
    cpl.seq = le32_to_cpu(cpl.seq);
    return cpl;
}

struct gl_cpl ring_wait(Card *c, unsigned ch)
{
    Ring *r = &c->ch[ch];

    UNTIL(ring_peek(c, ch, r->seen).seq == r->seen + 1);
    return ring_peek(c, ch, r->seen++);
}

struct gl_cpl card_do(Card *c, unsigned op, unsigned flags, uint64_t src,
                      uint64_t dst, uint64_t len)
{
    struct gl_cpl cpl;
    uint32_t cookie = 0xc0000000u + c->ch[0].tail;

    ring_put(c, 0, op, flags | F_CPL, cookie, src, dst, len);
    ring_bell(c, 0);
    cpl = ring_wait(c, 0);
    g_assert_cmphex(cpl.cookie, ==, cookie);
    return cpl;
}

void check_works(Card *c, unsigned ch)
{
    g_autofree uint8_t *data = noise(5000, ch + 1), *got = g_malloc(5000);

    host_write(c, BUF, data, 5000);
    ring_put(c, ch, GL_OP_H2C, F_CPL, 1, BUF, 8192, 5000);
    ring_put(c, ch, GL_OP_C2H, F_CPL, 2, 8192, BUF + 65536, 5000);
    ring_bell(c, ch);
    CHECK_CPL(ring_wait(c, ch), GL_ERR_NONE, 5000, 0);
    CHECK_CPL(ring_wait(c, ch), GL_ERR_NONE, 5000, 0);
    host_read(c, BUF + 65536, got, 5000);
    g_assert(!memcmp(got, data, 5000));
}

void check_halted(Card *c, unsigned ch, uint32_t error)
{
    UNTIL(ch_rd(c, ch, GL_CH_STATUS) & STATUS_HALTED);
    UNTIL(!(ch_rd(c, ch, GL_CH_STATUS) & STATUS_RUNNING));
    g_assert_cmphex(ch_rd(c, ch, GL_CH_STATUS), ==,
                    STATUS_HALTED | error << GL_CH_STATUS_ERROR_SHIFT);
    ch_wr(c, ch, GL_CH_CTRL, 0);
    ring_enable(c, ch, 4, 0);
    g_assert_cmphex(ch_rd(c, ch, GL_CH_STATUS), ==, STATUS_RUNNING);
    check_works(c, ch);
}

/* ---- Interrupts ---- */

void msix_on(Card *c, unsigned vectors)
{
    uint8_t cap = qpci_find_capability(&c->dev, PCI_CAP_ID_MSIX, 0);

    if (!c->msg) {
        c->msix = qpci_iomap(&c->dev, GL_BAR_MSIX, NULL);
        c->msg = guest_alloc(c->alloc, 4096);
    }
    qtest_memset(c->qts, c->msg, 0, 4096);
    for (unsigned v = 0; v < vectors; v++) {
        qpci_io_writel(&c->dev, c->msix, v * 16, c->msg + v * 16);
        qpci_io_writel(&c->dev, c->msix, v * 16 + 4, 0);
        qpci_io_writel(&c->dev, c->msix, v * 16 + 8, 0x50 + v);
        qpci_io_writel(&c->dev, c->msix, v * 16 + 12, 0);
    }
    qpci_config_writew(&c->dev, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
}

uint32_t msix_take(Card *c, unsigned vector)
{
    uint32_t v = qtest_readl(c->qts, c->msg + vector * 16);

    /* Only then: a message may come between these two. */
    if (v) {
        qtest_writel(c->qts, c->msg + vector * 16, 0);
    }
    return v;
}

void msix_mask(Card *c, unsigned vector, bool masked)
{
    qpci_io_writel(&c->dev, c->msix, vector * 16 + 12, masked);
}

uint32_t msix_pending(Card *c)
{
    return qpci_io_readl(&c->dev, c->msix, 0x800);
}

/* ---- Properties ---- */

void knob_set(Card *c, const char *name, uint64_t value)
{
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'qom-set', 'arguments': {"
                             "'path': '" PATH "', 'property': %s,"
                             "'value': %" PRIu64 "} }", name, value);
}

void knob_set_str(Card *c, const char *name, const char *value)
{
    qtest_qmp_assert_success(c->qts, "{ 'execute': 'qom-set', 'arguments': {"
                             "'path': '" PATH "', 'property': %s,"
                             "'value': %s} }", name, value);
}

uint64_t knob_get(Card *c, const char *name)
{
    QDict *answer = qtest_qmp(c->qts, "{ 'execute': 'qom-get', 'arguments': {"
                              "'path': '" PATH "', 'property': %s} }", name);
    QObject *value = qdict_get(answer, "return");
    uint64_t v = 0;

    g_assert_nonnull(value);
    if (qobject_type(value) == QTYPE_QBOOL) {
        v = qdict_get_bool(answer, "return");
    } else {
        v = qdict_get_int(answer, "return");
    }
    qobject_unref(answer);
    return v;
}

bool card_paused(Card *c)
{
    return card_rd(c, GL_REG_STATUS) & STATUS_PAUSED;
}

void hold_transfer(Card *c, unsigned ch, uint64_t total, uint64_t after)
{
    qtest_memset(c->qts, BUF, 0x5a, total);
    qtest_memset(c->qts, c->card.addr, 0, total);
    ch_wr(c, ch, GL_CH_CTRL, 0);
    ring_enable(c, ch, 4, 0);
    knob_set(c, "pause-after", after);
    ring_put(c, ch, GL_OP_H2C, F_CPL, 0, BUF, 0, total);
    ring_bell(c, ch);
    UNTIL(card_paused(c));
    g_assert_cmphex(ch_bytes(c, ch), ==, after);
    g_assert_cmphex(knob_get(c, "paused"), ==, 1);
    g_assert_cmphex(ring_peek(c, ch, 0).seq, ==, 0);
}

/* ---- The graph ---- */

static void card_map(Card *c)
{
    qpci_device_enable(&c->dev);
    c->regs = qpci_iomap(&c->dev, GL_BAR_REGS, NULL);
    c->card = qpci_iomap(&c->dev, GL_BAR_CARD, NULL);
}

static void card_start_hw(QOSGraphObject *obj)
{
    Card *c = (Card *)obj;

    card_map(c);
    /* A test before this one, in the same QEMU, may have left them set. */
    knob_set(c, "pause-after", PAUSE_OFF);
    knob_set_str(c, "fault", "none");
}

static void *card_create(void *bus, QGuestAllocator *alloc, void *addr)
{
    Card *c = g_new0(Card, 1);

    c->alloc = alloc;
    c->qts = ((QPCIBus *)bus)->qts;
    qpci_device_init(&c->dev, bus, addr);
    c->obj.start_hw = card_start_hw;
    return &c->obj;
}

typedef struct Host {
    QOSGraphObject obj;
    QPCIBusPC pci;
} Host;

typedef struct Machine {
    QOSGraphObject obj;
    QGuestAllocator alloc;
    Host host;
} Machine;

static void *host_get_driver(void *obj, const char *interface)
{
    if (!g_strcmp0(interface, "gigalock-bus")) {
        return &((Host *)obj)->pci.bus;
    }
    g_error("q35-pcihost has no interface %s", interface);
}

static void *machine_get_driver(void *obj, const char *interface)
{
    if (!g_strcmp0(interface, "memory")) {
        return &((Machine *)obj)->alloc;
    }
    g_error("q35 has no interface %s", interface);
}

static QOSGraphObject *machine_get_device(void *obj, const char *device)
{
    if (!g_strcmp0(device, "q35-pcihost")) {
        return &((Machine *)obj)->host.obj;
    }
    g_error("q35 has no device %s", device);
}

static void machine_destroy(QOSGraphObject *obj)
{
    alloc_destroy(&((Machine *)obj)->alloc);
}

static void *machine_create(QTestState *qts)
{
    Machine *m = g_new0(Machine, 1);

    m->obj.get_driver = machine_get_driver;
    m->obj.get_device = machine_get_device;
    m->obj.destructor = machine_destroy;
    /* Rings come from the lower part of memory, buffers lie from BUF on. */
    alloc_init(&m->alloc, ALLOC_NO_FLAGS, 1 * MiB, BUF, 4096);
    qpci_init_pc(&m->host.pci, qts, &m->alloc);
    m->host.obj.get_driver = host_get_driver;
    return &m->obj;
}

/* ---- Behind a root port ---- */

void port_setup(Card *c)
{
    QPCIDevice *port = qpci_device_find(c->dev.bus, QPCI_DEVFN(PORT_SLOT, 0));

    g_assert_nonnull(port);
    qpci_config_writel(port, PCI_PRIMARY_BUS, 0x00010100);
    qpci_config_writew(port, PCI_MEMORY_BASE, PORT_WINDOW >> 16);
    qpci_config_writew(port, PCI_MEMORY_LIMIT,
                       (PORT_WINDOW + PORT_WINDOW_LEN - 1) >> 16);
    /* No prefetchable window. */
    qpci_config_writew(port, PCI_PREF_MEMORY_BASE, 0xfff0);
    qpci_config_writew(port, PCI_PREF_MEMORY_LIMIT, 0);
    qpci_config_writew(port, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_free(port);
}

void port_power(Card *c, bool on)
{
    QPCIDevice *port = qpci_device_find(c->dev.bus, QPCI_DEVFN(PORT_SLOT, 0));
    uint8_t cap = qpci_find_capability(port, PCI_CAP_ID_EXP, 0);
    uint16_t ctl = qpci_config_readw(port, cap + PCI_EXP_SLTCTL) &
                   ~(PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC);

    qpci_config_writew(port, cap + PCI_EXP_SLTCTL, ctl |
                       (on ? PCI_EXP_SLTCTL_PWR_IND_ON :
                        PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF));
    g_free(port);
}

Card *port_plug(Card *c, const char *options)
{
    QPCIAddress addr = {
        .devfn = 1 << 8,
        .vendor_id = GL_PCI_VENDOR_ID,
        .device_id = GL_PCI_DEVICE_ID,
    };
    g_autofree char *json = g_strdup_printf("{ 'execute': 'device_add',"
        "'arguments': { 'driver': 'gigalock', 'bus': 'rp0', 'id': 'gl1'%s } }",
        options);
    Card *plugged;

    qtest_qmp_assert_success(c->qts, json, NULL);
    port_power(c, true);
    plugged = card_create(c->dev.bus, c->alloc, &addr);
    c->dev.bus->mmio_alloc_ptr = PORT_WINDOW;
    card_map(plugged);
    return plugged;
}

/* ---- Registration ---- */

static void *add_args(GString *cmd_line, void *arg)
{
    const CardTest *t = arg;

    g_string_append_printf(cmd_line, " -nodefaults -m 256M%s", t->args ?: "");
    return arg;
}

static void run(void *obj, void *arg, QGuestAllocator *alloc)
{
    ((CardTest *)arg)->run(obj);
}

/* A node a group and engine: the graph has not room for many tests at one. */
void add_card_tests(const char *group, const CardTest *tests, size_t n)
{
    static const struct { const char *name, *option; } engine[] = {
        { "workers", "workers=2" },
        { "main-loop", "workers=0" },
    };
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(SLOT, 0),
        .vendor_id = GL_PCI_VENDOR_ID,
        .device_id = GL_PCI_DEVICE_ID,
    };

    for (size_t e = 0; e < ARRAY_SIZE(engine); e++) {
        /* The graph keeps these for as long as the program runs. */
        char *node = g_strdup_printf("gigalock-%s-%s", group, engine[e].name);
        QOSGraphEdgeOptions edge = {
            .extra_device_opts = g_strdup_printf("addr=04.0,id=" ID ",%s",
                                                 engine[e].option),
        };

        add_qpci_address(&edge, &addr);
        qos_node_create_driver_named(node, "gigalock", card_create);
        qos_node_consumes(node, "gigalock-bus", &edge);
        for (size_t i = 0; i < n; i++) {
            QOSGraphTestOptions opts = {
                .before = add_args,
                .arg = (void *)&tests[i],
                .edge.extra_device_opts = tests[i].options,
            };

            qos_add_test(g_strdup_printf("%s-%s", tests[i].name,
                                         engine[e].name), node, run, &opts);
        }
    }
}

static void register_nodes(void)
{
    qos_node_create_machine("x86_64/q35", machine_create);
    qos_node_contains("x86_64/q35", "q35-pcihost", NULL);
    qos_node_create_driver("q35-pcihost", NULL);
    qos_node_produces("q35-pcihost", "gigalock-bus");
}

libqos_init(register_nodes);
