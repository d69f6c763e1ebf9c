# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench: finding rows, what is made of their samples, the page, and the lab they run in."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness.benches import (
    Details,
    Group,
    NotMeasured,
    Plot,
    Row,
    Series,
    Setup,
    cli,
    page,
    plots,
    rows_linear,
    run,
)
from gigalock_harness.matrix import RESERVE_MIB
from gigalock_harness.sizes import MIB

KEYS = ["name", "value", "unit", "reference", "reference_value", "ratio", "goal"]


def group(*rows: Row, **more: Any) -> Group:
    @contextlib.contextmanager
    def start(setup: Setup) -> Iterator[Setup]:
        yield setup

    return Group("a group", start, list(rows), **more)


def row(name: str, *samples: tuple[float, float | None], **more: Any) -> Row:
    """A row that gives these samples, one after the other, and then no more."""
    left = list(samples)
    settings: dict[str, Any] = {"unit": "GiB/s", "reference": "memcpy", "goal": 0.5, **more}
    return Row(name=name, sample=lambda state: left.pop(0), **settings)


def measure(tmp_path: Path, *groups: Group, rounds: int = 3) -> dict[str, Any]:
    return run.measure(groups, rounds, tmp_path, lambda text: None)


# ---- the rows there are -----------------------------------------------------


def test_the_rows_of_the_tree() -> None:
    rows = [row for one in run.all_groups() for row in one.rows]
    assert len(rows) >= 15
    for one in rows:
        assert one.name and one.unit and one.reference
        assert one.goal is None or one.goal > 0
    goals = [row.goal for row in rows]
    # What was promised: none is forgotten.
    for goal in (0.9, 0.7, 0.35, 0.85, 4.0, 1.2):
        assert goal in goals


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("gib", True), ("1 GiB*", True), ("GiB*", False), ("*card", True), ("edu", False)],
)
def test_patterns(pattern: str, fits: bool) -> None:
    assert run.matches("1 GiB host to card", pattern) == fits


def test_a_pattern_that_fits_nothing_names_the_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [group(row("one")), group(row("two"))]
    assert [len(one.rows) for one in run.select(groups, ["TWO"])] == [1]
    assert run.select(groups, []) == groups
    for bad in ("three", ""):
        with pytest.raises(run.NoSuchRow, match="(?s)the rows are:.*one.*two"):
            run.select(groups, ["one", bad])
    monkeypatch.setattr(run, "all_groups", lambda: groups)
    assert cli.main(["--only", "three"]) == 2
    assert "no row fits 'three'" in capsys.readouterr().err


@pytest.mark.parametrize("rounds", ["0", "-1", "1001", "many", "", "9" * 30])
def test_rounds_are_bounded(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--rounds", rounds])
    assert end.value.code == 2
    assert "the limits are 1 and 1000" in capsys.readouterr().err


# ---- what is made of samples --------------------------------------------------


def test_medians_and_ratio(tmp_path: Path) -> None:
    got = measure(tmp_path, group(row("a", (9, 9), (1, 4), (3, 2), (2, 5))))
    assert [list(one) for one in got["rows"]] == [KEYS]
    (one,) = got["rows"]
    # The first sample only warms up; each side has a median of its own.
    assert (one["value"], one["reference_value"], one["ratio"], one["goal"]) == (2, 4, 0.5, 0.5)
    assert got["samples"]["a"] == {"value": [1, 3, 2], "reference": [4, 2, 5]}
    assert run.verdict(one) == "reached"
    assert run.verdict({**one, "ratio": 0.499}) == "MISSED"
    assert run.verdict({**one, "goal": None}) == ""


def test_work_and_reference_take_turns(tmp_path: Path) -> None:
    seen: list[str] = []

    def sample(name: str) -> Callable[[Any], tuple[float, float]]:
        def both(state: Any) -> tuple[float, float]:
            seen.append(name)
            return 1, 1

        return both

    rows = [Row(name, "x", "y", None, sample(name)) for name in "ab"]
    measure(tmp_path, group(*rows))
    assert "".join(seen) == "abababab"


def test_what_goes_wrong_leaves_the_others(tmp_path: Path) -> None:
    def refuse(state: Any) -> tuple[float, float]:
        raise NotMeasured("no such\nthing \033[31m")

    @contextlib.contextmanager
    def never(setup: Setup) -> Iterator[None]:
        raise OSError("no room")
        yield

    good = row("good", *[(1, 1)] * 4)
    bad = Row("bad", "x", "y", 1.0, refuse)
    got = measure(tmp_path, group(bad, good), Group("none", never, [row("third")]))
    assert [one["name"] for one in got["rows"]] == ["good"]
    assert got["not_measured"] == [
        {"name": "bad", "why": "no such"},
        {"name": "third", "why": "no room"},
    ]


def test_memory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "available_mib", lambda: RESERVE_MIB + 99)
    got = measure(tmp_path, group(row("a"), need_mib=100))
    assert got["not_measured"] == [
        {"name": "a", "why": "needs about 100 MiB of host memory; 99 MiB can be had"}
    ]


