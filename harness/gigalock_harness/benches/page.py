# SPDX-License-Identifier: GPL-2.0-or-later
"""bench.html: one page, no outside resource, made from the data of bench.json alone."""

from __future__ import annotations

from typing import Any

import jinja2

from ..report import TEMPLATES
from . import ROUNDS, plots, run


def busy(result: dict[str, Any]) -> bool:
    """Others were at work on the machine when the run began."""
    return result["machine"]["load_before"] > result["machine"]["cpus"] / 2


def render(result: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    with_goal = [row for row in result["rows"] if run.verdict(row)]
    drawn = [plots.lines(plot) for plot in result["plots"]]
    return environment.get_template("bench.html.j2").render(
        result=result,
        verdicts={row["name"]: run.verdict(row) for row in result["rows"]},
        reached=sum(run.verdict(row) == "reached" for row in with_goal),
        with_goal=len(with_goal),
        few=result["rounds"] < ROUNDS,
        busy=busy(result),
        enough=ROUNDS,
        bars=plots.bars(result["rows"], result["samples"]),
        plots=[plot for plot in drawn if plot],
    )
