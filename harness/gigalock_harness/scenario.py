# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: guests, a request and what must happen, as TOML data files.

docs/scenarios.md describes the format. A file is read as hostile input: every
refusal is a ScenarioError that names the file and the line.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import causes, machine, reasons
from .cells import (
    OUTCOMES,
    PHASES,
    RLIMITS,
    Cell,
    ConsoleRule,
    Expectation,
    Remedy,
    Step,
)
from .places import CATALOGUE, KERNELS_LIST, SCENARIOS, kernels_built
from .remedy import KINDS, RemedyError
from .remedy import apply as apply_remedy
from .sizes import GIB, MIB, format_size
from .tables import ScenarioError, Source, Table
from .tomllines import line_of, lines_of

__all__ = [
    "RLIMITS",
    "Absent",
    "Cell",
    "ConsoleRule",
    "Expectation",
    "Remedy",
    "Scenario",
    "ScenarioError",
    "Step",
    "check_host",
    "find",
    "known_kernels",
    "load",
]

FORMATS = (1, 2)  # 2 added keys and took none away
MAX_FILE = 64 << 10
MAX_DEPTH = 6
MAX_CELLS = 1024
MAX_REQUEST = 1 << 46
BACKINGS = (
    "buddy",
    "cma",
    "iommu",
    "range",
    "reserved",
    "pages",
    "huge-2m",
    "huge-1g",
    "blocks",
    "dmabuf",
)

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}", re.ASCII)
_KERNEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_COMPARE = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}
_RANGE = re.compile(r"(<=|>=|<|>)[ ]*(\S+)")


@dataclass(frozen=True)
class Absent:
    """A kernel on which the scenario's cause can't exist, and why."""

    kernel: str
    why: str


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    path: str
    cells: tuple[Cell, ...]
    cause: str | None = None  # the slug of userlib/causes.toml that it shows
    cures: str | None = None  # the name of the failing twin
    absent: tuple[Absent, ...] = ()


def known_kernels() -> tuple[str, ...]:
    """Kernels of the guest image's list, and those somebody built beside them."""
    names: set[str] = set()
    try:
        for line in KERNELS_LIST.read_text(encoding="utf-8").splitlines():
            if (words := line.split()) and not words[0].startswith("#"):
                names.add(words[0])
    except OSError:
        pass
    if kernels_built().is_dir():
        names.update(entry.name for entry in kernels_built().iterdir() if entry.is_dir())
    return tuple(sorted(name for name in names if _KERNEL.fullmatch(name)))


@dataclass(frozen=True)
class _Selector:
    """Which cells an [[expect]] or a [[console]] is for."""

    ram: Callable[[int], bool]
    strategies: tuple[str, ...]
    kernels: tuple[str, ...]

    def takes(self, ram: int, kernel: str, strategy: str) -> bool:
        return (
            self.ram(ram)
            and (not self.strategies or strategy in self.strategies)
            and (not self.kernels or kernel in self.kernels)
        )


