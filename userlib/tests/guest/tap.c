/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define TIME_LIMIT 60	/* seconds a test */
#define EXIT_SKIP 77

void tap_fail(const char *file, int line, const char *format, ...)
{
	const char *base = strrchr(file, '/');
	va_list args;

	printf("# %s:%d: ", base ? base + 1 : file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

void tap_skip(const char *format, ...)
{
	va_list args;

	printf("# skipped: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_SKIP);
}

static bool turn_knob(const char *to)
{
	const char *knob = getenv("GIGALOCK_KNOB");
	char path[200], line[40] = "";
	ssize_t got;
	int fd;

	if (!knob)
		return false;
	snprintf(path, sizeof(path), "%s.ask", knob);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	snprintf(line, sizeof(line), "%s\n", to);
	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		FAIL("%s: %s", path, strerror(errno));
	close(fd);
	snprintf(path, sizeof(path), "%s.answer", knob);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, line, sizeof(line));
	if (got <= 0)
		FAIL("%s: no answer", path);
	close(fd);
	return true;
}

void hold_card(uint64_t bytes)
{
	char line[32];

	snprintf(line, sizeof(line), "%" PRIu64, bytes);
	if (!turn_knob(line))
		tap_skip("nobody holds the card");
}

void let_card_go(void)
{
	CHECK(turn_knob("off"));
}

static bool run_one(const struct tap_test *test, unsigned int number)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(1);
	}
	if (pid == 0) {
		alarm(TIME_LIMIT);
		test->run();
		fflush(stdout);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		printf("# %s: ended by signal %d (%s)\n", test->name,
		       WTERMSIG(status), WTERMSIG(status) == SIGALRM ?
		       "time limit" : strsignal(WTERMSIG(status)));
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
		printf("ok %u - %s # SKIP\n", number, test->name);
		return true;
	}
	status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	/* A test that failed may have left the card held. */
	if (status)
		turn_knob("off");
	printf("%s %u - %s\n", status ? "not ok" : "ok", number, test->name);
	return status == 0;
}

