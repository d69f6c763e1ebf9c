# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a guest. Each is a result with its log, never a stuck run."""

from __future__ import annotations

from pathlib import Path


class GuestError(Exception):
    """A guest could not be started or used.

    `console` holds the end of its console, `log_dir` everything else, and
    `reproducer` the command line that boots the same guest by hand.
    """

    def __init__(
        self,
        message: str,
        *,
        log_dir: Path | None = None,
        console: str = "",
        reproducer: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.log_dir = log_dir
        self.console = console
        self.reproducer = reproducer

    def __str__(self) -> str:
        text = self.message
        if self.console:
            text += "\nThe end of its console:\n" + "\n".join(
                "    " + line for line in self.console.splitlines()[-12:]
            )
        if self.log_dir:
            text += f"\nLogs and the command to reproduce it: {self.log_dir}"
        return text


class GuestHang(GuestError):
    """The guest did not come up, or did not answer, in the time it had."""


class GuestPanic(GuestError):
    """The guest's kernel panicked or reset itself."""


class QemuDied(GuestError):
    """QEMU ended by itself; `code` is its exit code, negative for a signal."""

    def __init__(self, message: str, *, code: int = 0, stderr: str = "", **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]
        self.code = code
        self.stderr = stderr
