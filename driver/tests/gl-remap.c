// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a process does to the mapping of a lock: makes it longer, shorter, moves
 * it, cuts it up, forks with it, gives advice about it. All that would show what
 * isn't the lock's is refused, and nothing that is mapped stays behind.
 *
 *   gl-remap STRATEGY
 */
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "queue.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE	4096UL
#define BYTES	(2UL << 20)
#define SLOT	"/sys/bus/pci/drivers/gigalock"

static struct gigalock_lock lock;
static sigjmp_buf back;

static void on_signal(int sig)
{
	siglongjmp(back, sig);
}

/* The signal that an access gets, or 0. */
static int access_of(volatile char *p, bool write)
{
	int sig = sigsetjmp(back, 1);

	if (sig)
		return sig;
	if (write)
		*p = *p;
	else
		(void)*p;
	return 0;
}

static char *map(int fd, uint64_t offset, uint64_t bytes, int prot)
{
	char *p = mmap(NULL, bytes, prot, MAP_SHARED, fd, lock.mmap_offset + offset);

	if (p == MAP_FAILED)
		bail("mmap");
	return p;
}

/* Where nothing is, for as long as nobody maps anything. */
static char *nowhere(uint64_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bail("mmap");
	return p;
}

static void refused(void *got, int want, const char *what)
{
	fails(got == MAP_FAILED ? -1 : 0, want, what);
}

static void test_longer(void)
{
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	char *part = map(card, BYTES / 2, PAGE, PROT_READ | PROT_WRITE);

	refused(mremap(mem, BYTES, BYTES + PAGE, MREMAP_MAYMOVE), EFAULT, "making it longer");
	refused(mremap(part, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT,
		"making a part longer, within the lock");
	refused(mremap(mem, 0, PAGE, MREMAP_MAYMOVE), EFAULT, "a second one of nothing");
	refused(mremap(mem, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), EINVAL,
		"moving it and staying there");
	is(marked_until(mem, BYTES, 0), BYTES, "it is as it was");
	munmap(part, PAGE);
	munmap(mem, BYTES);
}

static void test_moved(void)
{
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE), *to = nowhere(BYTES), *half;

	is(marked_until(mem, BYTES, 0), BYTES, "it is there");
	if (mremap(mem, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		bail("mremap");
	is(access_of(mem, false), SIGSEGV, "moved, it is no longer where it was");
	is(marked_until(to, BYTES, 0), BYTES, "it is where it has been moved to");
	fails(try_unlock(lock.id), EBUSY, "UNLOCK of what has moved");

	/* Never touched at its old place, at an odd distance from there. */
	mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	half = nowhere(BYTES + PAGE) + PAGE;
	if (mremap(mem + 3 * PAGE, BYTES / 2, BYTES / 2, MREMAP_MAYMOVE | MREMAP_FIXED, half) != half)
		bail("mremap of a part");
	is(marked_until(half, BYTES / 2, 3 * PAGE / 8), BYTES / 2,
	   "a part from the middle has its own pages");
	is(access_of(mem + 3 * PAGE, false), SIGSEGV, "and leaves a hole");
	is(marked_until(mem, 3 * PAGE, 0), 3 * PAGE, "with the pages before it");
	is(marked_until(mem + BYTES / 2 + 3 * PAGE, BYTES / 2 - 3 * PAGE, (BYTES / 2 + 3 * PAGE) / 8),
	   BYTES / 2 - 3 * PAGE, "and behind it");

	/* Shorter. */
	if (mremap(to, BYTES, BYTES / 2, 0) != to)
		bail("mremap to half of it");
	is(marked_until(to, BYTES / 2, 0), BYTES / 2, "made shorter, its beginning is there");
	is(access_of(to + BYTES / 2, false), SIGSEGV, "its end is not");
	refused(mremap(to, BYTES / 2, BYTES, MREMAP_MAYMOVE), EFAULT, "and does not come back");
	munmap(to, BYTES);
	munmap(mem, BYTES);
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while the part is mapped");
	munmap(half, BYTES);
}

static void test_other_pages(void)
{
	char *mem = map(card, 0, 2 * PAGE, PROT_READ | PROT_WRITE);
	uint64_t first = lock.mmap_offset / PAGE;

	/* As old as it is, it maps anew and so is checked as any other. */
	fails(remap_file_pages(mem, PAGE, 0, first + 5, 0), 0, "remap_file_pages() within the lock");
	is(marked_until(mem, PAGE, 5 * PAGE / 8), PAGE, "shows that page");
	is(marked_until(mem + PAGE, PAGE, PAGE / 8), PAGE, "and the next as before");
	fails(remap_file_pages(mem, PAGE, 0, first + BYTES / PAGE, 0), ENOENT,
	      "remap_file_pages() behind its end");
	munmap(mem, 2 * PAGE);
}

static void test_rights(void)
{
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE), *seen;
	int own = card, reader;

	access_of(mem, true);
	if (mprotect(mem, BYTES, PROT_READ))
		bail("mprotect");
	is(access_of(mem, true), SIGSEGV, "for reading only, it isn't written");
	is(access_of(mem, false), 0, "but read");
	if (mprotect(mem, PAGE, PROT_READ | PROT_WRITE))
		bail("mprotect");
	is(access_of(mem, true), 0, "and written again, when that is allowed again");
	munmap(mem, BYTES);

	/* A file that is open for reading: nothing of it is ever written. */
	reader = open("/dev/gigalock0", O_RDONLY | O_CLOEXEC);
	card = reader;
	lock.id = 0;
	do_lock(&lock);
	refused(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, reader, lock.mmap_offset),
		EACCES, "mapping for writing, of a file for reading");
	seen = map(reader, 0, BYTES, PROT_READ);
	is(zero_until(seen, BYTES), BYTES, "for reading it is mapped");
	fails(mprotect(seen, BYTES, PROT_READ | PROT_WRITE), EACCES, "and stays so");
	munmap(seen, BYTES);
	do_unlock(lock.id);
	close(reader);
	card = own;
}

