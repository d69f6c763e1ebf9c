/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock xfer: lock a buffer, move it to the card and back, prove every byte.
 *
 * The buffer is filled with the seeded pattern. Window by window it goes to the
 * card; the window is then overwritten with the pattern's complement; and comes
 * back. At the end every byte is looked at. The device's CRCs of the windows,
 * put together, are those of the whole, and anyone who knows the seed can say
 * what they must be (gigalock pattern).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "tools-common.h"

struct xfer_args {
	struct lock_report report;
	uint32_t direction;
	uint64_t seed;
	uint64_t offset;
	uint64_t card_offset;
	uint64_t window;	/* as asked for; 0: as large as possible */
	double timeout;
	bool seeded;
	bool no_verify;
	bool no_crc;
};

enum verdict { NOT_COMPARED, SAME, DIFFERENT };

struct result {
	enum verdict verdict;
	uint64_t windows;
	uint64_t window;
	bool have_expected, have_to, have_from;
	uint32_t crc_expected, crc_to, crc_from;
	uint64_t bytes_to, bytes_from;
	uint64_t ns_to, ns_from;
	double fill_ms, verify_ms;
	bool have_difference;
	struct glk_difference difference;
};

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double gib_per_s(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (1 << 30) / ((double)ns / 1e9) : 0;
}

/* ---- saying -------------------------------------------------------------- */

static void json_crc(struct json *json, const char *key, bool have, uint32_t crc)
{
	if (have)
		json_hex32(json, key, crc);
	else
		json_null(json, key);
}

static int say_json(const struct tool *tool, const struct xfer_args *args,
		    const struct result *r, int code)
{
	struct json json;

	if (!json_begin(&json, tool, code == EXIT_DONE))
		return EXIT_FAILED;
	json_lock_report(&json, &args->report);
	json_string(&json, "direction", direction_name(args->direction));
	json_u64(&json, "seed", args->seed);
	json_u64(&json, "offset", args->offset);
	json_u64(&json, "card_offset", args->card_offset);
	if (r->verdict == NOT_COMPARED)
		json_null(&json, "verified");
	else
		json_bool(&json, "verified", r->verdict == SAME);
	json_u64(&json, "windows", r->windows);
	json_u64(&json, "window_bytes", r->window);
	json_crc(&json, "crc_expected", r->have_expected, r->crc_expected);
	json_crc(&json, "crc_to_card", r->have_to, r->crc_to);
	json_crc(&json, "crc_from_card", r->have_from, r->crc_from);
	json_u64(&json, "bytes_to_card", r->bytes_to);
	json_u64(&json, "bytes_from_card", r->bytes_from);
	json_double(&json, "to_card_gib_per_s", gib_per_s(r->bytes_to, r->ns_to), 4);
	json_double(&json, "from_card_gib_per_s",
		    gib_per_s(r->bytes_from, r->ns_from), 4);
	json_double(&json, "gib_per_s",
		    gib_per_s(r->bytes_to + r->bytes_from, r->ns_to + r->ns_from), 4);
	json_double(&json, "fill_ms", r->fill_ms, 1);
	json_double(&json, "verify_ms", r->verify_ms, 1);
	if (r->have_difference) {
		char byte[8];

		json_object(&json, "first_difference");
		json_u64(&json, "offset", r->difference.offset);
		snprintf(byte, sizeof(byte), "0x%02x", r->difference.expected);
		json_string(&json, "expected", byte);
		snprintf(byte, sizeof(byte), "0x%02x", r->difference.found);
		json_string(&json, "found", byte);
		json_end_object(&json);
	} else {
		json_null(&json, "first_difference");
	}
	return json_done(&json, tool, code);
}

static int say(const struct tool *tool, const struct xfer_args *args,
	       const struct result *r, int code)
{
	const struct lock_report *report = &args->report;

	if (tool->json)
		return say_json(tool, args, r, code);
	for (unsigned int i = 0; i < report->tries.count; i++)
		if (!report->tries.tries[i].ok)
			print_failure(tool, &report->tries.tries[i].failure);
	if (report->failed && (report->lock || !report->tries.count))
		print_failure(tool, &report->failure);
	if (r->have_difference)
		fprintf(stderr,
			"gigalock: xfer: byte %" PRIu64 " is 0x%02x, not 0x%02x\n",
			r->difference.offset, r->difference.found,
			r->difference.expected);
	else if (r->verdict == DIFFERENT)
		fprintf(stderr,
			"gigalock: xfer: checksums differ: expected 0x%08x, to card 0x%08x, from card 0x%08x\n",
			r->crc_expected, r->crc_to, r->crc_from);
	if (!report->lock || report->failed)
		return code;
	printf("%s by %s, locked in %.1f ms, %u piece%s\n",
	       SIZE(glk_lock_bytes(report->lock)),
	       glk_strategy_name(glk_lock_strategy(report->lock)),
	       (double)glk_lock_ns(report->lock) / 1e6,
	       glk_lock_segments(report->lock),
	       glk_lock_segments(report->lock) == 1 ? "" : "s");
	printf("to card   %s  %.2f GiB/s", SIZE(r->bytes_to),
	       gib_per_s(r->bytes_to, r->ns_to));
	if (r->have_to)
		printf("  crc 0x%08" PRIx32, r->crc_to);
	printf("\nfrom card %s  %.2f GiB/s", SIZE(r->bytes_from),
	       gib_per_s(r->bytes_from, r->ns_from));
	if (r->have_from)
		printf("  crc 0x%08" PRIx32, r->crc_from);
	printf("\nseed %" PRIu64 ", %" PRIu64 " window%s of %s: %s\n", args->seed,
	       r->windows, r->windows == 1 ? "" : "s", SIZE(r->window),
	       r->verdict == SAME ? "every byte verified" :
	       r->verdict == DIFFERENT ? "DATA DIFFER" : "not verified");
	return code;
}

