# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the command channel, against frames made by hand."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from gigalock_harness import agent
from gigalock_harness.agent import (
    Agent,
    AgentClosed,
    AgentError,
    AgentGarbage,
    AgentTimeout,
)


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.fixture
def pair() -> Iterator[tuple[Agent, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield Agent(here), there


Pair = tuple[Agent, socket.socket]


def test_frames() -> None:
    line = agent.frame("RUN", "1", "500", "dHJ1ZQ==")
    assert line.startswith(b"RUN 1 500 dHJ1ZQ== ") and line.endswith(b"\n")
    # The check value of CRC-32, as in every catalogue of checksums.
    assert agent.frame("123456789") == b"123456789 cbf43926\n"
    assert agent.parse(line[:-1]) == ["RUN", "1", "500", "dHJ1ZQ=="]


@pytest.mark.parametrize(
    "line", [b"", b"HELLO", b"HELLO 1 x 0 00000000", b"END 1 exit 0 12 zzzzzzzz"]
)
def test_bad_checksums(line: bytes) -> None:
    with pytest.raises(AgentGarbage, match="checksum"):
        agent.parse(line)


def test_one_flipped_bit(pair: Pair) -> None:
    line = bytearray(agent.frame("OUT", "1", b64(b"payload")))
    line[8] ^= 1
    pair[1].sendall(line)
    with pytest.raises(AgentGarbage):
        pair[0].run("true", 1, 1)


def test_hello(pair: Pair) -> None:
    pair[1].sendall(agent.frame("HELLO", "1", "6.1.0-x", "512"))
    hello = pair[0].hello(time.monotonic() + 1)
    assert (hello.release, hello.tainted) == ("6.1.0-x", 512)


def test_hello_of_another_version(pair: Pair) -> None:
    pair[1].sendall(agent.frame("HELLO", "2", "6.1.0-x", "0"))
    with pytest.raises(AgentGarbage, match=r"version 2 .* harness 1"):
        pair[0].hello(time.monotonic() + 1)


def test_result_in_pieces(pair: Pair) -> None:
    data = (
        agent.frame("OUT", "1", b64(b"a\xffb"))
        + agent.frame("ERR", "1", b64(b"e"))
        + agent.frame("END", "1", "signal", "9", "1500")
    )
    for byte in data:
        pair[1].sendall(bytes([byte]))
    result = pair[0].run("x", 1, 1)
    assert (result.stdout_bytes, result.stderr, result.code, result.signal, result.seconds) == (
        b"a\xffb",
        "e",
        137,
        9,
        1.5,
    )


def test_frames_of_an_earlier_command_are_not_taken(pair: Pair) -> None:
    first, second = (
        agent.frame("END", "1", "exit", "1", "1"),
        agent.frame("END", "2", "exit", "0", "1"),
    )
    with pytest.raises(AgentTimeout):
        pair[0].run("first", 0.1, 0.1)
    pair[1].sendall(
        agent.frame("OUT", "1", b64(b"old"))
        + agent.frame("ERROR", "1", b64(b"old"))
        + first
        + second
    )
    result = pair[0].run("second", 1, 1)
    assert (result.code, result.stdout) == (0, "")


def test_refusal(pair: Pair) -> None:
    pair[1].sendall(agent.frame("ERROR", "1", b64(b"can't start a command: no memory")))
    with pytest.raises(AgentError, match="no memory"):
        pair[0].run("x", 1, 1)


@pytest.mark.parametrize(
    "words", [["WHAT", "1"], ["OUT", "1", "no-base64!"], ["HELLO", "1", "x", "0"]]
)
def test_garbage(pair: Pair, words: list[str]) -> None:
    pair[1].sendall(agent.frame(*words))
    with pytest.raises(AgentGarbage):
        pair[0].run("x", 1, 1)


def checked(text: bytes) -> bytes:
    """A line with the right checksum, whatever it holds."""
    return text + b" %08x\n" % zlib.crc32(text)


@pytest.mark.parametrize(
    "line",
    [
        b"END 1 exit x 1",
        b"END 1 exit -1 1",
        b"END 1 exit 256 1",
        b"END 1 signal 128 1",
        b"END 1 timeout 2 1",
        b"END 1 exit 0 1e3",
        b"END 1 exit 0 18446744073709551616",
        pytest.param(b"END 1 exit " + b"9" * 5000 + b" 1", id="5000 digits"),
        b"END 1 gone 0 1",
        b"OUT 1 \xc3\xa4",
        b"ERROR 1 abc",
    ],
)
def test_malformed_but_checked(pair: Pair, line: bytes) -> None:
    pair[1].sendall(checked(line))
    with pytest.raises(AgentGarbage) as caught:
        pair[0].run("true", 1, 1)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "line",
    [
        b"HELLO x r 0",
        b"HELLO 1 r x",
        b"HELLO 1 r -1",
        b"HELLO 1 r 1_0",
        b"HELLO 1 r \xff",
        b"HELLO 1 r",
    ],
)
def test_a_malformed_greeting(pair: Pair, line: bytes) -> None:
    pair[1].sendall(checked(line))
    with pytest.raises(AgentGarbage):
        pair[0].hello(time.monotonic() + 1)


@pytest.mark.parametrize("count", ["x", "-1", "4"])
def test_a_malformed_acknowledgement(pair: Pair, count: str) -> None:
    """More than was sent can't be written yet."""
    pair[1].sendall(agent.frame("ACK", "1", "0") + agent.frame("ACK", "1", count))
    with pytest.raises(AgentGarbage, match="written"):
        pair[0].put_file(b"abc", "/x", 0o644, 1)


def test_endless_line(pair: Pair) -> None:
    def pour() -> None:
        with contextlib.suppress(OSError):
            for _ in range(40):
                pair[1].sendall(b"x" * 10_000)

    thread = threading.Thread(target=pour)
    thread.start()
    with pytest.raises(AgentGarbage, match="line of more than"):
        pair[0].receive(time.monotonic() + 5)
    pair[0].close()
    thread.join()


def test_closed(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(AgentClosed):
        pair[0].run("x", 1, 1)


def test_nobody_reads(pair: Pair) -> None:
    with pytest.raises(AgentTimeout):
        pair[0].put_file(bytes(4_000_000), "/x", 0o644, 0.3)


def endless(sock: socket.socket, frame: bytes) -> threading.Thread:
    """Send that frame until nobody takes it."""

    def work() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(frame)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


LONG = b64(b"x" * 90_000)


@pytest.mark.parametrize(
    "words",
    [("OUT", "1", LONG), ("ERR", "1", LONG), ("OUT", "0", LONG)],
    ids=["output", "errors", "of an earlier one"],
)
def test_endless_output(pair: Pair, words: tuple[str, ...]) -> None:
    """Of the command or of an earlier one: it is not kept without limit, and not read for ever."""
    thread = endless(pair[1], agent.frame(*words))
    with pytest.raises(AgentGarbage, match=rf"flooded .* more than {agent.MAX_OUTPUT} bytes"):
        pair[0].run("yes", 60, 1)
    pair[0].close()
    thread.join()


@pytest.mark.parametrize("words", [("OUT", "1", ""), ("OUT",), ("END", "0")])
def test_endless_frames_with_nothing_in_them(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(agent, "MAX_OUTPUT", 1000)
    thread = endless(pair[1], agent.frame(*words))
    with pytest.raises(AgentGarbage, match="flooded"):
        pair[0].run("yes", 60, 1)
    pair[0].close()
    thread.join()


def test_output_up_to_the_limit(pair: Pair) -> None:
    piece = b"x" * (64 << 10)

    def work() -> None:
        for _ in range(agent.MAX_OUTPUT // len(piece)):
            pair[1].sendall(agent.frame("OUT", "1", b64(piece)))
        pair[1].sendall(agent.frame("END", "1", "exit", "0", "1"))

    thread = threading.Thread(target=work)
    thread.start()
    assert len(pair[0].run("cat", 60, 1).stdout_bytes) == agent.MAX_OUTPUT
    thread.join()


def test_a_file_amid_endless_frames(pair: Pair) -> None:
    thread = endless(pair[1], agent.frame("OUT", "0", b64(b"x" * 90_000)))
    with pytest.raises(AgentGarbage, match="flooded"):
        pair[0].put_file(b"abc", "/x", 0o644, 60)
    pair[0].close()
    thread.join()
