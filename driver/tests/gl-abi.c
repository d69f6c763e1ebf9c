// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules that every call of the ABI keeps, tried on each of them: sizes wrong
 * both ways, structs at the very end of a page, unknown flags and reserved
 * fields, calls that don't exist, pointers to nowhere; and that nothing of the
 * kernel's memory comes back with an answer.
 *
 *   gl-abi [/dev/gigalock0]
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/gigalock.h>

#include "tap.h"

/* Up to and with the last field of a struct's first version. */
#define UPTO(type, field) \
	(offsetof(struct type, field) + sizeof(((struct type *)0)->field))
#define FIELD(type, field) \
	{ .name = #field, .offset = offsetof(struct type, field), \
	  .size = sizeof(((struct type *)0)->field) }
/* With those that exist. */
#define FLAGS(type, bits) \
	{ .name = "flags", .offset = offsetof(struct type, flags), .size = 4, .known = (bits) }

struct field {
	const char *name;
	size_t offset;
	size_t size;
	uint32_t known;
};

struct call {
	const char *name;
	unsigned int cmd;
	size_t size;
	size_t least;		/* smallest size that is taken */
	struct field strict[10];	/* all ones in these is refused */
};

static const struct call calls[] = {
	{ "INFO", GIGALOCK_IOC_INFO, sizeof(struct gigalock_info), sizeof(struct gigalock_info),
	  { FIELD(gigalock_info, flags) } },
	{ "LOCK", GIGALOCK_IOC_LOCK, sizeof(struct gigalock_lock), UPTO(gigalock_lock, lock_ns),
	  { FIELD(gigalock_lock, flags), FIELD(gigalock_lock, strategy),
	    FIELD(gigalock_lock, direction), FIELD(gigalock_lock, bytes),
	    FIELD(gigalock_lock, address_width), FIELD(gigalock_lock, node),
	    FIELD(gigalock_lock, max_segment), FIELD(gigalock_lock, fd),
	    FIELD(gigalock_lock, region), FIELD(gigalock_lock, user_addr) } },
	{ "UNLOCK", GIGALOCK_IOC_UNLOCK, sizeof(struct gigalock_unlock), sizeof(struct gigalock_unlock), { } },
	{ "SYNC", GIGALOCK_IOC_SYNC, sizeof(struct gigalock_sync), sizeof(struct gigalock_sync),
	  { FLAGS(gigalock_sync, GIGALOCK_SYNC_FOR_DEVICE | GIGALOCK_SYNC_FOR_CPU),
	    FIELD(gigalock_sync, reserved),
	    FIELD(gigalock_sync, offset), FIELD(gigalock_sync, length) } },
	{ "SUBMIT", GIGALOCK_IOC_SUBMIT, sizeof(struct gigalock_submit), UPTO(gigalock_submit, op),
	  { FLAGS(gigalock_submit, GIGALOCK_XFER_FLAGS), FIELD(gigalock_submit, reserved),
	    FIELD(gigalock_submit, direction), FIELD(gigalock_submit, op),
	    FIELD(gigalock_submit, pattern) } },
	{ "WAIT", GIGALOCK_IOC_WAIT, sizeof(struct gigalock_wait), sizeof(struct gigalock_wait),
	  { FIELD(gigalock_wait, flags) } },
	{ "CANCEL", GIGALOCK_IOC_CANCEL, sizeof(struct gigalock_cancel), sizeof(struct gigalock_cancel), { } },
	{ "PROGRESS", GIGALOCK_IOC_PROGRESS, sizeof(struct gigalock_progress), sizeof(struct gigalock_progress),
	  { FIELD(gigalock_progress, flags) } },
	{ "FAILURES", GIGALOCK_IOC_FAILURES, sizeof(struct gigalock_failures), sizeof(struct gigalock_failures),
	  { FIELD(gigalock_failures, record_size) } },
	{ "EVENTFD", GIGALOCK_IOC_EVENTFD, sizeof(struct gigalock_eventfd), sizeof(struct gigalock_eventfd),
	  { FIELD(gigalock_eventfd, flags), FIELD(gigalock_eventfd, reserved) } },
	{ "EXPORT", GIGALOCK_IOC_EXPORT, sizeof(struct gigalock_export), sizeof(struct gigalock_export),
	  { FLAGS(gigalock_export, O_CLOEXEC | O_RDWR) } },
	{ "LOCK_STATS", GIGALOCK_IOC_LOCK_STATS, sizeof(struct gigalock_lock_stats),
	  sizeof(struct gigalock_lock_stats), { } },
	{ "QUEUE_CREATE", GIGALOCK_IOC_QUEUE_CREATE, sizeof(struct gigalock_queue_create),
	  sizeof(struct gigalock_queue_create),
	  { FLAGS(gigalock_queue_create, GIGALOCK_QUEUE_IRQ), FIELD(gigalock_queue_create, entries),
	    FIELD(gigalock_queue_create, reserved) } },
	{ "QUEUE_SUBMIT", GIGALOCK_IOC_QUEUE_SUBMIT, sizeof(struct gigalock_queue_submit),
	  sizeof(struct gigalock_queue_submit),
	  { FIELD(gigalock_queue_submit, reserved), FIELD(gigalock_queue_submit, entry_size) } },
	{ "QUEUE_WAIT", GIGALOCK_IOC_QUEUE_WAIT, sizeof(struct gigalock_queue_wait),
	  sizeof(struct gigalock_queue_wait),
	  { FIELD(gigalock_queue_wait, flags), FIELD(gigalock_queue_wait, reserved) } },
	{ "QUEUE_DESTROY", GIGALOCK_IOC_QUEUE_DESTROY, sizeof(struct gigalock_queue_destroy),
	  sizeof(struct gigalock_queue_destroy), { } },
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static const char *node = "/dev/gigalock0";
static int fd;
static size_t page;
static uint8_t *edge;	/* a page, and behind it nothing */
static struct gigalock_lock made;	/* a lock that is there all the time */

static void fill_valid(const struct call *c, void *at)
{
	memset(at, 0, c->size);
	switch (c->cmd) {
	case GIGALOCK_IOC_LOCK: {
		struct gigalock_lock *a = at;

		a->strategy = GIGALOCK_STRATEGY_COHERENT;
		a->direction = GIGALOCK_DIR_BOTH;
		a->bytes = page;
		break;
	}
	case GIGALOCK_IOC_UNLOCK:
		((struct gigalock_unlock *)at)->id = 0x7fffffff;
		break;
	case GIGALOCK_IOC_SYNC:
		((struct gigalock_sync *)at)->id = made.id;
		((struct gigalock_sync *)at)->flags = GIGALOCK_SYNC_FOR_CPU;
		break;
	case GIGALOCK_IOC_SUBMIT: {
		struct gigalock_submit *a = at;

		a->id = made.id;
		a->direction = GIGALOCK_DIR_TO_CARD;
		a->length = page;
		break;
	}
	case GIGALOCK_IOC_WAIT:
		((struct gigalock_wait *)at)->timeout_ms = 10000;
		break;
	case GIGALOCK_IOC_FAILURES:
		((struct gigalock_failures *)at)->record_size =
			sizeof(struct gigalock_failure);
		break;
	case GIGALOCK_IOC_EVENTFD:
		((struct gigalock_eventfd *)at)->fd = -1;
		break;
	case GIGALOCK_IOC_EXPORT:
		((struct gigalock_export *)at)->id = made.id;
		break;
	case GIGALOCK_IOC_LOCK_STATS:
		((struct gigalock_lock_stats *)at)->id = made.id;
		break;
	case GIGALOCK_IOC_QUEUE_SUBMIT:
		((struct gigalock_queue_submit *)at)->entry_size =
			sizeof(struct gigalock_queue_entry);
		break;
	}
	*(uint32_t *)at = c->size;
}

static int call(const struct call *c, void *at)
{
	errno = 0;
	return ioctl(fd, c->cmd, at);
}

/* What a right call leaves behind. */
static void tidy(const struct call *c, void *at)
{
	if (c->cmd == GIGALOCK_IOC_LOCK) {
		struct gigalock_unlock u = { .size = sizeof(u) };

		u.id = ((struct gigalock_lock *)at)->id;
		if (ioctl(fd, GIGALOCK_IOC_UNLOCK, &u))
			bail("UNLOCK of %u", u.id);
	}
	if (c->cmd == GIGALOCK_IOC_EXPORT)
		close(((struct gigalock_export *)at)->fd);
	if (c->cmd == GIGALOCK_IOC_QUEUE_CREATE) {
		struct gigalock_queue_destroy d = { .size = sizeof(d) };

		d.id = ((struct gigalock_queue_create *)at)->id;
		if (ioctl(fd, GIGALOCK_IOC_QUEUE_DESTROY, &d))
			bail("QUEUE_DESTROY of %u", d.id);
	}
	if (c->cmd == GIGALOCK_IOC_SUBMIT) {
		struct gigalock_wait w = { .size = sizeof(w), .timeout_ms = 10000 };

		if (ioctl(fd, GIGALOCK_IOC_WAIT, &w))
			bail("WAIT");
	}
}

/* The errno of the right call: WAIT, UNLOCK and the like find nothing. */
static int valid_errno(const struct call *c)
{
	switch (c->cmd) {
	case GIGALOCK_IOC_UNLOCK:
	case GIGALOCK_IOC_WAIT:
	case GIGALOCK_IOC_CANCEL:
	case GIGALOCK_IOC_PROGRESS:
	case GIGALOCK_IOC_QUEUE_SUBMIT:
	case GIGALOCK_IOC_QUEUE_WAIT:
	case GIGALOCK_IOC_QUEUE_DESTROY:
		return ENOENT;
	}
	return 0;
}

static void test_sizes(const struct call *c)
{
	uint8_t big[8192] __attribute__((aligned(8)));
	uint32_t *size = (uint32_t *)big;
	char what[96];

	for (uint32_t s = c->least; s < c->size; s += 8) {
		fill_valid(c, big);
		/* A caller of then knows nothing of what lies behind. */
		memset(big + s, 0xa5, sizeof(big) - s);
		*size = s;
		snprintf(what, sizeof(what), "%s with size %u of %zu", c->name, s, c->size);
		fails(call(c, big), valid_errno(c), what);
		if (!valid_errno(c))
			tidy(c, big);
		for (size_t i = s; i < sizeof(big); i++)
			if (big[i] != 0xa5) {
				ok(false, "%s of size %u: byte %zu is written", c->name, s, i);
				break;
			}
	}
	for (uint32_t s = 0; s < c->least; s += s < 8 ? 1 : 4) {
		fill_valid(c, big);
		*size = s;
		snprintf(what, sizeof(what), "%s with size %u of %zu", c->name, s, c->size);
		if (call(c, big) == 0 || errno != EINVAL) {
			fails(-1, EINVAL, what);
			return;
		}
	}
	ok(true, "%s refuses every smaller size", c->name);

	memset(big, 0, sizeof(big));
	fill_valid(c, big);
	*size = c->size + 64;
	snprintf(what, sizeof(what), "%s longer, zeroes behind", c->name);
	fails(call(c, big), valid_errno(c), what);
	if (!valid_errno(c))
		tidy(c, big);

	memset(big, 0, sizeof(big));
	fill_valid(c, big);
	*size = page;
	snprintf(what, sizeof(what), "%s of a page, zeroes behind", c->name);
	fails(call(c, big), valid_errno(c), what);
	if (!valid_errno(c))
		tidy(c, big);
	fill_valid(c, big);
	*size = page + 1;
	snprintf(what, sizeof(what), "%s of more than a page, zeroes behind", c->name);
	fails(call(c, big), E2BIG, what);

	memset(big, 0, sizeof(big));
	fill_valid(c, big);
	*size = c->size + 64;
	big[c->size + 63] = 1;
	snprintf(what, sizeof(what), "%s longer, a byte set behind", c->name);
	fails(call(c, big), E2BIG, what);

	memset(big, 0, sizeof(big));
	fill_valid(c, big);
	*size = 0xffffffff;
	snprintf(what, sizeof(what), "%s with size 4 GiB", c->name);
	fails(call(c, big), E2BIG, what);
}

static void test_edge(const struct call *c)
{
	uint8_t *at = edge + page - c->size;
	char what[96];

	memset(edge, 0xa5, page);
	fill_valid(c, at);
	snprintf(what, sizeof(what), "%s at the end of a page", c->name);
	fails(call(c, at), valid_errno(c), what);
	if (!valid_errno(c))
		tidy(c, at);
	for (size_t i = 0; i < page - c->size; i++)
		if (edge[i] != 0xa5) {
			ok(false, "%s writes before its struct, at -%zu", c->name,
			   page - c->size - i);
			return;
		}

	fill_valid(c, at);
	*(uint32_t *)at = c->size + 8;
	snprintf(what, sizeof(what), "%s over the end of a page", c->name);
	fails(call(c, at), EFAULT, what);
}

static void test_strict(const struct call *c)
{
	uint8_t arg[512] __attribute__((aligned(8)));
	char what[96];

	for (size_t i = 0; i < sizeof(c->strict) / sizeof(c->strict[0]) &&
	     c->strict[i].name; i++) {
		fill_valid(c, arg);
		memset(arg + c->strict[i].offset, 0xff, c->strict[i].size);
		snprintf(what, sizeof(what), "%s, all ones in %s", c->name,
			 c->strict[i].name);
		fails(call(c, arg), EINVAL, what);
	}
}

/* Each bit by itself, of flags and of what is reserved. LOCK: test_lock_flags(). */
static void test_bits(const struct call *c)
{
	uint8_t arg[512] __attribute__((aligned(8)));

	for (size_t i = 0; i < sizeof(c->strict) / sizeof(c->strict[0]) &&
	     c->strict[i].name && c->cmd != GIGALOCK_IOC_LOCK; i++) {
		const struct field *f = &c->strict[i];
		bool flags = !strcmp(f->name, "flags");
		uint32_t taken = 0;

		if (!flags && strcmp(f->name, "reserved"))
			continue;
		for (unsigned int bit = 0; bit < 32; bit++) {
			uint32_t *word = (uint32_t *)(arg + f->offset);

			if (f->known >> bit & 1)
				continue;
			fill_valid(c, arg);
			*word |= 1u << bit;
			if (!call(c, arg))
				tidy(c, arg);
			if (errno != EINVAL)
				taken |= 1u << bit;
		}
		is(taken, 0, flags ? "each unknown flag is refused" :
				     "each bit of what is reserved is refused");
		if (taken)
			printf("#   of %s\n", c->name);
	}
}

static void test_pointers(const struct call *c)
{
	char what[96];

	snprintf(what, sizeof(what), "%s of NULL", c->name);
	fails(call(c, NULL), EFAULT, what);
	snprintf(what, sizeof(what), "%s of a kernel address", c->name);
	fails(call(c, (void *)(uintptr_t)(sizeof(void *) == 8 ? 0xffff888000000000ULL : 0xfffff000)), EFAULT, what);
}

/* Each bit by itself; known ones may be refused for another reason, never taken for unknown. */
static void test_lock_flags(void)
{
	struct gigalock_failure why;
	struct gigalock_lock arg;
	uint32_t bad = 0;

	for (unsigned int bit = 0; bit < 32; bit++) {
		memset(&why, 0, sizeof(why));
		why.size = sizeof(why);
		fill_valid(&calls[_IOC_NR(GIGALOCK_IOC_LOCK)], &arg);
		arg.flags = 1u << bit;
		arg.failure_addr = (uintptr_t)&why;
		if (ioctl(fd, GIGALOCK_IOC_LOCK, &arg) == 0)
			tidy(&calls[_IOC_NR(GIGALOCK_IOC_LOCK)], &arg);
		else if (errno == EINVAL && why.reason == GIGALOCK_REASON_BAD_ARGUMENT &&
			 why.request == arg.flags)
			bad |= arg.flags;
	}
	is(bad, (uint32_t)~GIGALOCK_LOCK_FLAGS, "LOCK refuses every flag that is unknown, and names it");
}

/* What the driver fills in is not read: the last answer may be asked again. */
static void test_lock_again(void)
{
	struct gigalock_lock arg;

	fill_valid(&calls[_IOC_NR(GIGALOCK_IOC_LOCK)], &arg);
	arg.id = arg.segments = arg.backing = 0xffffffff;
	arg.mmap_offset = arg.longest_segment = arg.lock_ns = arg.table_bytes = UINT64_MAX;
	fails(call(&calls[_IOC_NR(GIGALOCK_IOC_LOCK)], &arg), 0, "LOCK with its answers all ones");
	is(arg.segments, 1, "its pieces");
	is(arg.longest_segment, page, "the longest of them");
	is(arg.backing, GIGALOCK_BACKING_BUDDY, "what it is made of");
	ok(arg.table_bytes < page, "its tables");
	tidy(&calls[_IOC_NR(GIGALOCK_IOC_LOCK)], &arg);
}

/* The largest holes are where structs grew: none may carry a kernel byte. */
static void test_zeroing(void)
{
	struct gigalock_info info;
	struct gigalock_failure one[2];
	struct gigalock_failures f = { .size = sizeof(f) };
	struct gigalock_lock bad = { .size = sizeof(bad), .strategy = 99,
				     .direction = GIGALOCK_DIR_BOTH, .bytes = page };
	size_t len;

	memset(&info, 0, sizeof(info));
	info.size = sizeof(info);
	if (ioctl(fd, GIGALOCK_IOC_INFO, &info))
		bail("INFO");
	len = strnlen((char *)info.bus, sizeof(info.bus));
	ok(len && len < sizeof(info.bus), "INFO names the bus address %s", info.bus);
	for (; len < sizeof(info.bus) && !info.bus[len]; len++)
		;
	is(len, sizeof(info.bus), "nothing behind the end of the name");

	memset(one, 0xa5, sizeof(one));
	one[0].size = sizeof(one[0]);
	bad.failure_addr = (uintptr_t)&one[0];
	fails(ioctl(fd, GIGALOCK_IOC_LOCK, &bad), EINVAL, "a strategy that is not there");
	is(one[0].reason, GIGALOCK_REASON_BAD_STRATEGY, "its reason");
	is(one[0].limit, GIGALOCK_STRATEGY_COUNT, "its limit");
	is(one[0].request, 99, "its request");
	is(one[0].unit, GIGALOCK_UNIT_COUNT, "its unit");
	is(one[0].err, EINVAL, "its errno");
	is(one[0].pid, getpid(), "its process");
	ok(!strcmp((char *)one[0].comm, program_invocation_short_name), "its process name");
	is(((uint8_t *)&one[1])[0], 0xa5, "nothing behind the record");

	memset(one, 0xa5, sizeof(one));
	f.capacity = 1;
	f.records = (uintptr_t)one;
	f.since = 0;
	f.record_size = sizeof(one[0]) + 32;
	if (ioctl(fd, GIGALOCK_IOC_FAILURES, &f))
		bail("FAILURES");
	is(f.count, 1, "one record fits");
	is(one[0].size, sizeof(one[0]), "a caller with larger records is told ours");
	for (len = sizeof(one[0]); len < sizeof(one[0]) + 32; len++)
		if (((uint8_t *)one)[len])
			break;
	is(len, sizeof(one[0]) + 32, "and gets zeroes behind it");
	is(((uint8_t *)one)[len], 0xa5, "and no more than that");

	memset(one, 0xa5, sizeof(one));
	f.size = sizeof(f);
	f.capacity = 2;
	f.since = 0;
	f.record_size = 16;
	if (ioctl(fd, GIGALOCK_IOC_FAILURES, &f))
		bail("FAILURES");
	is(one[0].size, 16, "a caller with smaller records gets their size");
	is(((uint8_t *)one)[f.count * 16], 0xa5, "and no more than that");
}

/* A record in a short struct, one at the end of a page, one nowhere. */
static void test_failure_addr(void)
{
	struct gigalock_lock bad = { .size = sizeof(bad), .strategy = 99,
				     .direction = GIGALOCK_DIR_BOTH, .bytes = page };
	uint32_t *short_one = (uint32_t *)(edge + page - 8);

	short_one[0] = 8;
	short_one[1] = 0xdead;
	bad.failure_addr = (uintptr_t)short_one;
	fails(ioctl(fd, GIGALOCK_IOC_LOCK, &bad), EINVAL, "failure record of 8 bytes at a page's end");
	is(short_one[1], GIGALOCK_REASON_BAD_STRATEGY, "carries the reason");
	bad.failure_addr = 8;
	fails(ioctl(fd, GIGALOCK_IOC_LOCK, &bad), EINVAL, "failure record to nowhere keeps the errno");
	bad.failure_addr = (uintptr_t)(edge + page - 8);
	short_one[0] = sizeof(struct gigalock_failure);
	fails(ioctl(fd, GIGALOCK_IOC_LOCK, &bad), EINVAL, "failure record over a page's end keeps the errno");
}

static void test_unknown(void)
{
	uint32_t arg[64] = { sizeof(arg) };

	for (unsigned int nr = 0; nr < 256; nr++) {
		bool known = false;

		for (size_t i = 0; i < CALLS; i++)
			known |= calls[i].cmd == _IO(GIGALOCK_IOC_TYPE, nr);
		errno = 0;
		if (known)
			continue;
		if (ioctl(fd, _IO(GIGALOCK_IOC_TYPE, nr), arg) == 0 || errno != ENOTTY) {
			ok(false, "call %u is not there", nr);
			return;
		}
	}
	ok(true, "calls that are not there: ENOTTY");
	errno = 0;
	fails(ioctl(fd, _IOWR(GIGALOCK_IOC_TYPE, 0, struct gigalock_info), arg), ENOTTY,
	      "a known number in another form");
	errno = 0;
	fails(ioctl(fd, _IO('x', 0), arg), ENOTTY, "another type");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		node = argv[1];
	page = sysconf(_SC_PAGESIZE);
	fd = open(node, O_RDWR);
	if (fd < 0)
		bail("%s", node);
	edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (edge == MAP_FAILED || munmap(edge + page, page))
		bail("mmap");

	made = (struct gigalock_lock){ .size = sizeof(made),
				       .strategy = GIGALOCK_STRATEGY_COHERENT,
				       .direction = GIGALOCK_DIR_BOTH,
				       .bytes = page };
	if (ioctl(fd, GIGALOCK_IOC_LOCK, &made))
		bail("LOCK");

	for (size_t i = 0; i < CALLS; i++) {
		test_sizes(&calls[i]);
		test_edge(&calls[i]);
		test_strict(&calls[i]);
		test_bits(&calls[i]);
		test_pointers(&calls[i]);
	}
	test_unknown();
	test_lock_flags();
	test_lock_again();
	test_zeroing();
	test_failure_addr();
	return tap_done();
}
