/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gigalock limit: the largest size that can be locked right now. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools-common.h"

struct told {
	const struct tool *tool;
	struct tries tries;
};

static void tell(const struct glk_try *attempt, void *arg)
{
	struct told *told = arg;

	collect_try(attempt, &told->tries);
	if (told->tool->quiet)
		return;
	fprintf(stderr, "gigalock: limit: %s %s", SIZE(attempt->bytes),
		attempt->ok ? "locked" : "failed: ");
	if (!attempt->ok)
		fputs(glk_reason_name(attempt->failure.reason), stderr);
	fprintf(stderr, ", %.1f ms\n", (double)attempt->elapsed_ns / 1e6);
}

static bool parse_resolution(const char *text, uint32_t *per_mille)
{
	char *end;
	double percent = strtod(text, &end);

	if (end == text || text[0] == '-' || (*end && strcmp(end, "%")) ||
	    !(percent >= 0.1 && percent <= 50))
		return false;
	*per_mille = (uint32_t)(percent * 10 + 0.5);
	return true;
}

static int say(const struct tool *tool, const struct glk_limit_options *options,
	       const struct glk_limit_result *result, const struct tries *tries)
{
	int code = result->largest ? EXIT_DONE : EXIT_FAILED;
	struct json json;

	if (tool->json) {
		if (!json_begin(&json, tool, code == EXIT_DONE))
			return EXIT_FAILED;
		json_u64(&json, "requested_bytes", options->bytes);
		json_u64(&json, "largest_bytes", result->largest);
		json_string(&json, "strategy", glk_strategy_name(options->strategy));
		json_failure(&json, "failure",
			     result->wanted_locked ? NULL : &result->failure);
		json_tries(&json, tries);
		return json_done(&json, tool, code);
	}
	if (!result->wanted_locked)
		print_failure(tool, &result->failure);
	if (result->largest)
		printf("largest %s (%llu bytes) by %s, in %u tr%s\n",
		       SIZE(result->largest), (unsigned long long)result->largest,
		       glk_strategy_name(options->strategy), result->tries,
		       result->tries == 1 ? "y" : "ies");
	else
		printf("nothing can be locked by %s\n",
		       glk_strategy_name(options->strategy));
	return code;
}

static int run(struct tool *tool, int argc, char **argv)
{
	static struct told told;
	struct glk_limit_options options = {
		.size = sizeof(options),
		.tried = tell,
		.tried_arg = &told,
	};
	struct glk_limit_result result = { .size = sizeof(result) };
	struct gigalock_failure failure;
	const char *resolution = "1%";
	double timeout = 120;
	struct lock_choice want = {
		.strategy = GLK_STRATEGY_AUTO,
		.direction = GIGALOCK_DIR_BOTH,
	};
	struct glk_lock_options lock;
	const struct option_spec specs[] = {
		{ "resolution", 0, OPTION_TEXT, &resolution, NULL },
		{ "timeout", 0, OPTION_SECONDS, &timeout, NULL },
	};
	int code, ret;

	tool->lock = &want;
	code = parse_options(tool, specs, sizeof(specs) / sizeof(specs[0]), argc,
			     argv);
	if (code)
		return code;
	if (want.strategy == GIGALOCK_STRATEGY_DMABUF)
		return usage_error(tool, "a dma-buf has the size that it has: nothing to search with --strategy dmabuf");
	lock_options_of(&want, &lock);
	options.bytes = want.bytes;
	options.strategy = want.strategy;
	options.direction = want.direction;
	options.lock_flags = lock.flags;
	options.lock = &lock;
	if (!parse_resolution(resolution, &options.per_mille))
		return usage_error(tool, "--resolution: \"%.60s\" is not a share from 0.1%% to 50%%",
				   resolution);
	options.timeout_ms = (uint32_t)milliseconds(timeout);
	told.tool = tool;
	ret = glk_limit_search(tool->device, &options, &result, &failure);
	if (!ret)
		return say(tool, &options, &result, &told.tries);
	if (failure.stage == GIGALOCK_STAGE_OPEN)
		return no_card(tool, &failure);
	return internal_error(tool, "the search could not go on", -ret);
}

const struct command command_limit = {
	.name = "limit",
	.summary = "the largest size that can be locked right now",
	.help =
	LOCK_HELP
	"      --resolution P   how near to come, 0.1% to 50% (1%)\n"
	"      --timeout SEC    of each try; 0 is for ever (120)\n"
	"\n"
	"The size is tried first and never exceeded. Each try is a child process that\n"
	"the OOM killer prefers. One that takes longer than its time is ended and counts\n"
	"as failed, by timeout.\n",
	.run = run,
};
