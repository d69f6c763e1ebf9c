// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queues, as far as a card that works can show it: what is refused, what is
 * taken, what comes back in the ring, and who may look at it.
 *
 *   gl-queue [moves]	with it, only what any card must do
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>

#include "queue.h"

#define MIB	(1024 * 1024)
#define TO	GIGALOCK_DIR_TO_CARD
#define FROM	GIGALOCK_DIR_FROM_CARD

static struct gigalock_lock a, b;
static uint8_t *at_a, *at_b;
static size_t page;

static int create(uint32_t entries, uint32_t flags)
{
	struct gigalock_queue_create c = { .size = sizeof(c), .entries = entries,
					   .flags = flags };
	struct gigalock_queue_destroy d = { .size = sizeof(d) };
	int ret;

	errno = 0;
	ret = ioctl(card, GIGALOCK_IOC_QUEUE_CREATE, &c);
	if (!ret) {
		d.id = c.id;
		if (ioctl(card, GIGALOCK_IOC_QUEUE_DESTROY, &d))
			bail("QUEUE_DESTROY");
	}
	return ret;
}

static void test_create(void)
{
	static const uint32_t wrong[] = { 1, 8, 15, 17, 48, 1 << 17, 1u << 31, ~0u };
	struct queue q;
	char what[64];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(what, sizeof(what), "a ring of %u", wrong[i]);
		fails(create(wrong[i], 0), EINVAL, what);
	}
	fails(create(16, 2), EINVAL, "a flag that is not there");
	fails(create(16, 0), 0, "a ring of 16");
	fails(create(65536, 0), 0, "a ring of 65536");
	queue_make(&q, 0, 0);
	ok(q.c.entries >= 16 && !(q.c.entries & (q.c.entries - 1)),
	   "0 lets the driver choose: %u", q.c.entries);
	is(q.c.ring_bytes, q.c.entries * sizeof(struct gigalock_completion),
	   "the ring's length");
	ok(q.c.mmap_offset && !(q.c.mmap_offset % page) && q.c.mmap_offset >> 44 == 0,
	   "its mmap offset is a page's, below 2^44");
	fails(create(16, 0), EBUSY, "a second queue, of two channels");
	fails(queue_destroy(&q), 0, "destroy");
	fails(queue_destroy(&q), ENOENT, "destroy again");
	fails(create(16, 0), 0, "the channel is free again");
	munmap((void *)q.ring, q.c.ring_bytes);
}

static void test_mapping(void)
{
	struct queue q;
	void *p;

	queue_make(&q, 256, 0);
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, card, q.c.mmap_offset);
	fails(p == MAP_FAILED ? -1 : 0, EACCES, "the ring mapped for writing");
	p = mmap(NULL, page, PROT_READ, MAP_PRIVATE, card, q.c.mmap_offset);
	fails(p == MAP_FAILED ? -1 : 0, EINVAL, "the ring mapped privately");
	p = mmap(NULL, 3 * page, PROT_READ, MAP_SHARED, card, q.c.mmap_offset);
	fails(p == MAP_FAILED ? -1 : 0, EINVAL, "more than the ring");
	p = mmap(NULL, page, PROT_READ, MAP_SHARED, card, q.c.mmap_offset + page);
	ok(p != MAP_FAILED, "its second page alone");
	is(((uint32_t *)p)[7], 0, "which is zero");
	fails(mprotect(p, page, PROT_READ | PROT_WRITE), EACCES,
	      "made writable later");
	munmap(p, page);
	fails(queue_destroy(&q), 0, "destroy while mapped");
	p = mmap(NULL, page, PROT_READ, MAP_SHARED, card, q.c.mmap_offset);
	fails(p == MAP_FAILED ? -1 : 0, ENOENT, "a ring that was destroyed, mapped");
	is(q.ring[0].seq, 0, "the old mapping can be read");
	munmap((void *)q.ring, q.c.ring_bytes);
}

