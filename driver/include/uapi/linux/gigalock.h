/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * gigalock: the contract between the kernel driver and user space.
 *
 * Every card is a character device /dev/gigalockN. All calls are ioctls on it.
 *
 * Rules of every struct: it starts with its own size in bytes, has no holes,
 * and is the same for 32-bit and 64-bit callers. A caller built against an
 * older header passes a smaller size and the missing fields count as 0; a
 * caller built against a newer one passes a larger size, and any byte the
 * driver doesn't know must be 0. Unknown flags and non-zero reserved fields are
 * refused. Sizes and offsets are in bytes.
 *
 * Errors that every call can give:
 *   ENOTTY  no such call
 *   EINVAL  size below the smallest the call accepts, unknown flag,
 *           reserved field not 0, or a value out of the documented range
 *   E2BIG   size is larger than known and a byte beyond it is not 0; or above a
 *           page (4096), whatever the bytes are
 *   EFAULT  the struct itself can't be read or written
 *   ENODEV  the card is gone; only close() still works
 */
#ifndef _UAPI_LINUX_GIGALOCK_H
#define _UAPI_LINUX_GIGALOCK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define GIGALOCK_IOC_TYPE	0xB7
#define GIGALOCK_ABI_VERSION	1

/* ---- strategies ---------------------------------------------------------- */

#define GIGALOCK_STRATEGY_COHERENT	0	/* dma_alloc_coherent() */
#define GIGALOCK_STRATEGY_CONTIG_RANGE	1	/* a free physical range */
#define GIGALOCK_STRATEGY_SG		2	/* the caller's memory, pinned */
#define GIGALOCK_STRATEGY_RESERVED	3	/* a range kept free since boot */
#define GIGALOCK_STRATEGY_POOL		4	/* taken when the module was loaded */
#define GIGALOCK_STRATEGY_HUGETLB	5	/* the caller's huge pages, verified */
#define GIGALOCK_STRATEGY_CHUNKED	6	/* the largest blocks there are */
#define GIGALOCK_STRATEGY_DMABUF	7	/* another driver's buffer, imported */
#define GIGALOCK_STRATEGY_COUNT		8

/* ---- reasons: what was observed where a lock or transfer failed ---------- */

/*
 * Stable: a number is never given a second meaning. Each comment is
 * "code-name: what was observed" and is the home of the name; the library's
 * table and docs/ are checked against it. limit, request, available are in
 * the unit that the failure carries.
 */
