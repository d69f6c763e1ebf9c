# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that a user can map is zero when it is locked: on a kernel that is told to clear nothing
by itself, whose free memory has been written to before. Debian's kernels clear what they hand out
by default, and a driver that forgot to would never be found out there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from rawlock import need_kernel, reload, works

MIB = 2**20
PAGE = 4096
HIGH = 0x100000000  # where q35 has the RAM that doesn't fit below 4 GiB
RESERVED = f"reserved={HIGH:#x}+64M"
OFF = ["init_on_alloc=0", "init_on_free=0"]

# Write to all memory that can be had, and give it back.
DIRT = """
left=$(awk '/^MemAvailable/ { print int($2 / 1024) - 40 }' /proc/meminfo)
mkdir -p /tmp/dirt && mount -t tmpfs -o size=${left}M none /tmp/dirt && cd /tmp/dirt || exit 1
head -c 8388608 /dev/zero | tr '\\0' x > one
while cat one >> all; do :; done 2> /dev/null
cd / && umount /tmp/dirt
"""


def dirty(g: Guest, at: int, log: Path) -> None:
    """Make free memory dirty, and see that most of it is: in the 64 MiB at that address."""
    said = g.run("dmesg").stdout
    auto = re.search(r"mem auto-init: .*heap alloc:(\w+), heap free:(\w+)", said)
    assert auto and auto.groups() == ("off", "off"), auto
    assert g.run(DIRT, timeout=120).ok
    seen = log / "memory"
    g.qmp("pmemsave", timeout=60, val=at, size=64 * MIB, filename=str(seen))
    pages = seen.read_bytes()[::PAGE]
    seen.unlink()
    assert pages.count(b"x") > len(pages) / 2


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(
        ram_mib=576,
        low_ram_mib=480,
        cmdline_extra=[*OFF, f"memmap=64M${HIGH:#x}"],
        driver_params=[RESERVED],
    )
    log = tmp_path_factory.mktemp("zero")
    with Guest(config, log) as g:
        dirty(g, 256 * MIB, log)
        yield g
        assert g.unexpected_lines() == []


@pytest.mark.parametrize(
    ("strategy", "size", "locks"),
    [
        ("coherent", "4M", {"keep": 32}),
        ("coherent", PAGE, {"keep": 256}),
        ("contig-range", "160M", {"times": 2}),
        ("chunked", "160M", {"times": 2}),
        ("chunked", PAGE, {"keep": 256}),
        # Clean when the machine starts: the second lock has what the first one left.
        ("reserved", "64M", {"times": 2}),
        ("reserved", "24M", {"keep": 2}),
    ],
)
def test_a_lock_is_zero(
    guest: Guest, strategy: str, size: str | int, locks: dict[str, int]
) -> None:
    got = works(guest, strategy, size, touch=1, **locks)
    assert (got["dirty"], got["held"]) == (-1, locks.get("keep", 1))


@pytest.mark.parametrize(
    ("strategy", "mib"), [("contig-range", 48), ("chunked", 48), ("coherent", 4)]
)
def test_a_buffer_of_the_pool_is_zero(guest: Guest, strategy: str, mib: int) -> None:
    """When the module has just got it, and whoever had it before; a part of it as all of it."""
    try:
        reload(guest, f"pool_bytes={mib}M pool_count=2 pool_strategy={strategy} {RESERVED}")
        for size, locks in (
            (mib * MIB, {"keep": 2}),
            (mib * MIB, {"times": 3}),
            (mib * MIB // 2 + PAGE, {"times": 2}),
            (PAGE, {"times": 2}),
            (mib * MIB, {"keep": 2}),
        ):
            assert works(guest, "pool", size, touch=1, **locks)["dirty"] == -1
    finally:
        reload(guest, RESERVED)


def test_dirt_would_be_seen(guest: Guest) -> None:
    """It looks twice at one lock, and has written to it in between."""
    assert works(guest, "reserved", "4M", touch=2)["dirty"] == 0


def test_behind_an_iommu(tmp_path: Path) -> None:
    """Coherent memory is then made of pages from anywhere."""
    with Guest(GuestConfig(ram_mib=320, iommu="intel", cmdline_extra=OFF), tmp_path) as g:
        dirty(g, 192 * MIB, tmp_path)
        assert works(g, "coherent", "96M", touch=1, times=2)["dirty"] == -1
        assert g.unexpected_lines() == []


def test_what_cma_has_is_zero(tmp_path: Path) -> None:
    need_kernel("lab")
    config = GuestConfig(ram_mib=512, kernel="lab", cmdline_extra=[*OFF, "cma=160M"])
    with Guest(config, tmp_path) as g:
        area = g.run("cat /sys/kernel/debug/cma/reserved/base_pfn").stdout
        dirty(g, int(area) * PAGE, tmp_path)
        got = works(g, "coherent", "128M", touch=1, times=2)
        assert (got["backing"], got["dirty"]) == ("cma", -1)
        assert g.unexpected_lines() == []
