# SPDX-License-Identifier: GPL-2.0-or-later
"""Transfers by SUBMIT: operations, many at once, time limits; and the ABI for 32-bit callers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import KNOB_OFF, TESTS, pause_after, run_tap, start, tap, wait_gone
from test_driver import assert_nothing_left, memory


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=1024), tmp_path_factory.mktemp("xfer")) as g:
        yield g
        assert g.unexpected_lines() == []


def test_transfers(guest: Guest) -> None:
    before = memory(guest)
    run_tap(guest, "gl-xfer", timeout=400)
    assert_nothing_left(guest, before)


def test_time_limits_of_a_card_that_stands_still(guest: Guest) -> None:
    before = memory(guest)
    pause_after(guest, 300000)
    try:
        start(guest, f"{TESTS}/gl-xfer held", "^held$")
        pause_after(guest, KNOB_OFF)
        said = wait_gone(guest, "gl-xfer")
    finally:
        pause_after(guest, KNOB_OFF)
    got = tap(said)
    assert "\nheld\n" in said and not got.failed, said
    assert got.planned == len(got.passed) > 30, said
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("program", ["gl-abi-32", "gl-queue-32", "gl-xfer-32"])
def test_32_bit_callers(guest: Guest, program: str) -> None:
    """They ask the same of the same driver; programs without any library."""
    before = memory(guest)
    run_tap(guest, program, timeout=400)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize(
    "options",
    [
        "channels=1",
        "channels=4",
        # Those that fail share a ring with the others, and each takes several chains.
        "channels=1,max-ring=4,max-xfer=4096",
        "max-xfer=4096",
        "max-seg=5000",
        "boundary=4096",
        "align=512,workers=0",
        "link-gen=1",
    ],
)
def test_other_cards(options: str, tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, devices=[f"gigalock,id=gl0,bus=rp0,{options}"])
    with Guest(config, tmp_path) as g:
        if "align" in options:
            done = g.run("gigalock xfer --size 9M --strategy sg")
            assert done.code == 0, done.stderr
        else:
            run_tap(g, "gl-xfer", timeout=400)
        assert g.unexpected_lines() == []


def test_a_card_that_wants_alignment(tmp_path: Path) -> None:
    """What doesn't begin where the card can is refused before it starts, with the numbers."""
    config = GuestConfig(ram_mib=512, devices=["gigalock,id=gl0,bus=rp0,align=512"])
    with Guest(config, tmp_path) as g:
        run_tap(g, "gl-align 512", timeout=400)
        assert g.unexpected_lines() == []
