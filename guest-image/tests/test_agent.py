# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent without a guest: on a pseudo terminal of this machine.

What needs the kernel of a guest (mounts, power off, orphans) is tested by
harness/tests/test_boot.py.
"""

from __future__ import annotations

import base64
import os
import pty
import select
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("BUILD") or Path(__file__).resolve().parents[2] / "build")
AGENT = BUILD / "guest-image" / "agent"
LINE_MAX = 160 * 1024


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Line:
    """The host's end, written anew here so that it shares no mistake with the harness."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.buffer = b""

    def send(self, text: str) -> None:
        self.raw(f"{text} {zlib.crc32(text.encode()):08x}\n".encode())

    def raw(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.fd, data[:2048]) :]

    def get(self, seconds: float = 10) -> list[str]:
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"no frame within {seconds} s; so far {self.buffer!r}"
            self.buffer += os.read(self.fd, 65536)
        line, _, self.buffer = self.buffer.partition(b"\n")
        text, _, crc = line.rpartition(b" ")
        assert crc.decode() == f"{zlib.crc32(text):08x}", line
        return text.decode().split(" ")

    def run(
        self, command: bytes, ms: int = 10_000, ident: str = "1"
    ) -> tuple[bytes, bytes, list[str]]:
        self.send(f"RUN {ident} {ms} {b64(command)}")
        out = {"OUT": b"", "ERR": b""}
        while (words := self.get(20))[0] != "END":
            assert words[0] in out and words[1] == ident, words
            out[words[0]] += base64.b64decode(words[2], validate=True)
        assert words[1] == ident
        return out["OUT"], out["ERR"], words[2:4]

    def error(self) -> str:
        words = self.get()
        assert words[0] == "ERROR", words
        return base64.b64decode(words[2]).decode(errors="replace")


@pytest.fixture
def line() -> Iterator[Line]:
    here, there = pty.openpty()
    agent = subprocess.Popen([AGENT, os.ttyname(there)], cwd="/")
    link = Line(here)
    hello = link.get()
    assert hello == ["HELLO", "1", os.uname().release, hello[3]] and hello[3].isdigit()
    yield link
    os.close(there)
    os.close(here)
    agent.kill()
    agent.wait()


