/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /proc/zoneinfo, buddyinfo and iomem: where memory lies. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

static void zone_line(struct zone *zone, const char *line)
{
	const struct {
		const char *name;
		uint64_t *value;
	} wanted[] = {
		{ "pages free", &zone->free }, { "min", &zone->min },
		{ "low", &zone->low }, { "high", &zone->high },
		{ "spanned", &zone->spanned }, { "present", &zone->present },
		{ "managed", &zone->managed }, { "cma", &zone->cma },
		{ "nr_free_cma", &zone->free_cma }, { "start_pfn:", &zone->start },
	};
	unsigned long long value;

	line += strspn(line, " ");
	/* Below the page sets "high" is another one's; they come with a colon. */
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		size_t len = strlen(wanted[i].name);

		if (!strncmp(line, wanted[i].name, len) && line[len] == ' ' &&
		    sscanf(line + len, "%llu", &value) == 1) {
			*wanted[i].value = value;
			return;
		}
	}
	if (sscanf(line, "count: %llu", &value) == 1)
		zone->pcp += value;
	if (sscanf(line, "nr_zone_inactive_file %llu", &value) == 1 ||
	    sscanf(line, "nr_zone_active_file %llu", &value) == 1)
		zone->file += value;
	if (sscanf(line, "nr_zone_inactive_anon %llu", &value) == 1 ||
	    sscanf(line, "nr_zone_active_anon %llu", &value) == 1)
		zone->anon += value;
	if (!strncmp(line, "protection:", 11)) {
		const char *p = strchr(line, '(');

		zone->protections = 0;
		while (p && zone->protections < 8) {
			zone->protection[zone->protections++] = strtoull(p + 1, NULL, 10);
			p = strchr(p + 1, ',');
		}
	}
}

static void read_zoneinfo(struct facts *f)
{
	FILE *file = facts_open(f, "proc/zoneinfo");
	struct zone *zone = NULL;
	char line[256];

	if (!file) {
		facts_missing(f, "/proc/zoneinfo");
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned int node;
		char name[16];

		if (sscanf(line, "Node %u, zone %15s", &node, name) == 2) {
			if (f->nzones == MAX_ZONES)
				break;
			zone = &f->zones[f->nzones++];
			zone->node = node;
			memcpy(zone->name, name, sizeof(name));
			if (node + 1 > f->nodes)
				f->nodes = node + 1;
		} else if (zone) {
			zone_line(zone, line);
		}
	}
	fclose(file);
}

static void read_buddyinfo(struct facts *f)
{
	FILE *file = facts_open(f, "proc/buddyinfo");
	char line[512];

	if (!file) {
		facts_missing(f, "/proc/buddyinfo");
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned int node;
		char name[16];
		int used = 0;

		if (sscanf(line, "Node %u, zone %15s%n", &node, name, &used) < 2)
			continue;
		for (unsigned int i = 0; i < f->nzones; i++) {
			struct zone *zone = &f->zones[i];
			char *p = line + used;

			if (zone->node != node || strcmp(zone->name, name))
				continue;
			for (int order = 0; order < ORDERS; order++)
				zone->blocks[order] = strtoull(p, &p, 10);
		}
	}
	fclose(file);
}

static void add_range(struct range *ranges, unsigned int *count, uint64_t start,
		      uint64_t last)
{
	/* Neighbours are one. */
	if (*count && ranges[*count - 1].end == start) {
		ranges[*count - 1].end = last + 1;
		return;
	}
	if (*count < MAX_RANGES)
		ranges[(*count)++] = (struct range) { start, last + 1 };
}

static void read_iomem(struct facts *f)
{
	FILE *file = facts_open(f, "proc/iomem");
	bool any = false;
	char line[256];

	if (!file) {
		facts_missing(f, "/proc/iomem");
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned long long start, last;
		char name[128];

		if (sscanf(line, "%llx-%llx : %127[^\n]", &start, &last, name) != 3)
			continue;
		any |= last != 0;
		if (!strcmp(name, "System RAM")) {
			add_range(f->ram, &f->nram, start, last);
		} else if (!strncmp(name, "Kernel ", 7)) {
			if (!f->kernel.end || start < f->kernel.start)
				f->kernel.start = start;
			if (last + 1 > f->kernel.end)
				f->kernel.end = last + 1;
		} else if (!strncmp(name, "PCI Bus 0000:00", 15) &&
			   !isspace((unsigned char)line[0])) {
			add_range(f->windows, &f->nwindows, start, last);
		}
	}
	fclose(file);
	if (!any) {
		/* Without CAP_SYS_ADMIN all addresses read as 0. */
		f->nram = f->nwindows = 0;
		f->iomem_zeroed = true;
		facts_missing(f, "/proc/iomem (addresses need root)");
	}
}

void facts_zones(struct facts *f)
{
	read_zoneinfo(f);
	read_buddyinfo(f);
	read_iomem(f);
}

uint64_t facts_ram_end(const struct facts *f)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i < f->nram; i++)
		if (f->ram[i].end > end)
			end = f->ram[i].end;
	if (end)
		return end;
	for (unsigned int i = 0; i < f->nzones; i++) {
		const struct zone *zone = &f->zones[i];

		if (zone->present && (zone->start + zone->spanned) * PAGE > end)
			end = (zone->start + zone->spanned) * PAGE;
	}
	return end ? end : UNKNOWN;
}

uint64_t facts_longest_bank(const struct facts *f)
{
	uint64_t longest = 0;

	for (unsigned int i = 0; i < f->nram; i++)
		if (f->ram[i].end - f->ram[i].start > longest)
			longest = f->ram[i].end - f->ram[i].start;
	return longest ? longest : UNKNOWN;
}
