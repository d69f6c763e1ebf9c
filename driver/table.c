// SPDX-License-Identifier: GPL-2.0-only
/*
 * Segment tables: built from pages as they come, neighbours merged on the way,
 * then mapped for the device.
 *
 * A table is a chain of single pages, so that no lock, whatever its size, needs
 * more than one page in a piece; the bytes taken are counted.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "gl.h"

/* Entries that a page of the table has, the last of them the link to the next. */
#define GL_TABLE_CHUNK		SG_MAX_SINGLE_ALLOC

void gl_table_init(struct gl_table *table, u64 max_segment)
{
	memset(table, 0, sizeof(*table));
	table->most = min_t(u64, max_segment, UINT_MAX) & PAGE_MASK;
	table->most_entries = UINT_MAX;
	table->next_pfn = ULONG_MAX;
}

/* A table for what a lock asks for. */
void gl_table_init_lock(struct gl_table *table, struct gl_lock *lock)
{
	size_t most = dma_max_mapping_size(gl_dev(lock->card));

	gl_table_init(table, min_t(u64, lock->max_segment, most));
	/* An IOMMU may yet make one run of many entries. */
	if (lock->flags & GIGALOCK_LOCK_SMALL_TABLE &&
	    !gl_card_translates(lock->card))
		table->most_entries = GIGALOCK_SMALL_TABLE_ENTRIES;
}

static struct scatterlist *gl_table_new_entry(struct gl_table *table)
{
	struct scatterlist *chunk;

	if (table->room) {
		table->room--;
		return table->last + 1;
	}
	chunk = (struct scatterlist *)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!chunk)
		return NULL;
	sg_init_table(chunk, GL_TABLE_CHUNK);
	sg_unmark_end(&chunk[GL_TABLE_CHUNK - 1]);
	if (table->chunk)
		sg_chain(table->chunk, GL_TABLE_CHUNK, chunk);
	else
		table->sgt.sgl = chunk;
	table->chunk = chunk;
	table->room = GL_TABLE_CHUNK - 2;
	table->kernel_bytes += PAGE_SIZE;
	return chunk;
}

/*
 * @bytes from @offset in @page on, in a row in physical memory; what ends within
 * a page is the last. -ENOMEM, or -E2BIG when the table may have no more entries.
 */
int gl_table_add(struct gl_table *table, struct page *page, unsigned int offset,
		 u64 bytes)
{
	unsigned long pfn = page_to_pfn(page);

	while (bytes) {
		u64 n;

		if (pfn != table->next_pfn || offset || !table->left) {
			struct scatterlist *entry;

			if (table->sgt.orig_nents == table->most_entries)
				return -E2BIG;
			entry = gl_table_new_entry(table);
			if (!entry)
				return -ENOMEM;
			sg_set_page(entry, pfn_to_page(pfn), 0, offset);
			table->last = entry;
			table->left = table->most - offset;
			table->sgt.orig_nents++;
		}
		n = min(bytes, table->left);
		table->last->length += n;
		table->left -= n;
		table->bytes += n;
		bytes -= n;
		n += offset;
		pfn += n >> PAGE_SHIFT;
		offset = offset_in_page(n);
		table->next_pfn = offset ? ULONG_MAX : pfn;
	}
	return 0;
}

/* Why gl_table_add() refused, with @bytes to be held in all. */
int gl_table_why(u64 bytes, struct gl_table *table, int err, struct gl_fail *fail)
{
	if (err == -E2BIG) {
		gl_fail_set(fail, GIGALOCK_REASON_TOO_MANY_SEGMENTS,
			    GIGALOCK_STAGE_TABLE, err, table->most_entries,
			    DIV_ROUND_UP_ULL(bytes, PAGE_SIZE),
			    table->bytes >> PAGE_SHIFT);
		fail->unit = GIGALOCK_UNIT_COUNT;
		return err;
	}
	/* Charged to a memory group, it may be what has the caller killed. */
	if (fatal_signal_pending(current))
		return gl_fail_set(fail, GIGALOCK_REASON_KILLED,
				   GIGALOCK_STAGE_TABLE, -EINTR, 0, bytes,
				   table->bytes);
	return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
			   GIGALOCK_STAGE_TABLE, err, 0, bytes, table->bytes);
}

/*
 * Every page of a mapping is looked for by its number: every so many entries have
 * a mark. Those of segments.c are of no use here, as an IOMMU makes other entries.
 */
#define GL_TABLE_MARK_EVERY	16

