/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Failures: made in user space, completed where the kernel left none, and
 * turned into words.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

uint64_t glk_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void glk_failure_reset(struct gigalock_failure *failure)
{
	memset(failure, 0, sizeof(*failure));
	failure->size = sizeof(*failure);
}

int glk_fail(struct gigalock_failure *failure, const struct glk_cause *cause,
	     uint32_t op, uint32_t strategy, uint64_t lock_size)
{
	if (failure) {
		glk_failure_reset(failure);
		failure->reason = cause->reason;
		failure->stage = cause->stage;
		failure->err = (uint32_t)cause->err;
		failure->unit = cause->unit;
		failure->limit = cause->limit;
		failure->request = cause->request;
		failure->available = cause->available;
		failure->strategy = strategy;
		failure->op = op;
		failure->pid = (uint32_t)getpid();
		failure->time_ns = glk_now_ns();
		failure->lock_size = lock_size;
		prctl(PR_GET_NAME, failure->comm);
	}
	return -cause->err;
}

int glk_fail_call(struct gigalock_failure *failure, int err, uint32_t op,
		  uint32_t stage, uint32_t strategy, uint64_t lock_size,
		  uint64_t request)
{
	struct glk_cause cause = {
		.stage = stage,
		.err = err,
		.request = request,
	};

	if (!failure || failure->reason != GIGALOCK_REASON_NONE)
		return -err;
	switch (err) {
	case ENODEV:
		cause.reason = GIGALOCK_REASON_DEVICE_GONE;
		break;
	case ENOTTY:
		cause.reason = GIGALOCK_REASON_NO_DEVICE;
		break;
	case ENOMEM:
		cause.reason = GIGALOCK_REASON_NO_MEMORY;
		break;
	case ETIMEDOUT:
		cause.reason = GIGALOCK_REASON_TIMEOUT;
		break;
	case ECANCELED:
	case EINTR:
		cause.reason = GIGALOCK_REASON_CANCELLED;
		break;
	case EIO:
		cause.reason = GIGALOCK_REASON_DEVICE_ERROR;
		break;
	case EAGAIN:
		cause.reason = GIGALOCK_REASON_BAD_ARGUMENT;
		cause.unit = GIGALOCK_UNIT_COUNT;
		cause.limit = GIGALOCK_MAX_XFERS;
		cause.request = 0;
		break;
	default:
		cause.reason = GIGALOCK_REASON_BAD_ARGUMENT;
		break;
	}
	return glk_fail(failure, &cause, op, strategy, lock_size);
}

/* ---- words --------------------------------------------------------------- */

/* Output that never leaves its buffer, and counts what did not fit. */
struct sink {
	char *buf;
	size_t room;
	size_t used;
};

static void put(struct sink *sink, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++, sink->used++)
		if (sink->used + 1 < sink->room)
			sink->buf[sink->used] = text[i];
}

static void put_text(struct sink *sink, const char *text)
{
	put(sink, text, strlen(text));
}

static int finish(struct sink *sink)
{
	if (sink->room)
		sink->buf[sink->used < sink->room ? sink->used : sink->room - 1] = 0;
	return (int)sink->used;
}

static void put_number(struct sink *sink, uint32_t unit, uint64_t value)
{
	char text[64];

	switch (unit) {
	case GIGALOCK_UNIT_BYTES:
		glk_size_format(value, text, sizeof(text));
		break;
	case GIGALOCK_UNIT_MILLISECONDS:
		snprintf(text, sizeof(text), "%" PRIu64 " ms", value);
		break;
	case GIGALOCK_UNIT_ADDRESS:
		snprintf(text, sizeof(text), "0x%" PRIx64, value);
		break;
	default:
		snprintf(text, sizeof(text), "%" PRIu64, value);
		break;
	}
	put_text(sink, text);
}

static bool is_word(const char *name, size_t len, const char *word)
{
	return strlen(word) == len && !memcmp(name, word, len);
}

/* The number that a placeholder stands for; false for one that is no number. */
static bool number_of(const struct gigalock_failure *failure, const char *name,
		      size_t len, uint64_t *value)
{
	if (is_word(name, len, "limit"))
		*value = failure->limit;
	else if (is_word(name, len, "request") || is_word(name, len, "code"))
		*value = failure->request;
	else if (is_word(name, len, "available"))
		*value = failure->available;
	else if (is_word(name, len, "lock"))
		*value = failure->lock_size;
	else
		return false;
	return true;
}

