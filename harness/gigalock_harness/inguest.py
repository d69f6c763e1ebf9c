# SPDX-License-Identifier: GPL-2.0-or-later
"""For tests that run programs in a guest: the tool, and programs that speak TAP."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from .guest import Guest

TESTS = "/usr/lib/gigalock/tests"
OUT = "/tmp/out"  # what a program in the background says
CARD = "/machine/peripheral/gl0"
KNOB_OFF = 2**64 - 1  # of pause-after


@dataclass(frozen=True)
class Tap:
    """What a program's output says: tests that passed and failed, and how many there should be."""

    passed: list[str]
    failed: list[str]
    planned: int  # -1: it did not get as far


def tap(text: str) -> Tap:
    """Read TAP; a test that was skipped has not passed."""
    passed, failed = [], []
    for bad, name in re.findall(r"^(not )?ok \d+(?: - (.*))?$", text, re.M):
        (failed if bad or re.search(r"# *(SKIP|TODO)", name, re.I) else passed).append(name)
    plan = re.search(r"^1\.\.(\d+)$", text, re.M)
    return Tap(passed, failed, int(plan[1]) if plan else -1)


def run_tap(guest: Guest, program: str, timeout: float = 120) -> str:
    """Run a test program; all that it planned, and at least one test, must pass."""
    done = guest.run(f"{TESTS}/{program}", timeout=timeout)
    said = done.stdout + done.stderr
    got = tap(done.stdout)
    assert not got.failed and done.code == 0, said
    assert got.planned == len(got.passed) > 0, said
    return done.stdout


def start(guest: Guest, command: str, until: str, patience: float = 60, out: str = OUT) -> str:
    """Start a program in the background; all it has said once there is a line of that pattern.

    A shell opens the file only in the child that it has forked: without its removal, what an
    earlier program said could still be there, and be taken for this one's.
    """
    guest.run(f"rm -f {out}; {command} > {out} 2>&1 &")
    end = time.monotonic() + patience
    while True:
        said = guest.run(f"cat {out}").stdout
        if re.search(until, said, re.M):
            return said
        assert time.monotonic() < end and "Bail out!" not in said, f"{until!r} is not in: {said}"
        time.sleep(0.05)


def wait_gone(guest: Guest, program: str, patience: float = 60, out: str = OUT) -> str:
    """Wait for the end of a program that was started; all it has said."""
    end = time.monotonic() + patience
    while guest.run(f"pidof {program}").ok:
        assert time.monotonic() < end, f"{program} doesn't end: {guest.run(f'cat {out}').stdout}"
        time.sleep(0.05)
    return guest.run(f"cat {out}").stdout


def tool(
    guest: Guest,
    arguments: str,
    code: int | None = None,
    prefix: str = "",
    timeout: float = 120,
) -> dict[str, Any]:
    """The tool's one JSON object; with `code`, its exit code must be that."""
    done = guest.run(f"{prefix} gigalock --json {arguments}", timeout=timeout)
    said = done.stdout + done.stderr
    assert done.stdout.count("\n") == 1, f"exit code {done.code}: {said}"
    assert code is None or done.code == code, f"exit code {done.code}: {said}"
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict), said
    return answer


def pause_after(guest: Guest, count: int) -> None:
    """The card holds once that many more bytes have moved; KNOB_OFF lets go."""
    guest.qmp("qom-set", path=CARD, property="pause-after", value=count)
