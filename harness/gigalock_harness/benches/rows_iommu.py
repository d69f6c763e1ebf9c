# SPDX-License-Identifier: GPL-2.0-or-later
"""4 KiB segments through an IOMMU that knows pages of 4 KiB only."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import Details, Group, Row, Setup
from .lab import C2H, H2C, HOST, Lab, lab
from .rows_card import NEED_MIB, PIECES


@dataclass
class State:
    """The lab, and the time of a piece in microseconds by kind."""

    card: Lab
    on: dict[int, list[float]] = field(default_factory=dict)
    off: dict[int, list[float]] = field(default_factory=dict)
    plain: dict[int, list[float]] = field(default_factory=dict)


@contextmanager
def start(setup: Setup) -> Iterator[State]:
    with lab(setup, extra=["-device", "intel-iommu"]) as card:
        card.iommu_tables()
        yield State(card)


def work(op: int) -> Callable[[State], tuple[float, float]]:
    def sample(state: State) -> tuple[float, float]:
        card = state.card
        plain = card.memcpy("pieces")
        card.iommu(on=True)
        through = card.small(op, HOST, spread=False)
        card.iommu(on=False)
        past = card.small(op)
        for kind, seconds in ((state.on, through), (state.off, past), (state.plain, plain)):
            kind.setdefault(op, []).append(seconds / card.pieces * 1e6)
        return 1 / through, 1 / plain

    return sample


def where(op: int) -> Callable[[State], Details]:
    def details(state: State) -> Details:
        plain, off, on = (statistics.median(t[op]) for t in (state.plain, state.off, state.on))
        return Details(
            [
                f"a piece of 4 KiB: memcpy {plain:.2f} us, the card without translation "
                f"{off:.2f} us, with it {on:.2f} us;",
                f"so a translation, its share of taking QEMU's big lock and the search for it "
                f"take {on - off:.2f} us.",
            ]
        )

    return details


def groups() -> list[Group]:
    names = {H2C: "host to card", C2H: "card to host"}
    rows = [
        Row(
            f"1 GiB {name}, 4 KiB segments, intel-iommu with 4 KiB pages",
            "GiB/s",
            PIECES,
            0.35,
            work(op),
            where(op),
        )
        for op, name in names.items()
    ]
    return [Group("through an IOMMU", start, rows, NEED_MIB)]
