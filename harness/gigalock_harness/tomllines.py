# SPDX-License-Identifier: GPL-2.0-or-later
"""On which line of a TOML text does each value stand?

tomllib gives values without their places, and an error that doesn't say where
helps nobody. This walks a text that tomllib has already accepted, so it may
trust the syntax, and notes the line of every key, table and array element.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple["str | int", ...]

_KEY = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
_SCALAR = re.compile(r"[^,\]\}\#\n]+")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""("{0,2})', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'''('{0,2})", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)


class _Walker:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}

    def _to(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def _blank(self, newlines: bool) -> None:
        """Skip white space and comments."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t" or (newlines and char == "\n"):
                self._to(self.at + 1)
            elif char == "#":
                end = self.text.find("\n", self.at)
                self._to(len(self.text) if end < 0 else end)
            else:
                return

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            found = _KEY.match(self.text, self.at)
            if found is None:
                raise ValueError("no key")
            raw = found[1]
            parts.append(tomllib.loads(f"k={raw}")["k"] if raw[0] in "\"'" else raw)
            self._to(found.end())
            if not found[2]:
                return tuple(parts)

    def _value(self, path: Path) -> None:
        char = self.text[self.at]
        if char == "[":
            self._to(self.at + 1)
            index = 0
            while True:
                self._blank(True)
                if self.text[self.at] == "]":
                    break
                if self.text[self.at] == ",":
                    self._to(self.at + 1)
                    continue
                self.lines[(*path, index)] = self.line
                self._value((*path, index))
                index += 1
            self._to(self.at + 1)
        elif char == "{":
            self._to(self.at + 1)
            while True:
                self._blank(True)
                if self.text[self.at] == "}":
                    break
                if self.text[self.at] == ",":
                    self._to(self.at + 1)
                    continue
                self._pair(path)
            self._to(self.at + 1)
        else:
            for form in _STRINGS:
                if found := form.match(self.text, self.at):
                    break
            else:
                found = _SCALAR.match(self.text, self.at)
            if found is None:
                raise ValueError("no value")
            self._to(found.end())

    def _pair(self, table: Path) -> None:
        line = self.line
        path = (*table, *self._key())
        for length in range(len(table) + 1, len(path) + 1):
            self.lines.setdefault(path[:length], line)
        self._to(self.at + 1)  # the "="
        self._blank(False)
        self._value(path)

    def _resolve(self, key: Path) -> Path:
        """A header's key with the index of the array element that it continues."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return path

    def walk(self) -> None:
        table: Path = ()
        while True:
            self._blank(True)
            if self.at >= len(self.text):
                return
            if self.text.startswith("[[", self.at):
                self._to(self.at + 2)
                line = self.line
                key = self._key()
                self._to(self.text.index("]]", self.at) + 2)
                array = (*self._resolve(key[:-1]), key[-1])
                self.counts[array] = self.counts.get(array, 0) + 1
                table = (*array, self.counts[array] - 1)
                self.lines.setdefault(array, line)
                self.lines[table] = line
            elif self.text[self.at] == "[":
                self._to(self.at + 1)
                line = self.line
                key = self._key()
                self._to(self.text.index("]", self.at) + 1)
                table = self._resolve(key)
                self.lines.setdefault(table, line)
            else:
                self._pair(table)


def lines_of(text: str) -> dict[Path, int]:
    """Line, from 1, of each path: ("guest", "ram"), ("expect", 1), ("request", "strategy", 0)."""
    walker = _Walker(text)
    try:
        walker.walk()
    except (ValueError, IndexError, RecursionError):
        # An odd corner of TOML: what was noted until here is still right.
        pass
    return walker.lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of the path, or of the nearest thing around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1
