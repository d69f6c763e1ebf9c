# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue at the end of a run: a line for each cause, for a terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import causes
from .outcome import FAIL, PASS, SKIP, Outcome
from .scenario import Scenario
from .words import plain

_MARK = {PASS: "ok", FAIL: "FAILED", SKIP: "skipped"}


@dataclass
class Row:
    """What a run showed of one cause."""

    number: int
    slug: str
    failing: list[Outcome] = field(default_factory=list)
    cured: list[Outcome] = field(default_factory=list)
    shown: list[Outcome] = field(default_factory=list)

    @property
    def shows(self) -> list[Outcome]:
        return self.failing or self.shown


def rows(scenarios: Sequence[Scenario], outcomes: Sequence[Outcome]) -> list[Row]:
    """The causes that the run had scenarios for."""
    known = causes.load()
    by_cause = {one.name: one for one in scenarios if one.cause}
    table: dict[str, Row] = {}
    for outcome in outcomes:
        one = by_cause.get(outcome.cell.scenario)
        if one is None or one.cause is None or outcome.cell.fresh:
            continue
        row = table.setdefault(one.cause, Row(known[one.cause].number, one.cause))
        if one.cures:
            row.cured.append(outcome)
        elif outcome.cell.expect.outcome == "fails":
            row.failing.append(outcome)
        else:
            row.shown.append(outcome)
    return sorted(table.values(), key=lambda row: row.number)


def status(outcomes: Sequence[Outcome]) -> str:
    """One word for several cells: the worst of them."""
    for kind in (FAIL, SKIP, PASS):
        if any(outcome.status == kind for outcome in outcomes):
            return _MARK[kind]
    return "-"


def reason(row: Row) -> str:
    first = next((one for one in row.shows if one.status != SKIP), None)
    if first is None:
        return "-"
    text = first.reason or "locks"
    if first.rate:
        text += f" in {first.rate['boots'] - first.rate['locked']} of {first.rate['boots']} boots"
    return text


def remedy(row: Row) -> str:
    return "; ".join(dict.fromkeys(str(one.cell.remedy) for one in row.cured)) or "-"


def render(scenarios: Sequence[Scenario], outcomes: Sequence[Outcome]) -> str:
    """The causes, then whatever went wrong."""
    lines = [("no", "cause", "shown", "reason", "cured", "by this remedy of the doctor's")]
    for row in rows(scenarios, outcomes):
        lines.append(
            (
                str(row.number),
                row.slug,
                status(row.shows),
                reason(row),
                status(row.cured),
                plain(remedy(row)),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(6)]
    text = [
        "  ".join(one.ljust(width) for one, width in zip(line, widths)).rstrip() for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text) + "\n"
