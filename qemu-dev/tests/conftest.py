# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures: QEMU with a card, ended whatever happens."""

from __future__ import annotations

import mmap
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


@pytest.fixture
def shared(start: Callable[..., Card], tmp_path: Path) -> Callable[..., tuple[Card, mmap.mmap]]:
    """Start a card whose guest RAM we see as a file; no question to QEMU needed."""

    def go(
        options: str, extra: list[str] | None = None, **kwargs: object
    ) -> tuple[Card, mmap.mmap]:
        path = tmp_path / "ram"
        card = start(
            options,
            extra=[
                "-object",
                f"memory-backend-file,id=ram,size=256M,share=on,mem-path={path}",
                "-machine",
                "memory-backend=ram",
                *(extra or []),
            ],
            **kwargs,
        )
        with open(path, "r+b") as f:
            return card, mmap.mmap(f.fileno(), 256 << 20)

    return go


@pytest.fixture
def halting_bios(tmp_path: Path) -> Path:
    """Firmware that does nothing: cli; hlt; jmp to itself."""
    path = tmp_path / "bios.bin"
    image = bytearray(b"\x90" * 65536)
    image[0xFFF0:0xFFF4] = b"\xfa\xf4\xeb\xfd"
    path.write_bytes(image)
    return path
