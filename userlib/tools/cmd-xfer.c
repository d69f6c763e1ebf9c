/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock xfer: lock a buffer, move it to the card and back, prove every byte.
 *
 * The buffer is filled with data that depend on the seed and the position.
 * Window by window it goes to the card; the window is then overwritten with the
 * complement; and comes back. At the end all of it is looked at. The device's
 * CRCs of the windows, put together, are those of the whole, and anyone who
 * knows the seed can say what they must be (gigalock pattern).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "xfer.h"

static int move_all(struct mover *mover, struct xfer_args *args, struct result *r)
{
	uint32_t direction = args->report.want.direction;
	uint64_t end = args->report.want.bytes;

	for (uint64_t at = args->offset; at < end; at += r->window) {
		uint64_t length = end - at < r->window ? end - at : r->window;

		progress("moving", at - args->offset, end - args->offset);
		if ((direction & GIGALOCK_DIR_TO_CARD) &&
		    move_window(mover, args, GIGALOCK_DIR_TO_CARD, at, length, r))
			return EXIT_FAILED;
		if (direction & GIGALOCK_DIR_FROM_CARD) {
			if (make_data(args, "overwriting", at, at + length, true) ||
			    check_inverse(args, at, length, r) ||
			    move_window(mover, args, GIGALOCK_DIR_FROM_CARD, at,
					length, r) ||
			    check_window(args, at, length, r))
				return EXIT_FAILED;
		}
		r->windows++;
	}
	return EXIT_DONE;
}

/* As large as card memory allows; whole words, when the device looks at them. */
static uint64_t window_of(const struct xfer_args *args, uint64_t card_bytes)
{
	uint64_t span = args->report.want.bytes - args->offset;
	uint64_t window = args->window && args->window < span ? args->window : span;

	/* With an offset beyond the card the driver shall refuse, not we. */
	if (args->card_offset < card_bytes &&
	    window > card_bytes - args->card_offset)
		window = card_bytes - args->card_offset;
	if (args->check == CHECK_DEVICE && window > 8 && window < span)
		window -= window % 8;
	return window;
}

static int locked(struct tool *tool, struct glk_card *card, struct xfer_args *args,
		  struct result *r)
{
	struct lock_report *report = &args->report;
	struct mover *mover = mover_new(card, args);
	int code = EXIT_FAILED;
	double start;

	if (!mover)
		return report->failed ? say_xfer(tool, args, r, EXIT_FAILED)
				      : internal_error(tool, "xfer", ENOMEM);
	start = now_ms();
	if (!make_data(args, "filling", 0, report->want.bytes, false)) {
		r->fill_ms = now_ms() - start;
		code = move_all(mover, args, r);
	}
	if (code == EXIT_DONE && check_all(args, r))
		code = EXIT_FAILED;
	if (code == EXIT_DONE && r->verdict == DIFFERENT)
		code = EXIT_DIFFERENT;
	mover_free(mover);
	r->stats.size = sizeof(r->stats);
	r->have_stats = glk_lock_stats(report->lock, &r->stats) == 0;
	return say_xfer(tool, args, r, code);
}

static int work(struct tool *tool, struct glk_card *card, void *arg)
{
	struct gigalock_info info = { .size = sizeof(info) };
	struct result result = { .verdict = NOT_COMPARED };
	struct xfer_args *args = arg;
	int code, ret = glk_card_info(card, &info);

	if (ret)
		return internal_error(tool, "the card's info", -ret);
	result.window = window_of(args, info.card_bytes);
	if (lock_for_report(card, &args->report))
		return say_xfer(tool, args, &result, EXIT_FAILED);
	if (!glk_lock_data(args->report.lock) && args->check == CHECK_HOST) {
		unlock_report(&args->report);
		return usage_error(tool, "the buffer can't be mapped here: give --check device or none");
	}
	code = locked(tool, card, args, &result);
	unlock_report(&args->report);
	return code;
}

static int killed(struct tool *tool, const struct gigalock_failure *failure,
		  void *arg)
{
	const struct result result = { .verdict = NOT_COMPARED };
	struct xfer_args *args = arg;

	args->report.failed = true;
	args->report.failure = *failure;
	return say_xfer(tool, args, &result, EXIT_FAILED);
}

