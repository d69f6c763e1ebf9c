# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix command with real guests: pairs, templates, and everything that can go wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from demo_command import HARNESS, SECONDS, harness
from guests import alive, descendants

FAILING = """\
format = 2
name = "{name}.failing"
title = "A user with a limit"
cause = "{cause}"
[guest]
ram = "256M"
user = 1000
setup = [{setup}]
[guest.rlimit]
memlock = "4M"
[limits]
step_seconds = 40
[request]
bytes = "32M"
strategy = "sg"
check = "device"
search = false
[[expect]]
outcome = "fails"
reason = "memlock-limit"
"""
CURED = """\
format = 2
name = "{name}.cured"
title = "The same with more"
cures = "{name}.failing"
[remedy]
kind = "{kind}"
value = "{value}"
"""
PANIC = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 30"
# What the failing file of each pair says; what the cured file claims.
PAIRS: dict[str, tuple[str, str, str, str]] = {
    "good": ("memlock-limit", "", "limit", "memlock=unlimited"),
    "wrong-cause": ("memcg-limit", "", "limit", "memlock=unlimited"),
    "unprinted": ("memlock-limit", "", "ram", "512M"),
    "panic": ("memlock-limit", PANIC, "limit", "memlock=unlimited"),
    "hang": ("memlock-limit", "sleep 1000", "limit", "memlock=unlimited"),
}
PAIRS_APART = {
    "disk": ("memlock-limit", "cat /dev/zero > /run/full", "limit", "memlock=unlimited"),
}


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cause, setup, kind, value = (PAIRS | PAIRS_APART)[name]
        quoted = json.dumps(setup) if setup else ""
        (folder / f"{name}.failing.toml").write_text(
            FAILING.format(name=name, cause=cause, setup=quoted)
        )
        (folder / f"{name}.cured.toml").write_text(CURED.format(name=name, kind=kind, value=value))
    return folder


def matrix(folder: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return harness("matrix", "--folder", str(folder), "--out", str(out), *options)


def read(out: Path) -> dict[str, dict[str, Any]]:
    cells = json.loads((out / "matrix.json").read_text())["cells"]
    return {cell["name"].replace("-256M-stock-sg", ""): cell for cell in cells}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, str]:
    folder = tmp_path_factory.mktemp("matrix")
    done = matrix(write(folder / "s", *PAIRS), folder / "out", "--seed", "1")
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode, folder / "out", done.stdout


@pytest.fixture(scope="module")
def cells(bad: tuple[int, Path, str]) -> dict[str, dict[str, Any]]:
    return read(bad[1])


def test_a_pair(cells: dict[str, dict[str, Any]]) -> None:
    failing, cured = cells["good.failing"], cells["good.cured"]
    assert (failing["status"], failing["reason"]) == ("pass", "memlock-limit"), failing["problems"]
    assert failing["cause"] == failing["expected_cause"] == "memlock-limit"
    assert any("MEMLOCK" in str(one) for one in failing["evidence"]), failing["evidence"]
    assert (cured["status"], cured["verified"], cured["remedy_printed"]) == ("pass", True, True)
    assert cured["move"]["crc_host"] == cured["move"]["crc_to_card"]
    assert failing["template"] and cured["template"], "both began from one template"
    assert cured["overhead_s"] < cured["duration_s"]


@pytest.mark.parametrize(
    "name, kinds, words",
    [
        ("wrong-cause.failing", {"doctor"}, "should name memcg-limit, but names memlock-limit"),
        ("unprinted.cured", {"expectation", "remedy"}, "ram 512M, was not printed"),
        ("panic.failing", {"panic"}, "panicked"),
        ("hang.failing", {"hang"}, "was not done in 40 s"),
    ],
)
def test_what_must_fail(
    cells: dict[str, dict[str, Any]], name: str, kinds: set[str], words: str
) -> None:
    cell = cells[name]
    assert cell["status"] == "fail"
    assert {problem["kind"] for problem in cell["problems"]} <= kinds, cell["problems"]
    assert words in cell["message"], cell["message"]


def test_the_run_ends_with_all_of_it(bad: tuple[int, Path, str]) -> None:
    code, out, text = bad
    assert code == 1
    for line in ("150 cells at the rate of", "harness overhead of a cell with a template"):
        assert line in text
    assert "FAILED panic.failing" in text and "memlock-limit" in text
    assert "the causes" in (out / "report.html").read_text().lower()
    assert (out / "junit.xml").read_text().count("<failure") >= 4


def test_a_tenth_boots_afresh(cells: dict[str, dict[str, Any]]) -> None:
    fresh = [cell for cell in cells.values() if cell["fresh"]]
    served = [cell for cell in cells.values() if not cell["fresh"]]
    assert len(served) == 2 * len(PAIRS)
    assert len(fresh) == math.ceil(len(served) / 10) and not any(cell["template"] for cell in fresh)


