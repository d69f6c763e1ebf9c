/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The largest size that can be locked: each attempt in a child process.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

struct children {
	const char *device;
	struct glk_card *card;	/* of the parent, to read the log */
	const struct glk_limit_options *options;
	struct glk_lock_options lock;	/* what else each attempt asks for */
};

/* What a child tells its parent. */
struct report {
	int open_err;		/* of glk_card_open(), or 0 */
	struct glk_try attempt;
};

/* The last attempt of the child is the one that counts: with auto it tells
 * the others apart from it by their strategy. */
static void keep(const struct glk_try *attempt, void *arg)
{
	struct glk_try *kept = arg;

	*kept = *attempt;
}

static void prefer_as_victim(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) != 4)
		(void)0;	/* then the killer chooses as it always does */
	close(fd);
}

static void child(const struct children *children, uint64_t bytes, int out)
{
	struct report report = { 0 };
	struct glk_lock_options options = children->lock;
	struct glk_lock *lock;
	struct glk_card *card;

	options.size = sizeof(options);
	options.bytes = bytes;
	options.min_bytes = 0;
	options.strategy = children->options->strategy;
	options.direction = children->options->direction;
	options.flags = children->options->lock_flags | GLK_LOCK_NO_MAP;
	options.memory = NULL;
	options.tried = keep;
	options.tried_arg = &report.attempt;
	prefer_as_victim();
	report.open_err = glk_card_open(children->device, &card,
					&report.attempt.failure);
	if (!report.open_err &&
	    glk_lock_new(card, &options, &lock, &report.attempt.failure) == 0)
		glk_lock_free(lock);
	if (write(out, &report, sizeof(report)) != sizeof(report))
		_exit(1);
	_exit(0);
}

/*
 * Read the child's report. When its time is over the child is ended first, and
 * @late says so; what it had reported by then counts all the same.
 */
static ssize_t read_report(const struct children *children, int in, pid_t pid,
			   struct report *report, bool *late)
{
	uint64_t limit = (uint64_t)children->options->timeout_ms * 1000000u;
	uint64_t start = glk_now_ns();
	ssize_t got;

	*late = false;
	while (limit && !*late) {
		struct pollfd ready = { .fd = in, .events = POLLIN };
		uint64_t took = glk_now_ns() - start;
		uint64_t left = took < limit ? (limit - took + 999999) / 1000000 : 0;

		if (poll(&ready, 1, left > INT_MAX ? INT_MAX : (int)left) > 0)
			break;
		*late = glk_now_ns() - start >= limit;
	}
	if (*late)
		kill(pid, SIGKILL);
	do
		got = read(in, report, sizeof(*report));
	while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof(*report))
		*late = false;
	return got;
}

static void fail_late(const struct children *children, uint64_t bytes, pid_t pid,
		      struct glk_try *attempt)
{
	const struct glk_cause cause = {
		.reason = GIGALOCK_REASON_TIMEOUT,
		.err = ETIMEDOUT,
		.unit = GIGALOCK_UNIT_MILLISECONDS,
		.limit = children->options->timeout_ms,
	};

	attempt->ok = false;
	glk_fail(&attempt->failure, &cause, GIGALOCK_OP_LOCK, attempt->strategy,
		 bytes);
	attempt->failure.pid = (uint32_t)pid;
}

