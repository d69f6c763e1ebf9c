// SPDX-License-Identifier: GPL-2.0-only
/*
 * The card is unbound and bound again, over and over, while processes do with it
 * all that can be done, three threads on one file each. Every call either works
 * or has an errno that it may have then; in the end nothing is left, and the
 * card works. Each time some locks stand still in the middle of being made, and
 * go on as the card goes.
 *
 *   gl-race ROUNDS
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "queue.h"

#define PAGE	4096UL
#define SMALL	(16 * PAGE)
#define SLOT	"/sys/bus/pci/drivers/gigalock"
#define PROCESSES 3
#define THREADS	3

/* Between all processes. */
static struct shared {
	int stop;
	int wrong;		/* the first errno that may not be, */
	char what[64];		/* and of which call */
	unsigned long locks, faults, sigbus, moves, queued, exports, gone;
} *all;

#define COUNT(field)	__atomic_fetch_add(&all->field, 1, __ATOMIC_RELAXED)
#define STOP		__atomic_load_n(&all->stop, __ATOMIC_RELAXED)

static __thread int fd;
static __thread bool lost;	/* the card, of this file */
static __thread unsigned int seed;
static __thread sigjmp_buf back;

static unsigned int roll(unsigned int n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(back, 1);
}

/* A call that has failed: with what it may, or the card is gone, or all is wrong. */
static void check(const char *what, int err, int may, int may_too)
{
	int none = 0;

	if (err == ENODEV) {
		lost = true;
		COUNT(gone);
	} else if (err != may && err != may_too && err != ENOMEM &&
		   __atomic_compare_exchange_n(&all->wrong, &none, err, false,
					       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		snprintf(all->what, sizeof(all->what), "%s", what);
	}
}

static int call(unsigned long cmd, void *arg, const char *what, int may, int may_too)
{
	if (!ioctl(fd, cmd, arg))
		return 0;
	check(what, errno, may, may_too);
	return -1;
}

/* Write and read each page; a card that went is a SIGBUS. */
static void touch(volatile char *mem, uint64_t bytes, bool write)
{
	volatile char sum = 0;

	if (sigsetjmp(back, 1)) {
		COUNT(sigbus);
		return;
	}
	for (uint64_t at = 0; at < bytes; at += PAGE) {
		if (write)
			mem[at] = 1;
		else
			sum += mem[at];
	}
	COUNT(faults);
}

static void *map(int of, uint64_t bytes, uint64_t offset, int prot)
{
	void *mem = mmap(NULL, bytes, prot, MAP_SHARED, of, offset);

	if (mem != MAP_FAILED)
		return mem;
	check("mmap", errno, ENODEV, 0);
	return NULL;
}

static void do_export(const struct gigalock_lock *lock)
{
	struct gigalock_export e = { .size = sizeof(e), .id = lock->id,
				     .flags = O_RDWR | O_CLOEXEC };
	/* The same memory once more, so only to be read: else it matters who is last. */
	struct gigalock_lock again = { .size = sizeof(again), .strategy = GIGALOCK_STRATEGY_DMABUF,
				       .direction = GIGALOCK_DIR_TO_CARD };
	void *mem;

	if (call(GIGALOCK_IOC_EXPORT, &e, "EXPORT", ENODEV, 0))
		return;
	mem = map(e.fd, SMALL, 0, PROT_READ | PROT_WRITE);
	again.fd = e.fd;
	if (!call(GIGALOCK_IOC_LOCK, &again, "LOCK of a dma-buf", ENODEV, 0)) {
		struct gigalock_unlock u = { .size = sizeof(u), .id = again.id };

		COUNT(exports);
		if (roll(2))
			call(GIGALOCK_IOC_UNLOCK, &u, "UNLOCK of a dma-buf", ENODEV, 0);
	}
	if (mem) {
		touch(mem, SMALL, true);
		munmap(mem, SMALL);
	}
	close(e.fd);
}

static void move(const struct gigalock_lock *lock)
{
	struct gigalock_submit s = { .size = sizeof(s), .id = lock->id,
				     .direction = 1 + roll(2), .length = 1 + roll(SMALL) };
	struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 20000 };

	if (call(GIGALOCK_IOC_SUBMIT, &s, "SUBMIT", EAGAIN, 0))
		return;
	w.xfer = s.xfer;
	if (roll(4) && !call(GIGALOCK_IOC_WAIT, &w, "WAIT", ENODEV, 0)) {
		COUNT(moves);
		if (w.status)
			check("a transfer", w.status, ENODEV, 0);
	}
}

