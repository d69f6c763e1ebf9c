// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy chunked: the largest blocks that the page allocator has, down to
 * single pages, put in the order of their addresses so that neighbours merge.
 * The user sees one mapping, the device one table.
 */
#include <linux/list_sort.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "compat.h"
#include "gl.h"

/* Taking memory stops before the machine is out of it. */
#define GL_BLOCKS_RESERVE	(SZ_16M >> PAGE_SHIFT)
/* How much is taken between two looks at what is left. */
#define GL_BLOCKS_LOOK		(SZ_2M >> PAGE_SHIFT)

/* Blocks on their way into the table are linked by their first pages. */
static int gl_block_before(void *unused, const struct list_head *a,
			   const struct list_head *b)
{
	return page_to_pfn(list_entry(a, struct page, lru)) >
	       page_to_pfn(list_entry(b, struct page, lru));
}

static void gl_blocks_drop(struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, list, lru) {
		unsigned int order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		__free_pages(page, order);
		cond_resched();
	}
}

static void gl_pages_free(unsigned long pfn, unsigned long pages)
{
	unsigned long i;

	for (i = 0; i < pages; i++) {
		__free_page(pfn_to_page(pfn + i));
		if (!(i % 1024))
			cond_resched();
	}
}

static gfp_t gl_blocks_gfp(const struct gl_blocks_want *want)
{
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN;

	/* The caller's, and its memory group's; a pool is everybody's. */
	if (want->lock)
		gfp |= __GFP_ACCOUNT;
	if (want->node != NUMA_NO_NODE)
		gfp |= __GFP_THISNODE;
	if (want->top < DMA_BIT_MASK(25))
		return gfp | GFP_DMA;
	if (want->top <= DMA_BIT_MASK(32))
		return gfp | GFP_DMA32;
	return gfp;
}

/*
 * One block of at most @pages; *@order is the largest worth trying and only goes
 * down. Large ones with little effort: there is always a smaller one. Single
 * pages with some, but not the OOM killer's.
 */
static struct page *gl_blocks_one(const struct gl_blocks_want *want,
				  unsigned int *order, u64 pages)
{
	gfp_t gfp = gl_blocks_gfp(want);

	if (*order > ilog2(pages))
		*order = ilog2(pages);
	for (;; (*order)--) {
		struct page *page;

		page = alloc_pages_node(want->node, gfp |
					(*order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL),
					*order);
		if (page) {
			set_page_private(page, *order);
			return page;
		}
		if (!*order)
			return NULL;
	}
}

/*
 * Was it for want of low memory? Where the page allocator has zones for it, all
 * that came was low enough, and what is left tells. @highest: where the last block
 * lay that was too high, or 0.
 */
static u64 gl_blocks_needed(const struct gl_blocks_want *want, u64 got, u64 highest)
{
	u64 end = PFN_PHYS(gl_ram_end_pfn());
	u64 there = want->node == NUMA_NO_NODE ? gl_ram_available() :
		    gl_node_free(want->node);

	if (!highest && want->top < end && there >= want->bytes - got)
		highest = end - 1;
	return highest;
}

static int gl_blocks_why(const struct gl_blocks_want *want, u64 got, u64 highest,
			 struct gl_fail *fail)
{
	if (fatal_signal_pending(current))
		return gl_fail_set(fail, GIGALOCK_REASON_KILLED,
				   GIGALOCK_STAGE_ALLOCATE, -EINTR, 0,
				   want->bytes, got);
	highest = gl_blocks_needed(want, got, highest);
	if (highest)
		return gl_fail_address(fail, GIGALOCK_STAGE_ALLOCATE, want->top,
				       highest);
	if (want->node != NUMA_NO_NODE)
		return gl_fail_node(fail, GIGALOCK_STAGE_ALLOCATE, want->node,
				    want->bytes);
	return gl_fail_set(fail, GIGALOCK_REASON_NO_MEMORY,
			   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, 0, want->bytes, got);
}

/* Fill @list with blocks of @want->bytes in all. */
static int gl_blocks_collect(const struct gl_blocks_want *want,
			     struct list_head *list, struct gl_fail *fail)
{
	unsigned int order = GL_MAX_PAGE_ORDER;
	u64 left = want->bytes >> PAGE_SHIFT;
	/* Pages since the last look, of whatever was taken: what lies too high, too. */
	u64 unseen = GL_BLOCKS_LOOK;
	LIST_HEAD(too_high);
	u64 highest = 0;
	int err = 0;

