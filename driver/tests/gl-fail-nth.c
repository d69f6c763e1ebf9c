// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every single allocation of a call made to fail, one in each turn: by the
 * kernel's own fault injection, which counts down what this task asks for
 * (/proc/thread-self/fail-nth). A turn that had none left to fail is the last.
 * Also what is copied from and to user space fails so.
 *
 *   gl-fail-nth calls			all calls on a card
 *   gl-fail-nth STRATEGY [...]		LOCK by each of them
 *   gl-fail-nth probe			binding the card, and taking it away in use
 *
 * A call that failed has an errno that can be, a LOCK its reason, and nothing is
 * left of it. Needs a kernel with failslab and fail_page_alloc, and root.
 */
#include <sys/eventfd.h>

#include "queue.h"

#define DEBUG	"/sys/kernel/debug/"
#define SLOT	"/sys/bus/pci/drivers/gigalock/"
#define PAGE	4096UL
#define SMALL	(16 * PAGE)
#define LONG	(1024 * PAGE)	/* its tables have tables */
#define TURNS	2000		/* no call has so many */

static int nth = -1;

static void put(const char *file, const char *text)
{
	int f = open(file, O_WRONLY);

	if (f < 0 || write(f, text, strlen(text)) < 0)
		bail("%s", file);
	close(f);
}

static void prepare(void)
{
	/* No word on the console, and no kind of allocation is spared. */
	put(DEBUG "failslab/verbose", "0");
	put(DEBUG "failslab/ignore-gfp-wait", "N");
	put(DEBUG "fail_page_alloc/verbose", "0");
	put(DEBUG "fail_page_alloc/ignore-gfp-wait", "N");
	put(DEBUG "fail_page_alloc/ignore-gfp-highmem", "N");
	put(DEBUG "fail_page_alloc/min-order", "0");
	put(DEBUG "fail_usercopy/verbose", "0");
	nth = open("/proc/thread-self/fail-nth", O_RDWR);
	if (nth < 0)
		bail("fail-nth");
}

static void arm(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	if (pwrite(nth, text, len, 0) != len)
		bail("fail-nth");
}

