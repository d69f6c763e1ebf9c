/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gigalock doctor: which limit binds, the evidence, and what would cure it. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/report.h"

struct wishes {
	struct request r;
	bool have_size, have_strategy, have_width, have_segment, have_page, have_pid, have_bits;
	uint64_t pid;
	uint32_t direction;
	const char *root, *memory, *failure, *device, *dmabuf;
};

static int refuse_bad(struct tool *tool, struct wishes *w)
{
	struct request *r = &w->r;

	if (!w->have_size && !w->failure)
		return usage_error(tool, "--size or --failure is needed, such as --size 1G");
	if (w->have_width && (r->address_width < 24 || r->address_width > 64))
		return usage_error(tool, "--address-width: %llu; 24 to 64 are possible",
				   (unsigned long long)r->address_width);
	if (w->have_segment && r->max_segment % PAGE)
		return usage_error(tool, "--max-segment: %llu is not a multiple of %llu",
				   (unsigned long long)r->max_segment, (unsigned long long)PAGE);
	if (w->have_page && r->page_size != MIB(2) && r->page_size != GIB(1))
		return usage_error(tool, "--page-size: %llu; 2M and 1G are possible",
				   (unsigned long long)r->page_size);
	if (w->have_bits && r->process_bits != 32 && r->process_bits != 64)
		return usage_error(tool, "--process-bits: %llu; 32 and 64 are possible",
				   (unsigned long long)r->process_bits);
	if (r->has_node && r->node > 1023)
		return usage_error(tool, "--node: %llu; 0 to 1023 are possible",
				   (unsigned long long)r->node);
	if (w->have_pid && (!w->pid || w->pid > 4194304))
		return usage_error(tool, "--pid: %llu; 1 to 4194304 are possible",
				   (unsigned long long)w->pid);
	if (w->memory && !memory_by_name(w->memory, &r->memory))
		return usage_error(tool, "--memory: there is no kind \"%.60s\"; the kinds are: "
				   "anonymous, readonly, io, file, memfd, hugetlb", w->memory);
	/* A card that only reads may be given what can't be written. */
	if (r->memory == MEMORY_READ_ONLY && w->direction == GIGALOCK_DIR_TO_CARD)
		r->memory = MEMORY_ANONYMOUS;
	return EXIT_DONE;
}

/* ---- the failure to explain ------------------------------------------------------- */

#define MOST_TEXT (1u << 20)

static int failure_of_file(struct tool *tool, const char *name,
			   struct gigalock_failure *failure)
{
	FILE *file = strcmp(name, "-") ? fopen(name, "re") : stdin;
	static char text[MOST_TEXT + 1];
	char why[160];
	size_t got;

	if (!file)
		return usage_error(tool, "--failure: %.200s: %s", name, strerror(errno));
	got = fread(text, 1, MOST_TEXT, file);
	if (file != stdin)
		fclose(file);
	text[got] = 0;
	if (!failure_parse(text, failure, why, sizeof(why)))
		return usage_error(tool, "--failure: %.200s: %s", name, why);
	return EXIT_DONE;
}

static int failure_of_card(struct tool *tool, struct gigalock_failure *failure)
{
	struct gigalock_failure records[GIGALOCK_FAILURE_LOG], why;
	struct glk_card *card;
	int count;

	if (glk_card_open(tool->device, &card, &why))
		return no_card(tool, &why);
	count = glk_card_failures(card, 0, records, GIGALOCK_FAILURE_LOG);
	glk_card_close(card);
	if (count < 0)
		return internal_error(tool, "the card's failure log", -count);
	while (count-- > 0)
		if (records[count].op == GIGALOCK_OP_LOCK) {
			*failure = records[count];
			return EXIT_DONE;
		}
	return usage_error(tool, "--failure last: no lock has failed on this card");
}

static int read_failure(struct tool *tool, struct wishes *w,
			struct gigalock_failure *failure)
{
	int code = !strcmp(w->failure, "last") ? failure_of_card(tool, failure) :
		   failure_of_file(tool, w->failure, failure);

	if (code)
		return code;
	if (!w->have_size)
		w->r.bytes = failure->lock_size;
	if (!w->r.bytes)
		return usage_error(tool, "--failure: it does not say how large the lock was; "
				   "add --size");
	if (!w->have_strategy)
		w->r.strategy = failure->strategy;
	return EXIT_DONE;
}

/* ---- diagnosing --------------------------------------------------------------------- */

/*
 * What was observed counts more than what is expected: the model's numbers are
 * kept, its reason is not. What the facts say now may differ from then; so an
 * expectation that contradicts the observation is no longer certain.
 */
static void take_failure(const struct gigalock_failure *failure, struct verdict *v)
{
	bool same = !v->locks && v->reason == failure->reason;

	if (failure->strategy < GIGALOCK_STRATEGY_COUNT)
		v->strategy = failure->strategy;
	v->locks = false;
	v->certain = true;
	v->nlook = 0;
	v->reason = failure->reason;
	if (!same || failure->limit)
		v->limit = failure->limit;
	if (failure->unit == GIGALOCK_UNIT_BYTES) {
		verdict_number(v, "limit (of the failure)", failure->limit, "bytes", "the failure");
		verdict_number(v, "available (of the failure)", failure->available, "bytes",
			       "the failure");
	}
	if (!same && v->largest != UNKNOWN && v->largest >= failure->lock_size)
		v->largest = UNKNOWN;
}

