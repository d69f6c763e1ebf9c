// SPDX-License-Identifier: GPL-2.0-only
/*
 * One channel of the card for the kernel's dmaengine: memory to memory copies,
 * and filling. Other drivers and dmatest may use it; our own files don't.
 *
 * Clients call in any context, so everything here is under a spinlock, and the
 * channel's mutex is only for those who stop it: they first say halt(), and
 * nobody touches its registers from then on.
 *
 * A client may hold the channel when the card goes. Its descriptors end with
 * ABORTED, new ones are refused, and the memory stays until it lets go.
 */
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "engine.h"

/* drivers/dma/dmaengine.h is not for modules out of the tree: cookies by hand. */

static int dmaengine = -1;
module_param(dmaengine, int, 0444);
MODULE_PARM_DESC(dmaengine, "channel for the kernel's dmaengine: 0 none, 1 one, -1 one if the card has 4 or more (-1)");

#define GL_ENGINE_AUTO		4	/* channels, from which one is given */

#if IS_ENABLED(CONFIG_DMA_ENGINE)

static struct gl_engine *gl_engine_of(struct dma_chan *chan)
{
	return container_of(chan, struct gl_engine, chan);
}

/* ---- the client's side ---- */

static void gl_engine_free_desc(struct gl_edesc *d)
{
	dma_descriptor_unmap(&d->txd);
	kfree(d);
}

static void gl_engine_free_list(struct list_head *list)
{
	struct gl_edesc *d, *next;

	list_for_each_entry_safe(d, next, list, node)
		gl_engine_free_desc(d);
}

static void gl_engine_tasklet(struct tasklet_struct *t)
{
	struct gl_engine *eng = from_tasklet(eng, t, tasklet);
	struct gl_edesc *d, *next;
	unsigned long flags;
	LIST_HEAD(list);

	spin_lock_irqsave(&eng->lock, flags);
	list_splice_init(&eng->finished, &list);
	spin_unlock_irqrestore(&eng->lock, flags);
	list_for_each_entry_safe(d, next, &list, node) {
		struct dma_async_tx_descriptor *txd = &d->txd;

		dma_descriptor_unmap(txd);
		if (txd->callback_result)
			txd->callback_result(txd->callback_param, &d->result);
		else if (txd->callback)
			txd->callback(txd->callback_param);
		kfree(d);
	}
}

static dma_cookie_t gl_engine_tx_submit(struct dma_async_tx_descriptor *txd)
{
	struct gl_edesc *d = container_of(txd, struct gl_edesc, txd);
	struct gl_engine *eng = gl_engine_of(txd->chan);
	unsigned long flags;
	dma_cookie_t cookie;

	spin_lock_irqsave(&eng->lock, flags);
	cookie = eng->chan.cookie + 1;
	if (cookie < DMA_MIN_COOKIE)
		cookie = DMA_MIN_COOKIE;
	eng->chan.cookie = cookie;
	txd->cookie = cookie;
	list_add_tail(&d->node, &eng->submitted);
	if (eng->gone)
		gl_engine_abort(eng, &eng->submitted);
	spin_unlock_irqrestore(&eng->lock, flags);
	return cookie;
}

static struct dma_async_tx_descriptor *
gl_engine_prep(struct dma_chan *chan, u16 op, u64 src, u64 dst, size_t len,
	       unsigned long flags)
{
	struct gl_engine *eng = gl_engine_of(chan);
	struct gl_edesc *d;

	if (!len || READ_ONCE(eng->gone))
		return NULL;
	d = kzalloc(sizeof(*d), GFP_NOWAIT | __GFP_NOWARN);
	if (!d)
		return NULL;
	dma_async_tx_descriptor_init(&d->txd, chan);
	d->txd.tx_submit = gl_engine_tx_submit;
	d->txd.flags = flags;
	INIT_LIST_HEAD(&d->node);
	d->op = op;
	d->src = src;
	d->dst = dst;
	d->len = len;
	return &d->txd;
}

