/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: bus addresses through an IOMMU.
 *
 * Translation belongs to QEMU's big lock: an IOMMU's fault interrupt needs it,
 * and some models have no lock of their own. So the engine leaves the channel
 * with a list of ranges: the one it needs, and what the next descriptors will
 * need. When it works on no channel, a worker takes the big lock for as long as
 * one such list takes, and the channel goes on; the bytes then move off the
 * lock. With no workers the main loop does the same, between two turns: an
 * IOMMU that reports a refusal writes where the guest says, and if that is
 * somebody's configuration space it may stop or unplug the card, whose channels
 * have to be quiet then.
 *
 * A list ends with the first refusal: what comes after it may never be
 * accessed, and an IOMMU reports each refusal to the guest.
 */
#include "compat.h"
#include "gigalock.h"

/* Room that ranges further ahead leave for the one that is needed. */
#define GL_OUTLOOK_SEGMENTS (GL_MAX_SEGMENTS / 2)

/*
 * Where the IOMMU lets an address pass as it is, it leaves the device's own
 * address space as the target. Using that from a worker might translate after
 * all, should the guest switch the IOMMU on in between. So take the same
 * address of the system's memory, if it truly is the same memory.
 */
static bool gl_same_in_memory(GLState *s, hwaddr addr, bool is_write)
{
    MemTxAttrs attrs = { .memory = 1 };
    hwaddr xlat_dev, xlat_mem, len_dev = 1, len_mem = 1;
    MemoryRegion *mr_dev, *mr_mem;

    RCU_READ_LOCK_GUARD();
    mr_dev = address_space_translate(s->as, addr, &xlat_dev, &len_dev,
                                     is_write, attrs);
    mr_mem = address_space_translate(&address_space_memory, addr, &xlat_mem,
                                     &len_mem, is_write, attrs);
    return mr_dev == mr_mem && xlat_dev == xlat_mem;
}

/* BQL held. Append the translation of a range; false at a refusal. */
static bool gl_translate_range(GLState *s, GLTranslation *tr,
                               const GLRange *range, unsigned room,
                               const bool *gone)
{
    uint64_t done = 0;

    for (unsigned i = 0; done < range->len && i < room; i++) {
        hwaddr addr = range->addr + done;
        MemTxAttrs attrs = { .memory = 1 };
        GLSegment *last = done ? &tr->segment[tr->count - 1] : NULL;
        GLSegment next = { .addr = addr, .is_write = range->is_write };
        IOMMUTLBEntry entry;

        WITH_RCU_READ_LOCK_GUARD() {
            entry = address_space_get_iotlb_entry(s->as, addr, range->is_write,
                                                  attrs);
        }
        if (*gone) {
            return false;
        }
        if (entry.perm == IOMMU_NONE) {
            next.failed = true;
        } else if (entry.target_as == &address_space_memory) {
            next.to = entry.translated_addr | (addr & entry.addr_mask);
        } else if (gl_same_in_memory(s, addr, range->is_write)) {
            next.to = addr;
        } else {
            next.failed = true;
        }
        if (next.failed) {
            next.len = 1;
            tr->segment[tr->count++] = next;
            return false;
        }
        next.len = entry.addr_mask - (addr & entry.addr_mask) + 1;
        if (!next.len) {
            next.len = UINT64_MAX;      /* a mask of all 64 bits */
        }
        next.len = MIN(next.len, range->len - done);
        if (last && last->to + last->len == next.to) {
            last->len += next.len;
        } else {
            tr->segment[tr->count++] = next;
        }
        done += next.len;
    }
    return true;
}

/* BQL held, the channel left to us. */
static void gl_translate(GLState *s, GLTranslation *tr, const bool *gone)
{
    for (unsigned i = 0; i < tr->n_ranges && !*gone; i++) {
        unsigned most = i ? GL_OUTLOOK_SEGMENTS : GL_MAX_SEGMENTS;

        if (tr->count >= most ||
            !gl_translate_range(s, tr, &tr->range[i], most - tr->count, gone)) {
            break;
        }
    }
}

/*
 * GLState.lock held. Not while the VM stands still: a refusal writes to it. Nor
 * for who will not use it: the IOMMU would report an access that never comes.
 */
static bool gl_waits(GLChannel *ch)
{
    return ch->tr.state == GL_TR_ASKED && !ch->active && !ch->abort &&
           !ch->halted && ch->s->dma_ok && !ch->s->vm_hold;
}

bool gl_translate_wanted(GLState *s)
{
    for (unsigned i = 0; i < s->channels; i++) {
        if (gl_waits(&s->ch[i])) {
            return true;
        }
    }
    return false;
}

