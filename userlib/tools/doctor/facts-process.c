/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of the process that locks: its own, and its cgroup's. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define CAP_IPC_LOCK 14
#define CAP_SYS_ADMIN 21

static const char *who(const struct facts *f, char *room, size_t len)
{
	if (f->pid)
		snprintf(room, len, "%lu", f->pid);
	else
		snprintf(room, len, "self");
	return room;
}

static void read_limits(struct facts *f)
{
	const struct {
		const char *name;
		uint64_t *value;
	} wanted[] = {
		{ "Max locked memory", &f->memlock },
		{ "Max address space", &f->address_space },
	};
	char line[256], room[24];
	FILE *file = facts_open(f, "proc/%s/limits", who(f, room, sizeof(room)));

	f->memlock = f->address_space = UNKNOWN;
	if (!file) {
		facts_missing(f, f->pid ? "/proc/PID/limits" : "/proc/self/limits");
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
			size_t len = strlen(wanted[i].name);
			const char *p = line + len;

			if (strncmp(line, wanted[i].name, len))
				continue;
			p += strspn(p, " ");
			*wanted[i].value = strncmp(p, "unlimited", 9) ?
					   strtoull(p, NULL, 10) : NO_LIMIT;
		}
	}
	fclose(file);
}

static void read_status(struct facts *f)
{
	char line[1024], room[24];
	FILE *file = facts_open(f, "proc/%s/status", who(f, room, sizeof(room)));

	f->vm_pin = f->vm_size = f->mems_allowed = UNKNOWN;
	if (!file) {
		facts_missing(f, f->pid ? "/proc/PID/status" : "/proc/self/status");
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned long long value;

		if (sscanf(line, "VmPin: %llu", &value) == 1)
			f->vm_pin = KIB(value);
		else if (sscanf(line, "VmSize: %llu", &value) == 1)
			f->vm_size = KIB(value);
		else if (sscanf(line, "CapEff: %llx", &value) == 1) {
			f->caps_known = true;
			f->ipc_lock = value >> CAP_IPC_LOCK & 1;
			f->sys_admin = value >> CAP_SYS_ADMIN & 1;
		} else if (!strncmp(line, "Mems_allowed:", 13)) {
			/* Groups of 32 nodes, the lowest last. */
			const char *last = strrchr(line, ',');

			last = last ? last + 1 : line + 13;
			f->mems_allowed = strtoull(last, NULL, 16);
		}
	}
	fclose(file);
}

/* A 32-bit process shows in its map: nothing of it lies above 4 GiB. */
static void read_maps(struct facts *f)
{
	uint64_t end_before = 0x10000;
	char line[512], room[24];
	FILE *file;

	if (!f->pid)
		return;		/* ours: this program has the size it was built with */
	file = facts_open(f, "proc/%s/maps", who(f, room, sizeof(room)));
	if (!file) {
		facts_missing(f, "/proc/PID/maps");
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned long long start, end;

		if (sscanf(line, "%llx-%llx", &start, &end) != 2)
			continue;
		if (start > end_before && start - end_before > f->largest_gap)
			f->largest_gap = start - end_before;
		end_before = end;
	}
	fclose(file);
	f->process32 = end_before > 0x10000 && end_before <= GIB(4);
	if (!f->process32)
		f->largest_gap = 0;
}

static uint64_t memory_stat(struct facts *f, const char *group, const char *wanted)
{
	FILE *file = facts_open(f, "sys/fs/cgroup%s/memory.stat", group);
	unsigned long long value;
	uint64_t found = 0;
	char name[64];

	if (!file)
		return 0;
	while (fscanf(file, "%63s %llu", name, &value) == 2)
		if (!strcmp(name, wanted))
			found = value;
	fclose(file);
	return found;
}

static uint64_t group_kills(struct facts *f, const char *group)
{
	FILE *file = facts_open(f, "sys/fs/cgroup%s/memory.events", group);
	unsigned long long value;
	uint64_t kills = UNKNOWN;
	char name[64];

	if (!file)
		return UNKNOWN;
	while (fscanf(file, "%63s %llu", name, &value) == 2)
		if (!strcmp(name, "oom_kill"))
			kills = value;
	fclose(file);
	return kills;
}

/* Up the tree: any group above may be the one that binds. */
static void read_cgroup(struct facts *f)
{
	char line[300], room[24], group[256];
	FILE *file = facts_open(f, "proc/%s/cgroup", who(f, room, sizeof(room)));

	f->cgroup_max = f->cgroup_current = f->cgroup_available = UNKNOWN;
	f->cgroup_kills = UNKNOWN;
	if (!file)
		return;		/* a kernel without cgroups limits nothing */
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "0::", 3))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(f->cgroup, sizeof(f->cgroup), "%.255s", line + 3);
	}
	fclose(file);
	snprintf(group, sizeof(group), "%s", f->cgroup);
	while (group[0] == '/' && group[1]) {
		uint64_t max = facts_number(f, "sys/fs/cgroup%s/memory.max", group);
		uint64_t now = facts_number(f, "sys/fs/cgroup%s/memory.current", group);

		if (max < NO_LIMIT && now != UNKNOWN) {
			uint64_t cache = memory_stat(f, group, "inactive_file") +
					 memory_stat(f, group, "active_file");
			uint64_t left = bytes_left(max, bytes_left(now, cache));

			if (left < f->cgroup_available) {
				f->cgroup_available = left;
				f->cgroup_max = max;
				f->cgroup_current = now;
				f->cgroup_kills = group_kills(f, group);
				snprintf(f->cgroup_limit_at,
					 sizeof(f->cgroup_limit_at), "%s", group);
			}
		}
		*strrchr(group, '/') = 0;
	}
}

void facts_process(struct facts *f)
{
	read_limits(f);
	read_status(f);
	read_maps(f);
	read_cgroup(f);
}
