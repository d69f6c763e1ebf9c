// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transfers: submitted to a channel, waited for, reaped.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "gl.h"

/* A lost interrupt costs this long, not for ever. */
#define GL_LOOK_AGAIN	msecs_to_jiffies(250)

static void gl_xfer_free(struct kref *ref)
{
	kfree(container_of(ref, struct gl_xfer, ref));
}

void gl_xfer_put(struct gl_xfer *xfer)
{
	kref_put(&xfer->ref, gl_xfer_free);
}

/*
 * The channel has let go of it, and of its reference. Never the last one, and
 * before anyone can reap: or the lock might be given back later, by a thread
 * that has no business with it, than its owner was told.
 */
void gl_xfer_done(struct gl_xfer *xfer, int status, const struct gl_fail *fail)
{
	struct gl_file *file = xfer->file;
	struct gl_lock *lock = xfer->lock;
	struct gl_tally tally = { .lock = lock, .busy_ns = xfer->elapsed_ns };

	xfer->status = status;
	if (fail)
		gl_failure_record(file->card, fail, &xfer->who,
				  GIGALOCK_OP_TRANSFER,
				  lock->strategy->number, lock->bytes,
				  &xfer->failure);
	/*
	 * First the reference, then the count: while that is not 0 the file keeps
	 * the lock, so this is never the last reference, and once it is 0 giving
	 * the lock back gives it back at once.
	 */
	xfer->lock = NULL;
	gl_lock_put(lock);
	gl_tally_add(&tally, xfer->move.direction, xfer->bytes, status);
	gl_tally_flush(&tally);
	spin_lock(&file->done_lock);
	list_add_tail(&xfer->node, &file->done);
	WRITE_ONCE(xfer->state, GIGALOCK_XFER_DONE);
	gl_xfer_put(xfer);
	/* Under the lock: who reaps it takes the lock and so waits for the waker. */
	gl_file_tell(file);
	spin_unlock(&file->done_lock);
}

/*
 * Host to card on even channels, card to host on odd ones, in turn; on any,
 * when those are taken.
 */
static struct gl_chan *gl_xfer_channel(struct gl_card *card, u32 direction)
{
	unsigned int turn = (unsigned int)atomic_inc_return(&card->next_chan);
	unsigned int odd = direction == GIGALOCK_DIR_FROM_CARD;
	unsigned int i, like = 0, any = 0;

	for (i = 0; i < card->nchan; i++) {
		if (READ_ONCE(card->chan[i].taken))
			continue;
		any++;
		like += i % 2 == odd;
	}
	turn %= like ?: any ?: 1;
	for (i = 0; i < card->nchan; i++) {
		if (READ_ONCE(card->chan[i].taken) || (like && i % 2 != odd))
			continue;
		if (!turn--)
			return &card->chan[i];
	}
	/* Taken while we looked; it is asked again. */
	return &card->chan[0];
}

int gl_xfer_submit(struct gl_file *file, struct gigalock_submit *arg,
		   struct gl_fail *fail)
{
	const struct gigalock_queue_entry req = {
		.lock = arg->id,
		.direction = arg->direction,
		.flags = arg->flags,
		.offset = arg->offset,
		.length = arg->length,
		.card_offset = arg->card_offset,
		.op = arg->op,
		.pattern = arg->pattern,
	};
	struct gl_card *card = file->card;
	struct gl_move move = {};
	struct gl_xfer *xfer;
	struct gl_lock *lock;
	int err;

	if (arg->timeout_ms || arg->reserved)
		return gl_fail_argument(fail, arg->reserved, 0);
	err = gl_move_parse(card, &req, &move, fail);
	if (err)
		return err;

	lock = gl_lock_get(file, arg->id, true);
	if (!lock) {
		gl_fail_argument(fail, arg->id, 0);
		fail->err = -ENOENT;
		return -ENOENT;
	}
	move.lock = lock;
	err = gl_move_check(card, &move, fail);
	if (err)
		goto put_lock;
	gl_lock_seek(lock, move.offset, &move.pos);
	err = gl_move_aligned(card, &move, fail);
	if (err)
		goto put_lock;

	err = gl_inject(card, GL_INJECT_METADATA);
	xfer = err ? NULL : kzalloc(sizeof(*xfer), GFP_KERNEL_ACCOUNT);
	if (!xfer) {
		err = gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				  GIGALOCK_STAGE_TABLE, err ?: -ENOMEM, 0,
				  sizeof(*xfer), 0);
		goto put_lock;
	}
	kref_init(&xfer->ref);
	INIT_LIST_HEAD(&xfer->node);
	xfer->file = file;
	xfer->lock = lock;
	xfer->move = move;
	xfer->cookie = arg->cookie;
	gl_who_am_i(&xfer->who);

	mutex_lock(&file->lock);
	if (file->nr_xfers >= GIGALOCK_MAX_XFERS) {
		gl_fail_argument(fail, file->nr_xfers, GIGALOCK_MAX_XFERS);
		fail->err = -EAGAIN;
		err = -EAGAIN;
	} else {
		err = xa_alloc_cyclic(&file->xfers, &xfer->id, xfer,
				      XA_LIMIT(1, INT_MAX), &file->next_xfer,
				      GFP_KERNEL_ACCOUNT);
		if (err < 0)
			gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				    GIGALOCK_STAGE_TABLE, err, 0, sizeof(void *), 0);
	}
	if (err >= 0) {
		/*
		 * Under the mutex: nobody can reap and free it by guessing its
		 * id before it is in its channel.
		 */
		do {
			xfer->chan = gl_xfer_channel(card, move.direction);
			err = gl_chan_queue(xfer->chan, xfer);
		} while (err == -EBUSY);
		if (err) {
			xa_erase(&file->xfers, xfer->id);
			gl_fail_set(fail, GIGALOCK_REASON_DEVICE_GONE,
				    GIGALOCK_STAGE_TRANSFER, err, 0, arg->length, 0);
		} else {
			file->nr_xfers++;
			arg->xfer = xfer->id;
		}
	}
	mutex_unlock(&file->lock);
	if (!err)
		return 0;
	kfree(xfer);
