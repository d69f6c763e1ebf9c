/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the engine. One worker thread per channel fetches descriptors,
 * moves the bytes and writes completion records; only interrupts are left to
 * the main loop.
 *
 * A worker that runs calls gl_wait_leave() before each piece of work. There it
 * is held (the VM is stopped, the pause knob, the hang fault) or told to give
 * up (reset, ENABLE=0, bus master off, unplug). It never needs QEMU's big
 * lock, so the main thread may wait for it.
 */
#include "compat.h"
#include "gigalock.h"
#include "gigalock_crc32c.h"

/* Not a status that a guest sees: the work was given up. */
#define GL_ABORTED (-1)

/* ---- Holding and giving up ---- */

/* GLState.lock held. A worker without attention doesn't take the lock. */
static void gl_update_attention(GLState *s)
{
    bool all = !s->dma_ok || s->vm_hold || s->fault == GL_FAULT_HANG ||
               s->pause_after != GL_PAUSE_OFF;

    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        qatomic_set(&ch->attention, all || ch->abort);
    }
}

void gl_engine_kick(GLState *s)
{
    gl_update_attention(s);
    for (unsigned i = 0; s->engine_up && i < s->channels; i++) {
        qemu_cond_broadcast(&s->ch[i].wake);
    }
}

/*
 * Ask for leave to move up to @want bytes (0: just to go on) and wait while the
 * channel is held. Sets @allowed, and returns GL_ERR_NONE, GL_ABORTED or
 * GL_ERR_BUS_MASTER.
 */
static int gl_wait_leave(GLChannel *ch, uint64_t want, uint64_t *allowed)
{
    GLState *s = ch->s;
    int ret = GL_ERR_NONE;

    *allowed = want;
    if (likely(!qatomic_read(&ch->attention))) {
        return GL_ERR_NONE;
    }

    qemu_mutex_lock(&s->lock);
    for (;;) {
        if (ch->abort) {
            ret = GL_ABORTED;
            break;
        }
        if (!s->dma_ok) {
            ret = GL_ERR_BUS_MASTER;
            break;
        }
        ch->paused = s->pause_after != GL_PAUSE_OFF && s->pause_left == 0;
        if (!ch->paused && !s->vm_hold && s->fault != GL_FAULT_HANG) {
            break;
        }
        ch->held = true;
        qemu_cond_broadcast(&s->quiet);
        qemu_cond_wait(&ch->wake, &s->lock);
    }
    ch->held = false;
    ch->paused = false;
    if (ret == GL_ERR_NONE && want && s->pause_after != GL_PAUSE_OFF) {
        *allowed = MIN(want, s->pause_left);
        s->pause_left -= *allowed;
        ch->moving = true;
        ch->moving_epoch = s->pause_epoch;
    }
    qemu_mutex_unlock(&s->lock);
    return ret;
}

/* Account for bytes moved with the leave of gl_wait_leave(). */
static void gl_moved(GLChannel *ch, uint64_t allowed, uint64_t moved)
{
    GLState *s = ch->s;

    qatomic_set(&ch->bytes, ch->bytes + moved);
    qatomic_add(&s->stat_bytes, moved);
    if (ch->moving) {
        qemu_mutex_lock(&s->lock);
        ch->moving = false;
        if (s->pause_epoch == ch->moving_epoch) {
            s->pause_left += allowed - moved;
        }
        qemu_mutex_unlock(&s->lock);
    }
}

bool gl_engine_paused(GLState *s)
{
    bool paused = false, moving = false;

    qemu_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->channels; i++) {
        paused |= s->ch[i].paused;
        moving |= s->ch[i].moving;
    }
    qemu_mutex_unlock(&s->lock);
    return paused && !moving;
}

/* The reason why less was moved than asked: told to stop, or @fault. */
static int gl_why_short(GLChannel *ch, int fault)
{
    uint64_t dummy;
    int ret = gl_wait_leave(ch, 0, &dummy);

    return ret == GL_ERR_NONE ? fault : ret;
}

