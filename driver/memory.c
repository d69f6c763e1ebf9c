// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be observed of the machine's memory when it could not be had: nodes,
 * CMA, free pages.
 */
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>

#include "gl.h"

u64 gl_ram_bytes(void)
{
	return (u64)totalram_pages() << PAGE_SHIFT;
}

u64 gl_ram_available(void)
{
	return (u64)max(si_mem_available(), 0L) << PAGE_SHIFT;
}

u64 gl_ram_free(void)
{
	return (u64)global_zone_page_state(NR_FREE_PAGES) << PAGE_SHIFT;
}

/* One past the highest page of all nodes. */
unsigned long gl_ram_end_pfn(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, node_end_pfn(nid));
	return end;
}

u64 gl_node_bytes(int nid)
{
	unsigned long pages = 0;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		pages += zone_managed_pages(&NODE_DATA(nid)->node_zones[i]);
	return (u64)pages << PAGE_SHIFT;
}

u64 gl_node_free(int nid)
{
	unsigned long pages = 0;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		pages += zone_page_state(&NODE_DATA(nid)->node_zones[i],
					 NR_FREE_PAGES);
	return (u64)pages << PAGE_SHIFT;
}

/* All contiguous memory areas together; which one a device gets isn't told. */
u64 gl_cma_bytes(void)
{
	unsigned long pages = 0;
	int nid, i;

	for_each_online_node(nid)
		for (i = 0; i < MAX_NR_ZONES; i++)
			pages += zone_cma_pages(&NODE_DATA(nid)->node_zones[i]);
	return (u64)pages << PAGE_SHIFT;
}

u64 gl_cma_free(void)
{
	return (u64)global_zone_page_state(NR_FREE_CMA_PAGES) << PAGE_SHIFT;
}

/* The node asked for has too little of what was wanted. */
int gl_fail_node(struct gl_fail *fail, u32 stage, int nid, u64 request)
{
	return gl_fail_set(fail, GIGALOCK_REASON_NODE_MEMORY, stage, -ENOMEM,
			   gl_node_bytes(nid), request, gl_node_free(nid));
}

/* Is it memory, and on the lock's node, that a bus address leads to? */
static bool gl_bus_on_node(struct gl_lock *lock, dma_addr_t addr)
{
	phys_addr_t phys = addr;

	if (gl_card_translates(lock->card))
		phys = iommu_iova_to_phys(iommu_get_domain_for_dev(gl_dev(lock->card)),
					  addr);
	return pfn_valid(PHYS_PFN(phys)) && pfn_to_nid(PHYS_PFN(phys)) == lock->node;
}

/*
 * The pages of an import are its exporter's business, and its table need not
 * name them: what can be looked at is where the card will read and write.
 */
static int gl_import_check_node(struct gl_lock *lock, struct gl_fail *fail)
{
	struct gl_pos pos;
	u64 done = 0;

	gl_lock_seek(lock, 0, &pos);
	while (done < lock->bytes) {
		dma_addr_t addr;
		u64 len = gl_lock_next(lock, &pos,
				       min_t(u64, PAGE_SIZE, lock->bytes - done), &addr);

		if (!gl_bus_on_node(lock, addr) || !gl_bus_on_node(lock, addr + len - 1))
			return gl_fail_set(fail, GIGALOCK_REASON_NODE_MEMORY,
					   GIGALOCK_STAGE_DMA_MAP, -ENOMEM,
					   gl_node_bytes(lock->node), lock->bytes, done);
		done += len;
		if (done & (SZ_2M - 1))
			continue;
		cond_resched();
		if (gl_lock_give_up(lock, GIGALOCK_STAGE_DMA_MAP, done, fail))
			return fail->err;
	}
	return 0;
}

/*
 * Memory that somebody else has allocated can't be moved, but it can be looked
 * at: all of it on the node that was asked for? Other strategies allocate there.
 */
int gl_lock_check_node(struct gl_lock *lock, struct gl_fail *fail)
{
	struct scatterlist *s;
	u64 done = 0;
	unsigned int i;

	if (lock->node == NUMA_NO_NODE || !lock->sgt)
		return 0;
	if (lock->strategy->number == GIGALOCK_STRATEGY_DMABUF)
		return gl_import_check_node(lock, fail);
	if (!lock->strategy->user_memory)
		return 0;
	for_each_sgtable_sg(lock->sgt, s, i) {
		unsigned long pfn = page_to_pfn(sg_page(s));
		unsigned long end = PFN_UP(sg_phys(s) + s->length);

		/* Nodes begin and end with a section of memory at the closest. */
		for (; pfn < end; pfn = ALIGN(pfn + 1, pageblock_nr_pages)) {
			if (pfn_to_nid(pfn) != lock->node)
				return gl_fail_set(fail, GIGALOCK_REASON_NODE_MEMORY,
						   GIGALOCK_STAGE_PIN, -ENOMEM,
						   gl_node_bytes(lock->node),
						   lock->bytes, done);
		}
		done += s->length;
	}
	return 0;
}
