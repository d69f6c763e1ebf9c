/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a reason and the facts to the cause. Each reason has its own questions,
 * asked from the most particular to the most general; where the facts do not
 * answer, the verdict is not certain and says what to look at.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

static const struct cause causes[] = {
#define CAUSE(number, slug, title, explanation) { number, slug, title, explanation },
#include "causes.inc"
#undef CAUSE
};

const struct cause *cause_by_number(int number)
{
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (causes[i].number == number)
			return &causes[i];
	return NULL;
}

/* The numbers of causes.toml, by what they are called there. */
enum {
	BUDDY_ORDER_LIMIT = 1, CMA_NOT_BUILT_IN, CMA_SIZE_ZERO, CMA_TOO_SMALL, CMA_IN_USE,
	CMA_PAGES_BUSY, CMA_RESERVATION_FAILED, CMA_ABOVE_WIDTH, RAM_TOO_SMALL,
	RAM_BARELY_LARGER, MEMORY_PRESSURE, MEMLOCK_LIMIT, MEMCG_LIMIT,
	BOUNCE_SEGMENT_TOO_LONG, SWIOTLB_POOL_FULL, SWIOTLB_DISABLED, FORCED_BOUNCING,
	IOMMU_REMAPPING, IOVA_EXHAUSTED, ADDRESS_SPACE_LIMIT, PROCESS_32_BIT,
	OVERCOMMIT_STRICT, NUMA_NODE_TOO_SMALL, FRAGMENTATION, KASLR_SPLITS_RAM,
	HUGETLB_1G_RUN_TIME, NO_1G_PAGES, MEMMAP_WRONG, RESERVE_MEM_FAILED,
	MOVABLE_ONLY_MEMORY, UNPINNABLE_MAPPING, SEGMENT_LIMIT_DEFAULT, IO_URING_BUFFER_LIMIT,
	NONPAGED_POOL_BUDGET, MAPPING_ENTRY_BUDGET, LATE_ALLOCATION, SMALL_TABLE,
};

static void note_word(const struct facts *f, struct verdict *v, const char *name)
{
	char room[128], what[64];

	if (!facts_cmdline(f, name, room, sizeof(room)))
		return;
	snprintf(what, sizeof(what), "%s=", name);
	verdict_word(v, what, room, "/proc/cmdline");
}

/* ---- coherent -------------------------------------------------------------------- */

static int buddy_limit(struct facts *f, struct verdict *v)
{
	char room[64];
	const char *cma = facts_cmdline(f, "cma", room, sizeof(room));

	note_word(f, v, "cma");
	if (!f->cma_known) {
		v->certain = false;
		verdict_look(v, "whether the kernel has CMA: CmaTotal in /proc/meminfo");
		return BUDDY_ORDER_LIMIT;
	}
	if (!f->cma_built_in)
		return cma ? CMA_NOT_BUILT_IN : BUDDY_ORDER_LIMIT;
	if (f->cma_total)
		return CMA_TOO_SMALL;
	return cma && facts_size(cma) ? CMA_RESERVATION_FAILED : CMA_SIZE_ZERO;
}

static int cma_busy(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t used = 0, longest = 0;
	bool known = false;

	for (unsigned int i = 0; i < f->ncma; i++)
		if (f->cma[i].used != UNKNOWN) {
			known = true;
			used += f->cma[i].used;
			if (f->cma[i].longest != UNKNOWN && f->cma[i].longest > longest)
				longest = f->cma[i].longest;
		}
	if (!known) {
		v->certain = false;
		verdict_look(v, "whether buffers or pages of programs lie there: "
			     "/sys/kernel/debug/cma/*/used and maxchunk, as root");
		return CMA_PAGES_BUSY;
	}
	verdict_number(v, "CMA memory held by buffers", used, "bytes", "/sys/kernel/debug/cma");
	return longest < r->bytes ? CMA_IN_USE : CMA_PAGES_BUSY;
}

/* ---- memory that ran out ------------------------------------------------------------ */

static bool has_movable(const struct facts *f)
{
	for (unsigned int i = 0; i < f->nzones; i++)
		if (f->zones[i].managed && !strcmp(f->zones[i].name, "Movable"))
			return true;
	return false;
}

static uint64_t node_bytes(const struct facts *f, uint64_t node)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < f->nzones; i++)
		if (f->zones[i].node == node)
			sum += f->zones[i].managed;
	return sum * PAGE;
}

