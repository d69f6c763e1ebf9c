# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the rows, measure them in turns, and put bench.json together."""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import GuestError
from ..matrix import RESERVE_MIB, available_mib, cores
from ..words import plain
from . import Group, NotMeasured, Plot, Row, Setup

Say = Callable[[str], None]


class NoSuchRow(Exception):
    """A pattern that fits no row."""


def all_groups() -> list[Group]:
    """Of every module rows_*, in the order of their names."""
    package = importlib.import_module(__package__ or "")
    found: list[Group] = []
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        if module.name.startswith("rows_"):
            found += importlib.import_module(f"{package.__name__}.{module.name}").groups()
    names = [row.name for group in found for row in group.rows]
    if double := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"rows of the same name: {', '.join(sorted(double))}")
    return found


def matches(name: str, pattern: str) -> bool:
    """A pattern with *, ? or [ fits the whole name, another one a part of it."""
    name, pattern = name.lower(), pattern.lower()
    return fnmatch.fnmatchcase(name, pattern) if re.search(r"[*?[]", pattern) else pattern in name


def select(groups: Sequence[Group], patterns: Sequence[str]) -> list[Group]:
    """The groups with the rows that a pattern fits; all of them without any pattern."""
    if not patterns:
        return list(groups)
    names = [row.name for group in groups for row in group.rows]
    for pattern in patterns:
        if not pattern or not any(matches(name, pattern) for name in names):
            known = "".join(f"\n  {name}" for name in names)
            raise NoSuchRow(f"no row fits {pattern[:80]!r}; the rows are:{known}")
    kept = [
        replace(
            group,
            rows=[row for row in group.rows if any(matches(row.name, p) for p in patterns)],
        )
        for group in groups
    ]
    return [group for group in kept if group.rows]


def load() -> float:
    """How many programs wanted a CPU in the last minute."""
    return float(Path("/proc/loadavg").read_text().split()[0])


def machine() -> dict[str, Any]:
    """What the figures are figures of."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = Path("/proc/meminfo").read_text()
    total = re.search(r"^MemTotal:\s+(\d+) kB", memory, re.M)
    shmem = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    huge = re.search(r"\[(\w+)\]", shmem.read_text()) if shmem.exists() else None
    return {
        "cpu": cpu,
        "cpus": cores(),
        "memory_mib": int(total[1]) // 1024 if total else 0,
        "kernel": platform.release(),
        "huge_pages_of_memfd": huge[1] if huge else "unknown",
    }


def _plot(plot: Plot) -> dict[str, Any]:
    return {
        "title": plot.title,
        "x": plot.x,
        "y": plot.y,
        "log_x": plot.log_x,
        "log_y": plot.log_y,
        "series": [{"name": s.name, "points": [list(p) for p in s.points]} for s in plot.series],
    }


def _round(value: float) -> float:
    """Four digits are more than any of these figures is good for."""
    return float(f"{value:.4g}")


class Run:
    """One run: rows, their samples, and what could not be measured."""

    def __init__(self, rounds: int, log_dir: Path, say: Say) -> None:
        self.rounds, self.log_dir, self.say = rounds, log_dir, say
        self.rows: list[dict[str, Any]] = []
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.details: dict[str, list[str]] = {}
        self.plots: list[dict[str, Any]] = []
        self.missing: list[dict[str, str]] = []
        self.load = load()  # of others: we have not begun

    def _not_measured(self, group: Group, rows: Sequence[Row], why: str) -> None:
        why = plain(why.partition("\n")[0])[:300]
        for row in rows:
            self.say(f"{row.name}: not measured: {why}")
        self.missing += [{"name": row.name, "why": why} for row in rows]

    def group(self, group: Group, number: int) -> None:
        """Measure a group; what goes wrong there leaves the others alone."""
        room = available_mib() - RESERVE_MIB
        if room < group.need_mib:
            why = f"needs about {group.need_mib} MiB of host memory; {room} MiB can be had"
            self._not_measured(group, group.rows, why)
            return
        done: set[str] = set()
        try:
            self.say(f"{group.title}: starting")
            setup = Setup(self.log_dir / f"{number:02}", self.say)
            setup.log_dir.mkdir(parents=True, exist_ok=True)
            with group.start(setup) as state:
                self._rounds(group, state, done)
        except (NotMeasured, GuestError, OSError, RuntimeError) as error:
            left = [row for row in group.rows if row.name not in done]
            self._not_measured(group, left, str(error) or type(error).__name__)

    def _rounds(self, group: Group, state: Any, done: set[str]) -> None:
        taken: dict[str, list[tuple[float, float | None]]] = {row.name: [] for row in group.rows}
        rows = list(group.rows)
        for turn in range(group.warm_up + self.rounds):
            if not rows:
                break
            counts = turn >= group.warm_up
            what = f"round {turn - group.warm_up + 1} of {self.rounds}" if counts else "warming up"
            self.say(f"{group.title}: {what}")
            for row in list(rows):
                try:
                    sample = row.sample(state)
                except NotMeasured as error:
                    self._not_measured(group, [row], str(error))
                    rows.remove(row)
                    done.add(row.name)
                    continue
                if counts:
                    taken[row.name].append(sample)
        for row in rows:
            self._finish(row, taken[row.name])
            done.add(row.name)
            if row.details:
                details = row.details(state)
                self.details[row.name] = list(details.text)
                self.plots += [_plot(plot) for plot in details.plots]

    def _finish(self, row: Row, taken: list[tuple[float, float | None]]) -> None:
        value = statistics.median(one for one, _ in taken)
        references = [one for _, one in taken if one is not None]
        reference = statistics.median(references) if references else None
        ratio = value / reference if reference else None
        self.rows.append(
            {
                "name": row.name,
                "value": _round(value),
                "unit": row.unit,
                "reference": row.reference,
                "reference_value": None if reference is None else _round(reference),
                "ratio": None if ratio is None else round(ratio, 3),
                "goal": row.goal,
            }
        )
        self.samples[row.name] = {
            "value": [_round(one) for one, _ in taken],
            "reference": [_round(one) for one in references],
        }
        self.say(line(self.rows[-1]))

    def result(self) -> dict[str, Any]:
        """What bench.json holds."""
        return {
            "rows": self.rows,
            "not_measured": self.missing,
            "rounds": self.rounds,
            "samples": self.samples,
            "details": self.details,
            "plots": self.plots,
            "machine": {**machine(), "load_before": self.load},
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


def verdict(row: dict[str, Any]) -> str:
    """ "reached", "MISSED", or "" without a goal."""
    if row["goal"] is None or row["ratio"] is None:
        return ""
    return "reached" if row["ratio"] >= row["goal"] else "MISSED"


def line(row: dict[str, Any]) -> str:
    """A row in a line."""
    text = f"{row['name']}: {row['value']:g} {row['unit']}"
    if row["ratio"] is not None:
        text += f", {row['ratio']:g} of {row['reference']} ({row['reference_value']:g})"
    if row["goal"] is not None:
        text += f"; goal {row['goal']:g}: {verdict(row) or 'not measured'}"
    return text


def measure(groups: Sequence[Group], rounds: int, log_dir: Path, say: Say) -> dict[str, Any]:
    """Measure everything; nothing that goes wrong in a group ends the run."""
    run = Run(rounds, log_dir, say)
    for number, group in enumerate(groups):
        run.group(group, number)
    return run.result()
