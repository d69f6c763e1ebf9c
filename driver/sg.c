// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strategy sg: the caller's own memory, any mix of pages.
 */
#include <linux/mm.h>

#include "compat.h"
#include "gl.h"

static int gl_sg_lock(struct gl_lock *lock, const struct gigalock_lock *arg,
		      struct gl_fail *fail)
{
	int err = gl_pin_lock(lock, arg->user_addr, GL_GUP_READ, NULL, fail);

	if (!err)
		lock->backing = GIGALOCK_BACKING_PAGES;
	return err;
}

const struct gl_strategy gl_strategy_sg = {
	.name = "sg",
	.number = GIGALOCK_STRATEGY_SG,
	.user_memory = true,
	.lock = gl_sg_lock,
	.detach = gl_table_unmap,
	.free = gl_pin_free,
	.pfn = gl_pin_pfn,
	.sync = gl_table_sync,
};