static struct dma_async_tx_descriptor *
gl_engine_prep_memcpy(struct dma_chan *chan, dma_addr_t dst, dma_addr_t src,
		      size_t len, unsigned long flags)
{
	return gl_engine_prep(chan, GL_OP_H2H, src, dst, len, flags);
}

static struct dma_async_tx_descriptor *
gl_engine_prep_memset(struct dma_chan *chan, dma_addr_t dst, int value, size_t len,
		      unsigned long flags)
{
	return gl_engine_prep(chan, GL_OP_FILL_HOST,
			      (u8)value * 0x0101010101010101ULL, dst, len, flags);
}

static void gl_engine_issue_pending(struct dma_chan *chan)
{
	struct gl_engine *eng = gl_engine_of(chan);
	unsigned long flags;

	spin_lock_irqsave(&eng->lock, flags);
	list_splice_tail_init(&eng->submitted, &eng->issued);
	gl_engine_fill(eng);
	spin_unlock_irqrestore(&eng->lock, flags);
}

/* Bytes of @cookie still to go; under the spinlock. */
static u32 gl_engine_residue(struct gl_engine *eng, dma_cookie_t cookie)
{
	struct list_head *lists[] = { &eng->in_ring, &eng->failing, &eng->issued,
				      &eng->submitted };
	struct gl_edesc *d;
	unsigned int i;
	u64 moved;
	s64 since;

	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each_entry(d, lists[i], node) {
			if (d->txd.cookie != cookie)
				continue;
			moved = d->bytes;
			if (!i && eng->live) {
				since = gl_chan_bytes(eng->hw) - d->base;
				if (since > 0)
					moved = clamp_t(u64, since, moved, d->len);
			}
			return min_t(u64, d->len - moved, U32_MAX);
		}
	}
	return 0;
}

/* Among the last that did; under the spinlock. */
static bool gl_engine_has_failed(struct gl_engine *eng, dma_cookie_t cookie,
				 u32 *residue)
{
	unsigned int i;

	for (i = 0; i < GL_ENGINE_FAILED; i++) {
		if (eng->failed[i].cookie == cookie) {
			*residue = eng->failed[i].residue;
			return true;
		}
	}
	return false;
}

static enum dma_status gl_engine_tx_status(struct dma_chan *chan, dma_cookie_t cookie,
					   struct dma_tx_state *state)
{
	struct gl_engine *eng = gl_engine_of(chan);
	enum dma_status status;
	unsigned long flags;
	u32 residue = 0;

	spin_lock_irqsave(&eng->lock, flags);
	/* For those who poll instead of waiting for the callback. */
	if (gl_engine_take(eng))
		gl_engine_fill(eng);
	status = dma_async_is_complete(cookie, chan->completed_cookie, chan->cookie);
	if (status != DMA_COMPLETE && state)
		residue = gl_engine_residue(eng, cookie);
	else if (status == DMA_COMPLETE && gl_engine_has_failed(eng, cookie, &residue))
		status = DMA_ERROR;
	dma_set_tx_state(state, chan->completed_cookie, chan->cookie, residue);
	spin_unlock_irqrestore(&eng->lock, flags);
	return status;
}

static int gl_engine_terminate_all(struct dma_chan *chan)
{
	struct gl_engine *eng = gl_engine_of(chan);
	unsigned long flags;

	spin_lock_irqsave(&eng->lock, flags);
	/* The card gives up at once; that it has is synchronize()'s to see. */
	if (eng->live && eng->enabled)
		writel(0, eng->hw->regs + GL_CH_CTRL);
	eng->enabled = false;
	eng->batches = 0;
	list_splice_tail_init(&eng->failing, &eng->terminated);
	list_splice_tail_init(&eng->in_ring, &eng->terminated);
	list_splice_tail_init(&eng->issued, &eng->terminated);
	list_splice_tail_init(&eng->submitted, &eng->terminated);
	spin_unlock_irqrestore(&eng->lock, flags);
	return 0;
}

