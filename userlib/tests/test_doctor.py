# SPDX-License-Identifier: GPL-2.0-or-later
"""gigalock doctor without a guest: recorded machines, changed machines, broken ones, this one.

Each tests/doctor/NAME.tree is a guest as it was just before a lock was tried, with what then
happened; doctor/record.py makes them.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
USERLIB = HERE.parent
BUILD = Path(os.environ.get("BUILD", USERLIB.parent / "build")).resolve()
TOOL = BUILD / "userlib" / "gigalock"
TREES = sorted((HERE / "doctor").glob("*.tree"))
HEADER = USERLIB.parent / "driver/include/uapi/linux/gigalock.h"
GIB = 1 << 30
TOLERANCE = 0.10
NOBODY = 65534

sys.path.insert(0, str(HERE / "doctor"))
import tree  # noqa: E402

CAUSES = {
    one["number"]: one for one in tomllib.loads((USERLIB / "causes.toml").read_text())["cause"]
}
REASONS = re.findall(r"define GIGALOCK_REASON_\w+\s+\d+\s+/\* ([a-z-]+):", HEADER.read_text())


def run(
    *args: str, text: str | None = None, tool: Path = TOOL, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(tool), *args], capture_output=True, text=True, timeout=120, input=text, **options
    )


def doctor(*args: str, text: str | None = None) -> dict[str, Any]:
    done = run("--json", "doctor", *args, text=text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """Expand a recorded machine by name; its root, and what is expected."""

    def expand(name: str) -> tuple[Path, dict[str, Any]]:
        root = tmp_path / name
        root.mkdir()
        return root, tree.expand(HERE / "doctor" / f"{name}.tree", root)

    return expand


def ask(root: Path, expect: dict[str, Any], *more: str) -> dict[str, Any]:
    return doctor("--root", str(root), *expect["request"].split(), *more)


# -- recorded machines ---------------------------------------------------------


def test_there_are_machines() -> None:
    assert len(TREES) >= 30
    assert all(path.stat().st_size < 120_000 for path in TREES)


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.stem)
def test_recorded(path: Path, tmp_path: Path) -> None:
    """What the doctor says of the files is what happened on the machine."""
    expect = tree.expand(path, tmp_path)
    said = ask(tmp_path, expect)
    assert said["locks"] is expect["locks"], said["evidence"]
    if expect["locks"]:
        assert said["cause"] is None and said["reason"] is None and said["remedies"] == []
        return
    assert said["certain"] and said["look_at"] == []
    assert said["reason"] == expect["reason"]
    assert said["cause"]["number"] == expect["cause"]
    assert said["cause"]["slug"] == CAUSES[expect["cause"]]["slug"]
    assert said["evidence"] and said["remedies"]
    slack = max(TOLERANCE * expect["largest"], 64 << 10)
    assert abs(min(said["largest_bytes"], expect["bytes"]) - expect["largest"]) <= slack


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.stem)
def test_after_the_failure(path: Path, tmp_path: Path) -> None:
    """Told of the failure alone, it finds the same cause."""
    expect = tree.expand(path, tmp_path)
    if expect["locks"]:
        return
    words = expect["request"].split()
    failure = {
        "reason": expect["reason"],
        "strategy": words[words.index("--strategy") + 1],
        "lock_size": expect["bytes"],
        "unit": "bytes",
        "limit": 0,
        "request": expect["bytes"],
        "available": 0,
    }
    options = words[4:]
    said = doctor(
        "--root", str(tmp_path), "--failure", "-", *options, text=json.dumps({"failure": failure})
    )
    assert said["request"]["bytes"] == expect["bytes"]
    assert said["locks"] is False and said["reason"] == expect["reason"]
    assert said["cause"]["number"] == expect["cause"]


# -- the same machines with one thing changed ------------------------------------


def change(root: Path, path: str, old: str, new: str) -> None:
    place = root / path
    text = place.read_text()
    assert re.search(old, text), (path, old)
    place.write_text(re.sub(old, new, text))


UNLIMITED = (r"(Max (locked memory|address space)\s+)\d+", r"\1unlimited")
CURED: dict[str, tuple[str, str, str]] = {
    "sg-memlock": ("proc/self/limits", *UNLIMITED),
    "sg-address-space": ("proc/self/limits", *UNLIMITED),
    "sg-group": ("sys/fs/cgroup/trial/memory.max", r"\d+", "max"),
    "sg-strict": ("proc/sys/vm/overcommit_memory", "2", "0"),
    "sg-forced": ("proc/cmdline", "swiotlb=force", ""),
    "budget-entries": ("sys/module/gigalock/parameters/mapping_entries", r"\d+", "0"),
    "budget-pool": ("sys/module/gigalock/parameters/nonpaged_pool_bytes", r"\d+", "0"),
    "sg-bounced": ("sys/bus/pci/devices/0000:01:00.0/dma_mask_bits", "32", "64"),
    "sg-no-bounce": ("sys/bus/pci/devices/0000:01:00.0/dma_mask_bits", "32", "64"),
    "coherent-iova": ("sys/bus/pci/devices/0000:01:00.0/dma_mask_bits", "32", "64"),
}


@pytest.mark.parametrize("name", CURED)
def test_one_change_cures(name: str, machine: Any) -> None:
    root, expect = machine(name)
    assert ask(root, expect)["locks"] is False
    change(root, *CURED[name])
    assert ask(root, expect)["locks"] is True


OTHER_CAUSE: list[tuple[str, str, str, str, int]] = [
    ("coherent-stock", "proc/cmdline", r"$", " cma=1200M", 2),
    ("coherent-cma-zero", "proc/cmdline", r"$", " cma=1200M", 7),
    ("coherent-cma-impossible", "proc/cmdline", r"cma=\S+", "", 3),
    ("sg-strict", "proc/meminfo", r"(MemTotal:\s+)\d+", r"\g<1>500000", 22),
    ("sg-forced", "proc/cmdline", r"swiotlb=force", "swiotlb=noforce", 0),
    ("sg-bounced", "proc/cmdline", r"$", " swiotlb=force", 17),
]


@pytest.mark.parametrize("name, path, old, new, cause", OTHER_CAUSE)
def test_one_change_is_another_cause(
    name: str, path: str, old: str, new: str, cause: int, machine: Any
) -> None:
    root, expect = machine(name)
    before = ask(root, expect)["cause"]["number"]
    text = (root / path).read_text().rstrip("\n")
    assert re.search(old, text)
    (root / path).write_text(re.sub(old, new, text, count=1) + "\n")
    said = ask(root, expect)
    assert (said["cause"] or {"number": 0})["number"] == cause
    assert cause in (before, 22) or cause != before


def test_a_parameter_is_dropped_as_a_whole_word(machine: Any, tmp_path: Path) -> None:
    """The printed command, run on a line that has a longer word with the same end."""
    root, expect = machine("sg-no-bounce")
    (remedy,) = [
        one
        for one in ask(root, expect)["remedies"]
        if (one["kind"], one["value"]) == ("drop-kernel-parameter", "iommu")
    ]
    grub = tmp_path / "grub"
    grub.write_text('GRUB_CMDLINE_LINUX="intel_iommu=on iommu=off quiet"\n')
    command = remedy["commands"][0].replace("/etc/default/grub", str(grub))
    subprocess.run(["sh", "-c", command], check=True)
    assert grub.read_text().split() == ['GRUB_CMDLINE_LINUX="intel_iommu=on', 'quiet"']


@pytest.mark.parametrize("area, ram", [("1200M", "4G"), ("3G", "7G")])
def test_ram_for_a_cma_area(machine: Any, area: str, ram: str) -> None:
    """What was asked for at boot must fit one bank, however small the request is."""
    root, expect = machine("coherent-cma-impossible")
    line = root / "proc/cmdline"
    line.write_text(re.sub(r"\bcma=\S+", f"cma={area}", line.read_text()))
    said = ask(root, expect)
    assert said["cause"]["number"] == 7
    assert [one["value"] for one in said["remedies"] if one["kind"] == "ram"] == [ram]


def kept(root: Path, parameters: dict[str, str], shown: dict[str, str], bits: int) -> None:
    """A driver with these parameters, what it tells root, and a card of so many bits."""
    for name, value in parameters.items():
        (root / "sys/module/gigalock/parameters" / name).write_text(value + "\n")
    for name, text in shown.items():
        (root / "sys/kernel/debug/gigalock" / name).write_text(text)
    (root / "sys/bus/pci/devices/0000:01:00.0/dma_mask_bits").write_text(f"{bits}\n")


@pytest.mark.parametrize(
    "bits, end, locks",
    [(64, "0x14fffffff", True), (32, "0x14fffffff", False), (32, "0xffffffff", True)],
)
def test_pool_above_the_cards_reach(machine: Any, bits: int, end: str, locks: bool) -> None:
    """It was filled for pool_address_width, not for the card."""
    root, _ = machine("contig-fresh")
    text = f"strategy contig-range\nbytes {GIB}\nwanted 1\nhave 1\ntaken 0\nlowest end {end}\n"
    kept(root, {"pool_bytes": "1G", "pool_count": "1"}, {"pool": text}, bits)
    said = doctor("--root", str(root), "--size", "256M", "--strategy", "pool")
    assert said["locks"] is locks
    if not locks:
        assert said["reason"] == "address-width" and said["largest_bytes"] == 0
        cures = [(one["kind"], one["value"]) for one in said["remedies"]]
        assert cures[0] == ("module-parameter", "pool_address_width=32")


@pytest.mark.parametrize("bits, largest", [(64, None), (32, 0), (33, GIB)])
def test_named_region_above_the_cards_reach(machine: Any, bits: int, largest: int | None) -> None:
    root, _ = machine("contig-fresh")
    text = f"0 {0x1C0000000:#x}+{2 * GIB:#x} big: good, 0 bytes taken\n"
    kept(root, {"reserved": "name:big"}, {"reserved": text}, bits)
    said = doctor("--root", str(root), "--size", "2G", "--strategy", "reserved", "--no-map")
    assert said["locks"] is (largest is None)
    if largest is not None:
        assert said["reason"] == "address-width" and said["largest_bytes"] == largest


@pytest.mark.parametrize(
    "release, words, region, reason",
    [
        ("6.12.117+deb12-amd64", "swiotlb=force", "memmap", None),
        ("6.17.1", "swiotlb=force", "memmap", None),
        ("6.18.0", "swiotlb=force", "memmap", "swiotlb-full"),
        ("7.2.13+deb14-amd64", "swiotlb=force", "memmap", "swiotlb-full"),
        ("7.2.13+deb14-amd64", "", "memmap", None),
        ("6.12.117+deb12-amd64", "swiotlb=force", "big", "swiotlb-segment"),
    ],
)
def test_region_where_all_bounces(
    machine: Any, release: str, words: str, region: str, reason: str | None
) -> None:
    """Memory of memmap= can't be bounced: as it is until 6.17, refused since."""
    root, _ = machine("contig-fresh")
    line = root / "proc/cmdline"
    line.write_text(f"{line.read_text().rstrip()} {words}\n")
    (root / "proc/sys/kernel/osrelease").write_text(release + "\n")
    text = f"0 {0x1C0000000:#x}+{GIB:#x} {region}: good, 0 bytes taken\n"
    given = f"{0x1C0000000:#x}+1G" if region == "memmap" else f"name:{region}"
    kept(root, {"reserved": given}, {"reserved": text}, 64)
    said = doctor("--root", str(root), "--size", "1G", "--strategy", "reserved", "--no-map")
    assert (said["locks"], said["reason"]) == (reason is None, reason)
    if reason:
        assert said["cause"]["slug"] == "forced-bouncing"
        assert said["largest_bytes"] == (0 if region == "memmap" else 256 << 10)


