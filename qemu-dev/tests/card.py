# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver's side of the card, in Python. Numbers come from the register header."""

from __future__ import annotations

import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from qemu import Qemu, QemuError

HEADER = Path(__file__).resolve().parents[1] / "include" / "gigalock_regs.h"


def read_header() -> dict[str, int]:
    """All plain numbers of the hardware contract."""
    out: dict[str, int] = {}
    for name, value in re.findall(
        r"^#define\s+(GL_\w+)\s+(0x[0-9a-fA-F]+|\d+)\b", HEADER.read_text(), re.M
    ):
        out[name] = int(value, 0)
    return out


GL = read_header()

REGS_AT = 0xE0000000  # where we put the BARs
MSIX_AT = 0xE0010000
CARD_AT = 0x40_0000_0000
WINDOW = 0x100000

RING = 0x0100000  # where things lie in guest memory
CPL = 0x0300000
MSG = 0x0080000  # where MSI messages land
BUF = 0x1000000

F_CPL, F_IRQ, F_CRC, F_CRC_INIT = (GL[f"GL_DESC_F_{n}"] for n in ("CPL", "IRQ", "CRC", "CRC_INIT"))
F_FENCE = GL["GL_DESC_F_FENCE"]
H2C, C2H, NOP = GL["GL_OP_H2C"], GL["GL_OP_C2H"], GL["GL_OP_NOP"]
H2H, C2C = GL["GL_OP_H2H"], GL["GL_OP_C2C"]
FILL_CARD, FILL_HOST = GL["GL_OP_FILL_CARD"], GL["GL_OP_FILL_HOST"]
CMP_HC, CMP_HH, CMP_CC = (GL[f"GL_OP_CMP_{n}"] for n in ("HC", "HH", "CC"))
CRC_HOST, CRC_CARD = GL["GL_OP_CRC_HOST"], GL["GL_OP_CRC_CARD"]


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C by its definition, a table at a time; shares nothing with the device."""
    crc ^= 0xFFFFFFFF
    for b in data:
        crc = _TABLE[(crc ^ b) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    out = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        out.append(i)
    return out


_TABLE = _table()


@dataclass
class Cpl:
    """A completion record."""

    cookie: int
    status: int
    bytes: int
    fault_addr: int
    crc: int
    seq: int


class Pci:
    """Configuration space by the ports 0xcf8 and 0xcfc."""

    def __init__(self, q: Qemu, bus: int, dev: int) -> None:
        self.q, self.base = q, 1 << 31 | bus << 16 | dev << 11

    def read(self, reg: int) -> int:
        """Read an aligned 32-bit register."""
        self.q.outl(0xCF8, self.base | reg)
        return self.q.inl(0xCFC)

    def write(self, reg: int, value: int) -> None:
        """Write an aligned 32-bit register."""
        self.q.outl(0xCF8, self.base | reg)
        self.q.outl(0xCFC, value & 0xFFFFFFFF)

    def writing(self, reg: int, value: int) -> list[str]:
        """The same as commands for Qemu.burst()."""
        at, value = self.base | reg, value & 0xFFFFFFFF
        return [f"outl 0xcf8 {at:#x}", f"outl 0xcfc {value:#x}"]

    def capability(self, cap: int) -> int:
        """The place of a capability; 0 if there is none."""
        at = self.read(0x34) & 0xFF
        while at:
            head = self.read(at)
            if head & 0xFF == cap:
                return at
            at = head >> 8 & 0xFF
        return 0


class Card:
    """A card at 00:05.0, or behind the root port 00:04.0 (bus 1)."""

    def __init__(self, q: Qemu, behind_port: bool = False, card_at: int = CARD_AT) -> None:
        self.q = q
        self.pci = Pci(q, 1, 0) if behind_port else Pci(q, 0, 5)
        if behind_port:
            port = Pci(q, 0, 4)
            port.write(0x18, 0x00010100)  # buses 0, 1, 1
            port.write(0x20, (REGS_AT >> 16 & 0xFFF0) | (REGS_AT & 0xFFF00000))
            port.write(0x24, (card_at >> 16 & 0xFFF0) | (card_at + (1 << 34) - 1 & 0xFFF00000))
            port.write(0x28, card_at >> 32)
            port.write(0x2C, (card_at + (1 << 34) - 1) >> 32)
            port.write(0x04, 0x6)
        for reg, addr in ((0x10, REGS_AT), (0x18, card_at), (0x20, MSIX_AT)):
            self.pci.write(reg, addr)
            self.pci.write(reg + 4, addr >> 32)
        self.card_at = card_at
        self.command(0x6)
        self.tails = [0] * 16
        self.seen = [0] * 16
        self.log2 = [4] * 16
        self.cpl_base = [CPL + n * 0x10000 for n in range(16)]
        self.ring_base = [RING + n * 0x10000 for n in range(16)]

    def command(self, value: int) -> None:
        """Write the PCI command register: 2 memory, 4 bus master."""
        self.pci.write(0x04, value)

    def reg(self, name: str) -> int:
        """Read a card register."""
        return self.q.readl(REGS_AT + GL["GL_REG_" + name])

    def reg64(self, name: str) -> int:
        """Read a pair of registers."""
        return self.reg(name + "_LO") | self.reg(name + "_HI") << 32

    def set_reg(self, name: str, value: int) -> None:
        """Write a card register."""
        self.q.writel(REGS_AT + GL["GL_REG_" + name], value)

    def _ch(self, ch: int, name: str) -> int:
        return REGS_AT + GL["GL_CH_BASE"] + ch * GL["GL_CH_STRIDE"] + GL["GL_CH_" + name]

    def ch(self, ch: int, name: str) -> int:
        """Read a channel register."""
        return self.q.readl(self._ch(ch, name))

    def set_ch(self, ch: int, name: str, value: int) -> None:
        """Write a channel register."""
        self.q.writel(self._ch(ch, name), value)

    def setting_ch(self, ch: int, name: str, value: int) -> str:
        """The same as a command for Qemu.burst()."""
        return f"writel {self._ch(ch, name):#x} {value & 0xFFFFFFFF:#x}"

    def bytes_moved(self, ch: int) -> int:
        """The 64-bit progress counter; LO first."""
        lo = self.ch(ch, "BYTES_LO")
        return lo | self.ch(ch, "BYTES_HI") << 32

    def status(self, ch: int) -> dict[str, int]:
        """The channel's status by field."""
        v = self.ch(ch, "STATUS")
        return {
            n: v >> GL[f"GL_CH_STATUS_{n}_SHIFT"] & (1 << GL[f"GL_CH_STATUS_{n}_LEN"]) - 1
            for n in ("RUNNING", "BUSY", "HALTED", "ERROR")
        }

    def paused(self) -> bool:
        """STATUS.PAUSED."""
        return bool(self.reg("STATUS") >> GL["GL_STATUS_PAUSED_SHIFT"] & 1)

    def enable(
        self,
        ch: int = 0,
        log2: int = 4,
        ring: int | None = None,
        cpl: int | None = None,
        irq: bool = False,
        vector: int = 0,
    ) -> None:
        """Program the rings and start a channel."""
        self.ring_base[ch] = self.ring_base[ch] if ring is None else ring
        self.cpl_base[ch] = self.cpl_base[ch] if cpl is None else cpl
        if cpl is None:
            self.q.fill(self.cpl_base[ch], 32 << min(log2, 11), 0)
        for name, value in (("RING", self.ring_base[ch]), ("CPL", self.cpl_base[ch])):
            self.set_ch(ch, name + "_LO", value)
            self.set_ch(ch, name + "_HI", value >> 32)
        self.set_ch(ch, "RING_LOG2", log2)
        self.set_ch(ch, "VECTOR", vector)
        self.set_ch(ch, "CTRL", 1 | (2 if irq else 0))
        self.tails[ch] = self.seen[ch] = self.ch(ch, "HEAD")
        self.log2[ch] = log2

    def disable(self, ch: int = 0) -> None:
        """Stop a channel and wait until it touches memory no more."""
        self.set_ch(ch, "CTRL", 0)
        self.until(lambda: not self.status(ch)["RUNNING"], "RUNNING stays set")

    def put(
        self,
        ch: int,
        op: int,
        src: int,
        dst: int,
        length: int,
        flags: int = F_CPL,
        cookie: int | None = None,
    ) -> None:
        """Write the next descriptor into the ring."""
        i = self.tails[ch]
        cookie = i if cookie is None else cookie
        self.q.write(
            self.ring_base[ch] + (i % (1 << self.log2[ch])) * 32,
            struct.pack("<HHIQQQ", op, flags, cookie, src, dst, length),
        )
        self.tails[ch] = i + 1 & 0xFFFFFFFF

    def ring(self, ch: int = 0) -> None:
        """Ring the doorbell for everything written so far."""
        self.set_ch(ch, "DOORBELL", self.tails[ch])

    def peek(self, ch: int, index: int) -> Cpl:
        """The completion record in place @index."""
        at = self.cpl_base[ch] + (index % (1 << self.log2[ch])) * 32
        return Cpl(*struct.unpack("<IIQQII", self.q.read(at, 32)))

    def wait(self, ch: int = 0, timeout: float = 20) -> Cpl:
        """Wait for the next completion, as a polling driver does."""
        want = self.seen[ch] + 1 & 0xFFFFFFFF
        self.until(
            lambda: self.peek(ch, self.seen[ch]).seq == want,
            lambda: f"no completion {want}; status {self.status(ch)}",
            timeout,
        )
        self.seen[ch] = want
        return self.peek(ch, want - 1 & 0xFFFFFFFF)

    def do(self, op: int, src: int, dst: int, length: int, flags: int = F_CPL, ch: int = 0) -> Cpl:
        """One descriptor, start to end."""
        self.put(ch, op, src, dst, length, flags)
        self.ring(ch)
        return self.wait(ch)

    def until(self, condition, what, timeout: float = 20) -> None:
        """Poll until a condition holds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise QemuError(what() if callable(what) else what)
            time.sleep(0.001)

    # -- interrupts --

    def msix_on(self, vectors: int = 2) -> None:
        """Let each vector write its number + 0x50 to MSG + 16 * vector, in memory."""
        cap = self.pci.capability(0x11)
        self.q.fill(MSG, 0x1000, 0)
        for v in range(vectors):
            at = MSIX_AT + v * 16
            self.q.writel(at, MSG + v * 16)
            self.q.writel(at + 4, 0)
            self.q.writel(at + 8, 0x50 + v)
            self.q.writel(at + 12, 0)
        self.pci.write(cap, self.pci.read(cap) & 0xFFFF | 0x8000 << 16)

    def irq(self, vector: int) -> int:
        """Take the message of a vector out of memory: 0 if there was none."""
        v = self.q.readl(MSG + vector * 16)
        if v:  # or the message that comes right now would be lost
            self.q.writel(MSG + vector * 16, 0)
        return v

    def mask(self, vector: int, masked: bool) -> None:
        """Mask a vector."""
        self.q.writel(MSIX_AT + vector * 16 + 12, int(masked))

    def pending(self) -> int:
        """The pending bits."""
        return self.q.readl(MSIX_AT + 0x800)
