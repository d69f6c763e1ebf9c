# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory runs out at every single allocation: gl-fail-nth makes each fail in its turn, by the
kernel's own fault injection, which distributions' kernels lack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import run_tap
from gigalock_harness.qemu_args import default_kernel
from rawlock import budgets
from test_driver import assert_nothing_left, memory

pytestmark = pytest.mark.skipif(
    default_kernel() not in ("lab", "debug"),
    reason="make test-kernels KERNEL=lab or KERNEL=debug runs it",
)
KERNELS_OWN = [
    # A file for an interrupt in /proc: it never looks whether it has made it.
    r"WARNING: .* remove_proc_entry\+",
    # One of its checks needs memory, too, and says that it ends.
    r"DMA-API: cacheline tracking ENOMEM, dma-debug disabled",
]
LOCKS = "coherent contig-range reserved pool sg hugetlb chunked dmabuf"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(
        ram_mib=512,
        low_ram_mib=384,
        cmdline_extra=["memmap=16M$0x100000000", "hugepages=4"],
        driver_params=["reserved=0x100000000+16M", "pool_bytes=1M", "pool_count=2"],
    )
    with Guest(config, tmp_path_factory.mktemp("no-memory")) as g:
        yield g
        assert g.unexpected_lines(KERNELS_OWN) == []


@pytest.mark.parametrize("what", [*LOCKS.split(), "calls", "probe"])
def test_every_allocation_fails_once(guest: Guest, what: str) -> None:
    before, used = memory(guest), budgets(guest)
    run_tap(guest, f"gl-fail-nth {what}", timeout=400)
    assert budgets(guest) == used
    assert_nothing_left(guest, before)
