/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strategies whose memory the driver gets when it is asked: coherent,
 * contig-range, chunked.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define BUDDY_MAX MIB(4)
#define RESERVE MIB(16)		/* contig-range leaves that much available */
#define CHUNK MIB(16)
#define BLOCK MIB(2)

static uint64_t pcp_bytes(const struct facts *f)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < f->nzones; i++)
		sum += f->zones[i].pcp;
	return sum * PAGE;
}

/* What is available once the CPUs' lists are emptied, as such searches do. */
static uint64_t available(const struct facts *f)
{
	return f->mem_available == UNKNOWN ? UNKNOWN : f->mem_available + pcp_bytes(f);
}

/* Memory of a node: all of it, or what is free. */
static uint64_t node_sum(const struct facts *f, uint64_t node, bool all)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < f->nzones; i++)
		if (f->zones[i].node == node)
			sum += all ? f->zones[i].managed :
			       f->zones[i].free + f->zones[i].pcp;
	return sum * PAGE;
}

/* ---- coherent --------------------------------------------------------------------- */

static bool cma_reachable(const struct facts *f, uint64_t top)
{
	bool any = false;

	for (unsigned int i = 0; i < f->ncma; i++)
		if (f->cma[i].base != UNKNOWN) {
			any = true;
			if (f->cma[i].base + f->cma[i].bytes - 1 <= top)
				return true;
		}
	if (any)
		return false;
	/* Without debugfs the zones tell which part of memory has CMA pages. */
	for (unsigned int i = 0; i < f->nzones; i++)
		if (f->zones[i].cma) {
			any = true;
			if (f->zones[i].start * PAGE <= top &&
			    (top >= GIB(4) - 1 || f->zones[i].start < GIB(4) / PAGE))
				if ((f->zones[i].start + f->zones[i].spanned) * PAGE - 1 <= top)
					return true;
		}
	return !any;
}

/*
 * The bitmap only knows of buffers. Pages of programs in the area are moved
 * away, but for those that somebody holds.
 */
static void coherent_cma_pages(struct facts *f, const struct request *r,
			       struct verdict *v, uint64_t free)
{
	uint64_t best = 0, fixed = 0;
	bool known = false;

	for (unsigned int i = 0; i < f->ncma; i++) {
		const struct cma_area *area = &f->cma[i];
		uint64_t longest, here;

		if (area->base == UNKNOWN)
			continue;
		here = pages_range_open(f, area->base, area->base + area->bytes, MIB(1),
					&longest);
		if (here == UNKNOWN)
			continue;
		known = true;
		fixed += here;
		if (longest > best)
			best = longest;
	}
	if (!known || !fixed)
		return;
	verdict_number(v, "pages in CMA areas that do not move", fixed, "count",
		       "/proc/kpageflags, /proc/kpagecount");
	verdict_bound(v, r, best, GIGALOCK_REASON_CMA_BUSY, free);
}

static void coherent_cma(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t top = width_top(facts_width(f, r));
	uint64_t largest = 0, longest = 0, free = 0;
	bool bitmap = false;

	verdict_number(v, "CmaTotal", f->cma_total, "bytes", "/proc/meminfo");
	verdict_number(v, "CmaFree", f->cma_free, "bytes", "/proc/meminfo");
	for (unsigned int i = 0; i < f->ncma; i++) {
		const struct cma_area *area = &f->cma[i];
		uint64_t aligned;

		if (area->used == UNKNOWN || area->longest == UNKNOWN)
			continue;
		bitmap = true;
		if (area->bytes > largest)
			largest = area->bytes;
		free += area->bytes - area->used;
		/* Buffers begin at whole MiB. */
		aligned = area->longest;
		if (aligned > longest)
			longest = aligned;
	}
	if (!bitmap) {
		largest = f->cma_total;
		longest = free = f->cma_free;
	}
	verdict_bound(v, r, largest, GIGALOCK_REASON_CMA_TOO_SMALL, f->cma_total);
	if (!cma_reachable(f, top)) {
		verdict_number(v, "highest address of the device", top, "address",
			       "its DMA mask");
		verdict_bound(v, r, BUDDY_MAX, GIGALOCK_REASON_CMA_ABOVE_WIDTH, top);
		return;
	}
	if (bitmap) {
		verdict_number(v, "longest free run in a CMA area", longest, "bytes",
			       "/sys/kernel/debug/cma");
		verdict_bound(v, r, free, GIGALOCK_REASON_CMA_FULL, free);
		verdict_bound(v, r, longest, GIGALOCK_REASON_CMA_BUSY, free);
		coherent_cma_pages(f, r, v, free);
	} else if (f->cma_free < r->bytes) {
		/* Programs' pages there would be moved, buffers would not. */
		verdict_bound(v, r, f->cma_free, GIGALOCK_REASON_CMA_FULL, f->cma_free);
		verdict_doubt(v, "who holds CMA memory: /sys/kernel/debug/cma/*/used, as root");
	}
	if (v->largest < BUDDY_MAX)
		v->largest = BUDDY_MAX;
}

