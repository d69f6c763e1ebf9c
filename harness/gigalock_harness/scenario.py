# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: guests, a request and what must happen, as TOML data files.

docs/scenarios.md describes the format. A file is read as hostile input: every
refusal is a ScenarioError that names the file and the line.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import reasons
from .places import KERNELS_LIST, SCENARIOS, kernels_built
from .sizes import GIB, MIB, format_size, parse_size
from .tomllines import line_of, lines_of

MAX_FILE = 64 << 10
MAX_DEPTH = 6
MAX_CELLS = 1024
MAX_TEXT = 400
MIN_RAM = 64 * MIB
MAX_RAM = 1 << 40  # what QEMU's default CPU can address
MAX_REQUEST = 1 << 46
MAX_SECONDS = 3600
MAX_SMP = 64

PHASES = ("boot", "setup", "lock", "limit", "move")
OUTCOMES = ("locks", "fails")
RLIMITS = {"memlock": "-l", "as": "-v"}  # and the option of the shell's ulimit, in KiB

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_KERNEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_SYSCTL = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_PRINTABLE = re.compile(r"[\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]+")
_DEVICE_VALUE = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,200}", re.ASCII)  # all but blanks and commas
_COMPARE = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}
_RANGE = re.compile(r"(<=|>=|<|>)[ ]*(\S+)")


class ScenarioError(Exception):
    """A scenario that is refused. str() is "file:line: what is wrong"."""


@dataclass(frozen=True)
class Expectation:
    """What must happen in a cell."""

    outcome: str
    reasons: tuple[str, ...] = ()
    largest_min: int = 0
    largest_max: int | None = None
    why: str = ""

    def describe(self) -> str:
        if self.outcome == "locks":
            return "locks"
        text = "fails with " + " or ".join(self.reasons)
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

    @property
    def name(self) -> str:
        ram = format_size(self.ram_mib * MIB)
        return f"{self.scenario}-{ram}-{self.kernel}-{self.strategy}"

    def device(self) -> str:
        """The card as an argument of QEMU's -device."""
        options = "".join(f",{key}={value}" for key, value in self.card)
        return f"gigalock,id=gl0,bus=rp0{options}"


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    path: str
    cells: tuple[Cell, ...]


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


class _Table:
    """A TOML table whose keys are taken one by one; what is left over is refused."""

    def __init__(self, reader: _Reader, path: tuple[str | int, ...], value: object) -> None:
        self.reader = reader
        self.path = path
        if not isinstance(value, dict):
            reader.refuse(path, f"{_dotted(path)} must be a table, not {_kind(value)}")
        self.left: dict[str, Any] = dict(value)
        self.known: list[str] = []

    def refuse(self, key: str | int | None, text: str) -> NoReturn:
        self.reader.refuse(self.path if key is None else (*self.path, key), text)

    def take(self, key: str, default: Any = None, required: bool = False) -> Any:
        self.known.append(key)
        if key not in self.left:
            if required:
                self.refuse(None, f'{_dotted(self.path) or "the file"} needs the key "{key}"')
            return default
        return self.left.pop(key)

    def done(self) -> None:
        for key in self.left:
            close = difflib.get_close_matches(key, self.known, 1)
            hint = f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(self.known)}"
            where = f" in {_dotted(self.path)}" if self.path else ""
            self.refuse(key, f'unknown key "{key[:60]}"{where}{hint}')

    def text(self, key: str, default: str = "", required: bool = False) -> str:
        value = self.take(key, default, required)
        return self.check_text(key, value) if value != "" or required else ""

    def check_text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self.refuse(key, f"{key} must be a string, not {_kind(value)}")
        if len(value) > MAX_TEXT:
            self.refuse(key, f"{key} has {len(value)} characters; the limit is {MAX_TEXT}")
        if not _PRINTABLE.fullmatch(value):
            self.refuse(key, f"{key} must be printable text on one line, and not empty")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, f"{key} must be a whole number, not {_kind(value)}")
        if not low <= value <= high:
            self.refuse(
                key, f"{key} {str(value)[:40]} is out of range; the limits are {low} and {high}"
            )
        return value

    def size(self, key: str, value: object, low: int = 1, high: int = (1 << 64) - 1) -> int:
        try:
            size = parse_size(value, key)
        except ValueError as error:
            self.refuse(key, str(error))
        if not low <= size <= high:
            self.refuse(
                key,
                f"{key} {str(value)[:40]} is out of range; the limits are "
                f"{format_size(low)} and {format_size(high)}",
            )
        return size

    def items(self, key: str, default: Any = (), required: bool = False) -> list[Any]:
        """A value, or a list of them, as a list without duplicates; one item at least if
        it is required or has a default."""
        value = self.take(key, default, required)
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if not values and (required or default):
            self.refuse(key, f"{key} is an empty list")
        for index, one in enumerate(values):
            if one in values[:index]:
                self.refuse(key, f"{key} has {one!r:.60} twice")
        return values

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self.check_text(key, item) for item in self.items(key))

    def sub(self, key: str) -> _Table:
        return _Table(self.reader, (*self.path, key), self.take(key, {}))

    def subs(self, key: str) -> list[_Table]:
        value = self.take(key, [])
        if not isinstance(value, list):
            self.refuse(key, f"{key} must be written as [[{key}]]")
        return [_Table(self.reader, (*self.path, key, i), item) for i, item in enumerate(value)]


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


