// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy coherent: dma_alloc_attrs(), whatever is behind it. The call tells
 * nothing but NULL, so the reason is what can be observed at that moment.
 *
 * It knows the device's mask and node and no others. A lock that wants fewer
 * address bits, or a node, is allocated for a device of our own that has just
 * these: where nothing translates, a bus address is the same for every device.
 */
#include <linux/dma-map-ops.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "gl.h"

struct gl_coherent {
	void *cpu;
	struct device *dev;	/* that it was allocated for */
};

/* Behind an IOMMU the node is the device's for the time of an allocation. */
static DEFINE_MUTEX(gl_coherent_node_mutex);

static void gl_stand_in_release(struct device *dev)
{
	kfree(dev);
}

static void gl_stand_in_put(struct gl_card *card, struct device *dev)
{
	if (!dev || dev == gl_dev(card))
		return;
	/* Borrowed from the card: not for the release to free. */
	dev->dma_range_map = NULL;
	put_device(dev);
}

/* A device that stands in for the card, with another mask and node. */
static struct device *gl_stand_in(struct gl_card *card, u64 mask, int node)
{
	struct device *dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);

	if (!dev)
		return NULL;
	device_initialize(dev);
	dev->release = gl_stand_in_release;
	dev->coherent_dma_mask = mask;
	dev->dma_mask = &dev->coherent_dma_mask;
	dev->bus_dma_limit = gl_dev(card)->bus_dma_limit;
	dev->dma_range_map = gl_dev(card)->dma_range_map;
	set_dev_node(dev, node);
	if (dev_set_name(dev, "%s-stand-in", dev_name(&card->chr))) {
		gl_stand_in_put(card, dev);
		return NULL;
	}
	return dev;
}

/*
 * No warning: the allocator would print a stack trace for what we are about to
 * report in words. No OOM killer either: it would end others before it ended
 * the caller.
 */
static void *gl_coherent_call(struct gl_lock *lock, struct device *dev,
			      dma_addr_t *addr, bool account)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;

	if (lock->node != NUMA_NO_NODE)
		gfp |= __GFP_THISNODE;
	if (account)
		gfp |= __GFP_ACCOUNT;
	return dma_alloc_attrs(dev, lock->bytes, addr, gfp, 0);
}

/* The memory group of the caller pays; what a pool takes is everybody's. */
static bool gl_coherent_accounted(struct gl_lock *lock)
{
	return lock->file;
}

static void *gl_coherent_alloc(struct gl_lock *lock, struct device *dev,
			       dma_addr_t *addr, bool account)
{
	int was = dev_to_node(dev);
	void *cpu;

	if (lock->node == NUMA_NO_NODE || was == lock->node)
		return gl_coherent_call(lock, dev, addr, account);
	mutex_lock(&gl_coherent_node_mutex);
	set_dev_node(dev, lock->node);
	cpu = gl_coherent_call(lock, dev, addr, account);
	set_dev_node(dev, was);
	mutex_unlock(&gl_coherent_node_mutex);
	return cpu;
}

static unsigned long gl_coherent_pfn(void *cpu)
{
	return is_vmalloc_addr(cpu) ? vmalloc_to_pfn(cpu) :
	       PHYS_PFN(virt_to_phys(cpu));
}

/*
 * CMA hands out pages that each count for themselves; of a block of the page
 * allocator only the first one does.
 */
static u32 gl_coherent_backing(struct gl_lock *lock, void *cpu)
{
	if (gl_card_translates(lock->card))
		return GIGALOCK_BACKING_IOMMU;
	if (lock->bytes > gl_buddy_max())
		return GIGALOCK_BACKING_CMA;
	if (lock->bytes > PAGE_SIZE &&
	    page_ref_count(pfn_to_page(gl_coherent_pfn(cpu) + 1)))
		return GIGALOCK_BACKING_CMA;
	return GIGALOCK_BACKING_BUDDY;
}

/* The first page that is not on the lock's node, counted in bytes; or all. */
static u64 gl_coherent_on_node(struct gl_lock *lock, void *cpu)
{
	u64 at;

	if (lock->node == NUMA_NO_NODE)
		return lock->bytes;
	for (at = 0; at < lock->bytes; at += PAGE_SIZE)
		if (pfn_to_nid(gl_coherent_pfn(cpu + at)) != lock->node)
			break;
	return at;
}

/* Would the same be had by somebody whom no memory group bounds? */
static bool gl_coherent_bounded(struct gl_lock *lock, struct device *dev)
{
	dma_addr_t addr;
	void *cpu;

	if (!gl_coherent_accounted(lock))
		return false;
	cpu = gl_coherent_alloc(lock, dev, &addr, false);
	if (cpu)
		dma_free_attrs(dev, lock->bytes, cpu, addr, 0);
	return cpu;
}

