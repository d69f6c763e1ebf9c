# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the command channel; guest-image/agent/agent.h describes it."""

from __future__ import annotations

import base64
import binascii
import re
import socket
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

VERSION = 1
MAX_LINE = 160 * 1024
MAX_COMMAND = 96 * 1024
FILE_PIECE = 24 * 1024
FILE_AHEAD = 2 * FILE_PIECE  # what may be under way: less than the guest's line buffers hold
# What one command may say, and what a guest may send meanwhile of earlier ones: it is kept in
# memory, and a line that is never silent never meets its time limit.
MAX_OUTPUT = 8 << 20
# How a command can end, and the largest number that may follow.
MOST_END = {"exit": 255, "signal": 127, "timeout": 1}

Output = Callable[[str, str], None]


class AgentError(Exception):
    """The agent said that it can't do what was asked."""


class AgentGarbage(Exception):
    """What came over the channel is not what an agent sends."""


class AgentClosed(Exception):
    """The channel is closed: QEMU is gone."""


class AgentTimeout(Exception):
    """Nothing came in time."""


@dataclass
class CommandResult:
    """What became of a command.

    `code` is the exit code, 128 + number for a signal as in a shell, and None
    when the time was up.
    """

    command: str
    code: int | None
    signal: int | None
    timed_out: bool
    unkillable: bool
    seconds: float
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode(errors="replace")


@dataclass(frozen=True)
class Hello:
    version: int
    release: str
    tainted: int


def frame(*fields: str) -> bytes:
    """One line of the channel."""
    text = " ".join(fields).encode()
    return text + b" %08x\n" % zlib.crc32(text)


def parse(line: bytes) -> list[str]:
    """The fields of a line, checked."""
    text, _, crc = line.rpartition(b" ")
    if len(crc) != 8 or crc != b"%08x" % zlib.crc32(text):
        raise AgentGarbage(f"a line with a wrong checksum: {line[:80]!r}")
    try:
        return text.decode("ascii").split(" ")
    except UnicodeDecodeError as e:
        raise AgentGarbage(f"a line that is not ASCII: {line[:80]!r}") from e


def number(text: str, what: str, most: int = (1 << 64) - 1) -> int:
    """A field that must be a decimal number."""
    if not re.fullmatch("[0-9]{1,20}", text) or int(text) > most:
        raise AgentGarbage(f"{what} is {text[:60]!r}; 0 to {most} are possible")
    return int(text)


def decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise AgentGarbage(f"no base64: {text[:60]!r}") from e


def left(room: int, *more: str | bytes) -> int:
    """What may still come; raises AgentGarbage when it is more than that."""
    room -= sum(map(len, more))
    if room < 0:
        raise AgentGarbage(f"the guest flooded the channel: more than {MAX_OUTPUT} bytes")
    return room


