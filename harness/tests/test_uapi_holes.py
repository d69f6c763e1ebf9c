# SPDX-License-Identifier: GPL-2.0-or-later
"""No struct of the ABI has a hole or a tail that nobody names: pahole looks.

Bytes that no member covers would carry what lay on the kernel's stack, and would differ between a
64-bit kernel and a 32-bit program.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from gigalock_harness.places import UAPI_HEADER

INCLUDE = UAPI_HEADER.parents[1]


def structs(header: str) -> list[str]:
    return re.findall(r"^struct (gigalock_\w+) \{", header, re.M)


def layouts(folder: Path, header: Path, names: list[str]) -> dict[str, str]:
    """What pahole says of each struct, as a compiler laid it out."""
    (folder / "all.c").write_text(
        f'#include "{header}"\n' + "".join(f"struct {n} of_{n};\n" for n in names)
    )
    command = ["gcc", "-g", "-c", "-Wall", "-Werror", f"-I{INCLUDE}", "-o", folder / "all.o"]
    subprocess.run([*command, folder / "all.c"], check=True)
    found = {}
    for name in names:
        done = subprocess.run(
            ["pahole", "-C", name, folder / "all.o"], capture_output=True, text=True, check=True
        )
        assert f"struct {name} {{" in done.stdout, f"pahole knows no {name}: {done.stderr}"
        found[name] = done.stdout
    return found


def gaps(layout: str) -> list[str]:
    """Its lines that tell of bytes without a member."""
    return [li.strip() for li in layout.splitlines() if re.search(r"hole|padding|bit_", li)]


def test_no_struct_has_a_hole(tmp_path: Path) -> None:
    text = UAPI_HEADER.read_text()
    names = structs(text)
    assert len(names) > 10 and "gigalock_lock" in names
    # A struct that the pattern does not see would not be looked at.
    assert len(names) == len(re.findall(r"^\s*(?:struct|union)\s+\w*\s*\{", text, re.M))
    bad = {n: g for n, out in layouts(tmp_path, UAPI_HEADER, names).items() if (g := gaps(out))}
    assert bad == {}


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ("__u32 a; __u64 b;", "hole"),
        ("__u64 a; __u32 b;", "padding"),
        ("__u32 a:3; __u32 b:5;", "bit_padding"),
    ],
)
def test_a_hole_is_seen(tmp_path: Path, members: str, word: str) -> None:
    header = tmp_path / "bad.h"
    header.write_text(f"#include <linux/types.h>\nstruct gigalock_bad {{\n\t{members}\n}};\n")
    names = structs(header.read_text())
    assert names == ["gigalock_bad"]
    assert any(word in g for g in gaps(layouts(tmp_path, header, names)["gigalock_bad"]))
