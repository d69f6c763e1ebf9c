/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks as dma-bufs: handed on, taken in, and how long the memory lives. In
 * guests with the card.
 */
#include "tap.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define COHERENT GIGALOCK_STRATEGY_COHERENT
#define SG GIGALOCK_STRATEGY_SG
#define DMABUF GIGALOCK_STRATEGY_DMABUF
#define BOTH GIGALOCK_DIR_BOTH
#define PAGE ((uint64_t)4096)

static int export_of(struct glk_lock *lock)
{
	int fd, ret = glk_lock_export(lock, O_RDWR | O_CLOEXEC, &fd);

	if (ret)
		FAIL("%s can't be exported: %s",
		     glk_strategy_name(glk_lock_strategy(lock)), strerror(-ret));
	CHECK(fd >= 0);
	EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	return fd;
}

static struct glk_lock_options import_of(int fd, uint64_t bytes)
{
	return (struct glk_lock_options){
		.size = sizeof(struct glk_lock_options), .strategy = DMABUF,
		.fd = fd, .bytes = bytes,
	};
}

static struct glk_lock *import(struct glk_card *card, int fd, uint64_t bytes)
{
	const struct glk_lock_options o = import_of(fd, bytes);
	struct gigalock_failure f;
	struct glk_lock *lock;
	int ret = glk_lock_new(card, &o, &lock, &f);

	if (ret)
		FAIL("not imported: %s, %s", strerror(-ret), glk_reason_name(f.reason));
	EQUAL(glk_lock_backing(lock), GIGALOCK_BACKING_DMABUF);
	return lock;
}

static void no_import(struct glk_card *card, struct glk_lock_options o, int err,
		      uint32_t reason)
{
	struct gigalock_failure f;
	struct glk_lock *lock;

	EQUAL(glk_lock_new(card, &o, &lock, &f), -err);
	CHECK(!lock);
	expect_reason(&f, reason);
}

/* ---- data ------------------------------------------------------------------- */

static void exported_and_imported(void)
{
	struct glk_card *card = open_card(), *other = open_card();

	for (uint32_t s = 0; s < GIGALOCK_STRATEGY_COUNT; s++) {
		struct glk_lock *lock, *taken;
		unsigned char *data, *same;
		int fd;

		if (!easy_strategy(card, s))
			continue;
		lock = lock_memory(card, s, 3 * MIB, BOTH, NULL);
		fd = export_of(lock);
		taken = import(other, fd, 3 * MIB);
		data = glk_lock_data(lock);
		same = glk_lock_data(taken);
		CHECK(same && same != data);
		data[MIB + 5] = 0x77;
		EQUAL(same[MIB + 5], 0x77);
		round_trip(taken, 0, 3 * MIB, 0);
		round_trip(taken, 12345, MIB, 99);
		EQUAL(memcmp(data, same, 3 * MIB), 0);
		round_trip(lock, 0, 3 * MIB, 0);
		EQUAL(glk_lock_free(taken), 0);
		EQUAL(close(fd), 0);
		EQUAL(glk_lock_free(lock), 0);
		EQUAL(card_info(card).locks, 0);
	}
}

static void all_or_a_part(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	int fd = export_of(lock);
	struct glk_lock *whole = import(card, fd, 0);
	struct glk_lock *part = import(card, fd, 5 * PAGE);

	EQUAL(glk_lock_bytes(whole), MIB);
	EQUAL(glk_lock_bytes(part), 5 * PAGE);
	round_trip(whole, 0, MIB, 0);
	round_trip(part, 3, 4 * PAGE, 0);
	EQUAL(glk_lock_free(whole), 0);
	EQUAL(glk_lock_free(part), 0);
	no_import(card, import_of(fd, MIB + PAGE), EINVAL, GIGALOCK_REASON_BAD_SIZE);
	close(fd);
	EQUAL(glk_lock_free(lock), 0);
}

static void without_a_mapping(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	struct glk_lock_options o = import_of(export_of(lock), 0);
	struct glk_xfer_options x = {
		.size = sizeof(x), .direction = GIGALOCK_DIR_TO_CARD, .length = MIB,
		.op = GIGALOCK_XFER_OP_CRC, .flags = GIGALOCK_XFER_CRC,
	};
	struct glk_xfer_result r = { .size = sizeof(r) };
	struct glk_lock *taken;

	o.flags = GLK_LOCK_NO_MAP;
	EQUAL(glk_lock_new(card, &o, &taken, NULL), 0);
	CHECK(!glk_lock_data(taken));
	glk_pattern_fill(glk_lock_data(lock), MIB, 9, 0);
	EQUAL(glk_transfer(taken, &x, 30000, &r, NULL), 0);
	EQUAL(r.crc32c, glk_pattern_crc32c(0, 9, 0, MIB));
	EQUAL(glk_lock_free(taken), 0);
}

static void through_a_queue(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	struct glk_lock *taken = import(card, export_of(lock), 0);
	struct gigalock_queue_entry e = {
		.lock = glk_lock_id(taken), .direction = GIGALOCK_DIR_FROM_CARD,
		.op = GIGALOCK_XFER_OP_FILL, .pattern = 0x4242424242424242,
		.length = MIB,
	};
	struct gigalock_completion done;
	struct glk_queue *queue;

	EQUAL(glk_queue_new(card, NULL, &queue), 0);
	EQUAL(glk_queue_submit(queue, &e, 1, NULL), 1);
	EQUAL(glk_queue_wait(queue, 30000), 0);
	EQUAL(glk_queue_reap(queue, &done, 1), 1);
	EQUAL(done.status, 0);
	for (uint64_t i = 0; i < MIB; i++)
		EQUAL(((unsigned char *)glk_lock_data(lock))[i], 0x42);
	glk_queue_free(queue);
	EQUAL(glk_lock_free(taken), 0);
}

