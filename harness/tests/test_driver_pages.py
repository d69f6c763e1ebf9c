# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks on the caller's pages and on the page allocator's blocks: their pieces, and what the lock
itself costs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import TESTS, run_tap
from rawlock import ENTRY_PER_PAGE, arguments, fails, works

MIB = 2**20


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=1024), tmp_path_factory.mktemp("pages")) as g:
        assert g.run("mount -t tracefs none /sys/kernel/tracing").ok
        yield g
        assert g.unexpected_lines() == []


def test_pages_apart(guest: Guest) -> None:
    """The worst case, a quarter of a GiB of it: an entry for every page."""
    said = run_tap(guest, "gl-sg apart 256", timeout=180)
    assert "nothing of 64 KiB or more is allocated in one piece" in said


@pytest.mark.full
def test_a_gib_of_pages_apart(tmp_path: Path) -> None:
    """At most 9 MiB of the kernel's memory for a lock of 1 GiB, whatever its pages are like."""
    with Guest(GuestConfig(ram_mib=2048), tmp_path) as g:
        g.run("mount -t tracefs none /sys/kernel/tracing")
        said = run_tap(g, "gl-sg apart 1024", timeout=600)
        assert re.search(r"its tables take \d+ bytes, at most 9437184", said), said
        assert g.unexpected_lines() == []


def test_longer_than_32_bits(guest: Guest) -> None:
    """8 GiB in one lock: 62 MiB of a file, mapped again and again.

    62 MiB divide no power of two, so an offset that lost its upper bits is another place.
    """
    pages = "/proc/sys/vm/nr_hugepages"
    assert guest.run(f"echo 31 > {pages}; cat {pages}").stdout == "31\n"
    try:
        run_tap(guest, "gl-sg long 62 133", timeout=180)
    finally:
        guest.run(f"echo 0 > {pages}")


def test_fresh_memory_is_in_few_pieces(guest: Guest) -> None:
    run_tap(guest, "gl-chunked 0 64 128", timeout=180)


def test_blocks_of_memory_in_pieces(guest: Guest) -> None:
    """The pieces of a lock beside the blocks that the allocator says it has."""
    run_tap(guest, "gl-chunked 752 128 256", timeout=300)


def test_blocks_for_a_narrow_device(guest: Guest) -> None:
    """Memory below a bound is looked for there, and what can't be had there is not had."""
    got = works(guest, "chunked", "64M", width=32)
    assert got["segments"] >= 1
    answer = fails(guest, "chunked", "64M", width=25)
    assert answer["reason"] in ("no-memory", "address-width"), answer


def test_an_entry_for_every_page_of_blocks(guest: Guest) -> None:
    got = works(guest, "chunked", "16M", flags=ENTRY_PER_PAGE)
    assert got["segments"] == 4096
    assert got["longest"] == 4096
    assert works(guest, "chunked", "16M")["segments"] < 64


@pytest.mark.parametrize("strategy", ["sg", "chunked"])
def test_killed_while_locking(guest: Guest, strategy: str) -> None:
    """The caller dies; the failure says so, and all memory is back."""
    words = arguments(strategy, "600M", {})
    free = "awk '/^MemAvailable/ { print $2 }' /proc/meminfo"
    before = int(guest.run(free).stdout)
    # The guest is shared: what failed before is not this one's.
    seen = json.loads(guest.run("gigalock failures --json").stdout)["failures"]
    last = seen[-1]["seq"] if seen else 0
    for delay in (0.3, 0.2, 0.1, 0.05):
        guest.run(f"{TESTS}/gl-lock {words} >/dev/null 2>&1 & echo $! > /tmp/pid")
        time.sleep(delay)
        guest.run("kill -KILL $(cat /tmp/pid)")
        guest.run("while [ -e /proc/$(cat /tmp/pid)/exe ]; do sleep 0.1; done")
        log = json.loads(guest.run(f"gigalock failures --json --since {last}").stdout)["failures"]
        if log and log[-1]["reason"] == "killed":
            break
    else:
        pytest.skip("this machine locks 600 MiB too fast to be caught at it")
    assert log[-1]["strategy"] == strategy
    assert 0 <= log[-1]["available"] < 600 * MIB
    for _ in range(50):
        if int(guest.run(free).stdout) > before - 100 * 1024:
            break
        time.sleep(0.1)
    assert int(guest.run(free).stdout) > before - 100 * 1024
    assert json.loads(guest.run("gigalock info --json").stdout)["locks"] == 0


def test_every_step_of_a_lock_can_fail(guest: Guest) -> None:
    """Each call that may fail is made to; nothing is left, and the next lock works."""
    inject = "/sys/kernel/debug/gigalock/gigalock0/inject"
    pins = "echo 1 > /proc/sys/vm/stat_refresh; grep nr_foll_pin /proc/vmstat"

    def pinned() -> int:
        counts = dict(re.findall(r"(\w+) (\d+)", guest.run(pins).stdout))
        return int(counts["nr_foll_pin_acquired"]) - int(counts["nr_foll_pin_released"])

    steps = {
        "sg": ["account", "metadata", "batch", "pin", "table", "map"],
        "chunked": ["metadata", "alloc", "table", "map"],
    }
    before = pinned()
    for strategy, points in steps.items():
        for point in points:
            assert guest.run(f"echo '{point} 12' > {inject}").ok
            answer = fails(guest, strategy, "8M")
            assert answer["errno"] == 12, (strategy, point, answer)
            assert "0" in guest.run(f"grep '^{point} ' {inject}").stdout
            assert pinned() == before
            assert json.loads(guest.run("gigalock info --json").stdout)["locks"] == 0
        works(guest, strategy, "8M")
