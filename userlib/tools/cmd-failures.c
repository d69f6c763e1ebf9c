/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gigalock failures: the card's failure log. */
#include <inttypes.h>
#include <string.h>

#include "tools-common.h"

static int run(struct tool *tool, int argc, char **argv)
{
	struct gigalock_failure records[GIGALOCK_FAILURE_LOG];
	struct gigalock_failure failure;
	struct glk_card *card;
	struct json json;
	uint64_t since = 0;
	const struct option_spec specs[] = {
		{ "since", 0, OPTION_NUMBER, &since, NULL },
	};
	int code = parse_options(tool, specs, 1, argc, argv);
	int count;

	if (code)
		return code;
	if (glk_card_open(tool->device, &card, &failure))
		return no_card(tool, &failure);
	count = glk_card_failures(card, since, records, GIGALOCK_FAILURE_LOG);
	glk_card_close(card);
	if (count < 0)
		return internal_error(tool, "the card's failure log", -count);
	if (tool->json) {
		if (!json_begin(&json, tool, true))
			return EXIT_FAILED;
		json_array(&json, "failures");
		for (int i = 0; i < count; i++)
			json_failure(&json, NULL, &records[i]);
		json_end_array(&json);
		return json_done(&json, tool, EXIT_DONE);
	}
	for (int i = 0; i < count; i++) {
		const struct gigalock_failure *f = &records[i];
		char text[GLK_TEXT_MAX];
		char comm[sizeof(f->comm) + 1] = "";

		memcpy(comm, f->comm, sizeof(f->comm));
		glk_failure_message(f, text, sizeof(text));
		printf("%" PRIu64 "  %.3f s  %s[%u]  %s of %s, stage %s: %s\n",
		       (uint64_t)f->seq, (double)f->time_ns / 1e9, comm, f->pid,
		       glk_strategy_name(f->strategy), SIZE(f->lock_size),
		       glk_stage_name(f->stage), text);
	}
	if (!count && !tool->quiet)
		fprintf(stderr, "gigalock: failures: none\n");
	return EXIT_DONE;
}

const struct command command_failures = {
	.name = "failures",
	.summary = "the card's failure log, of all processes",
	.help = "      --since N      only those after number N\n",
	.run = run,
};
