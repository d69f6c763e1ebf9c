# SPDX-License-Identifier: GPL-2.0-or-later
"""Every reason that the three strategies can give, by making it happen.

Two kinds: in test_injected, the call in the driver seems to give another errno, which must change
the reason; everywhere else the machine is made so that the lock fails by itself.
"""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import TESTS, tool
from gigalock_harness.qemu_args import default_kernel
from rawlock import arguments, fails, need_kernel, works

MIB, GIB = 2**20, 2**30
DISK = "/dev/vda"
LOW_HALF = ["-machine", "max-ram-below-4g=512M"]
# What the kernel says of it when gl-lock is what it kills.
KILLED = [
    r"gl-lock invoked oom-killer",
    r"oom-kill:.*task=gl-lock,",
    r"(Memory cgroup out|Out) of memory: Killed process \d+ \(gl-lock\)",
    # The page that it was at.
    r"gl-lock: page allocation failure: order:0, mode:\w+\(GFP_HIGHUSER\|",
]
INJECT = "/sys/kernel/debug/gigalock/gigalock0/inject"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=1024), tmp_path_factory.mktemp("reasons")) as g:
        yield g
        assert (
            g.unexpected_lines(
                allowed=[
                    r"not enough memory for the allocation",
                    r"no enough memory for the allocation",
                    *KILLED,
                ]
            )
            == []
        )


def failure(g: Guest, size: str, strategy: str, prefix: str = "") -> dict[str, Any]:
    answer = tool(g, f"lock --size {size} --strategy {strategy}", prefix=prefix)
    assert answer["ok"] is False, answer
    why = answer["failure"]
    assert why["text"] and why["remedy"]
    return why


def boot(tmp_path: Path, ram: int, *words: str, device: str = "", **more: Any) -> Guest:
    dev = "gigalock,id=gl0,bus=rp0" + (f",{device}" if device else "")
    return Guest(GuestConfig(ram_mib=ram, cmdline_extra=words, devices=[dev], **more), tmp_path)


# ---- the errno decides -----------------------------------------------------

INJECTED = [
    ("coherent", "metadata", errno.ENOMEM, "kernel-metadata", "table"),
    ("coherent", "alloc", errno.ENOMEM, "no-free-block", "allocate"),
    ("coherent", "alloc", errno.EINTR, "killed", "allocate"),
    ("contig-range", "metadata", errno.ENOMEM, "kernel-metadata", "table"),
    ("contig-range", "alloc", errno.EINTR, "killed", "allocate"),
    ("contig-range", "map", errno.EIO, "dma-map", "dma-map"),
    ("sg", "metadata", errno.ENOMEM, "kernel-metadata", "table"),
    ("sg", "batch", errno.ENOMEM, "kernel-metadata", "pin"),
    ("sg", "account", errno.EPERM, "memlock-limit", "account"),
    ("sg", "account", errno.ENOMEM, "memlock-limit", "account"),
    ("sg", "pin", errno.ENOMEM, "no-memory", "pin"),
    ("sg", "pin", errno.EINTR, "killed", "pin"),
    ("sg", "pin", errno.EOPNOTSUPP, "unpinnable", "pin"),
    ("sg", "table", errno.ENOMEM, "kernel-metadata", "table"),
    ("sg", "map", errno.EIO, "dma-map", "dma-map"),
]


@pytest.mark.parametrize(("strategy", "point", "err", "reason", "stage"), INJECTED)
def test_injected(
    guest: Guest, strategy: str, point: str, err: int, reason: str, stage: str
) -> None:
    guest.run(f"echo {point} {err} > {INJECT}")
    why = failure(guest, "2M", strategy)
    assert (why["reason"], why["stage"], why["errno"]) == (reason, stage, err)
    # Once: the same lock works now.
    assert tool(guest, f"lock --size 2M --strategy {strategy}")["ok"] is True


def test_an_emptied_range_that_fails_once_is_passed_over(guest: Guest) -> None:
    """One busy place is not a reason: there are others."""
    guest.run(f"echo alloc {errno.EBUSY} > {INJECT}")
    assert tool(guest, "lock --size 2M --strategy contig-range")["ok"] is True


