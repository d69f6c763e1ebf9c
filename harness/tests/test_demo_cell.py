# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo for one RAM size, end to end: real guests, the real device, the real driver."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from demo_command import demo
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
