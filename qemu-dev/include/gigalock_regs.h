/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the hardware contract.
 *
 * The only file that the device model and a driver share: plain defines and
 * two fixed-width structs. It includes nothing: whoever includes it provides
 * fixed-width types first through GIGALOCK_LE16/32/64 (see the end).
 *
 * All registers and all structs are little-endian. Registers are 32 bits wide
 * and must be read and written with aligned 32-bit accesses; a 64-bit quantity
 * is a pair (LO, HI). A write to a read-only register is ignored.
 */
#ifndef GIGALOCK_REGS_H
#define GIGALOCK_REGS_H

/* ---- PCI identity ------------------------------------------------------ */

/* QEMU's vendor number for experimental devices, and a number of our own. */
#define GL_PCI_VENDOR_ID		0x1234
#define GL_PCI_DEVICE_ID		0x10cc
#define GL_PCI_REVISION			0x01

/* 64-bit BARs; each takes two slots. */
#define GL_BAR_REGS			0	/* registers */
#define GL_BAR_CARD			2	/* card memory, prefetchable */
#define GL_BAR_MSIX			4	/* MSI-X table and PBA */

#define GL_BAR_REGS_SIZE		0x2000
#define GL_MAX_CHANNELS			16

/* ---- Card registers ---------------------------------------------------- */

#define GL_REG_ID			0x000	/* RO: GL_ID_MAGIC */
#define GL_ID_MAGIC			0x4b434c47	/* "GLCK" */

#define GL_REG_VERSION			0x004	/* RO: major << 16 | minor */
#define GL_VERSION_MAJOR		1
#define GL_VERSION_MINOR		1

#define GL_REG_CAP			0x008	/* RO */
#define GL_CAP_CHANNELS_SHIFT		0	/* number of channels, 1..16 */
#define GL_CAP_CHANNELS_LEN		8
#define GL_CAP_ADDR_WIDTH_SHIFT		8	/* host address bits, 24..64 */
#define GL_CAP_ADDR_WIDTH_LEN		8
#define GL_CAP_MAX_RING_SHIFT		16	/* log2 of the longest ring */
#define GL_CAP_MAX_RING_LEN		8

#define GL_REG_CTRL			0x00c	/* WO, reads 0 */
#define GL_CTRL_RESET_SHIFT		0	/* 1: stop and reset the card */
#define GL_CTRL_RESET_LEN		1

#define GL_REG_STATUS			0x010	/* RO */
#define GL_STATUS_READY_SHIFT		0	/* 0 while a reset is under way */
#define GL_STATUS_READY_LEN		1
#define GL_STATUS_PAUSED_SHIFT		1	/* the pause knob holds a channel */
#define GL_STATUS_PAUSED_LEN		1

#define GL_REG_SCRATCH			0x014	/* RW: no effect, for tests */

#define GL_REG_CARD_SIZE_LO		0x018	/* RO: bytes of card memory */
#define GL_REG_CARD_SIZE_HI		0x01c
#define GL_REG_MAX_XFER_LO		0x020	/* RO: most bytes a descriptor */
#define GL_REG_MAX_XFER_HI		0x024	/*     may move */

/* Since version 1.1. */
#define GL_REG_OPS			0x028	/* RO: bit n is set: GL_OP_* n works */
#define GL_REG_ALIGN			0x02c	/* RO: host addresses of descriptors */
						/*     are multiples of this, 1..4096 */
#define GL_REG_MAX_SEG_LO		0x030	/* RO: most bytes of host memory that */
#define GL_REG_MAX_SEG_HI		0x034	/*     one descriptor may name */
#define GL_REG_BOUNDARY_LO		0x038	/* RO: a host range may not cross a */
#define GL_REG_BOUNDARY_HI		0x03c	/*     multiple of this; 0: no limit */

#define GL_REG_LINK			0x040	/* RO: the link model; 0: off */
#define GL_LINK_GEN_SHIFT		0	/* 1..5 */
#define GL_LINK_GEN_LEN			4
#define GL_LINK_LANES_SHIFT		8	/* 1, 2, 4, 8, 16 */
#define GL_LINK_LANES_LEN		8
#define GL_REG_LINK_LATENCY		0x044	/* RO: ns before a descriptor's payload */
#define GL_REG_LINK_RATE_LO		0x048	/* RO: bytes a second, each direction; */
#define GL_REG_LINK_RATE_HI		0x04c	/*     0: no limit */
#define GL_REG_WORKERS			0x050	/* RO: engines that run side by side; */
						/*     0: the main loop does the work */

