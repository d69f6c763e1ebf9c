/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: all differences between the versions of QEMU (7.2 to 10.2).
 *
 * QEMU's device API is not stable: headers move and signatures change. The
 * rest of the device is written against the newest names; this header maps
 * them back. Included first, instead of "qemu/osdep.h".
 */
#ifndef GIGALOCK_COMPAT_H
#define GIGALOCK_COMPAT_H

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/notify.h"
#include "qemu/rcu.h"
#include "qemu/range.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/pci/pci.h"
#if __has_include("hw/pci/pci_device.h")            /* since 8.0 */
#include "hw/pci/pci_device.h"
#endif
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#if __has_include("hw/core/qdev-properties.h")      /* since 11.0 */
#include "hw/core/qdev-properties.h"
#include "hw/core/registerfields.h"
#else
#include "hw/qdev-properties.h"
#include "hw/registerfields.h"
#endif
#include "migration/vmstate.h"

#if __has_include("system/hostmem.h")               /* since 10.0 */
#include "system/hostmem.h"
#include "system/runstate.h"
#include "system/system.h"
#else
#include "sysemu/hostmem.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#endif

#if __has_include("system/memory.h")                /* since 10.1 */
#include "system/memory.h"
#include "system/address-spaces.h"
#define GL_CLASS_DATA const void
#define GL_INTERFACE_INFO const InterfaceInfo
#else
#include "exec/memory.h"
#include "exec/address-spaces.h"
#define GL_CLASS_DATA void
#define GL_INTERFACE_INFO InterfaceInfo
#endif

/* 10.0 counts the property table; before, it needed an end mark. */
#ifdef DEFINE_PROP_END_OF_LIST
#define GL_PROPERTY_TABLE static Property
#define GL_PROPERTY_END DEFINE_PROP_END_OF_LIST(),
#else
#define GL_PROPERTY_TABLE static const Property
#define GL_PROPERTY_END
#endif

/* The header that came with 10.0, and what changed with it. */
#if __has_include("system/hostmem.h")
#define gl_access_is_direct(mr, is_write) \
    memory_access_is_direct(mr, is_write, MEMTXATTRS_UNSPECIFIED)
#else
#define gl_access_is_direct(mr, is_write) \
    memory_access_is_direct(mr, is_write)
#endif

/* Since 9.2 there is a function, and the field has another name. */
#if QEMU_VERSION_MAJOR > 9 || (QEMU_VERSION_MAJOR == 9 && \
                               QEMU_VERSION_MINOR >= 2)
#define gl_set_reset(dc, fn) device_class_set_legacy_reset(dc, fn)
#else
#define gl_set_reset(dc, fn) ((dc)->reset = (fn))
#endif

/* QEMU's big lock got a shorter name with 9.0. */
#ifdef bql_lock
#define gl_bql_lock() bql_lock()
#define gl_bql_unlock() bql_unlock()
#else
#define gl_bql_lock() qemu_mutex_lock_iothread()
#define gl_bql_unlock() qemu_mutex_unlock_iothread()
#endif

/*
 * The loadable build: the object is also mapped into programs that are not
 * QEMU (a shell that a wrapper script starts), and must not keep them from
 * starting. Functions are bound when first called; data is bound at once, so
 * it has to be weak.
 */
#ifdef GIGALOCK_LOADABLE
#pragma weak address_space_memory
#pragma weak error_abort
#pragma weak error_fatal
#pragma weak global_dirty_tracking
#pragma weak qdev_prop_bool
#pragma weak qdev_prop_int32
#pragma weak qdev_prop_link
#pragma weak qdev_prop_size
#pragma weak qdev_prop_string
#pragma weak qdev_prop_uint32
#pragma weak qdev_prop_uint64
#pragma weak qdev_prop_uint8
#pragma weak qemu_cond_timedwait_func
#pragma weak qemu_cond_wait_func
#pragma weak qemu_loglevel
#pragma weak qemu_mutex_lock_func
#pragma weak rcu_gp_ctr
#pragma weak rcu_gp_event
#pragma weak qmp_query_version
#pragma weak register_module_init
#pragma weak type_register_static
#pragma weak vmstate_info_bool
#pragma weak vmstate_info_int32
#pragma weak vmstate_info_uint16
#pragma weak vmstate_info_uint32
#pragma weak vmstate_info_uint64
#pragma weak vmstate_info_uint8
#pragma weak vmstate_msix
#pragma weak vmstate_pci_device
#endif

#endif /* GIGALOCK_COMPAT_H */
