# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder that a run writes to: one run at a time.

Two in one folder would write into each other's consoles and reports. The lock is the kernel's, on
an open file: it goes with the process, however that ends, and no child inherits it. The file
stays, since to remove it would let two runs lock two files of that name.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock"


class FolderInUse(OSError):
    """Another run writes to this folder."""


@contextlib.contextmanager
def taken(out: Path) -> Iterator[None]:
    """Make the folder, and keep other runs out of it."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(
                f"another run is writing to {out}; wait for it, or give another folder with --out"
            ) from None
        yield
