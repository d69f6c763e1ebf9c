// SPDX-License-Identifier: GPL-2.0-only
/*
 * The caller's own memory: charged to the caller, pinned where it lies, released
 * again. Pages are pinned a batch at a time and put into the table at once: no
 * array for all pages is ever needed.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "gl.h"

/* One page full of pointers to pages. */
#define GL_PIN_BATCH	(PAGE_SIZE / sizeof(struct page *))

struct gl_pin {
	struct gl_table table;
	struct mm_struct *mm;		/* charged */
	unsigned long charged;		/* pages */
	bool write;			/* the device may write */
};

/*
 * RLIMIT_MEMLOCK against all pages this process has pinned, the way RDMA does
 * it. CAP_IPC_LOCK lifts the limit.
 */
static int gl_pin_charge(struct gl_lock *lock, struct gl_pin *pin,
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
	pin->mm = current->mm;
	mmgrab(pin->mm);
	now = atomic64_add_return(pages, &pin->mm->pinned_vm);
	if (now > limit >> PAGE_SHIFT && !capable(CAP_IPC_LOCK)) {
		u64 before = (now - pages) << PAGE_SHIFT;

		atomic64_sub(pages, &pin->mm->pinned_vm);
		mmdrop(pin->mm);
		pin->mm = NULL;
		return gl_fail_set(fail, GIGALOCK_REASON_MEMLOCK_LIMIT,
				   GIGALOCK_STAGE_ACCOUNT, -ENOMEM, limit,
				   (u64)pages << PAGE_SHIFT,
				   limit > before ? limit - before : 0);
	}
	pin->charged = pages;
	return 0;
}

static void gl_pin_uncharge(struct gl_pin *pin)
{
	if (!pin->mm)
		return;
	atomic64_sub(pin->charged, &pin->mm->pinned_vm);
	mmdrop(pin->mm);
	pin->mm = NULL;
}

/* What lies at the address where pinning stopped. */
static u32 gl_pin_look(unsigned long addr, bool write)
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
		 i_size_read(vma->vm_file->f_mapping->host))
		/* The page is there: it is the kind of file that is refused. */
		reason = GIGALOCK_REASON_UNPINNABLE;
	mmap_read_unlock(current->mm);
	return reason;
}

static int gl_pin_why(struct gl_lock *lock, struct gl_fail *fail, int err,
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
		reason = gl_pin_look(addr, write);
		break;
	default:
		/* -EOPNOTSUPP, -EBUSY: the kind of page */
		reason = GIGALOCK_REASON_UNPINNABLE;
	}
	return gl_fail_set(fail, reason, GIGALOCK_STAGE_PIN, err, 0,
			   lock->bytes, done);
}

/* A batch into the table, neighbours as one; 0, or the errno with all unpinned. */
static int gl_pin_append(struct gl_lock *lock, struct gl_pin *pin,
			 struct page **batch, unsigned int n, unsigned int head,
			 u64 len, struct gl_fail *fail)
{
	int err = gl_inject(lock->card, GL_INJECT_TABLE);
	unsigned int i, run;

	for (i = 0; i < n && !err; i += run) {
		u64 bytes;

		for (run = 1; i + run < n; run++)
			if (page_to_pfn(batch[i + run]) !=
			    page_to_pfn(batch[i]) + run)
				break;
		bytes = min(len, ((u64)run << PAGE_SHIFT) - head);
		err = gl_table_add(&pin->table, batch[i], head, bytes);
		if (err)
			break;
		len -= bytes;
		head = 0;
	}
	if (!err)
		return 0;
	/*
	 * Those that are in the table are released with it. Of the run that
	 * failed some may be: what is in the table goes by bytes.
	 */
	return gl_table_why(lock->bytes, &pin->table, err, fail);
}

