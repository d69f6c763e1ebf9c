/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strategies whose memory was put aside before: reserved and pool. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

/* ---- reserved ----------------------------------------------------------------------------- */

#define MAX_REGIONS 16

/* The parameter's part number @want: "ADDRESS+SIZE" or "name:LABEL". */
static bool region_text(const char *given, uint64_t want, char *room, size_t len)
{
	for (uint64_t n = 0; *given; n++) {
		size_t part = strcspn(given, ",");

		if (n == want) {
			snprintf(room, len, "%.*s", (int)part, given);
			return true;
		}
		given += part;
		given += *given == ',';
	}
	return false;
}

/* What the driver found out about its regions, which it tells root. */
static bool region_line(struct facts *f, uint64_t want, struct range *range,
			uint64_t *taken, char *state, size_t len)
{
	FILE *file = facts_open(f, "sys/kernel/debug/gigalock/reserved");
	char line[256];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		unsigned long long number, start, size, used;
		char text[128];

		if (sscanf(line, "%llu 0x%llx+0x%llx %*[^:]: %127[^,], %llu", &number, &start,
			   &size, text, &used) != 5 || number != want)
			continue;
		*range = (struct range) { start, start + size };
		*taken = used;
		snprintf(state, len, "%.90s", text);
		found = true;
	}
	fclose(file);
	return found;
}

static bool ram_in(const struct facts *f, const struct range *range)
{
	for (unsigned int i = 0; i < f->nram; i++)
		if (range->start < f->ram[i].end && range->end > f->ram[i].start)
			return true;
	return false;
}

/* memmap=SIZE$START of the command line keeps all of @range free. */
static bool kept_free(const struct facts *f, const struct range *range)
{
	for (const char *p = f->cmdline; (p = strstr(p, "memmap=")); p++) {
		const char *mark = strchr(p, '$');
		uint64_t bytes = facts_size(p + 7);

		if (mark && mark < p + strcspn(p, " ") &&
		    facts_size(mark + 1) <= range->start &&
		    facts_size(mark + 1) + bytes >= range->end)
			return true;
	}
	return false;
}

static void region_by_address(struct facts *f, const struct request *r, struct verdict *v,
			      const char *text, struct range *range)
{
	const char *plus = strchr(text, '+');

	range->start = facts_size(text);
	range->end = range->start + (plus ? facts_size(plus + 1) : 0);
	if (f->iomem_zeroed) {
		verdict_doubt(v, "what the range is: /proc/iomem, as root");
	} else if (ram_in(f, range) || !kept_free(f, range)) {
		verdict_bound(v, r, 0, GIGALOCK_REASON_RESERVED_NOT_RESERVED, range->start);
	} else {
		/* Whether there is memory at all only shows when it is written to. */
		verdict_doubt(v, "whether there is RAM at %#llx: dmesg | grep gigalock, once "
			      "the driver is loaded", (unsigned long long)range->start);
	}
	verdict_bound(v, r, range->end - range->start, GIGALOCK_REASON_RESERVED_SMALL,
		      range->end - range->start);
}

/* A part of it that the device reaches will do, from its beginning. */
static void reach(struct facts *f, const struct request *r, struct verdict *v,
		  const struct range *range)
{
	uint64_t width = facts_width(f, r), top = width_top(width);

	if (facts_translates(f) || range->start == range->end || range->end - 1 <= top)
		return;
	verdict_number(v, "address width", width, "bits", r->address_width == width ?
		       "the request" : "/sys/bus/pci/devices/*/dma_mask_bits");
	verdict_number(v, "the region begins at", range->start, "address",
		       "/sys/kernel/debug/gigalock/reserved");
	verdict_bound(v, r, top > range->start ? top - range->start + 1 : 0,
		      GIGALOCK_REASON_ADDRESS_WIDTH, top);
}

/* Where all bounces: memory without struct pages can't, which kernels came to mind. */
static void forced(struct facts *f, const struct request *r, struct verdict *v, bool named)
{
	if (!f->swiotlb_forced || facts_translates(f))
		return;
	if (named) {
		model_map(f, r, v, true);
		return;
	}
	verdict_word(v, "kernel", f->release, "/proc/sys/kernel/osrelease");
	verdict_word(v, "swiotlb=", "force", "/proc/cmdline");
	if (!f->major)
		verdict_doubt(v, "the kernel's version: from 6.18 on such memory is refused");
	else if (f->major > 6 || (f->major == 6 && f->minor >= 18))
		verdict_bound(v, r, 0, GIGALOCK_REASON_SWIOTLB_FULL, 0);
}