/* ---- One descriptor ---- */

/*
 * The fault knobs' way: through a buffer, so that what arrives can differ from
 * what was sent. @at is the position in the descriptor. Returns what counts as
 * moved.
 */
static uint64_t gl_copy_faulty(GLChannel *ch, const struct gl_desc *d,
                               uint64_t at, uint64_t n, GLFault fault)
{
    GLState *s = ch->s;
    bool to_card = d->op == GL_OP_H2C;
    uint64_t host = to_card ? d->src : d->dst;
    uint8_t *card = s->card + (to_card ? d->dst : d->src);
    uint64_t put = at, head;

    n = MIN(n, GL_BOUNCE);
    if (to_card) {
        n = gl_dma_rw(ch, host + at, ch->bounce, n, false);
    } else {
        memcpy(ch->bounce, card + at, n);
    }
    if (fault == GL_FAULT_CORRUPT && at <= d->len / 2 && d->len / 2 < at + n) {
        /* A mask for each direction, or there and back would heal it. */
        ch->bounce[d->len / 2 - at] ^= to_card ? 0x5a : 0xa5;
    }
    if (d->flags & GL_DESC_F_CRC) {
        ch->crc = gl_crc32c(ch->crc, ch->bounce, n);
    }
    if (fault == GL_FAULT_NO_COPY) {
        return n;
    }
    if (fault == GL_FAULT_WRONG_PLACE) {
        put = at + 1;
    }
    /* The part that fits, then what wraps around to the start. */
    head = MIN(n, d->len - put);
    if (to_card) {
        memcpy(card + put, ch->bounce, head);
        memcpy(card, ch->bounce + head, n - head);
        memory_region_set_dirty(s->card_mr, d->dst + put, head);
        memory_region_set_dirty(s->card_mr, d->dst, n - head);
        return n;
    }
    if (head && gl_dma_rw(ch, host + put, ch->bounce, head, true) < head) {
        return 0;
    }
    if (n > head &&
        gl_dma_rw(ch, host, ch->bounce + head, n - head, true) < n - head) {
        return head;
    }
    return n;
}

static int gl_move(GLChannel *ch, const struct gl_desc *d, uint64_t *moved,
                   uint64_t *bad)
{
    GLState *s = ch->s;
    bool to_card = d->op == GL_OP_H2C;
    bool crc = d->flags & GL_DESC_F_CRC;
    uint64_t host = to_card ? d->src : d->dst;
    uint64_t card = to_card ? d->dst : d->src;
    uint64_t chunk = crc ? GL_CHUNK_CRC : GL_CHUNK;
    uint64_t done = 0;
    int ret = GL_ERR_NONE;

    while (done < d->len) {
        GLFault fault = qatomic_read(&s->fault);
        uint64_t n = MIN(d->len - done, chunk), got;

        if (fault == GL_FAULT_NO_COPY || fault == GL_FAULT_WRONG_PLACE ||
            fault == GL_FAULT_CORRUPT) {
            n = MIN(n, GL_BOUNCE);
        } else {
            fault = GL_FAULT_NONE;
        }
        ret = gl_wait_leave(ch, n, &n);
        if (ret != GL_ERR_NONE) {
            break;
        }
        if (fault != GL_FAULT_NONE) {
            got = gl_copy_faulty(ch, d, done, n, fault);
        } else {
            got = gl_dma_rw(ch, host + done, s->card + card + done, n,
                            !to_card);
            if (to_card) {
                memory_region_set_dirty(s->card_mr, card + done, got);
            }
            if (crc) {
                ch->crc = gl_crc32c(ch->crc, s->card + card + done, got);
            }
        }
        gl_moved(ch, n, got);
        done += got;
        if (got < n) {
            ret = gl_why_short(ch, to_card ? GL_ERR_HOST_READ :
                                             GL_ERR_HOST_WRITE);
            *bad = host + done;
            break;
        }
    }
    *moved = done;
    return ret;
}

