/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock pattern: the CRC-32C of the test pattern, without a card. So that
 * another machine can say what the card should have seen.
 */
#include <inttypes.h>
#include <time.h>

#include "tools-common.h"

#define STEP ((uint64_t)64 << 20)

static int run(struct tool *tool, int argc, char **argv)
{
	uint64_t size = 0, seed = 0, offset = 0;
	bool have_size = false, have_seed = false;
	time_t start = time(NULL), told = start;
	struct json json;
	uint32_t crc = 0;
	const struct option_spec specs[] = {
		{ "size", 's', OPTION_SIZE, &size, &have_size },
		{ "seed", 0, OPTION_NUMBER, &seed, &have_seed },
		{ "offset", 0, OPTION_OFFSET, &offset, NULL },
	};
	int code = parse_options(tool, specs, 3, argc, argv);

	if (code)
		return code;
	if (!have_size || !have_seed)
		return usage_error(tool, "--size and --seed are needed");
	for (uint64_t done = 0; done < size; done += STEP) {
		uint64_t n = size - done < STEP ? size - done : STEP;

		crc = glk_pattern_crc32c(crc, seed, offset + done, n);
		if (!tool->quiet && time(NULL) > told) {
			told = time(NULL);
			fprintf(stderr, "gigalock: pattern: %s of %s, %ld s\n",
				SIZE(done + n), SIZE(size), (long)(told - start));
		}
	}
	if (!tool->json) {
		printf("0x%08" PRIx32 "\n", crc);
		return EXIT_DONE;
	}
	if (!json_begin(&json, tool, true))
		return EXIT_FAILED;
	json_u64(&json, "bytes", size);
	json_u64(&json, "seed", seed);
	json_u64(&json, "offset", offset);
	json_hex32(&json, "crc32c", crc);
	return json_done(&json, tool, EXIT_DONE);
}

const struct command command_pattern = {
	.name = "pattern",
	.summary = "the CRC-32C of the test pattern; needs no card",
	.help =
	"  -s, --size S       bytes of it\n"
	"      --seed N       which pattern\n"
	"      --offset N     where in the pattern to start (0)\n",
	.run = run,
};
