/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last steps of a lock: pieces into a table, and the table to the device,
 * as it is, translated or bounced.
 */
#define _GNU_SOURCE
#include <string.h>

#include "doctor.h"

/* ---- the table -------------------------------------------------------------------- */

/*
 * How many pieces the memory will be in is only known for what the caller
 * forbids: pages that aren't merged, pieces that are kept short.
 */
void model_table(struct facts *f, const struct request *r, struct verdict *v,
		  uint64_t page)
{
	const uint64_t most = GIGALOCK_SMALL_TABLE_ENTRIES;
	uint64_t piece = r->entry_per_page ? PAGE : r->max_segment;

	if (!r->small_table || facts_translates(f))
		return;
	verdict_number(v, "entries of the table", most, "count", "the request");
	if (piece) {
		verdict_number(v, "longest piece", piece, "bytes", "the request");
		verdict_bound(v, r, most * piece, GIGALOCK_REASON_TOO_MANY_SEGMENTS, most);
		return;
	}
	if (page == PAGE && r->bytes > most * PAGE) {
		/* Neighbours merge: from 256 pages to all of memory is possible. */
		verdict_doubt(v, "in how many pieces the memory lies: lock it once without the "
			     "small table and read \"segments\"");
	}
	verdict_bound(v, r, most * (page > MIB(4) ? page : GIB(4)),
		      GIGALOCK_REASON_TOO_MANY_SEGMENTS, most);
}

/* ---- the mapping for the device ------------------------------------------------------ */

#define SWIOTLB_LONGEST KIB(256)

static uint64_t round_up_power(uint64_t bytes)
{
	uint64_t power = PAGE;

	while (power < bytes)
		power <<= 1;
	return power;
}

static bool window_in(const struct facts *f, uint64_t start, uint64_t end)
{
	/* The interrupts' own addresses, on every PC. */
	if (start < 0xfef00000 && end > 0xfee00000)
		return true;
	for (unsigned int i = 0; i < f->nwindows; i++)
		if (start < f->windows[i].end && end > f->windows[i].start)
			return true;
	return false;
}

/*
 * Whether @bytes of bus addresses fit below the device's top: in a place that is
 * aligned to the size's next power of two, and clear of the bridges' windows.
 * What is locked already takes such places too.
 */
static bool iova_fits(const struct facts *f, uint64_t top, uint64_t bytes)
{
	uint64_t used = f->locked_bytes == UNKNOWN ? 0 : f->locked_bytes;
	uint64_t align = round_up_power(bytes);
	uint64_t taken = (used + align - 1) / align, places = 0;

	/* The first place has address 0, which is not given out. */
	for (uint64_t at = align; at <= top && top - at >= bytes - 1; at += align)
		if (!window_in(f, at, at + bytes) && ++places > taken)
			return true;
	return false;
}

static uint64_t iova_room(const struct facts *f, const struct request *r, uint64_t top)
{
	bool wanted = iova_fits(f, top, r->bytes);

	for (uint64_t bytes = (top + 1) / 2; bytes >= MIB(1); bytes >>= 1)
		if (iova_fits(f, top, bytes))
			return wanted && bytes < r->bytes ? r->bytes : bytes;
	return wanted ? r->bytes : 0;
}

void model_map(struct facts *f, const struct request *r, struct verdict *v,
	       bool one_piece)
{
	uint64_t width = facts_width(f, r), top = width_top(width);
	uint64_t end = facts_ram_end(f), bounced, pool;
	bool narrower = r->address_width && f->dma_bits != UNKNOWN &&
			f->dma_bits && r->address_width < f->dma_bits;
	struct page_room room;

	if (width < 64)
		verdict_number(v, "address width", width, "bits",
			       r->address_width == width ? "the request" :
			       "/sys/bus/pci/devices/*/dma_mask_bits");
	if (f->iommu == UNKNOWN) {
		verdict_doubt(v, "whether the IOMMU translates for the device: "
			     "/sys/bus/pci/devices/BDF/iommu_group/type");
	}
	if (facts_translates(f)) {
		verdict_word(v, "IOMMU", "translates", "/sys/kernel/iommu_groups/*/type");
		if (width < 48 && !f->iomem_zeroed)
			verdict_bound(v, r, iova_room(f, r, top),
				      GIGALOCK_REASON_IOVA_SPACE, top);
		return;
	}
	if (end == UNKNOWN) {
		verdict_doubt(v, "where RAM lies: /proc/iomem, as root");
		return;
	}
	if (!f->swiotlb_forced && top >= end - 1)
		return;		/* the device reaches everything */
	verdict_number(v, "end of RAM", end, "address", "/proc/iomem");
	if (f->swiotlb == UNKNOWN) {
		verdict_doubt(v, "the bounce buffer: /sys/kernel/debug/swiotlb, as root");
		return;
	}
	pool = f->swiotlb_used == UNKNOWN ? f->swiotlb :
	       bytes_left(f->swiotlb, f->swiotlb_used);
	verdict_number(v, "bounce buffer", f->swiotlb, "bytes",
		       "/sys/kernel/debug/swiotlb/io_tlb_nslabs");
	if (f->swiotlb_forced)
		verdict_word(v, "swiotlb=", "force", "/proc/cmdline");
	if (one_piece) {
		/* Taken from below the top; only forced bouncing is in its way. */
		if (f->swiotlb_forced)
			verdict_bound(v, r, SWIOTLB_LONGEST,
				      GIGALOCK_REASON_SWIOTLB_SEGMENT, SWIOTLB_LONGEST);
		return;
	}
	/* Programs get memory from the highest zone first. */
	model_page_room(f, r, &room);
	bounced = f->swiotlb_forced ? r->bytes :
		  top < GIB(4) ? (room.above_4g < r->bytes ? room.above_4g : r->bytes) : 0;
	if (!f->swiotlb_forced && top != GIB(4) - 1 && top < end) {
		/* Not at a zone's border: where the pages lie is not known before. */
		verdict_doubt(v, "pages below %#llx may or may not be had for it",
			     (unsigned long long)top);
		bounced = r->bytes;
	}
	verdict_number(v, "free memory above the device's reach", room.above_4g, "bytes",
		       "/proc/zoneinfo");
	/* A lock that wants fewer bits than the card has: nothing is bounced for it. */
	if (bounced && (!f->swiotlb || narrower))
		verdict_bound(v, r, bytes_left(r->bytes, bounced),
			      GIGALOCK_REASON_ADDRESS_WIDTH, top);
	else if (bounced > pool)
		verdict_bound(v, r, pool, GIGALOCK_REASON_SWIOTLB_FULL, f->swiotlb);
}
