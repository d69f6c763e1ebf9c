// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels that transfers share. Each has a line of transfers; the front of it
 * is in the ring, in chains with a completion each.
 *
 * A small transfer shares the ring with its neighbours, a large one has it for
 * itself. One that ends early (cancelled, late, failed) makes the channel stop;
 * then it is taken out and the others begin again where they were, in the same
 * order. What they do twice is bounded by what may share the ring, and a large
 * transfer never has to: nobody else's descriptors are in the ring with it.
 *
 * The card is not trusted: a completion that doesn't fit what was asked for
 * fails its transfer and restarts the channel.
 */
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/sizes.h>

#include "gl.h"

#define GL_SMALL	SZ_256K		/* may share the ring */
#define GL_SHARED_BYTES	SZ_1M		/* this much together */

static struct gl_batch *gl_share_batch(struct gl_chan *chan, unsigned int n)
{
	return &chan->batch[(chan->first_batch + n) % GL_BATCHES];
}

static struct gl_xfer *gl_share_first(struct list_head *list)
{
	return list_first_entry_or_null(list, struct gl_xfer, node);
}

/* Bytes moved so far, also those that no completion has spoken of. */
static u64 gl_share_moved(struct gl_chan *chan, struct gl_xfer *xfer)
{
	u64 bytes = gl_chan_bytes(chan);
	s64 moved = bytes - xfer->base;

	/* Not begun, or a card that is gone. */
	if (moved < 0 || bytes == U64_MAX)
		return xfer->bytes;
	return clamp_t(u64, moved, xfer->bytes, xfer->move.length);
}

/* ---- into the ring ---- */

static void gl_share_start(struct gl_chan *chan)
{
	memset(chan->cpl, 0, chan->entries * sizeof(*chan->cpl));
	chan->tail = 0;
	chan->done = 0;
	chan->cpl_seen = 0;
	chan->batches = 0;
	chan->put_bytes = 0;
	chan->shared_bytes = 0;
	gl_chan_run(chan, chan->ring_dma, chan->cpl_dma, chan->entries, true);
}

/* The transfer whose descriptors come next, or NULL: none, or no room. */
static struct gl_xfer *gl_share_next(struct gl_chan *chan)
{
	struct gl_xfer *last = NULL, *xfer;

	if (!list_empty(&chan->in_ring)) {
		last = list_last_entry(&chan->in_ring, struct gl_xfer, node);
		if (last->move.queued < last->move.length)
			return last;
	}
	xfer = gl_share_first(&chan->waiting);
	if (!xfer)
		return NULL;
	if (last && (last->move.length > GL_SMALL || xfer->move.length > GL_SMALL ||
		     chan->shared_bytes + xfer->move.length > GL_SHARED_BYTES))
		return NULL;
	list_move_tail(&xfer->node, &chan->in_ring);
	chan->shared_bytes += xfer->move.length;
	xfer->tag = ++chan->next_tag;
	xfer->base = chan->put_bytes - xfer->move.queued;
	if (!xfer->begin_ns)
		xfer->begin_ns = ktime_get_ns();
	WRITE_ONCE(xfer->state, GIGALOCK_XFER_RUNNING);
	return xfer;
}

/* Chains of at most half a ring: one runs while the next is written. */
static void gl_share_fill(struct gl_chan *chan)
{
	u32 most = chan->entries / 2;
	struct gl_xfer *xfer;
	bool any = false;

	if (chan->dead || chan->resting)
		return;
	if (!chan->running) {
		if (list_empty(&chan->waiting))
			return;
		gl_share_start(chan);
	}
	while (chan->batches < GL_BATCHES &&
	       chan->entries - (chan->tail - chan->done) >= most &&
	       (xfer = gl_share_next(chan))) {
		struct gl_batch *batch = gl_share_batch(chan, chan->batches);
		struct gl_desc *desc = NULL;

		*batch = (struct gl_batch){ .xfer = xfer };
		while (batch->descs < most && xfer->move.queued < xfer->move.length) {
			desc = &chan->ring[chan->tail & (chan->entries - 1)];
			batch->bytes += gl_move_desc(chan->card, &xfer->move,
						     xfer->tag, desc);
			chan->tail++;
			batch->descs++;
		}
		desc->flags |= cpu_to_le16(GL_DESC_F_CPL | GL_DESC_F_IRQ);
		chan->put_bytes += batch->bytes;
		chan->batches++;
		any = true;
	}
	if (any)
		gl_chan_ring(chan, chan->tail);
}

/* ---- out of it ---- */

