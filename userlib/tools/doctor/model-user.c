/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strategies that lock the caller's memory: sg, hugetlb, dmabuf; and auto. */
#define _GNU_SOURCE
#include <string.h>

#include "doctor.h"

#define URING_MOST GIB(1)	/* of one fixed buffer, up to 6.12 at least */

/* ---- sg ------------------------------------------------------------------------------ */

static void sg_kind(const struct request *r, struct verdict *v)
{
	switch (r->memory) {
	case MEMORY_READ_ONLY:
		verdict_word(v, "memory", "read-only", "the request");
		verdict_bound(v, r, 0, GIGALOCK_REASON_READ_ONLY, 0);
		break;
	case MEMORY_IO:
		verdict_word(v, "memory", "device memory or a raw page mapping", "the request");
		verdict_bound(v, r, 0, GIGALOCK_REASON_UNPINNABLE, 0);
		break;
	default:
		break;
	}
}

static void sg_file(const struct facts *f, const struct request *r, struct verdict *v)
{
	if (r->memory != MEMORY_FILE)
		return;
	verdict_word(v, "memory", "a shared file on disk", "the request");
	verdict_word(v, "kernel", f->release, "/proc/sys/kernel/osrelease");
	if (!f->major) {
		verdict_doubt(v, "the kernel's version: from 6.5 on such files are refused");
	} else if (f->major > 6 || (f->major == 6 && f->minor >= 5)) {
		verdict_bound(v, r, 0, GIGALOCK_REASON_UNPINNABLE, 0);
	}
}

static uint64_t node_room(const struct facts *f, uint64_t node)
{
	struct request one = { .has_node = true, .node = node };
	struct page_room room;

	model_page_room(f, &one, &room);
	return room.bytes;
}

/* Memory itself: the smallest of cgroup, node, zones and RAM ends the process. */
static void sg_pages(struct facts *f, const struct request *r, struct verdict *v)
{
	struct page_room room;

	if (r->has_node) {
		/* Looked at when they are pinned: they come from the nearest node. */
		verdict_doubt(v, "on which node the memory lies: /proc/PID/numa_maps");
		verdict_bound(v, r, node_room(f, r->node), GIGALOCK_REASON_NODE_MEMORY,
			      node_room(f, r->node));
	}
	model_page_room(f, r, &room);
	verdict_number(v, "MemTotal", f->mem_total, "bytes", "/proc/meminfo");
	verdict_number(v, "MemAvailable", f->mem_available, "bytes", "/proc/meminfo");
	if (f->cgroup_max < NO_LIMIT) {
		verdict_number(v, "memory.max", f->cgroup_max, "bytes", f->cgroup_limit_at);
		verdict_number(v, "memory.current", f->cgroup_current, "bytes",
			       f->cgroup_limit_at);
		/* Page tables are charged too. */
		if (f->cgroup_available < room.bytes)
			verdict_bound(v, r, f->cgroup_available - f->cgroup_available / 512,
				      GIGALOCK_REASON_KILLED, f->cgroup_max);
	}
	if (f->nzones) {
		verdict_number(v, "pages that can be pinned", room.bytes, "bytes",
			       "/proc/zoneinfo");
		verdict_bound(v, r, room.bytes, GIGALOCK_REASON_KILLED, room.bytes);
	} else if (f->mem_available != UNKNOWN) {
		verdict_bound(v, r, f->mem_available, GIGALOCK_REASON_KILLED,
			      f->mem_available);
		verdict_doubt(v, "the zones of memory: /proc/zoneinfo");
	}
}

void model_sg(struct facts *f, const struct request *r, struct verdict *v)
{
	if (r->io_uring && r->bytes > URING_MOST) {
		verdict_word(v, "kernel", f->release, "/proc/sys/kernel/osrelease");
		if (f->major < 6 || (f->major == 6 && f->minor <= 12))
			verdict_bound(v, r, URING_MOST, GIGALOCK_REASON_IO_URING_BUFFER,
				      URING_MOST);
		else if (f->major < 7 || (f->major == 7 && f->minor < 2))
			v->certain = false;
	}
	model_user_memory(f, r, v, false);
	model_budgets(f, r, v, false);
	sg_kind(r, v);
	model_memlock(f, r, v);
	sg_file(f, r, v);
	sg_pages(f, r, v);
	model_table(f, r, v, PAGE);
	model_map(f, r, v, false);
}

