// SPDX-License-Identifier: GPL-2.0-only
/*
 * A lock as the device sees it: its pieces, one after the other, none longer
 * than the lock's longest segment; and whether they are what was asked for.
 */
#include <linux/math64.h>
#include <linux/mm.h>

#include "gl.h"

/* ---- walking what the device sees ---- */

/*
 * Finding a place in a long table step by step takes milliseconds: every so
 * many entries it has a mark. One that can't be had costs time, nothing else.
 */
#define GL_MARK_EVERY	16

static void gl_lock_mark(struct gl_lock *lock)
{
	struct scatterlist *s;
	u64 offset = 0;
	u32 i;

	lock->table_bytes += gl_marks_make(&lock->marks, lock->sgt->nents / GL_MARK_EVERY);
	if (!lock->marks.most)
		return;
	for_each_sgtable_dma_sg(lock->sgt, s, i) {
		if (i && i % GL_MARK_EVERY == 0)
			gl_marks_add(&lock->marks, s, offset);
		offset += sg_dma_len(s);
	}
}

void gl_lock_seek(struct gl_lock *lock, u64 offset, struct gl_pos *pos)
{
	const struct gl_mark *mark;

	pos->offset = offset;
	pos->sg = NULL;
	if (!lock->sgt)
		return;
	pos->sg = lock->sgt->sgl;
	mark = gl_marks_before(&lock->marks, offset);
	if (mark) {
		pos->sg = mark->sg;
		pos->offset -= mark->place;
	}
	while (pos->offset >= sg_dma_len(pos->sg)) {
		pos->offset -= sg_dma_len(pos->sg);
		pos->sg = sg_next(pos->sg);
	}
}

/*
 * How long the piece at @offset of a run is that begins at @addr. Cuts lie on
 * page boundaries, whatever the run begins with.
 */
static u64 gl_lock_cut(struct gl_lock *lock, dma_addr_t addr, u64 offset, u64 len)
{
	u64 into;

	div64_u64_rem(offset_in_page(addr) + offset, lock->max_segment, &into);
	return min(len, lock->max_segment - into);
}

/*
 * The next piece of at most @most bytes; moves @pos past it. What is longer
 * than the lock's longest segment comes in several.
 */
u64 gl_lock_next(struct gl_lock *lock, struct gl_pos *pos, u64 most,
		 dma_addr_t *addr)
{
	u64 len;

	if (!lock->sgt) {
		*addr = lock->dma_addr + pos->offset;
		len = gl_lock_cut(lock, lock->dma_addr, pos->offset,
				  min(most, lock->bytes - pos->offset));
		pos->offset += len;
		return len;
	}
	*addr = sg_dma_address(pos->sg) + pos->offset;
	len = gl_lock_cut(lock, sg_dma_address(pos->sg), pos->offset,
			  min(most, sg_dma_len(pos->sg) - pos->offset));
	pos->offset += len;
	if (pos->offset == sg_dma_len(pos->sg)) {
		pos->sg = sg_next(pos->sg);
		pos->offset = 0;
	}
	return len;
}

/* ---- what came out, held against what was asked for ---- */

struct gl_count {
	u64 segments;
	u64 longest;
	u64 fits;		/* bytes in the first entries of a small table */
	u64 highest;		/* address */
};

static void gl_lock_count_run(struct gl_lock *lock, dma_addr_t addr, u64 len,
			      struct gl_count *count)
{
	u64 head = offset_in_page(addr);
	u64 pieces = DIV64_U64_ROUND_UP(head + len, lock->max_segment);
	u64 room = GIGALOCK_SMALL_TABLE_ENTRIES;
	u64 longest;

	room -= min(room, count->segments);
	if (pieces <= room)
		count->fits += len;
	else if (room)
		count->fits += room * lock->max_segment - head;
	count->segments += pieces;
	longest = pieces == 1 ? len : pieces > 2 ? lock->max_segment :
		  max(lock->max_segment - head, head + len - lock->max_segment);
	count->longest = max(count->longest, longest);
	count->highest = max_t(u64, count->highest, addr + len - 1);
}

/*
 * Count what the device will see, and check what only shows once it is mapped:
 * addresses, and the room of a small table.
 */
int gl_lock_verify(struct gl_lock *lock, struct gl_fail *fail)
{
	struct gl_count count = {};
	u64 left = lock->bytes;
	struct scatterlist *s;
	unsigned int i;

	if (lock->sgt) {
		/* Of a buffer that was imported it may be a part. */
		for_each_sgtable_dma_sg(lock->sgt, s, i) {
			u64 len = min_t(u64, left, sg_dma_len(s));

			if (!len)
				break;
			gl_lock_count_run(lock, sg_dma_address(s), len, &count);
			left -= len;
		}
	} else {
		gl_lock_count_run(lock, lock->dma_addr, lock->bytes, &count);
	}
	if (count.highest > lock->top)
		return gl_fail_address(fail, GIGALOCK_STAGE_DMA_MAP, lock->top,
				       count.highest);
	if (lock->flags & GIGALOCK_LOCK_SMALL_TABLE &&
	    count.segments > GIGALOCK_SMALL_TABLE_ENTRIES) {
		gl_fail_set(fail, GIGALOCK_REASON_TOO_MANY_SEGMENTS,
			    GIGALOCK_STAGE_TABLE, -E2BIG,
			    GIGALOCK_SMALL_TABLE_ENTRIES, count.segments,
			    count.fits >> PAGE_SHIFT);
		fail->unit = GIGALOCK_UNIT_COUNT;
		return -E2BIG;
	}
	lock->segments = min_t(u64, count.segments, U32_MAX);
	lock->longest = count.longest;
	if (lock->sgt)
		gl_lock_mark(lock);
	return gl_lock_check_node(lock, fail);
}
