# SPDX-License-Identifier: GPL-2.0-or-later
"""The link model: what it refuses, what the registers say, and the pace."""

import struct
import time

import pytest
from card import BUF, C2C, C2H, CARD_AT, CRC_HOST, F_CPL, FILL_HOST, GL, H2C, H2H, RING
from qemu import QemuError

MIB = 1 << 20
EXPRESS = 0x10
RATES = {  # bytes a second and lane: 8b/10b, then 128b/130b
    1: 2_500_000_000 / 8 * 8 / 10,
    2: 5_000_000_000 / 8 * 8 / 10,
    3: 8_000_000_000 / 8 * 128 / 130,
    4: 16_000_000_000 / 8 * 128 / 130,
}


@pytest.mark.parametrize(
    "options,message",
    [
        ("link-gen=6", r"link-gen=6 is out of range: 1 to \d"),
        ("link-gen=255", r"link-gen=255 is out of range"),
        ("link-gen=1,link-lanes=3", "link-lanes=3 is no width of a link: 1, 2, 4, 8 or 16"),
        ("link-gen=1,link-lanes=0", "link-lanes=0 is no width"),
        ("link-gen=1,link-lanes=32", "link-lanes=32 is no width"),
        ("link-latency=1000000001", "link-latency=1000000001 is out of range: 0 to 1000000000 ns"),
    ],
)
def test_refused(start, options, message):
    with pytest.raises(QemuError, match=message):
        start(options)


def test_what_this_qemu_cannot_say_is_refused(start):
    """7.2 ends at 16 GT/s, and names it."""
    try:
        start("link-gen=5")
    except QemuError as e:
        assert "link-gen=5 is out of range: 1 to 4 (16.0 GT/s is the fastest" in str(e)


def test_off_by_default(card):
    assert card.reg("LINK") == card.reg("LINK_LATENCY") == card.reg64("LINK_RATE") == 0


@pytest.mark.parametrize("behind_port", [False, True])
@pytest.mark.parametrize("gen", [1, 2, 3, 4])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_registers_agree(start, gen, lanes, behind_port):
    """The card's own registers and those of the PCI Express capability."""
    card = start(f"link-gen={gen},link-lanes={lanes},link-latency=700", behind_port=behind_port)
    link = card.reg("LINK")
    assert link >> GL["GL_LINK_GEN_SHIFT"] & 0xF == gen
    assert link >> GL["GL_LINK_LANES_SHIFT"] & 0xFF == lanes
    assert card.reg("LINK_LATENCY") == 700
    assert abs(card.reg64("LINK_RATE") / (RATES[gen] * lanes) - 1) < 1e-6
    cap = card.pci.capability(EXPRESS)
    for value in (card.pci.read(cap + 0x0C), card.pci.read(cap + 0x10) >> 16):
        assert (value & 0xF, value >> 4 & 0x3F) == (gen, lanes)
    assert card.pci.read(cap + 0x2C) == (1 << gen + 1) - 2  # all speeds up to this one
    assert card.pci.read(cap + 0x30) & 0xF == gen


def seconds(card, *descriptors):
    """From the doorbell to the last completion of a chain, seen by polling."""
    for i, d in enumerate(descriptors):
        card.put(0, *d, F_CPL if i + 1 == len(descriptors) else 0)
    return poll(card)


def poll(card):
    first = card.seen[0]
    begin = time.monotonic()
    card.ring()
    while card.peek(0, first).seq != first + 1:
        time.sleep(0.0005)
    took = time.monotonic() - begin
    assert card.wait().status == 0
    return took


def at_pace(card, want, *descriptors, tries=10, late=0.05, once=None):
    """Never faster, and as slow as it should be as soon as the host has time for us."""
    seen = []
    while len(seen) < tries and (not seen or min(seen) > want * (1 + late)):
        seen.append(once(card) if once else seconds(card, *descriptors))
        assert seen[-1] > want * 0.95, f"{seen[-1]:.4f} s instead of {want:.4f} s"
    assert min(seen) < want * (1 + late), f"{seen} s instead of {want:.4f} s"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("op", [H2C, C2H, CRC_HOST, FILL_HOST])
