/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libgigalock: lock large DMA buffers, move them through the card, and learn
 * why a lock failed.
 *
 * This header is the documentation. The numbers (strategies, reasons, stages,
 * directions) and a few plain structs (struct gigalock_failure, gigalock_info,
 * gigalock_lock_stats, gigalock_queue_entry, gigalock_completion) come from the
 * kernel's <linux/gigalock.h>, which is their one home. Everything that this library adds begins with glk_
 * or GLK_.
 *
 * Conventions
 * - Functions that can fail return 0 or a negative errno. They don't set errno.
 * - Functions that take a `struct gigalock_failure *failure` fill it whenever
 *   they return a negative value; otherwise its content means nothing. It may
 *   be NULL and needs no initialisation. glk_failure_message() turns it into
 *   words.
 * - Sizes and offsets are in bytes, times in the unit that the name ends with.
 * - Structs that a caller fills start with `size`: set it to sizeof the struct
 *   and set what you don't use to 0. A library that is newer than its caller
 *   then knows which fields exist.
 * - Pointers that a function gives back belong to the library, unless the
 *   comment says that the caller frees them.
 *
 * Threads
 * Different objects may be used by different threads at any time, also two
 * locks or transfers of one card. One object may be used by one thread at a
 * time, except: glk_xfer_wait(), glk_xfer_cancel() and glk_xfer_progress() may
 * run in several threads on the same transfer, and every glk_card_ function
 * except glk_card_close() in several threads on the same card. Of a queue, one
 * thread may submit while another reaps and waits. Functions that take no
 * object (text, pattern, CRC) may be used freely.
 *
 * A transfer is reaped once. Of several threads that wait for it, one gets its
 * result and the others -EALREADY. It is freed by one thread, when no other is
 * inside a call with it.
 *
 * fork()
 * Memory that the library allocates for sg and hugetlb is not passed on to a
 * child (MADV_DONTFORK): the child must not touch it. Handles must be used and
 * freed by the process that made them.
 */
#ifndef GIGALOCK_H
#define GIGALOCK_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>
#include <linux/gigalock.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GLK_API __attribute__((visibility("default")))
#else
#define GLK_API
#endif

/** An open card, see "cards" below. */
struct glk_card;

/** Version of this header. Compare with glk_version(). */
#define GLK_VERSION_MAJOR 1
#define GLK_VERSION_MINOR 1
#define GLK_VERSION_STRING "1.1"

/** glk_version() - the library's version as text, "1.1". Static. */
GLK_API const char *glk_version(void);

/* ---- words --------------------------------------------------------------- */

/** Strategy "auto": try what the driver has, and keep the first that works:
 *  coherent, contig-range, pool, reserved, hugetlb, chunked, sg. Those in one
 *  piece come first. Pool and reserved are left out when the module was loaded
 *  without any, hugetlb when too few huge pages are free. Not known to the
 *  kernel. */
#define GLK_STRATEGY_AUTO 0xffffffffu

/**
 * glk_reason_name() - the stable code of a reason, "buddy-limit"
 * @reason: GIGALOCK_REASON_*
 * Returns a static string; "unknown" for a number this library doesn't know.
 */
GLK_API const char *glk_reason_name(uint32_t reason);

/** glk_reason_observation() - what a reason says was observed, in general
 *  terms and without numbers. Static; "" for an unknown number. */
GLK_API const char *glk_reason_observation(uint32_t reason);

/** glk_reason_by_name() - the number of a code, or -ENOENT. */
GLK_API int glk_reason_by_name(const char *name);

/** glk_stage_name() - "allocate" of GIGALOCK_STAGE_ALLOCATE; "unknown". */
GLK_API const char *glk_stage_name(uint32_t stage);

/** glk_strategy_name() - "sg" of GIGALOCK_STRATEGY_SG, "auto"; "unknown". */
GLK_API const char *glk_strategy_name(uint32_t strategy);

/** glk_strategy_list() - the names of all strategies, separated by ", ",
 *  "auto" last. Static. */
GLK_API const char *glk_strategy_list(void);

/**
 * glk_strategy_by_name() - the number of a strategy
 * @name: one of glk_strategy_list()
 * @strategy: where to put it
 * Returns 0, or -ENOENT (@strategy is left alone).
 */
