/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock doctor: from what /proc and /sys say, and from a request or a
 * failure, to the cause, the evidence and what would cure it.
 *
 *   facts-*.c    read the machine. What can't be read is noted, never guessed
 *   pages.c      which physical runs could be emptied
 *   model-*.c    would a lock succeed, and what is the largest: one strategy each
 *   causes.c     from a reason and the facts to one cause of causes.toml
 *   remedies.c   what cures a cause here
 *   report.c     text and JSON
 *
 * All files are read below facts.root, so that a tree that was recorded
 * elsewhere is judged as the machine it came from.
 */
#ifndef DOCTOR_H
#define DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../tools-common.h"

#define UNKNOWN UINT64_MAX	/* of a number that could not be read */
#define NO_LIMIT (UINT64_MAX - 1)
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define PAGE ((uint64_t)4096)

/* ---- the request ----------------------------------------------------------- */

enum memory_kind {
	MEMORY_ANONYMOUS,
	MEMORY_READ_ONLY,
	MEMORY_IO,		/* device memory, a raw page mapping */
	MEMORY_FILE,		/* a shared file on disk */
	MEMORY_MEMFD,
	MEMORY_HUGETLB,
};

struct request {
	uint64_t bytes;
	uint32_t strategy;
	uint64_t address_width;	/* bits; 0: the card's, else 64 */
	uint64_t max_segment;	/* 0: no limit of the caller's */
	bool small_table;
	bool entry_per_page;
	bool no_user_map;
	bool has_node;
	uint64_t node;
	uint64_t page_size;	/* of hugetlb: 2 MiB or 1 GiB; 0: the default */
	enum memory_kind memory;
	bool io_uring;
	uint64_t region;	/* of reserved */
	uint64_t process_bits;	/* 32 or 64; 0: what the process is */
};

/* ---- facts ------------------------------------------------------------------ */

#define MAX_ZONES 128
#define MAX_RANGES 256
#define MAX_CMA 16
#define MAX_HUGE 4
#define MAX_PARAMS 32
#define ORDERS 11

struct range {
	uint64_t start;
	uint64_t end;		/* first byte behind */
};

struct zone {
	unsigned int node;
	char name[16];
	uint64_t start;		/* all in pages */
	uint64_t spanned, present, managed, cma;
	uint64_t free, free_cma, pcp;
	uint64_t min, low, high;
	uint64_t protection[8];
	unsigned int protections;
	uint64_t file;		/* page cache in LRU lists */
	uint64_t anon;
	uint64_t blocks[ORDERS];	/* free blocks by order, of buddyinfo */
};

struct cma_area {
	char name[32];
	uint64_t base;		/* bytes; UNKNOWN without debugfs */
	uint64_t bytes;
	uint64_t used;
	uint64_t longest;	/* free run of its bitmap */
};

struct huge_size {
	uint64_t bytes;
	uint64_t total, free, reserved, overcommit;
};

struct param {
	char name[40];
	char value[128];
};

struct facts {
	const char *root;
	unsigned long pid;	/* 0: this process */
	char release[80];
	unsigned int major, minor;
	char cmdline[2048];

	/* memory, in bytes */
	uint64_t mem_total, mem_free, mem_available, swap_total, swap_free;
	uint64_t commit_limit, committed, cma_total, cma_free;
	uint64_t shmem, anon, cached, buffers, mlocked, sunreclaim, huge_bytes;
	uint64_t pinned;	/* pages that drivers hold, in bytes */
	uint64_t overcommit;
	uint64_t oom_kills;
	struct zone zones[MAX_ZONES];
	unsigned int nzones;
	unsigned int nodes;
	struct range ram[MAX_RANGES];
	unsigned int nram;
	struct range kernel;	/* its image */
	struct range windows[MAX_RANGES];	/* of host bridges */
	unsigned int nwindows;
	bool iomem_zeroed;	/* addresses hidden from us */

	/* the process */
	uint64_t memlock, address_space;	/* NO_LIMIT: unlimited */
	uint64_t vm_pin, vm_size;
	bool ipc_lock, sys_admin, caps_known;
	uint64_t largest_gap;	/* of a 32-bit process */
	bool process32;
	char cgroup[256];
	char cgroup_limit_at[256];	/* the group that binds */
	uint64_t cgroup_max, cgroup_current, cgroup_available;
	uint64_t cgroup_kills;
	uint64_t mems_allowed;	/* bitmap of nodes; UNKNOWN */