static void gl_engine_synchronize(struct dma_chan *chan)
{
	struct gl_engine *eng = gl_engine_of(chan);
	struct gl_chan *hw = eng->hw;
	unsigned long flags;
	bool enabled;
	LIST_HEAD(list);

	mutex_lock(&hw->lock);
	spin_lock_irqsave(&eng->lock, flags);
	/* If it has been enabled again, it was quiet in between. */
	enabled = eng->enabled;
	spin_unlock_irqrestore(&eng->lock, flags);
	if (!enabled && hw->running)
		gl_engine_quiesce(eng);
	spin_lock_irqsave(&eng->lock, flags);
	list_splice_init(&eng->terminated, &list);
	spin_unlock_irqrestore(&eng->lock, flags);
	mutex_unlock(&hw->lock);
	gl_engine_free_list(&list);
	tasklet_kill(&eng->tasklet);
}

static int gl_engine_alloc_chan(struct dma_chan *chan)
{
	struct gl_engine *eng = gl_engine_of(chan);

	if (READ_ONCE(eng->gone))
		return -ENODEV;
	chan->cookie = DMA_MIN_COOKIE;
	chan->completed_cookie = DMA_MIN_COOKIE;
	memset(eng->failed, 0, sizeof(eng->failed));
	return eng->entries;
}

static void gl_engine_free_chan(struct dma_chan *chan)
{
	gl_engine_terminate_all(chan);
	gl_engine_synchronize(chan);
}

/* ---- the card comes and goes ---- */

static void gl_engine_free_rings(struct gl_engine *eng)
{
	struct device *dev = gl_dev(eng->card);

	if (eng->ring)
		dma_free_coherent(dev, eng->entries * sizeof(*eng->ring), eng->ring,
				  eng->ring_dma);
	if (eng->cpl)
		dma_free_coherent(dev, eng->entries * sizeof(*eng->cpl), eng->cpl,
				  eng->cpl_dma);
	eng->ring = NULL;
	eng->cpl = NULL;
}

struct workqueue_struct *gl_engine_wq;

static bool gl_engine_none(struct dma_chan *chan, void *param)
{
	return false;
}

/*
 * The kernel's dmaengine still looks at the device after it has let go of its
 * last reference, under a mutex that only it can take: who asks it for any
 * channel, to take none, has waited for that.
 */
static void gl_engine_end(struct work_struct *work)
{
	struct gl_engine *eng = container_of(work, struct gl_engine, end);
	struct gl_card *card = eng->card;
	dma_cap_mask_t any;

	dma_cap_zero(any);
	dma_request_channel(any, gl_engine_none, NULL);
	tasklet_kill(&eng->tasklet);
	kfree(eng);
	put_device(&card->chr);
}

/* The last client has let go. */
static void gl_engine_release(struct dma_device *dma)
{
	struct gl_engine *eng = container_of(dma, struct gl_engine, dma);

	queue_work(gl_engine_wq, &eng->end);
}

static void gl_engine_describe(struct gl_engine *eng)
{
	struct gl_card *card = eng->card;
	struct dma_device *dma = &eng->dma;

	dma->dev = gl_dev(card);
	INIT_LIST_HEAD(&dma->channels);
	eng->chan.device = dma;
	list_add_tail(&eng->chan.device_node, &dma->channels);
	dma_cap_set(DMA_MEMCPY, dma->cap_mask);
	dma->device_prep_dma_memcpy = gl_engine_prep_memcpy;
	if (card->ops & BIT(GL_OP_FILL_HOST)) {
		dma_cap_set(DMA_MEMSET, dma->cap_mask);
		dma->device_prep_dma_memset = gl_engine_prep_memset;
	}
	/* By name only, never for whoever wants any channel. */
	dma_cap_set(DMA_PRIVATE, dma->cap_mask);
	dma->copy_align = ilog2(card->align);
	dma->fill_align = ilog2(card->align);
	dma->directions = BIT(DMA_MEM_TO_MEM);
	dma->residue_granularity = DMA_RESIDUE_GRANULARITY_BURST;
	dma->device_alloc_chan_resources = gl_engine_alloc_chan;
	dma->device_free_chan_resources = gl_engine_free_chan;
	dma->device_tx_status = gl_engine_tx_status;
	dma->device_issue_pending = gl_engine_issue_pending;
	dma->device_terminate_all = gl_engine_terminate_all;
	dma->device_synchronize = gl_engine_synchronize;
	dma->device_release = gl_engine_release;
}