/* Everything that is known before a byte moves. */
static int gl_check(GLState *s, const struct gl_desc *d, uint64_t *bad)
{
    uint64_t host, card;

    if (d->op > GL_OP_C2H) {
        return GL_ERR_OP;
    }
    if ((d->flags & ~GL_DESC_F_ALL) || (d->op == GL_OP_NOP && d->len)) {
        return GL_ERR_DESC;
    }
    if (d->op == GL_OP_NOP) {
        return GL_ERR_NONE;
    }
    if (!d->len || d->len > s->max_xfer) {
        return GL_ERR_LEN;
    }
    host = d->op == GL_OP_H2C ? d->src : d->dst;
    card = d->op == GL_OP_H2C ? d->dst : d->src;
    if (!gl_dma_in_width(s, host, d->len, bad)) {
        return GL_ERR_ADDR_WIDTH;
    }
    if (card >= s->card_size || d->len > s->card_size - card) {
        *bad = MAX(card, s->card_size);
        return GL_ERR_CARD_RANGE;
    }
    return GL_ERR_NONE;
}

/* ---- The ring ---- */

static void gl_raise(GLChannel *ch)
{
    qatomic_set(&ch->irq_pending, true);
    qemu_bh_schedule(ch->s->irq_bh);
}

static void gl_halt(GLChannel *ch, uint8_t error)
{
    GLState *s = ch->s;

    qemu_mutex_lock(&s->lock);
    if (!ch->abort && !ch->halted) {
        ch->halted = true;
        ch->error = error;
        qatomic_add(&s->stat_errors, 1);
        gl_raise(ch);       /* or a waiting driver would never know */
    }
    qemu_mutex_unlock(&s->lock);
}

static bool gl_complete(GLChannel *ch, const struct gl_desc *d, int status,
                        uint64_t bad)
{
    uint32_t slot = ch->cpl_count & (ch->ring_len - 1);
    uint64_t addr = ch->cpl + (uint64_t)slot * sizeof(struct gl_cpl);
    size_t body = offsetof(struct gl_cpl, seq);
    struct gl_cpl cpl = {
        .cookie = cpu_to_le32(d->cookie),
        .status = cpu_to_le32(status),
        .bytes = cpu_to_le64(ch->chain_bytes),
        .fault_addr = cpu_to_le64(bad),
        .crc = cpu_to_le32(ch->crc),
        .seq = cpu_to_le32(ch->cpl_count + 1),
    };
    int ret;

    /* The payload before the record. */
    smp_wmb();
    if (gl_dma_rw(ch, addr, &cpl, body, true) < body) {
        goto fail;
    }
    /* The record before its sequence number. */
    smp_wmb();
    if (gl_dma_rw(ch, addr + body, &cpl.seq, sizeof(cpl.seq), true) <
        sizeof(cpl.seq)) {
        goto fail;
    }
    qatomic_set(&ch->cpl_count, ch->cpl_count + 1);
    return true;

fail:
    ret = gl_why_short(ch, GL_ERR_CPL_WRITE);
    if (ret != GL_ABORTED) {
        gl_halt(ch, ret);
    }
    return false;
}

