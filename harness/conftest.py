# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets the tests run from anywhere: finds the package and the build folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
)
if "GIGALOCK_BUILD" in os.environ:
    os.environ.setdefault("BUILD", os.environ["GIGALOCK_BUILD"])