/* Round and round a small ring; every byte there and back. */
static void test_moves(uint32_t flags)
{
	struct gigalock_queue_entry e[16];
	struct gigalock_completion c;
	bool good = true;
	struct queue q;

	queue_make(&q, 16, flags);
	scribble(at_a, MIB, 1 + flags);
	memset(at_b, 0, MIB);
	for (int way = TO; way <= FROM; way++) {
		/* 4093 bytes each: pieces begin anywhere. */
		for (uint32_t done = 0, put = 0; done < 256;) {
			uint32_t n = 0;
			int taken = 0;

			for (; put + n < 256 && n < 16 - (q.submitted - q.seen); n++) {
				e[n] = move_of(way == TO ? &a : &b, way,
					       (put + n) * 4093, 4093);
				e[n].cookie = 0xabc000 + put + n;
				e[n].flags = GIGALOCK_XFER_CRC;
			}
			/* In pieces they may need more places than there are. */
			if (n)
				taken = queue_put(&q, e, n);
			if (taken < 0 && errno != EAGAIN)
				bail("QUEUE_SUBMIT of %u", n);
			put += taken > 0 ? taken : 0;
			queue_next(&q, &c);
			good &= c.cookie == 0xabc000 + done && !c.status &&
				c.bytes == 4093 && !c.fault_addr &&
				c.crc == crc32c(at_a + done * 4093, 4093);
			done++;
		}
	}
	ok(good, "512 transfers in order, with their cookies, lengths and checksums");
	ok(!memcmp(at_a, at_b, 256 * 4093), "every byte is back");
	is(at_b[256 * 4093], 0, "and none behind them is");
	is(q.seen, 512, "all of them");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

struct wrong {
	const char *what;
	struct gigalock_queue_entry e;
	int err;
	uint32_t reason;
};

static void test_refusals(void)
{
	const struct gigalock_queue_entry good = move_of(&a, TO, 0, page);
	struct gigalock_queue_entry e[3] = { good, good, good };
	struct gigalock_lock one_way;
	struct gigalock_completion c;
	uint32_t taken = 0;
	struct queue q;
	void *p = lock_map(&one_way, GIGALOCK_STRATEGY_COHERENT, TO, page);
	struct wrong wrong[] = {
		{ "no such lock", good, ENOENT, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "no direction", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "both directions", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "an unknown flag", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "reserved not 0", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "an unknown operation", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "a pattern to move", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "nothing to move", good, EINVAL, GIGALOCK_REASON_BAD_SIZE },
		{ "past the lock", good, ERANGE, GIGALOCK_REASON_LOCK_RANGE },
		{ "past the lock, wrapping", good, ERANGE, GIGALOCK_REASON_LOCK_RANGE },
		{ "past the card", good, ERANGE, GIGALOCK_REASON_CARD_RANGE },
		{ "against the lock's direction", good, EACCES, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "fill to the card", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "compare from the card", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "checksum without the flag", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ "checksum with a place in the card", good, EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
	};

	wrong[0].e.lock = 12345;
	wrong[1].e.direction = 0;
	wrong[2].e.direction = GIGALOCK_DIR_BOTH;
	wrong[3].e.flags = 2;
	wrong[4].e.reserved = 1;
	wrong[5].e.op = GIGALOCK_XFER_OP_COUNT;
	wrong[6].e.pattern = 1;
	wrong[7].e.length = 0;
	wrong[8].e.offset = a.bytes - page + 1;
	wrong[9].e.offset = ~0ull - 10;
	wrong[10].e.card_offset = 1ull << 50;
	wrong[11].e = move_of(&one_way, FROM, 0, page);
	wrong[12].e.op = GIGALOCK_XFER_OP_FILL;
	wrong[13].e.op = GIGALOCK_XFER_OP_COMPARE;
	wrong[13].e.direction = FROM;
	wrong[14].e.op = GIGALOCK_XFER_OP_CRC;
	wrong[15].e.op = GIGALOCK_XFER_OP_CRC;
	wrong[15].e.flags = GIGALOCK_XFER_CRC;
	wrong[15].e.card_offset = 4096;

	queue_make(&q, 64, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		fails(queue_put(&q, &wrong[i].e, 1), wrong[i].err, wrong[i].what);
		is(q.why.reason, wrong[i].reason, "  its reason");
		e[1] = wrong[i].e;
		if (queue_put(&q, e, 3) != 1 || q.why.reason != wrong[i].reason)
			ok(false, "  behind a good one: reason %u", q.why.reason);
		queue_next(&q, &c);
	}
	is(q.seen, sizeof(wrong) / sizeof(wrong[0]), "the good ones before them were done");
	for (unsigned int bit = 0; bit < 32; bit++) {
		e[0] = e[1] = good;
		e[0].flags = 1u << bit;
		e[1].reserved = 1u << bit;
		if (!(e[0].flags & GIGALOCK_XFER_FLAGS) &&
		    (queue_put(&q, &e[0], 1) >= 0 || errno != EINVAL))
			taken |= 1u << bit;
		if (queue_put(&q, &e[1], 1) >= 0 || errno != EINVAL)
			taken |= 1u << bit;
	}
	is(taken, 0, "each unknown flag and each reserved bit by itself is refused");
	usleep(20000);
	ok(!queue_look(&q, &c), "and nothing else was");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
	munmap(p, page);
	fails(try_unlock(one_way.id), 0, "their lock is free");
}

/* What the caller says it has seen, and how much room that makes. */
static void test_room(void)
{
	struct gigalock_queue_entry e[64];
	struct gigalock_completion c;
	struct queue q;

	for (int i = 0; i < 64; i++)
		e[i] = move_of(&a, TO, 0, 512);
	queue_make(&q, 16, 0);
	q.seen = 1;
	fails(queue_put(&q, e, 1), EINVAL, "more seen than there were");
	is(q.why.reason, GIGALOCK_REASON_BAD_ARGUMENT, "its reason");
	q.seen = -17;
	fails(queue_put(&q, e, 1), EINVAL, "less than none seen, by more than a ring");
	q.seen = 0;
	is(queue_put(&q, e, 64), 16, "64 into a ring of 16");
	for (int i = 0; i < 16; i++)
		queue_next(&q, &c);
	q.seen = 0;
	fails(queue_put(&q, e, 1), EAGAIN, "no room while nothing is said to be seen");
	q.seen = 3;
	is(queue_put(&q, e, 64), 3, "room for as many as are seen");
	q.seen = 16 + 4;
	fails(queue_put(&q, e, 1), EINVAL, "more seen than submitted");
	q.seen = 2;
	fails(queue_put(&q, e, 1), EINVAL, "fewer seen than a moment ago, by a ring");
	q.seen = 16;
	is(queue_put(&q, e, 0), 0, "none at all");
	for (int i = 0; i < 3; i++)
		queue_next(&q, &c);
	is(queue_put(&q, e, 64), 16, "all the ring again");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

static void test_entries(void)
{
	struct gigalock_queue_submit s = { .size = sizeof(s) };
	struct { struct gigalock_queue_entry e; uint64_t more; } longer[2] = { };
	struct gigalock_completion c;
	uint8_t *edge;
	struct queue q;

	edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (edge == MAP_FAILED || mprotect(edge + page, page, PROT_NONE))
		bail("mmap");
	queue_make(&q, 16, 0);
	longer[0].e = longer[1].e = move_of(&a, TO, 0, 512);
	s.id = q.c.id;
	s.entries = (uintptr_t)longer;
	s.count = 2;
	s.entry_size = sizeof(longer[0]);
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), 0, "longer entries, zeroes behind");
	is(s.count, 2, "both are taken");
	queue_next(&q, &c);
	queue_next(&q, &c);
	s.seen = 2;
	longer[1].more = 1;
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), E2BIG, "a byte set behind one");
	s.entry_size = sizeof(longer[0].e) - 8;
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), EINVAL, "shorter entries");
	s.entry_size = 1 << 20;
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), EINVAL, "entries of 1 MiB");
	memcpy(edge + page - sizeof(longer[0].e), &longer[0].e, sizeof(longer[0].e));
	s.entry_size = sizeof(longer[0].e);
	s.entries = (uintptr_t)(edge + page - sizeof(longer[0].e));
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), EFAULT, "the second over a page's end");
	s.count = 1;
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), 0, "the first alone, at it");
	s.seen = 2;
	s.count = ~0u;
	s.entries = (uintptr_t)edge;
	fails(ioctl(card, GIGALOCK_IOC_QUEUE_SUBMIT, &s), EINVAL, "4 billion of zeroes");
	munmap(edge, 2 * page);
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

