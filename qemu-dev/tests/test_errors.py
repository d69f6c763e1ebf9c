# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error code, with its fault address and the bytes moved before it."""

import os
import random
import struct

import pytest
from card import (
    BUF,
    C2H,
    CARD_AT,
    F_CPL,
    F_CRC,
    F_CRC_INIT,
    F_IRQ,
    GL,
    H2C,
    MSIX_AT,
    NOP,
    REGS_AT,
    crc32c,
)

BOTH_ENGINES = True

RAM = 256 << 20
APIC = 0xFEE00000
E = {n[len("GL_ERR_") :]: v for n, v in GL.items() if n.startswith("GL_ERR_")}
PAM_ROM = 0xFFFF0000  # the firmware: readable, not writable


def goes_on(card, ch=0):
    """After the error of a descriptor the channel works as before."""
    card.q.write(BUF, b"still alive")
    assert card.do(H2C, BUF, 8192, 11, ch=ch).status == 0
    assert card.q.read(CARD_AT + 8192, 11) == b"still alive"


@pytest.mark.parametrize(
    "op,flags,length,error",
    [
        (12, F_CPL, 1, "OP"),
        (0xFFFF, F_CPL, 1, "OP"),
        (H2C, F_CPL | 0x20, 1, "DESC"),
        (C2H, 0x8000 | F_CPL, 1, "DESC"),
        (NOP, F_CPL, 1, "DESC"),
        (H2C, F_CPL, 0, "LEN"),
        (C2H, F_CPL, 0, "LEN"),
    ],
)
def test_malformed(card, op, flags, length, error):
    card.enable()
    r = card.do(op, BUF, 0, length, flags)
    assert (r.status, r.bytes, r.fault_addr) == (E[error], 0, 0)
    goes_on(card)


@pytest.mark.parametrize("length", [(1 << 40) + 1, (1 << 64) - 1])
def test_longer_than_the_default_allows(card, length):
    card.enable()
    r = card.do(H2C, BUF, 0, length)
    assert (r.status, r.bytes, r.fault_addr) == (E["LEN"], 0, BUF + (1 << 40))
    goes_on(card)


@pytest.mark.parametrize("width", [24, 32, 40, 63])
@pytest.mark.parametrize("op", [H2C, C2H])
def test_address_width(start, width, op):
    """The last address below the limit is no violation; past it the first bad one is named."""
    card = start(f"addr-width={width}")
    limit = 1 << width
    card.enable(ring=0x100000, cpl=0x200000)
    put = (
        (lambda host, n: card.do(op, host, 0, n))
        if op == H2C
        else (lambda host, n: card.do(op, 0, host, n))
    )
    for host, length, bad in [
        (limit - 10, 11, limit),
        (limit, 1, limit),
        (limit + 5, 4, limit + 5),
        (limit - 4096, 1 << 20, limit),
    ]:
        r = put(host, length)
        assert (r.status, r.fault_addr, r.bytes) == (E["ADDR_WIDTH"], bad, 0)
    if limit <= RAM:
        assert put(limit - 10, 10).status == 0
    else:
        # No RAM there, but no violation of the width either (below 4 GiB lies the firmware).
        assert put(limit - 10, 10).status in (0, E["HOST_READ"], E["HOST_WRITE"])
    assert card.q.get("stat-errors") >= 4


@pytest.mark.parametrize("op,error", [(H2C, "HOST_READ"), (C2H, "HOST_WRITE")])
def test_address_wraps(card, op, error):
    """The end of a range is computed without overflow, even with 64 bits."""
    top = (1 << 64) - 8
    card.enable()
    r = card.do(op, *((top, 0) if op == H2C else (0, top)), 9)
    assert (r.status, r.fault_addr) == (E["ADDR_WIDTH"], 0)
    r = card.do(op, *((top, 0) if op == H2C else (0, top)), 8)
    assert (r.status, r.fault_addr) == (E[error], top)


@pytest.mark.parametrize("op", [H2C, C2H])
def test_card_range(card, op):
    size = card.reg64("CARD_SIZE")
    card.enable()
    for at, length, bad in [
        (size - 10, 11, size),
        (size, 1, size),
        (size + 9, 1, size + 9),
        ((1 << 64) - 1, 1, (1 << 64) - 1),
        ((1 << 64) - 8, 16, (1 << 64) - 8),
        (0, size + 1, size),
    ]:
        r = card.do(op, *((BUF, at) if op == H2C else (at, BUF)), length)
        assert (r.status, r.fault_addr, r.bytes) == (E["CARD_RANGE"], bad, 0)
    goes_on(card)


def test_card_range_with_a_length_that_overflows(start):
    """Nothing but the range check stands between this length and the host's memory."""
    card = start(f"max-xfer={(1 << 64) - 1}")
    card.enable()
    r = card.do(H2C, 0, 4096, (1 << 64) - 4096)
    assert (r.status, r.fault_addr) == (E["CARD_RANGE"], card.reg64("CARD_SIZE"))
    r = card.do(C2H, 4096, 0, (1 << 64) - 1)
    assert (r.status, r.fault_addr) == (E["CARD_RANGE"], card.reg64("CARD_SIZE"))
    goes_on(card)


