# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests restored from a template: each its own, all alike, and as one that booted."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gigalock_harness.errors import GuestError
from gigalock_harness.guest import Guest
from gigalock_harness.qemu_args import GuestConfig
from gigalock_harness.template import ROOM_FOR_CARD, Template, TemplateStore, key_of, save
from guests import children, open_files

CARD = "gigalock,id=gl0,bus=rp0,card-mem=64M"


def config(**changes: object) -> GuestConfig:
    settings = {"ram_mib": 512, "cmdline_extra": [ROOM_FOR_CARD], "devices": [CARD]} | changes
    return GuestConfig(**settings)  # type: ignore[arg-type]


def checksum(fd: int) -> int:
    with open(f"/proc/self/fd/{fd}", "rb") as file:
        crc = 0
        while piece := file.read(16 << 20):
            crc = zlib.crc32(piece, crc)
        return crc


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    made = save(config(), tmp_path_factory.mktemp("template"))
    yield made
    made.close()


def test_nothing_is_left_in_the_file_system(template: Template) -> None:
    for fd in (*template.ram, template.state):
        assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:gigalock")
    assert 20 < template.held_mib() < 512
    assert not [line for line in os.listdir("/dev/shm") if "gigalock" in line]


def test_a_restored_guest_has_the_card_and_the_driver(template: Template, tmp_path: Path) -> None:
    with Guest(config(driver_params=["ring_log2=5"]), tmp_path, template) as guest:
        assert guest.hello == template.hello
        assert guest.run("cat /sys/module/gigalock/parameters/ring_log2").stdout.strip() == "5"
        moved = guest.run("gigalock --json xfer --size 64M --strategy sg")
        assert '"verified":true' in moved.stdout, moved.stdout + moved.stderr
        # The card's memory BAR has its place, as after a boot.
        assert "can't assign" not in guest.run("dmesg").stdout
        assert guest.unexpected_lines() == []
        assert guest.console().startswith(template.console.decode(errors="replace"))


def test_what_one_writes_no_other_sees(template: Template, tmp_path: Path) -> None:
    before = checksum(template.ram[0])
    with Guest(config(), tmp_path / "a", template) as one:
        one.run("echo mine > /run/marker; dd if=/dev/urandom of=/run/data bs=1M count=32")
        with Guest(config(), tmp_path / "b", template) as other:
            assert other.run("cat /run/marker").code == 1
            assert other.run("echo other > /run/marker").ok
        assert one.run("cat /run/marker").stdout == "mine\n"
    with Guest(config(), tmp_path / "c", template) as again:
        assert again.run("cat /run/marker").code == 1
    assert checksum(template.ram[0]) == before


def test_it_is_as_one_that_booted(template: Template, tmp_path: Path) -> None:
    """Memory, command line, devices: all that a lock could depend on."""
    asked = (
        "cat /proc/cmdline /proc/iomem; grep -E 'MemTotal|CommitLimit|Hugepagesize' /proc/meminfo;"
        "lspci 2>/dev/null; cat /sys/bus/pci/devices/*/device /sys/bus/pci/devices/*/resource;"
        "gigalock --json info"
    )
    with Guest(config(), tmp_path / "restored", template) as guest:
        restored = guest.run(asked).stdout
    with Guest(config(), tmp_path / "booted") as guest:
        booted = guest.run(asked).stdout
    assert "gigalock" in booted and "System RAM" in booted
    # MemTotal differs by the pages that were freed until the question came.
    drop = re.compile(r"MemTotal:.*|CommitLimit:.*")
    assert drop.sub("", restored) == drop.sub("", booted)
    total = [int(re.search(r"MemTotal: +(\d+)", text)[1]) for text in (restored, booted)]  # type: ignore[index]
    assert abs(total[0] - total[1]) < 4096


def test_the_driver_can_be_loaded_late(template: Template, tmp_path: Path) -> None:
    with Guest(config(load_driver=False), tmp_path, template) as guest:
        assert guest.run("ls /dev/gigalock0").code != 0
        guest.load_driver()
        assert guest.run("ls /dev/gigalock0").ok


def test_a_card_that_can_t_be_plugged_in(template: Template, tmp_path: Path) -> None:
    before = children()
    with pytest.raises(GuestError, match="can't be plugged in.*no-such"):
        Guest(config(devices=[f"{CARD},no-such=1"]), tmp_path, template).boot()
    assert children() == before


def test_a_state_that_is_garbage(template: Template, tmp_path: Path) -> None:
    """A template that was damaged is an error with a name, and nobody hangs."""
    bad = os.memfd_create("gigalock-state")
    os.write(bad, b"no machine" * 100)
    before, files = children(), open_files()
    with pytest.raises(GuestError) as caught:
        Guest(config(boot_timeout=20), tmp_path, replace(template, state=bad)).boot()
    assert caught.value.message
    assert children() == before and open_files() == files
    os.close(bad)


def test_what_must_be_the_same() -> None:
    one = config()
    for after_boot in ({"devices": []}, {"driver_params": ["x=1"]}, {"load_driver": False}):
        assert key_of(replace(one, **after_boot)) == key_of(one)  # type: ignore[arg-type]
    for before in (
        {"ram_mib": 1024},
        {"kernel": "lab"},
        {"cmdline_extra": ["nosmp"]},
        {"iommu": "intel"},
        {"cpu": "qemu64"},
        {"low_ram_mib": 256},
        {"nodes_mib": [256, 256]},
        {"smp": 2},
    ):
        assert key_of(replace(one, **before)) != key_of(one), before  # type: ignore[arg-type]


def test_nodes_are_saved_and_restored(tmp_path: Path) -> None:
    two = config(nodes_mib=[256, 256], low_ram_mib=256)
    made = save(two, tmp_path / "save")
    try:
        with Guest(two, tmp_path / "restored", made) as guest:
            assert guest.run("ls -d /sys/devices/system/node/node?").stdout.split() == [
                "/sys/devices/system/node/node0",
                "/sys/devices/system/node/node1",
            ]
            high = [
                line
                for line in guest.run("cat /proc/iomem").stdout.splitlines()
                if line.startswith("100000000-") and "System RAM" in line
            ]
            assert high, "no RAM above 4 GiB"
    finally:
        made.close()


def test_a_store_makes_one_and_lets_go_after_the_last(tmp_path: Path) -> None:
    store, cfg, files = TemplateStore(tmp_path), config(devices=[]), open_files()
    store.expect(cfg)
    assert not store.worth_it(cfg), "one guest boots faster without"
    store.expect(cfg)
    assert store.worth_it(cfg) and not store.worth_it(config(smp=2))
    with store.use(cfg) as first:
        pass
    with store.use(cfg) as second:
        assert second is first and len(store.made) == 1
    assert open_files() == files
    assert not store.worth_it(cfg)


def test_a_template_that_can_t_be_made_is_said_to_each(tmp_path: Path) -> None:
    store, cfg = TemplateStore(tmp_path), config(devices=[], kernel="/nowhere/vmlinux")
    store.expect(cfg)
    store.expect(cfg)
    for _ in range(2):
        with pytest.raises(GuestError, match="/nowhere/vmlinux"), store.use(cfg):
            pass
    assert store.made == []
