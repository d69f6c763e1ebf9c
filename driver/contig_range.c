// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy contig-range: empty a physical range with alloc_contig_range(), on
 * kernels without CMA too.
 *
 * The range is put together from neighbouring chunks, going up through memory:
 * each chunk that can be emptied makes the run longer, one that can't ends it.
 * One pass therefore finds the first run that is long enough, or the longest
 * there is, without asking for a gigabyte again at every place. Runs that end
 * too short are given back at once.
 */
#include <linux/highmem.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/pageblock-flags.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "compat.h"
#include "gl.h"

/* ZONE_DMA is left to those who can't live elsewhere. */
#define GL_CONTIG_LOWEST	(SZ_16M >> PAGE_SHIFT)
#define GL_CONTIG_CHUNK		(SZ_16M >> PAGE_SHIFT)
/* Emptying ranges stops before the machine is out of memory. */
#define GL_CONTIG_RESERVE	(SZ_16M >> PAGE_SHIFT)

/* Two searches at once would block each other's ranges and both fail. */
static DEFINE_MUTEX(gl_contig_mutex);

struct gl_run {
	unsigned long start;	/* first pfn */
	unsigned long len;	/* pages taken */
	unsigned long longest;	/* of all runs seen */
};

static unsigned long gl_contig_end_pfn(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, node_end_pfn(nid));
	return end;
}

static int gl_contig_take(struct gl_card *card, unsigned long start,
			  unsigned long pages)
{
	int err = gl_inject(card, GL_INJECT_ALLOC);
	unsigned long pfn;

	if (err)
		return err;
	/* Holes: alloc_contig_range() expects every section to be online. */
	for (pfn = start; pfn < start + pages; pfn += pageblock_nr_pages)
		if (!pfn_to_online_page(pfn))
			return -EBUSY;
	/* ... and both ends in one zone. */
	if (page_zone(pfn_to_page(start)) !=
	    page_zone(pfn_to_page(start + pages - 1)))
		return -EBUSY;
	/* What is kept for as long as a user likes may not lie in there. */
	if (is_zone_movable_page(pfn_to_page(start)))
		return -EBUSY;
	return alloc_contig_range(start, start + pages, GL_CONTIG_KIND,
				  GFP_KERNEL | __GFP_NOWARN);
}

static void gl_contig_end_run(struct gl_run *run)
{
	run->longest = max(run->longest, run->len);
	if (run->len)
		free_contig_range(run->start, run->len);
	run->len = 0;
}

/*
 * Make the run longer by [pfn, pfn + pages). Where the whole can't be had, as
 * many leading page blocks as can. Returns 0 when all of it was had.
 */
static int gl_contig_extend(struct gl_card *card, struct gl_run *run,
			    unsigned long pfn, unsigned long pages)
{
	int err = gl_contig_take(card, pfn, pages);
	unsigned long done;

	if (!err) {
		run->len += pages;
		return 0;
	}
	if (pages <= pageblock_nr_pages || (err != -EBUSY && err != -ENOMEM))
		return err;
	for (done = 0; done < pages; done += pageblock_nr_pages) {
		unsigned long n = min(pages - done, pageblock_nr_pages);

		err = gl_contig_take(card, pfn + done, n);
		if (err)
			return err;
		run->len += n;
	}
	return 0;
}

/*
 * Find @pages in a row below @limit. 0, or the errno of the call that decided,
 * with run->longest telling what there was.
 */
static int gl_contig_search(struct gl_card *card, unsigned long pages,
			    unsigned long limit, struct gl_run *run)
{
	unsigned long end = min(gl_contig_end_pfn(), limit);
	unsigned long pfn = ALIGN(GL_CONTIG_LOWEST, pageblock_nr_pages);
	int err, last = -EBUSY;

	run->len = 0;
	run->longest = 0;
	while (pfn < end) {
		unsigned long want;

		cond_resched();
		if (fatal_signal_pending(current)) {
			gl_contig_end_run(run);
			return -EINTR;
		}
		if (!run->len)
			run->start = pfn;
		want = min3(pages - run->len, GL_CONTIG_CHUNK -
			    (pfn & (GL_CONTIG_CHUNK - 1)), end - pfn);
		if (si_mem_available() < (long)(want + GL_CONTIG_RESERVE)) {
			/* Everything that could be had is in this run. */
			gl_contig_end_run(run);
			return -ENOMEM;
		}
		err = gl_contig_extend(card, run, pfn, want);
		pfn = run->start + run->len;
		if (run->len == pages)
			return 0;
		if (!err)
			continue;
		gl_contig_end_run(run);
		if (err == -EINTR || (err != -EBUSY && err != -ENOMEM))
			return err;
		last = err;
		/* Past the block that could not be emptied. */
		pfn = ALIGN(pfn + 1, pageblock_nr_pages);
	}
	gl_contig_end_run(run);
	return last == -ENOMEM ? -ENOMEM : -EBUSY;
}

