/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: what the files of the device share.
 *
 * gigalock.c          the PCI shell: BARs, MSI-X, properties, reset, life cycle
 * gigalock_mmio.c     the registers
 * gigalock_engine.c   channels: worker threads, rings, completions
 * gigalock_dma.c      moving bytes between host memory and the engine
 * gigalock_copy.c     copying large blocks
 * gigalock_knobs.c    run-time properties: pause, faults, counters
 * gigalock_crc32c.c   the checksum
 * gigalock_guard.c    the loadable build's proof that it fits this QEMU
 *
 * Locking. QEMU's big lock (BQL) protects the guest-visible registers
 * (GLChannelRegs) and everything of the shell. GLState.lock protects what the
 * workers and the rest share. A worker never takes the BQL and never holds
 * GLState.lock while it moves bytes, so whoever holds the BQL may wait for a
 * worker.
 */
#ifndef GIGALOCK_H
#define GIGALOCK_H

#include "compat.h"
#include "gigalock_fields.h"

#define TYPE_GIGALOCK "gigalock"
OBJECT_DECLARE_SIMPLE_TYPE(GLState, GIGALOCK)

#define GL_CARD_MEM_DEFAULT (64 * MiB)
#define GL_CARD_MEM_MIN     (4 * KiB)
#define GL_CARD_MEM_MAX     (1 * TiB)
#define GL_ADDR_WIDTH_MIN   24
#define GL_ADDR_WIDTH_MAX   64
#define GL_MAX_XFER_DEFAULT (1 * TiB)
#define GL_PAUSE_OFF        UINT64_MAX

/*
 * Bytes moved in one go: large, for what happens around a chunk costs time;
 * not larger, for stop, pause and progress happen between two.
 */
#define GL_CHUNK            (8 * MiB)
/* With a checksum: what was copied is still in the CPU's cache for it. */
#define GL_CHUNK_CRC        (256 * KiB)
/* Through a buffer in between, for the fault knobs. */
#define GL_BOUNCE           (64 * KiB)
/* Descriptors fetched in one go. */
#define GL_FETCH            64

typedef enum GLFault {
    GL_FAULT_NONE,
    GL_FAULT_NO_COPY,       /* completes, moves nothing */
    GL_FAULT_WRONG_PLACE,   /* bytes land one place further, last one first */
    GL_FAULT_CORRUPT,       /* one byte of each descriptor is changed */
    GL_FAULT_NO_IRQ,        /* interrupts are lost */
    GL_FAULT_HANG,          /* descriptors are fetched and never finished */
    GL_FAULT__MAX,
} GLFault;

/* One translated piece of host memory. */
typedef struct GLSegment {
    hwaddr addr;
    uint64_t len;
} GLSegment;

/* Of one translation; enough for a chunk in pages of 4 KiB. */
#define GL_MAX_SEGMENTS     2048

/* A translation that the worker asks of the main loop. GLState.lock. */
typedef struct GLTranslation {
    enum { GL_TR_IDLE, GL_TR_ASKED, GL_TR_DONE } state;
    dma_addr_t addr;
    uint64_t len;
    bool is_write;
    bool failed;            /* the address after the last segment is bad */
    unsigned count;
    GLSegment *segment;     /* GL_MAX_SEGMENTS of them */
} GLTranslation;

/* What the guest programmed. BQL. */
typedef struct GLChannelRegs {
    uint32_t ctrl;
    uint64_t ring;
    uint64_t cpl;
    uint32_t ring_log2;
    uint32_t vector;
    uint32_t bytes_hi;      /* latched when LO was read */
} GLChannelRegs;

