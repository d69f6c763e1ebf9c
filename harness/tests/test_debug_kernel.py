# SPDX-License-Identifier: GPL-2.0-or-later
"""What only the debug kernel can tell: that nothing is forgotten, and that it looked until the end.

Its other checks speak up by themselves, in whatever runs on it: what they print on the console
fails the test that looks there (gigalock_harness/console.py). Here are kmemleak, which has to be
asked, and the strategies that other tests name a kernel of their own for.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import run_tap
from gigalock_harness.qemu_args import default_kernel
from rawlock import DEBUG, raw, reload, works

pytestmark = pytest.mark.skipif(
    default_kernel() != "debug", reason="make test-kernels KERNEL=debug runs it"
)

KMEMLEAK = "/sys/kernel/debug/kmemleak"
# What is younger than 5 s may be on its way to where it will be found.
YOUNG = 6
MIB = 2**20


def forgotten(g: Guest) -> str:
    """What nobody has a pointer to any more: the second look confirms the first."""
    done = g.run(f"sleep {YOUNG}; echo scan > {KMEMLEAK} && echo scan > {KMEMLEAK}", timeout=300)
    assert done.ok, done.stderr
    return g.run(f"cat {KMEMLEAK}").stdout


def still_looking(g: Guest) -> None:
    """Locks and mappings: each check ends for good once it runs out of room, or has complained."""
    stats = g.run("cat /proc/lockdep_stats").stdout
    assert re.search(r"^ debug_locks: +1$", stats, re.M), stats
    api = "/sys/kernel/debug/dma-api"
    said = g.run(f"cat {api}/disabled {api}/error_count").stdout
    assert said == "N\n0\n"


def try_every_failure(g: Guest, strategy: str) -> None:
    """Each call in the driver that can be made to fail does once, where a lock comes by it."""
    inject = f"{DEBUG}/gigalock0/inject"
    points = re.findall(r"^(\w+) 0$", g.run(f"cat {inject}").stdout, re.M)
    assert len(points) >= 7
    failed = 0
    for point in points:
        assert g.run(f"echo {point} {errno.ENOMEM} > {inject}").ok
        failed += not raw(g, strategy, MIB)["ok"]
        assert g.run(f"echo {point} 0 > {inject}").ok
        works(g, strategy, MIB)
    assert failed >= 2


def test_nothing_is_forgotten(tmp_path: Path) -> None:
    words = ["kmemleak=on", "cma=64M"]
    config = GuestConfig(ram_mib=512, cmdline_extra=words, load_driver=False)
    with Guest(config, tmp_path) as g:
        # The kernel's own, if any, is not for us to judge.
        forgotten(g)
        assert g.run(f"echo clear > {KMEMLEAK}").ok
        g.load_driver()
        for strategy in ("coherent", "contig-range", "sg", "chunked"):
            works(g, strategy, 16 * MIB)
            try_every_failure(g, strategy)
        assert works(g, "coherent", 32 * MIB)["backing"] == "cma"
        run_tap(g, "gl-abi")
        run_tap(g, "gl-queue moves", timeout=400)
        run_tap(g, "gl-dmabuf import system 4")
        run_tap(g, "gl-dmabuf gone sg 4")
        assert forgotten(g) == ""
        reload(g, "pool_bytes=4M pool_count=2")
        works(g, "pool", 4 * MIB)
        assert forgotten(g) == ""
        assert g.run("rmmod gigalock").ok
        assert forgotten(g) == ""
        still_looking(g)
        assert g.unexpected_lines() == []


def test_no_failed_allocation_leaves_another_behind(tmp_path: Path) -> None:
    """Every one of them fails once: what was had before it must be given back."""
    config = GuestConfig(ram_mib=512, cmdline_extra=["kmemleak=on"])
    with Guest(config, tmp_path) as g:
        forgotten(g)
        assert g.run(f"echo clear > {KMEMLEAK}").ok
        run_tap(g, "gl-fail-nth coherent contig-range sg chunked dmabuf calls", timeout=400)
        assert forgotten(g) == ""