@pytest.mark.parametrize(
    "line",
    [
        "",
        "pin",
        "pin x",
        "pin -1",
        "pin 99999",
        "pin 5 x",
        "pin 5 1 1",
        "pin delay",
        "pin delay x",
        "pin delay 60001",
        "nothing 5",
        "x" * 64,
    ],
)
def test_bad_injection_is_refused(guest: Guest, line: str) -> None:
    assert guest.run(f"echo '{line}' > {INJECT}").code != 0


# ---- what the machine does by itself ----------------------------------------


def test_buddy_limit(guest: Guest) -> None:
    why = failure(guest, "8M", "coherent")
    assert (why["reason"], why["stage"], why["errno"]) == ("buddy-limit", "allocate", errno.ENOMEM)
    assert (why["limit"], why["request"], why["available"]) == (4 << 20, 8 << 20, 4 << 20)
    assert tool(guest, "lock --size 4M --strategy coherent")["ok"] is True


def test_ram_too_small(guest: Guest) -> None:
    why = failure(guest, "1G", "contig-range")
    assert (why["reason"], why["request"]) == ("ram-too-small", GIB)
    total = int(guest.run("awk '/MemTotal/ { print $2 }' /proc/meminfo").stdout) * 1024
    assert why["limit"] == total < GIB


def test_overcommit(guest: Guest) -> None:
    """The kernel refuses the mapping before the driver is asked."""
    why = failure(guest, "1G", "sg")
    assert (why["reason"], why["errno"]) == ("overcommit", errno.ENOMEM)
    assert why["limit"] < GIB


def test_address_space(guest: Guest) -> None:
    why = failure(guest, "256M", "sg", prefix="ulimit -v 131072;")
    assert (why["reason"], why["errno"]) == ("address-space", errno.ENOMEM)
    assert why["limit"] == 131072 * 1024


def test_memlock_limit(guest: Guest) -> None:
    """A user without CAP_IPC_LOCK; the same as root has no limit."""
    guest.run("chmod 666 /dev/gigalock0")
    as_user = "ulimit -l 8192; /usr/bin/setpriv --reuid=1000 --clear-groups"
    why = failure(guest, "64M", "sg", prefix=as_user)
    assert (why["reason"], why["stage"], why["errno"]) == ("memlock-limit", "account", errno.ENOMEM)
    assert (why["limit"], why["request"], why["available"]) == (8 << 20, 64 << 20, 8 << 20)
    assert tool(guest, "lock --size 4M --strategy sg", prefix=as_user)["ok"] is True
    zero = as_user.replace("8192", "0")
    why = failure(guest, "4M", "sg", prefix=zero)
    assert (why["reason"], why["errno"], why["limit"]) == ("memlock-limit", errno.EPERM, 0)
    assert tool(guest, "lock --size 64M --strategy sg", prefix="ulimit -l 8192;")["ok"] is True


def hold(g: Guest, command: str, locks: int) -> None:
    """A lock in the background, until it is there."""
    g.run(f"gigalock lock {command} --hold 300 >/tmp/hold 2>&1 &")
    for _ in range(60):
        if tool(g, "info")["locks"] >= locks:
            return
        g.run("sleep 0.5")
    pytest.fail("no lock: " + g.run("cat /tmp/hold").stdout)


def let_go(g: Guest) -> None:
    g.run("kill $(pidof gigalock)")
    for _ in range(60):
        if not tool(g, "info")["locks"]:
            return
        g.run("sleep 0.2")
    pytest.fail("a lock stays")


def nearly_all(g: Guest) -> int:
    """MiB that a lock may ask for, and that are not free: kernels leave more or less of RAM."""
    kib = g.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo").stdout
    return int(kib) // 1024 - 8


def test_no_memory(guest: Guest) -> None:
    """Less than all of RAM, more than is free: the search stops before the machine is empty."""
    size = nearly_all(guest)
    why = failure(guest, f"{size}M", "contig-range")
    assert (why["reason"], why["stage"], why["errno"]) == ("no-memory", "allocate", errno.ENOMEM)
    # What is told to be there, is there.
    assert 512 << 20 < why["available"] < size << 20
    assert tool(guest, f"lock --size {why['available']} --strategy contig-range")["ok"] is True