/*
 * Would the same be had without a bound on its address? Where it then lies, or
 * 0. Seconds for a gigabyte, but the one way to tell "too high" from "not free".
 */
static u64 gl_coherent_above(struct gl_lock *lock)
{
	struct gl_card *card = lock->card;
	struct device *dev;
	dma_addr_t addr = 0;
	void *cpu;

	if (gl_card_translates(card) || PHYS_PFN(lock->top) >= gl_ram_end_pfn())
		return 0;
	dev = gl_stand_in(card, DMA_BIT_MASK(64), lock->node);
	if (!dev)
		return 0;
	cpu = gl_coherent_call(lock, dev, &addr, false);
	if (cpu)
		dma_free_attrs(dev, lock->bytes, cpu, addr, 0);
	else
		addr = 0;
	gl_stand_in_put(card, dev);
	return addr;
}

/* A CMA area has it, though perhaps not where the card can reach it. */
static int gl_coherent_cma_why(struct gl_lock *lock, struct gl_fail *fail,
			       u64 cma, u64 left)
{
	u64 at;

	if (lock->bytes > cma)
		return gl_fail_set(fail, GIGALOCK_REASON_CMA_TOO_SMALL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, cma,
				   lock->bytes, left);
	if (lock->bytes > left)
		return gl_fail_set(fail, GIGALOCK_REASON_CMA_FULL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, cma,
				   lock->bytes, left);
	at = gl_coherent_above(lock);
	if (!at)
		return gl_fail_set(fail, GIGALOCK_REASON_CMA_BUSY,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, cma,
				   lock->bytes, left);
	gl_fail_set(fail, GIGALOCK_REASON_CMA_ABOVE_WIDTH, GIGALOCK_STAGE_ALLOCATE,
		    -ENOMEM, lock->top, at, 0);
	fail->unit = GIGALOCK_UNIT_ADDRESS;
	return -ENOMEM;
}

/*
 * It was NULL: @available and @cma_free were there just before. @dev: what it was
 * asked for, or NULL when it was not asked.
 */
static int gl_coherent_why(struct gl_lock *lock, struct device *dev,
			   struct gl_fail *fail, u64 available, u64 cma_free)
{
	bool translates = gl_card_translates(lock->card);
	u64 buddy = gl_buddy_max();
	u64 cma = gl_cma_bytes();
	u64 at;

	if (gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE, 0, fail))
		return fail->err;
	if (lock->node != NUMA_NO_NODE && lock->bytes > gl_node_free(lock->node))
		return gl_fail_node(fail, GIGALOCK_STAGE_ALLOCATE, lock->node,
				    lock->bytes);
	/* Behind an IOMMU all pages are got before the bus addresses. */
	if (translates && lock->bytes > available)
		return gl_fail_set(fail, GIGALOCK_REASON_NO_MEMORY,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, gl_ram_bytes(),
				   lock->bytes, available);
	if (!translates && lock->bytes > buddy && cma)
		return gl_coherent_cma_why(lock, fail, cma, cma_free);
	if (!translates && lock->bytes > buddy)
		return gl_fail_set(fail, GIGALOCK_REASON_BUDDY_LIMIT,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, buddy,
				   lock->bytes, buddy);
	if (dev && gl_coherent_bounded(lock, dev))
		return gl_fail_set(fail, GIGALOCK_REASON_NO_MEMORY,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, gl_ram_bytes(),
				   lock->bytes, available);
	if (translates)
		return gl_iommu_why(lock, -ENOMEM, true, fail);
	at = gl_coherent_above(lock);
	if (at)
		return gl_fail_address(fail, GIGALOCK_STAGE_ALLOCATE, lock->top,
				       at + lock->bytes - 1);
	return gl_fail_set(fail, GIGALOCK_REASON_NO_FREE_BLOCK,
			   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, buddy, lock->bytes,
			   lock->node == NUMA_NO_NODE ? gl_ram_free() :
			   gl_node_free(lock->node));
}

static void gl_coherent_release(struct gl_lock *lock, struct gl_coherent *c)
{
	if (c->cpu)
		dma_free_attrs(c->dev, lock->bytes, c->cpu, lock->dma_addr, 0);
	gl_stand_in_put(lock->card, c->dev);
	c->cpu = NULL;
	c->dev = gl_dev(lock->card);
}

/* The device to allocate for. */
static struct device *gl_coherent_dev(struct gl_lock *lock)
{
	struct gl_card *card = lock->card;
	bool plain = lock->top >= gl_card_dma_limit(card) &&
		     lock->node == NUMA_NO_NODE;

