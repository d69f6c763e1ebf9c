// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a client of the kernel's dmaengine asked for, into the card's ring and out
 * of it. Everything but stopping the channel is under the spinlock.
 *
 * The card is not trusted: a completion of something else, or of another count of
 * bytes, is an error of the first one in the ring, and so is one that never comes.
 */
#include "engine.h"

static struct gl_ebatch *gl_engine_batch(struct gl_engine *eng, u32 n)
{
	return &eng->batch[(eng->first_batch + n) % GL_ENGINE_ENTRIES];
}

/* ---- into the ring; under the spinlock ---- */

static void gl_engine_enable(struct gl_engine *eng)
{
	memset(eng->cpl, 0, eng->entries * sizeof(*eng->cpl));
	eng->tail = 0;
	eng->done = 0;
	eng->cpl_seen = 0;
	eng->batches = 0;
	eng->put_bytes = 0;
	/* If it still runs, the card waits for itself. */
	gl_chan_run(eng->hw, eng->ring_dma, eng->cpl_dma, eng->entries, true);
	eng->enabled = true;
}

/* The next piece of @d, as long as the card takes it on both sides. */
static u64 gl_engine_desc(struct gl_engine *eng, struct gl_edesc *d,
			  struct gl_desc *desc)
{
	u64 boundary = eng->card->boundary;
	u64 len = min(eng->card->piece, d->len - d->queued);
	u64 dst = d->dst + d->queued;
	u64 src = d->src;
	u16 flags = 0;

	if (boundary)
		len = min(len, boundary - (dst & (boundary - 1)));
	if (d->op == GL_OP_H2H) {
		src += d->queued;
		if (boundary)
			len = min(len, boundary - (src & (boundary - 1)));
	}
	if (d->txd.flags & DMA_PREP_FENCE && !d->queued)
		flags = GL_DESC_F_FENCE;
	desc->op = cpu_to_le16(d->op);
	desc->flags = cpu_to_le16(flags);
	desc->cookie = cpu_to_le32(d->txd.cookie);
	desc->src = cpu_to_le64(src);
	desc->dst = cpu_to_le64(dst);
	desc->len = cpu_to_le64(len);
	d->queued += len;
	return len;
}

static struct gl_edesc *gl_engine_next(struct gl_engine *eng)
{
	struct gl_edesc *d;

	if (!list_empty(&eng->in_ring)) {
		d = list_last_entry(&eng->in_ring, struct gl_edesc, node);
		if (d->queued < d->len)
			return d;
	}
	d = list_first_entry_or_null(&eng->issued, struct gl_edesc, node);
	if (d) {
		list_move_tail(&d->node, &eng->in_ring);
		d->base = eng->put_bytes;
	}
	return d;
}

void gl_engine_fill(struct gl_engine *eng)
{
	u32 most = eng->entries / 2;
	struct gl_edesc *d;
	bool any = false;
	u32 n;

	if (!eng->live || (list_empty(&eng->issued) && list_empty(&eng->in_ring)))
		return;
	if (!eng->enabled)
		gl_engine_enable(eng);
	while (eng->entries - (eng->tail - eng->done) >= most &&
	       (d = gl_engine_next(eng))) {
		struct gl_ebatch *batch = gl_engine_batch(eng, eng->batches);
		struct gl_desc *desc = NULL;
		u16 flags = GL_DESC_F_CPL;

		*batch = (struct gl_ebatch){ .d = d };
		while (batch->descs < most && d->queued < d->len) {
			desc = &eng->ring[eng->tail & (eng->entries - 1)];
			batch->bytes += gl_engine_desc(eng, d, desc);
			eng->tail++;
			batch->descs++;
		}
		/* Who polls needs none, unless others wait for room. */
		if (d->txd.flags & DMA_PREP_INTERRUPT || d->queued < d->len ||
		    eng->tail - eng->done > most)
			flags |= GL_DESC_F_IRQ;
		desc->flags |= cpu_to_le16(flags);
		/* What the card has put there ahead of time is no completion of this. */
		n = eng->cpl_seen + eng->batches;
		WRITE_ONCE(eng->cpl[n & (eng->entries - 1)].seq, cpu_to_le32(n));
		eng->put_bytes += batch->bytes;
		eng->batches++;
		any = true;
	}
	if (!any)
		return;
	gl_chan_ring(eng->hw, eng->tail);
	queue_delayed_work(gl_engine_wq, &eng->look, GL_LOOK_AGAIN);
}

