/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How xfer moves a window: by one call and a wait, or in pieces through a queue
 * of its own, whose completions are read from memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "xfer.h"

#define BATCH 64

struct mover {
	struct glk_queue *queue;	/* or NULL: by calls */
	uint32_t next;			/* cookie */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A failure that the queue's own calls have no record of. */
static int fail(struct xfer_args *args, uint32_t reason, int err, uint32_t unit,
		uint64_t limit, uint64_t request, uint64_t available)
{
	const struct glk_lock *lock = args->report.lock;

	args->report.failed = true;
	args->report.failure = (struct gigalock_failure) {
		.size = sizeof(args->report.failure),
		.reason = reason,
		.stage = GIGALOCK_STAGE_TRANSFER,
		.err = (uint32_t)err,
		.unit = unit,
		.limit = limit,
		.request = request,
		.available = available,
		.strategy = glk_lock_strategy(lock),
		.op = GIGALOCK_OP_TRANSFER,
		.pid = (uint32_t)getpid(),
		.time_ns = now_ns(),
		.lock_size = glk_lock_bytes(lock),
		.comm = "gigalock",
	};
	return -err;
}

struct mover *mover_new(struct glk_card *card, struct xfer_args *args)
{
	struct mover *mover = calloc(1, sizeof(*mover));
	const struct glk_queue_options options = {
		.size = sizeof(options),
		.entries = (uint32_t)args->queue,
		.flags = args->irq ? GIGALOCK_QUEUE_IRQ : 0,
	};
	int ret;

	if (!mover || !args->queue)
		return mover;
	ret = glk_queue_new(card, &options, &mover->queue);
	if (!ret)
		return mover;
	free(mover);
	fail(args, ret == -ENOMEM ? GIGALOCK_REASON_NO_MEMORY
				  : GIGALOCK_REASON_BAD_ARGUMENT,
	     -ret, GIGALOCK_UNIT_COUNT, 0, args->queue, 0);
	return NULL;
}

void mover_free(struct mover *mover)
{
	if (!mover)
		return;
	glk_queue_free(mover->queue);
	free(mover);
}

int transfer(struct xfer_args *args, const struct glk_xfer_options *options,
	     struct glk_xfer_result *done)
{
	int timeout = args->timeout > 0 ? milliseconds(args->timeout) : -1;
	int ret = glk_transfer(args->report.lock, options, timeout, done,
			       &args->report.failure);

	if (ret)
		args->report.failed = true;
	return ret;
}

/* ---- through a queue --------------------------------------------------------- */

struct run {
	uint64_t at, end;	/* of what is still to be submitted */
	uint64_t left;		/* bytes not done */
	uint32_t direction;
	uint32_t flags;
	uint64_t card_offset;
	uint64_t first;		/* where it began */
	uint64_t until;		/* ns, 0: for ever */
	uint32_t crc;
	uint32_t expected;	/* next cookie */
};

static uint64_t piece_at(const struct xfer_args *args, const struct run *run,
			 uint64_t at)
{
	return run->end - at < args->piece ? run->end - at : args->piece;
}

static int submit_some(struct mover *mover, struct xfer_args *args,
		       struct run *run)
{
	struct gigalock_queue_entry entries[BATCH] = { 0 };
	struct gigalock_failure failure;
	uint64_t at = run->at;
	unsigned int count = 0;
	int taken;

