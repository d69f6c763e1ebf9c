# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of the bus with a transfer half way, and a card that is pulled out without a word.

The root port's own services do it, as on a machine whose firmware leaves them to the kernel: the
kernel hears of an error by the port's interrupt, resets the slot and calls the driver. QEMU's
monitor makes the card report the error.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import KNOB_OFF, TESTS, pause_after, start, wait_gone
from gigalock_harness.qemu_args import default_kernel
from test_driver import assert_nothing_left, half_way, memory

CARD = "gigalock,id=gl0,bus=rp0,addr=0.0,multifunction=on"
BESIDE = "gigalock,id=gl1,bus=rp0,addr=0.1"
BIND = "/sys/bus/pci/drivers/gigalock"
INJECT = "/sys/kernel/debug/gigalock/gigalock0/inject"
DEVICES = "/sys/bus/pci/devices"
PORT = f"{DEVICES}/0000:00:01.0"
SLOT_CONTROL = 0x6C  # of QEMU's root port
RECOVERY_S = 4  # more than the reset of a slot takes: a second, and its devices' time
EXPECTED = [
    r"AER: Uncorrect\w+ \(.*Fatal\) error message received",
    r"AER: Multiple Uncorrect",
    r"PCIe Bus Error: severity=Uncorrect\w+ \(",
]


