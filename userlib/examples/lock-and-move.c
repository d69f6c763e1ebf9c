/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lock a buffer, move it to the card and back, and say why if it fails.
 *
 *   lock-and-move [SIZE] [DEVICE]        lock-and-move 1G /dev/gigalock0
 *
 * Takes half of SIZE at least, if all of it can't be had.
 * Build: cc lock-and-move.c $(pkg-config --cflags --libs libgigalock)
 */
#include <gigalock.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, const struct gigalock_failure *failure)
{
	char text[GLK_TEXT_MAX];

	glk_failure_message(failure, text, sizeof(text));
	fprintf(stderr, "%s: %s\n", what, text);
	return 1;
}

/* Every attempt is told, so the user sees what auto tries. */
static void tried(const struct glk_try *attempt, void *arg)
{
	(void)arg;
	printf("%-12s %12" PRIu64 " bytes: %s\n",
	       glk_strategy_name(attempt->strategy), attempt->bytes,
	       attempt->ok ? "locked" : glk_reason_name(attempt->failure.reason));
}

static int move(struct glk_lock *lock, uint64_t window)
{
	const uint64_t seed = 2024;
	unsigned char *data = glk_lock_data(lock);
	uint64_t bytes = glk_lock_bytes(lock);
	struct glk_difference difference;
	struct gigalock_failure failure;

	glk_pattern_fill(data, bytes, seed, 0);
	for (uint64_t at = 0; at < bytes; at += window) {
		struct glk_xfer_options options = {
			.size = sizeof(options),
			.direction = GIGALOCK_DIR_TO_CARD,
			.offset = at,
			.length = bytes - at < window ? bytes - at : window,
		};

		if (glk_transfer(lock, &options, 10000, NULL, &failure))
			return fail("to the card", &failure);
		memset(data + at, 0, options.length);
		options.direction = GIGALOCK_DIR_FROM_CARD;
		if (glk_transfer(lock, &options, 10000, NULL, &failure))
			return fail("from the card", &failure);
	}
	if (!glk_pattern_verify(data, bytes, seed, 0, &difference)) {
		fprintf(stderr, "byte %" PRIu64 " came back wrong\n",
			difference.offset);
		return 1;
	}
	printf("%" PRIu64 " bytes went to the card and came back\n", bytes);
	return 0;
}

int main(int argc, char **argv)
{
	struct glk_lock_options options = {
		.size = sizeof(options),
		.strategy = GLK_STRATEGY_AUTO,
		.tried = tried,
	};
	struct gigalock_info info = { .size = sizeof(info) };
	struct gigalock_failure failure;
	struct glk_card *card;
	struct glk_lock *lock;
	char why[200];
	int ret;

	if (glk_size_parse(argc > 1 ? argv[1] : "64M", &options.bytes, why,
			   sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 2;
	}
	options.min_bytes = options.bytes / 2;
	if (glk_card_open(argc > 2 ? argv[2] : NULL, &card, &failure))
		return fail("open", &failure);
	if (glk_card_info(card, &info)) {
		perror("info");
		return 1;
	}
	if (glk_lock_new(card, &options, &lock, &failure))
		return fail("lock", &failure);
	ret = move(lock, info.card_bytes);
	glk_lock_free(lock);
	glk_card_close(card);
	return ret;
}
