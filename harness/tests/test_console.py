# SPDX-License-Identifier: GPL-2.0-or-later
"""Which console lines count, and which belong to another."""

from __future__ import annotations

import pytest
from gigalock_harness import console

PANIC = """\
[    3.010000] sysrq: Trigger a crash
[    3.011000] Kernel panic - not syncing: sysrq triggered crash
[    3.012000] CPU: 0 PID: 95 Comm: sh Not tainted 6.1.0-56-amd64 #1
[    3.014000] Call Trace:
[    3.015000]  <TASK>
"""
ALLOCATION = """\
[    9.1] gigalock: page allocation failure: order:11, mode:0xcc0(GFP_KERNEL)
[    9.1] CPU: 0 PID: 95 Comm: gigalock
[    9.1] Call Trace:
[    9.1]  dump_stack_lvl+0x44/0x5c
[    9.2] Mem-Info:
"""


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Kernel panic - not syncing: Attempted to kill init!", "panic"),
        ("BUG: kernel NULL pointer dereference, address: 0000000000000008", "bug"),
        ("kernel BUG at mm/slub.c:305!", "bug"),
        ("Oops: 0002 [#1] PREEMPT SMP NOPTI", "oops"),
        ("general protection fault, probably for non-canonical address", "oops"),
        ("BUG: KASAN: slab-out-of-bounds in gl_lock+0x12/0x40 [gigalock]", "sanitizer"),
        ("UBSAN: array-index-out-of-bounds in x.c:3:4", "sanitizer"),
        ("WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:5530 __alloc_pages+0x1f/0x2", "warning"),
        ("WARNING: possible circular locking dependency detected", "warning"),
        ("INFO: trying to register non-static key.", "lockdep"),
        ("turning off the locking correctness validator.", "lockdep"),
        ("INFO: task gigalock:88 blocked for more than 120 seconds.", "hung-task"),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "rcu-stall"),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", "rcu-stall"),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]", "bug"),
        ("gigalock invoked oom-killer: gfp_mask=0x140dca", "oom"),
        ("Out of memory: Killed process 95 (gigalock) total-vm:1060244kB", "oom"),
        ("Memory cgroup out of memory: Killed process 7 (x)", "oom"),
        ("sh: page allocation failure: order:10, mode:0x40cc0", "allocation"),
        ("gigalock 0000:01:00.0: swiotlb buffer is full (sz: 4096 bytes)", "allocation"),
        ("DMA-API: gigalock 0000:01:00.0: device driver failed to check map error", "dma"),
        ("DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x1000", "dma"),
        ("gigalock[91]: segfault at 0 ip 00007f sp 00007f error 4 in gigalock", "segfault"),
        ('irq 24: nobody cared (try booting with the "irqpoll" option)', "irq"),
        ("gigalock: Unknown symbol pin_user_pages (err -2)", "module"),
        ("refcount_t: underflow; use-after-free.", "refcount"),
        ("agent: mounting proc on /proc: Invalid argument", "agent"),
    ],
)
def test_headlines(line: str, kind: str) -> None:
    assert [f.kind for f in console.scan(line)] == [kind]
    assert console.unexpected_lines(f"fine\n{line}\nfine") == [line]
    stamped = f"[   12.345678] {line}"
    if kind != "agent":  # that one is printed by a program
        assert [f.kind for f in console.scan(stamped)] == [kind]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "gigalock 0000:01:00.0: gigalock0: 2 channels, 64 address bits, 64 MiB of card memory",
        "gigalock: loading out-of-tree module taints kernel.",
        "gigalock: module verification failed: signature and/or required key missing"
        " - tainting kernel",
        "gigalock 0000:01:00.0: enabling device (0000 -> 0002)",
        "tsc: Refined TSC clocksource calibration: 2599.966 MHz",
        "ACPI: PM: Preparing to enter system sleep state S5",
        "DMAR: Host address width 39",
        "DMAR: IOMMU enabled",
        "sysrq: Show Memory",
        "debugging is on; a warning in small letters; oops, no",
    ],
)
def test_harmless_lines(line: str) -> None:
    assert console.scan(line) == []


def test_a_report_counts_once() -> None:
    found = console.scan(PANIC)
    assert [(f.kind, f.number) for f in found] == [("panic", 2)]
    assert console.panic_line(PANIC) == found[0].line


def test_allowing_the_headline_allows_the_report() -> None:
    assert console.unexpected_lines(ALLOCATION) == [ALLOCATION.splitlines()[0]]
    assert console.unexpected(ALLOCATION, allowed=["page allocation failure: order:11"]) == []
    assert len(console.unexpected(ALLOCATION, allowed=["order:10"])) == 1


def test_a_trace_on_its_own_counts() -> None:
    assert [f.kind for f in console.scan("[ 1.0] Call Trace:\n[ 1.0]  <TASK>")] == ["call-trace"]
    far = ALLOCATION + "x\n" * 100 + "[ 99.0] Call Trace:\n"
    assert [f.kind for f in console.scan(far)] == ["allocation", "call-trace"]


def test_missing() -> None:
    assert console.missing(ALLOCATION, ["allocation failure", "oom-killer", r"order:\d+"]) == [
        "oom-killer"
    ]


def test_escapes_and_carriage_returns() -> None:
    text = "\x1b[2J\x1b[1;1H\x1b[31mWARNING: x\x1b[0m\r\nfine\r\n"
    assert console.unexpected_lines(text) == ["WARNING: x"]
    assert console.clean_lines(text)[:2] == ["WARNING: x", "fine"]


def test_an_endless_line_takes_no_endless_time() -> None:
    assert console.scan("killed process " * 100_000) == []
    assert console.scan("a" * 5_000_000) == []
