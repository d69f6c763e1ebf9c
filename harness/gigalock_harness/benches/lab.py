# SPDX-License-Identifier: GPL-2.0-or-later
"""A card that is driven without a guest, and a memcpy to hold it against.

Guest RAM and card memory are memfds, touched, as are memcpy_ref's buffers. The driver's side is
that of the device's own tests, but its rings are written, and its completions polled, in QEMU's
memory directly: qtest's own commands would be what is measured.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..places import TOP, build_dir, memcpy_ref
from ..sizes import GIB, MIB
from . import NotMeasured, Setup

# The device's tests know how to start a QEMU without a guest, and what a driver does.
sys.path.append(str(TOP / "qemu-dev" / "tests"))
_card, _qemu = importlib.import_module("card"), importlib.import_module("qemu")

H2C, C2H, CRC_HOST, CRC_CARD = _card.H2C, _card.C2H, _card.CRC_HOST, _card.CRC_CARD
F_CPL, F_CRC, F_CRC_INIT = _card.F_CPL, _card.F_CRC, _card.F_CRC_INIT
CARD_AT, MSIX_AT = _card.CARD_AT, _card.MSIX_AT

LOW = 2 * GIB  # q35 puts that much below 4 GiB, and the rest above
HOST = 4 * GIB  # one piece of RAM
PIECE = 4096
SPREAD = 0x9E3779B1
RING, CPL = 0x10000000, 0x20000000
TABLES = 0x30000000
LOG2 = 16
ENTRIES = 1 << LOG2
VTD = 0xFED90000
WAIT_SECONDS = 120
# cli; hlt; jmp to the hlt: a machine that runs and does nothing.
IDLE_BIOS = b"\x90" * 0xFFF0 + b"\xfa\xf4\xeb\xfd" + b"\x90" * 12

Descriptor = tuple[int, int, int, int, int]  # operation, source, destination, length, flags


def scattered(i: int, pieces: int) -> int:
    """Where the i-th piece lies in host memory; memcpy_ref has the same order."""
    return (i * SPREAD & 0xFFFFFFFF) % pieces


class Lab:
    """A card, its memory, and memcpy_ref."""

    def __init__(self, q: Any, size: int, ref: subprocess.Popen[str]) -> None:
        self.q, self.size, self.ref = q, size, ref
        self.pieces = size // PIECE
        self.card = _card.Card(q)
        self.ram = _map_ram(q, LOW + size)
        q.fill(RING, 2 * 32 * ENTRIES, 0)
        for at in range(0, size, GIB):
            q.fill(HOST + at, min(GIB, size - at), 0x5A)
            q.fill(CARD_AT + at, min(GIB, size - at), 0xA5)
        self.seen = [0, 0]
        self.enable()

    def enable(self) -> None:
        """Start both channels, with empty rings."""
        for ch in (0, 1):
            self.card.disable(ch)
            at = CPL + (ch << 24)
            self.ram[at : at + 32 * ENTRIES] = bytes(32 * ENTRIES)
            self.card.enable(ch, LOG2, RING + (ch << 24), at)
            self.seen[ch] = 0

    def memcpy(self, words: str) -> float:
        """Seconds that the reference takes right now."""
        assert self.ref.stdin and self.ref.stdout
        self.ref.stdin.write(words + "\n")
        self.ref.stdin.flush()
        answer = self.ref.stdout.readline()
        if not answer:
            raise NotMeasured(f"memcpy_ref ended with status {self.ref.wait()}")
        return float(answer)

    def put(self, ch: int, descriptors: Sequence[Descriptor]) -> None:
        """Write descriptors behind those that are there."""
        tails = self.card.tails
        for op, src, dst, size, flags in descriptors:
            i = tails[ch]
            at = RING + (ch << 24) + i % ENTRIES * 32
            self.ram[at : at + 32] = struct.pack("<HHIQQQ", op, flags, i, src, dst, size)
            tails[ch] = i + 1 & 0xFFFFFFFF

    def wait(self, ch: int, records: int = 1, nap: float = 0.0002) -> None:
        """Poll memory for completions, as a driver does."""
        self.seen[ch] += records
        i = (self.seen[ch] - 1) % ENTRIES
        at = CPL + (ch << 24) + i * 32
        end = time.monotonic() + WAIT_SECONDS
        while True:
            record = struct.unpack("<IIQQII", self.ram[at : at + 32])
            if record[5] == self.seen[ch]:
                break
            if time.monotonic() > end:
                raise NotMeasured(f"channel {ch}: no completion within {WAIT_SECONDS} s")
            time.sleep(nap)
        if record[1]:
            raise NotMeasured(f"channel {ch}: a transfer failed with status {record[1]:#x}")

    def run(self, ch: int, records: int) -> float:
        """Seconds from the doorbell to the last of the records that were asked for."""
        start = time.monotonic()
        self.card.ring(ch)
        self.wait(ch, records)
        return time.monotonic() - start

    def one(self, op: int, src: int, dst: int, flags: int = 0, size: int = GIB) -> float:
        """Seconds of one descriptor."""
        self.put(0, [(op, src, dst, size, flags | F_CPL)])
        return self.run(0, 1)

    def small(self, op: int, base: int = HOST, spread: bool = True) -> float:
        """Seconds of 1 GiB in descriptors of 4 KiB, a ring of them at a time.

        With `spread` the pieces of host memory are scattered; without, their bus addresses go up
        one by one, and it is for the IOMMU to scatter them.
        """
        total = 0.0
        for first in range(0, self.pieces, ENTRIES):
            work: list[Descriptor] = []
            for i in range(first, first + ENTRIES):
                host = base + (scattered(i, self.pieces) if spread else i) * PIECE
                ends = (host, i * PIECE) if op == H2C else (i * PIECE, host)
                work.append((op, *ends, PIECE, F_CPL if i % 64 == 63 else 0))
            self.put(0, work)
            total += self.run(0, ENTRIES // 64)
        return total

    def two(self) -> float:
        """Seconds of two halves of 1 GiB on two channels."""
        for ch in (0, 1):
            at = ch * GIB // 2
            self.put(ch, [(H2C, HOST + at, at, GIB // 2, F_CPL)])
        start = time.monotonic()
        for ch in (0, 1):
            self.card.ring(ch)
        for ch in (0, 1):
            self.wait(ch)
        return time.monotonic() - start

    # -- VT-d --

    def iommu_tables(self) -> None:
        """Three levels of tables, pages of 4 KiB: rings where they are, the buffer scattered."""
        self._free = TABLES + 2 * PIECE
        self._at: dict[tuple[int, int], int] = {}
        top = self._table((3, 0))
        self._put(TABLES, struct.pack("<QQ", TABLES + PIECE | 1, 0))  # bus 0
        self._put(TABLES + PIECE + (5 << 3) * 16, struct.pack("<QQ", top | 1, 1 | 1 << 8))
        size = 32 * ENTRIES
        for ch in (0, 1):
            for base in (RING + (ch << 24), CPL + (ch << 24)):
                self._map(top, base, [base + at for at in range(0, size, PIECE)])
        pages = [HOST + scattered(i, self.pieces) * PIECE for i in range(self.pieces)]
        self._map(top, HOST, pages)

    def _put(self, at: int, data: bytes) -> None:
        self.ram[at : at + len(data)] = data

    def _table(self, key: tuple[int, int]) -> int:
        if key not in self._at:
            self._put(self._free, bytes(PIECE))
            self._at[key] = self._free
            self._free += PIECE
        return self._at[key]

    def _map(self, top: int, iova: int, pages: Sequence[int]) -> None:
        for first in range(0, len(pages), 512):
            addr = iova + first * PIECE
            middle, last = self._table((2, addr >> 30)), self._table((1, addr >> 21))
            self._put(top + (addr >> 30) * 8, struct.pack("<Q", middle | 3))
            self._put(middle + (addr >> 21 & 511) * 8, struct.pack("<Q", last | 3))
            part = pages[first : first + 512]
            words = struct.pack(f"<{len(part)}Q", *(page | 3 for page in part))
            self._put(last + (addr >> 12 & 511) * 8, words)

    def iommu(self, on: bool) -> None:
        """Switch translation; the channels start anew."""
        for ch in (0, 1):
            self.card.disable(ch)
        self.q.writel(VTD + 0x20, TABLES)
        self.q.writel(VTD + 0x24, 0)
        self.q.writel(VTD + 0x18, 1 << 30)
        self.q.writel(VTD + 0x18, (1 << 31) if on else 0)
        self.enable()


def _map_ram(q: Any, size: int) -> mmap.mmap:
    folder = f"/proc/{q.proc.pid}/fd"
    for fd in os.listdir(folder):
        path = f"{folder}/{fd}"
        with contextlib.suppress(OSError):
            if "memfd:" in os.readlink(path) and os.stat(path).st_size == size:
                with open(path, "r+b") as f:
                    return mmap.mmap(f.fileno(), LOW)  # rings and tables lie low
    raise NotMeasured("QEMU's guest RAM is not among its files")


@contextlib.contextmanager
def lab(
    setup: Setup,
    size: int = GIB,
    extra: Sequence[str] = (),
    running: bool = False,
    ref_bytes: int = GIB,
    options: str = "",
) -> Iterator[Lab]:
    """A QEMU with a card of that much memory, as much RAM above 4 GiB, and a memcpy_ref."""
    launcher = build_dir() / "qemu-dev" / "gigalock-qemu"
    for program in (launcher, memcpy_ref()):
        if not program.exists():
            raise NotMeasured(f"{program} is missing; run 'make device'")
    ram = LOW + size
    args = ["-object", f"memory-backend-memfd,id=ram,size={ram},share=on"]
    args += ["-object", f"memory-backend-memfd,id=card,size={size},share=on"]
    args += ["-machine", "memory-backend=ram,max-ram-below-4g=2G", *extra]
    args += ["-device", f"gigalock,id=gl0,addr=5,memdev=card{options}"]
    if running:
        bios = setup.log_dir / "idle.bin"
        bios.write_bytes(IDLE_BIOS)
        args += ["-bios", str(bios)]
    ref = subprocess.Popen(
        [memcpy_ref(), "serve", str(ref_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with _qemu.Qemu(args, launcher=launcher, memory=f"{ram // MIB}M", paused=not running) as q:
            yield Lab(q, size, ref)
    except _qemu.QemuError as error:
        raise NotMeasured(str(error)) from error
    finally:
        assert ref.stdin and ref.stdout
        with contextlib.suppress(OSError):
            ref.stdin.close()
        ref.wait()
        ref.stdout.close()


def per_second(seconds: float, gib: float = 1.0) -> float:
    """GiB a second."""
    return gib / seconds
