// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why an IOMMU refused a mapping. The DMA API has one errno for two reasons: no
 * bus addresses were left, or no memory for the IOMMU's own tables.
 */
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/log2.h>

#include "gl.h"

/* Rings, and what clients of the kernel's dmaengine have mapped, are not counted. */
#define GL_IOMMU_SLACK	1024

/*
 * Is there surely a free range of bus addresses? They are aligned as their size
 * is, rounded up to a power of two: as many places as the address space has of
 * that size. Whatever is mapped takes at most two of them more than it fills. Three
 * quarters are left for what bridges and interrupts have for themselves.
 */
static bool gl_iommu_has_room(struct gl_lock *lock)
{
	struct gl_card *card = lock->card;
	struct iommu_domain *domain = iommu_get_domain_for_dev(gl_dev(card));
	u64 end = min_t(u64, gl_card_dma_limit(card), domain->geometry.aperture_end);
	unsigned int shift = max_t(unsigned int, PAGE_SHIFT,
				   ilog2(2 * lock->bytes - 1));
	u64 taken = atomic64_read(&card->locked_bytes) >> shift;

	taken += 2ULL * atomic_read(&card->locks) + GL_IOMMU_SLACK;
	return end >> shift >> 2 > taken;
}

/* Is there memory for the tables of the mapping? Taken as an IOMMU takes it. */
static bool gl_iommu_has_memory(struct gl_lock *lock)
{
	/* One of the last level for so many pages, few of the others. */
	u64 most = (lock->bytes >> PAGE_SHIFT) / PTRS_PER_PTE + 4, had;
	struct page *page, *next;
	LIST_HEAD(list);

	for (had = 0; had < most; had++) {
		page = alloc_page(GFP_ATOMIC | __GFP_NOWARN);
		if (!page)
			break;
		list_add(&page->lru, &list);
	}
	list_for_each_entry_safe(page, next, &list, lru)
		__free_page(page);
	return had == most;
}

/* @err: what the call gave; @maybe_full: it gives that when nothing is left, too. */
int gl_iommu_why(struct gl_lock *lock, int err, bool maybe_full, struct gl_fail *fail)
{
	if (!maybe_full || gl_iommu_has_room(lock) || !gl_iommu_has_memory(lock))
		return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	gl_fail_set(fail, GIGALOCK_REASON_IOVA_SPACE, GIGALOCK_STAGE_DMA_MAP, -ENOMEM,
		    gl_card_dma_limit(lock->card), lock->bytes, 0);
	fail->unit = GIGALOCK_UNIT_ADDRESS;
	return -ENOMEM;
}
