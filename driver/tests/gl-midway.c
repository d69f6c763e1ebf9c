// SPDX-License-Identifier: GPL-2.0-only
/*
 * A transfer caught half way. Locks a buffer, starts a transfer that the card's
 * pause knob holds, waits until it stands still between start and end, says
 * where, and then does what it was asked to:
 *
 *   gl-midway STRATEGY MIB ACTION
 *
 *   STRATEGY  coherent, contig-range, sg, reserved, pool, hugetlb, chunked
 *   ACTION    sleep   stay until killed
 *             close   close the card
 *             exit    leave without closing anything
 *             unlock  try to give the lock back (refused), then cancel
 *             cancel  cancel, reap, unlock
 *             wait    wait for the end, whatever it is
 *             fork    a child that holds the file open too; parent exits
 *             nomem   a second transfer, submitted while the driver is out of
 *                     memory for it (fault injection), fails with its reason
 *             unreaped  let it finish, give the lock back, reap only then
 *             others  two more of the other direction; wait for all three, in
 *                     turn, then submit again
 *             poll    poll() until the end, or until the card is gone
 *
 * Lines it prints: "half-way BYTES of TOTAL", then "status ERRNO bytes N" when
 * a transfer was reaped, "done" at the end. Exit code 0: all as expected.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/gigalock.h>

#include "tap.h"

static int fd;
static struct gigalock_lock lock = { .size = sizeof(lock) };
static struct gigalock_submit sub = { .size = sizeof(sub) };

static uint32_t strategy_of(const char *name)
{
	static const char * const names[] = {
		"coherent", "contig-range", "sg", "reserved", "pool", "hugetlb", "chunked",
	};

	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return i;
	errno = EINVAL;
	bail("strategy %s", name);
}

/* The program's, and not the driver's. */
static bool own_memory(void)
{
	return lock.strategy == GIGALOCK_STRATEGY_SG ||
	       lock.strategy == GIGALOCK_STRATEGY_HUGETLB;
}

/* Until it has begun, isn't done, and two looks find it at the same place. */
static void wait_half_way(void)
{
	struct gigalock_progress p = { .size = sizeof(p), .xfer = sub.xfer };
	struct timespec tick = { .tv_nsec = 50 * 1000 * 1000 };
	uint64_t last = 0;

	for (int i = 0; i < 400; i++) {
		if (ioctl(fd, GIGALOCK_IOC_PROGRESS, &p))
			bail("PROGRESS");
		if (p.state == GIGALOCK_XFER_DONE)
			bail("the transfer is done: nothing held it");
		if (p.state == GIGALOCK_XFER_RUNNING && p.bytes && p.bytes == last) {
			if (p.bytes >= p.total)
				bail("half way is all of it");
			printf("half-way %llu of %llu\n", (unsigned long long)p.bytes,
			       (unsigned long long)p.total);
			fflush(stdout);
			return;
		}
		last = p.bytes;
		nanosleep(&tick, NULL);
	}
	bail("the transfer never stood still");
}

static uint32_t reap(void)
{
	struct gigalock_failure why = { .size = sizeof(why) };
	struct gigalock_wait w = { .size = sizeof(w), .xfer = sub.xfer,
				   .timeout_ms = 60000,
				   .failure_addr = (uintptr_t)&why };

	if (ioctl(fd, GIGALOCK_IOC_WAIT, &w)) {
		printf("wait errno %d\n", errno);
		return errno;
	}
	printf("status %u bytes %llu reason %u\n", w.status,
	       (unsigned long long)w.bytes, why.reason);
	fflush(stdout);
	return w.status;
}

static int unlock(void)
{
	struct gigalock_unlock u = { .size = sizeof(u), .id = lock.id };

	return ioctl(fd, GIGALOCK_IOC_UNLOCK, &u);
}

static void cancel(void)
{
	struct gigalock_cancel c = { .size = sizeof(c), .xfer = sub.xfer };

	if (ioctl(fd, GIGALOCK_IOC_CANCEL, &c))
		bail("CANCEL");
}

