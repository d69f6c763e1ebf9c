// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection for tests: debugfs file gigalock/<card>/inject. Writing
 * "pin 14" makes the pinning call of the next lock seem to give -EFAULT, once;
 * reading lists the points that are armed. Stock kernels have no fault
 * injection of their own, and a reason is only proved by making its call fail.
 */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "gl.h"

static const char * const gl_inject_names[GL_INJECT_POINTS] = {
	[GL_INJECT_ACCOUNT] = "account",
	[GL_INJECT_METADATA] = "metadata",
	[GL_INJECT_BATCH] = "batch",
	[GL_INJECT_ALLOC] = "alloc",
	[GL_INJECT_PIN] = "pin",
	[GL_INJECT_TABLE] = "table",
	[GL_INJECT_MAP] = "map",
};

int gl_inject(struct gl_card *card, enum gl_inject_point point)
{
	/* What is taken when the module loads belongs to no card. */
	return card ? -atomic_xchg(&card->inject[point], 0) : 0;
}

static int gl_inject_show(struct seq_file *m, void *unused)
{
	struct gl_card *card = m->private;
	int i;

	for (i = 0; i < GL_INJECT_POINTS; i++)
		seq_printf(m, "%s %d\n", gl_inject_names[i],
			   atomic_read(&card->inject[i]));
	return 0;
}

static int gl_inject_open(struct inode *inode, struct file *file)
{
	return single_open(file, gl_inject_show, inode->i_private);
}

static ssize_t gl_inject_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct gl_card *card = ((struct seq_file *)file->private_data)->private;
	char line[32], *value;
	int point, err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, count))
		return -EFAULT;
	line[count] = '\0';
	value = strim(line);
	value = strchr(value, ' ');
	if (!value)
		return -EINVAL;
	*value++ = '\0';
	point = match_string(gl_inject_names, GL_INJECT_POINTS, strim(line));
	if (point < 0)
		return point;
	if (kstrtoint(skip_spaces(value), 10, &err) || err < 0 || err > MAX_ERRNO)
		return -EINVAL;
	atomic_set(&card->inject[point], err);
	return count;
}

static const struct file_operations gl_inject_fops = {
	.owner = THIS_MODULE,
	.open = gl_inject_open,
	.read = seq_read,
	.write = gl_inject_write,
	.llseek = seq_lseek,
	.release = single_release,
};

void gl_inject_add(struct gl_card *card)
{
	card->debugfs = debugfs_create_dir(dev_name(&card->chr), gl_debugfs_dir());
	debugfs_create_file("inject", 0600, card->debugfs, card, &gl_inject_fops);
}

void gl_inject_remove(struct gl_card *card)
{
	debugfs_remove_recursive(card->debugfs);
	card->debugfs = NULL;
}
