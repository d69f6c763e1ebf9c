# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes, in both directions, and what the completions say of them."""

import os
import random
import struct

import pytest
from card import BUF, C2H, CARD_AT, F_CPL, F_CRC, F_CRC_INIT, H2C, NOP, crc32c

BOTH_ENGINES = True
MIB = 1 << 20


@pytest.mark.parametrize("behind_port", [False, True])
@pytest.mark.parametrize(
    "size,host_off,card_off",
    [
        (1, 0, 0),
        (1, 4095, 4095),
        (2, 4095, 1),
        (3, 7, 11),
        (63, 1, 1),
        (64, 0, 0),
        (4095, 1, 2),
        (4097, 4095, 77),
        (65537, 3, 5),
        (3 * MIB + 13, 9, 3),
        (20 * MIB + 1, 1, 4097),
    ],
)
def test_there_and_back(start, behind_port, size, host_off, card_off):
    card = start(behind_port=behind_port)
    q, data = card.q, os.urandom(size)
    card.enable()
    q.write(BUF + host_off, data)
    q.fill(CARD_AT, size + card_off + 8192, 0xEE)
    r = card.do(H2C, BUF + host_off, card_off, size)
    assert (r.status, r.bytes, r.fault_addr) == (0, size, 0)
    assert q.read(CARD_AT + card_off, size) == data
    assert q.read(CARD_AT + card_off + size, 64) == b"\xee" * 64
    assert not card_off or q.read(CARD_AT, card_off) == b"\xee" * card_off
    q.fill(BUF, size + host_off + 8192, 0x11)
    r = card.do(C2H, card_off, BUF + host_off, size)
    assert (r.status, r.bytes, r.fault_addr) == (0, size, 0)
    assert q.read(BUF + host_off, size) == data
    assert q.read(BUF + host_off + size, 64) == b"\x11" * 64
    assert not host_off or q.read(BUF, host_off) == b"\x11" * host_off
    assert card.bytes_moved(0) == 2 * size


def test_the_last_byte_of_card_and_host_memory(card):
    size = card.reg64("CARD_SIZE")
    top = 256 * MIB
    card.q.write(top - 1, b"Z")
    card.enable()
    assert card.do(H2C, top - 1, size - 1, 1).status == 0
    assert card.q.read(CARD_AT + size - 1, 1) == b"Z"


def test_channels_are_independent(start):
    card = start("channels=16")
    for ch in range(16):
        card.enable(ch)
        card.q.write(BUF + ch * 4096, bytes([ch + 1]) * 4096)
        for i in range(8):
            card.put(ch, H2C, BUF + ch * 4096 + i * 512, (ch * 8 + i) * 512, 512)
    for ch in range(16):
        card.ring(ch)
    for ch in reversed(range(16)):
        for i in range(8):
            r = card.wait(ch)
            assert (r.status, r.cookie, r.bytes) == (0, i, 512)
        assert card.q.read(CARD_AT + ch * 4096, 4096) == bytes([ch + 1]) * 4096
        assert (card.ch(ch, "HEAD"), card.ch(ch, "CPL_COUNT")) == (8, 8)


def test_many_segments_and_ring_wrap(card):
    """A ring of 16, used 20 times over: scattered in, gathered out."""
    rng = random.Random(1)
    total = 320
    data = os.urandom(total * 512)
    card.q.write(BUF, data)
    places = list(range(total))
    rng.shuffle(places)
    card.enable(log2=4)
    for first in range(0, total, 16):
        for i in range(first, first + 16):
            card.put(0, H2C, BUF + places[i] * 512, i * 512, 512)
        card.ring()
        for i in range(first, first + 16):
            r = card.wait()
            assert (r.status, r.cookie, r.seq) == (0, i, i + 1)
    want = b"".join(data[p * 512 : p * 512 + 512] for p in places)
    assert card.q.read(CARD_AT, len(want)) == want


def test_a_full_ring_of_the_largest_size(card):
    """65536 descriptors with one doorbell."""
    log2 = 16
    n = 1 << log2
    card.enable(log2=log2, ring=0x2000000, cpl=0x4000000)
    card.q.fill(0x4000000, 32 * n, 0)
    card.q.write(BUF, bytes(range(256)))
    card.q.write(
        0x2000000,
        b"".join(
            struct.pack("<HHIQQQ", H2C, F_CPL if i == n - 1 else 0, i, BUF + i % 256, i, 1)
            for i in range(n)
        ),
    )
    card.tails[0] = n
    card.ring()
    r = card.wait()
    assert (r.status, r.bytes, r.cookie) == (0, n, n - 1)
    assert card.ch(0, "CPL_COUNT") == 1
    assert card.q.read(CARD_AT, n) == bytes(range(256)) * 256


