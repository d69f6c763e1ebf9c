# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver in a guest: its ABI, and that nothing stays locked whatever ends a user of it.

"In mid-transfer" is proved: the card's pause knob holds the transfer, gl-midway looks where it
stands, and says so only if that is between start and end.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gigalock_harness import places
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import CARD, KNOB_OFF, TESTS, pause_after, run_tap, start, wait_gone

HALF = 5_000_000  # bytes; neither a page's nor a chunk's multiple
MIB = 32
STRATEGIES = ["coherent", "contig-range", "sg"]
# Coherent memory is limited to the largest block of the page allocator.
LARGEST = {"coherent": 4} | dict.fromkeys(
    ("contig-range", "sg", "reserved", "pool", "hugetlb", "chunked"), MIB
)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(ram_mib=1024)
    with Guest(config, tmp_path_factory.mktemp("driver")) as g:
        yield g
        assert g.unexpected_lines() == []


@dataclass
class Memory:
    pinned: int  # pages pinned and not released
    free_kib: int
    slab_kib: int


def memory(g: Guest) -> Memory:
    """What is in use when it no longer changes: what was freed may take a moment to come back."""
    last = memory_now(g)
    for _ in range(20):
        now = memory_now(g)
        if now.pinned == last.pinned and abs(now.free_kib - last.free_kib) < 256:
            return now
        last = now
        time.sleep(0.1)
    return last


def memory_now(g: Guest) -> Memory:
    """What is in use, once everything that can be dropped is.

    Free pages that a processor keeps on its own list don't count as MemFree, and there may be
    tens of megabytes of them: zoneinfo has their number.
    """
    r = g.run(
        "echo 3 > /proc/sys/vm/drop_caches; cat /proc/sys/vm/stat_refresh;"
        " cat /proc/vmstat /proc/meminfo /proc/zoneinfo"
    )
    values = dict(re.findall(r"^(\w+):?\s+(\d+)", r.stdout, re.M))
    pinned = int(values["nr_foll_pin_acquired"]) - int(values["nr_foll_pin_released"])
    listed = sum(int(n) for n in re.findall(r"^\s+count:\s+(\d+)", r.stdout, re.M))
    return Memory(pinned, int(values["MemFree"]) + 4 * listed, int(values["Slab"]))


def keeps_what_is_freed(g: Guest) -> bool:
    """KASAN's kernel does, for a while, and where from it was freed for good: how much memory is
    free tells nothing there. What was forgotten, test_debug_kernel.py finds instead."""
    config = places.kernels_built() / g.config.kernel / "config"
    return config.exists() and "CONFIG_KASAN=y\n" in config.read_text()


def settle(g: Guest, before: Memory) -> Memory:
    """Memory may come back a moment later: page lists of a processor, RCU."""
    any_will_do = keeps_what_is_freed(g)
    for _ in range(10):
        after = memory(g)
        back = any_will_do or after.free_kib > before.free_kib - 1024
        if after.pinned == before.pinned and back:
            break
        time.sleep(0.3)
    return after


def assert_nothing_left(g: Guest, before: Memory) -> None:
    after = settle(g, before)
    assert after.pinned == before.pinned
    if not keeps_what_is_freed(g):
        # What is looked for would be megabytes: a lock's pages, or the tables of one.
        assert after.free_kib > before.free_kib - 2048
        assert after.slab_kib < before.slab_kib + 512
    info = json.loads(g.run("gigalock info --json").stdout)
    assert info["locks"] == 0
    assert info["locked_bytes"] == 0


