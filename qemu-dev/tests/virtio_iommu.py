# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver's side of a virtio-iommu at 00:06.0: requests, mappings, fault events."""

from __future__ import annotations

import struct
from typing import Any

from card import Pci

BAR_AT, MSIX_AT = 0xE0200000, 0xE0300000
QUEUES, BUFFERS = 0x800000, 0x810000  # in guest memory; a queue takes 0x4000
SIZE = 128
EVENT_BYTES = 24
REQUEST, EVENT = 0, 1
COMMON, NOTIFY = 1, 2  # kinds of virtio's capabilities
ATTACH, MAP = 1, 3
READ, WRITE = 1, 2
VERSION_1, MAP_UNMAP = 1 << 32, 1 << 2
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
MSI_REGION = 0xFEE00000


class VirtioIommu:
    """Started, its event queue full of buffers, its event interrupt on.

    A hostile guest has them all in one place, @events_at.
    """

    def __init__(self, q: Any, events_at: int | None = None) -> None:
        self.q = q
        self.pci = Pci(q, 0, 6)
        for reg, addr in ((0x14, MSIX_AT), (0x20, BAR_AT), (0x24, 0)):
            self.pci.write(reg, addr)
        self.pci.write(0x04, 0x6)
        self._find()
        self._msix()
        for status in (0, ACKNOWLEDGE, ACKNOWLEDGE | DRIVER):
            self._set("b", 20, status)
        for half, bits in enumerate((MAP_UNMAP, VERSION_1 >> 32)):
            self._set("l", 8, half)
            self._set("l", 12, bits)
        self._set("b", 20, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        assert self._get("b", 20) & FEATURES_OK
        self.next, self.used = [0, 0], [0, 0]
        self.notify_at = [self._queue(n) for n in (REQUEST, EVENT)]
        self._set("b", 20, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
        for i in range(SIZE):
            at = BUFFERS + 0x1000 + i * 32 if events_at is None else events_at
            self._describe(EVENT, i, at, EVENT_BYTES, 2, 0)
            self._offer(EVENT, i)

    def _find(self) -> None:
        at = self.pci.read(0x34) & 0xFF
        places: dict[int, int] = {}
        while at:
            head = self.pci.read(at)
            if head & 0xFF == 0x09:
                kind, bar = head >> 24, self.pci.read(at + 4) & 0xFF
                assert bar == 4 or kind not in (COMMON, NOTIFY)
                places.setdefault(kind, BAR_AT + self.pci.read(at + 8))
                if kind == NOTIFY:
                    self.multiplier = self.pci.read(at + 16)
            at = head >> 8 & 0xFF
        self.common, self.notify = places[COMMON], places[NOTIFY]

    def _msix(self) -> None:
        """Messages, where this QEMU's model has them; else it has an interrupt line."""
        cap = self.pci.capability(0x11)
        self.has_msix = cap != 0
        if not cap:
            return
        for vector in (0, 1):
            for at, value in ((0, MSI_REGION), (4, 0), (8, 0x33 + vector), (12, 0)):
                self.q.writel(MSIX_AT + vector * 16 + at, value)
        self.pci.write(cap, self.pci.read(cap) & 0xFFFF | 0x8000 << 16)

    def _set(self, kind: str, reg: int, value: int) -> None:
        self.q.ask(f"write{kind} {self.common + reg:#x} {value:#x}")

    def _get(self, kind: str, reg: int) -> int:
        return int(self.q.ask(f"read{kind} {self.common + reg:#x}")[0], 16)

    def _rings(self, n: int) -> tuple[int, int, int]:
        at = QUEUES + n * 0x4000
        return at, at + 0x1000, at + 0x2000

    def _queue(self, n: int) -> int:
        """Set a queue up; where to notify."""
        self.q.fill(QUEUES + n * 0x4000, 0x4000, 0)
        self._set("w", 22, n)
        assert self._get("w", 24) >= SIZE
        self._set("w", 24, SIZE)
        if self.has_msix:
            self._set("w", 26, n)
            assert self._get("w", 26) == n
        for reg, addr in zip((32, 40, 48), self._rings(n)):
            self._set("l", reg, addr)
            self._set("l", reg + 4, 0)
        self._set("w", 28, 1)
        return self.notify + self._get("w", 30) * self.multiplier

    def _describe(self, n: int, i: int, addr: int, size: int, flags: int, behind: int) -> None:
        self.q.write(self._rings(n)[0] + i * 16, struct.pack("<QIHH", addr, size, flags, behind))

    def _offer(self, n: int, i: int) -> None:
        avail = self._rings(n)[1]
        self.q.write(avail + 4 + self.next[n] % SIZE * 2, struct.pack("<H", i))
        self.next[n] += 1
        self.q.write(avail + 2, struct.pack("<H", self.next[n] & 0xFFFF))

    def _used(self, n: int) -> int:
        return struct.unpack("<H", self.q.read(self._rings(n)[2] + 2, 2))[0]

    def request(self, body: bytes) -> None:
        """Have a request done, and done well."""
        self.q.write(BUFFERS, body)
        self.q.write(BUFFERS + 256, b"\xff" * 4)
        self._describe(REQUEST, 0, BUFFERS, len(body), 1, 1)  # ... and the next one:
        self._describe(REQUEST, 1, BUFFERS + 256, 4, 2, 0)  # the answer, written
        self._offer(REQUEST, 0)
        self.q.ask(f"writew {self.notify_at[REQUEST]:#x} {REQUEST}")
        self.used[REQUEST] += 1
        assert self._used(REQUEST) == self.used[REQUEST] & 0xFFFF
        assert self.q.read(BUFFERS + 256, 1) == b"\x00"

    def attach(self, domain: int, endpoint: int) -> None:
        """Put a device into a domain; it starts with no mapping."""
        self.request(struct.pack("<B3xIII4x", ATTACH, domain, endpoint, 0))

    def map(self, domain: int, iova: int, size: int, addr: int, rights: int = READ | WRITE) -> None:
        """Let a range of bus addresses be memory."""
        self.request(struct.pack("<B3xIQQQI", MAP, domain, iova, iova + size - 1, addr, rights))

    def events(self) -> list[tuple[int, int, int]]:
        """Fault events that came: reason, endpoint, address. Their buffers are offered anew."""
        out = []
        while self.used[EVENT] & 0xFFFF != self._used(EVENT):
            at = self._rings(EVENT)[2] + 4 + self.used[EVENT] % SIZE * 8
            i, size = struct.unpack("<II", self.q.read(at, 8))
            assert size == EVENT_BYTES
            raw = self.q.read(BUFFERS + 0x1000 + i * 32, EVENT_BYTES)
            reason, _, endpoint, addr = struct.unpack("<B3xII4xQ", raw)
            out.append((reason, endpoint, addr))
            self.used[EVENT] += 1
            self._offer(EVENT, i)
        return out
