/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: QEMU's register macros laid over the hardware contract.
 *
 * The numbers stand in gigalock_regs.h alone; here they get the names that
 * FIELD_EX32() and FIELD_DP32() work with.
 */
#ifndef GIGALOCK_FIELDS_H
#define GIGALOCK_FIELDS_H

#define GIGALOCK_LE16 uint16_t
#define GIGALOCK_LE32 uint32_t
#define GIGALOCK_LE64 uint64_t
#include "gigalock_regs.h"

#define GL_FIELD(reg, field) \
    FIELD(reg, field, GL_ ## reg ## _ ## field ## _SHIFT, \
          GL_ ## reg ## _ ## field ## _LEN)

GL_FIELD(CAP, CHANNELS)
GL_FIELD(CAP, ADDR_WIDTH)
GL_FIELD(CAP, MAX_RING)
GL_FIELD(CTRL, RESET)
GL_FIELD(LINK, GEN)
GL_FIELD(LINK, LANES)
GL_FIELD(STATUS, READY)
GL_FIELD(STATUS, PAUSED)
GL_FIELD(CH_CTRL, ENABLE)
GL_FIELD(CH_CTRL, IRQ)
GL_FIELD(CH_STATUS, RUNNING)
GL_FIELD(CH_STATUS, BUSY)
GL_FIELD(CH_STATUS, HALTED)
GL_FIELD(CH_STATUS, ERROR)

QEMU_BUILD_BUG_ON(sizeof(struct gl_desc) != 32);
QEMU_BUILD_BUG_ON(sizeof(struct gl_cpl) != 32);

#endif /* GIGALOCK_FIELDS_H */
