// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transfers: submitted to a channel, waited for, reaped.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "gl.h"

/* An id is the place in the file's table, and a number that goes round. */
#define GL_PLACE_BITS	10
static_assert(GIGALOCK_MAX_XFERS == 1 << GL_PLACE_BITS);

/* ---- memory for them: kept by the file, so that most cost no allocation ---- */

static void gl_xfer_spare(struct kref *ref)
{
	struct gl_xfer *xfer = container_of(ref, struct gl_xfer, ref);
	struct gl_file *file = xfer->file;

	spin_lock(&file->done_lock);
	list_add_tail(&xfer->node, &file->spare);
	spin_unlock(&file->done_lock);
}

void gl_xfer_put(struct gl_xfer *xfer)
{
	kref_put(&xfer->ref, gl_xfer_spare);
}

/*
 * Under gl_file.lock. One that was reaped is nobody's before the last who looks
 * at it has let go, another thread of the caller's for one: it counts until then.
 */
static bool gl_xfers_full(struct gl_file *file)
{
	bool full;

	if (file->nr_xfers >= GIGALOCK_MAX_XFERS)
		return true;
	if (file->made_xfers < GIGALOCK_MAX_XFERS)
		return false;
	spin_lock(&file->done_lock);
	full = list_empty(&file->spare);
	spin_unlock(&file->done_lock);
	return full;
}

/* Under gl_file.lock, and not full. NULL: no memory. */
static struct gl_xfer *gl_xfer_new(struct gl_file *file)
{
	struct gl_xfer *xfer;

	spin_lock(&file->done_lock);
	xfer = list_first_entry_or_null(&file->spare, struct gl_xfer, node);
	if (xfer)
		list_del_init(&xfer->node);
	spin_unlock(&file->done_lock);
	if (xfer)
		return xfer;
	if (!file->xfers)
		file->xfers = kvcalloc(GIGALOCK_MAX_XFERS, sizeof(*file->xfers),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!file->xfers)
		return NULL;
	xfer = kzalloc(sizeof(*xfer), GFP_KERNEL_ACCOUNT);
	if (!xfer)
		return NULL;
	INIT_LIST_HEAD(&xfer->node);
	xfer->file = file;
	xfer->place = file->made_xfers++;
	xfer->last_id = xfer->place;
	file->xfers[xfer->place] = xfer;
	return xfer;
}

/* Under gl_file.lock. */
static struct gl_xfer *gl_xfer_find(struct gl_file *file, u32 id)
{
	u32 place = id & (GIGALOCK_MAX_XFERS - 1);
	struct gl_xfer *xfer;

	if (!id || place >= file->made_xfers)
		return NULL;
	xfer = file->xfers[place];
	return xfer->id == id ? xfer : NULL;
}

/* ---- the end of one ---- */

/*
 * The channel has let go of it, and of its reference. Never the last one, and
 * before anyone can reap: or the lock might be given back later, by a thread
 * that has no business with it, than its owner was told.
 */
