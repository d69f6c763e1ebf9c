# SPDX-License-Identifier: GPL-2.0-or-later
"""Does cost grow with size and with nothing else? From 4 KiB to 8 GiB."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..matrix import RESERVE_MIB, available_mib
from ..sizes import GIB, KIB, MIB, format_size
from . import Details, Group, Plot, Row, Series, Setup
from .lab import F_CPL, H2C, HOST, Descriptor, Lab, lab

SIZES = [4 * KIB << 2 * i for i in range(11)] + [8 * GIB]
SPAN = 256 * MIB  # small ones are spread over that much: all of them out of the same caches
REF = GIB


@dataclass
class State:
    """The lab, and nanoseconds of each size."""

    card: Lab
    ours: dict[int, list[float]] = field(default_factory=dict)
    plain: dict[int, list[float]] = field(default_factory=dict)


def block_size() -> int:
    """The longest transfer for which there is memory, on both sides; half of it is left."""
    room = (available_mib() - RESERVE_MIB) * MIB // 2 - 2 * REF
    size = 8 * GIB
    while size > GIB and 2 * size > room:
        size //= 2
    return size


@contextmanager
def start(setup: Setup) -> Iterator[State]:
    size = block_size()
    setup.say(f"linearity: transfers of up to {format_size(size)}, longer ones as a chain")
    with lab(setup, size, ref_bytes=REF) as card:
        yield State(card)


def one_size(card: Lab, size: int) -> float:
    """Nanoseconds of a transfer of that size: many of them, or a chain of long ones."""
    if size > card.size:
        work: list[Descriptor] = [(H2C, HOST, 0, card.size, 0)] * (size // card.size)
        work[-1] = (H2C, HOST, 0, card.size, F_CPL)
        card.put(0, work)
        return card.run(0, 1) * 1e9
    count = max(1, min(SPAN, card.size) // size)
    # A record each: a transfer that nobody hears of is none.
    card.put(0, [(H2C, HOST + i * size, i * size, size, F_CPL) for i in range(count)])
    return card.run(0, count) * 1e9 / count


def sample(state: State) -> tuple[float, float]:
    """How straight the line of this round is, ours and memcpy's."""
    ours, plain = {}, {}
    for size in SIZES:
        total = max(SPAN, size)
        plain[size] = state.card.memcpy(f"sized {size} {total}") * 1e9 * size / total
        ours[size] = one_size(state.card, size)
        state.ours.setdefault(size, []).append(ours[size])
        state.plain.setdefault(size, []).append(plain[size])
    return straight(ours) * 100, straight(plain) * 100


def fit(times: dict[int, float]) -> tuple[float, float]:
    """ns = a + b * bytes, by the least squares of what it is wrong in parts of the time."""
    weights = {size: 1 / t**2 for size, t in times.items()}
    w = sum(weights.values())
    x = sum(weights[n] * n for n in times) / w
    y = sum(weights[n] * t for n, t in times.items()) / w
    top = sum(weights[n] * (n - x) * (t - y) for n, t in times.items())
    b = top / sum(weights[n] * (n - x) ** 2 for n in times)
    return y - b * x, b


def straight(times: dict[int, float]) -> float:
    """1: all on one line. 0.5: the worst one takes twice, or half, of what the line says."""
    a, b = fit(times)
    worst = 1.0
    for size, t in times.items():
        line = a + b * size
        worst = min(worst, min(t / line, line / t) if line > 0 else 0.0)
    return worst


def details(state: State) -> Details:
    ours = {size: statistics.median(t) for size, t in state.ours.items()}
    plain = {size: statistics.median(t) for size, t in state.plain.items()}
    a, b = fit(ours)
    text = [
        f"line: {a:.0f} ns + {b * GIB / 1e9:.4f} s/GiB; longest descriptor "
        f"{format_size(state.card.size)}, longer ones are a chain of them",
        "size     card ns/KiB  memcpy ns/KiB  card/line",
    ]
    for size in SIZES:
        text.append(
            f"{format_size(size):>6}  {ours[size] / size * KIB:11.1f}  "
            f"{plain[size] / size * KIB:13.1f}  {ours[size] / (a + b * size):9.2f}"
        )

    def per_kib(times: dict[int, float]) -> list[tuple[float, float]]:
        return [(float(size), times[size] / size * KIB) for size in SIZES]

    plots = [
        Plot(
            "Time of a transfer by its size",
            "bytes",
            "ns",
            [
                Series("card", [(float(s), ours[s]) for s in SIZES]),
                Series("memcpy", [(float(s), plain[s]) for s in SIZES]),
            ],
            log_x=True,
            log_y=True,
        ),
        Plot(
            "Time of each KiB by the size of the transfer",
            "bytes",
            "ns for each KiB",
            [Series("card", per_kib(ours)), Series("memcpy", per_kib(plain))],
            log_x=True,
        ),
    ]
    return Details(text, plots)


def groups() -> list[Group]:
    row = Row(
        "cost grows linearly, 4 KiB to 8 GiB: the point furthest from the line",
        "% of the line",
        "memcpy of the same sizes, by the same measure",
        None,
        sample,
        details,
    )
    return [Group("linearity", start, [row], 6 * 1024)]
