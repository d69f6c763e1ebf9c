// SPDX-License-Identifier: GPL-2.0-only
/*
 * Budgets that are fixed when the module is loaded, as Windows fixes them when
 * it boots: bytes that the driver may allocate for locks (the non-paged pool),
 * and page-table entries for buffers that a process may map.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "gl.h"

static u64 gl_pool_limit;
module_param_cb(nonpaged_pool_bytes, &gl_size_ops, &gl_pool_limit, 0444);
MODULE_PARM_DESC(nonpaged_pool_bytes, "most that locks may take of the kernel's memory, K, M and G allowed; 0: no limit");

static u64 gl_entries_limit;
module_param_cb(mapping_entries, &gl_size_ops, &gl_entries_limit, 0444);
MODULE_PARM_DESC(mapping_entries, "most pages of all locks that may be mapped by processes; 0: no limit");

static atomic64_t gl_pool_used;
static atomic64_t gl_entries_used;

/* Take @want if it fits; else nothing is taken and @left tells what would. */
static bool gl_budget_charge(atomic64_t *used, u64 limit, u64 want, u64 *left)
{
	s64 now = atomic64_read(used);

	do {
		*left = limit > now ? limit - now : 0;
		if (limit && want > *left)
			return false;
	} while (!atomic64_try_cmpxchg(used, &now, now + want));
	return true;
}

int gl_budget_charge_bytes(u64 bytes, struct gl_fail *fail)
{
	u64 left;

	if (gl_budget_charge(&gl_pool_used, gl_pool_limit, bytes, &left))
		return 0;
	return gl_fail_set(fail, GIGALOCK_REASON_NONPAGED_POOL,
			   GIGALOCK_STAGE_ACCOUNT, -ENOMEM, gl_pool_limit, bytes,
			   left);
}

void gl_budget_uncharge_bytes(u64 bytes)
{
	atomic64_sub(bytes, &gl_pool_used);
}

/* What can be said before there is a lock: its memory, and its pages if mapped. */
int gl_budget_take(struct gl_lock *lock, const struct gigalock_lock *arg,
		   struct gl_fail *fail)
{
	const struct gl_strategy *s = lock->strategy;
	u64 pages = DIV_ROUND_UP_ULL(offset_in_page(arg->user_addr) + lock->bytes,
				     PAGE_SIZE);
	u64 left;
	int err;

	if (s->allocates) {
		err = gl_budget_charge_bytes(lock->bytes, fail);
		if (err)
			return err;
		lock->charged_bytes = lock->bytes;
	}
	if (lock->flags & GIGALOCK_LOCK_NO_USER_MAP || (!s->mmap && !s->user_memory))
		return 0;
	if (!gl_budget_charge(&gl_entries_used, gl_entries_limit, pages, &left)) {
		gl_fail_set(fail, GIGALOCK_REASON_MAPPING_ENTRIES,
			    GIGALOCK_STAGE_ACCOUNT, -ENOMEM, gl_entries_limit, pages,
			    left);
		fail->unit = GIGALOCK_UNIT_COUNT;
		return -ENOMEM;
	}
	lock->charged_entries = pages;
	return 0;
}

/* ... and what is known only afterwards: the tables. */
int gl_budget_take_table(struct gl_lock *lock, struct gl_fail *fail)
{
	int err = gl_budget_charge_bytes(lock->table_bytes, fail);

	if (!err)
		lock->charged_bytes += lock->table_bytes;
	return err;
}

void gl_budget_give(struct gl_lock *lock)
{
	gl_budget_uncharge_bytes(lock->charged_bytes);
	atomic64_sub(lock->charged_entries, &gl_entries_used);
	lock->charged_bytes = 0;
	lock->charged_entries = 0;
}

void gl_budget_show(struct seq_file *m)
{
	seq_printf(m, "nonpaged_pool_bytes %llu of %llu\n",
		   (u64)atomic64_read(&gl_pool_used), gl_pool_limit);
	seq_printf(m, "mapping_entries %llu of %llu\n",
		   (u64)atomic64_read(&gl_entries_used), gl_entries_limit);
}
