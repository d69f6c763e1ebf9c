// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transfers by SUBMIT and WAIT, as far as a card that works can show it: every
 * operation, many at once, those that fail among those that don't, time limits,
 * what a lock's statistics say.
 *
 *   gl-xfer [held]	with it, on a card that the pause knob holds: a time limit
 *			ends transfers in the ring and behind it
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "queue.h"

#define KIB	1024
#define MIB	(1024 * KIB)
#define TO	GIGALOCK_DIR_TO_CARD
#define FROM	GIGALOCK_DIR_FROM_CARD

static struct gigalock_lock a;
static uint8_t *mem;
static struct gigalock_failure why;

static int submit(struct gigalock_submit *s)
{
	why = (struct gigalock_failure){ .size = sizeof(why) };
	s->size = sizeof(*s);
	s->failure_addr = (uintptr_t)&why;
	errno = 0;
	return ioctl(card, GIGALOCK_IOC_SUBMIT, s);
}

static struct gigalock_submit part(uint32_t direction, uint64_t offset, uint64_t length)
{
	return (struct gigalock_submit){
		.id = a.id, .direction = direction, .offset = offset,
		.length = length, .card_offset = offset,
	};
}

/* Reap @xfer, or any; -1 and errno if there is none. */
static int reap(uint32_t xfer, struct gigalock_wait *w, int ms)
{
	why = (struct gigalock_failure){ .size = sizeof(why) };
	*w = (struct gigalock_wait){ .size = sizeof(*w), .xfer = xfer,
				     .timeout_ms = ms,
				     .failure_addr = (uintptr_t)&why };
	errno = 0;
	return ioctl(card, GIGALOCK_IOC_WAIT, w);
}

/* Submit, wait, and the status. */
static uint32_t run(struct gigalock_submit s, struct gigalock_wait *w)
{
	if (submit(&s))
		bail("SUBMIT: reason %u", why.reason);
	if (reap(s.xfer, w, 20000))
		bail("WAIT");
	return w->status;
}

static void test_operations(void)
{
	const uint64_t pattern = 0x8877665544332211;
	struct gigalock_submit s = part(FROM, 3, 300001);
	struct gigalock_wait w;
	bool good = true;

	memset(mem, 0xee, MIB);
	s.card_offset = 0;
	s.op = GIGALOCK_XFER_OP_FILL;
	s.pattern = pattern;
	is(run(s, &w), 0, "fill");
	is(w.bytes, 300001, "  its length");
	for (int i = 0; i < 300001; i++)
		good &= mem[3 + i] == (uint8_t)(pattern >> i % 8 * 8);
	ok(good, "  the pattern, from the first byte on");
	ok(mem[2] == 0xee && mem[3 + 300001] == 0xee, "  and not beside it");

	scribble(mem, MIB, 5);
	is(run(part(TO, 0, MIB), &w), 0, "move there");
	s = part(TO, 0, MIB);
	s.op = GIGALOCK_XFER_OP_COMPARE;
	is(run(s, &w), 0, "compare");
	mem[654321] ^= 0x80;
	is(run(s, &w), EIO, "compare with a bit changed");
	is(w.bytes, 654321, "  up to there");
	is(why.reason, GIGALOCK_REASON_DEVICE_ERROR, "  the reason");
	is(why.request, 0x0c, "  the card's code");
	mem[654321] ^= 0x80;
	s = part(TO, 1, 999);
	s.card_offset = 0;
	s.op = GIGALOCK_XFER_OP_CRC;
	s.flags = GIGALOCK_XFER_CRC;
	is(run(s, &w), 0, "checksum");
	is(w.crc, crc32c(mem + 1, 999), "  its value");
	memset(mem, 0, MIB);
	is(run(part(FROM, 0, MIB), &w), 0, "move back");
	ok(w.elapsed_ns > 0, "  how long it took");

	s = part(TO, 0, 4096);
	s.op = GIGALOCK_XFER_OP_FILL;
	fails(submit(&s), EINVAL, "fill to the card");
	is(why.limit, FROM, "  the way it goes");
	s = part(FROM, 0, 4096);
	s.op = GIGALOCK_XFER_OP_COMPARE;
	fails(submit(&s), EINVAL, "compare from the card");
	s = part(TO, 0, 4096);
	s.op = GIGALOCK_XFER_OP_CRC;
	fails(submit(&s), EINVAL, "checksum without its flag");
	is(why.limit, GIGALOCK_XFER_CRC, "  the flag");
	s = part(TO, 4096, 4096);
	s.op = GIGALOCK_XFER_OP_CRC;
	s.flags = GIGALOCK_XFER_CRC;
	fails(submit(&s), EINVAL, "checksum with a place in the card");
	s = part(FROM, 0, 4096);
	s.pattern = 1;
	fails(submit(&s), EINVAL, "a pattern to move");
	s = part(TO, 0, 4096);
	s.op = GIGALOCK_XFER_OP_COUNT;
	fails(submit(&s), EINVAL, "an operation that is not there");
}

