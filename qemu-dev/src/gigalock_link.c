/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the pace of a link that is slower than a copy in memory.
 *
 * Payload rate: transfers a second times lanes, less the line code (8b/10b up
 * to 5 GT/s, 128b/130b from 8 GT/s on). Headers and flow control of packets are
 * left out. The two directions are independent, all channels share them, and
 * card memory is behind none of them.
 *
 * Bytes are moved first, and then the channel stays until the link would have
 * had them. Who wakes up late goes on as if it had not: the pace holds over a
 * long transfer.
 */
#include "compat.h"
#include "gigalock.h"
#include "qapi/qapi-types-common.h"
#include "qemu/timer.h"

#define GL_LINK_GEN_MAX   5
#define GL_LINK_LANES_MAX 16

/* In units of 100 million transfers a second. */
static const unsigned gl_rate[GL_LINK_GEN_MAX + 1] = {
    0, 25, 50, 80, 160, 320,
};

static uint64_t gl_payload_rate(unsigned gen, unsigned lanes)
{
    uint64_t bits = gl_rate[gen] * 100000000ull * lanes;

    return (gen <= 2 ? bits / 10 * 8 : bits / 130 * 128) / 8;
}

bool gl_link_check(GLState *s, Error **errp)
{
    /* What this QEMU's own link registers can say. */
    unsigned most = MIN(PCIE_LINK_SPEED__MAX, GL_LINK_GEN_MAX);

    if (s->link_gen > most) {
        error_setg(errp, "link-gen=%u is out of range: 1 to %u (%u.%u GT/s is "
                   "the fastest link of this QEMU), or 0 for no link model",
                   s->link_gen, most, gl_rate[most] / 10, gl_rate[most] % 10);
        return false;
    }
    if (!is_power_of_2(s->link_lanes) || s->link_lanes > GL_LINK_LANES_MAX) {
        error_setg(errp, "link-lanes=%u is no width of a link: 1, 2, 4, 8 or "
                   "%u", s->link_lanes, GL_LINK_LANES_MAX);
        return false;
    }
    if (s->link_latency > NANOSECONDS_PER_SECOND) {
        error_setg(errp, "link-latency=%u is out of range: 0 to %lld ns",
                   s->link_latency, NANOSECONDS_PER_SECOND);
        return false;
    }
    return true;
}

void gl_link_init(GLState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t *cap = pdev->config + pdev->exp.exp_cap;
    uint16_t state;

    if (!s->link_gen) {
        s->link.rate = 0;
        return;
    }
    s->link.rate = gl_payload_rate(s->link_gen, s->link_lanes);

    state = s->link_gen | s->link_lanes << ctz32(PCI_EXP_LNKSTA_NLW);
    pci_long_test_and_clear_mask(cap + PCI_EXP_LNKCAP,
                                 PCI_EXP_LNKCAP_SLS | PCI_EXP_LNKCAP_MLW);
    pci_long_test_and_set_mask(cap + PCI_EXP_LNKCAP, state);
    pci_word_test_and_clear_mask(cap + PCI_EXP_LNKSTA,
                                 PCI_EXP_LNKSTA_CLS | PCI_EXP_LNKSTA_NLW);
    pci_word_test_and_set_mask(cap + PCI_EXP_LNKSTA, state);
    /* All speeds up to this one; bit 0 means nothing. */
    pci_set_long(cap + PCI_EXP_LNKCAP2, (2u << s->link_gen) - 2);
    pci_set_word(cap + PCI_EXP_LNKCTL2, s->link_gen);
}

uint64_t gl_link_chunk(GLState *s)
{
    /* A millisecond's worth: whoever stops the channel waits for that. */
    return s->link.rate ? MAX(s->link.rate / 1000, 4096) : UINT64_MAX;
}

static int64_t gl_now(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

void gl_link_start(GLChannel *ch, const struct gl_desc *d)
{
    if (ch->s->link_latency) {
        ch->link_until = MAX(gl_now(), ch->link_until) + ch->s->link_latency;
        ch->link_busy = false;
    }
}

void gl_link_take(GLChannel *ch, const struct gl_desc *d, uint64_t n)
{
    GLState *s = ch->s;
    const GLOp *op = gl_op(d->op);
    int64_t from, until;
    uint64_t down, up;

    if (!s->link.rate) {
        return;
    }
    /* Bytes from the host, and to the host. */
    down = (op->src == GL_SIDE_HOST ? n : 0) +
           (op->dst == GL_SIDE_HOST && op->dst_read ? n : 0);
    up = op->dst == GL_SIDE_HOST && !op->dst_read ? n : 0;
    if (!down && !up) {
        return;
    }
    from = ch->link_busy ? ch->link_until : gl_now();
    qemu_mutex_lock(&s->lock);
    until = from;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t bytes = i ? up : down;
        int64_t *busy = &s->link.busy_until[i];

        if (bytes) {
            *busy = MAX(*busy, from) + muldiv64(bytes, NANOSECONDS_PER_SECOND,
                                                s->link.rate);
            until = MAX(until, *busy);
        }
    }
    qemu_mutex_unlock(&s->lock);
    ch->link_until = until;
    ch->link_busy = true;
}

void gl_link_idle(GLChannel *ch)
{
    ch->link_until = 0;
    ch->link_busy = false;
}

int64_t gl_link_wait(GLChannel *ch)
{
    int64_t wait;

    if (likely(!ch->link_until)) {
        return 0;
    }
    wait = ch->link_until - gl_now();
    if (wait > 0) {
        return wait;
    }
    /* Later than any wake-up: the channel was held. */
    if (wait < -100 * SCALE_MS) {
        gl_link_idle(ch);
    }
    return 0;
}
