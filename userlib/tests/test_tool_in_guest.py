# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tool can be asked for, in guests: strategies, options, queues, checks by the card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gigalock_harness import inguest, places
from gigalock_harness.guest import Guest, GuestConfig
from gigalock_harness.inguest import CARD

MIB = 1 << 20
EXAMPLES = places.build_dir() / "userlib" / "examples"
LOCKS = ["lock", "xfer", "limit", "bench"]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(
        ram_mib=512, put_files={f"/root/{p}": EXAMPLES / p for p in ("queue", "lock-and-move")}
    )
    with Guest(config, tmp_path_factory.mktemp("tool")) as g:
        yield g


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(ram_mib=768, nodes_mib=[384, 384], smp=2)
    with Guest(config, tmp_path_factory.mktemp("nodes")) as g:
        yield g


def tool(guest: Guest, arguments: str, code: int | None = 0) -> dict[str, Any]:
    return inguest.tool(guest, arguments, code)


def tool_while(guest: Guest, held: str, times: int, arguments: str, code: int) -> dict[str, Any]:
    """The tool's answer while `gigalock lock` holds so many locks."""
    done = guest.run(
        f"for i in $(seq {times}); do gigalock --json lock {held} --hold 60 > /tmp/held.$i & "
        f"while ! grep -q ok /tmp/held.$i; do sleep 0.1; done; done; "
        f"grep -q 'ok.:false' /tmp/held.* && exit 99; gigalock --json {arguments}; "
        "code=$?; kill $(jobs -p); exit $code",
        timeout=60,
    )
    assert done.code == code, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


# -- options of a lock -----------------------------------------------------------


def test_options_reach_the_kernel(guest: Guest) -> None:
    said = tool(guest, "lock --size 1M --strategy sg --entry-per-page")
    assert said["segments"] == 256 and said["longest_segment"] == 4096
    assert said["backing"] == "pages" and said["table_bytes"] > 0
    said = tool(guest, "lock --size 64M --entry-per-page")
    assert said["strategy"] == "contig-range" and said["segments"] == 16384
    said = tool(guest, "lock --size 2M --strategy sg --entry-per-page --small-table", 1)
    assert said["failure"]["reason"] == "too-many-segments"
    said = tool(guest, "lock --size 1M --strategy contig-range --max-segment 64K")
    assert said["segments"] == 16 and said["longest_segment"] == 65536
    assert said["backing"] == "range"
    said = tool(guest, "lock --size 32M --strategy sg --address-width 24", 1)
    assert said["failure"]["reason"] == "address-width"
    assert said["failure"]["limit"] == (1 << 24) - 1
    said = tool(guest, "lock --size 1M --strategy coherent --node 7", 1)
    assert said["failure"]["reason"] == "bad-argument" and said["failure"]["request"] == 7
    assert tool(guest, "lock --size 1M --strategy coherent --node 0")["ok"] is True
    for option in ("--timeout", "--lock-timeout"):
        said = tool(guest, f"lock --size 256M --strategy sg {option} 0.001", 1)
        assert said["failure"]["reason"] == "timeout" and said["failure"]["limit"] == 1


def test_never_mapped(guest: Guest) -> None:
    """Moved without the process ever seeing it."""
    said = tool(guest, "xfer --size 9M --strategy contig-range --no-map --check device")
    assert said["verified"] is True and said["stats"]["mappings"] == 0
    said = tool(guest, "xfer --size 9M --strategy contig-range --check device")
    assert said["stats"]["mappings"] == 1
    assert tool(guest, "lock --size 9M --strategy coherent --no-map", 1)["failure"]


def test_limit_takes_the_options(guest: Guest) -> None:
    said = tool(guest, "limit --size 4M --strategy sg --entry-per-page --small-table")
    assert 1000 * 1024 <= said["largest_bytes"] <= MIB
    assert said["failure"]["reason"] == "too-many-segments"


def test_hugetlb(guest: Guest) -> None:
    said = tool(guest, "lock --size 64M --strategy hugetlb", 1)
    failure = said["failure"]
    assert failure["reason"] == "hugetlb-pool" and failure["errno_name"] == "ENOMEM"
    assert failure["limit"] == 0 and failure["request"] == 64 * MIB
    guest.run("echo 40 > /proc/sys/vm/nr_hugepages")
    said = tool(guest, "xfer --size 64M --strategy hugetlb")
    assert said["verified"] is True and said["backing"] == "huge-2m"
    said = tool(guest, "lock --size 90M --strategy hugetlb --page-size 2M", 1)
    assert said["failure"]["reason"] == "hugetlb-pool"
    assert said["failure"]["limit"] == 80 * MIB == said["failure"]["available"]
    said = tool(guest, "lock --size 64M --strategy hugetlb --page-size 16M", 1)
    assert said["failure"]["reason"] == "hugetlb-size"
    assert said["failure"]["request"] == 16 * MIB
    assert tool(guest, "limit --size 200M --strategy hugetlb")["largest_bytes"] == 80 * MIB
    guest.run("echo 0 > /proc/sys/vm/nr_hugepages")


