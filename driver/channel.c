// SPDX-License-Identifier: GPL-2.0-only
/*
 * One DMA channel: its rings, and the transfer that is in them.
 *
 * The ring holds descriptors of one transfer at a time, in at most GL_BATCHES
 * chains with a completion each, so that the card has the next chain when it
 * ends one. Ending a transfer early is then simply stopping the channel: no
 * one else's descriptors are in it.
 *
 * The card is not trusted: a completion that doesn't fit what was asked for
 * fails the transfer and restarts the channel.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>
#include <linux/timekeeping.h>

#include "gl.h"

static unsigned int ring_log2 = 12;
module_param(ring_log2, uint, 0444);
MODULE_PARM_DESC(ring_log2, "log2 of the descriptors in a ring, 4 to 16 (12)");

#define GL_STOP_TIMEOUT_US	(5 * USEC_PER_SEC)

static u32 gl_chan_read(struct gl_chan *chan, u32 reg)
{
	return readl(chan->regs + reg);
}

static void gl_chan_write(struct gl_chan *chan, u32 reg, u32 value)
{
	writel(value, chan->regs + reg);
}

static u64 gl_chan_bytes(struct gl_chan *chan)
{
	u32 lo = gl_chan_read(chan, GL_CH_BYTES_LO);

	return lo | (u64)gl_chan_read(chan, GL_CH_BYTES_HI) << 32;
}

/* Under the lock. The rings are zeroed, or hold what an earlier run left. */
void gl_chan_run(struct gl_chan *chan, dma_addr_t ring, dma_addr_t cpl,
		 u32 entries, bool irq)
{
	gl_chan_write(chan, GL_CH_RING_LO, lower_32_bits(ring));
	gl_chan_write(chan, GL_CH_RING_HI, upper_32_bits(ring));
	gl_chan_write(chan, GL_CH_CPL_LO, lower_32_bits(cpl));
	gl_chan_write(chan, GL_CH_CPL_HI, upper_32_bits(cpl));
	gl_chan_write(chan, GL_CH_RING_LOG2, ilog2(entries));
	gl_chan_write(chan, GL_CH_VECTOR, chan->index % chan->card->nvec);
	gl_chan_write(chan, GL_CH_CTRL, GL_BIT(GL_CH_CTRL_ENABLE) |
		      (irq ? GL_BIT(GL_CH_CTRL_IRQ) : 0));
	chan->running = true;
}

static void gl_chan_start(struct gl_chan *chan)
{
	memset(chan->cpl, 0, chan->entries * sizeof(*chan->cpl));
	chan->tail = 0;
	chan->done = 0;
	chan->cpl_seen = 0;
	chan->batches = 0;
	gl_chan_run(chan, chan->ring_dma, chan->cpl_dma, chan->entries, true);
}

/*
 * When this returns the card no longer touches memory through this channel. A
 * card that won't stop loses the bus: memory it may still write must not be
 * given to anyone else.
 */
void gl_chan_stop(struct gl_chan *chan)
{
	u32 status;

	if (!chan->running)
		return;
	gl_chan_write(chan, GL_CH_CTRL, 0);
	if (readl_poll_timeout(chan->regs + GL_CH_STATUS, status,
			       !(status & GL_BIT(GL_CH_STATUS_RUNNING)) ||
			       status == ~0U, 50, GL_STOP_TIMEOUT_US)) {
		dev_err(gl_dev(chan->card),
			"channel %u does not stop; taking the bus away from the card\n",
			chan->index);
		pci_clear_master(chan->card->pdev);
		chan->dead = true;
	}
	chan->running = false;
}

static void gl_chan_fill(struct gl_chan *chan)
{
	struct gl_xfer *xfer = chan->active;
	bool rung = false;

	while (chan->batches < GL_BATCHES && xfer->move.queued < xfer->move.length) {
		struct gl_batch *batch = &chan->batch[chan->batches];
		struct gl_desc *desc = NULL;

		batch->descs = 0;
		batch->bytes = 0;
		while (batch->descs < chan->entries / GL_BATCHES &&
		       xfer->move.queued < xfer->move.length) {
			desc = &chan->ring[chan->tail & (chan->entries - 1)];
			batch->bytes += gl_move_desc(chan->card, &xfer->move,
						     xfer->tag, desc);
			chan->tail++;
			batch->descs++;
		}
		desc->flags |= cpu_to_le16(GL_DESC_F_CPL | GL_DESC_F_IRQ);
		chan->batches++;
		rung = true;
	}
	if (rung) {
		/* Descriptors before the doorbell; writel() orders them. */
		gl_chan_write(chan, GL_CH_DOORBELL, chan->tail);
	}
}

