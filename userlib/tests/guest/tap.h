/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests that run inside a guest with the card. No framework can be had there,
 * so here is the little that is needed: each test is a process of its own with
 * a time limit, so that one that hangs or crashes is a failed test and nothing
 * more. The output is TAP; the exit code is 1 when a test failed.
 *
 *   prog            all tests
 *   prog NAME...    those
 *   prog --list     their names
 */
#ifndef TAP_H
#define TAP_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gigalock.h>

struct tap_test {
	const char *name;
	void (*run)(void);
};

#define TEST(function) { #function, function }

int tap_main(int argc, char **argv, const struct tap_test *tests, size_t count);

/* End the test: failed, or skipped for a reason. */
_Noreturn void tap_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void tap_skip(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

#define FAIL(...) tap_fail(__FILE__, __LINE__, __VA_ARGS__)

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			FAIL("not so: %s", #condition); \
	} while (0)

#define EQUAL(got, want) \
	do { \
		long long got_ = (long long)(got), want_ = (long long)(want); \
		if (got_ != want_) \
			FAIL("%s is %lld (0x%llx), not %lld (0x%llx)", #got, \
			     got_, got_, want_, want_); \
	} while (0)

#define MIB ((uint64_t)1 << 20)

/* ---- the card's pause knob ------------------------------------------------- */

/*
 * Whoever runs the program from outside the guest turns the knob for it: the
 * program writes the number of payload bytes after which the card shall hold
 * ("off": never) as a line to the pipe $GIGALOCK_KNOB.ask, and goes on when
 * there is a line on $GIGALOCK_KNOB.answer. Without that variable the tests
 * that need it are skipped.
 */
void hold_card(uint64_t bytes);
void let_card_go(void);

/* A transfer of the whole lock that the card holds after @bytes: it runs, and
 * 0 < bytes moved < total is read before this returns. */
struct glk_xfer *half_way(struct glk_lock *lock, uint64_t bytes);

/* ---- what most tests need ------------------------------------------------- */

struct glk_card *open_card(void);
struct gigalock_info card_info(struct glk_card *card);

/* The strategies that need nothing but free memory, and that this driver has. */
bool easy_strategy(struct glk_card *card, uint32_t strategy);

/* Lock or fail the test, with the reason. */
struct glk_lock *lock_memory(struct glk_card *card, uint32_t strategy,
			     uint64_t bytes, uint32_t direction, void *memory);

/* A lock that must be refused with this errno and reason; gives the failure. */
struct gigalock_failure refused(struct glk_card *card, uint32_t strategy,
				uint64_t bytes, uint32_t direction, void *memory,
				int err, uint32_t reason);

/* Fill the lock, move [offset, offset + length) to the card and back, and look
 * at every byte of the lock and at the device's checksums. */
void round_trip(struct glk_lock *lock, uint64_t offset, uint64_t length,
		uint64_t card_offset);

/* Memory whose pages lie scattered in RAM. */
void *scattered(uint64_t bytes);

void expect_reason(const struct gigalock_failure *failure, uint32_t reason);

#endif