void gl_xfer_done(struct gl_xfer *xfer, int status, const struct gl_fail *fail)
{
	struct gl_file *file = xfer->file;
	struct gl_lock *lock = xfer->move.lock;
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
	xfer->move.lock = NULL;
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

/* ---- the beginning ---- */

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

/*
 * Under gl_file.lock: nobody can reap it by guessing its id before it is in its
 * channel.
 */
static int gl_xfer_begin(struct gl_file *file, struct gigalock_submit *arg,
			 const struct gl_move *move, struct gl_fail *fail)
{
	struct gl_card *card = file->card;
	struct gl_xfer *xfer;
	int err;

	if (gl_xfers_full(file)) {
		gl_fail_argument(fail, file->nr_xfers, GIGALOCK_MAX_XFERS);
		fail->err = -EAGAIN;
		return -EAGAIN;
	}
	err = gl_inject(card, GL_INJECT_METADATA);
	xfer = err ? NULL : gl_xfer_new(file);
	if (!xfer)
		return gl_fail_set(fail, GIGALOCK_REASON_KERNEL_METADATA,
				   GIGALOCK_STAGE_TABLE, err ?: -ENOMEM, 0,
				   sizeof(*xfer), 0);
	kref_init(&xfer->ref);
	xfer->state = GIGALOCK_XFER_QUEUED;
	xfer->timeout_ms = arg->timeout_ms;
	xfer->deadline = jiffies + msecs_to_jiffies(arg->timeout_ms) + 1;
	xfer->cookie = arg->cookie;
	xfer->move = *move;
	xfer->bytes = 0;
	xfer->begin_ns = 0;
	xfer->elapsed_ns = 0;
	xfer->fault_addr = 0;
	xfer->crc = 0;
	gl_who_am_i(&xfer->who);
	do {
		xfer->chan = gl_xfer_channel(card, move->direction);
		err = gl_share_submit(xfer->chan, xfer);
	} while (err == -EBUSY);
	if (err) {
		gl_xfer_put(xfer);
		return gl_fail_set(fail, GIGALOCK_REASON_DEVICE_GONE,
				   GIGALOCK_STAGE_TRANSFER, err, 0, arg->length, 0);
	}
	xfer->last_id += 1 << GL_PLACE_BITS;
	if (xfer->last_id > INT_MAX)
		xfer->last_id = xfer->place + (1 << GL_PLACE_BITS);
	xfer->id = xfer->last_id;
	file->nr_xfers++;
	arg->xfer = xfer->id;
	return 0;
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
	struct gl_lock *lock;
	int err;

	if (arg->reserved)
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

	mutex_lock(&file->lock);
	err = gl_xfer_begin(file, arg, &move, fail);
	mutex_unlock(&file->lock);
	if (!err)
		return 0;
put_lock:
	atomic_dec(&lock->inflight);
	gl_lock_put(lock);
	return err;
}

/* ---- reaping and asking ---- */

static struct gl_xfer *gl_xfer_get(struct gl_file *file, u32 id)
{
	struct gl_xfer *xfer;

	mutex_lock(&file->lock);
	xfer = gl_xfer_find(file, id);
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
static struct gl_xfer *gl_xfer_take(struct gl_file *file, struct gl_xfer *xfer,
				    u32 *id)
{
	mutex_lock(&file->lock);
	spin_lock(&file->done_lock);
	if (!file->nr_xfers || (xfer && !xfer->id))
		xfer = ERR_PTR(-ENOENT);
	else if (!xfer)
		xfer = list_first_entry_or_null(&file->done, struct gl_xfer, node);
	else if (xfer->state != GIGALOCK_XFER_DONE)
		xfer = NULL;
	if (!IS_ERR_OR_NULL(xfer))
		list_del_init(&xfer->node);
	spin_unlock(&file->done_lock);
	if (!IS_ERR_OR_NULL(xfer)) {
		*id = xfer->id;
		xfer->id = 0;
		file->nr_xfers--;
	}
	mutex_unlock(&file->lock);
	return xfer;
}

/* @failure: of a transfer that ended with a status. */
int gl_xfer_wait(struct gl_file *file, struct gigalock_wait *arg,
		 struct gigalock_failure *failure)
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
		xfer = gl_xfer_take(file, wanted, &arg->xfer);
		if (!xfer) {
			gl_share_peek(file->card);
			xfer = gl_xfer_take(file, wanted, &arg->xfer);
		}
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
			/* EINTR if a handler ran; else the call goes on. */
			err = -ERESTARTNOHAND;
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

	arg->cookie = xfer->cookie;
	arg->bytes = xfer->bytes;
	arg->fault_addr = xfer->fault_addr;
	arg->elapsed_ns = xfer->elapsed_ns;
	arg->crc = xfer->crc;
	arg->status = -xfer->status;
	if (xfer->status)
		*failure = xfer->failure;
	gl_xfer_put(xfer);
	return 0;
}

int gl_xfer_cancel(struct gl_file *file, u32 id)
{
	struct gl_xfer *xfer = gl_xfer_get(file, id);

	if (!xfer)
		return -ENOENT;
	gl_share_cancel(xfer->chan, xfer);
	gl_xfer_put(xfer);
	return 0;
}

/* Its owner was never told of it: it ends, and nobody reaps it. */
void gl_xfer_forget(struct gl_file *file, u32 id)
{
	struct gl_xfer *xfer = gl_xfer_get(file, id), *taken;

	if (!xfer)
		return;
	gl_share_cancel(xfer->chan, xfer);
	taken = gl_xfer_take(file, xfer, &id);
	if (!IS_ERR_OR_NULL(taken))
		gl_xfer_put(taken);
	gl_xfer_put(xfer);
}

int gl_xfer_progress(struct gl_file *file, struct gigalock_progress *arg)
{
	struct gl_xfer *xfer;

	if (arg->flags)
		return -EINVAL;
	xfer = gl_xfer_get(file, arg->xfer);
	if (!xfer)
		return -ENOENT;
	arg->bytes = gl_share_progress(xfer->chan, xfer);
	arg->total = xfer->move.length;
	arg->state = READ_ONCE(xfer->state);
	gl_xfer_put(xfer);
	return 0;
}

/* At the last close. Nobody else can reach the file's tables any more. */
void gl_xfer_release_all(struct gl_file *file)
{
	unsigned int i;

	for (i = 0; i < file->made_xfers; i++) {
		struct gl_xfer *xfer = file->xfers[i];

		if (xfer->id)
			gl_share_cancel(xfer->chan, xfer);
	}
	for (i = 0; i < file->made_xfers; i++)
		kfree(file->xfers[i]);
	kvfree(file->xfers);
}
