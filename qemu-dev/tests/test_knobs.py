# SPDX-License-Identifier: GPL-2.0-or-later
"""The run-time knobs: exact pause, faults, counters."""

import os

import pytest
from card import BUF, C2H, CARD_AT, F_CPL, F_CRC, F_CRC_INIT, F_IRQ, GL, H2C, crc32c
from qemu import QemuError

BOTH_ENGINES = True

OFF = (1 << 64) - 1
MIB = 1 << 20


@pytest.mark.parametrize("hold", [0, 1, 4096, 5 * MIB + 7, 8 * MIB, 20 * MIB - 1, 20 * MIB])
def test_pause_is_exact(card, hold):
    """Held at exactly that byte: the next one has not moved, and no completion is there."""
    total = 20 * MIB
    data = os.urandom(MIB) * 20
    card.q.write(BUF, data)
    card.enable()
    card.q.set("pause-after", hold)
    assert card.q.get("pause-after") == hold
    card.put(0, H2C, BUF, 0, total)
    card.ring()
    card.until(card.paused, "never held")
    assert card.q.get("paused") is True
    assert card.bytes_moved(0) == hold
    assert card.status(0) == {"RUNNING": 1, "BUSY": 1, "HALTED": 0, "ERROR": 0}
    assert card.peek(0, 0).seq == 0
    assert card.ch(0, "HEAD") == 0
    if hold:
        assert card.q.read(CARD_AT + hold - 1, 1) == data[hold - 1 : hold]
    if hold < total:
        assert card.q.read(CARD_AT + hold, min(4096, total - hold)) == bytes(
            min(4096, total - hold)
        )
    card.q.set("pause-after", OFF)
    assert card.wait().bytes == total
    assert not card.paused()
    assert card.q.read(CARD_AT, total) == data


def test_pause_step_by_step(card):
    """Writing the knob anew lets go and counts from there."""
    card.enable()
    card.q.set("pause-after", 1000)
    card.put(0, H2C, BUF, 0, 5000)
    card.put(0, H2C, BUF, 0, 300)
    card.ring()
    for step in range(1, 6):
        card.until(lambda s=step: card.bytes_moved(0) == 1000 * s and card.paused(), "not held")
        card.q.set("pause-after", 1000 if step < 5 else OFF)
    assert card.wait().bytes == 5000
    assert card.wait().bytes == 300


def test_pause_counts_all_channels(start):
    """Many small descriptors on four channels: together exactly that many bytes."""
    card = start("channels=4")
    card.q.set("pause-after", 12345)
    for ch in range(4):
        card.enable(ch, log2=6)
        for _ in range(64):
            card.put(ch, H2C, BUF, ch * MIB, 999)
    for ch in range(4):
        card.ring(ch)
    card.until(card.paused, "never held")
    card.until(lambda: sum(card.bytes_moved(ch) for ch in range(4)) == 12345, "another count")
    assert card.q.get("stat-bytes") == 12345
    card.q.set("pause-after", OFF)
    for ch in range(4):
        for _ in range(64):
            assert card.wait(ch).bytes == 999


def test_pause_set_at_the_start(start):
    card = start("pause-after=100")
    card.enable()
    card.put(0, H2C, BUF, 0, 200)
    card.ring()
    card.until(card.paused, "never held")
    assert card.bytes_moved(0) == 100


def test_counters(card):
    card.enable()
    card.do(H2C, BUF, 0, 1000)
    card.do(C2H, 0, BUF, 500)
    card.do(99, 0, 0, 0)
    assert [card.q.get(f"stat-{n}") for n in ("bytes", "descriptors", "errors")] == [1500, 3, 1]
    for name in ("stat-bytes", "stat-descriptors", "stat-errors", "paused"):
        with pytest.raises(QemuError):
            card.q.set(name, 0)


def test_unknown_fault_is_refused(card):
    with pytest.raises(QemuError, match="'explode' is not known; known are: none, no-copy"):
        card.q.set("fault", "explode")
    assert card.q.get("fault") == "none"


def round_trip(card, fault, size):
    """Bytes after host to card, overwrite, card to host, with a fault on; and both records."""
    data = os.urandom(size)
    card.q.write(BUF, data)
    card.q.fill(CARD_AT, size + 4096, 0)
    card.enable()
    card.q.set("fault", fault)
    flags = F_CPL | F_CRC | F_CRC_INIT
    r1 = card.do(H2C, BUF, 0, size, flags)
    on_card = card.q.read(CARD_AT, size)
    card.q.fill(BUF, size, 0xDD)
    r2 = card.do(C2H, 0, BUF, size, flags)
    back = card.q.read(BUF, size)
    assert (r1.status, r1.bytes, r2.status, r2.bytes) == (0, size, 0, size)
    assert card.q.read(CARD_AT + size, 64) == bytes(64)
    return data, on_card, back, r1, r2


@pytest.mark.parametrize("size", [1, 3, 65536, 65537, 3 * MIB + 1])
def test_fault_none(card, size):
    data, on_card, back, r1, r2 = round_trip(card, "none", size)
    assert data == on_card == back
    assert r1.crc == r2.crc == crc32c(data)


