/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes to the card comes back: odd sizes, odd offsets, many pieces, all
 * kinds of memory. In guests with the card.
 */
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

static const uint64_t odd_sizes[] = {
	1, 2, 3, 5, 7, 8, 9, 63, 64, 65, 511, 4095, 4096, 4097, 8191, 12289,
	65535, 65537, 1000003, 3 * 1024 * 1024 + 1,
};

static const uint64_t odd_offsets[] = { 0, 1, 3, 8, 4095, 4096, 4097, 70001 };

#define ITEMS(array) (sizeof(array) / sizeof((array)[0]))

static void offsets_and_sizes(uint32_t strategy, void *memory)
{
	struct glk_card *card = open_card();
	uint64_t card_bytes = card_info(card).card_bytes;
	struct glk_lock *lock = lock_memory(card, strategy, 4 * MIB,
					    GIGALOCK_DIR_BOTH, memory);

	for (size_t i = 0; i < ITEMS(odd_sizes); i++)
		for (size_t j = 0; j < ITEMS(odd_offsets); j += 1 + i % 3)
			round_trip(lock, odd_offsets[j], odd_sizes[i],
				   i % 2 ? odd_offsets[ITEMS(odd_offsets) - 1 - j]
					 : card_bytes - odd_sizes[i]);
	/* to the very end of the lock */
	round_trip(lock, 4 * MIB - 1, 1, card_bytes - 1);
	round_trip(lock, 4097, 4 * MIB - 4097, 13);
	EQUAL(glk_lock_free(lock), 0);
	glk_card_close(card);
}

static void coherent_offsets_and_sizes(void)
{
	offsets_and_sizes(GIGALOCK_STRATEGY_COHERENT, NULL);
}

static void contig_range_offsets_and_sizes(void)
{
	offsets_and_sizes(GIGALOCK_STRATEGY_CONTIG_RANGE, NULL);
}

static void sg_offsets_and_sizes(void)
{
	offsets_and_sizes(GIGALOCK_STRATEGY_SG, NULL);
}

static void sg_scattered_offsets_and_sizes(void)
{
	offsets_and_sizes(GIGALOCK_STRATEGY_SG, scattered(4 * MIB));
}

static void locks_of_odd_sizes(void)
{
	struct glk_card *card = open_card();

	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++)
		for (size_t i = 0; easy_strategy(card, s) && i < ITEMS(odd_sizes); i += 2) {
			struct glk_lock *lock = lock_memory(card, s, odd_sizes[i],
							    GIGALOCK_DIR_BOTH, NULL);
			uint64_t whole = (odd_sizes[i] + 4095) / 4096 * 4096;

			EQUAL(glk_lock_bytes(lock), s == GIGALOCK_STRATEGY_SG ?
			      odd_sizes[i] : whole);
			round_trip(lock, 0, odd_sizes[i], 0);
			EQUAL(glk_lock_free(lock), 0);
		}
	glk_card_close(card);
}

static void many_segments(void)
{
	const uint64_t bytes = 24 * MIB;
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_SG, bytes,
					    GIGALOCK_DIR_BOTH, scattered(bytes));

	if (!card_info(card).iommu)
		CHECK(glk_lock_segments(lock) > bytes / 4096 / 2);
	CHECK(glk_lock_longest_segment(lock) >= 4096);
	round_trip(lock, 0, bytes, 0);
	round_trip(lock, 12345, bytes - 54321, 4321);
	EQUAL(glk_lock_free(lock), 0);
	glk_card_close(card);
}

static void unaligned_user_memory(void)
{
	static const uint64_t starts[] = { 1, 7, 13, 4095, 4097 };
	struct glk_card *card = open_card();
	unsigned char *memory = malloc(MIB + 8192);

	CHECK(memory);
	for (size_t i = 0; i < ITEMS(starts); i++) {
		unsigned char *at = memory + starts[i];
		struct glk_lock *lock;

		memset(memory, 0x5a, MIB + 8192);
		lock = lock_memory(card, GIGALOCK_STRATEGY_SG, MIB + 17,
				   GIGALOCK_DIR_BOTH, at);
		CHECK(glk_lock_data(lock) == at);
		round_trip(lock, 0, MIB + 17, 0);
		round_trip(lock, 3, 99, 5);
		/* the bytes around it belong to someone else */
		EQUAL(at[-1], 0x5a);
		EQUAL(at[MIB + 17], 0x5a);
		EQUAL(glk_lock_free(lock), 0);
	}
	glk_card_close(card);
}