static void test_operations(void)
{
	const uint64_t pattern = 0x1122334455667788;
	struct gigalock_completion c;
	struct gigalock_queue_entry e;
	struct queue q;
	bool good = true;

	queue_make(&q, 1024, 0);
	memset(at_a, 0xee, MIB);
	e = move_of(&a, FROM, 5, 100003);
	e.card_offset = 0;
	e.op = GIGALOCK_XFER_OP_FILL;
	e.pattern = pattern;
	is(queue_put(&q, &e, 1), 1, "fill");
	queue_next(&q, &c);
	is(c.status, 0, "  its status");
	is(c.bytes, 100003, "  its length");
	for (int i = 0; i < 100003; i++)
		good &= at_a[5 + i] == (uint8_t)(pattern >> i % 8 * 8);
	ok(good, "  the pattern, from the first byte on");
	ok(at_a[4] == 0xee && at_a[5 + 100003] == 0xee, "  and not beside it");

	scribble(at_a, MIB, 7);
	e = move_of(&a, TO, 0, MIB);
	queue_put(&q, &e, 1);
	queue_next(&q, &c);
	e.op = GIGALOCK_XFER_OP_COMPARE;
	queue_put(&q, &e, 1);
	queue_next(&q, &c);
	is(c.status, 0, "compare with what was written");
	is(c.bytes, MIB, "  all of it");
	at_a[777777] ^= 1;
	queue_put(&q, &e, 1);
	queue_next(&q, &c);
	is(c.status, 0x0c, "compare with a bit changed");
	is(c.bytes, 777777, "  up to there");

	e = move_of(&a, TO, 3, 99999);
	e.card_offset = 0;
	e.op = GIGALOCK_XFER_OP_CRC;
	e.flags = GIGALOCK_XFER_CRC;
	queue_put(&q, &e, 1);
	queue_next(&q, &c);
	is(c.crc, crc32c(at_a + 3, 99999), "checksum");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

/* A lock in one piece: with an entry a page it takes a descriptor a page. */
static void test_pieces_of_one(uint32_t strategy, const char *name)
{
	struct gigalock_lock l = { .size = sizeof(l), .strategy = strategy,
				   .direction = GIGALOCK_DIR_BOTH, .bytes = 64 * page };
	struct gigalock_queue_entry e;
	struct gigalock_completion c;
	struct queue q;

	for (int cut = card_info.max_xfer_bytes < l.bytes; cut < 2; cut++) {
		l.flags = cut ? GIGALOCK_LOCK_ENTRY_PER_PAGE : 0;
		if (ioctl(card, GIGALOCK_IOC_LOCK, &l))
			bail("LOCK by %s", name);
		ok(l.segments == (cut ? 64 : 1), "%s, flags %u: %u pieces", name, l.flags,
		   l.segments);
		queue_make(&q, 16, 0);
		e = move_of(&l, TO, 0, 17 * page);
		if (cut) {
			fails(queue_put(&q, &e, 1), E2BIG, "  17 pages into a ring of 16");
			is(q.why.available, 16 * page, "  how much would go");
			e = move_of(&l, TO, 0, 16 * page);
		}
		is(queue_put(&q, &e, 1), 1, "  what fits goes");
		queue_next(&q, &c);
		is(c.bytes, cut ? 16 * page : 17 * page, "  all of it");
		queue_destroy(&q);
		munmap((void *)q.ring, q.c.ring_bytes);
		do_unlock(l.id);
	}
}

/* Pieces: more than the ring has places can't go; as many as it has can. */
static void test_pieces(void)
{
	struct gigalock_lock l = { .size = sizeof(l), .strategy = GIGALOCK_STRATEGY_SG,
				   .flags = GIGALOCK_LOCK_ENTRY_PER_PAGE,
				   .direction = GIGALOCK_DIR_BOTH, .bytes = 64 * page };
	struct gigalock_queue_entry e[2];
	struct gigalock_completion c;
	struct queue q;
	uint8_t *mem;

	mem = mmap(NULL, l.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	l.user_addr = (uintptr_t)mem;
	if (ioctl(card, GIGALOCK_IOC_LOCK, &l))
		bail("LOCK with an entry a page");
	is(l.segments, 64, "a lock of 64 pieces");
	scribble(mem, l.bytes, 9);
	queue_make(&q, 16, 0);
	e[0] = move_of(&l, TO, 0, 17 * page);
	fails(queue_put(&q, e, 1), E2BIG, "17 pieces into a ring of 16");
	is(q.why.reason, GIGALOCK_REASON_TOO_MANY_SEGMENTS, "  its reason");
	is(q.why.limit, 16, "  its limit");
	is(q.why.available, 16 * page, "  how much would go");
	e[0] = move_of(&l, TO, 0, 16 * page);
	e[1] = move_of(&l, TO, 16 * page, 9 * page);
	is(queue_put(&q, e, 2), 1, "16 pieces, and no more beside them");
	queue_next(&q, &c);
	is(c.bytes, 16 * page, "  one completion for all");
	/* Unaligned at both ends, and crossing the ring's end. */
	e[0] = move_of(&l, TO, 7 * page - 1, 9 * page + 2);
	is(queue_put(&q, e, 1), 1, "11 pieces, unaligned");
	queue_next(&q, &c);
	is(c.status, 0, "  its status");
	memset(mem, 0, l.bytes);
	e[0] = move_of(&l, FROM, 0, 16 * page);
	is(queue_put(&q, e, 1), 1, "and back");
	queue_next(&q, &c);
	is(c.bytes, 16 * page, "  all of it");
	scribble(at_a, l.bytes, 9);
	ok(!memcmp(mem, at_a, 16 * page), "  every byte");
	is(mem[16 * page], 0, "  and no more");
	/* A failure amid a chain: what follows works. */
	e[0] = move_of(&l, TO, 0, 16 * page);
	e[0].op = GIGALOCK_XFER_OP_COMPARE;
	mem[5 * page + 10] ^= 1;
	e[1] = move_of(&l, TO, 5 * page, page);
	for (int i = 0; i < 50; i++) {
		if (queue_put(&q, e, 1) != 1)
			bail("compare %d", i);
		queue_next(&q, &c);
		if (c.status != 0x0c || c.bytes != 5 * page + 10)
			break;
		/* Room comes when the card has passed over the rest. */
		while (queue_put(&q, e + 1, 1) != 1)
			if (errno != EAGAIN)
				bail("after a failure");
		queue_next(&q, &c);
		if (c.status || c.bytes != page)
			break;
		/* That made them equal. */
		mem[5 * page + 10] ^= 1;
	}
	is(q.seen, 4 - 1 + 100, "50 failed chains, each followed by one that works");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
	fails(try_unlock(l.id), 0, "their lock is free");
	munmap(mem, l.bytes);
}

static int wait_queue(struct queue *q, int ms, uint32_t *now)
{
	struct gigalock_queue_wait w = { .size = sizeof(w), .id = q->c.id,
					 .seen = q->seen, .timeout_ms = ms };
	int ret;

	errno = 0;
	ret = ioctl(card, GIGALOCK_IOC_QUEUE_WAIT, &w);
	*now = w.seen;
	return ret;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void test_waiting(uint32_t flags)
{
	const char *kind = flags ? "with interrupts" : "without";
	struct gigalock_queue_entry e = move_of(&a, TO, 0, 4096);
	struct gigalock_eventfd ev = { .size = sizeof(ev) };
	struct pollfd p = { .fd = card, .events = POLLIN };
	struct gigalock_completion c;
	struct queue q;
	uint64_t told;
	uint32_t now;
	double t;

	queue_make(&q, 16, flags);
	ok(true, "a queue %s", kind);
	fails(wait_queue(&q, 0, &now), ETIMEDOUT, "just looking, nothing there");
	t = seconds();
	fails(wait_queue(&q, 100, &now), ETIMEDOUT, "waiting for nothing");
	ok(seconds() - t >= 0.099, "  that long");
	fails(wait_queue(&q, -2, &now), EINVAL, "a time below -1");
	queue_put(&q, &e, 1);
	fails(wait_queue(&q, -1, &now), 0, "waiting for one");
	is(now, 1, "  it is there");
	ok(queue_look(&q, &c), "  in the ring, too");
	q.seen = 5;
	fails(wait_queue(&q, 0, &now), EINVAL, "more seen than there were");
	q.seen = 1;

	ev.fd = eventfd(0, EFD_NONBLOCK);
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &ev), 0, "an eventfd");
	fails(wait_queue(&q, 0, &now), ETIMEDOUT, "all seen");
	is(poll(&p, 1, 0), 0, "poll() has nothing");
	queue_put(&q, &e, 1);
	is(poll(&p, 1, flags ? 10000 : 300), flags ? 1 : 0,
	   flags ? "poll() wakes" : "poll() doesn't: no interrupts");
	if (flags) {
		p.fd = ev.fd;
		is(poll(&p, 1, 10000), 1, "the eventfd is told");
	}
	queue_next(&q, &c);
	if (read(ev.fd, &told, sizeof(told)) != sizeof(told))
		told = 0;
	is(told, flags ? 1 : 0, "  how often");
	ev.fd = -1;
	fails(ioctl(card, GIGALOCK_IOC_EVENTFD, &ev), 0, "and no more");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

/* The kernel learns by itself what is over: at UNLOCK, at LOCK_STATS. */
static void test_books(void)
{
	struct gigalock_lock_stats st = { .size = sizeof(st) };
	struct gigalock_queue_entry e[3];
	struct gigalock_completion c;
	struct gigalock_lock l;
	struct queue q;
	uint8_t *mem = lock_map(&l, GIGALOCK_STRATEGY_COHERENT, GIGALOCK_DIR_BOTH,
				4 * page);

	queue_make(&q, 16, 0);
	e[0] = move_of(&l, TO, 0, 4 * page);
	e[1] = move_of(&l, FROM, 0, page);
	e[2] = e[0];
	e[2].op = GIGALOCK_XFER_OP_COMPARE;
	mem[100] = 1;
	is(queue_put(&q, e, 2), 2, "one to, one from the card");
	queue_next(&q, &c);
	queue_next(&q, &c);
	mem[100] = 2;
	queue_put(&q, e + 2, 1);
	queue_next(&q, &c);
	is(c.status, 0x0c, "and one that fails");
	st.id = l.id;
	if (ioctl(card, GIGALOCK_IOC_LOCK_STATS, &st))
		bail("LOCK_STATS");
	is(st.transfers, 3, "transfers of the lock");
	is(st.errors, 1, "  with an error");
	is(st.cancelled, 0, "  cancelled");
	is(st.to_card_bytes, 4 * page + 100, "  bytes to the card");
	is(st.from_card_bytes, page, "  bytes from it");
	is(st.inflight, 0, "  under way");
	is(st.mappings, 1, "  mappings");
	queue_put(&q, e, 2);
	munmap(mem, 4 * page);
	queue_next(&q, &c);
	queue_next(&q, &c);
	fails(try_unlock(l.id), 0, "given back with no call in between");
	fails(queue_put(&q, e, 1), ENOENT, "and then not to be had");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

/* With the queue there, the others still go both ways. */
static void test_others(void)
{
	struct queue q;

	queue_make(&q, 16, 0);
	for (uint32_t way = TO; way <= FROM; way++) {
		for (int i = 0; i < 3; i++) {
			struct gigalock_submit s = { .size = sizeof(s), .id = a.id,
						     .direction = way, .length = 8192 };
			struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 10000 };

			if (ioctl(card, GIGALOCK_IOC_SUBMIT, &s) ||
			    ioctl(card, GIGALOCK_IOC_WAIT, &w) || w.status ||
			    w.bytes != 8192)
				bail("a transfer beside the queue, way %u", way);
		}
	}
	ok(true, "transfers beside a queue, both ways");
	queue_destroy(&q);
	munmap((void *)q.ring, q.c.ring_bytes);
}

/* A child has the ring mapped when its parent destroys the queue. */
static void test_fork(void)
{
	struct gigalock_queue_entry e = move_of(&a, TO, 0, 4096);
	struct gigalock_completion c;
	int there[2], back[2], status;
	struct queue q;
	char ch = 0;

	if (pipe(there) || pipe(back))
		bail("pipe");
	queue_make(&q, 16, 0);
	e.cookie = 77;
	queue_put(&q, &e, 1);
	queue_next(&q, &c);
	if (!fork()) {
		if (q.ring[0].cookie != 77 || write(back[1], "r", 1) != 1 ||
		    read(there[0], &ch, 1) != 1)
			_exit(1);
		_exit(q.ring[0].cookie != 77 || q.ring[0].seq != 1);
	}
	if (read(back[0], &ch, 1) != 1)
		bail("child");
	fails(queue_destroy(&q), 0, "destroy with a child looking");
	if (write(there[1], "g", 1) != 1 || wait(&status) < 0)
		bail("child");
	is(status, 0, "it still sees the completion");
	is(q.ring[0].cookie, 77, "and so does its parent");
	munmap((void *)q.ring, q.c.ring_bytes);
}

int main(int argc, char **argv)
{
	bool all = argc < 2 || strcmp(argv[1], "moves");

	page = sysconf(_SC_PAGESIZE);
	card_open();
	at_a = lock_map(&a, GIGALOCK_STRATEGY_CONTIG_RANGE, GIGALOCK_DIR_BOTH, MIB);
	at_b = lock_map(&b, GIGALOCK_STRATEGY_SG, GIGALOCK_DIR_BOTH, MIB);
	test_moves(0);
	test_moves(GIGALOCK_QUEUE_IRQ);
	test_operations();
	test_pieces();
	test_pieces_of_one(GIGALOCK_STRATEGY_COHERENT, "coherent");
	test_pieces_of_one(GIGALOCK_STRATEGY_CONTIG_RANGE, "contig-range");
	test_books();
	test_others();
	if (all) {
		test_create();
		test_mapping();
		test_refusals();
		test_room();
		test_entries();
		test_waiting(0);
		test_waiting(GIGALOCK_QUEUE_IRQ);
		test_fork();
	}
	munmap(at_a, MIB);
	fails(try_unlock(a.id), 0, "the locks are free");
	fails(try_unlock(b.id), 0, "both");
	return tap_done();
}
