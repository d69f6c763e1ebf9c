# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock QEMU with the device, driven without a guest: qtest and QMP."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", TOP / "build"))
LAUNCHER = BUILD / "qemu-dev" / "gigalock-qemu"
TIMEOUT = 30.0  # a longer silence is a hang, and a failure


class QemuError(Exception):
    """QEMU said no, or nothing at all."""


class Qemu:
    """One QEMU process: the CPUs never run; we are the only bus master's driver.

    -accel tcg -S -qtest stdio works with the distribution's binaries, which
    have no qtest accelerator.
    """

    def __init__(
        self,
        args: list[str],
        launcher: Path = LAUNCHER,
        machine: str = "q35",
        memory: str | None = "256M",
        paused: bool = True,
    ) -> None:
        self.dir = tempfile.mkdtemp(prefix="gigalock-test-")
        self.stderr_path = Path(self.dir) / "stderr"
        ours, theirs = socket.socketpair()
        cmd = [
            str(launcher),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            machine,
            "-accel",
            "tcg",
            "-qtest",
            "stdio",
            "-qtest-log",
            "none",
            "-chardev",
            f"socket,id=qmp,fd={theirs.fileno()}",
            "-mon",
            "chardev=qmp,mode=control",
        ]
        cmd += ["-m", memory] if memory else []
        cmd += ["-S"] if paused else []
        self.cmd = cmd + args
        with open(self.stderr_path, "wb") as err:
            self.proc = subprocess.Popen(
                self.cmd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        self.qmp_sock = ours
        self.qmp_sock.settimeout(TIMEOUT)
        self.qmp_file = ours.makefile("rb")
        self.events: list[dict] = []
        try:
            self._qmp_message()
            self.qmp("qmp_capabilities")
        except (QemuError, OSError) as e:
            text = self.stderr()
            self.close()
            raise QemuError(f"QEMU did not start: {text.strip()}") from e

    # -- the end --

    def close(self) -> int:
        """End QEMU, always; kill it when it does not go by itself."""
        if self.proc.poll() is None:
            try:
                self.qmp_sock.settimeout(5)
                self.qmp("quit")
            except (QemuError, OSError):
                pass
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        for f in (self.proc.stdin, self.proc.stdout, self.qmp_file, self.qmp_sock):
            try:
                f.close()
            except OSError:
                pass
        shutil.rmtree(self.dir, ignore_errors=True)
        return self.proc.returncode

    def stderr(self) -> str:
        """What QEMU wrote to standard error so far."""
        try:
            self.proc.wait(0.5)
        except subprocess.TimeoutExpired:
            pass
        try:
            return self.stderr_path.read_text(errors="replace")
        except OSError:
            return ""

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- QMP --

    def _qmp_message(self) -> dict:
        line = self.qmp_file.readline()
        if not line:
            raise QemuError("QEMU closed its monitor")
        return json.loads(line)

    def qmp(self, command: str, **arguments: object) -> object:
        """Run a QMP command; events that come meanwhile are kept."""
        msg = {"execute": command, "arguments": arguments}
        self.qmp_sock.sendall(json.dumps(msg).encode() + b"\n")
        while True:
            answer = self._qmp_message()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QemuError(answer["error"]["desc"])
            self.events.append(answer)

    def wait_event(self, name: str, timeout: float = 10) -> dict:
        """Wait for a QMP event."""
        end = time.monotonic() + timeout
        while True:
            for e in self.events:
                if e.get("event") == name:
                    self.events.remove(e)
                    return e
            if time.monotonic() > end:
                raise QemuError(f"no event {name} within {timeout} s")
            self.qmp("query-status")
            time.sleep(0.01)

    def get(self, name: str, path: str = "/machine/peripheral/gl0") -> object:
        """Read a property of the device."""
        return self.qmp("qom-get", path=path, property=name)

    def set(self, name: str, value: object, path: str = "/machine/peripheral/gl0") -> None:
        """Write a property of the device."""
        self.qmp("qom-set", path=path, property=name, value=value)

    # -- qtest --

    def ask(self, command: str) -> list[str]:
        """Run a qtest command; returns the words after OK."""
        assert self.proc.stdin and self.proc.stdout
        self.proc.stdin.write(command.encode() + b"\n")
        self.proc.stdin.flush()
        while True:
            # One answer a command: nothing is left in the buffer when we come here.
            if not select.select([self.proc.stdout], [], [], TIMEOUT)[0]:
                self.proc.kill()
                raise QemuError(f"no answer to '{command[:60]}' within {TIMEOUT:.0f} s")
            line = self.proc.stdout.readline().decode()
            if not line:
                raise QemuError(f"QEMU ended: {self.stderr().strip()}")
            words = line.split()
            if words and words[0] == "OK":
                return words[1:]
            if words and words[0] in ("ERR", "FAIL"):
                raise QemuError(line.strip())

    def burst(self, commands: list[str]) -> None:
        """Run qtest commands in one go: nobody else gets the big lock in between.

        QEMU takes what has come, up to 1024 bytes, and looks at all of it.
        """
        assert self.proc.stdin and self.proc.stdout
        text = "".join(c + "\n" for c in commands).encode()
        assert len(text) <= 1024, f"{len(text)} bytes, and QEMU takes 1024 at once"
        self.proc.stdin.write(text)
        self.proc.stdin.flush()
        got = b""
        while got.count(b"\n") < len(commands):
            if not select.select([self.proc.stdout], [], [], TIMEOUT)[0]:
                self.proc.kill()
                raise QemuError(f"no answer to '{commands[0][:60]}' within {TIMEOUT:.0f} s")
            part = os.read(self.proc.stdout.fileno(), 65536)
            if not part:
                raise QemuError(f"QEMU ended: {self.stderr().strip()}")
            got += part
        if any(not line.startswith(b"OK") for line in got.splitlines()):
            raise QemuError(got.decode())

    def outl(self, port: int, value: int) -> None:
        """Write a 32-bit I/O port."""
        self.ask(f"outl {port:#x} {value:#x}")

    def inl(self, port: int) -> int:
        """Read a 32-bit I/O port."""
        return int(self.ask(f"inl {port:#x}")[0], 16)

    def readl(self, addr: int) -> int:
        """Read 32 bits at a guest address."""
        return int(self.ask(f"readl {addr:#x}")[0], 16)

    def writel(self, addr: int, value: int) -> None:
        """Write 32 bits at a guest address."""
        self.ask(f"writel {addr:#x} {value & 0xFFFFFFFF:#x}")

    def read(self, addr: int, size: int) -> bytes:
        """Read guest memory."""
        out = bytearray()
        while size:
            n = min(size, 1 << 20)
            out += base64.b64decode(self.ask(f"b64read {addr:#x} {n:#x}")[0])
            addr, size = addr + n, size - n
        return bytes(out)

    def write(self, addr: int, data: bytes) -> None:
        """Write guest memory."""
        for at in range(0, len(data), 1 << 20):
            part = data[at : at + (1 << 20)]
            self.ask(f"b64write {addr + at:#x} {len(part):#x} {base64.b64encode(part).decode()}")

    def fill(self, addr: int, size: int, value: int) -> None:
        """Fill guest memory with one byte."""
        self.ask(f"memset {addr:#x} {size:#x} {value:#x}")
