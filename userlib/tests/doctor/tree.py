# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded machines: what /proc and /sys of a guest said, in one text file.

    == expect               JSON: what was asked for, and what then truly happened
    == dir PATH             a folder with nothing in it that matters
    == runs proc/kpageflags "COUNT HEX" lines, of flags that are the same in a row
    == PATH                 a file, as it was

expand() makes the folder of it that `gigalock doctor --root` reads.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Of /proc/kpageflags: the bits that say whose a page is.
TELLING = (5, 7, 10, 11, 12, 14, 15, 16, 17, 20, 22, 23, 24, 26, 32)
MASK = sum(1 << bit for bit in TELLING)


def runs(flags: bytes) -> str:
    """Page flags as lines of runs; a free page is just free."""
    lines = []
    last, count = -1, 0
    for (value,) in struct.iter_unpack("<Q", flags[: len(flags) // 8 * 8]):
        value &= MASK
        if value >> 10 & 1:
            value = 1 << 10
        if value != last:
            if count:
                lines.append(f"{count} {last:x}")
            last, count = value, 0
        count += 1
    if count:
        lines.append(f"{count} {last:x}")
    return "\n".join(lines) + "\n"


def unrun(lines: Iterable[str]) -> bytes:
    out = bytearray()
    for line in lines:
        count, value = line.split()
        out += struct.pack("<Q", int(value, 16)) * int(count)
    return bytes(out)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """(heading, content) of each section."""
    heading, lines = "", list[str]()
    for line in text.splitlines(keepends=True):
        if line.startswith("== "):
            if heading:
                yield heading, "".join(lines)
            heading, lines = line[3:].strip(), []
        elif heading:
            lines.append(line)
    if heading:
        yield heading, "".join(lines)


def expand(recorded: Path, root: Path) -> dict[str, Any]:
    """Write the tree below root; returns what is expected of it."""
    expect: dict[str, Any] = {}
    for heading, content in sections(recorded.read_text(encoding="utf-8")):
        kind, _, path = heading.rpartition(" ")
        if heading == "expect":
            expect = json.loads(content)
            continue
        place = root / path
        if kind == "dir":
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "runs":
            place.write_bytes(unrun(content.splitlines()))
        else:
            place.write_text(content, encoding="utf-8")
    return expect