	while (left) {
		u64 got = want->bytes - (left << PAGE_SHIFT);
		struct page *page;
		u64 end;

		cond_resched();
		if (want->lock) {
			err = gl_lock_give_up(want->lock, GIGALOCK_STAGE_ALLOCATE,
					      got, fail);
			if (!err)
				err = gl_inject(want->lock->card, GL_INJECT_ALLOC);
			if (err)
				break;
		}
		if (unseen >= GL_BLOCKS_LOOK) {
			unseen = 0;
			if (si_mem_available() < GL_BLOCKS_RESERVE + GL_BLOCKS_LOOK) {
				err = -ENOMEM;
				break;
			}
		}
		page = gl_blocks_one(want, &order, left);
		if (!page) {
			err = -ENOMEM;
			break;
		}
		unseen += 1ULL << order;
		end = page_to_phys(page) + (PAGE_SIZE << order) - 1;
		if (end > want->top) {
			highest = end;
			list_add(&page->lru, &too_high);
			continue;
		}
		list_add(&page->lru, list);
		left -= 1ULL << order;
	}
	gl_blocks_drop(&too_high);
	if (err) {
		/* A look at the clock may have noted its own reason. */
		gl_blocks_why(want, want->bytes - (left << PAGE_SHIFT), highest, fail);
		err = fail->err;
	}
	return err;
}

/*
 * @want->bytes of zeroed memory into @blocks, whose table the caller has made
 * ready. Nothing is left behind on failure.
 */
int gl_blocks_alloc(struct gl_blocks *blocks, const struct gl_blocks_want *want,
		    struct gl_fail *fail)
{
	struct page *page, *next;
	u64 ram = gl_ram_bytes();
	LIST_HEAD(list);
	int err;

	/* Don't empty the whole machine for what can't be. */
	if (want->bytes > ram)
		return gl_fail_set(fail, GIGALOCK_REASON_RAM_TOO_SMALL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, ram,
				   want->bytes, gl_ram_available());
	err = gl_blocks_collect(want, &list, fail);
	if (err) {
		gl_blocks_drop(&list);
		return err;
	}
	list_sort(NULL, &list, gl_block_before);
	list_for_each_entry_safe(page, next, &list, lru) {
		unsigned int order = page_private(page);
		u64 before = blocks->table.bytes;

		list_del(&page->lru);
		set_page_private(page, 0);
		/* From here on single pages, which need no bounds to be freed. */
		split_page(page, order);
		err = want->lock ? gl_inject(want->lock->card, GL_INJECT_TABLE) : 0;
		if (!err)
			err = gl_table_add(&blocks->table, page, 0, PAGE_SIZE << order);
		if (err) {
			u64 kept = (blocks->table.bytes - before) >> PAGE_SHIFT;

			gl_pages_free(page_to_pfn(page) + kept, BIT(order) - kept);
			err = gl_table_why(want->bytes, &blocks->table, err, fail);
			gl_blocks_drop(&list);
			gl_blocks_free(blocks);
			return err;
		}
		cond_resched();
	}
	return 0;
}

void gl_blocks_free(struct gl_blocks *blocks)
{
	struct scatterlist *s;
	unsigned int i;

	for_each_sgtable_sg(&blocks->table.sgt, s, i)
		gl_pages_free(page_to_pfn(sg_page(s)), s->length >> PAGE_SHIFT);
	gl_table_free(&blocks->table);
}

/* ---- the strategy ---- */

static int gl_chunked_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			   struct gl_fail *fail)
{
	struct gl_blocks_want want = {
		.bytes = lock->bytes,
		.node = lock->node,
		.top = gl_card_translates(lock->card) ? U64_MAX : lock->top,
		.lock = lock,
	};
	struct gl_blocks *blocks;
	int err;

	blocks = kzalloc(sizeof(*blocks), GFP_KERNEL_ACCOUNT);
	if (!blocks)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0,
				   sizeof(*blocks), 0);
	gl_table_init_lock(&blocks->table, lock);
	err = gl_blocks_alloc(blocks, &want, fail);
	if (err)
		goto free;
	err = gl_table_map(lock, &blocks->table, fail);
	if (err)
		goto free_blocks;
	lock->priv = blocks;
	lock->backing = GIGALOCK_BACKING_BLOCKS;
	return 0;
free_blocks:
	gl_blocks_free(blocks);
free:
	kfree(blocks);
	return err;
}

static void gl_chunked_free(struct gl_lock *lock)
{
	gl_blocks_free(lock->priv);
	kfree(lock->priv);
}

static unsigned long gl_chunked_pfn(struct gl_lock *lock, u64 page, u64 *run)
{
	struct gl_blocks *blocks = lock->priv;

	return gl_table_pfn(&blocks->table, page, run);
}

const struct gl_strategy gl_strategy_chunked = {
	.name = "chunked",
	.number = GIGALOCK_STRATEGY_CHUNKED,
	.page_sized = true,
	.allocates = true,
	.lock = gl_chunked_lock,
	.detach = gl_table_unmap,
	.free = gl_chunked_free,
	.mmap = gl_mmap_pfns,
	.pfn = gl_chunked_pfn,
	.sync = gl_table_sync,
};
