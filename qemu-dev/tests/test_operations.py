# SPDX-License-Identifier: GPL-2.0-or-later
"""Every operation beyond plain copies: what it does, what it leaves alone, where it ends."""

import os

import pytest
from card import (
    BUF,
    C2C,
    C2H,
    CARD_AT,
    CMP_CC,
    CMP_HC,
    CMP_HH,
    CRC_CARD,
    CRC_HOST,
    F_CPL,
    F_CRC,
    F_CRC_INIT,
    F_FENCE,
    FILL_CARD,
    FILL_HOST,
    GL,
    H2C,
    H2H,
    NOP,
    crc32c,
)

BOTH_ENGINES = True
RAM = 256 << 20
MIB = 1 << 20
OTHER = BUF + 64 * MIB
E = {n[len("GL_ERR_") :]: v for n, v in GL.items() if n.startswith("GL_ERR_")}
SIZES = [1, 7, 4096, 600001]
CRC = F_CPL | F_CRC | F_CRC_INIT


def test_operations_register(card):
    """A bit for each operation of the header, and for nothing else; each set bit works."""
    ops = {v for n, v in GL.items() if n.startswith("GL_OP_")}
    assert card.reg("OPS") == sum(1 << op for op in ops)
    card.enable(log2=6)
    for op in range(32):
        known = card.reg("OPS") >> op & 1
        bad = card.do(op, 1 << 41, 1 << 41, 0).status == E["OP"]
        assert bad != known


@pytest.mark.parametrize("size", SIZES)
def test_host_to_host(card, size):
    data = os.urandom(size)
    card.q.write(BUF + 3, data)
    card.q.fill(OTHER, size + 4096, 0x11)
    card.enable()
    r = card.do(H2H, BUF + 3, OTHER + 5, size, CRC)
    assert (r.status, r.bytes, r.crc) == (0, size, crc32c(data))
    assert card.q.read(OTHER, size + 69) == b"\x11" * 5 + data + b"\x11" * 64
    assert card.bytes_moved(0) == size


@pytest.mark.parametrize("apart", [0, 1, -1, 4095])
def test_host_to_host_overlap_is_refused(card, apart):
    """And ranges that only touch are not."""
    card.enable()
    r = card.do(H2H, BUF, BUF + apart, 4096)
    assert (r.status, r.fault_addr, r.bytes) == (E["OVERLAP"], BUF + max(apart, 0), 0)
    assert card.do(H2H, BUF, BUF + 4096, 4096).status == 0
    assert card.do(H2H, BUF + 4096, BUF, 4096).status == 0


@pytest.mark.parametrize(
    "src,dst,bad,error", [(-100, 0, RAM, "HOST_READ"), (0, -100, RAM, "HOST_WRITE")]
)
def test_host_to_host_fault(card, src, dst, bad, error):
    src, dst = (RAM + src if src else BUF), (RAM + dst if dst else BUF)
    card.enable()
    r = card.do(H2H, src, dst, 4096)
    assert (r.status, r.fault_addr, r.bytes) == (E[error], bad, 100)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("apart", ["far", 1, 4097, -4097])
def test_card_to_card(card, size, apart):
    """Overlapping in both directions, as if through a buffer; the checksum as well."""
    data = os.urandom(size)
    base = 20 * MIB + 7
    card.q.fill(CARD_AT + base - 8192, size + 16384, 0xEE)
    card.q.write(CARD_AT + base, data)
    dst = MIB + 1 if apart == "far" else base + apart
    card.enable()
    card.q.write(BUF, b"before")
    card.do(H2C, BUF, 0, 6, CRC)
    r = card.do(C2C, base, dst, size, F_CPL | F_CRC)
    assert (r.status, r.bytes, r.crc) == (0, size, crc32c(b"before" + data))
    assert card.q.read(CARD_AT + dst, size) == data
    if apart != "far":
        edge = max(dst, base) + size
        assert card.q.read(CARD_AT + edge, 64) == b"\xee" * 64
        assert card.q.read(CARD_AT + min(dst, base) - 64, 64) == b"\xee" * 64


def test_card_to_card_is_held_in_the_middle_and_goes_on(card):
    """Backwards, in parts of an odd size."""
    data = os.urandom(MIB)
    card.q.write(CARD_AT, data)
    card.enable()
    card.q.set("pause-after", 100001)
    card.put(0, C2C, 0, 4099, MIB, CRC)
    card.ring()
    for step in range(1, 4):
        card.until(lambda s=step: card.bytes_moved(0) == 100001 * s and card.paused(), "not held")
        card.q.set("pause-after", 100001 if step < 3 else (1 << 64) - 1)
    r = card.wait()
    assert (r.status, r.bytes, r.crc) == (0, MIB, crc32c(data))
    assert card.q.read(CARD_AT + 4099, MIB) == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op,at", [(FILL_CARD, CARD_AT), (FILL_HOST, BUF)])
