/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks: what is refused and why, and that nothing is left behind. In guests
 * with the card, as root.
 */
#include "tap.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define SG GIGALOCK_STRATEGY_SG
#define BOTH GIGALOCK_DIR_BOTH
#define LEN (8 * MIB)

static unsigned char *map(uint64_t bytes, int prot)
{
	unsigned char *data = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	CHECK(data != MAP_FAILED);
	return data;
}

/* ---- memory that can't be locked ------------------------------------------ */

static void not_mapped(void)
{
	struct glk_card *card = open_card();
	unsigned char *data = map(LEN, PROT_READ | PROT_WRITE);
	struct gigalock_failure f;

	munmap(data, LEN);
	f = refused(card, SG, LEN, BOTH, data, EFAULT, GIGALOCK_REASON_BAD_ADDRESS);
	EQUAL(f.available, 0);
	EQUAL(f.request, LEN);
	EQUAL(f.stage, GIGALOCK_STAGE_PIN);
	EQUAL(f.strategy, SG);
	EQUAL(f.op, GIGALOCK_OP_LOCK);
	EQUAL(f.lock_size, LEN);
	EQUAL(f.pid, getpid());
	CHECK(f.seq > 0);
}

static void half_unmapped(void)
{
	struct glk_card *card = open_card();
	unsigned char *data = map(LEN, PROT_READ | PROT_WRITE);

	munmap(data + LEN / 2, LEN / 2);
	EQUAL(refused(card, SG, LEN, BOTH, data, EFAULT,
		      GIGALOCK_REASON_BAD_ADDRESS).available, LEN / 2);
	/* from an odd start: counted from there */
	EQUAL(refused(card, SG, LEN - 100, BOTH, data + 100, EFAULT,
		      GIGALOCK_REASON_BAD_ADDRESS).available, LEN / 2 - 100);
	/* the half that is there can be locked */
	EQUAL(glk_lock_free(lock_memory(card, SG, LEN / 2, BOTH, data)), 0);
}

static void read_only_memory(void)
{
	struct glk_card *card = open_card();
	unsigned char *data = map(LEN, PROT_READ | PROT_WRITE);
	struct glk_lock *lock;

	memset(data, 7, LEN);
	EQUAL(mprotect(data + LEN / 4, LEN / 4, PROT_READ), 0);
	EQUAL(refused(card, SG, LEN, BOTH, data, EFAULT,
		      GIGALOCK_REASON_READ_ONLY).available, LEN / 4);
	refused(card, SG, LEN, GIGALOCK_DIR_FROM_CARD, data, EFAULT,
		GIGALOCK_REASON_READ_ONLY);
	/* the card only reads it: fine */
	lock = lock_memory(card, SG, LEN, GIGALOCK_DIR_TO_CARD, data);
	EQUAL(glk_lock_free(lock), 0);
}

static void no_access(void)
{
	struct glk_card *card = open_card();
	unsigned char *data = map(LEN, PROT_READ | PROT_WRITE);

	EQUAL(mprotect(data + LEN / 2, LEN / 2, PROT_NONE), 0);
	EQUAL(refused(card, SG, LEN, BOTH, data, EFAULT,
		      GIGALOCK_REASON_BAD_ADDRESS).available, LEN / 2);
}

static void beyond_the_file(void)
{
	struct glk_card *card = open_card();
	int fd = memfd_create("short", 0);
	void *data;

	EQUAL(ftruncate(fd, LEN / 2), 0);
	data = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(data != MAP_FAILED);
	EQUAL(refused(card, SG, LEN, BOTH, data, EFAULT,
		      GIGALOCK_REASON_BAD_ADDRESS).available, LEN / 2);
}

/* A mapping of the driver's own memory has no pages that can be pinned. */
static void device_mapping(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_COHERENT, MIB,
					    BOTH, NULL);

	EQUAL(refused(card, SG, MIB, BOTH, glk_lock_data(lock), EFAULT,
		      GIGALOCK_REASON_UNPINNABLE).available, 0);
	EQUAL(glk_lock_free(lock), 0);
}

