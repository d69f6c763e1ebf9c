// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks as dma-bufs, and dma-bufs as locks.
 *
 *   gl-dmabuf export STRATEGY MIB	export a lock, import it again, outlive its file
 *   gl-dmabuf import udmabuf|HEAP MIB	import what the kernel makes
 *   gl-dmabuf refused			all that must not work
 *   gl-dmabuf readonly STRATEGY MIB	a file that may only be read stays as it is
 *   gl-dmabuf gone STRATEGY MIB	the card is unbound while all of that is there
 *   gl-dmabuf two STRATEGY MIB	between two cards, of which the first is unbound
 *   gl-dmabuf kernel STRATEGY MIB	imported by the module gl-importer, with and
 *					without its file, the card unbound meanwhile
 *   gl-dmabuf kernel-refused	what such a module can't have
 */
#include "card.h"

#include <setjmp.h>
#include <signal.h>

#include <linux/dma-buf.h>

#include "dmabuf.h"

#define PAGE	4096UL
#define SLOT	"/sys/bus/pci/drivers/gigalock"

/* Directions as the kernel numbers them, for the module gl-importer. */
#define BOTH_WAYS	0
#define TO_DEVICE	1
#define FROM_DEVICE	2

static uint64_t bytes;

/* A lock of any strategy and what the CPU sees of it. */
static char *get(struct gigalock_lock *lock, const char *strategy)
{
	char *mem = NULL;

	lock->strategy = strategy_number(strategy);
	lock->bytes = bytes;
	if (lock->strategy == GIGALOCK_STRATEGY_SG || lock->strategy == GIGALOCK_STRATEGY_HUGETLB) {
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			   (lock->strategy == GIGALOCK_STRATEGY_HUGETLB ? MAP_HUGETLB : 0),
			   -1, 0);
		lock->user_addr = (uintptr_t)mem;
	}
	do_lock(lock);
	if (!mem)
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, card,
			   lock->mmap_offset);
	if (mem == MAP_FAILED)
		bail("mmap of %s", strategy);
	return mem;
}

static int try_export(uint32_t id, uint32_t flags, int *fd)
{
	struct gigalock_export e = { .size = sizeof(e), .id = id, .flags = flags, .fd = -1 };
	int ret = ioctl(card, GIGALOCK_IOC_EXPORT, &e);

	*fd = e.fd;
	return ret;
}

static int export(uint32_t id)
{
	int fd;

	if (try_export(id, O_RDWR | O_CLOEXEC, &fd))
		bail("EXPORT");
	return fd;
}

static int try_import(struct gigalock_lock *lock, int fd, uint64_t length)
{
	*lock = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_DMABUF, .fd = fd,
					.bytes = length };
	return try_lock(lock);
}

static void cpu_access(int fd, uint64_t what)
{
	struct dma_buf_sync s = { .flags = what | DMA_BUF_SYNC_RW };

	if (ioctl(fd, DMA_BUF_IOCTL_SYNC, &s))
		bail("DMA_BUF_IOCTL_SYNC");
}

/* The card reads through one lock and writes through the other. */
static void through(uint32_t from, uint32_t to, char *mem, const char *what)
{
	uint64_t half = bytes / 4 < 1UL << 19 ? bytes / 4 : 1UL << 19;

	mark(mem, half, 77);
	memset(mem + half, 0, half);
	do_move(from, GIGALOCK_DIR_TO_CARD, 0, half, 0);
	do_move(to, GIGALOCK_DIR_FROM_CARD, half, half, 0);
	do_sync(to, GIGALOCK_SYNC_FOR_CPU, 0, 0);
	is(marked_until(mem + half, half, 77), half, what);
}

