# SPDX-License-Identifier: GPL-2.0-or-later
"""A device that lies makes the cell fail, and with it the demo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from demo_command import demo, harness

SMALL = """\
format = 1
name = "small"
title = "64 MiB, moved by a device with a fault"
[guest]
ram = "512M"
[guest.card]
card-mem = "16M"
[request]
bytes = "64M"
strategy = ["sg", "contig-range"]
[[expect]]
outcome = "locks"
"""

FAULTS = ["no-copy", "wrong-place", "corrupt"]


@pytest.mark.parametrize("fault", ["none", *FAULTS])
def test_each_fault_fails_both_cells(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    done = harness("run", str(path), "--out", str(tmp_path / "out"), "--card", f"fault={fault}")
    cells = json.loads((tmp_path / "out" / "matrix.json").read_text())["cells"]
    assert len(cells) == 2
    if fault == "none":
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(cell["verified"] and cell["status"] == "pass" for cell in cells)
        return
    assert done.returncode == 1, done.stdout + done.stderr
    for cell in cells:
        assert cell["status"] == "fail" and cell["verified"] is False
        assert "data" in {problem["kind"] for problem in cell["problems"]}, cell["message"]
        assert f"--card fault={fault}" in cell["reproduce"]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_demo_fails_with_it(tmp_path: Path, fault: str) -> None:
    done = demo(
        tmp_path, "--ram", "1536M", "--strategy", "contig-range", "--card", f"fault={fault}"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout and "FAILED demo-1536M-stock-contig-range" in done.stdout
    (cell,) = json.loads((tmp_path / "matrix.json").read_text())["cells"]
    assert cell["verified"] is False and "data" in {one["kind"] for one in cell["problems"]}
