# SPDX-License-Identifier: GPL-2.0-or-later
"""The shared library against the kernel header and its own: names, symbols, installation.

The header's comments are the home of the names. They are read here a second time, in
another way than the build does it, and compared with what the library says.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path

import pytest

USERLIB = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", USERLIB.parent / "build")).resolve()
OUT = BUILD / "userlib"
UAPI = (USERLIB.parent / "driver/include/uapi/linux/gigalock.h").read_text()
API = (USERLIB / "include/gigalock.h").read_text()


@pytest.fixture(scope="module")
def lib() -> ctypes.CDLL:
    library = ctypes.CDLL(str(OUT / "libgigalock.so.1"))
    for name in (
        "glk_reason_name",
        "glk_reason_observation",
        "glk_stage_name",
        "glk_strategy_name",
        "glk_version",
    ):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def defines(kind: str) -> list[tuple[int, str]]:
    found = re.findall(
        rf"^#define GIGALOCK_{kind}_(?!COUNT)\w+\s+(\d+)\s+/\* (.*?) \*/", UAPI, re.M
    )
    return [(int(number), comment) for number, comment in found]


def count(kind: str) -> int:
    found = re.search(rf"^#define GIGALOCK_{kind}_COUNT\s+(\d+)", UAPI, re.M)
    assert found
    return int(found[1])


def test_reasons_are_those_of_the_header(lib: ctypes.CDLL) -> None:
    reasons = defines("REASON")
    assert [number for number, _ in reasons] == list(range(count("REASON")))
    for number, comment in reasons:
        name, _, observation = comment.partition(": ")
        assert lib.glk_reason_name(number).decode() == name
        assert lib.glk_reason_observation(number).decode() == observation
        assert lib.glk_reason_by_name(name.encode()) == number
    assert lib.glk_reason_name(count("REASON")) == b"unknown"


def test_stages_are_those_of_the_header(lib: ctypes.CDLL) -> None:
    stages = defines("STAGE")
    assert len(stages) == count("STAGE")
    for number, comment in stages:
        assert lib.glk_stage_name(number).decode() == comment.partition(":")[0]


def test_strategies_are_those_of_the_header(lib: ctypes.CDLL) -> None:
    found = re.findall(r"^#define GIGALOCK_STRATEGY_(?!COUNT)(\w+)\s+(\d+)", UAPI, re.M)
    assert len(found) == count("STRATEGY")
    for name, number in found:
        assert lib.glk_strategy_name(int(number)).decode() == name.lower().replace("_", "-")


def test_exported_symbols_are_the_public_api() -> None:
    said = subprocess.run(
        ["nm", "-D", "--defined-only", str(OUT / "libgigalock.so.1")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = set(re.findall(r" T (\w+)@@GIGALOCK_1\.0$", said, re.M))
    everything = set(re.findall(r" [A-Z] (\w+)", said)) - {"GIGALOCK_1.0", "GIGALOCK_1"}
    declared = set(re.findall(r"\b(glk_\w+)\(", re.sub(r"/\*.*?\*/", "", API, flags=re.S)))
    assert exported == declared
    assert everything == declared, "something that is not in the header is exported"


def test_every_function_has_a_manual_page() -> None:
    pages = "".join(p.read_text() for p in (USERLIB / "man").glob("*.3"))
    declared = set(re.findall(r"\b(glk_\w+)\(", re.sub(r"/\*.*?\*/", "", API, flags=re.S)))
    missing = {
        name for name in declared if not re.search(rf"^\.Fn {name}\b|^\.Fo {name}\b", pages, re.M)
    }
    assert not missing


def test_every_function_is_explained_in_the_header() -> None:
    comments = "".join(re.findall(r"/\*.*?\*/", API, re.S))
    declared = set(re.findall(r"\b(glk_\w+)\(", re.sub(r"/\*.*?\*/", "", API, flags=re.S)))
    assert {name for name in declared if f"{name}()" not in comments} == set()


def test_installed_library_can_be_used(tmp_path: Path) -> None:
    """Install, then build the example as anyone would: with pkg-config."""
    root = tmp_path / "root"
    done = subprocess.run(
        [
            "flock",
            str(BUILD),
            "make",
            "-s",
            "-C",
            str(USERLIB),
            f"BUILD={BUILD}",
            "install",
            f"DESTDIR={root}",
            "PREFIX=/usr",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    env = {
        **os.environ,
        "PKG_CONFIG_PATH": str(root / "usr/lib/pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": str(root),
    }
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libgigalock"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    program = tmp_path / "program"
    subprocess.run(
        [
            "cc",
            "-Werror",
            "-Wall",
            "-o",
            str(program),
            str(USERLIB / "examples/lock-and-move.c"),
            *flags,
        ],
        check=True,
    )
    env["LD_LIBRARY_PATH"] = str(root / "usr/lib")
    ran = subprocess.run(
        [str(program), "1G", "/dev/no-such-card"], env=env, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert "no-device" in ran.stderr
    tool = subprocess.run(
        [str(root / "usr/bin/gigalock"), "--version"], env=env, capture_output=True, text=True
    )
    assert tool.stdout == "gigalock 1.0\n"
    for page in ("man1/gigalock.1", "man3/libgigalock.3"):
        assert (root / "usr/share/man" / page).exists()


def test_header_is_fine_for_cpp(tmp_path: Path) -> None:
    source = tmp_path / "x.cpp"
    source.write_text("#include <gigalock.h>\nint main() { return glk_version() == nullptr; }\n")
    done = subprocess.run(
        [
            "g++",
            "-fsyntax-only",
            "-Wall",
            "-Werror",
            f"-I{USERLIB / 'include'}",
            f"-I{USERLIB.parent / 'driver/include/uapi'}",
            str(source),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: re.sub(r" +/\* killed:.*?\*/", "", text), "no comment that names it"),
        (
            lambda text: text.replace(
                "#define GIGALOCK_REASON_COUNT\t\t29", "#define GIGALOCK_REASON_COUNT\t\t30"
            ),
            "29 of REASON",
        ),
        (lambda text: text.replace("/* killed:", "/* Killed!:"), "not a name"),
    ],
    ids=["comment", "count", "name"],
)
def test_build_refuses_a_broken_header(tmp_path: Path, change: object, complaint: str) -> None:
    header = tmp_path / "gigalock.h"
    assert callable(change)
    header.write_text(change(UAPI))
    assert header.read_text() != UAPI
    done = subprocess.run(
        ["awk", "-f", str(USERLIB / "lib/names.awk"), str(header)], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert complaint in done.stderr