static void run_export(const char *strategy)
{
	struct gigalock_lock lock = { 0 }, imported, part;
	char *mem = get(&lock, strategy), *seen;
	int fd = export(lock.id), again, old;

	is(lseek(fd, 0, SEEK_END), bytes, "the dma-buf is as long as the lock");
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while exported");
	seen = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(seen != MAP_FAILED, "the dma-buf can be mapped");
	mark(mem, bytes, 3);
	is(marked_until(seen, bytes, 3), bytes, "and is the same memory");
	seen[bytes - 1] ^= 1;
	ok(mem[bytes - 1] == seen[bytes - 1], "both ways");
	cpu_access(fd, DMA_BUF_SYNC_START);
	cpu_access(fd, DMA_BUF_SYNC_END);

	/*
	 * The first half only: its end is an end. Before any other import: where
	 * all bounces, a sync brings the bytes of every importer, also old ones.
	 */
	if (try_import(&part, fd, bytes / 2))
		bail("import of a part: reason %u", card_why.reason);
	through(part.id, part.id, mem, "a part can be imported");
	{
		struct gigalock_submit s = { .size = sizeof(s), .id = part.id,
					     .direction = GIGALOCK_DIR_TO_CARD,
					     .offset = bytes / 2, .length = 1 };

		fails(ioctl(card, GIGALOCK_IOC_SUBMIT, &s), ERANGE, "behind it nothing moves");
	}
	do_unlock(part.id);

	if (try_import(&imported, fd, 0))
		bail("import: reason %u", card_why.reason);
	is(imported.backing, GIGALOCK_BACKING_DMABUF, "imported, the lock says so");
	is(imported.mmap_offset, 0, "and is not mapped through the card");
	ok(imported.segments >= 1 && imported.longest_segment <= bytes, "its pieces are told");
	through(lock.id, imported.id, mem, "the card reads the lock and writes the import");
	through(imported.id, lock.id, mem, "and the other way round");
	fails(try_export(imported.id, O_RDWR, &again), EOPNOTSUPP, "EXPORT of an import");
	part = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_DMABUF, .fd = fd,
				       .flags = GIGALOCK_LOCK_ENTRY_PER_PAGE };
	do_lock(&part);
	is(part.segments, bytes / PAGE, "with an entry a page, as many pieces as pages");
	is(part.longest_segment, PAGE, "of that length");
	do_unlock(part.id);

	again = export(lock.id);
	ok(again != fd, "it can be exported twice");
	close(again);
	close(fd);
	munmap(seen, bytes);
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while it is only imported");
	through(imported.id, lock.id, mem, "the import lives without the file descriptor");
	do_unlock(imported.id);
	if (lock.mmap_offset)
		munmap(mem, bytes);
	fails(try_unlock(lock.id), 0, "UNLOCK when nobody has it");

	/* The file goes, the memory stays. */
	lock = (struct gigalock_lock){ 0 };
	mem = get(&lock, strategy);
	fd = export(lock.id);
	mark(mem, bytes, 5);
	if (lock.mmap_offset)
		munmap(mem, bytes);
	old = card;
	card_open();
	close(old);
	seen = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	is(marked_until(seen, bytes, 5), bytes, "it outlives the file it was made on");
	if (try_import(&imported, fd, 0))
		bail("import into another file: reason %u", card_why.reason);
	through(imported.id, imported.id, seen, "and is imported by another");
	if (ioctl(card, GIGALOCK_IOC_INFO, &card_info))
		bail("INFO");
	is(card_info.locks, 2, "both count as locks of the card");
	munmap(seen, bytes);
	close(fd);
	do_unlock(imported.id);
	usleep(100000);
	if (ioctl(card, GIGALOCK_IOC_INFO, &card_info))
		bail("INFO");
	is(card_info.locks, 0, "and with the last user it is gone");
}

static void run_import(const char *what)
{
	struct gigalock_lock imported;
	char *mem;
	int fd = make_dmabuf(what, bytes, &mem);

	if (try_import(&imported, fd, 0))
		bail("import: reason %u errno %u", card_why.reason, card_why.err);
	ok(imported.segments >= 1, "%s: imported, in %u pieces", what, imported.segments);
	is(imported.backing, GIGALOCK_BACKING_DMABUF, "and says so");
	is(there_and_back(imported.id, mem, bytes), bytes, "every byte goes to the card and back");
	do_unlock(imported.id);
	if (try_import(&imported, fd, bytes / 2))
		bail("import of a part");
	through(imported.id, imported.id, mem, "a part of it, too");
	close(fd);
	through(imported.id, imported.id, mem, "and without the file descriptor");
	do_unlock(imported.id);
}

static void refused(int fd, uint64_t length, int want, uint32_t reason, const char *what)
{
	struct gigalock_lock l;

	fails(try_import(&l, fd, length), want, what);
	is(card_why.reason, reason, "  for its reason");
}

