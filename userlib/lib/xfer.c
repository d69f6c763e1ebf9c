/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfers. The kernel forgets a transfer when it is reaped; the handle lives
 * on until it is freed. The card's list holds those not reaped, so that
 * "whichever finishes first" finds its handle.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct glk_xfer {
	struct glk_lock *lock;
	struct glk_card *card;
	struct glk_xfer *next;	/* in card->xfers */
	void *user_data;
	uint64_t length;
	uint32_t id;
	bool reaped;
};

static int refuse(struct gigalock_failure *failure, const struct glk_lock *lock,
		  uint64_t request)
{
	const struct glk_cause cause = {
		.reason = GIGALOCK_REASON_BAD_ARGUMENT,
		.stage = GIGALOCK_STAGE_ARGUMENTS,
		.err = EINVAL,
		.unit = GIGALOCK_UNIT_COUNT,
		.request = request,
	};

	return glk_fail(failure, &cause, GIGALOCK_OP_TRANSFER, lock->strategy,
			lock->bytes);
}

int glk_xfer_submit(struct glk_lock *lock,
		    const struct glk_xfer_options *options,
		    struct glk_xfer **out, struct gigalock_failure *failure)
{
	struct glk_xfer_options o = { .size = 0 };
	struct gigalock_submit call = { .size = sizeof(call) };
	struct gigalock_failure scratch;
	struct glk_xfer *xfer;
	int ret;

	if (!failure)
		failure = &scratch;
	if (!out || !GLK_COPY_OPTIONS(o, options))
		return refuse(failure, lock, o.size);
	*out = NULL;
	xfer = calloc(1, sizeof(*xfer));
	if (!xfer)
		return glk_fail_call(failure, ENOMEM, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_TRANSFER, lock->strategy,
				     lock->bytes, sizeof(*xfer));
	glk_failure_reset(failure);
	call.id = lock->id;
	call.direction = o.direction;
	call.flags = o.flags;
	call.offset = o.offset;
	call.length = o.length;
	call.card_offset = o.card_offset;
	call.failure_addr = (uintptr_t)failure;

	/* Held over the call, so that a waiter for any finds the handle. */
	pthread_mutex_lock(&lock->card->mutex);
	ret = glk_ioctl(lock->card->fd, GIGALOCK_IOC_SUBMIT, &call);
	if (!ret) {
		xfer->lock = lock;
		xfer->card = lock->card;
		xfer->user_data = o.user_data;
		xfer->length = o.length;
		xfer->id = call.xfer;
		xfer->next = lock->card->xfers;
		lock->card->xfers = xfer;
		lock->xfers++;
	}
	pthread_mutex_unlock(&lock->card->mutex);
	if (ret) {
		free(xfer);
		return glk_fail_call(failure, -ret, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_TRANSFER, lock->strategy,
				     lock->bytes, o.length);
	}
	glk_card_get(xfer->card);
	*out = xfer;
	return 0;
}

/* Take the transfer with this id off the list, as reaped. */
static struct glk_xfer *reaped(struct glk_card *card, uint32_t id)
{
	struct glk_xfer *found = NULL;

	pthread_mutex_lock(&card->mutex);
	for (struct glk_xfer **at = &card->xfers; *at; at = &(*at)->next)
		if ((*at)->id == id) {
			found = *at;
			*at = found->next;
			found->next = NULL;
			found->reaped = true;
			found->lock->xfers--;
			break;
		}
	pthread_mutex_unlock(&card->mutex);
	return found;
}

static bool is_reaped(struct glk_xfer *xfer)
{
	bool yes;

	pthread_mutex_lock(&xfer->card->mutex);
	yes = xfer->reaped;
	pthread_mutex_unlock(&xfer->card->mutex);
	return yes;
}

static int wait_for(struct glk_card *card, uint32_t id, int timeout_ms,
		    struct glk_xfer **xfer, struct glk_xfer_result *result,
		    struct gigalock_failure *failure)
{
	struct gigalock_wait call = { .size = sizeof(call) };
	struct glk_xfer_result done = { .size = sizeof(done) };
	struct gigalock_failure scratch;
	int ret;