/* ---- moving -------------------------------------------------------------- */

/* In pieces, so that progress can be told. */
#define PIECE ((uint64_t)16 << 20)

static void fill(const char *what, unsigned char *data, uint64_t from,
		 uint64_t to, uint64_t seed)
{
	for (uint64_t at = from; at < to; at += PIECE) {
		progress(what, at - from, to - from);
		glk_pattern_fill(data + at, to - at < PIECE ? to - at : PIECE,
				 seed, at);
	}
}

static bool verify(const unsigned char *data, uint64_t from, uint64_t to,
		   uint64_t seed, struct glk_difference *first)
{
	for (uint64_t at = from; at < to; at += PIECE) {
		progress("verifying", at - from, to - from);
		if (!glk_pattern_verify(data + at,
					to - at < PIECE ? to - at : PIECE,
					seed, at, first)) {
			first->offset += at;
			return false;
		}
	}
	return true;
}

static int move(struct xfer_args *args, uint32_t direction, uint64_t at,
		uint64_t length, struct result *r)
{
	const struct glk_xfer_options options = {
		.size = sizeof(options),
		.direction = direction,
		/* Whoever wants neither, wants to measure the bare copy. */
		.flags = args->no_verify && args->no_crc ? 0 : GIGALOCK_XFER_CRC,
		.offset = at,
		.length = length,
		.card_offset = args->card_offset,
	};
	struct glk_xfer_result done = { .size = sizeof(done) };
	int timeout = args->timeout > 0 ? milliseconds(args->timeout) : -1;
	int ret = glk_transfer(args->report.lock, &options, timeout, &done,
			       &args->report.failure);

	if (ret) {
		args->report.failed = true;
		return ret;
	}
	if (direction == GIGALOCK_DIR_TO_CARD) {
		r->crc_to = glk_crc32c_combine(r->crc_to, done.crc32c, length);
		r->have_to = options.flags & GIGALOCK_XFER_CRC;
		r->bytes_to += done.bytes;
		r->ns_to += done.elapsed_ns;
	} else {
		r->crc_from = glk_crc32c_combine(r->crc_from, done.crc32c, length);
		r->have_from = options.flags & GIGALOCK_XFER_CRC;
		r->bytes_from += done.bytes;
		r->ns_from += done.elapsed_ns;
	}
	return 0;
}

static int move_all(struct xfer_args *args, struct result *r)
{
	unsigned char *data = glk_lock_data(args->report.lock);
	uint64_t end = args->report.requested;

	for (uint64_t at = args->offset; at < end; at += r->window) {
		uint64_t length = end - at < r->window ? end - at : r->window;

		progress("moving", at - args->offset, end - args->offset);
		if ((args->direction & GIGALOCK_DIR_TO_CARD) &&
		    move(args, GIGALOCK_DIR_TO_CARD, at, length, r))
			return EXIT_FAILED;
		if (args->direction & GIGALOCK_DIR_FROM_CARD) {
			glk_pattern_fill_inverse(data + at, length, args->seed, at);
			if (move(args, GIGALOCK_DIR_FROM_CARD, at, length, r))
				return EXIT_FAILED;
		}
		r->windows++;
	}
	return EXIT_DONE;
}

/*
 * What can be compared: a round trip, everything; to the card, what the device
 * says it saw; from the card, what an earlier run with this seed left there.
 */
static void compare(const struct xfer_args *args, struct result *r)
{
	const unsigned char *data = glk_lock_data(args->report.lock);
	uint64_t end = args->report.requested;
	double start = now_ms();
	bool same = true;

	if (args->direction == GIGALOCK_DIR_FROM_CARD &&
	    (!args->seeded || r->windows > 1))
		return;
	if (!args->no_crc) {
		progress("computing the checksum", 0, 0);
		r->have_expected = true;
		r->crc_expected = glk_pattern_crc32c(0, args->seed, args->offset,
						     end - args->offset);
	}
	if (args->direction == GIGALOCK_DIR_TO_CARD && args->no_crc)
		return;
	if (r->have_to && r->have_from && r->crc_to != r->crc_from)
		same = false;
	if (r->have_to && r->have_expected && r->crc_to != r->crc_expected)
		same = false;
	if (r->have_from && r->have_expected && r->crc_from != r->crc_expected)
		same = false;
	/* All of it, what was before the offset and not to be touched too. */
	if (!verify(data, 0, end, args->seed, &r->difference)) {
		r->have_difference = true;
		same = false;
	}
	r->verify_ms = now_ms() - start;
	r->verdict = same ? SAME : DIFFERENT;
}