static void run_refused(void)
{
	struct gigalock_lock lock = { 0 }, l;
	int fd, null = open("/dev/null", O_RDWR);

	bytes = 16 * PAGE;
	get(&lock, "coherent");
	fails(try_export(lock.id + 1000, O_RDWR, &fd), ENOENT, "EXPORT of no lock");
	fails(try_export(lock.id, O_WRONLY, &fd), EINVAL, "EXPORT for writing only");
	fails(try_export(lock.id, O_RDWR | O_TRUNC, &fd), EINVAL, "EXPORT with another flag");
	is(fd, -1, "no descriptor is given then");

	refused(-1, 0, EBADF, GIGALOCK_REASON_DMABUF_REFUSED, "descriptor -1");
	refused(1000, 0, EBADF, GIGALOCK_REASON_DMABUF_REFUSED, "a descriptor that isn't open");
	refused(null, 0, EBADF, GIGALOCK_REASON_DMABUF_REFUSED, "a file that is no dma-buf");
	refused(card, 0, EBADF, GIGALOCK_REASON_DMABUF_REFUSED, "the card itself");
	fd = export(lock.id);
	refused(fd, bytes + PAGE, EINVAL, GIGALOCK_REASON_BAD_SIZE, "more than there is");
	is(card_why.limit, bytes, "  with what there is");
	refused(fd, bytes - 1, EINVAL, GIGALOCK_REASON_BAD_SIZE, "less than whole pages");
	l = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_DMABUF, .fd = fd,
				    .user_addr = PAGE };
	fails(try_lock(&l), EINVAL, "an address is not ours to give");
	l = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_CHUNKED, .fd = fd,
				    .bytes = PAGE };
	fails(try_lock(&l), EINVAL, "a descriptor for another strategy");
	close(fd);

	/* A lock that is never mapped is not mapped this way either. */
	lock = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_CHUNKED, .bytes = bytes,
				       .flags = GIGALOCK_LOCK_NO_USER_MAP };
	do_lock(&lock);
	fd = export(lock.id);
	fails(mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, EACCES,
	      "mapping the export of a lock that is never mapped");
	close(fd);
	lock = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_CHUNKED, .bytes = bytes };
	do_lock(&lock);
	fd = export(lock.id);
	fails(mmap(NULL, bytes + PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0,
	      EINVAL, "mapping an export beyond its end");
	fails(mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0, EINVAL,
	      "a private mapping of an export");
	close(fd);
	if (try_export(lock.id, O_RDONLY, &fd))
		bail("EXPORT read-only");
	fails(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0,
	      EACCES, "writing to a read-only export");
	close(fd);
}

/*
 * Pages of a file that is open for reading only, and mapped so. A kernel that pins
 * those by a forced write refuses them: then memory of our own, whose lock is as
 * much for reading only.
 */
static char *get_read_only(struct gigalock_lock *lock, const char *strategy)
{
	bool huge = !strcmp(strategy, "hugetlb");
	int rw = memfd_create("test", huge ? MFD_HUGETLB : 0), fd;
	char path[64], *mem;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", rw);
	if (rw < 0 || ftruncate(rw, bytes))
		bail("memfd");
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, rw, 0);
	if (mem == MAP_FAILED)
		bail("mmap of a memfd");
	mark(mem, bytes, 1);
	munmap(mem, bytes);
	fd = open(path, O_RDONLY);
	close(rw);
	mem = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		bail("mmap for reading");
	lock->strategy = strategy_number(strategy);
	lock->bytes = bytes;
	lock->direction = GIGALOCK_DIR_TO_CARD;
	lock->user_addr = (uintptr_t)mem;
	if (!try_lock(lock)) {
		printf("# its pages are a file's\n");
		return mem;
	}
	if (card_why.err != EFAULT || huge)
		bail("LOCK of a file's pages: reason %u", card_why.reason);
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mark(mem, bytes, 1);
	lock->user_addr = (uintptr_t)mem;
	do_lock(lock);
	return mem;
}

