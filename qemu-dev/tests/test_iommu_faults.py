# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of blocked addresses, fault interrupts on: a completion each, and QEMU stays alive."""

import struct

import pytest
from card import BUF, C2H, CARD_AT, CPL, F_CPL, GL, H2C, NOP, REGS_AT, RING, Card, Pci
from test_iommu import FEADDR, FECTL, FEDATA, FSTS, PAGE, VTD, Tables
from virtio_iommu import VirtioIommu

BOTH_ENGINES = True
BLOCKED = 10_000
FIRST = 0x4000000  # there is memory at these addresses, if the IOMMU is left out
LOG2 = 14
FRCD = 0x220  # the fault record; bit 127 of it is set until the guest clears it
AMD = 0xFED80000
AMD_TABLE, AMD_ROOT, AMD_LOG, AMD_MESSAGE = 0x400000, 0x600000, 0x700000, 0x90000
AMD_RW = 3 << 61


def blocked_ring(card, first: int) -> None:
    """A ring of reads and writes, each to a blocked page of its own."""
    card.enable(log2=LOG2)
    card.q.fill(CPL, 32 << LOG2, 0)
    ring = b""
    for i in range(BLOCKED):
        addr = first + i * PAGE + i % PAGE
        op, src, dst = (H2C, addr, 0) if i % 2 else (C2H, 0, addr)
        ring += struct.pack("<HHIQQQ", op, F_CPL, i, src, dst, 64)
    card.q.write(RING, ring)
    card.tails[0] = BLOCKED
    card.ring()


def check_completions(card, first: int) -> None:
    """One each, in order, with its own address."""
    raw = card.q.read(CPL, 32 * BLOCKED)
    for i, r in enumerate(struct.iter_unpack("<IIQQII", raw)):
        status = GL["GL_ERR_HOST_READ" if i % 2 else "GL_ERR_HOST_WRITE"]
        assert r == (i, status, 0, first + i * PAGE + i % PAGE, 0, i + 1)
    assert card.q.get("stat-errors") == BLOCKED


def test_intel_iommu(start):
    card = start(extra=["-device", "intel-iommu"])
    q, tables, first = card.q, Tables(card.q), FIRST
    for at in range(0, 32 << LOG2, PAGE):
        tables.map(RING + at, RING + at)
        tables.map(CPL + at, CPL + at)
    tables.map(0x40000000, BUF)
    tables.on()
    q.writel(VTD + FEADDR, 0xFEE00000)
    q.writel(VTD + FEDATA, 0x31)
    q.writel(VTD + FECTL, 0)
    blocked_ring(card, first)
    reports = 0
    while card.ch(0, "CPL_COUNT") < BLOCKED or q.readl(VTD + FRCD + 12) >> 31:
        if q.readl(VTD + FRCD + 12) >> 31:  # a guest would: take the record, clear it
            low = q.readl(VTD + FRCD) | q.readl(VTD + FRCD + 4) << 32
            assert first <= low < first + BLOCKED * PAGE
            q.writel(VTD + FRCD + 12, 1 << 31)
            q.writel(VTD + FSTS, 1)  # overflow
            reports += 1
    assert reports > 0
    check_completions(card, first)
    assert card.q.qmp("query-status")["status"] == "prelaunch"
    card.seen[0] = BLOCKED
    assert card.do(H2C, 0x40000000, 0, PAGE).status == 0


def amd_map(q, tables: dict, iova: int, addr: int) -> None:
    """One page; three levels, each a page of 512 entries."""
    table = AMD_ROOT
    for level in (3, 2):
        key = (level, iova >> 12 + 9 * (level - 1))
        if key not in tables:
            tables[key] = AMD_ROOT + PAGE * (len(tables) + 1)
            q.fill(tables[key], PAGE, 0)
            entry = tables[key] | level - 1 << 9 | 1 | AMD_RW
            index = iova >> 12 + 9 * (level - 1) & 511
            q.write(table + index * 8, struct.pack("<Q", entry))
        table = tables[key]
    q.write(table + (iova >> 12 & 511) * 8, struct.pack("<Q", addr | 1 | AMD_RW))


