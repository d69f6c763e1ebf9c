/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one table of what a reason means in words and what helps against it.
 * Names come from <linux/gigalock.h> (names.awk); what is here is checked by
 * tests-reasons.c to be complete.
 *
 * In a template {limit}, {request}, {available}, {lock} and {error} stand for
 * the failure's fields, {code} is the request in hexadecimal, {strategies} the
 * valid names. A part in [brackets] is left out when a number in it is 0, which
 * means not known.
 */
#include <string.h>

#include "internal.h"

static const struct reason_name {
	uint32_t number;
	const char *name;
	const char *observation;
} reason_names[] = {
#define REASON(number, name, observation) { number, name, observation },
#define STAGE(number, name, observation)
#define STRATEGY(number, name)
#include "names.inc"
#undef REASON
#undef STAGE
#undef STRATEGY
};

static const struct {
	uint32_t number;
	const char *name;
} stage_names[] = {
#define REASON(number, name, observation)
#define STAGE(number, name, observation) { number, name },
#define STRATEGY(number, name)
#include "names.inc"
#undef REASON
#undef STAGE
#undef STRATEGY
}, strategy_names[] = {
#define REASON(number, name, observation)
#define STAGE(number, name, observation)
#define STRATEGY(number, name) { number, name },
#include "names.inc"
#undef REASON
#undef STAGE
#undef STRATEGY
	{ GLK_STRATEGY_AUTO, "auto" },
};

static const char strategy_list[] =
#define REASON(number, name, observation)
#define STAGE(number, name, observation)
#define STRATEGY(number, name) name ", "
#include "names.inc"
#undef REASON
#undef STAGE
#undef STRATEGY
	"auto";

#define ITEMS(array) (sizeof(array) / sizeof((array)[0]))

_Static_assert(ITEMS(reason_names) == GIGALOCK_REASON_COUNT, "reasons");
_Static_assert(ITEMS(stage_names) == GIGALOCK_STAGE_COUNT, "stages");
_Static_assert(ITEMS(strategy_names) == GIGALOCK_STRATEGY_COUNT + 1, "strategies");

