// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A program that brings its own memory, as a customer's would. The gigalock tool
 * brings good memory only; this one brings any, and answers as the tool does
 * (gigalock --json xfer). Runs in guests only; scenarios name it.
 *
 *   gl-user [--io-uring] --json xfer --size N --seed N [--strategy sg]
 *           [--memory KIND] [--buffers N] [--no-crc]
 *   gl-user [--io-uring] --json lock --size N [--strategy sg] [--memory KIND]
 *           [--buffers N] [--direction D]
 *
 * KIND: anonymous; readonly, which may not be written; io, a raw mapping of page
 * frames (another lock's, as its driver maps it).
 * --io-uring: the memory is registered as fixed buffers of an io_uring as well,
 * in so many buffers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <gigalock.h>

#define MAX_BUFFERS 1024

struct request {
	uint64_t size, seed, buffers;
	const char *memory;
	const char *command;	/* "xfer", or "lock": it is not moved */
	uint32_t direction;
	bool io_uring;
};

static void text_out(const char *key, const char *text)
{
	printf(",\"%s\":\"", key);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static int usage(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static int usage(const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("{\"command\":\"xfer\",\"ok\":false");
	text_out("error", text);
	printf("}\n");
	return 2;
}

static int failed(const struct request *r, const struct gigalock_failure *f)
{
	char text[GLK_TEXT_MAX];

	printf("{\"command\":\"%s\",\"ok\":false,\"requested_bytes\":%" PRIu64
	       ",\"locked_bytes\":0,\"failure\":{\"reason\":\"%s\",\"code\":%u,\"stage\":\"%s\",\"errno\":%u",
	       r->command, r->size, glk_reason_name(f->reason), f->reason, glk_stage_name(f->stage), f->err);
	text_out("errno_name", strerrorname_np((int)f->err) ?: "none");
	printf(",\"limit\":%" PRIu64 ",\"request\":%" PRIu64 ",\"available\":%" PRIu64,
	       (uint64_t)f->limit, (uint64_t)f->request, (uint64_t)f->available);
	text_out("unit", glk_unit_name(f->unit));
	text_out("strategy", glk_strategy_name(f->strategy));
	text_out("op", f->op == GIGALOCK_OP_LOCK ? "lock" : "transfer");
	printf(",\"lock_size\":%" PRIu64, (uint64_t)f->lock_size);
	glk_failure_text(f, text, sizeof(text));
	text_out("text", text);
	glk_failure_remedy(f, text, sizeof(text));
	text_out("remedy", text);
	printf("}}\n");
	return 1;
}

/* Registers all of it; 0 or the errno. The ring lives as long as the process. */
static int register_buffers(char *memory, uint64_t size, uint64_t buffers)
{
	struct io_uring_params params = { 0 };
	static struct iovec parts[MAX_BUFFERS];
	uint64_t part = (size / buffers + 4095) / 4096 * 4096;
	unsigned int count = 0;
	int ring = (int)syscall(SYS_io_uring_setup, 8, &params);

	if (ring < 0)
		return errno;
	for (uint64_t at = 0; at < size; at += part) {
		parts[count].iov_base = memory + at;
		parts[count++].iov_len = size - at < part ? size - at : part;
	}
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, parts, count))
		return errno;
	fprintf(stderr, "gl-user: io_uring took %u buffers\n", count);
	return 0;
}

/* The memory of that kind; NULL and the failure. */
static void *memory_of(struct glk_card *card, const struct request *r,
		       struct gigalock_failure *failure)
{
	int prot = strcmp(r->memory, "readonly") ? PROT_READ | PROT_WRITE : PROT_READ;
	void *memory;

	if (!strcmp(r->memory, "io")) {
		const struct glk_lock_options options = {
			.size = sizeof(options),
			.bytes = r->size,
			.strategy = GIGALOCK_STRATEGY_CONTIG_RANGE,
		};
		struct glk_lock *lock;

		return glk_lock_new(card, &options, &lock, failure) ? NULL : glk_lock_data(lock);
	}
	memory = mmap(NULL, r->size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		failure->reason = GIGALOCK_REASON_ADDRESS_SPACE;
		failure->err = (uint32_t)errno;
		failure->op = GIGALOCK_OP_LOCK;
		return NULL;
	}
	return memory;
}

struct moved {
	uint32_t to, from;
	uint64_t windows, ns_to, ns_from;
};

static int move(struct glk_lock *lock, uint32_t direction, uint64_t at, uint64_t length,
		struct moved *moved, struct gigalock_failure *failure)
{
	const struct glk_xfer_options options = {
		.size = sizeof(options),
		.direction = direction,
		.flags = GIGALOCK_XFER_CRC,
		.offset = at,
		.length = length,
	};
	struct glk_xfer_result done = { .size = sizeof(done) };
	bool to = direction == GIGALOCK_DIR_TO_CARD;
	uint32_t *crc = to ? &moved->to : &moved->from;
	int ret = glk_transfer(lock, &options, 60000, &done, failure);

	if (ret)
		return ret;
	*crc = glk_crc32c_combine(*crc, done.crc32c, length);
	*(to ? &moved->ns_to : &moved->ns_from) += done.elapsed_ns;
	return 0;
}

static int move_all(struct glk_lock *lock, const struct request *r, uint64_t window,
		    struct moved *moved, struct gigalock_failure *failure)
{
	unsigned char *data = glk_lock_data(lock);

	glk_pattern_fill(data, r->size, r->seed, 0);
	for (uint64_t at = 0; at < r->size; at += window) {
		uint64_t length = r->size - at < window ? r->size - at : window;

		if (move(lock, GIGALOCK_DIR_TO_CARD, at, length, moved, failure))
			return -1;
		glk_pattern_fill_inverse(data + at, length, r->seed, at);
		if (move(lock, GIGALOCK_DIR_FROM_CARD, at, length, moved, failure))
			return -1;
		moved->windows++;
	}
	return 0;
}

static double rate(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (1 << 30) / ((double)ns / 1e9) : 0;
}

/* What was locked, as far as both commands say it. */
static void say_locked(const struct request *r, const struct glk_lock *lock, bool ok)
{
	printf("{\"command\":\"%s\",\"ok\":%s,\"requested_bytes\":%" PRIu64
	       ",\"locked_bytes\":%" PRIu64 ",\"strategy\":\"sg\",\"backing\":\"%s\",\"segments\":%u"
	       ",\"longest_segment\":%" PRIu64 ",\"lock_ms\":%.3f,\"failure\":null",
	       r->command, ok ? "true" : "false", r->size, glk_lock_bytes(lock),
	       glk_backing_name(glk_lock_backing(lock)), glk_lock_segments(lock),
	       glk_lock_longest_segment(lock), (double)glk_lock_ns(lock) / 1e6);
}

static int answer(const struct request *r)
{
	struct gigalock_failure failure = { .size = sizeof(failure) };
	struct gigalock_info info = { .size = sizeof(info) };
	struct glk_lock_options options = {
		.size = sizeof(options),
		.bytes = r->size,
		.strategy = GIGALOCK_STRATEGY_SG,
		.direction = r->direction,
	};
	struct glk_difference first = { 0 };
	struct moved moved = { 0 };
	struct glk_card *card;
	struct glk_lock *lock;
	bool same;

	if (glk_card_open(NULL, &card, &failure))
		return usage("there is no card");
	options.memory = memory_of(card, r, &failure);
	if (!options.memory)
		return failed(r, &failure);
	if (r->io_uring && register_buffers(options.memory, r->size, r->buffers)) {
		int errno_seen = errno;

		/* What it would have taken is found out apart. */
		if (!glk_io_uring_probe(r->size / r->buffers, &failure))
			return usage("io_uring refuses the memory (%s), not its length",
				     strerrorname_np(errno_seen));
		return failed(r, &failure);
	}
	if (glk_lock_new(card, &options, &lock, &failure))
		return failed(r, &failure);
	if (!strcmp(r->command, "lock")) {
		say_locked(r, lock, true);
		printf("}\n");
		return 0;
	}
	if (glk_card_info(card, &info))
		return usage("the card says nothing of itself");
	if (move_all(lock, r, info.card_bytes, &moved, &failure))
		return failed(r, &failure);
	same = glk_pattern_verify(glk_lock_data(lock), r->size, r->seed, 0, &first) &&
	       moved.to == moved.from;
	say_locked(r, lock, same);
	printf(",\"seed\":%" PRIu64 ",\"verified\":%s,\"windows\":%" PRIu64
	       ",\"crc_to_card\":\"0x%08x\",\"crc_from_card\":\"0x%08x\",\"bytes_to_card\":%" PRIu64
	       ",\"bytes_from_card\":%" PRIu64 ",\"to_card_gib_per_s\":%.4f"
	       ",\"from_card_gib_per_s\":%.4f,\"gib_per_s\":%.4f,\"first_difference\":null}\n",
	       r->seed, same ? "true" : "false", moved.windows, moved.to, moved.from, r->size,
	       r->size, rate(r->size, moved.ns_to), rate(r->size, moved.ns_from),
	       rate(2 * r->size, moved.ns_to + moved.ns_from));
	return same ? 0 : 4;
}

static bool number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

static bool direction(const char *text, uint32_t *value)
{
	const char *const names[] = {
		[GIGALOCK_DIR_TO_CARD] = "to-card",
		[GIGALOCK_DIR_FROM_CARD] = "from-card",
		[GIGALOCK_DIR_BOTH] = "both",
	};

	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && !strcmp(text, names[i])) {
			*value = i;
			return true;
		}
	return false;
}