def test_chunked(guest: Guest) -> None:
    said = tool(guest, "xfer --size 100M --strategy chunked --check device")
    assert said["verified"] is True and said["backing"] == "blocks"
    # Of the largest blocks, not of pages.
    assert said["segments"] < 100


def test_no_gigabyte_pages_without_the_cpu_flag(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512, cpu="max,-pdpe1gb"), tmp_path) as guest:
        said = tool(guest, "lock --size 1G --strategy hugetlb --page-size 1G", 1)
        assert said["failure"]["reason"] == "hugetlb-size"
        assert said["failure"]["request"] == 1 << 30 and "pdpe1gb" in said["failure"]["remedy"]


@pytest.mark.parametrize("strategy", ["contig-range", "sg", "chunked", "hugetlb"])
@pytest.mark.parametrize("node", [0, 1])
def test_memory_of_one_node(two_nodes: Guest, node: int, strategy: str) -> None:
    # 96 MiB of huge pages on each node.
    two_nodes.run(f"echo {96 if strategy == 'hugetlb' else 0} > /proc/sys/vm/nr_hugepages")
    assert tool(two_nodes, f"lock --size 64M --strategy {strategy} --node {node}")["ok"] is True
    if strategy == "hugetlb":
        failure = tool(two_nodes, f"lock --size 150M -S hugetlb --node {node}", 1)["failure"]
        assert failure["reason"] == "node-memory" and failure["available"] == 96 * MIB
        return
    said = tool(two_nodes, f"lock --size 400M --strategy {strategy} --node {node}", 1)
    failure = said["failure"]
    assert failure["reason"] == "node-memory" and failure["request"] == 400 * MIB
    assert 200 * MIB < failure["limit"] <= 384 * MIB
    failure = tool(two_nodes, f"lock --size 1M --strategy {strategy} --node 2", 1)["failure"]
    assert failure["reason"] == "bad-argument" and failure["request"] == 2


def test_reserved(tmp_path: Path) -> None:
    config = GuestConfig(
        ram_mib=512,
        cmdline_extra=["memmap=64M$0x10000000", "memmap=16M$0x18000000"],
        driver_params=["reserved=0x10000000+64M,0x18000000+16M"],
    )
    with Guest(config, tmp_path) as guest:
        said = tool(guest, "xfer --size 64M --strategy reserved")
        assert said["verified"] is True and said["backing"] == "reserved"
        assert said["segments"] == 1
        said = tool(guest, "lock --size 64M --strategy reserved --region 1", 1)
        assert said["failure"]["reason"] == "reserved-small"
        assert said["failure"]["limit"] == 16 * MIB
        assert tool(guest, "lock --size 16M --strategy reserved --region 1")["ok"] is True
        said = tool(guest, "lock --size 1M --strategy reserved --region 2", 1)
        assert said["failure"]["reason"] == "reserved-missing" and said["failure"]["limit"] == 2
        said = tool(guest, "xfer --size 64M --strategy reserved --entry-per-page")
        assert said["verified"] is True
        assert said["segments"] == 16384 and said["longest_segment"] == 4096
        held = "--size 40M --strategy reserved"
        said = tool_while(guest, held, 1, "lock --size 40M --strategy reserved", 1)
        assert said["failure"]["reason"] == "reserved-busy"
        assert said["failure"]["available"] == 24 * MIB
        said = tool_while(guest, held, 1, "limit --size 40M --strategy reserved", 0)
        assert said["largest_bytes"] == 24 * MIB and len(said["tries"]) <= 3


def test_pool(tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, driver_params=["pool_bytes=96M", "pool_count=2"])
    with Guest(config, tmp_path) as guest:
        said = tool(guest, "xfer --size 96M --strategy pool")
        assert said["verified"] is True and said["segments"] == 1
        said = tool(guest, "lock --size 97M --strategy pool", 1)
        assert said["failure"]["reason"] == "pool-small"
        assert said["failure"]["limit"] == 96 * MIB
        held = "--size 1M --strategy pool"
        said = tool_while(guest, held, 2, "lock --size 1M --strategy pool", 1)
        assert said["failure"]["reason"] == "pool-empty" and said["failure"]["limit"] == 2
        assert said["failure"]["unit"] == "count" and "all 2" in said["failure"]["text"]
        assert tool(guest, "lock --size 1M --strategy pool")["ok"] is True


