/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock bench: small transfers, as many a second as there can be, through a
 * queue of its own or by calls. So many are kept under way; each has its own
 * place in the lock and in card memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tools-common.h"

#define MAX_DEPTH 1024		/* GIGALOCK_MAX_XFERS, by calls */
#define MAX_OPS 100000000

struct bench_args {
	struct lock_report report;
	uint64_t depth;
	uint64_t count;
	double timeout;
	bool calls;
	bool irq;
	bool crc;
};

struct bench {
	const struct bench_args *args;
	struct glk_card *card;
	struct glk_queue *queue;
	uint64_t card_bytes;
	uint64_t submitted, done, wrong;
	uint64_t ns, cpu_ns, syscalls;
	uint32_t channel;
	uint64_t *began;		/* ns, of each place */
	uint32_t *took;			/* ns, of each op */
	struct gigalock_failure failure;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Op number @n: its place, and both ways in turn when both are wanted. */
static uint64_t place(const struct bench *b, uint64_t n)
{
	return n % b->args->depth * b->args->report.want.bytes;
}

static uint32_t way(const struct bench *b, uint64_t n)
{
	uint32_t direction = b->args->report.want.direction;

	if (direction != GIGALOCK_DIR_BOTH)
		return direction;
	return n % 2 ? GIGALOCK_DIR_FROM_CARD : GIGALOCK_DIR_TO_CARD;
}

static void finished(struct bench *b, uint64_t n, bool good)
{
	uint64_t took = now_ns(CLOCK_MONOTONIC) - b->began[n % b->args->depth];

	b->took[n] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	b->wrong += !good;
	b->done++;
}

/* ---- through a queue --------------------------------------------------------- */

static int queue_submit(struct bench *b)
{
	static struct gigalock_queue_entry entries[MAX_DEPTH];
	uint64_t size = b->args->report.want.bytes, first = b->submitted;
	uint64_t now = now_ns(CLOCK_MONOTONIC);
	unsigned int count = 0;
	int taken;

	while (first + count < b->args->count &&
	       first + count - b->done < b->args->depth) {
		uint64_t n = first + count;

		b->began[n % b->args->depth] = now;
		entries[count++] = (struct gigalock_queue_entry) {
			.lock = glk_lock_id(b->args->report.lock),
			.cookie = (uint32_t)n,
			.direction = way(b, n),
			.flags = b->args->crc ? GIGALOCK_XFER_CRC : 0,
			.offset = place(b, n),
			.length = size,
			.card_offset = place(b, n) % (b->card_bytes - size + 1),
		};
	}
	if (!count)
		return 0;
	taken = glk_queue_submit(b->queue, entries, count, &b->failure);
	b->syscalls++;
	if (taken == -EAGAIN)
		return 0;
	if (taken < 0)
		return taken;
	b->submitted += (uint64_t)taken;
	return 0;
}

static int queue_step(struct bench *b)
{
	struct gigalock_completion done[64];
	unsigned int count;
	int ret = queue_submit(b);

	if (ret)
		return ret;
	count = glk_queue_reap(b->queue, done, 64);
	if (!count && b->args->irq) {
		ret = glk_queue_wait(b->queue, milliseconds(b->args->timeout));
		b->syscalls++;
		/* How long is too long, measure() knows. */
		if (ret && ret != -EINTR && ret != -ETIMEDOUT)
			return ret;
	}
	for (unsigned int i = 0; i < count; i++)
		finished(b, b->done, done[i].cookie == (uint32_t)b->done &&
			 !done[i].status &&
			 done[i].bytes == b->args->report.want.bytes);
	return 0;
}

/* ---- by calls ------------------------------------------------------------------ */

static int calls_step(struct bench *b)
{
	struct glk_xfer_result result = { .size = sizeof(result) };
	struct glk_xfer *xfer;
	uint64_t n;
	int ret;

	while (b->submitted < b->args->count &&
	       b->submitted - b->done < b->args->depth) {
		struct glk_xfer_options options = {
			.size = sizeof(options),
			.direction = way(b, b->submitted),
			.flags = b->args->crc ? GIGALOCK_XFER_CRC : 0,
			.offset = place(b, b->submitted),
			.length = b->args->report.want.bytes,
			.user_data = (void *)(uintptr_t)b->submitted,
		};

		options.card_offset = options.offset %
				      (b->card_bytes - options.length + 1);
		b->began[b->submitted % b->args->depth] = now_ns(CLOCK_MONOTONIC);
		ret = glk_xfer_submit(b->args->report.lock, &options, &xfer,
				      &b->failure);
		b->syscalls++;
		if (ret)
			return ret;
		b->submitted++;
	}
	ret = glk_card_wait_any(b->card, milliseconds(b->args->timeout), &xfer,
				&result, &b->failure);
	b->syscalls++;
	if (!xfer)
		return ret == -ETIMEDOUT || ret == -EINTR ? 0 : ret;
	n = (uintptr_t)glk_xfer_user_data(xfer);
	glk_xfer_free(xfer);
	finished(b, n, !ret && result.bytes == b->args->report.want.bytes);
	return 0;
}

static void explain(struct bench *b, uint32_t reason, int err, uint32_t unit,
		    uint64_t limit)
{
	const struct glk_lock *lock = b->args->report.lock;

	b->failure = (struct gigalock_failure) {
		.size = sizeof(b->failure),
		.reason = reason,
		.stage = GIGALOCK_STAGE_TRANSFER,
		.err = (uint32_t)err,
		.unit = unit,
		.limit = limit,
		.strategy = glk_lock_strategy(lock),
		.op = GIGALOCK_OP_TRANSFER,
		.lock_size = glk_lock_bytes(lock),
		.comm = "gigalock",
	};
}

static int measure(struct bench *b)
{
	uint64_t limit = (uint64_t)(b->args->timeout * 1e9);
	uint64_t start = now_ns(CLOCK_MONOTONIC);
	uint64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t seen = 0, since = start;
	int ret = 0;

	while (b->done < b->args->count && !ret) {
		uint64_t now;

		ret = b->queue ? queue_step(b) : calls_step(b);
		progress("moving", b->done, b->args->count);
		if (b->done != seen) {
			seen = b->done;
			since = 0;
			continue;
		}
		/* Nothing came: look at the clock. */
		now = now_ns(CLOCK_MONOTONIC);
		if (!since)
			since = now;
		if (!ret && limit && now - since > limit) {
			ret = -ETIMEDOUT;
			explain(b, GIGALOCK_REASON_TIMEOUT, ETIMEDOUT,
				GIGALOCK_UNIT_MILLISECONDS, limit / 1000000);
		}
	}
	if (ret && b->failure.reason == GIGALOCK_REASON_NONE)
		explain(b, ret == -ENODEV ? GIGALOCK_REASON_DEVICE_GONE
					  : GIGALOCK_REASON_CANCELLED,
			-ret, GIGALOCK_UNIT_BYTES, 0);
	b->ns = now_ns(CLOCK_MONOTONIC) - start;
	b->cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	return ret;
}

/* ---- saying ---------------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double latency_us(const struct bench *b, double share)
{
	uint64_t at = (uint64_t)((double)(b->done - 1) * share + 0.5);

	return (double)b->took[at] / 1e3;
}

static double rate(const struct bench *b, double units)
{
	return b->ns ? units / ((double)b->ns / 1e9) : 0;
}

static int say(const struct tool *tool, const struct bench *b, int code)
{
	const struct bench_args *args = b->args;
	double bytes = (double)args->report.want.bytes * (double)b->done;
	const char *mode = args->calls ? "calls" : args->irq ? "queue-irq" : "queue";
	struct json json;

	if (tool->json) {
		if (!json_begin(&json, tool, code == EXIT_DONE))
			return EXIT_FAILED;
		json_lock_report(&json, &args->report);
		json_string(&json, "mode", mode);
		json_string(&json, "direction",
			    direction_name(args->report.want.direction));
		json_u64(&json, "op_bytes", args->report.want.bytes);
		json_u64(&json, "depth", args->depth);
		json_u64(&json, "ops", b->done);
		json_u64(&json, "wrong", b->wrong);
		json_double(&json, "seconds", (double)b->ns / 1e9, 6);
		json_double(&json, "cpu_seconds", (double)b->cpu_ns / 1e9, 6);
		json_u64(&json, "syscalls", b->syscalls);
		json_double(&json, "ops_per_s", rate(b, (double)b->done), 1);
		json_double(&json, "gib_per_s", rate(b, bytes / (1 << 30)), 4);
		if (b->done) {
			json_object(&json, "latency_us");
			json_double(&json, "min", latency_us(b, 0), 2);
			json_double(&json, "median", latency_us(b, 0.5), 2);
			json_double(&json, "p99", latency_us(b, 0.99), 2);
			json_double(&json, "max", latency_us(b, 1), 2);
			json_end_object(&json);
		} else {
			json_null(&json, "latency_us");
		}
		return json_done(&json, tool, code);
	}
	if (args->report.failed)
		print_failure(tool, &args->report.failure);
	if (b->wrong)
		fprintf(stderr, "gigalock: bench: %" PRIu64 " went wrong\n", b->wrong);
	if (b->done)
		printf("%" PRIu64 " of %s, %" PRIu64 " at a time, by %s: %.0f a second, %.3f GiB/s; half took %.1f us, 99%% %.1f us\n",
		       b->done, SIZE(args->report.want.bytes), args->depth, mode,
		       rate(b, (double)b->done), rate(b, bytes / (1 << 30)),
		       latency_us(b, 0.5), latency_us(b, 0.99));
	return code;
}

static int prepare(struct bench *b, const struct bench_args *args)
{
	const struct glk_queue_options options = {
		.size = sizeof(options),
		.flags = args->irq ? GIGALOCK_QUEUE_IRQ : 0,
	};

	b->began = calloc((size_t)args->depth, sizeof(*b->began));
	b->took = calloc((size_t)args->count, sizeof(*b->took));
	if (!b->began || !b->took)
		return -ENOMEM;
	return args->calls ? 0 : glk_queue_new(b->card, &options, &b->queue);
}

static int work(struct tool *tool, struct glk_card *card, void *arg)
{
	struct gigalock_info info = { .size = sizeof(info) };
	struct bench_args *args = arg;
	struct lock_choice op = args->report.want;
	struct bench b = { .args = args, .card = card };
	int code = EXIT_FAILED, ret = glk_card_info(card, &info);

	if (ret)
		return internal_error(tool, "the card's info", -ret);
	b.card_bytes = info.card_bytes;
	if (op.bytes > b.card_bytes)
		return usage_error(tool, "--size: %" PRIu64 " is larger than card memory, %" PRIu64,
				   op.bytes, b.card_bytes);
	args->report.want.bytes = op.bytes * args->depth;
	ret = lock_for_report(card, &args->report);
	args->report.want.bytes = op.bytes;
	if (ret)
		return say(tool, &b, EXIT_FAILED);
	ret = prepare(&b, args);
	if (ret) {
		internal_error(tool, "a queue", -ret);
	} else {
		glk_lock_sync_for_device(args->report.lock, 0, 0);
		ret = measure(&b);
		if (ret) {
			args->report.failed = true;
			args->report.failure = b.failure;
		}
		if (!ret && !b.wrong)
			code = EXIT_DONE;
		qsort(b.took, (size_t)b.done, sizeof(*b.took), compare_u32);
		code = say(tool, &b, code);
	}
	glk_queue_free(b.queue);
	free(b.began);
	free(b.took);
	unlock_report(&args->report);
	return code;
}

static int killed(struct tool *tool, const struct gigalock_failure *failure,
		  void *arg)
{
	struct bench_args *args = arg;
	const struct bench b = { .args = args };

	args->report.failed = true;
	args->report.failure = *failure;
	return say(tool, &b, EXIT_FAILED);
}

static int run(struct tool *tool, int argc, char **argv)
{
	static struct bench_args args = {
		.report.want = {
			.bytes = 4096,
			.have_size = true,
			.strategy = GLK_STRATEGY_AUTO,
			.direction = GIGALOCK_DIR_BOTH,
		},
		.depth = 32,
		.count = 100000,
		.timeout = 10,
	};
	const struct option_spec specs[] = {
		{ "depth", 0, OPTION_NUMBER, &args.depth, NULL },
		{ "count", 0, OPTION_NUMBER, &args.count, NULL },
		{ "timeout", 0, OPTION_SECONDS, &args.timeout, NULL },
		{ "calls", 0, OPTION_FLAG, &args.calls, NULL },
		{ "irq", 0, OPTION_FLAG, &args.irq, NULL },
		{ "crc", 0, OPTION_FLAG, &args.crc, NULL },
	};
	const struct job job = { work, killed, &args };
	int code;

	tool->lock = &args.report.want;
	code = parse_options(tool, specs, sizeof(specs) / sizeof(specs[0]), argc,
			     argv);
	if (code)
		return code;
	if (args.depth < 1 || args.depth > MAX_DEPTH)
		return usage_error(tool, "--depth: %" PRIu64 " is not a number from 1 to %d",
				   args.depth, MAX_DEPTH);
	if (args.count < 1 || args.count > MAX_OPS)
		return usage_error(tool, "--count: %" PRIu64 " is not a number from 1 to %d",
				   args.count, MAX_OPS);
	if (args.report.want.bytes > glk_size_limit() / args.depth)
		return usage_error(tool, "--size: %" PRIu64 " times %" PRIu64 " is larger than the address space",
				   args.report.want.bytes, args.depth);
	if (args.calls && args.irq)
		return usage_error(tool, "--irq is for a queue, not for --calls");
	return run_job(tool, &job);
}

const struct command command_bench = {
	.name = "bench",
	.summary = "small transfers through a queue: how many a second",
	.help =
	LOCK_HELP
	"      --depth N        so many under way at a time, 1 to 1024 (32)\n"
	"      --count N        so many in all (100000)\n"
	"      --timeout SEC    give up when none is done for that long (10)\n"
	"      --calls          a call to start and one to wait for each, no queue\n"
	"      --irq            sleep for completions, don't poll\n"
	"      --crc            with checksums\n"
	"\n"
	"The size is that of one transfer (4K); the lock has room for --depth of them.\n",
	.run = run,
};
