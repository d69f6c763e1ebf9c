// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy sg: the caller's own memory, pinned where it lies. Pages are pinned
 * a batch at a time and appended to the table at once, where neighbours merge:
 * no array for all pages is ever needed.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "gl.h"

#define GL_SG_BATCH	(PAGE_SIZE / sizeof(struct page *))

struct gl_sg {
	struct sg_append_table append;
	struct mm_struct *mm;		/* charged */
	unsigned long charged;		/* pages */
	bool write;			/* the device may write */
};

/*
 * RLIMIT_MEMLOCK against all pages this process has pinned, the way RDMA does
 * it. CAP_IPC_LOCK lifts the limit.
 */
static int gl_sg_charge(struct gl_lock *lock, struct gl_sg *sg,
			unsigned long pages, struct gl_fail *fail)
{
	u64 limit = rlimit(RLIMIT_MEMLOCK);
	u64 now;
	int err = gl_inject(lock->card, GL_INJECT_ACCOUNT);

	if (!err && !can_do_mlock())
		err = -EPERM;
	if (err)
		return gl_fail_set(fail, GIGALOCK_REASON_MEMLOCK_LIMIT,
				   GIGALOCK_STAGE_ACCOUNT, err, limit,
				   lock->bytes, 0);
	sg->mm = current->mm;
	mmgrab(sg->mm);
	now = atomic64_add_return(pages, &sg->mm->pinned_vm);
	if (now > limit >> PAGE_SHIFT && !capable(CAP_IPC_LOCK)) {
		u64 before = (now - pages) << PAGE_SHIFT;

		atomic64_sub(pages, &sg->mm->pinned_vm);
		mmdrop(sg->mm);
		sg->mm = NULL;
		return gl_fail_set(fail, GIGALOCK_REASON_MEMLOCK_LIMIT,
				   GIGALOCK_STAGE_ACCOUNT, -ENOMEM, limit,
				   (u64)pages << PAGE_SHIFT,
				   limit > before ? limit - before : 0);
	}
	sg->charged = pages;
	return 0;
}

static void gl_sg_uncharge(struct gl_sg *sg)
{
	if (!sg->mm)
		return;
	atomic64_sub(sg->charged, &sg->mm->pinned_vm);
	mmdrop(sg->mm);
	sg->mm = NULL;
}

/* What lies at the address where pinning stopped. */
static u32 gl_sg_look(unsigned long addr, bool write)
{
	u32 reason = GIGALOCK_REASON_BAD_ADDRESS;
	struct vm_area_struct *vma;

	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, addr);
	if (vma && vma->vm_flags & (VM_IO | VM_PFNMAP))
		reason = GIGALOCK_REASON_UNPINNABLE;
	else if (vma && write && vma->vm_flags & VM_READ &&
		 !(vma->vm_flags & VM_WRITE))
		reason = GIGALOCK_REASON_READ_ONLY;
	else if (vma && vma->vm_flags & VM_READ && vma->vm_flags & VM_MAYSHARE &&
		 vma->vm_file &&
		 (vma->vm_pgoff << PAGE_SHIFT) + (addr - vma->vm_start) <
		 i_size_read(file_inode(vma->vm_file)))
		/* The page is there: it is the kind of file that is refused. */
		reason = GIGALOCK_REASON_UNPINNABLE;
	mmap_read_unlock(current->mm);
	return reason;
}

static int gl_sg_pin_why(struct gl_lock *lock, struct gl_fail *fail, int err,
			 unsigned long addr, bool write, u64 done)
{
	u32 reason;

	switch (err) {
	case -EINTR:
	case -ERESTARTSYS:
		reason = GIGALOCK_REASON_KILLED;
		err = -EINTR;
		break;
	case -ENOMEM:
	case -EAGAIN:
		reason = GIGALOCK_REASON_NO_MEMORY;
		if (fatal_signal_pending(current)) {
			reason = GIGALOCK_REASON_KILLED;
			err = -EINTR;
		}
		break;
	case -EFAULT:
		reason = gl_sg_look(addr, write);
		break;
	default:
		/* -EOPNOTSUPP, -EBUSY: the kind of page */
		reason = GIGALOCK_REASON_UNPINNABLE;
	}
	return gl_fail_set(fail, reason, GIGALOCK_STAGE_PIN, err, 0,
			   lock->bytes, done);
}

