/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory for strategy sg, and the reasons that only user space sees: why the
 * kernel would not map it. A reason is given from evidence, never guessed.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "meminfo.h"

#define HUGE_PAGE ((size_t)2 << 20)

uint64_t glk_page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t glk_memlock_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

/* ---- evidence ------------------------------------------------------------ */

static FILE *open_proc(const char *proc, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", proc, name);
	return fopen(path, "re");
}

static void read_meminfo(struct glk_evidence *evidence, const char *proc)
{
	const struct glk_meminfo wanted[] = {
		{ "MemTotal", &evidence->mem_total },
		{ "MemAvailable", &evidence->mem_available },
		{ "SwapTotal", &evidence->swap_total },
		{ "CommitLimit", &evidence->commit_limit },
		{ "Committed_AS", &evidence->committed },
	};
	FILE *file = open_proc(proc, "meminfo");

	if (!file)
		return;
	glk_meminfo_read(file, wanted, sizeof(wanted) / sizeof(wanted[0]));
	fclose(file);
}

static void read_statm(struct glk_evidence *evidence, const char *proc)
{
	FILE *file = open_proc(proc, "self/statm");
	unsigned long long total;

	if (!file)
		return;
	if (fscanf(file, "%llu", &total) == 1)	/* in pages */
		evidence->vm_size = total * glk_page_size();
	fclose(file);
}

static void read_maps(struct glk_evidence *evidence, const char *proc)
{
	FILE *file = open_proc(proc, "self/maps");
	uint64_t end_before = 0x10000;
	char line[512];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		unsigned long long start, end;

		if (sscanf(line, "%llx-%llx", &start, &end) != 2)
			continue;
		if (start >= glk_size_limit())
			break;	/* vsyscall */
		if (start > end_before &&
		    start - end_before > evidence->largest_gap)
			evidence->largest_gap = start - end_before;
		end_before = end;
	}
	fclose(file);
}

void glk_evidence_read(struct glk_evidence *evidence, const char *proc)
{
	struct rlimit limit;
	FILE *file;

	memset(evidence, 0, sizeof(*evidence));
	evidence->overcommit = -1;
	read_meminfo(evidence, proc);
	read_statm(evidence, proc);
	read_maps(evidence, proc);
	file = open_proc(proc, "sys/vm/overcommit_memory");
	if (file) {
		if (fscanf(file, "%d", &evidence->overcommit) != 1)
			evidence->overcommit = -1;
		fclose(file);
	}
	evidence->rlimit_as = UINT64_MAX;
	if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY)
		evidence->rlimit_as = limit.rlim_cur;
}

static uint64_t left(uint64_t limit, uint64_t used)
{
	return limit > used ? limit - used : 0;
}

/* The order is the kernel's own: mmap() checks address space first, then the
 * promise. */
void glk_evidence_explain(const struct glk_evidence *e, uint64_t bytes, int err,
			  struct glk_cause *cause)
{
	*cause = (struct glk_cause) {
		.stage = GIGALOCK_STAGE_ALLOCATE,
		.err = err,
		.request = bytes,
	};
	if (e->rlimit_as != UINT64_MAX && left(e->rlimit_as, e->vm_size) < bytes) {
		cause->reason = GIGALOCK_REASON_ADDRESS_SPACE;
		cause->limit = e->rlimit_as;
		cause->available = left(e->rlimit_as, e->vm_size);
	} else if (e->largest_gap && e->largest_gap < bytes) {
		cause->reason = GIGALOCK_REASON_ADDRESS_SPACE;
		cause->limit = glk_size_limit();
		cause->available = e->largest_gap;
	} else if (e->overcommit == 2 && e->commit_limit &&
		   left(e->commit_limit, e->committed) < bytes) {
		cause->reason = GIGALOCK_REASON_OVERCOMMIT;
		cause->limit = e->commit_limit;
		cause->available = left(e->commit_limit, e->committed);
	} else if (e->overcommit == 0 && e->mem_total &&
		   e->mem_total + e->swap_total < bytes) {
		cause->reason = GIGALOCK_REASON_OVERCOMMIT;
		cause->limit = e->mem_total + e->swap_total;
	} else {
		/* None of the known limits: say only what is certain. */
		cause->reason = GIGALOCK_REASON_NO_MEMORY;
		cause->available = e->mem_available;
	}
}

/* ---- memory -------------------------------------------------------------- */

/*
 * The aligned place is found with an inaccessible mapping, which is promised
 * nothing; so the kernel's promise is asked for exactly @length, and so is
 * RLIMIT_DATA left out of it: a mapping that takes another's place adds none.
 */
static void *map_aligned(size_t length)
{
	size_t head;
	char *place, *start;

	place = mmap(NULL, length + HUGE_PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (place == MAP_FAILED)
		return MAP_FAILED;
	head = (HUGE_PAGE - (uintptr_t)place % HUGE_PAGE) % HUGE_PAGE;
	start = place + head;
	if (mmap(start, length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
		munmap(place, length + HUGE_PAGE);
		return MAP_FAILED;
	}
	if (head)
		munmap(place, head);
	if (head < HUGE_PAGE)
		munmap(start + length, HUGE_PAGE - head);
	return start;
}

/* 2 MiB aligned, so that transparent huge pages can serve all of it, unless
 * the room for the alignment is all that lacks. */
int glk_memory_new(uint64_t bytes, bool hugepage, void **memory,
		   struct glk_cause *cause)
{
	struct glk_evidence evidence;
	uint64_t page = glk_page_size();
	uint64_t length = (bytes + page - 1) / page * page;
	void *start = MAP_FAILED;
	int err = ENOMEM;

	if (glk_fits(length + HUGE_PAGE))
		start = map_aligned((size_t)length);
	if (start == MAP_FAILED && glk_fits(length)) {
		start = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		err = errno;
	}
	if (start == MAP_FAILED) {
		glk_evidence_read(&evidence, "/proc");
		glk_evidence_explain(&evidence, bytes, err, cause);
		return -err;
	}
	/* Pinned memory would be copied at fork(), gigabytes of it. */
	madvise(start, (size_t)length, MADV_DONTFORK);
	if (hugepage)
		madvise(start, (size_t)length, MADV_HUGEPAGE);
	*memory = start;
	return 0;
}

void glk_memory_prefer(void *memory, uint64_t bytes, uint32_t node)
{
	unsigned long mask[1024 / (8 * sizeof(long))] = { 0 };
	const uint32_t bits = 8 * sizeof(mask[0]);

	if (node >= 8 * sizeof(mask))
		return;		/* there is none, the driver says so */
	mask[node / bits] = 1UL << node % bits;
	syscall(SYS_mbind, memory, (size_t)bytes, MPOL_PREFERRED, mask,
		8 * sizeof(mask), 0);
}

void glk_memory_free(void *memory, uint64_t bytes)
{
	uint64_t page = glk_page_size();

	munmap(memory, (size_t)((bytes + page - 1) / page * page));
}
