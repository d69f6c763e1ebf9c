/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few lines of TAP that a guest without any library needs: ok() counts and
 * prints, tap_done() closes and gives the exit code.
 */
#ifndef GIGALOCK_TAP_H
#define GIGALOCK_TAP_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

__attribute__((format(printf, 2, 3)))
static inline bool ok(bool good, const char *fmt, ...)
{
	va_list args;

	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	tap_failed += !good;
	return good;
}

/* Compare two numbers; a difference is printed with both. */
static inline bool is(long long got, long long want, const char *what)
{
	bool good = ok(got == want, "%s", what);

	if (!good)
		printf("#   got %lld, expected %lld\n", got, want);
	return good;
}

/* A call that must fail with this errno. */
static inline bool fails(int ret, int want, const char *what)
{
	int err = ret < 0 ? errno : 0;
	bool good = ok(err == want, "%s: %s", what, want ? strerror(want) : "accepted");

	if (!good)
		printf("#   got %s\n", err ? strerror(err) : "success");
	return good;
}

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed ? 1 : 0;
}

__attribute__((noreturn, format(printf, 1, 2)))
static inline void bail(const char *fmt, ...)
{
	/* The first line printed needs memory, and getting that may set errno. */
	int err = errno;
	va_list args;

	printf("Bail out! ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf(" (%s)\n", strerror(err));
	exit(2);
}

#endif /* GIGALOCK_TAP_H */