/*
 * As many as may be unreaped, of all sizes, every seventh bound to fail: each
 * ends with its own outcome, and the data are those of the good ones.
 */
static void test_many(void)
{
	enum { MANY = GIGALOCK_MAX_XFERS };
	static uint32_t ids[MANY];
	struct gigalock_lock_stats st = { .size = sizeof(st), .id = a.id }, st0;
	static const uint32_t sizes[] = { 1, 512, 4096, 4097, 100000, 300000 };
	int failed = 0, wrong = 0, order = 0;
	uint64_t moved = 0;
	struct gigalock_submit s;
	struct gigalock_wait w;
	uint8_t *want = malloc(MIB);

	scribble(mem, MIB, 11);
	run(part(TO, 0, MIB), &w);
	memcpy(want, mem, MIB);
	mem[MIB - 1] ^= 1;
	st0 = st;
	if (ioctl(card, GIGALOCK_IOC_LOCK_STATS, &st0))
		bail("LOCK_STATS");
	for (int i = 0; i < MANY; i++) {
		uint32_t size = sizes[i % 6];

		s = part(FROM, (uint64_t)i * 331 % (MIB - 1 - size), size);
		s.flags = GIGALOCK_XFER_CRC;
		if (i % 7 == 3) {
			/* The last byte differs. */
			s = part(TO, MIB - 5000, 5000);
			s.op = GIGALOCK_XFER_OP_COMPARE;
		}
		s.cookie = i;
		if (submit(&s))
			bail("SUBMIT %d", i);
		ids[i] = s.xfer;
		moved += i % 7 == 3 ? 0 : size;
	}
	s = part(TO, 0, 1);
	fails(submit(&s), EAGAIN, "one more than may be unreaped");
	for (int i = 0; i < MANY; i++) {
		uint64_t at;

		if (reap(0, &w, 20000))
			bail("WAIT %d", i);
		if (ids[w.cookie] != w.xfer)
			order++;
		at = w.cookie * 331 % (MIB - 1 - sizes[w.cookie % 6]);
		if (w.cookie % 7 == 3)
			failed += w.status == EIO && w.bytes == 4999 && why.request == 0x0c;
		else
			wrong += w.status || w.bytes != sizes[w.cookie % 6] ||
				 (i % 16 == 0 &&
				  w.crc != crc32c(want + at, sizes[w.cookie % 6]));
	}
	is(order, 0, "cookies and ids belong together");
	is(wrong, 0, "good ones that went wrong");
	is(failed, (MANY + 3) / 7, "bad ones that failed as they should");
	want[MIB - 1] ^= 1;
	ok(!memcmp(mem, want, MIB), "the data are in place");
	fails(reap(0, &w, 0), ENOENT, "nothing is left");
	if (ioctl(card, GIGALOCK_IOC_LOCK_STATS, &st))
		bail("LOCK_STATS");
	is(st.transfers - st0.transfers, MANY, "the lock counts them");
	is(st.errors - st0.errors, failed, "  and the bad ones");
	is(st.from_card_bytes - st0.from_card_bytes, moved, "  and the bytes from the card");
	is(st.to_card_bytes - st0.to_card_bytes, 4999 * failed, "  and to it");
	ok(st.busy_ns > st0.busy_ns, "  and their time");
	is(st.inflight, 0, "  none is under way");
	free(want);
}

