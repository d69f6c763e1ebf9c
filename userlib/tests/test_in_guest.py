# SPDX-License-Identifier: GPL-2.0-or-later
"""The library and the tool in a guest with the card.

The C programs of tests/guest run there; and the tool's answers are compared with what is
known of the guest.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness import inguest, places
from gigalock_harness.guest import CommandTimeout, Guest, GuestConfig
from gigalock_harness.inguest import CARD, KNOB_OFF, TESTS, pause_after, tap

USERLIB = Path(__file__).resolve().parent.parent
BUILD = places.build_dir()
PROGRAMS = sorted(p.stem for p in (USERLIB / "tests/guest").glob("gl-test-*.c"))
GIB = 1 << 30


def run_with_knob(guest: Guest, command: str, timeout: float = 300) -> tuple[int, str, int]:
    """Run a program that may ask for the card's pause knob (see tap.h).

    Exit code, output, and how often the card stood still when it was let go.
    """
    until = time.monotonic() + timeout
    held = 0
    guest.run(
        "rm -f /tmp/knob.*; mkfifo /tmp/knob.ask /tmp/knob.answer; "
        f"( GIGALOCK_KNOB=/tmp/knob {command}; echo exit $? > /tmp/knob.ask ) "
        "> /tmp/knob.out 2>&1 &"
    )
    while True:
        left = max(1.0, until - time.monotonic())
        try:
            asked = guest.run("cat /tmp/knob.ask", timeout=left).stdout.split()
        except CommandTimeout:
            pytest.fail("not done in time:\n" + guest.run("cat /tmp/knob.out").stdout)
        if asked[0] == "exit":
            return int(asked[1]), guest.run("cat /tmp/knob.out").stdout, held
        held += guest.qmp("qom-get", path=CARD, property="paused") is True
        value = KNOB_OFF if asked[0] == "off" else int(asked[0])
        pause_after(guest, value)
        guest.run("echo done > /tmp/knob.answer")


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, tmp_path: Path) -> None:
    names = os.popen(f"{BUILD}/userlib/guest-tests/{program} --list").read().split()
    with Guest(GuestConfig(ram_mib=1024), tmp_path) as guest:
        code, out, held = run_with_knob(guest, f"{TESTS}/{program}")
        got = tap(out)
        assert not got.failed, out
        assert code == 0, out
        assert "SKIP" not in out
        assert got.passed == names and got.planned == len(names) > 10
        if program == "gl-test-xfers":
            # The others end the transfer before they let the card go.
            assert held >= 4, "the tests in mid-transfer did not hold the card"
        assert guest.unexpected_lines() == []


def test_without_the_knob_tests_are_skipped(guest: Guest) -> None:
    """And one that is told of a knob that nobody turns must fail, not pass by luck."""
    names = "cancel_in_mid_transfer killed_in_mid_transfer"
    done = guest.run(f"{TESTS}/gl-test-xfers {names}")
    assert done.code == 0 and done.stdout.count("# SKIP") == 2
    done = guest.run(
        "mkfifo /tmp/k.ask /tmp/k.answer; "
        "( while read -r line; do echo done > /tmp/k.answer; done < /tmp/k.ask & "
        "exec 3>/tmp/k.ask; "
        f"GIGALOCK_KNOB=/tmp/k {TESTS}/gl-test-xfers {names} )",
        timeout=60,
    )
    assert done.code == 1 and tap(done.stdout).failed == names.split()


@pytest.mark.parametrize("fault", ["no-copy", "corrupt", "wrong-place"])
def test_a_lying_card_is_caught(fault: str, tmp_path: Path) -> None:
    """The data tests can fail: with a card that doesn't do what it says they do."""
    with Guest(GuestConfig(ram_mib=512), tmp_path) as guest:
        guest.qmp("qom-set", path=CARD, property="fault", value=fault)
        done = guest.run(f"{TESTS}/gl-test-data sg_offsets_and_sizes many_segments", timeout=120)
        assert done.code == 1
        assert tap(done.stdout).failed == ["sg_offsets_and_sizes", "many_segments"]
        said = guest.run("gigalock --json xfer --size 3M --strategy sg", timeout=60)
        assert said.code == 4
        answer = json.loads(said.stdout)
        assert answer["ok"] is False and answer["verified"] is False


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=512), tmp_path_factory.mktemp("tool")) as g:
        yield g


