/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the rings. A channel's turn fetches descriptors, has them done part
 * by part, and writes completion records. It can end between any two parts and
 * go on later: everything it needs to know is in GLRun.
 */
#include "compat.h"
#include "gigalock.h"

/* Read the next descriptors into GLRun. */
static int gl_fetch(GLChannel *ch, uint32_t tail)
{
    GLRun *run = &ch->run;
    uint32_t place = ch->head & (ch->ring_len - 1);
    uint32_t n = MIN(MIN(tail - ch->head, GL_FETCH), ch->ring_len - place);
    uint64_t size = sizeof(run->desc[0]), dummy;
    uint64_t sum = 0;
    int why = GL_ERR_NONE, ret = gl_leave(ch, 0, &dummy);

    if (ret != GL_ERR_NONE) {
        return ret;
    }
    if (ch->translate && !run->fetching) {
        /*
         * What was translated is good for the descriptors fetched before. The
         * next ones may use the same addresses after the guest has mapped them
         * anew.
         */
        gl_translate_forget(ch);
        run->fetching = true;
    }
    n = gl_dma_rw(ch, GL_ROLE_RING, ch->ring + place * size, run->desc,
                  n * size, &why) / size;
    if (why == GL_WAIT) {
        return GL_WAIT;
    }
    run->fetching = false;
    if (!n) {
        return GL_ERR_RING_FETCH;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct gl_desc *d = &run->desc[i];

        d->op = le16_to_cpu(d->op);
        d->flags = le16_to_cpu(d->flags);
        d->cookie = le32_to_cpu(d->cookie);
        d->src = le64_to_cpu(d->src);
        d->dst = le64_to_cpu(d->dst);
        d->len = le64_to_cpu(d->len);
        sum += MIN(d->len, GL_LARGE);
    }
    /* The others that are outstanding are like these. */
    run->large = sum / n * (tail - ch->head) >= GL_LARGE;
    run->n = n;
    run->at = 0;
    return GL_ERR_NONE;
}

static uint64_t gl_completion_place(GLChannel *ch, uint32_t count)
{
    return ch->cpl + (count & (ch->ring_len - 1)) *
                     (uint64_t)sizeof(struct gl_cpl);
}

unsigned gl_ring_outlook(GLChannel *ch, GLRange *range, unsigned max)
{
    GLRun *run = &ch->run;
    uint32_t records = ch->ring_len - (ch->cpl_count & (ch->ring_len - 1));
    unsigned n = 0;

    if (run->at >= run->n || max < 3) {
        return 0;
    }
    records = MIN(records, run->n - run->at);
    range[n++] = (GLRange) {
        .addr = gl_completion_place(ch, ch->cpl_count),
        .len = records * sizeof(struct gl_cpl),
        .is_write = true,
    };
    for (unsigned i = run->at + 1; i < run->n && n + 2 <= max; i++) {
        struct gl_desc *d = &run->desc[i];
        const GLOp *op = gl_op(d->op);
        uint64_t bad;

        if (gl_limits_check(ch->s, d, &bad) != GL_ERR_NONE ||
            (d->flags & GL_DESC_F_FENCE)) {
            break;
        }
        if (op->src == GL_SIDE_HOST) {
            range[n++] = (GLRange) { .addr = d->src, .len = d->len };
        }
        if (op->dst == GL_SIDE_HOST) {
            range[n++] = (GLRange) { .addr = d->dst, .len = d->len,
                                     .is_write = !op->dst_read };
        }
    }
    return n;
}

/* The number last: whoever sees it, sees all else of the record. */
static void gl_store_record(uint8_t *p, const struct gl_cpl *cpl, uint32_t seq)
{
    size_t body = offsetof(struct gl_cpl, seq);

    memcpy(p, cpl, body);
    smp_wmb(); /* the record before its number */
    qatomic_set((uint32_t *)(p + body), cpu_to_le32(seq));
}

/*
 * The knob lies about this record: change it, and return what to add to its
 * number. A stray one is written first, that it is there with the true one; in
 * a place with an even number, for then there is room behind it.
 */
