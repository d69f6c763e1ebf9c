# SPDX-License-Identifier: GPL-2.0-or-later
"""What `gigalock doctor` says, checked before anything of it is believed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from . import causes, reasons
from .toolcall import Answer, ToolError

MAX_ITEMS = 100


@dataclass(frozen=True)
class Diagnosis:
    """The doctor's answer."""

    locks: bool | None
    largest_bytes: int | None
    certain: bool
    cause: str | None
    reason: str | None
    evidence: list[dict[str, Any]]
    look_at: list[str]
    remedies: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _maybe(value: object, kinds: tuple[type, ...], what: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ToolError(f'the doctor\'s "{what}" is {value!r:.60}')
    return value


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ToolError(f'the doctor\'s "{what}" is {value!r:.60}, not a list of objects')
    return value[:MAX_ITEMS]


def read(answer: Answer) -> Diagnosis:
    """The diagnosis in the tool's answer; ToolError when it isn't what it may be."""
    data = answer.data
    if data.get("command") != "doctor":
        raise ToolError(f"the doctor did not answer: {str(data.get('error') or data)[:200]}")
    cause = _maybe(data.get("cause"), (dict,), "cause")
    slug = None
    if cause is not None:
        slug = cause.get("slug")
        known = causes.load()
        if slug not in known:
            raise ToolError(f"the doctor names a cause that nobody knows: {slug!r:.60}")
        if cause.get("number") != known[slug].number:
            raise ToolError(f"the doctor gives {slug} the number {cause.get('number')!r:.20}")
    reason = _maybe(data.get("reason"), (str,), "reason")
    if reason is not None and reason not in reasons.load().reasons:
        raise ToolError(f"the doctor gives a reason that the header doesn't know: {reason!r:.60}")
    remedies = _objects(data.get("remedies", []), "remedies")
    for one in remedies:
        if not isinstance(one.get("kind"), str) or not isinstance(one.get("commands"), list):
            raise ToolError(f"the doctor's remedy has no kind or no commands: {one!r:.100}")
    return Diagnosis(
        _maybe(data.get("locks"), (bool,), "locks"),
        _maybe(data.get("largest_bytes"), (int,), "largest_bytes"),
        answer.truth("certain"),
        slug,
        reason,
        _objects(data.get("evidence", []), "evidence"),
        [str(one)[:400] for one in data.get("look_at", [])][:MAX_ITEMS],
        remedies,
    )