/* ---- out of it; under the spinlock ---- */

static void gl_engine_complete(struct gl_engine *eng, struct gl_edesc *d,
			       enum dmaengine_tx_result result)
{
	d->result.result = result;
	d->result.residue = min_t(u64, d->len - d->bytes, U32_MAX);
	eng->chan.completed_cookie = d->txd.cookie;
	if (result != DMA_TRANS_NOERROR)
		eng->failed[eng->next_failed++ % GL_ENGINE_FAILED] =
			(struct gl_efailed){ d->txd.cookie, d->result.residue };
	list_move_tail(&d->node, &eng->finished);
	tasklet_schedule(&eng->tasklet);
}

/*
 * The first one failed, and the card may still be at it: its client, who may give
 * its memory to others, is told when the channel stands still (gl_engine_quiesce()).
 */
static void gl_engine_fail(struct gl_engine *eng, enum dmaengine_tx_result result)
{
	struct gl_edesc *d = list_first_entry(&eng->in_ring, struct gl_edesc, node);

	d->result.result = result;
	list_move_tail(&d->node, &eng->failing);
	writel(0, eng->hw->regs + GL_CH_CTRL);
	eng->enabled = false;
	eng->live = false;
	mod_delayed_work(gl_engine_wq, &eng->look, 0);
}

void gl_engine_abort(struct gl_engine *eng, struct list_head *list)
{
	while (!list_empty(list))
		gl_engine_complete(eng, list_first_entry(list, struct gl_edesc, node),
				   DMA_TRANS_ABORTED);
}

/* Stopped: those that failed are told so, what was behind them begins again. */
static void gl_engine_settle(struct gl_engine *eng)
{
	struct gl_edesc *d, *next;

	list_for_each_entry_safe(d, next, &eng->failing, node)
		gl_engine_complete(eng, d, d->result.result);
	eng->batches = 0;
	list_for_each_entry(d, &eng->in_ring, node) {
		d->queued = 0;
		d->bytes = 0;
	}
	list_splice_init(&eng->in_ring, &eng->issued);
}

/* Nobody works for it any more. */
static void gl_engine_over(struct gl_engine *eng)
{
	eng->gone = true;
	gl_engine_abort(eng, &eng->issued);
	gl_engine_abort(eng, &eng->submitted);
}

/* One completion. False: it is of an error, or can't be. */
static bool gl_engine_one(struct gl_edesc *d, const struct gl_cpl *cpl, u64 asked,
			  enum dmaengine_tx_result *result)
{
	u32 status = le32_to_cpu(cpl->status);
	u64 bytes = le64_to_cpu(cpl->bytes);

	*result = status == GL_ERR_HOST_READ ? DMA_TRANS_READ_FAILED :
		  status == GL_ERR_HOST_WRITE ? DMA_TRANS_WRITE_FAILED :
						DMA_TRANS_ABORTED;
	/* Of another, or more than was asked for: it counts for nothing. */
	if (le32_to_cpu(cpl->cookie) != d->txd.cookie || bytes > asked)
		return false;
	d->bytes += bytes;
	return !status && bytes == asked;
}

bool gl_engine_take(struct gl_engine *eng)
{
	bool any = false;

	while (eng->live && eng->batches) {
		struct gl_cpl *cpl = &eng->cpl[eng->cpl_seen & (eng->entries - 1)];
		struct gl_ebatch *batch = gl_engine_batch(eng, 0);
		enum dmaengine_tx_result result;
		struct gl_edesc *d = batch->d;

		if (le32_to_cpu(READ_ONCE(cpl->seq)) != eng->cpl_seen + 1)
			break;
		/* The card writes seq last: read the rest after it. */
		dma_rmb();
		any = true;
		eng->cpl_seen++;
		eng->first_batch = (eng->first_batch + 1) % GL_ENGINE_ENTRIES;
		eng->batches--;
		eng->done += batch->descs;
		if (!gl_engine_one(d, cpl, batch->bytes, &result)) {
			gl_engine_fail(eng, result);
			break;
		}
		if (d->bytes == d->len)
			gl_engine_complete(eng, d, DMA_TRANS_NOERROR);
	}
	return any;
}

