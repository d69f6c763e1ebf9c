/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Failures (failure.c): noted where a call fails, told, and kept on the card.
 */
#ifndef GIGALOCK_FAILURE_H
#define GIGALOCK_FAILURE_H

#include <linux/sched.h>
#include <linux/types.h>

#include <linux/gigalock.h>

struct gl_card;

/* A failure with what every site has at hand; the rest is filled when recorded. */
struct gl_fail {
	u32 reason;
	u32 stage;
	int err;		/* negative errno */
	u32 unit;
	u64 limit;
	u64 request;
	u64 available;
};

/* Note a failure and return its errno. The first one noted stays. */
int gl_fail_set(struct gl_fail *fail, u32 reason, u32 stage, int err,
		u64 limit, u64 request, u64 available);
int gl_fail_argument(struct gl_fail *fail, u64 value, u64 limit);
int gl_fail_address(struct gl_fail *fail, u32 stage, u64 limit, u64 highest);
int gl_fail_node(struct gl_fail *fail, u32 stage, int nid, u64 request);

/* Who failed: the process that called, which need not be the one running now. */
struct gl_who {
	u32 pid;
	char comm[TASK_COMM_LEN];
};

void gl_who_am_i(struct gl_who *who);
void gl_failure_record(struct gl_card *card, const struct gl_fail *fail,
		       const struct gl_who *who, u32 op, u32 strategy,
		       u64 lock_size, struct gigalock_failure *out);
int gl_failures_read(struct gl_card *card, struct gigalock_failures *arg);
void gl_failure_to_user(u64 addr, const struct gigalock_failure *failure);

#endif /* GIGALOCK_FAILURE_H */
