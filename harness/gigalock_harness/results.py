# SPDX-License-Identifier: GPL-2.0-or-later
"""The results of a run, on disk and on the terminal, with its figures and goals."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import junit, report, table
from .matrix import cores, host_memory_bytes
from .outcome import FAIL, PASS, SKIP, Outcome
from .places import build_dir
from .scenario import Scenario


@dataclass
class Goal:
    """A figure beside what it should be. Goals are printed, never asserted."""

    name: str
    value: float | None
    limit: float
    unit: str
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        verdict = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        bound = "at least" if self.at_least else "at most"
        value = "-" if self.value is None else f"{self.value:.2f}{self.unit}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.name}: {value}, goal {bound} {self.limit:g}{self.unit}: {verdict}{note}"


@dataclass
class Figures:
    """The run as a whole."""

    started: float
    total_s: float = 0.0
    jobs: int = 0
    goals: list[Goal] = field(default_factory=list)
    bench: dict[str, Any] | None = None
    host: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    command: str = ""
    titles: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    templates: list[dict[str, float]] = field(default_factory=list)
    absent: list[dict[str, str | None]] = field(default_factory=list)
    causes: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for goal, one in zip(self.goals, data["goals"]):
            one["met"] = goal.met
            one["text"] = goal.line()
        return data


def describe_host() -> dict[str, Any]:
    """What the results depend on."""
    system = "unknown"
    try:
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            if line.startswith("PRETTY_NAME="):
                system = line.split("=", 1)[1].strip('"')
    except OSError:
        pass
    qemu = os.environ.get("QEMU", "qemu-system-x86_64")
    try:
        done = subprocess.run(
            [qemu, "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        version = done.stdout.splitlines()[0] if done.stdout else "unknown"
    except (OSError, subprocess.TimeoutExpired):
        version = "unknown"
    kernels = {}
    for release in sorted((build_dir() / "guest-image" / "kernels").glob("*/release")):
        kernels[release.parent.name] = release.read_text(encoding="utf-8").strip()
    return {
        "system": system,
        "machine": platform.machine(),
        "host_kernel": platform.release(),
        "cores": cores(),
        "memory_mib": host_memory_bytes() >> 20,
        "qemu": version,
        "guest_kernels": kernels,
    }


def median_boot(outcomes: Sequence[Outcome]) -> float | None:
    boots = [outcome.boot_s for outcome in outcomes if outcome.boot_s is not None]
    return statistics.median(boots) if boots else None


def count(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in (PASS, FAIL, SKIP)
    }


def write_results(out: Path, outcomes: Sequence[Outcome], figures: Figures) -> list[Path]:
    """matrix.json, junit.xml and report.html; each appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        if outcome.log:
            outcome.log = os.path.relpath(outcome.log, out)
    data = {
        "format": 1,
        "cells": [outcome.to_json() for outcome in outcomes],
        "run": figures.to_json(),
    }
    written = []
    for name, write in (
        (
            "matrix.json",
            lambda path: path.write_text(
                json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            ),
        ),
        ("junit.xml", lambda path: junit.write(path, outcomes, figures.total_s)),
        ("report.html", lambda path: path.write_text(report.render(data), encoding="utf-8")),
    ):
        part = out / f".{name}.part"
        write(part)
        part.replace(out / name)
        written.append(out / name)
    return written


def show(outcomes: Sequence[Outcome], figures: Figures, written: Sequence[Path]) -> str:
    """The end of a run, for a terminal."""
    return "\n".join(["", table.render(outcomes), show_end(outcomes, figures, written)])


def show_end(outcomes: Sequence[Outcome], figures: Figures, written: Sequence[Path]) -> str:
    """What follows the table."""
    counts = figures.counts
    lines = table.troubles(outcomes) if figures.seed is not None else []
    lines.append(
        f"{counts[PASS]} cells as expected, {counts[FAIL]} failed, {counts[SKIP]} skipped"
        + ("; INTERRUPTED" if figures.interrupted else "")
    )
    if figures.bench:
        lines.append(figures.bench["text"])
    lines += [goal.line() for goal in figures.goals]
    if written:
        lines.append("written: " + " ".join(os.path.relpath(path) for path in written))
    return "\n".join(lines)


def exit_code(outcomes: Sequence[Outcome], interrupted: bool) -> int:
    """0 all as expected, 1 a cell failed or nothing ran at all, 130 interrupted."""
    counts = count(outcomes)
    if counts[FAIL]:
        return 1
    if interrupted:
        return 130
    return 0 if counts[PASS] else 1


def finish(
    scenarios: Sequence[Scenario], outcomes: Sequence[Outcome], figures: Figures, interrupted: bool
) -> None:
    figures.interrupted = interrupted
    figures.counts = count(outcomes)
    figures.titles = {scenario.name: scenario.title for scenario in scenarios}
    figures.host = describe_host()
    figures.total_s = round(time.time() - figures.started, 3)
