# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own example of a device with DMA."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..sizes import GIB
from . import Details, Group, NotMeasured, Row, Setup
from .lab import H2C, HOST, Lab, lab
from .rows_card import NEED_MIB

EDU_AT, BUFFER = 0xE0100000, 0x40000  # where we put it; its buffer in its own addresses
# The buffer has one byte more, but QEMU 7.2 takes the end of a full transfer for too far, and dies.
MOST = 4095
SOURCE, TARGET, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
RAM_AT = 0x1000000  # edu's addresses have 28 bits


@contextmanager
def start(setup: Setup) -> Iterator[Lab]:
    # edu takes its time from the machine's clock, so the machine has to run.
    with lab(setup, extra=["-device", "edu,addr=6"], running=True) as card:
        pci = type(card.card.pci)(card.q, 0, 6)
        pci.write(0x10, EDU_AT)
        pci.write(0x04, 0x6)
        if card.q.readl(EDU_AT) & 0xFF != 0xED:
            raise NotMeasured("the edu device does not answer")
        yield card


def edu(card: Lab) -> float:
    """Seconds of the longest transfer that edu can do."""
    q = card.q
    for reg, value in ((SOURCE, RAM_AT), (TARGET, BUFFER), (COUNT, MOST)):
        q.ask(f"writeq {EDU_AT + reg:#x} {value:#x}")
    begin = time.monotonic()
    q.ask(f"writeq {EDU_AT + COMMAND:#x} 0x1")
    while int(q.ask(f"readq {EDU_AT + COMMAND:#x}")[0], 16) & 1:
        if time.monotonic() - begin > 10:
            raise NotMeasured("the edu device does not end its transfer within 10 s")
        time.sleep(0.0005)
    return time.monotonic() - begin


def sample(card: Lab) -> tuple[float, float]:
    reference = MOST / GIB / edu(card)
    return 1 / card.one(H2C, HOST, 0), reference


def details(card: Lab) -> Details:
    seconds = edu(card)
    return Details(
        [
            f"edu moves at most {MOST} bytes at a time and takes {seconds * 1000:.0f} ms for it, a "
            f"timer's time: 1 GiB would take it {seconds * GIB / MOST / 3600:.1f} hours.",
        ]
    )


def groups() -> list[Group]:
    row = Row(
        "1 GiB host to card beside edu",
        "GiB/s",
        "QEMU's edu device, projected from its 4 KiB rate",
        None,
        sample,
        details,
    )
    return [Group("beside edu", start, [row], NEED_MIB)]