typedef struct GLChannel {
    GLState *s;
    unsigned index;
    GLChannelRegs regs;

    QemuThread thread;
    QemuCond wake;          /* for the worker: something changed */

    /* GLState.lock; the worker reads the marked ones (*) without it. */
    bool exit;              /* the thread shall end */
    bool enabled;           /* latched and running */
    bool halted;
    uint8_t error;
    bool active;            /* the worker is inside a batch of descriptors */
    bool held;              /* ... but waits and touches nothing */
    bool paused;            /* ... because of the pause knob */
    bool moving;            /* it moves bytes that the pause knob counted */
    unsigned moving_epoch;
    bool abort;             /* give up the batch */
    bool attention;         /* (*) look at the flags before the next chunk */
    uint32_t tail;
    uint32_t head;          /* (*) */
    uint32_t cpl_count;     /* (*) */
    uint64_t bytes;         /* (*) */
    bool irq_pending;       /* (*) for the bottom half */

    /* The configuration latched at ENABLE; constant while active. */
    uint64_t ring;
    uint64_t cpl;
    uint32_t ring_len;
    bool translate;         /* an IOMMU stands before host memory */

    /* The worker's own, set back at ENABLE. */
    bool skip;              /* the rest of the chain is skipped */
    uint64_t chain_bytes;
    uint32_t crc;
    uint8_t *bounce;
    GLTranslation tr;
} GLChannel;

struct GLState {
    /*< private >*/
    PCIDevice parent_obj;

    /*< public >*/
    MemoryRegion regs_mr;
    MemoryRegion msix_mr;
    MemoryRegion card_own_mr;
    MemoryRegion *card_mr;  /* &card_own_mr or the memdev's */
    uint8_t *card;
    uint64_t card_size;
    uint32_t scratch;

    /* properties */
    uint64_t card_mem;
    HostMemoryBackend *memdev;
    uint8_t channels;
    uint8_t addr_width;
    uint8_t max_ring;
    uint64_t max_xfer;

    /* engine */
    QemuMutex lock;
    QemuCond quiet;         /* for who waits until a worker is quiet */
    GLChannel ch[GL_MAX_CHANNELS];
    AddressSpace *as;
    bool dma_ok;            /* bus master on, power state D0 */
    bool vm_hold;           /* the VM is stopped */
    QEMUBH *irq_bh;
    QEMUBH *translate_bh;
    VMChangeStateEntry *vm_state;
    Notifier exit_notifier;
    bool engine_up;

    /* knobs, lock */
    uint64_t pause_after;
    uint64_t pause_left;    /* bytes that may still be started */
    unsigned pause_epoch;   /* how often the knob was set */
    GLFault fault;          /* (*) */

    /* counters, atomic */
    uint64_t stat_bytes;
    uint64_t stat_descriptors;
    uint64_t stat_errors;
};

/* ---- gigalock.c: for the guard, which registers the type ---- */
extern const TypeInfo *const gl_type_info;

/* ---- gigalock_mmio.c ---- */
extern const MemoryRegionOps gl_mmio_ops;
void gl_mmio_reset(GLState *s);

/* ---- gigalock_engine.c: all of it under the BQL ---- */
void gl_engine_start(GLState *s);
void gl_engine_stop(GLState *s);
/* Stop all channels, wait until they are quiet, set their state back. */
void gl_engine_reset(GLState *s);
/* Tell whether the card may access the bus; on "no", wait for the workers. */
void gl_engine_allow_dma(GLState *s, bool allowed);
void gl_channel_enable(GLChannel *ch);
void gl_channel_disable(GLChannel *ch);
void gl_channel_doorbell(GLChannel *ch, uint32_t tail);
uint32_t gl_channel_status(GLChannel *ch);
bool gl_engine_paused(GLState *s);
/* Wake the workers after a knob changed; GLState.lock is held. */
void gl_engine_kick(GLState *s);

/* ---- gigalock_dma.c ---- */
void gl_dma_init(GLState *s);
void gl_dma_cleanup(GLState *s);
/*
 * Read or write @len bytes of host memory at bus address @addr, memory only.
 * Returns the number of bytes moved before the first bad address, @len when
 * all is well. Called by a worker.
 */
uint64_t gl_dma_rw(GLChannel *ch, dma_addr_t addr, void *buf, uint64_t len,
                   bool is_write);
/* True if [addr, addr + len) fits the address width; else the first bad one. */
bool gl_dma_in_width(GLState *s, uint64_t addr, uint64_t len, uint64_t *bad);

/* ---- gigalock_copy.c ---- */
/* memmove(), for blocks that may be large. */
void gl_copy_block(void *to, const void *from, size_t len);

/* ---- gigalock_knobs.c ---- */
void gl_knobs_class_init(ObjectClass *klass);
void gl_knobs_init(GLState *s);

#endif /* GIGALOCK_H */
