# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks by the raw ABI, with driver/tests/gl-lock: every option, and what came of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from gigalock_harness import places, reasons
from gigalock_harness.guest import Guest
from gigalock_harness.inguest import TESTS

NO_USER_MAP, ENTRY_PER_PAGE, SMALL_TABLE, NODE = 1, 2, 4, 8
UNITS = ["bytes", "count", "milliseconds", "address"]
STAGES = ["none", "open", "arguments", "account", "allocate", "pin", "table", "dma-map"]
DEBUG = "/sys/kernel/debug/gigalock"

_uapi = places.UAPI_HEADER.read_text()
_known = reasons.parse(_uapi, str(places.UAPI_HEADER))
NUMBERS = {name.lower().replace("_", "-"): n for n, name in enumerate(_known.strategies)}
REASONS = {reason.code: name for name, reason in _known.reasons.items()}
BACKINGS = {
    int(code): name.lower().replace("_", "-")
    for name, code in re.findall(r"#define\s+GIGALOCK_BACKING_(\w+)\s+(\d+)", _uapi)
}


def need_kernel(name: str) -> None:
    """Skip where a kernel that the test is about has not been built."""
    if not (places.kernels_built() / name).exists():
        pytest.skip(f"the kernel '{name}' isn't built: make image KERNEL={name}")


def arguments(strategy: str, size: str | int, options: dict[str, Any]) -> str:
    words = [f"strategy={NUMBERS[strategy]}", f"bytes={size}"]
    words += [f"{name.replace('_', '-')}={value}" for name, value in options.items()]
    return " ".join(words)


def raw(
    g: Guest, strategy: str, size: str | int, patience: float = 180, **options: Any
) -> dict[str, Any]:
    """One lock, or as many as the options say, and gl-lock's answer with names for numbers."""
    r = g.run(f"{TESTS}/gl-lock {arguments(strategy, size, options)}", timeout=patience)
    assert r.code == 0, r.stdout + r.stderr
    answer: dict[str, Any] = json.loads(r.stdout)
    if answer["ok"]:
        answer["backing"] = BACKINGS[answer["backing"]]
    else:
        answer["reason"] = REASONS[answer["reason"]]
        answer["unit"] = UNITS[answer["unit"]]
        answer["stage"] = STAGES[answer["stage"]]
    return answer


def works(g: Guest, strategy: str, size: str | int, **options: Any) -> dict[str, Any]:
    answer = raw(g, strategy, size, **options)
    assert answer["ok"] is True, answer
    return answer


def fails(g: Guest, strategy: str, size: str | int, **options: Any) -> dict[str, Any]:
    answer = raw(g, strategy, size, **options)
    assert answer["ok"] is False, answer
    return answer


def budgets(g: Guest) -> dict[str, tuple[int, int]]:
    """What is used of each budget, and its limit; a limit of 0 is none."""
    text = g.run(f"cat {DEBUG}/budgets").stdout
    return {
        name: (int(used), int(most))
        for name, used, most in re.findall(r"(\w+) (\d+) of (\d+)", text)
    }


def reload(g: Guest, parameters: str = "", code: int = 0) -> str:
    """Load the module anew; what the kernel said while it did."""
    g.run("rmmod gigalock 2>/dev/null; dmesg -c >/dev/null")
    r = g.run(f"insmod /lib/modules/gigalock.ko {parameters}", timeout=120)
    said = g.run("dmesg -c").stdout
    assert (r.code == 0) == (code == 0), r.stderr + said
    return said
