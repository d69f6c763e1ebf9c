/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a buffer may be that io_uring registers in one piece. The length is
 * what is looked for, so the memory is a small file mapped over and over.
 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define TILE ((size_t)2 << 20)

static int fail(struct gigalock_failure *failure, const struct glk_cause *cause,
		uint64_t bytes)
{
	return glk_fail(failure, cause, GIGALOCK_OP_LOCK, GLK_STRATEGY_AUTO, bytes);
}

/* @length bytes of address space, all of it the memory of one small file. */
static int map_tiles(size_t length, char **start)
{
	int fd = memfd_create("gigalock-io-uring", MFD_CLOEXEC);
	int err = 0;
	char *place;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)TILE)) {
		err = errno;
		close(fd);
		return -err;
	}
	place = mmap(NULL, length, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (place == MAP_FAILED) {
		err = errno;
		close(fd);
		return -err;
	}
	for (size_t at = 0; at < length && !err; at += TILE)
		if (mmap(place + at, length - at < TILE ? length - at : TILE,
			 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    MAP_FAILED)
			err = errno;
	close(fd);
	if (err) {
		munmap(place, length);
		return -err;
	}
	*start = place;
	return 0;
}

/* 0 or a negative errno: does it take that much? */
static int try_register(int ring, char *start, size_t length)
{
	struct iovec buffer = { .iov_base = start, .iov_len = length };

	if (syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer,
		    1) < 0)
		return -errno;
	syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	return 0;
}

/* The longest power of two below @length that is taken; 0: none. */
static uint64_t longest(int ring, char *start, size_t length)
{
	const size_t page = (size_t)glk_page_size();
	size_t size = page;

	while (size < length - size)
		size *= 2;
	for (; size >= page; size /= 2)
		if (!try_register(ring, start, size))
			return size;
	return 0;
}

static void explain(struct glk_cause *cause, uint64_t bytes, int err)
{
	struct glk_evidence evidence;

	glk_evidence_read(&evidence, "/proc");
	glk_evidence_explain(&evidence, bytes, err, cause);
}

/* The kernel charges a user's registered buffers against this. */
static bool memlock_explains(struct glk_cause *cause, uint64_t bytes)
{
	uint64_t limit = glk_memlock_limit();

	if (cause->err != ENOMEM || limit >= bytes)
		return false;
	cause->reason = GIGALOCK_REASON_MEMLOCK_LIMIT;
	cause->stage = GIGALOCK_STAGE_ACCOUNT;
	cause->limit = limit;
	return true;
}

int glk_io_uring_probe(uint64_t bytes, struct gigalock_failure *failure)
{
	struct io_uring_params params;
	uint64_t page = glk_page_size();
	uint64_t length = (bytes + page - 1) / page * page;
	struct glk_cause cause = {
		.reason = GIGALOCK_REASON_BAD_ARGUMENT,
		.stage = GIGALOCK_STAGE_PIN,
		.request = bytes,
	};
	char *start = NULL;
	int ring, ret;

	if (!bytes || length < bytes || bytes > glk_size_limit()) {
		cause.reason = GIGALOCK_REASON_BAD_SIZE;
		cause.stage = GIGALOCK_STAGE_ARGUMENTS;
		cause.err = EINVAL;
		cause.limit = glk_size_limit();
		return fail(failure, &cause, bytes);
	}
	memset(&params, 0, sizeof(params));
	ring = (int)syscall(__NR_io_uring_setup, 1, &params);
	if (ring < 0) {
		/* ENOSYS, or EPERM by sysctl or seccomp: no io_uring here. */
		cause.err = errno;
		cause.stage = GIGALOCK_STAGE_OPEN;
		cause.unit = GIGALOCK_UNIT_COUNT;
		cause.request = 0;
		return fail(failure, &cause, bytes);
	}
	ret = glk_fits(length) ? map_tiles((size_t)length, &start) : -ENOMEM;
	if (ret) {
		explain(&cause, bytes, -ret);
		goto out;
	}
	ret = try_register(ring, start, (size_t)length);
	if (ret == -EFAULT || ret == -EINVAL) {
		cause.reason = GIGALOCK_REASON_IO_URING_BUFFER;
		cause.err = -ret;
		cause.limit = longest(ring, start, (size_t)length);
	} else if (ret) {
		cause.err = -ret;
		if (!memlock_explains(&cause, bytes))
			cause.reason = ret == -ENOMEM ? GIGALOCK_REASON_NO_MEMORY
						      : GIGALOCK_REASON_BAD_ARGUMENT;
	}
	munmap(start, (size_t)length);
out:
	close(ring);
	return ret ? fail(failure, &cause, bytes) : 0;
}
