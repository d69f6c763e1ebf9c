/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading /proc/meminfo: for the library, and for the tool's doctor, which reads
 * other lines of it and another machine's. Private to both, so no symbol of the
 * library.
 */
#ifndef GLK_MEMINFO_H
#define GLK_MEMINFO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct glk_meminfo {
	const char *name;	/* of a line, without the colon */
	uint64_t *value;	/* in bytes; left as it is where there is no such line */
};

static inline void glk_meminfo_read(FILE *file, const struct glk_meminfo *wanted,
				    size_t count)
{
	unsigned long long kib;
	char line[160], name[64];

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63[^:]: %llu kB", name, &kib) != 2)
			continue;
		for (size_t i = 0; i < count; i++)
			if (!strcmp(name, wanted[i].name))
				*wanted[i].value = (uint64_t)kib << 10;
	}
}

#endif