static uint32_t gl_forge(GLChannel *ch, struct gl_cpl *cpl, uint8_t *p)
{
    GLForge forge = qatomic_read(&ch->s->forge);

    if ((forge == GL_FORGE_STRAY && (ch->cpl_count & 1)) ||
        qatomic_cmpxchg(&ch->s->forge, forge, GL_FORGE_NONE) != forge) {
        return 0;
    }
    switch (forge) {
    case GL_FORGE_SEQ:
        return 0x1000;
    case GL_FORGE_COOKIE:
        cpl->cookie = ~cpl->cookie;
        break;
    case GL_FORGE_BYTES:
        cpl->bytes = cpu_to_le64(ch->run.chain_bytes + TiB);
        break;
    case GL_FORGE_SHORT:
        cpl->bytes = cpu_to_le64(ch->run.chain_bytes / 2);
        break;
    case GL_FORGE_STATUS:
        cpl->status = cpu_to_le32(0x7f);
        break;
    case GL_FORGE_STRAY: {
        struct gl_cpl stray = *cpl;

        stray.cookie = ~cpl->cookie;
        gl_store_record(p + sizeof(stray), &stray, ch->cpl_count + 2);
        gl_dma_wrote(ch, GL_ROLE_CPL, 2 * sizeof(stray));
        break;
    }
    default:
        break;
    }
    return 0;
}

/* Write the completion record at @p, which has room for it in one piece. */
static void gl_put_record(GLChannel *ch, const struct gl_desc *d, uint8_t *p)
{
    GLRun *run = &ch->run;
    struct gl_cpl cpl = {
        .cookie = cpu_to_le32(d->cookie),
        .status = cpu_to_le32(run->status),
        .bytes = cpu_to_le64(run->chain_bytes),
        .fault_addr = cpu_to_le64(run->bad),
        .crc = cpu_to_le32(run->crc),
    };
    uint32_t seq = ch->cpl_count + 1;

    gl_copy_done();
    smp_wmb(); /* the payload before the record */
    if (unlikely(qatomic_read(&ch->s->forge) != GL_FORGE_NONE)) {
        seq += gl_forge(ch, &cpl, p);
    }
    gl_store_record(p, &cpl, seq);
    gl_dma_wrote(ch, GL_ROLE_CPL, sizeof(cpl));
}

/* The descriptor in work is done, or skipped. */
static int gl_finish(GLChannel *ch, const struct gl_desc *d)
{
    GLRun *run = &ch->run;
    bool skipped = run->skip;
    bool failed = run->status != GL_ERR_NONE;
    bool record = !skipped && (failed || (d->flags & GL_DESC_F_CPL));
    /* IRQ speaks of a completion: its own, or the failed chain's. */
    bool irq = (d->flags & GL_DESC_F_IRQ) && (record || skipped);
    uint8_t *p = NULL;
    uint64_t dummy;
    int why = GL_ERR_NONE, ret = gl_leave(ch, 0, &dummy);

    if (ret != GL_ERR_NONE) {
        return ret;
    }
    if (record) {
        size_t size = sizeof(struct gl_cpl);

        /* RAM ends at page boundaries, and records don't cross them. */
        if (gl_dma_piece(ch, GL_ROLE_CPL,
                         gl_completion_place(ch, ch->cpl_count), size, &p,
                         &why) < size) {
            if (why == GL_WAIT) {
                return GL_WAIT;
            }
            p = NULL;
        }
    }
    if (!skipped) {
        run->chain_bytes += run->done;
    }
    if (failed) {
        qatomic_add(&ch->stat_errors, 1);
        qemu_log_mask(LOG_GUEST_ERROR, "gigalock: channel %u: descriptor "
                      "%" PRIu32 " failed with status 0x%02x at 0x%" PRIx64
                      "\n", ch->index, ch->head, run->status, run->bad);
    }

    /*
     * First the head, then the completion: a driver that has seen the
     * completion may use the place in the ring again.
     */
    qatomic_set(&ch->head, ch->head + 1);
    qatomic_set(&ch->stat_descriptors, ch->stat_descriptors + 1);
    run->at++;
    run->started = false;
    if (record) {
        if (!p) {
            return GL_ERR_CPL_WRITE;
        }
        gl_put_record(ch, d, p);
        qatomic_set(&ch->cpl_count, ch->cpl_count + 1);
        run->chain_bytes = 0;
    }
    if (record || skipped) {
        run->skip = !(d->flags & GL_DESC_F_CPL);
    }
    if (irq) {
        gl_irq_completion(ch, failed || skipped);
    }
    return GL_ERR_NONE;
}