static void put_placeholder(struct sink *sink,
			    const struct gigalock_failure *failure,
			    const char *name, size_t len)
{
	uint32_t unit = failure->unit;
	uint64_t value = 0;
	char text[32];

	if (is_word(name, len, "error")) {
		put_text(sink, strerror((int)failure->err));
	} else if (is_word(name, len, "strategies")) {
		put_text(sink, glk_strategy_list());
	} else if (is_word(name, len, "code")) {
		snprintf(text, sizeof(text), "0x%02" PRIx64, (uint64_t)failure->request);
		put_text(sink, text);
	} else if (number_of(failure, name, len, &value)) {
		if (is_word(name, len, "lock"))
			unit = GIGALOCK_UNIT_BYTES;
		else if (failure->reason == GIGALOCK_REASON_DEVICE_ERROR)
			unit = GIGALOCK_UNIT_ADDRESS;
		put_number(sink, unit, value);
	}
}

/* Is a number in text[0..len) unknown? */
static bool lacks_number(const struct gigalock_failure *failure,
			 const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char *end;
		uint64_t value;

		if (text[i] != '{')
			continue;
		end = memchr(text + i, '}', len - i);
		if (end && number_of(failure, text + i + 1,
				     (size_t)(end - text) - i - 1, &value) &&
		    value == 0)
			return true;
	}
	return false;
}

static void expand(struct sink *sink, const struct gigalock_failure *failure,
		   const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char *end = NULL;
		size_t inner;

		if (text[i] == '[')
			end = memchr(text + i, ']', len - i);
		else if (text[i] == '{')
			end = memchr(text + i, '}', len - i);
		if (!end) {
			put(sink, text + i, 1);
			continue;
		}
		inner = (size_t)(end - text) - i - 1;
		if (text[i] == '{')
			put_placeholder(sink, failure, text + i + 1, inner);
		else if (!lacks_number(failure, text + i + 1, inner))
			expand(sink, failure, text + i + 1, inner);
		i += inner + 1;
	}
}

static void put_template(struct sink *sink,
			 const struct gigalock_failure *failure,
			 const char *template, const char *otherwise)
{
	if (!*template)
		template = otherwise;
	expand(sink, failure, template, strlen(template));
}

static void put_failure_text(struct sink *sink,
			     const struct gigalock_failure *failure)
{
	put_template(sink, failure, glk_reason_text_template(failure->reason),
		     "a reason that this library does not know ({error})");
}

static void put_failure_remedy(struct sink *sink,
			       const struct gigalock_failure *failure)
{
	put_template(sink, failure, glk_reason_remedy_template(failure->reason),
		     "Use a library as new as the driver.");
}

int glk_failure_text(const struct gigalock_failure *failure, char *buf, size_t len)
{
	struct sink sink = { buf, len, 0 };

	put_failure_text(&sink, failure);
	return finish(&sink);
}

int glk_failure_remedy(const struct gigalock_failure *failure, char *buf,
		       size_t len)
{
	struct sink sink = { buf, len, 0 };

	put_failure_remedy(&sink, failure);
	return finish(&sink);
}

int glk_failure_message(const struct gigalock_failure *failure, char *buf,
			size_t len)
{
	struct sink sink = { buf, len, 0 };

	put_text(&sink, glk_reason_name(failure->reason));
	put_text(&sink, ": ");
	put_failure_text(&sink, failure);
	put_text(&sink, ". ");
	put_failure_remedy(&sink, failure);
	return finish(&sink);
}

/* ---- a child that could not say ------------------------------------------ */

int glk_failure_of_child(struct glk_card *card, pid_t pid, int status,
			 uint64_t since, struct gigalock_failure *failure)
{
	struct gigalock_failure log[GIGALOCK_FAILURE_LOG];
	int count = glk_card_failures(card, since, log, GIGALOCK_FAILURE_LOG);

	for (int i = count - 1; i >= 0; i--)
		if (log[i].pid == (uint32_t)pid) {
			*failure = log[i];
			return 1;
		}
	/* Other signals are a fault of the program, not a failed lock. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		const struct glk_cause cause = {
			.reason = GIGALOCK_REASON_KILLED,
			.err = EINTR,
		};

		glk_fail(failure, &cause, GIGALOCK_OP_LOCK, GLK_STRATEGY_AUTO, 0);
		failure->pid = (uint32_t)pid;
		return 1;
	}
	return count < 0 ? count : 0;
}