int main(int argc, char **argv)
{
	const char *action;
	void *mem = NULL;

	if (argc != 4)
		bail("usage: gl-midway STRATEGY MIB ACTION");
	action = argv[3];
	lock.strategy = strategy_of(argv[1]);
	lock.bytes = strtoull(argv[2], NULL, 0) << 20;
	lock.direction = GIGALOCK_DIR_BOTH;
	fd = open("/dev/gigalock0", O_RDWR);
	if (fd < 0)
		bail("open");
	if (own_memory()) {
		int huge = lock.strategy == GIGALOCK_STRATEGY_HUGETLB ? MAP_HUGETLB : 0;

		mem = mmap(NULL, lock.bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);
		if (mem == MAP_FAILED)
			bail("mmap");
		lock.user_addr = (uintptr_t)mem;
	}
	if (ioctl(fd, GIGALOCK_IOC_LOCK, &lock))
		bail("LOCK");
	if (!mem) {
		mem = mmap(NULL, lock.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   lock.mmap_offset);
		if (mem == MAP_FAILED)
			bail("mmap of the lock");
	}
	sub.id = lock.id;
	sub.direction = GIGALOCK_DIR_TO_CARD;
	sub.length = lock.bytes;
	if (ioctl(fd, GIGALOCK_IOC_SUBMIT, &sub))
		bail("SUBMIT");
	wait_half_way();

	if (!strcmp(action, "sleep")) {
		for (;;)
			pause();
	} else if (!strcmp(action, "close")) {
		/* The mapping holds the file: it goes first. */
		munmap(mem, lock.bytes);
		close(fd);
	} else if (!strcmp(action, "exit")) {
		_exit(0);
	} else if (!strcmp(action, "unlock")) {
		if (!unlock() || errno != EBUSY)
			bail("UNLOCK in mid-transfer was not refused");
		cancel();
		if (reap() != ECANCELED)
			bail("status of a cancelled transfer");
		if (!own_memory()) {
			if (!unlock() || errno != EBUSY)
				bail("UNLOCK while mapped was not refused");
			munmap(mem, lock.bytes);
		}
		if (unlock())
			bail("UNLOCK at last");
	} else if (!strcmp(action, "cancel")) {
		cancel();
		if (reap() != ECANCELED)
			bail("status of a cancelled transfer");
		/* The channel goes on: a transfer after it works. */
		sub.length = 4096;
		if (ioctl(fd, GIGALOCK_IOC_SUBMIT, &sub))
			bail("SUBMIT after CANCEL");
	} else if (!strcmp(action, "wait")) {
		reap();
	} else if (!strcmp(action, "others")) {
		uint32_t ids[3] = { sub.xfer };

		sub.direction = GIGALOCK_DIR_FROM_CARD;
		for (int i = 1; i < 3; i++) {
			if (ioctl(fd, GIGALOCK_IOC_SUBMIT, &sub))
				bail("SUBMIT of another");
			ids[i] = sub.xfer;
		}
		printf("submitted\n");
		fflush(stdout);
		for (int i = 0; i < 3; i++) {
			sub.xfer = ids[i];
			reap();
		}
		printf("submit errno %d\n", ioctl(fd, GIGALOCK_IOC_SUBMIT, &sub) ? errno : 0);
	} else if (!strcmp(action, "nomem")) {
		struct gigalock_failure why = { .size = sizeof(why) };
		FILE *inject = fopen("/sys/kernel/debug/gigalock/gigalock0/inject", "w");

		if (!inject || fputs("metadata 12", inject) < 0 || fclose(inject))
			bail("fault injection");
		sub.failure_addr = (uintptr_t)&why;
		if (!ioctl(fd, GIGALOCK_IOC_SUBMIT, &sub) || errno != ENOMEM)
			bail("SUBMIT without memory was not refused");
		printf("reason %u stage %u\n", why.reason, why.stage);
		cancel();
		if (reap() != ECANCELED)
			bail("status of a cancelled transfer");
	} else if (!strcmp(action, "unreaped")) {
		struct gigalock_progress p = { .size = sizeof(p), .xfer = sub.xfer };
		struct gigalock_info info = { .size = sizeof(info) };

		while (p.state != GIGALOCK_XFER_DONE) {
			usleep(10000);
			if (ioctl(fd, GIGALOCK_IOC_PROGRESS, &p))
				bail("PROGRESS");
		}
		munmap(mem, lock.bytes);
		if (unlock())
			bail("UNLOCK of a lock whose transfer is done");
		/* Given back means given back, reaped or not. */
		if (ioctl(fd, GIGALOCK_IOC_INFO, &info))
			bail("INFO");
		printf("locks %u\n", info.locks);
		if (reap())
			bail("status");
	} else if (!strcmp(action, "poll")) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, 0) != 0)
			bail("poll() has something before anything is done");
		if (poll(&p, 1, 60000) != 1)
			bail("poll()");
		printf("poll%s%s\n", p.revents & POLLIN ? " in" : "",
		       p.revents & POLLHUP ? " hup" : "");
		reap();
	} else if (!strcmp(action, "fork")) {
		if (fork() == 0) {
			sleep(1);
			_exit(0);
		}
	} else {
		errno = EINVAL;
		bail("action %s", action);
	}
	printf("done\n");
	return 0;
}
