/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

bool json_start(struct json *json)
{
	json->text = NULL;
	json->comma = false;
	json->file = open_memstream(&json->text, &json->len);
	return json->file;
}

static void quoted(struct json *json, const char *value)
{
	fputc('"', json->file);
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(json->file, "\\%c", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			/* Bytes, not characters: always valid, if not pretty. */
			fprintf(json->file, "\\u%04x", *p);
		else
			fputc(*p, json->file);
	}
	fputc('"', json->file);
}

static void item(struct json *json, const char *key)
{
	if (json->comma)
		fputc(',', json->file);
	json->comma = true;
	if (key) {
		quoted(json, key);
		fputc(':', json->file);
	}
}

void json_object(struct json *json, const char *key)
{
	item(json, key);
	fputc('{', json->file);
	json->comma = false;
}

void json_end_object(struct json *json)
{
	fputc('}', json->file);
	json->comma = true;
}

void json_array(struct json *json, const char *key)
{
	item(json, key);
	fputc('[', json->file);
	json->comma = false;
}

void json_end_array(struct json *json)
{
	fputc(']', json->file);
	json->comma = true;
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
	item(json, key);
	fprintf(json->file, "%" PRIu64, value);
}

void json_hex32(struct json *json, const char *key, uint32_t value)
{
	item(json, key);
	fprintf(json->file, "\"0x%08" PRIx32 "\"", value);
}

void json_bool(struct json *json, const char *key, bool value)
{
	item(json, key);
	fputs(value ? "true" : "false", json->file);
}

void json_null(struct json *json, const char *key)
{
	item(json, key);
	fputs("null", json->file);
}

void json_string(struct json *json, const char *key, const char *value)
{
	if (!value) {
		json_null(json, key);
		return;
	}
	item(json, key);
	quoted(json, value);
}

void json_double(struct json *json, const char *key, double value, int digits)
{
	if (!isfinite(value)) {
		json_null(json, key);
		return;
	}
	item(json, key);
	fprintf(json->file, "%.*f", digits, value);
}

bool json_finish(struct json *json)
{
	bool ok;

	fputc('\n', json->file);
	ok = fclose(json->file) == 0 &&
	     fwrite(json->text, 1, json->len, stdout) == json->len &&
	     fflush(stdout) == 0;
	free(json->text);
	return ok;
}