static void run_readonly(const char *strategy)
{
	struct gigalock_lock lock = { 0 }, l;
	char *mem = get_read_only(&lock, strategy), *seen;
	int fd;

	fails(try_export(lock.id, O_RDWR, &fd), EACCES, "EXPORT for writing");
	is(fd, -1, "no descriptor is given then");
	if (try_export(lock.id, O_RDONLY | O_CLOEXEC, &fd))
		bail("EXPORT for reading");
	fails(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0,
	      EACCES, "mapping it for writing");
	seen = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	ok(seen != MAP_FAILED, "it can be mapped for reading");
	is(marked_until(seen, bytes, 1), bytes, "and is the same memory");
	fails(mprotect(seen, bytes, PROT_READ | PROT_WRITE), EACCES, "making that writable");
	refused(fd, 0, EACCES, GIGALOCK_REASON_DMABUF_REFUSED, "import for both directions");
	l = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_DMABUF, .fd = fd,
				    .direction = GIGALOCK_DIR_FROM_CARD };
	fails(try_lock(&l), EACCES, "import for the card to write");
	is(card_why.reason, GIGALOCK_REASON_DMABUF_REFUSED, "  for its reason");
	l = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_DMABUF, .fd = fd,
				    .direction = GIGALOCK_DIR_TO_CARD };
	if (try_lock(&l))
		bail("import for reading: reason %u", card_why.reason);
	do_move(l.id, GIGALOCK_DIR_TO_CARD, 0, bytes < card_info.card_bytes ? bytes :
		card_info.card_bytes, 0);
	ok(true, "the card can read it");
	do_unlock(l.id);
	is(marked_until(mem, bytes, 1), bytes, "what was there is still there");
	munmap(seen, bytes);
	close(fd);
	do_unlock(lock.id);

	/* The driver's own memory is there for both, whatever the lock is for. */
	l = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_CHUNKED, .bytes = bytes,
				    .direction = GIGALOCK_DIR_TO_CARD };
	do_lock(&l);
	close(export(l.id));
	do_unlock(l.id);
}

static sigjmp_buf bus;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(bus, 1);
}

static bool faults(volatile char *at)
{
	if (sigsetjmp(bus, 1))
		return true;
	(void)*at;
	return false;
}

static void sysfs(const char *file, const char *slot)
{
	FILE *f = fopen(file, "w");

	if (!f || fputs(slot, f) < 0 || fclose(f))
		bail("%s", file);
}

/* Two exports, one with its file still open and one without, both imported. */
static void run_gone(const char *strategy)
{
	struct gigalock_lock kept = { 0 }, left = { 0 }, a, b, c;
	int keep_fd, left_fd, other;
	char slot[64], *seen, *orphan, *mem;

	if (snprintf(slot, sizeof(slot), "%s", (char *)card_info.bus) < 5)
		bail("no bus address");
	other = card;
	card_open();
	mem = get(&left, strategy);
	left_fd = export(left.id);
	if (left.mmap_offset)
		munmap(mem, bytes);
	close(card);
	card = other;
	mem = get(&kept, strategy);
	keep_fd = export(kept.id);
	if (try_import(&a, keep_fd, 0) || try_import(&b, left_fd, 0))
		bail("import: reason %u", card_why.reason);
	seen = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, keep_fd, 0);
	orphan = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, left_fd, 0);
	memset(seen, 1, bytes);
	memset(orphan, 2, bytes);
	do_move(a.id, GIGALOCK_DIR_TO_CARD, 0, PAGE, 0);
	do_move(b.id, GIGALOCK_DIR_FROM_CARD, 0, PAGE, 0);
	signal(SIGBUS, on_sigbus);
	ok(!faults(seen) && !faults(orphan), "all is mapped while the card is there");

	sysfs(SLOT "/unbind", slot);
	ok(faults(seen), "the card gone: what is mapped of an export is gone");
	ok(faults(orphan), "of one without its file, too");
	fails(try_import(&c, keep_fd, 0), ENODEV, "no call works");
	fails(mmap(NULL, bytes, PROT_READ, MAP_SHARED, left_fd, 0) == MAP_FAILED ? -1 : 0, ENODEV,
	      "nothing is mapped anew");
	ok(kept.mmap_offset || mem[0] == 1, "the caller's own memory is still the caller's");

	sysfs(SLOT "/bind", slot);
	other = card;
	card_open();
	fails(try_import(&c, left_fd, 0), ENODEV, "the next driver doesn't get it");
	is(card_why.reason, GIGALOCK_REASON_DMABUF_REFUSED, "  for its reason");
	close(other);
	munmap(seen, bytes);
	munmap(orphan, bytes);
	close(keep_fd);
	close(left_fd);
	ok(true, "all can be closed");
}

