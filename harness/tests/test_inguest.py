# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests believe of a program's output; the programs and the guest are the test's own."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gigalock_harness.inguest import Tap, run_tap, start, tap, tool


def says(stdout: str, code: int = 0) -> Any:
    answer = SimpleNamespace(stdout=stdout, stderr="", code=code)
    return SimpleNamespace(run=lambda command, timeout: answer)


def test_tap() -> None:
    assert tap("ok 1 - a_b\n# word\nnot ok 2 - c d\nok 3 - e # SKIP\n1..3\n") == Tap(
        ["a_b"], ["c d", "e # SKIP"], 3
    )
    assert tap("") == Tap([], [], -1)
    assert run_tap(says("ok 1 - one\nok 2 - two\n1..2\n"), "x")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ok 1 - one\nnot ok 2 - two\n1..2\n", 0),
        ("ok 1 - one\n1..1\n", 1),
        ("ok 1 - one\n", 0),
        ("ok 1 - one\n1..2\n", 0),
        ("1..0\n", 0),
        ("ok 1 - one # SKIP\n1..1\n", 0),
        ("", 0),
    ],
)
def test_what_is_no_success(text: str, code: int) -> None:
    with pytest.raises(AssertionError):
        run_tap(says(text, code), "x")


def test_the_tool_s_answer() -> None:
    assert tool(says('{"ok": true}\n'), "info", 0) == {"ok": True}
    assert tool(says('{"ok": false}\n', 1), "info") == {"ok": False}
    for text, code in (("", 0), ('{"ok": true}\n{}\n', 0), ("[1]\n", 0), ('{"ok": true}\n', 1)):
        with pytest.raises(AssertionError):
            tool(says(text, code), "info", 0)


class Slow:
    """A guest whose shell takes its time to begin what it is to do in the background."""

    def run(self, command: str) -> Any:
        now, _, later = command.rpartition("; ") if command.endswith("&") else (command, "", "")
        sh = ["sh", "-c"]
        if later:
            threading.Timer(0.3, subprocess.run, ([*sh, later.removesuffix("&")],)).start()
        done = subprocess.run([*sh, now], capture_output=True, text=True)
        return SimpleNamespace(stdout=done.stdout, ok=done.returncode == 0)


def test_what_an_earlier_program_said_is_not_this_one_s(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("at 1\n")
    guest: Any = Slow()
    assert start(guest, "echo at 2", "^at [0-9]", out=str(out)) == "at 2\n"
    with pytest.raises(AssertionError, match="Bail out! why"):
        start(guest, "echo 'Bail out! why'", "^at", out=str(out))
    with pytest.raises(AssertionError, match="nothing"):
        start(guest, "echo nothing", "^at", patience=1, out=str(out))
