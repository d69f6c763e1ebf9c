/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reserved regions, between regions.c that finds and shares them out and
 * reserved.c that makes locks of them.
 */
#ifndef GIGALOCK_REGIONS_H
#define GIGALOCK_REGIONS_H

#include <linux/list.h>
#include <linux/mutex.h>

#include "gl.h"

#define GL_REGIONS	16

struct gl_region {
	u64 start;
	u64 bytes;
	bool pages;		/* with struct pages, and in the direct map */
	bool missing;		/* the label is not known to the kernel */
	const char *wrong;	/* why it must not be used, or NULL */
	void *kernel;		/* without struct pages: where it is mapped */
	char label[16];
	struct mutex lock;	/* the list */
	struct list_head parts;	/* of gl_part, by address */
};

/* A part of one that a lock has. */
struct gl_part {
	struct list_head node;
	u64 start;
	u64 bytes;
};

unsigned int gl_region_count(void);
struct gl_region *gl_region(u32 number);
int gl_region_take(struct gl_region *r, struct gl_part *part, u64 top, u64 *what);
void gl_region_give(struct gl_region *r, struct gl_part *part);

#endif /* GIGALOCK_REGIONS_H */