GLK_API int glk_strategy_by_name(const char *name, uint32_t *strategy);

/** glk_backing_name() - what kind of memory a lock turned out to have, "buddy"
 *  of GIGALOCK_BACKING_BUDDY; "unknown". */
GLK_API const char *glk_backing_name(uint32_t backing);

/** glk_unit_name() - "bytes", "count", "milliseconds", "address". */
GLK_API const char *glk_unit_name(uint32_t unit);

/* ---- failures ------------------------------------------------------------ */

/*
 * A failure is the kernel's struct gigalock_failure: reason, stage, err (a
 * positive errno), limit, request and available in `unit`, strategy, op, and
 * who it was. Failures that only user space sees (a mapping refused, no card)
 * have the same form and seq 0, for they are not in the card's log.
 */

/**
 * glk_failure_text() - what happened, in one sentence with the numbers
 * @failure: the failure
 * @buf, @len: where to put it; always ended with a 0 byte when @len > 0
 * Returns the length of the whole text, as snprintf() does.
 */
GLK_API int glk_failure_text(const struct gigalock_failure *failure,
			     char *buf, size_t len);

/** glk_failure_remedy() - what would help, in one or two sentences. As above. */
GLK_API int glk_failure_remedy(const struct gigalock_failure *failure,
			       char *buf, size_t len);

/** glk_failure_message() - code, text and remedy in one line. As above. */
GLK_API int glk_failure_message(const struct gigalock_failure *failure,
				char *buf, size_t len);

/** Room that is enough for each of the three. */
#define GLK_TEXT_MAX 1024

/**
 * glk_failure_of_child() - why a child process ended, when it could not say
 * @card: the card it used
 * @pid: its process id
 * @status: of waitpid()
 * @since: look only at records of the card's log with seq above this one
 * @failure: filled: the record that the card kept of that process; or, when
 *	there is none and SIGKILL ended it, "killed" with what is known
 * Returns 1 when filled, 0 when there is nothing to tell (it ended by itself
 * and the card has no record of it), or a negative errno.
 *
 * A caller that the OOM killer takes inside the kernel never sees its failure.
 * Lock in a child, and ask this. Needs the process ids of the initial PID
 * namespace: inside another one the log can't be matched.
 */
GLK_API int glk_failure_of_child(struct glk_card *card, pid_t pid, int status,
				 uint64_t since,
				 struct gigalock_failure *failure);

/* ---- sizes --------------------------------------------------------------- */

/** glk_size_limit() - largest buffer that a process of this machine can ever
 *  have: the size of its address space. */
GLK_API uint64_t glk_size_limit(void);

/**
 * glk_size_parse() - read a size: "4096", "64K", "1536M", "1G", "1GiB"
 * @text: a decimal number and K, M, G or T (powers of 1024), with or without
 *	"iB", in either case
 * @bytes: filled with the size, 1 up to glk_size_limit()
 * @error: filled with why not, naming the value and the limit; or NULL
 * @error_len: room there
 * Returns 0, -EINVAL (not a size, zero, negative) or -ERANGE (too large).
 */
GLK_API int glk_size_parse(const char *text, uint64_t *bytes,
			   char *error, size_t error_len);

/** glk_size_format() - "1 GiB", "943.2 MiB", "17 bytes". As snprintf(). */
GLK_API int glk_size_format(uint64_t bytes, char *buf, size_t len);

/* ---- cards --------------------------------------------------------------- */

/* Locks and transfers keep a card alive: closing it early is safe. */

/** The card that glk_card_open() takes when it is given NULL. */
#define GLK_DEFAULT_DEVICE "/dev/gigalock0"

/**
 * glk_card_open() - open a card
 * @device: "/dev/gigalock0", "0", or NULL: GLK_DEFAULT_DEVICE
 * @card: filled; the caller closes it with glk_card_close()
 * @failure: see the conventions
 * Returns 0, or
 *   -ENOENT, -ENXIO, -ENODEV  no-device: no such card, driver not loaded
 *   -ENOTTY                   no-device: that file is not a gigalock card
 *   -EACCES, -EPERM           permission
 *   -EPROTO                   no-device: its driver speaks another ABI version
 *   -ENOMEM, -EMFILE, ...     of open()
 */
