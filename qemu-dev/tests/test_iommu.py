# SPDX-License-Identifier: GPL-2.0-or-later
"""Behind a virtual IOMMU: VT-d, its tables written by hand."""

import os
import struct
import time

import pytest
from card import BUF, C2H, CARD_AT, CPL, F_CPL, F_CRC, F_CRC_INIT, GL, H2C, RING, Card, crc32c

BOTH_ENGINES = True

VTD = 0xFED90000
ROOT, CTX, PT = 0x10000, 0x11000, 0x20000
GCMD, RTADDR, FSTS, FECTL, FEDATA, FEADDR = 0x18, 0x20, 0x34, 0x38, 0x3C, 0x40
IOTLB = 0xF8
ERR_READ, ERR_WRITE = GL["GL_ERR_HOST_READ"], GL["GL_ERR_HOST_WRITE"]
BUS = "GL_ERR_BUS_MASTER"
PAGE = 4096


class Tables:
    """Three levels, 39 bits, 4 KiB pages, for the card at 00:05.0 or another place."""

    def __init__(self, q, bus=0, dev=5):
        self.q, self.free, self.tables = q, PT + PAGE, {}
        q.fill(ROOT, 0x2000, 0)
        q.fill(PT, PAGE, 0)
        q.write(ROOT + bus * 16, struct.pack("<QQ", CTX | 1, 0))
        q.write(CTX + (dev << 3) * 16, struct.pack("<QQ", PT | 1, 1 | 1 << 8))

    def _below(self, key, entry_at):
        if key not in self.tables:
            self.q.fill(self.free, PAGE, 0)
            self.q.write(entry_at, struct.pack("<Q", self.free | 3))
            self.tables[key] = self.free
            self.free += PAGE
        return self.tables[key]

    def map(self, iova, addr, rights=3):
        """One page; rights: 1 read, 2 write, 0 nothing."""
        l2 = self._below(iova >> 30, PT + (iova >> 30) * 8)
        l1 = self._below((iova >> 21, 1), l2 + (iova >> 21 & 511) * 8)
        self.q.write(l1 + (iova >> 12 & 511) * 8, struct.pack("<Q", addr | rights if rights else 0))

    def on(self):
        """Switch translation on."""
        self.q.writel(VTD + RTADDR, ROOT)
        self.q.writel(VTD + RTADDR + 4, 0)
        self.q.writel(VTD + GCMD, 1 << 30)
        self.q.writel(VTD + GCMD, 1 << 31)

    def flush(self):
        """Let the IOMMU forget what it knows; a driver does so before it uses an address anew."""
        self.q.writel(VTD + IOTLB + 4, 1 << 31 | 1 << 28)
        assert not self.q.readl(VTD + IOTLB + 4) >> 31


@pytest.fixture
def vtd(start):
    card = start(extra=["-device", "intel-iommu"])
    tables = Tables(card.q)
    for base in (RING, CPL):  # rings where they are
        tables.map(base, base)
        tables.map(base + 0x10000, base + 0x10000)
    return card, tables


def test_present_but_off(vtd):
    card, _ = vtd
    data = os.urandom(3 << 20)
    card.q.write(BUF + 3, data)
    card.enable()
    r = card.do(H2C, BUF + 3, 1, len(data))
    assert (r.status, r.bytes) == (0, len(data))
    assert card.q.read(CARD_AT + 1, len(data)) == data
    r = card.do(C2H, 1, 0xFED90000, 64)
    assert (r.status, r.fault_addr) == (ERR_WRITE, 0xFED90000)


def test_scattered_pages(vtd):
    """4 KiB pages in reverse order, an odd offset, more than one batch of translations."""
    card, tables = vtd
    pages, iova = 3000, 0x40000000
    for i in range(pages):
        tables.map(iova + i * PAGE, BUF + (pages - 1 - i) * PAGE)
    tables.on()
    data = os.urandom(pages * PAGE)
    card.q.write(BUF, data)
    seen = b"".join(data[(pages - 1 - i) * PAGE : (pages - i) * PAGE] for i in range(pages))
    size = pages * PAGE - 100
    card.enable()
    r = card.do(H2C, iova + 77, 5, size, F_CPL)
    assert (r.status, r.bytes) == (0, size)
    assert card.q.read(CARD_AT + 5, size) == seen[77 : 77 + size]
    card.q.fill(BUF, pages * PAGE, 0)
    r = card.do(C2H, 5, iova + 77, size, F_CPL | F_CRC | F_CRC_INIT)
    assert (r.status, r.bytes, r.crc) == (0, size, crc32c(seen[77 : 77 + size]))
    back = card.q.read(BUF, pages * PAGE)
    assert back[(pages - 1) * PAGE + 77 :] == seen[77:PAGE]


