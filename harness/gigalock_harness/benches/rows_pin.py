# SPDX-License-Identifier: GPL-2.0-or-later
"""Locking a program's own memory, beside the kernel's own benchmark of pinning it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..guest import Guest, GuestConfig
from ..inguest import TESTS
from ..sizes import GIB, KIB, MIB
from . import Details, Group, NotMeasured, Row, Setup

KERNEL = "lab"  # it has CONFIG_GUP_TEST
BOOT_SECONDS = 180.0
STEP_SECONDS = 180
GOAL = 0.77
REFERENCE = "the kernel's gup_test, pinning the same memory for good in the same guest"


@dataclass
class State:
    guest: Guest
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def cost(state: State, pages: str) -> tuple[float, float]:
    """GiB a second, of our lock and of gup_test."""
    done = state.guest.run(f"{TESTS}/gl-sg cost {GIB // MIB} {pages}", timeout=STEP_SECONDS)
    if not done.ok:
        raise NotMeasured(f"gl-sg: exit code {done.code}: {(done.stdout + done.stderr)[-200:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    state.seen.setdefault(pages, []).append(answer)
    return 1e9 / answer["lock_ns"], 1e9 / answer["gup_test_ns"]


def details(state: State, pages: str) -> Details:
    return Details(
        [
            f"{one['segments']} segments, {one['table_bytes'] / KIB:.0f} KiB of tables; "
            f"locked in {one['lock_ns'] / 1e6:.1f} ms, unlocked in "
            f"{one['unlock_ns'] / 1e6:.1f} ms; gup_test: {one['gup_test_ns'] / 1e6:.1f} ms"
            for one in state.seen[pages]
        ]
        + [
            "Ours is the whole call: charged, pinned, put into a table, mapped for the device. "
            "Theirs is the time that gup_test takes for its loop of pin_user_pages()."
        ]
    )


@contextmanager
def start(setup: Setup) -> Iterator[State]:
    config = GuestConfig(ram_mib=2048, kernel=KERNEL, boot_timeout=BOOT_SECONDS)
    with Guest(config, log_dir=setup.log_dir) as guest:
        if not guest.run("[ -e /sys/kernel/debug/gup_test ]").ok:
            raise NotMeasured("the guest's kernel has no gup_test")
        yield State(guest)


def groups() -> list[Group]:
    rows = [
        Row(
            f"1 GiB locked by sg, {name}",
            "GiB/s",
            REFERENCE,
            GOAL,
            lambda state, pages=pages: cost(state, pages),
            lambda state, pages=pages: details(state, pages),
        )
        for pages, name in (("huge", "huge pages"), ("small", "pages of 4 KiB"))
    ]
    return [Group("locking beside gup_test", start, rows, 1024)]
