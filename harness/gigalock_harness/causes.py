# SPDX-License-Identifier: GPL-2.0-or-later
"""The causes of a failed lock, read from userlib/causes.toml, their only home."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import reasons
from .places import CAUSES
from .tables import ScenarioError

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_TEXTS = ("slug", "title", "symptom", "explanation")


@dataclass(frozen=True)
class Cause:
    number: int
    slug: str
    title: str
    symptom: str
    explanation: str
    reasons: tuple[str, ...]


@functools.cache
def load(path: Path = CAUSES) -> dict[str, Cause]:
    """The causes by slug, in the order of their numbers."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    known = reasons.load().reasons
    found: dict[str, Cause] = {}
    for one in data.get("cause", ()):
        where = f"{path}: cause {one.get('number')!r:.20}"
        if not all(isinstance(one.get(key), str) and one[key] for key in _TEXTS):
            raise ScenarioError(f"{where}: {', '.join(_TEXTS)} must be texts")
        names = tuple(one.get("reasons", ()))
        if unknown := [name for name in names if name not in known]:
            raise ScenarioError(f"{where}: the header knows no reason {unknown[0]!r:.40}")
        if not _SLUG.fullmatch(one["slug"]) or one["slug"] in found:
            raise ScenarioError(f"{where}: slug {one['slug']!r:.60} is not a new word")
        found[one["slug"]] = Cause(one["number"], *(one[key] for key in _TEXTS), names)
    numbers = [cause.number for cause in found.values()]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ScenarioError(f"{path}: the numbers must be 1 to {len(numbers)}, in that order")
    return found


def slugs() -> tuple[str, ...]:
    return tuple(load())