class _Reader:
    def __init__(self, path: Path, text: str, lines: dict[tuple[str | int, ...], int]) -> None:
        self.path = path
        self.text = text
        self.lines = lines
        self.catalogue = reasons.load()
        self.kernels = known_kernels()

    def refuse(self, path: tuple[str | int, ...], text: str) -> NoReturn:
        raise ScenarioError(f"{self.path}:{line_of(self.lines, path)}: {text}")

    # -- pieces ------------------------------------------------------------

    def strategy(self, table: _Table, value: object) -> str:
        return self._one_of(table, "strategy", value, self.catalogue.strategies)

    def kernel(self, table: _Table, value: object) -> str:
        return self._one_of(table, "kernel", value, self.kernels)

    def _one_of(self, table: _Table, key: str, value: object, known: Iterable[str]) -> str:
        known = tuple(known)
        if not isinstance(value, str) or value not in known:
            close = difflib.get_close_matches(str(value)[:80], known, 1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            table.refuse(key, f"unknown {key} {value!r:.60}{hint} (known: {', '.join(known)})")
        return value

    def ram(self, table: _Table, value: object) -> int:
        size = table.size("ram", value, MIN_RAM, MAX_RAM)
        if size % (2 * MIB):
            table.refuse("ram", f"ram {value!r} must be a multiple of 2M")
        return size

    def selector(self, table: _Table) -> _Selector:
        strategies = tuple(self.strategy(table, s) for s in table.items("strategy"))
        kernels = tuple(self.kernel(table, k) for k in table.items("kernel"))
        tests = [self._ram_test(table, item) for item in table.items("ram")]
        return _Selector(
            lambda ram: not tests or any(test(ram) for test in tests), strategies, kernels
        )

    def _ram_test(self, table: _Table, item: object) -> Callable[[int], bool]:
        if isinstance(item, str) and (bound := _RANGE.fullmatch(item)):
            size = self.ram(table, bound[2])
            compare = _COMPARE[bound[1]]
            return lambda ram: compare(ram, size)
        size = self.ram(table, item)
        return lambda ram: ram == size

    def expectation(self, table: _Table, request: int) -> tuple[_Selector, Expectation]:
        selector = self.selector(table)
        outcome = self._one_of(table, "outcome", table.take("outcome", required=True), OUTCOMES)
        names = tuple(
            self._one_of(table, "reason", r, self.catalogue.reasons) for r in table.items("reason")
        )
        if "none" in names:
            table.refuse("reason", 'a lock does not fail with "none"')
        low, high = table.take("largest_min"), table.take("largest_max")
        if outcome == "locks" and (names or low is not None or high is not None):
            table.refuse(None, 'outcome "locks" takes no reason, largest_min or largest_max')
        if outcome == "fails" and not names:
            table.refuse(None, 'outcome "fails" needs the key "reason"')
        low = 0 if low is None else table.size("largest_min", low, 1, request)
        high = None if high is None else table.size("largest_max", high, 1, request)
        if high is not None and high < low:
            table.refuse("largest_max", "largest_max is below largest_min")
        expectation = Expectation(outcome, names, low, high, table.text("why"))
        table.done()
        return selector, expectation

    def console(self, table: _Table) -> tuple[_Selector, ConsoleRule]:
        selector = self.selector(table)
        pattern = table.text("line", required=True)
        try:
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            table.refuse("line", f"line is not a regular expression: {error}")
        if compiled.search(""):
            table.refuse("line", "line matches an empty line, so it would match everything")
        needed = table.take("needed", True)
        if not isinstance(needed, bool):
            table.refuse("needed", f"needed must be true or false, not {_kind(needed)}")
        when = table.take("when")
        if when is not None:
            when = self._one_of(table, "when", when, PHASES)
        rule = ConsoleRule(pattern, needed, when, table.text("why"))
        table.done()
        return selector, rule

    def words(self, table: _Table, form: re.Pattern[str]) -> tuple[tuple[str, str], ...]:
        """A table of free keys, each a word of its form, with one-word values."""
        result = []
        for key in list(table.left):
            value = table.take(key)
            if not form.fullmatch(key):
                table.refuse(key, f"{key!r:.60} is no name for {_dotted(table.path)}")
            if isinstance(value, bool):
                value = "on" if value else "off"
            value = str(value) if isinstance(value, int) else value
            if not isinstance(value, str) or not _DEVICE_VALUE.fullmatch(value):
                table.refuse(
                    key, f"{key} must be a number, true, false or a word without blanks and commas"
                )
            result.append((key, value))
        return tuple(result)

    # -- the whole ----------------------------------------------------------

    def scenario(self, data: dict[str, Any], axes: dict[str, list[str]]) -> Scenario:
        top = _Table(self, (), data)
        if top.take("format", required=True) != 1:
            top.refuse("format", "format must be 1, the only one there is")
        name = top.take("name", required=True)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            top.refuse(
                "name", f"name {name!r:.80} must be 1 to 64 of a-z, 0-9 and -, not starting with -"
            )
        title = top.text("title", required=True)
        guest, request, limits = top.sub("guest"), top.sub("request"), top.sub("limits")
        size = request.size("bytes", request.take("bytes", required=True), 1, MAX_REQUEST)
        strategies = [self.strategy(request, s) for s in request.items("strategy", required=True)]
        rams = [self.ram(guest, r) for r in guest.items("ram", required=True)]
        kernels = [self.kernel(guest, k) for k in guest.items("kernel", ["stock"])]
        common = self._common(guest, limits, axes.get("card") or [])
        for table in (guest, request, limits):
            table.done()
        expects = [self.expectation(t, size) for t in top.subs("expect")]
        consoles = [self.console(t) for t in top.subs("console")]
        top.done()

        combinations = list(itertools.product(rams, kernels, strategies))
        if len(combinations) > MAX_CELLS:
            self.refuse(("guest",), f"{len(combinations)} combinations; the limit is {MAX_CELLS}")
        for what, chosen in (("expect", expects), ("console", consoles)):
            for index, (selector, _) in enumerate(chosen):
                if not any(selector.takes(*combination) for combination in combinations):
                    self.refuse((what, index), f"this [[{what}]] is for no cell of the scenario")
        combinations = self._override(combinations, kernels, axes)

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
        return Scenario(name, title, str(self.path), tuple(cells))

    def _given(self, option: str, read: Callable[..., Any], *arguments: object) -> Any:
        """Read something of the command line: an error names the option, not a line."""
        try:
            return read(*arguments)
        except ScenarioError as error:
            text = str(error).removeprefix(f"{self.path}:").split(": ", 1)[1]
            raise ScenarioError(f"--{option}: {text}") from None

    def _override(
        self,
        combinations: list[tuple[int, str, str]],
        kernels: list[str],
        axes: dict[str, list[str]],
    ) -> list[tuple[int, str, str]]:
        """The combinations with axes given on the command line in place of the file's."""
        if not any(axes.values()):
            return combinations

        def given(key: str, read: Callable[[_Table, object], Any], index: int) -> list[Any]:
            chosen = [
                self._given(key, read, _Table(self, (), {}), item) for item in axes.get(key) or ()
            ]
            return list(dict.fromkeys(chosen or [c[index] for c in combinations]))

        return list(
            itertools.product(
                given("ram", self.ram, 0),
                given("kernel", self.kernel, 1),
                given("strategy", self.strategy, 2),
            )
        )

    def _card(self, table: _Table) -> dict[str, str]:
        card = dict(self.words(table, _WORD))
        for key in card:
            if key in ("id", "bus", "addr", "memdev"):
                table.refuse(key, f'the card\'s "{key}" belongs to the harness')
        return card

    def _common(self, guest: _Table, limits: _Table, card_options: list[str]) -> dict[str, Any]:
        """What all cells of a scenario share."""
        card = self._card(guest.sub("card"))
        for option in card_options:
            key, equals, value = option.partition("=")
            if not equals:
                raise ScenarioError(f'--card: "{option[:60]}" is not KEY=VALUE')
            card |= self._given("card", self._card, _Table(self, ("guest",), {key: value}))
        sysctl = self.words(guest.sub("sysctl"), _SYSCTL)
        table = guest.sub("rlimit")
        rlimit = []
        for key in RLIMITS:
            if (value := table.take(key)) is not None:
                rlimit.append((key, table.size(key, value)))
        table.done()
        params = self.words(guest.sub("driver"), _WORD)
        cmdline = guest.texts("cmdline")
        for option in cmdline:
            if not _DEVICE_VALUE.fullmatch(option.replace(",", "")):
                guest.refuse("cmdline", f"cmdline option {option!r:.60} must be one word")
        return {
            "smp": guest.number("smp", 1, 1, MAX_SMP),
            "cmdline": cmdline,
            "card": tuple(card.items()),
            "driver_params": tuple(f"{key}={value}" for key, value in params),
            "sysctl": sysctl,
            "rlimit": tuple(rlimit),
            "setup": guest.texts("setup"),
            "boot_seconds": limits.number("boot_seconds", 60, 1, MAX_SECONDS),
            "step_seconds": limits.number("step_seconds", 300, 1, MAX_SECONDS),
        }


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def _kind(value: object) -> str:
    kinds = {
        dict: "a table",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a fraction",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")


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


def find(name: str) -> Path:
    """The file of a scenario: a path, or the bare name of one in harness/scenarios/."""
    if _NAME.fullmatch(name) and (known := SCENARIOS / f"{name}.toml").is_file():
        return known
    return Path(name)


def load(path: Path, axes: dict[str, list[str]] | None = None) -> Scenario:
    """Read and check a scenario.

    axes: lists from the command line; "ram", "strategy", "kernel" in place of the file's own,
    "card" as KEY=VALUE over the file's.
    """
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
    return _Reader(path, text, lines_of(text)).scenario(data, axes or {})


def check_host(cells: Iterable[Cell], memory: int) -> None:
    """Refuse RAM sizes that this host could never hold; memory is its RAM and swap."""
    for cell in cells:
        if cell.ram_mib * MIB > memory:
            raise ScenarioError(
                f"ram {format_size(cell.ram_mib * MIB)} is more than the host has; "
                f"the limit is {memory / GIB:.1f}G of RAM and swap"
            )