@pytest.mark.parametrize("size", [3, 65536, 65537, 3 * MIB + 1])
def test_fault_no_copy(card, size):
    data, on_card, back, r1, _ = round_trip(card, "no-copy", size)
    assert on_card == bytes(size)
    assert back == b"\xdd" * size
    assert r1.crc == crc32c(data)  # the card lies consistently


@pytest.mark.parametrize("size", [3, 65536, 65537, 3 * MIB + 1])
def test_fault_wrong_place(card, size):
    """One byte further, the last one first; there and back does not heal it."""
    data, on_card, back, r1, _ = round_trip(card, "wrong-place", size)
    assert on_card == data[-1:] + data[:-1]
    assert back == on_card[-1:] + on_card[:-1]
    assert back != data
    assert r1.crc == crc32c(data)


@pytest.mark.parametrize("size", [1, 2, 65536, 65537, 3 * MIB + 1])
def test_fault_corrupt(card, size):
    """One byte of the descriptor; there and back does not heal it; the checksum tells."""
    data, on_card, back, r1, r2 = round_trip(card, "corrupt", size)
    assert sum(a != b for a, b in zip(data, on_card, strict=True)) == 1
    assert sum(a != b for a, b in zip(data, back, strict=True)) == 1
    assert r1.crc == crc32c(on_card) != crc32c(data)
    assert r2.crc == crc32c(back)


def test_fault_no_irq(card):
    card.msix_on()
    card.enable(irq=True)
    card.q.set("fault", "no-irq")
    card.do(H2C, BUF, 0, 10, F_CPL | F_IRQ)
    card.q.get("fault")
    assert card.irq(0) == 0
    card.q.set("fault", "none")
    card.do(H2C, BUF, 0, 10, F_CPL | F_IRQ)
    card.until(lambda: card.irq(0), "no interrupt")


def test_fault_hang(card):
    card.enable()
    card.q.set("fault", "hang")
    card.put(0, H2C, BUF, 0, 10)
    card.ring()
    card.until(lambda: card.status(0)["BUSY"], "not busy")
    assert card.peek(0, 0).seq == 0
    assert not card.paused()
    card.q.set("fault", "none")
    assert card.wait().bytes == 10
    card.q.set("fault", "hang")
    card.put(0, H2C, BUF, 0, 10)
    card.ring()
    card.disable()  # a hung channel can be stopped
    card.q.set("fault", "none")
    card.enable()
    assert card.do(H2C, BUF, 0, 10).status == 0


def test_faults_keep_error_reports(card):
    card.enable()
    ram = 256 << 20
    for fault in ("no-copy", "wrong-place", "corrupt"):
        card.q.set("fault", fault)
        r = card.do(H2C, ram - 100, 0, 200)
        assert (r.status, r.fault_addr, r.bytes) == (GL["GL_ERR_HOST_READ"], ram, 100)


FORGED = {
    "seq": {"seq": 2 + 0x1000},
    "cookie": {"cookie": 77 ^ 0xFFFFFFFF},
    "bytes": {"bytes": 100 + (1 << 40)},
    "short": {"bytes": 50},
    "status": {"status": 0x7F},
}


@pytest.mark.parametrize("lie", FORGED)
def test_forge_lies_once(card, lie):
    """One record, one member of it; the one before and the ones behind it are true."""
    card.enable()
    assert card.do(H2C, BUF, 0, 100).status == 0
    card.q.set("forge", lie)
    assert card.q.get("forge") == lie
    for cookie in (77, 78):
        card.put(0, H2C, BUF, 0, 100, cookie=cookie)
    card.ring()
    card.until(lambda: card.ch(0, "CPL_COUNT") == 3, "not done")
    assert card.q.get("forge") == "none"
    true = {"cookie": 77, "status": 0, "bytes": 100, "fault_addr": 0, "crc": 0, "seq": 2}
    assert vars(card.peek(0, 1)) == true | FORGED[lie]
    assert vars(card.peek(0, 2)) == true | {"cookie": 78, "seq": 3}


def test_forge_a_stray_record(card):
    """In the place of the next one, until that comes."""
    card.enable()
    assert card.do(H2C, BUF, 0, 100).seq == 1
    card.q.set("forge", "stray")
    assert card.do(H2C, BUF, 0, 100).seq == 2  # an odd place: not yet
    assert card.q.get("forge") == "stray"
    assert card.peek(0, 2).seq == 0
    assert card.do(H2C, BUF, 0, 100).seq == 3
    stray = card.peek(0, 3)
    assert (stray.seq, stray.cookie, stray.bytes) == (4, 2 ^ 0xFFFFFFFF, 100)
    assert (card.ch(0, "CPL_COUNT"), card.ch(0, "HEAD")) == (3, 3)
    card.put(0, H2C, BUF, 0, 50, cookie=5)
    card.ring()
    card.until(lambda: card.ch(0, "CPL_COUNT") == 4, "not done")
    assert (card.peek(0, 3).cookie, card.peek(0, 3).bytes) == (5, 50)


def test_unknown_forge_is_refused(card):
    with pytest.raises(QemuError, match="'all' is not known; known are: none, seq, cookie, bytes"):
        card.q.set("forge", "all")