/* Nothing will run any more: tell those who wait in the queue. */
static void gl_chan_drain(struct gl_chan *chan)
{
	struct gl_xfer *xfer;

	while ((xfer = list_first_entry_or_null(&chan->queue, struct gl_xfer, node))) {
		struct gl_fail fail = {};

		gl_fail_set(&fail, GIGALOCK_REASON_DEVICE_GONE,
			    GIGALOCK_STAGE_TRANSFER, -ENODEV, 0, xfer->move.length, 0);
		list_del_init(&xfer->node);
		gl_xfer_done(xfer, -ENODEV, &fail);
	}
}

static void gl_chan_next(struct gl_chan *chan)
{
	struct gl_xfer *xfer;

	if (chan->dead)
		gl_chan_drain(chan);
	if (chan->active || chan->dead || chan->resting)
		return;
	xfer = list_first_entry_or_null(&chan->queue, struct gl_xfer, node);
	if (!xfer)
		return;
	list_del_init(&xfer->node);
	if (!chan->running)
		gl_chan_start(chan);
	chan->active = xfer;
	xfer->tag = ++chan->next_tag;
	xfer->base = gl_chan_bytes(chan);
	xfer->begin_ns = ktime_get_ns();
	WRITE_ONCE(xfer->state, GIGALOCK_XFER_RUNNING);
	gl_chan_fill(chan);
}

static void gl_chan_finish(struct gl_chan *chan, int status,
			   const struct gl_fail *fail)
{
	struct gl_xfer *xfer = chan->active;

	chan->active = NULL;
	if (chan->taken)
		wake_up_all(&chan->idle);
	xfer->elapsed_ns = ktime_get_ns() - xfer->begin_ns;
	gl_xfer_done(xfer, status, fail);
}

/* End the running transfer whatever the card still does with it. */
static void gl_chan_abort(struct gl_chan *chan, int status,
			  const struct gl_fail *fail)
{
	gl_chan_stop(chan);
	gl_chan_finish(chan, status, fail);
}

static void gl_chan_device_error(struct gl_chan *chan, u32 code, u64 fault_addr)
{
	struct gl_fail fail = {};

	chan->active->fault_addr = fault_addr;
	gl_fail_set(&fail, GIGALOCK_REASON_DEVICE_ERROR, GIGALOCK_STAGE_TRANSFER,
		    -EIO, 0, code, fault_addr);
	fail.unit = GIGALOCK_UNIT_COUNT;
	gl_chan_abort(chan, -EIO, &fail);
}

static void gl_chan_complete(struct gl_chan *chan, const struct gl_cpl *cpl)
{
	struct gl_xfer *xfer = chan->active;
	u32 status = le32_to_cpu(cpl->status);
	u64 bytes = le64_to_cpu(cpl->bytes);
	struct gl_batch batch;

	if (!xfer || !chan->batches || le32_to_cpu(cpl->cookie) != xfer->tag) {
		dev_warn_ratelimited(gl_dev(chan->card),
				     "channel %u: completion of nothing, cookie %u\n",
				     chan->index, le32_to_cpu(cpl->cookie));
		if (xfer)
			gl_chan_device_error(chan, GL_ERR_CPL_WRITE, 0);
		return;
	}
	batch = chan->batch[0];
	if (status || bytes != batch.bytes) {
		xfer->bytes += min(bytes, batch.bytes);
		gl_chan_device_error(chan, status ?: GL_ERR_CPL_WRITE,
				     le64_to_cpu(cpl->fault_addr));
		return;
	}
	xfer->bytes += bytes;
	chan->done += batch.descs;
	chan->batches--;
	memmove(chan->batch, chan->batch + 1, chan->batches * sizeof(batch));
	if (xfer->bytes == xfer->move.length) {
		xfer->crc = le32_to_cpu(cpl->crc);
		gl_chan_finish(chan, 0, NULL);
	} else {
		gl_chan_fill(chan);
	}
}

static void gl_chan_cancelled(struct gl_chan *chan, struct gl_xfer *xfer)
{
	struct gl_fail fail = {};

	if (chan->active == xfer) {
		u64 moved;

		gl_chan_stop(chan);
		/* Also what no completion has spoken of; a dead card reads ones. */
		moved = gl_chan_bytes(chan);
		if (moved != U64_MAX && moved >= xfer->base)
			xfer->bytes = clamp(moved - xfer->base, xfer->bytes,
					    xfer->move.length);
	}
	gl_fail_set(&fail, GIGALOCK_REASON_CANCELLED, GIGALOCK_STAGE_TRANSFER,
		    -ECANCELED, 0, xfer->move.length, xfer->bytes);
	if (chan->active == xfer)
		gl_chan_finish(chan, -ECANCELED, &fail);
	else
		gl_xfer_done(xfer, -ECANCELED, &fail);
}