static int gl_pin_all(struct gl_lock *lock, struct gl_pin *pin, u64 user_addr,
		      unsigned long pages, unsigned int gup, gl_pin_check_t *check,
		      struct gl_fail *fail)
{
	unsigned long addr = user_addr & PAGE_MASK;
	unsigned int head = offset_in_page(user_addr);
	struct page **batch;
	u64 done = 0;
	int err;

	err = gl_inject(lock->card, GL_INJECT_BATCH);
	batch = err ? NULL : (struct page **)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!batch)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_PIN, err ?: -ENOMEM, 0,
				   PAGE_SIZE, 0);
	while (pages) {
		u64 len, fitted = pin->table.bytes;
		int n;

		cond_resched();
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_PIN, done, fail);
		if (err)
			break;
		n = gl_inject_killable(lock->card, GL_INJECT_PIN);
		if (!n)
			n = pin_user_pages_fast(addr, min_t(unsigned long, pages,
							    GL_PIN_BATCH),
						gup, batch);
		if (n <= 0) {
			err = gl_pin_why(lock, fail, n ?: -EFAULT, addr,
					 pin->write, done);
			break;
		}
		len = min_t(u64, lock->bytes - done, ((u64)n << PAGE_SHIFT) - head);
		if (check)
			err = check(lock, batch, n, addr, user_addr, fail);
		if (!err)
			err = gl_pin_append(lock, pin, batch, n, head, len, fail);
		if (err) {
			unsigned int kept = PFN_UP(pin->table.bytes - fitted +
						   (pin->table.bytes == fitted ? 0 : head));

			unpin_user_pages(batch + kept, n - kept);
			break;
		}
		pages -= n;
		addr += (unsigned long)n << PAGE_SHIFT;
		done += len;
		head = 0;
	}
	free_page((unsigned long)batch);
	return err;
}

static void gl_pin_release(struct gl_pin *pin, bool dirty)
{
	struct sg_table *sgt = &pin->table.sgt;
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
	gl_table_free(&pin->table);
}

/*
 * For the strategies that lock the caller's memory: all of it. @read is how to pin
 * what the device only reads. @check, if any, is shown every batch of pinned pages
 * and may refuse them.
 *
 * A page may be one that another process has to bring, and never does: the card's
 * removal does not wait for it.
 */
int gl_pin_lock(struct gl_lock *lock, u64 user_addr, unsigned int read,
		gl_pin_check_t *check, struct gl_fail *fail)
{
	unsigned long pages = DIV_ROUND_UP_ULL(offset_in_page(user_addr) + lock->bytes,
					       PAGE_SIZE);
	struct gl_pin *pin;
	int err;

	pin = kzalloc(sizeof(*pin), GFP_KERNEL_ACCOUNT);
	if (!pin)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0, sizeof(*pin), 0);
	pin->write = lock->direction & GIGALOCK_DIR_FROM_CARD;
	gl_table_init_lock(&pin->table, lock);

	err = gl_pin_charge(lock, pin, pages, fail);
	if (err)
		goto free;
	gl_leave(lock->inside);
	err = gl_pin_all(lock, pin, user_addr, pages,
			 FOLL_LONGTERM | (pin->write ? FOLL_WRITE : read), check, fail);
	gl_enter(lock->inside);
	if (!err)
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_PIN, lock->bytes, fail);
	if (!err)
		err = gl_table_map(lock, &pin->table, fail);
	if (err)
		goto release;
	lock->priv = pin;
	return 0;
release:
	gl_pin_release(pin, false);
	gl_pin_uncharge(pin);
free:
	kfree(pin);
	return err;
}

unsigned long gl_pin_pfn(struct gl_lock *lock, u64 page, u64 *run)
{
	struct gl_pin *pin = lock->priv;

	return gl_table_pfn(&pin->table, page, run);
}

void gl_pin_free(struct gl_lock *lock)
{
	struct gl_pin *pin = lock->priv;

	gl_pin_release(pin, pin->write);
	gl_pin_uncharge(pin);
	kfree(pin);
}
