# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers that look out, sleep, are woken or help, and what happens at just that moment.

What is asked is never how long it takes, but that no completion is lost, and that a card which
says that it stopped has stopped. The moments are drawn anew each time; the seed is printed.
"""

import os
import random
import struct
import time
from pathlib import Path

import pytest
from card import BUF, C2H, F_CPL, FILL_CARD, GL, H2C, REGS_AT, Card
from qemu import QemuError

MIB = 1 << 20
SHARE = 256 << 10
LOG2 = 8
WINDOW = 100e-6  # twice as long as a worker looks out for more


@pytest.fixture
def rng():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def spin(seconds):
    """Wait without sleep, which would take too long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Rings:
    """All channels' rings, written and read in the guest's memory itself."""

    def __init__(self, card, ram, channels):
        self.card, self.ram, self.channels = card, ram, channels
        self.enable()

    def enable(self):
        for ch in range(self.channels):
            self.card.enable(ch, log2=LOG2)

    def put(self, ch, op=FILL_CARD, src=1, dst=0, size=64):
        """Write a descriptor, but don't ring: the doorbell as a command."""
        card, i = self.card, self.card.tails[ch]
        at = card.ring_base[ch] + i % (1 << LOG2) * 32
        self.ram[at : at + 32] = struct.pack("<HHIQQQ", op, F_CPL, i, src, dst, size)
        card.tails[ch] = i + 1
        return card.setting_ch(ch, "DOORBELL", i + 1)

    def wait(self):
        """All completions, as a polling driver waits for them."""
        card, end = self.card, time.monotonic() + 10
        for ch in range(self.channels):
            while card.seen[ch] < card.tails[ch]:
                at = card.cpl_base[ch] + card.seen[ch] % (1 << LOG2) * 32
                r = struct.unpack("<IIQQII", self.ram[at : at + 32])
                if r[5] == card.seen[ch] + 1:
                    assert r[:2] == (card.seen[ch], 0)
                    card.seen[ch] += 1
                elif time.monotonic() > end:
                    pytest.fail(
                        f"channel {ch}: no completion {card.seen[ch]} of {card.tails[ch]}, "
                        f"status {card.status(ch)}"
                    )


def flr(card):
    """Function level reset, as commands."""
    return card.pci.writing(card.pci.capability(0x10) + 8, 0x8000)


def look(card):
    """A command that takes a moment and has no effect."""
    return f"readl {REGS_AT + GL['GL_REG_ID']:#x}"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_completion_arrives(shared, halting_bios, rng, workers):
    """Doorbells at any time after the work before: it works, looks out, falls asleep, sleeps."""
    card, ram = shared(f"channels=2,workers={workers}", extra=["-bios", str(halting_bios)])
    q = card.q
    q.qmp("cont")
    rings = Rings(card, ram, 2)
    for i in range(1200):
        first, second = rng.choice([(0,), (1,), (0, 0), (0, 1), (1, 0)]), []
        commands = []
        for ch in first:
            commands += [rings.put(ch)] + [look(card)] * rng.choice([0, 1, 3, rng.randrange(25)])
        if i % 50 == 10:
            q.burst(commands)
            q.qmp("stop")
            second = [rings.put(ch) for ch in rng.choice([(0,), (1,), (0, 1)])]
            q.burst(second)
            q.qmp("cont")
        elif i % 50 == 35:
            q.burst(commands + flr(card))
            card = Card(q)
            rings = Rings(card, ram, 2)
        else:
            q.burst(commands)
        rings.wait()
        spin(rng.uniform(0, WINDOW))


def stop(card, how):
    """As commands: when they are done, the card is to touch memory no more."""
    return {
        "reset": [f"writel {REGS_AT + GL['GL_REG_CTRL']:#x} 1"],
        "flr": flr(card),
        "master": card.pci.writing(4, 0x2),
        "disable": [],
    }[how]


