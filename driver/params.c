// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module parameters that are sizes: "1G", "0x100000", "4096".
 */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "gl.h"

/* memparse() takes a word for 0, and stops without a word at what is no digit. */
int gl_size_parse(const char *text, char **end, u64 *value)
{
	if (!isdigit(*text))
		return -EINVAL;
	*value = memparse(text, end);
	return 0;
}

static int gl_size_set(const char *text, const struct kernel_param *param)
{
	char *end;
	u64 value;

	if (!text || gl_size_parse(skip_spaces(text), &end, &value) ||
	    *skip_spaces(end)) {
		pr_err(GL_NAME ": %s='%s' is no size: digits, then K, M, G or nothing\n",
		       param->name, text ?: "");
		return -EINVAL;
	}
	*(u64 *)param->arg = value;
	return 0;
}

static int gl_size_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%llu\n", *(u64 *)param->arg);
}

const struct kernel_param_ops gl_size_ops = {
	.set = gl_size_set,
	.get = gl_size_get,
};
