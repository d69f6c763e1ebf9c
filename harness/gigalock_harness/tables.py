# SPDX-License-Identifier: GPL-2.0-or-later
"""TOML tables whose keys are taken one by one, each checked; what is left over is refused.

Every refusal is a ScenarioError that names the file, the line, the value and the limit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from .sizes import format_size, parse_size
from .tomllines import line_of

MAX_TEXT = 400
DEVICE_VALUE = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,200}", re.ASCII)  # all but blanks and commas
WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)

_PRINTABLE = re.compile(r"[\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]+")


class ScenarioError(Exception):
    """A scenario that is refused. str() is "file:line: what is wrong"."""


class Source:
    """A file being read: its path, and the line of everything in it."""

    def __init__(self, path: Path, lines: dict[tuple[str | int, ...], int]) -> None:
        self.path = path
        self.lines = lines

    def refuse(self, path: tuple[str | int, ...], text: str) -> NoReturn:
        raise ScenarioError(f"{self.path}:{line_of(self.lines, path)}: {text}")


class Table:
    """One table of a file."""

    def __init__(self, source: Source, path: tuple[str | int, ...], value: object) -> None:
        self.source = source
        self.path = path
        if not isinstance(value, dict):
            source.refuse(path, f"{dotted(path)} must be a table, not {kind_of(value)}")
        self.left: dict[str, Any] = dict(value)
        self.known: list[str] = []

    def refuse(self, key: str | int | None, text: str) -> NoReturn:
        self.source.refuse(self.path if key is None else (*self.path, key), text)

    def take(self, key: str, default: Any = None, required: bool = False) -> Any:
        self.known.append(key)
        if key not in self.left:
            if required:
                self.refuse(None, f'{dotted(self.path) or "the file"} needs the key "{key}"')
            return default
        return self.left.pop(key)

    def done(self) -> None:
        for key in self.left:
            close = difflib.get_close_matches(key, self.known, 1)
            hint = f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(self.known)}"
            where = f" in {dotted(self.path)}" if self.path else ""
            self.refuse(key, f'unknown key "{key[:60]}"{where}{hint}')

    def text(self, key: str, default: str = "", required: bool = False) -> str:
        value = self.take(key, default, required)
        return self.check_text(key, value) if value != "" or required else ""

    def check_text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self.refuse(key, f"{key} must be a string, not {kind_of(value)}")
        if len(value) > MAX_TEXT:
            self.refuse(key, f"{key} has {len(value)} characters; the limit is {MAX_TEXT}")
        if not _PRINTABLE.fullmatch(value):
            self.refuse(key, f"{key} must be printable text on one line, and not empty")
        return value

    def number(self, key: str, default: Any, low: int, high: int) -> Any:
        """A whole number within bounds; the default, which may be None, when it isn't there."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, f"{key} must be a whole number, not {kind_of(value)}")
        if not low <= value <= high:
            self.refuse(
                key, f"{key} {str(value)[:40]} is out of range; the limits are {low} and {high}"
            )
        return value

    def truth(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            self.refuse(key, f"{key} must be true or false, not {kind_of(value)}")
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

    def one_of(self, key: str, value: object, known: Iterable[str]) -> str:
        known = tuple(known)
        if not isinstance(value, str) or value not in known:
            close = difflib.get_close_matches(str(value)[:80], known, 1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            self.refuse(key, f"unknown {key} {value!r:.60}{hint} (known: {', '.join(known)})")
        return value

    def choice(self, key: str, default: str, known: Iterable[str]) -> str:
        return self.one_of(key, self.take(key, default), known)

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

    def words(self, form: re.Pattern[str]) -> tuple[tuple[str, str], ...]:
        """All of a table of free keys, each a word of that form, with one-word values."""
        result = []
        for key in list(self.left):
            value = self.take(key)
            if not form.fullmatch(key):
                self.refuse(key, f"{key!r:.60} is no name for {dotted(self.path)}")
            if isinstance(value, bool):
                value = "on" if value else "off"
            value = str(value) if isinstance(value, int) else value
            if not isinstance(value, str) or not DEVICE_VALUE.fullmatch(value):
                self.refuse(
                    key, f"{key} must be a number, true, false or a word without blanks and commas"
                )
            result.append((key, value))
        return tuple(result)

    def has(self, key: str) -> bool:
        return key in self.left

    def sub(self, key: str) -> Table:
        return Table(self.source, (*self.path, key), self.take(key, {}))

    def subs(self, key: str) -> list[Table]:
        value = self.take(key, [])
        if not isinstance(value, list):
            self.refuse(key, f"{key} must be written as [[{key}]]")
        return [Table(self.source, (*self.path, key, i), item) for i, item in enumerate(value)]


def dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def kind_of(value: object) -> str:
    kinds = {
        dict: "a table",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a fraction",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")
