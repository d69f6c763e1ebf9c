# SPDX-License-Identifier: GPL-2.0-or-later
"""The judgement of a cell, with a guest that answers from a script. Real guests are elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
from gigalock_harness import cell as cell_module
from gigalock_harness import toolcall
from gigalock_harness.agent import CommandResult
from gigalock_harness.cell import CellRunner, touched_estimate_mib
from gigalock_harness.cells import Remedy
from gigalock_harness.guest import GuestPanic, QemuDied
from gigalock_harness.outcome import Outcome
from gigalock_harness.scenario import ConsoleRule, Expectation
from gigalock_harness.sizes import GIB, MIB

CRC = "0x0badcafe"
REFUSED = {"ok": False, "locked_bytes": 0, "failure": samples.failure()}
OOM = "[ 9.1] Out of memory: Killed process 80 (gigalock) total-vm:1kB\n"

Reply = "tuple[int, dict[str, Any] | str, str] | Exception"


def moved(size: int, **more: object) -> tuple[int, dict[str, Any], str]:
    return (
        0,
        {
            "ok": True,
            "locked_bytes": size,
            "lock_ms": 1.5,
            "segments": 1,
            "longest_segment": size,
            "windows": 16,
            "to_card_gib_per_s": 2.0,
            "from_card_gib_per_s": 2.0,
            "gib_per_s": 2.0,
            "verified": True,
            "crc_to_card": CRC,
            "crc_from_card": CRC,
            "bytes_to_card": size,
            "bytes_from_card": size,
            "first_difference": None,
            "failure": None,
        }
        | more,
        "",
    )


class ScriptedGuest:
    """Answers each command with the next reply: exit code, answer, what the console says."""

    replies: list[Any] = []

    def __init__(self, config: object, log_dir: Path, template: object = None) -> None:
        self.text, self.hello, self.boot_s, self.commands_s = "booted\n", None, 1.5, 0.0
        self.commands: list[str] = []

    def __enter__(self) -> ScriptedGuest:
        return self

    def __exit__(self, *what: object) -> None:
        pass

    def run(self, command: str, timeout: float, on_output: object = None) -> CommandResult:
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        code, answer, console = reply
        self.text += console
        if isinstance(answer, dict):
            if (seed := re.search(r"--seed (\d+)", command)) and "seed" not in answer:
                answer = answer | {"seed": int(seed[1])}
            answer = json.dumps(answer)
        return CommandResult(command, code, None, False, False, 0.1, answer.encode(), b"said")

    def console(self) -> str:
        return self.text

    def reproducer(self) -> str:
        return "qemu"

    def touched_mib(self) -> float:
        return 100.0

    def close(self) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Outcome]:
    def run_cell(*replies: Any, host: str = CRC, **fields: Any) -> Outcome:
        monkeypatch.setattr(cell_module, "Guest", ScriptedGuest)
        monkeypatch.setattr(toolcall, "host_crc", lambda *arguments: host)
        ScriptedGuest.replies = list(replies)
        outcome = CellRunner(samples.cell(**fields), tmp_path).run()
        assert not ScriptedGuest.replies, "not all of the script was asked for"
        return outcome

    return run_cell


def kinds(outcome: Outcome) -> list[str]:
    return [problem.kind for problem in outcome.problems]


FAILS = Expectation("fails", ("buddy-limit",), MIB, 8 * MIB)


def limit(size: int) -> tuple[int, dict[str, Any], str]:
    return 0, {"ok": True, "largest_bytes": size, "tries": []}, ""


def test_locks(run: Callable[..., Outcome]) -> None:
    outcome = run(moved(GIB))
    assert (outcome.status, outcome.verified, outcome.reason) == ("pass", True, None)
    assert outcome.locked_bytes == outcome.largest_bytes == GIB


def test_fails_as_expected_and_moves_the_largest(run: Callable[..., Outcome]) -> None:
    outcome = run((1, REFUSED, ""), limit(4 * MIB), moved(4 * MIB), expect=FAILS)
    assert (outcome.status, outcome.verified, outcome.reason) == ("pass", False, "buddy-limit")
    assert outcome.largest is not None and outcome.largest.verified


@pytest.mark.parametrize(
    "replies, fields, kind",
    [
        ([moved(GIB)], {"expect": FAILS}, "expectation"),
        ([(1, REFUSED, ""), limit(MIB), moved(MIB)], {}, "expectation"),
        (
            [(1, REFUSED, ""), limit(MIB), moved(MIB)],
            {"expect": Expectation("fails", ("no-memory",))},
            "expectation",
        ),
        ([(1, REFUSED, ""), limit(4096), moved(4096)], {"expect": FAILS}, "expectation"),
        ([(1, REFUSED, ""), limit(16 * MIB), moved(16 * MIB)], {"expect": FAILS}, "expectation"),
        ([(1, REFUSED, ""), limit(2 * GIB)], {"expect": FAILS}, "tool"),
        ([(1, REFUSED, ""), limit(4 * MIB), (1, REFUSED, "")], {"expect": FAILS}, "largest"),
        ([(4, moved(GIB)[1] | {"ok": False, "verified": False}, "")], {}, "data"),
        ([moved(GIB, verified=False)], {}, "data"),
        ([moved(GIB, crc_to_card="0x00000000")], {}, "data"),
        ([moved(GIB, crc_from_card="0x00000000")], {}, "data"),
        ([moved(GIB)], {"host": "0x00000000"}, "data"),
        ([moved(GIB, bytes_to_card=GIB - 1)], {}, "data"),
        ([moved(GIB, seed=1)], {}, "tool"),
        ([moved(GIB, locked_bytes=4096)], {}, "tool"),
        ([moved(GIB, gib_per_s=float("nan"))], {}, "tool"),
        ([moved(GIB, gib_per_s=None)], {}, "tool"),
        ([moved(GIB, ok=False)], {}, "tool"),
        ([moved(GIB, crc_to_card="0x1\x1b[2J")], {}, "tool"),
        ([(139, "", "")], {}, "tool"),
        ([(139, moved(GIB)[1] | {"ok": False}, "")], {}, "tool"),
        ([(0, "no JSON", "")], {}, "tool"),
        ([(0, "[1]", "")], {}, "tool"),
        ([(0, "[" * 100_000, "")], {}, "tool"),
        ([(2, {"ok": False, "error": "no"}, "")], {}, "tool"),
        ([(3, {"ok": False, "error": "no card"}, "")], {}, "tool"),
        ([(1, {"ok": False, "error": "lost"}, "")], {}, "tool"),
        ([(1, REFUSED | {"failure": samples.failure("made-up")}, "")], {}, "tool"),
        ([(1, REFUSED | {"failure": samples.failure(code=5)}, "")], {}, "tool"),
        (
            [(1, REFUSED | {"failure": samples.failure("device-error", 21, op="transfer")}, "")],
            {},
            "transfer",
        ),
        ([GuestPanic("panicked")], {}, "panic"),
        ([QemuDied("gone", code=-9)], {}, "qemu-died"),
        ([OSError("no memory here")], {}, "host"),
        ([moved(GIB)[:2] + (OOM,)], {}, "console"),
    ],
)
def test_what_fails_a_cell(
    run: Callable[..., Outcome], replies: list[Any], fields: dict[str, Any], kind: str
) -> None:
    outcome = run(*replies, **fields)
    assert outcome.status == "fail" and kinds(outcome) == [kind], outcome.problems
    assert outcome.log is not None and "booted" in Path(outcome.log).read_text()
    if kind in ("data", "tool"):
        assert not outcome.verified


CURED = samples.cell(twin="sample.failing", remedy=Remedy("ram", "2G"))


@pytest.mark.parametrize(
    "taken, word",
    [
        ({}, ""),
        ({"bytes": GIB - 4096}, f"{GIB - 4096} bytes"),
        ({"bytes": GIB + 4096}, f"{GIB + 4096} bytes"),
        ({"tool_verified": False}, "not compared"),
        ({"crc_host": None}, "CRC-32C host None"),
        ({"crc_to_card": "0x00000000"}, "to card 0x00000000"),
        ({"crc_from_card": None}, "from card None"),
    ],
)
def test_a_cure_is_a_move_of_all_bytes(tmp_path: Path, taken: dict[str, Any], word: str) -> None:
    """Each part of the proof taken away in turn: no cell is cured without it."""
    runner = CellRunner(CURED, tmp_path)
    runner.outcome.move = replace(samples.move(), **taken)
    runner.judge()
    assert kinds(runner.outcome) == (["data"] if word else [])
    assert word in runner.outcome.message


def test_a_cure_that_only_locked_is_none(run: Callable[..., Outcome]) -> None:
    """Cells of several boots lock and let go; nothing moves."""
    replies = [(0, {"ok": True, "lock_ms": 1.5, "failure": None}, "")] * 4
    cured = {"twin": CURED.twin, "remedy": CURED.remedy}
    assert kinds(run(*replies, boots=4, **cured)) == ["data"]
    assert kinds(run(*replies, boots=4)) == []


RULE = ConsoleRule(r"Out of memory: Killed process \d+ \(gigalock\)", True, "limit")


@pytest.mark.parametrize(
    "where, needed, expected",
    [
        ("limit", True, []),
        ("limit", False, []),
        ("lock", True, ["console", "missing-line"]),
        ("lock", False, ["console"]),
        ("nowhere", True, ["missing-line"]),
        ("nowhere", False, []),
    ],
)
def test_declared_lines_count_in_their_phase(
    run: Callable[..., Outcome], where: str, needed: bool, expected: list[str]
) -> None:
    rule = ConsoleRule(RULE.pattern, needed, RULE.phase)
    outcome = run(
        (1, REFUSED, OOM if where == "lock" else ""),
        limit(4 * MIB)[:2] + (OOM if where == "limit" else "",),
        moved(4 * MIB),
        expect=FAILS,
        console=(rule,),
    )
    assert kinds(outcome) == expected
    assert bool(outcome.console_seen) == (where == "limit")


def test_a_largest_size_that_ran_out_is_tried_smaller(run: Callable[..., Outcome]) -> None:
    killed = (1, REFUSED | {"failure": samples.failure("killed", 9)}, "")
    outcome = run((1, REFUSED, ""), limit(8 * MIB), killed, moved(7 * MIB + MIB // 2), expect=FAILS)
    assert outcome.status == "pass" and outcome.largest is not None
    assert (outcome.largest_bytes, outcome.largest.bytes) == (8 * MIB, 7 * MIB + MIB // 2)


def test_limits_and_settings_reach_the_guest(run: Callable[..., Outcome]) -> None:
    outcome = run(
        (0, "", ""),
        (0, "", ""),
        moved(GIB),
        sysctl=(("vm.overcommit_memory", "1"),),
        setup=("true",),
        rlimit=(("memlock", 8 * MIB),),
    )
    assert outcome.commands[:2] == ["echo 1 > /proc/sys/vm/overcommit_memory", "true"]
    assert outcome.commands[2].startswith(
        "ulimit -l 8192 && gigalock --json xfer --no-crc --size 107374"
    )


def test_cancelled_before_it_began(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cell_module, "Guest", ScriptedGuest)
    runner = CellRunner(samples.cell(), tmp_path)
    runner.cancel()
    assert (runner.run().status, runner.outcome.message) == ("skip", "interrupted")


def test_estimate_follows_what_is_touched() -> None:
    small = samples.cell(strategy="coherent", ram_mib=4096, expect=FAILS)
    large = samples.cell(ram_mib=4096)
    assert touched_estimate_mib(small) < 700 < 1300 < touched_estimate_mib(large) < 2000
    assert touched_estimate_mib(samples.cell(ram_mib=512)) < 1000
