# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved and loaded: into another QEMU and from a snapshot, with transfers before, during, after."""

import os
import random
import re
import struct
import time

import pytest
from card import (
    BUF,
    C2C,
    C2H,
    CARD_AT,
    CMP_HC,
    CPL,
    CRC_CARD,
    F_CPL,
    F_CRC,
    F_CRC_INIT,
    F_IRQ,
    FILL_HOST,
    GL,
    H2C,
    REGS_AT,
    RING,
    crc32c,
)
from qemu import QemuError
from test_iommu import PAGE, VTD, Tables

BOTH_ENGINES = True

MIB = 1 << 20
OFF = (1 << 64) - 1
TOTAL = 2 * MIB
LATER = TOTAL + MIB + 3  # where in card memory the next one puts something
CRC = F_CRC | F_CRC_INIT
FAST = {"max-bandwidth": 1 << 40, "downtime-limit": 5000}


@pytest.fixture
def bios(tmp_path):
    """Firmware that does nothing: cli; hlt; jmp to itself."""
    path = tmp_path / "bios.bin"
    image = bytearray(b"\x90" * 65536)
    image[0xFFF0:0xFFF4] = b"\xfa\xf4\xeb\xfd"
    path.write_bytes(image)
    return ["-bios", str(path)]


def save(card, path, live=False) -> None:
    """Save the machine to a file, if told so while it goes on for a while; it stands still then."""
    q = card.q
    if live:
        q.qmp("migrate-set-parameters", **{"max-bandwidth": 32 * MIB, "downtime-limit": 1})
    else:
        q.qmp("migrate-set-parameters", **FAST)
    q.qmp("migrate", uri=f"exec:cat >{path}")
    while (info := q.qmp("query-migrate"))["status"] != "completed":
        assert info["status"] != "failed", q.stderr()
        if live and info.get("ram", {}).get("dirty-sync-count", 0) > 2:
            q.qmp("migrate-set-parameters", **FAST)
        time.sleep(0.005)
    assert q.qmp("query-status")["status"] == "postmigrate"


def load(start, path, options="", extra=()):
    """Another QEMU with that state, not yet running. Its card was elsewhere before."""
    card = start(options, extra=[*extra, "-incoming", "defer"])
    card.command(0)
    for reg in range(0x10, 0x28, 4):
        card.pci.write(reg, 0)
    try:
        card.q.qmp("migrate-incoming", uri=f"exec:cat {path}")
        while card.q.qmp("query-status")["status"] == "inmigrate":
            time.sleep(0.005)
    except (QemuError, OSError) as e:
        raise QemuError(card.q.stderr()) from e
    return card


def follow(card, twin) -> None:
    """The driver goes on where it was."""
    for name in ("tails", "seen", "log2", "cpl_base", "ring_base"):
        setattr(twin, name, list(getattr(card, name)))


