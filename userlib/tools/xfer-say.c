/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What xfer says, as text and as JSON. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <time.h>

#include "xfer.h"

double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double gib_per_s(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (1 << 30) / ((double)ns / 1e9) : 0;
}

static void json_crc(struct json *json, const char *key, bool have, uint32_t crc)
{
	if (have)
		json_hex32(json, key, crc);
	else
		json_null(json, key);
}

static void json_stats(struct json *json, const struct result *r)
{
	if (!r->have_stats) {
		json_null(json, "stats");
		return;
	}
	json_object(json, "stats");
	json_u64(json, "transfers", r->stats.transfers);
	json_u64(json, "errors", r->stats.errors);
	json_u64(json, "cancelled", r->stats.cancelled);
	json_u64(json, "to_card_bytes", r->stats.to_card_bytes);
	json_u64(json, "from_card_bytes", r->stats.from_card_bytes);
	json_double(json, "busy_ms", (double)r->stats.busy_ns / 1e6, 3);
	json_u64(json, "inflight", r->stats.inflight);
	json_u64(json, "mappings", r->stats.mappings);
	json_end_object(json);
}

static int say_json(const struct tool *tool, const struct xfer_args *args,
		    const struct result *r, int code)
{
	struct json json;

	if (!json_begin(&json, tool, code == EXIT_DONE))
		return EXIT_FAILED;
	json_lock_report(&json, &args->report);
	json_string(&json, "direction",
		    direction_name(args->report.want.direction));
	json_string(&json, "check", args->check == CHECK_HOST ? "host" :
		    args->check == CHECK_DEVICE ? "device" : "none");
	json_u64(&json, "queue", args->queue);
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
	json_string(&json, "differs", r->differs);
	json_stats(&json, r);
	return json_done(&json, tool, code);
}

int say_xfer(const struct tool *tool, const struct xfer_args *args,
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
	else if (r->differs)
		fprintf(stderr, "gigalock: xfer: wrong: %s\n", r->differs);
	else if (r->verdict == DIFFERENT)
		fprintf(stderr,
			"gigalock: xfer: checksums differ: expected 0x%08x, to card 0x%08x, from card 0x%08x\n",
			r->crc_expected, r->crc_to, r->crc_from);
	if (!report->lock || report->failed)
		return code;
	print_lock(report);
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
	       r->verdict == SAME ? args->check == CHECK_HOST ?
	       "every byte verified" : "verified by the card" :
	       r->verdict == DIFFERENT ? "DATA DIFFER" : "not verified");
	return code;
}
