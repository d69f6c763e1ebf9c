# SPDX-License-Identifier: GPL-2.0-or-later
"""make shell, driven through a pseudo terminal as a person would."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness import places

SECONDS = 90.0


class Terminal:
    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.fd, self.process = fd, process
        self.text = ""

    def until(self, pattern: str, seconds: float = SECONDS) -> str:
        """What comes up to and with the pattern."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {pattern!r} within {seconds:g} s in {self.text[-2000:]!r}"
            data = b""
            with contextlib.suppress(OSError):  # how a pty says that nobody is left
                data = os.read(self.fd, 65536)
            assert data, f"it ended before {pattern!r}: {self.text[-2000:]!r}"
            # The guest's terminal and this one each add their carriage returns.
            self.text += data.decode(errors="replace").replace("\r", "")
        before, self.text = self.text[: found.end()], self.text[found.end() :]
        return before

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def ask(self, command: str, answer: str) -> str:
        self.type(command + "\r")
        return self.until(answer)


def environment(**more: str) -> dict[str, str]:
    """Ours, without what a make that runs the tests has put there for its own makes."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))} | more


@contextlib.contextmanager
def on_terminal(*command: str) -> Iterator[Terminal]:
    here, there = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
        cwd=places.TOP,
        env=environment(),
    )
    os.close(there)
    try:
        yield Terminal(here, process)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=20)
        os.close(here)


def shell(*options: str) -> contextlib.AbstractContextManager[Terminal]:
    return on_terminal(sys.executable, "-m", "gigalock_harness", "shell", *options)


def test_prompt(tmp_path: Path) -> None:
    with shell("--ram", "512M", "--device-opts", "card-mem=16M") as t:
        greeting = t.until(r"guest:~# ")
        assert "Card: /dev/gigalock0" in greeting
        assert "16 MiB of card memory" in greeting
        t.ask("echo $((6*7))-is-it", r"\n42-is-it")
        t.ask("tty; stty size", r"/dev/ttyS0\n\d+ \d+")
        t.ask("gigalock info > /tmp/i; echo code=$?", r"code=0\n")
        # Ctrl-C ends what runs in the guest, and only that: job control works.
        t.type("sleep 1000\r")
        time.sleep(1.5)
        t.type("\x03")
        t.ask("echo after-$((1+1))", r"\nafter-2")
        t.ask("sleep 1000 & jobs", r"Running +sleep 1000")
        t.type("exit\r")
        assert t.process.wait(timeout=SECONDS) == 0


@pytest.fixture(scope="module")
def other_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    (folder / "Kbuild").write_text("obj-m := other.o\n")
    (folder / "other.c").write_text(
        "#include <linux/module.h>\nstatic int number;\nmodule_param(number, int, 0444);\n"
        "static int __init other_init(void)\n"
        '{ pr_info("another driver, number %d\\n", number); return 0; }\n'
        'module_init(other_init);\nMODULE_LICENSE("GPL");\n'
    )
    kdir = places.build_dir() / "guest-image/kernels/stock/build"
    subprocess.run(
        ["make", "-C", kdir, f"M={folder}", "modules"],
        check=True,
        env=environment(),
        capture_output=True,
    )
    return folder / "other.ko"


def test_other_driver(other_driver: Path) -> None:
    with shell("--ram", "512M", "--driver", str(other_driver), "--driver-params", "number=77") as t:
        greeting = t.until(r"guest:~# ")
        assert "another driver, number 77" in greeting
        assert "No card" in greeting
        t.ask("cat /sys/module/other/parameters/number", r"\n77\n")


def test_driver_for_another_kernel(other_driver: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.ko"
    # The release itself is not compared when symbols carry checksums; the rest is.
    wrong.write_bytes(other_driver.read_bytes().replace(b" SMP preempt ", b" UP! preempt "))
    with shell("--ram", "512M", "--driver", str(wrong)) as t:
        assert "The driver could not be loaded" in t.until(r"guest:~# ")
        t.ask("dmesg | grep -q 'version magic' && echo magic-$((1+1))", r"\nmagic-2\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ram", "0"], "must be above 0"),
        (["--ram", "lots"], "is not a size"),
        (["--ram", "1000K"], "whole MiB only"),
        (["--driver", "/nonexistent.ko"], "no driver /nonexistent.ko"),
        (["--kernel", "none-such"], "no kernel 'none-such'"),
        (["--driver", "/etc/hostname"], "no kernel module"),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gigalock_harness", "shell", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_property_that_does_not_exist() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gigalock_harness",
            "shell",
            "--ram",
            "256M",
            "--device-opts",
            "colour=red",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "colour" in done.stderr


def make(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", f"BUILD={places.build_dir()}", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=places.TOP,
        env=environment(**more),
    )


def test_make_shell_with_a_driver_beside_it(tmp_path: Path) -> None:
    """As a person says it: a path from where they stand, and whatever module lies there."""
    copy = tmp_path / "mine.ko"
    words, other = b"locks large DMA buffers", b"LOCKS LARGE DMA BUFFERS"
    ours = (places.build_dir() / "driver" / "stock" / "gigalock.ko").read_bytes()
    assert words in ours
    copy.write_bytes(ours.replace(words, other))
    with on_terminal(
        "make",
        "-s",
        f"BUILD={places.build_dir()}",
        "shell",
        "RAM=512M",
        f"DRIVER={os.path.relpath(copy, places.TOP)}",
        "DEVICE_OPTS=card-mem=8M",
    ) as t:
        greeting = t.until(r"guest:~# ", seconds=180)
        assert "Card: /dev/gigalock0" in greeting
        t.ask(f"grep -c '{other.decode()}' /lib/modules/gigalock.ko", r"\n[1-9]\d*\n")
        t.ask("gigalock info | grep -c '8 MiB'", r"\n[1-9]\d*\n")
        t.ask("awk '/MemTotal/ { print $2 < 512 * 1024 }' /proc/meminfo", r"\n1\n")
        t.type("exit\r")
        assert t.process.wait(timeout=SECONDS) == 0


def test_make_shell_with_a_kernel_that_does_not_exist() -> None:
    """KERNEL= is the shell's; the driver's makefile has a variable of that name."""
    folder = places.build_dir() / "driver" / "none-such"
    before = folder.exists()  # somebody's make -C driver, perhaps
    done = make("shell", "KERNEL=none-such")
    assert done.returncode == 2
    assert "no kernel 'none-such'" in done.stderr, done.stderr
    assert "no kernel headers" not in done.stderr
    assert folder.exists() is before


def test_what_the_environment_says_to_others_is_not_for_the_parts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = {"KERNEL": "none-such", "KDIR": "/nonexistent", "OUT": str(out), "RAM": "lots"}
    done = make("all", **words)
    assert done.returncode == 0, done.stderr
    assert not out.exists()
