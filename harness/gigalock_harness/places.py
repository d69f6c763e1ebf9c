# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the harness finds the other parts of the project, what is built, and the cache."""

from __future__ import annotations

import os
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
HARNESS = TOP / "harness"
SCENARIOS = HARNESS / "scenarios"
CATALOGUE = SCENARIOS / "catalogue"
CAUSES = TOP / "userlib" / "causes.toml"
FAILURES_DOC = TOP / "docs" / "failures.md"
UAPI_HEADER = TOP / "driver" / "include" / "uapi" / "linux" / "gigalock.h"
KERNELS_LIST = TOP / "guest-image" / "kernels.list"


def build_dir() -> Path:
    """The build folder: $GIGALOCK_BUILD, or $BUILD as the makefiles call it, else <top>/build."""
    given = os.environ.get("GIGALOCK_BUILD") or os.environ.get("BUILD")
    return Path(given).resolve() if given else TOP / "build"


def cache_dir() -> Path:
    """The cache: $GIGALOCK_CACHE, else where the scripts and makefiles put it."""
    given = os.environ.get("GIGALOCK_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gigalock"


def tmp_dir() -> Path:
    """For what is gone again soon; nothing is written outside the build folder and the cache."""
    folder = build_dir() / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def host_tool() -> Path:
    """The tool built for the host; it computes checksums without any device."""
    return build_dir() / "userlib" / "gigalock"


def memcpy_ref() -> Path:
    """The host program that measures a plain memcpy."""
    return build_dir() / "qemu-dev" / "memcpy_ref"


def kernels_built() -> Path:
    return build_dir() / "guest-image" / "kernels"
