# SPDX-License-Identifier: GPL-2.0-or-later
"""A 32-bit tool and library, in a guest with the 64-bit driver."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness import places
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import tap

USERLIB = Path(__file__).resolve().parent.parent
BUILD = places.build_dir()
M32 = BUILD / "userlib" / "m32"
MIB = 1 << 20

# Each the whole of its calls, once around; those that need the card's knob run for 64 bits.
PROGRAMS = {
    "gl-test-calls": "mmap_of_a_lock ids_of_transfers_go_round log_keeps_the_last_ones",
    "gl-test-data": "coherent_offsets_and_sizes sg_offsets_and_sizes many_segments",
    "gl-test-dmabuf": "",
    "gl-test-locks": "half_unmapped read_only_memory memlock_limit ids_of_another_file",
    "gl-test-options": "",
    "gl-test-queues": "polled_there_and_back in_order_around_the_ring refused_entries "
    "ring_is_for_reading told_by_an_eventfd one_submits_and_one_reaps",
    "gl-test-strategies": "huge_pages_of_the_library huge_pages_of_the_caller largest_blocks",
}


@pytest.fixture(scope="module")
def m32() -> Path:
    done = subprocess.run(
        ["flock", str(BUILD), "make", "-s", "-C", str(USERLIB), f"BUILD={BUILD}", "m32"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    kind = (M32 / "gigalock").read_bytes()[:20]
    assert kind[:5] == b"\x7fELF\x01", "not a program of 32 bits"
    return M32


def files(m32: Path, programs: list[str]) -> dict[str, Path]:
    put = {"/root/gigalock32": m32 / "gigalock"}
    return put | {f"/root/{name}": m32 / "guest-tests" / name for name in programs}


@pytest.fixture(scope="module")
def guest(m32: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(ram_mib=1024, put_files=files(m32, list(PROGRAMS)))
    with Guest(config, tmp_path_factory.mktemp("m32")) as g:
        g.run("chmod +x /root/g*")
        yield g


def tool32(guest: Guest, arguments: str, code: int = 0) -> dict[str, Any]:
    done = guest.run(f"/root/gigalock32 --json {arguments}", timeout=120)
    assert done.code == code, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("strategy", ["coherent", "contig-range", "sg", "chunked", "hugetlb"])
@pytest.mark.parametrize("how", ["", "--queue 64", "--check device"])
def test_lock_map_move_and_verify(guest: Guest, strategy: str, how: str) -> None:
    size = 4 * MIB if strategy == "coherent" else 70 * MIB
    pages = 40 if strategy == "hugetlb" else 0
    guest.run(f"echo {pages} > /proc/sys/vm/nr_hugepages")
    said = tool32(guest, f"xfer --size {size} --strategy {strategy} {how} --seed 5")
    assert said["verified"] is True and said["locked_bytes"] == size
    assert said["crc_to_card"] == said["crc_from_card"] == said["crc_expected"]
    if "device" not in how:
        done = guest.run(f"gigalock pattern --size {size} --seed 5")
        assert said["crc_to_card"] == done.stdout.strip()


def test_same_answers_as_64_bits(guest: Guest) -> None:
    ours = tool32(guest, "info")
    theirs = json.loads(guest.run("gigalock --json info").stdout)
    assert ours == theirs
    tool32(guest, "lock --size 8M --strategy coherent", 1)
    logs = [guest.run(f"{t} --json failures").stdout for t in ("gigalock", "/root/gigalock32")]
    assert json.loads(logs[0])["failures"] == json.loads(logs[1])["failures"] != []


def test_bench(guest: Guest) -> None:
    assert tool32(guest, "bench --count 2000 --strategy sg")["ops"] == 2000


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_program(guest: Guest, program: str) -> None:
    done = guest.run(f"/root/{program} {PROGRAMS[program]}", timeout=240)
    got = tap(done.stdout)
    assert not got.failed and done.code == 0, done.stdout + done.stderr
    assert len(got.passed) == got.planned >= 3


def test_several_gigabytes_don_t_fit(m32: Path, tmp_path: Path) -> None:
    """Failure cause 21: RAM enough, and no room in 32 bits of addresses."""
    config = GuestConfig(ram_mib=5632, put_files=files(m32, ["gl-space"]))
    with Guest(config, tmp_path) as guest:
        done = guest.run("chmod +x /root/g*; /root/gl-space", timeout=240)
        got = tap(done.stdout)
        assert done.code == 0 and not got.failed, done.stdout + done.stderr
        assert len(got.passed) == got.planned == 3
        said = tool32(guest, "lock --size 1G --strategy contig-range")
        assert said["locked_bytes"] == 1 << 30
        failure = tool32(guest, "lock --size 4G --strategy sg", 1)["failure"]
        assert failure["reason"] == "address-space" and failure["limit"] == 4 << 30
        assert "64-bit program" in failure["remedy"]