static void memory_file(int flags, bool seen_in_file)
{
	struct glk_card *card = open_card();
	unsigned char byte[16], *data;
	struct glk_lock *lock;
	int fd = memfd_create("test", 0);

	CHECK(fd >= 0);
	EQUAL(ftruncate(fd, 2 * MIB), 0);
	data = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, flags, fd, 0);
	CHECK(data != MAP_FAILED);
	lock = lock_memory(card, GIGALOCK_STRATEGY_SG, 2 * MIB,
			   GIGALOCK_DIR_BOTH, data);
	round_trip(lock, 0, 2 * MIB, 0);
	round_trip(lock, 777, 100001, 3);
	EQUAL(pread(fd, byte, sizeof(byte), 5000), sizeof(byte));
	EQUAL(!memcmp(byte, data + 5000, sizeof(byte)), seen_in_file);
	EQUAL(glk_lock_free(lock), 0);
	glk_card_close(card);
}

static void shared_memory_file(void)
{
	memory_file(MAP_SHARED, true);
}

static void private_memory_file(void)
{
	memory_file(MAP_PRIVATE, false);
}

static void mapped_file(void)
{
	struct glk_card *card = open_card();
	char path[] = "/tmp/gl-test-XXXXXX";
	struct glk_lock *lock;
	int fd = mkstemp(path);
	void *data;

	CHECK(fd >= 0);
	unlink(path);
	EQUAL(ftruncate(fd, MIB), 0);
	data = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(data != MAP_FAILED);
	lock = lock_memory(card, GIGALOCK_STRATEGY_SG, MIB, GIGALOCK_DIR_BOTH, data);
	round_trip(lock, 0, MIB, 0);
	EQUAL(glk_lock_free(lock), 0);
	glk_card_close(card);
}

static void new_memory_is_zero(void)
{
	struct glk_card *card = open_card();

	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++)
		for (int round = 0; easy_strategy(card, s) && round < 3; round++) {
			struct glk_lock *lock = lock_memory(card, s, 2 * MIB,
							    GIGALOCK_DIR_BOTH, NULL);
			unsigned char *data = glk_lock_data(lock);

			for (uint64_t i = 0; i < 2 * MIB; i++)
				if (data[i])
					FAIL("%s: byte %" PRIu64 " is 0x%02x",
					     glk_strategy_name(s), i, data[i]);
			memset(data, 0xff, 2 * MIB);
			EQUAL(glk_lock_free(lock), 0);
		}
	glk_card_close(card);
}

/* Larger than the card: in windows, as anyone must. */
static void larger_than_the_card(void)
{
	struct glk_card *card = open_card();
	uint64_t window = card_info(card).card_bytes;
	uint64_t bytes = window + window / 2 + 12345;
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_SG, bytes,
					    GIGALOCK_DIR_BOTH, NULL);

	round_trip(lock, 0, window, 0);
	round_trip(lock, window, bytes - window, 0);
	EQUAL(glk_lock_free(lock), 0);
	glk_card_close(card);
}

/* ---- several at once ------------------------------------------------------ */

static void worker(struct glk_card *card, unsigned int number)
{
	uint64_t share = card_info(card).card_bytes / 4;
	struct glk_lock *lock = lock_memory(card, number % 3, 3 * MIB,
					    GIGALOCK_DIR_BOTH, NULL);

	for (unsigned int i = 0; i < 20; i++)
		round_trip(lock, i * 101, MIB + i * 7001, number * share + i);
	EQUAL(glk_lock_free(lock), 0);
}

static void two_processes(void)
{
	pid_t pids[3];

	for (unsigned int i = 0; i < ITEMS(pids); i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct glk_card *card = open_card();

			worker(card, i);
			glk_card_close(card);
			_exit(0);
		}
	}
	for (unsigned int i = 0; i < ITEMS(pids); i++) {
		int status;

		EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		EQUAL(status, 0);
	}
}

struct thread {
	pthread_t id;
	struct glk_card *card;
	unsigned int number;
};

static void *thread_main(void *arg)
{
	struct thread *thread = arg;

	worker(thread->card, thread->number);
	return NULL;
}

/* One open card, its locks used by several threads. */
static void threads_of_one_card(void)
{
	struct glk_card *card = open_card();
	struct thread threads[3];

	for (unsigned int i = 0; i < ITEMS(threads); i++) {
		threads[i] = (struct thread){ .card = card, .number = i };
		EQUAL(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
	}
	for (unsigned int i = 0; i < ITEMS(threads); i++)
		EQUAL(pthread_join(threads[i].id, NULL), 0);
	EQUAL(card_info(card).locks, 0);
	glk_card_close(card);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(coherent_offsets_and_sizes),
		TEST(contig_range_offsets_and_sizes),
		TEST(sg_offsets_and_sizes),
		TEST(sg_scattered_offsets_and_sizes),
		TEST(locks_of_odd_sizes),
		TEST(many_segments),
		TEST(unaligned_user_memory),
		TEST(shared_memory_file),
		TEST(private_memory_file),
		TEST(mapped_file),
		TEST(new_memory_is_zero),
		TEST(larger_than_the_card),
		TEST(two_processes),
		TEST(threads_of_one_card),
	};

	return tap_main(argc, argv, tests, ITEMS(tests));
}
