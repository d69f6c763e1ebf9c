/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues: what is submitted is done, in order, and told in the ring; what can't
 * be taken is not; and nothing stays behind. In guests with the card.
 */
#include "tap.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define SG GIGALOCK_STRATEGY_SG
#define BOTH GIGALOCK_DIR_BOTH
#define TO_CARD GIGALOCK_DIR_TO_CARD
#define FROM_CARD GIGALOCK_DIR_FROM_CARD
#define PLACES 64
#define ANY_PIECES 16384	/* room for 48 MiB with every page apart */
#define ERR_COMPARE 0x0c	/* the card's code, see its datasheet */
#define HOLD_AT (5 * MIB + 12345)

static struct glk_queue *new_queue(struct glk_card *card, uint32_t entries,
				   uint32_t flags)
{
	const struct glk_queue_options o = {
		.size = sizeof(o), .entries = entries, .flags = flags,
	};
	struct glk_queue *queue;
	int ret = glk_queue_new(card, &o, &queue);

	if (ret)
		FAIL("a queue of %u: %s", entries, strerror(-ret));
	return queue;
}

static struct gigalock_queue_entry entry(struct glk_lock *lock, uint32_t direction,
					 uint64_t offset, uint64_t length)
{
	return (struct gigalock_queue_entry){
		.lock = glk_lock_id(lock), .direction = direction,
		.offset = offset, .length = length,
		.flags = GIGALOCK_XFER_CRC,
	};
}

/* Reap @count completions, or fail the test. */
static void reap(struct glk_queue *queue, struct gigalock_completion *done,
		 unsigned int count)
{
	for (unsigned int got = 0; got < count;) {
		got += glk_queue_reap(queue, done + got, count - got);
		if (got < count)
			EQUAL(glk_queue_wait(queue, 30000), 0);
	}
}

static void submit(struct glk_queue *queue, const struct gigalock_queue_entry *e,
		   unsigned int count)
{
	struct gigalock_failure f;
	int taken = glk_queue_submit(queue, e, count, &f);

	if (taken != (int)count)
		FAIL("%d of %u were taken: %s", taken, count,
		     taken < 0 ? glk_reason_name(f.reason) : "");
}

/* ---- data ------------------------------------------------------------------- */

static void pieces_there_and_back(uint32_t flags)
{
	const uint64_t whole = 8 * MIB, piece = 131072 + 17;
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, whole, BOTH, scattered(whole));
	struct glk_queue *queue = new_queue(card, PLACES, flags);
	unsigned char *data = glk_lock_data(lock);
	uint32_t crcs[2] = { 0, 0 };

	glk_pattern_fill(data, whole, 7, 0);
	EQUAL(glk_lock_sync_for_device(lock, 0, 0), 0);
	for (uint32_t way = TO_CARD; way <= FROM_CARD; way++) {
		uint64_t at = 0;
		uint32_t n = 0;

		for (; at < whole; n++) {
			uint64_t length = whole - at < piece ? whole - at : piece;
			struct gigalock_queue_entry e = entry(lock, way, at, length);
			struct gigalock_completion done;

			e.cookie = 1000 * way + n;
			e.card_offset = at;
			submit(queue, &e, 1);
			reap(queue, &done, 1);
			EQUAL(done.cookie, e.cookie);
			EQUAL(done.status, 0);
			EQUAL(done.bytes, length);
			EQUAL(done.fault_addr, 0);
			crcs[way - 1] = glk_crc32c_combine(crcs[way - 1], done.crc,
							   length);
			at += length;
		}
		if (way == TO_CARD)
			glk_pattern_fill_inverse(data, whole, 7, 0);
	}
	EQUAL(glk_lock_sync_for_cpu(lock, 0, 0), 0);
	CHECK(glk_pattern_verify(data, whole, 7, 0, NULL));
	EQUAL(crcs[0], glk_pattern_crc32c(0, 7, 0, whole));
	EQUAL(crcs[1], crcs[0]);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

static void polled_there_and_back(void)
{
	pieces_there_and_back(0);
}

static void with_interrupts_there_and_back(void)
{
	pieces_there_and_back(GIGALOCK_QUEUE_IRQ);
}