static void address_near_the_top(void)
{
	struct gigalock_failure f = { .size = sizeof(f) };
	struct gigalock_lock call = {
		.size = sizeof(call), .strategy = SG, .direction = BOTH,
		.bytes = LEN, .failure_addr = (uintptr_t)&f,
	};
	struct glk_card *card = open_card();
	static const uint64_t starts[] = {
		UINT64_MAX, UINT64_MAX - LEN + 1, UINT64_MAX - LEN,
		(uint64_t)1 << 63, 0xffffffff81000000, (uint64_t)1 << 47,
	};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		call.user_addr = starts[i];
		EQUAL(ioctl(glk_card_fd(card), GIGALOCK_IOC_LOCK, &call), -1);
		CHECK(errno == EFAULT || errno == EINVAL);
		CHECK(f.reason == GIGALOCK_REASON_BAD_ADDRESS ||
		      f.reason == GIGALOCK_REASON_BAD_SIZE ||
		      f.reason == GIGALOCK_REASON_BAD_ARGUMENT);
	}
	EQUAL(card_info(card).locks, 0);
}

/* ---- sizes and limits ------------------------------------------------------ */

static void sizes_the_driver_refuses(void)
{
	static const struct {
		uint32_t strategy;
		uint64_t bytes;
	} cases[] = {
		{ GIGALOCK_STRATEGY_COHERENT, 0 }, { GIGALOCK_STRATEGY_COHERENT, 4097 },
		{ GIGALOCK_STRATEGY_CONTIG_RANGE, 0 },
		{ GIGALOCK_STRATEGY_CONTIG_RANGE, 1 }, { SG, 0 },
		{ SG, UINT64_MAX }, { GIGALOCK_STRATEGY_COHERENT, (uint64_t)-4096 },
	};
	struct glk_card *card = open_card();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gigalock_failure f = { .size = sizeof(f) };
		struct gigalock_lock call = {
			.size = sizeof(call), .strategy = cases[i].strategy,
			.direction = BOTH, .bytes = cases[i].bytes,
			.user_addr = cases[i].strategy == SG ? 4096 : 0,
			.failure_addr = (uintptr_t)&f,
		};

		EQUAL(ioctl(glk_card_fd(card), GIGALOCK_IOC_LOCK, &call), -1);
		EQUAL(errno, EINVAL);
		expect_reason(&f, GIGALOCK_REASON_BAD_SIZE);
		EQUAL(f.request, cases[i].bytes);
	}
}

static void strategy_that_does_not_exist(void)
{
	struct gigalock_failure f = { .size = sizeof(f) };
	struct gigalock_lock call = {
		.size = sizeof(call), .strategy = 77, .direction = BOTH,
		.bytes = 4096, .failure_addr = (uintptr_t)&f,
	};
	struct glk_card *card = open_card();

	EQUAL(ioctl(glk_card_fd(card), GIGALOCK_IOC_LOCK, &call), -1);
	EQUAL(errno, EINVAL);
	expect_reason(&f, GIGALOCK_REASON_BAD_STRATEGY);
	EQUAL(f.request, 77);
	EQUAL(f.limit, GIGALOCK_STRATEGY_COUNT);
}

static void beyond_the_largest_block(void)
{
	struct glk_card *card = open_card();
	struct gigalock_info info = card_info(card);
	struct gigalock_failure f;

	if (info.iommu)
		tap_skip("an IOMMU helps");
	f = refused(card, GIGALOCK_STRATEGY_COHERENT, info.buddy_max_bytes + 4096,
		    BOTH, NULL, ENOMEM, GIGALOCK_REASON_BUDDY_LIMIT);
	EQUAL(f.limit, info.buddy_max_bytes);
	EQUAL(f.request, info.buddy_max_bytes + 4096);
	/* the block itself can be had */
	EQUAL(glk_lock_free(lock_memory(card, GIGALOCK_STRATEGY_COHERENT,
					info.buddy_max_bytes, BOTH, NULL)), 0);
}

