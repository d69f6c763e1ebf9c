/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: what a descriptor does.
 *
 * Each operation takes a descriptor part by part. A part works on pieces: runs
 * of bytes that lie in one place in the host's memory, on each side. A side
 * that is card memory is one piece from end to end.
 */
#include "compat.h"
#include "gigalock.h"
#include "gigalock_crc32c.h"

/* The piece of a side that begins @at bytes into the descriptor. */
static uint64_t gl_side_piece(GLChannel *ch, GLSide side, GLRole role,
                              uint64_t addr, uint64_t at, uint64_t len,
                              uint8_t **p, int *why)
{
    uint64_t n = len;

    if (side == GL_SIDE_HOST) {
        n = gl_dma_piece(ch, role, addr + at, len, p, why);
        if (!n && *why != GL_WAIT) {
            ch->run.bad = addr + at;
        }
    } else {
        *p = ch->s->card + addr + at;
    }
    return n;
}

/* @n bytes were written at the piece of the destination that begins @at. */
static void gl_dst_wrote(GLChannel *ch, const struct gl_desc *d, uint64_t at,
                         uint64_t n)
{
    if (gl_op(d->op)->dst == GL_SIDE_HOST) {
        gl_dma_wrote(ch, GL_ROLE_DST, n);
    } else {
        gl_dma_card_wrote(ch->s, d->dst + at, n);
    }
}

static void gl_crc(GLChannel *ch, const struct gl_desc *d, const void *data,
                   uint64_t n)
{
    if (d->flags & GL_DESC_F_CRC) {
        ch->run.crc = gl_crc32c(ch->run.crc, data, n);
    }
}

/* ---- Copies ---- */

/* The source of the next descriptor, if that is a copy of the same kind. */
static const uint8_t *gl_ahead(GLChannel *ch, const struct gl_desc *d)
{
    GLState *s = ch->s;
    const struct gl_desc *next = d + 1;

    if (ch->run.at + 1 >= ch->run.n || next->op != d->op ||
        next->len < d->len) {
        return NULL;
    }
    if (gl_op(d->op)->src == GL_SIDE_HOST) {
        return gl_dma_glance(ch, GL_ROLE_SRC, next->src);
    }
    return next->src < s->card_size ? s->card + next->src : NULL;
}

static uint64_t gl_step_copy(GLChannel *ch, const struct gl_desc *d,
                             uint64_t n, int *why)
{
    const GLOp *op = gl_op(d->op);
    uint64_t done = 0;

    while (done < n) {
        uint64_t at = ch->run.done + done, len;
        uint8_t *from, *to;

        len = gl_side_piece(ch, op->src, GL_ROLE_SRC, d->src, at, n - done,
                            &from, why);
        if (len) {
            len = gl_side_piece(ch, op->dst, GL_ROLE_DST, d->dst, at, len, &to,
                                why);
        }
        if (!len) {
            break;
        }
        if (len >= GL_LARGE) {
            gl_share_copy(ch->s, to, from, len);
        } else {
            gl_copy_block(to, from, len,
                          ch->run.large && !(d->flags & GL_DESC_F_CRC),
                          gl_ahead(ch, d));
        }
        gl_dst_wrote(ch, d, at, len);
        /* Of what the card holds, for the host may change its side. */
        gl_crc(ch, d, op->src == GL_SIDE_CARD ? from : to, len);
        done += len;
    }
    return done;
}

/*
 * Card to card: the ranges may overlap, so start at the end that is not
 * overwritten before it is read. A checksum of parts that come last one first
 * is put together from theirs.
 */
static uint64_t gl_step_card_copy(GLChannel *ch, const struct gl_desc *d,
                                  uint64_t n, int *why)
{
    uint8_t *card = ch->s->card;
    GLRun *run = &ch->run;
    bool back = d->dst - d->src < d->len;
    uint64_t at = back ? d->len - run->done - n : run->done;

    if (d->flags & GL_DESC_F_CRC) {
        uint32_t part = gl_crc32c(0, card + d->src + at, n);

        if (!run->done) {
            run->crc_before = run->crc;
            run->crc_done = 0;
        }
        run->crc_done = back ?
            gl_crc32c_append(part, run->crc_done, run->done) :
            gl_crc32c_append(run->crc_done, part, n);
    }
    gl_copy_block(card + d->dst + at, card + d->src + at, n, false, NULL);
    gl_dma_card_wrote(ch->s, d->dst + at, n);
    if ((d->flags & GL_DESC_F_CRC) && run->done + n == d->len) {
        run->crc = gl_crc32c_append(run->crc_before, run->crc_done, d->len);
    }
    return n;
}

