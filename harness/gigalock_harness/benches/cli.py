# SPDX-License-Identifier: GPL-2.0-or-later
"""python3 -m gigalock_harness bench: measure, print, write bench.json and a page beside it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from .. import outdir
from ..places import build_dir
from . import ROUNDS, page, run

EXIT_NOT_MEASURED, EXIT_BAD_INPUT = 1, 2
MOST_ROUNDS = 1000


def _rounds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_ROUNDS:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is out of range; the limits are 1 and {MOST_ROUNDS}"
        )
    return int(text)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 -m gigalock_harness bench",
        description="Measure the card beside what it is held against, in turns.",
        epilog="Ends with 0 when every row was measured, with 1 when one was not; a goal that is "
        "missed is reported, and no error.",
    )
    top.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="rows whose name has this in it, or, with * or ?, is like this; may be given again",
    )
    top.add_argument(
        "--rounds",
        type=_rounds,
        default=ROUNDS,
        metavar="N",
        help=f"samples of each row (default {ROUNDS}; fewer are marked as no measurement)",
    )
    top.add_argument("--list", action="store_true", help="print the names of the rows and end")
    top.add_argument("--json", action="store_true", help="print bench.json in place of the table")
    top.add_argument(
        "--out", type=Path, default=None, metavar="DIR", help="default: bench in the build folder"
    )
    return top


def table(result: dict[str, Any]) -> str:
    """The rows for people."""
    head = ("work", "value", "beside", "ratio", "goal", "")
    rows = [head]
    for row in result["rows"]:
        rows.append(
            (
                row["name"],
                f"{row['value']:g} {row['unit']}",
                f"{row['reference_value']:g} ({row['reference']})"
                if row["reference_value"] is not None
                else "-",
                "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
                "-" if row["goal"] is None else f"{row['goal']:g}",
                run.verdict(row),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * w for w in widths[:-1]))
    if page.busy(result):
        lines.append(
            f"others were at work on this machine (load {result['machine']['load_before']:g}): "
            "these figures say little"
        )
    lines += [f"not measured: {one['name']}: {one['why']}" for one in result["not_measured"]]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    arguments = parser().parse_args(argv)
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:6.1f} s] {text}", file=sys.stderr, flush=True)

    try:
        groups = run.select(run.all_groups(), arguments.only)
    except run.NoSuchRow as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if arguments.list:
        print("\n".join(row.name for group in groups for row in group.rows))
        return 0
    out = (arguments.out or build_dir() / "bench").resolve()
    try:
        with outdir.taken(out):
            result = run.measure(groups, arguments.rounds, out / "log", say)
            for name, text in (
                ("bench.json", json.dumps(result, indent=1) + "\n"),
                ("bench.html", page.render(result)),
            ):
                part = out / f"{name}.part"
                part.write_text(text)
                os.replace(part, out / name)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_NOT_MEASURED
    except KeyboardInterrupt:
        print("interrupted; what was written before is left as it is", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=1) if arguments.json else table(result))
    say(f"page: {out / 'bench.html'}")
    return EXIT_NOT_MEASURED if result["not_measured"] else 0
