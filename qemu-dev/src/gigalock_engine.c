/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: who works on which channel, and when nobody may.
 *
 * Worker threads take the channels that are ready, one turn at a time; with no
 * workers a bottom half of the main loop does the same in shorter turns. A
 * channel has one who works on it at most, so its order is kept.
 *
 * Nobody ever waits in the middle of a turn. Before each piece of work
 * gl_leave() tells whether to go on, to give up (reset, ENABLE=0, unplug), or
 * to leave the channel as it is until somebody lets go (the VM is stopped, the
 * pause knob, the hang fault). So a turn ends soon, and needs no big lock of
 * QEMU's: the main thread may wait for it.
 */
#include "compat.h"
#include "gigalock.h"
#include "gigalock_crc32c.h"

/* ---- Holding and giving up ---- */

/* GLState.lock held. Work without attention doesn't take the lock. */
static void gl_update_attention(GLState *s)
{
    bool all = !s->dma_ok || s->vm_hold || s->fault == GL_FAULT_HANG ||
               s->pause_after != GL_PAUSE_OFF;

    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        qatomic_set(&ch->attention, all || ch->abort);
    }
}

void gl_engine_wake(GLState *s)
{
    if (!s->engine_up) {
        return;
    }
    if (s->watched) {
        /* Only one of the wakes: for the next one somebody else is needed. */
        qatomic_set(&s->watched, false);
    } else if (s->n_workers) {
        qemu_cond_signal(&s->work);
    } else {
        qemu_bh_schedule(s->run_bh);
    }
}

void gl_engine_kick(GLState *s)
{
    gl_update_attention(s);
    for (unsigned i = 0; i < s->channels; i++) {
        s->ch[i].held = false;
        s->ch[i].paused = false;
    }
    if (s->engine_up) {
        qemu_cond_broadcast(&s->work);
        gl_engine_wake(s);
    }
}

int gl_leave(GLChannel *ch, uint64_t want, uint64_t *allowed)
{
    GLState *s = ch->s;
    int ret = GL_ERR_NONE;

    *allowed = want;
    if (likely(!qatomic_read(&ch->attention))) {
        return GL_ERR_NONE;
    }

    qemu_mutex_lock(&s->lock);
    if (ch->abort) {
        ret = GL_ABORTED;
    } else if (!s->dma_ok) {
        ret = GL_ERR_BUS_MASTER;
    } else if (s->pause_after != GL_PAUSE_OFF && s->pause_left == 0) {
        ch->paused = true;
        ret = GL_HELD;
    } else if (s->vm_hold || s->fault == GL_FAULT_HANG) {
        ret = GL_HELD;
    } else if (want && s->pause_after != GL_PAUSE_OFF) {
        *allowed = MIN(want, s->pause_left);
        s->pause_left -= *allowed;
        ch->moving = true;
        ch->moving_epoch = s->pause_epoch;
    }
    ch->held = ret == GL_HELD;
    qemu_mutex_unlock(&s->lock);
    return ret;
}

void gl_moved(GLChannel *ch, uint64_t allowed, uint64_t moved)
{
    GLState *s = ch->s;

    qatomic_set(&ch->bytes, ch->bytes + moved);
    qatomic_set(&ch->stat_bytes, ch->stat_bytes + moved);
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

/* GLState.lock held. */
static void gl_halt(GLChannel *ch, uint8_t error)
{
    if (!ch->halted) {
        ch->halted = true;
        ch->error = error;
        ch->held = false;
        ch->paused = false;
        qatomic_add(&ch->stat_errors, 1);
        gl_irq_completion(ch, true); /* or a waiting driver would never know */
    }
}

/* ---- Turns ---- */

/* GLState.lock held: somebody may work on the channel now. */
static bool gl_ready(GLChannel *ch)
{
    return ch->enabled && !ch->halted && !ch->abort && !ch->active &&
           !ch->held && !ch->s->vm_hold && ch->tr.state == GL_TR_IDLE &&
           ch->tail != qatomic_read(&ch->head);
}

/* GLState.lock held: the next one in a circle, so that each gets its turn. */
static GLChannel *gl_pick(GLState *s)
{
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[(s->next + i) % s->channels];

        if (gl_ready(ch)) {
            s->next = (ch->index + 1) % s->channels;
            return ch;
        }
    }
    return NULL;
}

