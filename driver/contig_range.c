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
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pageblock-flags.h>
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

/* Where to look: page frames, and the node they must be of. */
struct gl_span {
	unsigned long start;
	unsigned long end;
	int node;
};

static void gl_contig_span(struct gl_lock *lock, struct gl_span *span)
{
	bool anywhere = lock->card && gl_card_translates(lock->card);

	span->start = GL_CONTIG_LOWEST;
	span->end = gl_ram_end_pfn();
	span->node = lock->node;
	if (!anywhere && PHYS_PFN(lock->top) < span->end) {
		span->end = PHYS_PFN(lock->top) + 1;
		/* ... such as this lock. */
		if (span->end <= 2 * GL_CONTIG_LOWEST)
			span->start = 1;
	}
	if (lock->node != NUMA_NO_NODE) {
		span->start = max(span->start, node_start_pfn(lock->node));
		span->end = min(span->end, node_end_pfn(lock->node));
	}
	span->start = ALIGN(span->start, pageblock_nr_pages);
}

static int gl_contig_take(struct gl_lock *lock, const struct gl_span *span,
			  unsigned long start, unsigned long pages)
{
	int err = gl_inject_killable(lock->card, GL_INJECT_ALLOC);
	unsigned long pfn;

	if (err)
		return err;
	/*
	 * Holes: alloc_contig_range() expects every section to be online, and all
	 * of it in one zone, also what lies between the ends. No block of pages is
	 * of two; those at the ends may be a part of one.
	 */
	for (pfn = start; pfn < start + pages; pfn += pageblock_nr_pages)
		if (!pfn_to_online_page(pfn) ||
		    page_zone(pfn_to_page(pfn)) != page_zone(pfn_to_page(start)))
			return -EBUSY;
	if (page_zone(pfn_to_page(start + pages - 1)) != page_zone(pfn_to_page(start)))
		return -EBUSY;
	/* A zone is of one node, though between its ends others may lie. */
	if (span->node != NUMA_NO_NODE && pfn_to_nid(start) != span->node)
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
static int gl_contig_extend(struct gl_lock *lock, const struct gl_span *span,
			    struct gl_run *run, unsigned long pfn,
			    unsigned long pages)
{
	int err = gl_contig_take(lock, span, pfn, pages);
	unsigned long done;

	if (!err) {
		run->len += pages;
		return 0;
	}
	if (pages <= pageblock_nr_pages || (err != -EBUSY && err != -ENOMEM))
		return err;
	for (done = 0; done < pages; done += pageblock_nr_pages) {
		unsigned long n = min(pages - done, pageblock_nr_pages);

		err = gl_contig_take(lock, span, pfn + done, n);
		if (err)
			return err;
		run->len += n;
	}
	return 0;
}

/*
 * Find @pages in a row within @span. 0, or the errno of the call that decided,
 * with run->longest telling what there was.
 */
static int gl_contig_search(struct gl_lock *lock, const struct gl_span *span,
			    unsigned long pages, struct gl_run *run,
			    struct gl_fail *fail)
{
	unsigned long pfn = span->start, end = span->end;
	int err, last = -EBUSY;

	run->len = 0;
	run->longest = 0;
	while (pfn < end) {
		unsigned long want;

		cond_resched();
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE,
				      (u64)run->len << PAGE_SHIFT, fail);
		if (err) {
			gl_contig_end_run(run);
			return err;
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
		err = gl_contig_extend(lock, span, run, pfn, want);
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

static int gl_contig_why(struct gl_lock *lock, u64 bytes, int err,
			 const struct gl_run *run, struct gl_fail *fail)
{
	u64 longest = (u64)run->longest << PAGE_SHIFT;

	if (err == -EINTR)
		return gl_fail_set(fail, GIGALOCK_REASON_KILLED,
				   GIGALOCK_STAGE_ALLOCATE, err, 0, bytes, longest);
	if (lock->node != NUMA_NO_NODE && bytes > gl_node_free(lock->node))
		return gl_fail_node(fail, GIGALOCK_STAGE_ALLOCATE, lock->node, bytes);
	if (err == -ENOMEM)
		return gl_fail_set(fail, GIGALOCK_REASON_NO_MEMORY,
				   GIGALOCK_STAGE_ALLOCATE, err, gl_ram_bytes(),
				   bytes, longest);
	return gl_fail_set(fail, GIGALOCK_REASON_NO_FREE_RANGE,
			   GIGALOCK_STAGE_ALLOCATE, err, longest, bytes, longest);
}

/* Wait for who is searching, but not beyond the lock's time. */
static int gl_contig_begin(struct gl_lock *lock, struct gl_fail *fail)
{
	int err;

	while (!mutex_trylock(&gl_contig_mutex)) {
		schedule_timeout_killable(msecs_to_jiffies(10));
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE, 0, fail);
		if (err)
			return err;
	}
	return 0;
}

/*
 * A physical range of @bytes for @lock: its node, its address bits, its time.
 * The lock may be one that belongs to no card.
 */
int gl_contig_alloc(struct gl_lock *lock, u64 bytes, unsigned long *pfn,
		    struct gl_fail *fail)
{
	unsigned long pages = bytes >> PAGE_SHIFT;
	struct gl_run run = {};
	struct gl_span span;
	int err;

	/* Don't empty the whole machine for what can't be. */
	if (bytes > gl_ram_bytes())
		return gl_fail_set(fail, GIGALOCK_REASON_RAM_TOO_SMALL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, gl_ram_bytes(),
				   bytes, gl_ram_available());
	if (lock->node != NUMA_NO_NODE && bytes > gl_node_bytes(lock->node))
		return gl_fail_node(fail, GIGALOCK_STAGE_ALLOCATE, lock->node, bytes);

	gl_contig_span(lock, &span);
	err = gl_contig_begin(lock, fail);
	if (err)
		return err;
	err = gl_contig_search(lock, &span, pages, &run, fail);
	mutex_unlock(&gl_contig_mutex);
	if (err)
		return fail->reason ? err : gl_contig_why(lock, bytes, err, &run, fail);
	*pfn = run.start;
	return 0;
}

void gl_contig_free(unsigned long pfn, u64 bytes)
{
	free_contig_range(pfn, bytes >> PAGE_SHIFT);
}

static int gl_contig_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			  struct gl_fail *fail)
{
	unsigned long pfn;
	int err;

	err = gl_contig_alloc(lock, lock->bytes, &pfn, fail);
	if (err)
		return err;
	/*
	 * User space will see these pages. Whether alloc_contig_range() minds
	 * __GFP_ZERO changed within stable series, so it isn't asked to.
	 */
	if (!want_init_on_alloc(GFP_KERNEL))
		err = gl_run_clear(lock, pfn, lock->bytes, fail);
	if (!err)
		err = gl_run_map(lock, pfn, fail);
	if (err) {
		gl_contig_free(pfn, lock->bytes);
		return err;
	}
	lock->priv = (void *)pfn;
	lock->backing = GIGALOCK_BACKING_RANGE;
	return 0;
}

static void gl_contig_unlock(struct gl_lock *lock)
{
	gl_contig_free((unsigned long)lock->priv, lock->bytes);
}

static unsigned long gl_contig_pfn(struct gl_lock *lock, u64 page, u64 *run)
{
	*run = (lock->bytes >> PAGE_SHIFT) - page;
	return (unsigned long)lock->priv + page;
}

const struct gl_strategy gl_strategy_contig_range = {
	.name = "contig-range",
	.number = GIGALOCK_STRATEGY_CONTIG_RANGE,
	.page_sized = true,
	.allocates = true,
	.lock = gl_contig_lock,
	.detach = gl_run_unmap,
	.free = gl_contig_unlock,
	.mmap = gl_mmap_pfns,
	.pfn = gl_contig_pfn,
	.sync = gl_run_sync,
};
