/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A finished diagnosis, to be said. */
#ifndef DOCTOR_REPORT_H
#define DOCTOR_REPORT_H

#include "doctor.h"

struct diagnosis {
	const struct facts *facts;
	const struct request *request;
	const struct verdict *verdict;
	const struct works *works;
	const struct remedy *remedies;
	unsigned int nremedies;
	bool failed;		/* it did fail: nothing was predicted */
};

void report_text(const struct diagnosis *d);
void report_json(struct json *json, const struct diagnosis *d);

const char *memory_name(enum memory_kind kind);
bool memory_by_name(const char *name, enum memory_kind *kind);

#endif