def test_auto_takes_the_pool_and_budgets_are_kept(tmp_path: Path) -> None:
    params = ["pool_bytes=8M", "pool_count=1", "nonpaged_pool_bytes=9M", "mapping_entries=256"]
    with Guest(GuestConfig(ram_mib=512, driver_params=params), tmp_path) as guest:
        said = tool(guest, "lock --size 8M --no-map")
        assert said["strategy"] == "pool"
        assert [one["strategy"] for one in said["tries"]] == ["coherent", "contig-range", "pool"]
        assert said["tries"][1]["reason"] == "nonpaged-pool"
        failure = tool(guest, "lock --size 2M --strategy contig-range", 1)["failure"]
        assert failure["reason"] == "nonpaged-pool" and failure["limit"] == 9 * MIB
        assert failure["request"] == 2 * MIB and failure["available"] == MIB
        failure = tool(guest, "lock --size 8M --strategy pool", 1)["failure"]
        assert failure["reason"] == "mapping-entries" and failure["unit"] == "count"
        assert failure["limit"] == 256 and failure["request"] == 2048
        assert tool(guest, "lock --size 900K --strategy coherent")["ok"] is True
        # The table of the largest needs a little of the budget too.
        said = tool(guest, "limit --size 2M --strategy coherent")
        assert 1000 << 10 <= said["largest_bytes"] < MIB
        # The caller's pages are none of the driver's; but they are mapped.
        assert tool(guest, "lock --size 8M --strategy sg --no-map")["ok"] is True
        failure = tool(guest, "lock --size 8M --strategy sg", 1)["failure"]
        assert failure["reason"] == "mapping-entries"


@pytest.mark.parametrize("source", ["export", "export:contig-range", "export:sg"])
def test_dmabuf_of_a_lock(guest: Guest, source: str) -> None:
    said = tool(guest, f"xfer --size 3M --strategy dmabuf --dmabuf {source}")
    assert said["verified"] is True and said["backing"] == "dmabuf"
    assert tool(guest, "info")["locks"] == 0


def test_dmabuf_of_others(tmp_path: Path) -> None:
    """Our kernel has a heap and udmabuf; a file that is no dma-buf is told apart."""
    with Guest(GuestConfig(ram_mib=512, kernel="lab"), tmp_path) as guest:
        for source in ("system", "heap:system", "udmabuf"):
            said = tool(guest, f"xfer --size 9M --strategy dmabuf --dmabuf {source}")
            assert said["verified"] is True and said["backing"] == "dmabuf"
            assert said["locked_bytes"] == 9 * MIB
        failure = tool(guest, "lock --size 9M -S dmabuf --dmabuf heap:none", 1)["failure"]
        assert failure["reason"] == "dmabuf-refused" and failure["errno_name"] == "ENOENT"
        failure = tool(guest, "lock --size 9M -S dmabuf --dmabuf fd:1", 1)["failure"]
        assert failure["reason"] == "dmabuf-refused" and failure["errno_name"] == "EBADF"


# -- transfers ---------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["coherent", "contig-range", "sg", "chunked"])
def test_check_by_the_device(guest: Guest, strategy: str) -> None:
    size = 4 * MIB if strategy == "coherent" else 100 * MIB + 4096 * 7
    said = tool(guest, f"xfer --size {size} --strategy {strategy} --check device --seed 3")
    assert said["verified"] is True and said["check"] == "device" and said["differs"] is None
    crcs = {said["crc_expected"], said["crc_to_card"], said["crc_from_card"]}
    assert len(crcs) == 1 and said["bytes_to_card"] == said["bytes_from_card"] == size
    # Another seed is another pattern.
    again = tool(guest, f"xfer --size {size} --strategy {strategy} --check device --seed 4")
    assert again["crc_expected"] not in crcs


def test_check_by_the_device_in_odd_windows(guest: Guest) -> None:
    said = tool(
        guest,
        "xfer --size 3000001 --strategy sg --check device --window 70008 --offset 16 "
        "--card-offset 999",
    )
    assert said["verified"] is True and said["windows"] == 43


def test_the_host_sees_what_the_device_filled(guest: Guest) -> None:
    """The words are those of the pattern: the CPU reads them, and the CRC is that of them."""
    said = tool(guest, "xfer --size 1M --strategy sg --check device --seed 77")
    words = [0x9E3779B97F4A7C15, (1 << 64) - 1]
    x = (77 + words[0]) & words[1]
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & words[1]
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & words[1]
    x ^= x >> 31
    word = (x ^ (x >> 32)).to_bytes(8, "little")
    crc = 0xFFFFFFFF
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
        table.append(c)
    for byte in word * (MIB // 8):
        crc = (crc >> 8) ^ table[(crc ^ byte) & 255]
    assert said["crc_expected"] == f"0x{crc ^ 0xFFFFFFFF:08x}"


@pytest.mark.parametrize("fault", ["no-copy", "corrupt", "wrong-place"])
def test_a_lying_card_is_caught_by_its_own_checks(fault: str, tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512), tmp_path) as guest:
        guest.qmp("qom-set", path=CARD, property="fault", value=fault)
        said = tool(guest, "xfer --size 9M --strategy sg --check device", 4)
        assert said["ok"] is False and said["verified"] is False and said["differs"]