class Agent:
    """Speaks with the agent over a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._next_id = 0

    def _send(self, data: bytes, deadline: float) -> None:
        self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            self.sock.sendall(data)
        except TimeoutError as e:
            raise AgentTimeout("the guest does not read the command channel") from e
        except OSError as e:
            raise AgentClosed(str(e)) from e

    def receive(self, deadline: float) -> list[str]:
        """The next frame; raises AgentTimeout at the deadline."""
        while not self._lines:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.sock.recv(1 << 18)
            except TimeoutError as e:
                raise AgentTimeout("nothing came over the command channel") from e
            except OSError as e:
                raise AgentClosed(str(e)) from e
            if not data:
                raise AgentClosed("the command channel is closed")
            self._buffer += data
            *self._lines, rest = bytes(self._buffer).split(b"\n")
            self._buffer[:] = rest
            self._lines.reverse()
            if len(self._buffer) > MAX_LINE:
                raise AgentGarbage(f"a line of more than {MAX_LINE} bytes: {self._buffer[:60]!r}")
        return parse(self._lines.pop())

    def hello(self, deadline: float) -> Hello:
        """Wait for the agent; anything but its greeting is garbage."""
        words = self.receive(deadline)
        match words:
            case ["HELLO", version, release, tainted]:
                if number(version, "the version") != VERSION:
                    raise AgentGarbage(
                        f"the agent speaks version {version} of the channel, this harness {VERSION}"
                    )
                return Hello(VERSION, release, number(tainted, "the taint"))
        raise AgentGarbage(f"expected HELLO, got {' '.join(words)[:80]!r}")

    def _id(self) -> str:
        self._next_id += 1
        return str(self._next_id)

    def run(
        self, command: str, timeout: float, grace: float, on_output: Output | None = None
    ) -> CommandResult:
        """Run a shell command. The agent ends it at `timeout`; an agent that
        says nothing for `grace` longer is gone (AgentTimeout)."""
        raw = command.encode()
        if not 0 < len(raw) <= MAX_COMMAND or b"\0" in raw:
            raise ValueError(
                f"a command of {len(raw)} bytes; 1 to {MAX_COMMAND} without NUL are possible"
            )
        if not 0.001 <= timeout <= 4_000_000:
            raise ValueError(f"time limit of {timeout} s; 0.001 to 4000000 are possible")
        ident = self._id()
        deadline = time.monotonic() + timeout + grace
        self._send(
            frame("RUN", ident, str(int(timeout * 1000)), base64.b64encode(raw).decode()), deadline
        )
        output = {"OUT": bytearray(), "ERR": bytearray()}
        room = MAX_OUTPUT
        while True:
            match self.receive(deadline):
                case [("OUT" | "ERR") as word, i, text] if i == ident:
                    data = decode(text)
                    room = left(room, data or b"-")
                    output[word] += data
                    if on_output:
                        on_output(
                            "stdout" if word == "OUT" else "stderr", data.decode(errors="replace")
                        )
                case ["END", i, how, status, ms] if i == ident:
                    if how not in MOST_END:
                        raise AgentGarbage(f"a command that ended by {how[:60]!r}")
                    n = number(status, "the status of a command", MOST_END[how])
                    code = {"exit": n, "signal": 128 + n}.get(how)
                    return CommandResult(
                        command,
                        code,
                        n if how == "signal" else None,
                        how == "timeout",
                        how == "timeout" and n > 0,
                        number(ms, "the time of a command") / 1000,
                        bytes(output["OUT"]),
                        bytes(output["ERR"]),
                    )
                case ["ERROR", i, text] if i in (ident, "-"):
                    raise AgentError(decode(text).decode(errors="replace"))
                case ["HELLO", *_]:
                    raise AgentGarbage("the agent greeted again: the guest started anew")
                case [("OUT" | "ERR" | "END" | "ACK" | "ERROR"), *_] as words:
                    room = left(room, *words)  # of a command or a file that was given up earlier
                case words:
                    raise AgentGarbage(f"unknown frame {' '.join(words)[:80]!r}")

    def put_file(self, data: bytes, path: str, mode: int, timeout: float) -> None:
        """Write a file in the guest."""
        ident = self._id()
        deadline = time.monotonic() + timeout
        name = base64.b64encode(path.encode()).decode()
        self._send(frame("FILE", ident, f"{mode:o}", str(len(data)), name), deadline)
        sent = done = 0
        started, room = False, MAX_OUTPUT
        while not started or done < len(data):
            while started and sent < len(data) and sent - done < FILE_AHEAD:
                piece = base64.b64encode(data[sent : sent + FILE_PIECE]).decode()
                self._send(frame("DATA", ident, piece), deadline)
                sent = min(sent + FILE_PIECE, len(data))
            match self.receive(deadline):
                case ["ACK", i, count] if i == ident:
                    acknowledged = number(count, "what is written of a file", sent)
                    done, started = max(done, acknowledged), True
                case ["ERROR", i, text] if i in (ident, "-"):
                    raise AgentError(decode(text).decode(errors="replace"))
                case words:
                    room = left(room, "-", *words)

    def power_off(self) -> None:
        self._send(frame("POWEROFF"), time.monotonic() + 5)

    def close(self) -> None:
        self.sock.close()