@pytest.mark.parametrize(
    "rights,op,status",
    [(0, H2C, ERR_READ), (0, C2H, ERR_WRITE), (2, H2C, ERR_READ), (1, C2H, ERR_WRITE)],
)
def test_fault_in_the_middle(vtd, rights, op, status):
    """With the fault interrupt on: raised off the big lock it would abort QEMU."""
    card, tables = vtd
    q, iova = card.q, 0x80000000
    for i in range(8):
        tables.map(iova + i * PAGE, BUF + i * PAGE, 3 if i != 5 else rights)
    tables.on()
    q.writel(VTD + FEADDR, 0xFEE00000)
    q.writel(VTD + FEDATA, 0x31)
    q.writel(VTD + FECTL, 0)
    card.enable()
    host = iova + 10
    r = card.do(op, *((host, 0) if op == H2C else (0, host)), 7 * PAGE)
    assert (r.status, r.fault_addr, r.bytes) == (status, iova + 5 * PAGE, 5 * PAGE - 10)
    assert q.readl(VTD + FSTS) & 2  # the IOMMU has recorded it
    assert card.do(H2C, iova, 0, PAGE).status == 0


def test_an_address_that_is_used_anew(vtd):
    """Mapped elsewhere as soon as its transfer is done, while the channel is busy all the time."""
    card, tables = vtd
    q, address, long, pages = card.q, 0x40000000, 0x80000000, 64
    for i in range(pages):
        tables.map(long + i * PAGE, BUF + i * PAGE)
    log2 = 11
    for at in range(PAGE, 32 << log2, PAGE):
        tables.map(RING + at, RING + at)
        tables.map(CPL + at, CPL + at)
    tables.on()
    old, new = BUF + 0x1000000, BUF + 0x2000000
    q.fill(old, PAGE, 0x11)
    q.fill(new, PAGE, 0x22)
    busy = 0
    for _ in range(3):
        card.disable()
        tables.map(address, old)
        tables.flush()
        card.enable(log2=log2)
        for i in range(800):
            if i == 63:  # the last one of those that are fetched at once
                card.put(0, H2C, address, 0, PAGE)
            else:
                card.put(0, H2C, long, 2 * PAGE, pages * PAGE, F_CPL | F_CRC)
        card.ring()
        while card.ch(0, "CPL_COUNT") < 64:
            pass
        tables.map(address, new)
        tables.flush()
        card.put(0, H2C, address, PAGE, PAGE)
        busy += card.status(0)["BUSY"]
        card.ring()
        for _ in range(801):
            assert card.wait().status == 0
        assert q.read(CARD_AT, 2 * PAGE) == b"\x11" * PAGE + b"\x22" * PAGE
    assert busy


def test_ring_that_is_not_mapped(vtd):
    card, tables = vtd
    tables.on()
    card.enable(ring=0x90000000)
    card.set_ch(0, "DOORBELL", 1)
    card.until(lambda: card.status(0)["HALTED"], "not halted")
    assert card.status(0)["ERROR"] == GL["GL_ERR_RING_FETCH"]


def test_completions_that_are_not_mapped(vtd):
    card, tables = vtd
    tables.on()
    card.enable(cpl=0x90000000)
    card.put(0, 0, 0, 0, 0)
    card.ring()
    card.until(lambda: card.status(0)["HALTED"], "not halted")
    assert card.status(0)["ERROR"] == GL["GL_ERR_CPL_WRITE"]


def test_stopping_a_worker_that_waits_for_the_main_loop(vtd):
    """Whoever stops it holds the lock that its translation needs."""
    card, tables = vtd
    iova = 0x40000000
    for i in range(64):
        tables.map(iova + i * PAGE, BUF + i * PAGE)
    tables.on()
    for _ in range(50):
        card.enable()
        for _ in range(16):
            card.put(0, H2C, iova, 0, 64 * PAGE)
        card.ring()
        start = time.monotonic()
        card.set_reg("CTRL", 1)
        assert time.monotonic() - start < 2
        assert card.status(0)["RUNNING"] == 0
    card.enable()
    assert card.do(H2C, iova, 0, 64 * PAGE).status == 0


