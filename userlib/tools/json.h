/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One JSON object, built in memory and written at once, so that a process that
 * is killed half-way leaves no half object behind.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *file;
	char *text;
	size_t len;
	bool comma;	/* before the next item */
};

/* key is NULL inside an array and for the outermost object. */
bool json_start(struct json *json);
void json_object(struct json *json, const char *key);
void json_end_object(struct json *json);
void json_array(struct json *json, const char *key);
void json_end_array(struct json *json);
void json_u64(struct json *json, const char *key, uint64_t value);
void json_hex32(struct json *json, const char *key, uint32_t value);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);
void json_string(struct json *json, const char *key, const char *value);
/* With @digits after the point. */
void json_double(struct json *json, const char *key, double value, int digits);
/* Write it to stdout as one line and forget it. False: not all was written. */
bool json_finish(struct json *json);

#endif
