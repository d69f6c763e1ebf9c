# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks as dma-bufs and dma-bufs as locks: of each other, of the kernel's own makers, of two cards,
and what becomes of them when a card goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import run_tap
from rawlock import need_kernel

STRATEGIES = ["coherent", "contig-range", "sg", "hugetlb", "chunked"]
# Imported by its own card, a lock is there twice at the same bus addresses. A part of it that is
# synced fits both, so the kernel's DMA_API_DEBUG takes neither, and reports it as not mapped.
FITS_TWICE = [r"tries to sync DMA memory it has not allocated", r" at kernel/dma/.* check_sync\+"]
CARDS = [f"gigalock,id=gl{n},bus=rp{n},card-mem=16M" for n in range(2)]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=512), tmp_path_factory.mktemp("dmabuf")) as g:
        g.run("echo 8 > /proc/sys/vm/nr_hugepages")
        yield g
        assert g.unexpected_lines(allowed=FITS_TWICE) == []


def locks(g: Guest) -> int:
    return int(json.loads(g.run("gigalock info --json").stdout)["locks"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_export(guest: Guest, strategy: str) -> None:
    run_tap(guest, f"gl-dmabuf export {strategy} 4")


def test_refused(guest: Guest) -> None:
    run_tap(guest, "gl-dmabuf refused")


@pytest.mark.parametrize("strategy", ["sg", "hugetlb"])
def test_what_may_only_be_read(guest: Guest, strategy: str) -> None:
    """Exporting a lock for the card to read makes nobody a writer of its pages."""
    run_tap(guest, f"gl-dmabuf readonly {strategy} 4")


def test_export_behind_an_iommu(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512, iommu="intel"), tmp_path) as g:
        for strategy in ("coherent", "contig-range", "sg", "chunked"):
            run_tap(g, f"gl-dmabuf export {strategy} 8")
        assert g.unexpected_lines() == []


def test_export_where_everything_bounces(tmp_path: Path) -> None:
    """The sync of an import brings its bytes, and no others."""
    with Guest(GuestConfig(ram_mib=512, cmdline_extra=["swiotlb=force"]), tmp_path) as g:
        for strategy in ("coherent", "sg", "chunked"):
            run_tap(g, f"gl-dmabuf export {strategy} 1")
        assert g.unexpected_lines() == []


@pytest.mark.parametrize("kernel", ["lab", "6.12"])
def test_import_of_what_the_kernel_makes(kernel: str, tmp_path: Path) -> None:
    """udmabuf: pages of a memfd; the system heap: blocks of the page allocator."""
    need_kernel(kernel)
    with Guest(GuestConfig(ram_mib=512, kernel=kernel), tmp_path) as g:
        run_tap(g, "gl-dmabuf import udmabuf 16")
        run_tap(g, "gl-dmabuf import system 16")
        assert locks(g) == 0
        assert g.unexpected_lines() == []


def test_the_card_goes(tmp_path: Path) -> None:
    """Unbound with exports, imports and mappings alive: none can be used, nothing is touched
    that is no longer there, and the card works when it is bound again."""
    with Guest(GuestConfig(ram_mib=512), tmp_path) as g:
        g.run("echo 8 > /proc/sys/vm/nr_hugepages")
        for strategy in STRATEGIES:
            run_tap(g, f"gl-dmabuf gone {strategy} 4")
            node = g.run("ls /dev/gigalock*").stdout.strip()
            r = g.run(f"gigalock --device {node} xfer --size 4M --strategy sg --json")
            assert json.loads(r.stdout)["verified"] is True, r.stdout
        assert g.unexpected_lines() == []


def test_two_cards(tmp_path: Path) -> None:
    """What one card's driver locked, another card imports, and keeps when the first is gone."""
    with Guest(GuestConfig(ram_mib=512, devices=CARDS), tmp_path) as g:
        for strategy in ("coherent", "contig-range", "sg", "chunked"):
            run_tap(g, f"gl-dmabuf two {strategy} 4")
        assert g.unexpected_lines() == []