def test_a_guest_whose_disk_is_full(tmp_path: Path) -> None:
    """It fails for that, and the guest after it, from the same template, knows nothing of it."""
    folder = write(tmp_path / "s", "disk", "good")
    for cured in folder.glob("*.cured.toml"):
        cured.unlink()
    done = matrix(folder, tmp_path / "out", "--jobs", "1")
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    cells = read(tmp_path / "out")
    full = cells["disk.failing"]
    assert full["status"] == "fail" and full["problems"][0]["kind"] == "setup", full["problems"]
    assert "No space left on device" in full["message"], full["message"]
    after = cells["good.failing"]
    end = full["started_s"] + full["duration_s"]
    assert after["started_s"] >= end and after["template"], "it came before"
    assert (after["status"], after["reason"]) == ("pass", "memlock-limit"), after["problems"]


def test_two_runs_at_once(tmp_path: Path) -> None:
    """Each in a folder of its own; a third one that wants the first's is refused."""
    folder = write(tmp_path / "s", "good")
    runs = [
        subprocess.Popen(
            [
                *("/usr/bin/python3", "-m", "gigalock_harness", "matrix", "--jobs", "1"),
                *("--folder", str(folder), "--out", str(tmp_path / f"out{n}")),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(HARNESS)},
        )
        for n in range(2)
    ]
    end = time.monotonic() + SECONDS
    while not (tmp_path / "out0" / "cells").exists():
        assert time.monotonic() < end and runs[0].poll() is None, runs[0].communicate()
        time.sleep(0.05)
    third = matrix(folder, tmp_path / "out0")
    assert third.returncode == 1 and third.stdout == ""
    assert third.stderr.count("\n") == 1 and f"writing to {tmp_path / 'out0'};" in third.stderr
    for n, run in enumerate(runs):
        text, _ = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, text
        assert read(tmp_path / f"out{n}")["good.cured"]["status"] == "pass"


def test_ctrl_c_in_the_middle(tmp_path: Path) -> None:
    """While a template's guest is at work: nothing is left, and what was done is reported."""
    folder, out = write(tmp_path / "s", "good", "hang"), tmp_path / "out"
    run = subprocess.Popen(
        [
            *("/usr/bin/python3", "-m", "gigalock_harness", "matrix", "--jobs", "2"),
            *("--folder", str(folder), "--out", str(out)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
    )
    try:
        # That cell, or, if it was drawn, the one of it that boots afresh, which comes first.
        def hangs() -> bool:
            logs = out.glob("cells/hang.failing-256M-stock-sg*/commands.log")
            return any("sleep 1000" in log.read_text() for log in logs)

        end = time.monotonic() + SECONDS
        while not hangs():
            assert time.monotonic() < end and run.poll() is None, run.communicate()
            time.sleep(0.1)
        started = descendants(run.pid)
        assert any("qemu-system" in line for line in started.values())
        os.killpg(run.pid, signal.SIGINT)
        text, _ = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130 and "Traceback" not in text, text
    time.sleep(0.5)
    assert not [line for pid, line in started.items() if alive(pid)]
    hang = read(out)["hang.failing"]
    assert (hang["status"], hang["message"]) == ("skip", "interrupted")
    assert json.loads((out / "matrix.json").read_text())["run"]["interrupted"] is True
    assert (out / "report.html").exists() and (out / "junit.xml").exists()


def apart(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A shell script with mounts of its own, and no QEMU left that has to do with the folder."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    # As somebody who is root only in there, where that is permitted; else as root.
    for command in (["unshare", "-rm"], ["unshare", "-m"]):
        trial = [*command, "sh", "-c", f"mount -t tmpfs tmpfs '{folder}'"]
        if not subprocess.run(trial, capture_output=True, check=False).returncode:
            break
    else:
        pytest.skip("no mounts of one's own here: neither unshare -rm nor unshare -m can mount")
    done = subprocess.run(
        [*command, "sh", "-ec", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
    )
    lines = [
        line
        for pid, line in descendants(1).items()
        if "qemu-system" in line and str(folder) in line and alive(pid)
    ]
    assert not lines
    return done


def fill(folder: str) -> str:
    """Shell lines that mount a small disk there and fill it to the last byte."""
    return (
        f"mount -t tmpfs -o size=64k tmpfs {folder}\n"
        f"cat /dev/zero > {folder}/full 2>/dev/null || true\n"
        f"[ $(df --output=avail {folder} | tail -1) = 0 ] || {{ df {folder} >&2; exit 99; }}\n"
    )


def test_a_full_dev_shm(tmp_path: Path) -> None:
    """Nothing of a guest lies there, templates neither."""
    folder = write(tmp_path / "s", "good")
    done = apart(
        tmp_path,
        fill("/dev/shm")
        + f"/usr/bin/python3 -m gigalock_harness matrix --folder {folder} --out {tmp_path}/out",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(tmp_path / "out")["good.failing"]["template"] is True


def test_a_full_disk(tmp_path: Path) -> None:
    """Where the results should go: an error in a line, and no guest is left."""
    folder = write(tmp_path / "s", "good")
    (tmp_path / "out").mkdir()
    done = apart(
        tmp_path,
        fill(f"{tmp_path}/out")
        + f"/usr/bin/python3 -m gigalock_harness matrix --folder {folder} --out {tmp_path}/out",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "No space left on device" in done.stderr
