/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gigalock: a PCIe card with a DMA engine and memory of its own. This file is
 * the PCI shell: identity, BARs, MSI-X, capabilities, properties, reset, life
 * cycle. It knows nothing of rings and descriptors.
 */
#include "compat.h"
#include "gigalock.h"

#define GL_AER_OFFSET       0x100
#define GL_MSIX_BAR_SIZE    0x1000
#define GL_MSIX_PBA         0x800

bool gl_may_master(PCIDevice *pdev)
{
    uint8_t pm = pci_find_capability(pdev, PCI_CAP_ID_PM);
    uint16_t command = pci_get_word(pdev->config + PCI_COMMAND);
    uint16_t pmcsr = pci_get_word(pdev->config + pm + PCI_PM_CTRL);

    return (command & PCI_COMMAND_MASTER) && !(pmcsr & PCI_PM_CTRL_STATE_MASK);
}

static void gl_config_write(PCIDevice *pdev, uint32_t addr, uint32_t val,
                            int len)
{
    GLState *s = GIGALOCK(pdev);

    /* Stop first: or its last accesses would be faults, not bus master off. */
    if (range_covers_byte(addr, len, PCI_COMMAND) &&
        !(val >> (PCI_COMMAND - addr) * 8 & PCI_COMMAND_MASTER)) {
        gl_engine_allow_dma(s, false);
    }
    pci_default_write_config(pdev, addr, val, len);
    pcie_cap_flr_write_config(pdev, addr, val, len);
    gl_engine_allow_dma(s, gl_may_master(pdev));
}

static void gl_reset(DeviceState *dev)
{
    GLState *s = GIGALOCK(dev);

    /* The configuration space is cleared next, bus mastering with it. */
    gl_engine_allow_dma(s, false);
    gl_mmio_reset(s);
}

static bool gl_init_card_memory(GLState *s, Error **errp)
{
    Error *err = NULL;

    if (!s->memdev) {
        if (!gl_limits_check_card_size("card-mem", s->card_mem, errp)) {
            return false;
        }
        /* What is never touched need not be there. */
        memory_region_init_ram_flags_nomigrate(&s->card_own_mr, OBJECT(s),
                                               "gigalock-card", s->card_mem,
                                               RAM_NORESERVE, &err);
        if (err) {
            error_propagate_prepend(errp, err, "card-mem of %" PRIu64
                                    " bytes: ", s->card_mem);
            return false;
        }
        s->card_mr = &s->card_own_mr;
    } else {
        MemoryRegion *mr = host_memory_backend_get_memory(s->memdev);

        if (host_memory_backend_is_mapped(s->memdev)) {
            error_setg(errp, "memdev %s is in use elsewhere",
                       object_get_canonical_path_component(OBJECT(s->memdev)));
            return false;
        }
        if (!gl_limits_check_card_size("memdev", memory_region_size(mr),
                                       errp)) {
            return false;
        }
        if (memory_region_is_rom(mr)) {
            error_setg(errp, "memdev %s is read-only; card memory must be "
                       "writable",
                       object_get_canonical_path_component(OBJECT(s->memdev)));
            return false;
        }
        host_memory_backend_set_mapped(s->memdev, true);
        s->card_mr = mr;
    }
    vmstate_register_ram(s->card_mr, DEVICE(s));
    s->card = memory_region_get_ram_ptr(s->card_mr);
    s->card_size = memory_region_size(s->card_mr);
    return true;
}

static void gl_exit_card_memory(GLState *s)
{
    vmstate_unregister_ram(s->card_mr, DEVICE(s));
    if (s->memdev) {
        host_memory_backend_set_mapped(s->memdev, false);
    }
}

static bool gl_init_capabilities(PCIDevice *pdev, Error **errp)
{
    int pm;

    if (pcie_endpoint_cap_init(pdev, 0) < 0) {
        error_setg(errp, "no room for the PCI Express capability");
        return false;
    }
    gl_link_init(GIGALOCK(pdev));
    pcie_cap_flr_init(pdev);
    pcie_cap_deverr_init(pdev);

    pm = pci_add_capability(pdev, PCI_CAP_ID_PM, 0, PCI_PM_SIZEOF, errp);
    if (pm < 0) {
        return false;
    }
    pci_set_word(pdev->config + pm + PCI_PM_PMC, 3);
    /* D3hot keeps the state: nothing is reset on the way back to D0. */
    pci_set_word(pdev->config + pm + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);
    pci_set_word(pdev->wmask + pm + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);

    return pcie_aer_init(pdev, PCI_ERR_VER, GL_AER_OFFSET, PCI_ERR_SIZEOF,
                         errp) >= 0;
}