#define GIGALOCK_REASON_NONE		0  /* none: nothing failed */
#define GIGALOCK_REASON_BAD_SIZE	1  /* bad-size: zero, not a number of pages where that is needed, or beyond the largest possible; limit is the bound */
#define GIGALOCK_REASON_BAD_STRATEGY	2  /* bad-strategy: no such strategy; limit is the number of strategies */
#define GIGALOCK_REASON_BAD_ARGUMENT	3  /* bad-argument: a flag, field or handle is not valid; request is the value */
#define GIGALOCK_REASON_BUDDY_LIMIT	4  /* buddy-limit: larger than the largest block of the page allocator, and neither CMA nor an IOMMU to help; limit is that block */
#define GIGALOCK_REASON_NO_FREE_BLOCK	5  /* no-free-block: within the allocator's limit, but no free block of that size; available is free memory */
#define GIGALOCK_REASON_RAM_TOO_SMALL	6  /* ram-too-small: larger than all RAM of the machine; limit is RAM */
#define GIGALOCK_REASON_NO_FREE_RANGE	7  /* no-free-range: RAM is large enough, but no physical range of that length could be freed; available is the longest one seen */
#define GIGALOCK_REASON_NO_MEMORY	8  /* no-memory: memory ran out while locking; available is what was got until then */
#define GIGALOCK_REASON_KILLED		9  /* killed: a fatal signal (the OOM killer's, for one) ended the caller while locking; available is what was got until then */
#define GIGALOCK_REASON_MEMLOCK_LIMIT	10 /* memlock-limit: RLIMIT_MEMLOCK; limit is it, available is what is left of it */
#define GIGALOCK_REASON_BAD_ADDRESS	11 /* bad-address: part of the range is not mapped; available is the length before it */
#define GIGALOCK_REASON_READ_ONLY	12 /* read-only: the range may not be written but the device would; available is the length before it */
#define GIGALOCK_REASON_UNPINNABLE	13 /* unpinnable: a mapping that can't be pinned (I/O memory, a raw page mapping); available is the length before it */
#define GIGALOCK_REASON_KERNEL_METADATA	14 /* kernel-metadata: memory for the lock's own tables could not be had */
#define GIGALOCK_REASON_DMA_MAP		15 /* dma-map: the DMA API refused to map the pages for the device */
#define GIGALOCK_REASON_SWIOTLB_SEGMENT	16 /* swiotlb-segment: a piece needs the bounce buffer and is longer than one bounce may be; limit is that length */
#define GIGALOCK_REASON_SWIOTLB_FULL	17 /* swiotlb-full: the pages need the bounce buffer and don't fit */
#define GIGALOCK_REASON_ADDRESS_WIDTH	18 /* address-width: mapped above what the device can address; limit is its highest address */
#define GIGALOCK_REASON_CARD_RANGE	19 /* card-range: past the end of card memory; limit is its size */
#define GIGALOCK_REASON_LOCK_RANGE	20 /* lock-range: past the end of the lock; limit is its size */
#define GIGALOCK_REASON_DEVICE_ERROR	21 /* device-error: the card reported an error; request is its GL_ERR_ code, available the fault address */
#define GIGALOCK_REASON_TIMEOUT		22 /* timeout: not finished in time; limit is the time */
#define GIGALOCK_REASON_CANCELLED	23 /* cancelled: ended by its owner, or by a reset of the card */
#define GIGALOCK_REASON_DEVICE_GONE	24 /* device-gone: the card was removed or does not answer */
/* Seen in user space only, before the driver is asked: */
#define GIGALOCK_REASON_OVERCOMMIT	25 /* overcommit: the kernel won't promise that much memory to a process; limit is RAM plus swap, or CommitLimit */
#define GIGALOCK_REASON_ADDRESS_SPACE	26 /* address-space: no room in the process's address space; limit is RLIMIT_AS or the pointer size */
#define GIGALOCK_REASON_NO_DEVICE	27 /* no-device: no such card, or its driver is not loaded */
#define GIGALOCK_REASON_PERMISSION	28 /* permission: the card's node may not be opened */
/* Seen by the driver: */
#define GIGALOCK_REASON_CMA_TOO_SMALL	29 /* cma-too-small: larger than all CMA memory; limit is that, available what of it is free */
#define GIGALOCK_REASON_CMA_FULL	30 /* cma-full: within CMA memory, but less of it is free; available is that */
#define GIGALOCK_REASON_CMA_BUSY	31 /* cma-busy: enough CMA memory is free, but no run of it could be had; available is what is free */
#define GIGALOCK_REASON_CMA_ABOVE_WIDTH	32 /* cma-above-width: CMA memory lies above what the device can address; limit is the highest address */
#define GIGALOCK_REASON_IOVA_SPACE	33 /* iova-space: the IOMMU has no free range of bus addresses of that length; limit is the highest address */
#define GIGALOCK_REASON_TOO_MANY_SEGMENTS 34 /* too-many-segments: more pieces than the table may have; limit is its room, available how many pages of the buffer fitted */
#define GIGALOCK_REASON_NONPAGED_POOL	35 /* nonpaged-pool: the driver's budget of memory, fixed when it was loaded; limit is it, available what is left */
#define GIGALOCK_REASON_MAPPING_ENTRIES	36 /* mapping-entries: the driver's budget of page-table entries for mapped buffers, fixed when it was loaded; a count */
#define GIGALOCK_REASON_RESERVED_MISSING 37 /* reserved-missing: no such reserved region; limit is how many there are */
#define GIGALOCK_REASON_RESERVED_NOT_RESERVED 38 /* reserved-not-reserved: the range named to the module is not kept free: in use as RAM, or nothing is there; request is its address */
#define GIGALOCK_REASON_RESERVED_SMALL	39 /* reserved-small: larger than the region; limit is its size */
#define GIGALOCK_REASON_RESERVED_BUSY	40 /* reserved-busy: too much of the region is taken by other locks; available is the longest free part */
#define GIGALOCK_REASON_POOL_EMPTY	41 /* pool-empty: no buffer of the pool is free; limit is how many it has, a count */
#define GIGALOCK_REASON_POOL_SMALL	42 /* pool-small: larger than a buffer of the pool; limit is its size */
#define GIGALOCK_REASON_NOT_HUGETLB	43 /* not-hugetlb: part of the range is no huge page; available is the length before it */
#define GIGALOCK_REASON_NODE_MEMORY	44 /* node-memory: the NUMA node asked for has too little memory; limit is its memory, available what of it is free */
#define GIGALOCK_REASON_DMABUF_REFUSED	45 /* dmabuf-refused: the file is no dma-buf, or its exporter won't share it with this card */
/* Seen in user space only: */
#define GIGALOCK_REASON_HUGETLB_SIZE	46 /* hugetlb-size: the CPU or kernel has no huge pages of that size; request is the page size */
#define GIGALOCK_REASON_HUGETLB_POOL	47 /* hugetlb-pool: too few huge pages are set aside; limit is the pool, available what of it is free */
#define GIGALOCK_REASON_IO_URING_BUFFER	48 /* io-uring-buffer: longer than io_uring registers in one piece; limit is the longest that was taken */
#define GIGALOCK_REASON_COUNT		49