#define OF_A_FRESH_MACHINE MIB(64)	/* programs and files, at least */

static int out_of_memory(struct facts *f, const struct request *r, struct verdict *v)
{
	bool user = v->strategy == GIGALOCK_STRATEGY_SG;
	struct page_room room;

	model_page_room(f, r, &room);
	if (f->mem_total != UNKNOWN && r->bytes > f->mem_total)
		return RAM_TOO_SMALL;
	if (user && f->cgroup_available < r->bytes && f->cgroup_available < room.bytes) {
		verdict_word(v, "cgroup", f->cgroup_limit_at, "/proc/self/cgroup");
		verdict_number(v, "kills in the cgroup", f->cgroup_kills, "count",
			       "memory.events");
		return MEMCG_LIMIT;
	}
	if (!f->nzones) {
		v->certain = false;
		verdict_look(v, "the zones of memory: /proc/zoneinfo; who holds it: ps, df on tmpfs");
		return RAM_BARELY_LARGER;
	}
	if (has_movable(f) && room.with_movable >= r->bytes && room.bytes < r->bytes) {
		note_word(f, v, "kernelcore");
		note_word(f, v, "movablecore");
		note_word(f, v, "movable_node");
		verdict_number(v, "free memory with ZONE_MOVABLE", room.with_movable, "bytes",
			       "/proc/zoneinfo");
		return MOVABLE_ONLY_MEMORY;
	}
	if (room.all_nodes > room.bytes && room.all_nodes >= r->bytes) {
		verdict_number(v, "memory of the node", node_bytes(f, r->node), "bytes",
			       "/proc/zoneinfo");
		return NUMA_NODE_TOO_SMALL;
	}
	verdict_number(v, "memory of programs (AnonPages)", f->anon, "bytes", "/proc/meminfo");
	verdict_number(v, "files in memory (Shmem)", f->shmem, "bytes", "/proc/meminfo");
	/* What a machine holds that has just booted is not pressure. */
	return room.given_back >= r->bytes &&
	       room.given_back - room.bytes > OF_A_FRESH_MACHINE ?
	       MEMORY_PRESSURE : RAM_BARELY_LARGER;
}

/* ---- physical ranges -------------------------------------------------------------------- */

static int no_range(struct facts *f, const struct request *r, struct verdict *v)
{
	const struct runs *runs = &v->runs;
	uint64_t kernel = f->kernel.start;

	if (!runs->known) {
		uint64_t bank = facts_longest_bank(f);

		if (bank != UNKNOWN && bank < r->bytes)
			return f->nodes > 1 ? NUMA_NODE_TOO_SMALL : RAM_BARELY_LARGER;
		v->certain = false;
		verdict_look(v, "what lies in memory: /proc/kpageflags, as root");
		return FRAGMENTATION;
	}
	if (runs->with_movable >= r->bytes && runs->most < r->bytes && has_movable(f)) {
		note_word(f, v, "kernelcore");
		note_word(f, v, "movablecore");
		note_word(f, v, "movable_node");
		verdict_number(v, "longest run with ZONE_MOVABLE", runs->with_movable, "bytes",
			       "/proc/kpageflags");
		return MOVABLE_ONLY_MEMORY;
	}
	if (r->has_node && runs->across_nodes >= r->bytes) {
		verdict_number(v, "memory of the node", node_bytes(f, r->node), "bytes",
			       "/proc/zoneinfo");
		return NUMA_NODE_TOO_SMALL;
	}
	/* Away from its usual place, and the range would be whole without it. */
	if (runs->without_image >= r->bytes && kernel > MIB(16)) {
		verdict_number(v, "kernel image at", kernel, "address", "/proc/iomem");
		verdict_number(v, "longest run without it", runs->without_image, "bytes",
			       "/proc/kpageflags");
		return KASLR_SPLITS_RAM;
	}
	verdict_number(v, "longest run of a fresh machine", runs->fresh, "bytes",
		       "/proc/kpageflags");
	if (runs->fresh >= r->bytes) {
		verdict_number(v, "blocks of 2 MiB that few fixed pages spoil", runs->spoiled,
			       "count", "/proc/kpageflags");
		return FRAGMENTATION;
	}
	if (f->nodes > 1)
		return NUMA_NODE_TOO_SMALL;
	return RAM_BARELY_LARGER;
}

/* ---- bounce buffers --------------------------------------------------------------------------- */

