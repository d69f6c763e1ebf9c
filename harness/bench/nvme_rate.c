/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many reads a second does a block device do?
 *
 *   nvme_rate DEVICE SIZE DEPTH BATCH TRANSFERS [poll]
 *
 * Raw reads (O_DIRECT) of SIZE bytes by io_uring, DEPTH of them under way,
 * buffers and the file registered. New ones are given in one call when BATCH
 * are done. With "poll" the kernel polls for completions (IORING_SETUP_IOPOLL).
 * Prints a line of JSON.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "rate.h"

struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array;
	unsigned *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void *map(int fd, size_t size, off_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, offset);

	if (p == MAP_FAILED)
		rate_die("io_uring's rings");
	return p;
}

static void ring_open(struct ring *r, unsigned entries, unsigned flags)
{
	struct io_uring_params p = { .flags = flags };
	char *sq, *cq;

	r->fd = syscall(SYS_io_uring_setup, entries, &p);
	if (r->fd < 0)
		rate_die("io_uring_setup");
	sq = map(r->fd, p.sq_off.array + p.sq_entries * sizeof(unsigned),
		 IORING_OFF_SQ_RING);
	cq = map(r->fd, p.cq_off.cqes + p.cq_entries * sizeof(*r->cqes),
		 IORING_OFF_CQ_RING);
	r->sqes = map(r->fd, p.sq_entries * sizeof(*r->sqes), IORING_OFF_SQES);
	r->sq_tail = (unsigned *)(sq + p.sq_off.tail);
	r->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
	r->sq_array = (unsigned *)(sq + p.sq_off.array);
	r->cq_head = (unsigned *)(cq + p.cq_off.head);
	r->cq_tail = (unsigned *)(cq + p.cq_off.tail);
	r->cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
	r->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static void put(struct ring *r, unsigned slot, void *buffer, unsigned size,
		uint64_t offset)
{
	unsigned tail = *r->sq_tail, at = tail & *r->sq_mask;
	struct io_uring_sqe *e = &r->sqes[at];

	memset(e, 0, sizeof(*e));
	e->opcode = IORING_OP_READ_FIXED;
	e->flags = IOSQE_FIXED_FILE;
	e->fd = 0;
	e->addr = (uintptr_t)buffer;
	e->len = size;
	e->off = offset;
	e->buf_index = slot;
	e->user_data = slot;
	r->sq_array[at] = at;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

int main(int argc, char **argv)
{
	unsigned long size, depth, batch, transfers, given = 0, done = 0;
	unsigned flags = 0, waiting, *slots, n_slots = 0;
	struct iovec *buffers;
	uint64_t device, offset = 0, calls = 0;
	struct ring r;
	double start, before, in_calls = 0;
	int fd;

	if (argc < 6 || argc > 7 || (argc == 7 && strcmp(argv[6], "poll"))) {
		fprintf(stderr, "usage: nvme_rate DEVICE SIZE DEPTH BATCH TRANSFERS [poll]\n");
		return 2;
	}
	size = rate_number(argv[2], "SIZE", 512, 1ul << 30);
	depth = rate_number(argv[3], "DEPTH", 1, 1024);
	batch = rate_number(argv[4], "BATCH", 1, depth);
	transfers = rate_number(argv[5], "TRANSFERS", 1, 1ul << 40);
	if (argc == 7)
		flags = IORING_SETUP_IOPOLL;

	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0)
		rate_die(argv[1]);
	if (ioctl(fd, BLKGETSIZE64, &device) < 0)
		rate_die("BLKGETSIZE64");
	if (device < size) {
		fprintf(stderr, "%s has %llu bytes, fewer than a read of %lu\n",
			argv[1], (unsigned long long)device, size);
		return 1;
	}
	ring_open(&r, depth, flags);
	buffers = calloc(depth, sizeof(*buffers));
	slots = calloc(depth, sizeof(*slots));
	if (!buffers || !slots)
		rate_die("memory");
	for (unsigned i = 0; i < depth; i++) {
		buffers[i].iov_len = size;
		buffers[i].iov_base = mmap(NULL, size, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
					   -1, 0);
		if (buffers[i].iov_base == MAP_FAILED)
			rate_die("memory");
		slots[n_slots++] = i;
	}
	if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, buffers, depth) < 0)
		rate_die("registering the buffers");
	if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, &fd, 1) < 0)
		rate_die("registering the file");

	start = rate_now();
	while (done < transfers) {
		unsigned head, tail, fresh = 0;

		while (n_slots && given < transfers) {
			unsigned slot = slots[--n_slots];

			put(&r, slot, buffers[slot].iov_base, size, offset);
			offset = offset + 2 * size <= device ? offset + size : 0;
			given++;
			fresh++;
		}
		waiting = given - done < batch ? given - done : batch;
		calls++;
		before = rate_now();
		if (syscall(SYS_io_uring_enter, r.fd, fresh, waiting,
			    IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
			rate_die("io_uring_enter");
		in_calls += rate_now() - before;
		head = *r.cq_head;
		tail = __atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE);
		for (; head != tail; head++) {
			struct io_uring_cqe *c = &r.cqes[head & *r.cq_mask];

			if (c->res != (int)size) {
				errno = c->res < 0 ? -c->res : EIO;
				rate_die("a read");
			}
			slots[n_slots++] = c->user_data;
			done++;
		}
		__atomic_store_n(r.cq_head, head, __ATOMIC_RELEASE);
	}
	rate_print(done, done * size, calls, rate_now() - start, in_calls);
	return 0;
}
