# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench: what is fast, and beside what.

A row is a piece of work measured beside a reference, in turns, so that both see the same machine.
Rows that share what they run on (a QEMU, a guest) form a group. A module of this package whose
name begins with "rows_" provides groups: it has a function groups() that returns a list of them.
To add a row, add it to a group, or a file with a group to this folder; nothing else.

    def groups() -> list[Group]:
        return [Group("locks", start, rows=[Row("lock of 1 GiB", "GiB/s", "...", 2.0, sample)])]

start(Setup) is a context manager that gives the state; sample(state) returns a value and its
reference, measured one right after the other. Both are rates: more is better. A row whose module
can't measure it raises NotMeasured with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Details", "Group", "NotMeasured", "Plot", "Row", "Series", "Setup"]

ROUNDS = 5  # a median of fewer says little


class NotMeasured(Exception):
    """This can't be measured here; the text says why."""


@dataclass(frozen=True)
class Setup:
    """What a group may use when it starts."""

    log_dir: Path
    say: Callable[[str], None]


@dataclass(frozen=True)
class Series:
    """A line of a plot."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """A plot of the page; an axis is a name, and "bytes" in it makes its marks KiB, MiB, GiB."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Details:
    """What a row has to say beyond its numbers: where the time goes, say. Lines of text."""

    text: Sequence[str] = ()
    plots: Sequence[Plot] = ()


@dataclass(frozen=True)
class Row:
    """One piece of work. `sample` gives the value and the reference (None: there is none)."""

    name: str
    unit: str
    reference: str
    goal: float | None  # of value / reference; None: it is only reported
    sample: Callable[[Any], tuple[float, float | None]]
    details: Callable[[Any], Details] | None = None  # after all samples


@dataclass(frozen=True)
class Group:
    """Rows that run on the same thing."""

    title: str
    start: Callable[[Setup], AbstractContextManager[Any]]
    rows: Sequence[Row] = field(default_factory=list)
    need_mib: int = 0  # of the host's memory
    warm_up: int = 1  # rounds before those that count