def amd_on(q) -> Pci:
    """Device table, event log, and interrupts by MSI; returns the IOMMU's PCI side."""
    for reg, value in ((0x00, AMD_TABLE | 1), (0x10, AMD_LOG | 15 << 56)):
        q.writel(AMD + reg, value)
        q.writel(AMD + reg + 4, value >> 32)
    for dev in range(32):
        pci = Pci(q, 0, dev)
        if pci.read(0) & 0xFFFF == 0x1022:
            msi = pci.capability(0x05)
            assert msi, "the IOMMU has no MSI"
            pci.write(msi + 4, AMD_MESSAGE)  # memory, so that it can be seen
            pci.write(msi + 8, 0)
            pci.write(msi + 12, 0x32)
            pci.write(msi, pci.read(msi) | 1 << 16)
            break
    else:
        pytest.fail("no AMD IOMMU on the bus")
    q.writel(AMD + 0x18, 1 | 1 << 2 | 1 << 3)  # on, event log, its interrupt
    return pci


def amd_events(q) -> list[tuple[int, int, int]]:
    """What is in the log, which has room for all: device, kind, address."""
    events = struct.iter_unpack("<H4xHQ", q.read(AMD_LOG, 16 * BLOCKED))
    return [(device, kind >> 12, addr) for device, kind, addr in events if kind]


def test_amd_iommu(start):
    card = start(extra=["-device", "amd-iommu"])
    q, first = card.q, FIRST
    q.fill(AMD_TABLE, 0x1000 * 32, 0)
    q.fill(AMD_ROOT, PAGE, 0)
    q.fill(AMD_LOG, 16 << 15, 0)
    entry = AMD_ROOT | 3 << 9 | 3 | AMD_RW
    q.write(AMD_TABLE + (5 << 3) * 32, struct.pack("<QQQQ", entry, 1, 0, 0))
    tables: dict = {}
    for at in range(0, 32 << LOG2, PAGE):
        amd_map(q, tables, RING + at, RING + at)
        amd_map(q, tables, CPL + at, CPL + at)
    amd_map(q, tables, 0x40000000, BUF)
    # Not present, but not empty either: what the IOMMU reports as a fault.
    for at in range(FIRST, FIRST + BLOCKED * PAGE, 1 << 21):
        q.write(tables[3, 0] + (at >> 21) * 8, struct.pack("<Q", 0x7FF000 | 1 << 9))
    iommu = amd_on(q)
    assert not iommu.read(4) >> 27 & 1
    q.writel(AMD_MESSAGE, 0)
    blocked_ring(card, first)
    card.until(lambda: card.ch(0, "CPL_COUNT") == BLOCKED, "completions are missing", 60)
    check_completions(card, first)
    assert iommu.read(4) >> 27 & 1, "the IOMMU reports no fault"
    events = amd_events(q)
    if q.qmp("query-version")["qemu"]["major"] == 7:
        assert not events, "docs/device.md says that this QEMU logs nothing"
    # One for each refusal, in their order, for as long as that QEMU finds room in its log.
    page_fault, who = 2, 5 << 3
    assert events == [(who, page_fault, first + i * PAGE + i % PAGE) for i in range(len(events))]
    assert q.readl(AMD_MESSAGE) == (0x32 if events else 0)
    assert card.q.qmp("query-status")["status"] == "prelaunch"
    card.seen[0] = BLOCKED
    assert card.do(H2C, 0x40000000, 0, PAGE).status == 0


