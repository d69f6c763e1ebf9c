/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: host memory as the engine sees it.
 *
 * Called by who works on a channel, off QEMU's big lock. Only memory is ever
 * touched: an address that is not plain RAM is a fault, so that no other
 * device's code runs here and nothing here waits for the big lock.
 *
 * Small transfers live from not looking up the same region again: the region
 * where a role found its last piece is kept for the rest of the turn. A turn
 * is one RCU section, so the region can't go away meanwhile.
 */
#include "compat.h"
#include "gigalock.h"

/* What gl_find_range() looks for, and finds. */
typedef struct GLSearch {
    hwaddr addr;
    bool is_write;
    GLWindow *window;
} GLSearch;

static bool gl_find_range(Int128 start, Int128 len, const MemoryRegion *mr,
                          hwaddr offset, void *opaque)
{
    GLSearch *search = opaque;
    GLWindow *w = search->window;
    MemoryRegion *region = (MemoryRegion *)mr;
    hwaddr first = int128_get64(start);
    hwaddr last = int128_get64(int128_sub(int128_add(start, len),
                                          int128_one()));

    if (search->addr < first || search->addr > last) {
        return false;
    }
    if (last - first != UINT64_MAX &&
        gl_access_is_direct(region, search->is_write)) {
        w->start = first;
        w->len = last - first + 1;
        w->mr = region;
        w->offset = offset;
        w->ptr = (uint8_t *)memory_region_get_ram_ptr(region) + offset;
    }
    return true;
}

/* Let the role's window hold @addr; false if that is not plain RAM. */
static bool gl_look_up(GLChannel *ch, GLRole role, hwaddr addr)
{
    GLWindow *w = &ch->window[role];
    GLSearch search = {
        .addr = addr,
        .is_write = gl_role_writes(role),
        .window = w,
    };

    w->len = 0;
    flatview_for_each_range(address_space_to_flatview(ch->as), gl_find_range,
                            &search);
    return w->len != 0;
}

uint64_t gl_dma_piece(GLChannel *ch, GLRole role, dma_addr_t addr,
                      uint64_t len, uint8_t **ptr, int *why)
{
    GLWindow *w = &ch->window[role];
    hwaddr to = addr;

    if (ch->translate) {
        len = gl_translate_piece(ch, role, addr, len, &to, why);
        if (!len) {
            return 0;
        }
    }
    if (unlikely(to - w->start >= w->len) && !gl_look_up(ch, role, to)) {
        *why = gl_role_writes(role) ? GL_ERR_HOST_WRITE : GL_ERR_HOST_READ;
        return 0;
    }
    w->used = to - w->start;
    *ptr = w->ptr + w->used;
    return MIN(len, w->len - w->used);
}

/*
 * A write to RAM has to be told: code may have been translated from there, and
 * a migration wants to know. What does that for a cached region knows all that
 * it needs from these fields.
 */
static void gl_tell(MemoryRegionCache *cache, hwaddr at, uint64_t len)
{
    if (unlikely(qatomic_read(&global_dirty_tracking))) {
        /*
         * A page that is marked already is not marked again: a migration that
         * takes the mark away just now shall see what was written before.
         */
        smp_mb();
    }
    address_space_cache_invalidate(cache, at, len);
}

void gl_dma_wrote(GLChannel *ch, GLRole role, uint64_t len)
{
    GLWindow *w = &ch->window[role];
    MemoryRegionCache cache = {
        .ptr = w->ptr,
        .xlat = w->offset,
        .len = w->len,
        .mrs.mr = w->mr,
        .is_write = true,
    };

    gl_tell(&cache, w->used, len);
}

/*
 * The same for card memory. Unlike memory_region_set_dirty() this looks first,
 * and mostly finds everything dirty: a locked write to a bitmap for each piece
 * costs a sixth of the rate.
 */
void gl_dma_card_wrote(GLState *s, uint64_t at, uint64_t len)
{
    MemoryRegionCache cache = {
        .ptr = s->card,
        .len = s->card_size,
        .mrs.mr = s->card_mr,
        .is_write = true,
    };

    gl_tell(&cache, at, len);
}

const uint8_t *gl_dma_glance(GLChannel *ch, GLRole role, dma_addr_t addr)
{
    GLWindow *w = &ch->window[role];
    hwaddr to = addr;

    if (ch->translate && !gl_translate_glance(ch, role, addr, &to)) {
        return NULL;
    }
    return to - w->start < w->len ? w->ptr + (to - w->start) : NULL;
}

uint64_t gl_dma_rw(GLChannel *ch, GLRole role, dma_addr_t addr, void *buf,
                   uint64_t len, int *why)
{
    uint8_t *b = buf;
    uint64_t done = 0;

    while (done < len) {
        uint8_t *p;
        uint64_t n = gl_dma_piece(ch, role, addr + done, len - done, &p, why);

        if (!n) {
            break;
        }
        if (gl_role_writes(role)) {
            memcpy(p, b + done, n);
            gl_dma_wrote(ch, role, n);
        } else {
            memcpy(b + done, p, n);
        }
        done += n;
    }
    return done;
}

void gl_dma_begin(GLChannel *ch)
{
    for (unsigned i = 0; i < GL_ROLE__MAX; i++) {
        ch->window[i].start = 0;
        ch->window[i].len = 0;
    }
    gl_translate_begin(ch);
    rcu_read_lock();
}

void gl_dma_end(GLChannel *ch)
{
    rcu_read_unlock();
}