/* A lock of the first card, imported by the second, which then is alone. */
static void run_two(const char *strategy)
{
	struct gigalock_lock lock = { 0 }, imported;
	int first, second, fd;
	bool coherent = !strcmp(strategy, "coherent");
	char slot[64], *mem;

	close(card);
	card_node(card_node(0, &first) + 1, &second);
	card = first;
	if (ioctl(card, GIGALOCK_IOC_INFO, &card_info))
		bail("INFO");
	mem = get(&lock, strategy);
	snprintf(slot, sizeof(slot), "%s", (char *)card_info.bus);
	fd = export(lock.id);
	card = second;
	if (coherent) {
		fails(try_import(&imported, fd, 0), EOPNOTSUPP,
		      "memory that goes with a card is not for another");
		is(card_why.reason, GIGALOCK_REASON_DMABUF_REFUSED, "  for its reason");
		return;
	}
	if (try_import(&imported, fd, 0))
		bail("import: reason %u", card_why.reason);
	mark(mem, PAGE, 1);
	do_move(imported.id, GIGALOCK_DIR_TO_CARD, 0, PAGE, 0);
	do_move(imported.id, GIGALOCK_DIR_FROM_CARD, bytes - PAGE, PAGE, 0);
	is(marked_until(mem + bytes - PAGE, PAGE, 1), PAGE, "the other card reads and writes it");
	card = first;
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while the other card has it");
	sysfs(SLOT "/unbind", slot);
	card = second;
	do_move(imported.id, GIGALOCK_DIR_FROM_CARD, 0, bytes, 0);
	do_move(imported.id, GIGALOCK_DIR_TO_CARD, 0, bytes, 0);
	ok(true, "its card gone, the other one still has the memory");
	do_unlock(imported.id);
	fails(try_import(&imported, fd, 0), ENODEV, "but not a second time");
	sysfs(SLOT "/bind", slot);
}

/* ---- an importer in the kernel: the module gl-importer ---- */

static int importer_open(void)
{
	int to = open("/sys/kernel/debug/gl-importer", O_WRONLY | O_CLOEXEC);

	if (to < 0)
		bail("gl-importer");
	return to;
}

static int importer(int to, const char *step, uint64_t n)
{
	char line[40];
	int length = snprintf(line, sizeof(line), "%s %llu", step, (unsigned long long)n);

	return write(to, line, length) < 0 ? -1 : 0;
}

static void imports(int to, const char *step, uint64_t n)
{
	if (importer(to, step, n))
		bail("importer: %s %llu", step, (unsigned long long)n);
}

/* Its device and the kernel, each reading what the other has written. */
static void importer_turns(int to, uint64_t salt, const char *when)
{
	bool good;

	imports(to, "begin", BOTH_WAYS);
	imports(to, "fill", salt);
	imports(to, "end", BOTH_WAYS);
	good = !importer(to, "device-check", salt);
	imports(to, "device-fill", salt + 1);
	imports(to, "begin", BOTH_WAYS);
	good = good && !importer(to, "check", salt + 1);
	imports(to, "end", BOTH_WAYS);
	ok(good, "the other driver's device and the kernel see what the other wrote, %s", when);
}

static void run_kernel(const char *strategy)
{
	struct gigalock_lock lock = { 0 };
	int to = importer_open(), late = importer_open(), fd;
	char slot[64], *mem;

	snprintf(slot, sizeof(slot), "%s", (char *)card_info.bus);
	mem = get(&lock, strategy);
	fd = export(lock.id);
	imports(to, "get", fd);
	imports(to, "attach", 0);
	imports(to, "map", BOTH_WAYS);
	imports(to, "vmap", 0);
	/* The process, the kernel and the device. */
	mark(mem, bytes, 3);
	imports(to, "end", BOTH_WAYS);
	fails(importer(to, "check", 3), 0, "the kernel reads what the process wrote");
	fails(importer(to, "check", 4), EILSEQ, "  and would see a difference");
	fails(importer(to, "device-check", 3), 0, "so does the other driver's device");
	fails(importer(to, "device-check", 4), EILSEQ, "  and would see a difference");
	imports(to, "device-fill", 5);
	imports(to, "begin", BOTH_WAYS);
	is(marked_until(mem, bytes, 5), bytes, "the process reads what the device wrote");
	importer_turns(to, 6, "the lock there");
	is(marked_until(mem, bytes, 7), bytes, "  and it is the lock's memory");
	fails(try_unlock(lock.id), EBUSY, "UNLOCK while it is attached");

	/* Again from the beginning, in another order. */
	imports(to, "vunmap", 0);
	fails(importer(to, "check", 7), ENOENT, "unmapped from the kernel");
	imports(to, "vmap", 0);
	imports(to, "unmap", 0);
	imports(to, "detach", 0);
	fails(importer(to, "check", 7), 0, "let go by the device, the kernel still has it");
	imports(to, "attach", 0);
	imports(to, "map", BOTH_WAYS);
	imports(late, "get", fd);

	/* The lock's file goes, and everything else that the process has of it. */
	if (lock.mmap_offset)
		munmap(mem, bytes);
	close(fd);
	close(card);
	importer_turns(to, 10, "the file closed");
	sysfs(SLOT "/unbind", slot);
	fails(importer(to, "check", 11), 0, "the card gone, every byte is as it was");
	importer_turns(to, 20, "the card gone");
	imports(late, "vmap", 0);
	fails(importer(late, "check", 21), 0, "mapped into the kernel once more");
	fails(importer(late, "attach", 0), ENODEV, "attached no more");
	imports(to, "unmap", 0);
	fails(importer(to, "map", BOTH_WAYS), ENODEV, "nor mapped for a device that is attached");
	imports(to, "put", 0);
	fails(importer(late, "check", 21), 0, "the last one still has it");
	sysfs(SLOT "/bind", slot);
	close(to);
	close(late);
	if (!lock.mmap_offset)
		munmap(mem, bytes);
}