static void gl_table_mark(struct gl_table *table)
{
	u32 most = (table->sgt.orig_nents - 1) / GL_TABLE_MARK_EVERY;
	struct scatterlist *s;
	unsigned int i;
	u64 page = 0;

	table->kernel_bytes += gl_marks_make(&table->marks, most);
	if (!table->marks.most)
		return;
	for_each_sgtable_sg(&table->sgt, s, i) {
		if (i && i % GL_TABLE_MARK_EVERY == 0)
			gl_marks_add(&table->marks, s, page);
		page += PFN_UP(s->offset + s->length);
	}
}

/*
 * Where page @page of the table's memory lies, for the CPU; *@run is how many
 * pages follow in a row, itself counted; 0 behind the end.
 */
unsigned long gl_table_pfn(struct gl_table *table, u64 page, u64 *run)
{
	const struct gl_mark *mark = gl_marks_before(&table->marks, page);
	struct scatterlist *s = mark ? mark->sg : table->sgt.sgl;

	if (mark)
		page -= mark->place;
	for (; s; s = sg_next(s)) {
		u64 pages = PFN_UP(s->offset + s->length);

		if (page < pages) {
			*run = pages - page;
			return page_to_pfn(sg_page(s)) + page;
		}
		page -= pages;
	}
	*run = 0;
	return 0;
}

void gl_table_free(struct gl_table *table)
{
	struct scatterlist *chunk = table->sgt.sgl, *next;

	for (; chunk; chunk = next) {
		struct scatterlist *link = &chunk[GL_TABLE_CHUNK - 1];

		next = sg_is_chain(link) ? sg_chain_ptr(link) : NULL;
		free_page((unsigned long)chunk);
	}
	gl_marks_free(&table->marks);
	memset(table, 0, sizeof(*table));
}

/* ---- for the device ---- */

/* What can be seen when the DMA API has refused: it tells little itself. */
static int gl_table_map_why(struct gl_lock *lock, struct gl_table *table, int err,
			    struct gl_fail *fail)
{
	size_t most = dma_max_mapping_size(gl_dev(lock->card));
	u64 limit = gl_card_dma_limit(lock->card);
	u64 longest = 0, highest = 0;
	struct scatterlist *s;
	unsigned int i;

	for_each_sgtable_sg(&table->sgt, s, i) {
		longest = max_t(u64, longest, s->length);
		highest = max_t(u64, highest, sg_phys(s) + s->length - 1);
	}
	if (gl_card_translates(lock->card))
		return gl_iommu_why(lock, err, err == -ENOMEM, fail);
	if (longest > most)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_SEGMENT,
				   GIGALOCK_STAGE_DMA_MAP, err, most, longest, most);
	if (most != SIZE_MAX)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_FULL,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	if (highest > limit) {
		gl_fail_set(fail, GIGALOCK_REASON_ADDRESS_WIDTH,
			    GIGALOCK_STAGE_DMA_MAP, -ERANGE, limit, highest, 0);
		fail->unit = GIGALOCK_UNIT_ADDRESS;
		return -ERANGE;
	}
	return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP, GIGALOCK_STAGE_DMA_MAP,
			   err, 0, lock->bytes, 0);
}

/* Map a finished table; it is the lock's from then on. */
int gl_table_map(struct gl_lock *lock, struct gl_table *table,
		 struct gl_fail *fail)
{
	int err = gl_inject(lock->card, GL_INJECT_MAP);

	sg_mark_end(table->last);
	if (!err)
		err = dma_map_sgtable(gl_dev(lock->card), &table->sgt,
				      lock->dma_dir, 0);
	if (err)
		return gl_table_map_why(lock, table, err, fail);
	gl_table_mark(table);
	lock->sgt = &table->sgt;
	lock->table_bytes = table->kernel_bytes;
	return 0;
}

void gl_table_unmap(struct gl_lock *lock)
{
	dma_unmap_sgtable(gl_dev(lock->card), lock->sgt, lock->dma_dir,
			  gl_unmap_attrs(lock));
}

/*
 * Just the range, piece by piece as the device sees it: a bounce buffer copied
 * back beyond it would overwrite what the CPU wrote there.
 */
int gl_table_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	struct device *dev = gl_dev(lock->card);
	struct gl_pos pos;

	gl_lock_seek(lock, offset, &pos);
	while (len) {
		dma_addr_t addr;
		u64 n = gl_lock_next(lock, &pos, len, &addr);

		if (for_cpu)
			dma_sync_single_for_cpu(dev, addr, n, lock->dma_dir);
		else
			dma_sync_single_for_device(dev, addr, n, lock->dma_dir);
		len -= n;
		cond_resched();
	}
	return 0;
}
