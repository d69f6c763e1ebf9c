/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many transfers a second does the card do, polled from user space?
 *
 *   queue_rate DEVICE SIZE DEPTH BATCH TRANSFERS
 *
 * A queue of the driver: a channel of one's own, its completion ring mapped
 * here. Transfers of SIZE bytes from the card into locked memory, DEPTH of them
 * under way. New ones are given in one call when BATCH are done; in between
 * nobody asks the kernel for anything. Prints a line of JSON.
 */
#include <fcntl.h>
#include <linux/gigalock.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rate.h"

#define RING 64		/* places of the completion ring, for DEPTH of 32 and twice that */
#define PATIENCE 30.0	/* seconds without a completion */

static void check(const struct gigalock_completion *c, unsigned long size)
{
	if (c->status || c->bytes != size) {
		fprintf(stderr, "a transfer ended with status %u after %llu bytes\n",
			c->status, (unsigned long long)c->bytes);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct gigalock_queue_entry *entries;
	struct gigalock_failure failure = { .size = sizeof(failure) };
	struct gigalock_info info = { .size = sizeof(info) };
	struct gigalock_lock lock = { .size = sizeof(lock) };
	struct gigalock_queue_create queue = { .size = sizeof(queue) };
	struct gigalock_queue_submit submit = { .size = sizeof(submit) };
	const volatile struct gigalock_completion *ring;
	unsigned long size, depth, batch, transfers, given = 0, done = 0;
	uint64_t calls = 0, places;
	double start, before, last = 0, in_calls = 0;
	void *memory;
	int fd;

	if (argc != 6) {
		fprintf(stderr, "usage: queue_rate DEVICE SIZE DEPTH BATCH TRANSFERS\n");
		return 2;
	}
	size = rate_number(argv[2], "SIZE", 1, 1ul << 40);
	depth = rate_number(argv[3], "DEPTH", 1, RING / 2);
	batch = rate_number(argv[4], "BATCH", 1, depth);
	transfers = rate_number(argv[5], "TRANSFERS", 1, 1ul << 40);

	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		rate_die(argv[1]);
	if (ioctl(fd, GIGALOCK_IOC_INFO, &info) < 0)
		rate_die("GIGALOCK_IOC_INFO");
	places = info.card_bytes / size;
	if (!places) {
		fprintf(stderr, "the card has %llu bytes, fewer than a transfer of %lu\n",
			(unsigned long long)info.card_bytes, size);
		return 1;
	}
	/* As the reads of a disk do: into pages of the program's own. */
	memory = mmap(NULL, size * depth, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		rate_die("memory");
	lock.strategy = GIGALOCK_STRATEGY_SG;
	lock.direction = GIGALOCK_DIR_FROM_CARD;
	lock.bytes = size * depth;
	lock.user_addr = (uintptr_t)memory;
	lock.failure_addr = (uintptr_t)&failure;
	if (ioctl(fd, GIGALOCK_IOC_LOCK, &lock) < 0) {
		fprintf(stderr, "the memory can't be locked: reason %u, stage %u\n",
			failure.reason, failure.stage);
		return 1;
	}
	queue.entries = RING;
	if (ioctl(fd, GIGALOCK_IOC_QUEUE_CREATE, &queue) < 0)
		rate_die("GIGALOCK_IOC_QUEUE_CREATE");
	ring = mmap(NULL, queue.ring_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd,
		    queue.mmap_offset);
	if (ring == MAP_FAILED)
		rate_die("the completion ring");
	entries = calloc(depth, sizeof(*entries));
	if (!entries)
		rate_die("memory");
	for (unsigned i = 0; i < depth; i++) {
		entries[i].lock = lock.id;
		entries[i].direction = GIGALOCK_DIR_FROM_CARD;
		entries[i].offset = i * size;
		entries[i].length = size;
		entries[i].op = GIGALOCK_XFER_OP_MOVE;
	}
	submit.id = queue.id;
	submit.entry_size = sizeof(*entries);
	submit.failure_addr = (uintptr_t)&failure;

	start = rate_now();
	while (done < transfers) {
		unsigned long want, spins = 0;

		/* Those whose buffer is free, as far as the array goes on. */
		while (given < transfers && given - done < depth) {
			unsigned long at = given % depth, n = depth - at;

			if (n > depth - (given - done))
				n = depth - (given - done);
			if (n > transfers - given)
				n = transfers - given;
			for (unsigned long i = at; i < at + n; i++) {
				entries[i].cookie = given + i - at;
				entries[i].card_offset = (given + i - at) % places * size;
			}
			submit.entries = (uintptr_t)&entries[at];
			submit.count = n;
			submit.seen = done;
			calls++;
			before = rate_now();
			if (ioctl(fd, GIGALOCK_IOC_QUEUE_SUBMIT, &submit) < 0)
				rate_die("GIGALOCK_IOC_QUEUE_SUBMIT");
			in_calls += rate_now() - before;
			given += submit.count;
		}
		want = given - done < batch ? given - done : batch;
		while (want) {
			const volatile struct gigalock_completion *c = &ring[done % RING];

			if (__atomic_load_n(&c->seq, __ATOMIC_ACQUIRE) == (uint32_t)(done + 1)) {
				check((const struct gigalock_completion *)c, size);
				done++;
				want--;
				spins = 0;
				continue;
			}
			if (!spins++)
				last = 0;
			if (spins % (1u << 20) == 0) {
				if (!last)
					last = rate_now();
				if (rate_now() - last > PATIENCE) {
					fprintf(stderr, "no completion %lu\n", done + 1);
					return 1;
				}
			}
		}
	}
	rate_print(done, done * size, calls, rate_now() - start, in_calls);
	return 0;
}