class _Reader(Source):
    def __init__(self, path: Path, lines: dict[tuple[str | int, ...], int]) -> None:
        super().__init__(path, lines)
        self.catalogue = reasons.load()
        self.kernels = known_kernels()

    # -- pieces ------------------------------------------------------------

    def strategy(self, table: Table, value: object) -> str:
        return table.one_of("strategy", value, self.catalogue.strategies)

    def kernel(self, table: Table, value: object) -> str:
        return table.one_of("kernel", value, self.kernels)

    def ram(self, table: Table, value: object) -> int:
        return machine.ram(table, value)

    def cause(self, table: Table) -> str | None:
        value = table.take("cause")
        return None if value is None else table.one_of("cause", value, causes.slugs())

    def selector(self, table: Table) -> _Selector:
        strategies = tuple(self.strategy(table, s) for s in table.items("strategy"))
        kernels = tuple(self.kernel(table, k) for k in table.items("kernel"))
        tests = [self._ram_test(table, item) for item in table.items("ram")]
        return _Selector(
            lambda ram: not tests or any(test(ram) for test in tests), strategies, kernels
        )

    def _ram_test(self, table: Table, item: object) -> Callable[[int], bool]:
        if isinstance(item, str) and (bound := _RANGE.fullmatch(item)):
            size = self.ram(table, bound[2])
            compare = _COMPARE[bound[1]]
            return lambda ram: compare(ram, size)
        size = self.ram(table, item)
        return lambda ram: ram == size

    def expectation(
        self, table: Table, request: int, cause: str | None
    ) -> tuple[_Selector, Expectation]:
        selector = self.selector(table)
        outcome = table.one_of("outcome", table.take("outcome", required=True), OUTCOMES)
        names = tuple(
            table.one_of("reason", r, self.catalogue.reasons) for r in table.items("reason")
        )
        if "none" in names:
            table.refuse("reason", 'a lock does not fail with "none"')
        low, high = table.take("largest_min"), table.take("largest_max")
        own = self.cause(table)
        backing = table.take("backing")
        if backing is not None:
            backing = table.one_of("backing", backing, BACKINGS)
        segments = table.number("segments_max", None, 1, 1 << 32)
        fewest = table.number("segments_min", 0, 1, 1 << 32)
        if outcome == "locks" and (names or own or low is not None or high is not None):
            table.refuse(None, 'outcome "locks" takes no reason, cause, largest_min or largest_max')
        if outcome == "fails" and not names:
            table.refuse(None, 'outcome "fails" needs the key "reason"')
        if outcome == "fails" and (backing or segments or fewest):
            table.refuse(None, 'outcome "fails" takes no backing, segments_min or segments_max')
        low = 0 if low is None else table.size("largest_min", low, 1, request)
        high = None if high is None else table.size("largest_max", high, 1, request)
        if high is not None and high < low:
            table.refuse("largest_max", "largest_max is below largest_min")
        if outcome == "fails":
            cause = own or cause
        else:
            cause = None
        expectation = Expectation(
            outcome, names, low, high, table.text("why"), cause, backing, segments, fewest
        )
        table.done()
        return selector, expectation

    def console(self, table: Table) -> tuple[_Selector, ConsoleRule]:
        selector = self.selector(table)
        pattern = table.text("line", required=True)
        try:
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            table.refuse("line", f"line is not a regular expression: {error}")
        if compiled.search(""):
            table.refuse("line", "line matches an empty line, so it would match everything")
        needed = table.truth("needed", True)
        when = table.take("when")
        if when is not None:
            when = table.one_of("when", when, PHASES)
        rule = ConsoleRule(pattern, needed, when, table.text("why"))
        table.done()
        return selector, rule

    def absents(self, top: Table) -> tuple[Absent, ...]:
        result = []
        for table in top.subs("absent"):
            kernel = self.kernel(table, table.take("kernel", required=True))
            result.append(Absent(kernel, table.text("why", required=True)))
            table.done()
        return tuple(result)

    # -- the whole ----------------------------------------------------------

    def scenario(self, data: dict[str, Any], axes: dict[str, list[str]]) -> Scenario:
        top = Table(self, (), data)
        if top.take("format", required=True) not in FORMATS:
            known = " or ".join(map(str, FORMATS))
            top.refuse("format", f"format must be {known}, there is no other")
        name = top.take("name", required=True)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            top.refuse(
                "name",
                f"name {name!r:.80} must be 1 to 64 of a-z, 0-9, . and -, starting with a letter "
                "or a digit",
            )
        title = top.text("title", required=True)
        if top.has("cures"):
            return self.cured(top, name, title)
        cause = self.cause(top)
        guest, request = top.sub("guest"), top.sub("request")
        limits_table = top.sub("limits")
        size = request.size("bytes", request.take("bytes", required=True), 1, MAX_REQUEST)
        strategies = [self.strategy(request, s) for s in request.items("strategy", required=True)]
        rams = [self.ram(guest, r) for r in guest.items("ram", required=True)]
        kernels = [self.kernel(guest, k) for k in guest.items("kernel", ["stock"])]
        common: dict[str, Any] = {
            "card": self._card(guest, axes.get("card") or []),
            **machine.guest(guest, rams, self.catalogue.strategies),
            **machine.request(request),
            **machine.limits(limits_table),
            "prepare": machine.steps(top.subs("prepare"), self.catalogue.strategies),
            "shows": cause or "",
        }
        for table in (guest, request, limits_table):
            table.done()
        expects = [self.expectation(t, size, cause) for t in top.subs("expect")]
        consoles = [self.console(t) for t in top.subs("console")]
        absent = self.absents(top)
        top.done()

        combinations = list(itertools.product(rams, kernels, strategies))
        if len(combinations) > MAX_CELLS:
            self.refuse(("guest",), f"{len(combinations)} combinations; the limit is {MAX_CELLS}")
        for what, chosen in (("expect", expects), ("console", consoles)):
            for index, (selector, _) in enumerate(chosen):
                if not any(selector.takes(*combination) for combination in combinations):
                    self.refuse((what, index), f"this [[{what}]] is for no cell of the scenario")
        combinations = self._override(combinations, axes)

        cells = []
        for ram, kernel, strategy in combinations:
            where = f"ram {format_size(ram)}, kernel {kernel}, strategy {strategy}"
            fits = [i for i, (s, _) in enumerate(expects) if s.takes(ram, kernel, strategy)]
            if not fits:
                self.refuse((), f"no [[expect]] says what must happen with {where}")
            if len(fits) > 1:
                self.refuse(
                    ("expect", fits[1]),
                    f"two [[expect]] are for {where}; the other is on "
                    f"line {line_of(self.lines, ('expect', fits[0]))}",
                )
            rules = tuple(rule for s, rule in consoles if s.takes(ram, kernel, strategy))
            cells.append(
                Cell(name, ram // MIB, kernel, strategy, size, expects[fits[0]][1], rules, **common)
            )
        return Scenario(name, title, str(self.path), tuple(cells), cause, None, absent)

    def cured(self, top: Table, name: str, title: str) -> Scenario:
        """The failing twin's cells, each with one remedy of the doctor's applied."""
        given = top.text("cures", required=True)
        twin_path = self.path.parent / f"{given}.toml"
        if not _NAME.fullmatch(given) or not twin_path.is_file():
            top.refuse("cures", f'there is no scenario "{given}" ({twin_path})')
        if "cures" in _data(twin_path):
            top.refuse("cures", f'"{given}" is a cured scenario itself')
        twin = load(twin_path)
        table = top.sub("remedy")
        kind = table.one_of("kind", table.take("kind", required=True), KINDS)
        remedy = Remedy(kind, table.text("value"))
        table.done()
        expects = top.subs("expect")
        consoles = [self.console(t) for t in top.subs("console")]
        limits_table = top.sub("limits")
        limits = machine.limits(limits_table) if limits_table.left else {}
        limits_table.done()
        top.done()
        if len(expects) > 1:
            self.refuse(("expect", 1), "a cured scenario has one [[expect]] at most")
        expect = Expectation("locks")
        if expects:
            _, expect = self.expectation(expects[0], MAX_REQUEST, None)
            if expect.outcome != "locks":
                self.refuse(("expect", 0), 'a cured scenario must expect "locks"')
        cells = []
        for cell in twin.cells:
            rules = tuple(
                r for s, r in consoles if s.takes(cell.ram_mib * MIB, cell.kernel, cell.strategy)
            )
            cell = replace(
                cell,
                scenario=name,
                expect=expect,
                console=rules,
                twin=cell.name,
                place=cell.axes,
                remedy=remedy,
                boots=1,
                **limits,
            )
            try:
                cells.append(apply_remedy(cell, remedy))
            except RemedyError as error:
                table.refuse("kind", str(error))
        return Scenario(name, title, str(self.path), tuple(cells), twin.cause, twin.name)

    def _given(self, option: str, read: Callable[..., Any], *arguments: object) -> Any:
        """Read something of the command line: an error names the option, not a line."""
        try:
            return read(*arguments)
        except ScenarioError as error:
            text = str(error).removeprefix(f"{self.path}:").split(": ", 1)[1]
            raise ScenarioError(f"--{option}: {text}") from None

    def _override(
        self, combinations: list[tuple[int, str, str]], axes: dict[str, list[str]]
    ) -> list[tuple[int, str, str]]:
        """The combinations with axes given on the command line in place of the file's."""
        if not any(axes.values()):
            return combinations

        def given(key: str, read: Callable[[Table, object], Any], index: int) -> list[Any]:
            chosen = [
                self._given(key, read, Table(self, (), {}), item) for item in axes.get(key) or ()
            ]
            return list(dict.fromkeys(chosen or [c[index] for c in combinations]))

        return list(
            itertools.product(
                given("ram", self.ram, 0),
                given("kernel", self.kernel, 1),
                given("strategy", self.strategy, 2),
            )
        )

    def _card(self, guest: Table, card_options: list[str]) -> tuple[tuple[str, str], ...]:
        card = machine.card(guest.sub("card"))
        for option in card_options:
            key, equals, value = option.partition("=")
            if not equals:
                raise ScenarioError(f'--card: "{option[:60]}" is not KEY=VALUE')
            card |= self._given("card", machine.card, Table(self, ("guest",), {key: value}))
        return tuple(card.items())


def _too_deep(data: object) -> bool:
    level: list[object] = [data]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return bool(level)


def _read(path: Path) -> str:
    """The text of a regular file of a sane size."""
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "null character in its name"
        raise ScenarioError(f"{str(path)!r:.200}: can't be opened: {why}") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ScenarioError(f"{path}: is not a regular file")
    with open(handle, "rb") as file:
        if status.st_size > MAX_FILE:
            raise ScenarioError(f"{path}: is {status.st_size} bytes; the limit is {MAX_FILE}")
        raw = file.read(MAX_FILE + 1)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ScenarioError(
            f"{path}:{line}: is not UTF-8 text: byte 0x{raw[error.start]:02x}"
        ) from None


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    """A file's data, and its text."""
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        if place:
            raise ScenarioError(f"{path}:{place[1]}: {str(error)[: place.start()]}") from None
        raise ScenarioError(f"{path}:{text.count(chr(10)) + 1}: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: is nested too deeply; the limit is {MAX_DEPTH}") from None
    except ValueError as error:
        raise ScenarioError(f"{path}: {error}") from None
    if _too_deep(data):
        raise ScenarioError(f"{path}: is nested too deeply; the limit is {MAX_DEPTH}")
    return data, text


def _data(path: Path) -> dict[str, Any]:
    return _parsed(path)[0]


def find(name: str) -> Path:
    """The file of a scenario: a path, or the bare name of one in harness/scenarios/."""
    for folder in (SCENARIOS, CATALOGUE):
        if _NAME.fullmatch(name) and (known := folder / f"{name}.toml").is_file():
            return known
    return Path(name)


def load(path: Path, axes: dict[str, list[str]] | None = None) -> Scenario:
    """Read and check a scenario.

    axes: lists from the command line; "ram", "strategy", "kernel" in place of the file's own,
    "card" as KEY=VALUE over the file's.
    """
    data, text = _parsed(path)
    return _Reader(path, lines_of(text)).scenario(data, axes or {})


def check_host(cells: Iterable[Cell], memory: int) -> None:
    """Refuse RAM sizes that this host could never hold; memory is its RAM and swap."""
    for cell in cells:
        if cell.ram_mib * MIB > memory:
            raise ScenarioError(
                f"ram {format_size(cell.ram_mib * MIB)} is more than the host has; "
                f"the limit is {memory / GIB:.1f}G of RAM and swap"
            )