def tool(guest: Guest, arguments: str, code: int = 0) -> dict[str, Any]:
    return inguest.tool(guest, arguments, code)


def test_info(guest: Guest) -> None:
    info = tool(guest, "info")
    assert info["device"] == "/dev/gigalock0"
    assert info["driver"].endswith("/drivers/gigalock")
    assert info["card_bytes"] == 64 << 20
    assert info["strategies"][:3] == ["coherent", "contig-range", "sg"]
    assert tool(guest, "info -d 0")["bus"] == info["bus"]


def test_lock_that_fails(guest: Guest) -> None:
    said = tool(guest, "lock --size 1G --strategy coherent", 1)
    assert said["ok"] is False and said["locked_bytes"] == 0 and said["lock_ms"] is None
    assert said["failure"]["reason"] == "buddy-limit"
    assert said["failure"]["request"] == GIB
    assert "4 MiB" in said["failure"]["text"] and "sg" in said["failure"]["remedy"]
    assert [one["ok"] for one in said["tries"]] == [False]
    said = tool(guest, "lock --size 1G --strategy contig-range", 1)
    assert said["failure"]["reason"] == "ram-too-small"
    said = tool(guest, "lock --size 1G --strategy sg", 1)
    assert said["failure"]["reason"] == "overcommit"
    assert said["failure"]["seq"] == 0


def test_auto_tells_all_tries(guest: Guest) -> None:
    said = tool(guest, "lock --size 1G", 1)
    reasons = {one["strategy"]: one["reason"] for one in said["tries"]}
    assert list(reasons)[:2] == ["coherent", "contig-range"] and list(reasons)[-1] == "sg"
    assert reasons["coherent"] == "buddy-limit" and reasons["contig-range"] == "ram-too-small"
    assert reasons["sg"] == "overcommit"
    said = tool(guest, "lock --size 8M")
    assert said["tries"][0]["reason"] == "buddy-limit"
    assert said["tries"][-1]["ok"] is True and said["strategy"] == said["tries"][-1]["strategy"]