/*
 * The fault knobs' way: through a buffer, so that what arrives can differ from
 * what was sent. What it puts at the start of the destination, it puts there
 * last, so a part can be done over when the IOMMU is asked in between.
 */
static uint64_t gl_faulty_write(GLChannel *ch, const struct gl_desc *d,
                                uint64_t at, const uint8_t *from, uint64_t n,
                                int *why)
{
    const GLOp *op = gl_op(d->op);
    uint64_t done = 0;

    while (done < n) {
        uint8_t *to;
        uint64_t len = gl_side_piece(ch, op->dst, GL_ROLE_DST, d->dst,
                                     at + done, n - done, &to, why);

        if (!len) {
            break;
        }
        memcpy(to, from + done, len);
        gl_dst_wrote(ch, d, at + done, len);
        done += len;
    }
    return done;
}

static uint64_t gl_step_faulty(GLChannel *ch, const struct gl_desc *d,
                               uint64_t n, int *why, GLFault fault)
{
    const GLOp *op = gl_op(d->op);
    uint64_t at = ch->run.done, put, head, got = 0;
    bool to_card = op->dst == GL_SIDE_CARD;

    n = MIN(n, GL_BOUNCE);
    while (got < n) {
        uint8_t *from;
        uint64_t len = gl_side_piece(ch, op->src, GL_ROLE_SRC, d->src,
                                     at + got, n - got, &from, why);

        if (!len) {
            break;
        }
        memcpy(ch->bounce + got, from, len);
        got += len;
    }
    if (got < n && *why == GL_WAIT) {
        return 0;
    }
    n = got;
    if (fault == GL_FAULT_CORRUPT && at <= d->len / 2 && d->len / 2 < at + n) {
        /* A mask for each direction, or there and back would heal it. */
        ch->bounce[d->len / 2 - at] ^= to_card ? 0x5a : 0xa5;
    }
    if (fault != GL_FAULT_NO_COPY) {
        put = fault == GL_FAULT_WRONG_PLACE ? at + 1 : at;
        /* The part that fits, then what wraps around to the start. */
        head = MIN(n, d->len - put);
        got = gl_faulty_write(ch, d, put, ch->bounce, head, why);
        if (got == head) {
            got += gl_faulty_write(ch, d, 0, ch->bounce + head, n - head, why);
        }
        if (got < n) {
            n = *why == GL_WAIT ? 0 : got;
        }
    }
    gl_crc(ch, d, ch->bounce, n);
    return n;
}

/* ---- Fill ---- */

static void gl_put_pattern(uint8_t *to, uint64_t pattern, uint64_t n)
{
    uint64_t i;

    pattern = cpu_to_le64(pattern);
    for (i = 0; i + 8 <= n; i += 8) {
        memcpy(to + i, &pattern, 8);
    }
    memcpy(to + i, &pattern, n - i);
}

static uint64_t gl_step_fill(GLChannel *ch, const struct gl_desc *d,
                             uint64_t n, int *why)
{
    const GLOp *op = gl_op(d->op);
    uint64_t done = 0;

    while (done < n) {
        uint64_t at = ch->run.done + done;
        uint8_t *to;
        uint64_t len = gl_side_piece(ch, op->dst, GL_ROLE_DST, d->dst, at,
                                     n - done, &to, why);

        if (!len) {
            break;
        }
        gl_put_pattern(to, ror64(d->src, at % 8 * 8), len);
        gl_dst_wrote(ch, d, at, len);
        gl_crc(ch, d, to, len);
        done += len;
    }
    return done;
}

/* ---- Compare, checksum ---- */

/* How many bytes are the same. */
static uint64_t gl_same(const uint8_t *a, const uint8_t *b, uint64_t n)
{
    uint64_t at = 0;

    while (at < n) {
        uint64_t len = MIN(n - at, 4096);

        if (memcmp(a + at, b + at, len)) {
            /* The guest may write meanwhile: don't rely on a difference. */
            while (at < n && a[at] == b[at]) {
                at++;
            }
            break;
        }
        at += len;
    }
    return at;
}

static uint64_t gl_step_compare(GLChannel *ch, const struct gl_desc *d,
                                uint64_t n, int *why)
{
    const GLOp *op = gl_op(d->op);
    uint64_t done = 0;

    while (done < n) {
        uint64_t at = ch->run.done + done, len, same;
        uint8_t *a, *b;

        len = gl_side_piece(ch, op->src, GL_ROLE_SRC, d->src, at, n - done, &a,
                            why);
        if (len) {
            len = gl_side_piece(ch, op->dst, GL_ROLE_SRC2, d->dst, at, len, &b,
                                why);
        }
        if (!len) {
            break;
        }
        same = gl_same(a, b, len);
        gl_crc(ch, d, a, same);
        done += same;
        if (same < len) {
            ch->run.bad = d->src + at + same;
            *why = GL_ERR_COMPARE;
            break;
        }
    }
    return done;
}

