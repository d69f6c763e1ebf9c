# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps that bring a guest into a state, as its shell runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from gigalock_harness import prepare

HELD = '{"command":"lock","ok":true,"locked_bytes":65536,"failure":null}'
REFUSED = '{"command":"lock","ok":false,"locked_bytes":0,"failure":{"reason":"cma-full"}}'
SLOW = "gigalock: lock: locking, 1 s"

# What a tool does, line by line; and whether a step that holds a lock may go on.
TOOLS = {
    "held": (f"echo '{HELD}'; sleep 5", True),
    "slow": (f"echo '{SLOW}' >&2; sleep 0.5; echo '{SLOW}' >&2; echo '{HELD}'; sleep 5", True),
    "in-parts": (f"printf '%s' '{HELD[:30]}'; sleep 0.5; echo '{HELD[30:]}'; sleep 5", True),
    "slow-and-refused": (f"echo '{SLOW}'; sleep 0.5; echo '{REFUSED}'; exit 1", False),
    "refused": (f"echo '{REFUSED}'; exit 1", False),
    "killed": ("echo no answer >&2; exit 137", False),
}


@pytest.mark.parametrize("what", TOOLS)
def test_a_lock_is_held_when_its_answer_says_so(tmp_path: Path, what: str) -> None:
    does, held = TOOLS[what]
    tool = tmp_path / "gigalock"
    tool.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{does}\n')
    tool.chmod(0o755)
    done = subprocess.run(
        ["busybox", "sh", "-c", prepare.hold(65536, "coherent", str(tmp_path))],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) == held, done.stderr
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:4] == ["--json", "--quiet", "lock", "--size"] and "65536" in asked
    if held:
        # It is the whole answer that was waited for.
        (said,) = [p for p in tmp_path.glob("held.*") if p.suffix != ".said"]
        assert said.read_text().splitlines()[-1] == HELD
    else:
        assert "cma-full" in done.stderr or "no answer" in done.stderr
