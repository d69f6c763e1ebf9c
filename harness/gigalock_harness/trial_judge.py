# SPDX-License-Identifier: GPL-2.0-or-later
"""What truly happened against what was predicted.

The cause is known from how the machine was made and from the reason that the lock gave: from
nothing that the doctor said. So a doctor that talks itself into something is found out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .sizes import KIB, MIB, format_size
from .trial_draw import Draw

TOLERANCE = 0.10
PAGES = 64 * KIB  # 16 pages: so much comes and goes while a small size is searched for


@dataclass
class Outcome:
    """A lock as predicted, or as it went."""

    locks: bool | None
    cause: int | None = None
    largest: int | None = None
    reason: str | None = None

    def describe(self) -> str:
        if self.locks:
            return "locks"
        said = "undecided" if self.locks is None else f"fails ({self.reason})"
        largest = "?" if self.largest is None else format_size(self.largest) if self.largest else 0
        return f"{said}, cause {self.cause}, largest {largest}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


BY_REASON = {
    "cma-too-small": 4,
    "cma-full": 5,
    "cma-above-width": 8,
    "ram-too-small": 9,
    "memlock-limit": 12,
    "swiotlb-segment": 14,
    "swiotlb-full": 15,
    "dma-map": 16,
    "address-width": 16,
    "iova-space": 19,
    "node-memory": 23,
    "read-only": 31,
    "unpinnable": 31,
    "io-uring-buffer": 33,
    "nonpaged-pool": 34,
    "mapping-entries": 35,
    "pool-empty": 36,
}

# These reasons say all that there is to say, and the catalogue has no cause for them: more was
# asked for than the pool was made for, or than there are huge pages of 2 MiB. (Of 1 GiB they have
# causes: 26 and 27.) The reason itself is judged.
NO_CAUSE = frozenset({"pool-small", "hugetlb-pool", "hugetlb-size"})

# What a guest's kernel keeps of RAM, roughly: where it decides between causes it need not be near.
KERNEL_BYTES = 128 * MIB


def _memory(d: Draw) -> int:
    """Why memory ran out: the tightest of what the draw did to it."""
    room = d.ram_mib * MIB - KERNEL_BYTES
    if d.strategy == "sg" and d.group is not None and d.group < min(d.bytes * 1.02, room):
        return 13
    if d.has("kernelcore") and room >= d.bytes:
        return 30
    if any(option.startswith("--node") for option in d.options) and room >= d.bytes:
        return 23
    if (d.left_free is not None or d.hold or d.fragmented is not None) and room >= d.bytes:
        return 11
    return 10


def _range(d: Draw) -> int:
    room = d.ram_mib * MIB - KERNEL_BYTES
    if d.has("kernelcore") and room >= d.bytes:
        return 30
    if d.nodes_mib:
        return 23
    if d.fragmented is not None and room >= d.bytes:
        return 24
    if d.kaslr and room >= d.bytes:
        return 25
    if d.left_free is not None and room >= d.bytes:
        return 11
    return 10


def true_cause(d: Draw, reason: str) -> int | None:
    """The cause, by construction of the machine; None where there is none, or none is known."""
    if reason == "buddy-limit":
        if d.kernel != "lab":
            return 2 if d.has("cma") else 1
        return 7 if d.has("cma") else 3
    if reason == "cma-busy":
        return 6 if d.hold_cma else 5
    if reason in ("swiotlb-segment", "swiotlb-full") and "swiotlb=force" in d.cmdline:
        return 17
    if reason == "overcommit":
        return 22 if d.overcommit == 2 else 9
    if reason == "address-space":
        return 20 if d.address_space is not None else 21
    if reason == "too-many-segments":
        return 32 if any(o.startswith("--max-segment") for o in d.options) else 37
    if reason in ("killed", "no-memory", "kernel-metadata"):
        return _memory(d)
    if reason in ("no-free-range", "no-free-block"):
        return _range(d)
    if reason in ("hugetlb-pool", "hugetlb-size"):
        return {"hugetlb-pool": 26, "hugetlb-size": 27}[reason] if d.gigabyte_pages() else None
    if reason.startswith("reserved-"):
        return 29 if d.has("reserve_mem") else 28
    return BY_REASON.get(reason)


def agrees(predicted: Outcome, happened: Outcome, wanted: int) -> list[str]:
    """What differs: none of it, or the names of what does."""
    if predicted.locks is not happened.locks:
        return ["locks"]
    if happened.locks:
        return []
    wrong = []
    if happened.cause is None and happened.reason not in NO_CAUSE:
        wrong.append("no cause")  # that neither knows one is no agreement
    elif predicted.cause != happened.cause:
        wrong.append("cause")
    elif happened.cause is None and predicted.reason != happened.reason:
        wrong.append("reason")
    if happened.largest is not None and not near(predicted.largest, happened.largest, wanted):
        wrong.append("largest")
    return wrong


def near(predicted: int | None, happened: int, wanted: int) -> bool:
    if predicted is None:
        return False
    predicted = min(predicted, wanted)
    slack = max(TOLERANCE * happened, PAGES)
    return abs(predicted - happened) <= slack


def by_ram_alone(d: Draw) -> Outcome:
    """The predictor that looks at RAM and at nothing else."""
    room = d.ram_mib * MIB
    if d.bytes <= room:
        return Outcome(True)
    return Outcome(False, 9, room, "ram-too-small")
