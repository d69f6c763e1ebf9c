# SPDX-License-Identifier: GPL-2.0-or-later
"""Queues: their ABI, and that nothing stays behind whatever ends one with work in flight.

"In flight" is proved: the card's pause knob holds the queue, and gl-queue-hold sees that
completions stand still before all of them are there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import CARD, KNOB_OFF, TESTS, pause_after, run_tap, start, wait_gone
from test_driver import assert_nothing_left, memory

HALF = 5 * 65536 + 12345  # bytes of 16 transfers of 64 KiB
SLOT = "$(ls -d /sys/bus/pci/drivers/gigalock/0000:*)"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(GuestConfig(ram_mib=1024), tmp_path_factory.mktemp("queue")) as g:
        yield g
        assert g.unexpected_lines() == []


def output(g: Guest, pattern: str, seconds: float = 60) -> re.Match[str]:
    """Wait until the program that was started has said that, too."""
    end = time.monotonic() + seconds
    while True:
        said = g.run("cat /tmp/out").stdout
        if found := re.search(pattern, said, re.M):
            return found
        if time.monotonic() > end or "Bail" in said:
            pytest.fail(f"{pattern!r} is not in: {said}")
        time.sleep(0.1)


def hold(g: Guest, action: str, after: int = HALF) -> None:
    """Start gl-queue-hold and wait until its queue stands still in the middle."""
    pause_after(g, after)
    start(g, f"{TESTS}/gl-queue-hold {action}", r"^held \d+ of \d+")
    said = output(g, r"^held (\d+) of (\d+)")
    assert int(said[1]) == after // 65536 and int(said[2]) == 16


def gone(g: Guest) -> str:
    return wait_gone(g, "gl-queue-hold")


def test_queues(guest: Guest) -> None:
    before = memory(guest)
    run_tap(guest, "gl-queue", timeout=400)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("kind", ["", " irq"])
@pytest.mark.parametrize("action", ["unlock", "destroy", "close", "exit"])
def test_ending_in_flight_leaves_nothing(guest: Guest, action: str, kind: str) -> None:
    before = memory(guest)
    try:
        hold(guest, action + kind)
        if action == "destroy":
            output(guest, "^destroyed")
            # What the card had not done it must not do now.
            pause_after(guest, KNOB_OFF)
        said = gone(guest)
        assert "done" in said or action == "exit", said
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("signal", ["KILL", "SEGV"])
def test_killing_in_flight_leaves_nothing(guest: Guest, signal: str) -> None:
    before = memory(guest)
    try:
        hold(guest, "sleep")
        guest.run(f"kill -{signal} $(pidof gl-queue-hold)")
        gone(guest)
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("action", ["wait", "wait irq", "spin", "spin irq", "poll irq"])
def test_waiting_until_the_card_goes_on(guest: Guest, action: str) -> None:
    try:
        hold(guest, action)
        time.sleep(0.5)
        assert not guest.run("pidof gl-queue-hold").code
        pause_after(guest, KNOB_OFF)
        said = gone(guest)
    finally:
        pause_after(guest, KNOB_OFF)
    if action == "poll irq":
        assert "polled 1 in\n" in said, said
    else:
        assert "all 16, 0 wrong\ndone\n" in said, said
    assert "over" not in said


RESET = f"echo 1 > {SLOT}/reset"
UNBIND = f"basename {SLOT} > /tmp/slot; cat /tmp/slot > /sys/bus/pci/drivers/gigalock/unbind"


@pytest.mark.parametrize("action", ["wait", "wait irq", "submit", "spin", "poll irq"])
@pytest.mark.parametrize(("how", "errno"), [(RESET, 32), (UNBIND, 19)], ids=["flr", "unbind"])
def test_losing_the_card_in_flight(guest: Guest, action: str, how: str, errno: int) -> None:
    """EPIPE after a reset, ENODEV when the card is gone; what was done before is still seen."""
    before = memory(guest)
    try:
        hold(guest, action)
        assert guest.run(how, timeout=30).code == 0
        pause_after(guest, KNOB_OFF)
        said = gone(guest)
        # Who goes on submitting got five more in before the card was lost.
        count = 21 if action == "submit" else 16
        assert f"over {errno} seen 5 of {count}, 0 wrong\n" in said, said
        if action == "poll irq":
            assert f"polled 1 in{' hup' if errno == 19 else ''}\n" in said, said
    finally:
        pause_after(guest, KNOB_OFF)
        guest.run("test -e /dev/gigalock0 || cat /tmp/slot > /sys/bus/pci/drivers/gigalock/bind")
    run_tap(guest, "gl-queue", timeout=400)
    assert_nothing_left(guest, before)


def test_bus_mastering_off_in_flight(guest: Guest) -> None:
    """The card halts without a word; who waits is told that the queue is over."""
    config = f"{SLOT}/config"
    try:
        hold(guest, "wait")
        done = guest.run(
            f"c=$(echo {config}); old=$(dd if=$c bs=1 skip=4 count=1 2>/dev/null |"
            " hexdump -e '1/1 \"%d\"');"
            ' printf "\\\\$(printf %o $((old & ~4)))" | dd of=$c bs=1 seek=4 conv=notrunc 2>&1;'
            ' sleep 1; printf "\\\\$(printf %o $old)" | dd of=$c bs=1 seek=4 conv=notrunc 2>&1'
        )
        assert done.code == 0, done.stdout
        pause_after(guest, KNOB_OFF)
        assert "over 32 seen 5 of 16, 0 wrong\n" in gone(guest)
    finally:
        pause_after(guest, KNOB_OFF)
    run_tap(guest, "gl-queue", timeout=400)


@pytest.mark.parametrize("fault", ["no-irq", "hang"])
def test_a_card_with_a_fault(guest: Guest, fault: str) -> None:
    """Without interrupts an IRQ queue loses time only; one that hangs can be destroyed."""
    before = memory(guest)
    try:
        hold(guest, "wait irq" if fault == "no-irq" else "unlock irq")
        guest.qmp("qom-set", path=CARD, property="fault", value=fault)
        pause_after(guest, KNOB_OFF)
        said = gone(guest)
        assert "done" in said and "over" not in said, said
    finally:
        guest.qmp("qom-set", path=CARD, property="fault", value="none")
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


def forge(guest: Guest, lie: str) -> None:
    guest.qmp("qom-set", path=CARD, property="forge", value=lie)


LIES = {
    # Of the sixth: seen, and then the queue is over. One that is not found: over, too.
    "cookie": "over 32 seen 6 of 16, 0 wrong",
    "bytes": "over 32 seen 6 of 16, 0 wrong",
    "seq": "over 32 seen 5 of 16, 0 wrong",
    "status": "all 16, 1 wrong",
}


@pytest.mark.parametrize("kind", ["", " irq"])
@pytest.mark.parametrize("lie", LIES)
def test_a_card_that_lies(guest: Guest, lie: str, kind: str) -> None:
    """EPIPE from the call that waits; nothing is lost or counted twice, and the card goes on."""
    before = memory(guest)
    try:
        hold(guest, "wait" + kind)
        forge(guest, lie)
        # Not believed while the card works on the seventh; or all that it does, it does.
        early = lie in ("cookie", "bytes")
        pause_after(guest, 65536 - HALF % 65536 + 100 if early else KNOB_OFF)
        said = gone(guest)
        assert LIES[lie] + "\n" in said and "done" in said, said
    finally:
        forge(guest, "none")
        pause_after(guest, KNOB_OFF)
    run_tap(guest, "gl-queue moves", timeout=400)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("lie", LIES)
def test_a_card_that_lies_of_a_shared_transfer(guest: Guest, lie: str) -> None:
    before = memory(guest)
    xfer = "gigalock xfer --size 1M --strategy coherent"
    try:
        forge(guest, lie)
        said = guest.run(xfer, timeout=60)
        assert said.code != 0 and "device-error" in said.stdout + said.stderr, said
    finally:
        forge(guest, "none")
    assert guest.run(xfer, timeout=60).code == 0
    assert_nothing_left(guest, before)


def test_completed_before_it_is_done(guest: Guest) -> None:
    """A stray record for one that is in flight: the card stands still before its lock is let go."""
    before = memory(guest)
    try:
        hold(guest, "wait")
        forge(guest, "stray")
        pause_after(guest, 2 * 65536 - HALF % 65536 + 100)  # the sixth, the seventh, 100 bytes
        assert "over 32 seen 8 of 16, 0 wrong\n" in gone(guest)
    finally:
        forge(guest, "none")
        pause_after(guest, KNOB_OFF)
    run_tap(guest, "gl-queue moves", timeout=400)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("kind", ["", " irq"])
def test_completed_before_it_is_submitted(guest: Guest, kind: str) -> None:
    """A stray record in the place of the next one, which does not inherit it."""
    before = memory(guest)
    try:
        hold(guest, "stray" + kind)
        pause_after(guest, KNOB_OFF)
        output(guest, "^all$")
        forge(guest, "stray")
        guest.run("touch /tmp/one")
        output(guest, "^one$")
        pause_after(guest, 100)
        guest.run("touch /tmp/another")
        output(guest, "^still in flight$")
        pause_after(guest, KNOB_OFF)
        said = gone(guest)
        assert "all 18, 0 wrong\ndone\n" in said, said
    finally:
        forge(guest, "none")
        pause_after(guest, KNOB_OFF)
        guest.run("rm -f /tmp/one /tmp/another")
    assert_nothing_left(guest, before)


def test_suspending_in_flight(guest: Guest) -> None:
    """The queue is over after a sleep; nobody who waits sees the freezer's signal."""
    if guest.run("test -e /sys/power/pm_test").code:
        pytest.skip("this kernel can't rehearse a suspend")
    before = memory(guest)
    try:
        hold(guest, "wait irq")
        done = guest.run(
            "echo devices > /sys/power/pm_test && echo freeze > /sys/power/state", timeout=90
        )
        assert done.code == 0, done.stderr
        pause_after(guest, KNOB_OFF)
        assert "over 32 seen 5 of 16, 0 wrong\n" in gone(guest)
    finally:
        pause_after(guest, KNOB_OFF)
    run_tap(guest, "gl-queue moves", timeout=400)
    assert_nothing_left(guest, before)