#define GL_MIN_RING_LOG2		4	/* 16 descriptors */
#define GL_MAX_RING_LOG2		16	/* 65536 descriptors */

/* ---- Channel registers ------------------------------------------------- */

#define GL_CH_BASE			0x1000
#define GL_CH_STRIDE			0x100
#define GL_CH(n)			(GL_CH_BASE + (n) * GL_CH_STRIDE)

#define GL_CH_CTRL			0x00	/* RW */
#define GL_CH_CTRL_ENABLE_SHIFT		0	/* 1: fetch descriptors. Writing 0 */
#define GL_CH_CTRL_ENABLE_LEN		1	/* stops the channel, see RUNNING */
#define GL_CH_CTRL_IRQ_SHIFT		1	/* 1: completions may interrupt */
#define GL_CH_CTRL_IRQ_LEN		1

#define GL_CH_STATUS			0x04	/* RO */
#define GL_CH_STATUS_RUNNING_SHIFT	0	/* the engine may still touch memory */
#define GL_CH_STATUS_RUNNING_LEN	1
#define GL_CH_STATUS_BUSY_SHIFT		1	/* descriptors are outstanding */
#define GL_CH_STATUS_BUSY_LEN		1
#define GL_CH_STATUS_HALTED_SHIFT	2	/* stopped by an error of the ring */
#define GL_CH_STATUS_HALTED_LEN		1
#define GL_CH_STATUS_ERROR_SHIFT	8	/* GL_ERR_* that halted it */
#define GL_CH_STATUS_ERROR_LEN		8

/*
 * Rings. Both have 2^RING_LOG2 entries. Latched when ENABLE goes from 0 to 1,
 * which also sets HEAD, TAIL and CPL_COUNT to 0 and clears HALTED.
 */
#define GL_CH_RING_LO			0x08	/* RW: descriptors, 64-byte aligned */
#define GL_CH_RING_HI			0x0c
#define GL_CH_CPL_LO			0x10	/* RW: completions, 64-byte aligned */
#define GL_CH_CPL_HI			0x14
#define GL_CH_RING_LOG2			0x18	/* RW: 4..GL_CAP_MAX_RING */
#define GL_CH_VECTOR			0x1c	/* RW: MSI-X vector of the channel */

/*
 * Indices are 32-bit counters that run freely and wrap at 2^32; an entry's
 * place in the ring is index modulo ring length. The doorbell takes the number
 * of descriptors ever written. TAIL - HEAD may not exceed the ring length:
 * such a doorbell halts the channel with GL_ERR_DOORBELL.
 */
#define GL_CH_DOORBELL			0x20	/* WO: new TAIL */
#define GL_CH_HEAD			0x24	/* RO: descriptors finished */
#define GL_CH_CPL_COUNT			0x28	/* RO: completions written */

/* Payload bytes moved since ENABLE, updated while a descriptor runs. */
#define GL_CH_BYTES_LO			0x30	/* RO: reading LO latches HI */
#define GL_CH_BYTES_HI			0x34

/*
 * Coalescing: the vector is raised when COUNT completions with IRQ wait for
 * it, or TIME after the first of them. COUNT 0 and 1: each one at once.
 * TIME 0: never because of time. A failure and a halt raise it at once.
 * Since version 1.1.
 */
#define GL_CH_COALESCE_COUNT		0x38	/* RW: completions */
#define GL_CH_COALESCE_TIME		0x3c	/* RW: microseconds */

/* ---- Descriptor: 32 bytes ---------------------------------------------- */

/*
 * A host address is a bus (DMA) address. A card address is an offset into card
 * memory. Field by operation:
 *   op           src       dst
 *   NOP          -         -
 *   H2C          host      card
 *   C2H          card      host
 *   H2H          host      host      (ranges may not overlap)
 *   C2C          card      card      (ranges may overlap)
 *   FILL_CARD    pattern   card
 *   FILL_HOST    pattern   host
 *   CMP_HC       host      card
 *   CMP_HH       host      host
 *   CMP_CC       card      card
 *   CRC_HOST     host      -
 *   CRC_CARD     card      -
 */