/* Many times around the ring, as many at once as there are places. */
static void in_order_around_the_ring(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, PLACES, 0);
	struct gigalock_queue_entry e[PLACES];
	struct gigalock_completion done[PLACES];

	EQUAL(glk_queue_entries(queue), PLACES);
	for (uint32_t round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < PLACES; i++) {
			e[i] = entry(lock, TO_CARD, i * 4096, 1 + (round + i) % 4000);
			e[i].cookie = round * 1000 + i;
		}
		submit(queue, e, PLACES);
		EQUAL(glk_queue_pending(queue), PLACES);
		reap(queue, done, PLACES);
		EQUAL(glk_queue_pending(queue), 0);
		for (uint32_t i = 0; i < PLACES; i++) {
			EQUAL(done[i].cookie, e[i].cookie);
			EQUAL(done[i].bytes, e[i].length);
			EQUAL(done[i].status, 0);
			EQUAL(done[i].seq, round * PLACES + i + 1);
		}
	}
	EQUAL(glk_queue_reap(queue, done, PLACES), 0);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

static void other_operations(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, 0, 0);
	unsigned char *data = glk_lock_data(lock);
	struct gigalock_queue_entry e[5];
	struct gigalock_completion done[5];

	for (int i = 0; i < 5; i++)
		e[i] = entry(lock, TO_CARD, 0, 65536);
	e[0].direction = FROM_CARD;
	e[0].op = GIGALOCK_XFER_OP_FILL;
	e[0].pattern = 0x1122334455667788;
	e[1].op = GIGALOCK_XFER_OP_CRC;
	e[3].op = GIGALOCK_XFER_OP_COMPARE;	/* e[2] moved it: the same */
	e[4].op = GIGALOCK_XFER_OP_COMPARE;
	e[4].offset = 65536;			/* zeroes: another thing */
	submit(queue, e, 5);
	reap(queue, done, 5);
	for (int i = 0; i < 4; i++)
		EQUAL(done[i].status, 0);
	EQUAL(data[0], 0x88);
	EQUAL(data[65535], 0x11);
	EQUAL(data[65536], 0);
	EQUAL(done[1].crc, glk_word_crc32c(e[0].pattern, 65536));
	EQUAL(done[2].crc, done[1].crc);
	EQUAL(done[4].status, ERR_COMPARE);
	EQUAL(done[4].bytes, 0);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- what is not taken -------------------------------------------------------- */

static void only_so_many_at_a_time(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, 16 * MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, 16, 0);
	struct gigalock_queue_entry e[20];
	struct gigalock_completion done[20];
	struct gigalock_failure f;

	for (uint32_t i = 0; i < 20; i++) {
		e[i] = entry(lock, TO_CARD, i, 100);
		e[i].cookie = i;
	}
	EQUAL(glk_queue_submit(queue, e, 20, &f), 16);
	EQUAL(glk_queue_pending(queue), 16);
	EQUAL(glk_queue_submit(queue, e + 16, 4, &f), -EAGAIN);
	CHECK(f.reason != GIGALOCK_REASON_NONE);
	EQUAL(f.limit, 16);
	/* Done, but not seen: still no room. */
	EQUAL(glk_queue_wait(queue, 30000), 0);
	EQUAL(glk_queue_submit(queue, e + 16, 4, &f), -EAGAIN);
	reap(queue, done, 3);
	EQUAL(glk_queue_submit(queue, e + 16, 4, &f), 3);
	reap(queue, done, 16);
	EQUAL(done[15].cookie, 18);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

