/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which physical runs alloc_contig_range() could empty, from /proc/kpageflags.
 *
 * It isolates whole page blocks of 2 MiB: a block can be emptied when each of
 * its pages is free or may move. The driver goes up from 16 MiB and takes
 * neighbouring blocks until one refuses; so the longest run of blocks that can
 * be emptied is what it can get, as long as memory is available at all.
 *
 * A page without any flag is unclear: free on a list of a CPU, or the kernel's
 * own. How many lie on such lists is known (zoneinfo), which decides.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define BLOCK 512u		/* pages of a page block */
#define LOWEST (MIB(16) / PAGE)
#define AT_ONCE (64 * BLOCK)
#define BEHIND_IMAGE MIB(4)	/* its first page tables follow it */
#define FEW 16			/* fixed pages that merely spoil a block */

/* linux/kernel-page-flags.h and fs/proc/page.c; the latter are the kernel's own. */
#define F(bit) ((uint64_t)1 << (bit))
#define LRU F(5)
#define SLAB F(7)
#define BUDDY F(10)
#define MMAP F(11)
#define ANON F(12)
#define SWAPCACHE F(13)
#define SWAPBACKED F(14)
#define HEAD F(15)
#define TAIL F(16)
#define HUGE F(17)
#define NOPAGE F(20)
#define KSM F(21)
#define THP F(22)
#define OFFLINE F(23)
#define ZERO_PAGE F(24)
#define PGTABLE F(26)
#define RESERVED F(32)
/* Flags that say who has a page. Others may stay behind on a free one. */
#define TELLING (LRU | SLAB | BUDDY | MMAP | ANON | HEAD | TAIL | HUGE | THP | \
		 OFFLINE | ZERO_PAGE | PGTABLE | RESERVED)

enum page_class { PAGE_FREE, PAGE_MOVABLE, PAGE_UNCLEAR, PAGE_FIXED, PAGE_BOOT, PAGE_NONE };

static enum page_class class_of(uint64_t flags)
{
	if (flags & NOPAGE)
		return PAGE_NONE;
	if (flags & BUDDY)
		return PAGE_FREE;
	if (flags & RESERVED)
		return PAGE_BOOT;
	if (flags & (SLAB | PGTABLE | OFFLINE | ZERO_PAGE))
		return PAGE_FIXED;
	/* The tails of a huge page carry THP, not LRU; pages that wait in a CPU's
	 * batch for their list only show whose they are. */
	if (flags & (LRU | THP | ANON | SWAPBACKED))
		return PAGE_MOVABLE;
	return flags & TELLING ? PAGE_FIXED : PAGE_UNCLEAR;
}

struct block {
	unsigned int count[PAGE_NONE + 1];
	bool movable_zone;
	bool cma;
	bool image;
	bool other_node;
};

struct track {
	uint64_t start, len, longest, longest_start;
};

static void step(struct track *t, uint64_t pfn, bool open)
{
	if (!open) {
		t->len = 0;
		return;
	}
	if (!t->len)
		t->start = pfn;
	t->len += BLOCK;
	if (t->len > t->longest) {
		t->longest = t->len;
		t->longest_start = t->start;
	}
}

static const struct zone *zone_of(const struct facts *f, uint64_t pfn,
				  const struct zone *last)
{
	if (last && pfn >= last->start && pfn < last->start + last->spanned &&
	    last->present)
		return last;
	for (unsigned int i = 0; i < f->nzones; i++) {
		const struct zone *zone = &f->zones[i];

		if (zone->present && pfn >= zone->start &&
		    pfn < zone->start + zone->spanned)
			return zone;
	}
	return NULL;
}

static bool in_cma(const struct facts *f, uint64_t pfn)
{
	for (unsigned int i = 0; i < f->ncma; i++) {
		const struct cma_area *area = &f->cma[i];

		if (area->base != UNKNOWN && pfn * PAGE < area->base + area->bytes &&
		    (pfn + BLOCK) * PAGE > area->base)
			return true;
	}
	return false;
}

struct tracks {
	struct track sure, most, fresh, without_image, with_movable, across;
	uint64_t unclear;	/* pages, in blocks that have no fixed one */
};

static void look_at(const struct block *b, uint64_t pfn, struct tracks *t,
		    struct runs *runs)
{
	unsigned int fixed = b->count[PAGE_FIXED] + b->count[PAGE_BOOT];
	bool there = !b->count[PAGE_NONE] && !b->cma;
	bool most = there && !fixed;
	bool sure = most && !b->count[PAGE_UNCLEAR];
	bool here = !b->movable_zone && !b->other_node;

	step(&t->sure, pfn, sure && here);
	step(&t->most, pfn, most && here);
	step(&t->fresh, pfn, there && !b->count[PAGE_BOOT] && here);
	step(&t->without_image, pfn, there && here && (most || b->image));
	step(&t->with_movable, pfn, most && !b->other_node);
	step(&t->across, pfn, most && !b->movable_zone);
	if (!here || !there)
		return;
	if (most)
		t->unclear += b->count[PAGE_UNCLEAR];
	runs->blocks++;
	runs->open_blocks += most;
	if (!b->count[PAGE_BOOT] && fixed && fixed <= FEW) {
		runs->spoiled++;
		runs->spoiling_pages += fixed;
	}
}

static uint64_t pcp_pages(const struct facts *f)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < f->nzones; i++)
		sum += f->zones[i].pcp;
	return sum;
}

