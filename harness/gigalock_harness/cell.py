# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one cell: a fresh guest, one request, and what became of it.

Whatever goes wrong in the guest, in QEMU or in the tool ends as a problem of
the cell with its console log; nothing of it stops the run.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import console as console_rules
from . import doctor, prepare, slicecrc, toolcall
from .agent import CommandResult
from .cells import RLIMITS, UNLIMITED, Cell
from .guest import TAINT_BAD, Guest, GuestConfig, GuestError, GuestHang, GuestPanic, QemuDied
from .machine import PROGRAMS, boots_in_template
from .outcome import FAIL, SKIP, Move, Outcome
from .places import TOP, host_tool
from .sizes import KIB, MIB, format_size, parse_size
from .template import ROOM_FOR_CARD, TemplateStore
from .toolcall import Answer, ToolError

CONSOLE_TAIL = 12_000
OUT_OF_MEMORY = ("killed", "no-memory", "no-free-range", "no-free-block", "overcommit")

GROUP = "/sys/fs/cgroup/cell"
FAILURE_FILE = "/run/failure.json"
FEWEST_BOOTS = 4  # of a cell that states a rate; it may stop when it has seen both

OnPhase = Callable[[Cell, str, str], None]


class _Stop(Exception):
    """The cell can't go on; the problem is already noted."""