static uint64_t mem_total(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;

	CHECK(file && fscanf(file, "MemTotal: %llu", &kib) == 1);
	fclose(file);
	return kib * 1024;
}

static void more_than_all_ram(void)
{
	struct glk_card *card = open_card();
	struct gigalock_failure f = refused(card, GIGALOCK_STRATEGY_CONTIG_RANGE,
					    (uint64_t)1 << 40, BOTH, NULL, ENOMEM,
					    GIGALOCK_REASON_RAM_TOO_SMALL);

	EQUAL(f.request, (uint64_t)1 << 40);
	CHECK(f.limit >= mem_total() && f.limit < 2 * mem_total());
}

static void overcommit(void)
{
	struct glk_card *card = open_card();
	struct gigalock_failure f = refused(card, SG, (uint64_t)1 << 40, BOTH, NULL,
					    ENOMEM, GIGALOCK_REASON_OVERCOMMIT);

	CHECK(f.limit >= mem_total());
	EQUAL(f.request, (uint64_t)1 << 40);
	EQUAL(f.seq, 0);	/* the driver was never asked */
}

static void address_space(void)
{
	const struct rlimit limit = { 64 * MIB, 64 * MIB };
	struct glk_card *card = open_card();
	struct gigalock_failure f;

	EQUAL(setrlimit(RLIMIT_AS, &limit), 0);
	f = refused(card, SG, 128 * MIB, BOTH, NULL, ENOMEM,
		    GIGALOCK_REASON_ADDRESS_SPACE);
	EQUAL(f.limit, 64 * MIB);
	CHECK(f.available < 64 * MIB);
	/* a lock of the kernel's memory can't be mapped then */
	f = refused(card, GIGALOCK_STRATEGY_CONTIG_RANGE, 80 * MIB, BOTH, NULL,
		    ENOMEM, GIGALOCK_REASON_ADDRESS_SPACE);
	EQUAL(f.stage, GIGALOCK_STAGE_USER_MAP);
}

static void become_a_user(uint64_t memlock)
{
	const struct rlimit limit = { memlock, memlock };

	EQUAL(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	EQUAL(setgroups(0, NULL), 0);
	EQUAL(setresgid(1000, 1000, 1000), 0);
	EQUAL(setresuid(1000, 1000, 1000), 0);
}

static void memlock_limit(void)
{
	struct glk_card *card = open_card();
	struct gigalock_failure f;
	struct glk_lock *lock;

	become_a_user(4 * MIB);
	f = refused(card, SG, LEN, BOTH, NULL, ENOMEM,
		    GIGALOCK_REASON_MEMLOCK_LIMIT);
	EQUAL(f.limit, 4 * MIB);
	EQUAL(f.request, LEN);
	EQUAL(f.available, 4 * MIB);
	EQUAL(f.stage, GIGALOCK_STAGE_ACCOUNT);
	lock = lock_memory(card, SG, 3 * MIB, BOTH, NULL);
	f = refused(card, SG, 2 * MIB, BOTH, NULL, ENOMEM,
		    GIGALOCK_REASON_MEMLOCK_LIMIT);
	EQUAL(f.available, MIB);
	/* what is given back can be had again */
	EQUAL(glk_lock_free(lock), 0);
	EQUAL(glk_lock_free(lock_memory(card, SG, 4 * MIB, BOTH, NULL)), 0);
}

static void memlock_limit_of_zero(void)
{
	struct glk_card *card = open_card();

	become_a_user(0);
	EQUAL(refused(card, SG, 4096, BOTH, NULL, EPERM,
		      GIGALOCK_REASON_MEMLOCK_LIMIT).limit, 0);
}

static void no_permission(void)
{
	const char *device = getenv("GIGALOCK_DEVICE");
	struct gigalock_failure f;
	struct glk_card *card;

	become_a_user(MIB);
	EQUAL(glk_card_open(device, &card, &f), -EACCES);
	expect_reason(&f, GIGALOCK_REASON_PERMISSION);
}

/* ---- whose and how long ------------------------------------------------------ */

static int raw_unlock(struct glk_card *card, uint32_t id)
{
	struct gigalock_unlock call = { .size = sizeof(call), .id = id };

	return ioctl(glk_card_fd(card), GIGALOCK_IOC_UNLOCK, &call) ? errno : 0;
}

static void unlock_while_mapped(void)
{
	struct glk_card *card = open_card();

	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++) {
		struct glk_lock *lock;
		unsigned char *data;

		if (s == SG || !easy_strategy(card, s))
			continue;
		lock = lock_memory(card, s, MIB, BOTH, NULL);
		data = glk_lock_data(lock);

		EQUAL(raw_unlock(card, glk_lock_id(lock)), EBUSY);
		data[MIB - 1] = 1;	/* nothing changed */
		round_trip(lock, 0, MIB, 0);
		EQUAL(glk_lock_free(lock), 0);
		EQUAL(card_info(card).locks, 0);
	}
}

