# SPDX-License-Identifier: GPL-2.0-or-later
#
# The devices of the in-tree build: a PCIe machine, the card, the IOMMUs it may
# stand behind, and one other device with registers to aim at.
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_VTD=y
CONFIG_AMD_IOMMU=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_IOMMU=y
CONFIG_EDU=y
CONFIG_GIGALOCK=y
