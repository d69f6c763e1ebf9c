# SPDX-License-Identifier: GPL-2.0-or-later
"""Identity, capabilities, registers."""

import pytest
from card import CARD_AT, GL, MSIX_AT, REGS_AT


@pytest.mark.parametrize("behind_port", [False, True])
def test_identity(start, behind_port):
    card = start(behind_port=behind_port)
    assert card.pci.read(0) == GL["GL_PCI_DEVICE_ID"] << 16 | GL["GL_PCI_VENDOR_ID"]
    assert card.pci.read(8) & 0xFF == GL["GL_PCI_REVISION"]
    assert card.reg("ID") == GL["GL_ID_MAGIC"]
    assert card.reg("VERSION") == GL["GL_VERSION_MAJOR"] << 16 | GL["GL_VERSION_MINOR"]
    assert card.reg("STATUS") == 1 << GL["GL_STATUS_READY_SHIFT"]


def test_limits_are_readable(start):
    card = start("channels=5,addr-width=37,max-ring=9,max-xfer=3G,card-mem=8G")
    cap = card.reg("CAP")
    assert (cap & 0xFF, cap >> 8 & 0xFF, cap >> 16 & 0xFF) == (5, 37, 9)
    assert card.reg64("CARD_SIZE") == 8 << 30
    assert card.reg64("MAX_XFER") == 3 << 30


def test_bars_are_64_bit(start):
    card = start("card-mem=1G")
    types = {0x10: 0x4, 0x18: 0xC, 0x20: 0x4}  # 0xc: 64-bit, prefetchable
    sizes = {0x10: GL["GL_BAR_REGS_SIZE"], 0x18: 1 << 30, 0x20: 0x1000}
    card.command(0)
    for reg, kind in types.items():
        assert card.pci.read(reg) & 0xF == kind
        card.pci.write(reg, 0xFFFFFFFF)
        card.pci.write(reg + 4, 0xFFFFFFFF)
        mask = (card.pci.read(reg) & ~0xF) | card.pci.read(reg + 4) << 32
        assert (-mask) & (1 << 64) - 1 == sizes[reg]


@pytest.mark.parametrize("behind_port,kind", [(False, 9), (True, 0)])
def test_capabilities(start, behind_port, kind):
    """PCI Express with FLR, power management, MSI-X with a vector a channel."""
    card = start("channels=3", behind_port=behind_port)
    express = card.pci.capability(0x10)
    assert card.pci.read(express) >> 20 & 0xF == kind  # 0 endpoint, 9 integrated endpoint
    assert card.pci.read(express + 4) >> 28 & 1  # function level reset
    assert card.pci.capability(0x01)
    msix = card.pci.capability(0x11)
    assert (card.pci.read(msix) >> 16 & 0x7FF) + 1 == 3
    assert card.pci.read(msix + 4) & 7 == GL["GL_BAR_MSIX"]


def test_advanced_error_reporting(start):
    card = start(behind_port=True)
    answer = card.q.qmp(
        "human-monitor-command", **{"command-line": "pcie_aer_inject_error gl0 COMP_TIME"}
    )
    assert "OK" in answer


def test_scratch_and_reset(card):
    card.set_reg("SCRATCH", 0xDEADBEEF)
    assert card.reg("SCRATCH") == 0xDEADBEEF
    card.set_ch(1, "VECTOR", 1)
    card.set_reg("CTRL", 1)
    assert card.reg("SCRATCH") == 0
    assert card.ch(1, "VECTOR") == 0
    assert card.reg("CTRL") == 0


def test_read_only_registers_stay(card):
    before = [card.q.readl(REGS_AT + a) for a in range(0, 0x28, 4) if a not in (0xC, 0x14)]
    for a in range(0, 0x28, 4):
        if a not in (0xC, 0x14):
            card.q.writel(REGS_AT + a, 0xFFFFFFFF)
    assert before == [card.q.readl(REGS_AT + a) for a in range(0, 0x28, 4) if a not in (0xC, 0x14)]


def test_every_address_of_the_register_bar_answers(card):
    """No offset, known or not, does harm; nor does another access size."""
    for a in range(0, GL["GL_BAR_REGS_SIZE"], 4):
        card.q.readl(REGS_AT + a)
        if not GL["GL_CH_BASE"] <= a < GL["GL_CH_BASE"] + 0x200 and a != 0xC:
            card.q.writel(REGS_AT + a, 0xA5A5A5A5)
    for width in ("b", "w", "q"):
        card.q.ask(f"write{width} {REGS_AT + 0x14:#x} 0x11")
        card.q.ask(f"read{width} {REGS_AT + 0x14:#x}")
    assert card.reg("ID") == GL["GL_ID_MAGIC"]
    assert card.ch(2, "STATUS") == 0  # a channel that is not there


def test_card_memory_is_plain_memory(card):
    card.q.write(CARD_AT + 12345, b"seen from both sides")
    assert card.q.read(CARD_AT + 12345, 20) == b"seen from both sides"


def test_msix_table_is_there(card):
    card.q.writel(MSIX_AT + 16, 0x12345670)
    assert card.q.readl(MSIX_AT + 16) == 0x12345670
