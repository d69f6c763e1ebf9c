# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lock can be asked for, held against what comes: address bits, node, segments, time,
user mapping, budgets."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import TESTS, run_tap, start, wait_gone
from rawlock import (
    ENTRY_PER_PAGE,
    NO_USER_MAP,
    NODE,
    REASONS,
    SMALL_TABLE,
    arguments,
    budgets,
    fails,
    raw,
    reload,
    works,
)

MIB = 2**20
PAGE = 4096
OWN = ["coherent", "contig-range", "chunked"]  # memory that the driver allocates


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=1024), tmp_path_factory.mktemp("options")) as g:
        yield g
        assert g.unexpected_lines() == []


# ---- segments ----------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["coherent", "contig-range", "chunked", "sg"])
def test_longest_segment(guest: Guest, strategy: str) -> None:
    """Pieces are cut at the length asked for; one in a row has exactly as many as that gives."""
    got = works(guest, strategy, "4M", max_segment="64K")
    assert got["longest"] == 64 << 10
    assert got["segments"] >= 64
    if strategy in ("coherent", "contig-range"):
        assert got["segments"] == 64
        assert works(guest, strategy, 4 * MIB - PAGE, max_segment="3M")["segments"] == 2


def test_segments_of_an_unaligned_buffer(guest: Guest) -> None:
    """Cuts lie on page boundaries: 2 pages that begin in mid-page are 3 entries of a page each."""
    got = works(guest, "sg", 2 * PAGE, max_segment=PAGE, align=100)
    assert (got["segments"], got["longest"]) == (3, PAGE)
    got = works(guest, "sg", PAGE, max_segment=PAGE, align=100)
    assert (got["segments"], got["longest"]) == (2, PAGE - 100)


def test_segments_that_an_iommu_has_merged(tmp_path: Path) -> None:
    """One run of bus addresses: cut again, where pages end."""
    config = GuestConfig(ram_mib=768, nodes_mib=(512, 256), iommu="intel")
    with Guest(config, tmp_path) as g:
        assert works(g, "sg", "4M", align=100)["segments"] == 1
        got = works(g, "sg", 2 * PAGE, max_segment=PAGE, align=100)
        assert (got["segments"], got["longest"]) == (3, PAGE)
        got = works(g, "sg", 4 * PAGE, max_segment=3 * PAGE, align=100)
        assert (got["segments"], got["longest"]) == (2, 3 * PAGE - 100)
        assert works(g, "sg", "4M", flags=ENTRY_PER_PAGE, align=100)["segments"] == 1025
        for strategy in OWN:
            assert works(g, strategy, "8M", flags=ENTRY_PER_PAGE)["segments"] == 2048
        assert works(g, "coherent", "4M", max_segment="64K")["segments"] == 64
        # The node of an import is looked for behind its bus addresses.
        for node in (0, 1):
            assert works(g, "dmabuf", "2M", flags=NODE, node=node, of_node=node)
            why = fails(g, "dmabuf", "2M", flags=NODE, node=node, of_node=1 - node)
            assert (why["reason"], why["stage"]) == ("node-memory", "dma-map")
        # No piece ends because bus addresses come to a multiple of 4 GiB.
        assert g.run("echo 1 > /proc/sys/vm/nr_hugepages").ok
        run_tap(g, "gl-sg long 2 4123", timeout=120)
        why = fails(g, "sg", "1M", flags=SMALL_TABLE, max_segment=PAGE, align=100)
        assert (why["reason"], why["request"], why["limit"]) == ("too-many-segments", 257, 256)
        r = g.run("gigalock xfer --size 5M --strategy sg --max-segment 12K --json", timeout=120)
        assert '"verified": true' in r.stdout or '"verified":true' in r.stdout, r.stdout + r.stderr
        assert g.unexpected_lines() == []


def test_segments_of_other_lengths_move_every_byte(guest: Guest) -> None:
    for options in ("--max-segment 4K", "--max-segment 12K", "--max-segment 1M"):
        r = guest.run(f"gigalock xfer --size 5M --strategy sg {options} --json", timeout=120)
        assert '"verified": true' in r.stdout or '"verified":true' in r.stdout, r.stdout + r.stderr


@pytest.mark.parametrize("strategy", ["coherent", "contig-range", "chunked", "sg"])
def test_small_table(guest: Guest, strategy: str) -> None:
    """256 entries and no more: exactly 256 pages of a page each fit, 257 don't."""
    small = {"flags": SMALL_TABLE, "max_segment": PAGE}
    assert works(guest, strategy, 256 * PAGE, **small)["segments"] == 256
    why = fails(guest, strategy, 257 * PAGE, **small)
    assert (why["reason"], why["errno"], why["stage"]) == (
        "too-many-segments",
        errno.E2BIG,
        "table",
    )
    assert (why["limit"], why["unit"], why["available"]) == (256, "count", 256)
    assert why["request"] >= 257


