// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A 32-bit process that has three buffers of 1 GiB mapped and wants another. It
 * answers as the gigalock tool does (gigalock --json xfer). Runs in guests only;
 * scenarios name it.
 *
 *   gl-32 --json xfer --size N --seed N [--strategy sg] [--buffers N] [--no-crc]
 *   gl-32 --json lock --size N [--strategy sg] [--buffers N]
 *
 * With --buffers it asks for the bytes in so many parts, one mapped at a time.
 * With --others N it has so many bytes mapped before. With --stop it stops when it
 * has, so that it can be looked at; SIGCONT lets it go on.
 *
 * It is built without a C library, for none of 32 bits need be installed: what
 * it takes of the kernel it asks itself (int 0x80), and 64-bit numbers are never
 * divided.
 */
#include <linux/gigalock.h>

typedef __UINT8_TYPE__ u8;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;

#define SYS_EXIT	1
#define SYS_WRITE	4
#define SYS_OPEN	5
#define SYS_GETPID	20
#define SYS_KILL	37
#define SYS_IOCTL	54
#define SYS_MUNMAP	91
#define SYS_MMAP2	192

#define O_RDWR		2
#define ENOMEM		12
#define SIGSTOP		19
#define PROT_RW		3
#define MAP_PRIVATE	0x02
#define MAP_ANONYMOUS	0x20
#define MAP_NORESERVE	0x4000

#define GIB		((u64)1 << 30)
#define OTHERS		(3 * GIB)	/* that it has already */
#define WINDOW		((u32)64 << 20)
#define ADDRESSES	((u64)1 << 32)

