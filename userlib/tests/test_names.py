# SPDX-License-Identifier: GPL-2.0-or-later
"""The shared library against the kernel header and its own: names, symbols, installation.

The header's comments are the home of the names. They are read here a second time, in
another way than the build does it, and compared with what the library says.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

# Of the names in node GIGALOCK_1.0, sorted.
RELEASED_1_0 = "995096804e9e4a9b"
USERLIB = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", USERLIB.parent / "build")).resolve()
OUT = BUILD / "userlib"
FAILURE_PAGE = OUT / "man/glk_failure.3"
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
    nodes = dict(re.findall(r" T (\w+)@@(GIGALOCK_1\.\d)$", said, re.M))
    everything = set(re.findall(r" [A-Z] (\w+)", said)) - {"GIGALOCK_1"}
    declared = set(re.findall(r"\b(glk_\w+)\(", re.sub(r"/\*.*?\*/", "", API, flags=re.S)))
    assert set(nodes) == declared
    assert everything == declared, "something that is not in the header is exported"
    # A node that was released never changes.
    released = [name for name, node in nodes.items() if node == "GIGALOCK_1.0"]
    assert len(released) == 50
    assert hashlib.sha256(" ".join(sorted(released)).encode()).hexdigest()[:16] == RELEASED_1_0


def test_every_function_has_a_manual_page() -> None:
    pages = FAILURE_PAGE.read_text() + "".join(p.read_text() for p in (USERLIB / "man").glob("*.3"))
    declared = set(re.findall(r"\b(glk_\w+)\(", re.sub(r"/\*.*?\*/", "", API, flags=re.S)))
    missing = {
        name for name in declared if not re.search(rf"^\.Fn {name}\b|^\.Fo {name}\b", pages, re.M)
    }
    assert not missing


def page_section(name: str) -> dict[str, str]:
    """The items of a section of glk_failure(3), as a reader sees them."""
    shown = subprocess.run(
        ["mandoc", "-T", "utf8", "-O", "width=1000", str(FAILURE_PAGE)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = re.sub(".\b", "", shown)
    section = re.search(rf"^{name}$(.*?)^\S", shown, re.M | re.S)
    assert section
    items: dict[str, str] = {}
    for line in section[1].splitlines():
        found = re.match(r"^     ([a-z][a-z-]*)(?:\s{2,}(\S.*))?$", line)
        if found:
            items[found[1]] = found[2] or ""
            last = found[1]
        elif line.startswith("      ") and items:
            items[last] = (items[last] + " " + line.strip()).strip()
    return items


def remedies() -> dict[str, str]:
    """The remedies of lib/reasons.c, read from its text."""
    source = (USERLIB / "lib/reasons.c").read_text()
    table = source.partition("words[GIGALOCK_REASON_COUNT] = {")[2]
    found = re.findall(r"\[GIGALOCK_REASON_(\w+)\] = \{(.*?)\n\t\},", table, re.S)
    by_define = {}
    for define, body in found:
        strings = re.split(r'",\s*\n', body)
        assert len(strings) in (2, 3), body
        by_define[define] = "".join(re.findall(r'"([^"]*)"?', strings[1]))
    return by_define


def test_manual_page_has_every_reason(lib: ctypes.CDLL) -> None:
    lib.glk_strategy_list.restype = ctypes.c_char_p
    page = page_section("REASONS")
    table = remedies()
    in_header = re.findall(
        r"^#define GIGALOCK_REASON_(?!COUNT)(\w+)\s+\d+\s+/\* (.*?): (.*?) \*/", UAPI, re.M
    )
    assert len(in_header) == len(table) == count("REASON")
    assert list(page) == [name for _, name, _ in in_header]
    for define, name, observation in in_header:
        remedy = table[define].replace("{strategies}", lib.glk_strategy_list().decode())
        remedy = re.sub(r"\{(\w+)\}", r"\1", remedy)
        expected = f"{observation[0].upper()}{observation[1:]}. {remedy}"
        assert re.sub(r"\s+", " ", page[name]) == expected


def test_manual_page_has_every_stage() -> None:
    page = page_section("STAGES")
    pattern = r"^#define GIGALOCK_STAGE_(?!COUNT)\w+\s+\d+\s+/\* ([a-z-]+)(.*?) \*/"
    stages = dict(re.findall(pattern, UAPI, re.M))
    assert len(stages) == count("STAGE")
    assert list(page) == list(stages)
    for name, rest in stages.items():
        assert page[name].lower() == (rest.removeprefix(": ").lower() + "." if rest else "")


def names_in_manual_pages() -> dict[str, set[str]]:
    """Words in the pages that look like a reason, by page: x-y of the known beginnings."""
    known = {name.partition(":")[0] for _, name in defines("REASON")}
    heads = {name.split("-")[0] for name in known if "-" in name}
    found = {}
    for page in [*(USERLIB / "man").glob("*.[13]"), FAILURE_PAGE]:
        words = set(re.findall(r"(?<![\w-])[a-z]+(?:-[a-z]+)+(?![\w-])", page.read_text()))
        found[page.name] = {word for word in words if word.split("-")[0] in heads} - known
    return found


def test_manual_pages_name_no_reason_that_does_not_exist() -> None:
    options = {"card-offset", "no-touch", "no-verify", "no-crc", "no-such", "no-map"}
    options |= {"io-uring", "dma-buf"}
    for page, words in names_in_manual_pages().items():
        assert words <= options, page


def errnos_of_reasons(text: str, known: set[str]) -> dict[str, set[str]]:
    """Of a list such as "EFAULT bad-address, read-only EIO dma-map"."""
    said: dict[str, set[str]] = {}
    errno = ""
    for word in re.findall(r"\bE[A-Z0-9]{2,}\b|[a-z]+(?:-[a-z]+)*", text):
        if word.isupper():
            errno = word
        elif word in known:
            said.setdefault(word, set()).add(errno)
    return said


def test_errno_values_agree_with_the_header() -> None:
    """A page's ERRORS list gives a reason the errno that the kernel's header gives it."""
    known = {comment.partition(":")[0] for _, comment in defines("REASON")} - {"none"}
    lists = "".join(re.findall(r"^ \* Errors.*?\*/", UAPI, re.M | re.S)).replace("\n *", "\n")
    others = re.findall(r"(\S+) \(or (.*?[a-z])", lists)
    header = errnos_of_reasons(re.sub(r"\(.*?\)", "", lists, flags=re.S), known)
    assert header["killed"] == {"EINTR"} and header["device-error"] == {"EIO"}
    # What the driver never sees; and a transfer that it would let go on.
    header |= {"overcommit": {"ENOMEM"}, "address-space": {"ENOMEM"}, "timeout": {"ETIMEDOUT"}}
    header |= {"hugetlb-pool": {"ENOMEM"}, "hugetlb-size": {"EINVAL"}}
    pages: dict[str, set[str]] = {}
    for name in ("glk_lock.3", "glk_xfer.3"):
        page = (USERLIB / "man" / name).read_text()
        page = page.partition(".Sh ERRORS")[2].partition(".Sh SEE ALSO")[0]
        page = re.sub(r"EOPNOTSUPP , EBUSY\nunpinnable", "", page)
        for reason, errnos in errnos_of_reasons(page, known).items():
            pages.setdefault(reason, set()).update(errnos)
    assert pages.pop("device-gone") == {"ENODEV"}
    assert pages == {reason: header[reason] for reason in pages}
    assert len(pages) >= 41
    # A kernel may say something else of these: the page tells so, too.
    assert ["unpinnable", "dma-map"] == [reason for reason, _ in others if reason in known]
    lock = (USERLIB / "man/glk_lock.3").read_text()
    assert "EOPNOTSUPP , EBUSY\nunpinnable" in lock and "dma-map it may be another" in lock


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
    assert tool.stdout == "gigalock 1.1\n"
    pages = {p.name.removesuffix(".in") for p in (USERLIB / "man").glob("*.[13]*")}
    installed = {p.name for p in (root / "usr/share/man").rglob("*.[13]")}
    assert installed == pages and len(pages) >= 8


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
                f"#define GIGALOCK_REASON_COUNT\t\t{count('REASON')}",
                f"#define GIGALOCK_REASON_COUNT\t\t{count('REASON') + 1}",
            ),
            f"{count('REASON')} of REASON",
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