static int work(struct tool *tool, struct glk_card *card, void *arg)
{
	struct gigalock_info info = { .size = sizeof(info) };
	struct xfer_args *args = arg;
	struct lock_report *report = &args->report;
	struct result result = { .verdict = NOT_COMPARED };
	uint64_t span = report->requested - args->offset;
	double start;
	int code, ret;

	ret = glk_card_info(card, &info);
	if (ret)
		return internal_error(tool, "the card's info", -ret);
	result.window = args->window && args->window < span ? args->window : span;
	/* With an offset beyond the card the driver shall refuse, not we. */
	if (args->card_offset < info.card_bytes &&
	    result.window > info.card_bytes - args->card_offset)
		result.window = info.card_bytes - args->card_offset;

	if (lock_for_report(card, report, args->direction, 0))
		return say(tool, args, &result, EXIT_FAILED);
	start = now_ms();
	fill("filling", glk_lock_data(report->lock), 0, report->requested,
	     args->seed);
	result.fill_ms = now_ms() - start;
	code = move_all(args, &result);
	if (code == EXIT_DONE && !args->no_verify) {
		compare(args, &result);
		if (result.verdict == DIFFERENT)
			code = EXIT_DIFFERENT;
	}
	code = say(tool, args, &result, code);
	progress("unlocking", 0, 0);
	glk_lock_free(report->lock);
	return code;
}

static int killed(struct tool *tool, const struct gigalock_failure *failure,
		  void *arg)
{
	const struct result result = { .verdict = NOT_COMPARED };
	struct xfer_args *args = arg;

	args->report.failed = true;
	args->report.failure = *failure;
	return say(tool, args, &result, EXIT_FAILED);
}

static int run(struct tool *tool, int argc, char **argv)
{
	static struct xfer_args args = {
		.report.strategy = GLK_STRATEGY_AUTO,
		.direction = GIGALOCK_DIR_BOTH,
		.timeout = 60,
	};
	bool have_size = false;
	const struct option_spec specs[] = {
		{ "size", 's', OPTION_SIZE, &args.report.requested, &have_size },
		{ "strategy", 'S', OPTION_STRATEGY, &args.report.strategy, NULL },
		{ "direction", 0, OPTION_DIRECTION, &args.direction, NULL },
		{ "seed", 0, OPTION_NUMBER, &args.seed, &args.seeded },
		{ "offset", 0, OPTION_OFFSET, &args.offset, NULL },
		{ "card-offset", 0, OPTION_OFFSET, &args.card_offset, NULL },
		{ "window", 0, OPTION_SIZE, &args.window, NULL },
		{ "timeout", 0, OPTION_SECONDS, &args.timeout, NULL },
		{ "no-verify", 0, OPTION_FLAG, &args.no_verify, NULL },
		{ "no-crc", 0, OPTION_FLAG, &args.no_crc, NULL },
	};
	const struct job job = { work, killed, &args };
	int code = parse_options(tool, specs, sizeof(specs) / sizeof(specs[0]),
				 argc, argv);

	if (code)
		return code;
	if (!have_size)
		return usage_error(tool, "--size is needed, such as --size 1G");
	if (args.offset >= args.report.requested)
		return usage_error(tool,
			"--offset: %" PRIu64 " is not within the buffer of %" PRIu64 " bytes",
			args.offset, args.report.requested);
	if (!args.seeded &&
	    getrandom(&args.seed, sizeof(args.seed), 0) != sizeof(args.seed))
		return internal_error(tool, "getrandom", errno);
	return run_job(tool, &job);
}

const struct command command_xfer = {
	.name = "xfer",
	.summary = "move a buffer to the card and back, and prove every byte",
	.help =
	"  -s, --size S         how much\n"
	"  -S, --strategy X     coherent, contig-range, sg, auto (the default)\n"
	"      --direction D    to-card, from-card, both (the default)\n"
	"      --seed N         of the pattern (random)\n"
	"      --offset N       move only from there to the end of the buffer (0)\n"
	"      --card-offset N  where in card memory (0)\n"
	"      --window S       at most that much at a time (card memory)\n"
	"      --timeout SEC    of each transfer; 0 is for ever (60)\n"
	"      --no-verify      don't look at the bytes\n"
	"      --no-crc         don't compute the expected checksum here; with\n"
	"                       --no-verify, nor on the card; else the\n"
	"                       device's are reported anyway\n"
	"\n"
	"With --direction from-card the data are compared only with --seed, against\n"
	"what an earlier xfer with that seed left in card memory.\n",
	.run = run,
};
