# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that panic, hang, die or can't start: each a clear error in bounded time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness import qemu_args
from gigalock_harness.errors import GuestError, GuestHang, GuestPanic, QemuDied
from gigalock_harness.guest import Guest
from guests import alive, children, plain


def test_panic(tmp_path: Path) -> None:
    with Guest(plain(), log_dir=tmp_path) as g:
        with pytest.raises(GuestPanic, match="sysrq triggered crash") as caught:
            g.run("echo c > /proc/sysrq-trigger", timeout=60)
        assert "Kernel panic - not syncing: sysrq triggered crash" in caught.value.console
        assert "Call Trace" in g.console()
        assert caught.value.log_dir == tmp_path
        assert "-kernel" in caught.value.reproducer
        assert any("Kernel panic" in line for line in g.unexpected_lines())


def test_panic_between_commands(tmp_path: Path) -> None:
    with Guest(plain(), log_dir=tmp_path) as g:
        assert g.run("(sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &").ok
        time.sleep(4)
        with pytest.raises(GuestPanic):
            g.run("true")


def test_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole guest stands still: the agent can't even say that the time is up."""
    monkeypatch.setattr("gigalock_harness.guest.GRACE", 2.0)
    with Guest(plain(), log_dir=tmp_path) as g:
        g.run("echo '<4>the last line' > /dev/kmsg")
        g.qmp("stop")
        start = time.monotonic()
        with pytest.raises(GuestHang, match="'echo too late' within 1 s") as caught:
            g.run("echo too late", timeout=1)
        assert 2.5 < time.monotonic() - start < 15
        assert "the last line" in caught.value.console
        assert "RIP=" in (tmp_path / "registers.txt").read_text()
        assert g.process is not None
        pid = g.process.pid
    assert not alive(pid)


def test_qemu_is_killed(tmp_path: Path) -> None:
    with Guest(plain(), log_dir=tmp_path) as g:
        assert g.process is not None
        threading.Timer(1, os.kill, [g.process.pid, signal.SIGKILL]).start()
        with pytest.raises(QemuDied, match="SIGKILL") as caught:
            g.run("sleep 60", timeout=100)
        assert caught.value.code == -9
        with pytest.raises((QemuDied, GuestError)):
            g.qmp("query-status")


def test_guest_powers_off_by_itself(tmp_path: Path) -> None:
    with (
        Guest(plain(), log_dir=tmp_path) as g,
        pytest.raises(GuestError, match="powered itself off"),
    ):
        g.run("poweroff -f; sleep 30", timeout=60)


def test_guest_reboots_by_itself(tmp_path: Path) -> None:
    with (
        Guest(plain(), log_dir=tmp_path) as g,
        pytest.raises(GuestPanic, match="without a panic message"),
    ):
        g.run("reboot -f; sleep 30", timeout=60)


def test_garbage_on_the_channel(tmp_path: Path) -> None:
    with Guest(plain(), log_dir=tmp_path) as g, pytest.raises(GuestError, match="garbage"):
        g.run("echo nobody asked for this > /dev/ttyS1; sleep 30", timeout=60)


@pytest.mark.parametrize("ram", [1, 16, 32, 64])
def test_guest_too_small(tmp_path: Path, ram: int) -> None:
    start = time.monotonic()
    with pytest.raises(GuestError, match=f"it has {ram} MiB of RAM"):
        with Guest(plain(ram_mib=ram, boot_timeout=20), log_dir=tmp_path):
            pass
    assert time.monotonic() - start < 40


def test_boot_time_limit(tmp_path: Path) -> None:
    processes = children()
    start = time.monotonic()
    with pytest.raises(GuestHang, match=r"did not boot within 0\.3 s"):
        with Guest(plain(boot_timeout=0.3), log_dir=tmp_path):
            pass
    assert time.monotonic() - start < 10
    assert children() == processes


def test_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QemuDied, match="no-such-card") as caught:
        with Guest(plain(devices=["no-such-card,bus=rp0"]), log_dir=tmp_path):
            pass
    assert caught.value.code == 1
    assert "no-such-card" in caught.value.stderr


def test_driver_that_is_not_in_the_image(tmp_path: Path) -> None:
    empty = qemu_args.initramfs_file(plain())
    gone = tmp_path / "delete"
    gone.write_bytes(b"")
    # An empty file in its place is no module either.
    config = plain(load_driver=True, initramfs=empty, put_files={"/lib/modules/gigalock.ko": gone})
    with pytest.raises(GuestError, match="can't be loaded"):
        with Guest(config, log_dir=tmp_path / "log"):
            pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ram_mib": 0}, "RAM of 0 MiB; 1 to"),
        ({"ram_mib": -5}, "RAM of -5 MiB"),
        ({"ram_mib": 1 << 40}, "16777216 are possible"),
        ({"smp": 0}, "0 processors; 1 to 255"),
        ({"iommu": "arm"}, "iommu 'arm'"),
        ({"boot_timeout": 0}, "boot time limit of 0 s"),
        ({"kernel": "no-such"}, "no kernel 'no-such'.*built are: .*stock"),
        ({"initramfs": Path("/nonexistent.cpio")}, "no initramfs /nonexistent.cpio"),
        ({"driver_path": Path("/nonexistent.ko")}, "no driver /nonexistent.ko"),
        ({"driver_path": Path("/etc/passwd")}, "/etc/passwd is no kernel module"),
        ({"qemu": "/nonexistent/qemu"}, "no /nonexistent/qemu"),
        ({"qemu": "/bin/false"}, "/bin/false does not start"),
        ({"qemu": "/bin/echo"}, "does not say which QEMU"),
        ({"accel": "hvf"}, "accelerator 'hvf'"),
        ({"devices": ["pci-testdev,bus=rp77"]}, "root port rp77"),
        ({"cmdline_extra": ["a\nb"]}, "no word for a kernel command line"),
    ],
)
def test_bad_configuration(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    processes = children()
    with pytest.raises(GuestError, match=message):
        with Guest(plain(**changes), log_dir=tmp_path):
            pass
    assert children() == processes


def test_old_qemu(tmp_path: Path) -> None:
    """A QEMU that says it is older is refused before it boots anything."""
    old = tmp_path / "qemu-old"
    old.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || exec touch "$0.started"\n'
        "echo 'QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2)'\n"
    )
    old.chmod(0o755)
    with pytest.raises(GuestError, match=r"qemu-old is QEMU 6\.2\.0; 7\.2 or later is needed"):
        with Guest(plain(qemu=str(old)), log_dir=tmp_path / "log"):
            pass
    assert not Path(f"{old}.started").exists()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", (7, 2, 22)),
        ("QEMU emulator version 10.0.8 (Debian 1:10.0.8+ds-0+deb13u1)", (10, 0, 8)),
        ("QEMU emulator version 9.1", (9, 1, 0)),
    ],
)
def test_version_text(text: str, version: tuple[int, int, int]) -> None:
    assert qemu_args.check_version(text, "qemu") == version


@pytest.mark.parametrize("version", ["7.1.0", "5.2", "2.12.1", "0.15"])
def test_version_too_old(version: str) -> None:
    with pytest.raises(GuestError, match="7.2 or later"):
        qemu_args.check_version(f"QEMU emulator version {version}", "qemu")
