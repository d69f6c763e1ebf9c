/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers of the pool, between pool.c that gets them and pooled.c that makes
 * locks of them.
 */
#ifndef GIGALOCK_POOL_H
#define GIGALOCK_POOL_H

#include <linux/list.h>

#include "gl.h"

#define GL_POOL_NO_NODE	(-2)		/* not looked yet */

struct gl_pool_buf {
	struct list_head node_in_pool;
	bool taken;
	struct gl_card *card;		/* of coherent memory; else NULL */
	u64 charged;			/* to the budget */
	u64 highest;			/* address */
	int node;			/* NUMA_NO_NODE: more than one */

	struct gl_lock maker;		/* what it was asked for as */
	unsigned long pfn;		/* contig-range */
	struct gl_blocks blocks;	/* chunked */
};

u32 gl_pool_kind(void);
struct gl_pool_buf *gl_pool_take(struct gl_lock *lock, struct gl_fail *fail);
void gl_pool_give(struct gl_pool_buf *buf);

#endif /* GIGALOCK_POOL_H */
