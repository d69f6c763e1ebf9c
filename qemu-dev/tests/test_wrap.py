# SPDX-License-Identifier: GPL-2.0-or-later
"""The counters of the rings run freely: what happens when they go round at 2^32."""

import os

import pytest
from card import BUF, C2H, CARD_AT, CPL, F_CPL, GL, H2C, NOP

BOTH_ENGINES = True
PAGE = 4096
LAST = 0xFFFFFFFF


@pytest.fixture
def near(start):
    """Six descriptors before the end, and no record that looks like one of then."""
    card = start("x-first-index=4294967290")
    card.enable()
    assert (card.ch(0, "HEAD"), card.ch(0, "CPL_COUNT")) == (LAST - 5, LAST - 5)
    # A real ring is full of old records by then; of zeroes, one would be number 2^32.
    card.q.fill(CPL, 32 << 4, 0xEE)
    return card


def test_one_by_one(near):
    """Every transfer comes out right, each with its number; the one at the end has 0."""
    seqs = []
    for i in range(40):
        data = os.urandom(64)
        near.q.write(BUF + i * 64, data)
        r = near.do(H2C, BUF + i * 64, i * 64, 64)
        assert (r.status, r.bytes) == (0, 64)
        assert near.q.read(CARD_AT + i * 64, 64) == data
        seqs.append(r.seq)
    assert seqs == [LAST - 5 + 1 + i & LAST for i in range(40)]
    assert 0 in seqs
    assert near.ch(0, "HEAD") == near.ch(0, "CPL_COUNT") == LAST - 5 + 40 & LAST
    assert near.status(0) == {"RUNNING": 1, "BUSY": 0, "HALTED": 0, "ERROR": 0}


def test_a_full_ring_at_once(near):
    """Sixteen descriptors on both sides of the end, a chain over it among them."""
    data = os.urandom(16 * PAGE)
    near.q.write(BUF, data)
    for i in range(16):
        flags = F_CPL if i not in (4, 5, 6) else 0
        near.put(0, H2C, BUF + i * PAGE, i * PAGE, PAGE, flags, cookie=100 + i)
    assert near.tails[0] == 10
    near.ring()
    got = [near.wait() for _ in range(13)]
    assert [r.cookie - 100 for r in got] == [0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert all(r.status == 0 for r in got)
    assert got[4].bytes == 4 * PAGE
    assert near.q.read(CARD_AT, 16 * PAGE) == data
    assert near.ch(0, "HEAD") == 10


@pytest.mark.parametrize("tail", [10 + 1, LAST - 5 - 1, 0x80000000])
def test_lies(near, tail):
    """One more than the ring has, one less than nothing, and a wild one."""
    near.set_ch(0, "DOORBELL", tail)
    near.until(lambda: near.status(0)["HALTED"], "not halted")
    assert near.status(0)["ERROR"] == GL["GL_ERR_DOORBELL"]


def test_taking_back_over_the_end(near):
    """Given up to 2, then only up to 2^32 - 2: the hang knob keeps them outstanding."""
    near.q.set("fault", "hang")
    for _ in range(8):
        near.put(0, NOP, 0, 0, 0)
    near.ring()
    near.set_ch(0, "DOORBELL", LAST - 1)
    near.until(lambda: near.status(0)["HALTED"], "not halted")
    assert near.status(0)["ERROR"] == GL["GL_ERR_DOORBELL"]
    near.q.set("fault", "none")


def test_errors_and_skipped_chains(near):
    """A failure in the last descriptor before the end skips those behind it."""
    for i in range(9):
        src = CARD_AT + (64 << 20) if i == 5 else 0
        near.put(0, C2H, src if i == 5 else 0, BUF, 64, F_CPL if i < 5 or i == 8 else 0, cookie=i)
    near.ring()
    for i in range(5):
        assert near.wait().cookie == i
    r = near.wait()
    assert (r.cookie, r.status, r.seq) == (5, GL["GL_ERR_CARD_RANGE"], 0)
    near.until(lambda: near.ch(0, "HEAD") == 3, "the rest is not skipped")
    assert near.do(NOP, 0, 0, 0).seq == 1