void model_reserved(struct facts *f, const struct request *r, struct verdict *v)
{
	const char *given = facts_param(f, "reserved");
	char text[128], state[96], room[128];
	struct range range = { 0 };
	uint64_t bytes, taken;

	if (!given || !strcmp(given, "(null)"))
		given = "";
	if (!region_text(given, r->region, text, sizeof(text))) {
		verdict_word(v, "reserved", *given ? given : "not given",
			     "/sys/module/gigalock/parameters");
		verdict_bound(v, r, 0, GIGALOCK_REASON_RESERVED_MISSING, 0);
		return;
	}
	verdict_word(v, "reserved", text, "/sys/module/gigalock/parameters");
	if (region_line(f, r->region, &range, &taken, state, sizeof(state))) {
		bytes = range.end - range.start;
		verdict_word(v, "the driver says", state, "/sys/kernel/debug/gigalock/reserved");
		if (!strcmp(state, "missing"))
			verdict_bound(v, r, 0, GIGALOCK_REASON_RESERVED_MISSING, 0);
		else if (strcmp(state, "good"))
			verdict_bound(v, r, 0, GIGALOCK_REASON_RESERVED_NOT_RESERVED, 0);
		verdict_bound(v, r, bytes, GIGALOCK_REASON_RESERVED_SMALL, bytes);
		verdict_bound(v, r, bytes_left(bytes, taken), GIGALOCK_REASON_RESERVED_BUSY, bytes);
	} else if (strncmp(text, "name:", 5)) {
		region_by_address(f, r, v, text, &range);
	} else if (!facts_cmdline(f, "reserve_mem", room, sizeof(room))) {
		verdict_bound(v, r, 0, GIGALOCK_REASON_RESERVED_MISSING, 0);
	} else {
		verdict_word(v, "reserve_mem=", room, "/proc/cmdline");
		verdict_doubt(v, "whether the kernel could keep it: dmesg | grep reserve");
		verdict_bound(v, r, facts_size(room), GIGALOCK_REASON_RESERVED_SMALL,
			      facts_size(room));
	}
	reach(f, r, v, &range);
	forced(f, r, v, !strncmp(text, "name:", 5));
	if (!r->no_user_map)
		model_user_memory(f, r, v, true);
}

/* ---- pool ----------------------------------------------------------------------------- */

/* What the driver tells root of its pool; UNKNOWN where it does not. */
struct pool_state {
	uint64_t bytes, wanted, have, taken, reason;
	uint64_t end;		/* of what is free in it, the lowest that one has */
};

static void read_pool(struct facts *f, struct pool_state *pool)
{
	const char *bytes = facts_param(f, "pool_bytes");
	const char *count = facts_param(f, "pool_count");
	FILE *file = facts_open(f, "sys/kernel/debug/gigalock/pool");
	unsigned long long value;
	char line[256];

	pool->bytes = bytes ? facts_size(bytes) : 0;
	pool->wanted = count ? strtoull(count, NULL, 0) : 0;
	pool->have = pool->taken = pool->end = UNKNOWN;
	pool->reason = 0;
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		const char *reason = strstr(line, " reason ");

		if (sscanf(line, "have %llu", &value) == 1)
			pool->have = value;
		else if (sscanf(line, "taken %llu", &value) == 1)
			pool->taken = value;
		else if (sscanf(line, "lowest end %llx", &value) == 1)
			pool->end = value;
		else if (!strncmp(line, "failed:", 7) && reason)
			pool->reason = strtoull(reason + 8, NULL, 10);
	}
	fclose(file);
}

/* The pool was filled for pool_address_width, whatever the card reaches. */
static void pool_reach(struct facts *f, const struct request *r, struct verdict *v,
		       const struct pool_state *pool)
{
	uint64_t width = facts_width(f, r), top = width_top(width);

	if (facts_translates(f) || width >= 64)
		return;
	if (pool->end == UNKNOWN) {
		if (facts_ram_end(f) == UNKNOWN || facts_ram_end(f) - 1 > top)
			verdict_doubt(v, "where the pool's buffers lie: "
				      "/sys/kernel/debug/gigalock/pool, as root");
		return;
	}
	if (pool->end <= top)
		return;
	verdict_number(v, "address width", width, "bits", r->address_width == width ?
		       "the request" : "/sys/bus/pci/devices/*/dma_mask_bits");
	verdict_number(v, "the pool's lowest buffer ends at", pool->end, "address",
		       "/sys/kernel/debug/gigalock/pool");
	verdict_bound(v, r, 0, GIGALOCK_REASON_ADDRESS_WIDTH, top);
}

void model_pool(struct facts *f, const struct request *r, struct verdict *v)
{
	const char *source = "/sys/kernel/debug/gigalock/pool";
	struct pool_state pool;

	read_pool(f, &pool);
	verdict_number(v, "pool_bytes", pool.bytes, "bytes", "/sys/module/gigalock/parameters");
	verdict_number(v, "pool_count", pool.wanted, "count", "/sys/module/gigalock/parameters");
	verdict_number(v, "buffers in the pool", pool.have, "count", source);
	verdict_number(v, "of them taken", pool.taken, "count", source);
	if (pool.reason)
		verdict_word(v, "filling the pool failed with",
			     glk_reason_name((uint32_t)pool.reason), source);
	if (!pool.wanted || !pool.have) {
		verdict_bound(v, r, 0, GIGALOCK_REASON_POOL_EMPTY, 0);
		return;
	}
	if (pool.have == UNKNOWN)
		verdict_doubt(v, "what the pool has: %s, as root", source);
	verdict_bound(v, r, pool.bytes, GIGALOCK_REASON_POOL_SMALL, pool.bytes);
	if (pool.have != UNKNOWN && pool.taken == pool.have)
		verdict_bound(v, r, 0, GIGALOCK_REASON_POOL_EMPTY, pool.have);
	pool_reach(f, r, v, &pool);
	if (f->swiotlb_forced || facts_translates(f))
		model_map(f, r, v, true);
	if (!r->no_user_map)
		model_user_memory(f, r, v, true);
}

/* The reason that filling the pool ended with; 0: it did not, or is not known. */
uint32_t model_pool_reason(struct facts *f)
{
	struct pool_state pool;

	read_pool(f, &pool);
	return pool.have == pool.wanted ? 0 : (uint32_t)pool.reason;
}