def test_small_table_of_a_run(guest: Guest) -> None:
    got = works(guest, "contig-range", "256M", flags=SMALL_TABLE, max_segment="1M")
    assert got["segments"] == 256
    why = fails(guest, "contig-range", "256M", flags=SMALL_TABLE, max_segment="512K")
    assert (why["reason"], why["request"]) == ("too-many-segments", 512)
    assert why["available"] == 128 * MIB // PAGE


def test_an_entry_a_page(guest: Guest) -> None:
    for strategy in (*OWN, "sg"):
        got = works(guest, strategy, "4M", flags=ENTRY_PER_PAGE)
        assert (got["segments"], got["longest"]) == (1024, PAGE)
    # A longest segment beside it says nothing more.
    got = works(guest, "contig-range", 64 * MIB + PAGE, flags=ENTRY_PER_PAGE, max_segment="1M")
    assert (got["segments"], got["longest"]) == (16385, PAGE)


def test_no_user_map(guest: Guest) -> None:
    for strategy in OWN:
        assert works(guest, strategy, "4M", flags=NO_USER_MAP)["mmap_offset"] == 0
        assert works(guest, strategy, "4M", flags=0)["mmap_offset"] > 0


# ---- values out of range -----------------------------------------------------


@pytest.mark.parametrize(
    ("options", "request_", "limit"),
    [
        ({"width": 23}, 23, 24),
        ({"width": 65}, 65, 64),
        ({"max_segment": 1000}, 1000, PAGE),
        ({"node": 1}, 1, 0),
        ({"flags": NODE, "node": 4096}, 4096, None),
        ({"region": 1}, 1, 0),
        ({"fd": 3}, 3, 0),
        ({"flags": 16}, 16, None),
    ],
)
def test_bad_values_are_named(
    guest: Guest, options: dict[str, int], request_: int, limit: int | None
) -> None:
    why = fails(guest, "contig-range", "1M", **options)
    assert (why["reason"], why["errno"], why["stage"]) == (
        "bad-argument",
        errno.EINVAL,
        "arguments",
    )
    assert why["request"] == request_
    assert limit is None or why["limit"] == limit


# ---- address bits ------------------------------------------------------------


def test_a_width_that_the_size_alone_exceeds(guest: Guest) -> None:
    """Known before anything is allocated: 24 bits have no room for 17 MiB anywhere."""
    for strategy in OWN:
        why = fails(guest, strategy, "17M", width=24)
        assert (why["reason"], why["errno"]) == ("address-width", errno.ERANGE)
        assert (why["limit"], why["unit"]) == (2**24 - 1, "address")
        assert why["request"] == 17 * MIB - 1


def test_memory_is_looked_for_below_the_width(guest: Guest) -> None:
    """16 MiB are what 24 bits reach: memory comes from there while it lasts, then the reason
    says how high it would lie."""
    assert works(guest, "contig-range", "4M", width=24)
    # The lab kernel has no zone that keeps memory there: what comes by itself lies higher.
    kept = re.search(r"zone +DMA ", guest.run("cat /proc/buddyinfo").stdout) is not None
    if kept:
        assert works(guest, "chunked", "1M", width=24)
    else:
        why = fails(guest, "chunked", "1M", width=24)
        assert (why["reason"], why["stage"]) == ("address-width", "allocate")
        assert why["limit"] == 2**24 - 1 < why["request"]
    why = fails(guest, "coherent", "4M", width=24, keep=8)
    assert (why["reason"], why["errno"], why["unit"]) == ("address-width", errno.ERANGE, "address")
    assert why["held"] >= 1 if kept else why["held"] == 0
    assert why["limit"] == 2**24 - 1 < why["request"]


def test_the_caller_s_memory_above_the_width(tmp_path: Path) -> None:
    """Half of RAM lies above 4 GiB, and the card could reach it: only this lock may not."""
    with Guest(GuestConfig(ram_mib=1024, low_ram_mib=512), tmp_path) as g:
        why = fails(g, "sg", "600M", width=32)
        assert (why["reason"], why["errno"]) == ("address-width", errno.ERANGE)
        assert why["limit"] == 2**32 - 1 < why["request"]
        assert works(g, "sg", "600M")
        for strategy in ("contig-range", "chunked"):
            assert works(g, strategy, "256M", width=32)
        assert works(g, "coherent", "4M", width=32)
        why = fails(g, "chunked", "600M", width=32)
        assert (why["reason"], why["errno"]) == ("address-width", errno.ERANGE)
        assert why["limit"] == 2**32 - 1 < why["request"]
        assert g.unexpected_lines() == []


