/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: what the files of the device share.
 *
 * gigalock.c          the PCI shell: BARs, MSI-X, properties, reset, life cycle
 * gigalock_mmio.c     the registers
 * gigalock_engine.c   who works when: worker threads, holding, giving up
 * gigalock_ring.c     the rings: fetching, chains, completions
 * gigalock_ops.c      what a descriptor does
 * gigalock_limits.c   what a descriptor and the properties may say
 * gigalock_dma.c      host memory as the engine sees it
 * gigalock_translate.c ... through an IOMMU
 * gigalock_copy.c     copying large blocks
 * gigalock_share.c    ... by several workers
 * gigalock_irq.c      interrupts and their coalescing
 * gigalock_link.c     the pace of a slower link
 * gigalock_knobs.c    run-time properties: pause, faults, counters
 * gigalock_vmstate.c  saving and loading
 * gigalock_crc32c.c   the checksum
 * gigalock_guard.c    the loadable build's proof that it fits this QEMU
 *
 * Locking. QEMU's big lock (BQL) protects the guest-visible registers
 * (GLChannelRegs) and everything of the shell. GLState.lock protects what the
 * workers and the rest share; it is taken after the BQL. A worker never holds
 * GLState.lock while it moves bytes, and never waits in the middle of a
 * channel's work, but for those who help it with a block, and are done soon:
 * it leaves it, to be taken up later. So whoever holds the BQL may wait until
 * nobody works on a channel. A worker takes the BQL only to ask an IOMMU, when
 * it works on no channel. Nobody can wait for the end of such a worker; it is
 * left behind, and ends when it gets the lock. With no workers the main loop
 * asks, when it works on no channel either.
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
#define GL_ALIGN_MAX        4096
#define GL_WORKERS_AUTO     (-1)
#define GL_PAUSE_OFF        UINT64_MAX

/*
 * Bytes moved in one go: large, for what happens around a chunk costs time;
 * not larger, for stop, pause and progress happen between two.
 */
#define GL_CHUNK            (8 * MiB)
/* With a checksum: what was copied is still in the CPU's cache for it. */
#define GL_CHUNK_CRC        (256 * KiB)
/* Through an IOMMU: two of these, in pages of 4 KiB, fit one translation. */
#define GL_CHUNK_TRANSLATED (2 * MiB)
/* Through a buffer in between, for the fault knobs. */
#define GL_BOUNCE           (64 * KiB)
/* Descriptors fetched in one go. */
#define GL_FETCH            64
/*
 * Bytes of one turn of a channel; then others get theirs. In the main loop a
 * turn is short, for everything else in QEMU waits for it.
 */
#define GL_TURN             (32 * MiB)
#define GL_TURN_MAIN_LOOP   (2 * MiB)
/* How long a worker looks out for more before it sleeps. */
#define GL_WATCH_NS         (50 * SCALE_US)
/* A descriptor costs a turn at least this, however short it is. */
#define GL_TURN_DESC        (4 * KiB)

typedef enum GLFault {
    GL_FAULT_NONE,
    GL_FAULT_NO_COPY,       /* completes, moves nothing */
    GL_FAULT_WRONG_PLACE,   /* bytes land one place further, last one first */
    GL_FAULT_CORRUPT,       /* one byte of each descriptor is changed */
    GL_FAULT_NO_IRQ,        /* interrupts are lost */
    GL_FAULT_HANG,          /* descriptors are fetched and never finished */
    GL_FAULT__MAX,
} GLFault;

/* What is wrong with the next completion record. */
typedef enum GLForge {
    GL_FORGE_NONE,
    GL_FORGE_SEQ,           /* another number: nobody finds the record */
    GL_FORGE_COOKIE,        /* of no descriptor */
    GL_FORGE_BYTES,         /* more than was asked for */
    GL_FORGE_SHORT,         /* fewer than were moved */
    GL_FORGE_STATUS,        /* one that does not exist */
    GL_FORGE_STRAY,         /* behind it one more, of nothing */
    GL_FORGE__MAX,
} GLForge;

/*
 * Why work ends. Not negative: a GL_ERR_* of the contract. Negative: no guest
 * sees these.
 */
