// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's init: sets the system up, then serves the command channel.
 *
 * As process 1 it takes /dev/ttyS1. Started by hand, "agent PATH" serves that
 * line and leaves the system alone: that is how its tests run without a guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

static bool is_init;
static pid_t shell_pid;

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static void power_off(void)
{
	if (!is_init)
		exit(0);
	sync();
	reboot(RB_POWER_OFF);
	perror("agent: power off");
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (shell_pid && pid == shell_pid)
			power_off();
		command_exited(pid, status);
	}
}

static void handle(char *line)
{
	char *save, *word[6] = { NULL };
	unsigned int n = 0;

	for (char *w = strtok_r(line, " ", &save); w && n < 6; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	if (n == 4 && !strcmp(word[0], "RUN"))
		command_start(word[1], word[2], word[3]);
	else if (n == 5 && !strcmp(word[0], "FILE"))
		file_begin(word[1], word[2], word[3], word[4]);
	else if (n == 3 && !strcmp(word[0], "DATA"))
		file_data(word[1], word[2]);
	else if (n == 1 && !strcmp(word[0], "POWEROFF"))
		power_off();
	else
		channel_error(n > 1 ? word[1] : "-", "unknown request '%.40s' of %u words", n ? word[0] : "", n);
}

static void hello(void)
{
	unsigned long tainted = 0;
	struct utsname u;
	FILE *f = fopen("/proc/sys/kernel/tainted", "re");

	if (f) {
		if (fscanf(f, "%lu", &tainted) != 1)
			tainted = 0;
		fclose(f);
	}
	uname(&u);
	channel_send("HELLO %d %s %lu", CHANNEL_VERSION, u.release, tainted);
}

int main(int argc, char **argv)
{
	sigset_t set;
	int line, sig;

	is_init = getpid() == 1;
	if (is_init) {
		setup_system();
	} else if (argc != 2) {
		fprintf(stderr, "usage: agent LINE (it is the init of a guest; by hand it serves the tty LINE)\n");
		return 2;
	} else {
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	}
	line = channel_open(is_init ? "/dev/ttyS1" : argv[1]);
	if (line < 0) {
		/* As init this ends in the kernel's panic, with this line above it. */
		fprintf(stderr, "agent: %s: %s\n", is_init ? "/dev/ttyS1" : argv[1], strerror(errno));
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sig = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (sig < 0) {
		perror("agent: signalfd");
		return 1;
	}
	hello();
	if (is_init && setup_shell_wanted())
		shell_pid = setup_shell();

	for (;;) {
		struct pollfd p[2 + COMMAND_FDS] = {
			{ .fd = line, .events = POLLIN },
			{ .fd = sig, .events = POLLIN },
			{ .fd = command_fd(0), .events = POLLIN },
			{ .fd = command_fd(1), .events = POLLIN },
		};
		struct signalfd_siginfo info;

		if (poll(p, 2 + COMMAND_FDS, command_poll_ms()) < 0 && errno != EINTR) {
			perror("agent: poll");
			return 1;
		}
		for (unsigned int i = 0; i < COMMAND_FDS; i++)
			if (p[2 + i].revents)
				command_output(i);
		if (p[1].revents) {
			while (read(sig, &info, sizeof(info)) > 0)
				;
			reap();
		}
		command_tick();
		if (p[0].revents) {
			char *text;

			if (channel_read()) {
				if (!is_init)
					return 0;
				sleep(1);	/* a hang-up on a serial line passes */
				continue;
			}
			while ((text = channel_line()))
				handle(text);
		}
	}
}