def test_capability_lifts_memlock(machine: Any) -> None:
    root, expect = machine("sg-memlock")
    change(root, "proc/self/status", r"CapEff:\s+\w+", "CapEff:\t0000000000004000")
    assert ask(root, expect)["locks"] is True


def test_what_is_pinned_counts(machine: Any) -> None:
    root, expect = machine("sg-memlock")
    change(root, "proc/self/limits", r"(Max locked memory\s+)\d+", rf"\g<1>{GIB}")
    assert ask(root, expect)["locks"] is True
    change(root, "proc/self/status", r"VmPin:\s+\d+ kB", "VmPin:\t4 kB")
    said = ask(root, expect)
    assert said["reason"] == "memlock-limit" and said["largest_bytes"] == GIB - 4096


def test_a_group_above_binds(machine: Any) -> None:
    """Not the process's own group has the limit, but one above it."""
    root, expect = machine("sg-group")
    change(root, "proc/self/cgroup", r"0::/trial", "0::/trial/inner")
    inner = root / "sys/fs/cgroup/trial/inner"
    inner.mkdir()
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("4096\n")
    said = ask(root, expect)
    assert said["cause"]["number"] == 13
    assert said["remedies"][0]["commands"][0] == "echo max > /sys/fs/cgroup/trial/memory.max"


