# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a lock's memory comes from, and what is said when it can't be had from there: CMA, an
IOMMU, regions reserved at boot, the pool. And that it all goes back."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import TESTS, start, tool, wait_gone
from rawlock import (
    DEBUG,
    NO_USER_MAP,
    NODE,
    SMALL_TABLE,
    arguments,
    budgets,
    fails,
    need_kernel,
    raw,
    reload,
    works,
)
from test_driver import assert_nothing_left, memory

MIB = 2**20
GIB = 2**30
PAGE = 4096
HIGH = 0x100000000  # where q35 has the RAM that doesn't fit below 4 GiB


def boot(tmp_path: Path, ram: int, *words: str, device: str = "", **more: Any) -> Guest:
    dev = "gigalock,id=gl0,bus=rp0" + (f",{device}" if device else "")
    return Guest(GuestConfig(ram_mib=ram, cmdline_extra=words, devices=[dev], **more), tmp_path)


def why_of(failure: dict[str, Any]) -> tuple[str, int, str]:
    return failure["reason"], failure["errno"], failure["stage"]


# ---- coherent: CMA -----------------------------------------------------------


def test_cma(tmp_path: Path) -> None:
    """1 GiB out of 1200 MiB; the second one finds too little of it free; 2 GiB never fit."""
    need_kernel("lab")
    with boot(tmp_path, 4096, "cma=1200M", kernel="lab") as g:
        assert works(g, "coherent", "1G")["backing"] == "cma"
        assert works(g, "coherent", "4M")["backing"] == "cma"
        assert works(g, "coherent", PAGE)["backing"] == "buddy"  # CMA isn't asked for one page
        why = fails(g, "coherent", "1G", keep=2)
        assert why["held"] == 1
        assert why_of(why) == ("cma-full", errno.ENOMEM, "allocate")
        assert (why["limit"], why["request"]) == (1200 * MIB, GIB)
        assert 150 * MIB < why["available"] <= 176 * MIB
        why = fails(g, "coherent", "2G")
        assert why_of(why) == ("cma-too-small", errno.ENOMEM, "allocate")
        assert (why["limit"], why["request"]) == (1200 * MIB, 2 * GIB)
        # Pages of files may lie there, too; a gigabyte was just had.
        assert GIB <= why["available"] <= 1200 * MIB
        # The area begins at 4 GiB: for this lock that is too high, whoever is free.
        why = fails(g, "coherent", "1G", width=32)
        assert why_of(why) == ("cma-above-width", errno.ENOMEM, "allocate")
        assert (why["limit"], why["unit"]) == (2**32 - 1, "address")
        assert HIGH <= why["request"] < HIGH + 1200 * MIB
        assert works(g, "coherent", "2M", width=32)["backing"] == "buddy"
        assert g.unexpected_lines() == []


def test_cma_above_what_the_card_reaches(tmp_path: Path) -> None:
    need_kernel("lab")
    with boot(tmp_path, 4096, "cma=1200M", kernel="lab", device="addr-width=32") as g:
        assert fails(g, "coherent", "1G")["reason"] == "cma-above-width"
    with boot(tmp_path, 4096, "cma=1200M@0-4G", kernel="lab", device="addr-width=32") as g:
        assert works(g, "coherent", "1G")["backing"] == "cma"
        assert g.unexpected_lines() == []


def test_cma_smaller_than_the_buffer(tmp_path: Path) -> None:
    need_kernel("lab")
    with boot(tmp_path, 2048, "cma=512M", kernel="lab") as g:
        why = fails(g, "coherent", "1G")
        assert why_of(why) == ("cma-too-small", errno.ENOMEM, "allocate")
        assert why["limit"] == 512 * MIB
        assert works(g, "coherent", "500M")["backing"] == "cma"


def test_cma_of_size_0(tmp_path: Path) -> None:
    """A kernel that could, without cma=: as if it could not."""
    need_kernel("lab")
    with boot(tmp_path, 2048, kernel="lab") as g:
        why = fails(g, "coherent", "1G")
        assert why_of(why) == ("buddy-limit", errno.ENOMEM, "allocate")
        assert (why["limit"], why["available"]) == (4 * MIB, 4 * MIB)