/* ---- how long it lives -------------------------------------------------------- */

static void held_by_its_dmabuf(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	unsigned char *data = glk_lock_data(lock);
	int fd = export_of(lock), second = export_of(lock);

	data[7] = 1;
	EQUAL(glk_lock_free(lock), -EBUSY);
	CHECK(glk_lock_data(lock) == data);
	EQUAL(data[7], 1);
	close(fd);
	EQUAL(glk_lock_free(lock), -EBUSY);
	close(second);
	EQUAL(glk_lock_free(lock), 0);
	EQUAL(card_info(card).locks, 0);
}

/* The file that it was made on is closed: whoever has the dma-buf has it still. */
static void lives_on_after_its_file(void)
{
	struct glk_card *watch = open_card();
	struct gigalock_lock call = {
		.size = sizeof(call), .strategy = COHERENT, .direction = BOTH,
		.bytes = MIB,
	};
	struct gigalock_export export = { .size = sizeof(export), .flags = O_RDWR };
	int fd = open(glk_card_device(watch), O_RDWR | O_CLOEXEC);
	struct glk_lock *taken;
	unsigned char *data;

	CHECK(fd >= 0);
	EQUAL(ioctl(fd, GIGALOCK_IOC_LOCK, &call), 0);
	export.id = call.id;
	EQUAL(ioctl(fd, GIGALOCK_IOC_EXPORT, &export), 0);
	EQUAL(close(fd), 0);
	EQUAL(card_info(watch).locks, 1);
	data = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, export.fd, 0);
	CHECK(data != MAP_FAILED);
	EQUAL(data[MIB - 1], 0);
	data[MIB - 1] = 9;
	taken = import(watch, export.fd, 0);
	EQUAL(((unsigned char *)glk_lock_data(taken))[MIB - 1], 9);
	round_trip(taken, 0, MIB, 0);
	EQUAL(glk_lock_free(taken), 0);
	EQUAL(close(export.fd), 0);
	EQUAL(card_info(watch).locks, 1);	/* it is mapped */
	EQUAL(munmap(data, MIB), 0);
	EQUAL(card_info(watch).locks, 0);
}

static void import_holds_it_too(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	int fd = export_of(lock);
	struct glk_lock *taken = import(card, fd, 0);

	close(fd);
	EQUAL(glk_lock_free(lock), -EBUSY);
	round_trip(taken, 0, MIB, 0);
	EQUAL(glk_lock_free(taken), 0);
	EQUAL(glk_lock_free(lock), 0);
}

/* ---- what is refused ------------------------------------------------------------ */

static void other_files(void)
{
	struct glk_card *card = open_card();
	int file = memfd_create("no dma-buf", 0);

	EQUAL(ftruncate(file, MIB), 0);
	no_import(card, import_of(file, MIB), EBADF, GIGALOCK_REASON_DMABUF_REFUSED);
	no_import(card, import_of(file, 0), EBADF, GIGALOCK_REASON_DMABUF_REFUSED);
	no_import(card, import_of(-1, MIB), EBADF, GIGALOCK_REASON_DMABUF_REFUSED);
	no_import(card, import_of(12345, MIB), EBADF, GIGALOCK_REASON_DMABUF_REFUSED);
	no_import(card, import_of(glk_card_fd(card), MIB), EBADF,
		  GIGALOCK_REASON_DMABUF_REFUSED);
}

static void import_is_not_exported(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	struct glk_lock *taken = import(card, export_of(lock), 0);
	int fd = 77;

	EQUAL(glk_lock_export(taken, O_RDWR, &fd), -EOPNOTSUPP);
	EQUAL(fd, -1);
	EQUAL(glk_lock_free(taken), 0);
}

static void refused_exports(void)
{
	struct gigalock_export export = { .size = sizeof(export), .id = 0xfffffff0 };
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	int fd;

	EQUAL(glk_lock_export(lock, O_RDWR | O_APPEND, &fd), -EINVAL);
	EQUAL(glk_lock_export(lock, O_RDWR | O_NONBLOCK, &fd), -EINVAL);
	EQUAL(ioctl(glk_card_fd(card), GIGALOCK_IOC_EXPORT, &export), -1);
	EQUAL(errno, ENOENT);
	EQUAL(glk_lock_free(lock), 0);
}

/* Who gets it to read can't map it to write. */
static void for_reading_only(void)
{
	struct glk_card *card = open_card();
	struct glk_lock *lock = lock_memory(card, COHERENT, MIB, BOTH, NULL);
	unsigned char *data = glk_lock_data(lock);
	void *map;
	int fd;

	EQUAL(glk_lock_export(lock, O_RDONLY | O_CLOEXEC, &fd), 0);
	data[100] = 5;
	CHECK(mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	map = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	EQUAL(((unsigned char *)map)[100], 5);
	munmap(map, MIB);
	close(fd);
	EQUAL(glk_lock_free(lock), 0);
}

int main(int argc, char **argv)
{
	static const struct tap_test tests[] = {
		TEST(exported_and_imported),
		TEST(all_or_a_part),
		TEST(without_a_mapping),
		TEST(through_a_queue),
		TEST(held_by_its_dmabuf),
		TEST(lives_on_after_its_file),
		TEST(import_holds_it_too),
		TEST(other_files),
		TEST(import_is_not_exported),
		TEST(refused_exports),
		TEST(for_reading_only),
	};

	return tap_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