	if (!failure)
		failure = &scratch;
	glk_failure_reset(failure);
	*xfer = NULL;
	call.xfer = id;
	call.timeout_ms = timeout_ms < 0 ? -1 : timeout_ms;
	call.failure_addr = (uintptr_t)failure;
	ret = glk_ioctl(card->fd, GIGALOCK_IOC_WAIT, &call);
	if (ret == -ETIMEDOUT && failure->reason == GIGALOCK_REASON_NONE) {
		const struct glk_cause cause = {
			.reason = GIGALOCK_REASON_TIMEOUT,
			.stage = GIGALOCK_STAGE_TRANSFER,
			.err = ETIMEDOUT,
			.unit = GIGALOCK_UNIT_MILLISECONDS,
			.limit = (uint64_t)timeout_ms,
		};

		return glk_fail(failure, &cause, GIGALOCK_OP_TRANSFER,
				GLK_STRATEGY_AUTO, 0);
	}
	if (ret)
		return glk_fail_call(failure, -ret, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_TRANSFER, GLK_STRATEGY_AUTO,
				     0, id);
	*xfer = reaped(card, call.xfer);
	done.status = -(int)call.status;
	done.crc32c = call.crc;
	done.bytes = call.bytes;
	done.elapsed_ns = call.elapsed_ns;
	done.fault_address = call.fault_addr;
	glk_copy_result(result, &done, sizeof(done));
	if (call.status) {
		const struct glk_lock *lock = *xfer ? (*xfer)->lock : NULL;

		glk_fail_call(failure, (int)call.status, GIGALOCK_OP_TRANSFER,
			      GIGALOCK_STAGE_TRANSFER,
			      lock ? lock->strategy : GLK_STRATEGY_AUTO,
			      lock ? lock->bytes : 0, *xfer ? (*xfer)->length : 0);
	}
	return done.status;
}

int glk_xfer_wait(struct glk_xfer *xfer, int timeout_ms,
		  struct glk_xfer_result *result,
		  struct gigalock_failure *failure)
{
	struct glk_xfer *done;

	if (is_reaped(xfer))
		return glk_fail_call(failure, EALREADY, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_ARGUMENTS,
				     GLK_STRATEGY_AUTO, 0, xfer->id);
	return wait_for(xfer->card, xfer->id, timeout_ms, &done, result, failure);
}

int glk_card_wait_any(struct glk_card *card, int timeout_ms,
		      struct glk_xfer **xfer, struct glk_xfer_result *result,
		      struct gigalock_failure *failure)
{
	return wait_for(card, 0, timeout_ms, xfer, result, failure);
}

int glk_xfer_cancel(struct glk_xfer *xfer)
{
	struct gigalock_cancel call = { .size = sizeof(call), .xfer = xfer->id };

	if (is_reaped(xfer))
		return -EALREADY;
	return glk_ioctl(xfer->card->fd, GIGALOCK_IOC_CANCEL, &call);
}

int glk_xfer_progress(struct glk_xfer *xfer, uint64_t *bytes, uint64_t *total)
{
	struct gigalock_progress call = { .size = sizeof(call), .xfer = xfer->id };
	int ret;

	if (is_reaped(xfer))
		return -EALREADY;
	ret = glk_ioctl(xfer->card->fd, GIGALOCK_IOC_PROGRESS, &call);
	if (ret)
		return ret;
	if (bytes)
		*bytes = call.bytes;
	if (total)
		*total = call.total;
	return (int)call.state;
}

void *glk_xfer_user_data(const struct glk_xfer *xfer)
{
	return xfer->user_data;
}

void glk_xfer_free(struct glk_xfer *xfer)
{
	struct glk_xfer *done;
	int ret;

	if (!xfer)
		return;
	if (!is_reaped(xfer)) {
		glk_xfer_cancel(xfer);
		do
			ret = wait_for(xfer->card, xfer->id, -1, &done, NULL, NULL);
		while (ret == -EINTR && !done);
		/* The card is gone, or another thread reaped it by number. */
		if (!done)
			reaped(xfer->card, xfer->id);
	}
	glk_card_put(xfer->card);
	free(xfer);
}

int glk_transfer(struct glk_lock *lock, const struct glk_xfer_options *options,
		 int timeout_ms, struct glk_xfer_result *result,
		 struct gigalock_failure *failure)
{
	struct gigalock_failure stopped;
	struct glk_xfer_result done = { .size = sizeof(done) };
	struct glk_xfer *xfer;
	int ret;

	/* A range that leaves the lock gets its reason from the submit. */
	if (options && options->size >= sizeof(*options) && options->length)
		glk_lock_sync_for_device(lock, options->offset, options->length);
	ret = glk_xfer_submit(lock, options, &xfer, failure);
	if (ret)
		return ret;
	ret = glk_xfer_wait(xfer, timeout_ms, &done, failure);
	if (!is_reaped(xfer)) {
		/* Not finished: stop it, keep the reason why we stopped. */
		int late;

		glk_xfer_cancel(xfer);
		do
			late = glk_xfer_wait(xfer, -1, &done, &stopped);
		while (late == -EINTR && !is_reaped(xfer));
		if (late == 0 && ret == -ETIMEDOUT)
			ret = 0;	/* it was done before the cancel */
		else if (failure) {
			failure->strategy = lock->strategy;
			failure->lock_size = lock->bytes;
		}
	}
	glk_copy_result(result, &done, sizeof(done));
	if (!ret && options->direction == GIGALOCK_DIR_FROM_CARD)
		ret = glk_lock_sync_for_cpu(lock, options->offset, options->length);
	glk_xfer_free(xfer);
	return ret;
}