def test_pid(machine: Any) -> None:
    """The limits of another process: a 32-bit one, with one hole of 900 MiB."""
    root, expect = machine("sg-oom")
    other = root / "proc/77"
    shutil.copytree(root / "proc/self", other)
    (other / "maps").write_text(
        "08048000-40000000 r-xp 00000000 00:01 1 /bin/x\n"
        "78400000-ff000000 rw-p 00000000 00:00 0\n"
        "ff100000-ffffd000 rw-p 00000000 00:00 0 [stack]\n"
    )
    said = doctor("--root", str(root), "--size", "1G", "--strategy", "sg", "--pid", "77")
    assert said["reason"] == "address-space" and said["cause"]["number"] == 21
    assert said["largest_bytes"] == 0x78400000 - 0x40000000
    assert doctor("--root", str(root), "--size", "1000M", "--strategy", "sg")["locks"] is True


def test_address_width_of_a_lock(machine: Any) -> None:
    """Narrower than the card: nothing is bounced for such a lock."""
    root, _ = machine("sg-bounced")
    change(root, "sys/bus/pci/devices/0000:01:00.0/dma_mask_bits", "32", "64")
    words = ["--root", str(root), "--size", "1G", "--strategy", "sg"]
    assert doctor(*words)["locks"] is True
    assert doctor(*words, "--address-width", "32")["reason"] == "address-width"