/* ---- stages: where ------------------------------------------------------- */

#define GIGALOCK_STAGE_NONE		0  /* none */
#define GIGALOCK_STAGE_OPEN		1  /* open: opening the card */
#define GIGALOCK_STAGE_ARGUMENTS	2  /* arguments: checking what was asked */
#define GIGALOCK_STAGE_ACCOUNT		3  /* account: charging the pages to the caller */
#define GIGALOCK_STAGE_ALLOCATE		4  /* allocate: getting memory */
#define GIGALOCK_STAGE_PIN		5  /* pin: pinning the caller's pages */
#define GIGALOCK_STAGE_TABLE		6  /* table: building the segment table */
#define GIGALOCK_STAGE_DMA_MAP		7  /* dma-map: mapping for the device */
#define GIGALOCK_STAGE_USER_MAP		8  /* user-map: mapping into the process */
#define GIGALOCK_STAGE_TRANSFER		9  /* transfer: moving data */
#define GIGALOCK_STAGE_COUNT		10

#define GIGALOCK_UNIT_BYTES		0
#define GIGALOCK_UNIT_COUNT		1  /* a plain number */
#define GIGALOCK_UNIT_MILLISECONDS	2
#define GIGALOCK_UNIT_ADDRESS		3

#define GIGALOCK_OP_LOCK		1
#define GIGALOCK_OP_TRANSFER		2
#define GIGALOCK_OP_SYNC		3

/**
 * struct gigalock_failure - why something failed (96 bytes)
 * @size: sizeof(struct gigalock_failure)
 * @reason: GIGALOCK_REASON_*
 * @stage: GIGALOCK_STAGE_*
 * @err: the positive errno seen at that place
 * @limit: the bound that was hit; 0 if none is known
 * @request: what was asked for
 * @available: what was there
 * @unit: GIGALOCK_UNIT_* of the three above
 * @strategy: GIGALOCK_STRATEGY_*, of a lock or the lock transferred
 * @op: GIGALOCK_OP_*
 * @pid: thread group id of the caller, in the initial namespace
 * @seq: number of the failure on this card, from 1
 * @time_ns: CLOCK_MONOTONIC
 * @lock_size: bytes of the lock wanted or used
 * @comm: name of the calling process
 */
struct gigalock_failure {
	__u32 size;
	__u32 reason;
	__u32 stage;
	__u32 err;
	__u64 limit;
	__u64 request;
	__u64 available;
	__u32 unit;
	__u32 strategy;
	__u32 op;
	__u32 pid;
	__u64 seq;
	__u64 time_ns;
	__u64 lock_size;
	__u8 comm[16];
};

/* ---- calls --------------------------------------------------------------- */

/**
 * struct gigalock_info - GIGALOCK_IOC_INFO: what this card and driver are
 * @size: in: sizeof; out: what the driver filled
 * @flags: must be 0
 * @abi_version: GIGALOCK_ABI_VERSION of the driver
 * @device_version: major << 16 | minor, from the card
 * @channels: number of DMA channels
 * @address_width: host address bits of the card
 * @card_bytes: card memory
 * @max_xfer_bytes: largest single descriptor
 * @strategies: bitmap of 1 << GIGALOCK_STRATEGY_*
 * @locks: locks alive on this card, all users
 * @locked_bytes: their bytes
 * @failures: failures recorded since the card was bound
 * @buddy_max_bytes: largest block of the page allocator
 * @swiotlb_max_bytes: longest bounced piece; 0 when nothing bounces
 * @iommu: 1 when the DMA API translates for this card
 * @reserved: 0
 * @bus: PCI address as text, "0000:01:00.0"
 *
 * Errors: only the common ones.
 */
struct gigalock_info {
	__u32 size;
	__u32 flags;
	__u32 abi_version;
	__u32 device_version;
	__u32 channels;
	__u32 address_width;
	__u64 card_bytes;
	__u64 max_xfer_bytes;
	__u32 strategies;
	__u32 locks;
	__u64 locked_bytes;
	__u64 failures;
	__u64 buddy_max_bytes;
	__u64 swiotlb_max_bytes;
	__u32 iommu;
	__u32 reserved;
	__u8 bus[32];
};

