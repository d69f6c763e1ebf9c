# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks as dma-bufs and dma-bufs as locks: of each other, of the kernel's own makers, of two cards,
and what becomes of them when a card goes."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness import places
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import run_tap
from gigalock_harness.qemu_args import default_kernel
from rawlock import (
    DEBUG,
    ENTRY_PER_PAGE,
    NO_USER_MAP,
    NODE,
    SMALL_TABLE,
    fails,
    need_kernel,
    works,
)

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


def importer_config(*cmdline: str) -> GuestConfig:
    made = places.build_dir() / "driver" / default_kernel() / "importer" / "gl-importer.ko"
    return GuestConfig(
        ram_mib=512,
        put_files={"/lib/modules/gl-importer.ko": made},
        cmdline_extra=["memmap=8M$0x10000000", *cmdline],
        driver_params=["reserved=0x10000000+8M", "pool_bytes=4M", "pool_count=1"],
    )


@pytest.fixture(scope="module")
def importer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest with a module of ours that imports dma-bufs, and memory of every kind."""
    with Guest(importer_config(), tmp_path_factory.mktemp("importer")) as g:
        assert g.run("insmod /lib/modules/gl-importer.ko").ok
        g.run("echo 8 > /proc/sys/vm/nr_hugepages")
        yield g
        assert g.unexpected_lines() == []


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
    said = run_tap(guest, f"gl-dmabuf readonly {strategy} 4")
    # Until 6.2 the kernel pins no pages of a file that may not be written.
    release = guest.run("uname -r").stdout.split(".")
    if strategy == "hugetlb" or (int(release[0]), int(release[1])) >= (6, 2):
        assert "# its pages are a file's" in said


def test_export_behind_an_iommu(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512, iommu="intel"), tmp_path) as g:
        for strategy in ("coherent", "contig-range", "sg", "chunked"):
            run_tap(g, f"gl-dmabuf export {strategy} 8")
        assert g.unexpected_lines() == []


def test_export_where_everything_bounces(tmp_path: Path) -> None:
    """The sync of an import brings its bytes, and no others."""
    with Guest(importer_config("swiotlb=force"), tmp_path) as g:
        for strategy in ("coherent", "sg", "chunked"):
            run_tap(g, f"gl-dmabuf export {strategy} 1")
        assert g.run("insmod /lib/modules/gl-importer.ko").ok
        for strategy in ("sg", "chunked"):
            run_tap(g, f"gl-dmabuf kernel {strategy} 1")
        assert g.unexpected_lines() == []


def options_of_an_import(g: Guest, of: str) -> None:
    """Every option of a lock, on what another driver has allocated and mapped."""
    got = works(g, "dmabuf", "4M", of=of, max_segment="64K")
    # From 6.12 on, udmabuf hands over every page by itself.
    assert got["longest"] in ((64 * 1024,) if of == "system" else (64 * 1024, 4096))
    assert 64 <= got["segments"] <= 1024
    got = works(g, "dmabuf", "4M", of=of, flags=ENTRY_PER_PAGE)
    assert (got["segments"], got["longest"], got["mmap_offset"]) == (1024, 4096, 0)
    small = ENTRY_PER_PAGE | SMALL_TABLE
    assert works(g, "dmabuf", "1M", of=of, flags=small)["segments"] == 256
    why = fails(g, "dmabuf", 257 * 4096, of=of, flags=small)
    assert (why["reason"], why["errno"]) == ("too-many-segments", errno.E2BIG)
    assert (why["limit"], why["request"], why["available"]) == (256, 257, 256)
    assert works(g, "dmabuf", "2M", of=of, flags=NO_USER_MAP)
    for direction in (1, 2, 3):
        assert works(g, "dmabuf", "2M", of=of, direction=direction)
    assert works(g, "dmabuf", "2M", of=of, width=32)
    why = fails(g, "dmabuf", "2M", of=of, width=24)
    assert (why["reason"], why["errno"], why["stage"]) == ("address-width", errno.ERANGE, "dma-map")
    assert why["limit"] == 2**24 - 1 < why["request"]
    assert works(g, "dmabuf", "2M", of=of, flags=NODE, node=0)
    assert fails(g, "dmabuf", "2M", of=of, flags=NODE, node=1)["reason"] == "bad-argument"
    assert works(g, "dmabuf", "2M", of=of, timeout=600_000)
    assert g.run(f"echo 'map delay 60' > {DEBUG}/gigalock0/inject").ok
    why = fails(g, "dmabuf", "2M", of=of, timeout=20)
    assert (why["reason"], why["limit"], why["stage"]) == ("timeout", 20, "dma-map")


@pytest.mark.parametrize("kernel", ["lab", "6.12"])
def test_import_of_what_the_kernel_makes(kernel: str, tmp_path: Path) -> None:
    """udmabuf: pages of a memfd; the system heap: blocks of the page allocator."""
    need_kernel(kernel)
    with Guest(GuestConfig(ram_mib=512, kernel=kernel), tmp_path) as g:
        run_tap(g, "gl-dmabuf import udmabuf 16")
        run_tap(g, "gl-dmabuf import system 16")
        for of in ("udmabuf", "system"):
            options_of_an_import(g, of)
        assert locks(g) == 0
        assert g.unexpected_lines() == []


def test_the_card_goes(importer: Guest) -> None:
    """Unbound with exports, imports and mappings alive: none can be used, nothing is touched
    that is no longer there, and the card works when it is bound again."""
    for strategy in STRATEGIES:
        run_tap(importer, f"gl-dmabuf gone {strategy} 4")
        node = importer.run("ls /dev/gigalock*").stdout.strip()
        r = importer.run(f"gigalock --device {node} xfer --size 4M --strategy sg --json")
        assert json.loads(r.stdout)["verified"] is True, r.stdout


@pytest.mark.parametrize("strategy", ["contig-range", "pool", "sg", "hugetlb", "chunked"])
def test_another_driver(importer: Guest, strategy: str) -> None:
    """Attaches to a lock, maps it for its device and into the kernel, and has it still when the
    lock's file and the card are gone."""
    run_tap(importer, f"gl-dmabuf kernel {strategy} 4")
    node = importer.run("ls /dev/gigalock*").stdout.strip()
    assert json.loads(importer.run(f"gigalock --device {node} info --json").stdout)["locks"] == 0


def test_what_another_driver_can_t_have(importer: Guest) -> None:
    run_tap(importer, "gl-dmabuf kernel-refused")


def test_two_cards(tmp_path: Path) -> None:
    """What one card's driver locked, another card imports, and keeps when the first is gone."""
    with Guest(GuestConfig(ram_mib=512, devices=CARDS), tmp_path) as g:
        for strategy in ("coherent", "contig-range", "sg", "chunked"):
            run_tap(g, f"gl-dmabuf two {strategy} 4")
        assert g.unexpected_lines() == []
