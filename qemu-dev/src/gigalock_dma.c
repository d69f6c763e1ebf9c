/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: moving bytes between host memory and the engine.
 *
 * Called by the workers, off QEMU's big lock. Only memory is ever touched: an
 * address that is not plain RAM is a fault, so that no other device's code
 * runs here and nothing here waits for the big lock.
 *
 * An IOMMU's translation does belong to the big lock: its fault interrupt needs
 * it, and some models have no lock of their own. With one in the way, the main
 * loop translates a batch in a bottom half while the worker waits; the bytes
 * then move off the lock. A worker that is told to stop abandons its wait.
 */
#include "compat.h"
#include "gigalock.h"

bool gl_dma_in_width(GLState *s, uint64_t addr, uint64_t len, uint64_t *bad)
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

/*
 * Move bytes where no IOMMU is in the way. The cache object gives a pointer
 * only for directly accessible RAM, trimmed to one region, so that the first
 * bad address is known before anything there is touched; and it keeps the
 * region alive meanwhile.
 */
static uint64_t gl_copy(AddressSpace *as, hwaddr addr, uint8_t *buf,
                        uint64_t len, bool is_write)
{
    uint64_t done = 0;

    while (done < len) {
        MemoryRegionCache cache;
        int64_t n;

        RCU_READ_LOCK_GUARD();
        n = address_space_cache_init(&cache, as, addr + done, len - done,
                                     is_write);
        if (n <= 0) {
            break;
        }
        if (!cache.ptr) {
            address_space_cache_destroy(&cache);
            break;
        }
        if (is_write) {
            gl_copy_block(cache.ptr, buf + done, n);
            address_space_cache_invalidate(&cache, 0, n);
        } else {
            gl_copy_block(buf + done, cache.ptr, n);
        }
        address_space_cache_destroy(&cache);
        done += n;
    }
    return done;
}

/* ---- Through an IOMMU ---- */

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

/* BQL and GLState.lock held. */
static void gl_translate(GLState *s, GLTranslation *tr)
{
    uint64_t done = 0;
    unsigned steps = 0;

    tr->count = 0;
    tr->failed = false;
    while (done < tr->len && steps++ < GL_MAX_SEGMENTS) {
        hwaddr addr = tr->addr + done;
        MemTxAttrs attrs = { .memory = 1 };
        IOMMUTLBEntry entry;
        GLSegment *last = tr->count ? &tr->segment[tr->count - 1] : NULL;
        hwaddr to;
        uint64_t n;

        WITH_RCU_READ_LOCK_GUARD() {
            entry = address_space_get_iotlb_entry(s->as, addr, tr->is_write,
                                                  attrs);
        }
        if (entry.perm == IOMMU_NONE) {
            tr->failed = true;
            break;
        }
        if (entry.target_as == &address_space_memory) {
            to = entry.translated_addr | (addr & entry.addr_mask);
        } else if (gl_same_in_memory(s, addr, tr->is_write)) {
            to = addr;
        } else {
            tr->failed = true;
            break;
        }
        n = MIN(tr->len - done, entry.addr_mask - (addr & entry.addr_mask) + 1);
        if (!n) {
            n = tr->len - done;     /* a mask of all 64 bits */
        }
        if (last && last->addr + last->len == to) {
            last->len += n;
        } else {
            tr->segment[tr->count++] = (GLSegment) { .addr = to, .len = n };
        }
        done += n;
    }
    tr->state = GL_TR_DONE;
}

static void gl_translate_bh(void *opaque)
{
    GLState *s = opaque;

    qemu_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->channels; i++) {
        GLChannel *ch = &s->ch[i];

        if (ch->tr.state == GL_TR_ASKED) {
            gl_translate(s, &ch->tr);
            qemu_cond_broadcast(&ch->wake);
        }
    }
    qemu_mutex_unlock(&s->lock);
}

/* Ask the main loop; false if the worker was told to stop meanwhile. */
static bool gl_ask(GLChannel *ch, dma_addr_t addr, uint64_t len, bool is_write)
{
    GLState *s = ch->s;
    GLTranslation *tr = &ch->tr;
    bool done;

    qemu_mutex_lock(&s->lock);
    tr->addr = addr;
    tr->len = len;
    tr->is_write = is_write;
    tr->state = GL_TR_ASKED;
    qemu_bh_schedule(s->translate_bh);
    /* Who waits here touches nothing: a VM that stops need not wait for us. */
    ch->held = true;
    qemu_cond_broadcast(&s->quiet);
    while ((tr->state == GL_TR_ASKED || s->vm_hold) && !ch->abort &&
           s->dma_ok) {
        qemu_cond_wait(&ch->wake, &s->lock);
    }
    ch->held = false;
    done = tr->state == GL_TR_DONE && !ch->abort && s->dma_ok;
    tr->state = GL_TR_IDLE;
    qemu_mutex_unlock(&s->lock);
    return done;
}

static uint64_t gl_copy_translated(GLChannel *ch, dma_addr_t addr,
                                   uint8_t *buf, uint64_t len, bool is_write)
{
    GLTranslation *tr = &ch->tr;
    uint64_t done = 0;

    while (done < len) {
        if (!gl_ask(ch, addr + done, len - done, is_write)) {
            break;
        }
        for (unsigned i = 0; i < tr->count; i++) {
            GLSegment *seg = &tr->segment[i];
            uint64_t n = gl_copy(&address_space_memory, seg->addr, buf + done,
                                 seg->len, is_write);

            done += n;
            if (n < seg->len) {
                return done;
            }
        }
        if (tr->failed) {
            break;
        }
    }
    return done;
}

uint64_t gl_dma_rw(GLChannel *ch, dma_addr_t addr, void *buf, uint64_t len,
                   bool is_write)
{
    if (ch->translate) {
        return gl_copy_translated(ch, addr, buf, len, is_write);
    }
    return gl_copy(ch->s->as, addr, buf, len, is_write);
}

void gl_dma_init(GLState *s)
{
    s->as = pci_get_address_space(PCI_DEVICE(s));
    s->translate_bh = qemu_bh_new_guarded(gl_translate_bh, s,
                                    &DEVICE(s)->mem_reentrancy_guard);
    for (unsigned i = 0; i < s->channels; i++) {
        s->ch[i].tr.segment = g_new(GLSegment, GL_MAX_SEGMENTS);
    }
}

void gl_dma_cleanup(GLState *s)
{
    qemu_bh_delete(s->translate_bh);
    for (unsigned i = 0; i < s->channels; i++) {
        g_free(s->ch[i].tr.segment);
        s->ch[i].tr.segment = NULL;
    }
}