#define GL_OP_NOP			0x00	/* moves nothing; len must be 0 */
#define GL_OP_H2C			0x01	/* host to card */
#define GL_OP_C2H			0x02	/* card to host */
/* Since version 1.1; GL_REG_OPS tells what works. */
#define GL_OP_H2H			0x03	/* host to host */
#define GL_OP_C2C			0x04	/* card to card */
#define GL_OP_FILL_CARD			0x05	/* dst with the 8 bytes of src, */
#define GL_OP_FILL_HOST			0x06	/* repeated */
#define GL_OP_CMP_HC			0x07	/* compare; ends at the first */
#define GL_OP_CMP_HH			0x08	/* difference with GL_ERR_COMPARE */
#define GL_OP_CMP_CC			0x09
#define GL_OP_CRC_HOST			0x0a	/* add to the running CRC, move */
#define GL_OP_CRC_CARD			0x0b	/* nothing */

#define GL_DESC_F_CPL			0x0001	/* write a completion after this one */
#define GL_DESC_F_IRQ			0x0002	/* ... and raise the channel's vector */
#define GL_DESC_F_CRC			0x0004	/* add the payload to the running CRC */
#define GL_DESC_F_CRC_INIT		0x0008	/* clear the running CRC first */
#define GL_DESC_F_FENCE			0x0010	/* start when all earlier ones of the */
						/* channel are done and visible */
#define GL_DESC_F_ALL			0x001f

/*
 * Descriptors without CPL form a chain with the next one that has it. The
 * completion speaks for the whole chain. A descriptor that fails gets a
 * completion at once, with CPL or without, and the rest of its chain is
 * skipped; IRQ is raised if the failed descriptor or any one skipped asks
 * for it.
 */
struct gl_desc {
	GIGALOCK_LE16 op;		/* GL_OP_* */
	GIGALOCK_LE16 flags;		/* GL_DESC_F_*; unknown bits: GL_ERR_DESC */
	GIGALOCK_LE32 cookie;		/* given back in the completion */
	GIGALOCK_LE64 src;
	GIGALOCK_LE64 dst;
	GIGALOCK_LE64 len;		/* bytes, 1..MAX_XFER */
};

/* ---- Completion record: 32 bytes --------------------------------------- */

struct gl_cpl {
	GIGALOCK_LE32 cookie;		/* of the descriptor completed or failed */
	GIGALOCK_LE32 status;		/* GL_ERR_*, GL_ERR_NONE on success */
	GIGALOCK_LE64 bytes;		/* moved by the chain, up to the failure */
	GIGALOCK_LE64 fault_addr;	/* first bad address; 0 on success */
	GIGALOCK_LE32 crc;		/* CRC-32C (RFC 3720) running value */
	GIGALOCK_LE32 seq;		/* written last: completions since ENABLE, */
					/* this one included, so never 0 at first */
};

/* ---- Errors: completion status and GL_CH_STATUS_ERROR ------------------ */

#define GL_ERR_NONE			0x00
/* Of one descriptor: reported in its completion, the channel goes on. */
#define GL_ERR_OP			0x01	/* unknown operation */
#define GL_ERR_DESC			0x02	/* unknown flag, or len on a NOP */
#define GL_ERR_LEN			0x03	/* 0, or more than MAX_XFER */
#define GL_ERR_ADDR_WIDTH		0x04	/* host range leaves the address width */
#define GL_ERR_CARD_RANGE		0x05	/* past the end of card memory */
#define GL_ERR_HOST_READ		0x06	/* host memory does not answer a read: */
#define GL_ERR_HOST_WRITE		0x07	/* a write: nothing there, a register, */
						/* or refused by an IOMMU */
#define GL_ERR_BUS_MASTER		0x08	/* bus mastering is off: halts the channel, */
						/* as no completion can be written */
#define GL_ERR_SEG			0x09	/* host range longer than MAX_SEG */
#define GL_ERR_ALIGN			0x0a	/* host address no multiple of ALIGN */
#define GL_ERR_BOUNDARY			0x0b	/* host range crosses BOUNDARY */
#define GL_ERR_COMPARE			0x0c	/* the data differ, at fault_addr */
#define GL_ERR_OVERLAP			0x0d	/* H2H ranges overlap */
/* Of the ring: the channel halts. */
#define GL_ERR_RING_CONFIG		0x40	/* RING_LOG2, alignment, address width */
#define GL_ERR_DOORBELL			0x41	/* TAIL - HEAD exceeds the ring */
#define GL_ERR_RING_FETCH		0x42	/* descriptors can't be read */
#define GL_ERR_CPL_WRITE		0x43	/* completion can't be written */

#endif /* GIGALOCK_REGS_H */
