# SPDX-License-Identifier: GPL-2.0-or-later
"""JUnit results: a test case for each cell, for the tabs of CI systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import junitparser

from .outcome import SKIP, Outcome
from .words import block, plain


def build(outcomes: Sequence[Outcome], total_s: float) -> junitparser.JUnitXml:
    xml = junitparser.JUnitXml("gigalock")
    suites: dict[str, junitparser.TestSuite] = {}
    for outcome in outcomes:
        scenario = outcome.cell.scenario
        if scenario not in suites:
            suites[scenario] = junitparser.TestSuite(scenario)
        suites[scenario].add_testcase(_case(outcome))
    for suite in suites.values():
        xml.add_testsuite(suite)
    xml.update_statistics()
    xml.time = round(total_s, 3)
    return xml


def _case(outcome: Outcome) -> junitparser.TestCase:
    case = junitparser.TestCase(
        outcome.cell.name, f"gigalock.{outcome.cell.scenario}", round(outcome.duration_s, 3)
    )
    if outcome.problems:
        results = []
        for problem in outcome.problems:
            result = junitparser.Failure(plain(problem.text), problem.kind)
            result.text = block(
                f"{problem.text}\n\nreproduce: {outcome.reproduce}\n"
                f"guest: {outcome.reproduce_guest}\nconsole: {outcome.log}\n"
            )
            results.append(result)
        case.result = results
        case.system_err = block(outcome.console_tail)
    elif outcome.status == SKIP:
        case.result = [junitparser.Skipped(plain(outcome.skip_reason))]
    data = outcome.to_json()
    lines = [
        f"{key}: {data[key]}"
        for key in (
            "ram_mib",
            "strategy",
            "kernel",
            "requested_bytes",
            "locked_bytes",
            "largest_bytes",
            "reason",
            "verified",
            "lock_ms",
            "gib_per_s",
            "boot_s",
            "touched_mib",
            "expected_cause",
            "cause",
            "remedy",
            "twin",
            "message",
        )
    ]
    case.system_out = block("\n".join(lines) + "\n")
    properties = junitparser.Properties()
    for key in (
        "ram_mib",
        "strategy",
        "kernel",
        "locked_bytes",
        "largest_bytes",
        "reason",
        "verified",
        "lock_ms",
        "gib_per_s",
        "boot_s",
        "cause",
        "twin",
    ):
        if data[key] is not None:
            properties.add_property(junitparser.Property(key, plain(str(data[key]))))
    case.append(properties)
    return case


def write(path: Path, outcomes: Sequence[Outcome], total_s: float) -> None:
    build(outcomes, total_s).write(str(path), pretty=True)