static int gl_sg_pin(struct gl_lock *lock, struct gl_sg *sg, u64 user_addr,
		     unsigned long pages, struct gl_fail *fail)
{
	unsigned int gup = FOLL_LONGTERM | (sg->write ? FOLL_WRITE : GL_GUP_READ);
	size_t most = dma_max_mapping_size(gl_dev(lock->card));
	unsigned int max_seg = min_t(size_t, most, UINT_MAX) & PAGE_MASK;
	unsigned long addr = user_addr & PAGE_MASK;
	unsigned int head = offset_in_page(user_addr);
	u64 left = lock->bytes;
	struct page **batch;
	int err;

	err = gl_inject(lock->card, GL_INJECT_BATCH);
	batch = err ? NULL : (struct page **)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!batch)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_PIN, err ?: -ENOMEM, 0,
				   PAGE_SIZE, 0);
	while (pages) {
		u64 len;
		int n;

		cond_resched();
		n = fatal_signal_pending(current) ? -EINTR :
		    gl_inject(lock->card, GL_INJECT_PIN);
		if (!n)
			n = pin_user_pages_fast(addr, min_t(unsigned long, pages,
							    GL_SG_BATCH),
						gup, batch);
		if (n <= 0) {
			err = gl_sg_pin_why(lock, fail, n ?: -EFAULT, addr,
					    sg->write, lock->bytes - left);
			break;
		}
		len = min_t(u64, left, ((u64)n << PAGE_SHIFT) - head);
		pages -= n;
		err = gl_inject(lock->card, GL_INJECT_TABLE);
		if (!err)
			err = sg_alloc_append_table_from_pages(&sg->append, batch, n,
							       head, ((u64)n << PAGE_SHIFT) - head,
							       max_seg, pages,
							       GFP_KERNEL_ACCOUNT);
		if (err) {
			unpin_user_pages(batch, n);
			err = gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
					  GIGALOCK_STAGE_TABLE, err, 0,
					  lock->bytes, lock->bytes - left);
			break;
		}
		addr += (unsigned long)n << PAGE_SHIFT;
		left -= len;
		head = 0;
	}
	free_page((unsigned long)batch);
	/*
	 * Appended were whole pages, as merging counts in pages: take what lies
	 * behind the buffer off again. It is the caller's, and not for the device.
	 */
	if (!err)
		sg->append.prv->length -= offset_in_page(-(user_addr + lock->bytes));
	return err;
}

static void gl_sg_unpin(struct gl_sg *sg, bool dirty)
{
	struct sg_table *sgt = &sg->append.sgt;
	struct scatterlist *s;
	unsigned int i;

	/* orig_nents and not nents: mapping may have merged entries. */
	for_each_sgtable_sg(sgt, s, i) {
		unpin_user_page_range_dirty_lock(sg_page(s),
						 DIV_ROUND_UP(s->offset + s->length,
							      PAGE_SIZE),
						 dirty);
		cond_resched();
	}
	sg_free_append_table(&sg->append);
}