	for (; count < BATCH && at < run->end; count++) {
		entries[count] = (struct gigalock_queue_entry) {
			.lock = glk_lock_id(args->report.lock),
			.cookie = mover->next + count,
			.direction = run->direction,
			.flags = run->flags,
			.offset = at,
			.length = piece_at(args, run, at),
			.card_offset = run->card_offset + (at - run->first),
		};
		at += entries[count].length;
	}
	if (!count)
		return 0;
	taken = glk_queue_submit(mover->queue, entries, count, &failure);
	if (taken == -EAGAIN)
		return 0;
	if (taken < 0) {
		args->report.failed = true;
		args->report.failure = failure;
		return taken;
	}
	for (int i = 0; i < taken; i++)
		run->at += entries[i].length;
	mover->next += (uint32_t)taken;
	return 0;
}

static int reap_some(struct mover *mover, struct xfer_args *args, struct run *run)
{
	struct gigalock_completion done[BATCH];
	unsigned int count = glk_queue_reap(mover->queue, done, BATCH);

	for (unsigned int i = 0; i < count; i++) {
		const struct gigalock_completion *c = &done[i];
		uint64_t length = piece_at(args, run, run->end - run->left);

		if (c->status)
			return fail(args, GIGALOCK_REASON_DEVICE_ERROR, EIO,
				    GIGALOCK_UNIT_ADDRESS, 0, c->status,
				    c->fault_addr);
		/* In the order of submission, each as long as it was told. */
		if (c->cookie != run->expected || c->bytes != length)
			return fail(args, GIGALOCK_REASON_DEVICE_ERROR, EPROTO,
				    GIGALOCK_UNIT_BYTES, length, c->bytes, 0);
		run->expected++;
		run->left -= length;
		run->crc = glk_crc32c_combine(run->crc, c->crc, length);
	}
	return (int)count;
}

static int wait_some(struct mover *mover, struct xfer_args *args, struct run *run)
{
	uint64_t now = now_ns();
	int timeout = -1, ret;

	if (run->until) {
		if (now >= run->until)
			return fail(args, GIGALOCK_REASON_TIMEOUT, ETIMEDOUT,
				    GIGALOCK_UNIT_MILLISECONDS,
				    (uint64_t)milliseconds(args->timeout), 0, 0);
		timeout = (int)((run->until - now) / 1000000) + 1;
	}
	ret = glk_queue_wait(mover->queue, timeout);
	if (!ret || ret == -ETIMEDOUT || ret == -EINTR)
		return 0;
	return fail(args, ret == -ENODEV ? GIGALOCK_REASON_DEVICE_GONE
					 : GIGALOCK_REASON_CANCELLED,
		    -ret, GIGALOCK_UNIT_BYTES, 0, run->end - run->first,
		    run->end - run->first - run->left);
}

static int through_queue(struct mover *mover, struct xfer_args *args,
			 const struct glk_xfer_options *o,
			 struct glk_xfer_result *done)
{
	uint64_t start = now_ns();
	struct run run = {
		.at = o->offset, .first = o->offset, .end = o->offset + o->length,
		.left = o->length, .direction = o->direction, .flags = o->flags,
		.card_offset = o->card_offset, .expected = mover->next,
	};
	int ret;

	if (args->timeout > 0)
		run.until = start + (uint64_t)milliseconds(args->timeout) * 1000000;
	glk_lock_sync_for_device(args->report.lock, o->offset, o->length);
	while (run.left) {
		ret = submit_some(mover, args, &run);
		if (ret)
			return ret;
		ret = reap_some(mover, args, &run);
		if (!ret)
			ret = wait_some(mover, args, &run);
		if (ret < 0)
			return ret;
	}
	done->bytes = o->length;
	done->crc32c = run.crc;
	done->elapsed_ns = now_ns() - start;
	if (o->direction == GIGALOCK_DIR_FROM_CARD)
		glk_lock_sync_for_cpu(args->report.lock, o->offset, o->length);
	return 0;
}

int move_window(struct mover *mover, struct xfer_args *args, uint32_t direction,
		uint64_t at, uint64_t length, struct result *r)
{
	const struct glk_xfer_options options = {
		.size = sizeof(options),
		.direction = direction,
		/* Whoever wants neither, wants to measure the bare copy. */
		.flags = args->check == CHECK_NONE && args->no_crc
			 ? 0 : GIGALOCK_XFER_CRC,
		.offset = at,
		.length = length,
		.card_offset = args->card_offset,
	};
	struct glk_xfer_result done = { .size = sizeof(done) };
	int ret = mover->queue ? through_queue(mover, args, &options, &done)
			       : transfer(args, &options, &done);

	if (ret)
		return ret;
	if (direction == GIGALOCK_DIR_TO_CARD) {
		r->crc_to = glk_crc32c_combine(r->crc_to, done.crc32c, length);
		r->have_to = options.flags & GIGALOCK_XFER_CRC;
		r->bytes_to += done.bytes;
		r->ns_to += done.elapsed_ns;
	} else {
		r->crc_from = glk_crc32c_combine(r->crc_from, done.crc32c, length);
		r->have_from = options.flags & GIGALOCK_XFER_CRC;
		r->bytes_from += done.bytes;
		r->ns_from += done.elapsed_ns;
	}
	return 0;
}