GLK_API int glk_card_open(const char *device, struct glk_card **card,
			  struct gigalock_failure *failure);

/** glk_card_close() - let go of a card. NULL is fine. Its locks and transfers
 *  stay valid until they are freed; the file is closed after the last one. */
GLK_API void glk_card_close(struct glk_card *card);

/** glk_card_device() - the path that was opened. Lives as long as the card. */
GLK_API const char *glk_card_device(const struct glk_card *card);

/** glk_card_fd() - the file, for poll(): POLLIN says that a transfer can be
 *  reaped. Belongs to the card; don't close it. */
GLK_API int glk_card_fd(const struct glk_card *card);

/**
 * glk_card_info() - what this card and its driver are
 * @info: its size must be set by the caller; see <linux/gigalock.h>
 * Returns 0 or a negative errno of the call.
 */
GLK_API int glk_card_info(struct glk_card *card, struct gigalock_info *info);

/**
 * glk_card_failures() - the card's last failures, of all processes
 * @since: only those with seq above this one
 * @records: filled, oldest first
 * @capacity: room there; GIGALOCK_FAILURE_LOG is always enough
 * Returns how many were filled, or a negative errno.
 */
GLK_API int glk_card_failures(struct glk_card *card, uint64_t since,
			      struct gigalock_failure *records,
			      unsigned int capacity);

/** glk_card_failure_seq() - seq of the newest failure so far, 0 if none: what
 *  to give as @since to see only later ones. Or a negative errno. */
GLK_API int64_t glk_card_failure_seq(struct glk_card *card);

/**
 * glk_card_set_eventfd() - be told through an eventfd
 * @fd: an eventfd, which the caller keeps and closes; -1: no longer
 * 1 is added whenever a transfer can be reaped, and when completions came to a
 * queue made with GIGALOCK_QUEUE_IRQ. A card has one; a new one replaces it.
 * Returns 0, -EBADF or -EINVAL (not an eventfd), -ENOTTY (a driver that is too
 * old).
 */
GLK_API int glk_card_set_eventfd(struct glk_card *card, int fd);

/* ---- locks --------------------------------------------------------------- */

/** Memory that is locked for DMA. */
struct glk_lock;

/** One attempt, as told to a `tried` callback. */
struct glk_try {
	size_t size;			/* sizeof(struct glk_try) */
	uint32_t strategy;		/* GIGALOCK_STRATEGY_* */
	bool ok;
	uint64_t bytes;			/* that it tried to lock */
	uint64_t elapsed_ns;
	struct gigalock_failure failure; /* when not ok */
};

/** Called after each attempt. @attempt lives only as long as the call. */
typedef void (*glk_tried_fn)(const struct glk_try *attempt, void *arg);

/* Flags of struct glk_lock_options. */
#define GLK_LOCK_NO_MAP		1u /* don't map into this process: data is NULL */
#define GLK_LOCK_HUGEPAGE	2u /* sg: ask for huge pages (MADV_HUGEPAGE) */
#define GLK_LOCK_NO_USER_MAP	4u /* nor into any other: the kernel needs no
				    * page-table entries for it. Implies NO_MAP */
#define GLK_LOCK_ENTRY_PER_PAGE	8u /* a piece a page: neighbours aren't merged,
				    * and what lies in a row is cut */
#define GLK_LOCK_SMALL_TABLE	16u /* at most GIGALOCK_SMALL_TABLE_ENTRIES
				     * pieces */
#define GLK_LOCK_NODE		32u /* memory of NUMA node @node only. What the
				     * library allocates is taken from there */