static void refused_entries(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_lock *reads = lock_memory(card, SG, MIB, TO_CARD, NULL);
	struct glk_queue *queue = new_queue(card, 16, 0);
	struct gigalock_queue_entry good = entry(lock, TO_CARD, 0, 100);
	struct gigalock_completion done[2];
	struct gigalock_failure f;
	const struct {
		struct gigalock_queue_entry e;
		int err;
		uint32_t reason;
	} cases[] = {
		{ entry(lock, TO_CARD, MIB, 1), ERANGE, GIGALOCK_REASON_LOCK_RANGE },
		{ entry(lock, TO_CARD, UINT64_MAX, 2), ERANGE,
		  GIGALOCK_REASON_LOCK_RANGE },
		{ entry(lock, TO_CARD, 0, 0), EINVAL, GIGALOCK_REASON_BAD_SIZE },
		{ entry(lock, BOTH, 0, 1), EINVAL, GIGALOCK_REASON_BAD_ARGUMENT },
		{ entry(reads, FROM_CARD, 0, 1), EACCES,
		  GIGALOCK_REASON_BAD_ARGUMENT },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gigalock_queue_entry pair[2] = { good, cases[i].e };

		EQUAL(glk_queue_submit(queue, &pair[1], 1, &f), -cases[i].err);
		expect_reason(&f, cases[i].reason);
		/* The one before it is taken. */
		EQUAL(glk_queue_submit(queue, pair, 2, &f), 1);
		reap(queue, done, 1);
		EQUAL(done[0].status, 0);
	}
	good.lock = 0xfffffff0;
	EQUAL(glk_queue_submit(queue, &good, 1, &f), -ENOENT);
	good = entry(lock, TO_CARD, 0, 1);
	good.card_offset = card_info(card).card_bytes;
	EQUAL(glk_queue_submit(queue, &good, 1, &f), -ERANGE);
	expect_reason(&f, GIGALOCK_REASON_CARD_RANGE);
	good.card_offset = 0;
	good.reserved = 1;
	EQUAL(glk_queue_submit(queue, &good, 1, &f), -EINVAL);
	good.reserved = 0;
	good.op = GIGALOCK_XFER_OP_COUNT;
	EQUAL(glk_queue_submit(queue, &good, 1, &f), -EINVAL);
	EQUAL(glk_queue_submit(queue, (void *)16, 1, &f), -EFAULT);
	EQUAL(glk_queue_pending(queue), 0);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(reads), 0);
	EQUAL(glk_lock_free(lock), 0);
}

/* An entry is never split: it needs a descriptor a piece, and there are as many
 * as places. */
static void more_pieces_than_places(void)
{
	struct glk_card *card = open_card();
	struct glk_queue *queue = new_queue(card, 16, 0);
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, scattered(MIB));
	struct gigalock_completion done;
	struct gigalock_queue_entry e;
	struct gigalock_failure f;

	e = entry(lock, TO_CARD, 0, MIB);
	EQUAL(glk_queue_submit(queue, &e, 1, &f), -E2BIG);
	expect_reason(&f, GIGALOCK_REASON_TOO_MANY_SEGMENTS);
	EQUAL(f.limit, 16);
	e.length = 16 * 4096;
	submit(queue, &e, 1);
	reap(queue, &done, 1);
	EQUAL(done.bytes, 16 * 4096);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

static void refused_queues(void)
{
	static const struct glk_queue_options bad[] = {
		{ .size = sizeof(bad[0]), .entries = 8 },
		{ .size = sizeof(bad[0]), .entries = 17 },
		{ .size = sizeof(bad[0]), .entries = 0x80000000 },
		{ .size = sizeof(bad[0]), .flags = 0x80 },
		{ .size = 1 },
	};
	struct glk_card *card = open_card();
	struct glk_queue *queues[16];
	uint32_t channels = card_info(card).channels, count = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EQUAL(glk_queue_new(card, &bad[i], &queues[0]), -EINVAL);
		CHECK(!queues[0]);
	}
	/* All but one, each its own. */
	for (; count < channels - 1; count++) {
		queues[count] = new_queue(card, 16, 0);
		for (uint32_t i = 0; i < count; i++)
			CHECK(glk_queue_channel(queues[i]) !=
			      glk_queue_channel(queues[count]));
	}
	EQUAL(glk_queue_new(card, NULL, &queues[count]), -EBUSY);
	EQUAL(glk_queue_new(open_card(), NULL, &queues[count]), -EBUSY);
	round_trip(lock_memory(card, SG, MIB, BOTH, NULL), 0, MIB, 0);
	while (count > 0)
		glk_queue_free(queues[--count]);
	glk_queue_free(new_queue(card, 0, 0));
	glk_queue_free(NULL);
}