int main(int argc, char **argv)
{
	struct request r = {
		.buffers = 1,
		.memory = "anonymous",
		.command = "xfer",
		.direction = GIGALOCK_DIR_BOTH,
	};

	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(word, "--io-uring")) {
			r.io_uring = true;
			continue;
		}
		if (!strcmp(word, "xfer") || !strcmp(word, "lock")) {
			r.command = word;
			continue;
		}
		if (!strcmp(word, "--json") || !strcmp(word, "--no-crc"))
			continue;
		i++;
		if (!strcmp(word, "--memory"))
			r.memory = value;
		else if (!strcmp(word, "--strategy") && strcmp(value, "sg"))
			return usage("strategy %.40s; a program's own memory is locked by sg", value);
		else if (strcmp(word, "--strategy") &&
			 !(!strcmp(word, "--size") && number(value, &r.size)) &&
			 !(!strcmp(word, "--seed") && number(value, &r.seed)) &&
			 !(!strcmp(word, "--direction") && direction(value, &r.direction)) &&
			 !(!strcmp(word, "--buffers") && number(value, &r.buffers)))
			return usage("\"%.40s %.40s\" is not understood", word, value);
	}
	if (!r.size || !r.buffers || r.buffers > MAX_BUFFERS)
		return usage("a size above 0 and 1 to %d buffers are needed", MAX_BUFFERS);
	if (strcmp(r.memory, "anonymous") && strcmp(r.memory, "readonly") && strcmp(r.memory, "io"))
		return usage("no memory of kind %.40s", r.memory);
	if (!strcmp(r.command, "xfer") && r.direction != GIGALOCK_DIR_BOTH)
		return usage("--direction is for lock; xfer moves both ways");
	return answer(&r);
}