def test_cma_busy(tmp_path: Path) -> None:
    """Pipes refer to pages within: nearly all is free, but nowhere a gigabyte in a row."""
    need_kernel("lab")
    with boot(tmp_path, 2048, "cma=1200M", kernel="lab") as g:
        start(g, f"{TESTS}/gl-cma-hold 1600 16", "holding 100 pages", patience=120)
        why = fails(g, "coherent", "1G")
        assert why_of(why) == ("cma-busy", errno.ENOMEM, "allocate")
        assert GIB < why["available"] <= 1200 * MIB
        assert works(g, "coherent", "8M")["backing"] == "cma"
        g.run("kill $(pidof gl-cma-hold)")
        wait_gone(g, "gl-cma-hold")
        assert works(g, "coherent", "1G")["backing"] == "cma"


# ---- coherent: an IOMMU ------------------------------------------------------


def test_bus_addresses_run_out(tmp_path: Path) -> None:
    """32 bits behind an IOMMU: one gigabyte finds a place, a second one doesn't, and it isn't
    for want of memory."""
    with boot(tmp_path, 4096, iommu="intel", device="addr-width=32") as g:
        why = fails(g, "coherent", "1G", keep=2)
        assert why["held"] == 1
        assert why_of(why) == ("iova-space", errno.ENOMEM, "dma-map")
        assert (why["limit"], why["request"], why["unit"]) == (2**32 - 1, GIB, "address")
        assert works(g, "coherent", "1G")["backing"] == "iommu"
        assert g.unexpected_lines() == []


def test_bus_addresses_run_out_for_pages(tmp_path: Path) -> None:
    """The same for memory that is mapped once it is there, in many pieces or in one."""
    with boot(tmp_path, 4096, iommu="intel", device="addr-width=32") as g:
        for strategy, size in (("sg", GIB), ("contig-range", 512 * MIB)):
            why = fails(g, strategy, size, keep=5)
            assert why["held"] >= 1
            assert why_of(why) == ("iova-space", errno.ENOMEM, "dma-map")
            assert (why["limit"], why["request"], why["unit"]) == (2**32 - 1, size, "address")
        assert g.unexpected_lines() == []


def test_an_iommu_that_fails_with_addresses_left(tmp_path: Path) -> None:
    """ENOMEM, though the card has 64 bits of addresses: something else ran out."""
    with boot(tmp_path, 512, iommu="intel") as g:
        assert g.run(f"echo 'map {errno.ENOMEM}' > {DEBUG}/gigalock0/inject").ok
        assert why_of(fails(g, "sg", "8M")) == ("dma-map", errno.ENOMEM, "dma-map")
        assert works(g, "sg", "8M")


def test_pages_run_out_behind_an_iommu(tmp_path: Path) -> None:
    with boot(tmp_path, 2048, iommu="intel") as g:
        why = fails(g, "coherent", "1G", keep=2)
        assert why["held"] == 1
        assert why_of(why) == ("no-memory", errno.ENOMEM, "allocate")
        assert why["available"] < GIB < why["limit"]
        # A narrower lock is checked, not steered: bus addresses are the IOMMU's to choose.
        got = raw(g, "coherent", "64M", width=32)
        assert got["ok"] or got["reason"] == "address-width", got


# ---- reserved ----------------------------------------------------------------

RESERVED = f"reserved={HIGH:#x}+1G,{HIGH + 64 * GIB:#x}+1G,0x10000000+64M,name:dma"


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(
        ram_mib=3072,
        low_ram_mib=1024,
        cmdline_extra=[f"memmap=1G${HIGH:#x}"],
        driver_params=[RESERVED],
    )
    with Guest(config, tmp_path_factory.mktemp("reserved")) as g:
        yield g
        assert g.unexpected_lines() == []


def test_reserved(region: Guest) -> None:
    got = works(region, "reserved", "1G", touch=1)
    assert (got["segments"], got["backing"], got["dirty"]) == (1, "reserved", -1)
    # Again, and what the last one wrote is gone.
    assert works(region, "reserved", "1G", touch=1, times=2)["dirty"] == -1
    r = tool(region, "xfer --size 64M --strategy reserved")
    assert r["verified"] is True, r


