// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy reserved: a part of a region that was kept free since boot. With
 * struct pages it is mapped as any other memory; without them the DMA API takes
 * it as it takes a device's: never bounced, behind an IOMMU translated.
 */
#include <linux/mm.h>
#include <linux/numa.h>
#include <linux/slab.h>

#include "compat.h"
#include "regions.h"

struct gl_reserved {
	struct gl_region *region;
	struct gl_part part;
};

static int gl_reserved_node(const struct gl_region *r)
{
	return r->pages ? pfn_to_nid(PHYS_PFN(r->start)) :
	       phys_to_target_node(r->start);
}

/* The region that is asked for, if it may be used. */
static struct gl_region *gl_reserved_find(struct gl_lock *lock, u32 number,
					  struct gl_fail *fail)
{
	struct gl_region *r = gl_region(number);

	if (!r || r->missing) {
		gl_fail_set(fail, GIGALOCK_REASON_RESERVED_MISSING,
			    GIGALOCK_STAGE_ALLOCATE, -ENOENT, gl_region_count(),
			    number, 0);
		fail->unit = GIGALOCK_UNIT_COUNT;
		return NULL;
	}
	if (r->wrong) {
		gl_fail_set(fail, GIGALOCK_REASON_RESERVED_NOT_RESERVED,
			    GIGALOCK_STAGE_ALLOCATE, -ENXIO, 0, r->start, 0);
		fail->unit = GIGALOCK_UNIT_ADDRESS;
		return NULL;
	}
	if (lock->bytes > r->bytes) {
		gl_fail_set(fail, GIGALOCK_REASON_RESERVED_SMALL,
			    GIGALOCK_STAGE_ALLOCATE, -E2BIG, r->bytes, lock->bytes,
			    r->bytes);
		return NULL;
	}
	if (lock->node != NUMA_NO_NODE && gl_reserved_node(r) != lock->node) {
		gl_fail_set(fail, GIGALOCK_REASON_NODE_MEMORY,
			    GIGALOCK_STAGE_ALLOCATE, -ENOMEM,
			    gl_node_bytes(lock->node), lock->bytes, 0);
		return NULL;
	}
	return r;
}

static int gl_reserved_take(struct gl_lock *lock, struct gl_reserved *own,
			    struct gl_fail *fail)
{
	bool anywhere = gl_card_translates(lock->card);
	u64 what;
	int err;

	own->part.bytes = lock->bytes;
	err = gl_region_take(own->region, &own->part, anywhere ? U64_MAX : lock->top,
			     &what);
	if (err == -ERANGE)
		return gl_fail_address(fail, GIGALOCK_STAGE_ALLOCATE, lock->top, what);
	if (err)
		return gl_fail_set(fail, GIGALOCK_REASON_RESERVED_BUSY,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM,
				   own->region->bytes, lock->bytes, what);
	return 0;
}

static int gl_reserved_clear(struct gl_lock *lock, struct gl_reserved *own,
			     struct gl_fail *fail)
{
	const struct gl_region *r = own->region;
	void *to = r->kernel + (own->part.start - r->start);
	u64 done;

	if (r->pages)
		return gl_run_clear(lock, PHYS_PFN(own->part.start), lock->bytes, fail);
	for (done = 0; done < lock->bytes; done += PAGE_SIZE) {
		int err;

		clear_page(to + done);
		if (done % SZ_4M)
			continue;
		cond_resched();
		err = gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE, done, fail);
		if (err)
			return err;
	}
	return 0;
}

static int gl_reserved_map(struct gl_lock *lock, struct gl_reserved *own,
			   struct gl_fail *fail)
{
	struct device *dev = gl_dev(lock->card);
	int err;

	if (own->region->pages)
		return gl_run_map(lock, PHYS_PFN(own->part.start), fail);
	err = gl_inject(lock->card, GL_INJECT_MAP);
	if (err)
		return gl_fail_set(fail, GIGALOCK_REASON_DMA_MAP,
				   GIGALOCK_STAGE_DMA_MAP, err, 0, lock->bytes, 0);
	lock->dma_addr = dma_map_resource(dev, own->part.start, lock->bytes,
					  lock->dma_dir, 0);
	if (dma_mapping_error(dev, lock->dma_addr))
		return gl_run_map_why(lock, own->part.start, -EIO, false, fail);
	return 0;
}

static int gl_reserved_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			    struct gl_fail *fail)
{
	struct gl_region *r = gl_reserved_find(lock, arg->region, fail);
	struct gl_reserved *own;
	int err;

	if (!r)
		return fail->err;
	own = kzalloc(sizeof(*own), GFP_KERNEL_ACCOUNT);
	if (!own)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0, sizeof(*own), 0);
	own->region = r;
	err = gl_reserved_take(lock, own, fail);
	if (err)
		goto free;
	err = gl_reserved_clear(lock, own, fail);
	if (!err)
		err = gl_reserved_map(lock, own, fail);
	if (err)
		goto give;
	lock->priv = own;
	lock->no_pages = !r->pages;
	lock->backing = GIGALOCK_BACKING_RESERVED;
	lock->table_bytes = sizeof(*own);
	return 0;
give:
	gl_region_give(r, &own->part);
free:
	kfree(own);
	return err;
}

static void gl_reserved_detach(struct gl_lock *lock)
{
	struct gl_reserved *own = lock->priv;

	if (own->region->pages)
		gl_run_unmap(lock);
	else
		dma_unmap_resource(gl_dev(lock->card), lock->dma_addr, lock->bytes,
				   lock->dma_dir, 0);
}

static void gl_reserved_free(struct gl_lock *lock)
{
	struct gl_reserved *own = lock->priv;

	gl_region_give(own->region, &own->part);
	kfree(own);
}

static unsigned long gl_reserved_pfn(struct gl_lock *lock, u64 page, u64 *run)
{
	struct gl_reserved *own = lock->priv;

	*run = (lock->bytes >> PAGE_SHIFT) - page;
	return PHYS_PFN(own->part.start) + page;
}

static int gl_reserved_sync(struct gl_lock *lock, u64 offset, u64 len, bool for_cpu)
{
	struct gl_reserved *own = lock->priv;

	/* Without struct pages nothing bounces. */
	return own->region->pages ? gl_run_sync(lock, offset, len, for_cpu) : 0;
}

const struct gl_strategy gl_strategy_reserved = {
	.name = "reserved",
	.number = GIGALOCK_STRATEGY_RESERVED,
	.page_sized = true,
	.lock = gl_reserved_lock,
	.detach = gl_reserved_detach,
	.free = gl_reserved_free,
	.mmap = gl_mmap_pfns,
	.pfn = gl_reserved_pfn,
	.sync = gl_reserved_sync,
};
