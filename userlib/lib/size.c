/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes as people write and read them.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

uint64_t glk_size_limit(void)
{
#if defined(__x86_64__)
	return (uint64_t)1 << 47;
#elif defined(__aarch64__)
	return (uint64_t)1 << 48;
#elif UINTPTR_MAX > UINT32_MAX
	return (uint64_t)1 << 47;
#else
	return (uint64_t)1 << 32;
#endif
}

static const char units[] = "KMGT";

int glk_size_format(uint64_t bytes, char *buf, size_t len)
{
	int power = 0;
	double value = (double)bytes;

	while (power < 4 && bytes >> (10 * (power + 1)))
		power++;
	if (power == 0)
		return snprintf(buf, len, "%llu byte%s",
				(unsigned long long)bytes, bytes == 1 ? "" : "s");
	/* Exact in a smaller unit is better than rounded: 1536 MiB, not 1.5 GiB */
	for (int exact = power; exact > 0 && bytes >> (10 * exact) < 10240; exact--)
		if (bytes % ((uint64_t)1 << (10 * exact)) == 0)
			return snprintf(buf, len, "%llu %ciB",
					(unsigned long long)(bytes >> (10 * exact)),
					units[exact - 1]);
	/* Rounded, but never to less than two digits before the point. */
	for (int i = 0; i < power; i++)
		value /= 1024;
	if (value < 10 && power > 1) {
		value *= 1024;
		power--;
	}
	return snprintf(buf, len, "%.1f %ciB", value, units[power - 1]);
}

static int refuse(int err, char *error, size_t len, const char *text,
		  const char *why)
{
	char limit[32];

	glk_size_format(glk_size_limit(), limit, sizeof(limit));
	if (error)
		snprintf(error, len,
			 "size \"%.60s\" %s: must be 1 byte to %s, such as 4096, 64K, 1536M or 1G",
			 text, why, limit);
	return err;
}

int glk_size_parse(const char *text, uint64_t *bytes, char *error,
		   size_t error_len)
{
	const char *p = text;
	uint64_t value = 0;
	bool overflow = false;
	int shift = 0;

	if (*p == '-' && p[1] >= '0' && p[1] <= '9')
		return refuse(-EINVAL, error, error_len, text, "is negative");
	if (*p < '0' || *p > '9')
		return refuse(-EINVAL, error, error_len, text, "is not a number");
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			overflow = true;
	if (*p) {
		const char upper = (char)(*p >= 'a' ? *p - 'a' + 'A' : *p);
		const char *unit = strchr(units, upper);

		if (!unit || (p[1] && strcasecmp(p + 1, "ib") != 0))
			return refuse(-EINVAL, error, error_len, text,
				      "has an unknown unit");
		shift = 10 * (int)(unit - units + 1);
	}
	if (overflow || value > glk_size_limit() >> shift)
		return refuse(-ERANGE, error, error_len, text,
			      "is larger than the address space");
	if (value == 0)
		return refuse(-EINVAL, error, error_len, text, "is zero");
	*bytes = value << shift;
	return 0;
}
