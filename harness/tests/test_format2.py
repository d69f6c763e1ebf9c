# SPDX-License-Identifier: GPL-2.0-or-later
"""What format 2 added: machines, preparations, twins; and what it refuses, on which line."""

from __future__ import annotations

from pathlib import Path

import pytest
from gigalock_harness import scenario
from gigalock_harness.cells import UNLIMITED, Remedy, Step
from gigalock_harness.scenario import ScenarioError
from gigalock_harness.sizes import GIB, MIB

FAILING = """\
format = 2
name = "some.failing"
title = "A title"
cause = "memlock-limit"

[guest]
ram = "2G"
kernel = "stock"
cpu = "qemu64,+aes"
low_ram = "1G"
nodes = ["512M", "1536M"]
iommu = "intel"
load = "late"
user = 1000
cmdline = ["kernelcore=512M"]

[guest.rlimit]
memlock = 0
as = "unlimited"

[guest.cgroup]
"memory.max" = "512M"

[[prepare]]
step = "leave-free"
size = "900M"

[[prepare]]
step = "run"
command = "true"

[request]
bytes = "1G"
strategy = "sg"
address_width = 32
max_segment = "64K"
small_table = true
check = "device"
search = false

[[expect]]
outcome = "fails"
reason = "memlock-limit"

[[absent]]
kernel = "lab"
why = "It isn't."
"""

CURED = """\
format = 2
name = "some.cured"
title = "A title"
cures = "some.failing"

[remedy]
kind = "limit"
value = "memlock=unlimited"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "some.failing.toml").write_text(FAILING)
    (tmp_path / "some.cured.toml").write_text(CURED)
    return tmp_path


def test_machine_and_request(folder: Path) -> None:
    one = scenario.load(folder / "some.failing.toml")
    cell = one.cells[0]
    assert (one.cause, one.absent[0].kernel) == ("memlock-limit", "lab")
    assert (cell.cpu, cell.low_ram_mib, cell.nodes_mib) == ("qemu64,+aes", 1024, (512, 1536))
    assert (cell.iommu, cell.load, cell.user, cell.shows) == ("intel", "late", 1000, one.cause)
    assert cell.rlimit == (("memlock", 0), ("as", UNLIMITED))
    assert cell.cgroup == (("memory.max", "512M"),)
    assert cell.prepare == (Step("leave-free", 900 * MIB), Step("run", command="true"))
    assert cell.expect.cause == "memlock-limit"
    assert not cell.search and cell.check == "device"
    assert cell.request_options() == (
        f"--size {GIB} --strategy sg --address-width 32 --max-segment 65536 --small-table"
    )


def test_a_cured_cell_is_its_twin_with_one_thing_changed(folder: Path) -> None:
    failing = scenario.load(folder / "some.failing.toml").cells[0]
    one = scenario.load(folder / "some.cured.toml")
    cell = one.cells[0]
    assert (one.cures, one.cause) == ("some.failing", "memlock-limit")
    assert cell.twin == failing.name and cell.remedy == Remedy("limit", "memlock=unlimited")
    assert dict(cell.rlimit) == {"memlock": UNLIMITED, "as": UNLIMITED}
    assert (cell.expect.outcome, cell.expect.cause) == ("locks", None)
    for name in ("ram_mib", "nodes_mib", "prepare", "options", "user", "cgroup", "bytes", "load"):
        assert getattr(cell, name) == getattr(failing, name), name


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ('cause = "memlock-limit"', 'cause = "memlok-limit"', 4, 'did you mean "memlock-limit"'),
        ('cpu = "qemu64,+aes"', 'cpu = "qemu64;reboot"', 9, "is not a name of a CPU"),
        ('low_ram = "1G"', 'low_ram = "8G"', 10, "low_ram 8G is above the limit, 4G"),
        ('"512M", "1536M"', '"512M", "512M"', 11, "the nodes have 1G together, the guest 2G"),
        ('iommu = "intel"', 'iommu = "vt-d"', 12, "unknown iommu 'vt-d'"),
        ('load = "late"', 'load = "lately"', 13, 'did you mean "late"'),
        ("user = 1000", "user = 70000", 14, "the limits are 0 and 65534"),
        ("user = 1000", "boots = 4", 14, "the same without kaslr = true"),
        ("memlock = 0", 'memlock = "lots"', 18, 'memlock "lots" is not a size'),
        ("memlock = 0", 'memlok = "1G"', 18, 'did you mean "memlock"'),
        ('step = "leave-free"', 'step = "leave"', 25, 'did you mean "leave-free"'),
        ('step = "leave-free"\nsize = "900M"', 'step = "leave-free"', 24, 'needs the key "size"'),
        ('command = "true"', 'command = "true"\nsize = "1G"', 31, 'unknown key "size"'),
        ("address_width = 32", "address_width = 65", 35, "the limits are 12 and 64"),
        ("address_width = 32", "adress_width = 32", 35, 'did you mean "address_width"'),
        ("small_table = true", "small_table = 1", 37, "must be true or false"),
        ('check = "device"', 'check = "card"', 38, "unknown check 'card'"),
        ('kernel = "lab"', 'kernel = "vista"', 46, "unknown kernel 'vista'"),
        ('why = "It isn\'t."', "", 45, 'needs the key "why"'),
        ('reason = "memlock-limit"', 'reason = "memlock-limit"\nbacking = "cma"', 41, "no backing"),
    ],
)
def test_refusals_name_the_line(folder: Path, old: str, new: str, line: int, words: str) -> None:
    assert FAILING.count(old) == 1
    path = folder / "bad.toml"
    path.write_text(FAILING.replace(old, new))
    with pytest.raises(ScenarioError) as caught:
        scenario.load(path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ('cures = "some.failing"', 'cures = "none.failing"', 4, "there is no scenario"),
        ('cures = "some.failing"', 'cures = "../some.failing"', 4, "there is no scenario"),
        ('cures = "some.failing"', 'cures = "bad"', 4, "is a cured scenario itself"),
        ('kind = "limit"', 'kind = "limits"', 7, 'did you mean "limit"'),
        ('value = "memlock=unlimited"', 'value = "memlock"', 7, "is not LIMIT=VALUE"),
        ('value = "memlock=unlimited"', 'value = "rss=1G"', 7, "known: memlock, as"),
        ('kind = "limit"', 'kind = "ram"', 7, "is not a size"),
        ('kind = "limit"', 'kind = "drop-kernel-parameter"', 7, "the guest has no kernel"),
        ('kind = "limit"', 'kind = "drop-module-parameter"', 7, "the driver was loaded without"),
        ('title = "A title"', 'title = "A title"\n[guest]\nram = "1G"', 4, 'unknown key "guest"'),
    ],
)
def test_refusals_of_a_cure(folder: Path, old: str, new: str, line: int, words: str) -> None:
    path = folder / "bad.toml"
    text = CURED.replace(old, new)
    if "[guest]" in new:  # a table may not stand before the file's own keys
        text = CURED.replace(old, 'title = "A title"') + '\n[guest]\nram = "1G"\n'
        line = 10
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        scenario.load(path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert words in str(caught.value)


def test_a_cure_may_not_expect_a_failure(folder: Path) -> None:
    path = folder / "bad.toml"
    path.write_text(CURED + '\n[[expect]]\noutcome = "fails"\nreason = "killed"\n')
    with pytest.raises(ScenarioError, match='must expect "locks"'):
        scenario.load(path)
