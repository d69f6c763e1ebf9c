/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Marks in a long table, to begin a search at (marks.c).
 */
#ifndef GIGALOCK_MARKS_H
#define GIGALOCK_MARKS_H

#include <linux/scatterlist.h>

struct gl_mark {
	struct scatterlist *sg;
	u64 place;
};

struct gl_marks {
	struct gl_mark **pages;
	u32 most;			/* there is room for */
	u32 count;
};

size_t gl_marks_make(struct gl_marks *marks, u32 most);
void gl_marks_add(struct gl_marks *marks, struct scatterlist *sg, u64 place);
const struct gl_mark *gl_marks_before(const struct gl_marks *marks, u64 place);
void gl_marks_free(struct gl_marks *marks);

#endif /* GIGALOCK_MARKS_H */