static const struct {
	const char *text;
	const char *remedy;
} words[GIGALOCK_REASON_COUNT] = {
	[GIGALOCK_REASON_NONE] = {
		"nothing failed",
		"nothing to do",
	},
	[GIGALOCK_REASON_BAD_SIZE] = {
		"a size of {request} can't be locked[: the bound is {limit}]",
		"Ask for at least one byte and, for coherent and contig-range, "
		"whole pages[, up to {limit}].",
	},
	[GIGALOCK_REASON_BAD_STRATEGY] = {
		"there is no strategy number {request}[: the card's driver knows {limit}]",
		"Use one of: {strategies}.",
	},
	[GIGALOCK_REASON_BAD_ARGUMENT] = {
		"an argument is not valid ({error})[: it was {request}][, the limit is {limit}]",
		"Check the handle, flags and ranges of the call.",
	},
	[GIGALOCK_REASON_BUDDY_LIMIT] = {
		"{request} asked for, but the page allocator's largest block is {limit}, "
		"and this machine has neither a CMA area nor an IOMMU to go beyond it",
		"Use strategy sg or contig-range, or a machine with an IOMMU; where the "
		"kernel has CMA, boot with cma= larger than {request}.",
	},
	[GIGALOCK_REASON_NO_FREE_BLOCK] = {
		"no free block of {request} in a row[, though {available} are free in all]",
		"Lock early after boot, before memory is fragmented, ask for less, or use "
		"strategy sg, which needs no block.",
	},
	[GIGALOCK_REASON_RAM_TOO_SMALL] = {
		"{request} asked for, but the machine has only {limit} of RAM",
		"Give the machine more RAM than {request}, or lock a smaller buffer.",
	},
	[GIGALOCK_REASON_NO_FREE_RANGE] = {
		"no physical range of {request} could be freed"
		"[; the longest one seen is {available}]",
		"Lock early after boot, add RAM, or ask for less"
		"[ ({available} may do)]; strategy sg needs no range.",
	},
	[GIGALOCK_REASON_NO_MEMORY] = {
		"memory ran out while locking {request}[; {available} could be had]",
		"Free memory or add RAM, or ask for less[ than {available}].",
	},
	[GIGALOCK_REASON_KILLED] = {
		"the process was killed while locking {request}"
		"[, after {available}]; the OOM killer does that when memory runs out",
		"Free memory or add RAM (or raise the cgroup's memory.max), or ask for "
		"less[ than {available}].",
	},
	[GIGALOCK_REASON_MEMLOCK_LIMIT] = {
		"{request} asked for, but RLIMIT_MEMLOCK is {limit}"
		"[ and {available} of it are left]",
		"Raise it (ulimit -l, or LimitMEMLOCK= of the service) to at least "
		"{request}, or give the process CAP_IPC_LOCK.",
	},
	[GIGALOCK_REASON_BAD_ADDRESS] = {
		"part of the {request} is not mapped in the process"
		"[; the first {available} are]",
		"Lock only memory that is mapped from its first to its last byte.",
	},
	[GIGALOCK_REASON_READ_ONLY] = {
		"part of the {request} is read-only, but the card would write to it"
		"[; the first {available} are writable]",
		"Map it writable, or lock it for direction to-card only.",
	},
	[GIGALOCK_REASON_UNPINNABLE] = {
		"part of the {request} is a mapping that can't be pinned: device memory, "
		"a raw page mapping or, on newer kernels, a shared file on disk"
		"[; the first {available} can be]",
		"Use anonymous memory, hugetlb or memfd.",
	},
	[GIGALOCK_REASON_KERNEL_METADATA] = {
		"memory for the kernel's tables of a lock of {lock} could not be had"
		"[: {request} asked for]",
		"Free memory, or lock a smaller buffer.",
	},
	[GIGALOCK_REASON_DMA_MAP] = {
		"the kernel could not map {request} for the device ({error})"
		"[; the bound is {limit}][; {available} were mapped]",
		"Lock less at a time; with an IOMMU, its address space for this card may be "
		"used up (iommu.forcedac=1 uses more of it).",
	},
	[GIGALOCK_REASON_SWIOTLB_SEGMENT] = {
		"a piece of {request} needs the bounce buffer, which takes at most {limit} "
		"in one piece",
		"Use a card that addresses all RAM (64 bits), an IOMMU, or a guest whose RAM "
		"lies below the card's limit; a larger swiotlb does not help.",
	},
	[GIGALOCK_REASON_SWIOTLB_FULL] = {
		"{request} need the bounce buffer and don't fit[ in its {limit}]"
		"[; {available} did]",
		"Lock less at a time, use a card that addresses all RAM (64 bits) or an "
		"IOMMU; boot with a larger swiotlb= if neither can be.",
	},
	[GIGALOCK_REASON_ADDRESS_WIDTH] = {
		"the memory lies at {request}, above {limit}, the highest address that the "
		"card can reach",
		"Use a card with more address bits, an IOMMU, or a machine with less RAM "
		"above that address.",
	},
	[GIGALOCK_REASON_CARD_RANGE] = {
		"the transfer ends at {request}, past the end of card memory, which is {limit}",
		"Move it in windows of at most {limit}.",
	},
	[GIGALOCK_REASON_LOCK_RANGE] = {
		"the transfer ends at {request}, past the end of the lock, which is {limit}",
		"Keep offset plus length within {limit}.",
	},
	[GIGALOCK_REASON_DEVICE_ERROR] = {
		"the card reported error {code} in the transfer[ at bus address {available}]",
		"Look the code up in the datasheet (GL_ERR_); the lock and the card's memory "
		"range are the first things to check.",
	},
	[GIGALOCK_REASON_TIMEOUT] = {
		"not finished within {limit}[; {request} were asked for]",
		"Allow more time; a transfer that never ends means that the card hangs: look "
		"at the kernel log.",
	},
	[GIGALOCK_REASON_CANCELLED] = {
		"the transfer was cancelled[ after {available}], by its owner or by a reset of "
		"the card",
		"Start it again.",
	},
	[GIGALOCK_REASON_DEVICE_GONE] = {
		"the card was removed or does not answer",
		"Look at lspci and the kernel log; close the card and open it again.",
	},
	[GIGALOCK_REASON_OVERCOMMIT] = {
		"the kernel won't promise {request} to a process: its limit is {limit}"
		"[, of which {available} are left]",
		"Add RAM or swap, or set vm.overcommit_memory=1 (with 2: raise "
		"vm.overcommit_ratio); a promise beyond RAM can't be locked in any case.",
	},
	[GIGALOCK_REASON_ADDRESS_SPACE] = {
		"no room for {request} in the process's address space: its limit is {limit}"
		"[, of which {available} are left]",
		"Raise the limit (ulimit -v), or use a 64-bit program.",
	},
	[GIGALOCK_REASON_NO_DEVICE] = {
		"there is no gigalock card here ({error})",
		"Check that the card is there (lspci -d 1234:10cc) and its driver is loaded "
		"(modprobe gigalock, or insmod).",
	},
	[GIGALOCK_REASON_PERMISSION] = {
		"the card may not be opened ({error})",
		"Run as root, or give your user the right to the card's node.",
	},
	[GIGALOCK_REASON_CMA_TOO_SMALL] = {
		"{request} asked for, but the machine has only {limit} of CMA memory"
		"[, of which {available} are free]",
		"Boot with cma= larger than {request}, or use strategy contig-range or sg, "
		"which need no CMA.",
	},
	[GIGALOCK_REASON_CMA_FULL] = {
		"{request} asked for, but less than that of the CMA memory is free"
		"[: {available}][ of {limit}]",
		"Give back other buffers, boot with a larger cma=, or use strategy "
		"contig-range or sg.",
	},
	[GIGALOCK_REASON_CMA_BUSY] = {
		"no run of {request} could be had in CMA memory[, though {available} are free]",
		"Lock early after boot, before others have pages there or pin them; drop the "
		"page cache and try again; or keep a region free with memmap= or reserve_mem=.",
	},
	[GIGALOCK_REASON_CMA_ABOVE_WIDTH] = {
		"the CMA memory lies above {limit}, the highest address that the card can reach",
		"Boot with cma=SIZE@0-4G so that it lies low, or use a card with more address "
		"bits, or an IOMMU.",
	},
	[GIGALOCK_REASON_IOVA_SPACE] = {
		"the IOMMU has no free range of {request} among the bus addresses of this card"
		"[, which end at {limit}]",
		"Unlock other buffers of this card, ask for less, or use a card with more "
		"address bits (iommu.forcedac=1 gives buffers addresses above 4 GiB).",
	},
	[GIGALOCK_REASON_TOO_MANY_SEGMENTS] = {
		"the buffer lies in more pieces than the table's {limit}[; {available} fitted]",
		"Let neighbouring pages be merged and the table be large, use huge pages or a "
		"strategy in one piece, or lock less.",
	},
	[GIGALOCK_REASON_NONPAGED_POOL] = {
		"{request} asked for, but the driver's budget of memory is {limit}"
		"[, of which {available} are left]",
		"Unlock other buffers, ask for less, or load the driver with a larger budget; "
		"strategies sg and hugetlb take the caller's memory instead.",
	},
	[GIGALOCK_REASON_MAPPING_ENTRIES] = {
		"mapping the buffer takes {request} page-table entries, but the driver's budget "
		"is {limit}[, of which {available} are left]",
		"Don't map it into the process, unlock other mapped buffers, or load the "
		"driver with a larger budget.",
	},
	[GIGALOCK_REASON_RESERVED_MISSING] = {
		"there is no reserved region {request}[: there are {limit}]",
		"Keep one free at boot (memmap= or reserve_mem=) and name it to the module by "
		"its parameter.",
	},
	[GIGALOCK_REASON_RESERVED_NOT_RESERVED] = {
		"the range at {request} was named to the module, but is in use as RAM or is no "
		"memory at all",
		"Compare the module's parameter with memmap= and /proc/iomem; the boot loader "
		"may have eaten an unescaped $.",
	},
	[GIGALOCK_REASON_RESERVED_SMALL] = {
		"{request} asked for, but the reserved region is {limit}",
		"Reserve a larger region at boot, or lock at most {limit} of it.",
	},
	[GIGALOCK_REASON_RESERVED_BUSY] = {
		"other locks leave no {request} in a row of the reserved region"
		"[: its longest free part is {available}]",
		"Unlock what is there, use another region, or ask for less[ ({available})].",
	},
	[GIGALOCK_REASON_POOL_EMPTY] = {
		"no buffer of the pool is free[: all {limit} are taken]",
		"Unlock one, or load the module with more of them.",
	},
	[GIGALOCK_REASON_POOL_SMALL] = {
		"{request} asked for, but a buffer of the pool is {limit}",
		"Load the module with larger buffers, or lock at most {limit}.",
	},
	[GIGALOCK_REASON_NOT_HUGETLB] = {
		"part of the {request} is no huge page[; the first {available} are]",
		"Map it with MAP_HUGETLB or from hugetlbfs (transparent huge pages don't "
		"count), let the library allocate it, or use strategy sg.",
	},
	[GIGALOCK_REASON_NODE_MEMORY] = {
		"{request} asked for on one NUMA node, which has only {limit}"
		"[, of which {available} are free]",
		"Use another node, or none, or ask for less.",
	},
	[GIGALOCK_REASON_DMABUF_REFUSED] = {
		"the file is no dma-buf, or its exporter won't share it with this card ({error})",
		"Give the file descriptor of a dma-buf; if it is one, its exporter has to allow "
		"a device that addresses as this card does.",
	},
	[GIGALOCK_REASON_HUGETLB_SIZE] = {
		"this CPU or kernel has no huge pages of {request}",
		"Use a size that /sys/kernel/mm/hugepages lists; 1 GiB pages need a CPU with "
		"pdpe1gb.",
	},
	[GIGALOCK_REASON_HUGETLB_POOL] = {
		"{request} of huge pages asked for, but too few are set aside and free"
		"[: {limit} in all][, {available} free]",
		"Set more aside: hugepagesz= and hugepages= at boot, which 1 GiB pages all but "
		"need, or nr_hugepages in /sys/kernel/mm/hugepages.",
	},
	[GIGALOCK_REASON_IO_URING_BUFFER] = {
		"io_uring does not register {request} in one piece[; the longest that it took is "
		"{limit}]",
		"Register several buffers, none longer than 1 GiB, or use a kernel from 7.2 on.",
	},
};