static uint64_t gl_step_crc(GLChannel *ch, const struct gl_desc *d, uint64_t n,
                            int *why)
{
    const GLOp *op = gl_op(d->op);
    uint64_t done = 0;

    while (done < n) {
        uint8_t *p;
        uint64_t len = gl_side_piece(ch, op->src, GL_ROLE_SRC, d->src,
                                     ch->run.done + done, n - done, &p, why);

        if (!len) {
            break;
        }
        ch->run.crc = gl_crc32c(ch->run.crc, p, len);
        done += len;
    }
    return done;
}

/* ---- The table ---- */

static const GLOp gl_ops[] = {
    [GL_OP_NOP] = { .known = true },
    [GL_OP_H2C] = { true, GL_SIDE_HOST, GL_SIDE_CARD, false, gl_step_copy },
    [GL_OP_C2H] = { true, GL_SIDE_CARD, GL_SIDE_HOST, false, gl_step_copy },
    [GL_OP_H2H] = { true, GL_SIDE_HOST, GL_SIDE_HOST, false, gl_step_copy },
    [GL_OP_C2C] = { true, GL_SIDE_CARD, GL_SIDE_CARD, false,
                    gl_step_card_copy },
    [GL_OP_FILL_CARD] = { true, GL_SIDE_NONE, GL_SIDE_CARD, false,
                          gl_step_fill },
    [GL_OP_FILL_HOST] = { true, GL_SIDE_NONE, GL_SIDE_HOST, false,
                          gl_step_fill },
    [GL_OP_CMP_HC] = { true, GL_SIDE_HOST, GL_SIDE_CARD, true,
                       gl_step_compare },
    [GL_OP_CMP_HH] = { true, GL_SIDE_HOST, GL_SIDE_HOST, true,
                       gl_step_compare },
    [GL_OP_CMP_CC] = { true, GL_SIDE_CARD, GL_SIDE_CARD, true,
                       gl_step_compare },
    [GL_OP_CRC_HOST] = { true, GL_SIDE_HOST, GL_SIDE_NONE, false,
                         gl_step_crc },
    [GL_OP_CRC_CARD] = { true, GL_SIDE_CARD, GL_SIDE_NONE, false,
                         gl_step_crc },
};

const GLOp *gl_op(unsigned op)
{
    return op < ARRAY_SIZE(gl_ops) && gl_ops[op].known ? &gl_ops[op] : NULL;
}

uint32_t gl_ops_supported(void)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(gl_ops); i++) {
        mask |= (uint32_t)gl_ops[i].known << i;
    }
    return mask;
}

/* The fault that a copy suffers from right now. */
static GLFault gl_copy_fault(GLChannel *ch, const struct gl_desc *d)
{
    GLFault fault = qatomic_read(&ch->s->fault);

    return gl_ops[d->op].step == gl_step_copy &&
           (fault == GL_FAULT_NO_COPY || fault == GL_FAULT_WRONG_PLACE ||
            fault == GL_FAULT_CORRUPT) ? fault : GL_FAULT_NONE;
}

uint64_t gl_op_chunk(GLChannel *ch, const struct gl_desc *d)
{
    const GLOp *op = &gl_ops[d->op];
    uint64_t n = (d->flags & GL_DESC_F_CRC) ? GL_CHUNK_CRC : GL_CHUNK;

    if (ch->translate) {
        n = MIN(n, GL_CHUNK_TRANSLATED);
    }
    if (gl_copy_fault(ch, d) != GL_FAULT_NONE) {
        n = MIN(n, GL_BOUNCE);
    }
    if (op->src == GL_SIDE_HOST || op->dst == GL_SIDE_HOST) {
        n = MIN(n, gl_link_chunk(ch->s));
    }
    return n;
}

uint64_t gl_op_step(GLChannel *ch, const struct gl_desc *d, uint64_t n,
                    int *why)
{
    GLFault fault = gl_copy_fault(ch, d);

    if (unlikely(fault != GL_FAULT_NONE)) {
        uint64_t done = 0;

        /* The knob may have turned since the size of this part was chosen. */
        while (done < n) {
            uint64_t part = MIN(n - done, GL_BOUNCE), got;

            got = gl_step_faulty(ch, d, part, why, fault);
            done += got;
            ch->run.done += got;
            if (got < part) {
                break;
            }
        }
        ch->run.done -= done;
        return done;
    }
    return gl_ops[d->op].step(ch, d, n, why);
}
