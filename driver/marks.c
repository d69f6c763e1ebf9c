// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marks in a long table: every so many entries one, to begin a search at. Kept in
 * single pages, as the table is. Neither kvmalloc() nor newer kernels' vmalloc()
 * does that: both try for many pages in a row first.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "marks.h"

#define GL_MARKS_A_PAGE		(PAGE_SIZE / sizeof(struct gl_mark))
#define GL_MARKS_GFP		(GFP_KERNEL_ACCOUNT | __GFP_NOWARN)

static struct gl_mark *gl_marks_at(const struct gl_marks *marks, u32 i)
{
	return &marks->pages[i / GL_MARKS_A_PAGE][i % GL_MARKS_A_PAGE];
}

/* Bytes of the last page that are needed, or 0: all. */
static size_t gl_marks_rest(u32 most)
{
	return most % GL_MARKS_A_PAGE * sizeof(struct gl_mark);
}

static struct gl_mark *gl_marks_page(u32 first, u32 most)
{
	if (most - first < GL_MARKS_A_PAGE)
		return kmalloc(gl_marks_rest(most), GL_MARKS_GFP);
	return (struct gl_mark *)__get_free_page(GL_MARKS_GFP);
}

/*
 * Room for @most marks; the bytes that it takes, or 0. Without marks a search
 * takes longer, nothing else.
 */
size_t gl_marks_make(struct gl_marks *marks, u32 most)
{
	u32 pages = DIV_ROUND_UP(most, GL_MARKS_A_PAGE), i;

	if (!most)
		return 0;
	marks->pages = kcalloc(pages, sizeof(*marks->pages), GL_MARKS_GFP);
	if (!marks->pages)
		return 0;
	marks->most = most;
	for (i = 0; i < pages; i++) {
		marks->pages[i] = gl_marks_page(i * GL_MARKS_A_PAGE, most);
		if (!marks->pages[i]) {
			gl_marks_free(marks);
			return 0;
		}
	}
	return pages * sizeof(*marks->pages) + most * sizeof(struct gl_mark);
}

/* In rising order of @place, as many as there is room for. */
void gl_marks_add(struct gl_marks *marks, struct scatterlist *sg, u64 place)
{
	if (marks->count < marks->most)
		*gl_marks_at(marks, marks->count++) = (struct gl_mark){ sg, place };
}

/* The last one that isn't behind @place, or NULL: the beginning is nearer. */
const struct gl_mark *gl_marks_before(const struct gl_marks *marks, u64 place)
{
	u32 low = 0, high = marks->count;

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (gl_marks_at(marks, middle)->place <= place)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? gl_marks_at(marks, low - 1) : NULL;
}

void gl_marks_free(struct gl_marks *marks)
{
	u32 i, full = marks->most / GL_MARKS_A_PAGE;

	for (i = 0; i < full && marks->pages[i]; i++)
		free_page((unsigned long)marks->pages[i]);
	if (i == full && gl_marks_rest(marks->most))
		kfree(marks->pages[i]);
	kfree(marks->pages);
	*marks = (struct gl_marks){};
}