def test_fill(card, op, at, size):
    pattern = 0x8877665544332211
    want = (pattern.to_bytes(8, "little") * (size // 8 + 1))[:size]
    card.q.fill(at, size + 4096, 0xEE)
    card.enable()
    r = card.do(op, pattern, (0 if op == FILL_CARD else BUF) + 3, size, CRC)
    assert (r.status, r.bytes, r.crc) == (0, size, crc32c(want))
    assert card.q.read(at, size + 67) == b"\xee" * 3 + want + b"\xee" * 64


def test_fill_held_at_an_odd_byte_keeps_the_pattern(card):
    card.enable()
    card.q.set("pause-after", 13)
    card.put(0, FILL_CARD, 0x0807060504030201, 1, 100)
    card.ring()
    card.until(lambda: card.paused() and card.bytes_moved(0) == 13, "not held")
    card.q.set("pause-after", (1 << 64) - 1)
    assert card.wait().bytes == 100
    assert card.q.read(CARD_AT + 1, 100) == (bytes(range(1, 9)) * 13)[:100]


def test_fill_faults(card):
    card.enable()
    r = card.do(FILL_HOST, 1, RAM - 20, 100)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_WRITE"], RAM, 20)
    r = card.do(FILL_CARD, 1, card.reg64("CARD_SIZE") - 4, 5)
    assert (r.status, r.fault_addr) == (E["CARD_RANGE"], card.reg64("CARD_SIZE"))


COMPARES = [(CMP_HC, BUF, 5), (CMP_HH, BUF, OTHER + 5), (CMP_CC, 32 * MIB, 5)]


def seen(op, side, addr):
    """Where the host finds a side of a comparison."""
    host = op == CMP_HH or (op == CMP_HC and side == "src")
    return addr if host else CARD_AT + addr


@pytest.mark.parametrize("op,src,dst", COMPARES)
@pytest.mark.parametrize("size", SIZES)
def test_compare(card, op, src, dst, size):
    data = os.urandom(size)
    card.q.write(seen(op, "src", src), data)
    card.q.write(seen(op, "dst", dst), data)
    card.enable()
    r = card.do(op, src, dst, size, CRC)
    assert (r.status, r.bytes, r.fault_addr, r.crc) == (0, size, 0, crc32c(data))
    for at in sorted({0, size // 2, size - 1}, reverse=True):
        changed = bytes([data[at] ^ 1])
        card.q.write(seen(op, "dst", dst) + at, changed)
        r = card.do(op, src, dst, size, CRC)
        assert (r.status, r.bytes, r.fault_addr) == (E["COMPARE"], at, src + at)
        assert r.crc == crc32c(data[:at])
    assert card.q.read(seen(op, "src", src), size) == data  # nothing was written
    assert card.q.read(seen(op, "dst", dst) + size - 1, 1) == changed or size > 1


def test_compare_faults(card):
    card.q.fill(RAM - 4096, 4096, 0)
    card.q.fill(CARD_AT, 8192, 0)
    card.q.fill(BUF, 8192, 0)
    card.enable()
    r = card.do(CMP_HC, RAM - 100, 0, 4096)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_READ"], RAM, 100)
    r = card.do(CMP_HH, BUF, RAM - 100, 4096)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_READ"], RAM, 100)
    rom = 0xFFFF0000  # reading is all that a comparison does
    assert card.do(CMP_HH, rom, rom, 4096).status == 0


def test_failed_compare_ends_its_chain(card):
    """What a driver builds on: fill only if the same."""
    card.q.fill(CARD_AT, 8192, 0)
    card.enable()
    card.put(0, CMP_CC, 0, 4096, 4096, 0, cookie=1)
    card.put(0, FILL_CARD, 0xFF, 0, 8, F_CPL, cookie=2)
    card.put(0, CMP_CC, 0, 4096, 4096, 0, cookie=3)
    card.put(0, FILL_CARD, 0xAA, 0, 8, F_CPL, cookie=4)
    card.ring()
    r = card.wait()
    assert (r.cookie, r.status, r.bytes) == (2, 0, 4104)
    r = card.wait()
    assert (r.cookie, r.status, r.fault_addr, r.bytes) == (3, E["COMPARE"], 0, 0)
    card.until(lambda: card.ch(0, "HEAD") == 4, "stuck")
    assert card.q.read(CARD_AT, 8) == b"\xff" + bytes(7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op,at", [(CRC_HOST, BUF), (CRC_CARD, CARD_AT)])
def test_crc_alone(card, op, at, size):
    data = os.urandom(size)
    card.q.write(at + 9, data)
    card.enable()
    src = (BUF if op == CRC_HOST else 0) + 9
    # The destination is not looked at; the CRC flag says nothing new.
    r = card.do(op, src, (1 << 64) - 1, size, F_CPL | F_CRC_INIT)
    assert (r.status, r.bytes, r.crc) == (0, size, crc32c(data))
    r = card.do(op, src, 0, size, F_CPL | F_CRC)
    assert r.crc == crc32c(data + data)
    assert card.q.read(at + 9, size) == data


def test_crc_faults(card):
    data = os.urandom(100)
    card.q.write(RAM - 100, data)
    card.enable()
    r = card.do(CRC_HOST, RAM - 100, 0, 4096, F_CPL | F_CRC_INIT)
    assert (r.status, r.fault_addr, r.bytes, r.crc) == (E["HOST_READ"], RAM, 100, crc32c(data))
    r = card.do(CRC_CARD, card.reg64("CARD_SIZE"), 0, 1)
    assert (r.status, r.fault_addr) == (E["CARD_RANGE"], card.reg64("CARD_SIZE"))


def test_fence(card):
    """A chain of operations that each need the one before, fenced; and a fenced NOP alone."""
    data = os.urandom(5 * MIB)
    card.q.write(BUF, data)
    card.enable()
    card.put(0, H2C, BUF, 0, len(data), 0)
    card.put(0, C2C, 0, 6 * MIB, len(data), F_FENCE)
    card.put(0, C2H, 6 * MIB, OTHER, len(data), F_FENCE)
    card.put(0, CMP_HH, BUF, OTHER, len(data), F_FENCE | F_CPL)
    card.put(0, NOP, 0, 0, 0, F_FENCE | F_CPL)
    card.ring()
    r = card.wait()
    assert (r.status, r.bytes) == (0, 4 * len(data))
    assert card.wait().status == 0
    assert card.q.read(OTHER, len(data)) == data


def test_more_than_one_part(card):
    """Each operation over more bytes than the engine takes in one go, at odd places."""
    size = 19 * MIB + 13
    data = os.urandom(size)
    card.q.write(BUF + 1, data)
    card.enable(log2=6)
    assert card.do(H2H, BUF + 1, OTHER + 3, size).status == 0
    assert card.do(CMP_HH, BUF + 1, OTHER + 3, size).bytes == size
    assert card.do(H2C, OTHER + 3, 5, size).status == 0
    assert card.do(C2C, 5, 5 + 4099, size).status == 0
    assert card.do(C2C, 5 + 4099, 77, size).status == 0
    assert card.do(CMP_HC, BUF + 1, 77, size).bytes == size
    assert card.do(C2C, 77, 30 * MIB, size).status == 0
    assert card.do(CMP_CC, 30 * MIB, 77, size).bytes == size
    assert card.do(C2H, 30 * MIB, OTHER, size).status == 0
    assert card.q.read(OTHER, size) == data
    a = card.do(CRC_HOST, OTHER, 0, size, F_CPL | F_CRC_INIT).crc
    assert a == card.do(CRC_CARD, 77, 0, size, F_CPL | F_CRC_INIT).crc
    assert card.do(FILL_CARD, 0x0807060504030201, 3, size).status == 0
    assert card.do(FILL_HOST, 0x0807060504030201, BUF, size).status == 0
    assert card.do(CMP_HC, BUF, 3, size).bytes == size
    card.q.write(BUF + 18 * MIB, b"!")
    r = card.do(CMP_HC, BUF, 3, size)
    assert (r.status, r.bytes, r.fault_addr) == (E["COMPARE"], 18 * MIB, BUF + 18 * MIB)


@pytest.mark.parametrize("fault", ["no-copy", "wrong-place", "corrupt"])
def test_faults_of_a_host_copy(card, fault):
    data = os.urandom(200000)
    card.q.write(BUF, data)
    card.q.fill(OTHER, len(data), 0)
    card.enable()
    card.q.set("fault", fault)
    assert card.do(H2H, BUF, OTHER, len(data)).status == 0
    got = card.q.read(OTHER, len(data))
    if fault == "no-copy":
        assert got == bytes(len(data))
    elif fault == "wrong-place":
        assert got == data[-1:] + data[:-1]
    else:
        assert sum(a != b for a, b in zip(data, got, strict=True)) == 1