/* Returns false when the batch ends here: given up or halted. */
static bool gl_descriptor(GLChannel *ch, const struct gl_desc *d)
{
    GLState *s = ch->s;
    uint64_t moved = 0, bad = 0, dummy;
    int ret = gl_wait_leave(ch, 0, &dummy);
    bool irq = d->flags & GL_DESC_F_IRQ;
    int status = GL_ERR_NONE;

    if (ret == GL_ERR_NONE && !ch->skip) {
        if (!(d->flags & ~GL_DESC_F_ALL) && (d->flags & GL_DESC_F_CRC_INIT)) {
            ch->crc = 0;
        }
        status = gl_check(s, d, &bad);
        if (status == GL_ERR_NONE && d->op != GL_OP_NOP) {
            status = gl_move(ch, d, &moved, &bad);
        }
        ret = status == GL_ABORTED || status == GL_ERR_BUS_MASTER ? status :
              gl_wait_leave(ch, 0, &dummy);
    }
    if (ret != GL_ERR_NONE) {
        if (ret != GL_ABORTED) {
            gl_halt(ch, ret);
        }
        return false;
    }

    /*
     * First the head, then the completion: a driver that has seen the
     * completion may use the place in the ring again.
     */
    qatomic_set(&ch->head, ch->head + 1);
    qatomic_add(&s->stat_descriptors, 1);
    if (ch->skip) {
        ch->skip = !(d->flags & GL_DESC_F_CPL);
    } else {
        ch->chain_bytes += moved;
        if (status != GL_ERR_NONE) {
            qatomic_add(&s->stat_errors, 1);
            qemu_log_mask(LOG_GUEST_ERROR, "gigalock: channel %u: descriptor "
                          "%" PRIu32 " failed with status 0x%02x at 0x%" PRIx64
                          "\n", ch->index, ch->head - 1, status, bad);
        }
        if (status != GL_ERR_NONE || (d->flags & GL_DESC_F_CPL)) {
            if (!gl_complete(ch, d, status, bad)) {
                return false;
            }
            ch->chain_bytes = 0;
            ch->skip = !(d->flags & GL_DESC_F_CPL);
        } else {
            irq = false;    /* IRQ speaks of the completion */
        }
    }
    if (irq) {
        gl_raise(ch);
    }
    return true;
}

/* Fetch some descriptors and run them. */
static void gl_batch(GLChannel *ch, uint32_t tail)
{
    struct gl_desc desc[GL_FETCH];
    uint32_t place = ch->head & (ch->ring_len - 1);
    uint32_t n = MIN(MIN(tail - ch->head, GL_FETCH), ch->ring_len - place);
    uint64_t dummy;
    int ret = gl_wait_leave(ch, 0, &dummy);

    if (ret == GL_ERR_NONE) {
        n = gl_dma_rw(ch, ch->ring + (uint64_t)place * sizeof(desc[0]), desc,
                      n * sizeof(desc[0]), false) / sizeof(desc[0]);
        if (!n) {
            ret = gl_why_short(ch, GL_ERR_RING_FETCH);
        }
    }
    if (ret != GL_ERR_NONE) {
        if (ret != GL_ABORTED) {
            gl_halt(ch, ret);
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct gl_desc d = {
            .op = le16_to_cpu(desc[i].op),
            .flags = le16_to_cpu(desc[i].flags),
            .cookie = le32_to_cpu(desc[i].cookie),
            .src = le64_to_cpu(desc[i].src),
            .dst = le64_to_cpu(desc[i].dst),
            .len = le64_to_cpu(desc[i].len),
        };

        if (!gl_descriptor(ch, &d)) {
            return;
        }
    }
}

static void *gl_worker(void *opaque)
{
    GLChannel *ch = opaque;
    GLState *s = ch->s;

    rcu_register_thread();
    qemu_mutex_lock(&s->lock);
    while (!ch->exit) {
        uint32_t tail = ch->tail;

        if (!ch->enabled || ch->halted || ch->abort || s->vm_hold ||
            tail == ch->head) {
            qemu_cond_wait(&ch->wake, &s->lock);
            continue;
        }
        ch->active = true;
        qemu_mutex_unlock(&s->lock);
        gl_batch(ch, tail);
        qemu_mutex_lock(&s->lock);
        ch->active = false;
        qemu_cond_broadcast(&s->quiet);
    }
    qemu_mutex_unlock(&s->lock);
    rcu_unregister_thread();
    return NULL;
}

/* ---- The main loop's side ---- */

static void gl_irq_bh(void *opaque)
{
    GLState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        if (qatomic_xchg(&ch->irq_pending, false) &&
            FIELD_EX32(ch->regs.ctrl, CH_CTRL, IRQ) && msix_enabled(pdev) &&
            qatomic_read(&s->fault) != GL_FAULT_NO_IRQ &&
            ch->regs.vector < s->channels) {
            msix_notify(pdev, ch->regs.vector);
        }
    }
}

