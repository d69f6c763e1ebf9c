# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that bring a guest into the state in which a lock fails.

Each step is a command in the guest; harness/guest/gl-prepare.c does what a shell can't.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from .cells import Step
from .tables import Table

TOOL = "/usr/lib/gigalock/tests/gl-prepare"
MAX_SIZE = 1 << 46

# What each step needs besides its name.
KINDS: dict[str, tuple[str, ...]] = {
    "leave-free": ("size",),  # fill memory until so much is available
    "fragment": ("size",),  # as cause 24: unmovable memory everywhere, so much left in between
    "hold-lock": ("size", "strategy"),  # another process's lock, held until the end
    "hold-cma": (),  # pages of the CMA area that can't be moved, held until the end
    "run": ("command",),  # a shell command
}


def read(table: Table, strategies: Iterable[str]) -> Step:
    """A [[prepare]] of a scenario."""
    kind = table.one_of("step", table.take("step", required=True), KINDS)
    wanted = KINDS[kind]
    size = strategy = command = None
    if "size" in wanted:
        size = table.size("size", table.take("size", required=True), 4096, MAX_SIZE)
    if "strategy" in wanted:
        strategy = table.one_of("strategy", table.take("strategy", required=True), strategies)
    if "command" in wanted:
        command = table.text("command", required=True)
    table.done()
    return Step(kind, size or 0, strategy or "", command or "")


def hold(size: int, strategy: str, folder: str = "/run") -> str:
    """A lock that a process in the background holds; the command ends when it is held.

    Its answer is one line of JSON. Only what ends with a brace is all of it, however slow the
    lock is; and what the tool says besides goes elsewhere. Who dies without an answer is not
    waited for. How long all this may take is the step's own limit.
    """
    said = f"{folder}/held.$$"
    return (
        f"gigalock --json --quiet lock --size {size} --strategy {strategy} --no-touch "
        f"--hold 86400 >{said} 2>{said}.said & held=$!; "
        f"until grep -qs '}}$' {said}; do kill -0 $held 2>/dev/null || break; sleep 0.1; done; "
        f"grep -qs '\"ok\":true.*}}$' {said} || {{ cat {said} {said}.said >&2; exit 1; }}"
    )


def command(step: Step) -> str:
    """The shell command of a step; it must end with status 0."""
    if step.kind == "run":
        return step.command
    if step.kind == "hold-lock":
        return hold(step.size, step.strategy)
    words = [TOOL, step.kind]
    if step.size:
        words.append(str(step.size))
    return shlex.join(words)
