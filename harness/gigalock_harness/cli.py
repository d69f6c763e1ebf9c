# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness's command line."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from . import scenario
from .matrix import cores, host_memory_bytes
from .places import build_dir
from .reasons import HeaderError
from .scenario import ScenarioError

EXIT_HOST, EXIT_BAD_INPUT = 1, 2


def _list(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty item")
    return items


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 256:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is out of range; the limits are 1 and 256")
    return int(text)


def _seed(text: str) -> int:
    try:
        seed = int(text[:40], 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number") from None
    if not 0 <= seed < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text[:40]} is out of range; the limit is 2^64 - 1")
    return seed


def _time(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time") from None
    if not 0 < seconds < 1e11:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not seconds since 1970")
    return seconds


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 -m gigalock_harness",
        description="Boot guests, lock large DMA buffers in them, and report what happened.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def runs(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument(
            "--out",
            type=Path,
            default=None,
            metavar="DIR",
            help=f"where the results go (default build/{name})",
        )
        sub.add_argument(
            "--ram",
            type=_list,
            default=[],
            metavar="LIST",
            help="RAM sizes in place of the scenario's, such as 512M,2G",
        )
        sub.add_argument(
            "--strategy",
            type=_list,
            default=[],
            metavar="LIST",
            help="strategies in place of the scenario's, such as sg,coherent",
        )
        sub.add_argument(
            "--kernel",
            type=_list,
            default=[],
            metavar="LIST",
            help="kernels in place of the scenario's, such as stock",
        )
        sub.add_argument(
            "--card",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="a property of the card over the scenario's, such as fault=no-copy; "
            "may be given again",
        )
        sub.add_argument(
            "--jobs",
            type=_jobs,
            default=cores(),
            metavar="N",
            help="guests side by side at most (default: one a core, %(default)s here)",
        )
        sub.add_argument(
            "--seed",
            type=_seed,
            default=None,
            metavar="N",
            help="seed of every pattern (default: fresh random ones)",
        )
        return sub

    sub = runs("demo", "lock 1 GiB on machines of five RAM sizes by each strategy")
    sub.add_argument(
        "--started",
        type=_time,
        default=None,
        metavar="EPOCH",
        help="when the clock of the goals began, in seconds since 1970",
    )
    sub.add_argument(
        "--clean",
        action="store_true",
        help="nothing was built or cached before: the goal is the clean machine's",
    )
    sub.add_argument("--no-bench", action="store_true", help="leave the copy rate out")
    sub = runs("run", "run scenarios: files, or names of those in harness/scenarios/")
    sub.add_argument("scenarios", nargs="+", metavar="SCENARIO")
    sub = commands.add_parser(
        "matrix",
        help="run the failure catalogue and the RAM axis",
        description="Run the failure catalogue and the RAM axis, or a part of them.",
    )
    for option, text in (
        ("--scenarios", "only those whose name fits: *-memlock*, or a part such as 12-"),
        ("--ram", "only cells with that RAM, such as 1G,2G"),
        ("--kernel", "only cells with that kernel, such as stock,lab"),
    ):
        sub.add_argument(option, type=_list, default=[], metavar="LIST", help=text)
    sub.add_argument("--out", type=Path, default=None, metavar="DIR", help="default build/matrix")
    sub.add_argument("--jobs", type=_jobs, default=cores(), metavar="N", help="guests side by side")
    sub.add_argument(
        "--seed",
        type=_seed,
        default=None,
        metavar="N",
        help="of the patterns, and of which cells boot afresh (default: a random one, printed)",
    )
    sub.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="scenarios from there, in place of harness/scenarios/; may be given again",
    )
    sub.add_argument("--no-templates", action="store_true", help="boot a fresh guest for each cell")
    sub = commands.add_parser(
        "docs",
        help="write docs/failures.md",
        description="Write docs/failures.md from the causes and their scenarios.",
    )
    sub.add_argument("--check", action="store_true", help="only say whether it is up to date")
    sub = commands.add_parser(
        "validate",
        help="check scenario files without running them",
        description="Check scenario files without running them.",
    )
    sub.add_argument("files", nargs="+", metavar="FILE")
    return top


def validate(files: list[str]) -> int:
    """Say of each file whether it is good; all are looked at."""
    bad = 0
    for name in files:
        try:
            one = scenario.load(scenario.find(name))
            scenario.check_host(one.cells, host_memory_bytes())
        except ScenarioError as error:
            print(f"error: {error}", file=sys.stderr)
            bad += 1
        else:
            print(f"{one.path}: good: {one.name}, {len(one.cells)} cells")
    return EXIT_BAD_INPUT if bad else 0


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "validate":
            return validate(arguments.files)
        if arguments.command == "docs":
            from . import failuresdoc

            return failuresdoc.run(arguments.check)
        if arguments.command == "matrix":
            from . import catalogue

            return catalogue.run(
                catalogue.Options(
                    out=(arguments.out or build_dir() / "matrix").resolve(),
                    jobs=arguments.jobs,
                    scenarios=arguments.scenarios,
                    ram=arguments.ram,
                    kernel=arguments.kernel,
                    folders=tuple(arguments.folder),
                    seed=arguments.seed,
                    templates=not arguments.no_templates,
                    command=shlex.join(
                        ["python3", "-m", "gigalock_harness", *(argv or sys.argv[1:])]
                    ),
                )
            )
        # Only here: to validate a file takes neither the boot layer nor what it needs.
        from . import demo

        is_demo = arguments.command == "demo"
        return demo.run(
            demo.Options(
                scenarios=["demo"] if is_demo else arguments.scenarios,
                out=(arguments.out or build_dir() / arguments.command).resolve(),
                axes={
                    key: getattr(arguments, key) for key in ("ram", "strategy", "kernel", "card")
                },
                jobs=arguments.jobs,
                seed=arguments.seed,
                started=arguments.started if is_demo else None,
                clean=is_demo and arguments.clean,
                goals=is_demo and not (arguments.ram or arguments.strategy or arguments.kernel),
                bench=is_demo and not arguments.no_bench,
                command=shlex.join(["python3", "-m", "gigalock_harness", *(argv or sys.argv[1:])]),
            )
        )
    except (ScenarioError, HeaderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_HOST
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