/* GLState.lock held: wait until the worker is out of its batch, or held. */
static void gl_wait_quiet(GLChannel *ch, bool held_will_do)
{
    while (ch->active && !(held_will_do && ch->held)) {
        qemu_cond_wait(&ch->s->quiet, &ch->s->lock);
    }
}

/* GLState.lock held: tell the worker to give up, without waiting. */
static void gl_abort(GLChannel *ch)
{
    ch->enabled = false;
    ch->abort = true;
    gl_update_attention(ch->s);
    qemu_cond_broadcast(&ch->wake);
}

static bool gl_ring_config_ok(GLChannel *ch)
{
    GLChannelRegs *r = &ch->regs;
    uint64_t bad, bytes;

    if (r->ring_log2 < GL_MIN_RING_LOG2 || r->ring_log2 > ch->s->max_ring) {
        return false;
    }
    bytes = (uint64_t)sizeof(struct gl_desc) << r->ring_log2;
    return !(r->ring & 63) && !(r->cpl & 63) &&
           gl_dma_in_width(ch->s, r->ring, bytes, &bad) &&
           gl_dma_in_width(ch->s, r->cpl, bytes, &bad);
}

void gl_channel_enable(GLChannel *ch)
{
    GLState *s = ch->s;

    qemu_mutex_lock(&s->lock);
    gl_abort(ch);
    gl_wait_quiet(ch, false);
    ch->head = ch->tail = ch->cpl_count = 0;
    ch->bytes = 0;
    ch->skip = false;
    ch->chain_bytes = 0;
    ch->crc = 0;
    ch->irq_pending = false;
    ch->translate = pci_device_iommu_address_space(PCI_DEVICE(s)) !=
                    &address_space_memory;
    ch->halted = !gl_ring_config_ok(ch);
    ch->error = ch->halted ? GL_ERR_RING_CONFIG : GL_ERR_NONE;
    if (!ch->halted) {
        ch->ring = ch->regs.ring;
        ch->cpl = ch->regs.cpl;
        ch->ring_len = 1u << ch->regs.ring_log2;
        ch->abort = false;
        ch->enabled = true;
    } else {
        qatomic_add(&s->stat_errors, 1);
    }
    gl_update_attention(s);
    qemu_mutex_unlock(&s->lock);
}

void gl_channel_disable(GLChannel *ch)
{
    GLState *s = ch->s;

    qemu_mutex_lock(&s->lock);
    gl_abort(ch);
    qemu_mutex_unlock(&s->lock);
}

void gl_channel_doorbell(GLChannel *ch, uint32_t tail)
{
    GLState *s = ch->s;

    qemu_mutex_lock(&s->lock);
    if (ch->enabled && !ch->halted) {
        uint32_t head = qatomic_read(&ch->head);

        /* Too many, or taking back what was given: the same lie. */
        if (tail - head > ch->ring_len || tail - head < ch->tail - head) {
            ch->halted = true;
            ch->error = GL_ERR_DOORBELL;
            qatomic_add(&s->stat_errors, 1);
            ch->abort = true;
            gl_update_attention(s);
            gl_raise(ch);
        } else {
            ch->tail = tail;
        }
        qemu_cond_broadcast(&ch->wake);
    }
    qemu_mutex_unlock(&s->lock);
}

