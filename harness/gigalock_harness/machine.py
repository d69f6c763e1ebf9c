# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario says of its guest and its request, read into the fields of cells."""

from __future__ import annotations

import re
from typing import Any

from . import prepare
from .cells import RLIMITS, UNLIMITED, Cell
from .sizes import MIB, format_size
from .tables import DEVICE_VALUE, WORD, Table

MIN_RAM = 64 * MIB
MAX_RAM = 1 << 40  # what QEMU's default CPU can address
MAX_SECONDS = 3600
MAX_SMP = 64
MAX_BOOTS = 64
MAX_NODES = 8

IOMMUS = ("none", "intel", "amd")
LOADS = ("early", "late", "never")
CHECKS = ("cpu", "device")
CPUS = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,40}(,[+-][a-z0-9_.-]{1,40}){0,8}", re.ASCII)

_SYSCTL = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_CGROUP = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)+", re.ASCII)

# Options of the request, as the tool and the doctor have them: how each is written.
SIZES = ("max-segment",)
NUMBERS = {"address-width": (12, 64), "node": (0, 1023), "region": (0, 255)}
FLAGS = ("small-table", "entry-per-page", "no-map")
WORDS = {
    "page-size": ("2M", "1G"),
    "memory": ("anonymous", "readonly", "io"),
    "direction": ("to-card", "from-card", "both"),
}
# Who asks: a name for the scenario, its command in the guest, and what the doctor is told of it.
_TESTS = "/usr/lib/gigalock/tests"
PROGRAMS = {
    "gigalock": ("gigalock", ""),
    "gl-user": (f"{_TESTS}/gl-user", ""),
    "gl-uring": (f"{_TESTS}/gl-user --io-uring", "--io-uring"),
    "gl-32": (f"{_TESTS}/gl-32", "--process-bits 32"),
}


def ram(table: Table, value: object, key: str = "ram") -> int:
    size = table.size(key, value, MIN_RAM, MAX_RAM)
    if size % (2 * MIB):
        table.refuse(key, f"{key} {value!r} must be a multiple of 2M")
    return size


def card(table: Table) -> dict[str, str]:
    properties = dict(table.words(WORD))
    for key in properties:
        if key in ("id", "bus", "addr", "memdev"):
            table.refuse(key, f'the card\'s "{key}" belongs to the harness')
    return properties


def guest(table: Table, rams: list[int], strategies: tuple[str, ...]) -> dict[str, Any]:
    """The fields that [guest] sets, but for the axes and the card."""
    cmdline = table.texts("cmdline")
    for option in cmdline:
        if not DEVICE_VALUE.fullmatch(option.replace(",", "")):
            table.refuse("cmdline", f"cmdline option {option!r:.60} must be one word")
    cpu = table.text("cpu", "max")
    if not CPUS.fullmatch(cpu):
        table.refuse(
            "cpu", f'cpu {cpu!r:.60} is not a name of a CPU such as "max" or "qemu64,+aes"'
        )
    low = table.take("low_ram")
    if low is not None:
        low = ram(table, low, "low_ram")
        if low > 4096 * MIB:
            table.refuse("low_ram", f"low_ram {format_size(low)} is above the limit, 4G")
    nodes = tuple(ram(table, one, "nodes") for one in table.take("nodes") or ())
    if nodes:
        if len(nodes) > MAX_NODES:
            table.refuse("nodes", f"{len(nodes)} nodes; the limit is {MAX_NODES}")
        for size in rams:
            if sum(nodes) != size:
                table.refuse(
                    "nodes",
                    f"the nodes have {format_size(sum(nodes))} together, the guest "
                    f"{format_size(size)}",
                )
    user = table.number("user", 0, 0, 65534)
    kaslr = table.truth("kaslr", False)
    boots = table.number("boots", 1, 1, MAX_BOOTS)
    if boots > 1 and not kaslr:
        table.refuse("boots", "several boots are the same without kaslr = true")
    return {
        "smp": table.number("smp", 1, 1, MAX_SMP),
        "cmdline": cmdline,
        "cpu": cpu,
        "low_ram_mib": None if low is None else low // MIB,
        "nodes_mib": tuple(size // MIB for size in nodes),
        "iommu": table.choice("iommu", "none", IOMMUS),
        "kaslr": kaslr,
        "boots": boots,
        "load": table.choice("load", "early", LOADS),
        "user": user,
        "setup": table.texts("setup"),
        "driver_params": tuple(f"{k}={v}" for k, v in table.sub("driver").words(WORD)),
        "sysctl": table.sub("sysctl").words(_SYSCTL),
        "cgroup": table.sub("cgroup").words(_CGROUP),
        "rlimit": rlimits(table.sub("rlimit")),
    }


def rlimits(table: Table) -> tuple[tuple[str, int], ...]:
    result = []
    for key in RLIMITS:
        value = table.take(key)
        if value == "unlimited":
            result.append((key, UNLIMITED))
        elif value == 0 and not isinstance(value, bool):
            result.append((key, 0))
        elif value is not None:
            result.append((key, table.size(key, value)))
    table.done()
    return tuple(result)


def request(table: Table) -> dict[str, Any]:
    """The fields that [request] sets, but for size and strategy."""
    options: list[tuple[str, str]] = []
    for key, (low, high) in NUMBERS.items():
        if table.has(name := key.replace("-", "_")):
            options.append((key, str(table.number(name, None, low, high))))
    for key in SIZES:
        if table.has(name := key.replace("-", "_")):
            options.append((key, str(table.size(name, table.take(name)))))
    for key in FLAGS:
        if table.truth(key.replace("-", "_"), False):
            options.append((key, ""))
    for key, known in WORDS.items():
        if table.has(name := key.replace("-", "_")):
            options.append((key, table.choice(name, "", known)))
    # What isn't there is still known, for the error that says what a file may have.
    table.known += [k.replace("-", "_") for k in (*NUMBERS, *SIZES, *WORDS)]
    return {
        "options": tuple(options),
        "program": table.choice("program", "gigalock", PROGRAMS),
        "search": table.truth("search", True),
        "check": table.choice("check", "cpu", CHECKS),
    }


def limits(table: Table) -> dict[str, Any]:
    return {
        "boot_seconds": table.number("boot_seconds", 60, 1, MAX_SECONDS),
        "step_seconds": table.number("step_seconds", 300, 1, MAX_SECONDS),
    }


def steps(tables: list[Table], strategies: tuple[str, ...]) -> tuple[prepare.Step, ...]:
    return tuple(prepare.read(table, strategies) for table in tables)


def boots_in_template(cell: Cell) -> bool:
    """Whether a cell can begin with a guest that was booted for several."""
    return not cell.kaslr and cell.boots == 1
