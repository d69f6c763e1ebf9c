# SPDX-License-Identifier: GPL-2.0-or-later
"""Outcomes made by hand, for the tests of what reads outcomes. No guest made them."""

from __future__ import annotations

from gigalock_harness.outcome import Move, Outcome
from gigalock_harness.scenario import Cell, Expectation
from gigalock_harness.sizes import GIB, MIB

NASTY = "<script>alert(1)</script>\x1b[31m\x00]]>&\"'"


def cell(ram_mib: int = 2048, strategy: str = "sg", **more: object) -> Cell:
    fields = {
        "scenario": "sample",
        "kernel": "stock",
        "bytes": GIB,
        "expect": Expectation("locks"),
    } | more
    return Cell(ram_mib=ram_mib, strategy=strategy, **fields)


def move(size: int = GIB, **more: object) -> Move:
    fields = {
        "lock_ms": 1234.5,
        "segments": 8,
        "longest_segment": 4 * MIB,
        "windows": 16,
        "to_card_gib_per_s": 2.5,
        "from_card_gib_per_s": 1.5,
        "gib_per_s": 1.9,
        "tool_verified": True,
        "crc_host": "0x01234567",
        "crc_to_card": "0x01234567",
        "crc_from_card": "0x01234567",
    } | more
    return Move(size, "0x00000000deadbeef", **fields)


def failure(reason: str = "buddy-limit", code: int = 4, **more: object) -> dict[str, object]:
    return {
        "reason": reason,
        "code": code,
        "stage": "allocate",
        "errno": 12,
        "errno_name": "ENOMEM",
        "limit": 4 * MIB,
        "request": GIB,
        "available": 0,
        "unit": "bytes",
        "strategy": "coherent",
        "op": "lock",
        "lock_size": GIB,
        "pid": 80,
        "seq": 1,
        "text": "1 GiB is more than the 4 MiB that the page allocator gives.",
        "remedy": "Use contig-range.",
    } | more


def locked(**more: object) -> Outcome:
    return Outcome(
        cell(**more),
        move=move(),
        largest_bytes=GIB,
        boot_s=1.5,
        duration_s=20.0,
        touched_mib=1400.0,
        phases=[{"phase": "boot", "seconds": 1.5}, {"phase": "lock", "seconds": 18.5}],
        console_tail="Linux version 6.1\n",
        commands=["gigalock xfer"],
        reproduce="run sample",
        reproduce_guest="qemu-system-x86_64",
    )


def refused(**more: object) -> Outcome:
    expect = Expectation("fails", ("buddy-limit",), 2 * MIB, 4 * MIB, "One block.")
    return Outcome(
        cell(strategy="coherent", expect=expect, **more),
        failure=failure(),
        largest=move(4 * MIB),
        largest_bytes=4 * MIB,
        boot_s=1.6,
        duration_s=4.0,
        tries=[{"bytes": GIB, "ok": False, "reason": "buddy-limit", "ms": 0.1}],
    )


def broken(text: str = "the guest's kernel panicked", **more: object) -> Outcome:
    outcome = Outcome(
        cell(strategy="contig-range", **more),
        boot_s=1.4,
        duration_s=9.0,
        console_tail=text,
        commands=["gigalock xfer"],
    )
    outcome.fail("panic", text)
    return outcome


def skipped(**more: object) -> Outcome:
    return Outcome(cell(**more), "skip", skip_reason="needs about 9 MiB of host memory")


def run_figures() -> dict[str, object]:
    return {
        "counts": {"pass": 2, "fail": 1, "skip": 1},
        "interrupted": False,
        "total_s": 33.0,
        "jobs": 2,
        "bench": None,
        "titles": {"sample": "A sample"},
        "command": "run sample",
        "goals": [
            {
                "name": "median boot",
                "value": 1.5,
                "limit": 2.0,
                "unit": " s",
                "at_least": False,
                "met": True,
                "text": "",
            },
            {
                "name": "ratio",
                "value": None,
                "limit": 0.7,
                "unit": "",
                "at_least": True,
                "met": None,
                "text": "",
            },
        ],
        "host": {
            "system": "Debian",
            "machine": "x86_64",
            "host_kernel": "6",
            "cores": 2,
            "memory_mib": 100,
            "qemu": "QEMU",
            "guest_kernels": {"stock": "6.1"},
        },
    }
