// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy hugetlb: the caller's huge pages, pinned, and looked at: each must be
 * one, and lie in one piece.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>

#include "compat.h"
#include "gl.h"

/* The smallest kind of page seen. */
static u32 gl_hugetlb_backing(struct folio *folio, u32 seen)
{
	u32 here = folio_size(folio) >= PUD_SIZE ? GIGALOCK_BACKING_HUGE_1G :
		   GIGALOCK_BACKING_HUGE_2M;

	return seen ? min(here, seen) : here;
}

static int gl_hugetlb_refuse(struct gl_lock *lock, u64 done, struct gl_fail *fail)
{
	return gl_fail_set(fail, GIGALOCK_REASON_NOT_HUGETLB, GIGALOCK_STAGE_PIN,
			   -EMEDIUMTYPE, 0, lock->bytes, done);
}

static int gl_hugetlb_check(struct gl_lock *lock, struct page **pages, int n,
			    u64 addr, u64 user_addr, struct gl_fail *fail)
{
	int i;

	for (i = 0; i < n; i++, addr += PAGE_SIZE) {
		struct folio *folio = page_folio(pages[i]);
		unsigned long at = addr & (folio_size(folio) - 1);

		if (!folio_test_hugetlb(folio) ||
		    page_to_pfn(pages[i]) != folio_pfn(folio) + PHYS_PFN(at))
			return gl_hugetlb_refuse(lock, max(addr, user_addr) - user_addr,
						 fail);
		lock->backing = gl_hugetlb_backing(folio, lock->backing);
	}
	return 0;
}

/*
 * Whether there is a chance, before a gigabyte of other pages is pinned. What
 * counts is the look at the pages; this one is not under any lock by then.
 */
static int gl_hugetlb_look(struct gl_lock *lock, u64 user_addr, unsigned int *read,
			   struct gl_fail *fail)
{
	u64 addr = user_addr, end = user_addr + lock->bytes;
	int err = 0;

	mmap_read_lock(current->mm);
	while (addr < end && !err) {
		struct vm_area_struct *vma = vma_lookup(current->mm, addr);

		if (!vma)
			err = gl_fail_set(fail, GIGALOCK_REASON_BAD_ADDRESS,
					  GIGALOCK_STAGE_PIN, -EFAULT, 0,
					  lock->bytes, addr - user_addr);
		else if (!is_vm_hugetlb_page(vma))
			err = gl_hugetlb_refuse(lock, addr - user_addr, fail);
		else
			addr = vma->vm_end;
		/* No kernel writes to those by force. */
		if (!err && !(vma->vm_flags & VM_WRITE))
			*read = 0;
	}
	mmap_read_unlock(current->mm);
	return err;
}

static int gl_hugetlb_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			   struct gl_fail *fail)
{
	unsigned int read = GL_GUP_READ;
	int err;

	/* Whoever has the caller's mappings locked may be waiting, too. */
	gl_leave(lock->inside);
	err = gl_hugetlb_look(lock, arg->user_addr, &read, fail);
	gl_enter(lock->inside);
	if (!err)
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_PIN, 0, fail);
	return err ?: gl_pin_lock(lock, arg->user_addr, read, gl_hugetlb_check, fail);
}

const struct gl_strategy gl_strategy_hugetlb = {
	.name = "hugetlb",
	.number = GIGALOCK_STRATEGY_HUGETLB,
	.user_memory = true,
	.lock = gl_hugetlb_lock,
	.detach = gl_table_unmap,
	.free = gl_pin_free,
	.pfn = gl_pin_pfn,
	.sync = gl_table_sync,
};
