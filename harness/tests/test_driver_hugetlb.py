# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks on huge pages: in few pieces, told what they are, ordinary memory refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import run_tap

POOL = "/sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages"


def set_aside(g: Guest, kib: int, want: int) -> None:
    got = g.run(f"echo {want} > {POOL.format(kib)}; cat {POOL.format(kib)}").stdout
    assert int(got) >= want, f"{got.strip()} of {want} huge pages could be set aside"


def test_huge_pages_of_2_mib(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512), tmp_path) as g:
        set_aside(g, 2048, 40)
        run_tap(g, "gl-hugetlb 2 32")
        # They are back, all of them.
        assert g.run("awk '/^HugePages_Free/ { print $2 }' /proc/meminfo").stdout == "40\n"
        assert g.unexpected_lines() == []


def test_huge_pages_behind_an_iommu(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512, iommu="intel"), tmp_path) as g:
        set_aside(g, 2048, 16)
        r = g.run("gigalock xfer --size 32M --strategy hugetlb --json", timeout=60)
        assert '"verified": true' in r.stdout or '"verified":true' in r.stdout, r.stdout + r.stderr
        assert g.unexpected_lines() == []


@pytest.mark.full
def test_huge_pages_of_1_gib(tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=6144, cmdline_extra=["hugepagesz=1G", "hugepages=3"])
    with Guest(config, tmp_path) as g:
        run_tap(g, "gl-hugetlb 1024 3", timeout=300)
        assert g.unexpected_lines() == []
