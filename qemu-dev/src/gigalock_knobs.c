/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: properties that can be read and written while the guest runs
 * (qom-get, qom-set), and given at the start as options of -device, too.
 */
#include "compat.h"
#include "gigalock.h"

static const char *const fault_names[GL_FAULT__MAX] = {
    [GL_FAULT_NONE] = "none",
    [GL_FAULT_NO_COPY] = "no-copy",
    [GL_FAULT_WRONG_PLACE] = "wrong-place",
    [GL_FAULT_CORRUPT] = "corrupt",
    [GL_FAULT_NO_IRQ] = "no-irq",
    [GL_FAULT_HANG] = "hang",
};

static char *gl_get_fault(Object *obj, Error **errp)
{
    return g_strdup(fault_names[GIGALOCK(obj)->fault]);
}

static void gl_set_fault(Object *obj, const char *value, Error **errp)
{
    GLState *s = GIGALOCK(obj);
    g_autofree char *known = NULL;

    for (int i = 0; i < GL_FAULT__MAX; i++) {
        if (!strcmp(value, fault_names[i])) {
            qemu_mutex_lock(&s->lock);
            qatomic_set(&s->fault, i);
            gl_engine_kick(s);
            qemu_mutex_unlock(&s->lock);
            return;
        }
    }
    known = g_strjoin(", ", fault_names[0], fault_names[1], fault_names[2],
                      fault_names[3], fault_names[4], fault_names[5], NULL);
    error_setg(errp, "fault '%s' is not known; known are: %s", value, known);
}

static const char *const forge_names[GL_FORGE__MAX] = {
    [GL_FORGE_NONE] = "none",
    [GL_FORGE_SEQ] = "seq",
    [GL_FORGE_COOKIE] = "cookie",
    [GL_FORGE_BYTES] = "bytes",
    [GL_FORGE_SHORT] = "short",
    [GL_FORGE_STATUS] = "status",
    [GL_FORGE_STRAY] = "stray",
};

static char *gl_get_forge(Object *obj, Error **errp)
{
    return g_strdup(forge_names[qatomic_read(&GIGALOCK(obj)->forge)]);
}

static void gl_set_forge(Object *obj, const char *value, Error **errp)
{
    g_autofree char *known = NULL;

    for (int i = 0; i < GL_FORGE__MAX; i++) {
        if (!strcmp(value, forge_names[i])) {
            qatomic_set(&GIGALOCK(obj)->forge, i);
            return;
        }
    }
    known = g_strjoin(", ", forge_names[0], forge_names[1], forge_names[2],
                      forge_names[3], forge_names[4], forge_names[5],
                      forge_names[6], NULL);
    error_setg(errp, "forge '%s' is not known; known are: %s", value, known);
}

static void gl_get_pause_after(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    GLState *s = GIGALOCK(obj);
    uint64_t value;

    qemu_mutex_lock(&s->lock);
    value = s->pause_after;
    qemu_mutex_unlock(&s->lock);
    visit_type_uint64(v, name, &value, errp);
}

static void gl_set_pause_after(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    GLState *s = GIGALOCK(obj);
    uint64_t value;

    if (!visit_type_uint64(v, name, &value, errp)) {
        return;
    }
    qemu_mutex_lock(&s->lock);
    s->pause_after = value;
    s->pause_left = value;
    s->pause_epoch++;
    gl_engine_kick(s);
    qemu_mutex_unlock(&s->lock);
}

static bool gl_get_paused(Object *obj, Error **errp)
{
    return gl_engine_paused(GIGALOCK(obj));
}

/* A read-only counter, of all channels; @opaque is its place in GLChannel. */
static void gl_get_counter(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    GLState *s = GIGALOCK(obj);
    uint64_t value = 0;

    for (unsigned i = 0; i < MIN(s->channels, GL_MAX_CHANNELS); i++) {
        value += qatomic_read((uint64_t *)((void *)&s->ch[i] +
                                           (uintptr_t)opaque));
    }
    visit_type_uint64(v, name, &value, errp);
}

static void gl_add_counter(ObjectClass *klass, const char *name, size_t offset,
                           const char *text)
{
    object_class_property_add(klass, name, "uint64", gl_get_counter, NULL,
                              NULL, (void *)(uintptr_t)offset);
    object_class_property_set_description(klass, name, text);
}

void gl_knobs_class_init(ObjectClass *klass)
{
    object_class_property_add(klass, "pause-after", "uint64",
                              gl_get_pause_after, gl_set_pause_after, NULL,
                              NULL);
    object_class_property_set_description(klass, "pause-after",
        "hold the engine after this many payload bytes, counted from when the "
        "knob is set; 18446744073709551615 is off");
    object_class_property_add_bool(klass, "paused", gl_get_paused, NULL);
    object_class_property_set_description(klass, "paused",
        "pause-after holds a channel");
    object_class_property_add_str(klass, "fault", gl_get_fault, gl_set_fault);
    object_class_property_set_description(klass, "fault",
        "misbehave: none, no-copy, wrong-place, corrupt, no-irq, hang");
    object_class_property_add_str(klass, "forge", gl_get_forge, gl_set_forge);
    object_class_property_set_description(klass, "forge",
        "lie in the next completion record: none, seq, cookie, bytes, short, status, "
        "stray");
    gl_add_counter(klass, "stat-bytes", offsetof(GLChannel, stat_bytes),
                   "payload bytes moved");
    gl_add_counter(klass, "stat-descriptors",
                   offsetof(GLChannel, stat_descriptors),
                   "descriptors finished, failed and skipped ones included");
    gl_add_counter(klass, "stat-errors", offsetof(GLChannel, stat_errors),
                   "descriptors that failed and channels that halted");
}

void gl_knobs_init(GLState *s)
{
    s->pause_after = GL_PAUSE_OFF;
    s->pause_left = GL_PAUSE_OFF;
    s->fault = GL_FAULT_NONE;
    s->forge = GL_FORGE_NONE;
}
