#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The device against plain memcpy, interleaved, on stock QEMU without a guest.

Guest RAM and card memory are memfds, touched, as are memcpy_ref's buffers. Each round measures each
work and its reference right after each other; a row has the medians. Prints one JSON object:
{"rows": [{"name", "value", "unit", "reference", "reference_value", "ratio", "goal"}]}.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from card import (  # noqa: E402
    C2H,
    CARD_AT,
    CRC_CARD,
    CRC_HOST,
    F_CPL,
    F_CRC,
    F_CRC_INIT,
    H2C,
    Card,
)
from qemu import BUILD, Qemu  # noqa: E402

GIB = 1 << 30
HOST = 1 << 32  # above 4 GiB: one piece of RAM
PIECE = 4096
PIECES = GIB // PIECE
SPREAD = 0x9E3779B1
RING, CPL = 0x10000000, 0x20000000
LOG2 = 16


def scattered(i: int) -> int:
    """Where the i-th piece lies in host memory; memcpy_ref has the same order."""
    return (i * SPREAD & 0xFFFFFFFF) % PIECES


class Bench:
    """A card whose rings we see in memory, and a memcpy to hold it against."""

    def __init__(self, q: Qemu) -> None:
        self.card = Card(q)
        self.ram = self._ram(q)
        self.seen = [0, 0]
        q.fill(HOST, GIB, 0x5A)
        q.fill(CARD_AT, GIB, 0xA5)
        for ch in (0, 1):
            self.card.enable(ch, LOG2, RING + (ch << 24), CPL + (ch << 24))
        self.ref = subprocess.Popen(
            [BUILD / "qemu-dev" / "memcpy_ref", "serve", str(GIB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def _ram(q: Qemu) -> mmap.mmap:
        folder = f"/proc/{q.proc.pid}/fd"
        for fd in os.listdir(folder):
            path = f"{folder}/{fd}"
            if "memfd:" in os.readlink(path) and os.stat(path).st_size == 4 * GIB:
                with open(path, "r+b") as f:
                    return mmap.mmap(f.fileno(), 4 * GIB)
        raise SystemExit("QEMU's guest RAM is not among its files")

    def memcpy(self, word: str) -> float:
        """Seconds that the reference takes right now."""
        assert self.ref.stdin and self.ref.stdout
        self.ref.stdin.write(word + "\n")
        self.ref.stdin.flush()
        return float(self.ref.stdout.readline())

    def put(self, ch: int, descriptors: list[tuple[int, int, int, int, int]]) -> None:
        """Write descriptors: operation, source, destination, length, flags."""
        card = self.card
        for op, src, dst, size, flags in descriptors:
            i = card.tails[ch]
            at = RING + (ch << 24) + i % (1 << LOG2) * 32
            self.ram[at : at + 32] = struct.pack("<HHIQQQ", op, flags, i, src, dst, size)
            card.tails[ch] = i + 1 & 0xFFFFFFFF

    def wait(self, ch: int, records: int = 1) -> None:
        """Poll memory for completions, as a driver does."""
        self.seen[ch] += records
        i = (self.seen[ch] - 1) % (1 << LOG2)
        at = CPL + (ch << 24) + i * 32
        while True:
            record = struct.unpack("<IIQQII", self.ram[at : at + 32])
            if record[5] == self.seen[ch]:
                break
            time.sleep(0.0002)
        if record[1]:
            raise SystemExit(f"channel {ch}: a transfer failed: {record}")

    def one(self, op: int, src: int, dst: int, flags: int = 0) -> float:
        """Seconds of one descriptor of 1 GiB, from doorbell to completion."""
        self.put(0, [(op, src, dst, GIB, flags | F_CPL)])
        start = time.monotonic()
        self.card.ring(0)
        self.wait(0)
        return time.monotonic() - start

    def pieces(self, op: int) -> float:
        """Seconds of 1 GiB in descriptors of 4 KiB, a ring of them at a time."""
        total, n = 0.0, 1 << LOG2
        for first in range(0, PIECES, n):
            work = []
            for i in range(first, first + n):
                host, card = HOST + scattered(i) * PIECE, i * PIECE
                flags = F_CPL if i % 64 == 63 else 0
                work.append((op, *((host, card) if op == H2C else (card, host)), PIECE, flags))
            self.put(0, work)
            start = time.monotonic()
            self.card.ring(0)
            self.wait(0, n // 64)
            total += time.monotonic() - start
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


def main() -> None:
    """Interleave device and reference, so that both see the same machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"{args.rounds} rounds are too few: at least 1")
    options = ["-object", "memory-backend-memfd,id=ram,size=4G,share=on"]
    options += ["-object", "memory-backend-memfd,id=card,size=1G,share=on"]
    options += ["-machine", "memory-backend=ram"]
    options += ["-device", "gigalock,id=gl0,addr=5,memdev=card"]
    with Qemu(options, memory="4G") as q:
        b = Bench(q)
        crc = F_CRC | F_CRC_INIT
        work: list[tuple[str, Callable[[], float], str, float | None]] = [
            ("1 GiB host to card", lambda: b.one(H2C, HOST, 0), "copy", 0.90),
            ("1 GiB card to host", lambda: b.one(C2H, 0, HOST), "copy", 0.90),
            ("1 GiB host to card, 4 KiB segments", lambda: b.pieces(H2C), "pieces", 0.70),
            ("1 GiB card to host, 4 KiB segments", lambda: b.pieces(C2H), "pieces", 0.70),
            ("2 channels, 512 MiB each", b.two, "two", 0.85),
            ("CRC-32C of 1 GiB, host memory", lambda: b.one(CRC_HOST, HOST, 0), "copy", 0.70),
            ("CRC-32C of 1 GiB, card memory", lambda: b.one(CRC_CARD, 0, 0), "copy", 0.70),
            ("1 GiB host to card with CRC-32C", lambda: b.one(H2C, HOST, 0, crc), "copy", None),
        ]
        rows = []
        work = [w for w in work if args.only in w[0]]
        times: dict[str, tuple[list[float], list[float]]] = {w[0]: ([], []) for w in work}
        for turn in range(args.rounds + 1):
            for name, run, word, _ in work:
                both = b.memcpy(word), run()
                if turn:  # the first one only warms up
                    times[name][0].append(both[0])
                    times[name][1].append(both[1])
        for name, _, word, goal in work:
            reference, device = (1 / statistics.median(t) for t in times[name])
            rows.append(
                {
                    "name": name,
                    "value": round(device, 3),
                    "unit": "GiB/s",
                    "reference": {
                        "copy": "memcpy of 1 GiB",
                        "pieces": "memcpy of the same 4 KiB pieces",
                        "two": "two memcpy threads",
                    }[word],
                    "reference_value": round(reference, 3),
                    "ratio": round(device / reference, 3),
                    "goal": goal,
                }
            )
        assert b.ref.stdin
        b.ref.stdin.close()
        b.ref.wait()
    print(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