/* GLState.lock held, but not meanwhile. */
static int gl_turn(GLChannel *ch, uint64_t budget)
{
    GLState *s = ch->s;
    int ret;

    ch->active = true;
    qemu_mutex_unlock(&s->lock);
    ret = gl_ring_turn(ch, budget);
    qemu_mutex_lock(&s->lock);
    if (ret > 0 && !ch->abort) {
        gl_halt(ch, ret);
    }
    return ret;
}

/*
 * GLState.lock held, but not meanwhile: ask the IOMMU. False: the device is
 * gone, and its state is not to be touched.
 */
static bool gl_worker_asks(GLWorker *w)
{
    GLState *s = w->s;

    s->asking = true;
    w->in_bql = true;
    qemu_mutex_unlock(&s->lock);
    gl_bql_lock();
    if (!w->left_behind) {
        gl_translate_all(s, &w->left_behind);
    }
    if (w->left_behind) {
        gl_bql_unlock();
        return false;
    }
    /* Before the lock is free: who has it, decides whether to wait for us. */
    qemu_mutex_lock(&s->lock);
    w->in_bql = false;
    s->asking = false;
    qemu_mutex_unlock(&s->lock);
    gl_bql_unlock();
    qemu_mutex_lock(&s->lock);
    /* One of them is ours, and the others are for the others. */
    for (unsigned i = 0, ready = 0; i < s->channels; i++) {
        ready += gl_ready(&s->ch[i]);
        if (ready > 1) {
            gl_engine_wake(s);
            break;
        }
    }
    return true;
}

/*
 * GLState.lock held, but not meanwhile: look out for work for a while, rather
 * than sleep. To wake a thread costs the guest's CPU, in the middle of its
 * doorbell, more than a short transfer takes. One worker does so, and only
 * after it has worked.
 */
static void gl_worker_watches(GLState *s)
{
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + GL_WATCH_NS;

    qatomic_set(&s->watched, true);
    qemu_mutex_unlock(&s->lock);
    while (qatomic_read(&s->watched) &&
           qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < end) {
        for (unsigned i = 0; i < 16; i++) {
            cpu_relax();
        }
    }
    qemu_mutex_lock(&s->lock);
    qatomic_set(&s->watched, false);
}

static void *gl_worker(void *opaque)
{
    GLWorker *w = opaque;
    GLState *s = w->s;
    bool worked = false;

    rcu_register_thread();
    qemu_mutex_lock(&s->lock);
    while (!s->exit) {
        GLChannel *ch;

        if (!s->asking && gl_translate_wanted(s)) {
            if (!gl_worker_asks(w)) {
                g_free(w);
                rcu_unregister_thread();
                return NULL;
            }
            continue;
        }
        ch = gl_pick(s);
        if (!ch) {
            if (gl_share_wanted(s)) {
                gl_share_help(s);
                continue;
            }
            if (worked && !s->watched) {
                worked = false;
                gl_worker_watches(s);
                continue;
            }
            qatomic_set(&s->idle, s->idle + 1);
            qemu_cond_wait(&s->work, &s->lock);
            qatomic_set(&s->idle, s->idle - 1);
            continue;
        }
        if (gl_turn(ch, GL_TURN) == GL_PACED) {
            int64_t wait = gl_link_wait(ch);

            /* Short naps: who stops the channel waits for this. */
            qemu_mutex_unlock(&s->lock);
            if (wait > 100 * SCALE_US) {
                g_usleep(MIN(wait, SCALE_MS) / SCALE_US - 60);
            }
            qemu_mutex_lock(&s->lock);
        }
        ch->active = false;
        worked = true;
        qemu_cond_broadcast(&s->quiet);
    }
    qemu_mutex_unlock(&s->lock);
    rcu_unregister_thread();
    return NULL;
}

/*
 * One turn for each channel, then the main loop goes round. Who waits for the
 * link comes back with a timer.
 */
