// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a transfer asks for, and the descriptors it becomes: checked against the
 * lock and the card before it starts, cut up by what the card can take.
 */
#include <linux/bitops.h>
#include <linux/log2.h>
#include <linux/nospec.h>
#include <linux/sizes.h>

#include "gl.h"

/* Operations that any card knows; version 1.0 had no register to say so. */
#define GL_OPS_ALWAYS	(BIT(GL_OP_NOP) | BIT(GL_OP_H2C) | BIT(GL_OP_C2H))

static u64 gl_reg64(struct gl_card *card, u32 lo)
{
	return readl(card->regs + lo) | (u64)readl(card->regs + lo + 4) << 32;
}

/* What the card asks of descriptors, believed only if it can be kept. */
int gl_card_limits(struct gl_card *card)
{
	u64 most = card->max_xfer;

	card->ops = GL_OPS_ALWAYS;
	card->align = 1;
	card->boundary = 0;
	if ((card->version & 0xffff) >= 1) {
		card->ops |= readl(card->regs + GL_REG_OPS);
		card->align = readl(card->regs + GL_REG_ALIGN);
		card->boundary = gl_reg64(card, GL_REG_BOUNDARY_LO);
		most = min(most, gl_reg64(card, GL_REG_MAX_SEG_LO));
	}
	/* A piece that isn't the last ends where the next one may begin. */
	if (is_power_of_2(card->align) && card->align <= SZ_4K)
		card->piece = round_down(most, (u64)card->align);
	if (!card->piece || (card->boundary &&
			     (!is_power_of_2(card->boundary) ||
			      card->boundary < card->align))) {
		dev_err(gl_dev(card),
			"card asks what can't be kept: ALIGN %u, MAX_SEG or MAX_XFER 0x%llx, BOUNDARY 0x%llx\n",
			card->align, most, card->boundary);
		return -ENODEV;
	}
	return 0;
}

/* By GIGALOCK_XFER_OP_*: the card's operation, and what goes with it. */
static const struct gl_op {
	u16 to_card;		/* the card's number for it; 0: not this way */
	u16 from_card;
	bool card_side;		/* names card memory */
	bool pattern;
	u32 needs;		/* GIGALOCK_XFER_* */
} gl_ops[GIGALOCK_XFER_OP_COUNT] = {
	[GIGALOCK_XFER_OP_MOVE] = { GL_OP_H2C, GL_OP_C2H, .card_side = true },
	[GIGALOCK_XFER_OP_FILL] = { 0, GL_OP_FILL_HOST, .pattern = true },
	[GIGALOCK_XFER_OP_COMPARE] = { GL_OP_CMP_HC, 0, .card_side = true },
	[GIGALOCK_XFER_OP_CRC] = { GL_OP_CRC_HOST, 0, .needs = GIGALOCK_XFER_CRC },
};

static int gl_move_range(struct gl_fail *fail, u32 reason, u64 start, u64 length,
			 u64 limit)
{
	if (start <= limit && length <= limit - start)
		return 0;
	return gl_fail_set(fail, reason, GIGALOCK_STAGE_ARGUMENTS, -ERANGE, limit,
			   start > U64_MAX - length ? U64_MAX : start + length,
			   start <= limit ? limit - start : 0);
}

/* All that can be said without the lock. Fills @move but for lock and place. */
int gl_move_parse(struct gl_card *card, const struct gigalock_queue_entry *req,
		  struct gl_move *move, struct gl_fail *fail)
{
	const struct gl_op *op;