/* A child has the mapping too: the library puts its own back. */
static void unlock_while_a_child_maps(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_CONTIG_RANGE,
					    MIB, BOTH, NULL);
	void *data = glk_lock_data(lock);
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	EQUAL(glk_lock_free(lock), -EBUSY);
	CHECK(glk_lock_data(lock) == data);
	round_trip(lock, 0, MIB, 0);
	kill(pid, SIGKILL);
	EQUAL(waitpid(pid, &status, 0), pid);
	EQUAL(glk_lock_free(lock), 0);
}

static void ids_of_another_file(void)
{
	struct glk_card *mine = open_card(), *other = open_card();
	struct glk_lock *lock = lock_memory(mine, SG, MIB, BOTH, NULL);
	struct gigalock_sync sync = {
		.size = sizeof(sync), .id = glk_lock_id(lock),
		.flags = GIGALOCK_SYNC_FOR_CPU,
	};
	struct gigalock_submit submit = {
		.size = sizeof(submit), .id = glk_lock_id(lock),
		.direction = GIGALOCK_DIR_TO_CARD, .length = 1,
	};

	EQUAL(raw_unlock(other, glk_lock_id(lock)), ENOENT);
	EQUAL(ioctl(glk_card_fd(other), GIGALOCK_IOC_SYNC, &sync), -1);
	EQUAL(errno, ENOENT);
	EQUAL(ioctl(glk_card_fd(other), GIGALOCK_IOC_SUBMIT, &submit), -1);
	EQUAL(errno, ENOENT);
	EQUAL(raw_unlock(mine, 0xffffffff), ENOENT);
	EQUAL(glk_lock_free(lock), 0);
}

static void mmap_what_is_not_mine(void)
{
	struct glk_card *card = open_card(), *other = open_card();
	struct glk_lock *lock = lock_memory(card, GIGALOCK_STRATEGY_COHERENT, MIB,
					    BOTH, NULL);
	struct glk_lock *sg = lock_memory(card, SG, MIB, BOTH, NULL);

	/* Every offset a lock could have, on a file that has none. */
	for (uint64_t at = 0; at < 64; at++)
		for (int shift = 12; shift < 44; shift += 4)
			CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED,
				   glk_card_fd(other), (off_t)(at << shift)) ==
			      MAP_FAILED);
	EQUAL(glk_lock_free(sg), 0);
	EQUAL(glk_lock_free(lock), 0);
}

static void close_gives_everything_back(void)
{
	struct glk_card *watch = open_card();
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct glk_card *card = open_card();

		unsigned int locks = 0;

		for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++)
			if (easy_strategy(card, s)) {
				lock_memory(card, s, MIB, BOTH, NULL);
				locks++;
			}
		CHECK(locks >= 3);
		EQUAL(card_info(card).locks, locks);
		EQUAL(card_info(card).locked_bytes, locks * MIB);
		_exit(0);	/* nothing freed, nothing closed */
	}
	EQUAL(waitpid(pid, &status, 0), pid);
	EQUAL(status, 0);
	EQUAL(card_info(watch).locks, 0);
	EQUAL(card_info(watch).locked_bytes, 0);
}

