# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue at the end of a run: a line for each cause, for a terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import causes
from .outcome import FAIL, PASS, SKIP, Outcome
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


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """The causes that the run had scenarios for."""
    known = causes.load()
    table: dict[str, Row] = {}
    for outcome in outcomes:
        cell = outcome.cell
        if not cell.shows or cell.fresh:
            continue
        row = table.setdefault(cell.shows, Row(known[cell.shows].number, cell.shows))
        if cell.twin:
            row.cured.append(outcome)
        elif cell.expect.outcome == "fails":
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


def to_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The same for the report."""
    known = causes.load()
    return [
        {
            "number": row.number,
            "slug": row.slug,
            "title": known[row.slug].title,
            "symptom": known[row.slug].symptom,
            "reason": reason(row),
            "remedy": remedy(row),
            "cells": [
                {"name": one.cell.name, "status": one.status, "role": role}
                for role, some in (("shown", row.shows), ("cured", row.cured))
                for one in some
            ],
        }
        for row in rows(outcomes)
    ]


def render(outcomes: Sequence[Outcome]) -> str:
    """The causes, then whatever went wrong."""
    lines = [("no", "cause", "shown", "reason", "cured", "by this remedy of the doctor's")]
    for row in rows(outcomes):
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
