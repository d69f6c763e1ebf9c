/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: saving and loading, for a migration or a snapshot.
 *
 * QEMU stops the machine first, and with it the engine holds: so between two
 * parts of a descriptor, and announces what waits for an interrupt. Where each
 * channel is then goes into an image, and the image is what is saved. Memory,
 * the card's too, QEMU saves by itself. What is of the host is left out: the
 * knobs, the counters since the start, the time that the link model still
 * waits, translated addresses.
 *
 * A file that is loaded may come from anybody. It fills an image, and only when
 * all of that is found good does the card take it over; before, and after a
 * refusal, the card is as after a reset. It works when the machine runs.
 */
#include "compat.h"
#include "gigalock.h"
#include "qemu/error-report.h"

typedef struct GLChannelImage {
    GLChannelRegs regs;
    bool enabled;
    bool halted;
    uint8_t error;
    uint32_t tail;
    uint32_t head;
    uint32_t cpl_count;
    uint64_t bytes;
    uint64_t ring;          /* as latched */
    uint64_t cpl;
    uint32_t ring_log2;
    GLRun run;
} GLChannelImage;

/* What the guest has seen of the card, and relies on. */
typedef struct GLIdentity {
    uint64_t channels;
    uint64_t addr_width;
    uint64_t max_ring;
    uint64_t max_xfer;
    uint64_t max_seg;
    uint64_t align;
    uint64_t boundary;
    uint64_t card_size;
    uint64_t link_gen;
    uint64_t link_lanes;
    uint64_t link_latency;
    uint64_t first_index;
} GLIdentity;

struct GLImage {
    GLIdentity is;
    GLIdentity own;         /* of the card that loads it */
    uint32_t scratch;
    GLChannelImage ch[GL_MAX_CHANNELS];
};

/* ---- The card is the same ---- */

static const struct {
    const char *property;
    size_t at;
} gl_identity[] = {
    { "channels", offsetof(GLIdentity, channels) },
    { "addr-width", offsetof(GLIdentity, addr_width) },
    { "max-ring", offsetof(GLIdentity, max_ring) },
    { "max-xfer", offsetof(GLIdentity, max_xfer) },
    { "max-seg", offsetof(GLIdentity, max_seg) },
    { "align", offsetof(GLIdentity, align) },
    { "boundary", offsetof(GLIdentity, boundary) },
    { "card-mem", offsetof(GLIdentity, card_size) },
    { "link-gen", offsetof(GLIdentity, link_gen) },
    { "link-lanes", offsetof(GLIdentity, link_lanes) },
    { "link-latency", offsetof(GLIdentity, link_latency) },
    { "x-first-index", offsetof(GLIdentity, first_index) },
};

static GLIdentity gl_identify(GLState *s)
{
    return (GLIdentity) {
        .channels = s->channels,
        .addr_width = s->addr_width,
        .max_ring = s->max_ring,
        .max_xfer = s->max_xfer,
        .max_seg = s->max_seg,
        .align = s->align,
        .boundary = s->boundary,
        .card_size = s->card_size,
        .link_gen = s->link_gen,
        .link_lanes = s->link_lanes,
        .link_latency = s->link_latency,
        .first_index = s->first_index,
    };
}

/* Right after these values, before others fail for the same reason. */
static int gl_identity_post_load(void *opaque, int version_id)
{
    struct GLImage *image = container_of(opaque, struct GLImage, is);

    for (unsigned i = 0; i < ARRAY_SIZE(gl_identity); i++) {
        uint64_t saved = *(uint64_t *)((void *)&image->is + gl_identity[i].at);
        uint64_t own = *(uint64_t *)((void *)&image->own + gl_identity[i].at);

        if (saved != own) {
            error_report("gigalock: saved with %s=%" PRIu64 ", and this card "
                         "has %" PRIu64, gl_identity[i].property, saved, own);
            return -EINVAL;
        }
    }
    return 0;
}

/* ---- From the card to the image ---- */

static void gl_save_channel(GLChannel *ch, GLChannelImage *image)
{
    *image = (GLChannelImage) {
        .regs = ch->regs,
        .enabled = ch->enabled,
        .halted = ch->halted,
        .error = ch->error,
        .tail = ch->tail,
        .head = ch->head,
        .cpl_count = ch->cpl_count,
        .bytes = ch->bytes,
    };
    if (ch->enabled) {
        image->ring = ch->ring;
        image->cpl = ch->cpl;
        image->ring_log2 = ctz32(ch->ring_len);
    }
    /* What a halted channel was at is never taken up again. */
    if (ch->enabled && !ch->halted) {
        image->run = ch->run;
    }
}

static int gl_pre_save(void *opaque)
{
    GLState *s = opaque;
    bool works = false;

    g_free(s->image);
    s->image = g_new0(struct GLImage, 1);
    s->image->is = gl_identify(s);
    s->image->scratch = s->scratch;
    qemu_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->channels; i++) {
        works |= !s->vm_hold && s->ch[i].enabled && !s->ch[i].halted;
        gl_save_channel(&s->ch[i], &s->image->ch[i]);
    }
    qemu_mutex_unlock(&s->lock);
    if (works) {
        /* Nothing has stopped it, and memory has been saved already. */
        error_report("gigalock: not saved: a channel is enabled, but the "
                     "machine has never run");
        return -EBUSY;
    }
    return 0;
}