#define GIGALOCK_DIR_TO_CARD	1	/* the device reads the buffer */
#define GIGALOCK_DIR_FROM_CARD	2	/* the device writes it */
#define GIGALOCK_DIR_BOTH	3

#define GIGALOCK_LOCK_NO_USER_MAP	1	/* never mapped into a process */
#define GIGALOCK_LOCK_ENTRY_PER_PAGE	2	/* a piece a page: neighbours aren't */
						/* merged, and what lies in a row is cut */
#define GIGALOCK_LOCK_SMALL_TABLE	4	/* GIGALOCK_SMALL_TABLE_ENTRIES entries */
						/* and no more, as of a driver without */
						/* large-buffer handling */
#define GIGALOCK_LOCK_NODE		8	/* memory of NUMA node @node only */
#define GIGALOCK_LOCK_FLAGS		0xf
#define GIGALOCK_SMALL_TABLE_ENTRIES	256

#define GIGALOCK_BACKING_UNKNOWN	0
#define GIGALOCK_BACKING_BUDDY		1	/* one block of the page allocator */
#define GIGALOCK_BACKING_CMA		2	/* the contiguous memory allocator */
#define GIGALOCK_BACKING_IOMMU		3	/* pages anywhere, put in a row by an IOMMU */
#define GIGALOCK_BACKING_RANGE		4	/* a physical range that was emptied */
#define GIGALOCK_BACKING_RESERVED	5	/* a range kept free since boot */
#define GIGALOCK_BACKING_PAGES		6	/* the caller's pages */
#define GIGALOCK_BACKING_HUGE_2M	7	/* the caller's 2 MiB pages */
#define GIGALOCK_BACKING_HUGE_1G	8	/* the caller's 1 GiB pages */
#define GIGALOCK_BACKING_BLOCKS		9	/* blocks of the page allocator */
#define GIGALOCK_BACKING_DMABUF		10	/* of its exporter */
#define GIGALOCK_BACKING_COUNT		11

/**
 * struct gigalock_lock - GIGALOCK_IOC_LOCK: lock a buffer
 * @size: sizeof
 * @flags: GIGALOCK_LOCK_*
 * @strategy: GIGALOCK_STRATEGY_*
 * @direction: GIGALOCK_DIR_*
 * @bytes: length. SG, HUGETLB: any, from 1 up; DMABUF: 0 means all of it, else
 *	as below; the others: a multiple of the page size
 * @user_addr: SG: start of the caller's memory, any alignment. HUGETLB: the
 *	same, within huge pages. Else 0
 * @failure_addr: a struct gigalock_failure to fill when the call fails, or 0.
 *	Its size must be set by the caller
 * @id: out: names the lock in the other calls, on this open file only. Ids go
 *	round: one that was given back is not soon another's
 * @segments: out: pieces the device sees
 * @mmap_offset: out: offset for mmap(), a multiple of the page size below 2^44
 *	(so that 32-bit callers can give it); 0 for SG, HUGETLB, DMABUF, and
 *	with GIGALOCK_LOCK_NO_USER_MAP
 * @longest_segment: out: bytes of the longest piece
 * @lock_ns: out: time the call took
 * @address_width: every address the device gets has at most that many bits,
 *	checked after mapping; 0: the card's own, else 24 up to that
 * @node: with GIGALOCK_LOCK_NODE: the NUMA node, else 0. Memory that is there
 *	already (SG, HUGETLB, DMABUF, RESERVED, POOL) must lie on it; of a DMABUF
 *	that is looked at where its bus addresses lead
 * @max_segment: no piece is longer, a multiple of the page size; 0: the card's
 *	own limit
 * @timeout_ms: give up with reason timeout after that long; 0: no limit
 * @fd: DMABUF: the dma-buf. Else 0
 * @region: RESERVED: number of the region, in the order of the module's
 *	parameters. Else 0
 * @backing: out: GIGALOCK_BACKING_*, what kind of memory it turned out to be
 * @table_bytes: out: kernel memory for the lock's own tables
 *
 * The lock belongs to this open file and is gone when the file is closed and
 * no mapping or transfer uses it any more. Memory that can be mapped is zeroed.
 *
 * Errors, beyond the common ones, each with a reason:
 *   ENOMEM  buddy-limit, no-free-block, ram-too-small, no-memory, node-memory,
 *           memlock-limit, kernel-metadata, cma-too-small, cma-full,
 *           cma-busy, cma-above-width, iova-space, nonpaged-pool,
 *           mapping-entries, pool-empty, reserved-busy
 *   EBUSY   no-free-range
 *   E2BIG   too-many-segments, pool-small, reserved-small
 *   ENOENT  reserved-missing
 *   ENXIO   reserved-not-reserved
 *   ETIMEDOUT timeout
 *   EINTR   killed
 *   EPERM   memlock-limit of 0
 *   EFAULT  bad-address, read-only; unpinnable (or EOPNOTSUPP, EBUSY: what the
 *           kernel said of that kind of page)
 *   EMEDIUMTYPE not-hugetlb
 *   EBADF, or what the exporter said: dmabuf-refused
 *   EIO     swiotlb-segment, swiotlb-full; dma-map (or another errno that the
 *           DMA API gave)
 *   ERANGE  address-width
 *   EINVAL  bad-size, bad-strategy, bad-argument
 */
