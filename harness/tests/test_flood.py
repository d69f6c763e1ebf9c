# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that floods its console is ended before its log fills the disk; one that floods the
command channel, before it fills memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from gigalock_harness import agent
from gigalock_harness import guest as guest_module
from gigalock_harness.guest import Guest, GuestError
from guests import children, plain


def test_a_flood_ends_the_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = guest_module.CONSOLE_LIMIT
    monkeypatch.setattr(guest_module, "CONSOLE_LIMIT", 64 << 10)
    before = children()
    with (
        Guest(plain(), tmp_path) as guest,
        pytest.raises(GuestError, match="to its console and was ended"),
    ):
        guest.run("yes 'no end of it' > /dev/ttyS0", timeout=300)
    assert children() == before
    # However fast it writes, two looks are not so far apart that it reaches twice the usual limit.
    assert 64 << 10 < (tmp_path / "console.log").stat().st_size < 2 * usual


@pytest.mark.parametrize("where", ["", " >&2"])
def test_a_flood_of_output_ends_the_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(agent, "MAX_OUTPUT", 64 << 10)
    before = children()
    kept = 0

    def keep(stream: str, text: str) -> None:
        nonlocal kept
        kept += len(text)

    with (
        Guest(plain(), tmp_path) as guest,
        pytest.raises(GuestError, match=f"flooded the channel: more than {64 << 10} bytes"),
    ):
        guest.run(f"yes 'no end of it'{where}", timeout=300, on_output=keep)
    assert children() == before and 0 < kept <= 64 << 10


def test_an_ordinary_guest_stays_below_the_limit(tmp_path: Path) -> None:
    with Guest(plain(), tmp_path) as guest:
        assert guest.run("for i in $(seq 100); do echo line $i > /dev/ttyS0; done").ok
        assert guest.run("true").ok
