# SPDX-License-Identifier: GPL-2.0-or-later
"""The limits a driver has to obey: register, the last good value, the first bad one."""

import pytest
from card import (
    BUF,
    C2H,
    CMP_HC,
    CRC_HOST,
    F_CPL,
    FILL_CARD,
    FILL_HOST,
    GL,
    H2C,
    H2H,
    crc32c,
)

E = {n[len("GL_ERR_") :]: v for n, v in GL.items() if n.startswith("GL_ERR_")}
OTHER = BUF + 0x1000000
HOST_OPS = [(H2C, "src"), (C2H, "dst"), (H2H, "src"), (H2H, "dst"), (FILL_HOST, "dst")]
HOST_OPS += [(CMP_HC, "src"), (CRC_HOST, "src")]


def put(card, op, side, addr, length):
    """One descriptor with @addr on the side under test, and a good address on the other."""
    src, dst = (addr, OTHER if op == H2H else 0), (OTHER if op == H2H else 0, addr)
    return card.do(op, *(src if side == "src" else dst), length, F_CPL)


def good(card, *args):
    """It is not refused (a comparison may still find a difference)."""
    assert put(card, *args).status in (0, E["COMPARE"])


def bad(card, error, addr, *args):
    """It is refused before a byte moves."""
    r = put(card, *args)
    assert (r.status, r.fault_addr, r.bytes) == (E[error], addr, 0)


def test_defaults(card):
    assert card.reg("ALIGN") == 1
    assert card.reg64("MAX_SEG") == (1 << 64) - 1
    assert card.reg64("BOUNDARY") == 0
    assert card.reg64("MAX_XFER") == 1 << 40


@pytest.mark.parametrize("op,side", HOST_OPS)
def test_max_seg(start, op, side):
    card = start("max-seg=5000")
    assert card.reg64("MAX_SEG") == 5000
    card.enable()
    good(card, op, side, BUF, 5000)
    first = OTHER if (op, side) == (H2H, "dst") else BUF  # both sides of H2H are too long
    bad(card, "SEG", first + 5000, op, side, BUF, 5001)


def test_max_seg_is_of_host_memory_only(start):
    card = start("max-seg=16")
    card.enable()
    assert card.do(FILL_CARD, 1, 0, 4096).status == 0


@pytest.mark.parametrize("op,side", HOST_OPS)
def test_max_xfer(start, op, side):
    card = start("max-xfer=4096")
    card.enable()
    good(card, op, side, BUF, 4096)
    r = put(card, op, side, BUF, 4097)
    assert (r.status, r.bytes) == (E["LEN"], 0)
    first = {"src": BUF, "dst": OTHER if op == H2H else 0}[side] if op != FILL_HOST else BUF
    assert r.fault_addr == first + 4096


@pytest.mark.parametrize("align", [1, 2, 64, 4096])
@pytest.mark.parametrize("op,side", HOST_OPS)
def test_align(start, op, side, align):
    card = start(f"align={align}")
    assert card.reg("ALIGN") == align
    card.enable()
    good(card, op, side, BUF + align, 3)
    for off in {1, align // 2, align - 1} - {0}:
        if off % align:
            bad(card, "ALIGN", BUF + off, op, side, BUF + off, 3)


@pytest.mark.parametrize("boundary", [4096, 65536, 1 << 32])
@pytest.mark.parametrize("op,side", HOST_OPS)
def test_boundary(start, op, side, boundary):
    card = start(f"boundary={boundary}")
    assert card.reg64("BOUNDARY") == boundary
    edge = BUF + boundary if boundary < 1 << 32 else boundary
    card.enable()
    if boundary < 1 << 32:
        good(card, op, side, BUF, boundary)
        good(card, op, side, edge - 100, 100)
        good(card, op, side, edge, 100)
    bad(card, "BOUNDARY", edge, op, side, edge - 100, 101)
    bad(card, "BOUNDARY", edge, op, side, edge - 1, 2)


def test_boundary_at_the_end_of_all_addresses(start):
    """The last range of all crosses nothing."""
    card = start(f"boundary={1 << 63}")
    card.enable()
    r = card.do(H2C, (1 << 64) - 8, 0, 8)
    assert r.status == E["HOST_READ"]
    r = card.do(H2C, (1 << 63) - 8, 0, 9)
    assert (r.status, r.fault_addr) == (E["BOUNDARY"], 1 << 63)


def test_all_limits_at_once(start):
    """A driver that obeys them gets its bytes across."""
    card = start("max-seg=4096,align=512,boundary=8192,max-xfer=1M,addr-width=32,max-ring=5")
    data = bytes(range(256)) * 64
    card.q.write(BUF, data)
    card.enable(log2=5)
    flags = GL["GL_DESC_F_CRC"]
    for at in range(0, len(data), 4096):
        card.put(0, H2C, BUF + at, at, 4096, flags | (F_CPL if at + 4096 == len(data) else 0))
    card.ring()
    r = card.wait()
    assert (r.status, r.bytes, r.crc) == (0, len(data), crc32c(data))
