/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A queue, as queue.c (the calls on it) and queue_ring.c (its rings, and what
 * the card does with them) see it.
 */
#ifndef GIGALOCK_QUEUE_H
#define GIGALOCK_QUEUE_H

#include <linux/mm.h>

#include "gl.h"

#define GL_QUEUE_BITE		64	/* entries copied from the user at once */

/* A transfer under way. */
struct gl_slot {
	struct gl_lock *lock;
	u64 bytes;
	u32 descs;
	u32 direction;
	u32 cookie;
};

struct gl_queue {
	struct kref ref;
	struct rcu_head rcu;
	struct gl_card *card;
	struct gl_file *file;	/* valid until destroyed */
	struct gl_chan *chan;
	u32 id;
	bool irq;
	u32 entries;
	struct gl_slot *slots;
	struct gl_mapping map;

	struct mutex submit_lock;	/* who submits, and with it: */
	struct gigalock_queue_entry bite[GL_QUEUE_BITE];

	struct mutex map_lock;	/* where the ring is, for faults: */
	bool frozen;		/* the rings' memory has gone back */
	void *copy;		/* what the completion ring was then, or NULL */

	/* Under gl_chan.lock: */
	bool stopped;
	bool lied;		/* the card has completed what can't be */
	bool skips;		/* the card may still pass over descriptors */
	struct gl_desc *ring;
	struct gl_cpl *cpl;
	dma_addr_t ring_dma;
	dma_addr_t cpl_dma;
	u32 tail;		/* descriptors ever written */
	u32 rung;		/* of them, told to the card */
	u32 head;		/* of them, whose place is free again */
	u32 owed;		/* of them, passed over, maybe not yet */
	u32 submitted;		/* entries ever taken */
	u32 reaped;		/* of them, completed */
	u32 seen;		/* of them, read by user space, it says */
	wait_queue_head_t wait;
};

static inline size_t gl_queue_ring_bytes(const struct gl_queue *q)
{
	return PAGE_ALIGN(q->entries * sizeof(struct gl_cpl));
}

extern const struct gl_chan_user gl_queue_user;
extern const struct gl_mapping_ops gl_queue_mapping_ops;

void gl_queue_put(struct gl_queue *q);
int gl_queue_alloc_rings(struct gl_queue *q);
void gl_queue_free_rings(struct gl_queue *q);
void gl_queue_freeze(struct gl_queue *q, u64 base);
u32 gl_queue_reap(struct gl_queue *q);
u32 gl_queue_free_descs(struct gl_queue *q);
void gl_queue_tell(struct gl_queue *q);
void gl_queue_end(struct gl_queue *q);
void gl_queue_look(struct gl_queue *q);

#endif /* GIGALOCK_QUEUE_H */