# -- where it can't know ------------------------------------------------------------


def test_nothing_to_read(tmp_path: Path) -> None:
    for strategy in ("coherent", "contig-range", "sg", "hugetlb", "chunked", "reserved", "pool"):
        said = doctor("--root", str(tmp_path), "--size", "1G", "--strategy", strategy)
        assert "/proc/meminfo" in said["missing"]
        assert said["locks"] is not True, strategy


def test_not_root(machine: Any) -> None:
    """Without kpageflags a long range is neither promised nor denied."""
    root, expect = machine("contig-fresh")
    assert ask(root, expect)["locks"] is True
    (root / "proc/kpageflags").unlink()
    said = ask(root, expect)
    assert said["locks"] is None and said["certain"] is False
    assert any("kpageflags" in line for line in said["look_at"])
    assert any("kpageflags" in line for line in said["missing"])
    # What certainly can't be is still said.
    said = doctor("--root", str(root), "--size", "8G", "--strategy", "contig-range")
    assert said["locks"] is False and said["certain"] and said["cause"]["number"] == 9


def test_hidden_addresses(machine: Any) -> None:
    """/proc/iomem reads as zeroes for users."""
    root, expect = machine("sg-bounced")
    iomem = root / "proc/iomem"
    iomem.write_text(re.sub(r"[0-9a-f]+-[0-9a-f]+ :", "00000000-00000000 :", iomem.read_text()))
    said = ask(root, expect)
    assert any("iomem" in line for line in said["missing"])


# -- after a failure: every reason ----------------------------------------------------