const char *glk_reason_name(uint32_t reason)
{
	for (size_t i = 0; i < ITEMS(reason_names); i++)
		if (reason_names[i].number == reason)
			return reason_names[i].name;
	return "unknown";
}

const char *glk_reason_observation(uint32_t reason)
{
	for (size_t i = 0; i < ITEMS(reason_names); i++)
		if (reason_names[i].number == reason)
			return reason_names[i].observation;
	return "";
}

int glk_reason_by_name(const char *name)
{
	for (size_t i = 0; i < ITEMS(reason_names); i++)
		if (!strcmp(reason_names[i].name, name))
			return (int)reason_names[i].number;
	return -ENOENT;
}

const char *glk_stage_name(uint32_t stage)
{
	for (size_t i = 0; i < ITEMS(stage_names); i++)
		if (stage_names[i].number == stage)
			return stage_names[i].name;
	return "unknown";
}

const char *glk_strategy_name(uint32_t strategy)
{
	for (size_t i = 0; i < ITEMS(strategy_names); i++)
		if (strategy_names[i].number == strategy)
			return strategy_names[i].name;
	return "unknown";
}

const char *glk_strategy_list(void)
{
	return strategy_list;
}

int glk_strategy_by_name(const char *name, uint32_t *strategy)
{
	for (size_t i = 0; i < ITEMS(strategy_names); i++)
		if (!strcmp(strategy_names[i].name, name)) {
			*strategy = strategy_names[i].number;
			return 0;
		}
	return -ENOENT;
}