/* A machine of a TiB has 2 GiB of flags: the same question is not read twice. */
static bool asked_before(const struct facts *f, uint64_t limit, bool one_node,
			 uint64_t node, struct runs *runs, bool answer)
{
	static struct {
		const struct facts *f;
		uint64_t limit, node;
		bool one_node;
		struct runs runs;
	} last[4];
	static unsigned int next;

	for (unsigned int i = 0; !answer && i < 4; i++)
		if (last[i].f == f && last[i].limit == limit && last[i].node == node &&
		    last[i].one_node == one_node) {
			*runs = last[i].runs;
			return true;
		}
	if (answer) {
		last[next].f = f;
		last[next].limit = limit;
		last[next].node = node;
		last[next].one_node = one_node;
		last[next].runs = *runs;
		next = (next + 1) % 4;
	}
	return false;
}

void pages_runs(struct facts *f, uint64_t limit, bool one_node, uint64_t node,
		struct runs *runs)
{
	static uint64_t flags[AT_ONCE];
	const struct zone *zone = NULL;
	struct tracks t = { 0 };
	uint64_t end = facts_ram_end(f), pfn = LOWEST;
	FILE *file;

	if (asked_before(f, limit, one_node, node, runs, false))
		return;
	file = facts_open(f, "proc/kpageflags");
	memset(runs, 0, sizeof(*runs));
	if (end == UNKNOWN || !file) {
		facts_missing(f, "/proc/kpageflags (needs root)");
		if (file)
			fclose(file);
		return;
	}
	end = (end < limit ? end : limit) / PAGE;
	if (fseeko(file, (off_t)(pfn * sizeof(uint64_t)), SEEK_SET))
		end = 0;
	while (pfn < end) {
		size_t got = fread(flags, sizeof(uint64_t), AT_ONCE, file);

		for (size_t at = 0; at + BLOCK <= got && pfn < end; at += BLOCK, pfn += BLOCK) {
			struct block b = { .cma = in_cma(f, pfn) };

			for (size_t i = 0; i < BLOCK; i++)
				b.count[class_of(flags[at + i])]++;
			zone = zone_of(f, pfn, zone);
			if (!zone)
				b.count[PAGE_NONE]++;
			else
				b.movable_zone = !strcmp(zone->name, "Movable");
			b.other_node = one_node && zone && zone->node != node;
			b.image = pfn * PAGE < f->kernel.end + BEHIND_IMAGE &&
				  (pfn + BLOCK) * PAGE > f->kernel.start;
			look_at(&b, pfn, &t, runs);
			runs->known = true;
		}
		if (got < AT_ONCE)
			break;
	}
	fclose(file);
	runs->sure = t.sure.longest * PAGE;
	runs->sure_start = t.sure.longest_start * PAGE;
	runs->most = t.most.longest * PAGE;
	/* As many as lie on the CPUs' lists, give or take a few. */
	runs->likely = t.unclear <= pcp_pages(f) + BLOCK ? runs->most : runs->sure;
	runs->fresh = t.fresh.longest * PAGE;
	runs->without_image = t.without_image.longest * PAGE;
	runs->with_movable = t.with_movable.longest * PAGE;
	runs->across_nodes = t.across.longest * PAGE;
	if (!runs->known)
		facts_missing(f, "/proc/kpageflags (needs root)");
	asked_before(f, limit, one_node, node, runs, true);
}

static bool mapped(FILE *counts, uint64_t pfn, unsigned int pages)
{
	uint64_t maps[BLOCK];

	if (fseeko(counts, (off_t)(pfn * sizeof(*maps)), SEEK_SET) ||
	    fread(maps, sizeof(*maps), pages, counts) != pages)
		return true;	/* not known: nothing is claimed */
	for (unsigned int i = 0; i < pages; i++)
		if (maps[i])
			return true;
	return false;
}

/*
 * An anonymous page that no process maps and that is not in the swap cache lives
 * by somebody's reference alone: in a pipe, say. It does not move. Of a huge page
 * parts may be unmapped and it still moves; not when all of it is.
 */
static bool held(uint64_t flags, FILE *counts, uint64_t pfn)
{
	static uint64_t last = UINT64_MAX;
	static bool last_mapped;

	if (!counts || !(flags & (ANON | THP)) || flags & (SWAPCACHE | KSM))
		return false;
	if (!(flags & THP))
		return !mapped(counts, pfn, 1);
	if (pfn / BLOCK != last) {
		last = pfn / BLOCK;
		last_mapped = mapped(counts, last * BLOCK, BLOCK);
	}
	return !last_mapped;
}

uint64_t pages_range_open(struct facts *f, uint64_t start, uint64_t end,
			  uint64_t align, uint64_t *longest)
{
	FILE *file = facts_open(f, "proc/kpageflags");
	FILE *counts = facts_open(f, "proc/kpagecount");
	uint64_t len = 0, fixed = 0;
	bool any = false;

	*longest = 0;
	if (file && fseeko(file, (off_t)(start / PAGE * sizeof(uint64_t)), SEEK_SET)) {
		fclose(file);
		file = NULL;
	}
	for (uint64_t at = start; file && at < end; at += PAGE) {
		enum page_class class;
		uint64_t flags;

		if (fread(&flags, sizeof(flags), 1, file) != 1)
			break;
		any = true;
		class = class_of(flags);
		if (class == PAGE_FIXED || class == PAGE_BOOT || class == PAGE_NONE ||
		    held(flags, counts, at / PAGE)) {
			len = 0;
			fixed++;
		} else if (len || !(at % align)) {
			len += PAGE;
			if (len > *longest)
				*longest = len;
		}
	}
	if (file)
		fclose(file);
	if (counts)
		fclose(counts);
	return any ? fixed : UNKNOWN;
}
