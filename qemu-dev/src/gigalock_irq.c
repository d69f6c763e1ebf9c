/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: interrupts and their coalescing.
 *
 * Completions are written by whoever works on a channel; only the message of
 * MSI-X needs the main loop, so it gets a bottom half. Coalescing counts the
 * completions that wait to be announced, and a timer limits how long they do.
 * It is of the real-time clock, as the engine's pace is: the virtual clock may
 * stand still.
 */
#include "compat.h"
#include "gigalock.h"

static void gl_raise(GLChannel *ch)
{
    qatomic_set(&ch->irq_pending, true);
    qemu_bh_schedule(ch->s->irq_bh);
}

void gl_irq_completion(GLChannel *ch, bool now)
{
    uint32_t count = qatomic_read(&ch->coalesce_count);
    uint32_t time = qatomic_read(&ch->coalesce_time);
    uint32_t waiting;

    if (now || count <= 1) {
        gl_raise(ch);
        return;
    }
    /*
     * The main loop stops the timer before it takes the count: a timer that is
     * set for the first one after that stays.
     */
    waiting = qatomic_fetch_inc(&ch->irq_waiting) + 1;
    if (waiting >= count) {
        gl_raise(ch);
    } else if (waiting == 1 && time) {
        timer_mod_ns(ch->irq_timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                                    (int64_t)time * SCALE_US);
    }
}

static void gl_irq_timer(void *opaque)
{
    GLChannel *ch = opaque;

    if (qatomic_read(&ch->irq_waiting)) {
        gl_raise(ch);
    }
}

static void gl_irq_bh(void *opaque)
{
    GLState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        if (!qatomic_xchg(&ch->irq_pending, false)) {
            continue;
        }
        timer_del(ch->irq_timer);
        qatomic_xchg(&ch->irq_waiting, 0);
        if (FIELD_EX32(ch->regs.ctrl, CH_CTRL, IRQ) && msix_enabled(pdev) &&
            qatomic_read(&s->fault) != GL_FAULT_NO_IRQ &&
            ch->regs.vector < s->channels) {
            msix_notify(pdev, ch->regs.vector);
        }
    }
}

void gl_irq_flush(GLState *s)
{
    for (unsigned i = 0; i < s->channels; i++) {
        if (qatomic_read(&s->ch[i].irq_waiting)) {
            qatomic_set(&s->ch[i].irq_pending, true);
        }
    }
    gl_irq_bh(s);
}

void gl_irq_configure(GLChannel *ch)
{
    qatomic_set(&ch->coalesce_count, ch->regs.coalesce_count);
    qatomic_set(&ch->coalesce_time, ch->regs.coalesce_time);
    /* What waits was counted by other rules. */
    if (qatomic_read(&ch->irq_waiting)) {
        gl_raise(ch);
    }
}

void gl_irq_reset(GLChannel *ch)
{
    timer_del(ch->irq_timer);
    qatomic_set(&ch->irq_waiting, 0);
    qatomic_set(&ch->irq_pending, false);
}

void gl_irq_init(GLState *s)
{
    s->irq_bh = qemu_bh_new_guarded(gl_irq_bh, s,
                                    &DEVICE(s)->mem_reentrancy_guard);
    for (unsigned i = 0; i < s->channels; i++) {
        s->ch[i].irq_timer = timer_new_ns(QEMU_CLOCK_REALTIME, gl_irq_timer,
                                          &s->ch[i]);
    }
}

void gl_irq_cleanup(GLState *s)
{
    for (unsigned i = 0; i < s->channels; i++) {
        timer_free(s->ch[i].irq_timer);
        s->ch[i].irq_timer = NULL;
    }
    qemu_bh_delete(s->irq_bh);
}
