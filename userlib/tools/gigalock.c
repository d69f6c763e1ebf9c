/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: lock large DMA buffers, move them through the card, and say why a
 * lock failed. One file per command; this one finds the command.
 */
#include <string.h>

#include "tools-common.h"

static const struct command *const commands[] = {
	&command_info, &command_lock, &command_xfer, &command_limit,
	&command_bench, &command_failures, &command_doctor, &command_pattern,
	&command_io_uring,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char common_help[] =
	"Options of every command:\n"
	"  -d, --device D   the card: /dev/gigalock0 (the default), or 0\n"
	"      --json       one JSON object on stdout and nothing else\n"
	"  -q, --quiet      no progress on stderr\n"
	"      --one-process  do the work in this process, not in a child\n"
	"  -h, --help       this\n"
	"      --version    the version\n"
	"\n"
	"Sizes: 4096, 64K, 1536M, 1G, 1GiB (powers of 1024).\n"
	"Exit codes: 0 done; 1 failed, with a reason; 2 bad input;\n"
	"3 no card or no permission; 4 data differ.\n";

static void help(FILE *out)
{
	fputs("Usage: gigalock COMMAND [OPTIONS]\n\n"
	      "Lock large DMA buffers, move them through the card, and learn why a lock\n"
	      "failed.\n\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\nMore: gigalock COMMAND --help\n\n%s", common_help);
}

static bool wants(int argc, char **argv, const char *name, const char *letter)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name) || (letter && !strcmp(argv[i], letter)))
			return true;
	return false;
}

/* Options before the command go behind it: "gigalock --json info". */
static int find_command(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-d") || !strcmp(argv[i], "--device")) {
			i++;
			continue;
		}
		if (argv[i][0] != '-')
			return i;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct tool tool = { .json = wants(argc, argv, "--json", NULL) };
	int at = find_command(argc, argv);
	const char *name;

	if (wants(argc, argv, "--version", NULL)) {
		printf("gigalock %s\n", glk_version());
		return EXIT_DONE;
	}
	if (!at) {
		if (wants(argc, argv, "--help", "-h")) {
			help(stdout);
			return EXIT_DONE;
		}
		if (argc == 1) {
			help(stderr);
			return EXIT_USAGE;
		}
		return usage_error(&tool, "no command given; see gigalock --help");
	}
	name = argv[at];
	memmove(&argv[2], &argv[1], (size_t)(at - 1) * sizeof(*argv));
	argv[1] = argv[0];
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(name, commands[i]->name))
			continue;
		tool.command = commands[i]->name;
		if (wants(argc, argv, "--help", "-h")) {
			printf("Usage: gigalock %s [OPTIONS]\n\n%s\n%s\n%s",
			       name, commands[i]->summary, commands[i]->help,
			       common_help);
			return EXIT_DONE;
		}
		return commands[i]->run(&tool, argc - 1, argv + 1);
	}
	return usage_error(&tool, "there is no command \"%.60s\"; see gigalock --help",
			   name);
}
