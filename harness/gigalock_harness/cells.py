# SPDX-License-Identifier: GPL-2.0-or-later
"""A cell: one guest, one request, and what must happen. scenario.py makes them from files."""

from __future__ import annotations

from dataclasses import dataclass

from .sizes import MIB, format_size

PHASES = ("boot", "setup", "lock", "limit", "move", "doctor")
OUTCOMES = ("locks", "fails")
RLIMITS = {"memlock": "-l", "as": "-v"}  # and the option of the shell's ulimit, in KiB
UNLIMITED = -1


@dataclass(frozen=True)
class Expectation:
    """What must happen in a cell."""

    outcome: str
    reasons: tuple[str, ...] = ()
    largest_min: int = 0
    largest_max: int | None = None
    why: str = ""
    cause: str | None = None  # what the doctor must say, and no other
    backing: str | None = None
    segments_max: int | None = None
    segments_min: int = 0

    def describe(self) -> str:
        if self.outcome == "locks":
            text = "locks"
            if self.backing:
                text += f", backed by {self.backing}"
            if self.segments_max is not None:
                text += f", in at most {self.segments_max} pieces"
            if self.segments_min:
                text += f", in at least {self.segments_min} pieces"
            return text
        text = "fails with " + " or ".join(self.reasons)
        if self.cause:
            text += f", because of {self.cause}"
        if self.largest_min:
            text += f"; at least {format_size(self.largest_min)} can be locked"
        if self.largest_max is not None:
            text += f"; at most {format_size(self.largest_max)} can be locked"
        return text


@dataclass(frozen=True)
class ConsoleRule:
    """A line that the guest's console must show (needed), or may show."""

    pattern: str
    needed: bool
    phase: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Step:
    """Something done to the guest before the request; prepare.py knows how."""

    kind: str
    size: int = 0
    strategy: str = ""
    command: str = ""


@dataclass(frozen=True)
class Remedy:
    """A remedy as the doctor prints it."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind} {self.value}".strip()


@dataclass(frozen=True)
class Cell:
    """One combination of a scenario's axes: everything needed to run it."""

    scenario: str
    ram_mib: int
    kernel: str
    strategy: str
    bytes: int
    expect: Expectation
    console: tuple[ConsoleRule, ...] = ()
    smp: int = 1
    cmdline: tuple[str, ...] = ()
    card: tuple[tuple[str, str], ...] = ()
    driver_params: tuple[str, ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()
    rlimit: tuple[tuple[str, int], ...] = ()
    setup: tuple[str, ...] = ()
    boot_seconds: int = 60
    step_seconds: int = 300
    cpu: str = "max"
    low_ram_mib: int | None = None
    nodes_mib: tuple[int, ...] = ()
    iommu: str = "none"
    kaslr: bool = False
    boots: int = 1  # more: the cell states how many of them locked
    load: str = "early"
    user: int = 0
    cgroup: tuple[tuple[str, str], ...] = ()
    prepare: tuple[Step, ...] = ()
    options: tuple[tuple[str, str], ...] = ()  # of the request; "" for a flag
    program: str = "gigalock"
    search: bool = True  # for the largest size, when the request is refused
    check: str = "cpu"
    shows: str = ""  # the cause that its scenario is about
    twin: str = ""  # the cell that this one cures
    place: str = ""  # the twin's axes, where a remedy has changed them
    remedy: Remedy | None = None
    needs: tuple[str, ...] = ()
    fresh: bool = False  # booted, although there is a template

    @property
    def name(self) -> str:
        again = "-fresh" if self.fresh else ""
        return f"{self.scenario}-{self.place or self.axes}{again}"

    @property
    def axes(self) -> str:
        """Where in its scenario the cell stands."""
        return f"{format_size(self.ram_mib * MIB)}-{self.kernel}-{self.strategy}"

    def device(self) -> str:
        """The card as an argument of QEMU's -device."""
        options = "".join(f",{key}={value}" for key, value in self.card)
        return f"gigalock,id=gl0,bus=rp0{options}"

    def request_options(self) -> str:
        """The request as options of the tool: the same for every command of it."""
        words = [f"--size {self.bytes}", f"--strategy {self.strategy}"]
        words += [f"--{key} {value}".rstrip() for key, value in self.options]
        return " ".join(words)
