/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a lock is, what was done with it, and whose turn its memory is.
 */
#include "internal.h"

void *glk_lock_data(const struct glk_lock *lock)
{
	return lock->data;
}

uint64_t glk_lock_bytes(const struct glk_lock *lock)
{
	return lock->bytes;
}

uint32_t glk_lock_strategy(const struct glk_lock *lock)
{
	return lock->strategy;
}

uint32_t glk_lock_direction(const struct glk_lock *lock)
{
	return lock->direction;
}

uint32_t glk_lock_segments(const struct glk_lock *lock)
{
	return lock->segments;
}

uint64_t glk_lock_longest_segment(const struct glk_lock *lock)
{
	return lock->longest_segment;
}

uint64_t glk_lock_ns(const struct glk_lock *lock)
{
	return lock->ns;
}

uint32_t glk_lock_id(const struct glk_lock *lock)
{
	return lock->id;
}

uint32_t glk_lock_backing(const struct glk_lock *lock)
{
	return lock->backing;
}

uint64_t glk_lock_table_bytes(const struct glk_lock *lock)
{
	return lock->table_bytes;
}

int glk_lock_stats(struct glk_lock *lock, struct gigalock_lock_stats *stats)
{
	stats->id = lock->id;
	return glk_ioctl(lock->card->fd, GIGALOCK_IOC_LOCK_STATS, stats);
}

int glk_lock_export(struct glk_lock *lock, int flags, int *fd)
{
	struct gigalock_export call = {
		.size = sizeof(call),
		.id = lock->id,
		.flags = (uint32_t)flags,
	};
	int ret = glk_ioctl(lock->card->fd, GIGALOCK_IOC_EXPORT, &call);

	*fd = ret ? -1 : call.fd;
	return ret;
}

static int sync_lock(struct glk_lock *lock, uint32_t flags, uint64_t offset,
		     uint64_t length)
{
	struct gigalock_sync call = {
		.size = sizeof(call),
		.id = lock->id,
		.flags = flags,
		.offset = offset,
		.length = length,
	};

	return glk_ioctl(lock->card->fd, GIGALOCK_IOC_SYNC, &call);
}

int glk_lock_sync_for_device(struct glk_lock *lock, uint64_t offset,
			     uint64_t length)
{
	return sync_lock(lock, GIGALOCK_SYNC_FOR_DEVICE, offset, length);
}

int glk_lock_sync_for_cpu(struct glk_lock *lock, uint64_t offset,
			  uint64_t length)
{
	return sync_lock(lock, GIGALOCK_SYNC_FOR_CPU, offset, length);
}