/* It is over, and in no list any more. */
static void gl_share_done(struct gl_chan *chan, struct gl_xfer *xfer, int status,
			  const struct gl_fail *fail)
{
	unsigned int i;

	list_del_init(&xfer->node);
	/* Completions of it that are still to come speak of nothing. */
	for (i = 0; i < chan->batches; i++)
		if (gl_share_batch(chan, i)->xfer == xfer)
			gl_share_batch(chan, i)->xfer = NULL;
	if (xfer->begin_ns)
		xfer->elapsed_ns = ktime_get_ns() - xfer->begin_ns;
	gl_xfer_done(xfer, status, fail);
	if (chan->taken)
		wake_up_all(&chan->idle);
}

static void gl_share_device_error(struct gl_chan *chan, struct gl_xfer *xfer,
				  u32 code, u64 fault_addr)
{
	struct gl_fail fail = {};

	xfer->fault_addr = fault_addr;
	gl_fail_set(&fail, GIGALOCK_REASON_DEVICE_ERROR, GIGALOCK_STAGE_TRANSFER,
		    -EIO, 0, code, fault_addr);
	fail.unit = GIGALOCK_UNIT_COUNT;
	gl_share_done(chan, xfer, -EIO, &fail);
}

static void gl_share_gone(struct gl_chan *chan, struct gl_xfer *xfer)
{
	struct gl_fail fail = {};

	gl_fail_set(&fail, GIGALOCK_REASON_DEVICE_GONE, GIGALOCK_STAGE_TRANSFER,
		    -ENODEV, 0, xfer->move.length, 0);
	gl_share_done(chan, xfer, -ENODEV, &fail);
}

/* @late: in the time that it had. */
static void gl_share_ended(struct gl_chan *chan, struct gl_xfer *xfer, bool late)
{
	struct gl_fail fail = {};

	if (late) {
		gl_fail_set(&fail, GIGALOCK_REASON_TIMEOUT, GIGALOCK_STAGE_TRANSFER,
			    -ETIMEDOUT, xfer->timeout_ms, xfer->timeout_ms, 0);
		fail.unit = GIGALOCK_UNIT_MILLISECONDS;
	} else {
		gl_fail_set(&fail, GIGALOCK_REASON_CANCELLED,
			    GIGALOCK_STAGE_TRANSFER, -ECANCELED, 0,
			    xfer->move.length, xfer->bytes);
	}
	gl_share_done(chan, xfer, fail.err, &fail);
}

/* One completion. False: the channel can't go on as it is. */
static bool gl_share_complete(struct gl_chan *chan, const struct gl_cpl *cpl)
{
	u32 status = le32_to_cpu(cpl->status);
	u64 bytes = le64_to_cpu(cpl->bytes);
	struct gl_batch *batch = gl_share_batch(chan, 0);
	struct gl_xfer *xfer = batch->xfer;

	if (xfer && le32_to_cpu(cpl->cookie) != xfer->tag) {
		dev_warn_ratelimited(gl_dev(chan->card),
				     "channel %u: completion of nothing, cookie %u\n",
				     chan->index, le32_to_cpu(cpl->cookie));
		/* Its lock may go when it has ended, and the card may still be at it. */
		gl_chan_stop(chan);
		gl_share_device_error(chan, xfer, GL_ERR_CPL_WRITE, 0);
		return false;
	}
	chan->first_batch = (chan->first_batch + 1) % GL_BATCHES;
	chan->batches--;
	chan->done += batch->descs;
	if (!xfer)
		return true;
	if (status || bytes != batch->bytes) {
		xfer->bytes += min(bytes, batch->bytes);
		/* There may be more of it in the ring. */
		gl_chan_stop(chan);
		gl_share_device_error(chan, xfer, status ?: GL_ERR_CPL_WRITE,
				      le64_to_cpu(cpl->fault_addr));
		return false;
	}
	xfer->bytes += bytes;
	if (xfer->bytes == xfer->move.length) {
		xfer->crc = le32_to_cpu(cpl->crc);
		chan->shared_bytes -= xfer->move.length;
		gl_share_done(chan, xfer, 0, NULL);
	}
	return true;
}

/* Take in completions, also of a channel that has just been stopped. */
static bool gl_share_take(struct gl_chan *chan, bool *any)
{
	bool good = true;

	while (good && chan->batches) {
		struct gl_cpl *cpl = &chan->cpl[chan->cpl_seen & (chan->entries - 1)];
		struct gl_cpl copy;

		if (le32_to_cpu(READ_ONCE(cpl->seq)) != chan->cpl_seen + 1)
			break;
		/* The card writes seq last: read the rest after it. */
		dma_rmb();
		copy = *cpl;
		chan->cpl_seen++;
		*any = true;
		good = gl_share_complete(chan, &copy);
	}
	return good;
}