/** What to lock. */
struct glk_lock_options {
	size_t size;		/* sizeof(struct glk_lock_options) */
	uint64_t bytes;		/* 1 or more. All but sg and hugetlb round up to
				 * whole pages. dmabuf: 0 means all of it */
	uint64_t min_bytes;	/* 0: exactly @bytes. Else the smallest size
				 * that will do, see glk_lock_new() */
	uint32_t strategy;	/* GIGALOCK_STRATEGY_* or GLK_STRATEGY_AUTO */
	uint32_t direction;	/* GIGALOCK_DIR_*; 0 means both */
	uint32_t flags;		/* GLK_LOCK_* */
	uint32_t reserved;	/* 0 */
	void *memory;		/* sg, hugetlb: lock the caller's memory, any
				 * alignment. NULL: the library allocates. The
				 * caller keeps it mapped as long as the lock */
	glk_tried_fn tried;	/* told of every attempt; or NULL */
	void *tried_arg;
	/* since 1.1 */
	uint64_t max_segment;	/* no piece is longer, a multiple of the page
				 * size; 0: the card's own limit */
	uint64_t page_size;	/* hugetlb that the library allocates: size of
				 * its pages. 0: the largest of which enough are
				 * free, else the smallest */
	uint32_t address_width;	/* every address that the device gets has at most
				 * that many bits; 0: the card's own */
	uint32_t node;		/* with GLK_LOCK_NODE */
	uint32_t timeout_ms;	/* of an attempt, in the kernel; 0: no limit */
	uint32_t region;	/* reserved: number of the region */
	int fd;			/* dmabuf: the dma-buf. It stays the caller's */
	uint32_t reserved2;	/* 0 */
};

/**
 * glk_lock_new() - lock a buffer
 * @lock: filled; the caller frees it with glk_lock_free()
 * @failure: of the last attempt
 *
 * Strategy auto tries each strategy in turn. With @min_bytes it decreases the
 * size until a lock succeeds or @min_bytes failed too: by what the failure says
 * was available, else by an eighth, each size with each strategy. What comes
 * out is not the largest possible size, for that see glk_limit_search(). Sizes
 * above both @min_bytes and the kernel's MemAvailable are not tried by sg and
 * chunked, for they call the OOM killer.
 *
 * Memory is zeroed, except the caller's own and another driver's (dmabuf). The
 * library's own sg memory is not touched before the kernel pins it, so a
 * shortage is met there and has a reason.
 *
 * Options of one strategy are for that one alone: auto gives each only its own.
 *
 * Returns 0, or the errno of the last attempt: see struct gigalock_lock in
 * <linux/gigalock.h>, and
 *   -EINVAL  bad-size, bad-strategy, bad-argument; hugetlb-size: there are no
 *            huge pages of that size
 *   -ENOMEM  overcommit, address-space: the process may not map that much;
 *            hugetlb-pool: too few huge pages are set aside
 * A driver that is too old for an option refuses it: -E2BIG or -EINVAL,
 * bad-argument.
 */
GLK_API int glk_lock_new(struct glk_card *card,
			 const struct glk_lock_options *options,
			 struct glk_lock **lock,
			 struct gigalock_failure *failure);

/**
 * glk_lock_free() - unmap, unlock, and free the handle. NULL is fine.
 * Returns 0; -EBUSY when a transfer of it was not reaped or freed yet, a queue
 * has it in flight, another process maps it, or its dma-buf is open: nothing
 * changed and the handle stays valid; or the
 * errno of the call (-ENODEV: the card is gone), and the handle is freed.
 */
GLK_API int glk_lock_free(struct glk_lock *lock);

/** glk_lock_data() - the memory; NULL with GLK_LOCK_NO_MAP, unless it is of this
 *  process anyhow (sg, hugetlb), and NULL of a dma-buf that can't be mapped. */
GLK_API void *glk_lock_data(const struct glk_lock *lock);
/** glk_lock_bytes() - bytes locked: as asked, rounded up, or less with
 *  min_bytes; all of a dma-buf when 0 was asked for. */
GLK_API uint64_t glk_lock_bytes(const struct glk_lock *lock);
/** glk_lock_strategy() - the one that succeeded, never auto. */
GLK_API uint32_t glk_lock_strategy(const struct glk_lock *lock);
/** glk_lock_direction() - GIGALOCK_DIR_*. */
GLK_API uint32_t glk_lock_direction(const struct glk_lock *lock);
/** glk_lock_segments() - pieces that the device sees. */
GLK_API uint32_t glk_lock_segments(const struct glk_lock *lock);
/** glk_lock_longest_segment() - bytes of the longest piece. */
GLK_API uint64_t glk_lock_longest_segment(const struct glk_lock *lock);
/** glk_lock_ns() - time the kernel took for the lock that succeeded. */
GLK_API uint64_t glk_lock_ns(const struct glk_lock *lock);
/** glk_lock_id() - the kernel's id, for the entries of queues and for calls
 *  that this library doesn't have. */