static int gl_contig_why(struct gl_lock *lock, struct gl_fail *fail, int err,
			 const struct gl_run *run)
{
	u64 longest = (u64)run->longest << PAGE_SHIFT;
	u64 ram = (u64)totalram_pages() << PAGE_SHIFT;
	u32 reason;

	switch (err) {
	case -EINTR:
		reason = GIGALOCK_REASON_KILLED;
		break;
	case -ENOMEM:
		reason = GIGALOCK_REASON_NO_MEMORY;
		break;
	default:
		reason = GIGALOCK_REASON_NO_FREE_RANGE;
	}
	return gl_fail_set(fail, reason, GIGALOCK_STAGE_ALLOCATE, err,
			   reason == GIGALOCK_REASON_NO_FREE_RANGE ? longest : ram,
			   lock->bytes, longest);
}

static int gl_contig_map(struct gl_lock *lock, unsigned long pfn,
			 struct gl_fail *fail)
{
	struct device *dev = gl_dev(lock->card);
	size_t most = dma_max_mapping_size(dev);
	int err = gl_inject(lock->card, GL_INJECT_MAP);

	if (!err) {
		lock->dma_addr = dma_map_page(dev, pfn_to_page(pfn), 0,
					      lock->bytes, lock->dma_dir);
		err = dma_mapping_error(dev, lock->dma_addr);
		if (!err)
			return 0;
		err = -EIO;
	}
	if (lock->bytes > most)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_SEGMENT,
				   GIGALOCK_STAGE_DMA_MAP, err, most,
				   lock->bytes, most);
	if (most != SIZE_MAX)
		return gl_fail_set(fail, GIGALOCK_REASON_SWIOTLB_FULL,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP, GIGALOCK_STAGE_DMA_MAP,
			   err, 0, lock->bytes, 0);
}

static int gl_contig_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			  struct gl_fail *fail)
{
	u64 ram = (u64)totalram_pages() << PAGE_SHIFT;
	u64 top = gl_card_dma_limit(lock->card);
	unsigned long pages = lock->bytes >> PAGE_SHIFT;
	unsigned long limit = gl_card_translates(lock->card) ? ULONG_MAX :
			      PHYS_PFN(top) + 1;
	struct gl_run run = {};
	unsigned long i;
	int err;

	/* Don't empty the whole machine for what can't be. */
	if (lock->bytes > ram)
		return gl_fail_set(fail, GIGALOCK_REASON_RAM_TOO_SMALL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, ram,
				   lock->bytes,
				   (u64)si_mem_available() << PAGE_SHIFT);

	if (mutex_lock_killable(&gl_contig_mutex))
		return gl_contig_why(lock, fail, -EINTR, &run);
	err = gl_contig_search(lock->card, pages, limit, &run);
	mutex_unlock(&gl_contig_mutex);
	if (err)
		return gl_contig_why(lock, fail, err, &run);

	/*
	 * User space will see these pages. Whether alloc_contig_range() minds
	 * __GFP_ZERO changed within stable series, so it isn't asked to.
	 */
	if (!want_init_on_alloc(GFP_KERNEL)) {
		for (i = 0; i < pages; i++) {
			clear_highpage(pfn_to_page(run.start + i));
			if (!(i % 1024))
				cond_resched();
		}
	}
	err = gl_contig_map(lock, run.start, fail);
	if (err) {
		free_contig_range(run.start, pages);
		return err;
	}
	lock->priv = (void *)run.start;
	lock->segments = 1;
	lock->longest = lock->bytes;
	return 0;
}

static void gl_contig_detach(struct gl_lock *lock)
{
	dma_unmap_page(gl_dev(lock->card), lock->dma_addr, lock->bytes,
		       lock->dma_dir);
}

static void gl_contig_free(struct gl_lock *lock)
{
	free_contig_range((unsigned long)lock->priv, lock->bytes >> PAGE_SHIFT);
}

static int gl_contig_mmap(struct gl_lock *lock, struct vm_area_struct *vma,
			  u64 offset)
{
	return remap_pfn_range(vma, vma->vm_start,
			       (unsigned long)lock->priv + (offset >> PAGE_SHIFT),
			       vma->vm_end - vma->vm_start, vma->vm_page_prot);
}

static void gl_contig_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	struct device *dev = gl_dev(lock->card);

	if (for_cpu)
		dma_sync_single_range_for_cpu(dev, lock->dma_addr, offset, len,
					      lock->dma_dir);
	else
		dma_sync_single_range_for_device(dev, lock->dma_addr, offset, len,
						 lock->dma_dir);
}

const struct gl_strategy gl_strategy_contig_range = {
	.name = "contig-range",
	.number = GIGALOCK_STRATEGY_CONTIG_RANGE,
	.page_sized = true,
	.allocates = true,
	.lock = gl_contig_lock,
	.detach = gl_contig_detach,
	.free = gl_contig_free,
	.mmap = gl_contig_mmap,
	.sync = gl_contig_sync,
};
