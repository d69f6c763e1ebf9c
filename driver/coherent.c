// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy coherent: dma_alloc_attrs(), whatever is behind it. The call tells
 * nothing but NULL, so the reason is what can be observed at that moment.
 */
#include <linux/mm.h>
#include <linux/vmstat.h>

#include "gl.h"

static int gl_coherent_lock(struct gl_lock *lock, u64 user_addr,
			    struct gl_fail *fail)
{
	struct gl_card *card = lock->card;
	u64 available = (u64)global_zone_page_state(NR_FREE_PAGES) << PAGE_SHIFT;
	size_t buddy = gl_buddy_max();
	u64 ram = (u64)totalram_pages() << PAGE_SHIFT;
	int err;

	/* Behind an IOMMU it would be tried page by page, down to the OOM killer. */
	if (gl_card_translates(card) && lock->bytes > ram)
		return gl_fail_set(fail, GIGALOCK_REASON_RAM_TOO_SMALL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, ram,
				   lock->bytes, available);
	/*
	 * No warning: the allocator would print a stack trace for what we are
	 * about to report in words.
	 */
	err = gl_inject(card, GL_INJECT_ALLOC);
	if (!err)
		lock->priv = dma_alloc_attrs(gl_dev(card), lock->bytes,
					     &lock->dma_addr,
					     GFP_KERNEL | __GFP_NOWARN, 0);
	if (!lock->priv) {
		err = err ?: -ENOMEM;
		if (fatal_signal_pending(current) || err == -EINTR)
			return gl_fail_set(fail, GIGALOCK_REASON_KILLED,
					   GIGALOCK_STAGE_ALLOCATE, -EINTR, 0,
					   lock->bytes, 0);
		if (gl_card_translates(card))
			return gl_fail_set(fail, GIGALOCK_REASON_NO_MEMORY,
					   GIGALOCK_STAGE_ALLOCATE, err, ram,
					   lock->bytes, available);
		if (lock->bytes > buddy)
			return gl_fail_set(fail, GIGALOCK_REASON_BUDDY_LIMIT,
					   GIGALOCK_STAGE_ALLOCATE, err, buddy,
					   lock->bytes, buddy);
		return gl_fail_set(fail, GIGALOCK_REASON_NO_FREE_BLOCK,
				   GIGALOCK_STAGE_ALLOCATE, err, buddy,
				   lock->bytes, available);
	}
	lock->segments = 1;
	lock->longest = lock->bytes;
	return 0;
}

/*
 * The memory belongs to the DMA API and can't outlive the driver's hold on the
 * device; mappings were taken away before.
 */
static void gl_coherent_detach(struct gl_lock *lock)
{
	dma_free_attrs(gl_dev(lock->card), lock->bytes, lock->priv,
		       lock->dma_addr, 0);
	lock->priv = NULL;
}

static void gl_coherent_free(struct gl_lock *lock)
{
}

static int gl_coherent_mmap(struct gl_lock *lock, struct vm_area_struct *vma,
			    u64 offset)
{
	unsigned long pgoff = vma->vm_pgoff;
	int err;

	if (!dma_can_mmap(gl_dev(lock->card)))
		return -ENXIO;
	/* This call takes the VMA's offset for the place in the buffer. */
	vma->vm_pgoff = offset >> PAGE_SHIFT;
	err = dma_mmap_attrs(gl_dev(lock->card), vma, lock->priv, lock->dma_addr,
			     lock->bytes, 0);
	vma->vm_pgoff = pgoff;
	return err;
}

const struct gl_strategy gl_strategy_coherent = {
	.name = "coherent",
	.number = GIGALOCK_STRATEGY_COHERENT,
	.page_sized = true,
	.lock = gl_coherent_lock,
	.detach = gl_coherent_detach,
	.free = gl_coherent_free,
	.mmap = gl_coherent_mmap,
	/* No sync: the DMA API keeps this memory coherent. */
};
