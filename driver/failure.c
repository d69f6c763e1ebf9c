// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why something failed: noted where the call failed, given to the caller, and
 * kept on the card for whoever asks later. The caller may be dead by then.
 */
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#include "gl.h"

int gl_fail_set(struct gl_fail *fail, u32 reason, u32 stage, int err,
		u64 limit, u64 request, u64 available)
{
	if (fail->reason == GIGALOCK_REASON_NONE) {
		fail->reason = reason;
		fail->stage = stage;
		fail->err = err;
		fail->unit = GIGALOCK_UNIT_BYTES;
		fail->limit = limit;
		fail->request = request;
		fail->available = available;
	}
	return err;
}

int gl_fail_argument(struct gl_fail *fail, u64 value, u64 limit)
{
	gl_fail_set(fail, GIGALOCK_REASON_BAD_ARGUMENT, GIGALOCK_STAGE_ARGUMENTS,
		    -EINVAL, limit, value, 0);
	fail->unit = GIGALOCK_UNIT_COUNT;
	return -EINVAL;
}

/* @highest would be needed, or was given, where @limit is the end. */
int gl_fail_address(struct gl_fail *fail, u32 stage, u64 limit, u64 highest)
{
	gl_fail_set(fail, GIGALOCK_REASON_ADDRESS_WIDTH, stage, -ERANGE, limit,
		    highest, 0);
	fail->unit = GIGALOCK_UNIT_ADDRESS;
	return -ERANGE;
}

void gl_who_am_i(struct gl_who *who)
{
	who->pid = task_tgid_nr(current);
	get_task_comm(who->comm, current);
}

void gl_failure_record(struct gl_card *card, const struct gl_fail *fail,
		       const struct gl_who *who, u32 op, u32 strategy,
		       u64 lock_size, struct gigalock_failure *out)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->reason = fail->reason;
	out->stage = fail->stage;
	out->err = -fail->err;
	out->limit = fail->limit;
	out->request = fail->request;
	out->available = fail->available;
	out->unit = fail->unit;
	out->strategy = strategy;
	out->op = op;
	out->lock_size = lock_size;
	out->pid = who->pid;
	memcpy(out->comm, who->comm, sizeof(out->comm));
	out->time_ns = ktime_get_ns();

	spin_lock(&card->log_lock);
	out->seq = ++card->log_seq;
	card->log[(out->seq - 1) % GIGALOCK_FAILURE_LOG] = *out;
	spin_unlock(&card->log_lock);
}

/*
 * One record at a time, copied out without the spinlock: the reader may fault.
 * Records that are overwritten meanwhile are passed over.
 */
int gl_failures_read(struct gl_card *card, struct gigalock_failures *arg)
{
	u64 __user *to = u64_to_user_ptr(arg->records);
	u32 step = arg->record_size;
	u64 seq = arg->since;

	if (step < sizeof(u64) || step > PAGE_SIZE || step % sizeof(u64))
		return -EINVAL;

	arg->count = 0;
	while (arg->count < min_t(u32, arg->capacity, GIGALOCK_FAILURE_LOG)) {
		struct gigalock_failure one;
		bool found = false;

		spin_lock(&card->log_lock);
		if (card->log_seq > GIGALOCK_FAILURE_LOG)
			seq = max(seq, card->log_seq - GIGALOCK_FAILURE_LOG);
		if (seq < card->log_seq) {
			one = card->log[seq % GIGALOCK_FAILURE_LOG];
			found = true;
		}
		spin_unlock(&card->log_lock);
		if (!found)
			break;

		one.size = min_t(u32, step, sizeof(one));
		if (copy_to_user((void __user *)to + arg->count * step, &one,
				 one.size))
			return -EFAULT;
		if (step > sizeof(one) &&
		    clear_user((void __user *)to + arg->count * step + sizeof(one),
			       step - sizeof(one)))
			return -EFAULT;
		arg->count++;
		seq++;
	}
	arg->record_size = sizeof(struct gigalock_failure);
	return 0;
}

/*
 * The caller's struct says how much of it the caller knows. A bad address here
 * doesn't replace the error that is being told.
 */
void gl_failure_to_user(u64 addr, const struct gigalock_failure *failure)
{
	void __user *to = u64_to_user_ptr(addr);
	struct gigalock_failure copy = *failure;
	u32 size;

	if (!addr || get_user(size, (u32 __user *)to))
		return;
	copy.size = min_t(u32, size, sizeof(copy));
	if (copy.size < sizeof(u32))
		return;
	/* Nothing left to do if it faults; the errno still tells the story. */
	if (copy_to_user(to, &copy, copy.size))
		return;
}
