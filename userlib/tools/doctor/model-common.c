/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of a lock that several strategies go through: the process's own limits,
 * the driver's budgets, pages one by one, the mapping for the device.
 *
 * Each part lowers v->largest where it binds. The part that a real lock meets
 * first is asked first, and the first one below the request gives the reason.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

uint64_t bytes_left(uint64_t limit, uint64_t used)
{
	return limit > used ? limit - used : 0;
}

void verdict_number(struct verdict *v, const char *what, uint64_t value,
		    const char *unit, const char *source)
{
	struct evidence *e = &v->evidence[v->nevidence];

	for (unsigned int i = 0; i < v->nevidence; i++)
		if (!strcmp(v->evidence[i].what, what))
			return;
	if (value == UNKNOWN || v->nevidence == MAX_EVIDENCE)
		return;
	memset(e, 0, sizeof(*e));
	snprintf(e->what, sizeof(e->what), "%s", what);
	snprintf(e->source, sizeof(e->source), "%s", source);
	e->unit = unit;
	e->value = value;
	if (value == NO_LIMIT)
		snprintf(e->text, sizeof(e->text), "unlimited");
	v->nevidence++;
}

void verdict_word(struct verdict *v, const char *what, const char *word,
		  const char *source)
{
	struct evidence *e = &v->evidence[v->nevidence];

	for (unsigned int i = 0; i < v->nevidence; i++)
		if (!strcmp(v->evidence[i].what, what))
			return;
	if (v->nevidence == MAX_EVIDENCE)
		return;
	memset(e, 0, sizeof(*e));
	snprintf(e->what, sizeof(e->what), "%s", what);
	snprintf(e->text, sizeof(e->text), "%s", *word ? word : "there");
	snprintf(e->source, sizeof(e->source), "%s", source);
	e->unit = "";
	v->nevidence++;
}

static void look(struct verdict *v, const char *format, va_list args)
{
	if (v->nlook == MAX_LOOK)
		return;
	vsnprintf(v->look[v->nlook], sizeof(v->look[0]), format, args);
	for (unsigned int i = 0; i < v->nlook; i++)
		if (!strcmp(v->look[i], v->look[v->nlook]))
			return;
	v->nlook++;
}

void verdict_look(struct verdict *v, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	look(v, format, args);
	va_end(args);
}

void verdict_doubt(struct verdict *v, const char *format, ...)
{
	va_list args;

	if (!v->locks)
		return;
	v->certain = false;
	va_start(args, format);
	look(v, format, args);
	va_end(args);
}

void verdict_bound(struct verdict *v, const struct request *r, uint64_t largest,
		   uint32_t reason, uint64_t limit)
{
	if (v->locks && largest < r->bytes) {
		v->locks = false;
		v->reason = reason;
		v->limit = limit;
	}
	if (v->largest == UNKNOWN || largest < v->largest)
		v->largest = largest;
}

/* ---- the process ---------------------------------------------------------------- */

/* The largest hole of a 32-bit process, between libraries and stack. */
#define HOLE_32BIT (GIB(4) - MIB(64))

static void address_space(struct facts *f, const struct request *r,
			  struct verdict *v)
{
	bool narrow = r->process_bits ? r->process_bits == 32 : f->process32;

	if (f->address_space != UNKNOWN) {
		verdict_number(v, "RLIMIT_AS", f->address_space, "bytes",
			       f->pid ? "/proc/PID/limits" : "/proc/self/limits");
		if (f->address_space != NO_LIMIT) {
			uint64_t used = f->vm_size == UNKNOWN ? 0 : f->vm_size;

			verdict_number(v, "VmSize", f->vm_size, "bytes",
				       f->pid ? "/proc/PID/status" : "/proc/self/status");
			verdict_bound(v, r, bytes_left(f->address_space, used),
				      GIGALOCK_REASON_ADDRESS_SPACE, f->address_space);
		}
	}
	if (narrow) {
		uint64_t gap = f->process32 ? f->largest_gap : HOLE_32BIT;

		verdict_word(v, "process", "32-bit", f->pid ? "/proc/PID/maps" : "the request");
		verdict_number(v, "largest hole in the address space", gap, "bytes",
			       f->process32 ? "/proc/PID/maps" : "4 GiB of addresses");
		verdict_bound(v, r, gap, GIGALOCK_REASON_ADDRESS_SPACE, GIB(4));
	}
}

static void overcommit(struct facts *f, const struct request *r, struct verdict *v)
{
	if (f->overcommit == 2 && f->commit_limit != UNKNOWN && f->committed != UNKNOWN) {
		uint64_t left = bytes_left(f->commit_limit, f->committed);

		verdict_number(v, "vm.overcommit_memory", 2, "",
			       "/proc/sys/vm/overcommit_memory");
		verdict_number(v, "CommitLimit", f->commit_limit, "bytes", "/proc/meminfo");
		verdict_number(v, "Committed_AS", f->committed, "bytes", "/proc/meminfo");
		verdict_bound(v, r, left, GIGALOCK_REASON_OVERCOMMIT, f->commit_limit);
	} else if (!f->overcommit && f->mem_total != UNKNOWN && f->swap_total != UNKNOWN) {
		verdict_bound(v, r, f->mem_total + f->swap_total,
			      GIGALOCK_REASON_OVERCOMMIT, f->mem_total + f->swap_total);
		if (v->reason == GIGALOCK_REASON_OVERCOMMIT) {
			verdict_number(v, "MemTotal", f->mem_total, "bytes", "/proc/meminfo");
			verdict_number(v, "SwapTotal", f->swap_total, "bytes", "/proc/meminfo");
		}
	}
}

