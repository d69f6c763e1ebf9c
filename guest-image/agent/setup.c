// SPDX-License-Identifier: GPL-2.0-or-later
/* What an init does first, and the shell for people. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"

static const struct {
	const char *type, *dir, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", "/dev", NULL, MS_NOSUID },
	{ "devpts", "/dev/pts", "mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", NULL, MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/tmp", NULL, MS_NOSUID | MS_NODEV },
	{ "debugfs", "/sys/kernel/debug", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

void setup_system(void)
{
	umask(022);
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].dir, 0755);	/* sysfs has its own; the others may be new */
		if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, mounts[i].flags, mounts[i].options))
			fprintf(stderr, "agent: mounting %s on %s: %s\n", mounts[i].type, mounts[i].dir,
				strerror(errno));
	}
	chmod("/tmp", 01777);
	chmod("/dev/shm", 01777);

	/*
	 * The guest boots with "quiet" because every printed line costs time.
	 * From here on the console must show warnings: the harness reads them.
	 */
	klogctl(8 /* SYSLOG_ACTION_CONSOLE_LEVEL */, NULL, 7);

	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C", 1);
	unsetenv("TERM");
	if (chdir("/root"))
		perror("agent: /root");
}

/* The value of a "gigalock.shell[=ROWSxCOLS]" word of the kernel command line. */
static bool shell_word(unsigned short *rows, unsigned short *cols)
{
	static char line[4096];
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
	char *word, *save;

	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = '\0';
	for (word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (!strcmp(word, "gigalock.shell"))
			return true;
		if (sscanf(word, "gigalock.shell=%hux%hu", rows, cols) == 2)
			return true;
	}
	return false;
}

bool setup_shell_wanted(void)
{
	unsigned short unused;

	return shell_word(&unused, &unused);
}

/* A login shell on the console with job control; the agent goes on beside it. */
pid_t setup_shell(void)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	pid_t pid;
	sigset_t none;
	int fd;

	shell_word(&size.ws_row, &size.ws_col);
	pid = fork();
	if (pid)
		return pid;
	setsid();
	fd = open("/dev/ttyS0", O_RDWR);
	if (fd < 0)
		_exit(127);
	ioctl(fd, TIOCSCTTY, 1);
	ioctl(fd, TIOCSWINSZ, &size);
	dup2(fd, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	if (fd > 2)
		close(fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setenv("TERM", "linux", 1);
	execl("/bin/sh", "-sh", (char *)NULL);	/* the dash: read /etc/profile */
	dprintf(2, "agent: /bin/sh: %s\n", strerror(errno));
	_exit(127);
}
