// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Brings a guest into a state in which large locks fail. Runs in guests only;
 * the steps of scenarios call it (harness/gigalock_harness/prepare.py).
 *
 *   gl-prepare leave-free BYTES  fill memory until so much is available
 *   gl-prepare fragment BYTES    unmovable memory all over RAM, and the memory in
 *                                between free again; stops with BYTES free
 *   gl-prepare hold-cma          keep pages of the CMA areas from moving, by a
 *                                process that stays
 *   gl-prepare free              let go of what leave-free filled
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILL_DIR	"/run/gl-fill"
#define FRAGMENT_DIR	"/run/gl-fragment"
#define HOLD_PID	"/run/hold-cma.pid"

#define MIB		((uint64_t)1 << 20)
#define PAGE		((uint64_t)4096)
#define HUGE		(2 * MIB)

#define DATA_BYTES	(16 * MIB)	/* movable, and gone at the end */
#define DATA_INODES	2300		/* unmovable, and there to stay */
#define HELD_APART	(32 * MIB)	/* nearer than any hole that would do */

__attribute__((noreturn, format(printf, 1, 2)))
static void die(const char *format, ...)
{
	va_list args;

	fputs("gl-prepare: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char name[64];
	uint64_t kib;

	if (!f)
		die("/proc/meminfo: %s", strerror(errno));
	while (fscanf(f, "%63[^:]: %" SCNu64 " kB ", name, &kib) == 2)
		if (!strcmp(name, key)) {
			fclose(f);
			return kib << 10;
		}
	die("/proc/meminfo has no %s", key);
}

static void mount_tmpfs(const char *dir)
{
	if (mkdir(dir, 0700) && errno != EEXIST)
		die("%s: %s", dir, strerror(errno));
	if (mount("tmpfs", dir, "tmpfs", 0, "size=100%,nr_inodes=0"))
		die("mounting %s: %s", dir, strerror(errno));
}

static void make_file(const char *path, uint64_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	if (bytes && fallocate(fd, 0, 0, (off_t)bytes))
		die("%s: %" PRIu64 " bytes: %s", path, bytes, strerror(errno));
	close(fd);
}

/* In steps that get smaller: what is available falls a little faster than the
 * files grow, for the kernel's own tables.
 */
static void leave_free(uint64_t leave)
{
	char path[64];

	mount_tmpfs(FILL_DIR);
	for (unsigned int n = 0; n < 64; n++) {
		uint64_t available = meminfo("MemAvailable");
		uint64_t bytes;

		if (available < leave + 2 * MIB)
			break;
		bytes = (available - leave) * 15 / 16 / PAGE * PAGE;
		snprintf(path, sizeof(path), FILL_DIR "/%u", n);
		make_file(path, bytes);
	}
	printf("available: %" PRIu64 " MiB\n", meminfo("MemAvailable") / MIB);
}

static void fragment(uint64_t leave)
{
	char path[80];
	unsigned int n;

	mount_tmpfs(FRAGMENT_DIR);
	for (n = 0; meminfo("MemFree") > leave + DATA_BYTES; n++) {
		snprintf(path, sizeof(path), FRAGMENT_DIR "/data-%u", n);
		make_file(path, DATA_BYTES);
		for (unsigned int i = 0; i < DATA_INODES; i++) {
			snprintf(path, sizeof(path), FRAGMENT_DIR "/%u-%u", n, i);
			make_file(path, 0);
		}
	}
	while (n--) {
		snprintf(path, sizeof(path), FRAGMENT_DIR "/data-%u", n);
		if (unlink(path))
			die("%s: %s", path, strerror(errno));
	}
	printf("free: %" PRIu64 " MiB\n", meminfo("MemFree") / MIB);
}

/* ---- CMA ------------------------------------------------------------------ */

struct area {
	uint64_t start, end;	/* page frames */
};

static uint64_t number_in(const char *dir, const char *name)
{
	char path[300];
	uint64_t value;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%" SCNu64, &value) != 1)
		die("%s: no number", path);
	fclose(f);
	return value;
}

static size_t cma_areas(struct area *areas, size_t most)
{
	size_t count = 0;
	glob_t found;

	if (glob("/sys/kernel/debug/cma/*", GLOB_ONLYDIR, NULL, &found))
		die("/sys/kernel/debug/cma has no area (CONFIG_CMA_DEBUGFS)");
	for (size_t i = 0; i < found.gl_pathc && count < most; i++) {
		const char *dir = found.gl_pathv[i];

		areas[count].start = number_in(dir, "base_pfn");
		areas[count].end = areas[count].start + number_in(dir, "count");
		count++;
	}
	globfree(&found);
	return count;
}

static uint64_t frame_of(int pagemap, const volatile char *at)
{
	uint64_t entry;

	if (pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * 8)) != sizeof(entry))
		die("/proc/self/pagemap: %s", strerror(errno));
	return entry >> 63 ? entry & (((uint64_t)1 << 55) - 1) : 0;
}

