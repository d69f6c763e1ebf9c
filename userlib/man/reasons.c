/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints the sections REASONS and STAGES of glk_failure(3). What was observed
 * is in the comments of <linux/gigalock.h>, the remedies in lib/reasons.c; the
 * page has no words of its own about either.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const struct name {
	const char *name;
	const char *observation;
} reasons[] = {
#define REASON(number, name, observation) { name, observation },
#define STAGE(number, name, observation)
#define STRATEGY(number, name)
#include "names.inc"
#undef REASON
#undef STAGE
}, stages[] = {
#define REASON(number, name, observation)
#define STAGE(number, name, observation) { name, observation },
#include "names.inc"
};

#define ITEMS(array) (sizeof(array) / sizeof((array)[0]))

/* One line of running text: what roff would take for its own is escaped, a
 * {placeholder} becomes the field's name, and each sentence gets a line. */
static void put_text(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		const char *end = *text == '{' ? strchr(text, '}') : NULL;

		if (end && !strncmp(text, "{strategies}", 12)) {
			fputs(glk_strategy_list(), stdout);
			text = end;
		} else if (end) {
			printf("\\fI%.*s\\fP", (int)(end - text - 1), text + 1);
			text = end;
		} else if (*text == '\\') {
			fputs("\\e", stdout);
		} else if (text[0] == '.' && text[1] == ' ') {
			fputs(".\n", stdout);
			text++;
		} else {
			putchar(*text);
		}
	}
}

static void put_item(const struct name *item)
{
	printf(".It Cm %s\n", item->name);
	if (item->observation[0]) {
		char first[2] = { (char)toupper((unsigned char)item->observation[0]), 0 };

		/* Unless it begins with a name, such as RLIMIT_MEMLOCK. */
		put_text(first);
		put_text(item->observation + 1);
		puts(".");
	}
}

int main(void)
{
	puts(".Sh REASONS");
	puts("What was observed, and what helps.\n"
	     "The words\n"
	     ".Fa limit , request\n"
	     "and\n"
	     ".Fa available\n"
	     "stand for the numbers of the failure; what is in brackets is left out\n"
	     "when its number is not known.");
	puts(".Bl -tag -width swiotlb-segment");
	for (size_t i = 0; i < ITEMS(reasons); i++) {
		put_item(&reasons[i]);
		puts(".Pp");
		put_text(glk_reason_remedy_template((uint32_t)i));
		putchar('\n');
	}
	puts(".El");
	puts(".Sh STAGES");
	puts("Where it was observed.");
	puts(".Bl -tag -width arguments");
	for (size_t i = 0; i < ITEMS(stages); i++)
		put_item(&stages[i]);
	puts(".El");
	return fflush(stdout) || ferror(stdout);
}
