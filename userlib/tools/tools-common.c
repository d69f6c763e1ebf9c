/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the commands say things, as text and as JSON.
 */
#define _GNU_SOURCE
#include "tools-common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *size_text(uint64_t bytes, struct size_text *room)
{
	glk_size_format(bytes, room->text, sizeof(room->text));
	return room->text;
}

const char *direction_name(uint32_t direction)
{
	switch (direction) {
	case GIGALOCK_DIR_TO_CARD:
		return "to-card";
	case GIGALOCK_DIR_FROM_CARD:
		return "from-card";
	default:
		return "both";
	}
}

/* ---- JSON ---------------------------------------------------------------- */

bool json_begin(struct json *json, const struct tool *tool, bool ok)
{
	if (!json_start(json)) {
		perror("gigalock");
		return false;
	}
	json_object(json, NULL);
	json_string(json, "command", tool->command);
	json_bool(json, "ok", ok);
	return true;
}

int json_done(struct json *json, const struct tool *tool, int code)
{
	json_end_object(json);
	if (json_finish(json))
		return code;
	fprintf(stderr, "gigalock: %s: can't write the result: %s\n",
		tool->command, strerror(errno));
	return code ? code : EXIT_FAILED;
}

static const char *op_name(uint32_t op)
{
	switch (op) {
	case GIGALOCK_OP_LOCK:
		return "lock";
	case GIGALOCK_OP_TRANSFER:
		return "transfer";
	case GIGALOCK_OP_SYNC:
		return "sync";
	default:
		return "unknown";
	}
}

void json_failure(struct json *json, const char *key,
		  const struct gigalock_failure *failure)
{
	char text[GLK_TEXT_MAX];
	char comm[sizeof(failure->comm) + 1] = "";

	if (!failure || failure->reason == GIGALOCK_REASON_NONE) {
		json_null(json, key);
		return;
	}
	memcpy(comm, failure->comm, sizeof(failure->comm));
	json_object(json, key);
	json_string(json, "reason", glk_reason_name(failure->reason));
	json_u64(json, "code", failure->reason);
	json_string(json, "stage", glk_stage_name(failure->stage));
	json_u64(json, "errno", failure->err);
	json_string(json, "errno_name", strerrorname_np((int)failure->err));
	json_u64(json, "limit", failure->limit);
	json_u64(json, "request", failure->request);
	json_u64(json, "available", failure->available);
	json_string(json, "unit", glk_unit_name(failure->unit));
	json_string(json, "strategy", glk_strategy_name(failure->strategy));
	json_string(json, "op", op_name(failure->op));
	json_u64(json, "lock_size", failure->lock_size);
	json_u64(json, "pid", failure->pid);
	json_string(json, "comm", comm);
	json_u64(json, "seq", failure->seq);
	json_u64(json, "time_ns", failure->time_ns);
	glk_failure_text(failure, text, sizeof(text));
	json_string(json, "text", text);
	glk_failure_remedy(failure, text, sizeof(text));
	json_string(json, "remedy", text);
	json_end_object(json);
}

void json_tries(struct json *json, const struct tries *tries)
{
	json_array(json, "tries");
	for (unsigned int i = 0; i < tries->count; i++) {
		const struct glk_try *t = &tries->tries[i];

		json_object(json, NULL);
		json_string(json, "strategy", glk_strategy_name(t->strategy));
		json_u64(json, "bytes", t->bytes);
		json_bool(json, "ok", t->ok);
		json_string(json, "reason",
			    t->ok ? NULL : glk_reason_name(t->failure.reason));
		json_double(json, "ms", (double)t->elapsed_ns / 1e6, 3);
		json_failure(json, "failure", t->ok ? NULL : &t->failure);
		json_end_object(json);
	}
	json_end_array(json);
}

void json_lock_report(struct json *json, const struct lock_report *report)
{
	const struct glk_lock *lock = report->lock;

	json_u64(json, "requested_bytes", report->want.bytes);
	json_u64(json, "locked_bytes", lock ? glk_lock_bytes(lock) : 0);
	json_string(json, "strategy",
		    glk_strategy_name(lock ? glk_lock_strategy(lock)
					   : report->want.strategy));
	json_string(json, "backing",
		    lock ? glk_backing_name(glk_lock_backing(lock)) : NULL);
	json_u64(json, "segments", lock ? glk_lock_segments(lock) : 0);
	json_u64(json, "longest_segment",
		 lock ? glk_lock_longest_segment(lock) : 0);
	json_u64(json, "table_bytes", lock ? glk_lock_table_bytes(lock) : 0);
	if (lock)
		json_double(json, "lock_ms", (double)glk_lock_ns(lock) / 1e6, 3);
	else
		json_null(json, "lock_ms");
	json_failure(json, "failure", report->failed ? &report->failure : NULL);
	json_tries(json, &report->tries);
}

/* ---- text ---------------------------------------------------------------- */

int usage_error(const struct tool *tool, const char *format, ...)
{
	char text[512];
	struct json json;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "gigalock: %s%s%s\n", tool->command ? tool->command : "",
		tool->command ? ": " : "", text);
	if (tool->json && json_begin(&json, tool, false)) {
		json_string(&json, "error", text);
		json_done(&json, tool, EXIT_USAGE);
	}
	return EXIT_USAGE;
}