def registers(card) -> list[int]:
    """All registers; what the pause knob says is of the host."""
    regs = [card.q.readl(REGS_AT + at) for at in range(0, GL["GL_BAR_REGS_SIZE"], 4)]
    regs[GL["GL_REG_STATUS"] // 4] &= ~(1 << GL["GL_STATUS_PAUSED_SHIFT"])
    return regs


OPERATIONS = {
    "H2C": (H2C, BUF, 0),
    "C2H": (C2H, 0, BUF),
    "C2C backwards": (C2C, 4096, 5000),
    "FILL_HOST": (FILL_HOST, 0x1122334455667788, BUF),
    "CMP_HC": (CMP_HC, BUF, 0),
    "CRC_CARD": (CRC_CARD, 0, 0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_in_the_middle(start, bios, tmp_path, name):
    """Before: a chain that failed. Held in the middle, others behind it. After: to the end."""
    op, src, dst = OPERATIONS[name]
    card = start("channels=3,x-first-index=0xfffffffa", extra=bios)
    q = card.q
    q.qmp("cont")
    data = os.urandom(MIB) * (TOTAL // MIB)
    q.write(BUF, data)
    q.write(CARD_AT, data + data[:8192])
    card.enable(1, log2=5)
    card.put(1, H2C, BUF, 0, 100, 0)
    card.put(1, H2C, BUF, 1 << 40, 100, 0)  # out of range: the rest is skipped
    card.put(1, H2C, BUF, 0, 100)
    card.ring(1)
    assert card.wait(1).status == GL["GL_ERR_CARD_RANGE"]
    card.set_reg("SCRATCH", 0x12345678)
    card.set_ch(2, "COALESCE_TIME", 77)
    q.set("pause-after", 1000 + MIB + 7)
    card.put(1, H2C, BUF, 0, 1000, CRC)  # a chain, and its checksum goes on
    card.put(1, op, src, dst, TOTAL, F_CPL | F_CRC)
    card.put(1, H2C, BUF + 5, LATER, 70000)
    card.ring(1)
    card.until(card.paused, "never held")
    save(card, tmp_path / "state")
    before = registers(card)
    assert card.bytes_moved(1) == 100 + 1000 + MIB + 7
    twin = load(start, tmp_path / "state", "channels=3,x-first-index=0xfffffffa", bios)
    follow(card, twin)
    assert registers(twin) == before
    assert twin.q.qmp("query-status")["status"] == "paused"
    moved = twin.q.get("stat-bytes")
    assert moved == 0  # nothing before the machine runs
    twin.q.qmp("cont")
    r = twin.wait(1)
    assert (r.status, r.bytes) == (0, 1000 + TOTAL)
    if name == "C2C backwards":
        payload = (data + data[:8192])[4096 : 4096 + TOTAL]
        assert twin.q.read(CARD_AT + 5000, TOTAL) == payload
    elif name == "FILL_HOST":
        payload = struct.pack("<Q", src) * (TOTAL // 8)
        assert twin.q.read(BUF, TOTAL) == payload
    elif name in ("H2C", "C2H"):
        assert twin.q.read(CARD_AT, TOTAL) == twin.q.read(BUF, TOTAL) == data
    if name == "H2C":
        assert r.crc == crc32c(data, crc32c(data[:1000]))
    assert twin.wait(1).bytes == 70000
    assert twin.bytes_moved(1) == 100 + 1000 + TOTAL + 70000
    assert twin.q.read(CARD_AT + LATER, 70000) == twin.q.read(BUF + 5, 70000)
    assert twin.do(H2C, BUF, 0, 4096, ch=1).status == 0
    twin.disable(1)
    twin.enable(0)
    assert twin.do(H2C, BUF, 0, 4096).status == 0


def test_checksum_from_end_to_start(start, bios, tmp_path):
    """A C2C that runs backwards puts its checksum together from parts on both sides."""
    card = start(extra=bios)
    card.q.qmp("cont")
    data = os.urandom(2 * MIB)
    card.q.write(CARD_AT, data)
    card.enable()
    card.q.set("pause-after", MIB + 5)
    card.put(0, C2C, 0, 1000, len(data), F_CPL | CRC)
    card.ring()
    card.until(card.paused, "never held")
    save(card, tmp_path / "state")
    twin = load(start, tmp_path / "state", "", bios)
    follow(card, twin)
    twin.q.qmp("cont")
    assert twin.wait().crc == crc32c(data)
    assert twin.q.read(CARD_AT + 1000, len(data)) == data


def test_while_bytes_fly(start, bios, tmp_path):
    """Both memories are written to all the time while they are saved; not a page is left behind."""
    options = "channels=2,link-gen=1,link-lanes=2"
    card = start(options, extra=bios)
    q, size, n = card.q, 2 * MIB, 1000
    q.write(BUF, os.urandom(size))
    q.qmp("cont")
    for ch in (0, 1):
        card.enable(ch, log2=10)
    for i in range(n):
        src, dst = i % 13 * 65536, i * 5 % 16 * 65536  # never the same twice running
        card.put(0, H2C, BUF + src, dst + 7, MIB)
        card.put(1, C2H, src, BUF + 2 * MIB + dst + 3, MIB)
    for ch in (0, 1):
        card.ring(ch)
    card.until(lambda: card.ch(0, "HEAD") > 3, "no start")
    save(card, tmp_path / "state", live=True)
    twin = load(start, tmp_path / "state", options, bios)
    follow(card, twin)
    assert registers(twin) == registers(card)
    for ch in (0, 1):
        assert 0 < twin.ch(ch, "HEAD") < n
    for at, length in ((BUF, 4 * MIB + 3), (CARD_AT, 2 * MIB + 7), (RING, MIB), (CPL, MIB)):
        assert twin.q.read(at, length) == q.read(at, length), hex(at)
    twin.q.qmp("cont")
    for ch in (0, 1):
        for _ in range(3):
            assert twin.wait(ch).status == 0
        twin.disable(ch)


def job(q, command, **arguments) -> None:
    """A command that goes on in the background; wait until it is done."""
    q.qmp(command, **{"job-id": "job"}, **arguments)
    while (jobs := q.qmp("query-jobs"))[0]["status"] != "concluded":
        time.sleep(0.005)
    q.qmp("job-dismiss", id="job")
    assert "error" not in jobs[0], jobs


def snapshot(q, what, tag) -> None:
    """Save or load one."""
    job(q, f"snapshot-{what}", tag=tag, devices=["disk"], vmstate="disk")


def test_a_snapshot(start, bios, tmp_path):
    """The same transfer ends twice, each time with all its bytes; a card at rest, too."""
    card = start(extra=bios)
    q, file = card.q, {"driver": "file", "filename": str(tmp_path / "disk")}
    job(q, "blockdev-create", options={**file, "size": 0})
    q.qmp("blockdev-add", **file, **{"node-name": "file"})
    job(q, "blockdev-create", options={"driver": "qcow2", "file": "file", "size": MIB})
    q.qmp("blockdev-add", driver="qcow2", file="file", **{"node-name": "disk"})
    q.qmp("cont")
    data = os.urandom(MIB) * 2
    q.write(BUF, data)
    card.enable()
    snapshot(q, "save", "rest")
    q.set("pause-after", MIB + 1)
    card.put(0, H2C, BUF, 0, len(data), F_CPL | CRC)
    card.put(0, C2H, 0, BUF + 32 * MIB, len(data))
    card.ring()
    card.until(card.paused, "never held")
    snapshot(q, "save", "middle")
    for again in (False, True):
        q.set("pause-after", OFF)
        crc = card.wait().crc
        assert crc == crc32c(data)
        assert card.wait().bytes == len(data)
        assert q.read(CARD_AT, len(data)) == q.read(BUF + 32 * MIB, len(data)) == data
        q.fill(CARD_AT, len(data), 0)
        q.fill(BUF + 32 * MIB, len(data), 0)
        if not again:
            q.qmp("stop")  # or it would go on at once
            snapshot(q, "load", "middle")
            assert card.bytes_moved(0) == MIB + 1
            card.seen[0] = 0
            q.qmp("cont")
    # In the middle of another one; it is gone then.
    q.set("pause-after", MIB)
    card.put(0, H2C, BUF, 0, len(data))
    card.ring()
    card.until(card.paused, "never held")
    snapshot(q, "load", "rest")
    q.set("pause-after", OFF)
    card.seen[0] = card.tails[0] = 0
    assert card.ch(0, "HEAD") == 0
    assert card.do(H2C, BUF, 0, 4096).bytes == 4096


def test_interrupts(start, bios, tmp_path):
    """What coalescing held back comes when the machine stops; what is masked stays pending."""
    card = start("channels=2", extra=bios)
    card.q.qmp("cont")
    card.msix_on(2)
    card.mask(1, True)
    for ch in (0, 1):
        card.set_ch(ch, "COALESCE_COUNT", 10)
        card.enable(ch, irq=True, vector=ch)
        for _ in range(3):
            card.do(H2C, BUF, 0, 16, F_CPL | F_IRQ, ch)
    assert card.irq(0) == 0
    save(card, tmp_path / "state")
    twin = load(start, tmp_path / "state", "channels=2", bios)
    follow(card, twin)
    assert twin.irq(0) == 0x50
    assert twin.irq(1) == 0
    assert twin.pending() == 2
    twin.q.qmp("cont")
    twin.mask(1, False)
    twin.until(lambda: twin.irq(1) == 0x51, "the pending bit is lost")
    for i in range(10):
        assert twin.irq(0) == 0, i
        twin.do(H2C, BUF, 0, 16, F_CPL | F_IRQ, 0)
    twin.until(lambda: twin.irq(0) == 0x50, "coalescing is lost")


def test_behind_an_iommu(start, bios, tmp_path):
    """What was translated is asked for anew."""
    args = [*bios, "-device", "intel-iommu"]
    card = start(extra=args)
    q, tables = card.q, Tables(card.q)
    q.qmp("cont")
    for base in (RING, CPL):
        tables.map(base, base)
    iova, pages = 0x40000000, 1024
    for i in range(pages):
        tables.map(iova + i * PAGE, BUF + (i ^ 1) * PAGE)
    tables.on()
    data = os.urandom(pages * PAGE)
    q.write(BUF, data)
    card.enable()
    q.set("pause-after", 3 * PAGE + 100)
    card.put(0, H2C, iova, 0, len(data))
    card.put(0, H2C, iova + len(data), 0, PAGE)
    card.ring()
    card.until(card.paused, "never held")
    save(card, tmp_path / "state")
    twin = load(start, tmp_path / "state", "", args)
    follow(card, twin)
    assert twin.q.readl(VTD + 0x1C) >> 31
    twin.q.qmp("cont")
    assert twin.wait().bytes == len(data)
    seen = b"".join(data[(i ^ 1) * PAGE : ((i ^ 1) + 1) * PAGE] for i in range(pages))
    assert twin.q.read(CARD_AT, len(data)) == seen
    r = twin.wait()
    assert (r.status, r.fault_addr) == (GL["GL_ERR_HOST_READ"], iova + len(data))


def test_halted_and_disabled(start, bios, tmp_path):
    """A halted channel stays halted; power and bus master are as they were."""
    card = start("channels=2", extra=bios)
    card.q.qmp("cont")
    card.enable(0)
    card.set_ch(0, "DOORBELL", 100)
    card.enable(1)
    card.command(0x2)
    card.put(1, H2C, BUF, 0, 16)
    card.ring(1)
    card.until(lambda: card.status(1)["HALTED"], "not halted")
    save(card, tmp_path / "state")
    twin = load(start, tmp_path / "state", "channels=2", bios)
    assert registers(twin) == registers(card)
    assert twin.status(0)["ERROR"] == GL["GL_ERR_DOORBELL"]
    twin.q.qmp("cont")
    twin.disable(1)
    twin.enable(1)
    twin.put(1, H2C, BUF, 0, 16)
    twin.ring(1)
    twin.until(lambda: twin.status(1)["HALTED"], "bus mastering came back by itself")
    twin.command(0x6)
    twin.disable(0)
    twin.enable(0)
    assert twin.do(H2C, BUF, 0, 16).status == 0


def test_a_machine_that_never_ran(card, tmp_path):
    """Memory is saved before the card is asked, and nobody has stopped that one."""
    card.enable()
    card.q.qmp("migrate", uri=f"exec:cat >{tmp_path}/state")
    while (status := card.q.qmp("query-migrate")["status"]) not in ("failed", "completed"):
        time.sleep(0.005)
    assert status == "failed"
    assert "gigalock: not saved: a channel is enabled" in card.q.stderr()
    assert card.do(H2C, BUF, 0, 4096).status == 0


@pytest.fixture
def saved(start, bios, tmp_path):
    """The file of a card whose channel 1 is in the middle of a transfer."""
    card = start("channels=2", extra=bios)
    card.q.qmp("cont")
    card.enable(1, log2=5)
    card.q.set("pause-after", 5000)
    card.put(1, H2C, BUF, 0, TOTAL)
    card.put(1, H2C, BUF, 0, 100)
    card.ring(1)
    card.until(card.paused, "never held")
    save(card, tmp_path / "state")
    return tmp_path / "state"


OTHER = {
    "channels": (2, 3),
    "addr-width": (64, 40),
    "max-ring": (16, 12),
    "max-xfer": (1 << 40, 4096),
    "max-seg": (OFF, 65536),
    "align": (1, 64),
    "boundary": (0, 65536),
    "link-gen": (0, 1),
    "link-lanes": (1, 4),
    "link-latency": (0, 9),
    "x-first-index": (0, 5),
}


def test_another_card(start, bios, saved):
    """A card with other limits is not the one that the guest knows."""
    for name, (was, now) in OTHER.items():
        options = ",".join(f"{k}={v}" for k, v in {"channels": 2, name: now}.items())
        with pytest.raises(QemuError, match=f"saved with {name}={was}, and this card has {now}"):
            load(start, saved, options, bios)
    with pytest.raises(QemuError, match="gigalock-card"):
        load(start, saved, "channels=2,card-mem=32M", bios)
    assert load(start, saved, "channels=2,workers=1", bios).bytes_moved(1) == 5000


# The form of the file, as gigalock_vmstate.c describes it; big-endian.
CHANNEL = [
    (n, f)
    for f, names in (
        ("L", "ctrl"),
        ("Q", "regs.ring regs.cpl"),
        ("L", "regs.log2 vector bytes_hi count time"),
        ("B", "enabled halted error"),
        ("L", "tail head cpl_count"),
        ("Q", "bytes ring cpl"),
        ("L", "log2"),
    )
    for n in names.split()
]
RUN = [
    (n, f)
    for f, names in (
        ("L", "n at"),
        ("B", "started"),
        ("l", "status"),
        ("Q", "done bad"),
        ("B", "skip large"),
        ("Q", "chain_bytes"),
        ("L", "crc crc_before crc_done"),
    )
    for n in names.split()
]
IDENTITY = 12 * 8 + 4
DESCRIPTORS = 64 * 32
HEAD = struct.calcsize(">" + "".join(f for _, f in CHANNEL))
ONE = HEAD + DESCRIPTORS + struct.calcsize(">" + "".join(f for _, f in RUN))


def image_at(data: bytes) -> int:
    """Where the image of the card begins: after the section's name, instance and version."""
    name = b"0000:00:05.0/gigalock"
    assert data.count(bytes([len(name)]) + name) == 1
    return data.index(bytes([len(name)]) + name) + 1 + len(name) + 8


def place(data: bytes, channel: int, name: str) -> tuple[int, str]:
    """A member of a channel in the file."""
    at = image_at(data) + IDENTITY + channel * ONE
    for members, start_at in ((CHANNEL, at), (RUN, at + HEAD + DESCRIPTORS)):
        for member, form in members:
            if member == name:
                return start_at, form
            start_at += struct.calcsize(">" + form)
    if name.startswith("desc"):
        return at + HEAD + {"desc.dst": 16, "desc.len": 24}[name], "Q"
    raise KeyError(name)


LIES = {
    "CTRL 0x7, of 0x3": {"ctrl": 7},
    "runs, and CTRL.ENABLE is 0": {"ctrl": 0},
    "stands, and CTRL.ENABLE is 1": {"enabled": 0},
    "rings of 2^3 ": {"log2": 3},
    "rings of 2^17 at": {"log2": 17},
    "rings of 2^5 at 0x100020": {"ring": 0x100020},
    "and 0xfffffffffffffff0, ": {"cpl": OFF - 15},
    "33 descriptors outstanding, in a ring of 32": {"tail": 33},
    "at descriptor 0 of 65 fetched, at most 64": {"n": 65},
    "at descriptor 3 of 2 fetched": {"at": 3},
    "2 descriptors fetched, but 1 outstanding": {"tail": 1},
    "works on descriptor 2, and has fetched 2": {"at": 2},
    "descriptor status -4, from 0 to 255": {"status": -4},
    "descriptor status 256, ": {"status": 256},
    "fails with status 0x05 at 0x10000000000": {"desc.dst": 1 << 40},
    f"{TOTAL + 1} bytes of a descriptor done, of {TOTAL}": {"done": TOTAL + 1},
}


def test_lies(start, bios, saved):
    """Each one refused, by its own words."""
    good = saved.read_bytes()
    at, form = place(good, 1, "done")
    assert struct.unpack_from(">" + form, good, at)[0] == 5000
    for words, changes in LIES.items():
        bad = bytearray(good)
        for name, value in changes.items():
            at, form = place(good, 1, name)
            struct.pack_into(">" + form, bad, at, value)
        saved.write_bytes(bad)
        with pytest.raises(
            QemuError, match=f"gigalock: not loaded: channel 1: .*{re.escape(words)}"
        ):
            load(start, saved, "channels=2", bios)


def test_garbage(start, bios, saved):
    """Whatever the file says of the card, it is refused, or the card can be stopped and works."""
    good = saved.read_bytes()
    seed = int(os.environ.get("GIGALOCK_SEED", time.time()))
    rng = random.Random(seed)
    first = image_at(good) + IDENTITY + ONE
    for _ in range(10):
        bad = bytearray(good)
        for _ in range(rng.choice((1, 3, 10))):
            where = rng.choice((HEAD, HEAD + 32, ONE))
            bad[first + rng.randrange(where)] = rng.randrange(256)
        saved.write_bytes(bad)
        try:
            twin = load(start, saved, "channels=2", bios)
        except QemuError as e:
            assert "gigalock: not loaded: channel 1: " in str(e), (seed, e)
            continue
        twin.q.qmp("cont")
        time.sleep(0.02)
        twin.set_reg("CTRL", 1)
        twin.enable(1)
        assert twin.do(H2C, BUF, 0, 4096, ch=1).status == 0, seed
        assert twin.q.close() == 0, seed
