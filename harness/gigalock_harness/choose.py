# SPDX-License-Identifier: GPL-2.0-or-later
"""Which scenarios and cells a run of the matrix has.

A cured cell is worth nothing without its failing twin: it proves a remedy that the twin's doctor
must have printed. So choosing one of the two chooses both.
"""

from __future__ import annotations

import fnmatch
import math
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import scenario
from .cells import Cell
from .places import CATALOGUE, SCENARIOS, kernels_built
from .scenario import Scenario, ScenarioError
from .sizes import MIB, parse_size

FRESH_PART = 0.1  # of the cells with a template: booted, too


def folders() -> tuple[Path, ...]:
    return (CATALOGUE, SCENARIOS / "axis")


def load_all(places: Iterable[Path]) -> list[Scenario]:
    """Every scenario of some folders, in the order of their names."""
    found = []
    for folder in places:
        if not folder.is_dir():
            raise ScenarioError(f"{folder}: there is no such folder of scenarios")
        for path in sorted(folder.glob("*.toml")):
            one = scenario.load(path)
            if one.name != path.stem:
                raise ScenarioError(
                    f'{path}: its name is "{one.name}"; twins find it as "{path.stem}"'
                )
            found.append(one)
    return found


def matches(name: str, patterns: Sequence[str]) -> bool:
    """A pattern with * ? [ is one of the shell's; any other is a part of the name."""
    return not patterns or any(
        fnmatch.fnmatchcase(name, one) if any(c in one for c in "*?[") else one in name
        for one in patterns
    )


@dataclass
class Choice:
    """The cells of a run, and what it leaves out."""

    scenarios: list[Scenario]
    cells: list[Cell]
    missing: dict[Cell, str]  # cells that can't be run here, and why


def _rams(texts: Sequence[str]) -> set[int]:
    try:
        return {parse_size(text, "ram") // MIB for text in texts}
    except ValueError as error:
        raise ScenarioError(f"--ram: {error}") from None


def choose(
    scenarios: Sequence[Scenario],
    patterns: Sequence[str] = (),
    ram: Sequence[str] = (),
    kernels: Sequence[str] = (),
) -> Choice:
    """The cells that fit, and the twins of those."""
    rams = _rams(ram)
    known = scenario.known_kernels()
    built = {path.parent.name for path in kernels_built().glob("*/vmlinux")}
    for name in kernels:
        if name not in known:
            raise ScenarioError(
                f"--kernel: unknown kernel {name!r:.60} (known: {', '.join(known)})"
            )
        if name not in built:
            raise ScenarioError(
                f"--kernel: kernel '{name}' is not built; 'make image KERNEL={name}' builds it"
            )
    wanted: set[str] = set()
    by_name = {cell.name: cell for one in scenarios for cell in one.cells}
    for one in scenarios:
        if not matches(one.name, patterns):
            continue
        for cell in one.cells:
            # A cured cell is chosen by what its twin is: a remedy may be more RAM.
            judged = by_name.get(cell.twin, cell)
            if rams and judged.ram_mib not in rams:
                continue
            if kernels and judged.kernel not in kernels:
                continue
            wanted.add(cell.name)
    wanted |= {cell.twin for name in wanted if (cell := by_name[name]).twin}
    wanted |= {cell.name for cell in by_name.values() if cell.twin in wanted}
    cells = [cell for one in scenarios for cell in one.cells if cell.name in wanted]
    if not cells:
        raise ScenarioError("no cell fits what was asked for")
    names = {cell.scenario for cell in cells}
    missing = {
        cell: f"kernel {cell.kernel} is not built; 'make image KERNEL={cell.kernel}' builds it"
        for cell in cells
        if cell.kernel not in built
    }
    return Choice([one for one in scenarios if one.name in names], cells, missing)


def draw_fresh(cells: Sequence[Cell], shares: Callable[[Cell], bool], seed: int) -> list[Cell]:
    """Of the cells that a template serves, those to be booted as well: a tenth, drawn by the
    seed, and one at least where there is any."""
    served = sorted((cell for cell in cells if shares(cell)), key=lambda cell: cell.name)
    count = math.ceil(len(served) * FRESH_PART)
    drawn = random.Random(seed).sample(served, count)
    return [replace(cell, fresh=True) for cell in sorted(drawn, key=lambda cell: cell.name)]


def in_turn(cells: Sequence[Cell], key: Callable[[Cell], Hashable], side: int) -> list[Cell]:
    """The order to run them in: cells of one key near each other, so that few templates are
    alive at a time, but `side` keys in turn, so that nobody waits for another's template."""
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    largest_first = sorted(groups.values(), key=len, reverse=True)
    order: list[Cell] = []
    for start in range(0, len(largest_first), max(1, side)):
        lanes = [list(group) for group in largest_first[start : start + max(1, side)]]
        while any(lanes):
            order += [lane.pop(0) for lane in lanes if lane]
    return order
