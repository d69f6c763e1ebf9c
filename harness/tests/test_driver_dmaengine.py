# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's dmaengine on a channel of the card, tried by the kernel's own dmatest.

Distribution kernels come without dmatest; there, only what sysfs shows is looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import CARD, run_tap

DMATEST = "/sys/module/dmatest/parameters"
BIND = "/sys/bus/pci/drivers/gigalock"


def card(options: str) -> list[str]:
    return [f"gigalock,id=gl0,bus=rp0,{options}"]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(ram_mib=512, smp=2, devices=card("channels=4"))
    with Guest(config, tmp_path_factory.mktemp("dmaengine")) as g:
        yield g
        assert g.unexpected_lines() == []


def need_dmatest(g: Guest) -> None:
    if g.run(f"test -d {DMATEST}").code:
        pytest.skip("this kernel has no dmatest")


def start(
    g: Guest, memset: bool = False, polled: bool = False, iterations: int = 100, threads: int = 2
) -> None:
    values = {
        "dmatest": int(memset),
        "polled": "NY"[polled],
        "iterations": iterations,
        "test_buf_size": 65536,
        # A polling thread ends with terminate_all, which the other would feel.
        "threads_per_chan": 1 if polled else threads,
        "timeout": 5000,
        "channel": "dma0chan0",
        "run": 1,
    }
    done = g.run(
        "dmesg -c > /dev/null; set -e; "
        + "; ".join(f"echo {value} > {DMATEST}/{name}" for name, value in values.items())
    )
    assert done.code == 0, done.stderr


def finish(g: Guest, threads: int = 2) -> list[int]:
    """The failures of each thread, once all have ended."""
    g.run(f"cat {DMATEST}/wait", timeout=120)
    said = g.run("dmesg").stdout
    ended = re.findall(r"dmatest: dma0chan0-\w+: summary (\d+) tests, (\d+) failures", said)
    assert len(ended) == threads and all(int(tests) > 0 for tests, _ in ended), said
    return [int(failures) for _, failures in ended]


def test_it_is_there(guest: Guest) -> None:
    assert guest.run("cat /sys/class/dma/dma0chan0/in_use").stdout.strip() == "0"
    # The other channels work, transfers and queues.
    run_tap(guest, "gl-queue moves", timeout=400)
    run_tap(guest, "gl-queue moves", timeout=400)


@pytest.mark.parametrize("polled", [False, True], ids=["callback", "polled"])
@pytest.mark.parametrize("memset", [False, True], ids=["memcpy", "memset"])
def test_dmatest(guest: Guest, memset: bool, polled: bool) -> None:
    need_dmatest(guest)
    start(guest, memset, polled)
    assert set(finish(guest, 1 if polled else 2)) == {0}


def test_dmatest_would_notice(guest: Guest) -> None:
    """A card that copies nothing: every test must fail."""
    need_dmatest(guest)
    guest.qmp("qom-set", path=CARD, property="fault", value="no-copy")
    try:
        start(guest, iterations=10)
        assert min(finish(guest)) >= 9
    finally:
        guest.qmp("qom-set", path=CARD, property="fault", value="none")
    start(guest, iterations=10)
    assert finish(guest) == [0, 0]


LIES = ["seq", "cookie", "bytes", "short", "status"]


@pytest.mark.parametrize("polled", [False, True], ids=["callback", "polled"])
@pytest.mark.parametrize("lie", LIES)
def test_a_card_that_lies(guest: Guest, lie: str, polled: bool) -> None:
    """A completion of another, of too many or too few bytes, of an unknown error, or none at all:
    that one test fails, of an error and not of its time, and all others are well."""
    need_dmatest(guest)
    # Who has seen a failure ends with terminate_all.
    start(guest, polled=polled, iterations=0, threads=1)
    try:
        for _ in range(2):
            guest.qmp("qom-set", path=CARD, property="forge", value=lie)
            end = time.monotonic() + 20
            while guest.qmp("qom-get", path=CARD, property="forge") != "none":
                assert time.monotonic() < end, "dmatest stands still"
                time.sleep(0.05)
            time.sleep(0.6)  # a completion that is lost is missed after a quarter of a second
        said = guest.run("dmesg").stdout
    finally:
        guest.qmp("qom-set", path=CARD, property="forge", value="none")
        # Who is stopped in a test may take that for a failure, too.
        stopped = guest.run(f"echo 0 > {DMATEST}/run", timeout=60)
    assert stopped.ok, stopped.stderr
    finish(guest, threads=1)
    # One that polls takes every end but a good one for none in time.
    how = "test timed out" if polled else "completion error status"
    assert re.findall(r"result #\d+: '(.*)'", said) == [how] * 2, said
    start(guest)
    assert finish(guest) == [0, 0]