def test_virtio_iommu(start):
    """Mapped by its own requests, as a guest's driver does; events go into the guest's buffers."""
    card = start(extra=["-device", "virtio-iommu-pci,addr=6,boot-bypass=off"])
    q, first, endpoint = card.q, FIRST, 5 << 3
    iommu = VirtioIommu(q)
    iommu.attach(1, endpoint)
    iommu.map(1, RING, 32 << LOG2, RING)
    iommu.map(1, CPL, 32 << LOG2, CPL)
    iommu.map(1, 0x40000000, PAGE, BUF)
    blocked_ring(card, first)
    seen = []
    while card.ch(0, "CPL_COUNT") < BLOCKED:
        seen += iommu.events()
    seen += iommu.events()
    check_completions(card, first)
    # Not each one: with no buffer left the IOMMU drops what it would tell.
    assert seen
    for reason, who, addr in seen:
        assert (reason, who) == (2, endpoint)
        assert first <= addr < first + BLOCKED * PAGE
    addrs = [addr for _, _, addr in seen]
    assert addrs == sorted(set(addrs))
    assert q.qmp("query-status")["status"] == "prelaunch"
    card.seen[0] = BLOCKED
    q.write(BUF, b"through")
    assert card.do(H2C, 0x40000000, 0, PAGE).status == 0
    assert q.read(CARD_AT, 7) == b"through"


ECAM = 0xB0000000
FLAGS, ADDRESS = 4, 16  # in an event; the address is the guest's choice
EXPRESS = 0x10


def ecam(q, bus: int, dev: int) -> int:
    """Configuration space in memory, where an IOMMU can write to it."""
    host = Pci(q, 0, 0)
    host.write(0x64, 0)
    host.write(0x60, ECAM | 1)
    return ECAM + (bus << 20 | dev << 15)


def provoke(card, events_at: int, address: int, endpoint: int) -> None:
    """A refused access, and its report goes there, while the card asks."""
    q = card.q
    iommu = VirtioIommu(q, events_at)
    iommu.attach(1, endpoint)
    iommu.map(1, RING, PAGE, RING)
    iommu.map(1, CPL, PAGE, CPL)
    card.enable()
    card.put(0, H2C, address, 0, 64)
    card.put(0, NOP, 0, 0, 0)
    card.ring()


def test_report_into_the_cards_registers(start):
    """Nobody resets a card from within its own work."""
    card = start(extra=["-device", "virtio-iommu-pci,addr=6,boot-bypass=off"])
    # The flags of the event, 0x101, would be a reset.
    provoke(card, REGS_AT + GL["GL_REG_CTRL"] - FLAGS, 0x40000000, 5 << 3)
    r = card.wait()
    assert (r.status, r.fault_addr) == (GL["GL_ERR_HOST_READ"], 0x40000000)
    assert card.wait().status == 0


@pytest.mark.parametrize("bus_master_off", [True, False], ids=["command", "flr"])
def test_report_into_the_cards_configuration(start, bus_master_off):
    """That stops the card while it asks; it must not wait for itself."""
    card = start(extra=["-device", "virtio-iommu-pci,addr=6,boot-bypass=off"])
    q, space = card.q, ecam(card.q, 0, 5)
    if bus_master_off:
        # Its address lands in the BAR of the registers, which is there already.
        provoke(card, space + 4 - FLAGS, REGS_AT, 5 << 3)
    else:
        provoke(card, space + card.pci.capability(EXPRESS) + 8 - ADDRESS, 0x40008000, 5 << 3)
    card.until(lambda: not card.pci.read(4) & 4, "the report did not come")
    card.command(0x6)
    if bus_master_off:
        assert card.status(0)["ERROR"] == GL["GL_ERR_BUS_MASTER"]
    else:
        card = Card(q)
        assert card.status(0)["RUNNING"] == 0
    card.disable()
    card.enable()
    assert card.do(NOP, 0, 0, 0).status == 0
    assert q.qmp("query-status")["status"] == "prelaunch"


def test_report_that_unplugs_the_card(start):
    """Into the slot's power control: the card is gone when its IOMMU has answered."""
    card = start(
        behind_port=True,
        extra=[
            *("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
            *("-device", "virtio-iommu-pci,addr=6,boot-bypass=off"),
        ],
    )
    q, port = card.q, Pci(card.q, 0, 4)
    slot_control = ecam(q, 0, 4) + port.capability(EXPRESS) + 0x18
    provoke(card, slot_control - ADDRESS, 0x40000740, 1 << 8)
    q.wait_event("DEVICE_DELETED")
    assert q.qmp("query-status")["status"] == "prelaunch"