static int attempt_in_child(uint64_t bytes, struct glk_try *attempt, void *arg)
{
	const struct children *children = arg;
	int64_t since = glk_card_failure_seq(children->card);
	pid_t parent = getpid();
	struct report report;
	int pipes[2], status = 0;
	ssize_t got;
	bool late;
	pid_t pid;

	if (since < 0)
		return (int)since;
	if (pipe2(pipes, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int err = errno;

		close(pipes[0]);
		close(pipes[1]);
		return -err;
	}
	if (pid == 0) {
		close(pipes[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		child(children, bytes, pipes[1]);
	}
	close(pipes[1]);
	got = read_report(children, pipes[0], pid, &report, &late);
	close(pipes[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	attempt->strategy = children->options->strategy;
	if (got == (ssize_t)sizeof(report)) {
		if (report.open_err)
			return report.open_err;
		attempt->ok = report.attempt.ok;
		attempt->strategy = report.attempt.strategy;
		attempt->failure = report.attempt.failure;
		return 0;
	}
	if (late) {
		/* The card's log says killed; but by whom is known here. */
		fail_late(children, bytes, pid, attempt);
		return 0;
	}
	attempt->ok = false;
	if (glk_failure_of_child(children->card, pid, status, (uint64_t)since,
				 &attempt->failure) <= 0)
		return -ECHILD;
	if (!attempt->failure.lock_size) {
		attempt->failure.lock_size = bytes;
		attempt->failure.request = bytes;
		attempt->failure.strategy = attempt->strategy;
	}
	return 0;
}

/* What is free for locking without the OOM killer, for strategies that take
 * any page. */
static uint64_t mem_available(void *arg)
{
	struct glk_evidence evidence;

	(void)arg;
	glk_evidence_read(&evidence, "/proc");
	return evidence.mem_available;
}

static int refuse(struct gigalock_failure *failure,
		  const struct glk_limit_options *o, uint32_t reason,
		  uint64_t request, uint64_t limit)
{
	const struct glk_cause cause = {
		.reason = reason,
		.stage = GIGALOCK_STAGE_ARGUMENTS,
		.err = EINVAL,
		.unit = reason == GIGALOCK_REASON_BAD_SIZE ? GIGALOCK_UNIT_BYTES
							   : GIGALOCK_UNIT_COUNT,
		.request = request,
		.limit = limit,
	};

	return glk_fail(failure, &cause, GIGALOCK_OP_LOCK, o->strategy, o->bytes);
}

int glk_limit_search(const char *device, const struct glk_limit_options *options,
		     struct glk_limit_result *result,
		     struct gigalock_failure *failure)
{
	struct glk_limit_result found = { .size = sizeof(found) };
	struct glk_limit_options o = { .size = 0 };
	struct children children = { .device = device, .options = &o };
	struct glk_search search = {
		.granule = glk_page_size(),
		.attempt = attempt_in_child,
		.arg = &children,
	};
	int ret;

	if (!result || !GLK_COPY_OPTIONS(o, options))
		return refuse(failure, &o, GIGALOCK_REASON_BAD_ARGUMENT, o.size,
			      sizeof(o));
	if (o.bytes == 0 || o.bytes > glk_size_limit())
		return refuse(failure, &o, GIGALOCK_REASON_BAD_SIZE, o.bytes,
			      glk_size_limit());
	if (o.strategy != GLK_STRATEGY_AUTO &&
	    o.strategy >= GIGALOCK_STRATEGY_COUNT)
		return refuse(failure, &o, GIGALOCK_REASON_BAD_STRATEGY,
			      o.strategy, GIGALOCK_STRATEGY_COUNT);
	if (o.reserved)
		return refuse(failure, &o, GIGALOCK_REASON_BAD_ARGUMENT,
			      o.reserved, 0);
	if (o.lock && !GLK_COPY_OPTIONS(children.lock, o.lock))
		return refuse(failure, &o, GIGALOCK_REASON_BAD_ARGUMENT,
			      o.lock->size, sizeof(children.lock));
	ret = glk_card_open(device, &children.card, failure);
	if (ret)
		return ret;
	search.bytes = o.bytes;
	search.several = o.strategy == GLK_STRATEGY_AUTO;
	search.per_mille = o.per_mille ? o.per_mille : 10;
	search.tried = o.tried;
	search.tried_arg = o.tried_arg;
	if (o.strategy == GIGALOCK_STRATEGY_CONTIG_RANGE &&
	    o.bytes >= (uint64_t)4 << 20) {
		search.finest = search.granule;
		search.granule = (uint64_t)2 << 20;
	}
	if (o.strategy == GIGALOCK_STRATEGY_SG ||
	    o.strategy == GIGALOCK_STRATEGY_CHUNKED ||
	    o.strategy == GLK_STRATEGY_AUTO)
		search.comfortable = mem_available;
	ret = glk_search_run(&search, &found);
	if (ret)
		glk_fail_call(failure, -ret, GIGALOCK_OP_LOCK,
			      GIGALOCK_STAGE_ALLOCATE, o.strategy, o.bytes,
			      o.bytes);
	else
		glk_copy_result(result, &found, sizeof(found));
	glk_card_close(children.card);
	return ret;
}