static bool wanted(const char *name, int argc, char **argv)
{
	if (argc < 2)
		return true;
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

int tap_main(int argc, char **argv, const struct tap_test *tests, size_t count)
{
	unsigned int number = 0, failed = 0;

	for (size_t i = 0; i < count; i++) {
		if (argc > 1 && !strcmp(argv[1], "--list")) {
			puts(tests[i].name);
			continue;
		}
		if (!wanted(tests[i].name, argc, argv))
			continue;
		number++;
		if (!run_one(&tests[i], number))
			failed++;
	}
	if (argc > 1 && !strcmp(argv[1], "--list"))
		return 0;
	printf("1..%u\n", number);
	if (failed)
		printf("# %u of %u failed\n", failed, number);
	/* A name that doesn't exist must not look like success. */
	return failed || !number;
}

/* ---- what most tests need ------------------------------------------------- */

static _Noreturn void fail_because(const char *what,
				   const struct gigalock_failure *failure)
{
	char text[GLK_TEXT_MAX];

	glk_failure_message(failure, text, sizeof(text));
	FAIL("%s: %s", what, text);
}

struct glk_card *open_card(void)
{
	struct gigalock_failure failure;
	struct glk_card *card;

	if (glk_card_open(getenv("GIGALOCK_DEVICE"), &card, &failure))
		fail_because("open", &failure);
	return card;
}

struct gigalock_info card_info(struct glk_card *card)
{
	struct gigalock_info info = { .size = sizeof(info) };

	EQUAL(glk_card_info(card, &info), 0);
	return info;
}

void expect_reason(const struct gigalock_failure *failure, uint32_t reason)
{
	if (failure->reason != reason)
		FAIL("the reason is %s at %s (errno %u), not %s",
		     glk_reason_name(failure->reason),
		     glk_stage_name(failure->stage), failure->err,
		     glk_reason_name(reason));
}

bool easy_strategy(struct glk_card *card, uint32_t strategy)
{
	const uint32_t easy = 1u << GIGALOCK_STRATEGY_COHERENT |
			      1u << GIGALOCK_STRATEGY_CONTIG_RANGE |
			      1u << GIGALOCK_STRATEGY_SG |
			      1u << GIGALOCK_STRATEGY_CHUNKED;

	return card_info(card).strategies & easy & 1u << strategy;
}

struct glk_lock *lock_memory(struct glk_card *card, uint32_t strategy,
			     uint64_t bytes, uint32_t direction, void *memory)
{
	const struct glk_lock_options options = {
		.size = sizeof(options), .strategy = strategy, .bytes = bytes,
		.direction = direction, .memory = memory,
	};
	struct gigalock_failure failure;
	struct glk_lock *lock;

	if (glk_lock_new(card, &options, &lock, &failure))
		fail_because("lock", &failure);
	return lock;
}

struct gigalock_failure refused(struct glk_card *card, uint32_t strategy,
				uint64_t bytes, uint32_t direction, void *memory,
				int err, uint32_t reason)
{
	const struct glk_lock_options options = {
		.size = sizeof(options), .strategy = strategy, .bytes = bytes,
		.direction = direction, .memory = memory,
	};
	struct gigalock_info before = card_info(card);
	struct gigalock_failure failure;
	struct glk_lock *lock;

	EQUAL(glk_lock_new(card, &options, &lock, &failure), -err);
	CHECK(!lock);
	expect_reason(&failure, reason);
	EQUAL(failure.err, err);
	/* Nothing stays behind. */
	EQUAL(card_info(card).locks, before.locks);
	EQUAL(card_info(card).locked_bytes, before.locked_bytes);
	return failure;
}

void round_trip(struct glk_lock *lock, uint64_t offset, uint64_t length,
		uint64_t card_offset)
{
	static _Thread_local uint64_t seed = 1000;
	struct glk_xfer_options options = {
		.size = sizeof(options), .direction = GIGALOCK_DIR_TO_CARD,
		.flags = GIGALOCK_XFER_CRC, .offset = offset, .length = length,
		.card_offset = card_offset,
	};
	struct glk_xfer_result result = { .size = sizeof(result) };
	struct glk_difference difference;
	struct gigalock_failure failure;
	unsigned char *data = glk_lock_data(lock);
	uint32_t crc;

	seed++;
	crc = glk_pattern_crc32c(0, seed, offset, length);
	glk_pattern_fill(data, glk_lock_bytes(lock), seed, 0);
	if (glk_transfer(lock, &options, 30000, &result, &failure))
		fail_because("to card", &failure);
	EQUAL(result.bytes, length);
	EQUAL(result.crc32c, crc);
	glk_pattern_fill_inverse(data + offset, length, seed, offset);
	options.direction = GIGALOCK_DIR_FROM_CARD;
	result.crc32c = 0;
	if (glk_transfer(lock, &options, 30000, &result, &failure))
		fail_because("from card", &failure);
	EQUAL(result.bytes, length);
	EQUAL(result.crc32c, crc);
	if (!glk_pattern_verify(data, glk_lock_bytes(lock), seed, 0, &difference))
		FAIL("moved %" PRIu64 " bytes at %" PRIu64 ", card offset %" PRIu64
		     ": byte %" PRIu64 " is 0x%02x, not 0x%02x", length, offset,
		     card_offset, difference.offset, difference.found,
		     difference.expected);
}

struct glk_xfer *half_way(struct glk_lock *lock, uint64_t bytes)
{
	const struct glk_xfer_options options = {
		.size = sizeof(options), .direction = GIGALOCK_DIR_TO_CARD,
		.length = glk_lock_bytes(lock),
	};
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	struct gigalock_failure failure;
	uint64_t moved, total;
	struct glk_xfer *xfer;

	CHECK(bytes > 0 && bytes < options.length);
	hold_card(bytes);
	if (glk_xfer_submit(lock, &options, &xfer, &failure))
		fail_because("submit", &failure);
	for (int i = 0; i < 500; i++) {
		int state = glk_xfer_progress(xfer, &moved, &total);

		CHECK(state == GIGALOCK_XFER_QUEUED || state == GIGALOCK_XFER_RUNNING);
		CHECK(moved <= bytes);
		EQUAL(total, options.length);
		/* A look at the same place after a while: it stands. */
		if (state == GIGALOCK_XFER_RUNNING && moved == bytes) {
			nanosleep(&tick, NULL);
			EQUAL(glk_xfer_progress(xfer, &moved, NULL),
			      GIGALOCK_XFER_RUNNING);
			EQUAL(moved, bytes);
			return xfer;
		}
		nanosleep(&tick, NULL);
	}
	FAIL("the card holds at %" PRIu64 ", not at %" PRIu64, moved, bytes);
}

/*
 * Two mappings are touched page by page, in turn and in a jumping order: so
 * pages that the allocator gives one after the other rarely are neighbours.
 */
void *scattered(uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t pages = (bytes + page - 1) / page;
	volatile char *mem[2];
	uint64_t at = 0;

	for (int i = 0; i < 2; i++) {
		mem[i] = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK((void *)(uintptr_t)mem[i] != MAP_FAILED);
		madvise((void *)(uintptr_t)mem[i], pages * page, MADV_NOHUGEPAGE);
	}
	for (uint64_t n = 0; n < pages; n++) {
		mem[0][at * page] = 1;
		mem[1][at * page] = 1;
		at = (at + 7919) % pages;	/* a prime: visits every page */
	}
	if (pages % 7919 == 0)
		FAIL("choose another size");
	return (void *)(uintptr_t)mem[0];
}