@pytest.mark.parametrize("options", ["", "--irq", "--piece 4K --check device", "--piece 70001"])
def test_through_a_queue(guest: Guest, options: str) -> None:
    said = tool(guest, f"xfer --size 5000001 --strategy contig-range --queue 64 {options}")
    assert said["verified"] is True and said["queue"] == 64
    assert said["stats"]["errors"] == 0
    assert said["crc_to_card"] == said["crc_from_card"] == said["crc_expected"]


def test_a_lying_card_is_caught_through_a_queue(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512), tmp_path) as guest:
        guest.qmp("qom-set", path=CARD, property="fault", value="corrupt")
        assert tool(guest, "xfer --size 9M --strategy sg --queue 256", 4)["verified"] is False


def test_statistics(guest: Guest) -> None:
    stats = tool(guest, "xfer --size 3M --strategy sg")["stats"]
    assert stats["transfers"] == 2 and stats["errors"] == stats["cancelled"] == 0
    assert stats["to_card_bytes"] == stats["from_card_bytes"] == 3 * MIB
    assert stats["inflight"] == 0 and stats["busy_ms"] > 0


def test_queue_of_a_card_with_one_channel(tmp_path: Path) -> None:
    config = GuestConfig(ram_mib=512, devices=("gigalock,id=gl0,bus=rp0,channels=1",))
    with Guest(config, tmp_path) as guest:
        said = tool(guest, "xfer --size 1M --strategy sg --queue 16", 1)
        assert said["failure"]["errno_name"] == "EBUSY"
        assert tool(guest, "xfer --size 1M --strategy sg")["verified"] is True


@pytest.mark.parametrize(
    "mode, flag", [("queue", ""), ("queue-irq", "--irq"), ("calls", "--calls")]
)
def test_bench(guest: Guest, mode: str, flag: str) -> None:
    said = tool(guest, f"bench --count 3000 --depth 16 --strategy sg {flag}")
    assert said["mode"] == mode and said["ops"] == 3000 and said["wrong"] == 0
    assert said["op_bytes"] == 4096 and said["depth"] == 16
    assert said["ops_per_s"] > 0 and said["seconds"] > 0
    took = said["latency_us"]
    assert 0 < took["min"] <= took["median"] <= took["p99"] <= took["max"]
    # By calls, one to start and one to wait for each; a queue needs far fewer.
    assert (said["syscalls"] >= 6000) is (mode == "calls")


def test_bench_refuses_what_the_card_has_no_room_for(guest: Guest) -> None:
    said = tool(guest, "bench --size 65M --depth 1 --strategy sg", 2)
    assert str(65 * MIB) in said["error"] and str(64 * MIB) in said["error"]


def test_bench_gives_up(tmp_path: Path) -> None:
    with Guest(GuestConfig(ram_mib=512), tmp_path) as guest:
        inguest.pause_after(guest, 100000)
        said = tool(guest, "bench --count 1000 --strategy sg --timeout 1", 1)
        assert said["ok"] is False and said["failure"]["reason"] == "timeout"
        assert said["failure"]["limit"] == 1000 and said["ops"] <= 25


def test_io_uring(guest: Guest) -> None:
    """The kernels of Debian 12 take 1 GiB to the byte; later ones more, and the doctor knows."""
    assert tool(guest, "io-uring --size 1G")["ok"] is True
    release = [int(n) for n in guest.run("uname -r").stdout.split(".")[:2]]
    if release >= [7, 2]:
        assert tool(guest, "io-uring --size 2G")["ok"] is True
        return
    assert release <= [6, 12], "which of both is not known"
    said = tool(guest, f"io-uring --size {(1 << 30) + 4096}", 1)
    failure = said["failure"]
    assert failure["reason"] == "io-uring-buffer" and failure["errno_name"] == "EFAULT"
    assert failure["limit"] == 1 << 30


@pytest.mark.parametrize("example", ["queue", "lock-and-move"])
def test_examples(guest: Guest, example: str) -> None:
    done = guest.run(f"chmod +x /root/{example}; /root/{example} 24M", timeout=120)
    assert done.code == 0, done.stdout + done.stderr
    if example == "queue":
        assert "6144 blocks there and back" in done.stdout
    done = guest.run(f"/root/{example} 24M /dev/gigalock7")
    assert done.code == 1 and "no-device" in done.stderr


def test_help_is_there_in_the_guest(guest: Guest) -> None:
    for command in LOCKS:
        done = guest.run(f"gigalock {command} --size 1M --page-size 5 --json")
        assert done.code == 2 and "5" in json.loads(done.stdout)["error"]
