// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory in one physical piece: cleared for who will see it, mapped for the
 * device, handed to and fro. For every strategy whose locks are of that kind.
 */
#include <linux/highmem.h>
#include <linux/mm.h>

#include "compat.h"
#include "gl.h"

/* Pages between two looks at the clock and at signals. */
#define GL_RUN_STEP	1024

/* Zero pages that have been somebody else's. */
int gl_run_clear(struct gl_lock *lock, unsigned long pfn, u64 bytes,
		 struct gl_fail *fail)
{
	unsigned long i, pages = bytes >> PAGE_SHIFT;

	for (i = 0; i < pages; i++) {
		int err;

		clear_highpage(pfn_to_page(pfn + i));
		if (i % GL_RUN_STEP)
			continue;
		cond_resched();
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE,
				      (u64)i << PAGE_SHIFT, fail);
		if (err)
			return err;
	}
	return 0;
}

/* What can be seen when the DMA API has refused a run: it tells little itself. */
int gl_run_map_why(struct gl_lock *lock, u64 phys, int err, bool bounces,
		   struct gl_fail *fail)
{
	size_t most = dma_max_mapping_size(gl_dev(lock->card));
	u64 limit = gl_card_dma_limit(lock->card);

	if (gl_card_translates(lock->card))
		return gl_iommu_why(lock, err, true, fail);
	if (bounces && lock->bytes > most)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_SEGMENT,
				   GIGALOCK_STAGE_DMA_MAP, err, most,
				   lock->bytes, most);
	if (bounces && most != SIZE_MAX)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_FULL,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	if (phys + lock->bytes - 1 > limit)
		return gl_fail_address(fail, GIGALOCK_STAGE_DMA_MAP, limit,
				       phys + lock->bytes - 1);
	/* All bounces, and this can't: from Linux 6.18 on that is refused. */
	if (most != SIZE_MAX)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_FULL,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP, GIGALOCK_STAGE_DMA_MAP,
			   err, 0, lock->bytes, 0);
}

int gl_run_map(struct gl_lock *lock, unsigned long pfn, struct gl_fail *fail)
{
	struct device *dev = gl_dev(lock->card);
	int err = gl_inject(lock->card, GL_INJECT_MAP);

	if (err)
		return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	lock->dma_addr = dma_map_page(dev, pfn_to_page(pfn), 0, lock->bytes,
				      lock->dma_dir);
	if (dma_mapping_error(dev, lock->dma_addr))
		return gl_run_map_why(lock, PFN_PHYS(pfn), -EIO, true, fail);
	return 0;
}

void gl_run_unmap(struct gl_lock *lock)
{
	dma_unmap_page_attrs(gl_dev(lock->card), lock->dma_addr, lock->bytes,
			     lock->dma_dir, gl_unmap_attrs(lock));
}

int gl_run_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	struct device *dev = gl_dev(lock->card);

	if (for_cpu)
		dma_sync_single_range_for_cpu(dev, lock->dma_addr, offset, len,
					      lock->dma_dir);
	else
		dma_sync_single_range_for_device(dev, lock->dma_addr, offset, len,
						 lock->dma_dir);
	return 0;
}
