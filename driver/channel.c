// SPDX-License-Identifier: GPL-2.0-only
/*
 * A DMA channel: its registers, and who uses it. Transfers share the channels
 * (share.c) but for those that a user has taken for itself.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/moduleparam.h>

#include "gl.h"

static unsigned int ring_log2 = 12;
module_param(ring_log2, uint, 0444);
MODULE_PARM_DESC(ring_log2, "log2 of the descriptors in a ring, 4 to 16 (12)");

#define GL_STOP_TIMEOUT_US	(5 * USEC_PER_SEC)

static void gl_chan_write(struct gl_chan *chan, u32 reg, u32 value)
{
	writel(value, chan->regs + reg);
}

u32 gl_chan_status(struct gl_chan *chan)
{
	return readl(chan->regs + GL_CH_STATUS);
}

/* Payload since it was started; all ones of a card that is gone. */
u64 gl_chan_bytes(struct gl_chan *chan)
{
	u32 lo = readl(chan->regs + GL_CH_BYTES_LO);

	return lo | (u64)readl(chan->regs + GL_CH_BYTES_HI) << 32;
}

/* Descriptors before the doorbell; writel() orders them. */
void gl_chan_ring(struct gl_chan *chan, u32 tail)
{
	gl_chan_write(chan, GL_CH_DOORBELL, tail);
}

/* Under the lock, stopped. The completion ring holds no number from 1 up. */
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
	if (gl_inject(chan->card, GL_INJECT_STOP) ||
	    readl_poll_timeout(chan->regs + GL_CH_STATUS, status,
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

/*
 * Under the lock, for whoever waits in vain: has the card given up on this
 * channel without a word?
 */
bool gl_chan_lost(struct gl_chan *chan)
{
	u32 status = gl_chan_status(chan);

	return status == ~0U || status & GL_BIT(GL_CH_STATUS_HALTED) ||
	       !(status & GL_BIT(GL_CH_STATUS_RUNNING));
}

/* Has it anything to do of what the doorbell told it? */
bool gl_chan_busy(struct gl_chan *chan)
{
	return gl_chan_status(chan) & GL_BIT(GL_CH_STATUS_BUSY);
}

void gl_chan_reap(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	chan->user->reap(chan);
	mutex_unlock(&chan->lock);
}

void gl_card_reap(struct gl_card *card)
{
	unsigned int i;

	for (i = 0; i < card->nchan; i++)
		gl_chan_reap(&card->chan[i]);
}

/* ---- a channel for one user alone ---- */

static bool gl_chan_idle(struct gl_chan *chan)
{
	return READ_ONCE(chan->dead) ||
	       (list_empty_careful(&chan->in_ring) &&
		list_empty_careful(&chan->waiting) && !READ_ONCE(chan->resting));
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
	/* One is always left to the others, but for a card that was given up. */
	if (!left)
		return ERR_PTR(-ENODEV);
	return left > 1 ? best : ERR_PTR(-EBUSY);
}

/*
 * Take a channel out of what transfers share. New ones go elsewhere at once;
 * those it has are waited for. -EBUSY: none can be spared; -ENODEV: none works.
 */
struct gl_chan *gl_chan_take(struct gl_card *card,
			     const struct gl_chan_user *user, void *priv)
{
	struct gl_chan *chan;
	long left;

	mutex_lock(&card->take_lock);
	chan = gl_chan_pick(card);
	if (!IS_ERR(chan)) {
		mutex_lock(&chan->lock);
		chan->taken = true;
		mutex_unlock(&chan->lock);
	}
	mutex_unlock(&card->take_lock);
	if (IS_ERR(chan))
		return chan;

	for (;;) {
		left = wait_event_interruptible_timeout(chan->idle,
							gl_chan_idle(chan),
							GL_LOOK_AGAIN);
		mutex_lock(&chan->lock);
		if (left < 0 || chan->dead) {
			chan->taken = false;
			mutex_unlock(&chan->lock);
			return ERR_PTR(left < 0 ? -ERESTARTNOHAND : -ENODEV);
		}
		if (gl_chan_idle(chan)) {
			gl_chan_stop(chan);
			chan->priv = priv;
			chan->user = user;
			mutex_unlock(&chan->lock);
			return chan;
		}
		/* An interrupt may have been lost. */
		chan->user->reap(chan);
		mutex_unlock(&chan->lock);
	}
}

/* Under the lock, stopped. */
void gl_chan_give_back(struct gl_chan *chan)
{
	chan->user = &gl_share_user;
	chan->priv = NULL;
	chan->taken = false;
}

/* ---- the card comes and goes ---- */

/* For good: the card is going. Everyone who waits is told. */
void gl_chan_kill(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	chan->dead = true;
	if (chan->user->halt)
		chan->user->halt(chan);
	gl_chan_stop(chan);
	chan->user->stopped(chan);
	wake_up_all(&chan->idle);
	mutex_unlock(&chan->lock);
}

/* Before a reset or sleep: what runs is lost, what waits goes on afterwards. */
void gl_chan_rest(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	chan->resting = true;
	if (chan->user->halt)
		chan->user->halt(chan);
	gl_chan_stop(chan);
	chan->user->stopped(chan);
	mutex_unlock(&chan->lock);
}

void gl_chan_wake(struct gl_chan *chan)
{
	mutex_lock(&chan->lock);
	chan->resting = false;
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
	chan->user = &gl_share_user;
	mutex_init(&chan->lock);
	init_waitqueue_head(&chan->idle);
	gl_share_init(chan);

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
	cancel_delayed_work_sync(&chan->late);
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
