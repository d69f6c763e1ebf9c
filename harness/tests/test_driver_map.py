# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process maps of a lock: the offsets, what is refused, that it is the card's memory in the
card's order, and how few page tables it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import TESTS, run_tap
from rawlock import need_kernel

SIZES = {"coherent": 4, "contig-range": 48, "chunked": 48}  # MiB
GIB = 1024
TABLES_KIB = 2048  # of 1 GiB, mapped page by page


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=512), tmp_path_factory.mktemp("map")) as g:
        yield g
        assert g.unexpected_lines() == []


def page_tables(said: str) -> int:
    """KiB of page tables that a mapping took."""
    m = re.search(r"^# pte (\d+)$", said, re.M)
    assert m, said
    return int(m[1])


@pytest.mark.parametrize("strategy", SIZES)
def test_mapping(guest: Guest, strategy: str) -> None:
    run_tap(guest, f"gl-map {strategy} {SIZES[strategy]}")


@pytest.mark.parametrize("strategy", ["coherent", "chunked"])
def test_what_a_process_does_to_a_mapping(guest: Guest, strategy: str) -> None:
    run_tap(guest, f"gl-remap {strategy}")


def test_mapping_behind_an_iommu(tmp_path: Path) -> None:
    """Coherent memory is then made of pages from anywhere, in the order the card sees."""
    with Guest(GuestConfig(ram_mib=512, iommu="intel"), tmp_path) as g:
        for strategy in SIZES:
            run_tap(g, f"gl-map {strategy} 48")
        assert g.unexpected_lines() == []


def test_a_long_table_is_mapped_as_fast_at_its_end(guest: Guest) -> None:
    """65536 entries: a page of the last quarter is found as soon as one of the first."""
    run_tap(guest, "gl-map quarters 256")


def test_huge_entries(tmp_path: Path) -> None:
    """From 6.12 on one entry maps 2 MiB: a GiB takes next to no page tables."""
    need_kernel("6.12")
    with Guest(GuestConfig(ram_mib=1536, kernel="6.12"), tmp_path) as g:
        for strategy in ("chunked", "contig-range"):
            said = run_tap(g, f"gl-map {strategy} {GIB} sparse")
            # Parts of it, from odd places on, are mapped page by page: those few tables count.
            assert page_tables(said) < TABLES_KIB // 16, said
        assert g.unexpected_lines() == []


def test_small_entries_where_huge_ones_are_not_safe(tmp_path: Path) -> None:
    need_kernel("stock")
    with Guest(GuestConfig(ram_mib=1536, kernel="stock"), tmp_path) as g:
        release = g.run("uname -r").stdout
        if not release.startswith("6.1."):
            pytest.skip(f"the stock kernel is {release.strip()}, which has huge entries")
        said = run_tap(g, f"gl-map chunked {GIB} sparse")
        assert page_tables(said) >= TABLES_KIB
        assert g.unexpected_lines() == []


@pytest.mark.full
def test_more_than_four_gib(tmp_path: Path) -> None:
    """8 GiB in one lock and one mapping, by the driver's own memory and by the caller's."""
    with Guest(GuestConfig(ram_mib=9728), tmp_path) as g:
        said = run_tap(g, "gl-map chunked 8192 sparse", timeout=600)
        assert "and no page is there twice" in said
        run_tap(g, "gl-sg big 8", timeout=600)
        assert g.unexpected_lines() == []


def test_leaving_a_mapping_behind(guest: Guest) -> None:
    """The process ends with a lock mapped: all of it is free again."""
    before = guest.run("gigalock info --json").stdout
    for _ in range(3):
        guest.run(f"{TESTS}/gl-lock strategy=6 bytes=16M touch=1")
    assert guest.run("gigalock info --json").stdout == before