static void handles_keep_the_card(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, SG, MIB, BOTH, NULL);

	glk_card_close(card);
	round_trip(lock, 1, MIB - 1, 0);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- more than one attempt ---------------------------------------------------- */

static struct glk_try tries[32];
static unsigned int try_count;

static void collect(const struct glk_try *attempt, void *arg)
{
	EQUAL((uintptr_t)arg, 42);
	CHECK(try_count < 32);
	tries[try_count++] = *attempt;
}

static void auto_says_what_it_tried(void)
{
	struct glk_lock_options o = {
		.size = sizeof(o), .strategy = GLK_STRATEGY_AUTO,
		.tried = collect, .tried_arg = (void *)42,
	};
	struct glk_card *card = open_card();
	struct gigalock_info info = card_info(card);
	struct gigalock_failure f;
	struct glk_lock *lock;

	o.bytes = MIB;
	EQUAL(glk_lock_new(card, &o, &lock, &f), 0);
	EQUAL(try_count, 1);
	EQUAL(glk_lock_strategy(lock), GIGALOCK_STRATEGY_COHERENT);
	EQUAL(glk_lock_free(lock), 0);
	if (info.iommu)
		return;
	try_count = 0;
	o.bytes = info.buddy_max_bytes * 2;
	EQUAL(glk_lock_new(card, &o, &lock, &f), 0);
	CHECK(try_count >= 2);
	CHECK(!tries[0].ok);
	EQUAL(tries[0].failure.reason, GIGALOCK_REASON_BUDDY_LIMIT);
	CHECK(tries[try_count - 1].ok);
	EQUAL(glk_lock_strategy(lock), tries[try_count - 1].strategy);
	EQUAL(glk_lock_free(lock), 0);
	try_count = 0;
	o.bytes = (uint64_t)1 << 40;
	EQUAL(glk_lock_new(card, &o, &lock, &f), -ENOMEM);
	CHECK(try_count >= 3);
	EQUAL(tries[1].strategy, GIGALOCK_STRATEGY_CONTIG_RANGE);
	EQUAL(tries[try_count - 1].strategy, SG);
	EQUAL(f.reason, tries[try_count - 1].failure.reason);
}

static void smallest_acceptable_size(void)
{
	struct glk_lock_options o = {
		.size = sizeof(o), .strategy = GIGALOCK_STRATEGY_COHERENT,
		.bytes = 512 * MIB, .min_bytes = MIB,
		.tried = collect, .tried_arg = (void *)42,
	};
	struct glk_card *card = open_card();
	struct gigalock_info info = card_info(card);
	struct gigalock_failure f;
	struct glk_lock *lock;

	if (info.iommu)
		tap_skip("an IOMMU helps");
	EQUAL(glk_lock_new(card, &o, &lock, &f), 0);
	EQUAL(glk_lock_bytes(lock), info.buddy_max_bytes);
	EQUAL(try_count, 2);	/* the failure said what would do */
	EQUAL(glk_lock_free(lock), 0);
	o.min_bytes = info.buddy_max_bytes + 4096;
	EQUAL(glk_lock_new(card, &o, &lock, &f), -ENOMEM);
	expect_reason(&f, GIGALOCK_REASON_BUDDY_LIMIT);
	EQUAL(f.request, o.min_bytes);
}