@pytest.mark.parametrize("before", [0, 1, 4097, (9 << 20) + 3])
def test_host_read_past_memory(card, before):
    """Where memory ends in the middle: the bytes before it arrive, and are counted."""
    data = os.urandom(max(before, 1))[:before]
    card.q.write(RAM - before, data)
    card.enable()
    r = card.do(H2C, RAM - before, 5, before + 100000, F_CPL | F_CRC | F_CRC_INIT)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_READ"], RAM, before)
    assert r.crc == crc32c(data)
    assert card.q.read(CARD_AT + 5, before) == data if before else True
    assert card.bytes_moved(0) == before
    goes_on(card)


@pytest.mark.parametrize("before", [0, 1, 4097])
def test_host_write_past_memory(card, before):
    data = os.urandom(before + 4096)
    card.q.write(CARD_AT, data)
    card.enable()
    r = card.do(C2H, 0, RAM - before, before + 4096)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_WRITE"], RAM, before)
    assert before == 0 or card.q.read(RAM - before, before) == data[:before]
    goes_on(card)


@pytest.mark.parametrize("target", [REGS_AT, REGS_AT + 0x1000, MSIX_AT, APIC, 0xFEC00000])
def test_registers_are_no_memory(card, target):
    """A descriptor that points at registers, our own or others', is an error and no access."""
    card.enable()
    card.q.fill(CARD_AT, 64, 0xFF)
    before = [card.q.readl(target + a) for a in (0, 4)]
    r = card.do(H2C, target, 0, 64)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_READ"], target, 0)
    r = card.do(C2H, 0, target, 64)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_WRITE"], target, 0)
    assert [card.q.readl(target + a) for a in (0, 4)] == before
    goes_on(card)


def test_a_register_in_the_middle(card):
    """Into card memory as the host sees it, and past its end."""
    size = card.reg64("CARD_SIZE")
    card.enable()
    r = card.do(H2C, CARD_AT + size - 4096, 0, 8192)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_READ"], CARD_AT + size, 4096)


def test_rom_reads_but_does_not_write(card):
    card.enable()
    rom = card.q.read(PAM_ROM, 256)
    assert card.do(H2C, PAM_ROM, 0, 256).status == 0
    assert card.q.read(CARD_AT, 256) == rom
    r = card.do(C2H, 4096, PAM_ROM, 256)
    assert (r.status, r.fault_addr, r.bytes) == (E["HOST_WRITE"], PAM_ROM, 0)
    assert card.q.read(PAM_ROM, 256) == rom


def test_a_failed_chain(card):
    """Completion at once, the rest of the chain skipped, the next chain runs."""
    card.q.fill(CARD_AT, 4096, 0)
    card.q.write(BUF, b"x" * 4096)
    card.msix_on()
    card.enable(irq=True)
    card.put(0, H2C, BUF, 0, 100, 0, cookie=1)
    card.put(0, H2C, RAM - 10, 100, 100, 0, cookie=2)  # fails after 10 bytes
    card.put(0, H2C, BUF, 200, 100, 0, cookie=3)  # skipped
    card.put(0, H2C, BUF, 300, 100, F_CPL | F_IRQ, cookie=4)  # skipped, ends the chain
    card.put(0, H2C, BUF, 400, 100, F_CPL, cookie=5)
    card.ring()
    r = card.wait()
    assert (r.cookie, r.status, r.bytes, r.fault_addr) == (2, E["HOST_READ"], 110, RAM)
    r = card.wait()
    assert (r.cookie, r.status, r.bytes, r.fault_addr) == (5, 0, 100, 0)
    assert card.ch(0, "HEAD") == 5
    assert card.ch(0, "CPL_COUNT") == 2
    got = card.q.read(CARD_AT, 500)
    assert got[:100] == b"x" * 100 and got[200:400] == bytes(200) and got[400:] == b"x" * 100
    card.until(lambda: card.irq(0), "no interrupt, though a skipped descriptor asked for it")


def test_a_failure_at_the_end_of_a_chain_skips_nothing(card):
    card.enable()
    card.put(0, 99, 0, 0, 0, F_CPL, cookie=1)
    card.put(0, NOP, 0, 0, 0, F_CPL, cookie=2)
    card.ring()
    assert [(r.cookie, r.status) for r in (card.wait(), card.wait())] == [(1, E["OP"]), (2, 0)]


def halted(card, error, ch=0):
    """The channel stands, says why, and works again after ENABLE 0, 1."""
    card.until(lambda: card.status(ch)["HALTED"], lambda: f"not halted: {card.status(ch)}")
    card.until(lambda: not card.status(ch)["RUNNING"], "still running")
    assert card.status(ch) == {"RUNNING": 0, "BUSY": 0, "HALTED": 1, "ERROR": E[error]}
    card.disable(ch)
    card.ring_base[ch], card.cpl_base[ch] = 0x100000, 0x300000
    card.enable(ch)
    assert card.status(ch)["HALTED"] == 0
    goes_on(card, ch)


