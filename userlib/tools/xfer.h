/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of `gigalock xfer` share: the order of things is in
 * cmd-xfer.c, how data move in xfer-move.c, how they are made and looked at in
 * xfer-check.c, and the report in xfer-say.c.
 */
#ifndef XFER_H
#define XFER_H

#include "tools-common.h"

enum check { CHECK_HOST, CHECK_DEVICE, CHECK_NONE };

struct xfer_args {
	struct lock_report report;
	uint64_t seed;
	uint64_t offset;
	uint64_t card_offset;
	uint64_t window;	/* as asked for; 0: as large as possible */
	uint64_t queue;		/* move through one of so many places; 0: don't */
	uint64_t piece;		/* of what a queue moves */
	double timeout;
	enum check check;
	const char *check_name;
	bool seeded;
	bool no_verify;
	bool no_crc;
	bool irq;
};

enum verdict { NOT_COMPARED, SAME, DIFFERENT };

struct result {
	enum verdict verdict;
	uint64_t windows;
	uint64_t window;
	bool have_expected, have_to, have_from;
	uint32_t crc_expected, crc_to, crc_from;
	uint64_t bytes_to, bytes_from;
	uint64_t ns_to, ns_from;
	double fill_ms, verify_ms;
	const char *differs;	/* where it was seen, when only the card knows */
	bool have_difference;
	struct glk_difference difference;
	bool have_stats;
	struct gigalock_lock_stats stats;
};

/* ---- xfer-move.c ----------------------------------------------------------- */

struct mover;	/* by calls, or through a queue */

struct mover *mover_new(struct glk_card *card, struct xfer_args *args);
void mover_free(struct mover *mover);

/* One window in one direction. 0, or an errno with args->report filled. */
int move_window(struct mover *mover, struct xfer_args *args, uint32_t direction,
		uint64_t at, uint64_t length, struct result *r);

/* One transfer of any kind by a call; the same. */
int transfer(struct xfer_args *args, const struct glk_xfer_options *options,
	     struct glk_xfer_result *done);

/* ---- xfer-check.c ---------------------------------------------------------- */

/* Data for [from, to) of the lock: the seeded ones, or their complement, of
 * which no byte is the same. 0, or an errno with args->report filled. */
int make_data(struct xfer_args *args, const char *what, uint64_t from,
	      uint64_t to, bool inverse);

/* The device check looks in between, too: that the complement is there, and at
 * a window that came back. */
int check_inverse(struct xfer_args *args, uint64_t at, uint64_t length,
		  struct result *r);
int check_window(struct xfer_args *args, uint64_t at, uint64_t length,
		 struct result *r);

/* At the end: all of it. */
int check_all(struct xfer_args *args, struct result *r);

/* ---- xfer-say.c ------------------------------------------------------------ */

double now_ms(void);
int say_xfer(const struct tool *tool, const struct xfer_args *args,
	     const struct result *r, int code);

#endif
