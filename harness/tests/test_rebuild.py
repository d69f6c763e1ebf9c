# SPDX-License-Identifier: GPL-2.0-or-later
"""What a build writes and where, and that a change, and only a change, reaches the guest.

In a clone, so that this tree stays as it is. Each step needs the one before, so it is one test.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from clone import Clone
from gigalock_harness import qemu_args
from gigalock_harness.guest import Guest, GuestConfig

OUTPUTS = [
    "driver/stock/gigalock.ko",
    "guest-image/agent",
    "guest-image/stock/initramfs.cpio",
    "qemu-dev/gigalock.so",
    "qemu-dev/gigalock-qemu",
    "userlib/gigalock",
    "userlib/shared/gigalock",
]
GOAL_DRIVER_S, GOAL_DEVICE_S = 10, 5


def stamps(clone: Clone) -> dict[str, tuple[int, int]]:
    """When each output was written, and whether it is still the same file."""
    found = {name: os.stat(clone.build / name) for name in OUTPUTS}
    return {name: (s.st_mtime_ns, s.st_ino) for name, s in found.items()}


def changed(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    return {name for name in OUTPUTS if before[name] != after[name]}


def assert_only_build(clone: Clone) -> None:
    """A folder's time also tells of what was there and is gone again."""
    for folder in (clone.home, clone.tmp):
        left = sorted(str(one.relative_to(folder)) for one in folder.rglob("*"))
        assert left == []
        assert folder.stat().st_mtime_ns == 0, f"something was in {folder} for a while"


def in_guest(clone: Clone, log: Path, command: str) -> tuple[str, object]:
    """What a command says in a guest of the clone's build, and a property of its card."""
    with Guest(GuestConfig(ram_mib=256), log) as guest:
        assert qemu_args.find_qemu(guest.config) == str(clone.build / "qemu-dev/gigalock-qemu")
        said = guest.run(command).stdout
        return said, guest.qmp("qom-get", path="/machine/peripheral/gl0", property="channels")


def test_a_build_stays_in_its_place_and_follows_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = Clone(tmp_path)
    monkeypatch.setenv("GIGALOCK_BUILD", str(clone.build))

    # A first build writes to its build folder and nowhere else.
    clone.make("all")
    assert_only_build(clone)
    assert {line.split("/")[0] for line in clone.status()} == {"!! build"}

    # Without a change nothing is written again.
    first = stamps(clone)
    clone.make("all")
    assert changed(first, stamps(clone)) == set()
    said, channels = in_guest(clone, tmp_path / "first", "dmesg")
    assert "rebuilt and here" not in said and channels == 2

    # A driver that changed is in the guest, and what doesn't depend on it is left alone.
    clone.change(
        "driver/pci.c",
        "int err = gl_recovery_init();\n",
        'int err = gl_recovery_init();\n\n\tpr_info("rebuilt and here\\n");\n',
    )
    driver_s = clone.make("image")
    second = stamps(clone)
    of_driver = {"driver/stock/gigalock.ko", "guest-image/stock/initramfs.cpio"}
    assert changed(first, second) == of_driver
    said, _ = in_guest(clone, tmp_path / "second", "dmesg")
    assert "rebuilt and here" in said

    # So is a device.
    clone.change(
        "qemu-dev/src/gigalock.c",
        'DEFINE_PROP_UINT8("channels", GLState, channels, 2)',
        'DEFINE_PROP_UINT8("channels", GLState, channels, 5)',
    )
    device_s = clone.make("device")
    assert changed(second, stamps(clone)) == {"qemu-dev/gigalock.so"}
    said, channels = in_guest(clone, tmp_path / "third", "gigalock info")
    assert channels == 5 and "5" in said

    # A header that the device and the driver share is an input of both.
    header = "qemu-dev/include/gigalock_regs.h"
    found = re.search(r"#define GL_VERSION_MINOR\s+\w+\n", (clone.top / header).read_text())
    assert found
    clone.change(header, found[0], "#define GL_VERSION_MINOR 0x123\n")
    third = stamps(clone)
    clone.make("all")
    assert {"driver/stock/gigalock.ko", "qemu-dev/gigalock.so"} <= changed(third, stamps(clone))
    said, _ = in_guest(clone, tmp_path / "fourth", "gigalock info --json")
    assert f'"device_version":{1 << 16 | 0x123}' in said

    # pytest and the tests keep to it, too.
    clone.make("test", "TESTS=harness/tests/test_deps.py")
    assert list((clone.build / "tmp").glob("pytest-of-*"))
    assert_only_build(clone)
    assert {line.split("/")[0] for line in clone.status() if line[:2] != " M"} == {"!! build"}
    with capsys.disabled():
        print(
            f"\na changed driver was in the image in {driver_s:.1f} s (goal {GOAL_DRIVER_S}), "
            f"a changed device built in {device_s:.1f} s (goal {GOAL_DEVICE_S})"
        )