static int gl_engine_make(struct gl_card *card)
{
	struct gl_engine *eng = kzalloc(sizeof(*eng), GFP_KERNEL);
	struct gl_chan *hw;
	int err = -ENOMEM;

	if (!eng)
		return -ENOMEM;
	eng->card = card;
	eng->entries = min_t(u32, GL_ENGINE_ENTRIES, BIT(card->max_ring));
	spin_lock_init(&eng->lock);
	INIT_LIST_HEAD(&eng->submitted);
	INIT_LIST_HEAD(&eng->issued);
	INIT_LIST_HEAD(&eng->in_ring);
	INIT_LIST_HEAD(&eng->failing);
	INIT_LIST_HEAD(&eng->finished);
	INIT_LIST_HEAD(&eng->terminated);
	tasklet_setup(&eng->tasklet, gl_engine_tasklet);
	INIT_DELAYED_WORK(&eng->look, gl_engine_look);
	INIT_WORK(&eng->end, gl_engine_end);
	gl_engine_describe(eng);
	eng->ring = dma_alloc_coherent(gl_dev(card), eng->entries * sizeof(*eng->ring),
				       &eng->ring_dma, GFP_KERNEL);
	eng->cpl = dma_alloc_coherent(gl_dev(card), eng->entries * sizeof(*eng->cpl),
				      &eng->cpl_dma, GFP_KERNEL);
	if (!eng->ring || !eng->cpl)
		goto free;
	/* Before anyone can ask for it. */
	hw = gl_chan_take(card, &gl_engine_user, eng);
	if (IS_ERR(hw)) {
		err = PTR_ERR(hw);
		goto free;
	}
	eng->hw = hw;
	eng->live = true;
	get_device(&card->chr);
	err = dma_async_device_register(&eng->dma);
	if (err)
		goto give_back;
	card->engine = eng;
	return 0;
give_back:
	mutex_lock(&hw->lock);
	gl_chan_give_back(hw);
	mutex_unlock(&hw->lock);
	put_device(&card->chr);
free:
	gl_engine_free_rings(eng);
	kfree(eng);
	return err;
}

/* The card works without it. */
void gl_engine_add(struct gl_card *card)
{
	int err;

	if (!dmaengine || (dmaengine < 0 && card->nchan < GL_ENGINE_AUTO) ||
	    !(card->ops & BIT(GL_OP_H2H)))
		return;
	err = gl_engine_make(card);
	if (err)
		dev_warn(gl_dev(card), "no channel for the dmaengine: %d\n", err);
}

/* Its channel has been killed. */
void gl_engine_remove(struct gl_card *card)
{
	struct gl_engine *eng = card->engine;

	if (!eng)
		return;
	card->engine = NULL;
	cancel_delayed_work_sync(&eng->look);
	/* Who looks at all channels must not find it there any more. */
	mutex_lock(&eng->hw->lock);
	gl_chan_give_back(eng->hw);
	mutex_unlock(&eng->hw->lock);
	gl_engine_free_rings(eng);
	/* With a client the rest goes when it does. */
	dma_async_device_unregister(&eng->dma);
}

int gl_engine_init(void)
{
	gl_engine_wq = alloc_workqueue("gigalock", WQ_UNBOUND, 0);
	return gl_engine_wq ? 0 : -ENOMEM;
}

/* No card and no client is left; what they have left is waited for. */
void gl_engine_exit(void)
{
	destroy_workqueue(gl_engine_wq);
}

#else

int gl_engine_init(void)
{
	return 0;
}

void gl_engine_exit(void)
{
}

void gl_engine_add(struct gl_card *card)
{
	if (dmaengine > 0)
		dev_warn(gl_dev(card), "this kernel has no dmaengine\n");
}

void gl_engine_remove(struct gl_card *card)
{
}

#endif
