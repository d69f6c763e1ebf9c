# SPDX-License-Identifier: GPL-2.0-or-later
"""make matrix: the failure catalogue and the RAM axis, run and judged as a whole."""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import causetable, choose, outdir, remedy
from .cell import CellRunner, guest_config, touched_estimate_mib
from .cells import Cell
from .machine import boots_in_template
from .matrix import Interrupts, Matrix, host_memory_bytes
from .outcome import FAIL, PASS, SKIP, Outcome
from .progress import choose as choose_progress
from .results import Figures, Goal, exit_code, finish, median_boot, write_results
from .results import show_end as show
from .scenario import check_host
from .template import TemplateStore, key_of

GOAL_CELLS = 150
GOAL_SECONDS = 600
GOAL_OVERHEAD_S = 0.4


@dataclass
class Options:
    """What the command line asks of a run."""

    out: Path
    jobs: int
    scenarios: list[str] = field(default_factory=list)
    ram: list[str] = field(default_factory=list)
    kernel: list[str] = field(default_factory=list)
    folders: tuple[Path, ...] = ()
    seed: int | None = None
    templates: bool = True
    command: str = ""


def run(options: Options) -> int:
    """Run what is chosen, write the results, print the tables; the exit code."""
    started = time.time()
    scenarios = choose.load_all(options.folders or choose.folders())
    chosen = choose.choose(scenarios, options.scenarios, options.ram, options.kernel)
    check_host(chosen.cells, host_memory_bytes())
    seed = secrets.randbits(32) if options.seed is None else options.seed

    store = TemplateStore(options.out / "templates")
    here = [cell for cell in chosen.cells if cell not in chosen.missing]
    configs = {cell: guest_config(cell, True) for cell in here}
    keys = {cell: key_of(config) for cell, config in configs.items()}
    fresh: list[Cell] = []
    if options.templates:
        for cell in here:
            if boots_in_template(cell):
                store.expect(configs[cell])
        fresh = choose.draw_fresh(
            here, lambda cell: boots_in_template(cell) and store.worth_it(configs[cell]), seed
        )
    figures = Figures(started=started, jobs=options.jobs, command=options.command)
    figures.seed = seed
    progress = choose_progress(sys.stdout)
    paths = {one.name: one.path for one in scenarios}
    with outdir.taken(options.out), Interrupts(last=True) as interrupts:
        print(
            f"{len(here)} cells of {len(chosen.scenarios)} scenarios, at most {options.jobs} side "
            f"by side; seed {seed}: {len(fresh)} of those with a template boot afresh, too",
            flush=True,
        )
        matrix = Matrix(
            make_runner=lambda cell, on_phase: CellRunner(
                cell,
                options.out / "cells" / cell.name,
                seed,
                on_phase,
                paths[cell.scenario],
                templates=store if options.templates else None,
            ),
            estimate_mib=touched_estimate_mib,
            progress=progress,
            jobs=options.jobs,
            interrupts=interrupts,
            order=lambda cells: choose.in_turn(
                cells, lambda cell: keys.get(cell, cell.name), options.jobs
            ),
        )
        try:
            outcomes = matrix.run([*here, *fresh])
        finally:
            progress.close()
            store.close()
        judge_twins(outcomes)
        judge_fresh(outcomes)
        outcomes += [Outcome(cell, SKIP, skip_reason=why) for cell, why in chosen.missing.items()]
        finish(chosen.scenarios, outcomes, figures, interrupts.count > 0)
        figures.templates = [
            {"boot_s": round(one.boot_s, 3), "save_s": round(one.save_s, 3)} for one in store.made
        ]
        figures.causes = causetable.to_json(outcomes)
        figures.absent = [
            {"scenario": one.name, "cause": one.cause, "kernel": a.kernel, "why": a.why}
            for one in chosen.scenarios
            for a in one.absent
        ]
        figures.goals += goals(outcomes, figures.total_s)
        written = write_results(options.out, outcomes, figures)
        print("\n" + causetable.render(outcomes), flush=True)
        print(show(outcomes, figures, written), flush=True)
    return exit_code(outcomes, interrupts.count > 0)


def judge_twins(outcomes: Sequence[Outcome]) -> None:
    """A cure counts when the doctor of the failing guest printed the remedy that cured."""
    by_name = {outcome.cell.name: outcome for outcome in outcomes}
    for outcome in outcomes:
        cell = outcome.cell
        if cell.remedy is None or outcome.status == SKIP:
            continue
        twin = by_name.get(cell.twin)
        if twin is None or twin.status == SKIP:
            outcome.status, outcome.skip_reason = SKIP, f"{cell.twin} did not run"
            outcome.problems.clear()
            continue
        printed = twin.diagnosis.remedies if twin.diagnosis else []
        outcome.remedy_printed = remedy.printed(cell.remedy, printed)
        if not outcome.remedy_printed:
            said = ", ".join(f"{one.get('kind')} {one.get('value')}" for one in printed) or "none"
            outcome.fail(
                "remedy",
                f"the remedy applied here, {cell.remedy}, was not printed for {cell.twin} "
                f"(printed: {said})",
            )


def verdict(outcome: Outcome) -> tuple[object, ...]:
    """What must be the same of a guest from a template and of one that booted."""
    cause = outcome.diagnosis.cause if outcome.diagnosis else None
    return (outcome.move is not None, outcome.reason, cause, outcome.verified)


def judge_fresh(outcomes: Sequence[Outcome]) -> None:
    """A guest that booted and one from the template must come to the same."""
    by_name = {outcome.cell.name: outcome for outcome in outcomes}
    for outcome in outcomes:
        if not outcome.cell.fresh or outcome.status == SKIP:
            continue
        other = by_name[outcome.cell.name.removesuffix("-fresh")]
        if other.status != SKIP and verdict(other) != verdict(outcome):
            outcome.fail(
                "template",
                f"booted afresh it came to {verdict(outcome)}, from its template to "
                f"{verdict(other)} (locked, reason, cause, verified)",
            )


def goals(outcomes: Sequence[Outcome], total_s: float) -> list[Goal]:
    """The figures beside what they should be."""
    ran = [outcome for outcome in outcomes if outcome.status != SKIP]
    overheads = [one.overhead_s for one in ran if one.template and one.overhead_s is not None]
    rate = total_s / len(ran) * GOAL_CELLS if ran else None
    booted = [one for one in ran if not one.template]
    passed = sum(one.status == PASS for one in ran)
    failed = sum(one.status == FAIL for one in ran)
    return [
        Goal(
            f"{GOAL_CELLS} cells at the rate of these {len(ran)}",
            rate,
            GOAL_SECONDS,
            " s",
            note=f"{passed} passed, {failed} failed, {os.cpu_count()} cores",
        ),
        Goal(
            "harness overhead of a cell with a template, median",
            statistics.median(overheads) if overheads else None,
            GOAL_OVERHEAD_S,
            " s",
            note=f"{len(overheads)} cells, largest {max(overheads, default=0):.2f} s",
        ),
        Goal("median boot, exec to first command", median_boot(booted), 2.0, " s"),
    ]