@pytest.mark.skipif(default_kernel() == "debug", reason="KASAN's own blocks are what runs out then")
def test_no_free_block(guest: Guest) -> None:
    """Blocks of 4 MiB run out while single pages are left."""
    kib = guest.run("awk '/^MemAvailable/ { print $2 }' /proc/meminfo").stdout
    hold(guest, f"--size {int(kib) // 1024 - 200}M --strategy sg", 1)
    try:
        for n in range(60):
            answer = tool(guest, "lock --size 4M --strategy coherent")
            if not answer["ok"]:
                break
            hold(guest, "--size 4M --strategy coherent", n + 2)
        else:
            pytest.fail("240 MiB of blocks where 200 are free")
        why = answer["failure"]
        assert (why["reason"], why["stage"], why["errno"]) == (
            "no-free-block",
            "allocate",
            errno.ENOMEM,
        )
        assert why["available"] > 4 << 20
    finally:
        let_go(guest)


def test_no_free_range_across_a_hole(tmp_path: Path) -> None:
    """Half of RAM lies below the hole for devices, half above 4 GiB: enough, but not in a row."""
    with boot(tmp_path, 1024, extra_qemu=LOW_HALF) as g:
        why = failure(g, "600M", "contig-range")
        assert (why["reason"], why["errno"]) == ("no-free-range", errno.EBUSY)
        assert 256 << 20 < why["available"] < 512 << 20


def test_killed_and_read_by_another_process(tmp_path: Path) -> None:
    """The OOM killer takes the caller; the card still knows why its lock failed."""
    with boot(tmp_path, 1200) as g:
        size = nearly_all(g)
        r = g.run(
            "echo 1000 > /proc/self/oom_score_adj;"
            f" exec gigalock lock --size {size}M --strategy sg",
            timeout=120,
        )
        assert r.code != 0
        log = tool(g, "failures")["failures"]
        assert log, "the card remembers nothing"
        assert (log[-1]["reason"], log[-1]["stage"]) == ("killed", "pin")
        assert 0 < log[-1]["available"] < size << 20
        assert "Out of memory: Killed process" in g.console() + g.run("dmesg").stdout


def lock_and_die(g: Guest, size: str, prefix: str = "") -> dict[str, Any]:
    """A lock of whose caller nothing is left but what the card remembers."""
    failures = tool(g, "failures")["failures"]
    seen = failures[-1]["seq"] if failures else 0
    words = arguments("sg", size, {})
    r = g.run(
        f"echo 1000 > /proc/self/oom_score_adj; {prefix} exec {TESTS}/gl-lock {words}", timeout=120
    )
    assert r.signal == signal.SIGKILL or r.code == 128 + signal.SIGKILL, r
    (why,) = tool(g, f"failures --since {seen}")["failures"]
    assert (why["reason"], why["errno"], why["comm"]) == ("killed", errno.EINTR, "gl-lock")
    # Killed for a page of its memory, or for one of the table's.
    assert why["stage"] in ("pin", "table")
    assert 0 < why["available"] < why["request"]
    return why


def available(g: Guest) -> int:
    """Bytes that the machine has for who asks."""
    return int(g.run("awk '/^MemAvailable/ { print $2 }' /proc/meminfo").stdout) << 10


def test_killed_within_its_memory_group(guest: Guest) -> None:
    """Cause 13: the machine has plenty, the caller's group may have 64 MiB."""
    group = "/sys/fs/cgroup/small"
    r = guest.run(
        "echo +memory > /sys/fs/cgroup/cgroup.subtree_control &&"
        f" mkdir {group} && echo 64M > {group}/memory.max"
    )
    assert r.ok, r.stderr
    try:
        assert available(guest) > 400 * MIB
        why = lock_and_die(guest, "200M", f"echo $$ > {group}/cgroup.procs;")
        assert 32 * MIB < why["available"] < 64 * MIB
        events = guest.run(f"cat {group}/memory.events").stdout
        assert re.search(r"^oom_kill [1-9]", events, re.M), events
        assert works(guest, "sg", "200M")
    finally:
        guest.run(f"rmdir {group}")


def test_killed_while_others_have_the_memory(guest: Guest) -> None:
    """Cause 11: RAM is large enough, but files in memory have too much of it."""
    try:
        assert guest.run(f"{TESTS}/gl-prepare leave-free {200 * MIB}", timeout=60).ok
        lock_and_die(guest, "320M")
    finally:
        guest.run(f"{TESTS}/gl-prepare free")
    assert works(guest, "sg", "320M")