struct gigalock_lock {
	__u32 size;
	__u32 flags;
	__u32 strategy;
	__u32 direction;
	__u64 bytes;
	__u64 user_addr;
	__u64 failure_addr;
	__u32 id;
	__u32 segments;
	__u64 mmap_offset;
	__u64 longest_segment;
	__u64 lock_ns;
	__u32 address_width;
	__u32 node;
	__u64 max_segment;
	__u32 timeout_ms;
	__s32 fd;
	__u32 region;
	__u32 backing;
	__u64 table_bytes;
};

/**
 * struct gigalock_unlock - GIGALOCK_IOC_UNLOCK: give a lock back
 * @size: sizeof
 * @id: the lock
 *
 * Errors: ENOENT no such lock on this file; EBUSY it is mapped or a transfer
 * uses it (nothing changes).
 */
struct gigalock_unlock {
	__u32 size;
	__u32 id;
};

#define GIGALOCK_SYNC_FOR_DEVICE	1
#define GIGALOCK_SYNC_FOR_CPU		2

/**
 * struct gigalock_sync - GIGALOCK_IOC_SYNC: hand a range over
 * @size: sizeof
 * @id: the lock
 * @flags: exactly one of GIGALOCK_SYNC_*
 * @reserved: 0
 * @offset: start within the lock
 * @length: bytes; 0 means to the end
 *
 * Call with FOR_DEVICE after the CPU wrote and before a transfer; FOR_CPU after
 * a transfer and before the CPU reads. Needed where the DMA API bounces; a
 * no-op elsewhere. Only the range is synced.
 *
 * Errors: ENOENT; EINVAL flags, or the range leaves the lock.
 */
struct gigalock_sync {
	__u32 size;
	__u32 id;
	__u32 flags;
	__u32 reserved;
	__u64 offset;
	__u64 length;
};

#define GIGALOCK_XFER_CRC		1	/* compute CRC-32C on the way */
#define GIGALOCK_XFER_FLAGS		1
#define GIGALOCK_MAX_XFERS		1024

#define GIGALOCK_XFER_OP_MOVE		0	/* between the lock and card memory */
#define GIGALOCK_XFER_OP_FILL		1	/* FROM_CARD: write @pattern, repeated, */
						/* from the start of the range */
#define GIGALOCK_XFER_OP_COMPARE	2	/* TO_CARD: the lock with card memory; a */
						/* difference is a device-error */
#define GIGALOCK_XFER_OP_CRC		3	/* TO_CARD: CRC-32C of the lock, nothing */
						/* is moved; needs GIGALOCK_XFER_CRC */
#define GIGALOCK_XFER_OP_COUNT		4

/**
 * struct gigalock_submit - GIGALOCK_IOC_SUBMIT: start a transfer
 * @size: sizeof
 * @id: the lock
 * @direction: GIGALOCK_DIR_TO_CARD or GIGALOCK_DIR_FROM_CARD; the lock must
 *	have been made for it
 * @flags: GIGALOCK_XFER_*
 * @offset: start within the lock
 * @length: bytes, 1 or more
 * @card_offset: start within card memory
 * @cookie: given back by WAIT
 * @failure_addr: as in struct gigalock_lock
 * @xfer: out: names the transfer, on this open file only; goes round as the
 *	ids of locks do
 * @op: GIGALOCK_XFER_OP_*
 * @timeout_ms: cancelled by the driver, with reason timeout, when it is not
 *	done that long after it was submitted; 0: no limit
 * @reserved: 0
 * @pattern: OP_FILL: eight bytes, the lowest first in memory. Else 0
 *
 * Returns at once. At most GIGALOCK_MAX_XFERS may be unreaped on a file. FILL
 * and CRC need no card memory: @card_offset is 0.
 * A range that doesn't begin where the card can (its ALIGN) is refused: limit is
 * ALIGN, request the offset.
 * Errors: ENOENT no such lock; EINVAL; ERANGE lock-range, card-range;
 * EACCES the lock is not for that direction; EOPNOTSUPP the card has no such
 * operation; EAGAIN too many unreaped; ENOMEM.
 */