int no_card(const struct tool *tool, const struct gigalock_failure *failure)
{
	char text[GLK_TEXT_MAX + 300], message[GLK_TEXT_MAX];
	const char *device = tool->device ? tool->device : GLK_DEFAULT_DEVICE;
	struct json json;

	glk_failure_message(failure, message, sizeof(message));
	snprintf(text, sizeof(text), "%s%.256s: %s",
		 strspn(device, "0123456789") == strlen(device) ? "card " : "",
		 device, message);
	fprintf(stderr, "gigalock: %s: %s\n", tool->command, text);
	if (tool->json && json_begin(&json, tool, false)) {
		json_string(&json, "error", text);
		json_failure(&json, "failure", failure);
		json_done(&json, tool, EXIT_NO_CARD);
	}
	return EXIT_NO_CARD;
}

int internal_error(const struct tool *tool, const char *what, int err)
{
	struct json json;

	fprintf(stderr, "gigalock: %s: %s: %s\n", tool->command, what,
		strerror(err));
	if (tool->json && json_begin(&json, tool, false)) {
		char text[256];

		snprintf(text, sizeof(text), "%s: %s", what, strerror(err));
		json_string(&json, "error", text);
		json_done(&json, tool, EXIT_FAILED);
	}
	return EXIT_FAILED;
}

void print_failure(const struct tool *tool,
		   const struct gigalock_failure *failure)
{
	char text[GLK_TEXT_MAX], remedy[GLK_TEXT_MAX];
	const char *error = strerrorname_np((int)failure->err);

	glk_failure_text(failure, text, sizeof(text));
	glk_failure_remedy(failure, remedy, sizeof(remedy));
	fprintf(stderr, "gigalock: %s by %s failed: %s (stage %s, %s)\n  %s.\n  %s\n",
		tool->command, glk_strategy_name(failure->strategy),
		glk_reason_name(failure->reason), glk_stage_name(failure->stage),
		error ? error : "no errno", text, remedy);
}

/* ---- locking ------------------------------------------------------------- */

void collect_try(const struct glk_try *attempt, void *arg)
{
	struct tries *tries = arg;

	if (tries->count < MAX_TRIES)
		tries->tries[tries->count++] = *attempt;
}

void lock_options_of(const struct lock_choice *choice,
		     struct glk_lock_options *options)
{
	*options = (struct glk_lock_options) {
		.size = sizeof(*options),
		.bytes = choice->bytes,
		.strategy = choice->strategy,
		.direction = choice->direction,
		.max_segment = choice->max_segment,
		.page_size = choice->page_size,
		.address_width = (uint32_t)choice->address_width,
		.node = (uint32_t)choice->node,
		.region = (uint32_t)choice->region,
		.timeout_ms = (uint32_t)milliseconds(choice->timeout),
		.flags = (choice->no_map ? GLK_LOCK_NO_USER_MAP : 0) |
			 (choice->no_touch ? GLK_LOCK_NO_MAP : 0) |
			 (choice->entry_per_page ? GLK_LOCK_ENTRY_PER_PAGE : 0) |
			 (choice->small_table ? GLK_LOCK_SMALL_TABLE : 0) |
			 (choice->have_node ? GLK_LOCK_NODE : 0),
	};
}

int lock_for_report(struct glk_card *card, struct lock_report *report)
{
	struct glk_lock_options options;
	int ret = 0;

	lock_options_of(&report->want, &options);
	options.tried = collect_try;
	options.tried_arg = &report->tries;
	report->dmabuf = -1;
	if (options.strategy == GIGALOCK_STRATEGY_DMABUF) {
		progress("making a dma-buf", 0, 0);
		ret = dmabuf_get(card, report->want.dmabuf, options.bytes,
				 &report->dmabuf, &report->exported,
				 &report->failure);
		options.fd = report->dmabuf;
	}
	progress("locking", 0, 0);
	if (!ret)
		ret = glk_lock_new(card, &options, &report->lock,
				   &report->failure);
	report->locked = ret == 0;
	report->failed = ret != 0;
	if (ret)
		unlock_report(report);
	return ret;
}

void unlock_report(struct lock_report *report)
{
	progress("unlocking", 0, 0);
	glk_lock_free(report->lock);
	if (report->dmabuf >= 0)
		close(report->dmabuf);
	glk_lock_free(report->exported);
	report->lock = report->exported = NULL;
	report->dmabuf = -1;
}

void print_lock(const struct lock_report *report)
{
	const struct glk_lock *lock = report->lock;
	uint32_t pieces = glk_lock_segments(lock);

	printf("locked %s by %s in %.1f ms: %u piece%s, the longest %s",
	       SIZE(glk_lock_bytes(lock)),
	       glk_strategy_name(glk_lock_strategy(lock)),
	       (double)glk_lock_ns(lock) / 1e6, pieces, pieces == 1 ? "" : "s",
	       SIZE(glk_lock_longest_segment(lock)));
	if (glk_lock_backing(lock) != GIGALOCK_BACKING_UNKNOWN)
		printf(" (%s)", glk_backing_name(glk_lock_backing(lock)));
	putchar('\n');
}
