# SPDX-License-Identifier: GPL-2.0-or-later
"""Two runs with one output folder: the second is refused and leaves the first's files alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness import cli, outdir, trial
from gigalock_harness.benches import cli as bench
from gigalock_harness.places import CATALOGUE

HOLDER = """\
import sys
from pathlib import Path
from gigalock_harness import outdir
with outdir.taken(Path(sys.argv[1])):
    print("taken", flush=True)
    sys.stdin.read()
"""
FILE = str(CATALOGUE / "12-memlock-limit.failing.toml")


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[Path]:
    """A folder that another process writes to, with something of each kind of run in it."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "taken\n"
    for name in ("matrix.json", "trial.json", "predictions.jsonl", "bench.json"):
        (out / name).write_text("the first run's\n")
    yield out
    process.communicate()


def files(folder: Path) -> dict[str, str]:
    return {str(p): p.read_text() for p in folder.rglob("*") if p.is_file()}


RUNS = {
    "demo": lambda out: cli.main(["demo", "--out", out]),
    "run": lambda out: cli.main(["run", FILE, "--out", out]),
    "matrix": lambda out: cli.main(["matrix", "--scenarios", "12-", "--out", out]),
    "trial": lambda out: trial.main(["--out", out]),
    "bench": lambda out: bench.main(["--out", out]),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_second_run_is_refused(
    in_use: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a guest was started")

    monkeypatch.setattr("gigalock_harness.guest.Guest._start", started)
    before = files(in_use)
    code = RUNS[name](str(in_use))
    said = capsys.readouterr()
    assert code not in (0, None) and said.out == ""
    assert said.err.count("\n") == 1 and str(in_use) in said.err and "--out" in said.err
    assert files(in_use) == before


def test_another_folder_is_free(in_use: Path) -> None:
    with outdir.taken(in_use.with_name("other")):
        pass


def test_the_folder_is_free_after_a_run(tmp_path: Path) -> None:
    """After one that was killed, too, and while a child of it lives on."""
    script = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from gigalock_harness import outdir\n"
        "with outdir.taken(Path(sys.argv[1])):\n"
        "    child = subprocess.Popen(['cat'], stdout=subprocess.DEVNULL)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE)
    try:
        assert process.wait(timeout=60) == -9
        with outdir.taken(tmp_path):
            pass
        with outdir.taken(tmp_path), pytest.raises(outdir.FolderInUse):
            with outdir.taken(tmp_path):
                pass
    finally:
        process.communicate()
