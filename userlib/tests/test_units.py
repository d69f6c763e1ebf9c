# SPDX-License-Identifier: GPL-2.0-or-later
"""The C unit tests as pytest tests: plain, with the sanitizers, under valgrind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
USERLIB = HERE.parent
BUILD = Path(os.environ.get("BUILD", USERLIB.parent / "build")).resolve()
NAMES = sorted(p.stem for p in HERE.glob("tests-*.c"))
SANITIZERS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"


def build(name: str, out: Path, cflags: str | None = None) -> Path:
    """Build one program; each has its own lock, as several workers may ask for it."""
    program = out / "userlib" / "tests" / name
    out.mkdir(parents=True, exist_ok=True)
    command = ["flock", str(out), "make", "-s", "-C", str(USERLIB), f"BUILD={out}", str(program)]
    if cflags:
        command.append(f"CFLAGS={cflags}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return program


def run(command: list[str], **extra: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, **extra}
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    ran = re.search(r"(\d+) test\(s\) run", said)
    assert ran and int(ran[1]) > 0, f"no test ran:\n{said}"


@pytest.mark.parametrize("name", NAMES)
def test_unit(name: str) -> None:
    run([str(build(name, BUILD))])


@pytest.mark.parametrize("name", NAMES)
def test_unit_sanitized(name: str) -> None:
    run([str(build(name, BUILD / "userlib" / "asan", SANITIZERS))])


@pytest.mark.parametrize("name", NAMES)
def test_unit_valgrind(name: str) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    run(
        [
            "valgrind",
            "-q",
            "--error-exitcode=99",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            str(build(name, BUILD)),
        ],
        UNDER_VALGRIND="1",
    )