GLK_API uint32_t glk_lock_id(const struct glk_lock *lock);
/** glk_lock_backing() - GIGALOCK_BACKING_*: what kind of memory it turned out to
 *  be; 0 from a driver that doesn't say. */
GLK_API uint32_t glk_lock_backing(const struct glk_lock *lock);
/** glk_lock_table_bytes() - kernel memory for the lock's own tables; 0 from a
 *  driver that doesn't say. */
GLK_API uint64_t glk_lock_table_bytes(const struct glk_lock *lock);

/**
 * glk_lock_export() - a lock as a dma-buf, for another driver or process
 * @flags: O_CLOEXEC, and O_RDONLY or O_RDWR
 * @fd: filled; the caller closes it
 *
 * The dma-buf holds the lock: glk_lock_free() says -EBUSY as long as it is open
 * anywhere. Returns 0; -EOPNOTSUPP: a kernel without dma-buf, or a lock that is
 * itself an import; -EINVAL, -ENOMEM, -EMFILE, -ENODEV; -ENOTTY: a driver that
 * is too old.
 */
GLK_API int glk_lock_export(struct glk_lock *lock, int flags, int *fd);

/**
 * glk_lock_stats() - what was done with a lock since it was made
 * @stats: its size must be set by the caller; see <linux/gigalock.h>
 * Returns 0 or a negative errno of the call (-ENOTTY: a driver that is too old).
 */
GLK_API int glk_lock_stats(struct glk_lock *lock,
			   struct gigalock_lock_stats *stats);

/**
 * glk_lock_sync_for_device() - the CPU has written, the device may read
 * glk_lock_sync_for_cpu() - the device has written, the CPU may read
 * @offset, @length: the range; length 0 means to the end
 *
 * Where the kernel bounces data through other memory the bytes are wrong
 * without these; elsewhere they cost little. glk_transfer() calls them itself.
 * Returns 0 or -EINVAL when the range leaves the lock.
 */
GLK_API int glk_lock_sync_for_device(struct glk_lock *lock, uint64_t offset,
				     uint64_t length);
GLK_API int glk_lock_sync_for_cpu(struct glk_lock *lock, uint64_t offset,
				  uint64_t length);

/* ---- transfers ----------------------------------------------------------- */

/** A transfer under way. */
struct glk_xfer;

/** What to move. */
struct glk_xfer_options {
	size_t size;		/* sizeof(struct glk_xfer_options) */
	uint32_t direction;	/* GIGALOCK_DIR_TO_CARD or _FROM_CARD */
	uint32_t flags;		/* GIGALOCK_XFER_CRC or 0 */
	uint64_t offset;	/* within the lock */
	uint64_t length;	/* 1 or more */
	uint64_t card_offset;	/* within card memory */
	void *user_data;	/* given back by glk_xfer_user_data() */
	/* since 1.1 */
	uint64_t pattern;	/* GIGALOCK_XFER_OP_FILL: eight bytes, the lowest
				 * first in memory; else 0 */
	uint32_t op;		/* GIGALOCK_XFER_OP_*: move (0), fill, compare,
				 * crc */
	uint32_t timeout_ms;	/* the kernel cancels it when it is not done that
				 * long after it was submitted; 0: no limit */
};

/** What became of it. */
struct glk_xfer_result {
	size_t size;		/* sizeof(struct glk_xfer_result), by the caller */
	int status;		/* 0 or a negative errno of the transfer */
	uint32_t crc32c;	/* by the device, with GIGALOCK_XFER_CRC */
	uint64_t bytes;		/* moved */
	uint64_t elapsed_ns;	/* first doorbell to last completion */
	uint64_t fault_address;	/* bus address the card could not reach, or 0 */
};

