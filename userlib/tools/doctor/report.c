/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The diagnosis as text for people and as JSON for programs. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "report.h"

static const char *const memory_names[] = {
	[MEMORY_ANONYMOUS] = "anonymous",
	[MEMORY_READ_ONLY] = "readonly",
	[MEMORY_IO] = "io",
	[MEMORY_FILE] = "file",
	[MEMORY_MEMFD] = "memfd",
	[MEMORY_HUGETLB] = "hugetlb",
};

const char *memory_name(enum memory_kind kind)
{
	return memory_names[kind];
}

bool memory_by_name(const char *name, enum memory_kind *kind)
{
	for (size_t i = 0; i < sizeof(memory_names) / sizeof(memory_names[0]); i++)
		if (!strcmp(memory_names[i], name)) {
			*kind = (enum memory_kind)i;
			return true;
		}
	return false;
}

static const char *value_text(const struct evidence *e, char *room, size_t len)
{
	if (e->text[0])
		snprintf(room, len, "%s", e->text);
	else if (!strcmp(e->unit, "bytes"))
		snprintf(room, len, "%s", SIZE(e->value));
	else if (!strcmp(e->unit, "address"))
		snprintf(room, len, "%#" PRIx64, e->value);
	else
		snprintf(room, len, "%" PRIu64 "%s%s", e->value,
			 strcmp(e->unit, "count") && e->unit[0] ? " " : "",
			 strcmp(e->unit, "count") ? e->unit : "");
	return room;
}

/* ---- text ------------------------------------------------------------------------- */

/* Words in lines of at most 78 characters, each after @indent. */
static void wrapped(const char *indent, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (column && column + 1 + word > 78) {
			putchar('\n');
			column = 0;
		}
		if (!column)
			column = (size_t)printf("%s%.*s", indent, (int)word, text);
		else
			column += (size_t)printf(" %.*s", (int)word, text);
		text += word;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void print_evidence(const struct verdict *v)
{
	char room[112];

	if (!v->nevidence)
		return;
	printf("\nEvidence\n");
	for (unsigned int i = 0; i < v->nevidence; i++)
		printf("  %-42s %12s  %s\n", v->evidence[i].what,
		       value_text(&v->evidence[i], room, sizeof(room)),
		       v->evidence[i].source);
}

static void print_remedies(const struct diagnosis *d)
{
	if (!d->nremedies)
		return;
	printf("\nWhat helps, best first\n");
	for (unsigned int i = 0; i < d->nremedies; i++) {
		const struct remedy *remedy = &d->remedies[i];

		printf("  %u. %s%s%s (%s)\n", i + 1, remedy->kind, remedy->value[0] ? ": " : "",
		       remedy->value, remedy->cost);
		for (unsigned int j = 0; j < remedy->ncommands; j++)
			printf("       %s\n", remedy->commands[j]);
	}
}

static void print_works(const struct works *works)
{
	printf("\nWorks right now\n");
	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++) {
		uint64_t largest = works->largest[s];

		if (largest == UNKNOWN && s != GIGALOCK_STRATEGY_DMABUF)
			printf("  %-13s not known\n", glk_strategy_name(s));
		else if (largest == UNKNOWN)
			continue;
		else if (largest)
			printf("  %-13s up to %s%s\n", glk_strategy_name(s), SIZE(largest),
			       s == works->strategy ? "  <- fits" : "");
	}
}

static void print_missing(const struct facts *f)
{
	if (!f->nmissing)
		return;
	printf("\nCould not be read\n");
	for (unsigned int i = 0; i < f->nmissing; i++)
		printf("  %s\n", f->missing[i]);
}

void report_text(const struct diagnosis *d)
{
	const struct verdict *v = d->verdict;
	const struct cause *cause = v->cause ? cause_by_number(v->cause) : NULL;

	printf("%s by %s: ", SIZE(d->request->bytes), glk_strategy_name(v->strategy));
	if (d->failed)
		printf("failed with %s\n", glk_reason_name(v->reason));
	else if (v->locks)
		printf("%s\n", v->certain ? "would lock now" : "nothing forbids it, but that is not all");
	else
		printf("%s fail with %s\n", v->certain ? "would" : "would probably",
		       glk_reason_name(v->reason));
	if (v->largest != UNKNOWN && !v->locks)
		printf("the largest that would lock this way: %s\n",
		       v->largest ? SIZE(v->largest) : "nothing");
	if (cause && !v->locks) {
		printf("\n%s %d, %s\n", v->certain ? "Cause" : "Most likely cause", cause->number,
		       cause->slug);
		wrapped("  ", cause->title);
		putchar('\n');
		wrapped("  ", cause->explanation);
	}
	print_evidence(v);
	if (v->nlook) {
		printf("\nTo be sure, look at\n");
		for (unsigned int i = 0; i < v->nlook; i++)
			printf("  %s\n", v->look[i]);
	}
	print_remedies(d);
	print_works(d->works);
	print_missing(d->facts);
}