#define GL_ABORTED  (-1)    /* told to give up */
#define GL_HELD     (-2)    /* leave it until somebody lets go */
#define GL_WAIT     (-3)    /* leave it until the IOMMU has answered */
#define GL_PACED    (-4)    /* leave it until the link is free */

/* What a piece of host memory is wanted for; each has a memory of its own. */
typedef enum GLRole {
    GL_ROLE_SRC,
    GL_ROLE_SRC2,           /* the other side of a comparison */
    GL_ROLE_DST,
    GL_ROLE_RING,
    GL_ROLE_CPL,
    GL_ROLE__MAX,
} GLRole;

static inline bool gl_role_writes(GLRole role)
{
    return role == GL_ROLE_DST || role == GL_ROLE_CPL;
}

/* A range of plain RAM that was found last; good for one turn. */
typedef struct GLWindow {
    hwaddr start;
    uint64_t len;           /* 0: none */
    MemoryRegion *mr;
    hwaddr offset;          /* of start in mr */
    uint8_t *ptr;
    hwaddr used;            /* offset in the window of the last piece */
} GLWindow;

/* A range of bus addresses. */
typedef struct GLRange {
    dma_addr_t addr;
    uint64_t len;
    bool is_write;
} GLRange;

/* One translated piece. */
typedef struct GLSegment {
    dma_addr_t addr;        /* bus address */
    uint64_t len;           /* 0: used up */
    hwaddr to;
    bool is_write;
    bool failed;            /* the IOMMU refuses addr */
} GLSegment;

#define GL_MAX_SEGMENTS     2048
#define GL_MAX_RANGES       (2 * GL_FETCH + 2)

/* What the engine asks of the IOMMU. GLState.lock for state. */
typedef struct GLTranslation {
    enum { GL_TR_IDLE, GL_TR_ASKED } state;
    unsigned n_ranges;
    GLRange range[GL_MAX_RANGES];   /* the first is needed, others may be */
    unsigned count;
    GLSegment *segment;             /* GL_MAX_SEGMENTS of them */
    unsigned last[GL_ROLE__MAX];    /* where the role found its piece */
} GLTranslation;

/* What the guest programmed. BQL. */
typedef struct GLChannelRegs {
    uint32_t ctrl;
    uint64_t ring;
    uint64_t cpl;
    uint32_t ring_log2;
    uint32_t vector;
    uint32_t bytes_hi;      /* latched when LO was read */
    uint32_t coalesce_count;
    uint32_t coalesce_time;
} GLChannelRegs;

/* Where a channel is in its ring. Who works on the channel. */
typedef struct GLRun {
    struct gl_desc desc[GL_FETCH];  /* in the host's byte order */
    unsigned n;             /* fetched */
    unsigned at;            /* the one in work */
    bool fetching;
    bool started;
    int status;
    uint64_t done;          /* bytes of it */
    uint64_t bad;
    bool skip;              /* the rest of the chain is skipped */
    bool large;             /* what is outstanding is more than a cache's */
    uint64_t chain_bytes;
    uint32_t crc;
    uint32_t crc_before;    /* of a copy that runs backwards: what crc was, */
    uint32_t crc_done;      /* and that of the part that is done */
} GLRun;

typedef struct GLChannel {
    GLState *s;
    unsigned index;
    GLChannelRegs regs;

    /* GLState.lock; the marked ones (*) are read without it. */
    bool enabled;           /* latched and running */
    bool halted;
    uint8_t error;
    bool active;            /* somebody works on it right now */
    bool held;              /* nobody shall, until something changes */
    bool paused;            /* ... because of the pause knob */
    bool moving;            /* it moves bytes that the pause knob counted */
    unsigned moving_epoch;
    bool abort;             /* give up the work */
    bool attention;         /* (*) look at the flags before the next chunk */
    uint32_t tail;          /* (*) */
    uint32_t head;          /* (*) */
    uint32_t cpl_count;     /* (*) */
    uint64_t bytes;         /* (*) */

    /* interrupts, atomic */
    bool irq_pending;       /* for the bottom half */
    uint32_t irq_waiting;   /* completions that wait to be announced */
    uint32_t coalesce_count;
    uint32_t coalesce_time;
    QEMUTimer *irq_timer;

    /* The configuration latched at ENABLE; constant while active. */
    uint64_t ring;
    uint64_t cpl;
    uint32_t ring_len;
    bool translate;         /* an IOMMU stands before host memory */

    /* For who works on the channel; set back at ENABLE. */
    GLRun run;
    uint8_t *bounce;
    AddressSpace *as;       /* where windows are found */
    GLWindow window[GL_ROLE__MAX];
    GLTranslation tr;
    int64_t link_until;     /* the link has its bytes at this time */
    bool link_busy;         /* ... and it waited for that */

    /* counters since the start, atomic */
    uint64_t stat_bytes;
    uint64_t stat_descriptors;
    uint64_t stat_errors;
} GLChannel;