static void gl_run_bh(void *opaque)
{
    GLState *s = opaque;
    bool more = false, gone = false;
    int64_t wait = INT64_MAX;

    qemu_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        if (gl_ready(ch)) {
            if (gl_turn(ch, GL_TURN_MAIN_LOOP) == GL_PACED) {
                wait = MIN(wait, gl_link_wait(ch));
                ch->active = false;
            } else {
                ch->active = false;
                more |= gl_ready(ch);
            }
        }
    }
    if (gl_translate_wanted(s)) {
        more = true;
        s->bh_gone = &gone;
        qemu_mutex_unlock(&s->lock);
        gl_translate_all(s, &gone);
        if (gone) {
            return;
        }
        s->bh_gone = NULL;
    } else {
        qemu_mutex_unlock(&s->lock);
    }
    if (more) {
        qemu_bh_schedule(s->run_bh);
    } else if (wait != INT64_MAX) {
        timer_mod_ns(s->run_timer,
                     qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + wait);
    }
}

static void gl_run_timer(void *opaque)
{
    qemu_bh_schedule(((GLState *)opaque)->run_bh);
}

/* ---- The main loop's side ---- */

/* GLState.lock held: wait until nobody works on the channel. */
static void gl_wait_quiet(GLChannel *ch)
{
    while (ch->active) {
        qemu_cond_wait(&ch->s->quiet, &ch->s->lock);
    }
}

/* GLState.lock held: tell who works on it to give up, without waiting. */
static void gl_abort(GLChannel *ch)
{
    ch->enabled = false;
    ch->abort = true;
    ch->held = false;
    ch->paused = false;
    gl_update_attention(ch->s);
}

/* GLState.lock held, and nobody works on the channel. */
static void gl_clear(GLChannel *ch)
{
    ch->head = ch->tail = ch->cpl_count = ch->s->first_index;
    ch->bytes = 0;
    ch->held = false;
    ch->paused = false;
    ch->moving = false;
    gl_link_idle(ch);
    ch->run.n = ch->run.at = 0;
    ch->run.fetching = false;
    ch->run.started = false;
    ch->run.skip = false;
    ch->run.chain_bytes = 0;
    ch->run.crc = 0;
    ch->tr.state = GL_TR_IDLE;
    gl_translate_forget(ch);
    gl_irq_reset(ch);
}

bool gl_ring_config_ok(GLState *s, uint64_t ring, uint64_t cpl, uint32_t log2)
{
    uint64_t bad, bytes;

    if (log2 < GL_MIN_RING_LOG2 || log2 > s->max_ring) {
        return false;
    }
    bytes = (uint64_t)sizeof(struct gl_desc) << log2;
    return !(ring & 63) && !(cpl & 63) &&
           gl_limits_in_width(s, ring, bytes, &bad) &&
           gl_limits_in_width(s, cpl, bytes, &bad);
}

void gl_channel_latch(GLChannel *ch, uint64_t ring, uint64_t cpl,
                      uint32_t log2)
{
    GLState *s = ch->s;

    ch->translate = pci_device_iommu_address_space(PCI_DEVICE(s)) !=
                    &address_space_memory;
    ch->as = ch->translate ? &address_space_memory : s->as;
    ch->ring = ring;
    ch->cpl = cpl;
    ch->ring_len = 1u << log2;
}

void gl_channel_enable(GLChannel *ch)
{
    GLState *s = ch->s;
    GLChannelRegs *r = &ch->regs;

    qemu_mutex_lock(&s->lock);
    gl_abort(ch);
    gl_wait_quiet(ch);
    gl_clear(ch);
    ch->halted = !gl_ring_config_ok(s, r->ring, r->cpl, r->ring_log2);
    ch->error = ch->halted ? GL_ERR_RING_CONFIG : GL_ERR_NONE;
    if (!ch->halted) {
        gl_channel_latch(ch, r->ring, r->cpl, r->ring_log2);
        ch->abort = false;
        ch->enabled = true;
    } else {
        qatomic_add(&ch->stat_errors, 1);
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
            gl_halt(ch, GL_ERR_DOORBELL);
            ch->abort = true;
            gl_update_attention(s);
        } else {
            qatomic_set(&ch->tail, tail);
            if (gl_ready(ch)) {
                gl_engine_wake(s);
            }
        }
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

        gl_wait_quiet(ch);
        gl_clear(ch);
        ch->halted = false;
        ch->error = GL_ERR_NONE;
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
            GLChannel *ch = &s->ch[i];

            gl_wait_quiet(ch);
            if (ch->enabled && ch->tail != ch->head) {
                gl_halt(ch, GL_ERR_BUS_MASTER);
            }
        }
    }
    qemu_mutex_unlock(&s->lock);
}