/* Ids that are reused are not found by their old name. */
static void test_ids(void)
{
	struct gigalock_submit s = part(TO, 0, 64);
	struct gigalock_cancel c = { .size = sizeof(c) };
	struct gigalock_wait w;
	uint32_t first = 0;
	bool twice = false;

	for (int i = 0; i < 3000; i++) {
		s = part(TO, 0, 64);
		if (submit(&s) || reap(s.xfer, &w, 20000))
			bail("transfer %d", i);
		if (!first)
			first = s.xfer;
		else
			twice |= s.xfer == first;
	}
	ok(!twice, "3000 transfers, and the first id was not given again");
	fails(reap(first, &w, 0), ENOENT, "it names nothing any more");
	c.xfer = first;
	fails(ioctl(card, GIGALOCK_IOC_CANCEL, &c), ENOENT, "  for CANCEL neither");
	c.xfer = 0;
	fails(ioctl(card, GIGALOCK_IOC_CANCEL, &c), ENOENT, "nor does 0");
	c.xfer = ~0u;
	fails(ioctl(card, GIGALOCK_IOC_CANCEL, &c), ENOENT, "nor all ones");
}

static void test_eventfd(void)
{
	struct gigalock_eventfd e = { .size = sizeof(e) };
	struct gigalock_submit s = part(TO, 0, 4096);
	struct pollfd p = { .events = POLLIN };
	struct gigalock_wait w;
	uint64_t told = 0;

	e.fd = 999;
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &e), EBADF, "an fd that is not open");
	e.fd = card;
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &e), EINVAL, "an fd that is no eventfd");
	e.fd = -2;
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &e), EINVAL, "-2");
	p.fd = eventfd(0, EFD_NONBLOCK);
	e.fd = p.fd;
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &e), 0, "an eventfd");
	is(poll(&p, 1, 0), 0, "it has nothing to say");
	submit(&s);
	is(poll(&p, 1, 20000), 1, "until a transfer is done");
	if (read(p.fd, &told, sizeof(told)) != sizeof(told))
		bail("read");
	is(told, 1, "once");
	reap(s.xfer, &w, 0);
	is(poll(&p, 1, 100), 0, "reaping says nothing");
	e.fd = eventfd(0, EFD_NONBLOCK);
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &e), 0, "another one in its place");
	run(part(TO, 0, 64), &w);
	is(poll(&p, 1, 0), 0, "the first is not told any more");
	close(p.fd);
	p.fd = e.fd;
	is(poll(&p, 1, 0), 1, "the second is");
	e.fd = -1;
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &e), 0, "none");
	close(p.fd);
	run(part(TO, 0, 64), &w);
}

static void test_limits(void)
{
	struct gigalock_submit s = part(TO, 0, MIB);
	struct gigalock_wait w;

	s.timeout_ms = 60000;
	is(run(s, &w), 0, "done in the time it had");
	s.timeout_ms = ~0u;
	is(run(s, &w), 0, "the longest time");
}

/*
 * The card stands still. One large transfer in the ring, small ones behind it,
 * then only small ones, in one ring: those with a limit end, the others stay.
 */
static void test_held(void)
{
	struct gigalock_cancel c = { .size = sizeof(c) };
	struct gigalock_submit s[9];
	struct gigalock_wait w;

	s[0] = part(TO, 0, MIB);
	s[0].timeout_ms = 5000;
	s[1] = part(TO, 0, 4096);
	s[1].timeout_ms = 100;
	s[2] = part(TO, 0, 4096);
	for (int i = 0; i < 3; i++)
		if (submit(&s[i]))
			bail("SUBMIT");
	fails(reap(0, &w, 20000), 0, "the first that ends");
	is(w.xfer, s[1].xfer, "  is the one with the shortest time");
	is(w.status, ETIMEDOUT, "  its status");
	is(why.reason, GIGALOCK_REASON_TIMEOUT, "  its reason");
	is(why.limit, 100, "  its limit");
	is(why.unit, GIGALOCK_UNIT_MILLISECONDS, "  in milliseconds");
	is(w.bytes, 0, "  it moved nothing");
	fails(reap(0, &w, 20000), 0, "the next");
	is(w.xfer, s[0].xfer, "  is the large one");
	is(w.status, ETIMEDOUT, "  its status");
	ok(w.bytes > 0 && w.bytes < MIB, "  part of it was moved: %llu",
	   (unsigned long long)w.bytes);
	fails(reap(s[2].xfer, &w, 200), ETIMEDOUT, "the one without a limit waits");

	/* Small ones in one ring, behind that one, and one that has to wait. */
	for (int i = 3; i < 8; i++) {
		s[i] = part(TO, i * 4096, 4096);
		s[i].timeout_ms = i == 6 ? 200 : 0;
		if (submit(&s[i]))
			bail("SUBMIT");
	}
	s[8] = part(TO, 0, MIB);
	if (submit(&s[8]))
		bail("SUBMIT");
	fails(reap(0, &w, 20000), 0, "one in the middle of the ring ends");
	is(w.xfer, s[6].xfer, "  the one with a limit");
	is(w.status, ETIMEDOUT, "  its status");
	c.xfer = s[4].xfer;
	fails(ioctl(card, GIGALOCK_IOC_CANCEL, &c), 0, "another one is cancelled");
	fails(reap(0, &w, 20000), 0, "and reaped");
	is(w.xfer, s[4].xfer, "  that one");
	is(w.status, ECANCELED, "  its status");
	c.xfer = s[2].xfer;
	fails(ioctl(card, GIGALOCK_IOC_CANCEL, &c), 0, "and the first");
	fails(reap(s[2].xfer, &w, 20000), 0, "is reaped");
	is(w.status, ECANCELED, "  its status");
	fails(reap(0, &w, 100), ETIMEDOUT, "the others stay");
	printf("held\n");
	fflush(stdout);
	/* The knob lets go. */
	for (int i = 3; i <= 8; i++) {
		if (i == 4 || i == 6)
			continue;
		fails(reap(0, &w, 60000), 0, "one that was left");
		is(w.xfer, s[i].xfer, "  in the order of submission");
		is(w.status, 0, "  its status");
		is(w.bytes, s[i].length, "  its length");
	}
}