def test_chain_has_one_completion(card):
    card.q.write(BUF, b"abcdef" * 1000)
    card.enable()
    for i in range(5):
        card.put(0, H2C, BUF + i * 100, i * 100, 100, F_CPL if i == 4 else 0, cookie=1000 + i)
    card.put(0, H2C, BUF, 0, 7, F_CPL, cookie=77)
    card.ring()
    r = card.wait()
    assert (r.status, r.bytes, r.cookie, r.seq) == (0, 500, 1004, 1)
    r = card.wait()
    assert (r.status, r.bytes, r.cookie, r.seq) == (0, 7, 77, 2)
    assert card.ch(0, "HEAD") == 6


def test_nop(card):
    card.enable()
    r = card.do(NOP, 1, 2, 0)
    assert (r.status, r.bytes) == (0, 0)


def test_crc_check_value(card):
    """The check value that every catalogue of CRCs gives for CRC-32C."""
    assert crc32c(b"123456789") == 0xE3069283
    card.q.write(BUF, b"123456789")
    card.enable()
    assert card.do(H2C, BUF, 0, 9, F_CPL | F_CRC | F_CRC_INIT).crc == 0xE3069283


@pytest.mark.parametrize(
    "size", [1, 7, 8, 9, 255, 767, 768, 769, 4096, 12287, 12288, 12289, 262143, 262145, 600001]
)
def test_crc_of_odd_sizes(card, size):
    data = os.urandom(size)
    card.q.write(BUF + 5, data)
    card.enable()
    flags = F_CPL | F_CRC | F_CRC_INIT
    assert card.do(H2C, BUF + 5, 3, size, flags).crc == crc32c(data)
    assert card.do(C2H, 3, BUF + 0x800000 + 1, size, flags).crc == crc32c(data)


def test_crc_runs_over_descriptors_and_chains(card):
    data = os.urandom(30000)
    card.q.write(BUF, data)
    card.enable()
    card.put(0, H2C, BUF, 0, 1001, F_CRC | F_CRC_INIT)
    card.put(0, H2C, BUF + 5000, 5000, 1000, 0)  # not part of it
    card.put(0, H2C, BUF + 1001, 1001, 2000, F_CRC | F_CPL)
    card.put(0, H2C, BUF + 3001, 3001, 26999, F_CRC | F_CPL)
    card.put(0, NOP, 0, 0, 0, F_CRC_INIT | F_CPL)
    card.ring()
    assert card.wait().crc == crc32c(data[:3001])
    assert card.wait().crc == crc32c(data)
    assert card.wait().crc == 0


def test_card_memory_as_host_memory(card):
    """Peer to peer with itself, overlapping: allowed, and only there."""
    data = os.urandom(100000)
    card.q.write(CARD_AT, data)
    card.enable()
    assert card.do(H2C, CARD_AT, 50000, 100000).status == 0
    assert card.q.read(CARD_AT + 50000, 100000) == data


def test_enable_starts_over(card):
    card.enable()
    card.do(H2C, BUF, 0, 100)
    card.disable()
    card.enable()
    assert [card.ch(0, n) for n in ("HEAD", "CPL_COUNT")] == [0, 0]
    assert card.bytes_moved(0) == 0
    assert card.do(H2C, BUF, 0, 100).seq == 1


def test_programming_while_enabled_is_not_taken(card):
    card.enable()
    card.set_ch(0, "RING_LO", 0xDEAD0000)
    card.set_ch(0, "RING_LOG2", 99)
    assert card.do(H2C, BUF, 0, 100).status == 0


def test_gigabyte_in_one_descriptor(start):
    """Past 4 GiB on both sides, with spot checks."""
    card = start(
        "card-mem=2G",
        memory="5G",
        extra=[
            "-object",
            "memory-backend-memfd,id=ram,size=5G,share=on",
            "-machine",
            "memory-backend=ram",
        ],
    )
    host, size = 1 << 32, 1 << 30
    marks = {0: b"first", 123456789: b"middle", size - 4: b"last"}
    for at, text in marks.items():
        card.q.write(host + at, text)
    card.enable()
    r = card.do(H2C, host, 0x123, size, F_CPL)
    assert (r.status, r.bytes) == (0, size)
    for at, text in marks.items():
        text = text[: size - at]
        assert card.q.read(CARD_AT + 0x123 + at, len(text)) == text
    assert card.bytes_moved(0) == size