/* ---- the channel's user ---- */

/* Nothing new: has the card stopped, or done everything and told nobody? */
static bool gl_engine_in_vain(struct gl_engine *eng)
{
	if (gl_chan_lost(eng->hw))
		return true;
	/* What it has completed is seen, once it says that it is idle. */
	return !gl_chan_busy(eng->hw) && !gl_engine_take(eng);
}

/* Under gl_chan.lock, and not resting. Of those that failed, and of who goes on. */
void gl_engine_quiesce(struct gl_engine *eng)
{
	struct gl_chan *hw = eng->hw;
	unsigned long flags;

	spin_lock_irqsave(&eng->lock, flags);
	eng->live = false;
	spin_unlock_irqrestore(&eng->lock, flags);
	gl_chan_stop(hw);
	spin_lock_irqsave(&eng->lock, flags);
	eng->enabled = false;
	gl_engine_settle(eng);
	if (hw->dead)
		gl_engine_over(eng);
	eng->live = !hw->dead;
	gl_engine_fill(eng);
	spin_unlock_irqrestore(&eng->lock, flags);
}

static void gl_engine_reap(struct gl_chan *chan)
{
	struct gl_engine *eng = chan->priv;
	unsigned long flags;
	bool failing;

	spin_lock_irqsave(&eng->lock, flags);
	if (!gl_engine_take(eng) && eng->live && eng->batches &&
	    gl_engine_in_vain(eng))
		gl_engine_fail(eng, DMA_TRANS_ABORTED);
	failing = !list_empty(&eng->failing);
	if (!failing)
		gl_engine_fill(eng);
	spin_unlock_irqrestore(&eng->lock, flags);
	if (failing)
		gl_engine_quiesce(eng);
}

/* For completions that are lost, and interrupts: nobody else may ever look. */
void gl_engine_look(struct work_struct *work)
{
	struct gl_engine *eng = container_of(to_delayed_work(work), struct gl_engine,
					     look);
	unsigned long flags;

	mutex_lock(&eng->hw->lock);
	gl_engine_reap(eng->hw);
	mutex_unlock(&eng->hw->lock);
	spin_lock_irqsave(&eng->lock, flags);
	if (eng->live && eng->batches)
		queue_delayed_work(gl_engine_wq, &eng->look, GL_LOOK_AGAIN);
	spin_unlock_irqrestore(&eng->lock, flags);
}

static void gl_engine_halt(struct gl_chan *chan)
{
	struct gl_engine *eng = chan->priv;
	unsigned long flags;

	spin_lock_irqsave(&eng->lock, flags);
	gl_engine_take(eng);
	eng->live = false;
	eng->enabled = false;
	spin_unlock_irqrestore(&eng->lock, flags);
}

static void gl_engine_stopped(struct gl_chan *chan)
{
	struct gl_engine *eng = chan->priv;
	struct gl_edesc *d, *next;
	unsigned long flags;

	spin_lock_irqsave(&eng->lock, flags);
	list_for_each_entry_safe(d, next, &eng->failing, node)
		gl_engine_complete(eng, d, d->result.result);
	eng->batches = 0;
	gl_engine_abort(eng, &eng->in_ring);
	if (chan->dead)
		gl_engine_over(eng);
	spin_unlock_irqrestore(&eng->lock, flags);
}

static void gl_engine_wake(struct gl_chan *chan)
{
	struct gl_engine *eng = chan->priv;
	unsigned long flags;

	spin_lock_irqsave(&eng->lock, flags);
	eng->live = !chan->dead;
	gl_engine_fill(eng);
	spin_unlock_irqrestore(&eng->lock, flags);
}

const struct gl_chan_user gl_engine_user = {
	.reap = gl_engine_reap,
	.halt = gl_engine_halt,
	.stopped = gl_engine_stopped,
	.wake = gl_engine_wake,
};