static int parse_check(struct tool *tool, struct xfer_args *args)
{
	const char *name = args->check_name;

	if (!name)
		args->check = args->no_verify ? CHECK_NONE : CHECK_HOST;
	else if (!strcmp(name, "host"))
		args->check = CHECK_HOST;
	else if (!strcmp(name, "device"))
		args->check = CHECK_DEVICE;
	else if (!strcmp(name, "none"))
		args->check = CHECK_NONE;
	else
		return usage_error(tool, "--check: there is no check \"%.60s\"; the checks are: host, device, none",
				   name);
	if (args->no_verify && args->check != CHECK_NONE)
		return usage_error(tool, "--no-verify is --check none, not --check %s",
				   name);
	if (args->check == CHECK_HOST && args->report.want.no_map)
		return usage_error(tool, "--no-map leaves nothing for --check host; give --check device or none");
	if (args->check != CHECK_DEVICE)
		return EXIT_DONE;
	if (args->report.want.direction != GIGALOCK_DIR_BOTH)
		return usage_error(tool, "--check device needs --direction both, not %s",
				   direction_name(args->report.want.direction));
	if (args->no_crc)
		return usage_error(tool, "--check device compares checksums: it can't be had with --no-crc");
	if (args->offset % 8)
		return usage_error(tool, "--offset: %" PRIu64 " is not a multiple of 8, as --check device needs it",
				   args->offset);
	if (args->window % 8)
		return usage_error(tool, "--window: %" PRIu64 " is not a multiple of 8, as --check device needs it",
				   args->window);
	return EXIT_DONE;
}

static int parse_queue(struct tool *tool, const struct xfer_args *args,
		       bool have_queue, bool have_piece)
{
	if (have_queue && (args->queue < 16 || args->queue > 65536 ||
			   args->queue & (args->queue - 1)))
		return usage_error(tool, "--queue: %" PRIu64 " is not a power of two from 16 to 65536",
				   args->queue);
	if ((have_piece || args->irq) && !have_queue)
		return usage_error(tool, "--piece and --irq are for --queue");
	return EXIT_DONE;
}

static int run(struct tool *tool, int argc, char **argv)
{
	static struct xfer_args args = {
		.report.want.strategy = GLK_STRATEGY_AUTO,
		.report.want.direction = GIGALOCK_DIR_BOTH,
		.piece = 1 << 20,
		.timeout = 60,
	};
	bool have_queue = false, have_piece = false;
	const struct option_spec specs[] = {
		{ "seed", 0, OPTION_NUMBER, &args.seed, &args.seeded },
		{ "offset", 0, OPTION_OFFSET, &args.offset, NULL },
		{ "card-offset", 0, OPTION_OFFSET, &args.card_offset, NULL },
		{ "window", 0, OPTION_SIZE, &args.window, NULL },
		{ "timeout", 0, OPTION_SECONDS, &args.timeout, NULL },
		{ "check", 0, OPTION_TEXT, &args.check_name, NULL },
		{ "no-verify", 0, OPTION_FLAG, &args.no_verify, NULL },
		{ "no-crc", 0, OPTION_FLAG, &args.no_crc, NULL },
		{ "queue", 0, OPTION_NUMBER, &args.queue, &have_queue },
		{ "piece", 0, OPTION_SIZE, &args.piece, &have_piece },
		{ "irq", 0, OPTION_FLAG, &args.irq, NULL },
	};
	const struct job job = { work, killed, &args };
	int code;

	tool->lock = &args.report.want;
	code = parse_options(tool, specs, sizeof(specs) / sizeof(specs[0]), argc,
			     argv);
	if (!code)
		code = parse_check(tool, &args);
	if (!code)
		code = parse_queue(tool, &args, have_queue, have_piece);
	if (code)
		return code;
	if (args.offset >= args.report.want.bytes)
		return usage_error(tool,
			"--offset: %" PRIu64 " is not within the buffer of %" PRIu64 " bytes",
			args.offset, args.report.want.bytes);
	if (!args.seeded &&
	    getrandom(&args.seed, sizeof(args.seed), 0) != sizeof(args.seed))
		return internal_error(tool, "getrandom", errno);
	return run_job(tool, &job);
}

const struct command command_xfer = {
	.name = "xfer",
	.summary = "move a buffer to the card and back, and prove every byte",
	.help =
	LOCK_HELP
	"      --seed N         of the pattern (random)\n"
	"      --offset N       move only from there to the end of the buffer (0)\n"
	"      --card-offset N  where in card memory (0)\n"
	"      --window S       at most that much at a time (card memory)\n"
	"      --timeout SEC    of each transfer; 0 is for ever (60)\n"
	"      --check C        who makes the data and looks at them: host (the default),\n"
	"                       device (for a slow CPU; by checksums), none\n"
	"      --no-verify      the same as --check none\n"
	"      --no-crc         don't compute the expected checksum here; with\n"
	"                       --check none, nor on the card; else the\n"
	"                       device's are reported anyway\n"
	"      --queue N        move through a queue of N places, 16 to 65536\n"
	"      --piece S        in pieces of so much (1M)\n"
	"      --irq            let the queue interrupt\n"
	"\n"
	"With --direction from-card the data are compared only with --seed, against\n"
	"what an earlier xfer with that seed left in card memory.\n",
	.run = run,
};
