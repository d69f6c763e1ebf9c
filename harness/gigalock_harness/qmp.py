# SPDX-License-Identifier: GPL-2.0-or-later
"""A small blocking QMP client over a connected socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any


class QmpError(Exception):
    """QEMU refused a command; `klass` is its error class."""

    def __init__(self, klass: str, description: str) -> None:
        super().__init__(f"{klass}: {description}")
        self.klass = klass
        self.description = description


class QmpClosed(Exception):
    """The monitor is gone: QEMU ended."""


class QmpClient:
    """One command at a time; events that arrive meanwhile are kept in `events`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.events: list[dict[str, Any]] = []
        self._buffer = b""
        self._lock = threading.RLock()
        self._next_id = 0
        self._ready = False
        self._closed = False
        # QEMU reads this when it is up; without it no event is ever sent, and
        # an early panic would go unseen.
        self._send({"execute": "qmp_capabilities", "id": "hello"})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as e:
            self._closed = True
            raise QmpClosed(f"the QMP connection is closed: {e}") from e

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """The next message, or None when the time is up."""
        while b"\n" not in self._buffer:
            if self._closed:
                raise QmpClosed("the QMP connection is closed")
            left = deadline - time.monotonic()
            if left < 0:
                return None
            self.sock.settimeout(max(left, 0.001))
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                data = b""
            if not data:
                self._closed = True
                continue
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        if "event" in message:
            self.events.append(message)
        return message

    def _answer(self, ident: str, what: str, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while (message := self._receive(deadline)) is not None:
            if message.get("id") != ident:
                continue
            if "error" in message:
                raise QmpError(message["error"]["class"], message["error"]["desc"])
            return message["return"]
        raise TimeoutError(f"QEMU did not answer {what} within {timeout:g} s")

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float = 10.0
    ) -> Any:
        """Run a command and return what QEMU returns."""
        with self._lock:
            if not self._ready:
                self._answer("hello", "qmp_capabilities", timeout)
                self._ready = True
            self._next_id += 1
            ident = f"c{self._next_id}"
            self._send({"execute": command, "arguments": arguments or {}, "id": ident})
            return self._answer(ident, command, timeout)

    def execute_with_file(
        self, command: str, arguments: dict[str, Any], file: int, timeout: float = 10.0
    ) -> Any:
        """As execute(), with an open file that QEMU gets a copy of."""
        with self._lock:
            self.execute("query-status", timeout=timeout)  # the greeting is behind us
            self._next_id += 1
            ident = f"c{self._next_id}"
            message = {"execute": command, "arguments": arguments, "id": ident}
            try:
                socket.send_fds(self.sock, [json.dumps(message).encode() + b"\n"], [file])
            except OSError as e:
                self._closed = True
                raise QmpClosed(f"the QMP connection is closed: {e}") from e
            return self._answer(ident, command, timeout)

    def drain(self, timeout: float = 0.0) -> None:
        """Take in what has arrived; with a timeout, wait for QEMU's last words."""
        deadline = time.monotonic() + timeout
        with self._lock:
            try:
                while self._receive(deadline) is not None:
                    pass
            except QmpClosed:
                pass

    def wait_event(self, name: str, timeout: float) -> dict[str, Any] | None:
        """The next event of that name, taken out of `events`; None when none comes."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while True:
                for i, event in enumerate(self.events):
                    if event["event"] == name:
                        return self.events.pop(i)
                try:
                    if self._receive(deadline) is None:
                        return None
                except QmpClosed:
                    return None

    def close(self) -> None:
        self._closed = True
        self.sock.close()