/* Take in what the card has completed. */
static void gl_chan_reap_locked(struct gl_chan *chan)
{
	bool any = false;
	u32 status;

	while (chan->running) {
		struct gl_cpl *cpl = &chan->cpl[chan->cpl_seen & (chan->entries - 1)];
		struct gl_cpl copy;

		if (le32_to_cpu(READ_ONCE(cpl->seq)) != chan->cpl_seen + 1)
			break;
		/* The card writes seq last: read the rest after it. */
		dma_rmb();
		copy = *cpl;
		chan->cpl_seen++;
		any = true;
		gl_chan_complete(chan, &copy);
	}
	if (!any && chan->active) {
		status = gl_chan_read(chan, GL_CH_STATUS);
		if (status == ~0U) {
			struct gl_fail fail = {};

			gl_fail_set(&fail, GIGALOCK_REASON_DEVICE_GONE,
				    GIGALOCK_STAGE_TRANSFER, -ENODEV, 0,
				    chan->active->move.length, 0);
			gl_chan_abort(chan, -ENODEV, &fail);
		} else if (status & GL_BIT(GL_CH_STATUS_HALTED)) {
			gl_chan_device_error(chan, GL_FIELD(status, GL_CH_STATUS_ERROR),
					     0);
		} else if (!(status & GL_BIT(GL_CH_STATUS_RUNNING))) {
			/* Reset behind our back: it has forgotten the rings. */
			gl_chan_cancelled(chan, chan->active);
		}
	}
	gl_chan_next(chan);
}

void gl_chan_reap(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	if (chan->user)
		chan->user->reap(chan);
	else
		gl_chan_reap_locked(chan);
	mutex_unlock(&chan->lock);
}

/*
 * Under the lock, for whoever waits in vain: has the card given up on this
 * channel without a word?
 */
bool gl_chan_lost(struct gl_chan *chan)
{
	u32 status = gl_chan_read(chan, GL_CH_STATUS);

	return status == ~0U || status & GL_BIT(GL_CH_STATUS_HALTED) ||
	       !(status & GL_BIT(GL_CH_STATUS_RUNNING));
}

/* ---- a channel for one user alone ---- */

static bool gl_chan_idle(struct gl_chan *chan)
{
	return READ_ONCE(chan->dead) ||
	       (!READ_ONCE(chan->active) && list_empty_careful(&chan->queue) &&
		!READ_ONCE(chan->resting));
}

/*
 * One that does nothing is best. From the last one down, so that a card with
 * several keeps one for each direction.
 */
static struct gl_chan *gl_chan_pick(struct gl_card *card)
{
	struct gl_chan *best = NULL;
	unsigned int i, left = 0;

	for (i = 0; i < card->nchan; i++) {
		struct gl_chan *chan = &card->chan[i];

		if (chan->taken || READ_ONCE(chan->dead))
			continue;
		left++;
		if (!best || gl_chan_idle(chan) || !gl_chan_idle(best))
			best = chan;
	}
	return left > 1 ? best : NULL;
}

/*
 * Take a channel out of what transfers share. New ones go elsewhere at once;
 * those it has are waited for. -EBUSY: none can be spared.
 */
struct gl_chan *gl_chan_take(struct gl_card *card,
			     const struct gl_chan_user *user, void *priv)
{
	struct gl_chan *chan;
	long left;

	mutex_lock(&card->take_lock);
	chan = gl_chan_pick(card);
	if (chan) {
		mutex_lock(&chan->lock);
		chan->taken = true;
		mutex_unlock(&chan->lock);
	}
	mutex_unlock(&card->take_lock);
	if (!chan)
		return ERR_PTR(-EBUSY);

	for (;;) {
		left = wait_event_interruptible_timeout(chan->idle,
							gl_chan_idle(chan),
							msecs_to_jiffies(250));
		mutex_lock(&chan->lock);
		if (left < 0 || chan->dead) {
			chan->taken = false;
			mutex_unlock(&chan->lock);
			return ERR_PTR(left < 0 ? -EINTR : -ENODEV);
		}
		if (gl_chan_idle(chan)) {
			gl_chan_stop(chan);
			chan->priv = priv;
			chan->user = user;
			mutex_unlock(&chan->lock);
			return chan;
		}
		/* An interrupt may have been lost. */
		gl_chan_reap_locked(chan);
		mutex_unlock(&chan->lock);
	}
}

