# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine beside memcpy, without a guest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from . import Group, Row, Setup
from .lab import C2H, CRC_CARD, CRC_HOST, F_CRC, F_CRC_INIT, H2C, HOST, Lab, lab

COPY = "memcpy of 1 GiB"
PIECES = "memcpy of the same 4 KiB pieces"
NEED_MIB = 4 * 1024 + 512
WORDS = {COPY: "copy", PIECES: "pieces", "two memcpy threads": "two"}


def beside(reference: str, work: Callable[[Lab], float]) -> Callable[[Lab], tuple[float, float]]:
    """1 GiB by memcpy, then by the card: both in GiB a second."""

    def sample(card: Lab) -> tuple[float, float]:
        plain = card.memcpy(WORDS[reference])
        return 1 / work(card), 1 / plain

    return sample


def row(name: str, reference: str, goal: float | None, work: Callable[[Lab], float]) -> Row:
    return Row(name, "GiB/s", reference, goal, beside(reference, work))


def groups() -> list[Group]:
    def start(setup: Setup) -> AbstractContextManager[Lab]:
        return lab(setup)

    def start_one(setup: Setup) -> AbstractContextManager[Lab]:
        return lab(setup, options=",workers=1")

    crc = F_CRC | F_CRC_INIT
    rows = [
        row("1 GiB host to card", COPY, 0.90, lambda b: b.one(H2C, HOST, 0)),
        row("1 GiB card to host", COPY, 0.90, lambda b: b.one(C2H, 0, HOST)),
        row("1 GiB host to card, 4 KiB segments", PIECES, 0.70, lambda b: b.small(H2C)),
        row("1 GiB card to host, 4 KiB segments", PIECES, 0.70, lambda b: b.small(C2H)),
        row("2 channels, 512 MiB each", "two memcpy threads", 0.85, lambda b: b.two()),
        row("CRC-32C of 1 GiB, host memory", COPY, 0.70, lambda b: b.one(CRC_HOST, HOST, 0)),
        row("CRC-32C of 1 GiB, card memory", COPY, 0.70, lambda b: b.one(CRC_CARD, 0, 0)),
        row("1 GiB host to card with CRC-32C", COPY, None, lambda b: b.one(H2C, HOST, 0, crc)),
    ]
    one = [
        row("1 GiB host to card, one worker", COPY, 0.90, lambda b: b.one(H2C, HOST, 0)),
        row("1 GiB card to host, one worker", COPY, 0.90, lambda b: b.one(C2H, 0, HOST)),
    ]
    return [
        Group("the card beside memcpy", start, rows, NEED_MIB),
        Group("one worker beside memcpy", start_one, one, NEED_MIB),
    ]