static void coherent_block(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t best = 0;

	/* Sizes are rounded up to a power of two, and a block of it must be free. */
	for (unsigned int i = 0; i < f->nzones; i++)
		for (int order = ORDERS - 1; order >= 0; order--)
			if (f->zones[i].blocks[order]) {
				if (PAGE << order > best)
					best = PAGE << order;
				break;
			}
	if (best < BUDDY_MAX)
		verdict_number(v, "largest free block", best, "bytes", "/proc/buddyinfo");
	/* Compaction makes others, usually. */
	if (r->bytes <= BUDDY_MAX && best < r->bytes)
		v->certain = false;
	verdict_bound(v, r, BUDDY_MAX, GIGALOCK_REASON_BUDDY_LIMIT, BUDDY_MAX);
}

void model_coherent(struct facts *f, const struct request *r, struct verdict *v)
{
	model_budgets(f, r, v, true);
	if (f->iommu == UNKNOWN) {
		verdict_doubt(v, "whether the IOMMU translates for the device: "
			     "/sys/bus/pci/devices/BDF/iommu_group/type");
	}
	if (facts_translates(f)) {
		struct page_room room;

		verdict_number(v, "MemTotal", f->mem_total, "bytes", "/proc/meminfo");
		verdict_bound(v, r, f->mem_total, GIGALOCK_REASON_RAM_TOO_SMALL,
			      f->mem_total);
		model_page_room(f, r, &room);
		verdict_number(v, "MemAvailable", f->mem_available, "bytes", "/proc/meminfo");
		verdict_bound(v, r, room.gentle, GIGALOCK_REASON_NO_MEMORY, f->mem_total);
		model_map(f, r, v, true);
	} else if (f->cma_total != UNKNOWN && f->cma_total) {
		coherent_cma(f, r, v);
	} else {
		verdict_number(v, "largest block of the page allocator", BUDDY_MAX, "bytes",
			       "the kernel's MAX_ORDER on x86");
		if (f->cma_built_in)
			verdict_number(v, "CmaTotal", f->cma_total, "bytes", "/proc/meminfo");
		else if (f->cma_known)
			verdict_word(v, "CmaTotal", "no such line: no CMA in this kernel",
				     "/proc/meminfo");
		verdict_number(v, "IOMMUs", f->iommu_units, "count", "/sys/class/iommu");
		coherent_block(f, r, v);
	}
	if (!r->no_user_map)
		model_user_memory(f, r, v, true);
}

/* ---- contig-range ------------------------------------------------------------------ */