def test_no_allocation_on_the_way(guest: Guest) -> None:
    """By this process, the card's interrupt threads and the module, as the kernel traces them."""
    run_tap(guest, "gl-noalloc traced", timeout=200)


def test_no_allocation_that_could_fail_on_the_way(guest: Guest) -> None:
    if guest.run("test -d /sys/kernel/debug/failslab").code:
        pytest.skip("this kernel can't make allocations fail")
    run_tap(guest, "gl-noalloc failing", timeout=200)


def test_pulling_the_card_out(tmp_path: Path) -> None:
    """Surprise removal with the ring mapped and looked at: no signal, an error from the call."""
    with Guest(GuestConfig(ram_mib=512), tmp_path) as g:
        hold(g, "spin")
        g.qmp("device_del", id="gl0")
        said = output(g, "^over .*", 60)[0]
        assert said == "over 19 seen 5 of 16, 0 wrong"
        assert "done" in gone(g)
        for _ in range(50):
            if g.run("test -e /dev/gigalock0").code:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the node is still there")
        assert g.unexpected_lines() == []


@pytest.mark.parametrize(
    "options",
    ["channels=4", "max-xfer=4096", "max-seg=12288", "boundary=8192", "workers=0", "max-ring=10"],
)
def test_other_cards(options: str, tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, devices=[f"gigalock,id=gl0,bus=rp0,{options}"])
    with Guest(config, tmp_path) as g:
        run_tap(g, "gl-queue moves", timeout=400)
        assert g.unexpected_lines() == []


def test_behind_an_iommu(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512, iommu="intel"), tmp_path) as g:
        run_tap(g, "gl-queue moves", timeout=400)
        assert g.unexpected_lines() == []