/* Did it come to the failure? Asking may be the one that fails. */
static bool disarm(void)
{
	char text[16] = "1";
	bool came = pread(nth, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	if (pwrite(nth, "0", 1, 0) != 1 && pwrite(nth, "0", 1, 0) != 1)
		bail("fail-nth");
	return came;
}

/* ---- what is there ---- */

struct there {
	uint64_t locks;
	uint64_t bytes;
	uint64_t failures;
	long pinned;
	char budgets[256];
};

static void look(struct there *t)
{
	int f = open(DEBUG "gigalock/budgets", O_RDONLY), fd;

	memset(t, 0, sizeof(*t));
	card_node(0, &fd);
	card_info.size = sizeof(card_info);
	if (ioctl(fd, GIGALOCK_IOC_INFO, &card_info))
		bail("INFO");
	close(fd);
	t->locks = card_info.locks;
	t->bytes = card_info.locked_bytes;
	t->failures = card_info.failures;
	t->pinned = status_kib("VmPin");
	if (f < 0 || read(f, t->budgets, sizeof(t->budgets) - 1) < 0)
		bail("budgets");
	close(f);
}

static bool same(const struct there *a, const struct there *b)
{
	return a->locks == b->locks && a->bytes == b->bytes && a->pinned == b->pinned &&
	       !strcmp(a->budgets, b->budgets);
}

/* ---- turns ---- */

struct step {
	const char *name;
	void (*before)(void);
	int (*call)(void);		/* what fails: -1 and errno */
	void (*after)(bool good);	/* puts away what there is after a good call, or a bad one */
	bool told;			/* a failure is in card_why, and in the card's log */
	bool ended;			/* what nobody was told of ends, and the log may say so */
};

/*
 * Of a failure whose reason could be told: with one. What could not be read or
 * written is the caller's own, and no failure of the card.
 */
static bool reasoned(const struct step *s, int err, uint64_t recorded)
{
	if (!s->told)
		return true;
	if (!card_why.reason)
		return err == EFAULT && recorded <= s->ended;
	return recorded == 1 && card_why.err == (uint32_t)err && card_why.stage &&
	       card_why.reason < GIGALOCK_REASON_COUNT;
}

static bool possible(int err)
{
	return err == ENOMEM || err == EFAULT || err == EBUSY || err == EIO;
}

static void run(const struct step *s)
{
	struct there before, middle, after;
	unsigned int failed = 0, n;
	bool came = true;

	look(&before);
	for (n = 1; n < TURNS && came; n++) {
		int ret, err;

		errno = 0;
		card_why = (struct gigalock_failure){ .size = sizeof(card_why) };
		if (s->before)
			s->before();
		look(&middle);
		arm(n);
		ret = s->call();
		err = errno;
		came = disarm();
		look(&after);
		if (ret && (!came || !possible(err) ||
			    !reasoned(s, err, after.failures - middle.failures))) {
			errno = err;
			ok(false, "%s, failure %u%s: reason %u stage %u err %u, %llu recorded: %s",
			   s->name, n, came ? "" : " that never came", card_why.reason,
			   card_why.stage, card_why.err,
			   (unsigned long long)(after.failures - middle.failures),
			   strerror(err));
			return;
		}
		if (ret && !same(&middle, &after)) {
			ok(false, "%s, failure %u (%s): locks %llu -> %llu, bytes %llu -> %llu, VmPin %ld -> %ld, %s -> %s",
			   s->name, n, strerror(err), (unsigned long long)middle.locks,
			   (unsigned long long)after.locks, (unsigned long long)middle.bytes,
			   (unsigned long long)after.bytes, middle.pinned, after.pinned,
			   middle.budgets, after.budgets);
			return;
		}
		if (s->after)
			s->after(!ret);
		failed += ret != 0;
	}
	look(&after);
	if (!ok(same(&before, &after) && failed && !came,
		"%s: %u of %u failures are told, the rest got over", s->name, failed, n - 2))
		printf("#   locks %llu -> %llu, came %d\n", (unsigned long long)before.locks,
		       (unsigned long long)after.locks, came);
}

/* ---- LOCK ---- */

static struct gigalock_lock one, other;
static char *mem;
static uint64_t bytes;
static int made = -1;

static int call_lock(void)
{
	return try_lock(&one);
}

static void after_lock(bool good)
{
	if (good)
		do_unlock(one.id);
}

/* The caller's pages are not there before. */
static void before_pages(void)
{
	if (madvise(mem, bytes, MADV_DONTNEED))
		bail("madvise");
}

static char *some(uint64_t n, int flags)
{
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags,
		       -1, 0);

	if (p == MAP_FAILED)
		bail("mmap of %llu bytes", (unsigned long long)n);
	return p;
}

static void use(const char *strategy, uint64_t n)
{
	bytes = n;
	one = (struct gigalock_lock){ .strategy = strategy_number(strategy), .bytes = n };
}

static int export_of(uint32_t id)
{
	struct gigalock_export e = { .size = sizeof(e), .id = id, .flags = O_RDWR | O_CLOEXEC };

	return ioctl(card, GIGALOCK_IOC_EXPORT, &e) ? -1 : e.fd;
}

static void locks(const char *strategy)
{
	struct step s = { .name = strategy, .call = call_lock, .after = after_lock,
			  .told = true };
	bool pages = !strcmp(strategy, "sg"), dmabuf = !strcmp(strategy, "dmabuf");
	char name[64];

	use(strategy, !strcmp(strategy, "contig-range") ? 2UL << 20 : SMALL);
	if (!strcmp(strategy, "hugetlb")) {
		use(strategy, 2UL << 20);
		mem = some(bytes, MAP_HUGETLB);
		s.before = before_pages;
	} else if (pages) {
		mem = some(bytes, 0);
		s.before = before_pages;
	} else if (dmabuf) {
		use("chunked", SMALL);
		do_lock(&one);
		other = one;
		made = export_of(other.id);
		if (made < 0)
			bail("EXPORT");
		use(strategy, 0);
		one.fd = made;
	}
	if (mem)
		one.user_addr = (uintptr_t)mem;
	run(&s);
	if (dmabuf) {
		close(made);
		made = -1;
		do_unlock(other.id);
	}
	if (pages || !strcmp(strategy, "chunked")) {
		/* As long as its tables have tables, all there before. */
		snprintf(name, sizeof(name), "%s, an entry a page", strategy);
		use(strategy, LONG);
		one.flags = GIGALOCK_LOCK_ENTRY_PER_PAGE;
		if (pages) {
			munmap(mem, SMALL);
			mem = some(bytes, MAP_POPULATE);
			one.user_addr = (uintptr_t)mem;
		}
		s.name = name;
		s.before = NULL;
		run(&s);
	}
	if (mem)
		munmap(mem, bytes);
	mem = NULL;
}

