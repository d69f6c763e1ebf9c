/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the registers. All of it runs under QEMU's big lock; only aligned
 * 32-bit accesses get here.
 */
#include "compat.h"
#include "gigalock.h"

static uint32_t gl_card_read(GLState *s, hwaddr addr)
{
    uint32_t v = 0;

    switch (addr) {
    case GL_REG_ID:
        return GL_ID_MAGIC;
    case GL_REG_VERSION:
        return GL_VERSION_MAJOR << 16 | GL_VERSION_MINOR;
    case GL_REG_CAP:
        v = FIELD_DP32(v, CAP, CHANNELS, s->channels);
        v = FIELD_DP32(v, CAP, ADDR_WIDTH, s->addr_width);
        v = FIELD_DP32(v, CAP, MAX_RING, s->max_ring);
        return v;
    case GL_REG_STATUS:
        /* A reset is over before the write that asked for it returns. */
        v = FIELD_DP32(v, STATUS, READY, 1);
        v = FIELD_DP32(v, STATUS, PAUSED, gl_engine_paused(s));
        return v;
    case GL_REG_SCRATCH:
        return s->scratch;
    case GL_REG_CARD_SIZE_LO:
        return extract64(s->card_size, 0, 32);
    case GL_REG_CARD_SIZE_HI:
        return extract64(s->card_size, 32, 32);
    case GL_REG_MAX_XFER_LO:
        return extract64(s->max_xfer, 0, 32);
    case GL_REG_MAX_XFER_HI:
        return extract64(s->max_xfer, 32, 32);
    case GL_REG_OPS:
        return gl_ops_supported();
    case GL_REG_ALIGN:
        return s->align;
    case GL_REG_MAX_SEG_LO:
        return extract64(s->max_seg, 0, 32);
    case GL_REG_MAX_SEG_HI:
        return extract64(s->max_seg, 32, 32);
    case GL_REG_BOUNDARY_LO:
        return extract64(s->boundary, 0, 32);
    case GL_REG_BOUNDARY_HI:
        return extract64(s->boundary, 32, 32);
    case GL_REG_LINK:
        if (s->link_gen) {
            v = FIELD_DP32(v, LINK, GEN, s->link_gen);
            v = FIELD_DP32(v, LINK, LANES, s->link_lanes);
        }
        return v;
    case GL_REG_LINK_LATENCY:
        return s->link_latency;
    case GL_REG_LINK_RATE_LO:
        return extract64(s->link.rate, 0, 32);
    case GL_REG_LINK_RATE_HI:
        return extract64(s->link.rate, 32, 32);
    case GL_REG_WORKERS:
        return s->n_workers;
    case GL_REG_CTRL:
        return 0;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "gigalock: read of no register: 0x%"
                      HWADDR_PRIx "\n", addr);
        return 0;
    }
}

static void gl_card_write(GLState *s, hwaddr addr, uint32_t v)
{
    switch (addr) {
    case GL_REG_CTRL:
        if (FIELD_EX32(v, CTRL, RESET)) {
            gl_mmio_reset(s);
        }
        break;
    case GL_REG_SCRATCH:
        s->scratch = v;
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "gigalock: write to no register, or "
                      "a read-only one: 0x%" HWADDR_PRIx "\n", addr);
        break;
    }
}

static uint32_t gl_channel_read(GLChannel *ch, hwaddr reg)
{
    GLChannelRegs *r = &ch->regs;
    uint64_t bytes;

    switch (reg) {
    case GL_CH_CTRL:
        return r->ctrl;
    case GL_CH_STATUS:
        return gl_channel_status(ch);
    case GL_CH_RING_LO:
        return extract64(r->ring, 0, 32);
    case GL_CH_RING_HI:
        return extract64(r->ring, 32, 32);
    case GL_CH_CPL_LO:
        return extract64(r->cpl, 0, 32);
    case GL_CH_CPL_HI:
        return extract64(r->cpl, 32, 32);
    case GL_CH_RING_LOG2:
        return r->ring_log2;
    case GL_CH_VECTOR:
        return r->vector;
    case GL_CH_HEAD:
        return qatomic_read(&ch->head);
    case GL_CH_CPL_COUNT:
        return qatomic_read(&ch->cpl_count);
    case GL_CH_BYTES_LO:
        bytes = qatomic_read(&ch->bytes);
        r->bytes_hi = extract64(bytes, 32, 32);
        return extract64(bytes, 0, 32);
    case GL_CH_BYTES_HI:
        return r->bytes_hi;
    case GL_CH_COALESCE_COUNT:
        return r->coalesce_count;
    case GL_CH_COALESCE_TIME:
        return r->coalesce_time;
    case GL_CH_DOORBELL:
        return 0;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "gigalock: channel %u: read of no "
                      "register: 0x%" HWADDR_PRIx "\n", ch->index, reg);
        return 0;
    }
}

