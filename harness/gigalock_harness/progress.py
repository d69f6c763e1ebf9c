# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run shows while it works: a living block on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from .outcome import FAIL, PASS, SKIP, Outcome
from .scenario import Cell
from .sizes import MIB, format_size
from .words import plain

_MARK = {PASS: "ok  ", FAIL: "FAIL", SKIP: "skip"}
_COLOUR = {PASS: "32", FAIL: "31;1", SKIP: "33"}

_PHASES = {
    "boot": "booting",
    "setup": "setting up",
    "lock": "locking, moving, verifying",
    "limit": "refused; searching the largest size",
    "move": "moving the largest",
    "doctor": "asking the doctor",
}


def label(cell: Cell) -> str:
    text = f"{format_size(cell.ram_mib * MIB):>6} {cell.strategy:<12}"
    return text if cell.scenario == "demo" else f"{cell.scenario:<34.34} {text}"


class PlainProgress:
    """A line for each event, for logs."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:6.1f} s] {text}", file=self.out, flush=True)

    def started(self, cell: Cell) -> None:
        pass

    def phase(self, cell: Cell, phase: str, detail: str) -> None:
        if not detail:
            self.say(f"{label(cell)} {_PHASES.get(phase, phase)}")

    def finished(self, outcome: Outcome, done: int, total: int) -> None:
        self.say(f"{label(outcome.cell)} {result_line(outcome)} ({done}/{total})")

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


class TerminalProgress(PlainProgress):
    """Finished cells scroll by; the running ones stand below, with their phase and seconds."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self.running: dict[Cell, tuple[str, float]] = {}
        self.drawn = 0
        self.last = 0.0

    def say(self, text: str) -> None:
        self._wipe()
        width = max(20, shutil.get_terminal_size().columns)
        print(text if "\033" in text else text[: width - 1], file=self.out)
        self._draw()

    def started(self, cell: Cell) -> None:
        self.running[cell] = (_PHASES["boot"], time.monotonic())
        self._redraw()

    def phase(self, cell: Cell, phase: str, detail: str) -> None:
        if cell in self.running:
            text = _PHASES.get(phase, phase) + (f": {plain(detail)}" if detail else "")
            self.running[cell] = (text, self.running[cell][1])
        self._redraw()

    def finished(self, outcome: Outcome, done: int, total: int) -> None:
        self.running.pop(outcome.cell, None)
        mark = f"\033[{_COLOUR[outcome.status]}m{_MARK[outcome.status]}\033[0m"
        line = result_line(outcome)[5:]
        room = max(20, shutil.get_terminal_size().columns) - 40
        self.say(f"{done:3}/{total} {label(outcome.cell)} {mark} {line[:room]}")

    def tick(self) -> None:
        if time.monotonic() - self.last > 0.5:
            self._redraw()

    def close(self) -> None:
        self._wipe()
        self.out.flush()

    def _redraw(self) -> None:
        self._wipe()
        self._draw()

    def _wipe(self) -> None:
        if self.drawn:
            self.out.write(f"\033[{self.drawn}A\033[J")
            self.drawn = 0

    def _draw(self) -> None:
        now = self.last = time.monotonic()
        width = max(20, shutil.get_terminal_size().columns)
        for cell, (text, since) in self.running.items():
            line = f"        {label(cell)} {now - since:5.1f} s  {text}"
            self.out.write(line[: width - 1] + "\n")
            self.drawn += 1
        self.out.flush()


def result_line(outcome: Outcome) -> str:
    """ "ok   1G locked in 1234 ms, 1.20 GiB/s" and the like."""
    mark = _MARK[outcome.status]
    if outcome.status == SKIP or outcome.problems:
        return f"{mark} {plain(outcome.message)}"
    if outcome.rate:
        boots, locked = outcome.rate["boots"], outcome.rate["locked"]
        return f"{mark} locked in {locked} of {boots} boots; else {outcome.reason}"
    if outcome.move:
        move = outcome.move
        return (
            f"{mark} {format_size(move.bytes)} locked in {move.lock_ms:.0f} ms, "
            f"{move.gib_per_s:.2f} GiB/s, verified"
        )
    text = f"{mark} {outcome.reason}"
    if outcome.diagnosis:
        text += f"; the doctor says {outcome.diagnosis.cause}"
    if outcome.cell.search:
        largest = format_size(outcome.largest_bytes) if outcome.largest_bytes else "nothing"
        text += f"; largest {largest}"
    return text


def choose(out: TextIO) -> PlainProgress:
    return TerminalProgress(out) if out.isatty() else PlainProgress(out)
