# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cells a run of the matrix has, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import samples
from gigalock_harness import choose
from gigalock_harness.scenario import ScenarioError

FAILING = """\
format = 2
name = "{name}.failing"
title = "A title"
cause = "ram-too-small"
[guest]
ram = {ram}
kernel = ["stock", "lab"]
[request]
bytes = "1G"
strategy = "sg"
[[expect]]
outcome = "fails"
reason = "overcommit"
"""
CURED = """\
format = 2
name = "{name}.cured"
title = "A title"
cures = "{name}.failing"
[remedy]
kind = "ram"
value = "4G"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, ram in (("one", '["512M", "1G"]'), ("two", '"768M"')):
        (tmp_path / f"{name}.failing.toml").write_text(FAILING.format(name=name, ram=ram))
        (tmp_path / f"{name}.cured.toml").write_text(CURED.format(name=name))
    built = tmp_path / "kernels"
    for kernel in ("stock", "lab"):
        (built / kernel).mkdir(parents=True)
        (built / kernel / "vmlinux").write_text("")
    monkeypatch.setattr(choose, "kernels_built", lambda: built)
    return tmp_path


def names(folder: Path, **what: list[str]) -> list[str]:
    return [cell.name for cell in choose.choose(choose.load_all([folder]), **what).cells]


def test_all_of_them(folder: Path) -> None:
    assert len(names(folder)) == 12


@pytest.mark.parametrize("pattern", ["two.cured", "two.failing", "t*", "wo", "*d"])
def test_a_twin_comes_along(folder: Path, pattern: str) -> None:
    found = names(folder, patterns=[pattern], kernels=["lab"])
    assert {"two.cured-768M-lab-sg", "two.failing-768M-lab-sg"} <= set(found)


def test_a_cure_is_chosen_by_its_twins_ram(folder: Path) -> None:
    assert names(folder, ram=["1G"], kernels=["stock"]) == [
        "one.cured-1G-stock-sg",
        "one.failing-1G-stock-sg",
    ]


@pytest.mark.parametrize(
    "what, words",
    [
        ({"patterns": ["three"]}, "no cell fits"),
        ({"ram": ["2G"]}, "no cell fits"),
        ({"ram": ["lots"]}, "--ram: ram"),
        ({"kernels": ["vista"]}, "--kernel: unknown kernel 'vista'"),
        ({"kernels": ["6.12"]}, "kernel '6.12' is not built; 'make image KERNEL=6.12'"),
    ],
)
def test_bad_choices(folder: Path, what: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        names(folder, **what)
    assert words in str(caught.value)


def test_what_a_missing_kernel_takes_along(folder: Path) -> None:
    (folder / "kernels" / "lab" / "vmlinux").unlink()
    chosen = choose.choose(choose.load_all([folder]))
    assert {cell.kernel for cell in chosen.missing} == {"lab"} and len(chosen.missing) == 6
    assert all("make image KERNEL=lab" in why for why in chosen.missing.values())


def test_a_file_must_be_named_as_its_scenario(folder: Path) -> None:
    (folder / "one.cured.toml").rename(folder / "uno.cured.toml")
    with pytest.raises(ScenarioError, match='its name is "one.cured"'):
        choose.load_all([folder])


def test_a_folder_must_be_there(folder: Path) -> None:
    with pytest.raises(ScenarioError, match="no such folder"):
        choose.load_all([folder / "nowhere"])


def test_a_tenth_boots_afresh_and_the_seed_says_which() -> None:
    cells = [samples.cell(scenario=f"s{n}") for n in range(41)]
    served = cells[1:]
    drawn = choose.draw_fresh(cells, lambda cell: cell in served, 7)
    assert len(drawn) == 4 and all(cell.fresh and cell.name.endswith("-fresh") for cell in drawn)
    assert {replace(cell, fresh=False) for cell in drawn} <= set(served)
    assert drawn == choose.draw_fresh(cells[::-1], lambda cell: cell in served, 7)
    assert drawn != choose.draw_fresh(cells, lambda cell: cell in served, 8)
    assert len(choose.draw_fresh(cells[:3], lambda cell: True, 7)) == 1
    assert choose.draw_fresh(cells, lambda cell: False, 7) == []


def test_cells_of_one_template_are_near_each_other() -> None:
    cells = [samples.cell(ram, scenario=f"s{n}") for n in range(3) for ram in (512, 1024, 2048)]
    order = [cell.ram_mib for cell in choose.in_turn(cells, lambda cell: cell.ram_mib, 2)]
    assert order == [512, 1024, 512, 1024, 512, 1024, 2048, 2048, 2048]
    assert sorted(order) == sorted(cell.ram_mib for cell in cells)
