// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telling an open file that something can be reaped: those who sleep in a call
 * or in poll(), and its eventfd.
 */
#include <linux/eventfd.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "gl.h"

void gl_file_tell(struct gl_file *file)
{
	struct eventfd_ctx *ctx;

	wake_up_all(&file->wait);
	/* Mostly there is none; who takes it away waits for us. */
	if (!rcu_access_pointer(file->eventfd))
		return;
	rcu_read_lock();
	ctx = rcu_dereference(file->eventfd);
	if (ctx)
		gl_eventfd_signal(ctx);
	rcu_read_unlock();
}

int gl_file_eventfd(struct gl_file *file, struct gigalock_eventfd *arg)
{
	struct eventfd_ctx *ctx = NULL;

	if (arg->flags || arg->reserved || arg->fd < -1)
		return -EINVAL;
	if (arg->fd >= 0) {
		ctx = eventfd_ctx_fdget(arg->fd);
		if (IS_ERR(ctx))
			return PTR_ERR(ctx);
	}
	mutex_lock(&file->lock);
	ctx = rcu_replace_pointer(file->eventfd, ctx, lockdep_is_held(&file->lock));
	mutex_unlock(&file->lock);
	if (ctx) {
		synchronize_rcu();
		eventfd_ctx_put(ctx);
	}
	return 0;
}