@pytest.mark.parametrize(
    "strategy, size", [("coherent", 4 << 20), ("contig-range", 96 << 20), ("sg", (96 << 20) + 4321)]
)
def test_xfer(guest: Guest, strategy: str, size: int) -> None:
    said = tool(guest, f"xfer --size {size} --strategy {strategy} --seed 77")
    assert said["verified"] is True and said["first_difference"] is None
    assert said["windows"] == -(-size // (64 << 20))
    assert said["bytes_to_card"] == said["bytes_from_card"] == size
    crcs = {said["crc_expected"], said["crc_to_card"], said["crc_from_card"]}
    host = os.popen(f"{BUILD}/userlib/gigalock pattern --size {size} --seed 77").read().strip()
    assert crcs == {host}


def test_xfer_in_odd_windows(guest: Guest) -> None:
    said = tool(
        guest,
        "xfer --size 3000001 --strategy sg --window 70001 --offset 13 --card-offset 999 --no-crc",
    )
    assert said["verified"] is True and said["windows"] == 43
    assert said["crc_expected"] is None and said["crc_to_card"] == said["crc_from_card"]
    host = (
        os.popen(
            f"{BUILD}/userlib/gigalock pattern --size {3000001 - 13} "
            f"--seed {said['seed']} --offset 13"
        )
        .read()
        .strip()
    )
    assert said["crc_to_card"] == host


def test_xfer_one_way_each(guest: Guest) -> None:
    said = tool(guest, "xfer --size 1M --strategy sg --direction to-card --seed 5")
    assert said["verified"] is True and said["bytes_from_card"] == 0
    said = tool(guest, "xfer --size 1M --strategy sg --direction from-card --seed 5")
    assert said["verified"] is True and said["bytes_to_card"] == 0
    said = tool(guest, "xfer --size 1M --strategy sg --direction from-card --seed 6", 4)
    assert said["verified"] is False
    said = tool(guest, "xfer --size 1M --strategy sg --direction from-card")
    assert said["verified"] is None


def test_xfer_past_the_card(guest: Guest) -> None:
    said = tool(guest, "xfer --size 1M --strategy sg --card-offset 64M", 1)
    assert said["failure"]["reason"] == "card-range"
    assert said["failure"]["op"] == "transfer" and said["locked_bytes"] == 1 << 20


def test_limit_and_the_oom_killer(tmp_path: Path) -> None:
    """The tool survives the killer, and the reason comes from the card's log."""
    with Guest(GuestConfig(ram_mib=384), tmp_path) as guest:
        guest.run("echo 1 > /proc/sys/vm/overcommit_memory")
        said = tool(guest, "lock --size 1G --strategy sg", 1)
        failure = said["failure"]
        assert failure["reason"] == "killed" and failure["stage"] == "pin" and failure["seq"] > 0
        assert 100 << 20 < failure["available"] < 384 << 20
        said = tool(guest, "limit --size 1G --strategy sg")
        assert said["failure"]["reason"] == "killed"
        assert 100 << 20 < said["largest_bytes"] < 384 << 20
        largest = [one["bytes"] for one in said["tries"] if one["ok"]]
        failed = [one["bytes"] for one in said["tries"] if not one["ok"]]
        assert max(largest) == said["largest_bytes"] < min(failed)
        assert len(said["tries"]) <= 8
        assert tool(guest, "info")["locks"] == 0
        log = tool(guest, "failures")["failures"]
        assert [one["reason"] for one in log if one["op"] == "lock"].count("killed") == len(log)
        assert tool(guest, f"failures --since {log[0]['seq']}")["failures"] == log[1:]


def test_limit_of_contiguous(guest: Guest) -> None:
    said = tool(guest, "limit --size 1G --strategy coherent")
    assert said["largest_bytes"] == 4 << 20 and len(said["tries"]) == 2
    said = tool(guest, "limit --size 1G --strategy contig-range")
    assert said["failure"]["reason"] == "ram-too-small"
    assert 32 << 20 < said["largest_bytes"] < 512 << 20
    said = tool(guest, "limit --size 8M --strategy sg")
    assert said["largest_bytes"] == 8 << 20 and said["failure"] is None


def test_limit_of_time(guest: Guest) -> None:
    """A try that takes too long is ended, and told as such; nothing of it stays."""
    said = tool(guest, "limit --size 256M --strategy sg --timeout 0.05")
    failure = said["failure"]
    assert failure["reason"] == "timeout" and failure["errno_name"] == "ETIMEDOUT"
    assert failure["limit"] == 50 and failure["unit"] == "milliseconds"
    assert failure["lock_size"] == 256 << 20 and "50 ms" in failure["text"]
    assert said["tries"][0]["reason"] == "timeout" and said["tries"][0]["ms"] >= 50
    assert 0 < said["largest_bytes"] < 256 << 20
    assert tool(guest, "info")["locks"] == 0
    # Shorter than a millisecond is not no limit at all.
    done = guest.run("gigalock --json limit --size 256M --strategy sg --timeout 0.0001")
    said = json.loads(done.stdout)
    assert said["failure"]["limit"] == 1 and said["largest_bytes"] < 64 << 20
    assert tool(guest, "limit --size 64M --strategy sg --timeout 0")["failure"] is None


@pytest.mark.parametrize("flags, asks", [("--no-verify", True), ("--no-verify --no-crc", False)])
def test_bare_copy_asks_for_no_checksum(guest: Guest, flags: str, asks: bool) -> None:
    said = tool(guest, f"xfer --size 3M --strategy sg {flags}")
    assert said["bytes_to_card"] == said["bytes_from_card"] == 3 << 20
    assert said["verified"] is None and said["crc_expected"] is None
    assert (said["crc_to_card"] is not None) is asks
    assert said["crc_to_card"] == said["crc_from_card"]


def test_hold_keeps_the_lock(guest: Guest) -> None:
    done = guest.run(
        "gigalock --json lock --size 1M --strategy sg --hold 30 > /tmp/out & "
        "p=$!; while ! grep -q ok /tmp/out; do sleep 0.1; done; "
        "gigalock --json info; kill -9 $p; sleep 1; gigalock --json info",
        timeout=30,
    )
    during, after = [json.loads(line) for line in done.stdout.splitlines()]
    assert during["locks"] == 1 and during["locked_bytes"] == 1 << 20
    assert after["locks"] == 0