# ---- nodes -------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(ram_mib=1024, nodes_mib=(512, 512))
    with Guest(config, tmp_path_factory.mktemp("nodes")) as g:
        yield g
        assert g.unexpected_lines() == []


def node_free(g: Guest, node: int) -> int:
    """MiB free on a node, with the pages that processors keep for themselves."""
    text = g.run("echo 3 > /proc/sys/vm/drop_caches; cat /proc/zoneinfo").stdout
    pages = 0
    for zone in re.split(r"^(?=Node)", text, flags=re.M):
        if zone.startswith(f"Node {node},"):
            pages += sum(int(n) for n in re.findall(r"^\s+pages free\s+(\d+)", zone, re.M))
            pages += sum(int(n) for n in re.findall(r"^\s+count:\s+(\d+)", zone, re.M))
    return pages * PAGE // MIB


def stop_holder(g: Guest) -> None:
    """End gl-lock and wait for its end: what it held is free again only then."""
    g.run("kill $(pidof gl-lock)")
    wait_gone(g, "gl-lock")


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize(("strategy", "size"), [("contig-range", 200), ("chunked", 200)])
def test_memory_comes_from_the_node(nodes: Guest, strategy: str, size: int, node: int) -> None:
    """All processors are of node 0, so node 1 is not where memory comes from by itself."""
    before = [node_free(nodes, n) for n in (0, 1)]
    options = {"flags": NODE, "node": node, "hold": 100}
    start(nodes, f"{TESTS}/gl-lock {arguments(strategy, f'{size}M', options)}", '"ok": true')
    after = [node_free(nodes, n) for n in (0, 1)]
    stop_holder(nodes)
    took = [b - a for b, a in zip(before, after, strict=True)]
    assert took[node] >= size - 8, took
    assert took[1 - node] < 16, took


def test_coherent_memory_comes_from_the_node(nodes: Guest) -> None:
    before = node_free(nodes, 1)
    options = {"flags": NODE, "node": 1, "keep": 20, "hold": 100}
    start(nodes, f"{TESTS}/gl-lock {arguments('coherent', '4M', options)}", '"ok": true')
    took = before - node_free(nodes, 1)
    stop_holder(nodes)
    assert 76 <= took <= 90


@pytest.mark.parametrize("strategy", ["contig-range", "chunked"])
def test_a_node_that_is_too_small(nodes: Guest, strategy: str) -> None:
    why = fails(nodes, strategy, "600M", flags=NODE, node=1)
    assert (why["reason"], why["errno"], why["stage"]) == ("node-memory", errno.ENOMEM, "allocate")
    assert 450 * MIB < why["limit"] < 512 * MIB
    assert why["available"] <= why["limit"]
    assert works(nodes, strategy, "100M", flags=NODE, node=1)


def test_a_node_that_runs_out_of_blocks(nodes: Guest) -> None:
    """4 MiB at a time until node 1 has none left; node 0 still has plenty."""
    why = fails(nodes, "coherent", "4M", flags=NODE, node=1, keep=128)
    assert (why["reason"], why["errno"]) == ("no-free-block", errno.ENOMEM)
    assert why["held"] > 64
    # What is free of this node: the other one's would be far more.
    assert why["available"] < 512 * MIB - why["held"] * 4 * MIB
    assert works(nodes, "coherent", "4M", flags=NODE, node=0)


def test_the_caller_s_memory_on_the_wrong_node(nodes: Guest) -> None:
    why = fails(nodes, "sg", "16M", flags=NODE, node=1)
    assert (why["reason"], why["stage"]) == ("node-memory", "pin")
    assert works(nodes, "sg", "16M", flags=NODE, node=0)


# ---- memory groups -----------------------------------------------------------


def test_the_caller_s_group_pays(guest: Guest) -> None:
    """Blocks that coherent locks take count in the group of who asked for them."""
    group = "/sys/fs/cgroup/few"
    r = guest.run(
        "echo +memory > /sys/fs/cgroup/cgroup.subtree_control &&"
        f" mkdir {group} && echo 24M > {group}/memory.max"
    )
    assert r.ok, r.stderr
    try:
        words = arguments("coherent", "2M", {"keep": 40})
        r = guest.run(f"echo $$ > {group}/cgroup.procs; exec {TESTS}/gl-lock {words}")
        why = json.loads(r.stdout)
        assert why["ok"] is False, why
        assert (REASONS[why["reason"]], why["errno"]) == ("no-memory", errno.ENOMEM)
        assert 4 <= why["held"] < 12
        assert why["available"] > 100 * MIB  # the machine has it
        assert works(guest, "coherent", "2M", keep=40)
    finally:
        guest.run(f"rmdir {group}")


