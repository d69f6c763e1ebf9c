# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's console says that it should not.

One report of the kernel has a headline (a rule below) and many lines under it.
Only headlines count: who allows "page allocation failure" allows the report,
call trace included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A call trace without a headline is still something nobody expected.
TRACE = re.compile(r"^(?:\[[^\]]*\] *)*Call Trace:")
TRACE_BELONGS = 60  # lines after a headline in which its own call trace comes

RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("panic", r"Kernel panic - not syncing"),
        ("sanitizer", r"BUG: K[A-Z]*SAN|UBSAN: |kmemleak: \d+ new suspected"),
        ("bug", r"\bkernel BUG at |\bBUG: |\bBUG\b.*\bat "),
        (
            "oops",
            r"\bOops: |\bOops\b.*\[#\d+\]|general protection fault|double fault|invalid opcode: ",
        ),
        ("bad-page", r"Bad page (?:state|map)|Bad rss-counter|nonzero pgtables"),
        ("warning", r"\bWARNING: "),
        (
            "lockdep",
            r"possible (?:circular locking|recursive locking|irq lock inversion)|"
            r"inconsistent lock state|suspicious RCU usage|bad unlock balance|"
            r"scheduling while atomic|sleeping function called from invalid context|"
            r"trying to register non-static key|locking correctness validator",
        ),
        ("hung-task", r"INFO: task .* blocked for more than"),
        ("rcu-stall", r"detected (?:expedited )?stalls|self-detected stall|rcu.*kthread starved"),
        ("lockup", r"soft lockup|hard LOCKUP|NMI watchdog: "),
        ("oom", r"invoked oom-killer|Out of memory|oom-kill:|Memory cgroup out of memory"),
        (
            "allocation",
            r"page allocation failure|SLUB: Unable to allocate|"
            r"swiotlb buffer is full|vmap allocation .* failed|vmalloc error",
        ),
        ("dma", r"DMA-API: |DMAR: \[.*fault|DMAR: DRHD: handling fault|IOMMU.*fault"),
        ("pcie", r"PCIe Bus Error|AER: .*error received"),
        ("segfault", r"segfault at |traps: .* general protection|killed process .* due to"),
        ("refcount", r"refcount_t: |list_(?:add|del) corruption|stack-protector:"),
        ("irq", r"irq \d+: nobody cared|Disabling IRQ #"),
        ("module", r"Unknown symbol|disagrees about version|version magic"),
        ("agent", r"^agent: "),
    )
)

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])")
MAX_LINE = 2000  # a longer line is cut before the patterns see it


@dataclass(frozen=True)
class Finding:
    kind: str
    number: int  # line number, from 1
    line: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.kind}: {self.line}"


def clean_lines(text: str) -> list[str]:
    """The lines of a console without escape sequences and carriage returns."""
    return [
        _ESCAPES.sub("", line[:MAX_LINE]).replace("\r", "").rstrip() for line in text.split("\n")
    ]


def _kind(line: str) -> str | None:
    for name, pattern in RULES:
        if pattern.search(line):
            return name
    return None


def scan(text: str) -> list[Finding]:
    """Every headline on the console."""
    found: list[Finding] = []
    last = -TRACE_BELONGS
    for number, line in enumerate(clean_lines(text), start=1):
        kind = _kind(line)
        if kind is None and TRACE.search(line) and number - last >= TRACE_BELONGS:
            kind = "call-trace"
        if kind is not None:
            found.append(Finding(kind, number, line))
            last = number
    return found


def _compile(patterns: Iterable[str | re.Pattern[str]]) -> list[re.Pattern[str]]:
    return [re.compile(p) if isinstance(p, str) else p for p in patterns]


def unexpected(text: str, allowed: Iterable[str | re.Pattern[str]] = ()) -> list[Finding]:
    """The headlines that match none of the allowed patterns."""
    ok = _compile(allowed)
    return [f for f in scan(text) if not any(p.search(f.line) for p in ok)]


def unexpected_lines(text: str, allowed: Iterable[str | re.Pattern[str]] = ()) -> list[str]:
    """The same as lines of text."""
    return [f.line for f in unexpected(text, allowed)]


def missing(text: str, expected: Iterable[str | re.Pattern[str]]) -> list[str]:
    """The expected patterns that no line matches."""
    lines = clean_lines(text)
    return [p.pattern for p in _compile(expected) if not any(p.search(line) for line in lines)]


def panic_line(text: str) -> str | None:
    """The line that names the cause of a panic: its oops when there is one."""
    findings = scan(text)
    for kind in ("panic", "oops", "bug"):
        for f in findings:
            if f.kind == kind:
                return f.line
    return None
