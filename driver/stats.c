// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a lock's transfers did.
 */
#include "gl.h"

void gl_tally_add(struct gl_tally *t, u32 direction, u64 bytes, int status)
{
	t->transfers++;
	if (status == -ECANCELED)
		t->cancelled++;
	else if (status)
		t->errors++;
	if (direction == GIGALOCK_DIR_TO_CARD)
		t->to_card += bytes;
	else
		t->from_card += bytes;
}

/*
 * The transfers are over, for the lock too: once nothing is in flight it may
 * be given back, so it is not looked at after that.
 */
void gl_tally_flush(struct gl_tally *t)
{
	struct gl_lock *lock = t->lock;

	if (!lock)
		return;
	atomic64_add(t->transfers, &lock->transfers);
	if (t->errors)
		atomic64_add(t->errors, &lock->errors);
	if (t->cancelled)
		atomic64_add(t->cancelled, &lock->cancelled);
	if (t->to_card)
		atomic64_add(t->to_card, &lock->to_card_bytes);
	if (t->from_card)
		atomic64_add(t->from_card, &lock->from_card_bytes);
	if (t->busy_ns)
		atomic64_add(t->busy_ns, &lock->busy_ns);
	/* What was counted is seen by whoever sees it no longer in flight. */
	smp_mb__before_atomic();
	atomic_sub(t->transfers, &lock->inflight);
}

int gl_lock_stats(struct gl_file *file, struct gigalock_lock_stats *arg)
{
	struct gl_lock *lock = gl_lock_get(file, arg->id, false);

	if (!lock)
		return -ENOENT;
	gl_card_reap(file->card);
	arg->inflight = atomic_read(&lock->inflight);
	/* See gl_tally_flush(). */
	smp_rmb();
	arg->transfers = atomic64_read(&lock->transfers);
	arg->errors = atomic64_read(&lock->errors);
	arg->cancelled = atomic64_read(&lock->cancelled);
	arg->to_card_bytes = atomic64_read(&lock->to_card_bytes);
	arg->from_card_bytes = atomic64_read(&lock->from_card_bytes);
	arg->busy_ns = atomic64_read(&lock->busy_ns);
	arg->mappings = atomic_read(&lock->mappings);
	gl_lock_put(lock);
	return 0;
}
