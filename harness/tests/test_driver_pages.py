# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks on the caller's pages and on the page allocator's blocks: their pieces, and what the lock
itself costs."""

from __future__ import annotations

import errno
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import TESTS, run_tap, start, wait_gone
from rawlock import DEBUG, ENTRY_PER_PAGE, arguments, fails, works
from test_driver import assert_nothing_left, memory, memory_now

MIB = 2**20
INJECT = f"{DEBUG}/gigalock0/inject"


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
    assert (answer["reason"], answer["stage"]) == ("address-width", "arguments")


@pytest.mark.parametrize(("width", "size"), [(26, "60M"), (25, "30M")])
def test_blocks_that_are_too_high_leave_something(guest: Guest, width: int, size: str) -> None:
    """Looking for low memory, what lies too high is held: not all of the machine's."""
    watch = (
        "awk 'BEGIN { least = 1000000000; while (1) {"
        ' while ((getline line < "/proc/meminfo") > 0) { split(line, word, " ");'
        ' if (word[1] == "MemAvailable:" && word[2] + 0 < least) {'
        ' least = word[2] + 0; print least; fflush() } } close("/proc/meminfo") } }\''
    )
    start(guest, watch, r"^\d+$")
    try:
        answer = fails(guest, "chunked", size, width=width)
    finally:
        guest.run("kill $(pidof awk)")
    least = int(wait_gone(guest, "awk").split()[-1])
    assert (answer["reason"], answer["errno"], answer["stage"]) == (
        "address-width",
        errno.ERANGE,
        "allocate",
    )
    assert answer["limit"] == 2**width - 1 < answer["request"]
    # 16 MiB are left alone; between two looks a block of 4 MiB may go, or the counters lag.
    assert 8 * 1024 < least < 200 * 1024


def test_an_entry_for_every_page_of_blocks(guest: Guest) -> None:
    got = works(guest, "chunked", "16M", flags=ENTRY_PER_PAGE)
    assert got["segments"] == 4096
    assert got["longest"] == 4096
    assert works(guest, "chunked", "16M")["segments"] < 64


def wait_for(g: Guest, condition: str) -> None:
    """For less long than a delay lasts that nobody ends."""
    r = g.run(f"for i in $(seq 300); do {condition} && exit 0; sleep 0.1; done; exit 1", timeout=90)
    assert r.ok, f"{condition}: never so"


# Where a lock stands still, after how many calls there, with how much of it had, in MiB. Calls
# of the page allocator are not ended by a signal: who is killed in one goes on to its end.
KILLED_AT = {
    "sg": ("600M", "pin", 150, 300, True),
    "chunked": ("600M", "alloc", 100, 200, False),
    "contig-range": ("400M", "alloc", 40, 0, True),
    "coherent": ("4M", "alloc", 0, 0, False),
}


@pytest.mark.parametrize("strategy", KILLED_AT)
def test_killed_while_locking(guest: Guest, strategy: str) -> None:
    """The caller dies in the middle; the failure says so, and all memory is back."""
    size, point, after, had, killable = KILLED_AT[strategy]
    works(guest, strategy, "1M")  # what the first use builds up
    before = memory(guest)
    # The guest is shared: what failed before is not this one's.
    seen = json.loads(guest.run("gigalock failures --json").stdout)["failures"]
    last = seen[-1]["seq"] if seen else 0
    try:
        assert guest.run(f"echo '{point} delay 60000 {after}' > {INJECT}").ok
        words = arguments(strategy, size, {})
        guest.run(f"{TESTS}/gl-lock {words} >/dev/null 2>&1 & echo $! > /tmp/pid")
        wait_for(guest, f"grep -q '^{point} .*standing' {INJECT}")
        assert before.free_kib - memory_now(guest).free_kib >= (had - 16) * 1024
        guest.run("kill -KILL $(cat /tmp/pid)")
        if not killable:
            time.sleep(0.3)
            assert guest.run(f"grep '^{point} ' {INJECT}").stdout == f"{point} 0 standing\n"
            assert guest.run(f"echo '{point} 0' > {INJECT}").ok
        wait_for(guest, "[ ! -e /proc/$(cat /tmp/pid)/exe ]")
        assert guest.run(f"grep '^{point} ' {INJECT}").stdout == f"{point} 0\n"
    finally:
        guest.run(f"kill -KILL $(cat /tmp/pid); echo '{point} 0' > {INJECT}")
        wait_for(guest, "[ ! -e /proc/$(cat /tmp/pid)/exe ]")
    log = json.loads(guest.run(f"gigalock failures --json --since {last}").stdout)["failures"]
    assert [(f["reason"], f["strategy"], f["errno"]) for f in log] == [
        ("killed", strategy, errno.EINTR)
    ]
    assert had * MIB <= log[0]["available"] <= log[0]["request"]
    if strategy != "coherent":
        assert log[0]["available"] < log[0]["request"]
    assert_nothing_left(guest, before)


def test_a_delay_ends_by_itself_and_with_the_card(guest: Guest) -> None:
    """It costs time, and nothing else; the card's removal does not wait for all of it."""
    assert guest.run(f"echo 'alloc delay 300 2' > {INJECT}").ok
    assert guest.run(f"grep '^alloc ' {INJECT}").stdout == "alloc delay 300 after 2\n"
    assert works(guest, "chunked", "32M")["lock_ns"] >= 300_000_000
    assert guest.run(f"grep '^alloc ' {INJECT}").stdout == "alloc 0\n"

    assert guest.run(f"echo 'map delay 60000' > {INJECT}").ok
    words = arguments("chunked", "4M", {})
    guest.run(f"{TESTS}/gl-lock {words} >/tmp/delayed 2>&1 & echo $! > /tmp/pid")
    wait_for(guest, f"grep -q '^map 0 standing' {INJECT}")
    bus = "/sys/bus/pci/drivers/gigalock"
    try:
        guest.run(f"basename {bus}/0000:* > /tmp/slot")
        r = guest.run(f"cat /tmp/slot > {bus}/unbind", timeout=30)
        assert r.ok, r.stderr
        wait_for(guest, "[ ! -e /proc/$(cat /tmp/pid)/exe ]")
    finally:
        guest.run(f"cat /tmp/slot > {bus}/bind")
    works(guest, "chunked", "4M")


def test_every_step_of_a_lock_can_fail(guest: Guest) -> None:
    """Each call that may fail is made to; nothing is left, and the next lock works."""
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
            # In the middle, where there is one.
            after = {"pin": 2, "table": 1, "alloc": 1}.get(point, 0)
            assert guest.run(f"echo '{point} 12 {after}' > {INJECT}").ok
            answer = fails(guest, strategy, "8M")
            assert answer["errno"] == 12, (strategy, point, answer)
            assert guest.run(f"grep '^{point} ' {INJECT}").stdout == f"{point} 0\n"
            assert pinned() == before
            assert json.loads(guest.run("gigalock info --json").stdout)["locks"] == 0
        works(guest, strategy, "8M")
