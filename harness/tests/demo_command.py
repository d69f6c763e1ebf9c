# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the demo as a person would, for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HARNESS = Path(__file__).resolve().parents[1]
SECONDS = 600


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/python3", "-m", "gigalock_harness", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
    )


def demo(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return harness("demo", "--no-bench", "--out", str(out), *arguments)
