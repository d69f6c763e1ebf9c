/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Move a buffer to the card and back in blocks of 4 KiB, through a queue: many
 * transfers start with one call, and what became of them is read from memory.
 *
 *   queue [SIZE] [DEVICE]                queue 16M /dev/gigalock0
 *
 * Build: cc queue.c $(pkg-config --cflags --libs libgigalock)
 */
#include <gigalock.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 4096u
#define BATCH 64u

static int fail(const char *what, int ret, const struct gigalock_failure *failure)
{
	char text[GLK_TEXT_MAX];

	if (failure && failure->reason != GIGALOCK_REASON_NONE) {
		glk_failure_message(failure, text, sizeof(text));
		fprintf(stderr, "%s: %s\n", what, text);
	} else {
		fprintf(stderr, "%s: %s\n", what, strerror(-ret));
	}
	return 1;
}

/* All blocks in one direction. The cookie is the number of the block. */
static int move(struct glk_queue *queue, struct glk_lock *lock, uint32_t direction)
{
	const uint32_t blocks = (uint32_t)(glk_lock_bytes(lock) / BLOCK);
	uint32_t submitted = 0, done = 0;

	while (done < blocks) {
		struct gigalock_queue_entry entries[BATCH];
		struct gigalock_completion completions[BATCH];
		struct gigalock_failure failure;
		unsigned int count = 0, got;
		int ret;

		for (; count < BATCH && submitted + count < blocks; count++)
			entries[count] = (struct gigalock_queue_entry) {
				.lock = glk_lock_id(lock),
				.cookie = submitted + count,
				.direction = direction,
				.offset = (uint64_t)(submitted + count) * BLOCK,
				.card_offset = (uint64_t)(submitted + count) * BLOCK,
				.length = BLOCK,
			};
		if (count) {
			ret = glk_queue_submit(queue, entries, count, &failure);
			if (ret > 0)
				submitted += (uint32_t)ret;
			else if (ret != -EAGAIN)	/* no room: reap first */
				return fail("submit", ret, &failure);
		}

		got = glk_queue_reap(queue, completions, BATCH);
		if (!got) {
			ret = glk_queue_wait(queue, 10000);
			if (ret && ret != -EINTR)
				return fail("wait", ret, NULL);
		}
		for (unsigned int i = 0; i < got; i++, done++) {
			if (!completions[i].status)
				continue;
			fprintf(stderr, "block %" PRIu32 ": the card says 0x%02" PRIx32 "\n",
				completions[i].cookie, completions[i].status);
			return 1;
		}
	}
	return 0;
}

static int round_trip(struct glk_queue *queue, struct glk_lock *lock)
{
	const uint64_t seed = 2026;
	void *data = glk_lock_data(lock);
	size_t bytes = (size_t)glk_lock_bytes(lock);
	struct glk_difference difference;

	/* A queue does not sync: say whose turn the memory is. */
	glk_pattern_fill(data, bytes, seed, 0);
	glk_lock_sync_for_device(lock, 0, 0);
	if (move(queue, lock, GIGALOCK_DIR_TO_CARD))
		return 1;
	glk_lock_sync_for_cpu(lock, 0, 0);
	memset(data, 0, bytes);
	glk_lock_sync_for_device(lock, 0, 0);
	if (move(queue, lock, GIGALOCK_DIR_FROM_CARD))
		return 1;
	glk_lock_sync_for_cpu(lock, 0, 0);
	if (!glk_pattern_verify(data, bytes, seed, 0, &difference)) {
		fprintf(stderr, "byte %" PRIu64 " came back wrong\n",
			difference.offset);
		return 1;
	}
	printf("%zu blocks there and back through channel %u\n", bytes / BLOCK,
	       glk_queue_channel(queue));
	return 0;
}

int main(int argc, char **argv)
{
	struct glk_lock_options options = {
		.size = sizeof(options),
		.strategy = GLK_STRATEGY_AUTO,
	};
	struct gigalock_failure failure;
	struct glk_card *card;
	struct glk_lock *lock;
	struct glk_queue *queue;
	char why[200];
	int ret;

	if (glk_size_parse(argc > 1 ? argv[1] : "16M", &options.bytes, why,
			   sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 2;
	}
	options.bytes = (options.bytes + BLOCK - 1) / BLOCK * BLOCK;
	ret = glk_card_open(argc > 2 ? argv[2] : NULL, &card, &failure);
	if (ret)
		return fail("open", ret, &failure);
	ret = glk_lock_new(card, &options, &lock, &failure);
	if (ret) {
		glk_card_close(card);
		return fail("lock", ret, &failure);
	}
	ret = glk_queue_new(card, NULL, &queue);
	if (ret) {
		ret = fail("queue", ret, NULL);
	} else {
		ret = round_trip(queue, lock);
		glk_queue_free(queue);
	}
	glk_lock_free(lock);
	glk_card_close(card);
	return ret;
}