/* A worker thread. Its own memory: it can outlive the device. */
typedef struct GLWorker {
    GLState *s;
    QemuThread thread;
    bool in_bql;            /* waits for the BQL, or has it; GLState.lock */
    bool left_behind;       /* the device is gone; BQL */
} GLWorker;

/* A block that several workers copy. GLState.lock; (*) atomic. */
typedef struct GLShare {
    uint8_t *to;            /* constant while there is somebody on it */
    const uint8_t *from;
    uint64_t len;
    uint64_t next;          /* (*) where the next share begins */
    bool open;              /* helpers may begin */
    unsigned helpers;
    unsigned round;         /* how many there have been */
} GLShare;

typedef struct GLLink {
    uint64_t rate;          /* bytes a second; 0: no model */
    int64_t busy_until[2];  /* from the host, to the host; GLState.lock */
} GLLink;

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
    uint64_t max_seg;
    uint32_t align;
    uint64_t boundary;
    int32_t workers;
    uint8_t link_gen;
    uint8_t link_lanes;
    uint32_t link_latency;
    uint32_t first_index;   /* what the ring counters start with */

    /* engine */
    QemuMutex lock;
    QemuCond work;          /* for workers: a channel has become ready */
    QemuCond quiet;         /* for who waits until nobody works on a channel */
    GLChannel ch[GL_MAX_CHANNELS];
    unsigned n_workers;
    GLWorker *worker[GL_MAX_CHANNELS];
    bool watched;           /* (*) a worker is awake and looks for work; lock */
    unsigned idle;          /* (*) workers with nothing to do; lock */
    GLShare share;
    QemuCond shared;        /* for who waits for the helpers */
    bool asking;            /* a worker asks the IOMMU; lock */
    unsigned next;          /* the channel to look at first */
    bool exit;              /* the workers shall end */
    AddressSpace *as;
    GLLink link;
    bool dma_ok;            /* bus master on, power state D0 */
    bool vm_hold;           /* the VM is stopped */
    QEMUBH *irq_bh;
    QEMUBH *run_bh;         /* works, when there are no workers */
    bool *bh_gone;          /* it asks the IOMMU: the device ended meanwhile */
    QEMUTimer *run_timer;   /* ... and the link is busy */
    VMChangeStateEntry *vm_state;
    Notifier exit_notifier;
    bool engine_up;
    struct GLImage *image;  /* while the card is saved or loaded */

    /* knobs, lock */
    uint64_t pause_after;
    uint64_t pause_left;    /* bytes that may still be started */
    unsigned pause_epoch;   /* how often the knob was set */
    GLFault fault;          /* (*) */
    GLForge forge;          /* atomic; the record that takes it sets it back */
};

/* ---- gigalock.c: for the guard, which registers the type ---- */
extern const TypeInfo *const gl_type_info;
/* The card may master the bus: allowed by the guest, and fully powered. */
bool gl_may_master(PCIDevice *pdev);

/* ---- gigalock_mmio.c ---- */
extern const MemoryRegionOps gl_mmio_ops;
void gl_mmio_reset(GLState *s);

