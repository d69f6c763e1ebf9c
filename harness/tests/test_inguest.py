# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests believe of a program's output; the programs and the guest are the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gigalock_harness.inguest import Tap, run_tap, tap, tool


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
