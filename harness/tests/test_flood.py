# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that floods its console is ended before its log fills the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from gigalock_harness import guest as guest_module
from gigalock_harness.guest import Guest, GuestError
from guests import children, plain


def test_a_flood_ends_the_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "CONSOLE_LIMIT", 64 << 10)
    before = children()
    with (
        Guest(plain(), tmp_path) as guest,
        pytest.raises(GuestError, match="to its console and was ended"),
    ):
        guest.run("yes 'no end of it' > /dev/ttyS0", timeout=300)
    assert children() == before
    assert (tmp_path / "console.log").stat().st_size > 64 << 10


def test_an_ordinary_guest_stays_below_the_limit(tmp_path: Path) -> None:
    with Guest(plain(), tmp_path) as guest:
        assert guest.run("for i in $(seq 100); do echo line $i > /dev/ttyS0; done").ok
        assert guest.run("true").ok