/*
 * Stopped: what is left in the ring goes back to the head of the line, to begin
 * again where its last completion left it. A checksum can't: from the start.
 */
static void gl_share_requeue(struct gl_chan *chan)
{
	struct gl_xfer *xfer;

	list_for_each_entry(xfer, &chan->in_ring, node) {
		if (xfer->move.flags & GIGALOCK_XFER_CRC)
			xfer->bytes = 0;
		xfer->move.queued = xfer->bytes;
		gl_lock_seek(xfer->move.lock, xfer->move.offset + xfer->bytes,
			     &xfer->move.pos);
		WRITE_ONCE(xfer->state, GIGALOCK_XFER_QUEUED);
	}
	list_splice_init(&chan->in_ring, &chan->waiting);
	chan->batches = 0;
}

/* Stop, and take in what the card had completed until then. */
static void gl_share_stop(struct gl_chan *chan)
{
	bool any;

	gl_chan_stop(chan);
	while (!gl_share_take(chan, &any))
		;
}

/* Stopped: the one that the card was at ends, the others may begin again. */
static void gl_share_drop_first(struct gl_chan *chan)
{
	struct gl_xfer *xfer = gl_share_first(&chan->in_ring);

	if (xfer) {
		xfer->bytes = gl_share_moved(chan, xfer);
		gl_share_ended(chan, xfer, false);
	}
	gl_share_requeue(chan);
}

static void gl_share_drain(struct gl_chan *chan)
{
	struct gl_xfer *xfer;

	while ((xfer = gl_share_first(&chan->in_ring)) ||
	       (xfer = gl_share_first(&chan->waiting)))
		gl_share_gone(chan, xfer);
	chan->batches = 0;
}

/* Completions don't come: has the card stopped without one? */
static void gl_share_look(struct gl_chan *chan)
{
	struct gl_xfer *xfer = gl_share_first(&chan->in_ring);
	u32 status = gl_chan_status(chan);
	bool any = false;

	/* All ones, or, where a bridge is kind, zeroes: the card is not there. */
	if (status == ~0U || !gl_card_answers(chan->card)) {
		gl_share_stop(chan);
		if (!list_empty(&chan->in_ring))
			gl_share_gone(chan, gl_share_first(&chan->in_ring));
		gl_share_requeue(chan);
	} else if (status & GL_BIT(GL_CH_STATUS_HALTED)) {
		gl_share_stop(chan);
		/* Unless it was done and the card stumbled behind it. */
		if (xfer == gl_share_first(&chan->in_ring))
			gl_share_device_error(chan, xfer,
					      GL_FIELD(status, GL_CH_STATUS_ERROR),
					      0);
		gl_share_requeue(chan);
	} else if (status & GL_BIT(GL_CH_STATUS_RUNNING) &&
		   !(status & GL_BIT(GL_CH_STATUS_BUSY)) && chan->batches) {
		/* What it has completed is seen, once it says that it is idle. */
		if (gl_share_take(chan, &any) && any)
			return;
		gl_share_stop(chan);
		xfer = chan->batches ? gl_share_batch(chan, 0)->xfer : NULL;
		if (xfer)
			gl_share_device_error(chan, xfer, GL_ERR_CPL_WRITE, 0);
		gl_share_requeue(chan);
	} else if (!(status & GL_BIT(GL_CH_STATUS_RUNNING))) {
		/* Reset behind our back: it has forgotten the rings. */
		gl_share_stop(chan);
		gl_share_drop_first(chan);
	}
}

/* @look: when there is nothing new, ask the card why. */
static void gl_share_reap_some(struct gl_chan *chan, bool look)
{
	bool any = false;

	/* Somebody has the channel for itself; whoever asks is done. */
	if (chan->user != &gl_share_user)
		return;
	if (!chan->running || list_empty(&chan->in_ring))
		goto fill;
	if (!gl_share_take(chan, &any)) {
		gl_share_stop(chan);
		gl_share_requeue(chan);
	} else if (!any && look) {
		gl_share_look(chan);
	}
fill:
	if (chan->dead)
		gl_share_drain(chan);
	else
		gl_share_fill(chan);
}

static void gl_share_reap(struct gl_chan *chan)
{
	gl_share_reap_some(chan, true);
}

static void gl_share_stopped(struct gl_chan *chan)
{
	gl_share_stop(chan);
	if (chan->dead)
		gl_share_drain(chan);
	else
		gl_share_drop_first(chan);
}