struct gigalock_submit {
	__u32 size;
	__u32 id;
	__u32 direction;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 card_offset;
	__u64 cookie;
	__u64 failure_addr;
	__u32 xfer;
	__u32 op;
	__u32 timeout_ms;
	__u32 reserved;
	__u64 pattern;
};

/**
 * struct gigalock_wait - GIGALOCK_IOC_WAIT: reap a transfer
 * @size: sizeof
 * @xfer: in: the transfer, or 0 for whichever finishes first; out: which
 * @timeout_ms: -1 for ever, 0 just look
 * @flags: must be 0
 * @failure_addr: as in struct gigalock_lock; filled if the transfer failed
 * @cookie: out: of SUBMIT
 * @bytes: out: moved
 * @fault_addr: out: bus address the card could not reach, 0 if none
 * @elapsed_ns: out: from the first doorbell to the last completion
 * @crc: out: CRC-32C, with GIGALOCK_XFER_CRC
 * @status: out: 0 or the positive errno of the transfer
 *
 * The call returns 0 when it reaped a transfer, good or bad; see @status. A
 * transfer reaped is forgotten. poll() says POLLIN while one can be reaped.
 * Errors: ENOENT no such transfer, or none submitted; ETIMEDOUT not yet (it
 * goes on); EINTR a signal.
 * Status: EIO device-error; ECANCELED cancelled; ETIMEDOUT timeout; ENODEV
 * device-gone.
 */
struct gigalock_wait {
	__u32 size;
	__u32 xfer;
	__s32 timeout_ms;
	__u32 flags;
	__u64 failure_addr;
	__u64 cookie;
	__u64 bytes;
	__u64 fault_addr;
	__u64 elapsed_ns;
	__u32 crc;
	__u32 status;
};

/**
 * struct gigalock_cancel - GIGALOCK_IOC_CANCEL: stop a transfer
 * @size: sizeof
 * @xfer: the transfer
 *
 * When the call returns the card no longer touches the buffer; the transfer is
 * then reaped with status ECANCELED, or 0 if it had finished before.
 * Errors: ENOENT.
 */
struct gigalock_cancel {
	__u32 size;
	__u32 xfer;
};

#define GIGALOCK_XFER_QUEUED	0
#define GIGALOCK_XFER_RUNNING	1
#define GIGALOCK_XFER_DONE	2

/**
 * struct gigalock_progress - GIGALOCK_IOC_PROGRESS: how far a transfer is
 * @size: sizeof
 * @xfer: the transfer
 * @bytes: out: moved so far
 * @total: out: to move
 * @state: out: GIGALOCK_XFER_QUEUED, _RUNNING or _DONE
 * @flags: must be 0
 *
 * Errors: ENOENT.
 */
struct gigalock_progress {
	__u32 size;
	__u32 xfer;
	__u64 bytes;
	__u64 total;
	__u32 state;
	__u32 flags;
};

#define GIGALOCK_FAILURE_LOG	64

/**
 * struct gigalock_failures - GIGALOCK_IOC_FAILURES: the card's last failures
 * @size: sizeof
 * @capacity: in: room at @records, in records; at most GIGALOCK_FAILURE_LOG
 *	are ever given
 * @records: address of an array of struct gigalock_failure
 * @since: in: only those with seq above this one
 * @count: out: records written, oldest first
 * @record_size: in: sizeof(struct gigalock_failure) of the caller
 *
 * Whoever may open the card may read them; the caller that failed need not
 * be alive. Errors: only the common ones.
 */
struct gigalock_failures {
	__u32 size;
	__u32 capacity;
	__u64 records;
	__u64 since;
	__u32 count;
	__u32 record_size;
};

/**
 * struct gigalock_eventfd - GIGALOCK_IOC_EVENTFD: be told through an eventfd
 * @size: sizeof
 * @fd: an eventfd; -1 takes it away again
 * @flags: must be 0
 * @reserved: 0
 *
 * 1 is added whenever a transfer of this file can be reaped, and for queues
 * made with GIGALOCK_QUEUE_IRQ whenever completions came. One an open file; a
 * new one replaces it.
 *
 * Errors: EBADF, EINVAL: not an eventfd.
 */
