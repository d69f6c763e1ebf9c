# SPDX-License-Identifier: GPL-2.0-or-later
"""Who runs when: jobs, memory, interruption. The runners here are the test's own: no guest."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import samples
from gigalock_harness import matrix
from gigalock_harness.matrix import Matrix, available_mib
from gigalock_harness.outcome import FAIL, PASS, SKIP, Outcome
from gigalock_harness.progress import PlainProgress, TerminalProgress
from gigalock_harness.scenario import Cell

CELLS = [samples.cell(ram_mib=ram) for ram in (512, 1024, 2048, 4096, 8192)]


class Clock:
    """Counts who runs at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: set[Cell] = set()
        self.order: list[Cell] = []
        self.together: list[set[Cell]] = []

    def enter(self, cell: Cell) -> None:
        with self.lock:
            self.now.add(cell)
            self.order.append(cell)
            self.together.append(set(self.now))

    def leave(self, cell: Cell) -> None:
        with self.lock:
            self.now.discard(cell)


class Job:
    def __init__(
        self,
        cell: Cell,
        on_phase: Callable[[Cell, str, str], None],
        clock: Clock,
        seconds: float = 0.05,
        breaks: Exception | None = None,
    ) -> None:
        self.outcome = Outcome(cell)
        self.on_phase, self.clock, self.seconds, self.breaks = on_phase, clock, seconds, breaks
        self.stop = threading.Event()

    def run(self) -> Outcome:
        cell = self.outcome.cell
        self.clock.enter(cell)
        self.on_phase(cell, "boot", "")
        self.on_phase(cell, "boot", f"a detail{samples.NASTY}")
        if self.breaks:
            self.clock.leave(cell)
            raise self.breaks
        if self.stop.wait(self.seconds):
            self.outcome.fail("qemu-died", "QEMU ended")
        self.clock.leave(cell)
        return self.outcome

    def cancel(self) -> None:
        self.stop.set()

    def touched_mib(self) -> float:
        return 0.0


def made(clock: Clock, **more: object) -> Matrix:
    options: dict[str, object] = {
        "make_runner": lambda cell, on_phase: Job(cell, on_phase, clock),
        "estimate_mib": lambda cell: cell.ram_mib,
        "progress": PlainProgress(io.StringIO()),
        "jobs": 2,
        "available": lambda: 1 << 20,
    }
    return Matrix(**(options | more))


def test_jobs_bound_what_runs_and_results_keep_their_order() -> None:
    clock = Clock()
    outcomes = made(clock, jobs=2).run(CELLS)
    assert [outcome.cell for outcome in outcomes] == CELLS
    assert {outcome.status for outcome in outcomes} == {PASS}
    assert max(map(len, clock.together)) == 2
    assert clock.order[0] == CELLS[-1], "the costliest cell goes first"


def test_memory_bounds_what_runs() -> None:
    clock = Clock()
    room = 8192 + 512 + matrix.RESERVE_MIB
    outcomes = made(clock, jobs=5, available=lambda: room).run(CELLS)
    assert {outcome.status for outcome in outcomes} == {PASS}
    assert max(sum(cell.ram_mib for cell in cells) for cells in clock.together) <= 8192 + 512
    assert max(map(len, clock.together)) >= 2


def test_what_never_fits_is_skipped_with_its_numbers() -> None:
    outcomes = made(Clock(), available=lambda: 3000 + matrix.RESERVE_MIB).run(CELLS)
    assert [outcome.status for outcome in outcomes] == [PASS, PASS, PASS, SKIP, SKIP]
    assert outcomes[-1].message == "needs about 8192 MiB of host memory; 3000 MiB can be had"


def test_our_own_bug_is_a_failed_cell_and_the_run_goes_on() -> None:
    clock = Clock()
    outcomes = made(
        clock,
        make_runner=lambda cell, on_phase: Job(
            cell, on_phase, clock, breaks=KeyError("lost") if cell.ram_mib == 1024 else None
        ),
    ).run(CELLS)
    assert [outcome.status for outcome in outcomes] == [PASS, FAIL, PASS, PASS, PASS]
    assert outcomes[1].problems[0].kind == "harness" and "lost" in outcomes[1].message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_all_outcomes(number: int) -> None:
    clock = Clock()
    before = signal.getsignal(number)
    run = made(clock, make_runner=lambda cell, on_phase: Job(cell, on_phase, clock, seconds=30))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
    timer.start()
    start = time.monotonic()
    outcomes = run.run(CELLS)
    assert time.monotonic() - start < 5
    assert run.interrupted
    assert {(outcome.status, outcome.message) for outcome in outcomes} == {(SKIP, "interrupted")}
    assert len(outcomes) == 5
    assert not clock.now and len(clock.order) == 2
    assert signal.getsignal(number) == before


def test_available_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 1048576 kB\n")
    assert available_mib(meminfo, tmp_path) == 4096
    assert matrix.host_memory_bytes(meminfo) == 9 << 30
    (tmp_path / "memory.max").write_text(f"{2 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {256 << 20}\nactive_file 0\n")
    assert available_mib(meminfo, tmp_path) == 1024 + 256
    (tmp_path / "memory.max").write_text("max\n")
    assert available_mib(meminfo, tmp_path) == 4096


@pytest.mark.parametrize("kind", [PlainProgress, TerminalProgress])
def test_progress_tells_each_event(kind: type[PlainProgress]) -> None:
    out = io.StringIO()
    progress = kind(out)
    made(Clock(), progress=progress, jobs=1).run(CELLS[:1])
    for outcome in (
        samples.locked(),
        samples.refused(),
        samples.broken(samples.NASTY),
        samples.skipped(),
    ):
        progress.finished(outcome, 2, 3)
    progress.close()
    text = out.getvalue()
    for words in ("booting", "512M", "1.90 GiB/s", "buddy-limit; largest 4M", "host memory"):
        assert words in text
    assert "\x00" not in text and "\x1b[31m\x00" not in text
    if kind is PlainProgress:
        assert "\x1b" not in text