static void queue(const struct gigalock_lock *lock)
{
	struct gigalock_queue_create c = { .size = sizeof(c), .entries = 16, .flags = roll(2) };
	struct gigalock_queue_entry e[8];
	struct gigalock_queue_submit s = { .size = sizeof(s), .entries = (uintptr_t)e,
					   .count = 1 + roll(8), .entry_size = sizeof(e[0]) };
	struct gigalock_queue_wait w = { .size = sizeof(w), .timeout_ms = 20000 };
	struct gigalock_queue_destroy d = { .size = sizeof(d) };
	void *ring;

	/* Two channels: one queue at a time. */
	if (call(GIGALOCK_IOC_QUEUE_CREATE, &c, "QUEUE_CREATE", EBUSY, 0))
		return;
	ring = map(fd, c.ring_bytes, c.mmap_offset, PROT_READ);
	for (int i = 0; i < 8; i++)
		e[i] = move_of(lock, 1 + i % 2, i * PAGE, PAGE);
	s.id = w.id = d.id = c.id;
	if (!call(GIGALOCK_IOC_QUEUE_SUBMIT, &s, "QUEUE_SUBMIT", EPIPE, 0)) {
		COUNT(queued);
		if (roll(2))
			call(GIGALOCK_IOC_QUEUE_WAIT, &w, "QUEUE_WAIT", EPIPE, 0);
	}
	if (ring)
		touch(ring, c.ring_bytes, false);
	if (roll(4))
		call(GIGALOCK_IOC_QUEUE_DESTROY, &d, "QUEUE_DESTROY", ENODEV, 0);
	if (ring) {
		touch(ring, c.ring_bytes, false);
		munmap(ring, c.ring_bytes);
	}
}

static void ask(void)
{
	struct gigalock_info i = { .size = sizeof(i) };
	struct gigalock_failure f;
	struct gigalock_failures l = { .size = sizeof(l), .capacity = 1,
				       .records = (uintptr_t)&f, .record_size = sizeof(f) };
	struct gigalock_eventfd e = { .size = sizeof(e), .fd = eventfd(0, EFD_CLOEXEC) };
	struct pollfd p = { .fd = fd, .events = POLLIN };

	call(GIGALOCK_IOC_INFO, &i, "INFO", ENODEV, 0);
	call(GIGALOCK_IOC_FAILURES, &l, "FAILURES", ENODEV, 0);
	call(GIGALOCK_IOC_EVENTFD, &e, "EVENTFD", ENODEV, 0);
	close(e.fd);
	poll(&p, 1, 0);
}

static void lock_something(char *own)
{
	static const uint32_t kinds[] = {
		GIGALOCK_STRATEGY_COHERENT, GIGALOCK_STRATEGY_CHUNKED, GIGALOCK_STRATEGY_SG,
		GIGALOCK_STRATEGY_CHUNKED, GIGALOCK_STRATEGY_SG, GIGALOCK_STRATEGY_CONTIG_RANGE,
	};
	struct gigalock_lock l = { .size = sizeof(l), .direction = GIGALOCK_DIR_BOTH,
				   .strategy = kinds[roll(6)], .bytes = SMALL };
	struct gigalock_unlock u = { .size = sizeof(u) };
	void *mem = NULL;

	if (l.strategy == GIGALOCK_STRATEGY_SG)
		l.user_addr = (uintptr_t)own;
	/* Another search may have what this one finds. */
	if (call(GIGALOCK_IOC_LOCK, &l, "LOCK", EBUSY, 0))
		return;
	COUNT(locks);
	if (l.mmap_offset)
		mem = map(fd, SMALL, l.mmap_offset, PROT_READ | PROT_WRITE);
	if (mem)
		touch(mem, SMALL, true);
	switch (roll(4)) {
	case 0:
		do_export(&l);
		break;
	case 1:
		queue(&l);
		break;
	default:
		move(&l);
	}
	if (mem) {
		touch(mem, SMALL, true);
		munmap(mem, SMALL);
	}
	u.id = l.id;
	if (!roll(4) || call(GIGALOCK_IOC_UNLOCK, &u, "UNLOCK", EBUSY, 0))
		/* Still locked: the next lock is of other pages. */
		madvise(own, SMALL, MADV_DONTNEED);
}

