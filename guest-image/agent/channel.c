// SPDX-License-Identifier: GPL-2.0-or-later
/* The command channel: lines with a checksum over a raw serial line. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"

static int line_fd = -1;
static char in[CHANNEL_LINE_MAX + 1];
static size_t in_len;		/* bytes in the buffer */
static size_t in_taken;		/* of these, already given out */
static bool skipping;		/* inside a line that is too long */

static uint32_t crc32_of(const char *p, size_t len)
{
	static uint32_t table[256];
	uint32_t crc = ~0u;

	if (!table[1]) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;

			for (int k = 0; k < 8; k++)
				c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0);
			table[i] = c;
		}
	}
	while (len--)
		crc = table[(crc ^ (unsigned char)*p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

int channel_open(const char *path)
{
	struct termios t;

	line_fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line_fd < 0)
		return -1;
	if (tcgetattr(line_fd, &t) == 0) {
		cfmakeraw(&t);
		t.c_cflag |= CLOCAL | CREAD;
		cfsetspeed(&t, B115200);
		tcsetattr(line_fd, TCSANOW, &t);
	}
	return line_fd;
}

int channel_read(void)
{
	ssize_t n;

	if (in_taken) {
		memmove(in, in + in_taken, in_len - in_taken);
		in_len -= in_taken;
		in_taken = 0;
	}
	if (in_len == CHANNEL_LINE_MAX) {
		if (!skipping)
			channel_error("-", "a line is longer than %d bytes", CHANNEL_LINE_MAX);
		skipping = true;
		in_len = 0;
	}
	n = read(line_fd, in + in_len, CHANNEL_LINE_MAX - in_len);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -1;
	if (n == 0)
		return -1;
	in_len += n;
	return 0;
}

char *channel_line(void)
{
	for (;;) {
		char *start = in + in_taken;
		char *end = memchr(start, '\n', in_len - in_taken);
		char *crc, *rest;
		uint32_t said;

		if (!end)
			return NULL;
		in_taken = end + 1 - in;
		*end = '\0';
		if (skipping) {
			skipping = false;
			continue;
		}
		crc = strrchr(start, ' ');
		if (!crc || strlen(crc + 1) != 8) {
			channel_error("-", "a line without checksum: %.40s", start);
			continue;
		}
		said = strtoul(crc + 1, &rest, 16);
		if (*rest || said != crc32_of(start, crc - start)) {
			channel_error("-", "a line with a wrong checksum: %.40s", start);
			continue;
		}
		*crc = '\0';
		return start;
	}
}

static void write_all(const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(line_fd, p, len);

		if (n < 0) {
			struct pollfd wait = { .fd = line_fd, .events = POLLOUT };

			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return;	/* nobody is left to tell */
			poll(&wait, 1, -1);
			continue;
		}
		p += n;
		len -= n;
	}
}

static void send_line(char *line, size_t len)
{
	/* The caller left room for " " + 8 digits + newline + NUL. */
	sprintf(line + len, " %08x\n", crc32_of(line, len));
	write_all(line, len + 10);
}

void channel_send(const char *fmt, ...)
{
	char line[512];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 11, fmt, args);
	va_end(args);
	if (len > (int)sizeof(line) - 12)
		len = sizeof(line) - 12;
	send_line(line, len);
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void channel_send_data(const char *word, const char *id, const void *data, size_t len)
{
	char line[64 + CHANNEL_CHUNK / 3 * 4 + 16];
	const unsigned char *p = data;
	size_t at;

	if (len > CHANNEL_CHUNK)
		len = CHANNEL_CHUNK;
	at = snprintf(line, 64, "%s %.20s ", word, id);
	for (; len; len -= len < 3 ? len : 3, p += 3) {
		uint32_t v = p[0] << 16 | (len > 1 ? p[1] << 8 : 0) | (len > 2 ? p[2] : 0);

		line[at++] = digits[v >> 18];
		line[at++] = digits[v >> 12 & 63];
		line[at++] = len > 1 ? digits[v >> 6 & 63] : '=';
		line[at++] = len > 2 ? digits[v & 63] : '=';
	}
	send_line(line, at);
}

void channel_error(const char *id, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	channel_send_data("ERROR", id, text, strlen(text));
}

/* Returns the number of bytes, or -1 when the text is no base64 or too long. */
ssize_t base64_decode(const char *text, void *out, size_t room)
{
	static signed char value[256];
	unsigned char *p = out;
	size_t len = strlen(text), n = 0;

	if (!value['A']) {
		memset(value, -1, sizeof(value));
		for (int i = 0; i < 64; i++)
			value[(unsigned char)digits[i]] = i;
		value['A'] = 64;	/* not 0, so that "filled" shows; & 63 below */
	}
	if (len % 4)
		return -1;
	for (size_t i = 0; i < len; i += 4) {
		int last = i + 4 == len;
		int pad = last ? (text[i + 3] == '=') + (text[i + 2] == '=' && text[i + 3] == '=') : 0;
		uint32_t v = 0;

		for (int k = 0; k < 4; k++) {
			int d = k >= 4 - pad ? 0 : value[(unsigned char)text[i + k]];

			if (d < 0)
				return -1;
			v = v << 6 | (d & 63);
		}
		for (int k = 0; k < 3 - pad; k++) {
			if (n == room)
				return -1;
			p[n++] = v >> (16 - 8 * k);
		}
	}
	return n;
}