def half_way(g: Guest, strategy: str, action: str, until: str = "^half-way") -> str:
    """Start gl-midway in the background and wait until it says where it stands."""
    pause_after(g, LARGEST[strategy] * 2**20 // 2 + 12345)
    out = start(g, f"{TESTS}/gl-midway {strategy} {LARGEST[strategy]} {action}", until)
    m = re.search(r"half-way (\d+) of (\d+)", out)
    assert m, out
    assert 0 < int(m[1]) < int(m[2])
    return out


def test_abi(guest: Guest) -> None:
    run_tap(guest, "gl-abi")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("action", ["unlock", "cancel", "close", "exit", "fork"])
def test_ending_half_way_leaves_nothing(guest: Guest, strategy: str, action: str) -> None:
    before = memory(guest)
    try:
        half_way(guest, strategy, action)
        if action != "fork":
            out = wait_gone(guest, "gl-midway")
            assert "done" in out or action == "exit"
        else:
            # The child holds the file, so the transfer goes on until it is gone.
            time.sleep(0.2)
            assert not guest.run("pidof gl-midway").code
            wait_gone(guest, "gl-midway")
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("signal", ["KILL", "SEGV", "TERM"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killing_half_way_leaves_nothing(guest: Guest, strategy: str, signal: str) -> None:
    before = memory(guest)
    try:
        half_way(guest, strategy, "sleep")
        assert guest.qmp("qom-get", path=CARD, property="paused") is True
        guest.run(f"kill -{signal} $(pidof gl-midway)")
        wait_gone(guest, "gl-midway")
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


def test_half_way_can_be_seen_missing(guest: Guest) -> None:
    """Without the pause knob gl-midway must say that nothing held the transfer."""
    r = guest.run(f"{TESTS}/gl-midway sg 16 cancel")
    assert r.code == 2
    assert "nothing held it" in r.stdout or "never stood still" in r.stdout


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_lock_kept_is_seen(guest: Guest, strategy: str) -> None:
    """The measure itself: while a lock is held, memory and counters must show it."""
    size = LARGEST[strategy]
    before = memory(guest)
    guest.run(f"gigalock lock --size {size}M --strategy {strategy} --hold 60 >/tmp/out 2>&1 &")
    for _ in range(100):
        if json.loads(guest.run("gigalock info --json").stdout)["locks"]:
            break
        time.sleep(0.1)
    held = memory(guest)
    guest.run("kill $(pidof gigalock)")
    assert held.free_kib < before.free_kib - size * 1024 * 0.9
    if strategy == "sg":
        assert held.pinned == before.pinned + size * 256
    assert_nothing_left(guest, before)


def test_locking_many_times_leaves_nothing(guest: Guest) -> None:
    guest.run("gigalock lock --size 1M --strategy sg")  # what the first use builds up
    before = memory(guest)
    r = guest.run(
        "for i in $(seq 50); do for s in coherent contig-range sg; do"
        " gigalock lock -q --size 2M --strategy $s || exit 1; done; done",
        timeout=180,
    )
    assert r.code == 0, r.stderr
    assert_nothing_left(guest, before)


def test_unloading_in_use_is_refused(guest: Guest) -> None:
    before = memory(guest)
    try:
        half_way(guest, "sg", "sleep")
        r = guest.run("rmmod gigalock")
        assert r.code != 0
        assert "Resource temporarily unavailable" in r.stderr
        assert guest.run("test -e /dev/gigalock0").code == 0
    finally:
        pause_after(guest, KNOB_OFF)
        guest.run("kill -KILL $(pidof gl-midway)")
    wait_gone(guest, "gl-midway")
    assert_nothing_left(guest, before)


def test_unloading_leaves_nothing(guest: Guest) -> None:
    guest.run("rmmod gigalock && insmod /lib/modules/gigalock.ko")
    before = memory(guest)
    for _ in range(5):
        assert guest.run("gigalock lock -q --size 8M --strategy sg").code == 0
        r = guest.run(
            "rmmod gigalock && test ! -e /dev/gigalock0 && insmod /lib/modules/gigalock.ko"
        )
        assert r.code == 0, r.stderr
    assert_nothing_left(guest, before)


def test_function_reset_half_way(guest: Guest) -> None:
    """FLR: the transfer is lost and says so; the next one works."""
    before = memory(guest)
    try:
        half_way(guest, "sg", "wait")
        r = guest.run("echo 1 > $(ls -d /sys/bus/pci/drivers/gigalock/0000:*)/reset", timeout=30)
        assert r.code == 0, r.stderr
        pause_after(guest, KNOB_OFF)
        out = wait_gone(guest, "gl-midway")
        assert re.search(r"status 125 .*reason 23$", out, re.M), out  # ECANCELED, cancelled
    finally:
        pause_after(guest, KNOB_OFF)
    assert guest.run("gigalock xfer -q --size 8M --strategy sg").code == 0
    assert_nothing_left(guest, before)


def test_reset_with_a_channel_that_does_not_stop(guest: Guest) -> None:
    """The card is then not used any more, and whoever waits is told, on the other channel, too:
    the one that waited for its turn behind another can't have it."""
    before = memory(guest)
    try:
        half_way(guest, "sg", "others", "^submitted")
        r = guest.run(
            "echo 'stop 1' > /sys/kernel/debug/gigalock/gigalock0/inject &&"
            " echo 1 > $(ls -d /sys/bus/pci/drivers/gigalock/0000:*)/reset",
            timeout=30,
        )
        assert r.code == 0, r.stderr
        out = wait_gone(guest, "gl-midway", patience=90)
        # The first of the other channel was at work, and lost that to the reset.
        statuses = re.findall(r"^status (\d+) .*reason (\d+)$", out, re.M)
        assert statuses == [("19", "24"), ("125", "23"), ("19", "24")], out
        assert "submit errno 19\n" in out, out
        # It is bound still, and says why nothing goes.
        log = json.loads(guest.run("gigalock failures --json").stdout)["failures"]
        assert log[-1]["reason"] == "device-gone"
        assert "no channel is used any more: one did not stop" in guest.run("dmesg").stdout
    finally:
        pause_after(guest, KNOB_OFF)
        # Bound anew it works.
        guest.run("rmmod gigalock && insmod /lib/modules/gigalock.ko")
    assert guest.run("gigalock xfer -q --size 8M --strategy sg").code == 0
    assert_nothing_left(guest, before)


def test_bus_mastering_off_half_way(guest: Guest) -> None:
    """The card can't reach memory any more: a device error, with the card's own code."""
    config = "$(ls -d /sys/bus/pci/drivers/gigalock/0000:*)/config"
    before = memory(guest)
    try:
        half_way(guest, "sg", "wait")
        # The command register without its bus master bit; then as it was.
        r = guest.run(
            f"c={config}; old=$(dd if=$c bs=1 skip=4 count=1 2>/dev/null |"
            " hexdump -e '1/1 \"%d\"');"
            ' printf "\\\\$(printf %o $((old & ~4)))" | dd of=$c bs=1 seek=4 conv=notrunc 2>&1;'
            ' sleep 1; printf "\\\\$(printf %o $old)" | dd of=$c bs=1 seek=4 conv=notrunc 2>&1'
        )
        assert r.code == 0, r.stdout
        out = wait_gone(guest, "gl-midway")
        assert re.search(r"status 5 .*reason 21$", out, re.M), out  # EIO, device-error
        log = json.loads(guest.run("gigalock failures --json").stdout)["failures"]
        assert (log[-1]["reason"], log[-1]["request"]) == ("device-error", 8)  # GL_ERR_BUS_MASTER
    finally:
        pause_after(guest, KNOB_OFF)
    assert guest.run("gigalock xfer -q --size 8M --strategy sg").code == 0
    assert_nothing_left(guest, before)


def test_a_transfer_without_memory_for_it(guest: Guest) -> None:
    before = memory(guest)
    try:
        half_way(guest, "sg", "nomem")
        out = wait_gone(guest, "gl-midway")
        assert "reason 14 stage 6" in out and "done" in out, out
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_lock_given_back_is_back_before_the_reap(guest: Guest, strategy: str) -> None:
    before = memory(guest)
    try:
        half_way(guest, strategy, "unreaped")
        pause_after(guest, KNOB_OFF)
        out = wait_gone(guest, "gl-midway")
        assert "locks 0\n" in out and "done" in out, out
    finally:
        pause_after(guest, KNOB_OFF)
    assert_nothing_left(guest, before)


def test_poll(guest: Guest) -> None:
    """Ready when the transfer is done, and when the card goes."""
    try:
        half_way(guest, "sg", "poll")
        assert "poll" not in guest.run("sleep 0.5; cat /tmp/out").stdout
        pause_after(guest, KNOB_OFF)
        out = wait_gone(guest, "gl-midway")
        assert "poll in\n" in out and "status 0 " in out, out
        half_way(guest, "sg", "poll")
        guest.run(
            "cd /sys/bus/pci/drivers/gigalock && d=$(ls -d 0000:*) &&"
            " echo $d > unbind && echo $d > /tmp/slot",
            timeout=30,
        )
        assert "poll in hup" in wait_gone(guest, "gl-midway")
    finally:
        pause_after(guest, KNOB_OFF)
        guest.run("test -e /dev/gigalock0 || cat /tmp/slot > /sys/bus/pci/drivers/gigalock/bind")


def test_unbinding_waits_for_nobodys_page(guest: Guest) -> None:
    """A caller's memory is served by user space, and doesn't come: the card goes all the same."""
    before = memory(guest)
    run_tap(guest, "gl-stuck")
    assert_nothing_left(guest, before)


def test_lost_interrupts_cost_time_not_the_transfer(guest: Guest) -> None:
    guest.qmp("qom-set", path=CARD, property="fault", value="no-irq")
    try:
        r = guest.run("gigalock xfer --size 8M --strategy sg --json", timeout=60)
        assert r.code == 0, r.stdout
        assert json.loads(r.stdout)["verified"] is True
    finally:
        guest.qmp("qom-set", path=CARD, property="fault", value="none")


@pytest.mark.parametrize(
    "options",
    [
        "channels=1",
        "channels=3,max-ring=4",
        "channels=16",
        "max-xfer=4096",
        "card-mem=1M",
        "addr-width=32",
    ],
)
def test_other_cards(options: str, tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, devices=[f"gigalock,id=gl0,bus=rp0,{options}"])
    with Guest(config, tmp_path) as g:
        r = g.run("gigalock xfer --size 9M --strategy sg --json", timeout=60)
        assert r.code == 0, r.stdout + r.stderr
        assert json.loads(r.stdout)["verified"] is True
        assert g.unexpected_lines() == []


def test_a_card_without_a_root_port(tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, devices=["gigalock,id=gl0,bus=pcie.0"])
    with Guest(config, tmp_path) as g:
        r = g.run("gigalock xfer --size 9M --strategy contig-range --json", timeout=60)
        assert json.loads(r.stdout)["verified"] is True
        assert g.unexpected_lines() == []


def test_bounced_buffers(tmp_path: Path) -> None:
    """Every byte goes through a bounce buffer: what isn't the transfer's stays as it was."""
    config = GuestConfig(
        ram_mib=512,
        cmdline_extra=["swiotlb=force", "hugepages=2"],
        driver_params=["pool_bytes=128K", "pool_count=1"],
    )
    with Guest(config, tmp_path) as g:
        run_tap(g, "gl-bounce")
        assert g.unexpected_lines() == []


def test_behind_an_iommu(tmp_path: Path) -> None:
    """Remapping makes one run of any pages: coherent locks what it can't otherwise."""
    config = GuestConfig(ram_mib=512, iommu="intel")
    with Guest(config, tmp_path) as g:
        assert json.loads(g.run("gigalock info --json").stdout)["iommu"] == 1
        for strategy in STRATEGIES:
            r = g.run(f"gigalock xfer --size 64M --strategy {strategy} --json", timeout=120)
            got = json.loads(r.stdout)
            assert got["verified"] is True, got
            assert got["segments"] == 1
        assert g.unexpected_lines() == []