struct gigalock_eventfd {
	__u32 size;
	__s32 fd;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct gigalock_export - GIGALOCK_IOC_EXPORT: a lock as a dma-buf
 * @size: sizeof
 * @id: the lock
 * @flags: O_CLOEXEC, O_RDONLY, O_RDWR
 * @fd: out: the dma-buf. It holds the lock: UNLOCK says EBUSY, and after
 *	close() of this file the memory lives on until the dma-buf is gone
 *
 * Errors: ENOENT no such lock; EINVAL flags; EOPNOTSUPP a kernel without
 * dma-buf, or a lock that is itself an import; EACCES O_RDWR of the caller's
 * memory that was locked with GIGALOCK_DIR_TO_CARD alone; ENOMEM, EMFILE.
 */
struct gigalock_export {
	__u32 size;
	__u32 id;
	__u32 flags;
	__s32 fd;
};

/**
 * struct gigalock_lock_stats - GIGALOCK_IOC_LOCK_STATS: what a lock did
 * @size: sizeof
 * @id: the lock
 * @transfers: out: that ended, well or not, through queues too
 * @errors: out: of those, with a status that is neither 0 nor ECANCELED
 * @cancelled: out: of those, with ECANCELED
 * @to_card_bytes: out: read by the card
 * @from_card_bytes: out: written by the card
 * @busy_ns: out: sum of the transfers' elapsed_ns; queues don't count
 * @inflight: out: transfers under way
 * @mappings: out: user mappings alive
 *
 * Errors: ENOENT.
 */
struct gigalock_lock_stats {
	__u32 size;
	__u32 id;
	__u64 transfers;
	__u64 errors;
	__u64 cancelled;
	__u64 to_card_bytes;
	__u64 from_card_bytes;
	__u64 busy_ns;
	__u32 inflight;
	__u32 mappings;
};

/* ---- queues: a channel of one's own, polled in memory -------------------- */

#define GIGALOCK_QUEUE_IRQ	1	/* interrupts: poll(), eventfd, QUEUE_WAIT */

/**
 * struct gigalock_queue_create - GIGALOCK_IOC_QUEUE_CREATE: take a channel
 * @size: sizeof
 * @flags: GIGALOCK_QUEUE_*
 * @entries: in: length of the completion ring, a power of two from 16 up, or
 *	0 for the driver's choice; out: what it is
 * @id: out: names the queue, on this open file only
 * @mmap_offset: out: maps the completion ring, read-only and shared: @entries
 *	struct gigalock_completion
 * @ring_bytes: out: length of that mapping
 * @channel: out: the channel taken
 * @reserved: 0
 *
 * No other transfer uses the channel until the queue is destroyed or the file
 * closed. One channel at least stays for the others.
 *
 * Errors: EINVAL entries; EBUSY no channel is free (or the card has only one);
 * ENOMEM.
 */
struct gigalock_queue_create {
	__u32 size;
	__u32 flags;
	__u32 entries;
	__u32 id;
	__u64 mmap_offset;
	__u64 ring_bytes;
	__u32 channel;
	__u32 reserved;
};

/**
 * struct gigalock_completion - what the card writes into the mapped ring
 * @cookie: of the entry
 * @status: the card's error code, 0 when all went well (docs/device.md)
 * @bytes: moved, up to the failure
 * @fault_addr: bus address the card could not reach, or 0
 * @crc: CRC-32C, with GIGALOCK_XFER_CRC
 * @seq: written last: 1 for the first completion of the queue, and so on;
 *	goes round at 2^32
 *
 * Little-endian. Completion number n (from 0) is at place n modulo entries. It
 * is there when @seq is n + 1: read @seq first, the rest after a read barrier.
 * Completions come in the order of submission.
 */
struct gigalock_completion {
	__u32 cookie;
	__u32 status;
	__u64 bytes;
	__u64 fault_addr;
	__u32 crc;
	__u32 seq;
};

/**
 * struct gigalock_queue_entry - one transfer of a queue (56 bytes)
 * @lock: the lock's id
 * @cookie: given back in the completion
 * @direction: as in struct gigalock_submit
 * @flags: GIGALOCK_XFER_*
 * @offset: start within the lock
 * @length: bytes, 1 or more
 * @card_offset: start within card memory
 * @op: GIGALOCK_XFER_OP_*
 * @reserved: 0
 * @pattern: as in struct gigalock_submit
 */
struct gigalock_queue_entry {
	__u32 lock;
	__u32 cookie;
	__u32 direction;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 card_offset;
	__u32 op;
	__u32 reserved;
	__u64 pattern;
};

/**
 * struct gigalock_queue_submit - GIGALOCK_IOC_QUEUE_SUBMIT: many at once
 * @size: sizeof
 * @id: the queue
 * @entries: address of an array of struct gigalock_queue_entry
 * @count: in: how many; out: how many were taken, from the first on
 * @entry_size: sizeof(struct gigalock_queue_entry) of the caller
 * @seen: completions that the caller has read since the queue was made
 * @reserved: 0
 * @failure_addr: as in struct gigalock_lock; why the first one that was not
 *	taken was not
 *
 * A queue takes at most as many entries as its ring has places, those in
 * flight and those completed but not @seen together; that, or a descriptor
 * ring that is full, ends the taking without an error if any was taken.
 * There is no sync: call SYNC where the DMA API bounces.
 *
 * Errors when none was taken: ENOENT no such queue; EAGAIN no room; EPIPE the
 * queue was stopped by a reset of the card or halted by an error of it; EINVAL
 * @seen can't be; E2BIG too-many-segments, an entry that needs more descriptors
 * than the queue has entries; and those of SUBMIT.
 */
struct gigalock_queue_submit {
	__u32 size;
	__u32 id;
	__u64 entries;
	__u32 count;
	__u32 entry_size;
	__u32 seen;
	__u32 reserved;
	__u64 failure_addr;
};

/**
 * struct gigalock_queue_wait - GIGALOCK_IOC_QUEUE_WAIT: sleep for completions
 * @size: sizeof
 * @id: the queue
 * @seen: in: completions that the caller has read; out: completions there are
 * @timeout_ms: -1 for ever, 0 just look
 * @flags: must be 0
 * @reserved: 0
 *
 * Returns when there is one more than @seen. Queues without GIGALOCK_QUEUE_IRQ
 * can be waited for as well, at the price of a timer. For the others poll() says
 * POLLIN when there is more than the @seen of the last call, or the queue is over.
 * Whoever only looks at the ring learns by a call with time 0 that it is over.
 * Errors: ENOENT; EINVAL; ETIMEDOUT; EINTR; EPIPE as above.
 */
struct gigalock_queue_wait {
	__u32 size;
	__u32 id;
	__u32 seen;
	__s32 timeout_ms;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct gigalock_queue_destroy - GIGALOCK_IOC_QUEUE_DESTROY: give it back
 * @size: sizeof
 * @id: the queue
 *
 * When the call returns the card no longer touches any buffer for this queue;
 * what was in flight is cancelled. A mapping of the ring stays readable and
 * doesn't change any more.
 * Errors: ENOENT.
 */
struct gigalock_queue_destroy {
	__u32 size;
	__u32 id;
};

#define GIGALOCK_IOC_INFO	_IO(GIGALOCK_IOC_TYPE, 0x00)
#define GIGALOCK_IOC_LOCK	_IO(GIGALOCK_IOC_TYPE, 0x01)
#define GIGALOCK_IOC_UNLOCK	_IO(GIGALOCK_IOC_TYPE, 0x02)
#define GIGALOCK_IOC_SYNC	_IO(GIGALOCK_IOC_TYPE, 0x03)
#define GIGALOCK_IOC_SUBMIT	_IO(GIGALOCK_IOC_TYPE, 0x04)
#define GIGALOCK_IOC_WAIT	_IO(GIGALOCK_IOC_TYPE, 0x05)
#define GIGALOCK_IOC_CANCEL	_IO(GIGALOCK_IOC_TYPE, 0x06)
#define GIGALOCK_IOC_PROGRESS	_IO(GIGALOCK_IOC_TYPE, 0x07)
#define GIGALOCK_IOC_FAILURES	_IO(GIGALOCK_IOC_TYPE, 0x08)
#define GIGALOCK_IOC_EVENTFD	_IO(GIGALOCK_IOC_TYPE, 0x09)
#define GIGALOCK_IOC_EXPORT	_IO(GIGALOCK_IOC_TYPE, 0x0a)
#define GIGALOCK_IOC_LOCK_STATS	_IO(GIGALOCK_IOC_TYPE, 0x0b)
#define GIGALOCK_IOC_QUEUE_CREATE _IO(GIGALOCK_IOC_TYPE, 0x0c)
#define GIGALOCK_IOC_QUEUE_SUBMIT _IO(GIGALOCK_IOC_TYPE, 0x0d)
#define GIGALOCK_IOC_QUEUE_WAIT	_IO(GIGALOCK_IOC_TYPE, 0x0e)
#define GIGALOCK_IOC_QUEUE_DESTROY _IO(GIGALOCK_IOC_TYPE, 0x0f)

#endif /* _UAPI_LINUX_GIGALOCK_H */