uint32_t gl_channel_status(GLChannel *ch)
{
    GLState *s = ch->s;
    uint32_t v = 0;
    bool live;

    qemu_mutex_lock(&s->lock);
    live = ch->enabled && !ch->halted;
    v = FIELD_DP32(v, CH_STATUS, RUNNING, live || ch->active);
    v = FIELD_DP32(v, CH_STATUS, BUSY, ch->active ||
                   (live && ch->tail != qatomic_read(&ch->head)));
    v = FIELD_DP32(v, CH_STATUS, HALTED, ch->halted);
    v = FIELD_DP32(v, CH_STATUS, ERROR, ch->error);
    qemu_mutex_unlock(&s->lock);
    return v;
}

void gl_engine_reset(GLState *s)
{
    qemu_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->channels; i++) {
        gl_abort(&s->ch[i]);
    }
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        gl_wait_quiet(ch, false);
        ch->head = ch->tail = ch->cpl_count = 0;
        ch->bytes = 0;
        ch->halted = false;
        ch->error = GL_ERR_NONE;
        ch->irq_pending = false;
    }
    qemu_mutex_unlock(&s->lock);
}

void gl_engine_allow_dma(GLState *s, bool allowed)
{
    qemu_mutex_lock(&s->lock);
    if (s->dma_ok != allowed) {
        s->dma_ok = allowed;
        gl_engine_kick(s);
        for (unsigned i = 0; !allowed && s->engine_up && i < s->channels; i++) {
            gl_wait_quiet(&s->ch[i], false);
        }
    }
    qemu_mutex_unlock(&s->lock);
}

/* A stopped VM's memory stands still: hold the workers, then go on. */
static void gl_vm_state(void *opaque, bool running, RunState state)
{
    GLState *s = opaque;

    qemu_mutex_lock(&s->lock);
    s->vm_hold = !running;
    gl_engine_kick(s);
    for (unsigned i = 0; !running && s->engine_up && i < s->channels; i++) {
        gl_wait_quiet(&s->ch[i], true);
    }
    qemu_mutex_unlock(&s->lock);
    if (!running) {
        gl_irq_bh(s);
    }
}

static void gl_join_workers(GLState *s)
{
    gl_engine_reset(s);
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        qemu_mutex_lock(&s->lock);
        ch->exit = true;
        qemu_cond_broadcast(&ch->wake);
        qemu_mutex_unlock(&s->lock);
        qemu_thread_join(&ch->thread);
    }
    s->engine_up = false;
}

/* QEMU ends without taking its devices apart: at least no worker runs on. */
static void gl_exit_notify(Notifier *n, void *data)
{
    gl_join_workers(container_of(n, GLState, exit_notifier));
}

void gl_engine_start(GLState *s)
{
    gl_crc32c_init();
    qemu_cond_init(&s->quiet);
    s->irq_bh = qemu_bh_new_guarded(gl_irq_bh, s,
                                    &DEVICE(s)->mem_reentrancy_guard);
    gl_dma_init(s);
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];
        g_autofree char *name = g_strdup_printf("gigalock-%u", i);

        ch->s = s;
        ch->index = i;
        ch->exit = false;
        ch->bounce = g_malloc(GL_BOUNCE);
        qemu_cond_init(&ch->wake);
        qemu_thread_create(&ch->thread, name, gl_worker, ch,
                           QEMU_THREAD_JOINABLE);
    }
    s->engine_up = true;
    s->vm_state = qemu_add_vm_change_state_handler(gl_vm_state, s);
    s->exit_notifier.notify = gl_exit_notify;
    qemu_add_exit_notifier(&s->exit_notifier);
}

void gl_engine_stop(GLState *s)
{
    gl_join_workers(s);
    qemu_del_vm_change_state_handler(s->vm_state);
    qemu_remove_exit_notifier(&s->exit_notifier);
    for (unsigned i = 0; i < s->channels; i++) {
        qemu_cond_destroy(&s->ch[i].wake);
        g_free(s->ch[i].bounce);
        s->ch[i].bounce = NULL;
    }
    gl_dma_cleanup(s);
    qemu_bh_delete(s->irq_bh);
    qemu_cond_destroy(&s->quiet);
}