static void gl_realize(PCIDevice *pdev, Error **errp)
{
    GLState *s = GIGALOCK(pdev);

    if (!pci_bus_is_express(pci_get_bus(pdev))) {
        error_setg(errp, "gigalock is a PCI Express card: it needs a PCIe bus "
                   "(pcie.0 or a pcie-root-port of -machine q35)");
        return;
    }
    if (!gl_limits_check_properties(s, errp) || !gl_init_card_memory(s, errp)) {
        return;
    }
    if (!gl_init_capabilities(pdev, errp)) {
        goto fail_memory;
    }

    memory_region_init_io(&s->regs_mr, OBJECT(s), &gl_mmio_ops, s,
                          "gigalock-regs", GL_BAR_REGS_SIZE);
    pci_register_bar(pdev, GL_BAR_REGS, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &s->regs_mr);
    pci_register_bar(pdev, GL_BAR_CARD, PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, s->card_mr);

    memory_region_init(&s->msix_mr, OBJECT(s), "gigalock-msix",
                       GL_MSIX_BAR_SIZE);
    if (msix_init(pdev, s->channels, &s->msix_mr, GL_BAR_MSIX, 0, &s->msix_mr,
                  GL_BAR_MSIX, GL_MSIX_PBA, 0, errp) < 0) {
        goto fail_aer;
    }
    pci_register_bar(pdev, GL_BAR_MSIX, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &s->msix_mr);
    for (unsigned i = 0; i < s->channels; i++) {
        msix_vector_use(pdev, i);
    }

    gl_engine_start(s);
    return;

fail_aer:
    pcie_aer_exit(pdev);
    pcie_cap_exit(pdev);
fail_memory:
    gl_exit_card_memory(s);
}

static void gl_exit(PCIDevice *pdev)
{
    GLState *s = GIGALOCK(pdev);

    gl_engine_stop(s);
    msix_unuse_all_vectors(pdev);
    msix_uninit(pdev, &s->msix_mr, &s->msix_mr);
    pcie_aer_exit(pdev);
    pcie_cap_exit(pdev);
    gl_exit_card_memory(s);
    g_free(s->image);
    s->image = NULL;
}

static void gl_instance_init(Object *obj)
{
    GLState *s = GIGALOCK(obj);

    qemu_mutex_init(&s->lock);
    gl_knobs_init(s);
}

static void gl_instance_finalize(Object *obj)
{
    qemu_mutex_destroy(&GIGALOCK(obj)->lock);
}

GL_PROPERTY_TABLE gl_properties[] = {
    DEFINE_PROP_SIZE("card-mem", GLState, card_mem, GL_CARD_MEM_DEFAULT),
    DEFINE_PROP_LINK("memdev", GLState, memdev, TYPE_MEMORY_BACKEND,
                     HostMemoryBackend *),
    DEFINE_PROP_UINT8("channels", GLState, channels, 2),
    DEFINE_PROP_UINT8("addr-width", GLState, addr_width, GL_ADDR_WIDTH_MAX),
    DEFINE_PROP_UINT8("max-ring", GLState, max_ring, GL_MAX_RING_LOG2),
    DEFINE_PROP_SIZE("max-xfer", GLState, max_xfer, GL_MAX_XFER_DEFAULT),
    DEFINE_PROP_SIZE("max-seg", GLState, max_seg, UINT64_MAX),
    DEFINE_PROP_UINT32("align", GLState, align, 1),
    DEFINE_PROP_SIZE("boundary", GLState, boundary, 0),
    DEFINE_PROP_INT32("workers", GLState, workers, GL_WORKERS_AUTO),
    DEFINE_PROP_UINT8("link-gen", GLState, link_gen, 0),
    DEFINE_PROP_UINT8("link-lanes", GLState, link_lanes, 1),
    DEFINE_PROP_UINT32("link-latency", GLState, link_latency, 0),
    DEFINE_PROP_UINT32("x-first-index", GLState, first_index, 0),
    GL_PROPERTY_END
};

static void gl_class_init(ObjectClass *klass, GL_CLASS_DATA *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    pc->realize = gl_realize;
    pc->exit = gl_exit;
    pc->config_write = gl_config_write;
    pc->vendor_id = GL_PCI_VENDOR_ID;
    pc->device_id = GL_PCI_DEVICE_ID;
    pc->revision = GL_PCI_REVISION;
    pc->class_id = PCI_CLASS_OTHERS;
    dc->desc = "DMA laboratory card";
    dc->vmsd = &gl_vmstate;
    gl_set_reset(dc, gl_reset);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, gl_properties);
    gl_knobs_class_init(klass);
}

static GL_INTERFACE_INFO gl_interfaces[] = {
    { INTERFACE_PCIE_DEVICE },
    { },
};

static const TypeInfo gl_info = {
    .name = TYPE_GIGALOCK,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(GLState),
    .instance_init = gl_instance_init,
    .instance_finalize = gl_instance_finalize,
    .class_init = gl_class_init,
    .interfaces = gl_interfaces,
};

#ifdef GIGALOCK_LOADABLE
const TypeInfo *const gl_type_info = &gl_info;
#else
static void gl_register_types(void)
{
    type_register_static(&gl_info);
}
type_init(gl_register_types)
#endif