/* ---- From the image to the card ---- */

static bool G_GNUC_PRINTF(2, 3) gl_bad(unsigned ch, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, format);
    what = g_strdup_vprintf(format, ap);
    va_end(ap);
    error_report("gigalock: not loaded: channel %u: %s", ch, what);
    return false;
}

/* The work in progress of a channel that runs. */
static bool gl_run_ok(GLState *s, unsigned n, const GLChannelImage *c)
{
    const GLRun *run = &c->run;
    const struct gl_desc *d;
    uint64_t bad = 0;
    int ret;

    if (run->n > GL_FETCH || run->at > run->n) {
        return gl_bad(n, "at descriptor %u of %u fetched, at most %u", run->at,
                      run->n, GL_FETCH);
    }
    if (run->n - run->at > c->tail - c->head) {
        return gl_bad(n, "%u descriptors fetched, but %u outstanding",
                      run->n - run->at, c->tail - c->head);
    }
    if (!run->started) {
        return true;
    }
    if (run->at == run->n) {
        return gl_bad(n, "works on descriptor %u, and has fetched %u", run->at,
                      run->n);
    }
    if (run->status < 0 || run->status > UINT8_MAX) {
        return gl_bad(n, "descriptor status %d, from 0 to %u", run->status,
                      UINT8_MAX);
    }
    if (run->skip || run->status != GL_ERR_NONE) {
        return true;        /* no byte of it will be moved */
    }
    d = &run->desc[run->at];
    ret = gl_limits_check(s, d, &bad);
    if (ret != GL_ERR_NONE) {
        return gl_bad(n, "works on a descriptor that fails with status 0x%02x "
                      "at 0x%" PRIx64, ret, bad);
    }
    if (run->done > d->len) {
        return gl_bad(n, "%" PRIu64 " bytes of a descriptor done, of %" PRIu64,
                      run->done, d->len);
    }
    return true;
}

static bool gl_channel_ok(GLState *s, unsigned n, const GLChannelImage *c)
{
    bool on = FIELD_EX32(c->regs.ctrl, CH_CTRL, ENABLE);

    if (c->regs.ctrl & ~(R_CH_CTRL_ENABLE_MASK | R_CH_CTRL_IRQ_MASK)) {
        return gl_bad(n, "CTRL 0x%x, of 0x%x", c->regs.ctrl,
                      (unsigned)(R_CH_CTRL_ENABLE_MASK | R_CH_CTRL_IRQ_MASK));
    }
    if (c->enabled != on && !(on && c->halted)) {
        return gl_bad(n, "%s, and CTRL.ENABLE is %u",
                      c->enabled ? "runs" : "stands", on);
    }
    if (!c->enabled) {
        return true;
    }
    if (!gl_ring_config_ok(s, c->ring, c->cpl, c->ring_log2)) {
        return gl_bad(n, "rings of 2^%u at 0x%" PRIx64 " and 0x%" PRIx64 ", "
                      "from 2^%u to 2^%u, 64-byte aligned, %u bits",
                      c->ring_log2, c->ring, c->cpl, GL_MIN_RING_LOG2,
                      s->max_ring, s->addr_width);
    }
    if (c->tail - c->head > 1u << c->ring_log2) {
        return gl_bad(n, "%u descriptors outstanding, in a ring of %u",
                      c->tail - c->head, 1u << c->ring_log2);
    }
    return c->halted || gl_run_ok(s, n, c);
}

/* After a reset, GLState.lock held. */
static void gl_load_channel(GLChannel *ch, const GLChannelImage *image)
{
    bool live = image->enabled && !image->halted;

    ch->regs = image->regs;
    ch->halted = image->halted;
    ch->error = image->error;
    ch->tail = image->tail;
    ch->head = image->head;
    ch->cpl_count = image->cpl_count;
    ch->bytes = image->bytes;
    if (image->enabled) {
        gl_channel_latch(ch, image->ring, image->cpl, image->ring_log2);
        ch->enabled = true;
    }
    ch->abort = !live;
    if (live) {
        ch->run = image->run;
        ch->run.fetching = false;
    }
    gl_irq_configure(ch);
}

static int gl_pre_load(void *opaque)
{
    GLState *s = opaque;

    /* Nothing but what follows; and nothing moves before all is there. */
    gl_mmio_reset(s);
    gl_engine_hold(s);
    g_free(s->image);
    s->image = g_new0(struct GLImage, 1);
    s->image->own = gl_identify(s);
    return 0;
}

static int gl_post_load(void *opaque, int version_id)
{
    GLState *s = opaque;

    for (unsigned i = 0; i < s->channels; i++) {
        if (!gl_channel_ok(s, i, &s->image->ch[i])) {
            return -EINVAL;
        }
    }
    gl_engine_allow_dma(s, gl_may_master(PCI_DEVICE(s)));
    s->scratch = s->image->scratch;
    qemu_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->channels; i++) {
        gl_load_channel(&s->ch[i], &s->image->ch[i]);
    }
    gl_engine_kick(s);
    qemu_mutex_unlock(&s->lock);
    g_free(s->image);
    s->image = NULL;
    return 0;
}

