# SPDX-License-Identifier: GPL-2.0-or-later
"""Plots as geometry for an inline SVG; the template draws it and knows the colours."""

from __future__ import annotations

import math
from typing import Any

from ..sizes import format_size

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 44
BAR, GAP = 20, 8
BAR_LEFT, BAR_WIDTH = 300, 300


def _steps(low: float, high: float, log: bool, binary: bool) -> list[float]:
    """Where the marks of an axis stand."""
    if log:
        base = 2.0 if binary else 10.0
        first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
        step = max(1, math.ceil((last - first) / 8))
        return [base**i for i in range(first, last + 1, step)]
    span = high - low or 1.0
    raw = span / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step_size = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    first = math.floor(low / step_size) * step_size
    return [first + i * step_size for i in range(math.ceil((high - first) / step_size) + 1)]


class Axis:
    """Values to places."""

    def __init__(self, values: list[float], log: bool, name: str, begin: float, end: float) -> None:
        self.log, self.name, self.begin, self.end = log, name, begin, end
        low, high = min(values), max(values)
        if not log:
            low = min(low, 0.0)
        self.steps = _steps(low, high, log, "bytes" in name)
        self.low, self.high = min(self.steps[0], low), max(self.steps[-1], high)

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        part = (value - low) / (high - low) if high > low else 0.5
        return round(self.begin + part * (self.end - self.begin), 1)

    def marks(self) -> list[dict[str, Any]]:
        return [{"at": self.at(value), "text": self.text(value)} for value in self.steps]

    def text(self, value: float) -> str:
        return format_size(int(value)) if "bytes" in self.name else f"{value:g}"


def lines(plot: dict[str, Any]) -> dict[str, Any] | None:
    """A plot of bench.json as axes and polylines; None if it has no points."""
    points = [point for series in plot["series"] for point in series["points"]]
    if not points:
        return None
    x = Axis([p[0] for p in points], plot["log_x"], plot["x"], LEFT, WIDTH - RIGHT)
    y = Axis([p[1] for p in points], plot["log_y"], plot["y"], HEIGHT - BOTTOM, TOP)
    return {
        "title": plot["title"],
        "x": plot["x"],
        "y": plot["y"],
        "width": WIDTH,
        "height": HEIGHT,
        "x_marks": x.marks(),
        "y_marks": y.marks(),
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "series": [
            {
                "name": series["name"],
                "number": number % 6,
                "path": " ".join(f"{x.at(a)},{y.at(b)}" for a, b in series["points"]),
                "dots": [
                    {"x": x.at(a), "y": y.at(b), "text": f"{x.text(a)}: {b:.4g}"}
                    for a, b in series["points"]
                ],
            }
            for number, series in enumerate(plot["series"])
        ],
    }


def bars(rows: list[dict[str, Any]], samples: dict[str, Any]) -> dict[str, Any] | None:
    """Each row's ratio as a part of its goal, or of the reference when it has none.

    Dots are the ratios of the rounds, so that one sees how much they differ.
    """
    shown = [row for row in rows if row["ratio"] is not None and row["goal"] is not None]
    if not shown:
        return None
    most = 2.0
    scale = BAR_WIDTH / most
    out = []
    for number, row in enumerate(shown):
        taken = samples[row["name"]]
        ratios = [v / r for v, r in zip(taken["value"], taken["reference"]) if r]
        out.append(
            {
                "name": row["name"],
                "y": TOP + number * (BAR + GAP),
                "width": round(min(row["ratio"] / row["goal"], most) * scale, 1),
                "good": row["ratio"] >= row["goal"],
                "text": f"{row['ratio']:.2f} of {row['goal']:g}",
                "dots": [
                    round(BAR_LEFT + min(one / row["goal"], most) * scale, 1) for one in ratios
                ],
            }
        )
    return {
        "bars": out,
        "left": BAR_LEFT,
        "goal": BAR_LEFT + scale,
        "bar": BAR,
        "height": TOP + len(out) * (BAR + GAP) + 24,
        "width": BAR_LEFT + BAR_WIDTH + 100,
    }