@pytest.mark.parametrize("how", ["reset", "flr", "master", "disable"])
def test_stopped_in_a_shared_block(shared, rng, how):
    """What is reported is there, all of it, and nothing behind; then nothing comes any more."""
    card, ram = shared("channels=1,workers=3,card-mem=64M")
    size, back = 24 * MIB, BUF + 64 * MIB
    data, old, new = os.urandom(size), b"\x11" * size, b"\x22" * size
    ram[BUF : BUF + size] = data
    card.enable()
    assert card.do(H2C, BUF, 0, size).status == 0
    middle = 0
    for i in range(400):  # a busy machine may look too late, but not each time
        if (i >= 9 and middle >= 3) or (i >= 40 and middle):
            break
        card = Card(card.q)
        card.disable()
        card.enable()
        commands = stop(card, how)
        ram[back : back + size] = old
        before, wanted = card.q.get("stat-bytes"), i % 3 * 8 * MIB
        card.put(0, C2H, 0, back, size)
        card.ring()
        while card.bytes_moved(0) < wanted:
            pass
        spin(rng.uniform(0, 1e-3))
        if how == "disable":
            card.disable()
        else:
            card.q.burst(commands)
        moved = card.q.get("stat-bytes") - before
        got = ram[back : back + size]
        ram[back : back + size] = new
        assert got[:moved] == data[:moved]
        assert got[moved:] == old[moved:]
        time.sleep(0.002)
        assert ram[back : back + size] == new
        middle += 0 < moved < size
    assert middle, "never stopped in the middle"


@pytest.mark.parametrize("how", ["reset", "flr", "master"])
def test_stopped_with_its_helpers(shared, rng, how):
    """On one processor a helper is often stopped in its share; the card waits for that, too."""
    card, ram = shared("channels=1,workers=3,card-mem=64M")
    for task in Path(f"/proc/{card.q.proc.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {min(os.sched_getaffinity(0))})
    size, back = 2 * MIB, BUF + 64 * MIB
    new = b"\xaa" * size
    # At once, in the thread that stopped it, and those shares first that are copied last.
    places = range(back + size - SHARE, back - 1, -SHARE)
    marks = [f"memset {at:#x} {SHARE:#x} 0xaa" for at in places]
    for _ in range(40):
        card = Card(card.q)
        card.disable()
        rings = Rings(card, ram, 1)
        commands = stop(card, how) + marks
        for _ in range(32):
            bell = rings.put(0, C2H, 0, back, size)
        card.q.burst([bell])
        spin(rng.uniform(0, 3e-3))
        card.q.burst(commands)
        time.sleep(0.004)
        assert ram[back : back + size] == new, "written after it had stopped"


def test_unplugged_at_any_moment(shared, rng):
    """While its workers look out, sleep, or copy a block together: the memory stays, QEMU too."""
    options = {"channels": 2, "workers": 3, "card-mem": 64 * MIB}
    text = ",".join(f"{k}={v}" for k, v in options.items())
    card, ram = shared(text, behind_port=True)
    q, size, back = card.q, 24 * MIB, BUF + 64 * MIB
    for i in range(10):
        rings = Rings(card, ram, 2)
        q.burst([rings.put(0), rings.put(1)])
        rings.wait()
        if i % 2:
            q.burst([rings.put(0, C2H, 0, back, size), rings.put(1)])
            spin(rng.uniform(0, 3e-3))
        else:
            spin(rng.uniform(0, WINDOW))
        q.qmp("device_del", id="gl0")
        q.qmp("system_reset")  # a reset completes a pending removal
        q.wait_event("DEVICE_DELETED")
        ram[back : back + size] = b"\x33" * size
        time.sleep(0.002)
        assert ram[back : back + size] == b"\x33" * size
        with pytest.raises(QemuError):
            q.get("stat-bytes")
        q.qmp("device_add", driver="gigalock", id="gl0", bus="rp0", **options)
        q.qmp("system_reset")
        q.wait_event("RESET")
        card = Card(q, behind_port=True)