# ---- the command and the page ---------------------------------------------------


def test_files_and_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Details(["half of it <waits>"], [Plot("p", "bytes", "ns", [Series("s", [(1, 2)])])])
    rows = [row("a <b>", *[(1, 4)] * 6, details=lambda state: said)]
    monkeypatch.setattr(run, "all_groups", lambda: [group(*rows)])
    assert cli.main(["--out", str(tmp_path), "--json"]) == 0
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "bench.json").read_text())
    assert json.loads(out) == written
    assert written["rounds"] == 5
    assert written["rows"][0] == dict(zip(KEYS, ["a <b>", 1, "GiB/s", "memcpy", 4, 0.25, 0.5]))
    html = (tmp_path / "bench.html").read_text()
    assert "a &lt;b&gt;" in html and "half of it &lt;waits&gt;" in html and "<b>" not in html
    assert "MISSED" in html and "0 of 1 goals reached" in html
    assert not re.search(r"(?:src|href)=|https?://(?!www\.w3)|<script", html)
    assert html.count("<svg") == 3  # the bars, a plot and its legend
    # No samples are left: nothing can be measured, and that is told.
    monkeypatch.setattr(run, "all_groups", lambda: [group(row("x"), need_mib=1 << 40)])
    assert cli.main(["--out", str(tmp_path)]) == 1
    assert "not measured: x: needs about" in capsys.readouterr().out


def test_few_rounds_are_marked(tmp_path: Path) -> None:
    got = measure(tmp_path, group(row("a", *[(1, 1)] * 9)), rounds=1)
    assert "measures nothing" in page.render(got)
    got = measure(tmp_path, group(row("a", *[(1, 1)] * 9)), rounds=5)
    assert "measures nothing" not in page.render(got)


@pytest.mark.parametrize(("load", "told"), [(0.1, False), (1000.0, True)])
def test_a_busy_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, told: bool
) -> None:
    monkeypatch.setattr(run, "load", lambda: load)
    got = measure(tmp_path, group(row("a", *[(1, 1)] * 9)))
    assert got["machine"]["load_before"] == load
    assert ("Others were at work" in page.render(got)) == told
    assert ("others were at work" in cli.table(got)) == told


@pytest.mark.parametrize("log", [False, True])
def test_points_lie_on_the_plot(log: bool) -> None:
    points = [[4096.0, 100.0], [65536.0, 1000.0], [8.0 * 2**30, 1e9]]
    drawn = plots.lines(
        {
            "title": "t",
            "x": "bytes",
            "y": "ns",
            "log_x": log,
            "log_y": log,
            "series": [{"name": "s", "points": points}],
        }
    )
    assert drawn
    dots = drawn["series"][0]["dots"]
    xs, ys = [dot["x"] for dot in dots], [dot["y"] for dot in dots]
    assert xs == sorted(xs) and ys == sorted(ys, reverse=True)
    assert drawn["left"] <= xs[0] < xs[-1] <= drawn["right"]
    assert drawn["top"] <= ys[-1] < ys[0] <= drawn["bottom"]
    assert all(drawn["left"] <= mark["at"] <= drawn["right"] for mark in drawn["x_marks"])
    assert {mark["text"][-1] for mark in drawn["x_marks"]} & {"K", "M", "G"}


def test_how_straight_a_line_is() -> None:
    sizes = rows_linear.SIZES
    assert sizes[0] == 4096 and sizes[-1] == 8 << 30
    line = {size: 700 + 0.25 * size for size in sizes}
    assert rows_linear.straight(line) == pytest.approx(1)
    assert rows_linear.fit(line) == pytest.approx((700, 0.25))
    bent = {**line, sizes[5]: 2 * line[sizes[5]]}
    assert 0.4 < rows_linear.straight(bent) < 0.8


# ---- the lab ---------------------------------------------------------------------


def test_the_card_in_the_lab(tmp_path: Path) -> None:
    """Through the IOMMU's tables and past them, the same pieces come in the same order."""
    from gigalock_harness.benches import lab

    size = 256 * MIB
    with lab.lab(
        Setup(tmp_path, print), size, extra=["-device", "intel-iommu"], ref_bytes=size
    ) as card:
        for words in ("copy", "pieces", "two", f"sized 4096 {size}", f"sized {size} {2 * size}"):
            assert card.memcpy(words) > 0
        sample = [0, 1, 513, card.pieces - 1]
        data = {i: os.urandom(16) for i in sample}
        for i in sample:
            card.q.write(lab.HOST + lab.scattered(i, card.pieces) * lab.PIECE, data[i])
        card.iommu_tables()
        for through in (True, False):
            card.iommu(on=through)
            card.q.fill(lab.CARD_AT, size, 0)
            assert card.small(lab.H2C, lab.HOST, spread=not through) > 0
            for i in sample:
                assert card.q.read(lab.CARD_AT + i * lab.PIECE, 16) == data[i]
        assert rows_linear.one_size(card, 4 * size) > 0
        assert card.q.get("stat-errors") == 0
