# SPDX-License-Identifier: GPL-2.0-or-later
"""Small guests for the boot layer's own tests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from gigalock_harness.guest import GuestConfig


def plain(**changes: Any) -> GuestConfig:
    """256 MiB and nothing in it: what is tested is the harness, not the card."""
    settings: dict[str, Any] = {"ram_mib": 256, "devices": [], "load_driver": False}
    return GuestConfig(**{**settings, **changes})


def children() -> set[int]:
    """The process ids of this process's children, whichever thread started them."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def descendants(root: int) -> dict[int, str]:
    """Process ids and command lines of all that a process started, directly or not."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(stat[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    lines = {}
    for pid in found - {root}:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            lines[pid] = line.replace(b"\0", b" ").decode(errors="replace") + " "
    return lines


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