/* ---- gigalock_engine.c: all of it under the BQL, but the last part ---- */
void gl_engine_start(GLState *s);
void gl_engine_stop(GLState *s);
/* Stop all channels, wait until they are quiet, set their state back. */
void gl_engine_reset(GLState *s);
/* Tell whether the card may access the bus; on "no", wait for the workers. */
void gl_engine_allow_dma(GLState *s, bool allowed);
/* Wait for the workers; nobody works until the machine runs. */
void gl_engine_hold(GLState *s);
bool gl_ring_config_ok(GLState *s, uint64_t ring, uint64_t cpl, uint32_t log2);
/* Take over good rings; GLState.lock is held, and the channel quiet. */
void gl_channel_latch(GLChannel *ch, uint64_t ring, uint64_t cpl,
                      uint32_t log2);
void gl_channel_enable(GLChannel *ch);
void gl_channel_disable(GLChannel *ch);
void gl_channel_doorbell(GLChannel *ch, uint32_t tail);
uint32_t gl_channel_status(GLChannel *ch);
bool gl_engine_paused(GLState *s);
/* Something changed for all channels; GLState.lock is held. */
void gl_engine_kick(GLState *s);
/* A channel has become ready; GLState.lock is held. */
void gl_engine_wake(GLState *s);
/*
 * By who works on a channel: ask for leave to move up to @want bytes (0: just
 * to go on). Sets @allowed; returns GL_ERR_NONE, GL_ERR_BUS_MASTER, GL_ABORTED
 * or GL_HELD.
 */
int gl_leave(GLChannel *ch, uint64_t want, uint64_t *allowed);
/* Account for bytes moved with that leave. */
void gl_moved(GLChannel *ch, uint64_t allowed, uint64_t moved);

/* ---- gigalock_ring.c ---- */
/* Work on the channel for about @budget bytes; returns why it ended there. */
int gl_ring_turn(GLChannel *ch, uint64_t budget);
/* Which ranges the next descriptors will need: up to @max of them. */
unsigned gl_ring_outlook(GLChannel *ch, GLRange *range, unsigned max);

/* ---- gigalock_ops.c ---- */
typedef enum GLSide { GL_SIDE_NONE, GL_SIDE_HOST, GL_SIDE_CARD } GLSide;

typedef struct GLOp {
    bool known;
    GLSide src;
    GLSide dst;
    bool dst_read;          /* dst is compared, not written */
    uint64_t (*step)(GLChannel *ch, const struct gl_desc *d, uint64_t n,
                     int *why);
} GLOp;

/* NULL: no such operation. */
const GLOp *gl_op(unsigned op);
uint32_t gl_ops_supported(void);
/*
 * The next part of a descriptor, at most @n bytes. Returns how many are done;
 * if fewer than @n, @why has a status (with GLRun.bad set), or GL_WAIT.
 */
uint64_t gl_op_step(GLChannel *ch, const struct gl_desc *d, uint64_t n,
                    int *why);
/* How many bytes the next part should have. */
uint64_t gl_op_chunk(GLChannel *ch, const struct gl_desc *d);

/* ---- gigalock_limits.c ---- */
bool gl_limits_check_properties(GLState *s, Error **errp);
bool gl_limits_check_card_size(const char *what, uint64_t size, Error **errp);
/* Everything about a descriptor that is known before a byte moves. */
int gl_limits_check(GLState *s, const struct gl_desc *d, uint64_t *bad);
/* True if [addr, addr + len) fits the address width; else the first bad one. */
bool gl_limits_in_width(GLState *s, uint64_t addr, uint64_t len, uint64_t *bad);

/* ---- gigalock_dma.c: by who works on a channel ---- */
/* A turn begins and ends; pointers are good in between. */
void gl_dma_begin(GLChannel *ch);
void gl_dma_end(GLChannel *ch);
/*
 * A pointer to host memory at bus address @addr: how many bytes of @len lie
 * there in one piece. 0: @why says why, GL_ERR_HOST_READ, GL_ERR_HOST_WRITE or
 * GL_WAIT. Only memory has a pointer.
 */
uint64_t gl_dma_piece(GLChannel *ch, GLRole role, dma_addr_t addr,
                      uint64_t len, uint8_t **ptr, int *why);
/*
 * A guess for the same, without any consequence; NULL if it would take more
 * than a glance.
 */