def test_pace(start, op, workers):
    """64 MiB at 250 MB/s: within 5 % of 0.268 s."""
    card = start(f"link-gen=1,link-lanes=1,workers={workers}")
    card.q.fill(BUF, 64 * MIB, 1)
    card.q.fill(CARD_AT, 64 * MIB, 2)
    card.enable()
    want = 64 * MIB / card.reg64("LINK_RATE")
    args = (op, *((BUF, 0) if op in (H2C, CRC_HOST) else (0, BUF)), 64 * MIB)
    at_pace(card, want, args)


def test_pace_over_a_gib(start):
    """It holds over a long transfer: who wakes up late goes on as if it had not."""
    card = start("link-gen=1,link-lanes=1")
    card.q.fill(BUF, 64 * MIB, 1)
    card.q.fill(CARD_AT, 64 * MIB, 2)
    card.enable()
    want = 1024 * MIB / card.reg64("LINK_RATE")
    at_pace(card, want, *[(H2C, BUF, 0, 64 * MIB)] * 16, tries=3)


def test_pace_of_small_segments(start):
    """Descriptors one after another leave no gaps: a ring of them, written beforehand."""
    card = start("link-gen=1,link-lanes=1")
    log2 = 14
    n = 1 << log2
    card.enable(log2=log2)
    ring = [
        struct.pack("<HHIQQQ", H2C, 0, i, BUF + i * 4096, i % 8192 * 4096, 4096) for i in range(n)
    ]
    ring[-1] = struct.pack("<HHIQQQ", H2C, F_CPL, n, BUF, 0, 4096)
    card.q.write(RING, b"".join(ring))
    want = n * 4096 / card.reg64("LINK_RATE")

    def once(card):
        card.tails[0] += n  # the same descriptors again
        return poll(card)

    at_pace(card, want, once=once)


def test_lanes_and_generations_are_faster(start):
    """Four lanes of the second generation: eight times the rate."""
    card = start("link-gen=2,link-lanes=4")
    card.q.fill(BUF, 64 * MIB, 1)
    card.q.fill(CARD_AT, 64 * MIB, 2)
    card.enable()
    want = 64 * MIB / 2e9
    at_pace(card, want, (H2C, BUF, 0, 64 * MIB), late=0.3)


def test_directions_are_independent(start):
    """Host to host goes over the link twice, but once each way; channels share a direction."""
    card = start("link-gen=1,link-lanes=1,channels=2,workers=2")
    card.enable(0)
    card.enable(1)
    rate = card.reg64("LINK_RATE")
    took = min(seconds(card, (H2H, BUF, BUF + 64 * MIB, 16 * MIB)) for _ in range(3))
    assert abs(took / (16 * MIB / rate) - 1) < 0.1

    def both(card):
        begin = time.monotonic()
        for ch in (0, 1):
            card.put(ch, H2C, BUF, ch * 32 * MIB, 16 * MIB)
            card.ring(ch)
        for ch in (0, 1):
            assert card.wait(ch).status == 0
        return time.monotonic() - begin

    at_pace(card, 32 * MIB / rate, once=both, late=0.15)


def test_card_memory_is_behind_no_link(start):
    card = start("link-gen=1,link-lanes=1,card-mem=256M")
    card.enable()
    assert min(seconds(card, (C2C, 0, 128 * MIB, 128 * MIB)) for _ in range(3)) < 0.3


@pytest.mark.parametrize("workers", [0, 1])
def test_latency(start, workers):
    """It comes before each payload: five descriptors of a channel wait five times."""
    card = start(f"link-latency=20000000,workers={workers}")
    card.enable()
    took = min(seconds(card, *[(H2C, BUF, 0, 64)] * 5) for _ in range(3))
    assert 0.1 <= took < 0.15


def test_stopping_a_paced_transfer(start):
    """Whoever stops it does not wait for the link."""
    card = start("link-gen=1,link-lanes=1,link-latency=1000000000")
    card.enable()
    card.put(0, H2C, BUF, 0, 64 * MIB)
    card.ring()
    begin = time.monotonic()
    card.set_reg("CTRL", 1)
    assert card.status(0)["RUNNING"] == 0
    assert time.monotonic() - begin < 0.5
