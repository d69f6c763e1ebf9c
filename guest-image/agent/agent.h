/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's init and the far end of the harness's command channel.
 *
 * The channel is a serial line (ttyS1). Both ways it carries lines of text:
 *
 *     WORD FIELD... CRC\n
 *
 * CRC is the CRC-32 (zlib's) of everything before the blank in front of it, as
 * eight hexadecimal digits. Anything binary is a base64 field. A line that is
 * longer than CHANNEL_LINE_MAX, or whose CRC is wrong, is answered by ERROR.
 *
 * From the host:
 *     RUN id milliseconds base64(command)   run /bin/sh -c command
 *     FILE id mode size base64(path)        a file of that size follows
 *     DATA id base64(bytes)                 the next piece of it
 *     POWEROFF
 * From the guest:
 *     HELLO version release tainted         once, when commands are welcome
 *     OUT id base64(bytes)                  standard output of the command
 *     ERR id base64(bytes)                  its standard error
 *     END id exit|signal|timeout n ms       n: exit code; signal; 1 if it can't be killed
 *     ACK id bytes                          so much of the file is written
 *     ERROR id base64(text)                 what can't be done, and why
 */
#ifndef GIGALOCK_AGENT_H
#define GIGALOCK_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHANNEL_VERSION 1
#define CHANNEL_LINE_MAX (160 * 1024)
#define CHANNEL_CHUNK 3072	/* bytes of output in a frame: a multiple of 3 */

/* channel.c */
int channel_open(const char *path);
int channel_read(void);		/* read what is there; -1 when the line is gone */
char *channel_line(void);	/* next whole, checked line; NULL when there is none */
void channel_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void channel_send_data(const char *word, const char *id, const void *data, size_t len);
void channel_error(const char *id, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
ssize_t base64_decode(const char *text, void *out, size_t room);

/* command.c */
#define COMMAND_FDS 2
void command_start(const char *id, const char *milliseconds, const char *text64);
void command_exited(pid_t pid, int status);	/* every reaped child comes here */
void command_tick(void);			/* sees to the time limit */
int command_poll_ms(void);			/* until the next tick; -1: no need */
int command_fd(unsigned int which);		/* to be polled; -1: none */
void command_output(unsigned int which);	/* that one is readable */

/* file.c */
void file_begin(const char *id, const char *mode, const char *size, const char *path64);
void file_data(const char *id, const char *data64);

/* setup.c */
void setup_system(void);
bool setup_shell_wanted(void);
pid_t setup_shell(void);

uint64_t now_ms(void);

#endif