/* Everything before the first byte of a descriptor. */
static int gl_begin(GLChannel *ch, const struct gl_desc *d)
{
    GLRun *run = &ch->run;
    uint64_t dummy;
    int ret = gl_leave(ch, 0, &dummy);

    if (ret != GL_ERR_NONE) {
        return ret;
    }
    run->started = true;
    run->done = 0;
    run->bad = 0;
    run->status = GL_ERR_NONE;
    if (run->skip) {
        return GL_ERR_NONE;
    }
    if (!(d->flags & ~GL_DESC_F_ALL) && (d->flags & GL_DESC_F_CRC_INIT)) {
        run->crc = 0;
    }
    run->status = gl_limits_check(ch->s, d, &run->bad);
    if (run->status == GL_ERR_NONE) {
        if (d->flags & GL_DESC_F_FENCE) {
            gl_copy_done();
            /* What the channel wrote is visible before it reads on. */
            smp_mb();
        }
        if (d->len) {
            gl_link_start(ch, d);
        }
    }
    return GL_ERR_NONE;
}

/* The next part of the descriptor in work; adds to @cost. */
static int gl_part(GLChannel *ch, const struct gl_desc *d, uint64_t *cost)
{
    GLRun *run = &ch->run;
    uint64_t n = MIN(d->len - run->done, gl_op_chunk(ch, d)), allowed, got;
    int why = GL_ERR_NONE, ret = gl_leave(ch, n, &allowed);

    if (ret != GL_ERR_NONE) {
        return ret;
    }
    got = gl_op_step(ch, d, allowed, &why);
    gl_moved(ch, allowed, got);
    run->done += got;
    *cost += got;
    if (got) {
        gl_link_take(ch, d, got);
    }
    if (got < allowed) {
        if (why == GL_WAIT) {
            return GL_WAIT;
        }
        run->status = why;
    }
    return GL_ERR_NONE;
}

static int gl_descriptor(GLChannel *ch, uint64_t *cost, uint64_t budget)
{
    GLRun *run = &ch->run;
    const struct gl_desc *d = &run->desc[run->at];
    int ret = GL_ERR_NONE;

    if (!run->started) {
        ret = gl_begin(ch, d);
    }
    while (ret == GL_ERR_NONE) {
        if (gl_link_wait(ch)) {
            return GL_PACED;
        }
        if (run->skip || run->status != GL_ERR_NONE || run->done == d->len) {
            *cost += GL_TURN_DESC;
            return gl_finish(ch, d);
        }
        ret = gl_part(ch, d, cost);
        if (*cost >= budget) {
            break;
        }
    }
    return ret;
}

int gl_ring_turn(GLChannel *ch, uint64_t budget)
{
    GLRun *run = &ch->run;
    uint64_t cost = 0;
    int ret = GL_ERR_NONE;

    gl_dma_begin(ch);
    while (ret == GL_ERR_NONE && cost < budget) {
        uint32_t tail;

        if (run->at < run->n) {
            ret = gl_descriptor(ch, &cost, budget);
        } else {
            tail = qatomic_read(&ch->tail);
            /* The doorbell before the descriptors it speaks of. */
            smp_rmb();

            if (tail == ch->head) {
                gl_link_idle(ch);
                break;
            }
            ret = gl_fetch(ch, tail);
        }
    }
    gl_copy_done();
    gl_dma_end(ch);
    return ret;
}
