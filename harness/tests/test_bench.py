# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's last step: the device's copy beside a plain memcpy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from gigalock_harness import bench
from gigalock_harness.demo import GOAL_RATIO
from gigalock_harness.matrix import RESERVE_MIB
from gigalock_harness.results import Goal

KEYS = {
    "to_card_gib_per_s",
    "from_card_gib_per_s",
    "memcpy_gib_per_s",
    "ratio",
    "error",
    "text",
}


def refused(kernel: str, log: Path) -> str:
    said: list[str] = []
    got = bench.measure(kernel, log, said.append, rounds=1)
    assert set(got) == KEYS
    assert got["ratio"] is None and got["to_card_gib_per_s"] == []
    assert got["text"] == f"copy rate: not measured: {got['error']}"
    return got["error"]


def test_one_round(tmp_path: Path) -> None:
    said: list[str] = []
    got = bench.measure("stock", tmp_path, said.append, rounds=1)
    if got["error"] and "host memory" in got["error"]:
        pytest.skip(got["error"])
    assert got["error"] is None
    assert set(got) == KEYS
    to_card, from_card, plain = (
        got[f"{name}_gib_per_s"] for name in ("to_card", "from_card", "memcpy")
    )
    assert [len(rates) for rates in (to_card, from_card, plain)] == [1, 1, 1]
    assert min(to_card[0], from_card[0], plain[0]) > 0
    # How fast it is, is the matter of this machine; what is made of the figures is ours.
    assert got["ratio"] == round(min(to_card[0], from_card[0]) / plain[0], 3) > 0
    assert said == ["copy rate, round 1 of 1"]
    assert re.fullmatch(
        r"copy rate of 1 GiB contiguous, medians of 1: to the card \d+\.\d\d GiB/s, "
        r"from it \d+\.\d\d GiB/s, plain memcpy \d+\.\d\d GiB/s",
        got["text"],
    )
    json.dumps(got, allow_nan=False)


def test_not_enough_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = bench.NEED_MIB - 1
    monkeypatch.setattr(bench, "available_mib", lambda: room + RESERVE_MIB)
    monkeypatch.setattr(bench, "Guest", None)  # nobody asks for one
    why = refused("stock", tmp_path)
    assert why == f"needs about {bench.NEED_MIB} MiB of host memory; {room} MiB can be had"


def test_what_goes_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "available_mib", lambda: 1 << 20)
    assert "no kernel 'none-such'" in refused("none-such", tmp_path)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("exit 3", "status 3"),
        ("echo fast", "printed 'fast"),
        ("echo '{}'", "printed '{}"),
    ],
)
def test_a_reference_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str
) -> None:
    script = tmp_path / "memcpy_ref"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    monkeypatch.setattr(bench, "memcpy_ref", lambda: script)
    with pytest.raises(bench.ToolError, match=why):
        bench._memcpy_gib_per_s()


@pytest.mark.parametrize(
    ("ratio", "words"), [(0.93, "met"), (0.7, "met"), (0.69, "MISSED"), (None, "not measured")]
)
def test_the_goal_beside_it(ratio: float | None, words: str) -> None:
    line = Goal("slower direction beside memcpy", ratio, GOAL_RATIO, "", at_least=True).line()
    assert line.endswith(f"goal at least 0.7: {words}")