static void find_works(struct facts *f, const struct request *r, struct works *works)
{
	static struct verdict v;
	struct request one = *r;

	works->strategy = UINT32_MAX;
	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++) {
		one.strategy = s;
		model_run(f, &one, &v);
		works->largest[s] = v.largest;
		if (v.locks && v.certain && works->strategy == UINT32_MAX)
			works->strategy = s;
	}
}

static int diagnose(struct tool *tool, const struct wishes *w,
		    const struct gigalock_failure *failure)
{
	static struct facts f;
	static struct verdict v;
	static struct remedy remedies[MAX_REMEDIES];
	struct works works;
	struct diagnosis d = { .facts = &f, .request = &w->r, .verdict = &v, .works = &works,
			       .remedies = remedies, .failed = failure != NULL };
	struct json json;

	facts_read(&f, w->root ? w->root : "", (unsigned long)w->pid, w->device);
	if (w->device && !f.have_card)
		return usage_error(tool, "--pci: there is no device %.60s", w->device);
	model_run(&f, &w->r, &v);
	if (failure)
		take_failure(failure, &v);
	if (!v.locks)
		cause_decide(&f, &w->r, &v);
	find_works(&f, &w->r, &works);
	if (!v.locks)
		d.nremedies = remedies_for(&f, &w->r, &v, &works, remedies);
	if (!tool->json) {
		report_text(&d);
		return EXIT_DONE;
	}
	if (!json_begin(&json, tool, true))
		return EXIT_FAILED;
	report_json(&json, &d);
	return json_done(&json, tool, EXIT_DONE);
}

static int run(struct tool *tool, int argc, char **argv)
{
	static struct wishes w = { .r = { .strategy = GLK_STRATEGY_AUTO },
				   .direction = GIGALOCK_DIR_BOTH };
	struct gigalock_failure failure = { .size = sizeof(failure) };
	const struct option_spec specs[] = {
		{ "size", 's', OPTION_SIZE, &w.r.bytes, &w.have_size },
		{ "strategy", 'S', OPTION_STRATEGY, &w.r.strategy, &w.have_strategy },
		{ "address-width", 0, OPTION_NUMBER, &w.r.address_width, &w.have_width },
		{ "max-segment", 0, OPTION_SIZE, &w.r.max_segment, &w.have_segment },
		{ "small-table", 0, OPTION_FLAG, &w.r.small_table, NULL },
		{ "entry-per-page", 0, OPTION_FLAG, &w.r.entry_per_page, NULL },
		{ "no-map", 0, OPTION_FLAG, &w.r.no_user_map, NULL },
		{ "no-user-map", 0, OPTION_FLAG, &w.r.no_user_map, NULL },
		{ "direction", 0, OPTION_DIRECTION, &w.direction, NULL },
		{ "dmabuf", 0, OPTION_TEXT, &w.dmabuf, NULL },
		{ "node", 0, OPTION_NUMBER, &w.r.node, &w.r.has_node },
		{ "page-size", 0, OPTION_SIZE, &w.r.page_size, &w.have_page },
		{ "memory", 0, OPTION_TEXT, &w.memory, NULL },
		{ "io-uring", 0, OPTION_FLAG, &w.r.io_uring, NULL },
		{ "process-bits", 0, OPTION_NUMBER, &w.r.process_bits, &w.have_bits },
		{ "region", 0, OPTION_NUMBER, &w.r.region, NULL },
		{ "pid", 0, OPTION_NUMBER, &w.pid, &w.have_pid },
		{ "pci", 0, OPTION_TEXT, &w.device, NULL },
		{ "failure", 0, OPTION_TEXT, &w.failure, NULL },
		{ "root", 0, OPTION_TEXT, &w.root, NULL },
	};
	int code = parse_options(tool, specs, sizeof(specs) / sizeof(specs[0]), argc, argv);

	if (!code)
		code = refuse_bad(tool, &w);
	if (!code && w.failure)
		code = read_failure(tool, &w, &failure);
	return code ? code : diagnose(tool, &w, w.failure ? &failure : NULL);
}

const struct command command_doctor = {
	.name = "doctor",
	.summary = "why a lock fails here, and what would cure it",
	.help =
	"  -s, --size S         the size wanted (not needed with --failure)\n"
	"  -S, --strategy X     coherent, contig-range, sg, ...; auto (the default)\n"
	"      --failure F      explain this failure: \"last\" of the card, a file with\n"
	"                       the tool's JSON, or - for standard input\n"
	"      --address-width N  bits that the device addresses, 24 to 64\n"
	"      --pci B:D.F      the device, when it is not a gigalock card\n"
	"      --max-segment S  the longest piece that the device takes\n"
	"      --small-table    a table of 256 entries\n"
	"      --entry-per-page a piece a page, neighbours aren't merged\n"
	"      --no-map         the buffer is not mapped into a process\n"
	"      --direction D    to-card, from-card, both (the default)\n"
	"      --node N         memory of this NUMA node only\n"
	"      --page-size S    of hugetlb: 2M (the default) or 1G\n"
	"      --memory KIND    of sg: anonymous (the default), readonly, io, file,\n"
	"                       memfd, hugetlb\n"
	"      --io-uring       registered with io_uring as well\n"
	"      --process-bits N 32: a 32-bit program\n"
	"      --pid N          the limits of this process (of the tool's own)\n"
	"      --root DIR       read DIR/proc and DIR/sys, recorded elsewhere\n"
	"\n"
	"Needs neither card nor driver. Nothing is locked or changed. As root it\n"
	"sees more; what it could not read is said.\n",
	.run = run,
};
