/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gigalock io-uring: does io_uring register a buffer that long in one piece? */
#include <errno.h>

#include "tools-common.h"

static int run(struct tool *tool, int argc, char **argv)
{
	struct gigalock_failure failure;
	bool have_size = false, taken;
	struct json json;
	uint64_t bytes = 0;
	const struct option_spec specs[] = {
		{ "size", 's', OPTION_SIZE, &bytes, &have_size },
	};
	int code = parse_options(tool, specs, 1, argc, argv);

	if (code)
		return code;
	if (!have_size)
		return usage_error(tool, "--size is needed, such as --size 1G");
	taken = glk_io_uring_probe(bytes, &failure) == 0;
	code = taken ? EXIT_DONE : EXIT_FAILED;
	if (tool->json) {
		if (!json_begin(&json, tool, taken))
			return EXIT_FAILED;
		json_u64(&json, "requested_bytes", bytes);
		json_failure(&json, "failure", taken ? NULL : &failure);
		return json_done(&json, tool, code);
	}
	if (taken)
		printf("io_uring registers %s in one piece\n", SIZE(bytes));
	else
		print_failure(tool, &failure);
	return code;
}

const struct command command_io_uring = {
	.name = "io-uring",
	.summary = "does io_uring register a buffer that long in one piece?",
	.help =
	"  -s, --size S       its length\n"
	"\n"
	"Needs no card: a little memory is mapped over and over.\n",
	.run = run,
};