# ---- time --------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["contig-range", "chunked", "sg"])
def test_time_limit(guest: Guest, strategy: str) -> None:
    """1 ms is too short for 400 MiB, which this guest has in a row; all is given back."""
    before = budgets(guest)
    why = fails(guest, strategy, "400M", timeout=1)
    assert (why["reason"], why["errno"]) == ("timeout", errno.ETIMEDOUT)
    assert (why["limit"], why["unit"]) == (1, "milliseconds")
    assert budgets(guest) == before
    assert works(guest, strategy, "400M", timeout=600_000)


# ---- budgets -----------------------------------------------------------------


@pytest.fixture
def budgeted(guest: Guest) -> Iterator[Guest]:
    reload(guest, f"nonpaged_pool_bytes=64M mapping_entries={4096}")
    yield guest
    assert budgets(guest) == {
        "nonpaged_pool_bytes": (0, 64 * MIB),
        "mapping_entries": (0, 4096),
    }
    reload(guest)


@pytest.mark.parametrize("strategy", ["contig-range", "chunked"])
def test_budget_of_memory(budgeted: Guest, strategy: str) -> None:
    g = budgeted
    # The memory fits to the byte; the tables would come on top.
    why = fails(g, strategy, 64 * MIB + PAGE, flags=NO_USER_MAP)
    assert (why["reason"], why["errno"], why["stage"]) == (
        "nonpaged-pool",
        errno.ENOMEM,
        "account",
    )
    assert (why["limit"], why["request"], why["available"]) == (
        64 * MIB,
        64 * MIB + PAGE,
        64 * MIB,
    )
    assert works(g, strategy, "60M", flags=NO_USER_MAP)
    why = fails(g, strategy, "24M", flags=NO_USER_MAP, keep=3)
    assert (why["reason"], why["held"]) == ("nonpaged-pool", 2)
    assert 15 * MIB < why["available"] <= 16 * MIB


def test_budget_counts_tables(budgeted: Guest) -> None:
    """The caller's memory is free of charge, the tables for it aren't: 64 bytes an entry."""
    g = budgeted
    why = fails(g, "sg", "512M", flags=NO_USER_MAP | ENTRY_PER_PAGE, keep=30)
    assert why["reason"] == "nonpaged-pool"
    assert why["held"] >= 1
    assert budgets(g)["nonpaged_pool_bytes"][0] == 0


@pytest.mark.parametrize("strategy", ["coherent", "contig-range", "chunked", "sg"])
def test_budget_of_mapping_entries(budgeted: Guest, strategy: str) -> None:
    g = budgeted
    why = fails(g, strategy, "4M", keep=5)
    assert (why["reason"], why["errno"], why["stage"]) == (
        "mapping-entries",
        errno.ENOMEM,
        "account",
    )
    assert (why["held"], why["limit"], why["request"], why["available"]) == (4, 4096, 1024, 0)
    assert why["unit"] == "count"
    # What isn't mapped needs none.
    assert works(g, strategy, "4M", keep=5, flags=NO_USER_MAP)


def test_budget_counts_pages_touched(budgeted: Guest) -> None:
    """Sixteen MiB that begin in mid-page lie in one page more."""
    assert works(budgeted, "sg", "16M")
    why = fails(budgeted, "sg", "16M", align=1)
    assert (why["reason"], why["request"]) == ("mapping-entries", 4097)


def test_budget_comes_back_exactly(budgeted: Guest) -> None:
    """After any failure too: each strategy, many times, good and bad."""
    for strategy in ("coherent", "contig-range", "chunked", "sg"):
        works(budgeted, strategy, "4M", times=200)
        raw(budgeted, strategy, "4M", width=24, keep=4)
        fails(budgeted, strategy, "2M", flags=SMALL_TABLE, max_segment=PAGE)


def test_budgets_are_fixed_once_loaded(budgeted: Guest) -> None:
    for name in ("nonpaged_pool_bytes", "mapping_entries"):
        path = f"/sys/module/gigalock/parameters/{name}"
        assert budgeted.run(f"stat -c %a {path}").stdout.strip() == "444"
        assert budgeted.run(f"cat {path}").stdout.strip() == str(
            {"nonpaged_pool_bytes": 64 * MIB, "mapping_entries": 4096}[name]
        )


@pytest.mark.parametrize("value", ["", "x", "12x", "-1", "4k4", "0x"])
def test_bad_sizes_are_refused_at_load(guest: Guest, value: str) -> None:
    try:
        said = reload(guest, f"nonpaged_pool_bytes={value}", code=1)
        assert "nonpaged_pool_bytes" in said and value in said
    finally:
        reload(guest)
