/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the card as a driver sees it, for the qtests.
 */
#ifndef GIGALOCK_CARD_H
#define GIGALOCK_CARD_H

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "libqtest.h"
#include "libqos/qgraph.h"
#include "libqos/pci.h"
#include "libqos/pci-pc.h"
#include "libqos/malloc-pc.h"
#if __has_include("qobject/qdict.h")                /* since 10.0 */
#include "qobject/qdict.h"
#else
#include "qapi/qmp/qdict.h"
#endif

#define GIGALOCK_LE16 uint16_t
#define GIGALOCK_LE32 uint32_t
#define GIGALOCK_LE64 uint64_t
#include "gigalock_regs.h"

#define RAM_SIZE        (256 * MiB)
#define BUF             0x4000000u      /* guest memory nobody else uses */
#define CARD_MEM        (64 * MiB)
#define PAUSE_OFF       UINT64_MAX
#define F_CPL           GL_DESC_F_CPL
#define F_IRQ           GL_DESC_F_IRQ
#define F_CRC           (GL_DESC_F_CRC | GL_DESC_F_CRC_INIT)
#define STATUS_RUNNING  (1u << GL_CH_STATUS_RUNNING_SHIFT)
#define STATUS_BUSY     (1u << GL_CH_STATUS_BUSY_SHIFT)
#define STATUS_HALTED   (1u << GL_CH_STATUS_HALTED_SHIFT)
#define STATUS_PAUSED   (1u << GL_STATUS_PAUSED_SHIFT)
#define STATUS_READY    (1u << GL_STATUS_READY_SHIFT)
#define CTRL_ENABLE     (1u << GL_CH_CTRL_ENABLE_SHIFT)
#define CTRL_IRQ        (1u << GL_CH_CTRL_IRQ_SHIFT)

typedef struct Ring {
    uint64_t ring;
    uint64_t cpl;
    unsigned log2;
    uint32_t tail;          /* descriptors written */
    uint32_t seen;          /* completions taken */
} Ring;

typedef struct Card {
    QOSGraphObject obj;
    QTestState *qts;
    QGuestAllocator *alloc;
    QPCIDevice dev;
    QPCIBar regs;
    QPCIBar card;
    QPCIBar msix;
    uint64_t msg;           /* where messages land: 16 bytes a vector */
    Ring ch[GL_MAX_CHANNELS];
} Card;

/* Poll a condition; the test fails when it does not come true. */
#define UNTIL(condition)                                                \
    do {                                                                \
        gint64 end_ = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;     \
        while (!(condition)) {                                          \
            if (g_get_monotonic_time() > end_) {                        \
                g_error("%s:%d: never came true: %s", __func__,         \
                        __LINE__, #condition);                          \
            }                                                           \
            g_usleep(200);                                              \
        }                                                               \
    } while (0)

/* Registers. */
uint32_t card_rd(Card *c, uint32_t reg);
void card_wr(Card *c, uint32_t reg, uint32_t value);
uint64_t card_rd64(Card *c, uint32_t lo);
uint32_t ch_rd(Card *c, unsigned ch, uint32_t reg);
void ch_wr(Card *c, unsigned ch, uint32_t reg, uint32_t value);
uint64_t ch_bytes(Card *c, unsigned ch);
uint32_t ch_error(Card *c, unsigned ch);

/* Memory, of the guest and of the card. */
void host_write(Card *c, uint64_t at, const void *data, size_t len);
void host_read(Card *c, uint64_t at, void *data, size_t len);
void mem_write(Card *c, uint64_t at, const void *data, size_t len);
void mem_read(Card *c, uint64_t at, void *data, size_t len);
/* Bytes that depend on their place and on @seed; to be freed. */
uint8_t *noise(size_t len, uint32_t seed);
uint32_t crc32c_of(uint32_t crc, const uint8_t *data, size_t len);

/* Rings. */
void ring_enable(Card *c, unsigned ch, unsigned log2, uint32_t ctrl);
void ring_enable_at(Card *c, unsigned ch, unsigned log2, uint64_t ring,
                    uint64_t cpl, uint32_t ctrl);
void ring_put(Card *c, unsigned ch, unsigned op, unsigned flags,
              uint32_t cookie, uint64_t src, uint64_t dst, uint64_t len);
void ring_bell(Card *c, unsigned ch);
struct gl_cpl ring_peek(Card *c, unsigned ch, uint32_t index);
struct gl_cpl ring_wait(Card *c, unsigned ch);
/* One descriptor on channel 0, start to end. */
struct gl_cpl card_do(Card *c, unsigned op, unsigned flags, uint64_t src,
                      uint64_t dst, uint64_t len);
/* The channel stands with @error; start it anew, and see that it works. */
void check_halted(Card *c, unsigned ch, uint32_t error);
/* A transfer each way arrives. */
void check_works(Card *c, unsigned ch);

#define CHECK_CPL(r, want_status, want_bytes, want_fault)               \
    do {                                                                \
        struct gl_cpl r_ = (r);                                         \
        g_assert_cmphex(r_.status, ==, want_status);                    \
        g_assert_cmphex(r_.bytes, ==, want_bytes);                      \
        g_assert_cmphex(r_.fault_addr, ==, want_fault);                 \
    } while (0)

/* Interrupts: each vector writes its number + 0x50 to its place in memory. */
void msix_on(Card *c, unsigned vectors);
uint32_t msix_take(Card *c, unsigned vector);
void msix_mask(Card *c, unsigned vector, bool masked);
uint32_t msix_pending(Card *c);

/* Properties of the device, at run time. */
void knob_set(Card *c, const char *name, uint64_t value);
void knob_set_str(Card *c, const char *name, const char *value);
uint64_t knob_get(Card *c, const char *name);
bool card_paused(Card *c);
/* Hold channel @ch in the middle of a transfer of @total, @after bytes in. */
void hold_transfer(Card *c, unsigned ch, uint64_t total, uint64_t after);

/* A device that appears behind the root port rp0. */
void port_setup(Card *c);
void port_power(Card *c, bool on);
Card *port_plug(Card *c, const char *options);

/*
 * Register a test twice: with worker threads, and with the engine in the main
 * loop. @options go to -device, @args to QEMU.
 */
typedef struct CardTest {
    const char *name;
    void (*run)(Card *c);
    const char *options;
    const char *args;
} CardTest;
void add_card_tests(const char *group, const CardTest *tests, size_t n);

#endif /* GIGALOCK_CARD_H */