def test_reserved_is_shared(region: Guest) -> None:
    """Three locks leave 124 MiB in a row; given back, it is whole again."""
    why = fails(region, "reserved", "300M", keep=4)
    assert why["held"] == 3
    assert why_of(why) == ("reserved-busy", errno.ENOMEM, "allocate")
    assert (why["limit"], why["request"], why["available"]) == (GIB, 300 * MIB, 124 * MIB)
    assert works(region, "reserved", "1G")
    assert ": good, 0 bytes taken" in region.run(f"cat {DEBUG}/reserved").stdout


def test_reserved_small(region: Guest) -> None:
    why = fails(region, "reserved", GIB + PAGE)
    assert why_of(why) == ("reserved-small", errno.E2BIG, "allocate")
    assert (why["limit"], why["request"]) == (GIB, GIB + PAGE)


def test_reserved_missing(region: Guest) -> None:
    for number in (4, 99):
        why = fails(region, "reserved", "1M", region=number)
        assert why_of(why) == ("reserved-missing", errno.ENOENT, "allocate")
        assert (why["limit"], why["request"], why["unit"]) == (4, number, "count")
    # A name that the kernel doesn't know, or whose memory it did not find at boot.
    assert fails(region, "reserved", "1M", region=3)["reason"] == "reserved-missing"


def test_reserved_not_reserved(region: Guest) -> None:
    """What the parameter says isn't believed: nothing is there, and RAM in use."""
    for number, address in ((1, HIGH + 64 * GIB), (2, 0x10000000)):
        why = fails(region, "reserved", "1M", region=number)
        assert why_of(why) == ("reserved-not-reserved", errno.ENXIO, "allocate")
        assert (why["request"], why["unit"]) == (address, "address")
    said = region.run("dmesg").stdout
    assert "in use as System RAM" in said


def test_reserved_above_the_width(region: Guest) -> None:
    why = fails(region, "reserved", "1M", width=32)
    assert why_of(why) == ("address-width", errno.ERANGE, "allocate")
    assert (why["limit"], why["request"]) == (2**32 - 1, HIGH + MIB - 1)


def test_reserved_on_the_node(region: Guest) -> None:
    assert works(region, "reserved", "1M", flags=NODE, node=0)


def test_reserved_takes_time(region: Guest) -> None:
    assert fails(region, "reserved", "1G", timeout=1)["reason"] == "timeout"
    assert works(region, "reserved", "1G")


def test_reserved_where_nothing_answers(tmp_path: Path) -> None:
    """The memory map says Reserved, and no memory is there: only reading back what was written
    tells."""
    end = 0xFD00000000  # the range that PCs keep free for their buses
    with boot(tmp_path, 512, driver_params=[f"reserved={end:#x}+16M"]) as g:
        assert f"{end:x}" in g.run("grep Reserved /proc/iomem").stdout
        assert fails(g, "reserved", "1M")["reason"] == "reserved-not-reserved"
        assert "what is written can't be read back" in g.run("dmesg").stdout
        assert g.unexpected_lines() == []


def test_reserved_on_a_machine_without_that_memory(tmp_path: Path) -> None:
    """memmap= of a larger machine: the kernel believes it, the bus has nothing there."""
    with boot(tmp_path, 512, f"memmap=1G${HIGH:#x}", driver_params=[f"reserved={HIGH:#x}+1G"]) as g:
        assert fails(g, "reserved", "1M")["reason"] == "reserved-not-reserved"
        assert g.unexpected_lines() == []


def test_reserved_behind_an_iommu(tmp_path: Path) -> None:
    """Translated as all else, and so below 4 GiB for a card of 32 bits."""
    with boot(
        tmp_path,
        1024,
        f"memmap=256M${HIGH:#x}",
        device="addr-width=32",
        iommu="intel",
        low_ram_mib=512,
        driver_params=[f"reserved={HIGH:#x}+256M"],
    ) as g:
        r = tool(g, "xfer --size 200M --strategy reserved")
        assert r["verified"] is True, r
        assert g.unexpected_lines() == []


