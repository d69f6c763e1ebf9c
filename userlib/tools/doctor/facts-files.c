/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One file below the root, however it can be read. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

#define PATH_ROOM 512

static bool path_of(const struct facts *f, char *path, const char *format,
		    va_list args)
{
	int root = snprintf(path, PATH_ROOM, "%s/", f->root);
	int rest;

	if (root < 0 || root >= PATH_ROOM)
		return false;
	rest = vsnprintf(path + root, (size_t)(PATH_ROOM - root), format, args);
	return rest > 0 && rest < PATH_ROOM - root;
}

FILE *facts_open(struct facts *f, const char *format, ...)
{
	char path[PATH_ROOM];
	va_list args;
	bool fits;

	va_start(args, format);
	fits = path_of(f, path, format, args);
	va_end(args);
	return fits ? fopen(path, "re") : NULL;
}

bool facts_line(struct facts *f, char *line, size_t len, const char *format, ...)
{
	char path[PATH_ROOM];
	va_list args;
	FILE *file;
	bool fits;

	va_start(args, format);
	fits = path_of(f, path, format, args);
	va_end(args);
	file = fits ? fopen(path, "re") : NULL;
	if (!file)
		return false;
	if (!fgets(line, (int)len, file))
		line[0] = 0;
	fclose(file);
	line[strcspn(line, "\n")] = 0;
	return true;
}

uint64_t facts_number(struct facts *f, const char *format, ...)
{
	char path[PATH_ROOM], line[64] = "";
	unsigned long long number;
	va_list args;
	FILE *file;
	bool fits;
	char *end;

	va_start(args, format);
	fits = path_of(f, path, format, args);
	va_end(args);
	file = fits ? fopen(path, "re") : NULL;
	if (!file)
		return UNKNOWN;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	if (!strncmp(line, "max", 3))
		return NO_LIMIT;
	if (!isdigit((unsigned char)line[0]))
		return UNKNOWN;
	number = strtoull(line, &end, 0);
	return *end && !isspace((unsigned char)*end) ? UNKNOWN : number;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(a, b);
}

unsigned int facts_list(struct facts *f, char names[][96], unsigned int most,
			const char *format, ...)
{
	char path[PATH_ROOM];
	unsigned int count = 0;
	struct dirent *entry;
	va_list args;
	bool fits;
	DIR *dir;

	va_start(args, format);
	fits = path_of(f, path, format, args);
	va_end(args);
	dir = fits ? opendir(path) : NULL;
	if (!dir)
		return 0;
	while (count < most && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) > 95)
			continue;
		memcpy(names[count++], entry->d_name, strlen(entry->d_name) + 1);
	}
	closedir(dir);
	qsort(names, count, 96, by_name);
	return count;
}

bool facts_exists(struct facts *f, const char *format, ...)
{
	char path[PATH_ROOM];
	va_list args;
	bool fits;

	va_start(args, format);
	fits = path_of(f, path, format, args);
	va_end(args);
	return fits && access(path, F_OK) == 0;
}

void facts_missing(struct facts *f, const char *what)
{
	const unsigned int most = sizeof(f->missing) / sizeof(f->missing[0]);

	for (unsigned int i = 0; i < f->nmissing; i++)
		if (!strcmp(f->missing[i], what))
			return;
	if (f->nmissing < most)
		snprintf(f->missing[f->nmissing++], sizeof(f->missing[0]), "%s", what);
}

const char *facts_cmdline(const struct facts *f, const char *name, char *room,
			  size_t len)
{
	size_t length = strlen(name);
	const char *found = NULL;
	const char *p = f->cmdline;

	while (*p) {
		size_t word = strcspn(p, " ");

		if (word >= length && !memcmp(p, name, length) &&
		    (word == length || p[length] == '=')) {
			size_t start = word == length ? length : length + 1;

			snprintf(room, len, "%.*s", (int)(word - start), p + start);
			found = room;
		}
		p += word;
		p += strspn(p, " ");
	}
	return found;
}

uint64_t facts_size(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 0);

	if (end == text)
		return 0;
	switch (tolower((unsigned char)*end)) {
	case 't':
		return number << 40;
	case 'g':
		return number << 30;
	case 'm':
		return number << 20;
	case 'k':
		return number << 10;
	default:
		return number;
	}
}

void facts_read(struct facts *f, const char *root, unsigned long pid,
		const char *bdf)
{
	memset(f, 0, sizeof(*f));
	f->root = root;
	f->pid = pid;
	if (!facts_line(f, f->release, sizeof(f->release), "proc/sys/kernel/osrelease"))
		facts_missing(f, "/proc/sys/kernel/osrelease");
	if (sscanf(f->release, "%u.%u", &f->major, &f->minor) != 2)
		f->major = f->minor = 0;
	if (!facts_line(f, f->cmdline, sizeof(f->cmdline), "proc/cmdline"))
		facts_missing(f, "/proc/cmdline");
	facts_memory(f);
	facts_zones(f);
	facts_process(f);
	facts_dma(f, bdf);
}