@pytest.mark.parametrize("how", ["power", "master", "doorbell"])
def test_who_is_stopped_asks_no_more(vtd, how):
    """Stopped while it waits for the big lock: a ring that is not mapped is then never fetched."""
    card, tables = vtd
    tables.on()
    q, pm = card.q, card.pci.capability(1)
    state = card.pci.read(pm + 4) & ~3
    lost = {
        "power": card.pci.writing(pm + 4, state | 3) + card.pci.writing(pm + 4, state),
        "master": card.pci.writing(4, 0x2) + card.pci.writing(4, 0x6),
        "doorbell": [card.setting_ch(0, "DOORBELL", 99)],
    }[how]
    wait = f"readl {card._ch(0, 'STATUS'):#x}"
    for i in range(45):
        card.enable(ring=0x90000000)
        # All of it with the big lock held, and time for a worker to get as far as to ask.
        q.burst([card.setting_ch(0, "DOORBELL", 1)] + [wait] * (i % 30) + lost)
        assert card.status(0)["HALTED"]
        assert card.status(0)["ERROR"] == GL["GL_ERR_DOORBELL" if how == "doorbell" else BUS]
        time.sleep(0.001)
        q.qmp("query-status")
        assert not q.readl(VTD + FSTS) & 2, "the IOMMU reports an access that never happened"
        card.disable()
    card.enable(ring=RING)
    assert card.do(0, 0, 0, 0).status == 0
    card.disable()
    # It does report one that happens.
    card.enable(ring=0x90000000)
    card.set_ch(0, "DOORBELL", 1)
    card.until(lambda: card.status(0)["HALTED"], "not halted")
    assert q.readl(VTD + FSTS) & 2


def busy_translating(card, tables):
    """Every page a translation of its own, and none of them kept: asking takes most of the time."""
    iova = 0x40000000
    for i in range(512):
        tables.map(iova + i * PAGE, BUF + (i ^ 1) * PAGE)
    tables.on()
    card.enable(log2=7)
    for _ in range(128):
        card.put(0, H2C, iova, 0, 512 * PAGE)
    card.ring()


def test_unplug_while_it_asks(start):
    """A worker may wait for the lock that the end of the device is called with."""
    card = start(behind_port=True, extra=["-device", "intel-iommu"])
    q = card.q
    for _ in range(10):
        tables = Tables(q, bus=1, dev=0)
        for base in (RING, CPL):
            tables.map(base, base)
        busy_translating(card, tables)
        q.qmp("device_del", id="gl0")
        q.qmp("system_reset")  # a reset completes a pending removal
        q.wait_event("DEVICE_DELETED")
        options = {"workers": 0} if "workers=0" in " ".join(q.cmd) else {}
        q.qmp("device_add", driver="gigalock", id="gl0", bus="rp0", **options)
        q.qmp("system_reset")
        q.wait_event("RESET")
        card = Card(q, behind_port=True)
    card.enable()
    assert card.do(H2C, BUF, 0, PAGE).status == 0


def test_quit_while_it_asks(start):
    for _ in range(5):
        card = start(extra=["-device", "intel-iommu"])
        tables = Tables(card.q)
        for base in (RING, CPL):
            tables.map(base, base)
        busy_translating(card, tables)
        assert card.q.close() == 0


def test_vm_stop_while_it_waits(start, tmp_path):
    bios = tmp_path / "bios"
    image = bytearray(b"\x90" * 65536)
    image[0xFFF0:0xFFF4] = b"\xfa\xf4\xeb\xfd"
    bios.write_bytes(image)
    card = start(extra=["-device", "intel-iommu", "-bios", str(bios)])
    tables = Tables(card.q)
    for base in (RING, CPL):
        tables.map(base, base)
    iova = 0x40000000
    for i in range(512):
        tables.map(iova + i * PAGE, BUF + (i ^ 1) * PAGE)
    tables.on()
    card.q.qmp("cont")
    card.enable()
    for _ in range(16):
        card.put(0, H2C, iova, 0, 512 * PAGE)
    card.ring()
    for _ in range(20):
        card.q.qmp("stop")
        moved = card.q.get("stat-bytes")
        time.sleep(0.005)
        assert card.q.get("stat-bytes") == moved
        card.q.qmp("cont")
    for _ in range(16):
        assert card.wait().status == 0


def test_virtio_iommu_lets_nothing_through(start):
    """Attached to no domain and boot-bypass off: every access is refused."""
    card = start(extra=["-device", "virtio-iommu-pci,boot-bypass=off"])
    card.enable()
    card.set_ch(0, "DOORBELL", 1)
    card.until(lambda: card.status(0)["HALTED"], "not halted")
    assert card.status(0)["ERROR"] == GL["GL_ERR_RING_FETCH"]
