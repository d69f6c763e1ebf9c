/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: what may be asked of the card. The limits that a driver has to
 * obey, the properties that set them, and the check of a descriptor.
 *
 * Everything here is somebody's input: sums don't overflow.
 */
#include "compat.h"
#include "gigalock.h"

bool gl_limits_check_properties(GLState *s, Error **errp)
{
    if (s->channels < 1 || s->channels > GL_MAX_CHANNELS) {
        error_setg(errp, "channels=%u is out of range: 1 to %u", s->channels,
                   GL_MAX_CHANNELS);
        return false;
    }
    if (s->workers != GL_WORKERS_AUTO &&
        (s->workers < 0 || s->workers > GL_MAX_CHANNELS)) {
        error_setg(errp, "workers=%d is out of range: 0 to %u, or %d for one a "
                   "channel, but not more than CPUs", s->workers,
                   GL_MAX_CHANNELS, GL_WORKERS_AUTO);
        return false;
    }
    if (s->addr_width < GL_ADDR_WIDTH_MIN ||
        s->addr_width > GL_ADDR_WIDTH_MAX) {
        error_setg(errp, "addr-width=%u is out of range: %u to %u bits",
                   s->addr_width, GL_ADDR_WIDTH_MIN, GL_ADDR_WIDTH_MAX);
        return false;
    }
    if (s->max_ring < GL_MIN_RING_LOG2 || s->max_ring > GL_MAX_RING_LOG2) {
        error_setg(errp, "max-ring=%u is out of range: %u to %u (log2 of "
                   "descriptors)", s->max_ring, GL_MIN_RING_LOG2,
                   GL_MAX_RING_LOG2);
        return false;
    }
    if (!s->max_xfer) {
        error_setg(errp, "max-xfer=0 is out of range: at least 1 byte");
        return false;
    }
    if (!s->max_seg) {
        error_setg(errp, "max-seg=0 is out of range: at least 1 byte");
        return false;
    }
    if (s->align > GL_ALIGN_MAX || !is_power_of_2(s->align)) {
        error_setg(errp, "align=%u is no power of two from 1 to %u", s->align,
                   GL_ALIGN_MAX);
        return false;
    }
    if (s->boundary && !is_power_of_2(s->boundary)) {
        error_setg(errp, "boundary=%" PRIu64 " is no power of two, nor 0 for "
                   "no boundary; the next smaller one is %" PRIu64,
                   s->boundary, pow2floor(s->boundary));
        return false;
    }
    return gl_link_check(s, errp);
}

bool gl_limits_check_card_size(const char *what, uint64_t size, Error **errp)
{
    if (size < GL_CARD_MEM_MIN || size > GL_CARD_MEM_MAX) {
        error_setg(errp, "%s of %" PRIu64 " bytes is out of range: %" PRIu64
                   " to %" PRIu64 " bytes", what, size,
                   (uint64_t)GL_CARD_MEM_MIN, (uint64_t)GL_CARD_MEM_MAX);
        return false;
    }
    if (!is_power_of_2(size)) {
        error_setg(errp, "%s of %" PRIu64 " bytes is not a power of two, and a "
                   "BAR must be; the next smaller one is %" PRIu64, what, size,
                   pow2floor(size));
        return false;
    }
    return true;
}

bool gl_limits_in_width(GLState *s, uint64_t addr, uint64_t len, uint64_t *bad)
{
    uint64_t last_ok = s->addr_width == 64 ? UINT64_MAX :
                       (1ull << s->addr_width) - 1;

    if (addr > last_ok) {
        *bad = addr;
        return false;
    }
    if (len && len - 1 > last_ok - addr) {
        *bad = last_ok + 1;     /* 0 when even 64 bits are too few */
        return false;
    }
    return true;
}

static int gl_check_host(GLState *s, uint64_t addr, uint64_t len,
                         uint64_t *bad)
{
    uint64_t room;

    if (!gl_limits_in_width(s, addr, len, bad)) {
        return GL_ERR_ADDR_WIDTH;
    }
    if (addr & (s->align - 1)) {
        *bad = addr;
        return GL_ERR_ALIGN;
    }
    if (len > s->max_seg) {
        *bad = addr + s->max_seg;
        return GL_ERR_SEG;
    }
    /* Up to the next multiple; 0 stands for 2^64, which nothing crosses. */
    room = s->boundary - (addr & (s->boundary - 1));
    if (s->boundary && len > room) {
        *bad = addr + room;
        return GL_ERR_BOUNDARY;
    }
    return GL_ERR_NONE;
}

static int gl_check_card(GLState *s, uint64_t at, uint64_t len, uint64_t *bad)
{
    if (at >= s->card_size || len > s->card_size - at) {
        *bad = MAX(at, s->card_size);
        return GL_ERR_CARD_RANGE;
    }
    return GL_ERR_NONE;
}

int gl_limits_check(GLState *s, const struct gl_desc *d, uint64_t *bad)
{
    const GLOp *op = gl_op(d->op);
    int ret = GL_ERR_NONE;

    if (!op) {
        return GL_ERR_OP;
    }
    if ((d->flags & ~GL_DESC_F_ALL) || (d->op == GL_OP_NOP && d->len)) {
        return GL_ERR_DESC;
    }
    if (d->op == GL_OP_NOP) {
        return GL_ERR_NONE;
    }
    if (!d->len) {
        return GL_ERR_LEN;
    }
    if (d->len > s->max_xfer) {
        *bad = (op->src != GL_SIDE_NONE ? d->src : d->dst) + s->max_xfer;
        return GL_ERR_LEN;
    }
    if (op->src == GL_SIDE_HOST) {
        ret = gl_check_host(s, d->src, d->len, bad);
    }
    if (ret == GL_ERR_NONE && op->dst == GL_SIDE_HOST) {
        ret = gl_check_host(s, d->dst, d->len, bad);
    }
    if (ret == GL_ERR_NONE && op->src == GL_SIDE_CARD) {
        ret = gl_check_card(s, d->src, d->len, bad);
    }
    if (ret == GL_ERR_NONE && op->dst == GL_SIDE_CARD) {
        ret = gl_check_card(s, d->dst, d->len, bad);
    }
    /* A fault in the middle of a copy that runs backwards has no "before". */
    if (ret == GL_ERR_NONE && d->op == GL_OP_H2H &&
        (d->src - d->dst < d->len || d->dst - d->src < d->len)) {
        *bad = MAX(d->src, d->dst);
        ret = GL_ERR_OVERLAP;
    }
    return ret;
}