/* ---- JSON ---------------------------------------------------------------------------- */

static void json_size(struct json *json, const char *key, uint64_t value)
{
	if (value == UNKNOWN)
		json_null(json, key);
	else
		json_u64(json, key, value);
}

static void json_request(struct json *json, const struct diagnosis *d)
{
	const struct request *r = d->request;

	json_object(json, "request");
	json_u64(json, "bytes", r->bytes);
	json_string(json, "strategy", glk_strategy_name(r->strategy));
	json_u64(json, "address_width", facts_width(d->facts, r));
	json_u64(json, "max_segment", r->max_segment);
	json_bool(json, "small_table", r->small_table);
	if (r->has_node)
		json_u64(json, "node", r->node);
	else
		json_null(json, "node");
	json_u64(json, "page_size", r->page_size);
	json_string(json, "memory", memory_name(r->memory));
	json_end_object(json);
}

static void json_evidence(struct json *json, const struct verdict *v)
{
	json_array(json, "evidence");
	for (unsigned int i = 0; i < v->nevidence; i++) {
		const struct evidence *e = &v->evidence[i];

		json_object(json, NULL);
		json_string(json, "what", e->what);
		if (e->text[0])
			json_string(json, "value", e->text);
		else
			json_u64(json, "value", e->value);
		json_string(json, "unit", e->unit);
		json_string(json, "source", e->source);
		json_end_object(json);
	}
	json_end_array(json);
	json_array(json, "look_at");
	for (unsigned int i = 0; i < v->nlook; i++)
		json_string(json, NULL, v->look[i]);
	json_end_array(json);
}

static void json_remedies(struct json *json, const struct diagnosis *d)
{
	json_array(json, "remedies");
	for (unsigned int i = 0; i < d->nremedies; i++) {
		const struct remedy *remedy = &d->remedies[i];

		json_object(json, NULL);
		json_string(json, "kind", remedy->kind);
		json_string(json, "value", remedy->value);
		json_array(json, "commands");
		for (unsigned int j = 0; j < remedy->ncommands; j++)
			json_string(json, NULL, remedy->commands[j]);
		json_end_array(json);
		json_string(json, "cost", remedy->cost);
		json_end_object(json);
	}
	json_end_array(json);
}

static void json_works(struct json *json, const struct works *works)
{
	json_object(json, "works_now");
	json_string(json, "strategy", works->strategy == UINT32_MAX ? NULL :
		    glk_strategy_name(works->strategy));
	json_object(json, "largest");
	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++)
		json_size(json, glk_strategy_name(s), works->largest[s]);
	json_end_object(json);
	json_end_object(json);
}

void report_json(struct json *json, const struct diagnosis *d)
{
	const struct verdict *v = d->verdict;
	const struct cause *cause = v->cause ? cause_by_number(v->cause) : NULL;

	json_request(json, d);
	if (v->locks && !v->certain)
		json_null(json, "locks");
	else
		json_bool(json, "locks", v->locks);
	json_size(json, "largest_bytes", v->largest);
	json_bool(json, "certain", v->certain);
	if (cause && !v->locks) {
		json_object(json, "cause");
		json_u64(json, "number", (uint64_t)cause->number);
		json_string(json, "slug", cause->slug);
		json_string(json, "title", cause->title);
		json_end_object(json);
	} else {
		json_null(json, "cause");
	}
	json_string(json, "reason", v->locks ? NULL : glk_reason_name(v->reason));
	json_evidence(json, v);
	json_remedies(json, d);
	json_works(json, d->works);
	json_array(json, "missing");
	for (unsigned int i = 0; i < d->facts->nmissing; i++)
		json_string(json, NULL, d->facts->missing[i]);
	json_end_array(json);
}
