# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping a transfer in the middle: proved by the pause knob, 0 < bytes < total."""

import os
import time

import pytest
from card import BUF, C2H, CARD_AT, GL, H2C, NOP, Card
from qemu import QemuError

BOTH_ENGINES = True

MIB = 1 << 20
OFF = (1 << 64) - 1
TOTAL = 40 * MIB
HOLD = 9 * MIB + 12345
BUS_MASTER = GL["GL_ERR_BUS_MASTER"]


def hold(card, ch=0):
    """Get a transfer of TOTAL bytes held after HOLD bytes."""
    card.q.fill(BUF, TOTAL, 0x5A)
    card.q.fill(CARD_AT, TOTAL, 0)
    card.enable(ch)
    card.q.set("pause-after", HOLD)
    card.put(ch, H2C, BUF, 0, TOTAL)
    card.ring(ch)
    card.until(card.paused, "never held")
    assert 0 < card.bytes_moved(ch) == HOLD < TOTAL


def nothing_moves(card, ch=0, seconds=0.2):
    """No byte more arrives and no completion is written, even without the knob."""
    before = card.bytes_moved(ch), card.q.get("stat-bytes")
    card.q.set("pause-after", OFF)
    time.sleep(seconds)
    assert (card.bytes_moved(ch), card.q.get("stat-bytes")) == before
    assert card.q.read(CARD_AT + HOLD, 4096) == bytes(4096)
    assert card.peek(ch, 0).seq == 0


def works(card, ch=0):
    card.q.set("pause-after", OFF)
    card.q.write(BUF, b"alive")
    card.enable(ch)
    assert card.do(H2C, BUF, 0, 5, ch=ch).status == 0
    assert card.q.read(CARD_AT, 5) == b"alive"


def test_reset_in_mid_transfer(card):
    hold(card)
    start = time.monotonic()
    card.set_reg("CTRL", 1)
    assert time.monotonic() - start < 2
    assert card.reg("STATUS") == 1 << GL["GL_STATUS_READY_SHIFT"]
    assert card.status(0) == {"RUNNING": 0, "BUSY": 0, "HALTED": 0, "ERROR": 0}
    assert card.ch(0, "CTRL") == 0
    nothing_moves(card)
    works(card)


def test_reset_while_bytes_fly(start):
    """Not held: the reset hits wherever the worker is. Many times over."""
    card = start("card-mem=256M")
    for _ in range(20):
        card.enable()
        for _ in range(16):
            card.put(0, H2C, BUF, 0, 200 * MIB)
        card.ring()
        card.until(lambda: card.bytes_moved(0), "no start")
        card.set_reg("CTRL", 1)
        assert card.status(0)["RUNNING"] == 0
        moved = card.q.get("stat-bytes")
        time.sleep(0.005)
        assert card.q.get("stat-bytes") == moved
    works(card)


def test_disable_in_mid_transfer(card):
    hold(card)
    card.disable()
    assert card.status(0) == {"RUNNING": 0, "BUSY": 0, "HALTED": 0, "ERROR": 0}
    nothing_moves(card)
    works(card)


def test_disable_leaves_the_other_channel_alone(card):
    hold(card, 1)
    card.enable(0)
    card.disable(0)
    assert card.status(1)["BUSY"]
    card.q.set("pause-after", OFF)
    r = card.wait(1)
    assert (r.status, r.bytes) == (0, TOTAL)


def test_enable_again_at_once(card):
    """Without waiting for RUNNING: the old transfer is gone, the new one is right."""
    hold(card)
    card.set_ch(0, "CTRL", 0)
    works(card)
    assert card.bytes_moved(0) == 5


def test_flr_in_mid_transfer(card):
    hold(card)
    express = card.pci.capability(0x10)
    card.pci.write(express + 8, 0x8000)
    assert card.pci.read(4) & 7 == 0  # the configuration is cleared, too
    card = Card(card.q)
    assert card.status(0)["RUNNING"] == 0
    assert card.peek(0, 0).seq == 0
    works(card)


def test_system_reset_in_mid_transfer(card):
    hold(card)
    card.q.qmp("system_reset")
    card.q.wait_event("RESET")
    assert card.q.get("paused") is False
    card = Card(card.q)
    assert card.status(0)["RUNNING"] == 0
    works(card)


