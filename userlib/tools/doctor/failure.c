/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A failure as the tool prints it, read back: the object itself, or an answer
 * that holds it under "failure". Just enough JSON for that.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define DEPTH 32

struct reader {
	const char *p;
	struct gigalock_failure *failure;
	bool found;
	const char *wrong;
};

static void space(struct reader *r)
{
	while (isspace((unsigned char)*r->p))
		r->p++;
}

static bool expect(struct reader *r, char c, const char *wrong)
{
	space(r);
	if (*r->p != c) {
		if (!r->wrong)
			r->wrong = wrong;
		return false;
	}
	r->p++;
	return true;
}

/* Escapes keep their letter: names that matter here have none. */
static bool string(struct reader *r, char *room, size_t len)
{
	size_t at = 0;

	if (!expect(r, '"', "a string was expected"))
		return false;
	while (*r->p && *r->p != '"') {
		if (*r->p == '\\' && r->p[1])
			r->p++;
		if (room && at + 1 < len)
			room[at++] = *r->p;
		r->p++;
	}
	if (room)
		room[at] = 0;
	return expect(r, '"', "a string does not end");
}

static uint32_t unit_by_name(const char *name)
{
	for (uint32_t unit = 0; unit <= GIGALOCK_UNIT_ADDRESS; unit++)
		if (!strcmp(glk_unit_name(unit), name))
			return unit;
	return GIGALOCK_UNIT_BYTES;
}

static void word(struct gigalock_failure *f, const char *key, const char *value,
		 bool *named)
{
	int number;

	if (!strcmp(key, "reason")) {
		number = glk_reason_by_name(value);
		if (number > 0) {
			f->reason = (uint32_t)number;
			*named = true;
		}
	} else if (!strcmp(key, "strategy")) {
		glk_strategy_by_name(value, &f->strategy);
	} else if (!strcmp(key, "unit")) {
		f->unit = unit_by_name(value);
	} else if (!strcmp(key, "stage")) {
		for (uint32_t stage = 0; stage < GIGALOCK_STAGE_COUNT; stage++)
			if (!strcmp(glk_stage_name(stage), value))
				f->stage = stage;
	}
}

static void number(struct gigalock_failure *f, const char *key, uint64_t value)
{
	if (!strcmp(key, "limit"))
		f->limit = value;
	else if (!strcmp(key, "request"))
		f->request = value;
	else if (!strcmp(key, "available"))
		f->available = value;
	else if (!strcmp(key, "lock_size"))
		f->lock_size = value;
	else if (!strcmp(key, "errno"))
		f->err = (uint32_t)value;
	else if (!strcmp(key, "pid"))
		f->pid = (uint32_t)value;
}

static bool value(struct reader *r, int depth);

/* An object with a known reason and a lock_size is a failure; the first counts. */
static bool object(struct reader *r, int depth)
{
	struct gigalock_failure here = { .strategy = GLK_STRATEGY_AUTO };
	bool named = false, sized = false;
	char key[64], text[64];

	r->p++;
	space(r);
	while (*r->p != '}') {
		if (!string(r, key, sizeof(key)) ||
		    !expect(r, ':', "a colon was expected"))
			return false;
		space(r);
		if (*r->p == '"') {
			if (!string(r, text, sizeof(text)))
				return false;
			word(&here, key, text, &named);
		} else if (isdigit((unsigned char)*r->p)) {
			uint64_t n = strtoull(r->p, NULL, 10);

			number(&here, key, n);
			sized |= !strcmp(key, "lock_size");
			if (!value(r, depth + 1))
				return false;
		} else if (!value(r, depth + 1)) {
			return false;
		}
		space(r);
		if (*r->p == ',') {
			r->p++;
			space(r);
		} else if (*r->p != '}') {
			r->wrong = r->wrong ? r->wrong : "a comma or } was expected";
			return false;
		}
	}
	r->p++;
	if (named && sized && !r->found) {
		here.size = sizeof(here);
		here.op = GIGALOCK_OP_LOCK;
		*r->failure = here;
		r->found = true;
	}
	return true;
}

static bool array(struct reader *r, int depth)
{
	r->p++;
	space(r);
	while (*r->p != ']') {
		if (!value(r, depth + 1))
			return false;
		space(r);
		if (*r->p == ',')
			r->p++;
		else if (*r->p != ']')
			return expect(r, ']', "a comma or ] was expected");
		space(r);
	}
	r->p++;
	return true;
}

static bool value(struct reader *r, int depth)
{
	space(r);
	if (depth > DEPTH) {
		r->wrong = "it is nested too deeply";
		return false;
	}
	if (*r->p == '{')
		return object(r, depth);
	if (*r->p == '[')
		return array(r, depth);
	if (*r->p == '"')
		return string(r, NULL, 0);
	if (!isalnum((unsigned char)*r->p) && *r->p != '-') {
		r->wrong = r->wrong ? r->wrong : "a value was expected";
		return false;
	}
	while (isalnum((unsigned char)*r->p) || strchr("+-.", *r->p ? *r->p : 'x'))
		r->p++;
	return true;
}

bool failure_parse(const char *text, struct gigalock_failure *failure,
		   char *why, size_t len)
{
	struct reader r = { .p = text, .failure = failure };

	if (!value(&r, 0)) {
		snprintf(why, len, "not JSON: %s at byte %zu", r.wrong ? r.wrong : "garbage",
			 (size_t)(r.p - text));
		return false;
	}
	if (!r.found)
		snprintf(why, len, "no failure in it: an object with a known \"reason\" and "
			 "a \"lock_size\"");
	return r.found;
}