@pytest.mark.parametrize("name", ["coherent-stock", "sg-oom", "contig-fragmented", "sg-bounced"])
def test_every_reason_has_a_fitting_cause(name: str, machine: Any) -> None:
    """A cause is only named for a reason that causes.toml has it show itself as."""
    root, _ = machine(name)
    named = 0
    for reason in REASONS[1:]:
        failure = {"reason": reason, "strategy": "sg", "lock_size": GIB}
        said = doctor("--root", str(root), "--failure", "-", text=json.dumps(failure))
        assert said["reason"] == reason and said["locks"] is False
        if said["cause"] is None:
            assert reason in NO_CAUSE, reason
            continue
        named += 1
        assert reason in CAUSES[said["cause"]["number"]]["reasons"], (reason, said["cause"])
    assert named >= 25


# Not a matter of the machine, or plain from the reason alone.
NO_CAUSE = {
    "bad-size", "bad-strategy", "bad-argument", "bad-address", "card-range", "lock-range",
    "device-error", "timeout", "cancelled", "device-gone", "no-device", "permission",
    "reserved-busy", "hugetlb-pool", "hugetlb-size", "pool-empty", "pool-small",
    "not-hugetlb", "dmabuf-refused",
}  # fmt: skip


def test_the_failure_of_an_answer(machine: Any, tmp_path: Path) -> None:
    """A whole answer of the tool, in a file; and what stands in it wins over the prediction."""
    root, _ = machine("sg-oom")
    failure = {
        "reason": "memlock-limit", "code": 10, "stage": "account", "errno": 12,
        "limit": 8 << 20, "request": GIB, "available": 8 << 20, "unit": "bytes",
        "strategy": "sg", "lock_size": GIB, "text": "a \\"
        " \" quote", "remedy": None,
    }  # fmt: skip
    answer = {
        "command": "lock",
        "ok": False,
        "tries": [{"failure": None}, 1.5, -2, True],
        "failure": failure,
    }
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer, indent=2))
    said = doctor("--root", str(root), "--failure", str(path))
    assert said["cause"]["number"] == 12
    assert {"what": "limit (of the failure)", "value": 8 << 20, "unit": "bytes",
            "source": "the failure"} in said["evidence"]  # fmt: skip


# -- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "--size or --failure is needed"),
        (["--size", "0"], "--size"),
        (["--size", "1G", "--address-width", "65"], "65; 24 to 64"),
        (["--size", "1G", "--address-width", "3"], "3; 24 to 64"),
        (["--size", "1G", "--max-segment", "5000"], "5000 is not a multiple of 4096"),
        (["--size", "1G", "--page-size", "4M"], "4194304; 2M and 1G"),
        (["--size", "1G", "--process-bits", "16"], "16; 32 and 64"),
        (["--size", "1G", "--node", "5000"], "5000; 0 to 1023"),
        (["--size", "1G", "--pid", "0"], "0; 1 to 4194304"),
        (["--size", "1G", "--memory", "wet"], '"wet"; the kinds are'),
        (["--size", "1G", "--strategy", "luck"], 'no strategy "luck"'),
        (["--size", "1G", "--pci", "9999:00:00.0"], "no device 9999:00:00.0"),
        (["--failure", "/nonexistent"], "/nonexistent: No such file"),
        (["--size", "1G", "extra"], '"extra" is not an option'),
    ],
)
def test_bad_input(args: list[str], said: str) -> None:
    done = run("doctor", *args)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
    assert said in json.loads(run("--json", "doctor", *args).stdout)["error"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "[",
        "{",
        '{"a"',
        '{"a":}',
        '{"a":1',
        "[1,]",
        '{"reason":"no-such","lock_size":1}',
        '{"reason":"killed"}',
        '"killed"',
        "[" * 5000,
        '{"a":' * 5000,
        '{"reason":"killed","lock_size":0}',
        '{"reason":"\\',
        "\x00\x01",
        '{"reason":"none","lock_size":5}',
    ],
)
def test_bad_failure(text: str) -> None:
    done = run("doctor", "--failure", "-", text=text)
    assert done.returncode == 2 and done.stderr.startswith("gigalock: doctor: --failure: ")