def test_without_interrupts(guest: Guest) -> None:
    """One that is lost costs time, and not the copy."""
    need_dmatest(guest)
    guest.qmp("qom-set", path=CARD, property="fault", value="no-irq")
    try:
        start(guest, iterations=3)
        assert finish(guest) == [0, 0]
    finally:
        guest.qmp("qom-set", path=CARD, property="fault", value="none")


def test_a_reset_amid_dmatest(guest: Guest) -> None:
    """What was under way is lost; what comes after works."""
    need_dmatest(guest)
    start(guest, iterations=0)
    for _ in range(3):
        time.sleep(0.3)
        assert guest.run(f"echo 1 > $(ls -d {BIND}/0000:*)/reset", timeout=30).code == 0
    guest.run(f"echo 0 > {DMATEST}/run", timeout=60)
    start(guest)
    assert finish(guest) == [0, 0]


def test_a_card_that_hangs(guest: Guest) -> None:
    """dmatest gives up on it, and its channel can be let go and used again."""
    need_dmatest(guest)
    start(guest, iterations=0)
    time.sleep(0.3)
    guest.qmp("qom-set", path=CARD, property="fault", value="hang")
    try:
        assert guest.run(f"echo 0 > {DMATEST}/run", timeout=60).code == 0
    finally:
        guest.qmp("qom-set", path=CARD, property="fault", value="none")
    start(guest)
    assert finish(guest) == [0, 0]


def test_unbinding_amid_dmatest(guest: Guest) -> None:
    """The client holds the channel on; its tests end, and a card bound again works."""
    need_dmatest(guest)
    start(guest, iterations=0)
    time.sleep(0.3)
    assert "1" in guest.run("cat /sys/class/dma/dma0chan0/in_use").stdout
    done = guest.run(
        f"cd {BIND} && basename $(ls -d 0000:*) > /tmp/slot && cat /tmp/slot > unbind", timeout=60
    )
    assert done.code == 0, done.stderr
    assert guest.run(f"echo 0 > {DMATEST}/run", timeout=60).code == 0
    # The module may go only when nobody holds the channel.
    assert guest.run("rmmod gigalock", timeout=60).code == 0
    assert guest.run("insmod /lib/modules/gigalock.ko; ls /dev/gigalock0").code == 0
    start(guest)
    assert finish(guest) == [0, 0]


@pytest.mark.parametrize(
    "options", ["max-seg=1000", "boundary=4096", "align=64", "max-xfer=4096,max-ring=4"]
)
def test_other_cards(options: str, tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, devices=card(f"channels=4,{options}"))
    with Guest(config, tmp_path) as g:
        need_dmatest(g)
        for memset in (False, True):
            start(g, memset)
            assert finish(g) == [0, 0]
        assert g.unexpected_lines() == []


def test_behind_an_iommu(tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, iommu="intel", devices=card("channels=4"))
    with Guest(config, tmp_path) as g:
        need_dmatest(g)
        start(g)
        assert finish(g) == [0, 0]
        assert g.unexpected_lines() == []


@pytest.mark.parametrize(
    ("channels", "parameter", "there"),
    [(2, "-1", False), (4, "-1", True), (4, "0", False), (2, "1", True), (1, "1", False)],
)
def test_the_parameter(channels: int, parameter: str, there: bool, tmp_path: Path) -> None:
    config = GuestConfig(
        ram_mib=256,
        devices=card(f"channels={channels}"),
        driver_params=[f"dmaengine={parameter}"],
    )
    with Guest(config, tmp_path) as g:
        assert (g.run("test -e /sys/class/dma/dma0chan0").code == 0) is there
        assert g.run("gigalock xfer -q --size 1M --strategy sg").code == 0
        said = g.run("dmesg").stdout
        assert ("no channel for the dmaengine: -16" in said) is (channels == 1)
        if channels > 1:
            assert g.unexpected_lines() == []
