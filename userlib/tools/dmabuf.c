/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dma-bufs for --strategy dmabuf: from a heap, from a file in memory, from a
 * lock of our own, or one that was handed to us.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools-common.h"

static bool after(const char *text, const char *prefix, const char **rest)
{
	size_t len = strlen(prefix);

	if (strncmp(text, prefix, len) != 0)
		return false;
	*rest = text + len;
	return true;
}

static bool plain_name(const char *name)
{
	return *name && strlen(name) < 100 && !strchr(name, '/');
}

static bool descriptor(const char *text, int *fd)
{
	size_t len = strlen(text);

	if (!len || len > 6 || strspn(text, "0123456789") != len)
		return false;
	*fd = atoi(text);
	return true;
}

bool dmabuf_is_source(const char *from)
{
	uint32_t strategy;
	const char *rest;
	int fd;

	if (!strcmp(from, "system") || !strcmp(from, "udmabuf") ||
	    !strcmp(from, "export"))
		return true;
	if (after(from, "heap:", &rest))
		return plain_name(rest);
	if (after(from, "fd:", &rest))
		return descriptor(rest, &fd);
	return after(from, "export:", &rest) &&
	       !glk_strategy_by_name(rest, &strategy) &&
	       strategy != GIGALOCK_STRATEGY_DMABUF;
}

/* ---- each of them: the descriptor, or -errno ------------------------------- */

static int from_heap(const char *name, uint64_t bytes)
{
	struct dma_heap_allocation_data data = {
		.len = bytes, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	char path[128];
	int heap, err = 0;

	snprintf(path, sizeof(path), "/dev/dma_heap/%s", name);
	heap = open(path, O_RDWR | O_CLOEXEC);
	if (heap < 0)
		return -errno;
	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
		err = errno;
	close(heap);
	return err ? -err : (int)data.fd;
}

/* Of a file in memory, whose pages must be there to stay: sealed. */
static int from_udmabuf(uint64_t bytes)
{
	struct udmabuf_create create = {
		.flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes,
	};
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	int file, fd, err = 0;

	if (device < 0)
		return -errno;
	file = memfd_create("gigalock", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file < 0 || ftruncate(file, (off_t)bytes) ||
	    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK))
		err = errno;
	create.memfd = (uint32_t)file;
	fd = err ? -1 : ioctl(device, UDMABUF_CREATE, &create);
	if (!err && fd < 0)
		err = errno;
	if (file >= 0)
		close(file);
	close(device);
	return err ? -err : fd;
}

static int from_lock(struct glk_card *card, uint32_t strategy, uint64_t bytes,
		     struct glk_lock **lock, struct gigalock_failure *failure)
{
	const struct glk_lock_options options = {
		.size = sizeof(options), .bytes = bytes, .strategy = strategy,
		.flags = GLK_LOCK_NO_MAP,
	};
	int fd, ret = glk_lock_new(card, &options, lock, failure);

	if (ret)
		return ret;
	ret = glk_lock_export(*lock, O_RDWR | O_CLOEXEC, &fd);
	if (!ret)
		return fd;
	glk_lock_free(*lock);
	*lock = NULL;
	return ret;
}

static void explain(struct gigalock_failure *failure, int err, uint64_t bytes)
{
	*failure = (struct gigalock_failure) {
		.size = sizeof(*failure),
		.reason = err == ENOMEM ? GIGALOCK_REASON_NO_MEMORY
					: GIGALOCK_REASON_DMABUF_REFUSED,
		.stage = GIGALOCK_STAGE_ALLOCATE,
		.err = (uint32_t)err,
		.request = bytes,
		.strategy = GIGALOCK_STRATEGY_DMABUF,
		.op = GIGALOCK_OP_LOCK,
		.pid = (uint32_t)getpid(),
		.lock_size = bytes,
		.comm = "gigalock",
	};
}

int dmabuf_get(struct glk_card *card, const char *from, uint64_t bytes, int *fd,
	       struct glk_lock **lock, struct gigalock_failure *failure)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t strategy = GIGALOCK_STRATEGY_COHERENT;
	const char *rest = NULL;
	int ret;

	*lock = NULL;
	bytes = (bytes + page - 1) / page * page;
	failure->reason = GIGALOCK_REASON_NONE;
	if (after(from, "fd:", &rest)) {
		/* Ours to close, and whoever gave it has it still. */
		descriptor(rest, fd);
		ret = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
		if (ret < 0)
			ret = -errno;
	} else if (!strcmp(from, "udmabuf")) {
		ret = from_udmabuf(bytes);
	} else if (after(from, "heap:", &rest)) {
		ret = from_heap(rest, bytes);
	} else if (!strcmp(from, "system")) {
		ret = from_heap("system", bytes);
	} else {
		if (after(from, "export:", &rest))
			glk_strategy_by_name(rest, &strategy);
		ret = from_lock(card, strategy, bytes, lock, failure);
	}
	*fd = ret < 0 ? -1 : ret;
	if (ret < 0 && failure->reason == GIGALOCK_REASON_NONE)
		explain(failure, -ret, bytes);
	return ret < 0 ? ret : 0;
}
