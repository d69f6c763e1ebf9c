# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing stays locked, whatever ends a user in mid-transfer: the strategies whose memory is got
before the lock, or in many blocks. test_driver.py has the others."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import CARD, KNOB_OFF, pause_after, wait_gone
from rawlock import budgets
from test_driver import STRATEGIES as OTHERS
from test_driver import assert_nothing_left, half_way, memory

STRATEGIES = ["chunked", "hugetlb", "pool", "reserved"]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(
        ram_mib=1024,
        low_ram_mib=896,
        cmdline_extra=["memmap=64M$0x100000000", "hugepages=32"],
        driver_params=["reserved=0x100000000+64M", "pool_bytes=32M", "pool_count=1"],
    )
    with Guest(config, tmp_path_factory.mktemp("ends")) as g:
        yield g
        assert g.unexpected_lines() == []


def whole(g: Guest) -> str:
    """Who has what of that which was there before."""
    return g.run(
        "cat /sys/kernel/debug/gigalock/pool /sys/kernel/debug/gigalock/reserved;"
        " grep HugePages_Free /proc/meminfo"
    ).stdout


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("action", ["unlock", "cancel", "close", "exit", "unreaped"])
def test_ending_half_way_leaves_nothing(guest: Guest, strategy: str, action: str) -> None:
    before, there, used = memory(guest), whole(guest), budgets(guest)
    try:
        half_way(guest, strategy, action)
        if action == "unreaped":
            pause_after(guest, KNOB_OFF)
        out = wait_gone(guest, "gl-midway")
        assert "done" in out or action == "exit", out
    finally:
        pause_after(guest, KNOB_OFF)
    assert (whole(guest), budgets(guest)) == (there, used)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killing_half_way_leaves_nothing(guest: Guest, strategy: str) -> None:
    before, there, used = memory(guest), whole(guest), budgets(guest)
    try:
        half_way(guest, strategy, "sleep")
        assert guest.qmp("qom-get", path=CARD, property="paused") is True
        assert whole(guest) != there or strategy == "chunked"
        assert budgets(guest) != used
        guest.run("kill -KILL $(pidof gl-midway)")
        wait_gone(guest, "gl-midway")
    finally:
        pause_after(guest, KNOB_OFF)
    assert (whole(guest), budgets(guest)) == (there, used)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("strategy", [*OTHERS, *STRATEGIES])
def test_unbinding_half_way_ends_the_transfer(guest: Guest, strategy: str) -> None:
    """The card is taken away with the file open, mapped and a transfer running. The pool and the
    regions are the module's: they stay."""
    before, there, used = memory(guest), whole(guest), budgets(guest)
    try:
        half_way(guest, strategy, "wait")
        r = guest.run(
            "cd /sys/bus/pci/drivers/gigalock && d=$(ls -d 0000:*) &&"
            " echo $d > unbind && echo $d > /tmp/slot",
            timeout=30,
        )
        assert r.code == 0, r.stderr
        out = wait_gone(guest, "gl-midway")
        # Told either by the transfer's status (device-gone) or, if it came too late, by the call.
        assert re.search(r"status 19 .*reason 24$", out, re.M) or "wait errno 19" in out, out
    finally:
        pause_after(guest, KNOB_OFF)
        guest.run("cat /tmp/slot > /sys/bus/pci/drivers/gigalock/bind")
    assert (whole(guest), budgets(guest)) == (there, used)
    assert_nothing_left(guest, before)
