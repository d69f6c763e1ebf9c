/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cures a cause here: commands to paste and what they cost, best first.
 * Best is what works now and touches least; what needs a reboot or another
 * machine comes after it. A kind and a value say the same for programs.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

struct list {
	struct facts *f;
	const struct request *r;
	const struct verdict *v;
	const struct works *works;
	struct remedy *remedies;
	unsigned int count;
};

static struct remedy *add(struct list *l, const char *kind, const char *cost,
			  const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static struct remedy *add(struct list *l, const char *kind, const char *cost,
			  const char *format, ...)
{
	static struct remedy spare;
	struct remedy *remedy = l->count < MAX_REMEDIES ? &l->remedies[l->count++] : &spare;
	va_list args;

	memset(remedy, 0, sizeof(*remedy));
	remedy->kind = kind;
	snprintf(remedy->cost, sizeof(remedy->cost), "%s", cost);
	va_start(args, format);
	vsnprintf(remedy->value, sizeof(remedy->value), format, args);
	va_end(args);
	return remedy;
}

static void command(struct remedy *remedy, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void command(struct remedy *remedy, const char *format, ...)
{
	va_list args;

	if (remedy->ncommands == sizeof(remedy->commands) / sizeof(remedy->commands[0]))
		return;
	va_start(args, format);
	vsnprintf(remedy->commands[remedy->ncommands++], sizeof(remedy->commands[0]),
		  format, args);
	va_end(args);
}

/* As options take it: whole units without a fraction. */
static const char *plain(uint64_t bytes, struct size_text *room)
{
	const char *units = "KMGT";
	unsigned int shift = 10, best = 0;

	for (unsigned int i = 0; i < 4; i++, shift += 10)
		if (bytes >> shift && !(bytes & (((uint64_t)1 << shift) - 1)))
			best = i + 1;
	if (!best)
		snprintf(room->text, sizeof(room->text), "%" PRIu64, bytes);
	else
		snprintf(room->text, sizeof(room->text), "%" PRIu64 "%c",
			 bytes >> (10 * best), units[best - 1]);
	return room->text;
}
#define PLAIN(bytes) plain((bytes), &(struct size_text){ "" })

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
	return (bytes + to - 1) / to * to;
}

/* ---- the ones that many causes share ------------------------------------------------ */

static void boot_with(struct list *l, const char *cost, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void boot_with(struct list *l, const char *cost, const char *format, ...)
{
	char value[96], quoted[192];
	struct remedy *remedy;
	size_t at = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(value, sizeof(value), format, args);
	va_end(args);
	/* GRUB expands a bare $, and sed reads & and |. */
	for (const char *p = value; *p && at < sizeof(quoted) - 5; p++) {
		if (*p == '$') {
			memcpy(quoted + at, "\\\\\\", 3);
			at += 3;
		}
		quoted[at++] = *p;
	}
	quoted[at] = 0;
	remedy = add(l, "kernel-parameter", cost, "%s", value);
	command(remedy, "sed -i 's|^GRUB_CMDLINE_LINUX=\"|&%s |' /etc/default/grub", quoted);
	command(remedy, "update-grub && reboot");
}

static void boot_without(struct list *l, const char *name, const char *cost)
{
	struct remedy *remedy = add(l, "drop-kernel-parameter", cost, "%s", name);

	/* The whole word: iommu= is not intel_iommu=. */
	command(remedy, "sed -i 's|\\b%s[^ \"]*||' /etc/default/grub", name);
	command(remedy, "update-grub && reboot");
}

static void strategy(struct list *l, uint32_t strategy, const char *cost)
{
	uint64_t largest = l->works->largest[strategy];

	if (strategy == l->v->strategy || largest == UNKNOWN || largest < l->r->bytes)
		return;
	command(add(l, "strategy", cost, "%s", glk_strategy_name(strategy)),
		"gigalock lock --size %s --strategy %s", PLAIN(l->r->bytes),
		glk_strategy_name(strategy));
}

static void other_strategies(struct list *l)
{
	strategy(l, GIGALOCK_STRATEGY_CONTIG_RANGE,
		 "rarer the longer the machine runs: take it early");
	strategy(l, GIGALOCK_STRATEGY_SG,
		 "the device must take a list of pieces; pinned memory can't be swapped");
	strategy(l, GIGALOCK_STRATEGY_COHERENT, "the memory is the driver's until it is freed");
}

static void smaller(struct list *l)
{
	uint64_t largest = l->v->largest;

	if (largest == UNKNOWN || largest < PAGE || largest >= l->r->bytes)
		return;
	largest = largest > MIB(64) ? (largest - largest / 50) / MIB(2) * MIB(2)
				    : largest / PAGE * PAGE;
	command(add(l, "size", "several transfers, or a ring of smaller buffers", "%s",
		    PLAIN(largest)),
		"gigalock lock --size %s --strategy %s", PLAIN(largest),
		glk_strategy_name(l->v->strategy));
}

static void more_ram(struct list *l, uint64_t bytes)
{
	uint64_t now = l->f->mem_total == UNKNOWN ? 0 : l->f->mem_total;

	bytes = round_up(bytes, GIB(1));
	while (bytes <= now + MIB(256))
		bytes += GIB(1);
	add(l, "ram", "more memory in the machine, or given to the virtual machine", "%s",
	    PLAIN(bytes));
}

/* Room for the buffer and its alignment, and for what already lies there. */
static uint64_t cma_for(const struct list *l, uint64_t others)
{
	uint64_t bytes = l->r->bytes + others;

	return round_up(bytes + bytes / 64 * 11, MIB(16));
}

static void iommu(struct list *l)
{
	struct remedy *remedy;

	if (facts_translates(l->f))
		return;
	remedy = add(l, "iommu", l->f->dmar == 1 ?
		     "a reboot; each transfer is translated" :
		     "a machine that has one (VT-d or AMD-Vi, switched on in its firmware; "
		     "-device intel-iommu in QEMU), and a reboot", "on");
	command(remedy, "sed -i 's|^GRUB_CMDLINE_LINUX=\"|&intel_iommu=on |' /etc/default/grub");
	command(remedy, "update-grub && reboot");
}

static void wide_device(struct list *l)
{
	add(l, "address-width", "a device, and a driver, that use 64 address bits", "64");
}

static void cma_area(struct list *l, const char *place)
{
	if (l->f->cma_built_in)
		boot_with(l, "a reboot; the area serves only memory that can move meanwhile",
			  "cma=%s%s", PLAIN(cma_for(l, 0)), place);
	else
		add(l, "kernel", "another kernel, with CONFIG_CMA (Debian has it from 7.2 on), "
		    "booted with cma=", "lab");
}

static void early(struct list *l)
{
	struct remedy *remedy = add(l, "early",
				    "the memory is taken from boot on, used or not", "%s", "");

	command(remedy, "echo gigalock > /etc/modules-load.d/gigalock.conf");
	command(remedy, "echo options gigalock pool_bytes=%s pool_count=1 > "
		"/etc/modprobe.d/gigalock.conf", PLAIN(l->r->bytes));
	command(remedy, "reboot   # then: gigalock lock --strategy pool");
}

static void free_memory(struct list *l)
{
	struct remedy *remedy;
	bool files = l->f->shmem != UNKNOWN && l->f->anon != UNKNOWN &&
		     l->f->shmem > l->f->anon;

	remedy = add(l, "free", files ? "what lies in tmpfs is lost, or must go to a disk" :
		     "other programs end, or are moved to another machine", "%s",
		     files ? "tmpfs" : "programs");
	if (files)
		command(remedy, "df -h -t tmpfs; ipcs -m   # find it, then delete it");
	else
		command(remedy, "ps -eo rss,pid,comm --sort=-rss | head   # find who holds it");
}

static void drop_caches(struct list *l)
{
	command(add(l, "command", "files are read from disk again",
		    "echo 3 > /proc/sys/vm/drop_caches"),
		"echo 3 > /proc/sys/vm/drop_caches && echo 1 > /proc/sys/vm/compact_memory");
}

static void module_without(struct list *l, const char *name)
{
	struct remedy *remedy = add(l, "drop-module-parameter",
				    "the driver is loaded anew: no lock may be alive", "%s",
				    name);

	command(remedy, "sed -i 's|%s=[^ ]*||' /etc/modprobe.d/*.conf", name);
	command(remedy, "modprobe -r gigalock && modprobe gigalock");
}

static void module_with(struct list *l, const char *cost, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void module_with(struct list *l, const char *cost, const char *format, ...)
{
	char value[96];
	struct remedy *remedy;
	va_list args;

	va_start(args, format);
	vsnprintf(value, sizeof(value), format, args);
	va_end(args);
	remedy = add(l, "module-parameter", cost, "%s", value);
	command(remedy, "modprobe -r gigalock && modprobe gigalock %s", value);
}

static void limit(struct list *l, const char *name, char letter, const char *systemd)
{
	struct remedy *remedy = add(l, "limit", "the user may then lock all of memory",
				    "%s=unlimited", name);

	command(remedy, "ulimit -%c unlimited   # as root, or within the hard limit", letter);
	if (l->f->pid)
		command(remedy, "prlimit --pid %lu --%s=unlimited", l->f->pid, name);
	command(remedy, "systemctl edit SERVICE   # [Service] %s=infinity", systemd);
}

/* ---- cause by cause ---------------------------------------------------------------------- */

static void for_memory(struct list *l)
{
	uint64_t need = l->r->bytes + l->r->bytes / 2;

	switch (l->v->cause) {
	case 9:
		more_ram(l, need);
		smaller(l);
		break;
	case 10:
		more_ram(l, need);
		other_strategies(l);
		smaller(l);
		break;
	case 11:
		free_memory(l);
		other_strategies(l);
		smaller(l);
		more_ram(l, need);
		break;
	case 13:
		command(add(l, "cgroup", "the group may then take memory from others",
			    "memory.max=max"),
			"echo max > /sys/fs/cgroup%s/memory.max", l->f->cgroup_limit_at);
		command(&l->remedies[l->count - 1],
			"systemctl set-property UNIT MemoryMax=infinity");
		other_strategies(l);
		smaller(l);
		break;
	case 22:
		command(add(l, "sysctl", "promises are no longer kept in every case: a program may "
			    "be killed when memory runs out", "vm.overcommit_memory=0"),
			"sysctl -w vm.overcommit_memory=0");
		add(l, "sysctl", "less is kept back for the page cache",
		    "vm.overcommit_ratio=95");
		command(&l->remedies[l->count - 1], "sysctl -w vm.overcommit_ratio=95");
		other_strategies(l);
		smaller(l);
		break;
	case 23:
		if (l->r->has_node)
			add(l, "node", "memory of other nodes is slower to reach", "any");
		other_strategies(l);
		more_ram(l, need * (l->f->nodes ? l->f->nodes : 1));
		smaller(l);
		break;
	case 30:
		for (const char *const *p = (const char *const []){ "kernelcore", "movablecore",
				"movable_node", NULL }; *p; p++) {
			char room[64];

			if (facts_cmdline(l->f, *p, room, sizeof(room)))
				boot_without(l, *p, "a reboot; memory can no longer be unplugged");
		}
		smaller(l);
		break;
	default:
		break;
	}
}

/* What the kernel was told to reserve; that must lie in one bank as a whole. */
static uint64_t area_asked(const struct list *l)
{
	char room[64];
	const char *cma = facts_cmdline(l->f, "cma", room, sizeof(room));
	uint64_t bytes = cma ? facts_size(cma) : 0;

	return bytes > l->r->bytes ? bytes : l->r->bytes;
}

static void for_cma(struct list *l)
{
	uint64_t used = 0;

	for (unsigned int i = 0; i < l->f->ncma; i++)
		if (l->f->cma[i].used != UNKNOWN)
			used += l->f->cma[i].used;
	switch (l->v->cause) {
	case 1:
		other_strategies(l);
		iommu(l);
		cma_area(l, "");
		smaller(l);
		break;
	case 2:
		cma_area(l, "");
		other_strategies(l);
		iommu(l);
		break;
	case 3:
	case 4:
		cma_area(l, "");
		other_strategies(l);
		iommu(l);
		break;
	case 5:
		command(add(l, "free", "those buffers are given back", "locks"),
			"fuser -v /dev/gigalock*   # who holds them");
		boot_with(l, "a reboot", "cma=%s", PLAIN(cma_for(l, used)));
		other_strategies(l);
		iommu(l);
		break;
	case 6:
		drop_caches(l);
		command(add(l, "free", "whoever holds pages there has to let go", "cma"),
			"grep -H VmPin /proc/[0-9]*/status | grep -v ' 0 kB'   # who pins memory");
		early(l);
		other_strategies(l);
		iommu(l);
		break;
	case 7:
		more_ram(l, 2 * area_asked(l) + GIB(1));
		other_strategies(l);
		iommu(l);
		break;
	case 8:
		cma_area(l, "@0-4G");
		other_strategies(l);
		wide_device(l);
		iommu(l);
		break;
	default:
		break;
	}
}

static void for_mapping(struct list *l)
{
	switch (l->v->cause) {
	case 14:
		command(add(l, "max-segment", "more descriptors", "256K"),
			"gigalock lock --size %s --max-segment 256K", PLAIN(l->r->bytes));
		wide_device(l);
		iommu(l);
		other_strategies(l);
		break;
	case 15:
	case 16:
		if (l->v->strategy == GIGALOCK_STRATEGY_POOL)
			module_with(l, "the driver is loaded anew; low memory is scarcer",
				    "pool_address_width=%" PRIu64, facts_width(l->f, l->r));
		other_strategies(l);
		wide_device(l);
		iommu(l);
		if (l->v->cause == 16)
			boot_without(l, "iommu", "a reboot; what is bounced must still fit "
				     "in the bounce buffer");
		smaller(l);
		break;
	case 17:
		boot_without(l, "swiotlb", "a reboot; not possible in a confidential "
			     "virtual machine");
		strategy(l, GIGALOCK_STRATEGY_COHERENT, "the memory is the driver's");
		smaller(l);
		break;
	case 19:
		wide_device(l);
		add(l, "free", "the other buffers of the device are given back", "locks");
		smaller(l);
		break;
	case 32:
		command(add(l, "max-segment", "the device must take pieces of that length", "4G"),
			"gigalock lock --size %s --max-segment 4G", PLAIN(l->r->bytes));
		other_strategies(l);
		smaller(l);
		break;
	case 37:
		add(l, "option", "a driver that merges neighbours and grows its table",
		    "-small-table");
		other_strategies(l);
		smaller(l);
		break;
	default:
		break;
	}
}

static void for_ranges(struct list *l)
{
	switch (l->v->cause) {
	case 24:
		early(l);
		other_strategies(l);
		drop_caches(l);
		cma_area(l, "");
		smaller(l);
		break;
	case 25:
		boot_with(l, "a reboot; the kernel's addresses are known to an attacker", "nokaslr");
		other_strategies(l);
		more_ram(l, 2 * l->r->bytes);
		smaller(l);
		break;
	case 36:
		early(l);
		other_strategies(l);
		smaller(l);
		break;
	default:
		break;
	}
}

/* A place for memmap= where RAM is and the kernel is not. */
static uint64_t place_for(const struct facts *f, uint64_t bytes)
{
	for (unsigned int i = 0; i < f->nram; i++)
		if (f->ram[i].start >= GIB(4) &&
		    f->ram[i].end - f->ram[i].start >= bytes)
			return f->ram[i].start;
	return 0;
}

static void for_reservations(struct list *l)
{
	uint64_t page = l->r->page_size ? l->r->page_size : MIB(2);
	uint64_t place = place_for(l->f, l->r->bytes);
	uint64_t pages = (l->r->bytes + page - 1) / page;

	if (l->v->reason == GIGALOCK_REASON_HUGETLB_POOL && page == MIB(2)) {
		command(add(l, "command", "that memory serves nothing else",
			    "echo %" PRIu64 " > /sys/kernel/mm/hugepages/hugepages-2048kB/"
			    "nr_hugepages", pages),
			"echo %" PRIu64 " > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
			pages);
		boot_with(l, "a reboot; the memory is taken from boot on", "hugepages=%" PRIu64,
			  pages);
	}
	switch (l->v->cause) {
	case 26:
		boot_with(l, "a reboot; the memory is taken from boot on",
			  "hugepagesz=1G hugepages=%" PRIu64, pages);
		if (l->f->mem_total < 4 * l->r->bytes - MIB(256))
			more_ram(l, 4 * l->r->bytes);
		other_strategies(l);
		break;
	case 27:
		add(l, "cpu", "another CPU model for the virtual machine (-cpu host), or machine",
		    "+pdpe1gb");
		command(add(l, "option", "more entries in the table", "-page-size"),
			"gigalock lock --size %s --strategy hugetlb   # with pages of 2 MiB",
			PLAIN(l->r->bytes));
		other_strategies(l);
		break;
	case 28:
		if (place)
			boot_with(l, "a reboot; the memory serves nothing else", "memmap=%s$0x%"
				  PRIx64, PLAIN(l->r->bytes), place);
		else
			more_ram(l, GIB(3) + l->r->bytes);
		other_strategies(l);
		break;
	case 29:
		more_ram(l, 2 * l->r->bytes + GIB(1));
		other_strategies(l);
		break;
	default:
		break;
	}
}

static void for_process(struct list *l)
{
	switch (l->v->cause) {
	case 12:
		limit(l, "memlock", 'l', "LimitMEMLOCK");
		other_strategies(l);
		smaller(l);
		break;
	case 20:
		limit(l, "as", 'v', "LimitAS");
		smaller(l);
		break;
	case 21:
		add(l, "command", "the program built anew, for 64 bits", "a 64-bit program");
		add(l, "several-buffers", "one mapped at a time", "2");
		smaller(l);
		break;
	case 31:
		command(add(l, "option", "the data are copied, or produced there", "-memory"),
			"gigalock lock --size %s --strategy sg   # in memory of its own",
			PLAIN(l->r->bytes));
		break;
	case 33:
		add(l, "several-buffers", "more entries in the registered table", "%" PRIu64,
		    (l->r->bytes + GIB(1) - 1) / GIB(1));
		add(l, "size", "what lies beyond goes elsewhere", "1G");
		break;
	case 34:
		module_without(l, "nonpaged_pool_bytes");
		module_with(l, "the driver is loaded anew", "nonpaged_pool_bytes=%s",
			    PLAIN(round_up(l->r->bytes * 2, GIB(1))));
		other_strategies(l);
		smaller(l);
		break;
	case 35:
		command(add(l, "option", "the program never sees the buffer; only the device does",
			    "+no-map"),
			"gigalock lock --size %s --strategy %s --no-map", PLAIN(l->r->bytes),
			glk_strategy_name(l->v->strategy));
		module_without(l, "mapping_entries");
		module_with(l, "the driver is loaded anew", "mapping_entries=%" PRIu64,
			    2 * ((l->r->bytes + PAGE - 1) / PAGE));
		other_strategies(l);
		smaller(l);
		break;
	default:
		break;
	}
}

unsigned int remedies_for(struct facts *f, const struct request *r,
			  const struct verdict *v, const struct works *works,
			  struct remedy remedies[MAX_REMEDIES])
{
	struct list l = { f, r, v, works, remedies, 0 };

	for_memory(&l);
	for_cma(&l);
	for_mapping(&l);
	for_ranges(&l);
	for_reservations(&l);
	for_process(&l);
	if (v->reason == GIGALOCK_REASON_POOL_SMALL || v->reason == GIGALOCK_REASON_POOL_EMPTY)
		module_with(&l, "that memory is taken while the driver is loaded",
			    "pool_bytes=%s pool_count=1", PLAIN(r->bytes));
	if (!v->cause) {
		other_strategies(&l);
		smaller(&l);
	}
	return l.count;
}
