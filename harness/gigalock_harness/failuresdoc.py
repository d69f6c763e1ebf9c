# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/failures.md, written from userlib/causes.toml and the catalogue's scenario files.

python3 -m gigalock_harness docs           write it
python3 -m gigalock_harness docs --check   say whether it is up to date
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import causes, choose
from .causes import Cause
from .cells import Cell
from .places import CATALOGUE, FAILURES_DOC
from .scenario import Scenario
from .sizes import MIB, format_size

_HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
<!-- Written by "make docs" from userlib/causes.toml and harness/scenarios/catalogue/.
     Change those, not this. -->
# Why a lock of a large DMA buffer fails

One section for each known cause, symptom first. Each was reproduced in a guest
and cured there, unless its section says otherwise; `make matrix SCENARIOS=NN-`
does it again. On a machine of your own, `gigalock doctor --size 1G` says which
one it is, from what that machine says, with or without a card.

"""

# How each kind of remedy reads; the value stands in the braces.
_APPLIED = {
    "kernel-parameter": "boot with `{}`",
    "drop-kernel-parameter": "boot without `{}`",
    "module-parameter": "load the driver with `{}`",
    "drop-module-parameter": "load the driver without `{}`",
    "limit": "set the limit `{}`",
    "cgroup": "set `{}` for the group",
    "sysctl": "set `{}`",
    "ram": "a machine with {} of RAM",
    "strategy": "strategy `{}`",
    "address-width": "a device that uses {} address bits",
    "max-segment": "pieces of up to {}",
    "iommu": "an IOMMU, switched {}",
    "cpu": "a CPU with `{}`",
    "kernel": "another kernel, such as `{}`, with what this one lacks",
    "node": "memory of NUMA node `{}`",
    "option": "the request with `{}`",
    "command": "run `{}`",
    "size": "at most {} at a time",
    "free": "give back what is held: {}",
    "early": "load the driver at boot, before anything else",
    "several-buffers": "{} buffers in place of one",
}


def _machine(cell: Cell) -> str:
    """The guest in words: only what is out of the ordinary."""
    parts = [f"{format_size(cell.ram_mib * MIB)} of RAM"]
    if cell.nodes_mib:
        parts.append(f"{len(cell.nodes_mib)} NUMA nodes")
    if cell.cpu != "max":
        parts.append(f"CPU `{cell.cpu}`")
    if cell.iommu != "none":
        parts.append(f"an IOMMU ({cell.iommu})")
    if cell.kaslr:
        parts.append("the compressed kernel with KASLR")
    parts += [f"`{word}`" for word in cell.cmdline]
    parts += [f"card `{key}={value}`" for key, value in cell.card]
    parts += [f"driver `{word}`" for word in cell.driver_params]
    if cell.load == "late":
        parts.append("the driver loaded late")
    if cell.user:
        parts.append(f"user {cell.user}")
    parts += [
        f"limit `{key}` {'unlimited' if value < 0 else format_size(value) if value else 0}"
        for key, value in cell.rlimit
    ]
    parts += [f"cgroup `{key}={value}`" for key, value in cell.cgroup]
    parts += [f"`{key}={value}`" for key, value in cell.sysctl]
    for step in cell.prepare:
        words = [step.kind, format_size(step.size) if step.size else "", step.strategy]
        parts.append("prepared by `" + " ".join(word for word in words if word) + "`")
    return ", ".join(parts)


def _request(cell: Cell) -> str:
    words = [f"--{key} {value}".rstrip() for key, value in cell.options]
    text = f"{format_size(cell.bytes)} by `{cell.strategy}`"
    return text + (f" with `{' '.join(words)}`" if words else "")


def _scenario_lines(one: Scenario) -> list[str]:
    cells = one.cells
    kernels = ", ".join(dict.fromkeys(cell.kernel for cell in cells))
    first = cells[0]
    lines = [f"- **{one.title}** (`{one.name}`, kernel {kernels}): "]
    expect = first.expect
    if one.cures and first.remedy:
        how = _APPLIED[first.remedy.kind].format(first.remedy.value)
        lines[0] += f"{how}; the same request then locks, moves through the card and verifies."
    else:
        lines[0] += f"{_machine(first)}; {_request(first)}: {expect.describe()}."
        if first.boots > 1:
            lines[0] += f" It boots up to {first.boots} times; the run says how many of them lock."
        if expect.why:
            lines[0] += f" {expect.why}"
    return lines


def _section(cause: Cause, scenarios: Sequence[Scenario]) -> list[str]:
    lines = [f"## {cause.number}. {cause.title}", "", f"**Symptom.** {cause.symptom}", ""]
    lines += [f"**Cause** `{cause.slug}`. {cause.explanation}", ""]
    if cause.reasons:
        shown = ", ".join(f"`{name}`" for name in cause.reasons)
        lines += [f"**Reasons** that the lock gives: {shown}.", ""]
    failing = [one for one in scenarios if not one.cures]
    cured = [one for one in scenarios if one.cures]
    for head, some in (("Reproduced", failing), ("Cured", cured)):
        if some:
            lines += [f"**{head}**", ""]
            for one in some:
                lines += _scenario_lines(one)
            lines.append("")
    for absent in dict.fromkeys(a for one in scenarios for a in one.absent):
        lines += [f"Can't exist on kernel `{absent.kernel}`: {absent.why}", ""]
    if not scenarios:
        lines += ["Not reproduced yet: no scenario shows it.", ""]
    return lines


def text(folder: Path = CATALOGUE) -> str:
    """The whole document."""
    known = causes.load()
    scenarios = choose.load_all([folder])
    lines = ["| no | cause | the lock says |", "|---|---|---|"]
    for cause in known.values():
        anchor = "".join(
            c for c in f"{cause.number}. {cause.title}".lower() if c.isalnum() or c in " -_"
        ).replace(" ", "-")
        shown = ", ".join(f"`{name}`" for name in cause.reasons) or "nothing: it locks"
        lines.append(f"| {cause.number} | [{cause.title}](#{anchor}) | {shown} |")
    lines.append("")
    for cause in known.values():
        lines += _section(cause, [one for one in scenarios if one.cause == cause.slug])
    return _HEAD + "\n".join(lines).rstrip() + "\n"


def run(check: bool, path: Path = FAILURES_DOC) -> int:
    """Write the document, or say whether it is what it should be."""
    wanted = text()
    if not check:
        path.write_text(wanted, encoding="utf-8")
        return 0
    try:
        current = path.read_text(encoding="utf-8")
    except OSError:
        current = ""
    if current != wanted:
        print(f"{path}: is not up to date; run 'make docs'")
        return 1
    print(f"{path}: is up to date")
    return 0
