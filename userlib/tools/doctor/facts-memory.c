/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /proc/meminfo, vmstat and the sysctls of overcommit. */
#define _GNU_SOURCE
#include <string.h>

#include "../../lib/meminfo.h"
#include "doctor.h"

static void read_meminfo(struct facts *f)
{
	const struct glk_meminfo wanted[] = {
		{ "MemTotal", &f->mem_total },
		{ "MemFree", &f->mem_free },
		{ "MemAvailable", &f->mem_available },
		{ "SwapTotal", &f->swap_total },
		{ "SwapFree", &f->swap_free },
		{ "CommitLimit", &f->commit_limit },
		{ "Committed_AS", &f->committed },
		{ "CmaTotal", &f->cma_total },
		{ "CmaFree", &f->cma_free },
		{ "Shmem", &f->shmem },
		{ "AnonPages", &f->anon },
		{ "Cached", &f->cached },
		{ "Buffers", &f->buffers },
		{ "Mlocked", &f->mlocked },
		{ "SUnreclaim", &f->sunreclaim },
		{ "Hugetlb", &f->huge_bytes },
	};
	const size_t count = sizeof(wanted) / sizeof(wanted[0]);
	FILE *file = facts_open(f, "proc/meminfo");

	for (size_t i = 0; i < count; i++)
		*wanted[i].value = UNKNOWN;
	if (!file) {
		facts_missing(f, "/proc/meminfo");
		return;
	}
	glk_meminfo_read(file, wanted, count);
	fclose(file);
	/* The line is only there when the kernel was built with CMA. */
	f->cma_known = f->mem_total != UNKNOWN;
	f->cma_built_in = f->cma_total != UNKNOWN;
}

static void read_vmstat(struct facts *f)
{
	uint64_t acquired = UNKNOWN, released = UNKNOWN;
	FILE *file = facts_open(f, "proc/vmstat");
	char name[64];
	unsigned long long value;

	f->pinned = f->oom_kills = UNKNOWN;
	if (!file) {
		facts_missing(f, "/proc/vmstat");
		return;
	}
	while (fscanf(file, "%63s %llu", name, &value) == 2) {
		if (!strcmp(name, "nr_foll_pin_acquired"))
			acquired = value;
		else if (!strcmp(name, "nr_foll_pin_released"))
			released = value;
		else if (!strcmp(name, "oom_kill"))
			f->oom_kills = value;
	}
	fclose(file);
	if (acquired != UNKNOWN && released != UNKNOWN)
		f->pinned = bytes_left(acquired, released) * PAGE;
}

void facts_memory(struct facts *f)
{
	read_meminfo(f);
	read_vmstat(f);
	f->overcommit = facts_number(f, "proc/sys/vm/overcommit_memory");
	if (f->overcommit == UNKNOWN)
		facts_missing(f, "/proc/sys/vm/overcommit_memory");
}