@contextlib.contextmanager
def booted(log: Path) -> Iterator[Guest]:
    if default_kernel() == "stock":
        pytest.skip("slots take seconds: make test-kernels, on the other kernels")
    config = GuestConfig(
        ram_mib=512,
        devices=[CARD, BESIDE],
        cmdline_extra=["pcie_ports=native"],
        driver_params=[f"recovery_s={RECOVERY_S}"],
        extra_qemu=["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"],
    )
    with Guest(config, log) as g:
        said = g.run("dmesg").stdout
        assert re.search(r"pcieport .*: AER: enabled", said), said
        yield g
        assert g.unexpected_lines(EXPECTED) == []


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with booted(tmp_path_factory.mktemp("recovery")) as g:
        yield g


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Of its own: a slot is taken out of and put into service, not only reset."""
    if default_kernel() == "debug":
        # Between its own reset_lock and pci_rescan_remove_lock, whatever card it is.
        pytest.skip("lockdep reports this kernel's slot driver as soon as a card is gone")
    with booted(tmp_path_factory.mktemp("slot")) as g:
        yield g


def set_bits(path: str, offset: int, bits: int, clear: int = 0) -> str:
    """A shell command: of 16 bits of configuration space some set, some cleared, in one access."""
    return (
        f"c={path}/config; old=$(dd if=$c bs=2 skip={offset // 2} count=1 2>/dev/null |"
        f" hexdump -e '1/2 \"%d\"'); new=$(((old | {bits}) & ~{clear}));"
        ' printf "\\\\$(printf %o $((new & 255)))\\\\$(printf %o $((new >> 8)))" |'
        f" dd of=$c bs=2 seek={offset // 2} conv=notrunc 2>/dev/null"
    )


def error(g: Guest, name: str) -> None:
    """The card reports that error, and the kernel is done with it."""
    # SERR#, which firmware sets: without it QEMU's card keeps errors to itself.
    for path in (PORT, f"{DEVICES}/0000:01:00.0"):
        assert g.run(set_bits(path, 4, 0x100)).ok
    g.run("dmesg -c >/dev/null")
    line = f"pcie_aer_inject_error gl0 {name}"
    said = g.qmp("human-monitor-command", command_line=line)
    assert said.startswith("OK"), said
    end = time.monotonic() + 20
    while "device recovery" not in (told := g.run("dmesg").stdout):
        assert time.monotonic() < end, told
        time.sleep(0.1)


def statuses(said: str) -> list[tuple[str, str]]:
    """Status and reason of each transfer."""
    return re.findall(r"^status (\d+) .*reason (\d+)$", said, re.M)


LOST, GONE = ("125", "23"), ("19", "24")  # ECANCELED, cancelled; ENODEV, device-gone


def bind_anew(g: Guest) -> None:
    pause_after(g, KNOB_OFF)
    r = g.run("rmmod gigalock; insmod /lib/modules/gigalock.ko recovery_s=" + str(RECOVERY_S))
    assert r.ok, r.stderr
    assert g.run("gigalock xfer -q --size 8M --strategy sg").ok


@pytest.mark.parametrize("kind", ["COMP_TIME", "MALF_TLP"], ids=["non-fatal", "fatal"])
def test_an_error_half_way(guest: Guest, kind: str) -> None:
    """What the card was at is lost, what waits is done, and so is what comes after. Also for the
    second error, and behind a reset, which uses up what is put back after the first."""
    before = memory(guest)
    try:
        for _ in range(2):
            half_way(guest, "sg", "others", "^submitted")
            error(guest, kind)
            pause_after(guest, KNOB_OFF)
            out = wait_gone(guest, "gl-midway")
            assert "device recovery successful" in guest.run("dmesg").stdout
            assert statuses(out) == [LOST, LOST, ("0", "0")] and "submit errno 0\n" in out, out
            assert guest.run("gigalock xfer -q --size 8M --strategy sg").ok
            done = guest.run(f"echo 1 > {DEVICES}/0000:01:00.0/reset", timeout=30)
            assert done.ok, done.stderr
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


def test_an_error_ends_a_queue(guest: Guest) -> None:
    before = memory(guest)
    try:
        pause_after(guest, 5 * 65536 + 12345)
        start(guest, f"{TESTS}/gl-queue-hold wait irq", r"^held 5 of 16")
        error(guest, "MALF_TLP")
        pause_after(guest, KNOB_OFF)
        assert "over 32 seen 5 of 16, 0 wrong\n" in wait_gone(guest, "gl-queue-hold")
        assert guest.run("gigalock xfer -q --size 8M --strategy sg").ok
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


def test_a_slot_that_does_not_come_back(guest: Guest) -> None:
    """The reset of the slot was in vain: who waits for the card is told, who comes later too, and
    the file closes with its lock."""
    before = memory(guest)
    try:
        half_way(guest, "sg", "others", "^submitted")
        assert guest.run(f"echo 'reset 1' > {INJECT}").ok
        error(guest, "MALF_TLP")
        out = wait_gone(guest, "gl-midway", patience=90)
        said = guest.run("dmesg").stdout
        assert "device recovery failed" in said
        assert "the card does not answer after the reset of its slot" in said
        assert statuses(out) == [LOST, LOST, GONE] and "submit errno 19\n" in out, out
        # A queue can't be had of it, and not because others have them all.
        r = guest.run(f"{TESTS}/gl-queue-hold wait")
        assert "QUEUE_CREATE (No such device)" in r.stdout, r.stdout
    finally:
        bind_anew(guest)
    assert_nothing_left(guest, before)


def test_a_recovery_that_nobody_ends(guest: Guest) -> None:
    """A function beside the card has no driver that could take part: the kernel gives up on all
    of the slot, and some kernels tell nobody. Then it is the time that tells."""
    before = memory(guest)
    try:
        assert guest.run(f"echo 0000:01:00.1 > {BIND}/unbind").ok
        half_way(guest, "sg", "others", "^submitted")
        error(guest, "MALF_TLP")
        out = wait_gone(guest, "gl-midway", patience=90)
        assert "device recovery failed" in guest.run("dmesg").stdout
        assert statuses(out) == [LOST, LOST, GONE] and "submit errno 19\n" in out, out
        assert re.search(
            r"no channel is used any more: the bus d(oes|id) not recover", guest.run("dmesg").stdout
        )
        # Its configuration is gone with the reset that did come.
        guest.run("rmmod gigalock")
        guest.run(
            f"for d in {DEVICES}/0000:01:00.*; do echo 1 > $d/remove; done;"
            " echo 1 > /sys/bus/pci/rescan",
            timeout=30,
        )
    finally:
        bind_anew(guest)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("seconds", [0, 3601])
def test_a_time_that_can_not_be(guest: Guest, seconds: int) -> None:
    guest.run("rmmod gigalock")
    try:
        assert not guest.run(f"insmod /lib/modules/gigalock.ko recovery_s={seconds}").ok
        said = guest.run("dmesg").stdout
        assert f"recovery_s={seconds} is not within 1 to 3600" in said
    finally:
        bind_anew(guest)


def wait_until(g: Guest, condition: str) -> None:
    end = time.monotonic() + 30
    while not g.run(condition).ok:
        assert time.monotonic() < end, condition + ":\n" + g.run("dmesg | tail -n 20").stdout
        time.sleep(0.1)


@pytest.mark.parametrize("told", [False, True], ids=["unseen", "seen"])
def test_pulled_out_half_way(slot: Guest, told: bool) -> None:
    """The slot loses its power with a transfer half way: from one moment to the next the card
    answers nothing. Whoever waits learns it, whether the kernel's slot driver was told or not;
    put in again the card works."""
    before = memory(slot)
    # Power controller and indicator off, and no interrupt, behind the back of the kernel's slot
    # driver: the card is out. Then the control as it was, and an interrupt also for the change.
    out_of_it = set_bits(PORT, SLOT_CONTROL, 0x700, clear=0x20)
    tell = set_bits(PORT, SLOT_CONTROL, 0x128, clear=0x600)
    half_way(slot, "sg", "poll" if told else "others", "^half-way" if told else "^submitted")
    assert slot.run(f"{out_of_it}; {tell}" if told else out_of_it).ok
    out = wait_gone(slot, "gl-midway")
    if told:
        assert "poll in hup" in out, out
        assert "wait errno 19" in out, out
    else:
        assert statuses(out) == [GONE] * 3, out
        assert slot.run(f"test -e /dev/gigalock0 && {tell}").ok
    # The slot driver is done when the indicator is off, too.
    control = f"dd if={PORT}/config bs=2 skip={SLOT_CONTROL // 2} count=1 2>/dev/null"
    off = f"[ $(( $({control} | hexdump -e '1/2 \"%d\"') & 0x700 )) = $((0x700)) ]"
    wait_until(slot, f"! test -e /dev/gigalock0 && {off}")
    for device in (BESIDE, CARD):
        slot.qmp("human-monitor-command", command_line=f"device_add {device}")
    wait_until(slot, "test -e /dev/gigalock0")
    assert slot.run("gigalock xfer -q --size 8M --strategy sg").ok
    assert_nothing_left(slot, before)
