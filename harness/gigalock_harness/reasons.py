# SPDX-License-Identifier: GPL-2.0-or-later
"""The reasons and strategies of a lock, read from the driver's uapi header.

The header is their only home. A scenario names a reason by the code name in
the header's comment, "code-name: what was observed".
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from .places import UAPI_HEADER

_REASON = re.compile(
    r"^#define[ \t]+GIGALOCK_REASON_(\w+)[ \t]+(\d+)"
    r"[ \t]*/\*[ \t]*([a-z0-9-]+):[ \t]*(.*?)[ \t]*\*/",
    re.MULTILINE | re.ASCII,
)
_REASON_ANY = re.compile(r"^#define[ \t]+GIGALOCK_REASON_(\w+)[ \t]+(\d+)", re.MULTILINE | re.ASCII)
_STRATEGY = re.compile(r"^#define[ \t]+GIGALOCK_STRATEGY_(\w+)[ \t]+(\d+)", re.MULTILINE | re.ASCII)


class HeaderError(Exception):
    """The header is missing or its list breaks its own rule."""


@dataclass(frozen=True)
class Reason:
    code: int
    name: str
    text: str


@dataclass(frozen=True)
class Catalogue:
    reasons: dict[str, Reason]
    strategies: tuple[str, ...]


def parse(text: str, where: str) -> Catalogue:
    """The catalogue in a header's text; HeaderError if a line has no name or a count is off."""
    reasons: dict[str, Reason] = {}
    for macro, code, name, words in _REASON.findall(text):
        if name != macro.lower().replace("_", "-"):
            raise HeaderError(f"{where}: GIGALOCK_REASON_{macro} is called {name} in its comment")
        reasons[name] = Reason(int(code), name, words)
    defined = dict(_REASON_ANY.findall(text))
    count = int(defined.pop("COUNT", "-1"))
    if len(defined) != count or sorted(r.code for r in reasons.values()) != list(range(count)):
        raise HeaderError(
            f"{where}: {len(reasons)} reasons with a name, {len(defined)} defined, "
            f"GIGALOCK_REASON_COUNT {count}: they must agree"
        )
    strategies = {name: int(code) for name, code in _STRATEGY.findall(text)}
    count = strategies.pop("COUNT", -1)
    if sorted(strategies.values()) != list(range(count)):
        raise HeaderError(f"{where}: GIGALOCK_STRATEGY_COUNT {count} doesn't fit the strategies")
    ordered = sorted(strategies, key=strategies.__getitem__)
    return Catalogue(reasons, tuple(name.lower().replace("_", "-") for name in ordered))


@functools.cache
def load(path: Path = UAPI_HEADER) -> Catalogue:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HeaderError(f"{path}: can't be read: {error}") from error
    return parse(text, str(path))
