/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of all commands: one parser, so that bad input is refused in the
 * same words everywhere.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools-common.h"

static int parse_number(const char *text, uint64_t *value)
{
	unsigned long long number;
	char *end;

	/* strtoull() takes signs and spaces; we don't. */
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, text[0] == '0' && (text[1] | 32) == 'x' ?
			  16 : 10);
	if (*end)
		return -EINVAL;
	if (errno == ERANGE)
		return -ERANGE;
	*value = number;
	return 0;
}

static int parse_seconds(const char *text, double *value)
{
	char *end;
	double number;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	if (strspn(text, "0123456789.") != strlen(text))
		return -EINVAL;
	number = strtod(text, &end);
	if (*end)
		return -EINVAL;
	if (number > 2000000)	/* its milliseconds must fit an int */
		return -ERANGE;
	*value = number;
	return 0;
}

int milliseconds(double seconds)
{
	int ms = (int)(seconds * 1000);

	return seconds > 0 && ms == 0 ? 1 : ms;
}

static int parse_direction(const char *text, uint32_t *value)
{
	for (uint32_t d = GIGALOCK_DIR_TO_CARD; d <= GIGALOCK_DIR_BOTH; d++)
		if (!strcmp(text, direction_name(d))) {
			*value = d;
			return 0;
		}
	return -EINVAL;
}

/* A zero is fine here, and only here. */
static int parse_offset(const char *text, uint64_t *value, char *why, size_t len)
{
	if (!strcmp(text, "0")) {
		*value = 0;
		return 0;
	}
	return glk_size_parse(text, value, why, len);
}

static int set(struct tool *tool, const struct option_spec *spec,
	       const char *text)
{
	char why[256];

	switch (spec->kind) {
	case OPTION_FLAG:
		*(bool *)spec->value = true;
		break;
	case OPTION_TEXT:
		*(const char **)spec->value = text;
		break;
	case OPTION_SIZE:
		if (glk_size_parse(text, spec->value, why, sizeof(why)))
			return usage_error(tool, "--%s: %s", spec->name, why);
		break;
	case OPTION_OFFSET:
		if (parse_offset(text, spec->value, why, sizeof(why)))
			return usage_error(tool, "--%s: %s", spec->name, why);
		break;
	case OPTION_NUMBER:
		if (parse_number(text, spec->value))
			return usage_error(tool,
				"--%s: \"%.60s\" is not a number from 0 to 18446744073709551615",
				spec->name, text);
		break;
	case OPTION_SECONDS:
		if (parse_seconds(text, spec->value))
			return usage_error(tool,
				"--%s: \"%.60s\" is not a number of seconds from 0 to 2000000",
				spec->name, text);
		break;
	case OPTION_STRATEGY:
		if (glk_strategy_by_name(text, spec->value))
			return usage_error(tool,
				"--%s: there is no strategy \"%.60s\"; the strategies are: %s",
				spec->name, text, glk_strategy_list());
		break;
	case OPTION_DIRECTION:
		if (parse_direction(text, spec->value))
			return usage_error(tool,
				"--%s: there is no direction \"%.60s\"; the directions are: to-card, from-card, both",
				spec->name, text);
		break;
	}
	if (spec->given)
		*spec->given = true;
	return EXIT_DONE;
}

static const struct option_spec *find(const struct option_spec *specs,
				      size_t count, const char *name,
				      size_t len, char letter)
{
	for (size_t i = 0; i < count; i++) {
		if (letter && specs[i].letter == letter)
			return &specs[i];
		if (!letter && strlen(specs[i].name) == len &&
		    !memcmp(specs[i].name, name, len))
			return &specs[i];
	}
	return NULL;
}

/* The options of a command that locks. */
static const struct option_spec *find_of_lock(struct lock_choice *lock,
					      const char *name, size_t len,
					      char letter)
{
	static struct option_spec specs[16];
	const struct option_spec all[] = {
		{ "size", 's', OPTION_SIZE, &lock->bytes, &lock->have_size },
		{ "strategy", 'S', OPTION_STRATEGY, &lock->strategy, NULL },
		{ "direction", 0, OPTION_DIRECTION, &lock->direction, NULL },
		{ "address-width", 0, OPTION_NUMBER, &lock->address_width,
		  &lock->have_width },
		{ "node", 0, OPTION_NUMBER, &lock->node, &lock->have_node },
		{ "max-segment", 0, OPTION_SIZE, &lock->max_segment, NULL },
		{ "lock-timeout", 0, OPTION_SECONDS, &lock->timeout, NULL },
		{ "entry-per-page", 0, OPTION_FLAG, &lock->entry_per_page, NULL },
		{ "small-table", 0, OPTION_FLAG, &lock->small_table, NULL },
		{ "no-map", 0, OPTION_FLAG, &lock->no_map, NULL },
		{ "region", 0, OPTION_NUMBER, &lock->region, &lock->have_region },
		{ "page-size", 0, OPTION_SIZE, &lock->page_size, NULL },
		{ "dmabuf", 0, OPTION_TEXT, &lock->dmabuf, NULL },
	};

	memcpy(specs, all, sizeof(all));
	return find(specs, sizeof(all) / sizeof(all[0]), name, len, letter);
}