static void ring_is_for_reading(void)
{
	struct gigalock_queue_create call = { .size = sizeof(call), .entries = 16 };
	int fd = glk_card_fd(open_card());
	void *ring;

	EQUAL(ioctl(fd, GIGALOCK_IOC_QUEUE_CREATE, &call), 0);
	EQUAL(call.entries, 16);
	CHECK(call.ring_bytes >= 16 * sizeof(struct gigalock_completion));
	CHECK(call.mmap_offset && call.mmap_offset < (uint64_t)1 << 44);
	CHECK(mmap(NULL, call.ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   (off_t)call.mmap_offset) == MAP_FAILED);
	CHECK(mmap(NULL, call.ring_bytes, PROT_READ, MAP_PRIVATE, fd,
		   (off_t)call.mmap_offset) == MAP_FAILED);
	ring = mmap(NULL, call.ring_bytes, PROT_READ, MAP_SHARED, fd,
		    (off_t)call.mmap_offset);
	CHECK(ring != MAP_FAILED);
	EQUAL(mprotect(ring, call.ring_bytes, PROT_READ | PROT_WRITE), -1);
	for (uint64_t i = 0; i < call.ring_bytes; i++)
		EQUAL(((volatile unsigned char *)ring)[i], 0);
}

/* ---- waiting ------------------------------------------------------------------ */

static void time_limit_of_a_wait(uint32_t flags)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, 16 * MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, ANY_PIECES, flags);
	struct gigalock_queue_entry e = entry(lock, TO_CARD, 0, 16 * MIB);
	struct gigalock_completion done;

	EQUAL(glk_queue_wait(queue, 0), -ETIMEDOUT);
	hold_card(HOLD_AT);
	submit(queue, &e, 1);
	EQUAL(glk_queue_wait(queue, 50), -ETIMEDOUT);
	EQUAL(glk_queue_reap(queue, &done, 1), 0);
	let_card_go();
	EQUAL(glk_queue_wait(queue, 30000), 0);
	EQUAL(glk_queue_wait(queue, 0), 0);	/* as long as it is not reaped */
	EQUAL(glk_queue_reap(queue, &done, 1), 1);
	EQUAL(done.bytes, 16 * MIB);
	EQUAL(glk_queue_wait(queue, 0), -ETIMEDOUT);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

static void wait_without_interrupts(void)
{
	time_limit_of_a_wait(0);
}

static void wait_with_interrupts(void)
{
	time_limit_of_a_wait(GIGALOCK_QUEUE_IRQ);
}

static void told_by_an_eventfd(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, 16, GIGALOCK_QUEUE_IRQ);
	int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct pollfd fd = { .fd = bell, .events = POLLIN };
	struct gigalock_queue_entry e = entry(lock, TO_CARD, 0, 4096);
	struct gigalock_completion done;
	uint64_t count;

	EQUAL(glk_card_set_eventfd(card, bell), 0);
	EQUAL(poll(&fd, 1, 0), 0);
	for (int i = 0; i < 3; i++) {
		submit(queue, &e, 1);
		EQUAL(poll(&fd, 1, 30000), 1);
		EQUAL(read(bell, &count, sizeof(count)), sizeof(count));
		CHECK(count >= 1);
		reap(queue, &done, 1);
	}
	EQUAL(glk_card_set_eventfd(card, -1), 0);
	submit(queue, &e, 1);
	reap(queue, &done, 1);
	EQUAL(poll(&fd, 1, 100), 0);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- two threads ---------------------------------------------------------------- */

#define MANY 20000

static void *submit_many(void *arg)
{
	void **both = arg;
	struct glk_queue *queue = both[0];
	struct glk_lock *lock = both[1];

	for (uint32_t n = 0; n < MANY;) {
		struct gigalock_queue_entry e[8];
		uint32_t count = MANY - n < 8 ? MANY - n : 8;
		int taken;

		for (uint32_t i = 0; i < count; i++) {
			e[i] = entry(lock, TO_CARD, (n + i) % 1000, 1 + (n + i) % 777);
			e[i].cookie = n + i;
		}
		taken = glk_queue_submit(queue, e, count, NULL);
		if (taken == -EAGAIN)
			sched_yield();
		else if (taken < 0)
			return (void *)(intptr_t)taken;
		else
			n += (uint32_t)taken;
	}
	return NULL;
}