def test_reserved_is_never_bounced(tmp_path: Path) -> None:
    """swiotlb=force: memory without struct pages can't be copied, and isn't. From 6.18 on the
    kernel refuses what it used to map as it is."""
    with boot(
        tmp_path,
        1024,
        f"memmap=256M${HIGH:#x}",
        "swiotlb=force",
        low_ram_mib=512,
        driver_params=[f"reserved={HIGH:#x}+256M"],
    ) as g:
        release = [int(n) for n in g.run("uname -r").stdout.split(".")[:2]]
        if release < [6, 18]:
            r = tool(g, "xfer --size 200M --strategy reserved")
            assert r["verified"] is True, r
        else:
            for size in (PAGE, 200 * MIB):
                why = fails(g, "reserved", size)
                assert why_of(why) == ("swiotlb-full", errno.EIO, "dma-map")
                assert why["request"] == size
        assert fails(g, "contig-range", "16M")["reason"] == "swiotlb-segment"
        assert g.unexpected_lines(allowed=["swiotlb buffer is full"]) == []


def test_reserved_by_name(tmp_path: Path) -> None:
    """reserve_mem=, which the kernels have since 6.12; with struct pages."""
    need_kernel("6.12")
    with boot(
        tmp_path,
        1024,
        "reserve_mem=256M:2M:dma",
        kernel="6.12",
        driver_params=["reserved=name:other,name:dma"],
    ) as g:
        got = works(g, "reserved", "256M", region=1, touch=1, times=2)
        assert (got["segments"], got["backing"], got["dirty"]) == (1, "reserved", -1)
        assert fails(g, "reserved", "1M")["reason"] == "reserved-missing"
        assert fails(g, "reserved", "257M", region=1)["reason"] == "reserved-small"
        assert g.unexpected_lines() == []


@pytest.mark.parametrize(
    "value",
    [
        "0x100000000",
        "0x100000000+",
        "0x100000000+0",
        "0x100000800+4K",
        "0x100000000+1000",
        "0x100000000+1G,",
        "1G-2G",
        "name:",
        "name:a-label-that-is-too-long",
        "0xfffffffffffff000+8K",
        ",".join(["0x100000000+1G"] * 17),
    ],
)
def test_reserved_refused_at_load(region: Guest, value: str) -> None:
    try:
        said = reload(region, f"'reserved={value}'", code=1)
        assert value.split(",")[-1] in said
    finally:
        reload(region, RESERVED)


def test_reserved_overlapping(region: Guest) -> None:
    try:
        reload(region, f"reserved={HIGH:#x}+512M,{HIGH + 256 * MIB:#x}+512M")
        assert works(region, "reserved", "512M")
        assert fails(region, "reserved", "1M", region=1)["reason"] == "reserved-not-reserved"
    finally:
        reload(region, RESERVED)


# ---- pool --------------------------------------------------------------------


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=1024), tmp_path_factory.mktemp("pool")) as g:
        yield g
        assert g.unexpected_lines() == []


POOLS = [("contig-range", 64, "range"), ("chunked", 64, "blocks"), ("coherent", 4, "buddy")]


