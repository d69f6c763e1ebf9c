# SPDX-License-Identifier: GPL-2.0-or-later
"""Who does the work: worker threads, or the main loop, and what each leaves free."""

import json
import os
import statistics
import struct
import time
from pathlib import Path

import pytest
from card import (
    BUF,
    C2H,
    CARD_AT,
    CMP_HC,
    CPL,
    F_CPL,
    F_CRC,
    F_CRC_INIT,
    FILL_CARD,
    H2C,
    crc32c,
)

MIB = 1 << 20


def threads(card):
    """The card's threads, by name."""
    tasks = Path(f"/proc/{card.q.proc.pid}/task").iterdir()
    names = [(t / "comm").read_text().strip() for t in tasks]
    return sorted(n for n in names if n.startswith("gigalock-"))


def busy(card):
    """Nanoseconds of processor that each of the card's threads has used, by name."""
    used = {}
    for task in Path(f"/proc/{card.q.proc.pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("gigalock-"):
            used[name] = int((task / "schedstat").read_text().split()[0])
    return used


@pytest.mark.parametrize("workers,channels", [(0, 1), (0, 16), (1, 4), (3, 2), (16, 16), (5, 16)])
def test_number_of_workers(start, workers, channels):
    """Every channel gets its turn, with more of them than workers and with fewer."""
    card = start(f"workers={workers},channels={channels}", extra=["-name", "test,debug-threads=on"])
    # A thread takes its name when it first runs, which may be a moment later.
    for _ in range(100):
        if len(threads(card)) >= workers:
            break
        time.sleep(0.05)
    assert threads(card) == sorted(f"gigalock-{i}" for i in range(workers))
    assert card.reg("WORKERS") == workers
    for ch in range(channels):
        card.enable(ch)
        for i in range(10):
            card.put(ch, FILL_CARD, ch * 16 + i, (ch * 10 + i) * 8, 8)
    for ch in range(channels):
        card.ring(ch)
    for ch in range(channels):
        for i in range(10):
            r = card.wait(ch)
            assert (r.status, r.cookie, r.seq) == (0, i, i + 1)
    got = struct.unpack(f"<{channels * 10}Q", card.q.read(CARD_AT, channels * 80))
    assert list(got) == [ch * 16 + i for ch in range(channels) for i in range(10)]


def test_default_number(start):
    card = start("channels=16", extra=["-name", "test,debug-threads=on"])
    assert len(threads(card)) == min(16, len(os.sched_getaffinity(0))) == card.reg("WORKERS")


def test_order_within_a_channel(start):
    """Each descriptor overwrites what the one before wrote, on all channels at once."""
    card = start("workers=4,channels=4,card-mem=256M")
    for ch in range(4):
        card.enable(ch, log2=8)
        for i in range(256):
            size = (MIB, 1, 4096, 70000)[i % 4]
            card.put(ch, FILL_CARD, 0x0101010101010101 * (i & 0xFF), ch * 2 * MIB, size)
    for ch in range(4):
        card.ring(ch)
    for ch in range(4):
        for i in range(256):
            assert card.wait(ch).cookie == i
        got = card.q.read(CARD_AT + ch * 2 * MIB, 70001)
        assert got == b"\xff" * 70000 + b"\xfc"


def test_one_worker_shares_its_time(start):
    """A small transfer does not wait for 4 GiB of another channel."""
    card = start("workers=1,channels=2,card-mem=256M")
    card.enable(0)
    card.enable(1)
    for _ in range(16):
        card.put(0, FILL_CARD, 1, 0, 256 * MIB)
    card.ring(0)
    card.until(lambda: card.bytes_moved(0), "no start")
    assert card.do(FILL_CARD, 2, 0, 8, ch=1).status == 0
    assert card.ch(0, "HEAD") < 16
    assert card.status(0)["BUSY"]


@pytest.mark.parametrize("workers", ["0", "-1"])
def test_main_loop_stays_alive(start, workers):
    """While gigabytes move, the monitor answers; with no workers, between two turns."""
    card = start(f"card-mem=256M,workers={workers}")
    card.enable()
    for _ in range(16):
        card.put(0, FILL_CARD, 1, 0, 256 * MIB)
    card.ring()
    took = []
    while card.ch(0, "HEAD") < 16:
        begin = time.monotonic()
        card.q.qmp("query-status")
        took.append(time.monotonic() - begin)
    assert len(took) > 20
    assert statistics.median(took) < 0.05, f"an answer takes {statistics.median(took):.3f} s"


def test_no_workers_is_deterministic(start):
    """The same doorbells, the same completions at the same turns: nothing runs between."""
    card = start("workers=0,channels=2")
    for _ in range(3):
        card.set_reg("CTRL", 1)
        card.tails = [0] * 16
        for ch in (0, 1):
            card.enable(ch)
            for i in range(5):
                card.put(ch, FILL_CARD, i, 0, 64)
            card.ring(ch)
        # The doorbell's bottom half runs before the main loop takes another command.
        assert [card.ch(ch, "HEAD") for ch in (0, 1)] == [5, 5]


def test_polling_needs_no_main_loop(shared, tmp_path):
    """With the main loop stuck and the big lock held, completions still arrive."""
    card, ram = shared("link-gen=1,link-lanes=1")
    n, size = 8, 8 * MIB
    data = os.urandom(size)
    card.q.write(BUF, data)
    card.enable(irq=True)
    for i in range(n):
        card.put(0, H2C, BUF, i * size, size, F_CPL | F_CRC | F_CRC_INIT)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    card.ring()
    # Opening a pipe that nobody reads blocks QEMU in the middle of a command.
    stuck = {"val": 0, "size": 1, "filename": str(fifo)}
    msg = json.dumps({"execute": "pmemsave", "arguments": stuck})
    card.q.qmp_sock.sendall(msg.encode() + b"\n")
    card.q.qmp_sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        card.q.qmp_sock.recv(1, 2)  # MSG_PEEK

    def record(i):
        return struct.unpack("<IIQQII", ram[CPL + i * 32 : CPL + i * 32 + 32])

    assert record(n - 1)[5] == 0, "all was done before the main loop was stuck"
    end = time.monotonic() + 20
    for i in range(n):
        while record(i)[5] != i + 1:
            assert time.monotonic() < end, f"no completion {i} while the main loop is stuck"
            time.sleep(0.001)
        assert record(i) == (i, 0, size, 0, crc32c(data) if not i else record(0)[4], i + 1)
    with pytest.raises(TimeoutError):
        card.q.qmp_sock.recv(1, 2)
    with open(fifo, "rb") as f:  # let it go
        f.read()
    card.q.qmp_sock.settimeout(30)
    card.q.qmp_file.readline()
    assert card.ch(0, "HEAD") == n


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(
    "size,host_off,card_off",
    [
        (2 * MIB, 0, 0),
        (2 * MIB + 1, 5, 4093),
        (8 * MIB - 1, 63, 1),
        (8 * MIB + 4097, 4095, 7),
        (41 * MIB + 3, 1, 65),
    ],
)
def test_a_large_block_by_all_of_them(shared, workers, size, host_off, card_off):
    """One channel alone: idle workers take their share, each byte lands where it belongs."""
    card, ram = shared(f"channels=1,workers={workers},card-mem=64M")
    there, back = BUF + host_off, BUF + 100 * MIB + host_off
    data = os.urandom(size)
    ram[there : there + size] = data
    card.enable()
    for _ in range(3):
        ram[back - 64 : back + size + 64] = b"\x11" * (size + 128)
        for args in ((H2C, there, card_off, size), (C2H, card_off, back, size)):
            r = card.do(*args)
            assert (r.status, r.bytes) == (0, size)
        assert ram[back : back + size] == data
        assert ram[back - 64 : back] == ram[back + size : back + size + 64] == b"\x11" * 64
        card.q.fill(CARD_AT, card_off + size, 0xEE)
    assert ram[there : there + size] == data


def test_idle_workers_help(start):
    """Of 2 GiB in one channel, the second worker does a part; of many small pieces it doesn't."""
    card = start(
        "channels=1,workers=2,card-mem=256M", memory="1G", extra=["-name", "test,debug-threads=on"]
    )
    card.enable()
    for _ in range(8):
        card.put(0, H2C, BUF, 0, 256 * MIB)
    before = busy(card)
    card.ring()
    for _ in range(8):
        assert card.wait().status == 0
    after = busy(card)
    used = sorted(after[name] - before[name] for name in after)
    assert len(used) == 2
    assert used[0] > used[1] / 10, used


def test_a_copy_is_over_when_its_helpers_are(shared):
    """On one processor a helper is often stopped in the middle of its share."""
    card, ram = shared("channels=1,workers=2,card-mem=64M")
    for task in Path(f"/proc/{card.q.proc.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {min(os.sched_getaffinity(0))})
    size, n = 8 * MIB, 60
    for i in range(2):
        ram[BUF + i * size : BUF + (i + 1) * size] = bytes([i + 1]) * size
    card.enable(log2=8)
    for i in range(n):
        card.put(0, H2C, BUF + i % 2 * size, 0, size)
        card.put(0, CMP_HC, BUF + i % 2 * size, 0, size)
    card.ring()
    for _ in range(2 * n):
        assert card.wait().status == 0


def test_two_large_blocks_at_once(shared):
    """Only one of them can be shared at a time; neither gets the other's bytes."""
    card, ram = shared("channels=2,workers=3,card-mem=64M")
    size = 24 * MIB + 5
    data = [os.urandom(size) for _ in range(2)]
    for ch in (0, 1):
        at = BUF + ch * 32 * MIB
        ram[at : at + size] = data[ch]
        card.enable(ch)
    for _ in range(8):
        for ch in (0, 1):
            card.put(ch, H2C, BUF + ch * 32 * MIB, ch * 32 * MIB, size)
            card.put(ch, C2H, ch * 32 * MIB, BUF + (96 + ch * 32) * MIB, size)
            card.ring(ch)
        for ch in (0, 1):
            for _ in range(2):
                r = card.wait(ch)
                assert (r.status, r.bytes) == (0, size)
            at = BUF + (96 + ch * 32) * MIB
            assert ram[at : at + size] == data[ch]
            ram[at : at + size] = bytes(size)


def test_many_large_blocks_at_once(shared):
    """Who waits for its helpers is told, though the next block has helpers already."""
    card, _ = shared("channels=2,workers=3,card-mem=64M")
    size, n = 2 * MIB, 32
    for ch in (0, 1):
        card.enable(ch, log2=8)
    for _ in range(100):
        for ch in (0, 1):
            for _ in range(n):
                card.put(ch, H2C, BUF + ch * size, ch * size, size)
            card.ring(ch)
        for ch in (0, 1):
            for _ in range(n):
                assert card.wait(ch).status == 0


def test_a_worker_does_not_look_out_for_long(start):
    """After its work it waits for more without sleep, but then it sleeps."""
    card = start("channels=2,workers=2", extra=["-name", "test,debug-threads=on"])
    card.enable()
    for _ in range(20):
        assert card.do(FILL_CARD, 1, 0, 64).status == 0
    time.sleep(0.1)
    begin, before = time.monotonic_ns(), busy(card)
    time.sleep(0.5)
    used = sum(busy(card).values()) - sum(before.values())
    assert used < (time.monotonic_ns() - begin) / 10