static void gl_write_ctrl(GLChannel *ch, uint32_t v)
{
    GLChannelRegs *r = &ch->regs;
    bool was = FIELD_EX32(r->ctrl, CH_CTRL, ENABLE);
    bool now = FIELD_EX32(v, CH_CTRL, ENABLE);

    r->ctrl = v & (R_CH_CTRL_ENABLE_MASK | R_CH_CTRL_IRQ_MASK);
    if (now && !was) {
        r->bytes_hi = 0;
        gl_channel_enable(ch);
    } else if (was && !now) {
        gl_channel_disable(ch);
    }
}

static void gl_channel_write(GLChannel *ch, hwaddr reg, uint32_t v)
{
    GLChannelRegs *r = &ch->regs;

    switch (reg) {
    case GL_CH_CTRL:
        gl_write_ctrl(ch, v);
        break;
    case GL_CH_RING_LO:
        r->ring = deposit64(r->ring, 0, 32, v);
        break;
    case GL_CH_RING_HI:
        r->ring = deposit64(r->ring, 32, 32, v);
        break;
    case GL_CH_CPL_LO:
        r->cpl = deposit64(r->cpl, 0, 32, v);
        break;
    case GL_CH_CPL_HI:
        r->cpl = deposit64(r->cpl, 32, 32, v);
        break;
    case GL_CH_RING_LOG2:
        r->ring_log2 = v;
        break;
    case GL_CH_VECTOR:
        r->vector = v;
        break;
    case GL_CH_COALESCE_COUNT:
        r->coalesce_count = v;
        gl_irq_configure(ch);
        break;
    case GL_CH_COALESCE_TIME:
        r->coalesce_time = v;
        gl_irq_configure(ch);
        break;
    case GL_CH_DOORBELL:
        gl_channel_doorbell(ch, v);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "gigalock: channel %u: write to no "
                      "register, or a read-only one: 0x%" HWADDR_PRIx "\n",
                      ch->index, reg);
        break;
    }
}

/* The channel that @addr belongs to, and the register in it; or NULL. */
static GLChannel *gl_find_channel(GLState *s, hwaddr addr, hwaddr *reg)
{
    unsigned n;

    if (addr < GL_CH_BASE) {
        return NULL;
    }
    n = (addr - GL_CH_BASE) / GL_CH_STRIDE;
    *reg = (addr - GL_CH_BASE) % GL_CH_STRIDE;
    return n < s->channels ? &s->ch[n] : NULL;
}

static uint64_t gl_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    GLState *s = opaque;
    hwaddr reg;
    GLChannel *ch = gl_find_channel(s, addr, &reg);

    return ch ? gl_channel_read(ch, reg) : gl_card_read(s, addr);
}

static void gl_mmio_write(void *opaque, hwaddr addr, uint64_t v, unsigned size)
{
    GLState *s = opaque;
    hwaddr reg;
    GLChannel *ch = gl_find_channel(s, addr, &reg);

    if (ch) {
        gl_channel_write(ch, reg, v);
    } else {
        gl_card_write(s, addr, v);
    }
}

const MemoryRegionOps gl_mmio_ops = {
    .read = gl_mmio_read,
    .write = gl_mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.min_access_size = 4,
    .valid.max_access_size = 4,
    .impl.min_access_size = 4,
    .impl.max_access_size = 4,
};

void gl_mmio_reset(GLState *s)
{
    gl_engine_reset(s);
    s->scratch = 0;
    for (unsigned i = 0; i < s->channels; i++) {
        s->ch[i].regs = (GLChannelRegs) { 0 };
        if (s->engine_up) {
            gl_irq_configure(&s->ch[i]);
        }
    }
}