/* An option that is for one strategy: given to another? */
static bool misplaced(const struct lock_choice *lock, uint32_t strategy)
{
	return lock->strategy != strategy && lock->strategy != GLK_STRATEGY_AUTO;
}

static int check_lock(struct tool *tool, const struct lock_choice *lock)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!lock->have_size)
		return usage_error(tool, "--size is needed, such as --size 1G");
	if (lock->have_width &&
	    (lock->address_width < 24 || lock->address_width > 64))
		return usage_error(tool,
			"--address-width: %" PRIu64 " is not a number of bits from 24 to 64",
			lock->address_width);
	if (lock->node > UINT32_MAX)
		return usage_error(tool,
			"--node: %" PRIu64 " is not a number from 0 to 4294967295",
			lock->node);
	if (lock->region > UINT32_MAX)
		return usage_error(tool,
			"--region: %" PRIu64 " is not a number from 0 to 4294967295",
			lock->region);
	if (lock->max_segment % page)
		return usage_error(tool,
			"--max-segment: %" PRIu64 " is not a multiple of the page size, %" PRIu64,
			lock->max_segment, page);
	if (lock->page_size & (lock->page_size - 1) ||
	    (lock->page_size && lock->page_size < page))
		return usage_error(tool,
			"--page-size: %" PRIu64 " is not a power of two from %" PRIu64 " up",
			lock->page_size, page);
	if (lock->page_size && misplaced(lock, GIGALOCK_STRATEGY_HUGETLB))
		return usage_error(tool, "--page-size is for --strategy hugetlb, not %s",
				   glk_strategy_name(lock->strategy));
	if (lock->have_region && misplaced(lock, GIGALOCK_STRATEGY_RESERVED))
		return usage_error(tool, "--region is for --strategy reserved, not %s",
				   glk_strategy_name(lock->strategy));
	if (lock->dmabuf && !dmabuf_is_source(lock->dmabuf))
		return usage_error(tool,
			"--dmabuf: \"%.60s\" is none of system, heap:NAME, udmabuf, fd:N, export, export:STRATEGY",
			lock->dmabuf);
	if (!lock->dmabuf != (lock->strategy != GIGALOCK_STRATEGY_DMABUF))
		return usage_error(tool,
			"--strategy dmabuf and --dmabuf go together, such as --dmabuf system");
	return EXIT_DONE;
}

int parse_options(struct tool *tool, const struct option_spec *specs,
		  size_t count, int argc, char **argv)
{
	const struct option_spec common[] = {
		{ "device", 'd', OPTION_TEXT, &tool->device, NULL },
		{ "json", 0, OPTION_FLAG, &tool->json, NULL },
		{ "quiet", 'q', OPTION_FLAG, &tool->quiet, NULL },
		{ "one-process", 0, OPTION_FLAG, &tool->one_process, NULL },
	};
	const size_t commons = sizeof(common) / sizeof(common[0]);

	/* Known first, so that every error comes in the form asked for. */
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--json"))
			tool->json = true;
	for (int i = 1; i < argc; i++) {
		const struct option_spec *spec;
		const char *name = argv[i];
		const char *value = NULL;
		size_t len = 0;
		char letter = 0;
		int code;

		if (name[0] == '-' && name[1] == '-' && name[2]) {
			name += 2;
			value = strchr(name, '=');
			len = value ? (size_t)(value - name) : strlen(name);
			if (value)
				value++;
		} else if (name[0] == '-' && name[1]) {
			letter = name[1];
			if (name[2])
				value = name + 2;
		} else {
			return usage_error(tool, "\"%.60s\" is not an option; see gigalock %s --help",
					   name, tool->command);
		}
		spec = find(specs, count, name, len, letter);
		if (!spec && tool->lock)
			spec = find_of_lock(tool->lock, name, len, letter);
		if (!spec)
			spec = find(common, commons, name, len, letter);
		if (!spec)
			return usage_error(tool, "there is no option \"%.60s\"; see gigalock %s --help",
					   argv[i], tool->command);
		if (spec->kind == OPTION_FLAG) {
			if (value)
				return usage_error(tool, "--%s takes no value, but was given \"%.60s\"",
						   spec->name, value);
		} else if (!value) {
			if (i + 1 >= argc)
				return usage_error(tool, "--%s needs a value", spec->name);
			value = argv[++i];
		}
		code = set(tool, spec, value);
		if (code)
			return code;
	}
	return tool->lock ? check_lock(tool, tool->lock) : EXIT_DONE;
}
