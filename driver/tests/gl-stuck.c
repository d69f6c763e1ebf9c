// SPDX-License-Identifier: GPL-2.0-only
/*
 * A caller whose memory doesn't come: it lies in a page that user space itself
 * has to bring (userfaultfd), and doesn't. The card is unbound meanwhile, and
 * that must not wait for it; the caller is told when the page is there at last.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/userfaultfd.h>

#include "queue.h"

#define PAGE	4096UL
#define SLOT	"/sys/bus/pci/drivers/gigalock"
#define PATIENCE 20	/* seconds: for what doesn't wait, and what is stuck never ends */

static int faults;
static char *place;	/* a page that isn't there, behind one that is */
static struct gigalock_lock good;
static struct queue q;
static struct gigalock_failure why;
static int result;

static void write_to(const char *file)
{
	int f = open(file, O_WRONLY | O_CLOEXEC);

	if (f < 0 || write(f, card_info.bus, strlen((char *)card_info.bus)) < 0)
		bail("%s", file);
	close(f);
}

/* ---- what gets stuck ---- */

/* The struct itself, in part: its size is in the page that is there. */
static int stuck_argument(void)
{
	struct gigalock_unlock *u = (void *)(place + PAGE - 4);

	u->size = sizeof(*u);
	return ioctl(card, GIGALOCK_IOC_UNLOCK, u);
}

/* The record of a lock that is refused. */
static int stuck_failure(void)
{
	struct gigalock_lock l = { .size = sizeof(l), .strategy = GIGALOCK_STRATEGY_COHERENT,
				   .direction = GIGALOCK_DIR_BOTH, .bytes = 1,
				   .failure_addr = (uintptr_t)place + PAGE };

	return ioctl(card, GIGALOCK_IOC_LOCK, &l);
}

/* A page that is to be pinned, the second of two. */
static int stuck_pages(void)
{
	struct gigalock_lock l = { .size = sizeof(l), .strategy = GIGALOCK_STRATEGY_SG,
				   .direction = GIGALOCK_DIR_BOTH, .bytes = 2 * PAGE,
				   .user_addr = (uintptr_t)place,
				   .failure_addr = (uintptr_t)&why };

	return ioctl(card, GIGALOCK_IOC_LOCK, &l);
}

/* Entries of a queue; behind the first thread another one waits for its turn. */
static int stuck_entries(void)
{
	struct gigalock_queue_submit s = { .size = sizeof(s), .id = q.c.id, .count = 1,
					   .entries = (uintptr_t)place + PAGE,
					   .entry_size = sizeof(struct gigalock_queue_entry) };

	return ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s);
}

/* Where the last failures go to. */
static int stuck_records(void)
{
	struct gigalock_failures f = { .size = sizeof(f), .capacity = 1,
				       .records = (uintptr_t)place + PAGE,
				       .record_size = sizeof(struct gigalock_failure) };

	return ioctl(card, GIGALOCK_IOC_FAILURES, &f);
}

static const struct stuck {
	const char *name;
	int (*call)(void);
	int want;		/* errno once the page is there; 0: success */
} all[] = {
	{ "an argument", stuck_argument, ENODEV },
	{ "the record of a failure", stuck_failure, EINVAL },
	{ "pages to be pinned", stuck_pages, ENODEV },
	{ "entries of a queue", stuck_entries, ENODEV },
	{ "the last failures", stuck_records, 0 },
};

static void *get_stuck(void *arg)
{
	const struct stuck *s = arg;
	int err = s->call() ? errno : 0;

	__atomic_store_n(&result, err, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- the turn of one ---- */

static void ready(void)
{
	struct gigalock_lock refused = { .strategy = GIGALOCK_STRATEGY_COHERENT, .bytes = 1 };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	card_open();
	good = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_CHUNKED, .bytes = PAGE };
	do_lock(&good);
	queue_make(&q, 16, 0);
	if (!try_lock(&refused))
		bail("a LOCK of one byte");
	place = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area.range.start = (uintptr_t)place + PAGE;
	area.range.len = PAGE;
	if (place == MAP_FAILED || ioctl(faults, UFFDIO_REGISTER, &area))
		bail("a page to wait for");
	memset(place, 0, PAGE);
	why = (struct gigalock_failure){ .size = sizeof(why) };
	result = -1;
}

/* Does somebody wait for the page? False: the call has come back instead. */
static bool stands(const char *name)
{
	struct pollfd news = { .fd = faults, .events = POLLIN };
	struct uffd_msg msg;

	for (int i = 0; i < PATIENCE * 20; i++) {
		if (poll(&news, 1, 50) == 1 && read(faults, &msg, sizeof(msg)) == sizeof(msg))
			return true;
		if (__atomic_load_n(&result, __ATOMIC_ACQUIRE) >= 0)
			return false;
	}
	bail("%s: nobody waits for the page", name);
}

static void done(void)
{
	munmap((void *)q.ring, q.c.ring_bytes);
	munmap(place, 2 * PAGE);
	close(card);
	is(status_kib("VmPin"), 0, "  nothing is pinned");
}

/* In a process of its own: one that is stuck is stuck for good. */
static bool unbinds(void)
{
	pid_t child = fork();
	int status;

	if (!child) {
		write_to(SLOT "/unbind");
		_exit(0);
	}
	for (int i = 0; i < PATIENCE * 100; i++) {
		if (waitpid(child, &status, WNOHANG) == child)
			return WIFEXITED(status) && !WEXITSTATUS(status);
		usleep(10000);
	}
	return false;
}

static void run(const struct stuck *s)
{
	struct uffdio_zeropage fill = { .range.len = PAGE };
	pthread_t one, two;
	bool both = s->call == stuck_entries;

	ready();
	if (pthread_create(&one, NULL, get_stuck, (void *)s))
		bail("a thread");
	if (!stands(s->name)) {
		/* Kernels before 6.3 don't wait for pages that are to be pinned. */
		pthread_join(one, NULL);
		ok(s->call == stuck_pages && result == EFAULT, "%s: refused", s->name);
		done();
		return;
	}
	if (both && pthread_create(&two, NULL, get_stuck, (void *)s))
		bail("a second thread");
	if (both)
		usleep(50000);
	ok(unbinds(), "%s: unbinding waits for nobody", s->name);
	is(result, -1, "  the caller still waits");
	fill.range.start = (uintptr_t)place + PAGE;
	if (ioctl(faults, UFFDIO_ZEROPAGE, &fill))
		bail("UFFDIO_ZEROPAGE");
	pthread_join(one, NULL);
	if (both)
		pthread_join(two, NULL);
	is(result, s->want, "  and is told when they have come");
	if (s->call == stuck_pages)
		is(why.reason, GIGALOCK_REASON_DEVICE_GONE, "  for its reason");
	done();
	write_to(SLOT "/bind");
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };

	faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (faults < 0 || ioctl(faults, UFFDIO_API, &api))
		bail("userfaultfd");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		run(&all[i]);
	return tap_done();
}