static int gl_sg_map(struct gl_lock *lock, struct gl_sg *sg, struct gl_fail *fail)
{
	struct device *dev = gl_dev(lock->card);
	struct sg_table *sgt = &sg->append.sgt;
	u64 top = gl_card_dma_limit(lock->card);
	size_t most = dma_max_mapping_size(dev);
	u64 longest = 0, highest = 0;
	struct scatterlist *s;
	unsigned int i;
	int err;

	err = gl_inject(lock->card, GL_INJECT_MAP);
	if (!err)
		err = dma_map_sgtable(dev, sgt, lock->dma_dir, 0);
	if (!err) {
		lock->segments = sgt->nents;
		for_each_sgtable_dma_sg(sgt, s, i)
			lock->longest = max_t(u64, lock->longest, sg_dma_len(s));
		return 0;
	}
	for_each_sgtable_sg(sgt, s, i) {
		longest = max_t(u64, longest, s->length);
		highest = max_t(u64, highest, sg_phys(s) + s->length - 1);
	}
	if (longest > most)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_SEGMENT,
				   GIGALOCK_STAGE_DMA_MAP, err, most, longest, most);
	if (most != SIZE_MAX)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_FULL,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	if (!gl_card_translates(lock->card) && highest > top) {
		gl_fail_set(fail, GIGALOCK_REASON_ADDRESS_WIDTH,
			    GIGALOCK_STAGE_DMA_MAP, -ERANGE, top, highest, 0);
		fail->unit = GIGALOCK_UNIT_ADDRESS;
		return -ERANGE;
	}
	return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP, GIGALOCK_STAGE_DMA_MAP,
			   err, 0, lock->bytes, 0);
}

static int gl_sg_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			    struct gl_fail *fail)
{
	unsigned long pages = DIV_ROUND_UP(offset_in_page(arg->user_addr) + lock->bytes,
					   PAGE_SIZE);
	struct gl_sg *sg;
	int err;

	sg = kzalloc(sizeof(*sg), GFP_KERNEL_ACCOUNT);
	if (!sg)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0, sizeof(*sg), 0);
	sg->write = lock->direction & GIGALOCK_DIR_FROM_CARD;
	lock->priv = sg;

	err = gl_sg_charge(lock, sg, pages, fail);
	if (err)
		goto free;
	err = gl_sg_pin(lock, sg, arg->user_addr, pages, fail);
	if (err)
		goto unpin;
	err = gl_sg_map(lock, sg, fail);
	if (err)
		goto unpin;
	lock->sgt = &sg->append.sgt;
	return 0;
unpin:
	gl_sg_unpin(sg, false);
	gl_sg_uncharge(sg);
free:
	kfree(sg);
	lock->priv = NULL;
	return err;
}

static void gl_sg_detach(struct gl_lock *lock)
{
	dma_unmap_sgtable(gl_dev(lock->card), lock->sgt, lock->dma_dir, 0);
}

static void gl_sg_free(struct gl_lock *lock)
{
	struct gl_sg *sg = lock->priv;

	gl_sg_unpin(sg, sg->write);
	gl_sg_uncharge(sg);
	kfree(sg);
}

static void gl_sg_sync_one(struct gl_lock *lock, dma_addr_t addr, size_t len,
			   bool for_cpu)
{
	struct device *dev = gl_dev(lock->card);

	if (for_cpu)
		dma_sync_single_for_cpu(dev, addr, len, lock->dma_dir);
	else
		dma_sync_single_for_device(dev, addr, len, lock->dma_dir);
}

/*
 * Just the range, piece by piece as the device sees it: a bounce buffer copied
 * back beyond it would overwrite what the CPU wrote there.
 */
static void gl_sg_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	struct gl_pos pos;

	gl_lock_seek(lock, offset, &pos);
	while (len) {
		dma_addr_t addr;
		u64 n = gl_lock_next(lock, &pos, len, &addr);

		gl_sg_sync_one(lock, addr, n, for_cpu);
		len -= n;
	}
}

const struct gl_strategy gl_strategy_sg = {
	.name = "sg",
	.number = GIGALOCK_STRATEGY_SG,
	.user_memory = true,
	.lock = gl_sg_lock,
	.detach = gl_sg_detach,
	.free = gl_sg_free,
	.sync = gl_sg_sync,
};
