/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The child that works and the parent that watches it.
 *
 * When memory runs out the kernel kills a process, and a process that was
 * killed can't say why. So the work is done by a child that asks to be the one;
 * its parent survives, reads the reason from the card's log and reports it. The
 * parent also tells the progress: the child may be inside one long call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools-common.h"

/* Shared by parent and child. */
struct board {
	_Atomic(const char *) what;	/* a literal, so valid in both */
	atomic_uint_fast64_t done;
	atomic_uint_fast64_t total;
};

static struct board *board;

void progress(const char *what, uint64_t done, uint64_t total)
{
	if (!board)
		return;
	atomic_store(&board->done, done);
	atomic_store(&board->total, total);
	atomic_store(&board->what, what);
}

static void show(const struct tool *tool, int seconds)
{
	const char *what = atomic_load(&board->what);
	uint64_t done = atomic_load(&board->done);
	uint64_t total = atomic_load(&board->total);

	if (!what)
		return;
	fprintf(stderr, "gigalock: %s: %s", tool->command, what);
	if (total)
		fprintf(stderr, " %s of %s", SIZE(done), SIZE(total));
	fprintf(stderr, ", %d s\n", seconds);
}

static void prefer_as_victim(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) != 4)
		fprintf(stderr, "gigalock: oom_score_adj: %s\n", strerror(errno));
	close(fd);
}

static int work(struct tool *tool, const struct job *job)
{
	struct gigalock_failure failure;
	struct glk_card *card;
	int code;

	if (glk_card_open(tool->device, &card, &failure))
		return no_card(tool, &failure);
	code = job->work(tool, card, job->arg);
	glk_card_close(card);
	return code;
}

/* Wait for the child; @pipe is closed when it ends. */
static int watch(const struct tool *tool, pid_t pid, int pipe)
{
	struct pollfd poll_for = { .fd = pipe, .events = POLLIN };
	int seconds = 0, status = 0;

	while (poll(&poll_for, 1, 1000) <= 0) {
		seconds++;
		if (!tool->quiet)
			show(tool, seconds);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

int run_job(struct tool *tool, const struct job *job)
{
	struct gigalock_failure failure;
	struct glk_card *card;
	pid_t parent = getpid();
	int64_t since;
	int ends[2], status, ret;
	pid_t pid;

	if (tool->one_process)
		return work(tool, job);
	if (glk_card_open(tool->device, &card, &failure))
		return no_card(tool, &failure);
	since = glk_card_failure_seq(card);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED) {
		board = NULL;
		return internal_error(tool, "mmap", errno);
	}
	if (pipe2(ends, O_CLOEXEC))
		return internal_error(tool, "pipe", errno);
	pid = fork();
	if (pid < 0)
		return internal_error(tool, "fork", errno);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILED);
		close(ends[0]);
		/* A file of its own: what it locks dies with it. */
		glk_card_close(card);
		prefer_as_victim();
		exit(work(tool, job));
	}
	close(ends[1]);
	status = watch(tool, pid, ends[0]);
	close(ends[0]);
	if (WIFEXITED(status)) {
		glk_card_close(card);
		return WEXITSTATUS(status);
	}
	ret = glk_failure_of_child(card, pid, status,
				   since < 0 ? 0 : (uint64_t)since, &failure);
	glk_card_close(card);
	if (ret > 0)
		return job->killed(tool, &failure, job->arg);
	fprintf(stderr, "gigalock: %s: ended by signal %d (%s)\n", tool->command,
		WTERMSIG(status), strsignal(WTERMSIG(status)));
	return internal_error(tool, "the working process was killed", EINTR);
}
