# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: booted, spoken to and ended, whatever happens in it.

    with Guest(GuestConfig(ram_mib=512), log_dir=Path("log")) as g:
        print(g.run("uname -r").stdout)

QEMU is a child of this process. It is ended when the block is left, and the
kernel kills it when the thread that booted it ends or the process dies.
Nothing lies in the file system but the logs: the command channel and QMP are
socket pairs.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import accel, console, qemu_args
from .agent import (
    Agent,
    AgentClosed,
    AgentError,
    AgentGarbage,
    AgentTimeout,
    CommandResult,
    Hello,
    Output,
)
from .errors import GuestError, GuestHang, GuestPanic, QemuDied
from .initrd import DRIVER, make_initrd
from .qemu_args import GuestConfig, Memory
from .qmp import QmpClient, QmpClosed
from .template import IGNORE_SHARED, Template

__all__ = [
    "CommandResult",
    "CommandTimeout",
    "Guest",
    "GuestConfig",
    "GuestError",
    "GuestHang",
    "GuestPanic",
    "QemuDied",
]

GRACE = 20.0  # after a command's time limit: what a busy TCG guest may need to say so
EXIT_WAIT = 10.0
TAINT_BAD = 1 << 7 | 1 << 9  # the kernel has oopsed; has warned
WAIT_FOR_CARD = (
    "n=0; until [ -e /dev/gigalock0 ]; do n=$((n+1)); [ $n -lt 9000 ] || exit 67; "
    "usleep 2000; done;"
)
CONSOLE_LIMIT = 2 << 20  # a guest that says more would fill the disk before its time is up
CONSOLE_LOOK = 0.5
SMALLEST_MIB = 128  # only for the hint: the stock kernel needs about this much


class CommandTimeout(GuestHang):
    """A command's time was up.

    The guest lives, the command's processes were killed; `result` has its output.
    """

    def __init__(self, message: str, result: CommandResult, **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]
        self.result = result


