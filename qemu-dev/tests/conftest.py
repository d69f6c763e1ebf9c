# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures: QEMU with a card, ended whatever happens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from card import Card  # noqa: E402
from qemu import LAUNCHER, Qemu  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The device has to be there; the tests don't build it."""
    if not LAUNCHER.exists():
        pytest.exit(f"{LAUNCHER} is missing; run 'make -C qemu-dev' first", 1)


@pytest.fixture
def start() -> Iterator[Callable[..., Card]]:
    """Start QEMU with one card: start("channels=4", behind_port=True, extra=[...])."""
    running: list[Qemu] = []

    def go(
        options: str = "",
        behind_port: bool = False,
        extra: list[str] | None = None,
        **kwargs: object,
    ) -> Card:
        args = list(extra or [])
        if behind_port:
            args += ["-device", "pcie-root-port,id=rp0,addr=4,chassis=1"]
        place = "bus=rp0" if behind_port else "addr=5"
        args += ["-device", f"gigalock,id=gl0,{place}" + (f",{options}" if options else "")]
        q = Qemu(args, **kwargs)  # type: ignore[arg-type]
        running.append(q)
        return Card(q, behind_port)

    yield go
    for q in running:
        q.close()


@pytest.fixture
def card(start: Callable[..., Card]) -> Card:
    """A card with everything at its default."""
    return start()
