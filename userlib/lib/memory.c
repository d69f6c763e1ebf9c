/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory for strategy sg, and the reasons that only user space sees: why the
 * kernel would not map it. A reason is given from evidence, never guessed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

uint64_t glk_page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
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
	const struct {
		const char *name;
		uint64_t *value;
	} wanted[] = {
		{ "MemTotal", &evidence->mem_total },
		{ "MemAvailable", &evidence->mem_available },
		{ "SwapTotal", &evidence->swap_total },
		{ "CommitLimit", &evidence->commit_limit },
		{ "Committed_AS", &evidence->committed },
	};
	FILE *file = open_proc(proc, "meminfo");
	char line[128];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		unsigned long long kib;
		char name[64];

		if (sscanf(line, "%63[^:]: %llu kB", name, &kib) != 2)
			continue;
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (!strcmp(name, wanted[i].name))
				*wanted[i].value = kib * 1024;
	}
	fclose(file);
}

static void read_statm(struct glk_evidence *evidence, const char *proc)
{
	FILE *file = open_proc(proc, "self/statm");
	unsigned long long total, data;

	if (!file)
		return;
	/* size resident shared text lib data dt, in pages */
	if (fscanf(file, "%llu %*u %*u %*u %*u %llu", &total, &data) == 2) {
		evidence->vm_size = total * glk_page_size();
		evidence->vm_data = data * glk_page_size();
	}
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

static uint64_t resource_limit(int which)
{
	struct rlimit limit;

	if (getrlimit(which, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

void glk_evidence_read(struct glk_evidence *evidence, const char *proc)
{
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
	evidence->rlimit_as = resource_limit(RLIMIT_AS);
	evidence->rlimit_data = resource_limit(RLIMIT_DATA);
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
	} else if (e->rlimit_data != UINT64_MAX &&
		   left(e->rlimit_data, e->vm_data) < bytes) {
		cause->reason = GIGALOCK_REASON_ADDRESS_SPACE;
		cause->limit = e->rlimit_data;
		cause->available = left(e->rlimit_data, e->vm_data);
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
 * 2 MiB aligned, so that transparent huge pages can serve all of it. The
 * aligned place is found with an inaccessible mapping, which is promised
 * nothing; so the kernel's promise is asked for exactly @bytes.
 */
int glk_memory_new(uint64_t bytes, bool hugepage, void **memory,
		   struct glk_cause *cause)
{
	struct glk_evidence evidence;
	uint64_t page = glk_page_size();
	uint64_t length = (bytes + page - 1) / page * page;
	uint64_t head;
	char *place, *start;
	int err;

	place = mmap(NULL, length + HUGE_PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (place == MAP_FAILED) {
		err = errno;
		goto explain;
	}
	head = (HUGE_PAGE - (uintptr_t)place % HUGE_PAGE) % HUGE_PAGE;
	start = place + head;
	if (mmap(start, length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
		err = errno;
		munmap(place, length + HUGE_PAGE);
		goto explain;
	}
	if (head)
		munmap(place, head);
	if (head < HUGE_PAGE)
		munmap(start + length, HUGE_PAGE - head);
	/* Pinned memory would be copied at fork(), gigabytes of it. */
	madvise(start, length, MADV_DONTFORK);
	if (hugepage)
		madvise(start, length, MADV_HUGEPAGE);
	*memory = start;
	return 0;

explain:
	glk_evidence_read(&evidence, "/proc");
	glk_evidence_explain(&evidence, bytes, err, cause);
	return -err;
}

void glk_memory_free(void *memory, uint64_t bytes)
{
	uint64_t page = glk_page_size();

	munmap(memory, (bytes + page - 1) / page * page);
}