/* A page in a pipe has a reference for as long as nobody reads it. */
static void hold_page(char *page)
{
	static int pipes[2] = { -1, -1 };
	static unsigned int used;
	const struct iovec one = { page, PAGE };

	if (pipes[1] < 0 || used == 16) {
		if (pipe(pipes))
			die("pipe: %s", strerror(errno));
		used = 0;
	}
	if (vmsplice(pipes[1], &one, 1, 0) != (ssize_t)PAGE)
		die("vmsplice: %s", strerror(errno));
	used++;
}

/*
 * Touches memory until it has come from everywhere in the areas, holds a page
 * of each stretch, and gives the rest back.
 */
static unsigned int hold_spread(const struct area *areas, size_t count)
{
	uint64_t bytes = meminfo("MemFree") - 64 * MIB;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t *last = calloc(count, sizeof(*last));
	unsigned int held = 0;
	char *memory;

	if (pagemap < 0 || !last)
		die("/proc/self/pagemap: %s", strerror(errno));
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap of %" PRIu64 " bytes: %s", bytes, strerror(errno));
	madvise(memory, bytes, MADV_HUGEPAGE);
	for (uint64_t at = 0; at + HUGE <= bytes && meminfo("CmaFree") > 16 * MIB; at += HUGE)
		memory[at] = 1;
	for (uint64_t at = 0; at + HUGE <= bytes; at += HUGE) {
		uint64_t frame = frame_of(pagemap, memory + at);

		for (size_t i = 0; frame && i < count; i++) {
			if (frame < areas[i].start || frame >= areas[i].end)
				continue;
			if (last[i] && (frame > last[i] ? frame - last[i] : last[i] - frame) <
				       HELD_APART / PAGE)
				continue;
			hold_page(memory + at);
			last[i] = frame;
			held++;
		}
	}
	munmap(memory, bytes);
	return held;
}

static void hold_cma(void)
{
	struct area areas[16];
	size_t count = cma_areas(areas, 16);
	int done[2];
	char word = 0;
	pid_t pid;

	if (pipe(done))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		unsigned int held;

		setsid();
		held = hold_spread(areas, count);
		if (!held)
			die("none of the process's memory came from a CMA area");
		printf("held: %u pages; CmaFree: %" PRIu64 " MiB\n", held, meminfo("CmaFree") / MIB);
		fflush(stdout);
		fclose(stdout);
		fclose(stderr);
		if (write(done[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(done[1]);
	if (read(done[0], &word, 1) != 1)
		exit(1);
	FILE *f = fopen(HOLD_PID, "we");

	if (!f || fprintf(f, "%d\n", (int)pid) < 0 || fclose(f))
		die(HOLD_PID ": %s", strerror(errno));
}

static uint64_t size_of(const char *text)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || !value)
		die("\"%.40s\" is no number of bytes above 0", text);
	return value;
}

int main(int argc, char **argv)
{
	const char *step = argc > 1 ? argv[1] : "";

	if (argc == 3 && !strcmp(step, "leave-free"))
		leave_free(size_of(argv[2]));
	else if (argc == 3 && !strcmp(step, "fragment"))
		fragment(size_of(argv[2]));
	else if (argc == 2 && !strcmp(step, "hold-cma"))
		hold_cma();
	else if (argc == 2 && !strcmp(step, "free")) {
		if (umount(FILL_DIR))
			die(FILL_DIR ": %s", strerror(errno));
	} else {
		fprintf(stderr, "usage: gl-prepare leave-free BYTES | fragment BYTES | hold-cma | free\n");
		return 2;
	}
	return 0;
}