void model_contig(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t top = width_top(facts_width(f, r));
	uint64_t limit = facts_translates(f) || top == UINT64_MAX ? UINT64_MAX : top + 1;
	uint64_t avail = available(f);
	struct runs *runs = &v->runs;

	model_budgets(f, r, v, true);
	verdict_number(v, "MemTotal", f->mem_total, "bytes", "/proc/meminfo");
	verdict_bound(v, r, f->mem_total, GIGALOCK_REASON_RAM_TOO_SMALL, f->mem_total);
	verdict_number(v, "MemAvailable", f->mem_available, "bytes", "/proc/meminfo");
	if (r->has_node && f->nzones) {
		uint64_t free = node_sum(f, r->node, false), all = node_sum(f, r->node, true);

		verdict_number(v, "memory of the node", all, "bytes", "/proc/zoneinfo");
		verdict_number(v, "free on the node", free, "bytes", "/proc/zoneinfo");
		verdict_bound(v, r, all, GIGALOCK_REASON_NODE_MEMORY, all);
	}
	pages_runs(f, limit, r->has_node, r->node, runs);
	if (runs->known) {
		uint64_t can = avail == UNKNOWN ? UNKNOWN :
			       bytes_left(avail, RESERVE) / BLOCK * BLOCK;

		verdict_number(v, "longest run that can be emptied", runs->likely, "bytes",
			       "/proc/kpageflags");
		if (runs->sure < r->bytes && runs->most >= r->bytes && runs->sure != runs->most) {
			verdict_doubt(v, "whether pages without flags are free or the kernel's: "
				     "a run is between %llu and %llu MiB long",
				     (unsigned long long)(runs->sure >> 20),
				     (unsigned long long)(runs->most >> 20));
		}
		/* The driver blames the node when that much is not free on it. */
		if (r->has_node && f->nzones && node_sum(f, r->node, false) < r->bytes)
			verdict_bound(v, r, runs->likely, GIGALOCK_REASON_NODE_MEMORY,
				      node_sum(f, r->node, true));
		/* Whichever ends the search first gives the reason. */
		if (can < runs->likely)
			verdict_bound(v, r, can, GIGALOCK_REASON_NO_MEMORY, f->mem_total);
		verdict_bound(v, r, runs->likely, GIGALOCK_REASON_NO_FREE_RANGE, runs->likely);
	} else {
		uint64_t bank = facts_longest_bank(f);

		if (avail != UNKNOWN)
			verdict_bound(v, r, bytes_left(avail, RESERVE),
				      GIGALOCK_REASON_NO_MEMORY, f->mem_total);
		if (bank != UNKNOWN)
			verdict_bound(v, r, bank, GIGALOCK_REASON_NO_FREE_RANGE, bank);
		if (v->locks) {
			/* Nothing forbids it, but what lies in memory is not known. */
			v->certain = false;
			v->largest = UNKNOWN;
			verdict_look(v, "what lies in memory: /proc/kpageflags, as root");
		}
	}
	if (!facts_translates(f) && !f->swiotlb_forced && limit != UINT64_MAX)
		verdict_number(v, "highest address of the device", top, "address",
			       "its DMA mask");
	if (f->swiotlb_forced || facts_translates(f))
		model_map(f, r, v, true);
	if (!r->no_user_map)
		model_user_memory(f, r, v, true);
}

/* ---- chunked ---------------------------------------------------------------------------- */

#define BLOCKS_RESERVE MIB(18)	/* it stops with that much available */

void model_chunked(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t avail = available(f), top = width_top(facts_width(f, r));
	struct page_room room;

	model_budgets(f, r, v, true);
	verdict_number(v, "MemTotal", f->mem_total, "bytes", "/proc/meminfo");
	verdict_bound(v, r, f->mem_total, GIGALOCK_REASON_RAM_TOO_SMALL, f->mem_total);
	verdict_number(v, "MemAvailable", f->mem_available, "bytes", "/proc/meminfo");
	model_page_room(f, r, &room);
	verdict_number(v, "pages that can stay", room.bytes, "bytes", "/proc/zoneinfo");
	/* Charged to the caller's group, as its own memory would be. */
	if (f->cgroup_max < NO_LIMIT) {
		verdict_number(v, "memory.max", f->cgroup_max, "bytes", f->cgroup_limit_at);
		if (f->cgroup_available < room.bytes)
			verdict_bound(v, r, f->cgroup_available, GIGALOCK_REASON_NO_MEMORY,
				      f->cgroup_max);
	}
	verdict_bound(v, r, room.bytes, r->has_node ? GIGALOCK_REASON_NODE_MEMORY :
		      GIGALOCK_REASON_NO_MEMORY, f->mem_total);
	if (avail != UNKNOWN)
		verdict_bound(v, r, bytes_left(avail, BLOCKS_RESERVE),
			      r->has_node ? GIGALOCK_REASON_NODE_MEMORY :
			      GIGALOCK_REASON_NO_MEMORY, f->mem_total);
	/* Up to 32 bits it asks for low memory in the first place. */
	if (!facts_translates(f) && top <= width_top(32))
		verdict_bound(v, r, bytes_left(room.bytes, room.above_4g),
			      GIGALOCK_REASON_NO_MEMORY, f->mem_total);
	model_table(f, r, v, PAGE);
	if (f->swiotlb_forced || facts_translates(f))
		model_map(f, r, v, false);
	if (!r->no_user_map)
		model_user_memory(f, r, v, true);
}