void model_user_memory(struct facts *f, const struct request *r, struct verdict *v,
		       bool huge)
{
	address_space(f, r, v);
	if (!huge)
		overcommit(f, r, v);
}

/* The driver charges pages as RDMA does: all pinned by the process together. */
void model_memlock(struct facts *f, const struct request *r, struct verdict *v)
{
	uint64_t pinned = f->vm_pin == UNKNOWN ? 0 : f->vm_pin;
	const char *limits = f->pid ? "/proc/PID/limits" : "/proc/self/limits";
	const char *status = f->pid ? "/proc/PID/status" : "/proc/self/status";

	if (f->memlock == UNKNOWN || !f->caps_known)
		return;
	if (f->ipc_lock || f->memlock == NO_LIMIT)
		return;
	verdict_number(v, "RLIMIT_MEMLOCK", f->memlock, "bytes", limits);
	verdict_number(v, "VmPin", f->vm_pin, "bytes", status);
	verdict_word(v, "CAP_IPC_LOCK", "no", status);
	verdict_bound(v, r, bytes_left(f->memlock / PAGE * PAGE, pinned),
		      GIGALOCK_REASON_MEMLOCK_LIMIT, f->memlock);
}

/* ---- the driver's budgets -------------------------------------------------------- */

/* How much of a budget is used: the driver tells root in debugfs. */
static uint64_t budget_used(struct facts *f, const char *name, uint64_t otherwise)
{
	FILE *file = facts_open(f, "sys/kernel/debug/gigalock/budgets");
	unsigned long long used;
	char found[40];

	if (!file)
		return otherwise;
	while (fscanf(file, "%39s %llu of %*s", found, &used) == 2)
		if (!strcmp(found, name)) {
			otherwise = used;
			break;
		}
	fclose(file);
	return otherwise;
}

/* Memory that the driver allocates; page-table entries for all that is mapped. */
void model_budgets(struct facts *f, const struct request *r, struct verdict *v,
		   bool kernel_memory)
{
	const char *pool = facts_param(f, "nonpaged_pool_bytes");
	const char *entries = facts_param(f, "mapping_entries");
	uint64_t limit = pool ? facts_size(pool) : 0, used;

	if (limit && kernel_memory) {
		used = budget_used(f, "nonpaged_pool_bytes",
				   f->locked_bytes == UNKNOWN ? 0 : f->locked_bytes);
		verdict_number(v, "nonpaged_pool_bytes", limit, "bytes",
			       "/sys/module/gigalock/parameters");
		verdict_number(v, "of it used", used, "bytes", "/sys/kernel/debug/gigalock/budgets");
		verdict_bound(v, r, bytes_left(limit, used),
			      GIGALOCK_REASON_NONPAGED_POOL, limit);
	}
	limit = entries ? facts_size(entries) : 0;
	if (limit && !(r->no_user_map && kernel_memory)) {
		used = budget_used(f, "mapping_entries", 0);
		verdict_number(v, "mapping_entries", limit, "count",
			       "/sys/module/gigalock/parameters");
		verdict_number(v, "mapping entries used", used, "count",
			       "/sys/kernel/debug/gigalock/budgets");
		verdict_bound(v, r, bytes_left(limit, used) * PAGE,
			      GIGALOCK_REASON_MAPPING_ENTRIES, limit);
	}
}

/* ---- pages one by one -------------------------------------------------------------- */

static bool node_allowed(const struct facts *f, const struct request *r,
			 unsigned int node)
{
	if (r->has_node)
		return node == r->node;
	return f->mems_allowed == UNKNOWN || node >= 64 || f->mems_allowed >> node & 1;
}

/*
 * What a process can fault in and pin: every zone down to its min watermark
 * and what it keeps for others, but not ZONE_MOVABLE and not CMA, where nothing
 * may stay. Page cache is dropped on the way; other programs' memory only goes
 * where there is swap. The page tables of the memory itself are subtracted.
 */
void model_page_room(const struct facts *f, const struct request *r,
		     struct page_room *room)
{
	uint64_t pages = 0, movable = 0, high = 0, all = 0, swap = 0;

	memset(room, 0, sizeof(*room));
	if (f->swap_free != UNKNOWN)
		swap = f->swap_free;
	for (unsigned int i = 0; i < f->nzones; i++) {
		const struct zone *zone = &f->zones[i];
		/* For a page that is to stay, as one of ZONE_NORMAL at best. */
		uint64_t keep = zone->min + (zone->protections > 2 ? zone->protection[2] : 0);
		uint64_t there = bytes_left(zone->free + zone->pcp + zone->file,
					    zone->free_cma);
		uint64_t usable = bytes_left(there, keep);

		if (!zone->managed)
			continue;
		if (!strcmp(zone->name, "Movable")) {
			if (node_allowed(f, r, zone->node))
				movable += usable;
			continue;
		}
		all += usable;
		if (!node_allowed(f, r, zone->node))
			continue;
		pages += usable;
		if (zone->start >= GIB(4) / PAGE)
			high += usable;
	}
	room->bytes = pages * PAGE;
	if (swap) {
		uint64_t others = (f->anon == UNKNOWN ? 0 : f->anon) +
				  (f->shmem == UNKNOWN ? 0 : f->shmem);

		room->bytes += others < swap ? others : swap;
	}
	room->bytes -= room->bytes / 512;
	room->gentle = room->bytes;
	room->with_movable = room->bytes + movable * PAGE;
	room->above_4g = high * PAGE;
	room->all_nodes = all * PAGE - all * PAGE / 512;
	room->given_back = room->bytes;
	if (f->shmem != UNKNOWN && f->anon != UNKNOWN)
		room->given_back += f->shmem + f->anon;
	if (f->huge_bytes != UNKNOWN)
		room->given_back += f->huge_bytes;
}
