# SPDX-License-Identifier: GPL-2.0-or-later
"""The front door: make help, and what the makefile says of itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from gigalock_harness.places import TOP

MAKEFILE = (TOP / "Makefile").read_text()


def make(*words: str, check: bool = True) -> str:
    return subprocess.run(
        ["make", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=check,
        cwd=TOP,
        env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))},
    ).stdout


@pytest.fixture(scope="module")
def listed() -> dict[str, str]:
    """Targets and what make help says of them; it is what make alone says, too."""
    text = make("help")
    assert text == make()
    return dict(re.findall(r"^([a-z][a-z-]*) {2,}(\S.*)$", text, re.M))


def test_help_lists_every_target(listed: dict[str, str]) -> None:
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE, re.M)
    assert phony
    targets = set(phony[1].replace("\\\n", " ").split())
    rules = set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.M))
    assert {"demo", "test", "shell", "help"} <= rules
    assert targets == rules == set(listed)


def test_help_says_what_test_leaves_out(listed: dict[str, str]) -> None:
    assert "every test" in listed["test"]
    assert "leaves out" in listed["test-full"] and "make test" in listed["test-full"]
    # ... and so it is: what pytest.ini leaves out is what test-full asks for.
    assert 'addopts = -m "not full"' in (TOP / "pytest.ini").read_text()
    assert re.search(r"^test-full:.*\n(?:\t.*\n)*\t.*pytest.* -m full ", MAKEFILE, re.M)


def test_full_runs_every_suite() -> None:
    """In this order, each one a target of its own; README lists the same."""
    suites = ["qtest", "coverage", "compile-check", "matrix", "test-kernels"]
    again = ["test-kernels KERNEL=debug"]
    recipe = re.search(r"^test-full: test\t.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert recipe
    called = re.findall(r"^\t@\$\(MAKE\) --no-print-directory ([a-z-].*)$", recipe[1], re.M)
    assert called == suites + again
    readme = (TOP / "README.md").read_text().split("`make test-full` adds it")[1]
    assert re.findall(r"`make ([^`]+)`", readme) == suites + again


def test_help_builds_nothing(tmp_path: Path) -> None:
    build = tmp_path / "build"
    make("help", f"BUILD={build}")
    assert not build.exists()


@pytest.mark.parametrize("variable", ["BUILD", "GIGALOCK_CACHE"])
def test_relative_folders_are_one_folder_for_all_parts(tmp_path: Path, variable: str) -> None:
    """Each part is made from within its own folder."""
    where = tmp_path / "there"
    relative = os.path.relpath(where, TOP)
    said = make("where", f"{variable}={relative}", "--eval", f"where: ; @echo $({variable})")
    assert said == f"{where}\n"


@pytest.mark.parametrize(
    "goal, built, words, kernels",
    [
        ("demo", (), (), "stock"),
        ("doctor-trial", (), (), "stock lab"),
        ("doctor-trial", ("6.12", "newest"), ("KERNEL=lab",), "stock lab 6.12"),
    ],
)
def test_kernels_of_a_goal(
    tmp_path: Path, goal: str, built: tuple[str, ...], words: tuple[str, ...], kernels: str
) -> None:
    """What is needed to run all of it is built for it."""
    for name in built:
        (tmp_path / "guest-image/kernels" / name).mkdir(parents=True)
    # What follows would need what was not built, and ends with an error.
    said = make("-n", goal, f"BUILD={tmp_path}", *words, check=False)
    (wanted,) = set(re.findall(r"guest-image kernel KERNELS=\"([^\"]*)\"", said))
    assert wanted.split() == kernels.split()
