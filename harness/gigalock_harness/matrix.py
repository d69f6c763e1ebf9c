# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs many cells side by side: as many as cores and touched memory allow."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .outcome import FAIL, SKIP, Outcome
from .scenario import Cell

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
RESERVE_MIB = 512  # left to everybody else
GATE_SECONDS = 0.2


class Runner(Protocol):
    """One cell being run: cell.CellRunner, or a test's own."""

    outcome: Outcome

    def run(self) -> Outcome: ...
    def cancel(self) -> None: ...
    def touched_mib(self) -> float: ...


class Progress(Protocol):
    """Who is told what happens."""

    def started(self, cell: Cell) -> None: ...
    def phase(self, cell: Cell, phase: str, detail: str) -> None: ...
    def finished(self, outcome: Outcome, done: int, total: int) -> None: ...
    def tick(self) -> None: ...


def available_mib(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int:
    """Memory that may still be touched: MemAvailable, or what a container's limit leaves."""
    available = 0
    for line in meminfo.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) >> 10
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        current = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii")
        # Clean file pages are given back on demand.
        cache = sum(
            int(line.split()[1])
            for line in stat.splitlines()
            if line.startswith(("inactive_file ", "active_file "))
        )
        if limit != "max":
            available = min(available, max(0, int(limit) - current + cache) >> 20)
    except (OSError, ValueError):
        pass
    return available


def host_memory_bytes(meminfo: Path = MEMINFO) -> int:
    """RAM and swap of this host."""
    total = 0
    for line in meminfo.read_text(encoding="ascii").splitlines():
        if line.startswith(("MemTotal:", "SwapTotal:")):
            total += int(line.split()[1]) << 10
    return total


def cores() -> int:
    return len(os.sched_getaffinity(0))


class Interrupts:
    """SIGINT and SIGTERM end a run in good order: all guests are closed, the report is written.

    So does the second one, which an impatient person sends while that goes on. The third ends the
    process at once; the kernel then ends the guests.
    """

    def __init__(self, last: bool = False) -> None:
        """`last`: the process ends after this. Once interrupted, it then ignores what comes late:
        a second signal when the report is written must not change how it ends."""
        self._last = last
        self.count = 0
        self._depth = 0
        self._before: dict[int, Any] = {}
        self._raises = False

    def __enter__(self) -> Interrupts:
        if not self._depth and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._caught)
        self._depth += 1
        return self

    def __exit__(self, *what: object) -> None:
        self._depth -= 1
        if not self._depth:
            for number, handler in self._before.items():
                late = self._last and self.count
                signal.signal(number, signal.SIG_IGN if late else handler)
            self._before.clear()

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """For what nobody can ask to stop: the first signal breaks it with KeyboardInterrupt."""
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _caught(self, number: int, frame: object) -> None:
        self.count += 1
        if self.count > 2:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._raises:
            self._raises = False
            raise KeyboardInterrupt


@dataclass
class _Running:
    runner: Runner
    thread: threading.Thread
    estimate_mib: int


@dataclass
class Matrix:
    """The cells of a run, and how to run one."""

    make_runner: Callable[[Cell, Callable[[Cell, str, str], None]], Runner]
    estimate_mib: Callable[[Cell], int]
    progress: Progress
    jobs: int = field(default_factory=cores)
    available: Callable[[], int] = available_mib
    interrupts: Interrupts = field(default_factory=Interrupts)
    order: Callable[[list[Cell]], list[Cell]] | None = None

    @property
    def interrupted(self) -> bool:
        return self.interrupts.count > 0

    def run(self, cells: list[Cell]) -> list[Outcome]:
        """One outcome for each cell, in the order given. Ctrl-C ends it early, with all of them."""
        self._start = time.monotonic()
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._running: dict[Cell, _Running] = {}
        outcomes: dict[Cell, Outcome] = {}
        # The costly ones first: a long cell that starts last is waited for alone.
        pending = (
            self.order(cells) if self.order else sorted(cells, key=self.estimate_mib, reverse=True)
        )
        with self.interrupts:
            while pending or self._running:
                if self.interrupted:
                    pending = self._drop(pending, outcomes, len(cells))
                pending = self._admit(pending, outcomes, len(cells))
                self._wait(outcomes, len(cells))
        return [outcomes[cell] for cell in cells]

    def _drop(self, pending: list[Cell], outcomes: dict[Cell, Outcome], total: int) -> list[Cell]:
        """The run ends: running guests are closed, what has not started is skipped."""
        for running in list(self._running.values()):
            running.runner.cancel()
        for cell in pending:
            self._skip(cell, "interrupted", outcomes, total)
        return []

    def _skip(self, cell: Cell, why: str, outcomes: dict[Cell, Outcome], total: int) -> None:
        outcomes[cell] = Outcome(cell, SKIP, skip_reason=why)
        self.progress.finished(outcomes[cell], len(outcomes), total)

    def _admit(self, pending: list[Cell], outcomes: dict[Cell, Outcome], total: int) -> list[Cell]:
        """Start what fits now; skip what would not fit even alone."""
        later = []
        for cell in pending:
            if len(self._running) >= self.jobs or self.interrupted:
                later.append(cell)
                continue
            need = self.estimate_mib(cell)
            # What the running guests may still touch is spoken for.
            owed = sum(
                max(0.0, one.estimate_mib - one.runner.touched_mib())
                for one in self._running.values()
            )
            room = self.available() - RESERVE_MIB
            if need <= room - owed:
                self._launch(cell, need)
            elif self._running:
                later.append(cell)
            else:
                self._skip(
                    cell,
                    f"needs about {need} MiB of host memory; {max(0, room)} MiB can be had",
                    outcomes,
                    total,
                )
        return later

    def _launch(self, cell: Cell, need: int) -> None:
        runner = self.make_runner(cell, lambda *what: self._events.put(("phase", what)))
        started = time.monotonic() - self._start

        def work() -> None:
            try:
                outcome = runner.run()
            except Exception:  # a bug of ours is a failed cell, not a lost run
                outcome = runner.outcome
                last = traceback.format_exc().strip().splitlines()
                outcome.fail("harness", "the harness itself failed: " + " / ".join(last[-3:]))
            if outcome.status == FAIL and not self.interrupted:
                # Ctrl-C on a terminal reaches QEMU as soon as it reaches us.
                time.sleep(GATE_SECONDS)
            if outcome.status == FAIL and self.interrupted:
                outcome.status, outcome.skip_reason = SKIP, "interrupted"
                outcome.problems.clear()
            outcome.started_s = started
            self._events.put(("done", outcome))

        thread = threading.Thread(target=work, name=cell.name, daemon=True)
        self._running[cell] = _Running(runner, thread, need)
        self.progress.started(cell)
        thread.start()

    def _wait(self, outcomes: dict[Cell, Outcome], total: int) -> None:
        if not self._running:
            return
        try:
            kind, what = self._events.get(timeout=GATE_SECONDS)
        except queue.Empty:
            self.progress.tick()
            return
        if kind == "phase":
            self.progress.phase(*what)
            return
        self._running.pop(what.cell).thread.join()
        outcomes[what.cell] = what
        self.progress.finished(what, len(outcomes), total)