static int syscall6(int number, u32 a, u32 b, u32 c, u32 d, u32 e, u32 f)
{
	int ret;
	struct { u32 number, sixth; } in = { (u32)number, f };

	/* ebp is the sixth argument, and the compiler may need it itself. */
	__asm__ volatile("pushl %%ebp\n\t"
			 "movl 4(%%eax), %%ebp\n\t"
			 "movl (%%eax), %%eax\n\t"
			 "int $0x80\n\t"
			 "popl %%ebp"
			 : "=a"(ret)
			 : "a"(&in), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return ret;
}
#define CALL3(n, a, b, c) syscall6(n, (u32)(a), (u32)(b), (u32)(c), 0, 0, 0)

void *memset(void *at, int byte, u32 count)
{
	u8 *p = at;

	while (count--)
		*p++ = (u8)byte;
	return at;
}

/* ---- saying -------------------------------------------------------------------- */

static char line[4096];
static u32 used;

static void say(const char *text)
{
	while (*text && used < sizeof(line))
		line[used++] = *text++;
}

static void say_number(u64 value)
{
	/* By subtraction: there is no 64-bit division here. */
	static const u64 powers[] = {
		10000000000000000000u, 1000000000000000000u, 100000000000000000u,
		10000000000000000u, 1000000000000000u, 100000000000000u, 10000000000000u,
		1000000000000u, 100000000000u, 10000000000u, 1000000000u, 100000000u,
		10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u, 1u,
	};
	int begun = 0;

	for (u32 i = 0; i < 20; i++) {
		char digit[2] = "0";

		while (value >= powers[i]) {
			value -= powers[i];
			digit[0]++;
		}
		begun |= digit[0] != '0' || i == 19;
		if (begun)
			say(digit);
	}
}

static void say_key(const char *key, u64 value)
{
	say(",\"");
	say(key);
	say("\":");
	say_number(value);
}

static void say_crc(const char *key, u32 crc)
{
	say(",\"");
	say(key);
	say("\":\"0x");
	for (int shift = 28; shift >= 0; shift -= 4) {
		char digit[2] = { "0123456789abcdef"[crc >> shift & 15] };

		say(digit);
	}
	say("\"");
}

static void done(int code)
{
	say("}\n");
	CALL3(SYS_WRITE, 1, line, used);
	CALL3(SYS_EXIT, code, 0, 0);
	__builtin_unreachable();
}

static int only_lock;	/* command "lock": it is not moved */

static void begin(const char *ok)
{
	used = 0;
	say(only_lock ? "{\"command\":\"lock\",\"ok\":" : "{\"command\":\"xfer\",\"ok\":");
	say(ok);
}

static void usage(const char *text)
{
	begin("false,\"error\":\"");
	say(text);
	say("\"");
	done(2);
}

/* No room in the address space: seen here, before the driver is asked. */
static void no_room(u64 size, u32 part)
{
	begin("false");
	say_key("requested_bytes", size);
	say(",\"locked_bytes\":0,\"failure\":{\"reason\":\"address-space\"");
	say_key("code", GIGALOCK_REASON_ADDRESS_SPACE);
	say(",\"stage\":\"user-map\",\"errno\":12,\"errno_name\":\"ENOMEM\"");
	say_key("limit", ADDRESSES);
	say_key("request", part);
	say(",\"available\":0,\"unit\":\"bytes\",\"strategy\":\"sg\",\"op\":\"lock\"");
	say_key("lock_size", size);
	say(",\"text\":\"a 32-bit process with much mapped has no room for the buffer\"");
	say(",\"remedy\":\"Map it in parts, or build the program for 64 bits.\"}");
	done(1);
}

/* ---- the pattern and its checksum, as userlib/lib/pattern.c has them ------------- */

#define STEP 0x9e3779b97f4a7c15u

static u64 start_of(u64 seed)
{
	u64 x = seed + STEP;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static void fill(u64 *data, u32 words, u64 weyl, u64 invert)
{
	for (u32 i = 0; i < words; i++, weyl += STEP)
		data[i] = (weyl ^ (weyl >> 32)) ^ invert;
}

static int same(const u64 *data, u32 words, u64 weyl)
{
	for (u32 i = 0; i < words; i++, weyl += STEP)
		if (data[i] != (weyl ^ (weyl >> 32)))
			return 0;
	return 1;
}

/* CRC-32C of @a's bytes followed by @bytes that have @b. */
static u32 multiply(u32 a, u32 b)
{
	u32 product = 0;

	for (u32 bit = 0x80000000; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? 0x82f63b78 : 0);
	}
	return product;
}

static u32 combine(u32 a, u32 b, u64 bytes)
{
	u32 power = 0x00800000;	/* x^8, highest power in the lowest bit */

	for (; bytes; bytes >>= 1) {
		if (bytes & 1)
			a = multiply(a, power);
		power = multiply(power, power);
	}
	return a ^ b;
}

/* ---- a part of the buffer ---------------------------------------------------------- */

static struct {
	int card;
	u32 to, from, segments;
	u64 windows, lock_ns, longest;
} state;

static void move(u32 lock, u32 direction, u32 at, u32 length)
{
	struct gigalock_submit submit = {
		.size = sizeof(submit),
		.id = lock,
		.direction = direction,
		.flags = GIGALOCK_XFER_CRC,
		.offset = at,
		.length = length,
	};
	struct gigalock_wait wait = { .size = sizeof(wait), .timeout_ms = 60000 };
	u32 *crc = direction == GIGALOCK_DIR_TO_CARD ? &state.to : &state.from;

	if (CALL3(SYS_IOCTL, state.card, GIGALOCK_IOC_SUBMIT, &submit))
		usage("a transfer can't be started");
	wait.xfer = submit.xfer;
	if (CALL3(SYS_IOCTL, state.card, GIGALOCK_IOC_WAIT, &wait) || wait.status)
		usage("a transfer failed");
	*crc = combine(*crc, wait.crc, length);
}

static int move_part(u64 size, u32 part, u64 offset, u64 start)
{
	int memory = syscall6(SYS_MMAP2, 0, part, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS,
			      (u32)-1, 0);
	struct gigalock_lock lock = {
		.size = sizeof(lock),
		.strategy = GIGALOCK_STRATEGY_SG,
		.direction = GIGALOCK_DIR_BOTH,
		.bytes = part,
		.user_addr = (u32)memory,
	};
	struct gigalock_unlock unlock = { .size = sizeof(unlock) };
	u64 weyl = start + (offset >> 3) * STEP;
	u64 *data = (u64 *)memory;
	int good;

	if (memory == -ENOMEM)
		no_room(size, part);
	if ((u32)memory > (u32)-4096)
		usage("mmap failed, and not for want of room");
	if (CALL3(SYS_IOCTL, state.card, GIGALOCK_IOC_LOCK, &lock))
		usage("the driver refused the lock");
	state.segments += lock.segments;
	state.lock_ns += lock.lock_ns;
	if (lock.longest_segment > state.longest)
		state.longest = lock.longest_segment;
	if (!only_lock)
		fill(data, part >> 3, weyl, 0);
	for (u32 at = 0; at < part && !only_lock; at += WINDOW) {
		u32 length = part - at < WINDOW ? part - at : WINDOW;

		move(lock.id, GIGALOCK_DIR_TO_CARD, at, length);
		fill(data + (at >> 3), length >> 3, weyl + (at >> 3) * STEP, ~(u64)0);
		move(lock.id, GIGALOCK_DIR_FROM_CARD, at, length);
		state.windows++;
	}
	good = only_lock || same(data, part >> 3, weyl);
	unlock.id = lock.id;
	if (CALL3(SYS_IOCTL, state.card, GIGALOCK_IOC_UNLOCK, &unlock))
		usage("the lock can't be given back");
	CALL3(SYS_MUNMAP, memory, part, 0);
	return good;
}

/* ---- the whole ----------------------------------------------------------------------- */

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static u64 number(const char *text)
{
	u64 value = 0;

	if (!text || *text < '0' || *text > '9')
		usage("a number is needed");
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (u64)(*text - '0');
	if (*text)
		usage("a number is needed");
	return value;
}

static void map_others(u64 others)
{
	while (others) {
		u32 part = others > GIB ? (u32)GIB : (u32)others;

		if ((u32)syscall6(SYS_MMAP2, 0, part, PROT_RW,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, (u32)-1, 0) >
		    (u32)-4096)
			usage("not even the first buffers have room");
		others -= part;
	}
}

static void run(u64 size, u64 seed, u32 buffers, u64 others, int stop)
{
	/* Powers of two, so that nothing need be divided. */
	u32 part = (u32)size, parts = 1, good = 1;

	for (; parts < buffers; parts <<= 1)
		part >>= 1;
	if (size >= ADDRESSES || (u64)part * parts != size || part & 4095)
		usage("the size must be below 4 GiB, and each part whole pages");
	state.card = CALL3(SYS_OPEN, "/dev/gigalock0", O_RDWR, 0);
	if (state.card < 0)
		usage("there is no card");
	map_others(others);
	if (stop)
		CALL3(SYS_KILL, CALL3(SYS_GETPID, 0, 0, 0), SIGSTOP, 0);
	for (u32 i = 0; i < parts && good; i++)
		good = (u32)move_part(size, part, (u64)i * part, start_of(seed));
	begin(good ? "true" : "false");
	say_key("requested_bytes", size);
	say_key("locked_bytes", size);
	say(",\"strategy\":\"sg\",\"backing\":\"pages\",\"failure\":null,\"first_difference\":null");
	say_key("segments", state.segments);
	say_key("longest_segment", state.longest);
	say_key("lock_ms", state.lock_ns >> 20);
	if (only_lock)
		done(0);
	say_key("seed", seed);
	say(good ? ",\"verified\":true" : ",\"verified\":false");
	say_key("windows", state.windows);
	say_crc("crc_to_card", state.to);
	say_crc("crc_from_card", state.from);
	say_key("bytes_to_card", size);
	say_key("bytes_from_card", size);
	say(",\"to_card_gib_per_s\":0,\"from_card_gib_per_s\":0,\"gib_per_s\":0");
	done(good ? 0 : 4);
}

__attribute__((used)) static void entry(const u32 *stack)
{
	u32 argc = stack[0];
	char **argv = (char **)(stack + 1);
	u64 size = 0, seed = 0, buffers = 1, others = OTHERS;
	int stop = 0;

	for (u32 i = 1; i < argc; i++) {
		const char *word = argv[i];

		if (equal(word, "--json") || equal(word, "xfer") || equal(word, "--no-crc"))
			continue;
		if (equal(word, "lock") || equal(word, "--stop")) {
			only_lock |= equal(word, "lock");
			stop |= equal(word, "--stop");
			continue;
		}
		i++;
		if (equal(word, "--size"))
			size = number(argv[i]);
		else if (equal(word, "--seed"))
			seed = number(argv[i]);
		else if (equal(word, "--buffers"))
			buffers = number(argv[i]);
		else if (equal(word, "--others"))
			others = number(argv[i]);
		else if (!equal(word, "--strategy") || !argv[i] || !equal(argv[i], "sg"))
			usage("an option is not understood; the strategy is sg");
	}
	if (!size || !buffers || buffers > 1024)
		usage("a size above 0 and 1 to 1024 buffers are needed");
	if (others >= ADDRESSES || others & 4095)
		usage("the others must be below 4 GiB, and whole pages");
	run(size, seed, (u32)buffers, others, stop);
}

__asm__(".globl _start\n"
	"_start:\n\t"
	"xorl %ebp, %ebp\n\t"
	"movl %esp, %eax\n\t"
	"andl $-16, %esp\n\t"
	"subl $12, %esp\n\t"
	"pushl %eax\n\t"
	"call entry\n\t"
	"hlt\n");