@pytest.mark.parametrize(("strategy", "mib", "backing"), POOLS)
def test_pool(guest: Guest, strategy: str, mib: int, backing: str) -> None:
    before = memory(guest)
    said = reload(guest, f"pool_bytes={mib}M pool_count=2 pool_strategy={strategy}")
    assert f"pool: 2 buffers of {mib * MIB} bytes, by {strategy}" in said
    used = budgets(guest)["nonpaged_pool_bytes"][0]
    assert 2 * mib * MIB <= used < 2 * mib * MIB + MIB

    got = works(guest, "pool", mib * MIB, touch=1)
    assert (got["backing"], got["dirty"]) == (backing, -1)
    # Whoever had it before leaves nothing: as often as there are buffers, and once more.
    assert works(guest, "pool", mib * MIB, touch=1, times=3)["dirty"] == -1
    r = tool(guest, f"xfer --size {mib}M --strategy pool")
    assert r["verified"] is True, r
    # Part of a buffer is a whole one gone.
    why = fails(guest, "pool", PAGE, keep=3)
    assert why["held"] == 2
    assert why_of(why) == ("pool-empty", errno.ENOMEM, "allocate")
    assert (why["limit"], why["available"], why["unit"]) == (2, 0, "count")
    why = fails(guest, "pool", mib * MIB + PAGE)
    assert why_of(why) == ("pool-small", errno.E2BIG, "allocate")
    assert (why["limit"], why["request"]) == (mib * MIB, mib * MIB + PAGE)
    assert works(guest, "pool", PAGE, flags=NODE, node=0)
    # Taken at load, not by each lock.
    assert budgets(guest)["nonpaged_pool_bytes"][0] == used

    reload(guest)
    assert fails(guest, "pool", PAGE)["reason"] == "pool-empty"
    assert_nothing_left(guest, before)


def test_pool_below_a_width(guest: Guest) -> None:
    try:
        reload(guest, "pool_bytes=4M pool_count=1 pool_address_width=25")
        assert works(guest, "pool", "4M", width=25)
        (end,) = re.findall(r"^lowest end (0x\w+)$", guest.run(f"cat {DEBUG}/pool").stdout, re.M)
        assert 4 * MIB <= int(end, 16) + 1 <= 1 << 25
        reload(guest, "pool_bytes=64M pool_count=2")
        why = fails(guest, "pool", "4M", width=25)
        assert why_of(why) == ("address-width", errno.ERANGE, "allocate")
    finally:
        reload(guest)


def test_pool_that_can_t_be_filled(guest: Guest) -> None:
    """It loads with what there is, and says what was missing; unless that was to be an error."""
    before = memory(guest)
    pool = "pool_bytes=400M pool_count=3"
    try:
        said = reload(guest, pool)
        assert re.search(r"pool: [12] of 3 buffers of 419430400 bytes were had", said), said
        shown = guest.run(f"cat {DEBUG}/pool").stdout
        assert re.search(r"^wanted 3$\n^have [12]$", shown, re.M)
        assert re.search(r"^failed: errno (12|16) reason (7|8) ", shown, re.M)
        assert works(guest, "pool", "400M")
        said = reload(guest, f"{pool} pool_required=1", code=1)
        assert "buffers of 419430400 bytes were had" in said
    finally:
        reload(guest)
    assert_nothing_left(guest, before)


def test_pool_within_the_budget(guest: Guest) -> None:
    try:
        said = reload(guest, "pool_bytes=16M pool_count=5 nonpaged_pool_bytes=64M")
        assert "pool: 4 of 5 buffers" in said and "reason 35" in said
        assert budgets(guest)["nonpaged_pool_bytes"] == (64 * MIB, 64 * MIB)
        why = fails(guest, "contig-range", "1M", flags=1)
        assert (why["reason"], why["available"]) == ("nonpaged-pool", 0)
    finally:
        reload(guest)


@pytest.mark.parametrize(
    "parameters",
    [
        "pool_bytes=4M",
        "pool_count=1",
        "pool_bytes=4095 pool_count=1",
        "pool_bytes=4M pool_count=1025",
        "pool_bytes=4M pool_count=1 pool_strategy=sg",
        "pool_bytes=4M pool_count=1 pool_address_width=65",
    ],
)
def test_bad_pools_are_refused_at_load(guest: Guest, parameters: str) -> None:
    try:
        said = reload(guest, parameters, code=1)
        assert parameters.split("=")[-1] in said or "pool_bytes=" in said
    finally:
        reload(guest)