static void one_submits_and_one_reaps(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, 16, 0);
	void *both[] = { queue, lock };
	pthread_t thread;
	void *said;

	EQUAL(pthread_create(&thread, NULL, submit_many, both), 0);
	for (uint32_t n = 0; n < MANY;) {
		struct gigalock_completion done[5];
		unsigned int got = glk_queue_reap(queue, done, 5);

		if (!got)
			sched_yield();
		for (unsigned int i = 0; i < got; i++, n++) {
			EQUAL(done[i].cookie, n);
			EQUAL(done[i].status, 0);
			EQUAL(done[i].bytes, 1 + n % 777);
		}
	}
	EQUAL(pthread_join(thread, &said), 0);
	CHECK(!said);
	EQUAL(glk_queue_pending(queue), 0);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- ends ----------------------------------------------------------------------- */

static void lock_in_flight_is_busy(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, 16 * MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, ANY_PIECES, 0);
	struct gigalock_queue_entry e = entry(lock, TO_CARD, 0, 16 * MIB);
	struct gigalock_completion done;

	hold_card(HOLD_AT);
	submit(queue, &e, 1);
	EQUAL(glk_lock_free(lock), -EBUSY);
	EQUAL(card_info(card).locks, 1);
	let_card_go();
	reap(queue, &done, 1);
	EQUAL(done.bytes, 16 * MIB);
	EQUAL(glk_lock_free(lock), 0);
	glk_queue_free(queue);
}

static void freed_in_flight(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, 16 * MIB, BOTH, NULL);
	struct glk_queue *queue = new_queue(card, ANY_PIECES, 0);
	struct gigalock_queue_entry e[3];

	for (int i = 0; i < 3; i++)
		e[i] = entry(lock, TO_CARD, 0, 16 * MIB);
	hold_card(HOLD_AT);
	submit(queue, e, 3);
	glk_queue_free(queue);		/* while the card holds */
	EQUAL(glk_lock_free(lock), 0);
	EQUAL(card_info(card).locks, 0);
	let_card_go();
	queue = new_queue(card, 16, 0);
	glk_queue_free(queue);
	round_trip(lock_memory(card, SG, MIB, BOTH, NULL), 0, MIB, 0);
}

static void killed_with_a_queue(void)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	struct glk_card *watch = open_card();
	int ready[2], status;
	char byte;
	pid_t pid;

	EQUAL(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct glk_card *card = open_card();
		struct glk_lock *lock = lock_memory(card, SG, 16 * MIB, BOTH, NULL);
		struct glk_queue *queue = new_queue(card, ANY_PIECES, 0);
		struct gigalock_queue_entry e = entry(lock, TO_CARD, 0, 16 * MIB);

		hold_card(HOLD_AT);
		submit(queue, &e, 1);
		EQUAL(write(ready[1], "x", 1), 1);
		pause();
	}
	close(ready[1]);
	/* The end of the pipe: it failed, or there is no knob. */
	if (read(ready[0], &byte, 1) != 1) {
		EQUAL(waitpid(pid, &status, 0), pid);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	EQUAL(card_info(watch).locks, 1);
	kill(pid, SIGKILL);
	EQUAL(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < 250 && card_info(watch).locks; i++)
		nanosleep(&tick, NULL);
	EQUAL(card_info(watch).locks, 0);
	let_card_go();
	glk_queue_free(new_queue(watch, 16, 0));
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(polled_there_and_back),
		TEST(with_interrupts_there_and_back),
		TEST(in_order_around_the_ring),
		TEST(other_operations),
		TEST(only_so_many_at_a_time),
		TEST(refused_entries),
		TEST(more_pieces_than_places),
		TEST(refused_queues),
		TEST(ring_is_for_reading),
		TEST(wait_without_interrupts),
		TEST(wait_with_interrupts),
		TEST(told_by_an_eventfd),
		TEST(one_submits_and_one_reaps),
		TEST(lock_in_flight_is_busy),
		TEST(freed_in_flight),
		TEST(killed_with_a_queue),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