/**
 * glk_xfer_submit() - start a transfer and return at once
 * @xfer: filled; the caller frees it with glk_xfer_free()
 *
 * What it does, besides moving: fill (from-card) writes @pattern over and over,
 * from the start of the range; compare (to-card) looks whether the lock and
 * card memory are the same, and fails with device-error if not; crc (to-card,
 * with GIGALOCK_XFER_CRC) only computes the checksum. So the device can check
 * memory that the CPU never touches. Fill and crc use no card memory.
 *
 * Does not sync: call glk_lock_sync_for_device() before it.
 * Returns 0, -EINVAL, -ERANGE (lock-range, card-range), -EACCES (the lock is
 * not for that direction), -EAGAIN (GIGALOCK_MAX_XFERS not reaped), -ENOMEM,
 * -ENODEV.
 */
GLK_API int glk_xfer_submit(struct glk_lock *lock,
			    const struct glk_xfer_options *options,
			    struct glk_xfer **xfer,
			    struct gigalock_failure *failure);

/**
 * glk_xfer_wait() - wait for one transfer and reap it
 * @timeout_ms: -1 for ever, 0 just look
 * @result: filled when it was reaped; or NULL
 * @failure: why waiting failed, or why the transfer did
 * Returns 0 when it finished well. When it finished badly, result->status and
 * the return value are that errno (-EIO device-error, -ECANCELED, -ENODEV).
 * -ETIMEDOUT and -EINTR: not finished, it goes on; unless its own timeout_ms
 * ended it, then result->status is -ETIMEDOUT too. -EALREADY: reaped before, or
 * meanwhile by another thread.
 */
GLK_API int glk_xfer_wait(struct glk_xfer *xfer, int timeout_ms,
			  struct glk_xfer_result *result,
			  struct gigalock_failure *failure);

/**
 * glk_card_wait_any() - wait for whichever transfer of a card finishes first
 * @xfer: filled with the one that was reaped; still to be freed
 * Otherwise as glk_xfer_wait(). -ENOENT: nothing is under way. When @xfer is
 * NULL after a negative return, nothing was reaped.
 *
 * It takes any transfer of the card, also one that another thread submitted or
 * is waiting for (that one then gets -EALREADY, from glk_transfer() too). So a
 * thread that waits for any should be the only one that waits on that card and
 * frees its transfers; open the card once more for the others.
 */
GLK_API int glk_card_wait_any(struct glk_card *card, int timeout_ms,
			      struct glk_xfer **xfer,
			      struct glk_xfer_result *result,
			      struct gigalock_failure *failure);

/** glk_xfer_cancel() - stop a transfer. When it returns, the card no longer
 *  touches the buffer; wait then says -ECANCELED, or 0 if it was done before.
 *  Returns 0, -EALREADY when it was reaped before, or the call's errno. */
GLK_API int glk_xfer_cancel(struct glk_xfer *xfer);

/**
 * glk_xfer_progress() - how far a transfer is
 * @bytes, @total: filled; or NULL
 * Returns GIGALOCK_XFER_QUEUED, _RUNNING or _DONE, or a negative errno
 * (-EALREADY when it was reaped).
 */
GLK_API int glk_xfer_progress(struct glk_xfer *xfer, uint64_t *bytes,
			      uint64_t *total);

/** glk_xfer_user_data() - of the options. */
GLK_API void *glk_xfer_user_data(const struct glk_xfer *xfer);

/** glk_xfer_free() - free a transfer; one that was not reaped is cancelled and
 *  reaped first. NULL is fine. */
GLK_API void glk_xfer_free(struct glk_xfer *xfer);

/**
 * glk_transfer() - move data and wait: sync, submit, wait, sync
 * @timeout_ms: -1 for ever. When it passes, the transfer is cancelled
 * @result: filled when the transfer was started and reaped; or NULL
 * Returns as glk_xfer_submit() and glk_xfer_wait(); -ETIMEDOUT (timeout) and
 * -EINTR (cancelled) mean that nothing is under way any more.
 */
GLK_API int glk_transfer(struct glk_lock *lock,
			 const struct glk_xfer_options *options,
			 int timeout_ms, struct glk_xfer_result *result,
			 struct gigalock_failure *failure);

/* ---- queues -------------------------------------------------------------- */

/*
 * A channel of the card for one's own: many transfers in one call, and results
 * that are read from memory, without any. For small transfers at a high rate.
 * An entry is filled by the caller, with glk_lock_id() as its lock, and what
 * came of it is a struct gigalock_completion with the same cookie. The two keep
 * their size. Sync is the caller's (glk_lock_sync_for_device()).
 */

