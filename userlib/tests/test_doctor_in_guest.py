# SPDX-License-Identifier: GPL-2.0-or-later
"""gigalock doctor in guests where locks truly fail: before, after, and where there is no card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness import trial
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.sizes import MIB
from gigalock_harness.trial_draw import Draw
from gigalock_harness.trial_judge import agrees

MACHINES = {
    "oom": (Draw(ram_mib=1200, bytes=1100 * MIB), 10, "killed"),
    "memlock": (
        Draw(ram_mib=768, bytes=256 * MIB, user=True, memlock=8 * MIB),
        12,
        "memlock-limit",
    ),
    "strict": (Draw(ram_mib=768, bytes=512 * MIB, overcommit=2), 22, "overcommit"),
    "fragments": (
        Draw(ram_mib=512, bytes=256 * MIB, strategy="contig-range", fragmented=150 * MIB),
        24,
        "no-free-range",
    ),
    "movable": (Draw(ram_mib=1024, bytes=600 * MIB, cmdline=["kernelcore=400M"]), 30, "killed"),
    "pressure": (
        Draw(ram_mib=1024, bytes=512 * MIB, strategy="chunked", left_free=300 * MIB),
        11,
        "no-memory",
    ),
    "width": (Draw(ram_mib=3072, bytes=256 * MIB, card_bits=32), 15, "swiotlb-full"),
}


def doctor(guest: Guest, arguments: str, before: str = "") -> dict[str, Any]:
    done = guest.run(f"{before}gigalock --json doctor {arguments}", timeout=120)
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MACHINES)
def test_before_and_after(name: str, tmp_path: Path) -> None:
    draw, cause, reason = MACHINES[name]
    with Guest(trial.config(draw), tmp_path) as guest:
        trial.prepare(draw, guest)
        predicted, said = trial.predict(draw, guest)
        happened = trial.happen(draw, guest)
        assert happened.locks is False and happened.reason == reason
        assert agrees(predicted, happened, draw.bytes) == [], (said, happened)
        assert predicted.cause == cause and predicted.reason == reason and said["certain"]
        # Afterwards, from the card's log, by somebody else: the one that failed may be dead.
        if reason in ("memlock-limit", "overcommit"):
            return  # another's limits; and what user space saw is in no log
        first = guest.run("gigalock --json failures").stdout
        assert json.loads(first)["failures"]
        options = " ".join(draw.options)
        after = doctor(guest, f"--failure last {options}")
        assert after["cause"]["number"] == cause and after["reason"] == reason


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest without card and driver."""
    config = GuestConfig(ram_mib=512, devices=[], load_driver=False)
    with Guest(config, tmp_path_factory.mktemp("bare")) as guest:
        yield guest


def test_without_card_and_driver(bare: Guest) -> None:
    said = doctor(bare, "--size 1G --strategy sg")
    assert said["cause"]["slug"] == "ram-too-small" and said["certain"]
    said = doctor(bare, "--size 256M --strategy contig-range")
    assert said["locks"] is True and said["certain"]
    said = doctor(bare, "--size 256M --strategy coherent")
    # A kernel that has CMA says how much, if it is none.
    has_cma = bare.run("grep -q CmaTotal /proc/meminfo").ok
    assert said["cause"]["slug"] == ("cma-size-zero" if has_cma else "buddy-order-limit")
    done = bare.run("gigalock doctor --failure last")
    assert done.code == 3 and "no-device" in done.stderr


def test_what_it_prints_can_be_pasted(bare: Guest) -> None:
    """The first remedy against strict promises, as it stands there."""
    bare.run("echo 2 > /proc/sys/vm/overcommit_memory")
    said = doctor(bare, "--size 400M --strategy sg")
    assert said["cause"]["slug"] == "overcommit-strict"
    assert said["remedies"][0]["kind"] == "sysctl"
    done = bare.run(said["remedies"][0]["commands"][0])
    assert done.code == 0, done.stderr
    assert doctor(bare, "--size 400M --strategy sg")["locks"] is True


def test_it_changes_nothing(bare: Guest) -> None:
    """Asked of every strategy, it leaves memory as it was."""
    before = int(bare.run("awk '/^MemAvailable/{print $2}' /proc/meminfo").stdout)
    for strategy in ("coherent", "contig-range", "sg", "chunked", "hugetlb", "auto"):
        doctor(bare, f"--size 200M --strategy {strategy}")
    after = int(bare.run("awk '/^MemAvailable/{print $2}' /proc/meminfo").stdout)
    assert abs(before - after) < 8192
    assert bare.run("dmesg | grep -ci 'oom\\|killed'").stdout.strip() == "0"