def test_killed_with_movable_memory_free(tmp_path: Path) -> None:
    """Cause 30: what is free lies where nothing may be pinned."""
    with boot(tmp_path, 512, "kernelcore=208M") as g:
        there = available(g)
        assert there > 256 * MIB
        why = lock_and_die(g, "240M")
        assert why["available"] < 208 * MIB
        assert works(g, "sg", "64M")
        assert available(g) > there - 16 * MIB
        assert g.unexpected_lines(allowed=KILLED) == []


@pytest.mark.parametrize("kernel", ["lab", "6.12"])
def test_a_disk_shared_with_the_kernel(tmp_path: Path, kernel: str) -> None:
    """Cause 31: the kernel writes back what such a mapping changes, and since 6.5 lets no card
    change it behind its back. A file in memory has no such place."""
    need_kernel(kernel)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(8 * MIB))
    drive = [f"file={disk},format=raw,if=none,id=disk", "virtio-blk-pci,drive=disk"]
    extra = ["-drive", drive[0], "-device", drive[1]]
    with Guest(GuestConfig(ram_mib=512, kernel=kernel, extra_qemu=extra), tmp_path / "guest") as g:
        g.run("modprobe virtio_blk")
        assert g.run(f"dd if=/dev/zero of=/tmp/file bs=1M count=4 && ls {DISK}", timeout=20).ok
        assert works(g, "sg", "4M", file="/tmp/file")
        release = g.run("uname -r").stdout.split(".")
        if (int(release[0]), int(release[1])) < (6, 5):
            assert works(g, "sg", "4M", file=DISK)
            return
        why = fails(g, "sg", "4M", file=DISK)
        assert (why["reason"], why["stage"], why["errno"]) == ("unpinnable", "pin", errno.EFAULT)
        assert works(g, "sg", "4M", file=DISK, direction=1)  # to the card alone


def test_swiotlb_segment_and_full(tmp_path: Path) -> None:
    """All DMA bounces, as in a confidential guest: 256 KiB a piece, 64 MiB in all."""
    with boot(tmp_path, 1024, "swiotlb=force") as g:
        assert tool(g, "info")["swiotlb_max_bytes"] == 256 << 10
        why = failure(g, "16M", "contig-range")
        assert (why["reason"], why["stage"]) == ("swiotlb-segment", "dma-map")
        assert (why["limit"], why["request"]) == (256 << 10, 16 << 20)
        why = failure(g, "256M", "sg")
        assert (why["reason"], why["stage"]) == ("swiotlb-full", "dma-map")
        assert tool(g, "lock --size 16M --strategy sg")["ok"] is True
        hold(g, "--size 50M --strategy sg", 1)
        for n in range(128):  # one piece each, until the pool is full
            answer = tool(g, "lock --size 256K --strategy contig-range")
            if not answer["ok"]:
                break
            hold(g, "--size 256K --strategy contig-range", n + 2)
        assert answer["failure"]["reason"] == "swiotlb-full", answer
        let_go(g)
        got = tool(g, "xfer --size 16M --strategy sg")
        assert got["verified"] is True, got


def test_coherent_behind_an_iommu(tmp_path: Path) -> None:
    """Any pages will do: what remains is RAM itself."""
    with boot(tmp_path, 512, iommu="intel") as g:
        assert tool(g, "lock --size 64M --strategy coherent")["ok"] is True
        why = failure(g, "1G", "coherent")
        assert (why["reason"], why["stage"]) == ("ram-too-small", "allocate")


def test_address_width(tmp_path: Path) -> None:
    """A card of 32 bits, RAM above 4 GiB, and no bounce buffer."""
    with boot(tmp_path, 1024, "swiotlb=noforce", device="addr-width=32", extra_qemu=LOW_HALF) as g:
        why = failure(g, "600M", "sg")
        assert (why["reason"], why["stage"], why["errno"]) == (
            "address-width",
            "dma-map",
            errno.ERANGE,
        )
        assert why["limit"] == 2**32 - 1 < why["request"]
        # A range is looked for where the card can reach it.
        got = tool(g, "xfer --size 256M --strategy contig-range")
        assert got["verified"] is True, got


def test_no_device_and_no_permission(guest: Guest) -> None:
    r = guest.run("gigalock lock --size 1M -d /dev/gigalock7 --json")
    assert r.code == 3
    assert "/dev/gigalock7" in r.stdout
    guest.run("chmod 600 /dev/gigalock0")
    r = guest.run("/usr/bin/setpriv --reuid=1000 --clear-groups gigalock info --json")
    assert r.code == 3, r.stderr
    assert "ermission" in r.stdout