class Guest:
    """One guest, booted once. close() may be called from another thread."""

    def __init__(
        self, config: GuestConfig, log_dir: Path, template: Template | None = None
    ) -> None:
        """With a template, boot() restores that one's state and plugs the devices in."""
        self.config = config
        self.template = template
        self.log_dir = Path(log_dir)
        self.boot_s = 0.0
        self.hello: Hello | None = None
        self.accel = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._qemu = ""
        self._initrd: Path | None = None
        self._agent: Agent | None = None
        self._qmp: QmpClient | None = None
        self.ram_files: Sequence[int] = ()  # open files to hold RAM, for who saves the guest
        self.commands_s = 0.0  # time that commands took in the guest, as its agent says
        self._closed = False
        self._end_lock = threading.Lock()
        self._ended = threading.Event()
        self._flooded = False
        self._booted = False

    # -- the life of it --------------------------------------------------------

    def __enter__(self) -> Guest:
        self.boot()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def boot(self) -> None:
        """Start QEMU and wait for the first command's answer."""
        if self._booted:
            raise GuestError("a guest is booted once; make another")
        self._booted = True
        try:
            self._start()
            if self.template is None:
                self._first_command()
            else:
                self._restore(self.template)
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        cfg = self.config
        cfg.check()
        self._qemu = qemu_args.find_qemu(cfg)
        qemu_args.qemu_version(self._qemu)
        self.accel = accel.choose(cfg, self._qemu)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for log in ("commands.log", "registers.txt"):
            (self.log_dir / log).unlink(missing_ok=True)  # an earlier guest's
        self._console_file().write_bytes(self.template.console if self.template else b"")
        self._initrd = make_initrd(cfg, self.log_dir)
        self._write_reproducer()

        agent_here, agent_there = socket.socketpair()
        qmp_here, qmp_there = socket.socketpair()
        channels = [
            "-chardev",
            f"file,id=console,path={_comma(self._console_file())},append=on",
            "-serial",
            "chardev:console",
            "-chardev",
            f"socket,id=agent,fd={agent_there.fileno()}",
            "-serial",
            "chardev:agent",
            "-chardev",
            f"socket,id=qmp,fd={qmp_there.fileno()}",
            "-mon",
            "chardev=qmp,mode=control",
        ]
        memory, files = self._memory()
        if self.template is not None:
            channels += ["-incoming", "defer"]
        args = [self._qemu, *qemu_args.arguments(cfg, self.accel, self._initrd, channels, memory)]
        self._agent, self._qmp = Agent(agent_here), QmpClient(qmp_here)
        with agent_there, qmp_there, self._qemu_log().open("wb") as log, self._end_lock:
            if self._closed:
                raise GuestError("the guest was closed before it was started")
            self._started = time.monotonic()
            try:
                # setpriv, not preexec_fn: that one is not safe with threads.
                self.process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *args],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[agent_there.fileno(), qmp_there.fileno(), *files],
                )
            except OSError as e:
                raise self._error(GuestError, f"QEMU can't be started: {e}") from e
        threading.Thread(target=self._watch_console, daemon=True).start()

    def _watch_console(self) -> None:
        """End a guest that floods its console."""
        while not self._ended.wait(CONSOLE_LOOK):
            with contextlib.suppress(OSError):
                if self._console_file().stat().st_size > CONSOLE_LIMIT:
                    self._flooded = True
                    assert self.process
                    self.process.kill()
                    return

    def _memory(self) -> tuple[Memory | None, list[int]]:
        """Where RAM comes from, and the open files that QEMU needs for it."""
        if self.template is not None:
            files = list(self.template.ram)
            return Memory([_inherited(fd) for fd in files], private=True), files
        if self.ram_files:
            return Memory([_inherited(fd) for fd in self.ram_files], False), list(self.ram_files)
        return None, []

    def _restore(self, template: Template) -> None:
        """Go on where the template's guest stood; then plug the card in and load the driver."""
        cfg = self.config
        assert self._qmp
        self.hello = template.hello
        deadline = self._started + cfg.boot_timeout
        self._qmp.execute("migrate-set-capabilities", {"capabilities": IGNORE_SHARED})
        with template.open_state() as state:
            self._qmp.execute_with_file("getfd", {"fdname": "state"}, state.fileno())
            self._qmp.execute("migrate-incoming", {"uri": "fd:state"})
            # A card plugged in earlier would be forgotten: the saved root port knows of none.
            while self.qmp("query-status")["status"] == "inmigrate":
                if time.monotonic() > deadline:
                    raise self._hang(f"the guest was not restored within {cfg.boot_timeout:g} s")
                time.sleep(0.002)
        for device in cfg.devices:
            said = self.qmp("human-monitor-command", command_line=f"device_add {device}").strip()
            if said:
                raise self._error(GuestError, f"the device can't be plugged in: {said}")
        self._load_first(deadline)
        self.boot_s = time.monotonic() - self._started

    def _write_reproducer(self) -> None:
        script = self.log_dir / "command.sh"
        script.write_text(
            f"#!/bin/sh\n# The same guest by hand, with a shell.\nexec {self.reproducer()}\n"
        )
        script.chmod(0o755)

    def _first_command(self) -> None:
        cfg = self.config
        deadline = self._started + cfg.boot_timeout
        with self._trouble(f"boot within {cfg.boot_timeout:g} s"):
            assert self._agent
            self.hello = self._agent.hello(deadline)
        self._load_first(deadline)
        self.boot_s = time.monotonic() - self._started

    def _load_first(self, deadline: float) -> None:
        left = max(deadline - time.monotonic(), 1.0)
        if self.config.load_driver:
            self.load_driver(left)
        else:
            self.run("true", timeout=left)

    def load_driver(self, timeout: float = 60.0) -> CommandResult:
        """Load the driver, and wait for the card's node where a card was just plugged in."""
        words = shlex.join(["insmod", DRIVER, *self.config.driver_params])
        command = f"[ -f {DRIVER} ] || exit 66; {words}"
        if self.template is not None and self.config.devices:
            command += f" && {{ {WAIT_FOR_CARD} }}"
        result = self.run(command, timeout=timeout)
        if result.code == 66:
            raise self._error(GuestError, f"the image holds no driver ({DRIVER}); run 'make image'")
        if result.code == 67:
            raise self._error(GuestError, "the card was plugged in, but has no node in /dev")
        if not result.ok:
            said = (result.stderr or result.stdout).strip()
            raise self._error(GuestError, f"the driver can't be loaded ({words}): {said}")
        return result

    def close(self) -> None:
        """End QEMU by its process id: asked, then told, then killed."""
        self._ended.set()
        with self._end_lock:
            self._closed = True
            process = self.process
            if process is not None and process.poll() is None:
                for step in (self._quit, process.terminate, process.kill):
                    with contextlib.suppress(OSError):
                        step()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=2.0)
                        break
                else:
                    process.wait(timeout=EXIT_WAIT)
            for end in (self._agent, self._qmp):
                if end is not None:
                    end.close()

    def _quit(self) -> None:
        # Not execute(): another thread may be waiting in it.
        assert self._qmp
        self._qmp.sock.sendall(b'{"execute":"quit"}\n')

    def power_off(self, timeout: float = 30.0) -> None:
        """Let the guest end by itself."""
        assert self._agent and self.process
        with self._trouble("power off"):
            self._agent.power_off()
        try:
            self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise self._hang(f"the guest did not power off within {timeout:g} s") from None

    # -- what one does with it --------------------------------------------------

    def run(
        self,
        command: str,
        timeout: float = 60.0,
        on_output: Output | None = None,
    ) -> CommandResult:
        """Run a shell command; on_output(stream, text) gets its output as it comes.

        Raises CommandTimeout when its time is up, GuestHang when the guest says nothing at all.
        """
        agent = self._need_agent()
        self._note(f"$ {command}\n")
        try:
            with self._trouble(f"answer {command!r:.200} within {timeout:g} s"):
                result = agent.run(command, timeout, GRACE, on_output)
        except GuestError as e:
            self._note(f"# {e.message}\n")
            raise
        self.commands_s += result.seconds
        how = "time is up" if result.timed_out else f"exit code {result.code}"
        self._note(
            f"# {how} after {result.seconds:.3f} s, {len(result.stdout_bytes)} bytes of output, "
            f"{len(result.stderr_bytes)} of errors\n"
        )
        if result.timed_out:
            left = "; a process of it can't be killed" if result.unkillable else ""
            raise self._error(
                CommandTimeout,
                f"{command!r:.200} was not done in {timeout:g} s{left}",
                result=result,
            )
        return result

    def put_file(
        self, local: Path | bytes, path: str, mode: int = 0o644, timeout: float = 60.0
    ) -> None:
        """Write a file in the running guest."""
        data = local if isinstance(local, bytes) else Path(local).read_bytes()
        agent = self._need_agent()
        with self._trouble(f"take the file {path} within {timeout:g} s"):
            agent.put_file(data, path, mode, timeout)

    def qmp(self, command: str, timeout: float = 10.0, **arguments: Any) -> Any:
        """A QMP command; underscores in argument names become dashes. Raises QmpError."""
        if self._qmp is None:
            raise GuestError("the guest is not running")
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self._qmp.execute(command, given, timeout=timeout)
        except QmpClosed:
            raise self._gone() from None
        except TimeoutError as e:
            raise self._hang(str(e)) from e

    def console(self) -> str:
        """The console so far; after the end, all of it."""
        try:
            return self._console_file().read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def unexpected_lines(self, allowed: Iterable[str] = ()) -> list[str]:
        """Oopses, warnings and the like that are not allowed; see console.py."""
        found = [str(f) for f in console.unexpected(self.console(), allowed)]
        if self.hello and self.hello.tainted & TAINT_BAD:
            # "quiet" hid it from the console.
            found.append(
                f"the kernel warned while it booted (tainted {self.hello.tainted}); dmesg says why"
            )
        return found

    def missing_lines(self, expected: Iterable[str]) -> list[str]:
        return console.missing(self.console(), expected)

    def reproducer(self) -> str:
        """A command line that boots the same guest by hand; "" before it is known."""
        if self._initrd is None:
            return ""
        return qemu_args.reproducer(self.config, self._qemu, self.accel, self._initrd)

    def touched_mib(self) -> float:
        """What QEMU holds of the host's memory, guest RAM that was touched included."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0.0
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    # -- when things go wrong ---------------------------------------------------

    def _need_agent(self) -> Agent:
        if self._agent is None or self._closed:
            raise GuestError("the guest is not running")
        return self._agent

    @contextlib.contextmanager
    def _trouble(self, doing: str) -> Any:
        """Turn the channel's troubles into what they mean for the guest."""
        try:
            yield
        except AgentTimeout:
            raise self._hang(f"the guest did not {doing}") from None
        except AgentClosed:
            raise self._gone() from None
        except AgentGarbage as e:
            raise self._error(GuestError, f"garbage on the command channel: {e}") from e
        except AgentError as e:
            raise self._error(GuestError, f"the guest's agent: {e}") from e

    def _hang(self, message: str) -> GuestError:
        process = self.process
        if process is not None and process.poll() is not None:
            return self._gone()
        # What the processors were doing is lost once QEMU ends.
        with contextlib.suppress(Exception):
            assert self._qmp
            regs = self._qmp.execute(
                "human-monitor-command", {"command-line": "info registers -a"}, timeout=3.0
            )
            (self.log_dir / "registers.txt").write_text(regs)
        if self.hello is None:
            message += self._small_hint()
        return self._error(GuestHang, message)

    def _small_hint(self) -> str:
        if self.config.ram_mib >= SMALLEST_MIB:
            return ""
        return (
            f"; it has {self.config.ram_mib} MiB of RAM, and the kernel with its initramfs needs "
            f"about {SMALLEST_MIB} MiB"
        )

    def _gone(self) -> GuestError:
        """QEMU ended, or is about to: find out why."""
        if self._closed:
            return self._error(GuestError, "the guest was closed")
        assert self.process and self._qmp
        try:
            code = self.process.wait(timeout=EXIT_WAIT)
        except subprocess.TimeoutExpired:
            return self._error(GuestHang, "QEMU closed the command channel but goes on running")
        if self._flooded:
            return self._error(
                GuestError,
                f"the guest wrote more than {CONSOLE_LIMIT >> 20} MiB to its console and was ended",
            )
        self._qmp.drain(0.5)
        reason = next(
            (e["data"].get("reason") for e in self._qmp.events if e["event"] == "SHUTDOWN"), None
        )
        small = self._small_hint() if self.hello is None else ""
        text = self.console()
        if code == 0 and reason in ("guest-reset", "guest-panic"):
            if line := console.panic_line(text):
                return self._error(
                    GuestPanic, f"the guest's kernel panicked{small}: {line.strip()}"
                )
            if not text.strip():
                return self._error(
                    GuestPanic, f"the guest reset itself before its kernel said anything{small}"
                )
            return self._error(GuestPanic, f"the guest reset itself without a panic message{small}")
        if code == 0 and reason == "guest-shutdown":
            return self._error(GuestError, "the guest powered itself off")
        said = self.qemu_log()
        how = f"exit code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"
        return self._error(
            QemuDied,
            f"QEMU ended by itself, {how}{small}: {said[-1000:] or 'it printed nothing'}",
            code=code,
            stderr=said,
        )

    def _error(self, kind: type[GuestError], message: str, **more: Any) -> GuestError:
        lines = console.clean_lines(self.console())[-200:]
        # A panic's trace can be longer than forty lines; what it was stands before it.
        panic = console.panic_line("\n".join(lines))
        begin = min([len(lines) - 40, *(i for i, one in enumerate(lines) if one == panic)])
        text = "\n".join(lines[max(begin, 0) :]).strip()
        return kind(
            message, log_dir=self.log_dir, console=text, reproducer=self.reproducer(), **more
        )

    # -- the logs ----------------------------------------------------------------

    def _console_file(self) -> Path:
        return self.log_dir / "console.log"

    def _qemu_log(self) -> Path:
        return self.log_dir / "qemu.log"

    def qemu_log(self) -> str:
        """What QEMU itself printed."""
        try:
            return self._qemu_log().read_bytes().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def _note(self, text: str) -> None:
        with (self.log_dir / "commands.log").open("a", encoding="utf-8", errors="replace") as f:
            f.write(text)


def _inherited(file: int) -> str:
    """A path by which a child opens a file that it got from us."""
    return f"/proc/self/fd/{file}"


def _comma(path: Path) -> str:
    """A path inside a QEMU option, where a comma ends the value."""
    return str(path.absolute()).replace(",", ",,")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