static void gl_set_hold(GLState *s, bool hold)
{
    qemu_mutex_lock(&s->lock);
    s->vm_hold = hold;
    gl_engine_kick(s);
    for (unsigned i = 0; hold && s->engine_up && i < s->channels; i++) {
        gl_wait_quiet(&s->ch[i]);
    }
    qemu_mutex_unlock(&s->lock);
}

void gl_engine_hold(GLState *s)
{
    gl_set_hold(s, true);
}

/* A stopped VM's memory stands still: hold the channels, then go on. */
static void gl_vm_state(void *opaque, bool running, RunState state)
{
    GLState *s = opaque;

    gl_set_hold(s, !running);
    if (!running) {
        gl_irq_flush(s);
    }
}

static void gl_join_workers(GLState *s)
{
    if (!s->engine_up) {
        return;
    }
    gl_engine_reset(s);
    qemu_mutex_lock(&s->lock);
    s->engine_up = false;
    s->exit = true;
    if (s->bh_gone) {
        *s->bh_gone = true;     /* it is who called us */
    }
    qemu_cond_broadcast(&s->work);
    for (unsigned i = 0; i < s->n_workers; i++) {
        GLWorker *w = s->worker[i];

        if (w->in_bql) {
            /* It waits for the lock that we have, or it is who called us. */
            w->left_behind = true;
            pthread_detach(w->thread.thread);
            s->worker[i] = NULL;
        }
    }
    qemu_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->n_workers; i++) {
        if (s->worker[i]) {
            qemu_thread_join(&s->worker[i]->thread);
            g_free(s->worker[i]);
            s->worker[i] = NULL;
        }
    }
}

/* QEMU ends without taking its devices apart: at least no worker runs on. */
static void gl_exit_notify(Notifier *n, void *data)
{
    gl_join_workers(container_of(n, GLState, exit_notifier));
}

void gl_engine_start(GLState *s)
{
    DeviceState *dev = DEVICE(s);

    gl_crc32c_init();
    qemu_cond_init(&s->work);
    qemu_cond_init(&s->quiet);
    qemu_cond_init(&s->shared);
    s->as = pci_get_address_space(PCI_DEVICE(s));
    s->exit = false;
    s->asking = false;
    s->n_workers = s->workers != GL_WORKERS_AUTO ? s->workers :
                   MIN(s->channels, g_get_num_processors());
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        ch->s = s;
        ch->index = i;
        ch->bounce = g_malloc(GL_BOUNCE);
    }
    gl_irq_init(s);
    gl_translate_init(s);
    s->run_bh = qemu_bh_new_guarded(gl_run_bh, s, &dev->mem_reentrancy_guard);
    s->run_timer = timer_new_ns(QEMU_CLOCK_REALTIME, gl_run_timer, s);
    for (unsigned i = 0; i < s->n_workers; i++) {
        g_autofree char *name = g_strdup_printf("gigalock-%u", i);

        s->worker[i] = g_new0(GLWorker, 1);
        s->worker[i]->s = s;
        qemu_thread_create(&s->worker[i]->thread, name, gl_worker,
                           s->worker[i], QEMU_THREAD_JOINABLE);
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
    timer_free(s->run_timer);
    qemu_bh_delete(s->run_bh);
    gl_translate_cleanup(s);
    gl_irq_cleanup(s);
    for (unsigned i = 0; i < s->channels; i++) {
        g_free(s->ch[i].bounce);
        s->ch[i].bounce = NULL;
    }
    qemu_cond_destroy(&s->shared);
    qemu_cond_destroy(&s->quiet);
    qemu_cond_destroy(&s->work);
}
