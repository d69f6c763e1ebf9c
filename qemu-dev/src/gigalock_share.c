/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: a large block, copied by several workers.
 *
 * One thread doesn't use up what a host's memory can do. Who copies a large
 * block offers it, a share at a time, to the workers that have nothing to do,
 * and copies along. It comes back when all of it is done: for whoever waits
 * until nobody works on the channel, the helpers are a part of that. Nobody is
 * waited for who has not begun, and a helper's wait is for one share at most.
 *
 * The memory can't go away meanwhile: who offers it is inside of its turn.
 */
#include "compat.h"
#include "gigalock.h"

#define GL_SHARE (256 * KiB)
/* Few hosts have memory that is fast enough for more of them. */
#define GL_HELPERS_MAX 3

static void gl_copy_shares(GLShare *share)
{
    uint64_t at;

    while ((at = qatomic_fetch_add(&share->next, GL_SHARE)) < share->len) {
        gl_copy_block(share->to + at, share->from + at,
                      MIN(share->len - at, GL_SHARE), true, NULL);
    }
    gl_copy_done();
}

bool gl_share_wanted(GLState *s)
{
    return s->share.open && qatomic_read(&s->share.next) < s->share.len;
}

void gl_share_help(GLState *s)
{
    GLShare *share = &s->share;

    share->helpers++;
    qemu_mutex_unlock(&s->lock);
    gl_copy_shares(share);
    qemu_mutex_lock(&s->lock);
    if (!--share->helpers) {
        /* Who waits may be several: the next block needs only the lock. */
        qemu_cond_broadcast(&s->shared);
    }
}

void gl_share_copy(GLState *s, uint8_t *to, const uint8_t *from, uint64_t len)
{
    GLShare *share = &s->share;
    unsigned n, round;

    if (len < GL_LARGE || !qatomic_read(&s->idle) ||
        (to < from + len && from < to + len)) {
        gl_copy_block(to, from, len, false, NULL);
        return;
    }

    qemu_mutex_lock(&s->lock);
    /* Another channel's: there is one at a time. */
    if (share->open || share->helpers) {
        qemu_mutex_unlock(&s->lock);
        gl_copy_block(to, from, len, false, NULL);
        return;
    }
    share->to = to;
    share->from = from;
    share->len = len;
    share->next = 0;
    share->open = true;
    round = ++share->round;
    n = MIN(s->idle, GL_HELPERS_MAX);
    while (n--) {
        qemu_cond_signal(&s->work);
    }
    qemu_mutex_unlock(&s->lock);

    gl_copy_shares(share);

    qemu_mutex_lock(&s->lock);
    share->open = false;
    /* Once all of them had left, another block may have found helpers. */
    while (share->helpers && share->round == round) {
        qemu_cond_wait(&s->shared, &s->lock);
    }
    qemu_mutex_unlock(&s->lock);
}
