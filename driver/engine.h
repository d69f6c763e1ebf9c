/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A channel for the kernel's dmaengine, as dmaengine.c (its clients) and
 * engine_ring.c (what the card does with it) see it.
 */
#ifndef GIGALOCK_ENGINE_H
#define GIGALOCK_ENGINE_H

#include <linux/dmaengine.h>
#include <linux/interrupt.h>
#include <linux/workqueue.h>

#include "gl.h"

#define GL_ENGINE_ENTRIES	256
#define GL_ENGINE_FAILED	16

/* What a client asked for. */
struct gl_edesc {
	struct dma_async_tx_descriptor txd;
	struct list_head node;
	u64 src;		/* address, or the pattern of a fill */
	u64 dst;
	u64 len;
	u64 queued;
	u64 bytes;		/* done */
	u64 base;		/* BYTES register when it begins */
	u16 op;
	struct dmaengine_result result;
};

/* One that failed, for those who ask for its status. */
struct gl_efailed {
	dma_cookie_t cookie;	/* 0: none */
	u32 residue;
};

/* A chain in the ring. */
struct gl_ebatch {
	struct gl_edesc *d;
	u32 descs;
	u64 bytes;
};

struct gl_engine {
	struct dma_device dma;
	struct dma_chan chan;
	struct gl_card *card;
	struct gl_chan *hw;
	struct tasklet_struct tasklet;
	struct delayed_work look;
	struct work_struct end;

	spinlock_t lock;	/* all below; irqs off */
	bool live;		/* the registers may be touched */
	bool gone;		/* for good */
	bool enabled;
	struct gl_desc *ring;
	struct gl_cpl *cpl;
	dma_addr_t ring_dma;
	dma_addr_t cpl_dma;
	u32 entries;
	u32 tail;
	u32 done;
	u32 cpl_seen;
	u64 put_bytes;
	struct gl_ebatch batch[GL_ENGINE_ENTRIES];
	u32 first_batch;
	u32 batches;
	struct list_head submitted;	/* of gl_edesc, in order of their cookies */
	struct list_head issued;
	struct list_head in_ring;
	struct list_head failing;	/* failed; the card may still be at it */
	struct list_head finished;	/* their callbacks are to be called */
	struct list_head terminated;	/* to be freed once the card is quiet */
	struct gl_efailed failed[GL_ENGINE_FAILED];	/* the last ones, in turn */
	u32 next_failed;
};

extern const struct gl_chan_user gl_engine_user;
extern struct workqueue_struct *gl_engine_wq;

void gl_engine_fill(struct gl_engine *eng);
bool gl_engine_take(struct gl_engine *eng);
void gl_engine_abort(struct gl_engine *eng, struct list_head *list);
void gl_engine_quiesce(struct gl_engine *eng);
void gl_engine_look(struct work_struct *work);

#endif /* GIGALOCK_ENGINE_H */