def test_pool_of_coherent_memory_goes_with_its_card(guest: Guest) -> None:
    """Unbound with the buffer locked and its file open: the memory is back, nobody trips."""
    reload(guest)
    before = memory(guest)
    reload(guest, "pool_bytes=4M pool_count=2 pool_strategy=coherent")
    try:
        start(guest, f"{TESTS}/gl-lock {arguments('pool', '4M', {'hold': 100})}", '"ok": true')
        r = guest.run(
            "cd /sys/bus/pci/drivers/gigalock && d=$(ls -d 0000:*) && echo $d > /tmp/slot &&"
            f" echo $d > unbind && cat {DEBUG}/pool"
        )
        assert "have 0\n" in r.stdout, r.stdout + r.stderr
        guest.run("kill $(pidof gl-lock)")
        wait_gone(guest, "gl-lock")
        guest.run("cat /tmp/slot > /sys/bus/pci/drivers/gigalock/bind")
        assert works(guest, "pool", "4M", touch=1)["dirty"] == -1
    finally:
        reload(guest)
    assert_nothing_left(guest, before)


# ---- 64 bits -----------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("strategy", ["contig-range", "chunked", "reserved"])
def test_eight_gibibytes(tmp_path: Path, strategy: str) -> None:
    """Sizes that no 32-bit number holds; one run is one piece for the device, a table's entries
    are shorter than 4 GiB each."""
    need_kernel("lab")
    region = f"memmap=8G${HIGH:#x}", {"driver_params": [f"reserved={HIGH:#x}+8G"]}
    words, more = region if strategy == "reserved" else ("nokaslr", {})
    with boot(tmp_path, 12288, words, kernel="lab", low_ram_mib=2048, **more) as g:
        got = works(g, strategy, "8G", flags=NO_USER_MAP, patience=500)
        assert got["segments"] * got["longest"] >= 8 * GIB
        if strategy != "chunked":
            assert (got["segments"], got["longest"]) == (1, 8 * GIB)
        got = works(g, strategy, "8G", max_segment="1G", patience=500)
        assert got["longest"] == GIB and got["segments"] >= 8
        assert got["mmap_offset"] + 8 * GIB < 2**44
        assert g.unexpected_lines() == []


# ---- a thousand times --------------------------------------------------------


def objects(g: Guest) -> int:
    """Objects of the kernel's general caches, after what is half free has been given back."""
    r = g.run(
        "for c in /sys/kernel/slab/*kmalloc*/shrink; do echo 1 > $c; done 2>/dev/null;"
        " cat /proc/slabinfo"
    )
    return sum(int(n) for n in re.findall(r"^\S*kmalloc\S*\s+(\d+)", r.stdout, re.M))


@pytest.mark.parametrize(
    ("strategy", "size"),
    [
        ("coherent", "256K"),
        ("contig-range", "2M"),
        ("chunked", "1M"),
        ("sg", "1M"),
        ("hugetlb", "4M"),
        ("reserved", "1M"),
        ("pool", "1M"),
        ("dmabuf", "1M"),
    ],
)
def test_a_thousand_locks_leave_nothing(region: Guest, strategy: str, size: str) -> None:
    g = region
    reload(g, f"reserved={HIGH:#x}+1G pool_bytes=1M pool_count=1")
    try:
        g.run("echo 4 > /proc/sys/vm/nr_hugepages")
        works(g, strategy, size, times=20)  # what the first ones build up
        before, slab, used = memory(g), objects(g), budgets(g)
        works(g, strategy, size, times=1000)
        assert objects(g) < slab + 500
        assert budgets(g) == used
        assert_nothing_left(g, before)
    finally:
        g.run("echo 0 > /proc/sys/vm/nr_hugepages")
        reload(g, RESERVED)


@pytest.mark.parametrize("strategy", ["coherent", "contig-range", "chunked", "sg", "pool"])
def test_a_thousand_failures_leave_nothing(region: Guest, strategy: str) -> None:
    """Failing late, when all has been had: 1 MiB in 256 entries of a page fits, and a page
    more doesn't."""
    g = region
    reload(g, "pool_bytes=2M pool_count=1")
    late = {"flags": SMALL_TABLE, "max_segment": PAGE}
    try:
        assert fails(g, strategy, MIB + PAGE, fail=20, **late)["reason"] == "too-many-segments"
        before, slab, used = memory(g), objects(g), budgets(g)
        fails(g, strategy, MIB + PAGE, fail=1000, **late)
        assert objects(g) < slab + 500
        assert budgets(g) == used
        assert_nothing_left(g, before)
    finally:
        reload(g, RESERVED)
