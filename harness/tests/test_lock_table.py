# SPDX-License-Identifier: GPL-2.0-or-later
"""Every option of a lock with every strategy, in a guest of two nodes where each one works."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from rawlock import (
    DEBUG,
    ENTRY_PER_PAGE,
    NO_USER_MAP,
    NODE,
    SMALL_TABLE,
    budgets,
    fails,
    raw,
    works,
)

KIB, MIB = 2**10, 2**20
PAGE = 4 * KIB
REGION = 0x10000000
BACKED = ["coherent", "contig-range", "reserved", "pool", "sg", "hugetlb", "chunked", "dmabuf"]
# The others are the caller's memory, or mapped by their exporter: a chunked lock, here.
MAPPED = [s for s in BACKED if s not in ("sg", "hugetlb", "dmabuf")]
INJECT = f"{DEBUG}/gigalock0/inject"
HUGE = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(
        ram_mib=1024,
        nodes_mib=(640, 384),
        cmdline_extra=[f"memmap=16M${REGION:#x}"],
        driver_params=[
            "pool_bytes=8M",
            "pool_count=2",
            "pool_strategy=contig-range",
            f"reserved={REGION:#x}+16M",
            "mapping_entries=4096",
        ],
    )
    with Guest(config, tmp_path_factory.mktemp("table")) as g:
        assert g.run(f"echo 4 > {HUGE}; cat {HUGE}").stdout == "4\n"
        yield g
        assert g.unexpected_lines() == []


def why_of(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["reason"], answer["errno"], answer["stage"]


@pytest.mark.parametrize("strategy", BACKED)
def test_longest_segment(guest: Guest, strategy: str) -> None:
    got = works(guest, strategy, "4M", max_segment="64K")
    assert got["longest"] == 64 * KIB
    assert 64 <= got["segments"] < 1024


@pytest.mark.parametrize("strategy", BACKED)
def test_an_entry_a_page(guest: Guest, strategy: str) -> None:
    """As many pieces as pages, and a table only for what has one."""
    got = works(guest, strategy, "4M", flags=ENTRY_PER_PAGE)
    assert (got["segments"], got["longest"]) == (1024, PAGE)
    merged = works(guest, strategy, "4M")["table_bytes"]
    if strategy in ("hugetlb", "chunked"):
        assert got["table_bytes"] > merged + 1000 * 32
    elif strategy != "sg":  # whose pages may all be apart anyway
        assert got["table_bytes"] == merged
    if strategy in ("sg", "hugetlb"):  # two pages long, in three
        got = works(guest, strategy, 2 * PAGE, flags=ENTRY_PER_PAGE, align=100)
        assert (got["segments"], got["longest"]) == (3, PAGE)


@pytest.mark.parametrize("strategy", BACKED)
def test_a_small_table(guest: Guest, strategy: str) -> None:
    """Pages of sg may all be apart; the others are of larger pieces, and a huge page is 2 MiB."""
    most = (
        {"bytes": "1M", "longest": "4K"} if strategy == "sg" else {"bytes": "2M", "longest": "8K"}
    )
    got = works(guest, strategy, most["bytes"], flags=SMALL_TABLE, max_segment=most["longest"])
    assert got["segments"] == 256
    by_page = SMALL_TABLE | ENTRY_PER_PAGE
    assert works(guest, strategy, "1M", flags=by_page)["segments"] == 256
    why = fails(guest, strategy, MIB + PAGE, flags=by_page)
    assert why_of(why) == ("too-many-segments", errno.E2BIG, "table")
    assert (why["limit"], why["unit"]) == (256, "count")
    assert (why["request"], why["available"]) == (257, 256)


@pytest.mark.parametrize("strategy", BACKED)
def test_no_user_mapping(guest: Guest, strategy: str) -> None:
    """What no process maps isn't charged for entries of page tables."""
    entries = budgets(guest)["mapping_entries"]
    assert entries == (0, 4096)
    got = works(guest, strategy, "4M", flags=NO_USER_MAP)
    assert got["mmap_offset"] == 0
    assert bool(works(guest, strategy, "4M")["mmap_offset"]) == (strategy in MAPPED)
    if strategy in MAPPED and strategy not in ("pool", "reserved"):
        # 17 MiB are 4352 pages, more than there are entries for.
        why = fails(guest, strategy, "17M")
        if strategy == "coherent":
            assert why["reason"] in ("mapping-entries", "buddy-limit")
        else:
            assert (why["reason"], why["limit"]) == ("mapping-entries", 4096)
    if strategy == "contig-range":
        assert works(guest, strategy, "17M", flags=NO_USER_MAP)
    assert budgets(guest)["mapping_entries"] == entries