/* What would take its pages away, or have them copied, is not for it. */
static void test_advice(void)
{
	static const struct {
		int advice;
		const char *name;
	} no[] = {
		{ MADV_DONTNEED, "DONTNEED" }, { MADV_FREE, "FREE" }, { MADV_REMOVE, "REMOVE" },
		{ MADV_DOFORK, "DOFORK" }, { MADV_WIPEONFORK, "WIPEONFORK" },
		{ 20 /* MADV_COLD */, "COLD" }, { 21 /* MADV_PAGEOUT */, "PAGEOUT" },
		{ 23 /* MADV_POPULATE_WRITE */, "POPULATE_WRITE" },
	};
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	int status;

	is(marked_until(mem, BYTES, 0), BYTES, "it is there");
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		ok(madvise(mem, BYTES, no[i].advice), "MADV_%s is refused", no[i].name);
	is(marked_until(mem, BYTES, 0), BYTES, "and nothing was lost");
	if (madvise(mem, BYTES, MADV_DONTFORK))
		bail("MADV_DONTFORK");
	if (!fork())
		_exit(access_of(mem, false) != SIGSEGV);
	wait(&status);
	is(status, 0, "a child doesn't have it, if it is not to");
	munmap(mem, BYTES);
}

static void test_forked(void)
{
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	int to[2], from[2], status;
	char c = 0;

	access_of(mem, true);
	if (pipe(to) || pipe(from))
		bail("pipe");
	if (!fork()) {
		bool good = marked_until(mem, BYTES, 0) == BYTES;

		if (write(from[1], &c, 1) != 1 || read(to[0], &c, 1) != 1)
			_exit(2);
		_exit(!good);
	}
	if (read(from[0], &c, 1) != 1)
		bail("the child");
	munmap(mem, BYTES);
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while a child has it mapped");
	if (write(to[1], &c, 1) != 1)
		bail("the child");
	wait(&status);
	is(status, 0, "which saw all of it");
}

