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
 *   E2BIG   size is larger than known and a byte beyond it is not 0
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
#define GIGALOCK_STRATEGY_COUNT		3

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
#define GIGALOCK_REASON_COUNT		29

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

/**
 * struct gigalock_lock - GIGALOCK_IOC_LOCK: lock a buffer
 * @size: sizeof
 * @flags: must be 0
 * @strategy: GIGALOCK_STRATEGY_*
 * @direction: GIGALOCK_DIR_*
 * @bytes: length. COHERENT, CONTIG_RANGE: a multiple of the page size.
 *	SG: any, from 1 up
 * @user_addr: SG: start of the caller's memory, any alignment; else 0
 * @failure_addr: a struct gigalock_failure to fill when the call fails, or 0.
 *	Its size must be set by the caller
 * @id: out: names the lock in the other calls, on this open file only. Ids go
 *	round: one that was given back is not soon another's
 * @segments: out: pieces the device sees
 * @mmap_offset: out: offset for mmap(); COHERENT, CONTIG_RANGE only, else 0
 * @longest_segment: out: bytes of the longest piece
 * @lock_ns: out: time the call took
 *
 * The lock belongs to this open file and is gone when the file is closed and
 * no mapping or transfer uses it any more. Memory that can be mapped is zeroed.
 *
 * Errors, beyond the common ones, each with a reason:
 *   ENOMEM  buddy-limit, no-free-block, ram-too-small, no-memory,
 *           memlock-limit, kernel-metadata
 *   EBUSY   no-free-range
 *   EINTR   killed
 *   EPERM   memlock-limit of 0
 *   EFAULT  bad-address, read-only; unpinnable (or EOPNOTSUPP, EBUSY: what the
 *           kernel said of that kind of page)
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
#define GIGALOCK_MAX_XFERS		1024

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
 * @reserved: 0
 *
 * Returns at once. At most GIGALOCK_MAX_XFERS may be unreaped on a file.
 * Errors: ENOENT no such lock; EINVAL; ERANGE lock-range, card-range;
 * EACCES the lock is not for that direction; EAGAIN too many unreaped; ENOMEM.
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
	__u32 reserved;
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
 * Status: EIO device-error; ECANCELED cancelled; ENODEV device-gone.
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

#define GIGALOCK_IOC_INFO	_IO(GIGALOCK_IOC_TYPE, 0x00)
#define GIGALOCK_IOC_LOCK	_IO(GIGALOCK_IOC_TYPE, 0x01)
#define GIGALOCK_IOC_UNLOCK	_IO(GIGALOCK_IOC_TYPE, 0x02)
#define GIGALOCK_IOC_SYNC	_IO(GIGALOCK_IOC_TYPE, 0x03)
#define GIGALOCK_IOC_SUBMIT	_IO(GIGALOCK_IOC_TYPE, 0x04)
#define GIGALOCK_IOC_WAIT	_IO(GIGALOCK_IOC_TYPE, 0x05)
#define GIGALOCK_IOC_CANCEL	_IO(GIGALOCK_IOC_TYPE, 0x06)
#define GIGALOCK_IOC_PROGRESS	_IO(GIGALOCK_IOC_TYPE, 0x07)
#define GIGALOCK_IOC_FAILURES	_IO(GIGALOCK_IOC_TYPE, 0x08)

#endif /* _UAPI_LINUX_GIGALOCK_H */
