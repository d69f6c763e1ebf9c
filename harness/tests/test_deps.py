# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make deps` does on machines with and without the packages and the rights.

The machine is a PATH of programs that only write down how they were called; nothing is installed.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gigalock_harness.places import TOP

LIST = [
    word
    for line in (TOP / "packages.list").read_text().splitlines()
    for word in line.partition("#")[0].split()
]
REAL = ["sh", "sed", "grep", "dirname", "env", "cat", "date", "expand", "make", "mkdir"]
INSTALL = "apt-get install -y --no-install-recommends"

# What each of them writes is one line of calls: its name and its arguments.
FAKES = {
    "dpkg-query": """for last; do :; done
case " $MISSING " in *" $last "*) exit 1;; esac
echo 'install ok installed'""",
    "id": 'echo "$FAKE_UID"',
    "sudo": """echo "sudo $*" >>"$CALLS"
case $SUDO$1 in
free-n) exit 0;; *-n) exit 1;;
asks-v) exit 0;; *-v) exit 1;;
esac
[ "$SUDO" = denied ] && exit 1
exec "$@\"""",
    "apt-get": """echo "apt-get $*" >>"$CALLS"
case " $* " in *" update "*) exit "$UPDATE";; esac""",
}


@dataclass
class Machine:
    folder: Path
    missing: list[str] = field(default_factory=list)
    uid: int = 0
    sudo: str | None = None  # None: there is none; free, asks, denied
    update: int = 0

    def run(self, *command: str, terminal: bool = False) -> subprocess.CompletedProcess[str]:
        path = self.folder / "bin"
        path.mkdir()
        for name in REAL:
            found = shutil.which(name)
            assert found, name
            (path / name).symlink_to(found)
        for name, text in FAKES.items():
            if name == "sudo" and self.sudo is None:
                continue
            (path / name).write_text(f"#!/bin/sh\n{text}\n")
            (path / name).chmod(0o755)
        here, there = pty.openpty()
        try:
            return subprocess.run(
                command or [str(TOP / "scripts" / "deps")],
                stdin=there if terminal else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                env={
                    "PATH": str(path),
                    "HOME": str(self.folder),
                    "CALLS": str(self.folder / "calls"),
                    "MISSING": " ".join(self.missing),
                    "FAKE_UID": str(self.uid),
                    "SUDO": self.sudo or "",
                    "UPDATE": str(self.update),
                },
            )
        finally:
            os.close(here)
            os.close(there)

    def calls(self) -> list[str]:
        log = self.folder / "calls"
        return log.read_text().splitlines() if log.exists() else []


TWO = [LIST[3], LIST[-1]]


def test_the_list_is_a_list() -> None:
    assert len(LIST) > 20 and len(set(LIST)) == len(LIST)
    assert all(name.replace("-", "").replace("+", "").replace(".", "").isalnum() for name in LIST)


@pytest.mark.parametrize("uid", [0, 1000])
def test_nothing_missing_nothing_called(tmp_path: Path, uid: int) -> None:
    machine = Machine(tmp_path, uid=uid, sudo="free")
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls() == []


@pytest.mark.parametrize("update", [0, 100])
def test_root_installs_what_is_missing_and_only_that(tmp_path: Path, update: int) -> None:
    """Lists that can't be updated may still be good enough."""
    machine = Machine(tmp_path, TWO, update=update)
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert machine.calls() == ["apt-get -q update", f"{INSTALL} {' '.join(TWO)}"]
    assert ("update failed" in done.stderr) is (update != 0)


def exact(done: subprocess.CompletedProcess[str], packages: list[str]) -> None:
    assert done.returncode == 1
    assert f"  apt-get update && {INSTALL} {' '.join(packages)}\n" in done.stderr
    assert "may not install" in done.stderr


@pytest.mark.parametrize("terminal", [False, True])
def test_without_sudo_it_prints_the_command_and_stops(tmp_path: Path, terminal: bool) -> None:
    machine = Machine(tmp_path, TWO, uid=1000)
    exact(machine.run(terminal=terminal), TWO)
    assert machine.calls() == []


@pytest.mark.parametrize("terminal", [False, True])
def test_sudo_that_refuses_is_no_sudo(tmp_path: Path, terminal: bool) -> None:
    machine = Machine(tmp_path, TWO, uid=1000, sudo="denied")
    exact(machine.run(terminal=terminal), TWO)
    assert machine.calls() == ["sudo -n true", *["sudo -v"] * terminal]


def test_a_password_is_asked_for_on_a_terminal_only(tmp_path: Path) -> None:
    for terminal in (False, True):
        folder = tmp_path / str(terminal)
        folder.mkdir()
        machine = Machine(folder, TWO, uid=1000, sudo="asks")
        done = machine.run(terminal=terminal)
        if not terminal:
            exact(done, TWO)
            continue
        assert done.returncode == 0, done.stderr
        assert machine.calls() == [
            "sudo -n true",
            "sudo -v",
            "sudo apt-get -q update",
            "apt-get -q update",
            f"sudo env DEBIAN_FRONTEND=noninteractive {INSTALL} {' '.join(TWO)}",
            f"{INSTALL} {' '.join(TWO)}",
        ]


def test_check_only_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path, TWO)
    done = machine.run(str(TOP / "scripts" / "deps"), "--check")
    assert (done.returncode, done.stdout) == (1, f"missing packages: {' '.join(TWO)}\n")
    assert machine.calls() == []


@pytest.mark.parametrize("target", ["demo", "test", "shell", "lint"])
def test_make_stops_there(tmp_path: Path, target: str) -> None:
    """Nothing is built, and nothing runs, on a machine that lacks a package."""
    machine = Machine(tmp_path, TWO, uid=1000)
    build = tmp_path / "build"
    done = machine.run(
        "make", "-C", str(TOP), target, f"BUILD={build}", f"GIGALOCK_CACHE={tmp_path / 'cache'}"
    )
    assert done.returncode == 2
    assert f"  apt-get update && {INSTALL} {' '.join(TWO)}\n" in done.stderr
    built = [one for one in build.rglob("*") if one != build / "tmp"]
    assert not built and not (tmp_path / "cache").exists(), done.stdout