static long page_faults(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_minflt;
}

/* Another file's queue goes, and what it showed; ours is left alone. */
static void test_others(void)
{
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	struct gigalock_lock before = { .strategy = lock.strategy };
	int own = card;
	struct queue q;
	long faults;

	card = open("/dev/gigalock0", O_RDWR | O_CLOEXEC);
	/* So long that the queue lies where our lock does, if each file counted for itself. */
	before.bytes = lock.mmap_offset - PAGE;
	if (before.bytes && before.bytes < 2 * BYTES)
		do_lock(&before);
	queue_make(&q, 16, 0);
	ok(q.c.mmap_offset >= lock.mmap_offset + BYTES ||
	   q.c.mmap_offset + q.c.ring_bytes <= lock.mmap_offset, "two files have other offsets");
	refused(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, own, q.c.mmap_offset), ENOENT,
		"and can't use each other's");
	(void)q.ring[0].seq;
	is(marked_until(mem, BYTES, 0), BYTES, "all of ours is there");
	if (queue_destroy(&q))
		bail("QUEUE_DESTROY");
	faults = page_faults();
	for (uint64_t i = 0; i < BYTES; i += PAGE)
		access_of(mem + i, true);
	is(page_faults() - faults, 0, "and still is, when the other's queue is gone");
	munmap((void *)q.ring, q.c.ring_bytes);
	munmap(mem, BYTES);
	close(card);
	card = own;
}

/* Moved and cut up, it is found when the card goes. */
static void test_gone(void)
{
	char *mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE), *to = nowhere(BYTES + PAGE) + PAGE;
	int f;

	is(marked_until(mem, BYTES, 0), BYTES, "it is there");
	if (mremap(mem + BYTES / 2, BYTES / 2, BYTES / 2, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		bail("mremap");
	munmap(mem + PAGE, PAGE);
	is(access_of(mem, true) | access_of(mem + 2 * PAGE, true) | access_of(to, true), 0,
	   "in three parts, all are there");
	f = open(SLOT "/unbind", O_WRONLY | O_CLOEXEC);
	if (write(f, card_info.bus, strlen((char *)card_info.bus)) < 0)
		bail("unbind");
	close(f);
	is(access_of(mem, false), SIGBUS, "the card gone, the first is no more");
	is(access_of(mem + 2 * PAGE, true), SIGBUS, "nor the second");
	is(access_of(to, false), SIGBUS, "nor the third, that has moved");
	refused(mremap(to, BYTES / 2, BYTES, MREMAP_MAYMOVE), EFAULT, "making it longer then");
	munmap(mem, BYTES);
	munmap(to, BYTES / 2);
	close(card);
	f = open(SLOT "/bind", O_WRONLY | O_CLOEXEC);
	if (write(f, card_info.bus, strlen((char *)card_info.bus)) < 0)
		bail("bind");
	close(f);
}

int main(int argc, char **argv)
{
	struct gigalock_lock kept;
	char *mem;

	if (argc != 2)
		bail("usage: gl-remap STRATEGY");
	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
	card_open();
	lock.strategy = strategy_number(argv[1]);
	lock.bytes = BYTES;
	do_lock(&lock);
	mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	mark(mem, BYTES, 0);
	munmap(mem, BYTES);
	test_others();
	test_longer();
	test_moved();
	test_other_pages();
	kept = lock;
	test_rights();
	lock = kept;
	test_advice();
	test_forked();
	fails(try_unlock(lock.id), 0, "UNLOCK when nothing is mapped");
	refused(mmap(NULL, BYTES, PROT_READ, MAP_SHARED, card, lock.mmap_offset), ENOENT,
		"and then nothing can be");
	do_lock(&lock);
	mem = map(card, 0, BYTES, PROT_READ | PROT_WRITE);
	is(zero_until(mem, BYTES), BYTES, "the next one has nothing of it");
	mark(mem, BYTES, 0);
	munmap(mem, BYTES);
	test_gone();
	return tap_done();
}
