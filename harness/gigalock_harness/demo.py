# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: the scenario of scenarios/demo.toml, the copy rate, and the goals beside them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import bench, outdir, scenario
from .cell import CellRunner, touched_estimate_mib
from .matrix import Interrupts, Matrix, host_memory_bytes
from .outcome import Outcome
from .progress import PlainProgress, choose
from .results import Figures, Goal, exit_code, finish, median_boot, show, write_results
from .scenario import Scenario, check_host
from .words import plain

GOAL_CLEAN_S = 600
GOAL_AGAIN_S = 180
GOAL_BOOT_S = 2.0
GOAL_RATIO = 0.7


@dataclass
class Options:
    """What the command line asks of a run."""

    scenarios: list[str]
    out: Path
    axes: dict[str, list[str]]
    jobs: int
    seed: int | None = None
    started: float | None = None
    clean: bool = False
    goals: bool = False  # the time goals are those of the whole demo
    bench: bool = False
    command: str = ""


def run_cells(
    scenarios: Sequence[Scenario],
    options: Options,
    progress: PlainProgress,
    interrupts: Interrupts,
) -> list[Outcome]:
    """Run all cells; outcomes in file order."""
    paths = {scenario.name: scenario.path for scenario in scenarios}
    matrix = Matrix(
        make_runner=lambda cell, on_phase: CellRunner(
            cell,
            options.out / "cells" / cell.name,
            options.seed,
            on_phase,
            paths[cell.scenario],
            tuple(options.axes.get("card") or ()),
        ),
        estimate_mib=touched_estimate_mib,
        progress=progress,
        jobs=options.jobs,
        interrupts=interrupts,
    )
    outcomes = matrix.run([cell for scenario in scenarios for cell in scenario.cells])
    progress.close()
    return outcomes


def run(options: Options) -> int:
    """Run scenarios, write the results, print the table; the exit code."""
    started = options.started or time.time()
    scenarios = [scenario.load(scenario.find(name), options.axes) for name in options.scenarios]
    for one in scenarios:
        check_host(one.cells, host_memory_bytes())
    names = [one.name for one in scenarios]
    for name in names:
        if names.count(name) > 1:
            raise scenario.ScenarioError(f'two scenarios are named "{name}"')
    figures = Figures(started=started, jobs=options.jobs, command=options.command)
    progress = choose(sys.stdout)
    total = sum(len(one.cells) for one in scenarios)
    with outdir.taken(options.out), Interrupts(last=True) as interrupts:
        print(
            f"{total} cell{'s' * (total != 1)}, a fresh guest for each, at most {options.jobs} "
            "side by side",
            flush=True,
        )
        outcomes = run_cells(scenarios, options, progress, interrupts)
        if options.bench and not interrupts.count:
            kernel = scenarios[0].cells[0].kernel
            try:
                with interrupts.breaking():
                    figures.bench = bench.measure(
                        kernel, options.out / "bench", lambda text: progress.say(plain(text))
                    )
            except KeyboardInterrupt:
                pass
        table_s = time.time() - started
        finish(scenarios, outcomes, figures, interrupts.count > 0)
        figures.goals += _goals(options, outcomes, figures, table_s)
        written = write_results(options.out, outcomes, figures)
        print(show(outcomes, figures, written), flush=True)
    return exit_code(outcomes, interrupts.count > 0)


def _goals(
    options: Options, outcomes: Sequence[Outcome], figures: Figures, table_s: float
) -> list[Goal]:
    goals = [Goal("median boot, exec to first command", median_boot(outcomes), GOAL_BOOT_S, " s")]
    if options.goals:
        goals.append(
            Goal("from a clean machine to this table", table_s, GOAL_CLEAN_S, " s")
            if options.clean
            else Goal("second run to this table", table_s, GOAL_AGAIN_S, " s")
        )
    if options.bench:
        ratio = figures.bench["ratio"] if figures.bench else None
        goals.append(Goal("slower direction beside memcpy", ratio, GOAL_RATIO, "", at_least=True))
    return goals