/* More than there is, and less will do: found without the OOM killer's help. */
static void smallest_acceptable_size_of_pages(void)
{
	struct glk_lock_options o = {
		.size = sizeof(o), .bytes = mem_total() - MIB, .min_bytes = MIB,
		.tried = collect, .tried_arg = (void *)42,
	};
	static const uint32_t strategies[] = { SG, GLK_STRATEGY_AUTO };
	struct glk_card *card = open_card();

	for (int i = 0; i < 2; i++) {
		struct gigalock_failure f;
		struct glk_lock *lock;

		o.strategy = strategies[i];
		EQUAL(glk_lock_new(card, &o, &lock, &f), 0);
		CHECK(glk_lock_bytes(lock) > mem_total() / 4);
		CHECK(glk_lock_bytes(lock) < mem_total());
		EQUAL(glk_lock_free(lock), 0);
	}
}

static void log_is_readable_by_others(void)
{
	struct gigalock_failure log[GIGALOCK_FAILURE_LOG], f;
	struct glk_card *card = open_card();
	int64_t since = glk_card_failure_seq(card);
	int status;
	pid_t pid = fork();

	CHECK(since >= 0);
	if (pid == 0) {
		refused(open_card(), SG, MIB, BOTH, (void *)4096, EFAULT,
			GIGALOCK_REASON_BAD_ADDRESS);
		_exit(0);
	}
	EQUAL(waitpid(pid, &status, 0), pid);
	EQUAL(status, 0);
	EQUAL(glk_card_failures(card, since, log, GIGALOCK_FAILURE_LOG), 1);
	EQUAL(log[0].reason, GIGALOCK_REASON_BAD_ADDRESS);
	EQUAL(log[0].pid, pid);
	EQUAL(log[0].seq, since + 1);
	CHECK(!strncmp((char *)log[0].comm, "gl-test-locks", 13));
	EQUAL(glk_failure_of_child(card, pid, status, since, &f), 1);
	EQUAL(f.reason, GIGALOCK_REASON_BAD_ADDRESS);
	EQUAL(glk_failure_of_child(card, pid, status, since + 1, &f), 0);
	EQUAL(glk_card_failures(card, since + 1, log, GIGALOCK_FAILURE_LOG), 0);
}

static void search_finds_the_largest(void)
{
	struct glk_limit_options o = {
		.size = sizeof(o), .bytes = 256 * MIB,
		.strategy = GIGALOCK_STRATEGY_COHERENT,
		.tried = collect, .tried_arg = (void *)42,
	};
	struct glk_limit_result r = { .size = sizeof(r) };
	struct gigalock_info info = card_info(open_card());
	struct gigalock_failure f;

	if (info.iommu)
		tap_skip("an IOMMU helps");
	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	EQUAL(r.largest, info.buddy_max_bytes);
	EQUAL(r.tries, 2);
	EQUAL(try_count, 2);
	CHECK(!r.wanted_locked);
	expect_reason(&r.failure, GIGALOCK_REASON_BUDDY_LIMIT);
	o.bytes = 16 * MIB;
	o.strategy = SG;
	EQUAL(glk_limit_search(getenv("GIGALOCK_DEVICE"), &o, &r, &f), 0);
	EQUAL(r.largest, 16 * MIB);
	CHECK(r.wanted_locked);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(not_mapped),
		TEST(half_unmapped),
		TEST(read_only_memory),
		TEST(no_access),
		TEST(beyond_the_file),
		TEST(device_mapping),
		TEST(address_near_the_top),
		TEST(sizes_the_driver_refuses),
		TEST(strategy_that_does_not_exist),
		TEST(beyond_the_largest_block),
		TEST(more_than_all_ram),
		TEST(overcommit),
		TEST(address_space),
		TEST(memlock_limit),
		TEST(memlock_limit_of_zero),
		TEST(no_permission),
		TEST(unlock_while_mapped),
		TEST(unlock_while_a_child_maps),
		TEST(ids_of_another_file),
		TEST(mmap_what_is_not_mine),
		TEST(close_gives_everything_back),
		TEST(handles_keep_the_card),
		TEST(auto_says_what_it_tried),
		TEST(smallest_acceptable_size),
		TEST(smallest_acceptable_size_of_pages),
		TEST(log_is_readable_by_others),
		TEST(search_finds_the_largest),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
