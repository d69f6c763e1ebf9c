// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module has that no card owns, to be read by root in the debugfs
 * folder gigalock: budgets, reserved regions, the pool.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "gl.h"

static struct dentry *gl_debugfs_root;

struct dentry *gl_debugfs_dir(void)
{
	return gl_debugfs_root;
}

static int gl_debugfs_budgets_show(struct seq_file *m, void *unused)
{
	gl_budget_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(gl_debugfs_budgets);

static int gl_debugfs_reserved_show(struct seq_file *m, void *unused)
{
	gl_regions_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(gl_debugfs_reserved);

static int gl_debugfs_pool_show(struct seq_file *m, void *unused)
{
	gl_pool_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(gl_debugfs_pool);

void gl_debugfs_init(void)
{
	gl_debugfs_root = debugfs_create_dir(GL_NAME, NULL);
	debugfs_create_file("budgets", 0400, gl_debugfs_root, NULL,
			    &gl_debugfs_budgets_fops);
	debugfs_create_file("reserved", 0400, gl_debugfs_root, NULL,
			    &gl_debugfs_reserved_fops);
	debugfs_create_file("pool", 0400, gl_debugfs_root, NULL,
			    &gl_debugfs_pool_fops);
}

void gl_debugfs_exit(void)
{
	debugfs_remove_recursive(gl_debugfs_root);
}