/* ---- a reaper that is stopped while it is told why its transfer failed ---- */

static int reaped = -1;

static void *reap_into(void *place)
{
	struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 20000,
				   .failure_addr = (uintptr_t)place };
	int err = ioctl(card, GIGALOCK_IOC_WAIT, &w) ? errno : 0;

	__atomic_store_n(&reaped, err, __ATOMIC_RELEASE);
	return NULL;
}

/*
 * All that may be unreaped are. One is being reaped, by somebody who takes his
 * time to be told why it failed: its place is free, and no other.
 */
static void test_stopped_reaper(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage fill = {};
	int faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct gigalock_submit s;
	struct pollfd news = { .fd = faults, .events = POLLIN };
	struct gigalock_wait w;
	void *place;
	int taken = 0, left = 0;
	pthread_t reaper;

	if (faults < 0 || ioctl(faults, UFFDIO_API, &api))
		bail("userfaultfd");
	place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area.range.start = (uintptr_t)place;
	area.range.len = 4096;
	if (place == MAP_FAILED || ioctl(faults, UFFDIO_REGISTER, &area))
		bail("a page to wait for");
	/* Each fails: the card's memory is something else. */
	scribble(mem, 4096, 21);
	s = part(TO, 0, 4096);
	if (run(s, &w))
		bail("a transfer");
	mem[0] ^= 1;
	s.op = GIGALOCK_XFER_OP_COMPARE;
	while (!submit(&s))
		taken++;
	is(errno, EAGAIN, "until there is no place");
	is(taken, GIGALOCK_MAX_XFERS, "  which are as many as can be");

	if (pthread_create(&reaper, NULL, reap_into, place) || pthread_detach(reaper))
		bail("a thread");
	is(poll(&news, 1, 20000), 1, "the reaper waits for its page");
	fails(submit(&s), 0, "there is one place while it does");
	fails(submit(&s), EAGAIN, "  not two");
	is(why.limit, GIGALOCK_MAX_XFERS, "  the limit");
	fill.range = area.range;
	if (ioctl(faults, UFFDIO_ZEROPAGE, &fill))
		bail("UFFDIO_ZEROPAGE");
	/* Not pthread_join(): for 32-bit callers that waits by a call that not all kernels have. */
	while (__atomic_load_n(&reaped, __ATOMIC_ACQUIRE) < 0)
		usleep(1000);
	is(reaped, 0, "it was reaped");
	fails(submit(&s), EAGAIN, "and that frees no other");
	while (!reap(0, &w, 20000))
		left++;
	is(left, GIGALOCK_MAX_XFERS, "all of them are reaped");
	munmap(place, 4096);
	close(faults);
}

int main(int argc, char **argv)
{
	card_open();
	mem = lock_map(&a, GIGALOCK_STRATEGY_SG, GIGALOCK_DIR_BOTH, MIB);
	if (argc > 1 && !strcmp(argv[1], "held")) {
		test_held();
	} else {
		test_operations();
		test_many();
		test_ids();
		test_eventfd();
		test_limits();
		test_stopped_reaper();
	}
	fails(try_unlock(a.id), 0, "the lock is free");
	return tap_done();
}
