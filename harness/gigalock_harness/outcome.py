# SPDX-License-Identifier: GPL-2.0-or-later
"""What came out of a cell: the data that all reports are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .cells import Cell
from .doctor import Diagnosis

PASS, FAIL, SKIP = "pass", "fail", "skip"


@dataclass
class Problem:
    """One thing that made a cell fail. kind is stable, for programs."""

    kind: str
    text: str


@dataclass
class Move:
    """A buffer that was locked, and what became of its bytes on the way through the card."""

    bytes: int
    seed: str
    lock_ms: float | None = None
    segments: int | None = None
    longest_segment: int | None = None
    windows: int | None = None
    to_card_gib_per_s: float | None = None
    from_card_gib_per_s: float | None = None
    gib_per_s: float | None = None
    tool_verified: bool = False
    crc_host: str | None = None
    crc_to_card: str | None = None
    crc_from_card: str | None = None
    backing: str | None = None

    @property
    def verified(self) -> bool:
        """Every byte compared by the tool, and three parties agree on the checksum."""
        return (
            self.tool_verified
            and self.crc_host is not None
            and self.crc_host == self.crc_to_card == self.crc_from_card
        )


@dataclass
class Outcome:
    """The result of one cell."""

    cell: Cell
    status: str = PASS
    problems: list[Problem] = field(default_factory=list)
    skip_reason: str = ""
    failure: dict[str, Any] | None = None
    move: Move | None = None
    largest: Move | None = None
    largest_bytes: int = 0
    tries: list[dict[str, Any]] = field(default_factory=list)
    boot_s: float | None = None
    touched_mib: float | None = None
    started_s: float = 0.0
    duration_s: float = 0.0
    phases: list[dict[str, Any]] = field(default_factory=list)
    console_seen: list[str] = field(default_factory=list)
    console_tail: str = ""
    log: str | None = None
    commands: list[str] = field(default_factory=list)
    reproduce: str = ""
    reproduce_guest: str = ""
    diagnosis: Diagnosis | None = None
    rate: dict[str, int] | None = None
    template: bool = False
    guest_s: float = 0.0  # what the guest itself took: its boot, and the commands in it
    overhead_s: float | None = None
    remedy_printed: bool | None = None  # of a cured cell: by the doctor of its twin

    def fail(self, kind: str, text: str) -> None:
        self.status = FAIL
        self.problems.append(Problem(kind, text))

    @property
    def locked_bytes(self) -> int:
        return self.move.bytes if self.move else 0

    @property
    def verified(self) -> bool:
        return self.move is not None and self.move.verified

    @property
    def reason(self) -> str | None:
        """Why the lock failed; None when it was had. A cell that never got an answer says so."""
        if self.move:
            return None
        if self.failure:
            return str(self.failure["reason"])
        return "not-reached"

    @property
    def message(self) -> str:
        """One line for people."""
        if self.status == SKIP:
            return self.skip_reason
        if self.problems:
            return "; ".join(problem.text for problem in self.problems)
        if self.failure:
            return str(self.failure.get("text", ""))
        return "locked, moved to the card and back, every byte verified"

    def to_json(self) -> dict[str, Any]:
        """The cell's object in matrix.json. docs/scenarios.md tells the meaning of each key."""
        move = self.move
        return {
            "name": self.cell.name,
            "scenario": self.cell.scenario,
            "kernel": self.cell.kernel,
            "ram_mib": self.cell.ram_mib,
            "strategy": self.cell.strategy,
            "requested_bytes": self.cell.bytes,
            "locked_bytes": self.locked_bytes,
            "largest_bytes": self.largest_bytes,
            "reason": self.reason,
            "verified": self.verified,
            "lock_ms": move.lock_ms if move else None,
            "gib_per_s": move.gib_per_s if move else None,
            "boot_s": self.boot_s,
            "status": self.status,
            "message": self.message,
            "problems": [asdict(problem) for problem in self.problems],
            "expected": self.cell.expect.describe(),
            "why": self.cell.expect.why,
            "failure": self.failure,
            "move": _move(move),
            "largest": _move(self.largest),
            "tries": self.tries,
            "touched_mib": self.touched_mib,
            "started_s": round(self.started_s, 3),
            "duration_s": round(self.duration_s, 3),
            "phases": self.phases,
            "console_seen": self.console_seen,
            "console_tail": self.console_tail,
            "log": self.log,
            "commands": self.commands,
            "reproduce": self.reproduce,
            "reproduce_guest": self.reproduce_guest,
            "shows": self.cell.shows or None,
            "cause": self.diagnosis.cause if self.diagnosis else None,
            "expected_cause": self.cell.expect.cause,
            "evidence": self.diagnosis.evidence if self.diagnosis else [],
            "diagnosis": self.diagnosis.to_json() if self.diagnosis else None,
            "remedy": asdict(self.cell.remedy) if self.cell.remedy else None,
            "remedy_printed": self.remedy_printed,
            "twin": self.cell.twin or None,
            "rate": self.rate,
            "template": self.template,
            "fresh": self.cell.fresh,
            "guest_s": round(self.guest_s, 3),
            "overhead_s": self.overhead_s,
        }


def _move(move: Move | None) -> dict[str, Any] | None:
    return None if move is None else {**asdict(move), "verified": move.verified}