static int bounce(struct facts *f, struct verdict *v)
{
	note_word(f, v, "swiotlb");
	if (f->swiotlb_forced)
		return FORCED_BOUNCING;
	if (v->reason == GIGALOCK_REASON_SWIOTLB_SEGMENT)
		return BOUNCE_SEGMENT_TOO_LONG;
	return SWIOTLB_POOL_FULL;
}

static int above_reach(struct facts *f, const struct request *r, struct verdict *v)
{
	note_word(f, v, "iommu");
	note_word(f, v, "swiotlb");
	if (f->swiotlb)
		verdict_number(v, "bounce buffer", f->swiotlb, "bytes",
			       "/sys/kernel/debug/swiotlb/io_tlb_nslabs");
	if (v->reason == GIGALOCK_REASON_ADDRESS_WIDTH && f->swiotlb && r->address_width &&
	    f->dma_bits != UNKNOWN && r->address_width < f->dma_bits) {
		/* The lock's own, narrower width: nothing bounces for it. */
		v->certain = false;
		verdict_look(v, "why the lock asks for %llu address bits: the card has %llu",
			     (unsigned long long)r->address_width,
			     (unsigned long long)f->dma_bits);
	}
	return SWIOTLB_DISABLED;
}

/* ---- reserved ------------------------------------------------------------------------------------ */

static int reserved(struct facts *f, struct verdict *v)
{
	const char *given = facts_param(f, "reserved");
	char room[128];

	note_word(f, v, "reserve_mem");
	note_word(f, v, "memmap");
	for (unsigned int i = 0; i < f->nram; i++)
		if (f->ram[i].end - f->ram[i].start >= MIB(256))
			verdict_number(v, "RAM in use up to", f->ram[i].end, "address",
				       "/proc/iomem");
	/* Named regions are reserve_mem='s; so is one that nobody named to the driver. */
	if (given && !strncmp(given, "name:", 5))
		return RESERVE_MEM_FAILED;
	if (v->reason == GIGALOCK_REASON_RESERVED_MISSING &&
	    facts_cmdline(f, "reserve_mem", room, sizeof(room)))
		return RESERVE_MEM_FAILED;
	return MEMMAP_WRONG;
}

/*
 * An empty pool could not be filled when the driver was loaded. Had a fresh
 * machine had the range, the driver came too late.
 */
static int pool_empty(struct facts *f, const struct request *r, struct verdict *v)
{
	struct verdict late = *v;

	late.reason = model_pool_reason(f);
	switch (late.reason) {
	case GIGALOCK_REASON_NO_FREE_RANGE:
	case GIGALOCK_REASON_NO_FREE_BLOCK:
		pages_runs(f, UINT64_MAX, false, 0, &late.runs);
		if (!late.runs.known || late.runs.fresh >= r->bytes)
			return LATE_ALLOCATION;
		return no_range(f, r, &late);
	case GIGALOCK_REASON_CMA_BUSY:
		return LATE_ALLOCATION;
	case GIGALOCK_REASON_NO_MEMORY:
		return out_of_memory(f, r, &late) == MEMORY_PRESSURE ? LATE_ALLOCATION :
		       RAM_BARELY_LARGER;
	case GIGALOCK_REASON_RAM_TOO_SMALL:
		return RAM_TOO_SMALL;
	case GIGALOCK_REASON_NONPAGED_POOL:
		return NONPAGED_POOL_BUDGET;
	case GIGALOCK_REASON_BUDDY_LIMIT:
		return buddy_limit(f, v);
	default:
		verdict_look(v, "dmesg | grep 'gigalock: pool': whether one was asked for, and "
			     "whether it was had");
		return 0;
	}
}

static int address_space(struct facts *f, const struct request *r, struct verdict *v)
{
	bool narrow = r->process_bits ? r->process_bits == 32 : f->process32;

	if (v->limit && v->limit != UNKNOWN && v->limit == f->address_space)
		return ADDRESS_SPACE_LIMIT;
	if (narrow || (v->limit && v->limit <= GIB(4) && f->address_space == NO_LIMIT))
		return PROCESS_32_BIT;
	return ADDRESS_SPACE_LIMIT;
}

/*
 * Short pieces by the caller's limit, or a table that nobody lets grow? The
 * first, when longer pieces could be few enough.
 */
