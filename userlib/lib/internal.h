/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of libgigalock share. Nothing here is exported.
 */
#ifndef GLK_INTERNAL_H
#define GLK_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "gigalock.h"

/* ---- failures ------------------------------------------------------------ */

/* The fields that say what was seen; the rest says who saw it. */
struct glk_cause {
	uint32_t reason;
	uint32_t stage;
	int err;		/* positive */
	uint32_t unit;
	uint64_t limit;
	uint64_t request;
	uint64_t available;
};

/*
 * Fill a failure seen in user space. Returns -cause->err, so that a caller can
 * fail in one statement. @failure may be NULL.
 */
int glk_fail(struct gigalock_failure *failure, const struct glk_cause *cause,
	     uint32_t op, uint32_t strategy, uint64_t lock_size);

/* Make @failure ready for the kernel to fill. */
void glk_failure_reset(struct gigalock_failure *failure);

/*
 * After a call failed with @err (positive): if the kernel left no record, make
 * one from the errno. @request is the size or value that was asked for.
 */
int glk_fail_call(struct gigalock_failure *failure, int err, uint32_t op,
		  uint32_t stage, uint32_t strategy, uint64_t lock_size,
		  uint64_t request);

/* Text and remedy templates of a reason, "" when there is none. */
const char *glk_reason_text_template(uint32_t reason);
const char *glk_reason_remedy_template(uint32_t reason);

/* The fields of an options struct that its caller didn't know are 0. */
#define GLK_COPY_OPTIONS(to, from) \
	glk_copy_options(&(to), sizeof(to), (from))
bool glk_copy_options(void *to, size_t to_size, const void *from);

/* Give back a struct whose size its caller set. */
void glk_copy_result(void *to, const void *from, size_t from_size);

/* ---- time ---------------------------------------------------------------- */

uint64_t glk_now_ns(void);

/* ---- memory and what /proc says about it --------------------------------- */

/* Evidence about the machine and the process; 0 means not known, except for
 * the limits, where UINT64_MAX means none. */
struct glk_evidence {
	uint64_t mem_total;
	uint64_t mem_available;
	uint64_t swap_total;
	uint64_t commit_limit;
	uint64_t committed;
	int overcommit;		/* 0, 1, 2; -1 not known */
	uint64_t rlimit_as;
	uint64_t vm_size;	/* of this process */
	uint64_t largest_gap;	/* in the address space of this process */
};

/* @proc is "/proc", or a test's folder. */
void glk_evidence_read(struct glk_evidence *evidence, const char *proc);

/* Why mapping @bytes failed with @err. */
void glk_evidence_explain(const struct glk_evidence *evidence, uint64_t bytes,
			  int err, struct glk_cause *cause);

/* Anonymous private memory, 2 MiB aligned, not touched. 0 or -errno with the
 * cause filled. */
int glk_memory_new(uint64_t bytes, bool hugepage, void **memory,
		   struct glk_cause *cause);
void glk_memory_free(void *memory, uint64_t bytes);

/* Take pages of that NUMA node as long as there are any. Then of others: to
 * insist would call the OOM killer, and the driver looks where they lie. */
void glk_memory_prefer(void *memory, uint64_t bytes, uint32_t node);

/* False where the process can't name that many bytes: 32 bits. */
static inline bool glk_fits(uint64_t bytes)
{
	return (size_t)bytes == bytes;
}

/* ---- huge pages ---------------------------------------------------------- */

#define GLK_SYS_HUGEPAGES "/sys/kernel/mm/hugepages"

/* The huge pages of one size. */
struct glk_huge_pool {
	uint64_t total;		/* bytes set aside */
	uint64_t free;		/* of them, neither used nor promised */
};

/* @sys is GLK_SYS_HUGEPAGES, or a test's folder. False: no such size. */
bool glk_huge_pool_read(struct glk_huge_pool *pool, const char *sys,
			uint64_t page_size);

/* The largest page size of which enough are free; 0: none. And the smallest
 * that there is; 0: none. */
uint64_t glk_huge_page_fit(const char *sys, uint64_t bytes);
uint64_t glk_huge_page_smallest(const char *sys);

/* Huge pages that are promised, not touched: @length of them were mapped, in
 * whole pages. 0 or -errno with the cause filled. */
int glk_huge_new(uint64_t bytes, uint64_t page_size, void **memory,
		 uint64_t *length, struct glk_cause *cause);

/* ---- objects ------------------------------------------------------------- */

struct glk_card {
	int fd;
	atomic_uint refs;
	pthread_mutex_t mutex;	/* guards xfers and their fields */
	struct glk_xfer *xfers;	/* submitted, not reaped */
	char *device;
	uint32_t strategies;	/* bitmap, of the driver */
	char bus[33];
};

struct glk_lock {
	struct glk_card *card;
	void *data;
	uint64_t bytes;
	uint64_t mmap_offset;
	uint64_t longest_segment;
	uint64_t ns;
	uint64_t table_bytes;
	uint64_t owned;		/* bytes of data that are ours to unmap */
	uint32_t id;
	uint32_t strategy;
	uint32_t direction;
	uint32_t segments;
	uint32_t backing;
	unsigned int xfers;	/* not freed; guarded by the card's mutex */
	bool mapped;		/* through the card's file */
};

struct glk_card *glk_card_get(struct glk_card *card);
void glk_card_put(struct glk_card *card);

/* Was the driver's module loaded with this parameter set? @sys is "/sys", or a
 * test's folder. When it can't be told: yes. */
bool glk_module_has(const char *sys, const char *bus, const char *parameter);

/* ioctl() as 0 or a negative errno. */
int glk_ioctl(int fd, unsigned long request, void *arg);

uint64_t glk_page_size(void);
uint64_t glk_memlock_limit(void);	/* UINT64_MAX: none */

/* ---- the search ---------------------------------------------------------- */

/* Try to lock @bytes; fills the rest of @attempt. 0, or a negative errno that
 * ends the search (not: the lock failed). */
typedef int (*glk_attempt_fn)(uint64_t bytes, struct glk_try *attempt,
			      void *arg);

/* What the search knows besides the attempts. */
struct glk_search {
	uint64_t bytes;
	uint64_t granule;
	uint64_t finest;	/* granule where not even one granule locks; 0: none */
	uint32_t per_mille;
	bool several;		/* strategies: what one can't do, another may */
	/* Memory that can be had without the OOM killer; 0: no such bound. */
	uint64_t (*comfortable)(void *arg);
	glk_attempt_fn attempt;
	void *arg;
	glk_tried_fn tried;
	void *tried_arg;
};

int glk_search_run(const struct glk_search *search,
		   struct glk_limit_result *result);

/* Upper bound that a failure proves, UINT64_MAX if none. */
uint64_t glk_search_bound(const struct gigalock_failure *failure);

/* ---- CRC ----------------------------------------------------------------- */

/* The two ways, for tests; the second is NULL where the CPU lacks it. */
typedef uint32_t (*glk_crc32c_fn)(uint32_t state, const uint8_t *p, size_t len);
extern const glk_crc32c_fn glk_crc32c_tables;
glk_crc32c_fn glk_crc32c_instruction(void);
/* The tables are what glk_crc32c() uses here. */
bool glk_crc32c_by_tables(void);

/* The pattern's CRC by another way; false: too few words, or no memory. */
bool glk_pattern_crc32c_fold(uint32_t *crc, uint64_t seed, uint64_t first_word,
			     uint64_t words);
uint32_t glk_pattern_crc32c_with(uint32_t crc, uint64_t seed, uint64_t offset,
				 uint64_t len, bool may_fold);

#endif /* GLK_INTERNAL_H */
