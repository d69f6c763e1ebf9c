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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module with BOTH_ENGINES = True runs with worker threads and without any."""
    if "engine" in metafunc.fixturenames:
        both = getattr(metafunc.module, "BOTH_ENGINES", False)
        engines = ["threads", "main-loop"] if both else ["threads"]
        metafunc.parametrize("engine", engines)


@pytest.fixture
def start(engine: str) -> Iterator[Callable[..., Card]]:
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
        if engine == "main-loop" and "workers=" not in options:
            options = f"workers=0,{options}" if options else "workers=0"
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