/** A channel of one's own. */
struct glk_queue;

/** What queue. */
struct glk_queue_options {
	size_t size;		/* sizeof(struct glk_queue_options) */
	uint32_t entries;	/* places, a power of two from 16 up; 0: the
				 * driver's choice */
	uint32_t flags;		/* GIGALOCK_QUEUE_IRQ: with interrupts, for
				 * glk_queue_wait(), poll() and an eventfd */
};

/**
 * glk_queue_new() - take a channel
 * @options: NULL: all 0
 * @queue: filled; the caller frees it with glk_queue_free()
 * Returns 0; -EINVAL entries or flags; -EBUSY no channel is free (one always
 * stays for the other transfers); -ENOMEM; -ENODEV; -ENOTTY a driver that is
 * too old. No failure is recorded.
 */
GLK_API int glk_queue_new(struct glk_card *card,
			  const struct glk_queue_options *options,
			  struct glk_queue **queue);

/** glk_queue_free() - give the channel back. What is in flight is cancelled, what
 *  was not reaped is gone, and the card no longer touches any buffer for it.
 *  NULL is fine. */
GLK_API void glk_queue_free(struct glk_queue *queue);

/**
 * glk_queue_submit() - start transfers
 * @entries, @count: what; they may be used anew as soon as this returns
 * @failure: why the first one that was not taken was not, when none was
 * Returns how many were taken, from the first on; or, when none was, -EAGAIN no
 * room (reap first), -E2BIG too-many-segments: one entry is in more pieces than
 * the queue has places, -ENOENT no such lock, -EINVAL, -ERANGE (lock-range,
 * card-range), -EACCES, -EPIPE a reset stopped the queue, -ENODEV.
 */
GLK_API int glk_queue_submit(struct glk_queue *queue,
			     const struct gigalock_queue_entry *entries,
			     unsigned int count,
			     struct gigalock_failure *failure);

/**
 * glk_queue_reap() - take what is done, in the order of submission
 * @done: filled
 * @max: room there
 * Reads memory only. Returns how many, 0 when nothing is there.
 */
GLK_API unsigned int glk_queue_reap(struct glk_queue *queue,
				    struct gigalock_completion *done,
				    unsigned int max);

/**
 * glk_queue_wait() - sleep until glk_queue_reap() will find something
 * @timeout_ms: -1 for ever, 0 just look
 * Returns 0, -ETIMEDOUT, -EINTR a signal, -EPIPE a reset stopped the queue,
 * -ENODEV. Without GIGALOCK_QUEUE_IRQ the kernel looks at intervals.
 */
GLK_API int glk_queue_wait(struct glk_queue *queue, int timeout_ms);

/** glk_queue_pending() - submitted and not reaped. */
GLK_API unsigned int glk_queue_pending(const struct glk_queue *queue);
/** glk_queue_entries() - how many places it has. */
GLK_API unsigned int glk_queue_entries(const struct glk_queue *queue);
/** glk_queue_channel() - the card's channel that it took. */
GLK_API unsigned int glk_queue_channel(const struct glk_queue *queue);

/* ---- the largest lock ---------------------------------------------------- */

/** How to search. */
struct glk_limit_options {
	size_t size;		/* sizeof(struct glk_limit_options) */
	uint64_t bytes;		/* the size wanted, tried first */
	uint32_t strategy;	/* GIGALOCK_STRATEGY_* or GLK_STRATEGY_AUTO */
	uint32_t direction;	/* 0 means both */
	uint32_t per_mille;	/* stop when the bounds are that close; 0: 10 */
	uint32_t lock_flags;	/* GLK_LOCK_* of each attempt */
	glk_tried_fn tried;	/* told of every attempt; or NULL */
	void *tried_arg;
	uint32_t timeout_ms;	/* of each attempt: its child is then killed, and
				 * the attempt failed by timeout; 0: no limit */
	uint32_t reserved;	/* 0 */
	/* since 1.1 */
	const struct glk_lock_options *lock; /* what is added since 1.1, for each
				 * attempt; all that is before it there does not
				 * count. Or NULL */
};

