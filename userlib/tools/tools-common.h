/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the commands of the gigalock tool share.
 */
#ifndef TOOLS_COMMON_H
#define TOOLS_COMMON_H

#include <gigalock.h>

#include "json.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,	/* a lock or transfer failed, with a reason */
	EXIT_USAGE = 2,		/* bad input */
	EXIT_NO_CARD = 3,	/* no device, or no permission */
	EXIT_DIFFERENT = 4,	/* data differ */
};

struct lock_choice;

/* The command under way and the options that every command has. */
struct tool {
	const char *command;
	const char *device;
	struct lock_choice *lock;	/* its options count too; or NULL */
	bool json;
	bool quiet;
	bool one_process;
};

struct command {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(struct tool *tool, int argc, char **argv);
};

extern const struct command command_info, command_lock, command_xfer,
	command_limit, command_failures, command_doctor, command_pattern,
	command_bench, command_io_uring;

/* ---- options ------------------------------------------------------------- */

enum option_kind {
	OPTION_FLAG,		/* bool */
	OPTION_TEXT,		/* const char * */
	OPTION_SIZE,		/* uint64_t, 1 or more */
	OPTION_OFFSET,		/* uint64_t, 0 or more */
	OPTION_NUMBER,		/* uint64_t, decimal or 0x */
	OPTION_SECONDS,		/* double, 0 or more */
	OPTION_STRATEGY,	/* uint32_t */
	OPTION_DIRECTION,	/* uint32_t */
};

struct option_spec {
	const char *name;
	char letter;		/* or 0 */
	enum option_kind kind;
	void *value;
	bool *given;		/* or NULL */
};

/* Parse argv[1..]; returns EXIT_DONE, or the code to exit with (said why). */
int parse_options(struct tool *tool, const struct option_spec *specs,
		  size_t count, int argc, char **argv);

/* What to lock, as the options say it: those of every command that locks. */
struct lock_choice {
	uint64_t bytes;
	uint32_t strategy;
	uint32_t direction;
	uint64_t max_segment;
	uint64_t page_size;
	uint64_t address_width;
	uint64_t node;
	uint64_t region;
	double timeout;
	const char *dmabuf;	/* where from, see dmabuf.c */
	bool have_size, have_node, have_region, have_width;
	bool no_map, entry_per_page, small_table;
	bool no_touch;		/* as no_map, but the kernel could map it */
};

/* Their help, for a command's own. */
#define LOCK_HELP \
	"  -s, --size S         how much\n" \
	"  -S, --strategy X     coherent, contig-range, sg, reserved, pool, hugetlb,\n" \
	"                       chunked, dmabuf, auto (the default)\n" \
	"      --direction D    to-card, from-card, both (the default)\n" \
	"      --address-width N  no address of more bits for the device, 24 to 64\n" \
	"      --node N         memory of that NUMA node only\n" \
	"      --max-segment S  no piece is longer\n" \
	"      --lock-timeout SEC  the kernel gives up after that long (never)\n" \
	"      --entry-per-page a piece a page, neighbours aren't merged\n" \
	"      --small-table    256 pieces and no more\n" \
	"      --no-map         never map it into a process\n" \
	"      --region N       reserved: number of the region (0)\n" \
	"      --page-size S    hugetlb: of these pages, 2M or 1G (the largest free)\n" \
	"      --dmabuf FROM    dmabuf: system, heap:NAME, udmabuf, fd:N, export or\n" \
	"                       export:STRATEGY (a lock of this tool's own)\n"

/* Of an OPTION_SECONDS: 0 stays 0, and whatever is more is 1 or more. */
int milliseconds(double seconds);

/* ---- saying things ------------------------------------------------------- */

/* Bad input: say it as text or JSON. Returns EXIT_USAGE. */
int usage_error(const struct tool *tool, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A card that can't be opened. Returns EXIT_NO_CARD. */
int no_card(const struct tool *tool, const struct gigalock_failure *failure);

/* Something of this program's own went wrong. Returns EXIT_FAILED. */
int internal_error(const struct tool *tool, const char *what, int err);

/* "gigalock: lock: 1 GiB by sg failed: ..." with remedy, on stderr. */
void print_failure(const struct tool *tool,
		   const struct gigalock_failure *failure);

/* Room for a size as text; give it as a compound literal. */
struct size_text { char text[32]; };
const char *size_text(uint64_t bytes, struct size_text *room);
#define SIZE(bytes) size_text((bytes), &(struct size_text){ "" })

const char *direction_name(uint32_t direction);

/* The failure object of the JSON contract, or null. */
void json_failure(struct json *json, const char *key,
		  const struct gigalock_failure *failure);

/* Start an object with "command" and "ok". */
bool json_begin(struct json *json, const struct tool *tool, bool ok);
/* End and write it; returns @code, or EXIT_FAILED when stdout is broken. */
int json_done(struct json *json, const struct tool *tool, int code);

/* ---- lock report: what lock and xfer have in common ----------------------- */

#define MAX_TRIES 64

struct tries {
	unsigned int count;
	struct glk_try tries[MAX_TRIES];
};

/* A glk_tried_fn whose argument is a struct tries. */
void collect_try(const struct glk_try *attempt, void *arg);
void json_tries(struct json *json, const struct tries *tries);

struct lock_report {
	struct lock_choice want;
	bool locked;
	struct glk_lock *lock;		/* when locked, else NULL */
	bool failed;
	struct gigalock_failure failure;
	struct tries tries;
	int dmabuf;			/* made for it, when its strategy is that */
	struct glk_lock *exported;	/* what it is an export of, or NULL */
};

void json_lock_report(struct json *json, const struct lock_report *report);

/* Lock for a report; returns as glk_lock_new(). */
int lock_for_report(struct glk_card *card, struct lock_report *report);

/* Give it back, with the dma-buf that was made for it. */
void unlock_report(struct lock_report *report);

/* The options of a lock that a choice amounts to. */
void lock_options_of(const struct lock_choice *choice,
		     struct glk_lock_options *options);

/* A line for people: what was locked, and how. */
void print_lock(const struct lock_report *report);

/* ---- dma-bufs to lock ------------------------------------------------------ */

/* Does @from name one? */
bool dmabuf_is_source(const char *from);

/* Get one of @bytes; fills @fd. 0 or -errno with the failure filled. @lock is
 * what it is an export of, or NULL: to be freed after the dma-buf. */
int dmabuf_get(struct glk_card *card, const char *from, uint64_t bytes, int *fd,
	       struct glk_lock **lock, struct gigalock_failure *failure);

/* ---- progress and the child that works ------------------------------------ */

/* Tell what is being done. done and total in bytes; total 0: not known. */
void progress(const char *what, uint64_t done, uint64_t total);

/* Work in a child that the OOM killer prefers, while the parent tells the
 * progress of anything over a second and, if the child is killed, why. */
struct job {
	int (*work)(struct tool *tool, struct glk_card *card, void *arg);
	/* Says that the child was taken. */
	int (*killed)(struct tool *tool, const struct gigalock_failure *failure,
		      void *arg);
	void *arg;
};

int run_job(struct tool *tool, const struct job *job);

#endif