/* ---- the other calls ---- */

static void *at;	/* a mapping */
static void *place, *was;	/* where it is moved to and from */
static struct queue q;
static struct gigalock_submit submit;
static int event = -1;

static void before_locked(void)
{
	use("chunked", SMALL);
	do_lock(&one);
}

static int call_map(void)
{
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, card, one.mmap_offset);
	return at == MAP_FAILED ? -1 : 0;
}

static void after_map(bool good)
{
	if (good)
		munmap(at, bytes);
	do_unlock(one.id);
}

static void before_mapped(void)
{
	before_locked();
	if (call_map())
		bail("mmap");
}

static void after_mapped(bool good)
{
	(void)good;
	after_map(true);
}

/* The kernel tries it again: all that may be seen of it is time. */
static int call_touch(void)
{
	*(volatile char *)at = 1;
	/* So that there is an end to be seen. */
	return ioctl(card, GIGALOCK_IOC_INFO, &card_info);
}

/* In two, which needs a second of what describes a mapping. */
static int call_hole(void)
{
	return munmap((char *)at + PAGE, PAGE);
}

static void before_moved(void)
{
	before_mapped();
	*(char *)at = 1;
	place = some(bytes, 0);
	was = at;
}

/* What was there before is gone, even if nothing comes in its place. */
static int call_move(void)
{
	void *to = mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place);

	if (to == MAP_FAILED)
		return -1;
	at = to;
	return 0;
}

/* Who has moved may yet be where it was, if there was no memory to go. */
static void after_moved(bool good)
{
	if (good)
		munmap(was, bytes);
	after_mapped(good);
}

static int call_export(void)
{
	made = export_of(one.id);
	return made < 0 ? -1 : 0;
}

static void after_export(bool good)
{
	if (good)
		close(made);
	do_unlock(one.id);
}

static void before_exported(void)
{
	before_locked();
	if (call_export())
		bail("EXPORT");
}

static int call_map_export(void)
{
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
	return at == MAP_FAILED ? -1 : 0;
}

static void after_map_export(bool good)
{
	if (good)
		munmap(at, bytes);
	after_export(true);
}

static int call_queue(void)
{
	memset(&q, 0, sizeof(q));
	q.c.size = sizeof(q.c);
	q.c.entries = 64;
	return ioctl(card, GIGALOCK_IOC_QUEUE_CREATE, &q.c);
}

static void after_queue(bool good)
{
	if (good && queue_destroy(&q))
		bail("QUEUE_DESTROY");
}

/* Its ring is mapped, and stays when it is destroyed. */
static void before_queue(void)
{
	queue_make(&q, 64, 0);
	if (q.ring[0].seq)
		bail("a completion of nothing");
}

static int call_destroy(void)
{
	return queue_destroy(&q);
}

static void after_destroy(bool good)
{
	if (!good)
		after_queue(true);
	/* What it was, or zeroes if there was no memory for that. */
	if (q.ring[0].seq)
		bail("the ring changed");
	munmap((void *)q.ring, q.c.ring_bytes);
}

/* Another file each time: the memory for transfers is kept by the file. */
static int first;

static void before_submit(void)
{
	first = card;
	card_node(0, &card);
	use("sg", SMALL);
	one.user_addr = (uintptr_t)mem;
	do_lock(&one);
}

static int call_submit(void)
{
	submit = (struct gigalock_submit){
		.size = sizeof(submit), .id = one.id, .direction = GIGALOCK_DIR_TO_CARD,
		.length = SMALL, .failure_addr = (uintptr_t)&card_why,
	};
	return ioctl(card, GIGALOCK_IOC_SUBMIT, &submit);
}

static void after_submit(bool good)
{
	struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 20000 };
	int ret = ioctl(card, GIGALOCK_IOC_WAIT, &w);

	if (good && (ret || w.status || w.xfer != submit.xfer))
		bail("WAIT");
	/* Nobody was told of it, so nobody has to reap it. */
	if (!good && (!ret || errno != ENOENT))
		bail("a transfer is left of a SUBMIT that failed");
	do_unlock(one.id);
	close(card);
	card = first;
}