/** What was found. */
struct glk_limit_result {
	size_t size;		/* sizeof(struct glk_limit_result), by the caller */
	uint64_t largest;	/* that was truly locked; 0 if nothing was */
	uint32_t tries;
	bool wanted_locked;	/* the size wanted could be locked */
	struct gigalock_failure failure; /* why not, if it couldn't */
};

/**
 * glk_limit_search() - the largest size that can be locked right now
 * @device: as for glk_card_open()
 *
 * Every attempt is a child process that the OOM killer prefers (oom_score_adj
 * 1000), so the caller survives, and the kernel's reason is read from the
 * card's log. The result was truly locked, once, and given back. The next
 * moment may differ.
 *
 * Returns 0 when the search came to an end, also when nothing could be locked;
 * the errors of glk_card_open(); -EINVAL for bad options; -EAGAIN, -ENOMEM when
 * no child could be made.
 */
GLK_API int glk_limit_search(const char *device,
			     const struct glk_limit_options *options,
			     struct glk_limit_result *result,
			     struct gigalock_failure *failure);

/* ---- io_uring ------------------------------------------------------------ */

/**
 * glk_io_uring_probe() - would io_uring register a fixed buffer that long?
 * @bytes: its length, rounded up to whole pages
 *
 * Registers one, made of a little memory that is mapped over and over, and
 * gives it back; the length is what is tried, not the memory. Kernels before
 * 7.3 refuse more than 1 GiB.
 *
 * Returns 0; -EFAULT or -EINVAL io-uring-buffer, with the longest that was
 * taken; -ENOMEM address-space, memlock-limit, no-memory; -ENOSYS, -EPERM
 * bad-argument: this kernel or system has no io_uring.
 */
GLK_API int glk_io_uring_probe(uint64_t bytes, struct gigalock_failure *failure);

/* ---- test pattern -------------------------------------------------------- */

/*
 * A seeded pattern that depends on the position: the 64-bit little-endian word
 * number i is mix(seed, i), and no two positions of one seed are the same. So
 * data that is missing, stale or in the wrong place is seen. @offset is the
 * position in bytes of the buffer's first byte within the pattern, any value.
 */

/** glk_pattern_fill() - write the pattern. */
GLK_API void glk_pattern_fill(void *buf, size_t len, uint64_t seed,
			      uint64_t offset);
/** glk_pattern_fill_inverse() - write the pattern's complement: no byte is as
 *  in the pattern. To overwrite a buffer between two legs of a round trip. */
GLK_API void glk_pattern_fill_inverse(void *buf, size_t len, uint64_t seed,
				      uint64_t offset);

/** The first byte that differs. */
struct glk_difference {
	uint64_t offset;	/* within the buffer */
	uint8_t expected;
	uint8_t found;
};

/** glk_pattern_verify() - look at every byte. Returns true when all are right;
 *  otherwise fills @first, unless it is NULL. */
GLK_API bool glk_pattern_verify(const void *buf, size_t len, uint64_t seed,
				uint64_t offset, struct glk_difference *first);

/** glk_pattern_crc32c() - the CRC-32C that the pattern has, without a buffer.
 *  @crc: of what comes before it, 0 to start. */
GLK_API uint32_t glk_pattern_crc32c(uint32_t crc, uint64_t seed,
				    uint64_t offset, uint64_t len);

/** glk_word_crc32c() - the CRC-32C of @len bytes that are the eight bytes of
 *  @pattern, the lowest first, over and over: what a fill leaves. */
GLK_API uint32_t glk_word_crc32c(uint64_t pattern, uint64_t len);

/** glk_crc32c() - CRC-32C (RFC 3720) of a buffer. @crc: of what comes before
 *  it, 0 to start. */
GLK_API uint32_t glk_crc32c(uint32_t crc, const void *buf, size_t len);

/** glk_crc32c_combine() - the CRC of A followed by B
 *  @crc_a, @crc_b: of each alone; @len_b: bytes of B. */
GLK_API uint32_t glk_crc32c_combine(uint32_t crc_a, uint32_t crc_b,
				    uint64_t len_b);

#ifdef __cplusplus
}
#endif

#endif /* GIGALOCK_H */
