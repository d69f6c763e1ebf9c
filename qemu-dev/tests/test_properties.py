# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties given at the start: good ones work, bad ones are refused with value and limit."""

import mmap
import os

import pytest
from card import BUF, H2C
from qemu import QemuError

BAD = [
    ("card-mem=3M", "card-mem of 3145728 bytes is not a power of two.*2097152"),
    ("card-mem=0", "card-mem of 0 bytes is out of range: 4096 to 1099511627776 bytes"),
    ("card-mem=2048", "card-mem of 2048 bytes is out of range: 4096 to"),
    ("card-mem=2T", "card-mem of 2199023255552 bytes is out of range: 4096 to 1099511627776"),
    ("card-mem=-1", "card-mem"),
    ("card-mem=lots", "card-mem"),
    ("channels=0", "channels=0 is out of range: 1 to 16"),
    ("channels=17", "channels=17 is out of range: 1 to 16"),
    ("channels=256", "channels"),
    ("addr-width=23", "addr-width=23 is out of range: 24 to 64"),
    ("addr-width=65", "addr-width=65 is out of range: 24 to 64"),
    ("max-ring=3", "max-ring=3 is out of range: 4 to 16"),
    ("max-ring=17", "max-ring=17 is out of range: 4 to 16"),
    ("max-xfer=0", "max-xfer=0 is out of range"),
    ("max-seg=0", "max-seg=0 is out of range"),
    ("align=0", "align=0 is no power of two from 1 to 4096"),
    ("align=3", "align=3 is no power of two from 1 to 4096"),
    ("align=8192", "align=8192 is no power of two from 1 to 4096"),
    ("boundary=12288", "boundary=12288 is no power of two.*8192"),
    ("workers=17", "workers=17 is out of range: 0 to 16"),
    ("workers=-2", "workers=-2 is out of range: 0 to 16"),
    ("fault=explode", "fault 'explode' is not known"),
    ("memdev=nothing", "nothing"),
    ("card-memory=1G", "card-memory"),
]


@pytest.mark.parametrize("options,message", BAD)
def test_refused(start, options, message):
    with pytest.raises(QemuError, match=message):
        start(options)


@pytest.mark.parametrize("size", ["4K", "64M", "8G", "64G"])
def test_card_memory_sizes(start, size):
    number = int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1]]
    card = start(f"card-mem={size}")
    assert card.reg64("CARD_SIZE") == number
    card.q.write(BUF, b"end")
    card.enable()
    assert card.do(H2C, BUF, number - 3, 3).status == 0
    assert card.q.read(card.card_at + number - 3, 3) == b"end"


def test_static_properties_stay(card):
    with pytest.raises(QemuError, match="realized"):
        card.q.set("channels", 3)


def test_memdev_is_the_hosts_own_memory(start, tmp_path):
    """What the card receives, the host sees in the file."""
    path = tmp_path / "card"
    card = start(
        "memdev=mem",
        extra=["-object", f"memory-backend-file,id=mem,size=16M,share=on,mem-path={path}"],
    )
    assert card.reg64("CARD_SIZE") == 16 << 20
    data = os.urandom(100000)
    card.q.write(BUF, data)
    card.enable()
    assert card.do(H2C, BUF, 4097, len(data)).status == 0
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        assert m[4097 : 4097 + len(data)] == data


def test_64_gib_that_nobody_touched(start):
    """By a backend without a reservation: more than the host has, and it takes none of it."""
    card = start("memdev=mem", extra=["-object", "memory-backend-ram,id=mem,size=64G,reserve=off"])
    assert card.reg64("CARD_SIZE") == 64 << 30
    card.q.write(BUF, b"end")
    card.enable()
    for at in (0, 33 << 30, (64 << 30) - 3):
        assert card.do(H2C, BUF, at, 3).status == 0
        assert card.q.read(card.card_at + at, 3) == b"end"
    with open(f"/proc/{card.q.proc.pid}/status", encoding="ascii") as f:
        resident = next(line for line in f if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 1 << 20, resident  # KiB


def test_memdev_in_use(start):
    with pytest.raises(QemuError, match="memdev mem is in use"):
        start(
            "memdev=mem",
            extra=[
                "-object",
                "memory-backend-ram,id=mem,size=16M",
                "-device",
                "gigalock,id=first,addr=6,memdev=mem",
            ],
        )


def test_memdev_no_power_of_two(start):
    with pytest.raises(QemuError, match="memdev of 25165824 bytes is not a power of two"):
        start("memdev=mem", extra=["-object", "memory-backend-ram,id=mem,size=24M"])


def test_memdev_is_free_again_after_unplug(start):
    card = start(
        "memdev=mem", behind_port=True, extra=["-object", "memory-backend-ram,id=mem,size=16M"]
    )
    card.q.qmp("device_del", id="gl0")
    card.q.qmp("system_reset")
    card.q.wait_event("DEVICE_DELETED")
    card.q.qmp("object-del", id="mem")


def test_needs_pcie(start):
    with pytest.raises(QemuError, match="needs a PCIe bus"):
        start(machine="pc")


def test_two_cards(start):
    card = start(extra=["-device", "gigalock,id=gl1,addr=6,card-mem=1M"])
    assert card.q.get("stat-bytes", "/machine/peripheral/gl1") == 0