/* What there is none of is not offered: a call of the exporter's that fails warns. */
static void run_kernel_refused(void)
{
	struct gigalock_lock lock = { 0 };
	int to = importer_open(), fd;

	bytes = 16 * PAGE;
	munmap(get(&lock, "coherent"), bytes);
	fd = export(lock.id);
	imports(to, "get", fd);
	fails(importer(to, "attach", 0), EOPNOTSUPP, "attaching to memory that goes with the card");
	fails(importer(to, "vmap", 0), EINVAL, "mapping that into the kernel");
	imports(to, "put", 0);
	close(fd);
	do_unlock(lock.id);

	lock = (struct gigalock_lock){ 0 };
	get_read_only(&lock, "sg");
	if (try_export(lock.id, O_RDONLY, &fd))
		bail("EXPORT for reading");
	imports(to, "get", fd);
	imports(to, "attach", 0);
	fails(importer(to, "vmap", 0), EINVAL, "mapping pages into the kernel that can only be read");
	fails(importer(to, "map", BOTH_WAYS), EACCES, "mapping those for a device to write");
	fails(importer(to, "map", FROM_DEVICE), EACCES, "  to write and no more");
	imports(to, "map", TO_DEVICE);
	imports(to, "end", TO_DEVICE);
	fails(importer(to, "device-check", 1), 0, "a device can read them");
	imports(to, "put", 0);
	close(fd);
	do_unlock(lock.id);

	lock = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_SG, .bytes = bytes };
	lock.user_addr = (uintptr_t)mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 64;
	do_lock(&lock);
	fd = export(lock.id);
	imports(to, "get", fd);
	fails(importer(to, "vmap", 0), EINVAL, "mapping what begins within a page");
	imports(to, "attach", 0);
	imports(to, "map", BOTH_WAYS);
	mark((void *)(uintptr_t)lock.user_addr, bytes, 9);
	imports(to, "end", BOTH_WAYS);
	fails(importer(to, "device-check", 9), 0, "a device can have it");
	imports(to, "put", 0);
	close(fd);
	do_unlock(lock.id);

	lock = (struct gigalock_lock){ .strategy = GIGALOCK_STRATEGY_RESERVED, .bytes = bytes };
	do_lock(&lock);
	fd = export(lock.id);
	imports(to, "get", fd);
	imports(to, "attach", 0);
	fails(importer(to, "map", BOTH_WAYS), EOPNOTSUPP, "mapping memory without struct pages");
	fails(importer(to, "vmap", 0), EINVAL, "  into the kernel");
	refused(fd, 0, EOPNOTSUPP, GIGALOCK_REASON_DMABUF_REFUSED, "importing that");
	imports(to, "put", 0);
	close(fd);
	do_unlock(lock.id);
	close(to);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		bail("usage: gl-dmabuf export|import|refused|readonly|gone ...");
	card_open();
	if (argc > 3)
		bytes = strtoull(argv[3], NULL, 0) << 20;
	if (!strcmp(argv[1], "export") && argc == 4)
		run_export(argv[2]);
	else if (!strcmp(argv[1], "import") && argc == 4)
		run_import(argv[2]);
	else if (!strcmp(argv[1], "refused"))
		run_refused();
	else if (!strcmp(argv[1], "readonly") && argc == 4)
		run_readonly(argv[2]);
	else if (!strcmp(argv[1], "gone") && argc == 4)
		run_gone(argv[2]);
	else if (!strcmp(argv[1], "two") && argc == 4)
		run_two(argv[2]);
	else if (!strcmp(argv[1], "kernel") && argc == 4)
		run_kernel(argv[2]);
	else if (!strcmp(argv[1], "kernel-refused"))
		run_kernel_refused();
	else
		bail("unknown words");
	return tap_done();
}
