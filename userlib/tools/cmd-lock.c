/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gigalock lock: lock a buffer, say how it went, give it back. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools-common.h"

struct lock_args {
	struct lock_report report;
	const char *hold;
};

static int say(const struct tool *tool, const struct lock_report *report,
	       int code)
{
	struct json json;

	if (tool->json) {
		if (!json_begin(&json, tool, report->locked))
			return EXIT_FAILED;
		json_lock_report(&json, report);
		return json_done(&json, tool, code);
	}
	for (unsigned int i = 0; i < report->tries.count; i++)
		if (!report->tries.tries[i].ok)
			print_failure(tool, &report->tries.tries[i].failure);
	if (report->failed && !report->tries.count)
		print_failure(tool, &report->failure);
	if (report->locked)
		print_lock(report);
	fflush(stdout);
	return code;
}

/* One word a page, written and read back: the memory is truly ours. */
static bool touch(const struct glk_lock *lock)
{
	volatile unsigned char *data = glk_lock_data(lock);
	uint64_t bytes = glk_lock_bytes(lock);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (uint64_t at = 0; at < bytes; at += page)
		data[at] = (unsigned char)(at / page + 1);
	for (uint64_t at = 0; at < bytes; at += page)
		if (data[at] != (unsigned char)(at / page + 1))
			return false;
	return true;
}

static void hold(const char *how)
{
	double seconds = strtod(how, NULL);
	struct timespec time = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};
	char byte;

	progress("holding", 0, 0);
	if (!strcmp(how, "-")) {
		while (read(STDIN_FILENO, &byte, 1) > 0 && byte != '\n')
			;
		return;
	}
	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static int work(struct tool *tool, struct glk_card *card, void *arg)
{
	struct lock_args *args = arg;
	struct lock_report *report = &args->report;
	int code;

	if (lock_for_report(card, report))
		return say(tool, report, EXIT_FAILED);
	progress("touching", 0, 0);
	if (!report->want.no_touch && !report->want.no_map &&
	    glk_lock_data(report->lock) && !touch(report->lock)) {
		fprintf(stderr, "gigalock: lock: a page does not keep what is written to it\n");
		report->locked = false;
		code = say(tool, report, EXIT_DIFFERENT);
	} else {
		code = say(tool, report, EXIT_DONE);
		if (args->hold)
			hold(args->hold);
	}
	unlock_report(report);
	return code;
}

static int killed(struct tool *tool, const struct gigalock_failure *failure,
		  void *arg)
{
	struct lock_args *args = arg;

	args->report.failed = true;
	args->report.failure = *failure;
	return say(tool, &args->report, EXIT_FAILED);
}

static int run(struct tool *tool, int argc, char **argv)
{
	static struct lock_args args = {
		.report.want.strategy = GLK_STRATEGY_AUTO,
		.report.want.direction = GIGALOCK_DIR_BOTH,
	};
	double seconds;
	const struct option_spec specs[] = {
		{ "hold", 0, OPTION_TEXT, &args.hold, NULL },
		{ "no-touch", 0, OPTION_FLAG, &args.report.want.no_touch, NULL },
		{ "timeout", 0, OPTION_SECONDS, &args.report.want.timeout, NULL },
	};
	const struct job job = { work, killed, &args };
	int code;

	tool->lock = &args.report.want;
	code = parse_options(tool, specs, sizeof(specs) / sizeof(specs[0]), argc,
			     argv);
	if (code)
		return code;
	if (args.hold && strcmp(args.hold, "-")) {
		char *text = strdup(args.hold);
		char *argv2[] = { argv[0], (char[]){ "--hold" }, text };
		const struct option_spec check = {
			"hold", 0, OPTION_SECONDS, &seconds, NULL
		};

		tool->lock = NULL;
		code = parse_options(tool, &check, 1, 3, argv2);
		free(text);
		if (code)
			return code;
	}
	return run_job(tool, &job);
}

const struct command command_lock = {
	.name = "lock",
	.summary = "lock a buffer and say how it went, or why not",
	.help =
	LOCK_HELP
	"      --timeout SEC    the same as --lock-timeout\n"
	"      --hold SEC       keep it that long; - until a line or the end of stdin\n"
	"      --no-touch       neither map the memory nor write to it\n",
	.run = run,
};