const char *glk_backing_name(uint32_t backing)
{
	static const char *const names[GIGALOCK_BACKING_COUNT] = {
		[GIGALOCK_BACKING_UNKNOWN] = "unknown",
		[GIGALOCK_BACKING_BUDDY] = "buddy",
		[GIGALOCK_BACKING_CMA] = "cma",
		[GIGALOCK_BACKING_IOMMU] = "iommu",
		[GIGALOCK_BACKING_RANGE] = "range",
		[GIGALOCK_BACKING_RESERVED] = "reserved",
		[GIGALOCK_BACKING_PAGES] = "pages",
		[GIGALOCK_BACKING_HUGE_2M] = "huge-2m",
		[GIGALOCK_BACKING_HUGE_1G] = "huge-1g",
		[GIGALOCK_BACKING_BLOCKS] = "blocks",
		[GIGALOCK_BACKING_DMABUF] = "dmabuf",
	};

	return backing < GIGALOCK_BACKING_COUNT ? names[backing] : "unknown";
}

const char *glk_unit_name(uint32_t unit)
{
	switch (unit) {
	case GIGALOCK_UNIT_BYTES:
		return "bytes";
	case GIGALOCK_UNIT_COUNT:
		return "count";
	case GIGALOCK_UNIT_MILLISECONDS:
		return "milliseconds";
	case GIGALOCK_UNIT_ADDRESS:
		return "address";
	default:
		return "unknown";
	}
}

const char *glk_reason_text_template(uint32_t reason)
{
	return reason < ITEMS(words) && words[reason].text ?
	       words[reason].text : "";
}

const char *glk_reason_remedy_template(uint32_t reason)
{
	return reason < ITEMS(words) && words[reason].remedy ?
	       words[reason].remedy : "";
}
