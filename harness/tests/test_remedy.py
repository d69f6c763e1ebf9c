# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kind of remedy changes the cell in its one way, or says why it can't."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from gigalock_harness import remedy
from gigalock_harness.cells import UNLIMITED, Cell, Remedy, Step
from gigalock_harness.remedy import RemedyError
from gigalock_harness.sizes import MIB

BEFORE: dict[str, Any] = {
    "cmdline": ("cma=512M", "quiet", "iommu=off"),
    "driver_params": ("pool_bytes=1G", "mapping_entries=5"),
    "rlimit": (("memlock", 8 * MIB),),
    "cgroup": (("memory.max", "512M"),),
    "card": (("addr-width", "32"), ("channels", "2")),
    "options": (("node", "1"), ("small-table", "")),
    "cpu": "qemu64",
    "load": "late",
}


def cell(**more: Any) -> Cell:
    return samples.cell(2048, "coherent", **(BEFORE | more))


@pytest.mark.parametrize(
    "kind, value, changed",
    [
        (
            "kernel-parameter",
            "cma=1200M nokaslr",
            {"cmdline": ("quiet", "iommu=off", "cma=1200M", "nokaslr")},
        ),
        ("drop-kernel-parameter", "iommu=off", {"cmdline": ("cma=512M", "quiet")}),
        (
            "module-parameter",
            "pool_bytes=2G",
            {"driver_params": ("mapping_entries=5", "pool_bytes=2G")},
        ),
        ("drop-module-parameter", "mapping_entries", {"driver_params": ("pool_bytes=1G",)}),
        ("limit", "memlock=unlimited", {"rlimit": (("memlock", UNLIMITED),)}),
        ("limit", "as=1M", {"rlimit": (("memlock", 8 * MIB), ("as", MIB))}),
        ("cgroup", "memory.max=max", {"cgroup": (("memory.max", "max"),)}),
        ("sysctl", "vm.overcommit_memory=0", {"sysctl": (("vm.overcommit_memory", "0"),)}),
        ("ram", "3G", {"ram_mib": 3072}),
        ("strategy", "sg", {"strategy": "sg"}),
        ("address-width", "64", {"card": (("addr-width", "64"), ("channels", "2"))}),
        (
            "max-segment",
            "4G",
            {"options": (("node", "1"), ("small-table", ""), ("max-segment", str(4 << 30)))},
        ),
        ("iommu", "on", {"iommu": "intel", "cmdline": ("cma=512M", "quiet")}),
        ("cpu", "+pdpe1gb", {"cpu": "qemu64,+pdpe1gb"}),
        ("kernel", "lab", {"kernel": "lab"}),
        ("node", "any", {"options": (("small-table", ""),)}),
        ("option", "-small-table", {"options": (("node", "1"),)}),
        ("option", "+no-map", {"options": (*BEFORE["options"], ("no-map", ""))}),
        ("command", "echo 3", {"prepare": (Step("run", command="echo 3"),)}),
        ("size", "512M", {"bytes": 512 * MIB}),
        ("early", "", {"load": "early"}),
        ("several-buffers", "2", {"options": (*BEFORE["options"], ("buffers", "2"))}),
    ],
)
def test_what_it_changes(kind: str, value: str, changed: dict[str, Any]) -> None:
    before = cell()
    after = remedy.apply(before, Remedy(kind, value))
    expected = {name: getattr(before, name) for name in before.__dataclass_fields__} | changed
    assert {name: getattr(after, name) for name in expected} == expected


def test_every_kind_is_tried() -> None:
    tried = {one.args[1][n][0] for one in test_what_it_changes.pytestmark for n in range(22)}
    assert tried | {"free"} == set(remedy.KINDS)


@pytest.mark.parametrize("what", sorted(remedy.FREE))
def test_free_undoes_a_preparation(what: str) -> None:
    steps = remedy.apply(cell(prepare=(Step("hold-cma"),)), Remedy("free", what)).prepare
    assert steps[0] == Step("hold-cma") and steps[1].kind == "run"


def test_ram_of_nodes_is_divided_as_before() -> None:
    two = cell(nodes_mib=(1024, 1024))
    assert remedy.apply(two, Remedy("ram", "3G")).nodes_mib == (1536, 1536)
    with pytest.raises(RemedyError, match="can't be divided"):
        remedy.apply(cell(nodes_mib=(512, 1536)), Remedy("ram", "3G"))


@pytest.mark.parametrize(
    "kind, value, words",
    [
        ("wish", "harder", "kind 'wish'; known: "),
        ("kernel-parameter", " ", "it has no value"),
        ("drop-kernel-parameter", "kernelcore", "no kernel parameter 'kernelcore'"),
        ("module-parameter", "pool", "is not PARAMETER=VALUE"),
        ("drop-module-parameter", "budget", "loaded without 'budget'"),
        ("limit", "rss=1G", "limit 'rss'; known: memlock, as"),
        ("cgroup", "pids.max=max", "does not set 'pids.max'"),
        ("sysctl", "vm.overcommit_memory", "is not SYSCTL=VALUE"),
        ("ram", "16M", "64M or more"),
        ("ram", "much", "is not a size"),
        ("address-width", "65", "12 to 64"),
        ("iommu", "off", "on, intel and amd"),
        ("option", "small-table", "is not -OPTION or +OPTION"),
        ("option", "-region", "has no option 'region'"),
        ("several-buffers", "1", "2 to 1024"),
        ("free", "beer", "known: tmpfs"),
    ],
)
def test_what_it_refuses(kind: str, value: str, words: str) -> None:
    with pytest.raises(RemedyError) as caught:
        remedy.apply(cell(), Remedy(kind, value))
    assert words in str(caught.value)


def test_early_is_refused_where_nothing_is_late() -> None:
    with pytest.raises(RemedyError, match="early already"):
        remedy.apply(cell(load="early"), Remedy("early", ""))


def test_printed_means_kind_and_value() -> None:
    said = [{"kind": "ram", "value": "2G"}, {"kind": "early", "value": ""}, "garbage"]
    assert remedy.printed(Remedy("ram", "2G"), said)
    assert remedy.printed(Remedy("early", ""), said)
    assert not remedy.printed(Remedy("ram", "3G"), said)
    assert not remedy.printed(Remedy("size", "2G"), said)
    assert not remedy.printed(Remedy("ram", "2G"), [])