# -- this machine ----------------------------------------------------------------------------


def test_this_machine() -> None:
    """No card and no driver here: it still says what works."""
    said = doctor("--size", "1M", "--strategy", "sg")
    assert said["ok"] and said["request"]["bytes"] == 1 << 20
    assert said["works_now"]["largest"]["sg"] > 1 << 20
    said = doctor("--size", "1024G", "--strategy", "contig-range")
    assert said["locks"] is False and said["cause"]["slug"] == "ram-too-small"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_this_machine_as_a_user() -> None:
    # By its file: folders on the way there need not be open to others.
    with TOOL.open("rb") as file:
        tool = Path(f"/proc/self/fd/{file.fileno()}")
        done = run(
            *("--json", "doctor", "--size", "1G"),
            tool=tool,
            user=NOBODY,
            group=NOBODY,
            pass_fds=[file.fileno()],
        )
    assert done.returncode == 0, done.stderr
    assert any("kpageflags" in line for line in json.loads(done.stdout)["missing"])


def test_text(machine: Any) -> None:
    """What people read: short lines, the cause, the evidence, commands to paste."""
    root, expect = machine("sg-group")
    done = run("doctor", "--root", str(root), *expect["request"].split())
    assert done.returncode == 0 and done.stderr == ""
    text = done.stdout
    assert text.startswith("1 GiB by sg: would fail with killed\n")
    assert "Cause 13, memcg-limit" in text
    assert re.search(r"memory\.max +512 MiB +/trial", text)
    assert "echo max > /sys/fs/cgroup/trial/memory.max" in text
    assert re.search(r"\n  coherent +up to 4 MiB\n  contig-range +not known\n  sg +up to \d", text)
    assert max(len(line) for line in text.splitlines()) <= 120


# -- hostile trees -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sanitized() -> Path:
    """The tool with the sanitizers in it."""
    out = BUILD / "userlib" / "asan"
    tool = out / "userlib" / "shared" / "gigalock"
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    done = subprocess.run(
        ["make", "-s", "-C", str(USERLIB), f"BUILD={out}", f"CFLAGS={flags}", str(tool)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return tool


def spoil(rng: random.Random, data: bytes) -> bytes:
    """A file as no kernel writes it."""
    kind = rng.randrange(7)
    if kind == 0 or not data:
        return b""
    if kind == 1:
        return data[: rng.randrange(len(data))]
    if kind == 2:
        return re.sub(
            rb"\d+", lambda m: b"18446744073709551615" if rng.random() < 0.3 else m[0], data
        )
    if kind == 3:
        return re.sub(rb"\d+", lambda m: b"-1" if rng.random() < 0.3 else m[0], data)
    if kind == 4:
        return data.replace(b"\n", b"") * 3
    if kind == 5:
        spoilt = bytearray(data)
        for _ in range(1 + len(spoilt) // 50):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        return bytes(spoilt)
    return data * 5


STRATEGIES = ("auto", "coherent", "contig-range", "sg", "hugetlb", "chunked", "reserved", "pool")


@pytest.mark.parametrize("seed", range(24))
def test_hostile_tree(seed: int, sanitized: Path, tmp_path: Path) -> None:
    """Whatever is in the files, the answer is an answer."""
    rng = random.Random(seed)
    expect = tree.expand(rng.choice(TREES), tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in rng.sample(files, min(len(files), 1 + seed % 8)):
        path.write_bytes(spoil(rng, path.read_bytes()))
    env = copy.copy(dict(os.environ))
    env["LD_LIBRARY_PATH"] = str(sanitized.parent.parent)
    for strategy in rng.sample(STRATEGIES, 3):
        words = ["--size", str(expect["bytes"]), "--strategy", strategy]
        done = run("--json", "doctor", "--root", str(tmp_path), *words, tool=sanitized, env=env)
        assert done.returncode == 0, done.stderr[-2000:]
        json.loads(done.stdout)
        done = run("doctor", "--root", str(tmp_path), *words, tool=sanitized, env=env)
        assert done.returncode == 0, done.stderr[-2000:]
