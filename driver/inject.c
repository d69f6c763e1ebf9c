// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection for tests: debugfs file gigalock/<card>/inject. Stock kernels
 * have no fault injection of their own, and a reason is only proved by making its
 * call fail. Written to it:
 *
 *   pin 14		the next pinning call seems to give -EFAULT, once
 *   pin 14 100		the one after 100 more
 *   pin delay 5000 100	that one stands still for 5 s, as if memory were hard to
 *			get; what comes in that time comes in the middle of a lock
 *   pin 0		nothing, and whoever stands still there goes on
 *
 * Reading tells what is armed at each point, and where somebody stands still.
 */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "gl.h"

/* A test that has forgotten to let go must not look like a kernel that hangs. */
#define GL_INJECT_MOST_MS	60000

static const char * const gl_inject_names[GL_INJECT_POINTS] = {
	[GL_INJECT_ACCOUNT] = "account",
	[GL_INJECT_METADATA] = "metadata",
	[GL_INJECT_BATCH] = "batch",
	[GL_INJECT_ALLOC] = "alloc",
	[GL_INJECT_PIN] = "pin",
	[GL_INJECT_TABLE] = "table",
	[GL_INJECT_MAP] = "map",
	[GL_INJECT_STOP] = "stop",
	[GL_INJECT_RESET] = "reset",
};

/* Until the time is up, the point is written to or the card goes. */
static void gl_inject_stand(struct gl_card *card, struct gl_injection *in,
			    unsigned int ms, unsigned int turn, bool killable)
{
	long left = msecs_to_jiffies(ms);

	if (killable)
		wait_event_killable_timeout(card->inject_wait,
					    READ_ONCE(in->turn) != turn, left);
	else
		wait_event_timeout(card->inject_wait,
				   READ_ONCE(in->turn) != turn, left);
	spin_lock(&card->inject_lock);
	in->standing--;
	spin_unlock(&card->inject_lock);
}

static int gl_inject_at(struct gl_card *card, enum gl_inject_point point,
			bool killable)
{
	struct gl_injection *in = &card->inject[point];
	unsigned int ms = 0, turn;
	int err = 0;

	spin_lock(&card->inject_lock);
	turn = in->turn;
	if (in->armed && in->after) {
		in->after--;
	} else if (in->armed) {
		in->armed = false;
		err = -in->err;
		ms = in->delay_ms;
		in->standing += ms > 0;
	}
	spin_unlock(&card->inject_lock);
	if (ms)
		gl_inject_stand(card, in, ms, turn, killable);
	return err;
}

int gl_inject(struct gl_card *card, enum gl_inject_point point)
{
	/* What is taken when the module loads belongs to no card. */
	if (!card || !READ_ONCE(card->inject[point].armed))
		return 0;
	return gl_inject_at(card, point, false);
}

int gl_inject_killable(struct gl_card *card, enum gl_inject_point point)
{
	if (!card || !READ_ONCE(card->inject[point].armed))
		return 0;
	return gl_inject_at(card, point, true);
}

static int gl_inject_show(struct seq_file *m, void *unused)
{
	struct gl_card *card = m->private;
	int i;

	for (i = 0; i < GL_INJECT_POINTS; i++) {
		struct gl_injection now;

		spin_lock(&card->inject_lock);
		now = card->inject[i];
		spin_unlock(&card->inject_lock);
		seq_printf(m, "%s ", gl_inject_names[i]);
		if (now.armed && now.delay_ms)
			seq_printf(m, "delay %u", now.delay_ms);
		else
			seq_printf(m, "%d", now.armed ? now.err : 0);
		if (now.armed && now.after)
			seq_printf(m, " after %u", now.after);
		seq_puts(m, now.standing ? " standing\n" : "\n");
	}
	return 0;
}

static int gl_inject_open(struct inode *inode, struct file *file)
{
	return single_open(file, gl_inject_show, inode->i_private);
}

/* "ERRNO [AFTER]" or "delay MS [AFTER]". */
static int gl_inject_parse(char *line, struct gl_injection *in)
{
	char *word = strsep(&line, " ");
	unsigned int most = MAX_ERRNO, value;
	bool delay = !strcmp(word, "delay");

	if (delay) {
		word = strsep(&line, " ");
		most = GL_INJECT_MOST_MS;
	}
	if (!word || kstrtouint(word, 10, &value))
		return -EINVAL;
	if (value > most)
		return -ERANGE;
	if (line && kstrtouint(line, 10, &in->after))
		return -EINVAL;
	if (delay)
		in->delay_ms = value;
	else
		in->err = value;
	in->armed = value > 0;
	return 0;
}

static void gl_inject_set(struct gl_card *card, int point,
			  const struct gl_injection *want)
{
	struct gl_injection *in = &card->inject[point];

	spin_lock(&card->inject_lock);
	in->err = want->err;
	in->delay_ms = want->delay_ms;
	in->after = want->after;
	WRITE_ONCE(in->armed, want->armed);
	WRITE_ONCE(in->turn, in->turn + 1);
	spin_unlock(&card->inject_lock);
	wake_up_all(&card->inject_wait);
}

static ssize_t gl_inject_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct gl_card *card = ((struct seq_file *)file->private_data)->private;
	struct gl_injection want = {};
	char line[64], *value, *name;
	int point, err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, count))
		return -EFAULT;
	line[count] = '\0';
	value = strim(line);
	name = strsep(&value, " ");
	if (!value)
		return -EINVAL;
	point = match_string(gl_inject_names, GL_INJECT_POINTS, name);
	if (point < 0)
		return point;
	err = gl_inject_parse(value, &want);
	if (err)
		return err;
	gl_inject_set(card, point, &want);
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
	static const struct gl_injection none;
	int i;

	debugfs_remove_recursive(card->debugfs);
	card->debugfs = NULL;
	/* The card's removal waits for the calls that are inside. */
	for (i = 0; i < GL_INJECT_POINTS; i++)
		gl_inject_set(card, i, &none);
}
