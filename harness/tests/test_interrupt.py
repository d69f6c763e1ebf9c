# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C, as a terminal sends it: to the run, to QEMU and to whatever else there is, all at once.

A report of what was done is there afterwards, and no process is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_command import HARNESS
from guests import alive, descendants

SCENARIO = """\
format = 1
name = "{name}"
title = "A guest that takes its time"
[guest]
ram = "256M"
setup = ["{setup}"]
[request]
bytes = "2M"
strategy = "contig-range"
[[expect]]
outcome = "locks"
"""
NAMES = ("first", "second", "third")


@dataclass
class Run:
    process: subprocess.Popen[str]
    out: Path
    children: dict[int, str]

    def qemu(self) -> int:
        return next(pid for pid, line in self.children.items() if "qemu-system" in line)

    def interrupt(self, number: int = signal.SIGINT, group: bool = True) -> None:
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def end(self, seconds: float = 30) -> str:
        text, _ = self.process.communicate(timeout=seconds)
        deadline = time.monotonic() + 5
        while (left := [pid for pid in self.children if alive(pid)]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.05)
        assert not left, [self.children[pid] for pid in left]
        return text

    def cells(self) -> list[tuple[str, str, str]]:
        cells = json.loads((self.out / "matrix.json").read_text())["cells"]
        return [(cell["scenario"], cell["status"], cell["message"]) for cell in cells]


@contextlib.contextmanager
def running(folder: Path, *options: str, sleeps: int = 60) -> Iterator[Run]:
    """Three cells, one at a time: the first is done, the second is at work."""
    for name in NAMES:
        setup = "true" if name == "first" else f"sleep {sleeps}"
        (folder / f"{name}.toml").write_text(SCENARIO.format(name=name, setup=setup))
    process = subprocess.Popen(
        [
            "/usr/bin/python3",
            "-m",
            "gigalock_harness",
            "run",
            "--jobs",
            "1",
            "--out",
            str(folder / "out"),
            *(str(folder / f"{name}.toml") for name in NAMES),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
    )
    log = folder / "out" / "cells" / "second-256M-stock-contig-range" / "commands.log"
    try:
        deadline = time.monotonic() + 120
        while not (log.exists() and f"sleep {sleeps}" in log.read_text()):
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.1)
        yield Run(process, folder / "out", descendants(process.pid))
    finally:
        process.kill()
        process.wait()


REPORT = [
    ("first", "pass", "locked, moved to the card and back, every byte verified"),
    ("second", "skip", "interrupted"),
    ("third", "skip", "interrupted"),
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("group", [False, True])
def test_one_signal(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    with running(tmp_path) as run:
        assert run.qemu()
        run.interrupt(number, group)
        text = run.end()
        assert run.process.returncode == 130, text
        assert run.cells() == REPORT, text
        assert "Traceback" not in text and "1 cells as expected, 0 failed, 2 skipped" in text
        assert "interrupted" in (run.out / "report.html").read_text()
        assert (run.out / "junit.xml").read_text().count("<skipped") == 2


def test_a_second_signal_while_it_ends(tmp_path: Path) -> None:
    """A QEMU that stands still has to be killed, which takes some seconds; here it comes."""
    with running(tmp_path) as run:
        os.kill(run.qemu(), signal.SIGSTOP)
        run.interrupt()
        time.sleep(1.5)
        assert run.process.poll() is None, "it has ended already: there is nothing to interrupt"
        run.interrupt()
        text = run.end()
        assert run.process.returncode == 130, text
        assert run.cells() == REPORT, text
        assert "Traceback" not in text


def test_a_second_signal_while_the_report_is_written(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.interrupt(group=False)
        # The progress lines of the cells that are skipped are the last before the report.
        assert run.process.stdout
        for line in run.process.stdout:
            if "third" in line:
                break
        run.interrupt(group=False)
        text = run.end()
        assert run.process.returncode == 130, text
        assert run.cells() == REPORT, text


def test_the_third_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Nobody has to wait for what stands still; what was started goes with it all the same."""
    with running(tmp_path) as run:
        os.kill(run.qemu(), signal.SIGSTOP)
        for _ in range(3):
            run.interrupt(group=False)
            time.sleep(0.3)
        run.end(seconds=5)
        assert run.process.returncode == -signal.SIGINT
