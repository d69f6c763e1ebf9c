# SPDX-License-Identifier: GPL-2.0-or-later
"""The card comes and goes while everything is done with it that can be: gl-race. The debug kernel
is its judge: locks and their order, memory that is used after its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import run_tap
from gigalock_harness.qemu_args import default_kernel
from test_driver import assert_nothing_left, memory

pytestmark = pytest.mark.skipif(
    default_kernel() not in ("lab", "debug"),
    reason="make test-kernels KERNEL=lab or KERNEL=debug runs it",
)


def test_unbinding_while_all_is_in_use(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512, smp=2), tmp_path) as g:
        before = memory(g)
        run_tap(g, "gl-race 12", timeout=240)
        assert_nothing_left(g, before)
        assert g.unexpected_lines() == []