def test_bus_master_off_before(card):
    card.command(0x2)
    card.enable()
    card.put(0, NOP, 0, 0, 0)
    card.ring()
    card.until(lambda: card.status(0)["HALTED"], "not halted")
    assert card.status(0)["ERROR"] == BUS_MASTER
    card.command(0x6)
    card.disable()
    works(card)


def test_bus_master_off_in_mid_transfer(card):
    hold(card)
    card.command(0x2)
    assert card.status(0) == {"RUNNING": 0, "BUSY": 0, "HALTED": 1, "ERROR": BUS_MASTER}
    nothing_moves(card)
    card.command(0x6)
    card.disable()
    works(card)


def test_power_state_d3_stops_the_engine(card):
    hold(card)
    pm = card.pci.capability(1)
    card.pci.write(pm + 4, card.pci.read(pm + 4) | 3)
    card.until(lambda: card.q.get("paused") is False, "still held")
    card.pci.write(pm + 4, card.pci.read(pm + 4) & ~3)
    assert card.status(0)["ERROR"] == BUS_MASTER
    nothing_moves(card)
    card.disable()
    works(card)


def test_unplug_in_mid_transfer(start):
    """The slot's power goes off: the card leaves, QEMU stays."""
    card = start(behind_port=True)
    q = card.q
    hold(card)
    q.qmp("device_del", id="gl0")
    q.qmp("system_reset")  # a reset completes a pending removal
    q.wait_event("DEVICE_DELETED")
    with pytest.raises(QemuError):
        q.get("paused")
    q.qmp("device_add", driver="gigalock", id="gl0", bus="rp0")
    q.qmp("system_reset")
    q.wait_event("RESET")
    works(Card(q, behind_port=True))


def test_quit_in_mid_transfer(card):
    hold(card)
    assert card.q.close() == 0


def test_quit_while_bytes_fly(start):
    card = start("card-mem=256M,channels=4")
    for ch in range(4):
        card.enable(ch)
        for _ in range(16):
            card.put(ch, C2H, 0, BUF, 200 * MIB)
        card.ring(ch)
    assert card.q.close() == 0


def test_vm_stop_holds_and_cont_goes_on(start, halting_bios):
    card = start("card-mem=256M", extra=["-bios", str(halting_bios)])
    q = card.q
    q.qmp("cont")
    q.fill(BUF, 200 * MIB, 0x77)
    card.enable()
    n = 60
    card.log2[0] = 6
    card.disable()
    card.enable(log2=6)
    for _ in range(n):
        card.put(0, H2C, BUF, 0, 200 * MIB)
    card.ring()
    card.until(lambda: card.bytes_moved(0), "no start")
    q.qmp("stop")
    moved = q.get("stat-bytes")
    assert 0 < moved < n * 200 * MIB
    time.sleep(0.2)
    assert q.get("stat-bytes") == moved
    assert card.status(0)["BUSY"]
    q.qmp("cont")
    for _ in range(n):
        assert card.wait(timeout=60).status == 0
    assert card.bytes_moved(0) == n * 200 * MIB


def test_vm_stop_with_the_pause_knob(start, halting_bios):
    card = start(extra=["-bios", str(halting_bios)])
    card.q.qmp("cont")
    hold(card)
    card.q.qmp("stop")
    card.q.set("pause-after", OFF)
    time.sleep(0.1)
    assert card.bytes_moved(0) == HOLD
    card.q.qmp("cont")
    assert card.wait().bytes == TOTAL


def test_both_channels_under_resets(start):
    """Channel 1 keeps its data while channel 0 is started and stopped all the time."""
    card = start("channels=2")
    data = os.urandom(MIB)
    card.q.write(BUF + 64 * MIB, data)
    card.enable(1, log2=4)
    for _ in range(16):
        card.put(1, H2C, BUF + 64 * MIB, 32 * MIB, MIB)
    card.ring(1)
    for _ in range(30):
        card.enable(0)
        card.put(0, H2C, BUF, 0, 16 * MIB)
        card.ring(0)
        card.set_ch(0, "CTRL", 0)
    for _ in range(16):
        assert card.wait(1).status == 0
    assert card.q.read(CARD_AT + 32 * MIB, MIB) == data