	/* DMA */
	bool have_card, driver_loaded;
	char bdf[32];
	uint64_t dma_bits;	/* the card's mask; UNKNOWN */
	uint64_t iommu;		/* 1 translates, 0 doesn't, UNKNOWN */
	uint64_t iommu_units, dmar;
	uint64_t swiotlb;	/* bytes of the pool; 0: none; UNKNOWN */
	uint64_t swiotlb_used;
	bool swiotlb_forced;
	struct cma_area cma[MAX_CMA];
	unsigned int ncma;
	bool cma_built_in, cma_known;
	struct huge_size huge[MAX_HUGE];
	unsigned int nhuge;
	uint64_t pdpe1gb;	/* 1, 0, UNKNOWN */
	struct param params[MAX_PARAMS];	/* of the driver */
	unsigned int nparams;
	uint64_t locked_bytes, locks;	/* on the card, UNKNOWN */

	/* what could not be read */
	char missing[32][96];
	unsigned int nmissing;
};

/* Read everything. @root is "" for this machine. */
void facts_read(struct facts *f, const char *root, unsigned long pid,
		const char *bdf);

/* facts-files.c: one file below the root */
FILE *facts_open(struct facts *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The first line without its end; false: no such file. */
bool facts_line(struct facts *f, char *line, size_t len, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* A number in a file; UNKNOWN. "max" is NO_LIMIT. */
uint64_t facts_number(struct facts *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Names in a folder, without dots; how many. */
unsigned int facts_list(struct facts *f, char names[][96], unsigned int most,
			const char *format, ...)
	__attribute__((format(printf, 4, 5)));
bool facts_exists(struct facts *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void facts_missing(struct facts *f, const char *what);

/* A word of the kernel's command line: what stands behind "name=", "" for a
 * word without a value; NULL: not there. The last one counts. */
const char *facts_cmdline(const struct facts *f, const char *name, char *room,
			  size_t len);
/* A size with K, M, G behind it, as the kernel reads it; 0 for garbage. */
uint64_t facts_size(const char *text);

void facts_memory(struct facts *f);	/* facts-memory.c */
void facts_zones(struct facts *f);	/* facts-zones.c */
void facts_process(struct facts *f);	/* facts-process.c */
void facts_dma(struct facts *f, const char *bdf);	/* facts-dma.c */

const char *facts_param(const struct facts *f, const char *name);
const struct huge_size *facts_huge(const struct facts *f, uint64_t bytes);
/* Highest RAM address plus 1; UNKNOWN. */
uint64_t facts_ram_end(const struct facts *f);
/* Bits that the device addresses: of the request, the card, else 64. */
uint64_t facts_width(const struct facts *f, const struct request *r);
uint64_t width_top(uint64_t bits);	/* highest address */
bool facts_translates(const struct facts *f);
/* Longest stretch of RAM in one piece, whatever lies in it. */
uint64_t facts_longest_bank(const struct facts *f);

/* ---- physical runs (pages.c) ------------------------------------------------ */

struct runs {
	bool known;		/* kpageflags could be read */
	uint64_t sure;		/* longest run, unclear pages taken as fixed */
	uint64_t likely;	/* ... taken as what they most likely are */
	uint64_t most;		/* ... taken as free */
	uint64_t fresh;		/* ... all that is not the kernel's own since boot */
	uint64_t without_image;	/* sure, were the kernel's image elsewhere */
	uint64_t with_movable;	/* sure, were ZONE_MOVABLE allowed */
	uint64_t across_nodes;	/* sure, were all nodes allowed */
	uint64_t sure_start;	/* where the longest lies */
	uint64_t blocks;	/* page blocks looked at */
	uint64_t spoiled;	/* ... that only a few fixed pages keep from being emptied */
	uint64_t spoiling_pages;	/* those pages */
	uint64_t open_blocks;	/* ... that could be emptied */
};

/* Runs of RAM below @limit (bytes) that alloc_contig_range() could empty. */
void pages_runs(struct facts *f, uint64_t limit, bool one_node, uint64_t node,
		struct runs *runs);
/* Pages in [start, end) that do not move, or UNKNOWN; and the longest run without
 * one that begins at a multiple of @align. */
uint64_t pages_range_open(struct facts *f, uint64_t start, uint64_t end,
			  uint64_t align, uint64_t *longest);

/* ---- verdicts ---------------------------------------------------------------- */

#define MAX_EVIDENCE 24
#define MAX_LOOK 12

struct evidence {
	char what[64];
	char text[96];		/* a word; "": the number counts */
	uint64_t value;
	const char *unit;	/* "bytes", "pages", "count", "address", "" */
	char source[96];
};

struct verdict {
	uint32_t strategy;
	bool locks;
	bool certain;
	uint64_t largest;	/* UNKNOWN */
	uint32_t reason;	/* when it does not lock */
	int cause;		/* number, 0: none of the catalogue */
	uint64_t limit;		/* the bound that the model met */
	struct evidence evidence[MAX_EVIDENCE];
	unsigned int nevidence;
	char look[MAX_LOOK][200];
	unsigned int nlook;
	struct runs runs;	/* of contig-range */
};

void verdict_number(struct verdict *v, const char *what, uint64_t value,
		    const char *unit, const char *source);
void verdict_word(struct verdict *v, const char *what, const char *word,
		  const char *source);
void verdict_look(struct verdict *v, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Not sure, as long as nothing certain forbids the lock; and where to look. */
void verdict_doubt(struct verdict *v, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* This bound is the smallest so far: it decides the reason. */
void verdict_bound(struct verdict *v, const struct request *r, uint64_t largest,
		   uint32_t reason, uint64_t limit);

/* Would @r lock? strategy auto tries all. */
void model_run(struct facts *f, const struct request *r, struct verdict *v);
void model_coherent(struct facts *f, const struct request *r, struct verdict *v);
void model_contig(struct facts *f, const struct request *r, struct verdict *v);
void model_sg(struct facts *f, const struct request *r, struct verdict *v);
void model_hugetlb(struct facts *f, const struct request *r, struct verdict *v);
void model_chunked(struct facts *f, const struct request *r, struct verdict *v);
void model_reserved(struct facts *f, const struct request *r, struct verdict *v);
void model_pool(struct facts *f, const struct request *r, struct verdict *v);
/* The reason that filling the pool ended with; 0: it did not, or is not known. */
uint32_t model_pool_reason(struct facts *f);
void model_dmabuf(struct facts *f, const struct request *r, struct verdict *v);

/* Parts that several models share (model-common.c). */
void model_user_memory(struct facts *f, const struct request *r, struct verdict *v,
		       bool huge);
void model_memlock(struct facts *f, const struct request *r, struct verdict *v);
void model_budgets(struct facts *f, const struct request *r, struct verdict *v,
		   bool kernel_memory);
/* Pieces of memory into the table; @page is the smallest piece they come in. */
void model_table(struct facts *f, const struct request *r, struct verdict *v,
		 uint64_t page);
/* Mapping pieces of memory for the device, bounced or translated. */
void model_map(struct facts *f, const struct request *r, struct verdict *v,
	       bool one_piece);
/* Bytes of pages that can be had one by one for long, on @nodes. */
struct page_room {
	uint64_t bytes;		/* that can be had, by a process, until it is killed */
	uint64_t gentle;	/* by a driver that does not wake the OOM killer */
	uint64_t with_movable;	/* were ZONE_MOVABLE allowed */
	uint64_t above_4g;	/* of bytes, in zones above 4 GiB */
	uint64_t given_back;	/* were other programs and files gone */
	uint64_t all_nodes;	/* on all nodes */
};
void model_page_room(const struct facts *f, const struct request *r,
		     struct page_room *room);
uint64_t bytes_left(uint64_t limit, uint64_t used);

/* ---- causes and remedies ------------------------------------------------------ */

struct cause {
	int number;
	const char *slug;
	const char *title;
	const char *explanation;
};

const struct cause *cause_by_number(int number);	/* NULL */
/* Why a lock fails with v->reason: sets cause, certain, look. */
void cause_decide(struct facts *f, const struct request *r, struct verdict *v);

#define MAX_REMEDIES 12

struct remedy {
	const char *kind;
	char value[96];
	char commands[3][200];
	unsigned int ncommands;
	char cost[200];
};

struct works {
	uint32_t strategy;	/* that locks the request; UINT32_MAX: none */
	uint64_t largest[GIGALOCK_STRATEGY_COUNT];	/* UNKNOWN */
};

unsigned int remedies_for(struct facts *f, const struct request *r,
			  const struct verdict *v, const struct works *works,
			  struct remedy remedies[MAX_REMEDIES]);

/* ---- after a failure ----------------------------------------------------------- */

/* A failure object, or a whole answer of the tool with one in it. */
bool failure_parse(const char *text, struct gigalock_failure *failure,
		   char *why, size_t len);

#endif
