# SPDX-License-Identifier: GPL-2.0-or-later
"""The report page, the table and matrix.json: complete, self-contained, and safe from guests."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import samples
from gigalock_harness import report, table
from gigalock_harness.outcome import Outcome
from gigalock_harness.sizes import GIB, MIB

KEYS = {
    "scenario",
    "kernel",
    "ram_mib",
    "strategy",
    "requested_bytes",
    "locked_bytes",
    "largest_bytes",
    "reason",
    "verified",
    "lock_ms",
    "gib_per_s",
    "boot_s",
}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text, and whether tags balance."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def page(*outcomes: Outcome) -> tuple[Page, str]:
    text = report.render(
        {"cells": [outcome.to_json() for outcome in outcomes], "run": samples.run_figures()}
    )
    return Page(text), text


def test_page_is_whole_and_loads_nothing() -> None:
    parsed, text = page(
        samples.locked(), samples.refused(), samples.broken(), samples.skipped(ram_mib=4096)
    )
    assert parsed.open == []
    for tag, attributes in parsed.tags:
        assert tag not in ("img", "iframe", "link", "object", "embed", "base", "form")
        for name in ("src", "href", "action", "xlink:href"):
            assert name not in attributes or re.fullmatch(r"#cell-\d+", attributes[name] or "")
    assert "url(" not in text and "@import" not in text and "://" not in text


def test_every_cell_explains_itself() -> None:
    outcomes = [
        samples.locked(),
        samples.refused(),
        samples.broken(),
        samples.skipped(ram_mib=4096),
    ]
    parsed, _ = page(*outcomes)
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    links = [
        attributes["href"]
        for tag, attributes in parsed.tags
        if tag == "a" and "aria-describedby" in attributes
    ]
    assert len(links) == len(outcomes)
    assert {link[1:] for link in links} <= ids
    for words in (
        "1 GiB is more than the 4 MiB",
        "Use contig-range.",
        "buddy-limit",
        "FAILED",
        "the guest's kernel panicked",
        "needs about 9 MiB",
        "One block.",
        "goal at most",
        "not measured",
        "run sample",
        "0x01234567",
    ):
        assert words in parsed.text, words


@pytest.mark.parametrize("place", ["console", "text", "problem", "tries", "remedy", "reason"])
def test_nothing_from_a_guest_gets_through(place: str) -> None:
    outcome = samples.refused()
    assert outcome.failure is not None
    if place == "console":
        outcome.console_tail = samples.NASTY
    elif place in ("text", "remedy", "reason"):
        outcome.failure[place] = samples.NASTY
    elif place == "problem":
        outcome.fail("console", samples.NASTY)
    else:
        outcome.tries = [
            {"bytes": samples.NASTY, "ok": samples.NASTY, "ms": samples.NASTY},
            {"reason": samples.NASTY},
        ]
    plain, _ = page(samples.refused())
    parsed, text = page(outcome)
    assert "<script>alert" not in text and "\x1b" not in text and "\x00" not in text
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert parsed.open == []
    assert {name for _, a in parsed.tags for name in a} <= {
        name for _, a in plain.tags for name in a
    } | {"open"}


def test_heat_levels() -> None:
    def level(largest: int) -> int:
        return report.level({"largest_bytes": largest, "requested_bytes": GIB})

    assert [level(n) for n in (0, 1, 4 * MIB, GIB // 2, GIB - 1, GIB)] == [0, 1, 1, 3, 4, 5]


def test_json_has_the_keys_of_the_issue() -> None:
    for outcome in (samples.locked(), samples.refused(), samples.broken(), samples.skipped()):
        data = outcome.to_json()
        assert KEYS <= set(data)
        json.dumps(data, allow_nan=False)
        assert (data["reason"] is None) == (data["locked_bytes"] == data["requested_bytes"])
    assert samples.locked().to_json()["verified"] is True
    refused = samples.refused().to_json()
    assert (refused["locked_bytes"], refused["largest_bytes"]) == (0, 4 * MIB)
    assert refused["verified"] is False and refused["largest"]["verified"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"tool_verified": False},
        {"crc_host": "0x11111111"},
        {"crc_to_card": "0x11111111"},
        {"crc_from_card": "0x11111111"},
        {"crc_host": None},
        {"crc_host": None, "crc_to_card": None, "crc_from_card": None},
    ],
)
def test_verified_needs_all_three_parties(change: dict[str, object]) -> None:
    assert samples.move().verified
    assert not samples.move(**change).verified


def test_table() -> None:
    text = table.render(
        [samples.locked(), samples.refused(), samples.broken(), samples.skipped(ram_mib=4096)]
    )
    lines = text.splitlines()
    assert lines[0].split() == " ".join(table.HEADS).split()
    assert re.search(r"2G +sg +1G +1G +- +1G +1234\.5 ms +1\.90 +yes +as expected", text)
    assert re.search(r"2G +coherent +1G +- +buddy-limit +4M +\(1234\.5 ms\)", text)
    assert "FAILED sample-2G-stock-contig-range" in text and "skipped" in text


def test_table_drives_no_terminal() -> None:
    text = table.render([samples.broken(samples.NASTY)])
    assert "\x1b" not in text and "\x00" not in text


def test_results_on_disk(tmp_path: Path) -> None:
    run = pytest.importorskip("gigalock_harness.results")
    figures = run.Figures(
        started=0.0,
        total_s=1.0,
        titles={"sample": "A sample"},
        host=samples.run_figures()["host"],
        counts={"pass": 1, "fail": 0, "skip": 0},
        goals=[run.Goal("boot", 1.0, 2.0, " s")],
    )
    written = run.write_results(tmp_path, [samples.locked()], figures)
    assert [path.name for path in written] == ["matrix.json", "junit.xml", "report.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in written)
    data = json.loads((tmp_path / "matrix.json").read_text())
    assert len(data["cells"]) == 1 and data["run"]["goals"][0]["met"] is True


def test_goals() -> None:
    run = pytest.importorskip("gigalock_harness.results")
    assert run.Goal("a", 1.0, 2.0, " s").line() == "a: 1.00 s, goal at most 2 s: met"
    assert run.Goal("a", 3.0, 2.0, " s").line().endswith("MISSED")
    assert run.Goal("a", 0.6, 0.7, "", at_least=True).line().endswith("MISSED")
    assert run.Goal("a", None, 0.7, "", at_least=True).line().endswith("not measured")
