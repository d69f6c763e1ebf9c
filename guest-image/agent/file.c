// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A file from the host: written beside its name and renamed when it is whole.
 * Every piece is acknowledged, so that the host never sends more than the
 * serial line's buffers hold.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

static struct {
	char id[21];
	char path[PATH_MAX], part[PATH_MAX + 8];
	int fd;
	mode_t mode;
	unsigned long long size, done;
} file = { .fd = -1 };

static void give_up(const char *doing)
{
	int error = errno;

	if (file.fd >= 0) {
		close(file.fd);
		unlink(file.part);
	}
	file.fd = -1;
	channel_error(file.id, "%s %s: %s", doing, file.path, strerror(error));
}

static void progress(void)
{
	if (file.done == file.size) {
		if (fchmod(file.fd, file.mode) || rename(file.part, file.path)) {
			give_up("finishing");
			return;
		}
		close(file.fd);
		file.fd = -1;
	}
	channel_send("ACK %s %llu", file.id, file.done);
}

void file_begin(const char *id, const char *mode, const char *size, const char *path64)
{
	ssize_t len;
	char *rest;

	if (file.fd >= 0) {	/* the host gave that one up */
		close(file.fd);
		unlink(file.part);
		file.fd = -1;
	}
	snprintf(file.id, sizeof(file.id), "%s", id);
	file.mode = strtoul(mode, &rest, 8);
	if (!isdigit((unsigned char)*mode) || *rest || file.mode > 07777) {
		channel_error(id, "mode '%.20s' is not octal, at most 7777", mode);
		return;
	}
	file.size = strtoull(size, &rest, 10);
	if (!isdigit((unsigned char)*size) || *rest) {
		channel_error(id, "size '%.20s' is not a number", size);
		return;
	}
	len = base64_decode(path64, file.path, sizeof(file.path) - 1);
	if (len <= 0 || memchr(file.path, '\0', len)) {
		channel_error(id, "the path is no base64 text of 1 to %d bytes", PATH_MAX - 1);
		return;
	}
	file.path[len] = '\0';
	file.done = 0;
	snprintf(file.part, sizeof(file.part), "%s.part", file.path);
	file.fd = open(file.part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file.fd < 0) {
		give_up("creating");
		return;
	}
	progress();
}

void file_data(const char *id, const char *data64)
{
	static char data[CHANNEL_LINE_MAX];
	ssize_t len = base64_decode(data64, data, sizeof(data));
	char *p = data;

	if (file.fd < 0 || strcmp(id, file.id)) {
		channel_error(id, "no file is being sent under this number");
		return;
	}
	if (len <= 0 || (unsigned long long)len > file.size - file.done) {
		errno = EFBIG;
		give_up("a piece that doesn't fit");
		return;
	}
	while (len) {
		ssize_t n = write(file.fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			give_up("writing");
			return;
		}
		p += n;
		len -= n;
		file.done += n;
	}
	progress();
}
