/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static const struct glk_evidence plenty = {
	.mem_total = 4 * GIB, .mem_available = 3 * GIB, .commit_limit = 2 * GIB,
	.overcommit = 0, .rlimit_as = UINT64_MAX,
	.vm_size = 10 * MIB, .largest_gap = 1024 * GIB,
};

static struct glk_cause explain(struct glk_evidence e, uint64_t bytes)
{
	struct glk_cause cause;

	glk_evidence_explain(&e, bytes, ENOMEM, &cause);
	assert_int_equal(cause.err, ENOMEM);
	assert_int_equal(cause.request, bytes);
	assert_int_equal(cause.stage, GIGALOCK_STAGE_ALLOCATE);
	return cause;
}

static void each_limit_is_told_apart(void **state)
{
	struct glk_evidence e;
	struct glk_cause c;

	(void)state;
	e = plenty;
	e.rlimit_as = 512 * MIB;
	c = explain(e, GIB);
	assert_int_equal(c.reason, GIGALOCK_REASON_ADDRESS_SPACE);
	assert_int_equal(c.limit, 512 * MIB);
	assert_int_equal(c.available, 502 * MIB);

	e = plenty;
	e.largest_gap = 700 * MIB;
	c = explain(e, GIB);
	assert_int_equal(c.reason, GIGALOCK_REASON_ADDRESS_SPACE);
	assert_int_equal(c.limit, glk_size_limit());
	assert_int_equal(c.available, 700 * MIB);

	e = plenty;
	e.overcommit = 2;
	e.committed = GIB + 500 * MIB;
	c = explain(e, GIB);
	assert_int_equal(c.reason, GIGALOCK_REASON_OVERCOMMIT);
	assert_int_equal(c.limit, 2 * GIB);
	assert_int_equal(c.available, 524 * MIB);

	e = plenty;
	e.mem_total = 900 * MIB;
	e.swap_total = 50 * MIB;
	c = explain(e, GIB);
	assert_int_equal(c.reason, GIGALOCK_REASON_OVERCOMMIT);
	assert_int_equal(c.limit, 950 * MIB);
}

/* A limit that was not hit is never blamed. */
static void nothing_is_guessed(void **state)
{
	struct glk_evidence e = plenty;
	struct glk_cause c;

	(void)state;
	e.rlimit_as = 8 * GIB;
	c = explain(e, GIB);
	assert_int_equal(c.reason, GIGALOCK_REASON_NO_MEMORY);
	assert_int_equal(c.limit, 0);
	e.overcommit = 1;	/* then RAM plus swap is no limit of a promise */
	e.mem_total = 100 * MIB;
	assert_int_equal(explain(e, GIB).reason, GIGALOCK_REASON_NO_MEMORY);
	e.overcommit = -1;
	assert_int_equal(explain(e, GIB).reason, GIGALOCK_REASON_NO_MEMORY);
}

static void put(const char *folder, const char *name, const char *text)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void reads_proc(void **state)
{
	char folder[] = "/tmp/glk-proc-XXXXXX", path[300];
	struct glk_evidence e;
	static const char *const made[] = {
		"meminfo", "self/statm", "self/maps", "self", "sys/vm/overcommit_memory",
		"sys/vm", "sys", "",
	};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/self", folder);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/sys", folder);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/sys/vm", folder);
	mkdir(path, 0700);
	put(folder, "meminfo",
	    "MemTotal:        1000 kB\nMemFree: 5 kB\nMemAvailable:     600 kB\n"
	    "SwapTotal: 70 kB\nCommitLimit: 570 kB\nCommitted_AS: 33 kB\n"
	    "HugePages_Total:       0\n");
	put(folder, "self/statm", "100 50 20 10 0 40 0\n");
	put(folder, "self/maps",
	    "00400000-00500000 r-xp 00000000 00:00 0 /x\n"
	    "10500000-10600000 rw-p 00000000 00:00 0\n"
	    "10700000-10800000 rw-p 00000000 00:00 0\n"
	    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n");
	put(folder, "sys/vm/overcommit_memory", "2\n");
	glk_evidence_read(&e, folder);
	assert_int_equal(e.mem_total, 1000 * 1024);
	assert_int_equal(e.mem_available, 600 * 1024);
	assert_int_equal(e.swap_total, 70 * 1024);
	assert_int_equal(e.commit_limit, 570 * 1024);
	assert_int_equal(e.committed, 33 * 1024);
	assert_int_equal(e.overcommit, 2);
	assert_int_equal(e.vm_size, 100 * glk_page_size());
	assert_int_equal(e.largest_gap, 0x10000000);
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, made[i]);
		assert_int_equal(remove(path), 0);
	}
	glk_evidence_read(&e, folder);	/* gone: nothing known, no crash */
	assert_int_equal(e.mem_total, 0);
	assert_int_equal(e.overcommit, -1);
}

static void aligned_and_exact(void **state)
{
	static const uint64_t sizes[] = { 1, 4096, 4097, 3 * MIB + 5, 64 * MIB };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct glk_cause cause;
		unsigned char vec;
		void *memory = NULL;
		uint64_t pages = (sizes[i] + 4095) / 4096 * 4096;

		assert_int_equal(glk_memory_new(sizes[i], false, &memory, &cause), 0);
		assert_int_equal((uintptr_t)memory % (2 * MIB), 0);
		((char *)memory)[0] = 1;
		((char *)memory)[sizes[i] - 1] = 1;
		/* what follows was given back */
		assert_int_equal(mincore((char *)memory + pages, 1, &vec), -1);
		glk_memory_free(memory, sizes[i]);
		assert_int_equal(mincore(memory, 1, &vec), -1);
	}
}

#ifndef __SANITIZE_ADDRESS__	/* it needs terabytes of address space itself */
/* The kernel's own refusal, in a child. */
static int refused_with(int resource, uint64_t bytes)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct rlimit limit = { 256 * MIB, 256 * MIB };
		struct glk_cause cause = { 0 };
		void *memory;

		setrlimit(resource, &limit);
		if (glk_memory_new(bytes, false, &memory, &cause) != -ENOMEM)
			_exit(0);
		_exit(cause.limit == 256 * MIB && cause.available < 256 * MIB ?
		      (int)cause.reason : 99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}
#endif

static void real_refusals(void **state)
{
	struct glk_cause cause = { 0 };
	void *memory;

	(void)state;
#ifndef __SANITIZE_ADDRESS__
	assert_int_equal(refused_with(RLIMIT_AS, GIB), GIGALOCK_REASON_ADDRESS_SPACE);
#endif
	if (getenv("UNDER_VALGRIND"))
		return;		/* its mmap() fails in its own way */
	assert_int_equal(glk_memory_new(glk_size_limit(), false, &memory, &cause),
			 -ENOMEM);
	assert_int_equal(cause.reason, GIGALOCK_REASON_ADDRESS_SPACE);
	assert_int_equal(cause.limit, glk_size_limit());
	assert_true(cause.available > 0 && cause.available < glk_size_limit());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_limit_is_told_apart),
		cmocka_unit_test(nothing_is_guessed),
		cmocka_unit_test(reads_proc),
		cmocka_unit_test(aligned_and_exact),
		cmocka_unit_test(real_refusals),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