static int call_event(void)
{
	struct gigalock_eventfd e = { .size = sizeof(e), .fd = event };

	return ioctl(card, GIGALOCK_IOC_EVENTFD, &e);
}

static int call_open(void)
{
	made = open("/dev/gigalock0", O_RDWR | O_CLOEXEC);
	return made < 0 ? -1 : 0;
}

static void after_open(bool good)
{
	if (good)
		close(made);
}

static void calls(void)
{
	static const struct step all[] = {
		{ "open()", NULL, call_open, after_open, false, false },
		{ "mmap() of a lock", before_locked, call_map, after_map, false, false },
		{ "the first access", before_mapped, call_touch, after_mapped, false, false },
		{ "munmap() of its middle", before_mapped, call_hole, after_mapped, false, false },
		{ "mremap()", before_moved, call_move, after_moved, false, false },
		{ "EXPORT", before_locked, call_export, after_export, false, false },
		{ "mmap() of an export", before_exported, call_map_export, after_map_export, false, false },
		{ "QUEUE_CREATE", NULL, call_queue, after_queue, false, false },
		{ "QUEUE_DESTROY", before_queue, call_destroy, after_destroy, false, false },
		{ "SUBMIT", before_submit, call_submit, after_submit, true, true },
		{ "EVENTFD", NULL, call_event, NULL, false, false },
	};

	/* What the first call of a kind builds up for all. */
	event = eventfd(0, EFD_CLOEXEC);
	mem = some(SMALL, MAP_POPULATE);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		run(&all[i]);
}

/* ---- the card comes and goes ---- */

static char slot[64];

static int bind_file, unbind_file;

static int try_write(int file)
{
	return pwrite(file, slot, strlen(slot), 0) < 0 ? -1 : 0;
}

static bool bound(void)
{
	char path[sizeof(SLOT) + sizeof(slot)];

	snprintf(path, sizeof(path), SLOT "%s", slot);
	return !access(path, F_OK);
}

/*
 * Of everything something: a lock that is mapped, pinned memory, a queue whose
 * ring is mapped, an export and its import, a transfer that was not reaped.
 */
static void in_use(void)
{
	before_mapped();
	*(volatile char *)at = 1;
	made = export_of(one.id);
	if (made < 0)
		bail("EXPORT");
	use("dmabuf", 0);
	one.fd = made;
	do_lock(&one);
	before_queue();
	before_submit();
	if (call_submit())
		bail("SUBMIT");
}

static void out_of_use(void)
{
	after_destroy(true);
	munmap(at, SMALL);
	close(made);
	close(card);
	close(first);
}

static void probe(void)
{
	unsigned int n, failed = 0, odd = 0;
	bool came = true;

	snprintf(slot, sizeof(slot), "%s", (char *)card_info.bus);
	mem = some(SMALL, MAP_POPULATE);
	close(card);
	bind_file = open(SLOT "bind", O_WRONLY | O_CLOEXEC);
	unbind_file = open(SLOT "unbind", O_WRONLY | O_CLOEXEC);
	if (try_write(unbind_file))
		bail("unbind");
	for (n = 1; n < TURNS && came; n++) {
		int ret;

		arm(n);
		ret = try_write(bind_file);
		came = disarm();
		failed += ret != 0;
		odd += (ret && !came) || bound() != !ret;
		if (!ret && came && try_write(unbind_file))
			bail("unbind");
	}
	ok(failed && !odd && !came && bound(),
	   "binding: %u of %u failures are told, the rest got over, %u wrong", failed, n - 2, odd);

	came = true;
	for (n = 1; n < TURNS && came; n++) {
		card_node(0, &card);
		in_use();
		arm(n);
		try_write(unbind_file);
		came = disarm();
		/* All that may fail is reading what was written. */
		if (bound() && try_write(unbind_file))
			bail("unbind");
		out_of_use();
		if (try_write(bind_file))
			bail("bind");
	}
	ok(!came, "taking the card away in use: %u failures were got over", n - 2);
}

int main(int argc, char **argv)
{
	card_open();
	prepare();
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "calls"))
			calls();
		else if (!strcmp(argv[i], "probe"))
			probe();
		else
			locks(argv[i]);
	}
	return tap_done();
}