	/* An IOMMU, or what else does the mapping, knows its own devices only. */
	if (plain || gl_card_translates(card) || get_dma_ops(gl_dev(card)))
		return gl_dev(card);
	return gl_stand_in(card, lock->top, lock->node);
}

static int gl_coherent_get(struct gl_lock *lock, struct gl_coherent *c,
			   struct gl_fail *fail)
{
	u64 available = gl_ram_available();
	u64 cma_free = gl_cma_free();
	u64 ram = gl_ram_bytes();
	u64 good;
	int err;

	/* Behind an IOMMU it would be tried page by page, down to the last one. */
	if (gl_card_translates(lock->card) && lock->bytes > ram)
		return gl_fail_set(fail, GIGALOCK_REASON_RAM_TOO_SMALL,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM, ram,
				   lock->bytes, available);
	err = gl_inject(lock->card, GL_INJECT_ALLOC);
	if (err == -EINTR)
		return gl_fail_set(fail, GIGALOCK_REASON_KILLED,
				   GIGALOCK_STAGE_ALLOCATE, err, 0, lock->bytes, 0);
	if (!err)
		c->cpu = gl_coherent_alloc(lock, c->dev, &lock->dma_addr,
					   gl_coherent_accounted(lock));
	if (!c->cpu)
		return gl_coherent_why(lock, err ? NULL : c->dev, fail, available,
				       cma_free);
	/* It can't be interrupted, so time may be up only now. */
	err = gl_lock_give_up(lock, GIGALOCK_STAGE_ALLOCATE, lock->bytes, fail);
	if (err)
		return err;
	good = gl_coherent_on_node(lock, c->cpu);
	if (good < lock->bytes)
		return gl_fail_set(fail, GIGALOCK_REASON_NODE_MEMORY,
				   GIGALOCK_STAGE_ALLOCATE, -ENOMEM,
				   gl_node_bytes(lock->node), lock->bytes, good);
	return 0;
}

/* Coherent memory for @lock, which may be one that nobody has. */
int gl_coherent_make(struct gl_lock *lock, struct gl_fail *fail)
{
	struct gl_coherent *c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);
	int err;

	if (c)
		c->dev = gl_coherent_dev(lock);
	if (!c || !c->dev) {
		kfree(c);
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, -ENOMEM, 0,
				   sizeof(*c) + sizeof(struct device), 0);
	}
	err = gl_coherent_get(lock, c, fail);
	if (err) {
		gl_coherent_release(lock, c);
		kfree(c);
		return err;
	}
	lock->priv = c;
	lock->backing = gl_coherent_backing(lock, c->cpu);
	lock->table_bytes = sizeof(*c);
	if (c->dev != gl_dev(lock->card))
		lock->table_bytes += sizeof(struct device);
	return 0;
}

void gl_coherent_unmake(struct gl_lock *lock)
{
	gl_coherent_release(lock, lock->priv);
	kfree(lock->priv);
	lock->priv = NULL;
}

void *gl_coherent_cpu(struct gl_lock *lock)
{
	struct gl_coherent *c = lock->priv;

	return c->cpu;
}

static int gl_coherent_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
			    struct gl_fail *fail)
{
	return gl_coherent_make(lock, fail);
}

/*
 * The memory belongs to the DMA API and can't outlive the driver's hold on the
 * device; mappings were taken away before.
 */
static void gl_coherent_detach(struct gl_lock *lock)
{
	gl_coherent_release(lock, lock->priv);
}

static void gl_coherent_free(struct gl_lock *lock)
{
	kfree(lock->priv);
}

/* Behind an IOMMU the pages lie anywhere: those in a row, to a huge page's end. */
unsigned long gl_coherent_page(struct gl_lock *lock, u64 page, u64 *run)
{
	u64 left = (lock->bytes >> PAGE_SHIFT) - page;
	struct gl_coherent *c = lock->priv;
	void *at = c->cpu + (page << PAGE_SHIFT);
	unsigned long pfn = gl_coherent_pfn(at);

	*run = left;
	if (!is_vmalloc_addr(at))
		return pfn;
	left = min_t(u64, left, PTRS_PER_PTE - (page & (PTRS_PER_PTE - 1)));
	for (*run = 1; *run < left; (*run)++)
		if (gl_coherent_pfn(at + (*run << PAGE_SHIFT)) != pfn + *run)
			break;
	return pfn;
}

const struct gl_strategy gl_strategy_coherent = {
	.name = "coherent",
	.number = GIGALOCK_STRATEGY_COHERENT,
	.page_sized = true,
	.allocates = true,
	.lock = gl_coherent_lock,
	.detach = gl_coherent_detach,
	.free = gl_coherent_free,
	.mmap = gl_mmap_pfns,
	.pfn = gl_coherent_page,
	/* No sync: the DMA API keeps this memory coherent. */
};
