// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy coherent: dma_alloc_attrs(), whatever is behind it. The call tells
 * nothing but NULL, so the reason is what can be observed at that moment.
 */
#include <linux/mm.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>

#include "compat.h"
#include "gl.h"

static int gl_coherent_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
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
	 * about to report in words. No OOM killer either: it would end others
	 * before it ended the caller.
	 */
	err = gl_inject(card, GL_INJECT_ALLOC);
	if (!err)
		lock->priv = dma_alloc_attrs(gl_dev(card), lock->bytes,
					     &lock->dma_addr,
					     GFP_KERNEL | __GFP_NOWARN |
					     __GFP_RETRY_MAYFAIL, 0);
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

/*
 * Mapped page by page on demand: only a mapping that the core knows can fault, so
 * whatever is mapped when the card goes is found and taken away again.
 */
static int gl_coherent_mmap(struct gl_lock *lock, struct vm_area_struct *vma,
			    u64 offset)
{
	gl_vm_flags_set(vma, VM_IO | VM_PFNMAP);
	return 0;
}

/* The page, and its neighbours with it. */
static vm_fault_t gl_coherent_fault(struct gl_lock *lock, struct vm_fault *vmf,
				    u64 page)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long here = vmf->address & PAGE_MASK;
	unsigned long addr = max(ALIGN_DOWN(here, PMD_SIZE), vma->vm_start);
	unsigned long end = min(ALIGN(here + 1, PMD_SIZE), vma->vm_end);
	vm_fault_t ret = VM_FAULT_NOPAGE;

	for (; addr < end && ret == VM_FAULT_NOPAGE; addr += PAGE_SIZE) {
		u64 at = (page << PAGE_SHIFT) + addr - here;
		void *p = lock->priv + at;

		if (at >= lock->bytes)
			break;
		ret = vmf_insert_pfn(vma, addr, is_vmalloc_addr(p) ?
				     vmalloc_to_pfn(p) : PHYS_PFN(virt_to_phys(p)));
	}
	return ret;
}

const struct gl_strategy gl_strategy_coherent = {
	.name = "coherent",
	.number = GIGALOCK_STRATEGY_COHERENT,
	.page_sized = true,
	.lock = gl_coherent_lock,
	.detach = gl_coherent_detach,
	.free = gl_coherent_free,
	.mmap = gl_coherent_mmap,
	.fault = gl_coherent_fault,
	/* No sync: the DMA API keeps this memory coherent. */
};