void gl_translate_all(GLState *s, const bool *gone)
{
    /*
     * An IOMMU writes reports where its guest says. Into our registers is
     * refused, as for any device's own work; and that may take us off the bus.
     */
    MemReentrancyGuard *guard = &DEVICE(s)->mem_reentrancy_guard;
    bool engaged = guard->engaged_in_io;

    object_ref(OBJECT(s));
    guard->engaged_in_io = true;
    for (unsigned i = 0; i < s->channels && !*gone; i++) {
        GLChannel *ch = &s->ch[i];
        bool waits;

        qemu_mutex_lock(&s->lock);
        waits = gl_waits(ch);
        qemu_mutex_unlock(&s->lock);
        if (!waits) {
            continue;
        }
        gl_translate(s, &ch->tr, gone);
        if (!*gone) {
            qemu_mutex_lock(&s->lock);
            ch->tr.state = GL_TR_IDLE;
            qemu_mutex_unlock(&s->lock);
        }
    }
    guard->engaged_in_io = engaged;
    object_unref(OBJECT(s));
}

/* Ask for a range, and for what comes after it. */
static void gl_ask(GLChannel *ch, const GLRange *needed)
{
    GLState *s = ch->s;
    GLTranslation *tr = &ch->tr;

    if (tr->count + needed->len / 4096 + 2 > GL_MAX_SEGMENTS) {
        gl_translate_forget(ch);
    }
    tr->range[0] = *needed;
    tr->n_ranges = 1 + gl_ring_outlook(ch, &tr->range[1], GL_MAX_RANGES - 1);
    qemu_mutex_lock(&s->lock);
    if (!ch->abort) {
        tr->state = GL_TR_ASKED;
    }
    qemu_mutex_unlock(&s->lock);
}

/* The piece that holds @addr, searched from where the role found its last. */
static GLSegment *gl_find(GLTranslation *tr, GLRole role, dma_addr_t addr)
{
    unsigned at = tr->last[role];

    for (unsigned i = 0; i < tr->count; i++, at++) {
        GLSegment *seg;

        at = at < tr->count ? at : 0;
        seg = &tr->segment[at];
        if (addr - seg->addr < seg->len &&
            seg->is_write == gl_role_writes(role)) {
            tr->last[role] = at;
            return seg;
        }
    }
    return NULL;
}

uint64_t gl_translate_piece(GLChannel *ch, GLRole role, dma_addr_t addr,
                            uint64_t len, hwaddr *to, int *why)
{
    GLSegment *seg = gl_find(&ch->tr, role, addr);

    if (!seg) {
        GLRange needed = {
            .addr = addr,
            .len = MIN(len, GL_CHUNK_TRANSLATED),
            .is_write = gl_role_writes(role),
        };

        gl_ask(ch, &needed);
        *why = GL_WAIT;
        return 0;
    }
    if (seg->failed) {
        seg->len = 0;       /* the next access is refused anew */
        *why = gl_role_writes(role) ? GL_ERR_HOST_WRITE : GL_ERR_HOST_READ;
        return 0;
    }
    *to = seg->to + (addr - seg->addr);
    return MIN(len, seg->len - (addr - seg->addr));
}

bool gl_translate_glance(GLChannel *ch, GLRole role, dma_addr_t addr,
                         hwaddr *to)
{
    GLTranslation *tr = &ch->tr;
    unsigned next = tr->last[role] + 1;
    GLSegment *seg = &tr->segment[next];

    if (next >= tr->count || seg->failed || addr - seg->addr >= seg->len) {
        return false;
    }
    *to = seg->to + (addr - seg->addr);
    return true;
}

void gl_translate_forget(GLChannel *ch)
{
    ch->tr.count = 0;
    ch->tr.n_ranges = 0;
    memset(ch->tr.last, 0, sizeof(ch->tr.last));
}

void gl_translate_begin(GLChannel *ch)
{
    if (!ch->tr.n_ranges) {
        gl_translate_forget(ch);
    }
    ch->tr.n_ranges = 0;
}

void gl_translate_init(GLState *s)
{
    for (unsigned i = 0; i < s->channels; i++) {
        s->ch[i].tr.segment = g_new(GLSegment, GL_MAX_SEGMENTS);
    }
}

void gl_translate_cleanup(GLState *s)
{
    for (unsigned i = 0; i < s->channels; i++) {
        g_free(s->ch[i].tr.segment);
        s->ch[i].tr.segment = NULL;
    }
}