class CellRunner:
    """One cell, run once. cancel() and touched_mib() may be called from another thread."""

    def __init__(
        self,
        cell: Cell,
        log_dir: Path,
        seed: int | None = None,
        on_phase: OnPhase = lambda cell, phase, detail: None,
        scenario_path: str = "",
        card_options: tuple[str, ...] = (),
        templates: TemplateStore | None = None,
    ) -> None:
        self.cell = cell
        self._templates = templates
        self.log_dir = log_dir
        self.outcome = Outcome(cell)
        self._seed = seed
        self._on_phase = on_phase
        self._guest: Guest | None = None
        self._cancelled = threading.Event()
        self._phase = ("", 0.0)
        self._marks: list[tuple[str, int]] = []
        options = "" if seed is None else f" --seed {seed}"
        options += "".join(f" --card {shlex.quote(option)}" for option in card_options)
        run = f"PYTHONPATH={TOP / 'harness'} /usr/bin/python3 -m gigalock_harness"
        if templates is not None:
            # The cured and the failing twin belong together, and so do the axes of the file.
            self.outcome.reproduce = f"{run} matrix --scenarios {cell.scenario}{options}"
        else:
            self.outcome.reproduce = (
                f"{run} run {shlex.quote(scenario_path or cell.scenario)} --ram {cell.ram_mib}M "
                f"--kernel {cell.kernel} --strategy {cell.strategy}{options}"
            )

    # -- from other threads ---------------------------------------------------

    def cancel(self) -> None:
        """End the guest now; the cell becomes a skipped one."""
        self._cancelled.set()
        if (guest := self._guest) is not None:
            guest.close()

    def touched_mib(self) -> float:
        guest = self._guest
        try:
            return guest.touched_mib() if guest is not None else 0.0
        except (GuestError, OSError):
            return 0.0

    # -- the cell -------------------------------------------------------------

    def run(self) -> Outcome:
        outcome = self.outcome
        start = time.monotonic()
        if self.cell.boots > 1:
            self._boot_often()
        else:
            self._boot_once(self._work)
        outcome.duration_s = time.monotonic() - start
        outcome.overhead_s = round(max(0.0, outcome.duration_s - outcome.guest_s), 3)
        if self._cancelled.is_set():
            outcome.status, outcome.skip_reason = SKIP, "interrupted"
            outcome.problems.clear()
        elif outcome.status != FAIL:
            self.judge()
        return outcome

    def _boot_often(self) -> None:
        """A cell whose boots differ by chance: how many lock?"""
        outcome = self.outcome
        outcome.rate = {"boots": 0, "locked": 0}
        while outcome.rate["boots"] < self.cell.boots and not self._cancelled.is_set():
            outcome.move = None
            self._marks.clear()
            self._boot_once(self._work_for_rate)
            if outcome.status == FAIL:
                return
            outcome.rate["boots"] += 1
            outcome.rate["locked"] += outcome.move is not None
            seen_both = 0 < outcome.rate["locked"] < outcome.rate["boots"]
            if seen_both and outcome.rate["boots"] >= FEWEST_BOOTS:
                break
        # What is shown is the boot that failed.
        if outcome.failure is not None:
            outcome.move = None

    def _boot_once(self, work: Callable[[Guest], None]) -> None:
        outcome = self.outcome
        config = guest_config(self.cell, self._templates is not None)
        with contextlib.ExitStack() as stack:
            guest: Guest | None = None
            try:
                self._enter("boot")
                template = None
                templates = self._templates
                if templates and not self.cell.fresh and boots_in_template(self.cell):
                    waited = time.monotonic()
                    if templates.worth_it(config):
                        template = stack.enter_context(templates.use(config))
                    else:
                        stack.callback(templates.done, config)
                    # Somebody has to boot it; that is no part of this cell.
                    outcome.guest_s += time.monotonic() - waited
                guest = self._guest = Guest(config, self.log_dir, template)
                outcome.template = template is not None
                stack.callback(self._read_console, guest)
                stack.enter_context(guest)
                outcome.boot_s = round(guest.boot_s, 3)
                if template is None:
                    outcome.guest_s += guest.boot_s - guest.commands_s
                work(guest)
                outcome.touched_mib = round(guest.touched_mib(), 1)
            except BaseException as error:
                if not self._trouble(error):
                    raise
            finally:
                self._leave()
                if guest is not None:
                    outcome.guest_s += guest.commands_s

    def _trouble(self, error: BaseException) -> bool:
        """Note what went wrong as a problem of the cell; false if it is none of these."""
        where, outcome = f"in {self._phase[0]}", self.outcome
        if isinstance(error, GuestPanic):
            outcome.fail("panic", f"{where}: {error.message}")
        elif isinstance(error, GuestHang):
            outcome.fail("hang", f"{where}: {error.message}")
        elif isinstance(error, QemuDied):
            outcome.fail("qemu-died", f"{where}: {error.message}")
        elif isinstance(error, GuestError):
            outcome.fail("guest", f"{where}: {error.message}")
        elif isinstance(error, ToolError):
            outcome.fail("tool", f"{where}: {error}")
        elif isinstance(error, OSError):
            outcome.fail("host", f"{where}: {error}")
        else:
            return isinstance(error, _Stop)
        return True

    def _enter(self, phase: str) -> None:
        if self._cancelled.is_set():
            raise _Stop
        self._leave()
        self._phase = (phase, time.monotonic())
        # A boot begins with an empty console; the file may still hold an earlier guest's.
        begin = len(self._guest.console()) if self._guest and phase != "boot" else 0
        self._marks.append((phase, begin))
        self._on_phase(self.cell, phase, "")

    def _leave(self) -> None:
        phase, since = self._phase
        if phase and (not self.outcome.phases or self.outcome.phases[-1]["phase"] != phase):
            self.outcome.phases.append(
                {"phase": phase, "seconds": round(time.monotonic() - since, 3)}
            )

    def _work(self, guest: Guest) -> None:
        cell, outcome = self.cell, self.outcome
        self._prepare(guest)
        self._enter("lock")
        answer, move = self._xfer(guest, cell.bytes)
        outcome.move = move
        if move is not None:
            outcome.largest_bytes = move.bytes
            return
        outcome.failure = answer.failure()
        self._ask_doctor(guest)
        if cell.search:
            self._find_largest(guest)

    def _work_for_rate(self, guest: Guest) -> None:
        """Lock, and let go: only whether it can be had is asked."""
        self._prepare(guest)
        self._enter("lock")
        answer = self._tool(guest, f"lock --no-touch {self.cell.request_options()}")
        if answer.code == toolcall.EXIT_DONE:
            self.outcome.move = Move(self.cell.bytes, "0x0", answer.number("lock_ms"))
            return
        if (failure := answer.failure()) is None:
            raise ToolError(f"the tool failed without a reason: {answer.data.get('error')!r:.200}")
        if self.outcome.failure is None:
            self.outcome.failure = failure
            self._ask_doctor(guest)

    def _find_largest(self, guest: Guest) -> None:
        outcome = self.outcome
        self._enter("limit")
        outcome.largest_bytes = self._limit(guest)
        if not outcome.largest_bytes:
            return
        self._enter("move")
        # Where memory itself is the limit, the very largest may lock once and not again.
        for size in (outcome.largest_bytes, outcome.largest_bytes * 15 // 16 // 4096 * 4096):
            answer, outcome.largest = self._xfer(guest, size)
            failure = answer.failure() or {"reason": "", "text": ""}
            if outcome.largest is not None or failure["reason"] not in OUT_OF_MEMORY:
                break
        if outcome.largest is None:
            outcome.fail(
                "largest",
                f"{format_size(outcome.largest_bytes)} was said to be the "
                f"largest size, but did not lock: {failure['text']}",
            )

    def _ask_doctor(self, guest: Guest) -> None:
        """Where the scenario names a cause, the doctor must find it, from what it sees there."""
        if self.cell.expect.cause is None:
            return
        self._enter("doctor")
        words = f"doctor {self.cell.request_options()} {PROGRAMS[self.cell.program][1]}".strip()
        guest.put_file(json.dumps(self.outcome.failure).encode(), FAILURE_FILE)
        answer = self._tool(guest, f"{words} --failure {FAILURE_FILE}", program="gigalock")
        self.outcome.diagnosis = doctor.read(answer)

    # -- the guest as the scenario wants it -----------------------------------

    def _prepare(self, guest: Guest) -> None:
        cell = self.cell
        commands = [
            f"echo {shlex.quote(value)} > /proc/sys/{key.replace('.', '/')}"
            for key, value in cell.sysctl
        ]
        if cell.cgroup:
            commands.append(
                f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control && mkdir -p {GROUP}"
            )
            commands += [f"echo {shlex.quote(v)} > {GROUP}/{k}" for k, v in cell.cgroup]
        commands += cell.setup
        commands += [prepare.command(step) for step in cell.prepare]
        late = cell.load == "late"
        if not commands and not late and not cell.user:
            return
        self._enter("setup")
        for command in commands:
            result = self._command(guest, command)
            if result.code != 0:
                self.outcome.fail(
                    "setup",
                    f"setup command {command!r} ended with status "
                    f"{result.code}: {result.stderr.strip()[-200:]}",
                )
                raise _Stop
        if late:
            guest.load_driver(cell.step_seconds)
        if cell.user:
            self._command(guest, "chmod 666 /dev/gigalock0")

    def _limited(self) -> str:
        """What the shell does to itself before it becomes the tool: limits, group, user."""
        cell = self.cell
        words = [f"echo $$ > {GROUP}/cgroup.procs && "] if cell.cgroup else []
        for key, value in cell.rlimit:
            size = "unlimited" if value == UNLIMITED else str(value // KIB)
            words.append(f"ulimit {RLIMITS[key]} {size} && ")
        if cell.user:
            words.append(
                f"exec /usr/bin/setpriv --reuid={cell.user} --regid={cell.user} --clear-groups -- "
            )
        return "".join(words)

    def _command(self, guest: Guest, command: str) -> CommandResult:
        self.outcome.commands.append(command)
        return guest.run(command, timeout=self.cell.step_seconds, on_output=self._output)

    def _output(self, stream: str, text: str) -> None:
        """What the tool says while it works, for the progress."""
        lines = text.strip().splitlines()
        if stream == "stderr" and lines and lines[-1].startswith("gigalock: "):
            self._on_phase(self.cell, self._phase[0], lines[-1].split(": ", 2)[-1][:80])

    def _tool(self, guest: Guest, arguments: str, program: str | None = None) -> Answer:
        program = PROGRAMS[program or self.cell.program][0]
        result = self._command(guest, f"{self._limited()}{program} --json {arguments}")
        return toolcall.read(result.code, result.stdout, result.stderr)

    def _xfer(self, guest: Guest, size: int) -> tuple[Answer, Move | None]:
        """Lock, move and verify. No Move when the lock was refused; other trouble is raised."""
        seed = secrets.randbits(64) if self._seed is None else self._seed
        request = replace(self.cell, bytes=size).request_options()
        # --no-crc: the guest need not compute what the checksum must be, this host does,
        # meanwhile.
        by_device = self.cell.check == "device"
        if self._templates is not None and not by_device:
            toolcall.host_crc_ahead(host_tool(), size, seed, self.cell.step_seconds)
        how = "--check device" if by_device else "--no-crc"
        answer = self._tool(guest, f"xfer {how} {request} --seed {seed}")
        if answer.code in (toolcall.EXIT_USAGE, toolcall.EXIT_NO_DEVICE):
            raise ToolError(f"the tool refused: {answer.data.get('error')!r:.200}")
        failure = answer.failure()
        if answer.code == toolcall.EXIT_FAILED:
            if failure is None:
                raise ToolError(
                    f"the tool failed without a reason: {answer.data.get('error')!r:.200}"
                )
            if failure.get("op") == "lock":
                return answer, None
            self.outcome.fail(
                "transfer", f"the transfer failed, {failure['reason']}: {failure['text']}"
            )
            raise _Stop
        if answer.integer("locked_bytes") != size or answer.integer("seed") != seed:
            raise ToolError(
                f"the tool locked {answer.data.get('locked_bytes')} bytes with seed "
                f"{answer.data.get('seed')}; asked for {size} with {seed}"
            )
        move = Move(
            size,
            f"0x{seed:016x}",
            answer.number("lock_ms"),
            answer.integer("segments"),
            answer.integer("longest_segment"),
            answer.integer("windows"),
            answer.number("to_card_gib_per_s"),
            answer.number("from_card_gib_per_s"),
            answer.number("gib_per_s"),
            answer.truth("verified"),
            None,
            answer.crc("crc_to_card"),
            answer.crc("crc_from_card"),
            backing=answer.data.get("backing"),
        )
        if by_device:
            move.crc_host = slicecrc.crc32c(size, seed)
        else:
            move.crc_host = toolcall.host_crc(host_tool(), size, seed, self.cell.step_seconds)
        if answer.code == toolcall.EXIT_DIFFERENT or not move.verified:
            first = answer.data.get("first_difference")
            self.outcome.fail(
                "data",
                f"the bytes that came back are not those that were sent "
                f"(first difference {first!r:.120}; CRC-32C host {move.crc_host}, "
                f"to card {move.crc_to_card}, from card {move.crc_from_card})",
            )
        for key in ("bytes_to_card", "bytes_from_card"):
            if answer.integer(key) != size:
                move.tool_verified = False
                self.outcome.fail("data", f"{key} is {answer.integer(key)}, not {size}")
        return answer, move

    def _limit(self, guest: Guest) -> int:
        answer = self._tool(guest, f"limit {self.cell.request_options()}")
        if answer.code in (toolcall.EXIT_USAGE, toolcall.EXIT_NO_DEVICE):
            raise ToolError(f"the tool refused: {answer.data.get('error')!r:.200}")
        tries = answer.data.get("tries")
        if isinstance(tries, list):
            self.outcome.tries = [one for one in tries[:100] if isinstance(one, dict)]
        largest = answer.integer("largest_bytes")
        if largest > self.cell.bytes:
            raise ToolError(
                f"the tool says {largest} bytes can be locked; {self.cell.bytes} were asked for"
            )
        return largest

    # -- afterwards -------------------------------------------------------------

    def _read_console(self, guest: Guest) -> None:
        """The console against the lines that the cell declares, and against all that is bad."""
        outcome = self.outcome
        try:
            text = guest.console()
            outcome.reproduce_guest = guest.reproducer()
        except (GuestError, OSError) as error:
            outcome.fail("harness", f"the console can't be read: {error}")
            return
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = self.log_dir / "console.log"
        if not log.exists():
            log.write_text(text, encoding="utf-8", errors="replace")
        outcome.log = str(log)
        outcome.console_tail = text[-CONSOLE_TAIL:]
        ended_early = any(
            problem.kind in ("panic", "hang", "qemu-died", "guest") for problem in outcome.problems
        )
        panicked = any(problem.kind == "panic" for problem in outcome.problems)
        marks = [*self._marks, ("", len(text))]
        for (phase, begin), (_, end) in zip(marks, marks[1:]):
            part = text[begin:end]
            allowed = [rule.pattern for rule in self.cell.console if rule.phase in (None, phase)]
            for found in console_rules.unexpected(part, allowed):
                if found.kind != "panic" or not panicked:
                    outcome.fail(
                        "console", f"unexpected on the console in {phase}: {found.line[:200]}"
                    )
            for pattern in allowed:
                outcome.console_seen += [
                    line[:200]
                    for line in console_rules.clean_lines(part)
                    if re.search(pattern, line)
                ]
        if guest.hello and guest.hello.tainted & TAINT_BAD:
            outcome.fail(
                "console",
                "the kernel warned while it booted "
                f"(tainted {guest.hello.tainted}); dmesg says why",
            )
        for rule in self.cell.console:
            if not rule.needed or ended_early:
                continue
            parts = [
                text[begin:end]
                for (phase, begin), (_, end) in zip(marks, marks[1:])
                if rule.phase in (None, phase)
            ]
            if all(console_rules.missing(part, [rule.pattern]) for part in parts):
                when = f" in {rule.phase}" if rule.phase else ""
                outcome.fail(
                    "missing-line", f"expected on the console{when}, but not there: {rule.pattern}"
                )

    def judge(self) -> None:
        """What happened against what must happen."""
        outcome, expect = self.outcome, self.cell.expect
        if expect.outcome == "locks":
            if outcome.move is None:
                failure = outcome.failure or {}
                outcome.fail(
                    "expectation",
                    f"should lock, but failed with {outcome.reason}: {failure.get('text')}",
                )
                return
            if self.cell.remedy is not None:
                self._judge_cure(outcome.move)
            if expect.backing and outcome.move.backing != expect.backing:
                outcome.fail(
                    "expectation",
                    f"should be backed by {expect.backing}, but is by {outcome.move.backing}",
                )
            pieces = outcome.move.segments or 0
            if expect.segments_max is not None and pieces > expect.segments_max:
                outcome.fail(
                    "expectation",
                    f"should have at most {expect.segments_max} pieces, but has {pieces}",
                )
            if pieces < expect.segments_min:
                outcome.fail(
                    "expectation",
                    f"should have at least {expect.segments_min} pieces, but has {pieces}",
                )
            return
        if outcome.move is not None:
            outcome.fail(
                "expectation", f"should fail with {' or '.join(expect.reasons)}, but locked"
            )
            return
        if outcome.reason not in expect.reasons:
            outcome.fail(
                "expectation",
                f"should fail with {' or '.join(expect.reasons)}, but "
                f"failed with {outcome.reason}: {(outcome.failure or {}).get('text')}",
            )
        if expect.cause is not None:
            found = outcome.diagnosis.cause if outcome.diagnosis else None
            if found != expect.cause:
                outcome.fail(
                    "doctor", f"the doctor should name {expect.cause}, but names {found or 'none'}"
                )
        largest = outcome.largest_bytes
        if largest < expect.largest_min:
            outcome.fail(
                "expectation",
                f"at least {format_size(expect.largest_min)} should lock, "
                f"but the largest was {format_size(largest) if largest else 'nothing'}",
            )
        if expect.largest_max is not None and largest > expect.largest_max:
            outcome.fail(
                "expectation",
                f"at most {format_size(expect.largest_max)} should lock, "
                f"but {format_size(largest)} did",
            )

    def _judge_cure(self, move: Move) -> None:
        """A cure is proved by nothing less than all the bytes, there and back."""
        if move.bytes != self.cell.bytes:
            self.outcome.fail(
                "data", f"{move.bytes} bytes were moved; the cure is of {self.cell.bytes}"
            )
        if not move.verified:
            compared = "compared" if move.tool_verified else "not compared"
            self.outcome.fail(
                "data",
                f"no proof of the cure: the bytes were {compared}; CRC-32C host {move.crc_host}, "
                f"to card {move.crc_to_card}, from card {move.crc_from_card}",
            )


def guest_config(cell: Cell, room_for_card: bool = False) -> GuestConfig:
    """The guest of a cell. With room_for_card it is the same whether or not it has the card when
    it boots."""
    return GuestConfig(
        ram_mib=cell.ram_mib,
        kernel=cell.kernel,
        cmdline_extra=[*cell.cmdline, *([ROOM_FOR_CARD] if room_for_card else [])],
        devices=[cell.device()],
        smp=cell.smp,
        iommu=None if cell.iommu == "none" else cell.iommu,  # type: ignore[arg-type]
        cpu=cell.cpu,
        low_ram_mib=cell.low_ram_mib,
        nodes_mib=cell.nodes_mib,
        kaslr=cell.kaslr,
        load_driver=cell.load == "early",
        driver_params=list(cell.driver_params),
        boot_timeout=cell.boot_seconds,
    )


def touched_estimate_mib(cell: Cell) -> int:
    """Host memory that a cell touches at most, in MiB: not -m, but what is written to.

    QEMU with the kernel takes some 250 MiB, the kernel's page tables 16 MiB for each GiB; the
    request is filled when it locks, and a search for the largest size may fill all of RAM.
    """
    card_mib = 64
    for key, value in cell.card:
        if key == "card-mem":
            card_mib = parse_size(value) // MIB
    wanted = cell.bytes // MIB
    if cell.strategy == "coherent" and cell.expect.largest_max is not None:
        wanted = min(wanted, cell.expect.largest_max // MIB)
    filled = min(cell.ram_mib, wanted + 128)
    return 250 + cell.ram_mib // 64 + card_mib + filled
