# SPDX-License-Identifier: GPL-2.0-or-later
"""The `gigalock` tool as the harness sees it: what it may say, checked.

What the tool prints comes out of a guest, so nothing of it is believed before
its type is checked.
"""

from __future__ import annotations

import concurrent.futures
import json
import math
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import reasons

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_NO_DEVICE, EXIT_DIFFERENT = range(5)
MAX_JSON = 1 << 20
_CRC = re.compile(r"0x[0-9a-f]{8}", re.ASCII)


class ToolError(Exception):
    """The tool crashed, or said what it may not say."""


@dataclass(frozen=True)
class Answer:
    """One run of the tool: its exit code and its JSON object."""

    code: int
    data: dict[str, Any]

    def integer(self, key: str) -> int:
        value = self.data.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ToolError(f'the tool\'s "{key}" is {value!r:.60}, not a whole number')
        return value

    def number(self, key: str) -> float:
        value = self.data.get(key)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            raise ToolError(f'the tool\'s "{key}" is {value!r:.60}, not a number')
        return float(value)

    def truth(self, key: str) -> bool:
        value = self.data.get(key)
        if not isinstance(value, bool):
            raise ToolError(f'the tool\'s "{key}" is {value!r:.60}, not true or false')
        return value

    def crc(self, key: str) -> str:
        value = self.data.get(key)
        if not isinstance(value, str) or not _CRC.fullmatch(value):
            raise ToolError(f'the tool\'s "{key}" is {value!r:.60}, not a checksum')
        return value

    def failure(self) -> dict[str, Any] | None:
        """The failure object, or None; one whose reason is unknown is refused."""
        value = self.data.get("failure")
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ToolError(f'the tool\'s "failure" is {value!r:.60}, not an object')
        known = reasons.load().reasons
        name = value.get("reason")
        if not isinstance(name, str) or name not in known or name == "none":
            raise ToolError(f"the tool gives a reason that the header doesn't know: {name!r:.60}")
        if value.get("code") != known[name].code:
            raise ToolError(
                f"the tool's code of {name} is {value.get('code')!r:.20}; the header "
                f"says {known[name].code}"
            )
        for key in ("text", "remedy", "stage", "unit"):
            if not isinstance(value.get(key), str):
                raise ToolError(f'the failure\'s "{key}" is {value.get(key)!r:.60}, not a string')
        return value


def read(code: int, stdout: str, stderr: str) -> Answer:
    """The answer of a run; ToolError when it crashed or broke its own rules."""
    said = (stderr.strip().splitlines() or ["nothing on standard error"])[-1][:200]
    if code not in range(5):
        raise ToolError(f"the tool ended with status {code}: {said}")
    if len(stdout) > MAX_JSON:
        raise ToolError(f"the tool printed {len(stdout)} bytes; the limit is {MAX_JSON}")
    try:
        data = json.loads(stdout)
    except (ValueError, RecursionError):
        raise ToolError(
            f"the tool's answer (status {code}) is not JSON: {stdout.strip()[:80]!r}; {said}"
        ) from None
    if not isinstance(data, dict):
        raise ToolError(f"the tool's answer is not an object: {stdout.strip()[:80]!r}")
    answer = Answer(code, data)
    if answer.truth("ok") != (code == EXIT_DONE):
        raise ToolError(f'the tool ended with status {code} but says "ok": {data["ok"]}')
    return answer


_crcs: dict[tuple[Path, int, int], concurrent.futures.Future[str]] = {}
_crcs_lock = threading.Lock()
_one_at_a_time = concurrent.futures.ThreadPoolExecutor(1, "crc")


def host_crc_ahead(
    tool: Path, size: int, seed: int, timeout: float
) -> concurrent.futures.Future[str]:
    """host_crc() in the background, once for each size and seed: cells with the same seed move
    the same pattern."""
    with _crcs_lock:
        key = (tool, size, seed)
        if key not in _crcs:
            _crcs[key] = _one_at_a_time.submit(_host_crc, tool, size, seed, timeout)
        return _crcs[key]


def host_crc(tool: Path, size: int, seed: int, timeout: float) -> str:
    """CRC-32C of the pattern, computed on the host: the party that saw neither guest nor card."""
    known = _crcs.get((tool, size, seed))
    return known.result() if known else _host_crc(tool, size, seed, timeout)


def _host_crc(tool: Path, size: int, seed: int, timeout: float) -> str:
    command = [str(tool), "--json", "pattern", "--size", str(size), "--seed", str(seed)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise ToolError(f'{tool} can\'t be run: {error.strerror}; build it with "make"') from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{tool} pattern took more than {timeout:.0f} s") from None
    answer = read(done.returncode, done.stdout, done.stderr)
    if answer.code != EXIT_DONE:
        raise ToolError(f"{tool} pattern failed: {answer.data.get('error')!r:.200}")
    return answer.crc("crc32c")