struct thread {
	pthread_t id;
	int fd;
	unsigned int seed;
};

static void *work(void *arg)
{
	struct thread *t = arg;
	char *own = mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	fd = t->fd;
	seed = t->seed;
	/* Not for ever with one file: what was left locked goes with it. */
	for (int i = 0; i < 50 && !lost && !STOP; i++) {
		lock_something(own);
		if (!roll(4))
			ask();
	}
	munmap(own, SMALL);
	t->seed = seed;
	return NULL;
}

static int open_any(void)
{
	char path[32];

	for (int i = 0; i < 64; i++) {
		int of;

		snprintf(path, sizeof(path), "/dev/gigalock%d", i);
		of = open(path, O_RDWR | O_CLOEXEC);
		if (of >= 0)
			return of;
	}
	return -1;
}

static void child(unsigned int number)
{
	struct thread t[THREADS];

	signal(SIGBUS, on_sigbus);
	for (int i = 0; i < THREADS; i++)
		t[i].seed = number * 100 + i;
	while (!STOP) {
		int of = open_any();

		if (of < 0) {
			usleep(1000);
			continue;
		}
		for (int i = 0; i < THREADS; i++) {
			t[i].fd = of;
			if (pthread_create(&t[i].id, NULL, work, &t[i]))
				bail("a thread");
		}
		for (int i = 0; i < THREADS; i++)
			pthread_join(t[i].id, NULL);
		close(of);
	}
	_exit(0);
}

static void sysfs(const char *file, const char *slot)
{
	int f = open(file, O_WRONLY | O_CLOEXEC);

	if (f < 0 || write(f, slot, strlen(slot)) < 0)
		bail("%s", file);
	close(f);
}

/* The next lock that comes by one of these places stays there. */
static void hold_some(void)
{
	static const char * const points[] = { "metadata", "alloc", "pin", "table", "map" };
	char path[64];
	int f = -1;

	for (int i = 0; i < 64 && f < 0; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/gigalock/gigalock%d/inject", i);
		f = open(path, O_WRONLY | O_CLOEXEC);
	}
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		char line[32];
		int n = snprintf(line, sizeof(line), "%s delay 10000", points[i]);

		if (f < 0 || write(f, line, n) != n)
			bail("%s", path);
	}
	close(f);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1, status, died = 0;
	struct gigalock_lock l;
	char slot[64];
	pid_t pids[PROCESSES];
	char *mem;

	card_open();
	snprintf(slot, sizeof(slot), "%s", (char *)card_info.bus);
	close(card);
	all = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (unsigned int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (!pids[i])
			child(i + 1);
	}
	seed = 7;
	for (int i = 0; i < rounds; i++) {
		usleep(10000 + roll(50000));
		hold_some();
		usleep(10000 + roll(50000));
		sysfs(SLOT "/unbind", slot);
		usleep(roll(20000));
		sysfs(SLOT "/bind", slot);
	}
	usleep(50000);
	__atomic_store_n(&all->stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < PROCESSES; i++) {
		waitpid(pids[i], &status, 0);
		died += !WIFEXITED(status) || WEXITSTATUS(status);
	}
	printf("# locks %lu, touched %lu, SIGBUS %lu, moves %lu, queues %lu, imports %lu, ENODEV %lu\n",
	       all->locks, all->faults, all->sigbus, all->moves, all->queued, all->exports,
	       all->gone);
	is(died, 0, "all processes have come to their end");
	if (!ok(!all->wrong, "each call worked, or had an errno that it may have"))
		printf("#   %s: %s\n", all->what, strerror(all->wrong));
	ok(all->gone >= (unsigned int)rounds, "in each round the card was taken from under somebody");
	ok(all->locks && all->moves && all->queued && all->exports, "and there was work between them");
	card_open();
	is(card_info.locks, 0, "no lock is left");
	mem = lock_map(&l, GIGALOCK_STRATEGY_CHUNKED, GIGALOCK_DIR_BOTH, 1 << 20);
	is(there_and_back(l.id, mem, 1 << 20), 1 << 20, "the card works");
	return tap_done();
}