const uint8_t *gl_dma_glance(GLChannel *ch, GLRole role, dma_addr_t addr);
/* @len bytes of card memory were written. */
void gl_dma_card_wrote(GLState *s, uint64_t at, uint64_t len);
/* The first @len bytes of the role's last piece were written. */
void gl_dma_wrote(GLChannel *ch, GLRole role, uint64_t len);
/*
 * Read or write @len bytes through a buffer. Returns how many were moved before
 * the first bad address.
 */
uint64_t gl_dma_rw(GLChannel *ch, GLRole role, dma_addr_t addr, void *buf,
                   uint64_t len, int *why);

/* ---- gigalock_translate.c ---- */
void gl_translate_init(GLState *s);
void gl_translate_cleanup(GLState *s);
/* GLState.lock held: a channel waits for the IOMMU. */
bool gl_translate_wanted(GLState *s);
/*
 * BQL held, GLState.lock not, by who works on no channel: ask the IOMMU for all
 * channels that wait for it. @gone is set when the device ends meanwhile.
 */
void gl_translate_all(GLState *s, const bool *gone);
/* Forget what was translated. */
void gl_translate_forget(GLChannel *ch);
/* A turn begins: keep only what was translated for it. */
void gl_translate_begin(GLChannel *ch);
/* As gl_dma_piece(), but gives an address of the system's memory. */
uint64_t gl_translate_piece(GLChannel *ch, GLRole role, dma_addr_t addr,
                            uint64_t len, hwaddr *to, int *why);
/* The same for what comes behind the role's last piece, as a guess. */
bool gl_translate_glance(GLChannel *ch, GLRole role, dma_addr_t addr,
                         hwaddr *to);

/* ---- gigalock_copy.c ---- */
#define GL_LARGE            (2 * MiB)
/*
 * memmove(), for blocks that are large, or parts of something @large. What will
 * be copied next is @ahead, or NULL.
 */
void gl_copy_block(void *to, const void *from, size_t len, bool large,
                   const void *ahead);
/* What was copied is visible before anything that comes after. */
void gl_copy_done(void);

/* ---- gigalock_share.c ---- */
/*
 * gl_copy_block(), with the help of idle workers where that pays. By who works
 * on a channel.
 */
void gl_share_copy(GLState *s, uint8_t *to, const uint8_t *from, uint64_t len);
/* GLState.lock held: is there something to help with? */
bool gl_share_wanted(GLState *s);
/* GLState.lock held, but not meanwhile: help. */
void gl_share_help(GLState *s);

/* ---- gigalock_irq.c ---- */
void gl_irq_init(GLState *s);
void gl_irq_cleanup(GLState *s);
/* A completion that asks for an interrupt; @now: regardless of coalescing. */
void gl_irq_completion(GLChannel *ch, bool now);
/* BQL held: the coalescing registers were written. */
void gl_irq_configure(GLChannel *ch);
/* BQL held: forget what is to be announced. */
void gl_irq_reset(GLChannel *ch);
/* BQL held: announce everything, without waiting for more. */
void gl_irq_flush(GLState *s);

/* ---- gigalock_link.c ---- */
bool gl_link_check(GLState *s, Error **errp);
/* After the PCI Express capability is there. */
void gl_link_init(GLState *s);
/* The most bytes to put on the link in one go. */
uint64_t gl_link_chunk(GLState *s);
/* The payload of a descriptor begins. */
void gl_link_start(GLChannel *ch, const struct gl_desc *d);
/* @n bytes of it go over the link. */
void gl_link_take(GLChannel *ch, const struct gl_desc *d, uint64_t n);
/* Nanoseconds until the link has taken everything; 0 when it has. */
int64_t gl_link_wait(GLChannel *ch);
/* The channel has nothing to do: what it lost so far is lost. */
void gl_link_idle(GLChannel *ch);

/* ---- gigalock_knobs.c ---- */
void gl_knobs_class_init(ObjectClass *klass);
void gl_knobs_init(GLState *s);

/* ---- gigalock_vmstate.c ---- */
extern const VMStateDescription gl_vmstate;

#endif /* GIGALOCK_H */
