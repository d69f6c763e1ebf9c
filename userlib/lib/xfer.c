/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfers. The kernel forgets a transfer when it is reaped; the handle lives
 * on until it is freed. The card's list holds those not reaped, so that
 * "whichever finishes first" finds its handle.
 *
 * Between the kernel's reaping and our noting it, other threads may act on the
 * same card. So the kernel's cookie and not the id, which it may give out
 * again, says which handle a transfer has; a handle is touched only after it
 * was found on the list; and what a result needs of the lock is kept in the
 * handle, for the lock may be freed as soon as its last transfer is noted.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct glk_xfer {
	struct glk_lock *lock;	/* valid until reaped */
	struct glk_card *card;
	struct glk_xfer *next;	/* in card->xfers */
	void *user_data;
	uint64_t length;
	uint64_t lock_bytes;
	uint32_t strategy;
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
	call.op = o.op;
	call.pattern = o.pattern;
	call.timeout_ms = o.timeout_ms;
	call.cookie = (uintptr_t)xfer;
	call.failure_addr = (uintptr_t)failure;
	xfer->lock = lock;
	xfer->card = lock->card;
	xfer->user_data = o.user_data;
	xfer->length = o.length;
	xfer->lock_bytes = lock->bytes;
	xfer->strategy = lock->strategy;

	/* Held over the call, so that a waiter for any finds the handle. */
	pthread_mutex_lock(&lock->card->mutex);
	ret = glk_ioctl(lock->card->fd, GIGALOCK_IOC_SUBMIT, &call);
	if (!ret) {
		xfer->id = call.xfer;
		xfer->next = lock->card->xfers;
		lock->card->xfers = xfer;
		lock->xfers++;
		glk_card_get(lock->card);
	}
	pthread_mutex_unlock(&lock->card->mutex);
	if (ret) {
		free(xfer);
		return glk_fail_call(failure, -ret, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_TRANSFER, lock->strategy,
				     lock->bytes, o.length);
	}
	/* Another thread that waits for any may have freed it by now. */
	*out = xfer;
	return 0;
}

/* Take a transfer off the list, as reaped. NULL when it isn't there: it was
 * submitted by other means, or is freed by its owner at this moment. */
static struct glk_xfer *reaped(struct glk_card *card, uint64_t cookie)
{
	struct glk_xfer *found = NULL;

	pthread_mutex_lock(&card->mutex);
	for (struct glk_xfer **at = &card->xfers; *at; at = &(*at)->next)
		if ((uintptr_t)*at == cookie) {
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
	if (ret == -ENOENT && id)
		ret = -EALREADY;	/* another thread was faster */
	if (ret)
		return glk_fail_call(failure, -ret, GIGALOCK_OP_TRANSFER,
				     GIGALOCK_STAGE_TRANSFER, GLK_STRATEGY_AUTO,
				     0, id);
	*xfer = reaped(card, call.cookie);
	done.status = -(int)call.status;
	done.crc32c = call.crc;
	done.bytes = call.bytes;
	done.elapsed_ns = call.elapsed_ns;
	done.fault_address = call.fault_addr;
	glk_copy_result(result, &done, sizeof(done));
	if (call.status)
		glk_fail_call(failure, (int)call.status, GIGALOCK_OP_TRANSFER,
			      GIGALOCK_STAGE_TRANSFER,
			      *xfer ? (*xfer)->strategy : GLK_STRATEGY_AUTO,
			      *xfer ? (*xfer)->lock_bytes : 0,
			      *xfer ? (*xfer)->length : 0);
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
	int ret;

	if (is_reaped(xfer))
		return -EALREADY;
	ret = glk_ioctl(xfer->card->fd, GIGALOCK_IOC_CANCEL, &call);
	return ret == -ENOENT ? -EALREADY : ret;
}

int glk_xfer_progress(struct glk_xfer *xfer, uint64_t *bytes, uint64_t *total)
{
	struct gigalock_progress call = { .size = sizeof(call), .xfer = xfer->id };
	int ret;

	if (is_reaped(xfer))
		return -EALREADY;
	ret = glk_ioctl(xfer->card->fd, GIGALOCK_IOC_PROGRESS, &call);
	if (ret)
		return ret == -ENOENT ? -EALREADY : ret;
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
		/* The card is gone, or another thread has it from the kernel. */
		if (!done)
			reaped(xfer->card, (uintptr_t)xfer);
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
