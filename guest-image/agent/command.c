// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One command at a time: its processes, its output, its time limit.
 *
 * A command is a session of its own. It ends when its shell ends; what it left
 * running in the background stays, but can't print through the channel any
 * more. When the time is up the whole session is killed.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define KILL_GRACE_MS 2000	/* a process in the kernel can't be killed: don't wait for ever */
#define TEXT_MAX (96 * 1024)	/* Linux takes 128 KiB in one argument */

static struct {
	char id[21];
	pid_t pid;		/* 0: no command runs */
	uint64_t started, deadline;
	bool timed_out, exited;	/* exited: status is what waitpid said */
	int status;
	int fd[COMMAND_FDS];
} cmd = { .fd = { -1, -1 } };

static const char *const words[COMMAND_FDS] = { "OUT", "ERR" };

/* Kill every process of a session, also those that left the process group. */
static void kill_session(pid_t sid)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;

	kill(-sid, SIGKILL);
	if (!proc)
		return;
	while ((e = readdir(proc))) {
		char path[300], stat[512], *p, state;
		int ppid, pgrp, session;
		ssize_t n;
		int fd;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, stat, sizeof(stat) - 1);
		close(fd);
		if (n <= 0)
			continue;
		stat[n] = '\0';
		p = strrchr(stat, ')');	/* the name before it may hold anything */
		if (!p || sscanf(p + 1, " %c %d %d %d", &state, &ppid, &pgrp, &session) != 4)
			continue;
		if (session != sid || state == 'Z' || state == 'X')
			continue;
		kill(atoi(e->d_name), SIGKILL);
	}
	closedir(proc);
}

static void run_child(const char *text, int out, int err)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	setsid();
	dup2(null, 0);
	dup2(out, 1);
	dup2(err, 2);
	if (null > 2)
		close(null);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execl("/bin/sh", "sh", "-c", text, (char *)NULL);
	dprintf(2, "agent: /bin/sh: %s\n", strerror(errno));
	_exit(127);
}

void command_start(const char *id, const char *milliseconds, const char *text64)
{
	static char text[TEXT_MAX + 1];
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	unsigned long long limit;
	ssize_t len;
	char *rest;
	pid_t pid;

	if (cmd.pid) {
		channel_error(id, "command %s is still running", cmd.id);
		return;
	}
	limit = strtoull(milliseconds, &rest, 10);
	if (!isdigit((unsigned char)*milliseconds) || *rest || !limit || limit > UINT32_MAX) {
		channel_error(id, "time limit '%.20s' is not 1 to %u milliseconds", milliseconds, UINT32_MAX);
		return;
	}
	len = base64_decode(text64, text, TEXT_MAX);
	if (len < 0 || memchr(text, '\0', len)) {
		channel_error(id, "the command is no base64 text of at most %d bytes", TEXT_MAX);
		return;
	}
	text[len] = '\0';
	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || (pid = fork()) < 0) {
		channel_error(id, "can't start a command: %s", strerror(errno));
		close(out[0]);
		close(out[1]);
		close(err[0]);
		close(err[1]);
		return;
	}
	if (!pid)
		run_child(text, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	snprintf(cmd.id, sizeof(cmd.id), "%s", id);
	cmd.pid = pid;
	cmd.started = now_ms();
	cmd.deadline = cmd.started + limit;
	cmd.timed_out = cmd.exited = false;
	cmd.fd[0] = out[0];
	cmd.fd[1] = err[0];
}

int command_fd(unsigned int which)
{
	return cmd.fd[which];
}

/* Sends one frame; false when nothing more is to be had now. */
static bool pass_on(unsigned int which)
{
	char data[CHANNEL_CHUNK];
	ssize_t n;

	if (cmd.fd[which] < 0)
		return false;
	n = read(cmd.fd[which], data, sizeof(data));
	if (n > 0) {
		channel_send_data(words[which], cmd.id, data, n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(cmd.fd[which]);
		cmd.fd[which] = -1;
	}
	return false;
}

void command_output(unsigned int which)
{
	pass_on(which);
}

static void finish(void)
{
	const char *how = "exit";
	unsigned int number = 0;

	if (cmd.timed_out)
		kill_session(cmd.pid);	/* what was forked while the first round went on */
	for (unsigned int i = 0; i < COMMAND_FDS; i++) {
		/* What is in the pipe was written before the end; a process in the
		 * background could go on for ever, so stop at a pipe's worth.
		 */
		for (unsigned int k = 0; k < 64 && pass_on(i); k++)
			;
		if (cmd.fd[i] >= 0)
			close(cmd.fd[i]);
		cmd.fd[i] = -1;
	}
	if (cmd.timed_out) {
		how = "timeout";
		number = !cmd.exited;
	} else if (WIFSIGNALED(cmd.status)) {
		how = "signal";
		number = WTERMSIG(cmd.status);
	} else {
		number = WEXITSTATUS(cmd.status);
	}
	cmd.pid = 0;
	channel_send("END %s %s %u %llu", cmd.id, how, number,
		     (unsigned long long)(now_ms() - cmd.started));
}

void command_exited(pid_t pid, int status)
{
	if (!cmd.pid || pid != cmd.pid)
		return;
	cmd.exited = true;
	cmd.status = status;
	finish();
}

void command_tick(void)
{
	if (!cmd.pid || now_ms() < cmd.deadline)
		return;
	if (!cmd.timed_out) {
		cmd.timed_out = true;
		cmd.deadline = now_ms() + KILL_GRACE_MS;
		kill_session(cmd.pid);
		return;
	}
	finish();
}

int command_poll_ms(void)
{
	uint64_t now = now_ms();

	if (!cmd.pid)
		return -1;
	if (now >= cmd.deadline)
		return 0;
	return cmd.deadline - now > 60000 ? 60000 : (int)(cmd.deadline - now);
}