/* ---- The form ---- */

static const VMStateDescription gl_vmstate_identity = {
    .name = TYPE_GIGALOCK "/identity",
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = gl_identity_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_UINT64(channels, GLIdentity),
        VMSTATE_UINT64(addr_width, GLIdentity),
        VMSTATE_UINT64(max_ring, GLIdentity),
        VMSTATE_UINT64(max_xfer, GLIdentity),
        VMSTATE_UINT64(max_seg, GLIdentity),
        VMSTATE_UINT64(align, GLIdentity),
        VMSTATE_UINT64(boundary, GLIdentity),
        VMSTATE_UINT64(card_size, GLIdentity),
        VMSTATE_UINT64(link_gen, GLIdentity),
        VMSTATE_UINT64(link_lanes, GLIdentity),
        VMSTATE_UINT64(link_latency, GLIdentity),
        VMSTATE_UINT64(first_index, GLIdentity),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription gl_vmstate_regs = {
    .name = TYPE_GIGALOCK "/registers",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        VMSTATE_UINT32(ctrl, GLChannelRegs),
        VMSTATE_UINT64(ring, GLChannelRegs),
        VMSTATE_UINT64(cpl, GLChannelRegs),
        VMSTATE_UINT32(ring_log2, GLChannelRegs),
        VMSTATE_UINT32(vector, GLChannelRegs),
        VMSTATE_UINT32(bytes_hi, GLChannelRegs),
        VMSTATE_UINT32(coalesce_count, GLChannelRegs),
        VMSTATE_UINT32(coalesce_time, GLChannelRegs),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription gl_vmstate_desc = {
    .name = TYPE_GIGALOCK "/descriptor",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        VMSTATE_UINT16(op, struct gl_desc),
        VMSTATE_UINT16(flags, struct gl_desc),
        VMSTATE_UINT32(cookie, struct gl_desc),
        VMSTATE_UINT64(src, struct gl_desc),
        VMSTATE_UINT64(dst, struct gl_desc),
        VMSTATE_UINT64(len, struct gl_desc),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription gl_vmstate_run = {
    .name = TYPE_GIGALOCK "/run",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        VMSTATE_STRUCT_ARRAY(desc, GLRun, GL_FETCH, 1, gl_vmstate_desc,
                             struct gl_desc),
        VMSTATE_UINT32(n, GLRun),
        VMSTATE_UINT32(at, GLRun),
        VMSTATE_BOOL(started, GLRun),
        VMSTATE_INT32(status, GLRun),
        VMSTATE_UINT64(done, GLRun),
        VMSTATE_UINT64(bad, GLRun),
        VMSTATE_BOOL(skip, GLRun),
        VMSTATE_BOOL(large, GLRun),
        VMSTATE_UINT64(chain_bytes, GLRun),
        VMSTATE_UINT32(crc, GLRun),
        VMSTATE_UINT32(crc_before, GLRun),
        VMSTATE_UINT32(crc_done, GLRun),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription gl_vmstate_channel = {
    .name = TYPE_GIGALOCK "/channel",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        VMSTATE_STRUCT(regs, GLChannelImage, 1, gl_vmstate_regs,
                       GLChannelRegs),
        VMSTATE_BOOL(enabled, GLChannelImage),
        VMSTATE_BOOL(halted, GLChannelImage),
        VMSTATE_UINT8(error, GLChannelImage),
        VMSTATE_UINT32(tail, GLChannelImage),
        VMSTATE_UINT32(head, GLChannelImage),
        VMSTATE_UINT32(cpl_count, GLChannelImage),
        VMSTATE_UINT64(bytes, GLChannelImage),
        VMSTATE_UINT64(ring, GLChannelImage),
        VMSTATE_UINT64(cpl, GLChannelImage),
        VMSTATE_UINT32(ring_log2, GLChannelImage),
        VMSTATE_STRUCT(run, GLChannelImage, 1, gl_vmstate_run, GLRun),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription gl_vmstate_image = {
    .name = TYPE_GIGALOCK "/image",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (VMStateField[]) {
        VMSTATE_STRUCT(is, struct GLImage, 1, gl_vmstate_identity, GLIdentity),
        VMSTATE_UINT32(scratch, struct GLImage),
        VMSTATE_STRUCT_ARRAY(ch, struct GLImage, GL_MAX_CHANNELS, 1,
                             gl_vmstate_channel, GLChannelImage),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription gl_vmstate = {
    .name = TYPE_GIGALOCK,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = gl_pre_save,
    .pre_load = gl_pre_load,
    .post_load = gl_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_STRUCT_POINTER(image, GLState, gl_vmstate_image,
                               struct GLImage),
        VMSTATE_PCI_DEVICE(parent_obj, GLState),
        VMSTATE_MSIX(parent_obj, GLState),
        VMSTATE_END_OF_LIST()
    },
};
