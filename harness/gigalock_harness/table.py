# SPDX-License-Identifier: GPL-2.0-or-later
"""The table at the end of a run: RAM x strategy, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from .outcome import FAIL, SKIP, Outcome
from .sizes import MIB, format_size
from .words import plain

HEADS = (
    "RAM",
    "strategy",
    "asked",
    "locked",
    "reason",
    "largest",
    "time to lock",
    "GiB/s",
    "verified",
    "result",
)
_RIGHT = {0, 2, 3, 5, 6, 7}


def row(outcome: Outcome) -> tuple[str, ...]:
    """A cell as texts. Time and rate of a refused lock are those of its largest size, in ()."""
    cell = outcome.cell
    ram, asked = format_size(cell.ram_mib * MIB), format_size(cell.bytes)
    result = {FAIL: "FAILED", SKIP: "skipped"}.get(outcome.status, "as expected")
    move = outcome.move or outcome.largest
    if move is None or move.lock_ms is None or move.gib_per_s is None:
        reason = "-" if outcome.status == SKIP else outcome.reason or "-"
        return (
            ram,
            cell.strategy,
            asked,
            "-",
            reason,
            format_size(outcome.largest_bytes) if outcome.largest_bytes else "-",
            "-",
            "-",
            "-",
            result,
        )
    time_, rate = f"{move.lock_ms:.1f} ms", f"{move.gib_per_s:.2f}"
    verified = "yes" if move.verified else "NO"
    if outcome.move is None:
        time_, rate, verified = f"({time_})", f"({rate})", f"({verified})"
    return (
        ram,
        cell.strategy,
        asked,
        format_size(move.bytes) if outcome.move else "-",
        outcome.reason or "-",
        format_size(outcome.largest_bytes),
        time_,
        rate,
        verified,
        result,
    )


def render(outcomes: Sequence[Outcome]) -> str:
    """The table, one block for each RAM size, and the problems below it."""
    rows = [row(outcome) for outcome in outcomes]
    kernels = {outcome.cell.kernel for outcome in outcomes}
    scenarios = {outcome.cell.scenario for outcome in outcomes}
    heads = list(HEADS)
    if len(kernels) > 1 or len(scenarios) > 1:
        heads.append("scenario/kernel")
        rows = [(*one, f"{o.cell.scenario}/{o.cell.kernel}") for one, o in zip(rows, outcomes)]
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]

    def line(texts: Sequence[str]) -> str:
        return "  ".join(
            text.rjust(width) if i in _RIGHT else text.ljust(width)
            for i, (text, width) in enumerate(zip(texts, widths))
        ).rstrip()

    lines = [line(heads), "  ".join("-" * width for width in widths)]
    before = None
    for texts in rows:
        key = (texts[0], texts[10:])
        if before not in (None, key):
            lines.append("")
        before = key
        lines.append(line(texts))
    if any(one[6].startswith("(") for one in rows):
        lines += ["", "(in brackets: of the largest size that locked)"]
    lines += troubles(outcomes)
    return "\n".join(lines) + "\n"


def troubles(outcomes: Sequence[Outcome]) -> list[str]:
    """What went wrong, and what did not run, in lines."""
    lines: list[str] = []
    for outcome in outcomes:
        if outcome.problems or outcome.status == SKIP:
            lines += ["", f"{'FAILED' if outcome.problems else 'skipped'} {outcome.cell.name}:"]
            lines += [
                f"  {plain(text)}"
                for text in [p.text for p in outcome.problems] or [outcome.skip_reason]
            ]
            if outcome.problems:
                lines += [
                    f"  console:   {outcome.log or '-'}",
                    f"  reproduce: {plain(outcome.reproduce)}",
                ]
    return lines
