/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Huge pages as /sys tells of them, and what the module was loaded with. */
#include <ftw.h>
#include <sys/stat.h>

#include "tests.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static char root[] = "/tmp/glk-sys-XXXXXX";

static void put(const char *folder, const char *name, const char *text)
{
	char path[300];
	FILE *file;

	/* All folders on the way, one after the other. */
	snprintf(path, sizeof(path), "%s/%s/", root, folder);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		mkdir(path, 0700);
		*at = '/';
	}
	snprintf(path, sizeof(path), "%s/%s/%s", root, folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int remove_one(const char *path, const struct stat *s, int kind,
		      struct FTW *ftw)
{
	(void)s, (void)kind, (void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(root, "/tmp/glk-sys-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void pages(uint64_t kib, const char *total, const char *unused,
		  const char *promised)
{
	char folder[64];

	snprintf(folder, sizeof(folder), "hugepages-%llukB", (unsigned long long)kib);
	put(folder, "nr_hugepages", total);
	put(folder, "free_hugepages", unused);
	put(folder, "resv_hugepages", promised);
}

static void pool_without_what_is_promised(void **state)
{
	struct glk_huge_pool pool;

	(void)state;
	pages(2048, "10\n", "8\n", "3\n");
	assert_true(glk_huge_pool_read(&pool, root, 2 * MIB));
	assert_int_equal(pool.total, 20 * MIB);
	assert_int_equal(pool.free, 10 * MIB);
	/* A surplus can be promised beyond what is free. */
	pages(2048, "10\n", "2\n", "3\n");
	assert_true(glk_huge_pool_read(&pool, root, 2 * MIB));
	assert_int_equal(pool.free, 0);
	assert_false(glk_huge_pool_read(&pool, root, GIB));
	assert_int_equal(pool.total, 0);
	put("hugepages-64kB", "nr_hugepages", "many\n");
	assert_false(glk_huge_pool_read(&pool, root, 65536));
}

static void largest_page_that_fits(void **state)
{
	(void)state;
	assert_int_equal(glk_huge_page_fit(root, GIB), 0);
	assert_int_equal(glk_huge_page_smallest(root), 0);
	put(".", "not-a-size", "");
	pages(2048, "600\n", "600\n", "0\n");
	pages(1048576, "1\n", "1\n", "0\n");
	assert_int_equal(glk_huge_page_smallest(root), 2 * MIB);
	assert_int_equal(glk_huge_page_fit(root, GIB), GIB);
	/* Not a gigabyte for less than that, and not two where there is one. */
	assert_int_equal(glk_huge_page_fit(root, GIB - 1), 2 * MIB);
	assert_int_equal(glk_huge_page_fit(root, GIB + 1), 2 * MIB);
	assert_int_equal(glk_huge_page_fit(root, 1200 * MIB), 2 * MIB);
	assert_int_equal(glk_huge_page_fit(root, 1200 * MIB + 1), 0);
	assert_int_equal(glk_huge_page_fit(root, 1), 2 * MIB);
	pages(2048, "600\n", "600\n", "600\n");
	assert_int_equal(glk_huge_page_fit(root, 1), 0);
	assert_int_equal(glk_huge_page_fit(root, GIB), GIB);
}

/* What can be had of this machine: nothing of a size that does not exist. */
static void refused_by_this_machine(void **state)
{
	struct glk_cause cause;
	uint64_t length;
	void *memory;

	(void)state;
	assert_int_equal(glk_huge_new(GIB, 8 * MIB, &memory, &length, &cause), -EINVAL);
	assert_int_equal(cause.reason, GIGALOCK_REASON_HUGETLB_SIZE);
	assert_int_equal(cause.request, 8 * MIB);
	assert_int_equal(cause.err, EINVAL);
	/* No pages at all is no crash. */
	assert_int_equal(glk_huge_new(GIB, 0, &memory, &length, &cause), -EINVAL);
	assert_int_equal(cause.reason, GIGALOCK_REASON_HUGETLB_SIZE);
}

static void loaded_with_a_parameter(void **state)
{
	const char *folder = "bus/pci/devices/0000:01:00.0/driver/module/parameters";
	static const struct {
		const char *text;
		bool there;
	} cases[] = {
		{ "1\n", true }, { "0x100000000+1G\n", true }, { "10\n", true },
		{ "name:buf\n", true }, { "0\n", false }, { "\n", false },
		{ "", false }, { "(null)\n", false },
	};

	(void)state;
	/* A driver that has no such parameter can't be asked: so it is tried. */
	assert_true(glk_module_has(root, "0000:01:00.0", "reserved"));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put(folder, "reserved", cases[i].text);
		assert_int_equal(glk_module_has(root, "0000:01:00.0", "reserved"),
				 cases[i].there);
		assert_true(glk_module_has(root, "0000:02:00.0", "reserved"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pool_without_what_is_promised, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(largest_page_that_fits, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(refused_by_this_machine, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(loaded_with_a_parameter, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("hugetlb", tests, NULL, NULL);
}
