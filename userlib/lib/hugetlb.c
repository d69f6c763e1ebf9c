/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages for strategy hugetlb: which sizes there are, how many are free, and
 * why some could not be had. The kernel says all of it in /sys.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <sys/mman.h>

#include "internal.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

/* ---- pools --------------------------------------------------------------- */

static bool read_count(const char *sys, uint64_t page_size, const char *name,
		       uint64_t *count)
{
	unsigned long long value;
	char path[300];
	FILE *file;
	bool ok;

	snprintf(path, sizeof(path), "%s/hugepages-%llukB/%s", sys,
		 (unsigned long long)page_size / 1024, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	ok = fscanf(file, "%llu", &value) == 1;
	fclose(file);
	*count = ok ? value : 0;
	return ok;
}

bool glk_huge_pool_read(struct glk_huge_pool *pool, const char *sys,
			uint64_t page_size)
{
	uint64_t total, unused, promised;

	pool->total = pool->free = 0;
	if (!read_count(sys, page_size, "nr_hugepages", &total) ||
	    !read_count(sys, page_size, "free_hugepages", &unused))
		return false;
	if (!read_count(sys, page_size, "resv_hugepages", &promised))
		promised = 0;
	pool->total = total * page_size;
	pool->free = unused > promised ? (unused - promised) * page_size : 0;
	return true;
}

/* Calls @take with each page size. */
static void each_size(const char *sys, void (*take)(uint64_t size, void *arg),
		      void *arg)
{
	DIR *folder = opendir(sys);
	const struct dirent *entry;

	if (!folder)
		return;
	while ((entry = readdir(folder)) != NULL) {
		unsigned long long kib;

		if (sscanf(entry->d_name, "hugepages-%llukB", &kib) == 1)
			take((uint64_t)kib * 1024, arg);
	}
	closedir(folder);
}

struct fit {
	const char *sys;
	uint64_t bytes;
	uint64_t best;
};

static void take_fit(uint64_t size, void *arg)
{
	struct glk_huge_pool pool;
	struct fit *fit = arg;

	/* A large page for little data would be a waste. */
	if (size > fit->best && size <= fit->bytes &&
	    glk_huge_pool_read(&pool, fit->sys, size) &&
	    pool.free / size >= (fit->bytes + size - 1) / size)
		fit->best = size;
}

static void take_smallest(uint64_t size, void *arg)
{
	uint64_t *smallest = arg;

	if (!*smallest || size < *smallest)
		*smallest = size;
}

uint64_t glk_huge_page_smallest(const char *sys)
{
	uint64_t smallest = 0;

	each_size(sys, take_smallest, &smallest);
	return smallest;
}

uint64_t glk_huge_page_fit(const char *sys, uint64_t bytes)
{
	struct fit fit = { .sys = sys, .bytes = bytes };
	uint64_t smallest = glk_huge_page_smallest(sys);

	/* Less than a page is one page, of the smallest. */
	if (smallest && bytes < smallest)
		fit.bytes = smallest;
	each_size(sys, take_fit, &fit);
	return fit.best;
}

/* ---- memory -------------------------------------------------------------- */

static int explain(uint64_t bytes, uint64_t page_size, int err,
		   struct glk_cause *cause)
{
	struct glk_evidence evidence;
	struct glk_huge_pool pool;

	if (!glk_huge_pool_read(&pool, GLK_SYS_HUGEPAGES, page_size)) {
		*cause = (struct glk_cause) {
			.reason = GIGALOCK_REASON_HUGETLB_SIZE,
			.stage = GIGALOCK_STAGE_ALLOCATE,
			.err = EINVAL,
			.request = page_size,
		};
		return -EINVAL;
	}
	/* Address space and the process's limits come before the pool. */
	glk_evidence_read(&evidence, "/proc");
	glk_evidence_explain(&evidence, bytes, err, cause);
	if (cause->reason != GIGALOCK_REASON_ADDRESS_SPACE && pool.free < bytes) {
		cause->reason = GIGALOCK_REASON_HUGETLB_POOL;
		cause->limit = pool.total;
		cause->available = pool.free;
	}
	return -err;
}

int glk_huge_new(uint64_t bytes, uint64_t page_size, void **memory,
		 uint64_t *length, struct glk_cause *cause)
{
	uint64_t whole = page_size ? (bytes + page_size - 1) / page_size * page_size
				   : bytes;
	int err = ENOMEM;

	if (!page_size)		/* no huge pages at all */
		return explain(whole, page_size, EINVAL, cause);
	if (glk_fits(whole)) {
		int log2 = __builtin_ctzll(page_size);
		void *start = mmap(NULL, (size_t)whole, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
				   (int)((unsigned int)log2 << MAP_HUGE_SHIFT),
				   -1, 0);

		if (start != MAP_FAILED) {
			madvise(start, (size_t)whole, MADV_DONTFORK);
			*memory = start;
			*length = whole;
			return 0;
		}
		err = errno;
	}
	return explain(whole, page_size, err, cause);
}
