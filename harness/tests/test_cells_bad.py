# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that panic, hang, lose their QEMU or say what they may not: each is a failed cell with
its log and the way to reproduce it, and the run goes on to the good one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from demo_command import HARNESS, SECONDS
from guests import descendants

SCENARIO = """\
format = 1
name = "{name}"
title = "A guest that does {name}"
[guest]
ram = "{ram}"
cmdline = ["harness.test={name}"]
setup = [{setup}]
[request]
bytes = "2M"
strategy = "contig-range"
[limits]
step_seconds = 8
[[expect]]
outcome = "locks"
"""

CONSOLE = """
[[console]]
line = "{line}"
when = "setup"
needed = {needed}
"""

CASES: dict[str, dict[str, str]] = {
    "panic": {"setup": '"echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 30"'},
    "silent": {"setup": '"sleep 1000"'},
    "frozen": {"setup": '"sleep 7"'},
    "killed": {"setup": '"sleep 7"'},
    "warning": {"setup": "\"echo '<4>WARNING: CPU: 0 PID: 1 at mm/made_up.c:1' > /dev/kmsg\""},
    "missing": {"setup": '"true"', "console": CONSOLE.format(line="never said", needed="true")},
    "declared": {
        "setup": "\"echo '<4>WARNING: declared' > /dev/kmsg\"",
        "console": CONSOLE.format(line="WARNING: declared", needed="true"),
    },
    "status": {"setup": '"echo no luck >&2; exit 3"'},
    "module": {"setup": '"rmmod gigalock"'},
    "good": {"setup": '"true"'},
}

KINDS = {
    "panic": "panic",
    "silent": "hang",
    "frozen": "hang",
    "killed": "qemu-died",
    "warning": "console",
    "missing": "missing-line",
    "status": "setup",
    "module": "tool",
}


def qemu_of(name: str, run: subprocess.Popen[str]) -> int | None:
    """The QEMU of one scenario, among the descendants of the run: never another's."""
    wanted = f"harness.test={name} "
    for pid, line in descendants(run.pid).items():
        if wanted in line and "qemu-system" in line:
            return pid
    return None


def strike(name: str, number: int, run: subprocess.Popen[str], log: Path) -> None:
    """Send a signal to the QEMU of a scenario once its guest is at work."""
    commands = log / "out" / "cells" / f"{name}-256M-stock-contig-range" / "commands.log"
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and run.poll() is None:
        if commands.exists() and "sleep" in commands.read_text() and (pid := qemu_of(name, run)):
            os.kill(pid, number)
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, str]:
    folder = tmp_path_factory.mktemp("bad")
    files = []
    for name, case in CASES.items():
        text = SCENARIO.format(name=name, ram="256M", setup=case["setup"]) + case.get("console", "")
        (folder / f"{name}.toml").write_text(text)
        files.append(str(folder / f"{name}.toml"))
    run = subprocess.Popen(
        ["/usr/bin/python3", "-m", "gigalock_harness", "run", *files, "--out", str(folder / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
    )
    strikes = [
        threading.Thread(target=strike, args=(name, number, run, folder))
        for name, number in (("frozen", signal.SIGSTOP), ("killed", signal.SIGKILL))
    ]
    for thread in strikes:
        thread.start()
    try:
        text, _ = run.communicate(timeout=SECONDS)
    finally:
        run.kill()
    for thread in strikes:
        thread.join()
    return run.returncode, folder / "out", text


@pytest.fixture(scope="module")
def cells(done: tuple[int, Path, str]) -> dict[str, dict[str, Any]]:
    code, out, text = done
    assert (out / "matrix.json").exists(), text
    cells = json.loads((out / "matrix.json").read_text())["cells"]
    return {cell["scenario"]: cell for cell in cells}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_bad_cell_fails_with_its_log(
    cells: dict[str, Any], done: tuple[int, Path, str], name: str
) -> None:
    cell = cells[name]
    assert cell["status"] == "fail", cell["message"]
    assert cell["problems"][0]["kind"] == KINDS[name], cell["problems"]
    assert "of card memory" in (done[1] / cell["log"]).read_text(errors="replace")
    assert f"{name}.toml" in cell["reproduce"] and "qemu" in cell["reproduce_guest"]


def test_each_failure_says_what_it_saw(cells: dict[str, Any]) -> None:
    for name, words in (
        ("warning", "mm/made_up.c:1"),
        ("missing", "never said"),
        ("status", "no luck"),
        ("panic", "panic"),
        ("module", "no"),
    ):
        assert words in cells[name]["message"], cells[name]["message"]


@pytest.mark.parametrize("name", ["good", "declared"])
def test_the_run_goes_on(cells: dict[str, Any], name: str) -> None:
    assert cells[name]["status"] == "pass", cells[name]["message"]
    assert cells[name]["verified"] is True


def test_declared_line_is_shown(cells: dict[str, Any]) -> None:
    assert any("WARNING: declared" in line for line in cells["declared"]["console_seen"])


def test_the_run_fails_and_all_is_reported(done: tuple[int, Path, str]) -> None:
    code, out, text = done
    assert code == 1
    assert f"2 cells as expected, {len(KINDS)} failed" in text
    root = ElementTree.parse(out / "junit.xml").getroot()
    assert len(list(root.iter("testcase"))) == len(CASES)
    assert {failure.get("type") for failure in root.iter("failure")} >= set(KINDS.values())
    assert "FAILED: panic" in (out / "report.html").read_text()