put_lock:
	atomic_dec(&lock->inflight);
	gl_lock_put(lock);
	return err;
}

static struct gl_xfer *gl_xfer_get(struct gl_file *file, u32 id)
{
	struct gl_xfer *xfer;

	mutex_lock(&file->lock);
	xfer = xa_load(&file->xfers, id);
	if (xfer)
		kref_get(&xfer->ref);
	mutex_unlock(&file->lock);
	return xfer;
}

static bool gl_xfer_ready(struct gl_file *file, struct gl_xfer *xfer)
{
	bool ready;

	if (xfer)
		return READ_ONCE(xfer->state) == GIGALOCK_XFER_DONE;
	spin_lock(&file->done_lock);
	ready = !list_empty(&file->done);
	spin_unlock(&file->done_lock);
	return ready;
}

/*
 * Take a finished transfer (@xfer, or any if NULL) out of the file's tables.
 * The table's reference passes to the caller. NULL: none is finished;
 * -ENOENT: someone else took it, or there is none at all.
 */
static struct gl_xfer *gl_xfer_take(struct gl_file *file, struct gl_xfer *xfer)
{
	mutex_lock(&file->lock);
	spin_lock(&file->done_lock);
	if (!file->nr_xfers || (xfer && xa_load(&file->xfers, xfer->id) != xfer))
		xfer = ERR_PTR(-ENOENT);
	else if (!xfer)
		xfer = list_first_entry_or_null(&file->done, struct gl_xfer, node);
	else if (xfer->state != GIGALOCK_XFER_DONE)
		xfer = NULL;
	if (!IS_ERR_OR_NULL(xfer))
		list_del_init(&xfer->node);
	spin_unlock(&file->done_lock);
	if (!IS_ERR_OR_NULL(xfer)) {
		xa_erase(&file->xfers, xfer->id);
		file->nr_xfers--;
	}
	mutex_unlock(&file->lock);
	return xfer;
}

void gl_card_reap(struct gl_card *card)
{
	unsigned int i;

	for (i = 0; i < card->nchan; i++)
		gl_chan_reap(&card->chan[i]);
}

int gl_xfer_wait(struct gl_file *file, struct gigalock_wait *arg)
{
	unsigned long end = jiffies + msecs_to_jiffies(max(arg->timeout_ms, 0));
	struct gl_xfer *wanted = NULL, *xfer;
	long left;
	int err = 0;

	if (arg->flags || arg->timeout_ms < -1)
		return -EINVAL;
	if (arg->xfer) {
		wanted = gl_xfer_get(file, arg->xfer);
		if (!wanted)
			return -ENOENT;
	}
	for (;;) {
		xfer = gl_xfer_take(file, wanted);
		if (xfer)
			break;
		left = GL_LOOK_AGAIN;
		if (arg->timeout_ms >= 0)
			left = min_t(long, left, time_before(jiffies, end) ?
				     end - jiffies : 0);
		left = wait_event_interruptible_timeout(file->wait,
							gl_xfer_ready(file, wanted),
							left);
		if (left < 0) {
			err = -EINTR;
			break;
		}
		if (left)
			continue;
		gl_card_reap(file->card);
		if (arg->timeout_ms >= 0 && time_after_eq(jiffies, end) &&
		    !gl_xfer_ready(file, wanted)) {
			err = -ETIMEDOUT;
			break;
		}
	}
	if (wanted)
		gl_xfer_put(wanted);
	if (err)
		return err;
	if (IS_ERR(xfer))
		return PTR_ERR(xfer);

	arg->xfer = xfer->id;
	arg->cookie = xfer->cookie;
	arg->bytes = xfer->bytes;
	arg->fault_addr = xfer->fault_addr;
	arg->elapsed_ns = xfer->elapsed_ns;
	arg->crc = xfer->crc;
	arg->status = -xfer->status;
	if (xfer->status)
		gl_failure_to_user(arg->failure_addr, &xfer->failure);
	gl_xfer_put(xfer);
	return 0;
}

int gl_xfer_cancel(struct gl_file *file, u32 id)
{
	struct gl_xfer *xfer = gl_xfer_get(file, id);

	if (!xfer)
		return -ENOENT;
	gl_chan_cancel(xfer->chan, xfer);
	gl_xfer_put(xfer);
	return 0;
}

int gl_xfer_progress(struct gl_file *file, struct gigalock_progress *arg)
{
	struct gl_xfer *xfer;

	if (arg->flags)
		return -EINVAL;
	xfer = gl_xfer_get(file, arg->xfer);
	if (!xfer)
		return -ENOENT;
	arg->bytes = gl_chan_progress(xfer->chan, xfer);
	arg->total = xfer->move.length;
	arg->state = READ_ONCE(xfer->state);
	gl_xfer_put(xfer);
	return 0;
}

/* At the last close. Nobody else can reach the file's tables any more. */
void gl_xfer_release_all(struct gl_file *file)
{
	struct gl_xfer *xfer;
	unsigned long id;

	xa_for_each(&file->xfers, id, xfer) {
		gl_chan_cancel(xfer->chan, xfer);
		xa_erase(&file->xfers, id);
		gl_xfer_put(xfer);
	}
	xa_destroy(&file->xfers);
}