const struct gl_chan_user gl_share_user = {
	.reap = gl_share_reap,
	.stopped = gl_share_stopped,
	.wake = gl_share_reap,
};

/* ---- what transfers ask for ---- */

/* Only look into memory: for a caller that would sleep otherwise. */
void gl_share_peek(struct gl_card *card)
{
	unsigned int i;

	for (i = 0; i < card->nchan; i++) {
		struct gl_chan *chan = &card->chan[i];

		if (list_empty_careful(&chan->in_ring))
			continue;
		mutex_lock(&chan->lock);
		gl_share_reap_some(chan, false);
		mutex_unlock(&chan->lock);
	}
}

/* -EBUSY: somebody has the channel for itself; another one will do. */
int gl_share_submit(struct gl_chan *chan, struct gl_xfer *xfer)
{
	int err = 0;

	mutex_lock(&chan->lock);
	if (chan->dead) {
		err = -ENODEV;
	} else if (chan->taken) {
		err = -EBUSY;
	} else {
		kref_get(&xfer->ref);
		list_add_tail(&xfer->node, &chan->waiting);
		if (xfer->timeout_ms && (!delayed_work_pending(&chan->late) ||
					 time_before(xfer->deadline, chan->next_late))) {
			chan->next_late = xfer->deadline;
			mod_delayed_work(system_wq, &chan->late,
					 msecs_to_jiffies(xfer->timeout_ms));
		}
		gl_share_fill(chan);
	}
	mutex_unlock(&chan->lock);
	return err;
}

/* End it early, wherever it is. Under the lock. */
static void gl_share_end(struct gl_chan *chan, struct gl_xfer *xfer, bool late)
{
	struct gl_xfer *other;
	bool in_ring = false;

	list_for_each_entry(other, &chan->in_ring, node)
		in_ring |= other == xfer;
	if (in_ring) {
		gl_share_stop(chan);
		/* Done at the last moment? */
		if (READ_ONCE(xfer->state) != GIGALOCK_XFER_DONE)
			xfer->bytes = gl_share_moved(chan, xfer);
	}
	if (READ_ONCE(xfer->state) != GIGALOCK_XFER_DONE)
		gl_share_ended(chan, xfer, late);
	if (in_ring)
		gl_share_requeue(chan);
}

void gl_share_cancel(struct gl_chan *chan, struct gl_xfer *xfer)
{
	mutex_lock(&chan->lock);
	if (READ_ONCE(xfer->state) != GIGALOCK_XFER_DONE) {
		gl_share_end(chan, xfer, false);
		gl_share_reap_some(chan, false);
	}
	mutex_unlock(&chan->lock);
}

/* The first of @list that has had its time, or NULL. */
static struct gl_xfer *gl_share_overdue(struct gl_chan *chan, struct list_head *list,
					bool *more)
{
	struct gl_xfer *xfer;

	list_for_each_entry(xfer, list, node) {
		if (!xfer->timeout_ms)
			continue;
		if (time_after_eq(jiffies, xfer->deadline))
			return xfer;
		if (!*more || time_before(xfer->deadline, chan->next_late))
			chan->next_late = xfer->deadline;
		*more = true;
	}
	return NULL;
}

static void gl_share_late(struct work_struct *work)
{
	struct gl_chan *chan = container_of(to_delayed_work(work), struct gl_chan,
					    late);
	struct gl_xfer *xfer;
	bool more;

	mutex_lock(&chan->lock);
	gl_share_reap_some(chan, false);
	do {
		more = false;
		xfer = gl_share_overdue(chan, &chan->in_ring, &more) ?:
		       gl_share_overdue(chan, &chan->waiting, &more);
		if (xfer)
			gl_share_end(chan, xfer, true);
	} while (xfer);
	gl_share_reap_some(chan, false);
	if (more)
		mod_delayed_work(system_wq, &chan->late,
				 max_t(long, chan->next_late - jiffies, 0));
	mutex_unlock(&chan->lock);
}

u64 gl_share_progress(struct gl_chan *chan, struct gl_xfer *xfer)
{
	u64 bytes;

	mutex_lock(&chan->lock);
	gl_share_reap_some(chan, true);
	bytes = xfer->bytes;
	if (READ_ONCE(xfer->state) == GIGALOCK_XFER_RUNNING)
		bytes = gl_share_moved(chan, xfer);
	mutex_unlock(&chan->lock);
	return bytes;
}

void gl_share_init(struct gl_chan *chan)
{
	INIT_LIST_HEAD(&chan->waiting);
	INIT_LIST_HEAD(&chan->in_ring);
	INIT_DELAYED_WORK(&chan->late, gl_share_late);
}