/* ---- hugetlb ---------------------------------------------------------------------------- */

void model_hugetlb(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t page = r->page_size ? r->page_size : MIB(2);
	const struct huge_size *huge = facts_huge(f, page);
	char source[96], name[64];

	model_user_memory(f, r, v, true);
	snprintf(source, sizeof(source), "/sys/kernel/mm/hugepages/hugepages-%llukB",
		 (unsigned long long)(page >> 10));
	if (!huge) {
		verdict_word(v, "huge pages", "no such size", source);
		if (f->pdpe1gb != UNKNOWN)
			verdict_word(v, "CPU flag pdpe1gb", f->pdpe1gb ? "yes" : "no",
				     "/proc/cpuinfo");
		if (!f->nhuge) {
			verdict_doubt(v, "the sizes there are: /sys/kernel/mm/hugepages");
		}
		verdict_bound(v, r, 0, GIGALOCK_REASON_HUGETLB_SIZE, page);
		return;
	}
	snprintf(name, sizeof(name), "huge pages of %llu MiB", (unsigned long long)(page >> 20));
	verdict_number(v, name, huge->total, "count", source);
	verdict_number(v, "free of them", huge->free, "count", source);
	if (huge->overcommit != UNKNOWN && huge->overcommit &&
	    bytes_left(huge->free, huge->reserved) * page < r->bytes)
		verdict_doubt(v, "%s/nr_overcommit_hugepages: more may be made when they are "
			      "asked for", source);
	else
		verdict_bound(v, r, bytes_left(huge->free, huge->reserved) * page,
			      GIGALOCK_REASON_HUGETLB_POOL, huge->total * page);
	model_budgets(f, r, v, false);
	model_memlock(f, r, v);
	model_table(f, r, v, page);
	model_map(f, r, v, false);
}

/* ---- dmabuf -------------------------------------------------------------------------------- */

void model_dmabuf(struct facts *f, const struct request *r, struct verdict *v)
{
	(void)f;
	(void)r;
	/* The memory is there already, of a size and place that its exporter knows. */
	v->certain = false;
	v->largest = UNKNOWN;
	verdict_look(v, "the dma-buf's own exporter: its size, and whether it may be mapped "
		     "for this device");
}

/* ---- all ------------------------------------------------------------------------------------- */

static void (*const models[GIGALOCK_STRATEGY_COUNT])(struct facts *f, const struct request *r,
						     struct verdict *v) = {
	[GIGALOCK_STRATEGY_COHERENT] = model_coherent,
	[GIGALOCK_STRATEGY_CONTIG_RANGE] = model_contig,
	[GIGALOCK_STRATEGY_SG] = model_sg,
	[GIGALOCK_STRATEGY_RESERVED] = model_reserved,
	[GIGALOCK_STRATEGY_POOL] = model_pool,
	[GIGALOCK_STRATEGY_HUGETLB] = model_hugetlb,
	[GIGALOCK_STRATEGY_CHUNKED] = model_chunked,
	[GIGALOCK_STRATEGY_DMABUF] = model_dmabuf,
};

static void start(struct verdict *v, uint32_t strategy)
{
	memset(v, 0, sizeof(*v));
	v->strategy = strategy;
	v->locks = v->certain = true;
	v->largest = UNKNOWN;
}

/* The order of the library's auto; the first that locks, else the nearest miss. */
static void model_auto(struct facts *f, const struct request *r, struct verdict *v)
{
	static const uint32_t order[] = {
		GIGALOCK_STRATEGY_COHERENT, GIGALOCK_STRATEGY_CONTIG_RANGE,
		GIGALOCK_STRATEGY_SG,
	};
	static struct verdict one;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		start(&one, order[i]);
		models[order[i]](f, r, &one);
		if (!i || one.locks ||
		    (one.largest != UNKNOWN && (v->largest == UNKNOWN || one.largest > v->largest)))
			*v = one;
		if (one.locks)
			return;
	}
}

void model_run(struct facts *f, const struct request *r, struct verdict *v)
{
	start(v, r->strategy);
	if (r->strategy == GLK_STRATEGY_AUTO)
		model_auto(f, r, v);
	else if (r->strategy < GIGALOCK_STRATEGY_COUNT)
		models[r->strategy](f, r, v);
}
