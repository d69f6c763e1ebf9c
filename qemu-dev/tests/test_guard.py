# SPDX-License-Identifier: GPL-2.0-or-later
"""The loadable build refuses any QEMU but its own."""

import os
import subprocess

import pytest
from qemu import BUILD, TOP

QEMU = os.environ.get("QEMU") or "qemu-system-x86_64"


def run(so, *args, program=QEMU):
    """Run a program with a shared object preloaded."""
    return subprocess.run(
        [program, *args],
        env={**os.environ, "LD_PRELOAD": str(so)},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )


def build(out, **variables):
    """Build the device elsewhere, deliberately wrong."""
    cmd = ["make", "-s", "-C", str(TOP / "qemu-dev"), f"OUT={out}", f"{out}/gigalock.so"]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    subprocess.run(
        cmd + [f"{k}={v}" for k, v in variables.items()],
        check=True,
        env=env,
        timeout=120,
        capture_output=True,
    )
    return f"{out}/gigalock.so"


def version():
    out = subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True).stdout
    return out.splitlines()[0].removeprefix("QEMU emulator version ")


MACHINE = (
    "-machine",
    "q35",
    "-accel",
    "tcg",
    "-nodefaults",
    "-display",
    "none",
    "-S",
    "-device",
    "gigalock",
)


def refused(so, *words):
    """One line of ours that says what to do, and no guest."""
    done = run(so, *MACHINE)
    lines = [line for line in done.stderr.splitlines() if line.startswith("gigalock:")]
    assert len(lines) == 1, done.stderr
    for word in (*words, "make device"):
        assert word in lines[0]
    assert "'gigalock' is not a valid device model name" in done.stderr
    assert done.returncode == 1


def test_the_right_one_loads():
    done = run(BUILD / "qemu-dev" / "gigalock.so", "-device", "gigalock,help")
    assert done.returncode == 0
    assert "card-mem=<size>" in done.stdout
    assert "gigalock:" not in done.stderr


def test_another_version(tmp_path):
    other = "9.9.9 (Debian 1:9.9.9+ds-1)"
    refused(
        build(tmp_path, BUILT_FOR=other), f"built for QEMU {other}", f"this is QEMU {version()}"
    )


def test_another_package_build_of_the_same_version(tmp_path):
    other = version().replace(")", "+b9)")
    assert other != version()
    refused(
        build(tmp_path, BUILT_FOR=other), f"built for QEMU {other}", f"this is QEMU {version()}"
    )


def test_another_layout(tmp_path):
    """Same version and package text, but PCIDevice is laid out otherwise."""
    refused(build(tmp_path, SHIFT_LAYOUT="1"), "laid out otherwise", "property 'addr'")


@pytest.mark.parametrize("program", ["sh", "env", "/usr/bin/python3"])
def test_other_programs_are_left_alone(program):
    args = {"sh": ["-c", "echo fine"], "env": ["echo", "fine"]}.get(
        program, ["-c", "print('fine')"]
    )
    done = run(BUILD / "qemu-dev" / "gigalock.so", *args, program=program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_children_of_qemu_do_not_inherit_it(tmp_path):
    """QEMU's own children (here of an exec: migration target) get a clean environment."""
    seen = tmp_path / "seen"
    launcher = BUILD / "qemu-dev" / "gigalock-qemu"
    script = f"migrate exec:env>{seen}\nquit\n"
    subprocess.run(
        [launcher, "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"],
        input=script,
        text=True,
        timeout=60,
        capture_output=True,
        check=True,
    )
    assert seen.exists()
    assert not any(
        line.startswith("LD_PRELOAD=") and "gigalock" in line
        for line in seen.read_text().splitlines()
    )


def test_launcher_says_what_is_missing(tmp_path):
    copy = tmp_path / "gigalock-qemu"
    copy.write_bytes((BUILD / "qemu-dev" / "gigalock-qemu").read_bytes())
    copy.chmod(0o755)
    done = subprocess.run([copy], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "gigalock.so is missing; run 'make device'" in done.stderr
    done = subprocess.run(
        [BUILD / "qemu-dev" / "gigalock-qemu"],
        capture_output=True,
        text=True,
        env={**os.environ, "QEMU": "no-such-qemu"},
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "no-such-qemu is not installed" in done.stderr


def test_headers_of_a_version_that_is_gone(tmp_path):
    """The installed version has left the archive: one line says what to do."""
    done = subprocess.run(
        [TOP / "qemu-dev" / "scripts" / "qemu-headers"],
        timeout=300,
        env={**os.environ, "GIGALOCK_QEMU_SOURCE": "1:7.2+dfsg-0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "installed is QEMU 1:7.2+dfsg-0, the archive has" in last
    assert "apt-get install qemu-system-x86" in last
