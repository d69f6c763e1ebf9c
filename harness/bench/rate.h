/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the programs of the bench share: numbers of the command line, the clock,
 * and the one line they print.
 */
#ifndef RATE_H
#define RATE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double rate_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static inline void rate_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline unsigned long rate_number(const char *text, const char *what,
					unsigned long least, unsigned long most)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 0);
	if (errno || *end || end == text || *text == '-' || v < least || v > most) {
		fprintf(stderr, "%s '%s' is out of range: %lu to %lu\n", what,
			text, least, most);
		exit(2);
	}
	return v;
}

/* @in_calls: of the seconds, those in the system calls that give new work. */
static inline void rate_print(uint64_t transfers, uint64_t bytes, uint64_t calls,
			      double seconds, double in_calls)
{
	printf("{\"transfers\":%llu,\"bytes\":%llu,\"calls\":%llu,"
	       "\"seconds\":%.6f,\"in_calls\":%.6f}\n",
	       (unsigned long long)transfers, (unsigned long long)bytes,
	       (unsigned long long)calls, seconds, in_calls);
}

#endif