	if (req->flags & ~GIGALOCK_XFER_FLAGS)
		return gl_fail_argument(fail, req->flags, GIGALOCK_XFER_FLAGS);
	if (req->op >= GIGALOCK_XFER_OP_COUNT)
		return gl_fail_argument(fail, req->op, GIGALOCK_XFER_OP_COUNT - 1);
	op = &gl_ops[array_index_nospec(req->op, GIGALOCK_XFER_OP_COUNT)];
	move->op = req->direction == GIGALOCK_DIR_TO_CARD ? op->to_card :
		   req->direction == GIGALOCK_DIR_FROM_CARD ? op->from_card : 0;
	if (!move->op)
		return gl_fail_argument(fail, req->direction, op->to_card ?
					GIGALOCK_DIR_TO_CARD : GIGALOCK_DIR_FROM_CARD);
	if (op->needs & ~req->flags)
		return gl_fail_argument(fail, req->flags, op->needs);
	if (req->pattern && !op->pattern)
		return gl_fail_argument(fail, req->pattern, 0);
	if (req->card_offset && !op->card_side)
		return gl_fail_argument(fail, req->card_offset, 0);
	if (!req->length)
		return gl_fail_set(fail, GIGALOCK_REASON_BAD_SIZE,
				   GIGALOCK_STAGE_ARGUMENTS, -EINVAL, 1, 0, 0);
	if (!(card->ops & BIT(move->op))) {
		gl_fail_argument(fail, move->op, card->ops);
		fail->err = -EOPNOTSUPP;
		return -EOPNOTSUPP;
	}
	move->flags = req->flags;
	move->card_side = op->card_side;
	move->direction = req->direction;
	move->pattern = req->pattern;
	move->card_offset = req->card_offset;
	move->offset = req->offset;
	move->length = req->length;
	move->queued = 0;
	return 0;
}

/* And with it. @move->lock is set; its place is found by gl_move_seek(). */
int gl_move_check(struct gl_card *card, const struct gl_move *move,
		  struct gl_fail *fail)
{
	const struct gl_lock *lock = move->lock;
	int err;

	if (!(lock->direction & move->direction)) {
		gl_fail_argument(fail, move->direction, lock->direction);
		fail->err = -EACCES;
		return -EACCES;
	}
	err = gl_move_range(fail, GIGALOCK_REASON_LOCK_RANGE, move->offset,
			    move->length, lock->bytes);
	if (!err && move->card_side)
		err = gl_move_range(fail, GIGALOCK_REASON_CARD_RANGE,
				    move->card_offset, move->length,
				    card->card_bytes);
	return err;
}

/*
 * Does its first byte lie where the card can begin? The next pieces of a lock
 * begin with a page, and no card asks for more.
 */
int gl_move_aligned(struct gl_card *card, const struct gl_move *move,
		    struct gl_fail *fail)
{
	struct gl_pos pos = move->pos;
	dma_addr_t addr;

	if (card->align == 1)
		return 0;
	gl_lock_next(move->lock, &pos, 1, &addr);
	if (!(addr & (card->align - 1)))
		return 0;
	gl_fail_set(fail, GIGALOCK_REASON_BAD_ARGUMENT, GIGALOCK_STAGE_ARGUMENTS,
		    -EINVAL, card->align, move->offset, addr & (card->align - 1));
	return -EINVAL;
}

/* Fill in the next descriptor of @move; how many bytes it is for. */
u64 gl_move_desc(struct gl_card *card, struct gl_move *move, u32 cookie,
		 struct gl_desc *desc)
{
	u64 most = min(card->piece, move->length - move->queued);
	struct gl_pos before = move->pos;
	u64 len, there;
	dma_addr_t addr;
	u16 flags = 0;

	len = gl_lock_next(move->lock, &move->pos, most, &addr);
	if (card->boundary) {
		u64 room = card->boundary - (addr & (card->boundary - 1));

		if (len > room) {
			move->pos = before;
			len = gl_lock_next(move->lock, &move->pos, room, &addr);
		}
	}
	if (move->flags & GIGALOCK_XFER_CRC)
		flags = GL_DESC_F_CRC | (move->queued ? 0 : GL_DESC_F_CRC_INIT);
	/* The card begins a pattern anew; turned so, it goes on. */
	there = move->card_side ? move->card_offset + move->queued :
				  ror64(move->pattern, move->queued % 8 * 8);
	desc->op = cpu_to_le16(move->op);
	desc->flags = cpu_to_le16(flags);
	desc->cookie = cpu_to_le32(cookie);
	if (move->direction == GIGALOCK_DIR_TO_CARD) {
		desc->src = cpu_to_le64(addr);
		desc->dst = cpu_to_le64(there);
	} else {
		desc->src = cpu_to_le64(there);
		desc->dst = cpu_to_le64(addr);
	}
	desc->len = cpu_to_le64(len);
	move->queued += len;
	return len;
}
