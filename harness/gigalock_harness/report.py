# SPDX-License-Identifier: GPL-2.0-or-later
"""report.html: one page, no outside resource, made from the data of matrix.json.

Much of that data came out of guests. The template escapes everything, and the
page's own policy forbids it to load or send anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from .sizes import GIB, MIB, format_size
from .words import block

TEMPLATES = Path(__file__).parent / "templates"
LEVELS = 5

_PHASE_NAMES = {
    "boot": "boot",
    "setup": "setup",
    "lock": "lock, move, verify",
    "limit": "search the largest",
    "move": "move the largest",
    "doctor": "ask the doctor",
}
_LANE_HEIGHT = 26
_CHART_WIDTH = 600


def level(cell: dict[str, Any]) -> int:
    """0 nothing could be locked, LEVELS all of it; between, by eighths of what was asked."""
    part = cell["largest_bytes"] / cell["requested_bytes"]
    if part >= 1:
        return LEVELS
    if part <= 0:
        return 0
    return 1 + sum(part >= bound for bound in (1 / 64, 1 / 4, 5 / 8))


def _groups(cells: list[dict[str, Any]], titles: dict[str, str]) -> list[dict[str, Any]]:
    """A heat-map for each scenario and kernel: RAM across, strategies down."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell.get("shows") or cell.get("fresh"):
            continue  # the table of causes has it
        groups.setdefault((cell["scenario"], cell["kernel"]), []).append(cell)
    result = []
    for (scenario, kernel), members in groups.items():
        rams = sorted({cell["ram_mib"] for cell in members})
        strategies = list(dict.fromkeys(cell["strategy"] for cell in members))
        at = {(cell["strategy"], cell["ram_mib"]): cell for cell in members}
        result.append(
            {
                "scenario": scenario,
                "kernel": kernel,
                "title": titles.get(scenario, scenario),
                "rams": [format_size(ram * MIB) for ram in rams],
                "rows": [(name, [at.get((name, ram)) for ram in rams]) for name in strategies],
            }
        )
    return result


def _timeline(cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The run as bars in lanes, for an inline SVG: who ran when, and what took the time."""
    ran = sorted((cell for cell in cells if cell["phases"]), key=lambda cell: cell["started_s"])
    if not ran:
        return None
    end = max(cell["started_s"] + cell["duration_s"] for cell in ran) or 1.0
    scale = _CHART_WIDTH / end
    free: list[float] = []
    bars = []
    for cell in ran:
        begin = cell["started_s"] + 0.05
        lane = next((i for i, since in enumerate(free) if since <= begin), len(free))
        if lane == len(free):
            free.append(0.0)
        free[lane] = cell["started_s"] + cell["duration_s"]
        at = cell["started_s"]
        for phase in cell["phases"]:
            name = phase["phase"]
            bars.append(
                {
                    "x": round(at * scale, 1),
                    "y": 4 + lane * _LANE_HEIGHT,
                    "width": max(1.0, round(phase["seconds"] * scale - 1, 1)),
                    "height": _LANE_HEIGHT - 8,
                    "phase": name,
                    "id": cell["id"],
                    "text": f"{cell['label']}: {_PHASE_NAMES.get(name, name)}, "
                    f"{phase['seconds']:.1f} s",
                }
            )
            at += phase["seconds"]
    step = next(
        s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 10**9) if end / s <= 9
    )
    ticks = [{"x": round(s * scale, 1), "text": f"{s} s"} for s in range(0, int(end) + 1, step)]
    phases = [
        {"phase": key, "name": name}
        for key, name in _PHASE_NAMES.items()
        if any(bar["phase"] == key for bar in bars)
    ]
    return {
        "bars": bars,
        "ticks": ticks,
        "lanes": len(free),
        "width": _CHART_WIDTH,
        "height": 8 + len(free) * _LANE_HEIGHT,
        "phases": phases,
    }


def _clean(value: Any) -> Any:
    """The same data with all text made harmless."""
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return block(value) if isinstance(value, str) else value


def _number(value: object, digits: int = 2, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if isinstance(value, (int, float)) else "–"


def _bytes(value: object) -> str:
    return format_size(value) if isinstance(value, int) and value > 0 else "–"


def _quantity(value: object, unit: object) -> str:
    """One of a failure's three numbers."""
    if isinstance(value, bool) or not isinstance(value, int):
        return "–"
    if unit == "bytes":
        return f"{format_size(value)} ({value})" if value >= 1024 else str(value)
    return hex(value) if unit == "address" else str(value)


def render(data: dict[str, Any]) -> str:
    """The page for the data of a matrix.json."""
    cells = []
    for number, raw in enumerate(data["cells"]):
        cell = _clean(raw)
        cell["id"] = f"cell-{number}"
        cell["label"] = f"{format_size(cell['ram_mib'] * MIB)} {cell['strategy']}"
        if cell.get("shows") or cell.get("fresh"):
            cell["label"] += f" {cell['name']}"
        cell["level"] = level(cell)
        cell["shown"] = cell["move"] or cell["largest"]
        cells.append(cell)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=_number, bytes=_bytes, quantity=_quantity)
    return environment.get_template("report.html.j2").render(
        cells=cells,
        run=data["run"],
        groups=_groups(cells, data["run"]["titles"]),
        timeline=_timeline(cells),
        levels=range(LEVELS + 1),
        phase_names=_PHASE_NAMES,
        ids={cell["name"]: cell["id"] for cell in cells},
        gib=GIB,
    )