static int too_many(const struct request *r)
{
	const uint64_t most = GIGALOCK_SMALL_TABLE_ENTRIES;

	if (r->max_segment && !r->entry_per_page && r->bytes / r->max_segment >= most)
		return SEGMENT_LIMIT_DEFAULT;
	return SMALL_TABLE;
}

static int of_reason(struct facts *f, const struct request *r, struct verdict *v)
{
	switch (v->reason) {
	case GIGALOCK_REASON_BUDDY_LIMIT:
		return buddy_limit(f, v);
	case GIGALOCK_REASON_NO_FREE_BLOCK:
		return FRAGMENTATION;
	case GIGALOCK_REASON_CMA_TOO_SMALL:
		note_word(f, v, "cma");
		return CMA_TOO_SMALL;
	case GIGALOCK_REASON_CMA_FULL:
		return CMA_IN_USE;
	case GIGALOCK_REASON_CMA_BUSY:
		return cma_busy(f, r, v);
	case GIGALOCK_REASON_CMA_ABOVE_WIDTH:
		note_word(f, v, "cma");
		return CMA_ABOVE_WIDTH;
	case GIGALOCK_REASON_RAM_TOO_SMALL:
		return RAM_TOO_SMALL;
	case GIGALOCK_REASON_OVERCOMMIT:
		return f->overcommit == 2 ? OVERCOMMIT_STRICT : RAM_TOO_SMALL;
	case GIGALOCK_REASON_KILLED:
	case GIGALOCK_REASON_NO_MEMORY:
	case GIGALOCK_REASON_KERNEL_METADATA:
		return out_of_memory(f, r, v);
	case GIGALOCK_REASON_NODE_MEMORY:
		verdict_number(v, "memory of the node", node_bytes(f, r->node), "bytes",
			       "/proc/zoneinfo");
		return NUMA_NODE_TOO_SMALL;
	case GIGALOCK_REASON_NO_FREE_RANGE:
		return no_range(f, r, v);
	case GIGALOCK_REASON_MEMLOCK_LIMIT:
		return MEMLOCK_LIMIT;
	case GIGALOCK_REASON_READ_ONLY:
	case GIGALOCK_REASON_UNPINNABLE:
		return UNPINNABLE_MAPPING;
	case GIGALOCK_REASON_DMA_MAP:
	case GIGALOCK_REASON_ADDRESS_WIDTH:
		return above_reach(f, r, v);
	case GIGALOCK_REASON_SWIOTLB_SEGMENT:
	case GIGALOCK_REASON_SWIOTLB_FULL:
		return bounce(f, v);
	case GIGALOCK_REASON_ADDRESS_SPACE:
		return address_space(f, r, v);
	case GIGALOCK_REASON_IOVA_SPACE:
		return IOVA_EXHAUSTED;
	case GIGALOCK_REASON_TOO_MANY_SEGMENTS:
		return too_many(r);
	case GIGALOCK_REASON_NONPAGED_POOL:
		return NONPAGED_POOL_BUDGET;
	case GIGALOCK_REASON_MAPPING_ENTRIES:
		return MAPPING_ENTRY_BUDGET;
	case GIGALOCK_REASON_RESERVED_MISSING:
	case GIGALOCK_REASON_RESERVED_NOT_RESERVED:
	case GIGALOCK_REASON_RESERVED_SMALL:
		return reserved(f, v);
	case GIGALOCK_REASON_POOL_EMPTY:
		return pool_empty(f, r, v);
	case GIGALOCK_REASON_HUGETLB_SIZE:
		return r->page_size == GIB(1) ? NO_1G_PAGES : 0;
	case GIGALOCK_REASON_HUGETLB_POOL:
		note_word(f, v, "hugepagesz");
		note_word(f, v, "hugepages");
		return r->page_size == GIB(1) ? HUGETLB_1G_RUN_TIME : 0;
	case GIGALOCK_REASON_IO_URING_BUFFER:
		return IO_URING_BUFFER_LIMIT;
	default:
		return 0;
	}
}

void cause_decide(struct facts *f, const struct request *r, struct verdict *v)
{
	v->cause = of_reason(f, r, v);
	/* Plain enough without a cause: a pool that was made too small. */
	if (!v->cause && v->reason != GIGALOCK_REASON_POOL_SMALL &&
	    v->reason != GIGALOCK_REASON_POOL_EMPTY &&
	    v->reason != GIGALOCK_REASON_HUGETLB_POOL) {
		v->certain = false;
		verdict_look(v, "the failure's own text: gigalock failures");
	}
}