def test_usage() -> None:
    done = subprocess.run([AGENT], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "usage" in done.stderr
    done = subprocess.run([AGENT, "/nonexistent/tty"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "/nonexistent/tty: No such file" in done.stderr


def test_codes_and_streams(line: Line) -> None:
    assert line.run(b"echo o; echo e >&2; exit 7") == (b"o\n", b"e\n", ["exit", "7"])
    assert line.run(b"kill -9 $$") == (b"", b"", ["signal", "9"])


def test_every_byte(line: Line) -> None:
    data = bytes(range(256)) * 40 + b"tail"
    for length in (1, 2, 3, 4, 3071, 3072, 3073, len(data)):
        text = "".join(f"\\{b:03o}" for b in data[:length]).encode()
        out, err, how = line.run(b"printf '" + text + b"'")
        assert (out, err, how) == (data[:length], b"", ["exit", "0"])


def test_much(line: Line) -> None:
    out, _, how = line.run(b"head -c 3000000 /dev/zero", 60_000)
    assert (len(out), set(out), how) == (3_000_000, {0}, ["exit", "0"])


def test_time_limit(line: Line) -> None:
    start = time.monotonic()
    out, _, how = line.run(b"echo begun; trap '' TERM; while :; do sleep 1; done", 500)
    assert (out, how) == (b"begun\n", ["timeout", "0"])
    assert 0.4 < time.monotonic() - start < 6
    assert line.run(b"echo next")[0] == b"next\n"


def test_background_output_does_not_follow(line: Line) -> None:
    out, _, how = line.run(b"(sleep 1; echo late) & echo now")
    assert (out, how) == (b"now\n", ["exit", "0"])
    time.sleep(1.5)
    assert line.run(b"echo second", ident="2") == (b"second\n", b"", ["exit", "0"])


def test_endless_background_does_not_hold_the_end(line: Line) -> None:
    start = time.monotonic()
    _, _, how = line.run(b"yes & sleep 0.2; exit 3", 20_000)
    assert how == ["exit", "3"]
    assert time.monotonic() - start < 15


def test_one_at_a_time(line: Line) -> None:
    line.send(f"RUN 1 10000 {b64(b'sleep 1')}")
    line.send(f"RUN 2 10000 {b64(b'true')}")
    assert line.error() == "command 1 is still running"
    assert line.get()[:3] == ["END", "1", "exit"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("RUN 1 0 dHJ1ZQ==", "time limit '0' is not 1 to"),
        ("RUN 1 -5 dHJ1ZQ==", "time limit '-5'"),
        ("RUN 1 5x dHJ1ZQ==", "time limit '5x'"),
        ("RUN 1 99999999999 dHJ1ZQ==", "time limit '99999999999'"),
        ("RUN 1 100 dHJ1ZQ=", "no base64"),
        ("RUN 1 100 dHJ!ZQ==", "no base64"),
        ("RUN 1 100 =HJ1ZQ==", "no base64"),
        ("RUN 1 100 dHJ1AA==", "no base64"),  # holds a NUL
        ("RUN 1 100", "unknown request 'RUN' of 3 words"),
        ("FILE 1 999 5 L3RtcC94", "mode '999' is not octal"),
        ("FILE 1 644 x L3RtcC94", "size 'x' is not a number"),
        ("FILE 1 644 5 L25vd2hlcmUveA==", "creating /nowhere/x: No such file"),
        ("DATA 1 L3RtcC94", "no file is being sent"),
        ("HELLO", "unknown request 'HELLO' of 1 words"),
        ("", "unknown request '' of 0 words"),
    ],
)
def test_bad_requests(line: Line, request_: str, message: str) -> None:
    line.send(request_)
    assert message in line.error()
    assert line.run(b"echo on", ident="9")[0] == b"on\n"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"POWEROFF\n", "without checksum"),
        (b"POWEROFF 00000000\n", "wrong checksum"),
        (b"POWEROFF 0000000\n", "without checksum"),
        (b"\n", "without checksum"),
        (b"\xff\x00\xfe binary \x01\n", "without checksum"),
    ],
)
def test_broken_lines(line: Line, raw: bytes, message: str) -> None:
    line.raw(raw)
    assert message in line.error()
    assert line.run(b"echo on")[0] == b"on\n"


def test_line_that_is_too_long(line: Line) -> None:
    line.raw(b"x" * (3 * LINE_MAX) + b"\n")
    assert f"longer than {LINE_MAX}" in line.error()
    assert line.run(b"echo on")[0] == b"on\n"


def test_file(line: Line, tmp_path: Path) -> None:
    target = tmp_path / "file"
    data = os.urandom(100_000)
    line.send(f"FILE 5 0751 {len(data)} {b64(str(target).encode())}")
    assert line.get() == ["ACK", "5", "0"]
    for start in range(0, len(data), 30_000):
        assert not target.exists(), "it has its name only when it is whole"
        line.send(f"DATA 5 {b64(data[start : start + 30_000])}")
        assert line.get() == ["ACK", "5", str(min(start + 30_000, len(data)))]
    assert target.read_bytes() == data
    assert target.stat().st_mode & 0o7777 == 0o751
    assert list(tmp_path.iterdir()) == [target]


def test_file_that_gets_too_much(line: Line, tmp_path: Path) -> None:
    line.send(f"FILE 5 0644 3 {b64(str(tmp_path / 'x').encode())}")
    line.get()
    line.send(f"DATA 5 {b64(b'1234')}")
    assert "doesn't fit" in line.error()
    assert list(tmp_path.iterdir()) == []


def test_signals_are_not_inherited(line: Line) -> None:
    out, _, _ = line.run(b"grep -E '^Sig(Blk|Ign)' /proc/self/status")
    ours = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGCHLD - 1)
    assert [int(mask, 16) & ours for mask in out.split()[1::2]] == [0, 0]
    assert line.run(b"yes | head -n 1")[0] == b"y\n"