@pytest.mark.parametrize("strategy", BACKED)
def test_the_node(guest: Guest, strategy: str) -> None:
    """All that is there by itself lies on node 0; what is allocated can be had from either."""
    if strategy == "dmabuf":  # as it was allocated
        for node in (0, 1):
            assert works(guest, strategy, "2M", flags=NODE, node=node, of_node=node)
            why = fails(guest, strategy, "2M", flags=NODE, node=node, of_node=1 - node)
            assert why_of(why) == ("node-memory", errno.ENOMEM, "dma-map")
            assert (why["request"], why["available"]) == (2 * MIB, 0)
        return
    assert works(guest, strategy, "2M", flags=NODE, node=0)
    if strategy in ("coherent", "contig-range", "chunked"):
        assert works(guest, strategy, "2M", flags=NODE, node=1)
        return
    why = fails(guest, strategy, "2M", flags=NODE, node=1)
    assert why["reason"] == "node-memory", why
    why = fails(guest, strategy, "2M", flags=NODE, node=2)
    assert (why["reason"], why["errno"]) == ("bad-argument", errno.EINVAL)


@pytest.mark.parametrize("strategy", BACKED)
def test_address_bits(guest: Guest, strategy: str) -> None:
    """Below 4 GiB lies all of this guest's memory, so 32 bits are enough for any of it."""
    assert works(guest, strategy, "2M", width=32)
    for width in (23, 65):
        why = fails(guest, strategy, "2M", width=width)
        assert (why["reason"], why["errno"]) == ("bad-argument", errno.EINVAL)
    # 24 bits are the first 16 MiB, of which nothing here is free, or begins there.
    if strategy not in ("coherent", "contig-range", "chunked"):
        why = fails(guest, strategy, "2M", width=24)
        assert (why["reason"], why["errno"], why["limit"]) == (
            "address-width",
            errno.ERANGE,
            2**24 - 1,
        )


@pytest.mark.parametrize("strategy", BACKED)
def test_the_direction(guest: Guest, strategy: str) -> None:
    for direction in (1, 2):  # all other locks here are for both
        assert works(guest, strategy, "2M", direction=direction)
    why = fails(guest, strategy, "2M", direction=4)
    assert why_of(why) == ("bad-argument", errno.EINVAL, "arguments")
    assert (why["request"], why["limit"]) == (4, 3)


@pytest.mark.parametrize("strategy", BACKED)
def test_time_is_up(guest: Guest, strategy: str) -> None:
    """Made to stand still at a lock's first step, or in the middle of pinning, or at its end."""
    before = budgets(guest)
    stand = {"sg": "pin delay 60 1", "hugetlb": "pin delay 60 1", "dmabuf": "map delay 60 1"}
    assert guest.run(f"echo '{stand.get(strategy, 'metadata delay 60')}' > {INJECT}").ok
    why = fails(guest, strategy, "8M" if "pin" in stand.get(strategy, "") else "4M", timeout=20)
    assert (why["reason"], why["errno"]) == ("timeout", errno.ETIMEDOUT)
    assert (why["limit"], why["unit"]) == (20, "milliseconds")
    assert budgets(guest) == before


@pytest.mark.parametrize("strategy", BACKED)
def test_a_time_limit_that_is_enough(guest: Guest, strategy: str) -> None:
    assert works(guest, strategy, "2M", timeout=600_000)


@pytest.mark.parametrize("strategy", BACKED)
def test_each_leaves_nothing(guest: Guest, strategy: str) -> None:
    before = budgets(guest)
    assert works(guest, strategy, "2M", times=50)
    assert raw(guest, strategy, "2M", flags=SMALL_TABLE, max_segment="4K", fail=20)["ok"] is False
    assert budgets(guest) == before
