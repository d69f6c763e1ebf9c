/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: the loadable build's guard.
 *
 * The device is a shared object that the dynamic linker maps into the
 * distribution's QEMU. QEMU's internals are no stable interface, so the object
 * proves at load that it was built for exactly this QEMU, in two steps:
 *
 * 1. the version and the package string are compared with those it was built
 *    for, before anything else of QEMU is used;
 * 2. when QEMU knows its types, the places of fields in PCIDevice that QEMU's
 *    own property tables hold are compared with those the compiler saw.
 *
 * If either differs, one line says what to do and the type is not registered:
 * "-device gigalock" fails, no guest starts.
 */
#include "compat.h"
#include "qapi/qapi-commands-control.h"
#include "gigalock.h"

#ifndef GIGALOCK_BUILT_FOR
#error "GIGALOCK_BUILT_FOR is not set: what 'qemu-system-x86_64 --version' says"
#endif

/* Property tables start with the name; the offset is the third word. */
static const struct {
    const char *name;
    ptrdiff_t offset;
} gl_layout[] = {
    { "addr", offsetof(PCIDevice, devfn) },
    { "romfile", offsetof(PCIDevice, romfile) },
    { "rombar", offsetof(PCIDevice, rom_bar) },
    { "multifunction", offsetof(PCIDevice, cap_present) },
    { "failover_pair_id", offsetof(PCIDevice, failover_pair_id) },
    { "acpi-index", offsetof(PCIDevice, acpi_index) },
};

static void G_GNUC_PRINTF(1, 2) gl_refuse(const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, format);
    why = g_strdup_vprintf(format, ap);
    va_end(ap);
    fprintf(stderr, "gigalock: not loaded: %s; rebuild it for this QEMU with "
            "'make device'\n", why);
}

static const char *gl_layout_mismatch(void)
{
    ObjectClass *klass = object_class_by_name(TYPE_PCI_DEVICE);

    if (!klass) {
        return TYPE_PCI_DEVICE;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(gl_layout); i++) {
        ObjectProperty *op = object_class_property_find(klass,
                                                        gl_layout[i].name);
        const Property *prop = op ? op->opaque : NULL;

        if (!prop || g_strcmp0(prop->name, gl_layout[i].name) ||
            prop->offset != gl_layout[i].offset) {
            return gl_layout[i].name;
        }
    }
    return NULL;
}

/* Runs when all of QEMU's own types are registered. */
static void gl_register_checked(void)
{
    const char *bad = gl_layout_mismatch();

    if (bad) {
        gl_refuse("QEMU's structures are laid out otherwise than when the "
                  "device was built (property '%s' of " TYPE_PCI_DEVICE ")",
                  bad);
        return;
    }
    type_register_static(gl_type_info);
}

/*
 * The list of initialisers is walked to its end, and what is added meanwhile
 * goes to the end: so this first stage only queues the second one behind all
 * of QEMU's own.
 */
static void gl_register_late(void)
{
    register_module_init(gl_register_checked, MODULE_INIT_QOM);
}

/* Take ourselves out of LD_PRELOAD, so that no child of QEMU gets us. */
static void gl_forget_preload(void)
{
    const char *value = getenv("LD_PRELOAD");
    g_autoptr(GString) rest = g_string_new("");
    g_auto(GStrv) list = NULL;

    if (!value) {
        return;
    }
    list = g_strsplit_set(value, ": ", -1);
    for (char **p = list; *p; p++) {
        if (**p && !g_str_has_suffix(*p, "/gigalock.so")) {
            g_string_append_printf(rest, "%s%s", rest->len ? ":" : "", *p);
        }
    }
    if (rest->len) {
        g_setenv("LD_PRELOAD", rest->str, TRUE);
    } else {
        g_unsetenv("LD_PRELOAD");
    }
}

static void __attribute__((constructor)) gl_loaded(void)
{
    VersionInfo *info;
    g_autofree char *found = NULL;

    /* Not QEMU, but a program on the way to it: stay out of its way. */
    if (!type_register_static || !register_module_init || !qmp_query_version) {
        return;
    }
    gl_forget_preload();

    info = qmp_query_version(NULL);
    found = g_strdup_printf("%" PRId64 ".%" PRId64 ".%" PRId64 " (%s)",
                            info->qemu->major, info->qemu->minor,
                            info->qemu->micro, info->package);
    qapi_free_VersionInfo(info);
    if (strcmp(found, GIGALOCK_BUILT_FOR)) {
        gl_refuse("built for QEMU %s, this is QEMU %s", GIGALOCK_BUILT_FOR,
                  found);
        return;
    }
    register_module_init(gl_register_late, MODULE_INIT_QOM);
}