@pytest.mark.parametrize("log2", [0, 3, 17, 32, 64, 0xFFFFFFFF])
def test_ring_log2_out_of_range(card, log2):
    card.set_ch(0, "RING_LO", 0x100000)
    card.set_ch(0, "CPL_LO", 0x200000)
    card.set_ch(0, "RING_LOG2", log2)
    card.set_ch(0, "CTRL", 1)
    halted(card, "RING_CONFIG")


def test_ring_log2_above_the_property(start):
    card = start("max-ring=6")
    card.enable(log2=6)
    goes_on(card)
    card.disable()
    card.enable(log2=7)
    halted(card, "RING_CONFIG")


@pytest.mark.parametrize(
    "ring,cpl",
    [
        (0x100001, 0x200000),
        (0x100020, 0x200000),
        (0x100000, 0x200010),
        (1 << 32, 0x200000),
        (0x100000, 1 << 32),
        ((1 << 32) - 64, 0x200000),
        (0x100000, (1 << 32) - 64),
    ],
)
def test_ring_misplaced(start, ring, cpl):
    """Not aligned, or not within the address width."""
    card = start("addr-width=32")
    card.enable(ring=ring, cpl=cpl)
    halted(card, "RING_CONFIG")


@pytest.mark.parametrize("target", [REGS_AT, MSIX_AT, APIC, RAM, 1 << 45])
def test_ring_that_is_no_memory(card, target):
    card.enable(ring=target)
    card.set_ch(0, "DOORBELL", 3)
    halted(card, "RING_FETCH")


@pytest.mark.parametrize("target", [REGS_AT, MSIX_AT, APIC, RAM, 1 << 45])
def test_completions_that_are_no_memory(card, target):
    card.enable(cpl=target)
    card.put(0, NOP, 0, 0, 0)
    card.ring()
    halted(card, "CPL_WRITE")


@pytest.mark.parametrize("tail", [17, 0x80000000, 0xFFFFFFFF])
def test_doorbell_too_far(card, tail):
    card.enable(log2=4)
    card.set_ch(0, "DOORBELL", tail)
    halted(card, "DOORBELL")


def test_doorbell_taken_back(card):
    card.q.set("pause-after", 0)
    card.enable(log2=4)
    for _ in range(5):
        card.put(0, H2C, BUF, 0, 1)
    card.ring()
    card.until(card.paused, "not held")
    card.set_ch(0, "DOORBELL", 3)
    card.q.set("pause-after", (1 << 64) - 1)
    halted(card, "DOORBELL")


def test_doorbell_when_nobody_listens(card):
    card.set_ch(0, "DOORBELL", 5)
    card.enable()
    assert card.ch(0, "HEAD") == 0
    goes_on(card)


def test_ring_full_of_garbage(card):
    """Random descriptors: each ends in a completion or in a chain; nothing else gives way."""
    card.enable(log2=10)
    card.q.write(card.ring_base[0], os.urandom(32 << 10))
    card.tails[0] = 1 << 10
    card.ring()
    card.until(lambda: card.ch(0, "HEAD") == 1 << 10, lambda: f"stuck: {card.status(0)}")
    card.until(lambda: not card.status(0)["BUSY"], "busy")
    card.seen[0] = card.ch(0, "CPL_COUNT")
    assert card.seen[0] > 0
    # Random flags may leave a chain open; one descriptor ends it.
    card.put(0, NOP, 0, 0, 0)
    card.ring()
    card.until(lambda: card.ch(0, "HEAD") == (1 << 10) + 1, "stuck")
    card.disable()
    card.enable()
    goes_on(card)


def test_garbage_of_valid_operations(card):
    """Valid operations on random addresses, near memory and far from it."""
    rng = random.Random(7)
    marks = [0, RAM, 1 << 32, CARD_AT, REGS_AT, MSIX_AT, APIC, (1 << 64) - 4096, 64 << 20]
    # Guest memory below 16 MiB stays out of it: rings lie there.
    ring = b""
    for i in range(1024):
        host = (rng.choice(marks) + rng.randrange(-9000, 9000)) % (1 << 64)
        if host < BUF or host > (1 << 64) - 9000:
            host = BUF + rng.randrange(1 << 20)
        other = rng.choice([0, 64 << 20, (1 << 64) - 1, rng.randrange(1 << 64)])
        op = rng.choice([H2C, C2H])
        pair = (host, other) if op == H2C else (other, host)
        ring += struct.pack("<HHIQQQ", op, F_CPL, i, *pair, rng.randrange(20000))
    card.enable(log2=10)
    card.q.write(card.ring_base[0], ring)
    card.tails[0] = 1024
    card.ring()
    card.until(lambda: card.ch(0, "CPL_COUNT") == 1024, lambda: f"stuck: {card.status(0)}")
    known = {E[n] for n in ("NONE", "LEN", "ADDR_WIDTH", "CARD_RANGE", "HOST_READ", "HOST_WRITE")}
    assert {card.peek(0, i).status for i in range(1024)} <= known
