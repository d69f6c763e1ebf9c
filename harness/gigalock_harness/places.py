# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the upper layer of the harness finds the other parts of the project."""

from __future__ import annotations

import os
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
HARNESS = TOP / "harness"
SCENARIOS = HARNESS / "scenarios"
UAPI_HEADER = TOP / "driver" / "include" / "uapi" / "linux" / "gigalock.h"
KERNELS_LIST = TOP / "guest-image" / "kernels.list"


def build_dir() -> Path:
    """The build folder: $GIGALOCK_BUILD, or $BUILD as the makefiles call it, else <top>/build."""
    given = os.environ.get("GIGALOCK_BUILD") or os.environ.get("BUILD")
    return Path(given).resolve() if given else TOP / "build"


def host_tool() -> Path:
    """The tool built for the host; it computes checksums without any device."""
    return build_dir() / "userlib" / "gigalock"


def memcpy_ref() -> Path:
    """The host program that measures a plain memcpy."""
    return build_dir() / "qemu-dev" / "memcpy_ref"


def kernels_built() -> Path:
    return build_dir() / "guest-image" / "kernels"