/* Under the lock, stopped. */
void gl_chan_give_back(struct gl_chan *chan)
{
	chan->user = NULL;
	chan->priv = NULL;
	chan->taken = false;
}

/* ---- what transfers ask for ---- */

int gl_chan_queue(struct gl_chan *chan, struct gl_xfer *xfer)
{
	int err = 0;

	mutex_lock(&chan->lock);
	if (chan->dead) {
		err = -ENODEV;
	} else if (chan->taken) {
		err = -EBUSY;
	} else {
		kref_get(&xfer->ref);
		list_add_tail(&xfer->node, &chan->queue);
		gl_chan_next(chan);
	}
	mutex_unlock(&chan->lock);
	return err;
}

void gl_chan_cancel(struct gl_chan *chan, struct gl_xfer *xfer)
{
	mutex_lock(&chan->lock);
	if (chan->active == xfer || !list_empty(&xfer->node)) {
		if (READ_ONCE(xfer->state) != GIGALOCK_XFER_DONE) {
			list_del_init(&xfer->node);
			gl_chan_cancelled(chan, xfer);
			gl_chan_next(chan);
		}
	}
	mutex_unlock(&chan->lock);
}

u64 gl_chan_progress(struct gl_chan *chan, struct gl_xfer *xfer)
{
	u64 bytes;

	mutex_lock(&chan->lock);
	gl_chan_reap_locked(chan);
	bytes = xfer->bytes;
	if (chan->active == xfer)
		bytes = min(max(bytes, gl_chan_bytes(chan) - xfer->base),
			    xfer->move.length);
	mutex_unlock(&chan->lock);
	return bytes;
}

/* For good: the card is going. Everyone who waits is told. */
void gl_chan_kill(struct gl_chan *chan)
{
	struct gl_fail fail = {};

	mutex_lock(&chan->lock);
	chan->dead = true;
	gl_chan_stop(chan);
	gl_fail_set(&fail, GIGALOCK_REASON_DEVICE_GONE, GIGALOCK_STAGE_TRANSFER,
		    -ENODEV, 0, 0, 0);
	if (chan->active) {
		fail.request = chan->active->move.length;
		gl_chan_finish(chan, -ENODEV, &fail);
	}
	gl_chan_drain(chan);
	if (chan->user)
		chan->user->stopped(chan);
	wake_up_all(&chan->idle);
	mutex_unlock(&chan->lock);
}

/* Before a reset or sleep: what runs is lost, what waits goes on afterwards. */
void gl_chan_rest(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	chan->resting = true;
	if (chan->active)
		gl_chan_cancelled(chan, chan->active);
	gl_chan_stop(chan);
	if (chan->user)
		chan->user->stopped(chan);
	mutex_unlock(&chan->lock);
}

void gl_chan_wake(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	chan->resting = false;
	gl_chan_next(chan);
	if (chan->user)
		chan->user->wake(chan);
	wake_up_all(&chan->idle);
	mutex_unlock(&chan->lock);
}

int gl_chan_init(struct gl_card *card, unsigned int index)
{
	struct gl_chan *chan = &card->chan[index];

	if (ring_log2 < GL_MIN_RING_LOG2 || ring_log2 > GL_MAX_RING_LOG2) {
		dev_err(gl_dev(card), "ring_log2=%u is not within %u to %u\n",
			ring_log2, GL_MIN_RING_LOG2, GL_MAX_RING_LOG2);
		return -EINVAL;
	}
	chan->card = card;
	chan->index = index;
	chan->regs = card->regs + GL_CH(index);
	chan->entries = BIT(min(ring_log2, card->max_ring));
	mutex_init(&chan->lock);
	init_waitqueue_head(&chan->idle);
	INIT_LIST_HEAD(&chan->queue);

	chan->ring = dma_alloc_coherent(gl_dev(card),
					chan->entries * sizeof(*chan->ring),
					&chan->ring_dma, GFP_KERNEL);
	chan->cpl = dma_alloc_coherent(gl_dev(card),
				       chan->entries * sizeof(*chan->cpl),
				       &chan->cpl_dma, GFP_KERNEL);
	if (!chan->ring || !chan->cpl) {
		gl_chan_destroy(chan);
		return -ENOMEM;
	}
	return 0;
}

void gl_chan_destroy(struct gl_chan *chan)
{
	if (chan->ring)
		dma_free_coherent(gl_dev(chan->card),
				  chan->entries * sizeof(*chan->ring),
				  chan->ring, chan->ring_dma);
	if (chan->cpl)
		dma_free_coherent(gl_dev(chan->card),
				  chan->entries * sizeof(*chan->cpl),
				  chan->cpl, chan->cpl_dma);
	chan->ring = NULL;
	chan->cpl = NULL;
}
