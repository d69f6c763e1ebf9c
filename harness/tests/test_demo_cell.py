# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo for two RAM sizes, end to end: real guests, the real device, the real driver.

At 1536M a GiB locks; at 512M it can't, and memory runs out while the largest size is searched.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from demo_command import demo, harness
from gigalock_harness import places
from gigalock_harness.sizes import GIB, MIB


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("demo")
    return demo(out, "--ram", "1536M"), out


@pytest.fixture(scope="module")
def cells(done: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, dict[str, Any]]:
    process, out = done
    assert process.returncode == 0, process.stdout + process.stderr
    data = json.loads((out / "matrix.json").read_text())
    return {cell["strategy"]: cell for cell in data["cells"]}


def test_coherent_fails_for_its_reason_and_moves_what_it_can(cells: dict[str, Any]) -> None:
    cell = cells["coherent"]
    assert cell["reason"] == "buddy-limit" and cell["locked_bytes"] == 0
    assert cell["verified"] is False
    assert cell["failure"]["request"] == GIB and cell["failure"]["limit"] == 4 * MIB
    assert 2 * MIB <= cell["largest_bytes"] <= 4 * MIB
    assert cell["largest"]["bytes"] == cell["largest_bytes"] and cell["largest"]["verified"]


@pytest.mark.parametrize("strategy", ["contig-range", "sg"])
def test_a_gibibyte_goes_there_and_back(cells: dict[str, Any], strategy: str) -> None:
    cell = cells[strategy]
    assert cell["reason"] is None and cell["locked_bytes"] == cell["largest_bytes"] == GIB
    assert cell["verified"] is True
    move = cell["move"]
    assert move["crc_host"] == move["crc_to_card"] == move["crc_from_card"]
    assert move["windows"] >= GIB // (64 * MIB), "card memory is 64M: it can't be done in one"
    assert cell["lock_ms"] > 0 and cell["gib_per_s"] > 0 and cell["boot_s"] > 0
    assert cell["touched_mib"] > 1024, "a GiB was locked and filled"


def test_pieces(cells: dict[str, Any]) -> None:
    contiguous, scattered = cells["contig-range"]["move"], cells["sg"]["move"]
    assert (contiguous["segments"], contiguous["longest_segment"]) == (1, GIB)
    # How many there are is the page allocator's luck: in a fresh guest it may be one.
    assert scattered["segments"] * scattered["longest_segment"] >= GIB


def test_seeds_are_fresh(cells: dict[str, Any]) -> None:
    seeds = {(cell["move"] or cell["largest"])["seed"] for cell in cells.values()}
    assert len(seeds) == 3


def test_what_it_prints_and_writes(
    done: tuple[subprocess.CompletedProcess[str], Path], cells: dict[str, Any]
) -> None:
    process, out = done
    for words in (
        "buddy-limit",
        "contig-range",
        "3 cells as expected, 0 failed, 0 skipped",
        "median boot",
        "goal at most 2 s",
    ):
        assert words in process.stdout, words
    assert len(list(ElementTree.parse(out / "junit.xml").getroot().iter("testcase"))) == 3
    assert "<!DOCTYPE html>" in (out / "report.html").read_text()
    for cell in cells.values():
        assert "of card memory" in (out / cell["log"]).read_text(errors="replace")
        assert "gigalock_harness run demo" in cell["reproduce"] or "demo.toml" in cell["reproduce"]
        assert "-device" in cell["reproduce_guest"]


# ---- a machine that is too small --------------------------------------------

OOM_KILL = r"Out of memory: Killed process \d+ \(gigalock\)"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    out = tmp_path_factory.mktemp("small")
    process = demo(out, "--ram", "512M")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "3 cells as expected, 0 failed, 0 skipped" in process.stdout
    cells = json.loads((out / "matrix.json").read_text())["cells"]
    for cell in cells:
        cell["console"] = (out / cell["log"]).read_text(errors="replace")
    return {cell["strategy"]: cell for cell in cells}


@pytest.mark.parametrize(
    ("strategy", "reason", "least", "most"),
    [
        ("coherent", "buddy-limit", 2 * MIB, 4 * MIB),
        ("contig-range", "ram-too-small", 64 * MIB, 512 * MIB),
        ("sg", "overcommit", 256 * MIB, 512 * MIB),
    ],
)
def test_too_small(
    small: dict[str, dict[str, Any]], strategy: str, reason: str, least: int, most: int
) -> None:
    cell = small[strategy]
    assert cell["status"] == "pass" and cell["reason"] == cell["failure"]["reason"] == reason
    assert cell["locked_bytes"] == 0 and cell["verified"] is False and cell["move"] is None
    failure = cell["failure"]
    assert failure["request"] == GIB and 0 < failure["limit"] < GIB
    assert failure["text"] and failure["remedy"]
    # ... and on to the largest size, which is moved and proved as a GiB would be.
    assert least <= cell["largest_bytes"] <= most
    largest = cell["largest"]
    assert largest["verified"] is True and 0 < largest["bytes"] <= cell["largest_bytes"]
    assert largest["crc_host"] == largest["crc_to_card"] == largest["crc_from_card"]
    tries = {one["bytes"]: one["ok"] for one in cell["tries"]}
    assert tries[cell["largest_bytes"]] is True
    assert max(size for size, ok in tries.items() if ok) == cell["largest_bytes"]
    assert [one["phase"] for one in cell["phases"]] == ["boot", "lock", "limit", "move"]


def test_the_oom_kill_was_declared_and_seen(small: dict[str, dict[str, Any]]) -> None:
    for strategy, cell in small.items():
        killed = re.findall(OOM_KILL, cell["console"])
        shown = [line for line in cell["console_seen"] if re.search(OOM_KILL, line)]
        if strategy == "sg":
            assert killed and shown and any("oom-killer" in line for line in cell["console_seen"])
            assert "killed" in {one["reason"] for one in cell["tries"]}
        else:
            assert not killed and not cell["console_seen"]


@pytest.mark.parametrize(
    ("change", "kind"), [("undeclared", "console"), ("declared elsewhere", "missing-line")]
)
def test_the_same_fails_when_declared_otherwise(tmp_path: Path, change: str, kind: str) -> None:
    """Without its [[console]] the kill is unexpected; one that is expected must come."""
    text = (places.SCENARIOS / "demo.toml").read_text()
    if change == "undeclared":
        # All of them stand at the end, with a remark before the first.
        text = text.partition("[[console]]")[0]
        strategy, problem = "sg", "Out of memory: Killed process"
    else:
        text = text.replace('strategy = "sg"\nram = "<=1G"\nline', "line")
        strategy, problem = "contig-range", "expected on the console in limit, but not there"
    path = tmp_path / "other.toml"
    path.write_text(text)
    out = tmp_path / "out"
    done = harness("run", str(path), "--ram", "512M", "--strategy", strategy, "--out", str(out))
    assert done.returncode == 1, done.stdout + done.stderr
    (cell,) = json.loads((out / "matrix.json").read_text())["cells"]
    assert cell["status"] == "fail"
    assert {one["kind"] for one in cell["problems"]} == {kind}, cell["problems"]
    assert any(problem in one["text"] for one in cell["problems"]), cell["problems"]
