#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Record machines for the doctor's tests: boot each, make it fail, keep what it says of itself.

    PYTHONPATH=harness python3 userlib/tests/doctor/record.py [NAME...]

Each becomes NAME.tree, with what truly happened when the lock was tried afterwards.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
from pathlib import Path

import tree
from gigalock_harness import toolcall, trial
from gigalock_harness.guest import Guest
from gigalock_harness.sizes import GIB, MIB
from gigalock_harness.trial_draw import Draw

HERE = Path(__file__).resolve().parent

MACHINES = {
    "coherent-stock": Draw(strategy="coherent", ram_mib=1024),
    "coherent-cma-unknown": Draw(strategy="coherent", ram_mib=1024, cmdline=["cma=256M"]),
    "coherent-cma-zero": Draw(strategy="coherent", kernel="lab", ram_mib=1024),
    "coherent-cma-small": Draw(
        strategy="coherent", kernel="lab", ram_mib=2048, cmdline=["cma=512M"]
    ),
    "coherent-cma-held": Draw(
        strategy="coherent",
        kernel="lab",
        ram_mib=2048,
        cmdline=["cma=640M"],
        bytes=512 * MIB,
        hold=256 * MIB,
    ),
    "coherent-cma-impossible": Draw(
        strategy="coherent", kernel="lab", ram_mib=1024, cmdline=["cma=1200M"]
    ),
    "coherent-cma-high": Draw(
        strategy="coherent", kernel="lab", ram_mib=4096, cmdline=["cma=1200M"], card_bits=32
    ),
    "coherent-iommu": Draw(strategy="coherent", ram_mib=2048, iommu="intel"),
    "coherent-iova": Draw(strategy="coherent", ram_mib=4096, iommu="intel", card_bits=32, hold=GIB),
    "contig-fresh": Draw(strategy="contig-range", ram_mib=1536),
    "contig-small-ram": Draw(strategy="contig-range", ram_mib=1200, bytes=1100 * MIB),
    "contig-fragmented": Draw(
        strategy="contig-range", ram_mib=512, bytes=256 * MIB, fragmented=200 * MIB
    ),
    "contig-node": Draw(
        strategy="contig-range",
        ram_mib=1024,
        nodes_mib=[512, 512],
        bytes=640 * MIB,
        options=["--node 1"],
    ),
    "sg-ram": Draw(ram_mib=1024),
    "sg-oom": Draw(ram_mib=1200, bytes=1100 * MIB),
    "sg-pressure": Draw(ram_mib=2048, left_free=700 * MIB),
    "sg-memlock": Draw(ram_mib=1536, user=True, memlock=8 * MIB),
    "sg-group": Draw(ram_mib=2048, group=512 * MIB),
    "sg-strict": Draw(ram_mib=1536, overcommit=2),
    "sg-address-space": Draw(ram_mib=1536, address_space=512 * MIB),
    "sg-movable": Draw(ram_mib=2048, cmdline=["kernelcore=512M"]),
    "sg-bounced": Draw(ram_mib=4096, card_bits=32),
    "sg-forced": Draw(ram_mib=1536, cmdline=["swiotlb=force"]),
    "sg-no-bounce": Draw(ram_mib=4096, card_bits=32, cmdline=["iommu=off"]),
    "sg-short-pieces": Draw(ram_mib=1536, options=["--small-table", "--max-segment 65536"]),
    "hugetlb-none": Draw(
        strategy="hugetlb", ram_mib=1536, options=["--page-size 1G"], huge=(GIB, 1)
    ),
    "hugetlb-no-cpu": Draw(
        strategy="hugetlb", ram_mib=1536, options=["--page-size 1G"], cpu="qemu64"
    ),
    "reserved-missing": Draw(
        strategy="reserved",
        ram_mib=1536,
        driver_params=["reserved=0x40000000+256M"],
        bytes=256 * MIB,
    ),
    "budget-pool": Draw(
        strategy="contig-range", ram_mib=1536, driver_params=["nonpaged_pool_bytes=256M"]
    ),
    "budget-entries": Draw(ram_mib=1536, driver_params=["mapping_entries=1000"]),
}

FILES = """
proc/meminfo proc/zoneinfo proc/buddyinfo proc/iomem proc/cmdline proc/vmstat proc/cpuinfo
proc/self/limits proc/self/status proc/self/cgroup proc/sys/kernel/osrelease
proc/sys/vm/overcommit_memory
sys/fs/cgroup/trial/memory.max sys/fs/cgroup/trial/memory.current
sys/fs/cgroup/trial/memory.stat sys/fs/cgroup/trial/memory.events
sys/kernel/mm/hugepages/*/*_hugepages
sys/kernel/debug/cma/*/count sys/kernel/debug/cma/*/used sys/kernel/debug/cma/*/maxchunk
sys/kernel/debug/cma/*/base_pfn sys/kernel/debug/swiotlb/io_tlb_*
sys/kernel/debug/gigalock/budgets sys/kernel/debug/gigalock/reserved
sys/kernel/debug/gigalock/pool
sys/module/gigalock/parameters/* sys/kernel/iommu_groups/*/type
sys/bus/pci/devices/*/vendor sys/bus/pci/devices/*/device
sys/bus/pci/devices/*/dma_mask_bits sys/bus/pci/devices/*/iommu_group/type
"""
FOLDERS = "sys/class/iommu sys/class/iommu/* sys/firmware/acpi/tables/DMAR"

# Lines that the doctor reads; the others would only make the files long.
KEPT = {
    "proc/zoneinfo": re.compile(
        r"Node|\s+(pages free|min|low|high|spanned|present|managed|cma|protection|"
        r"nr_free_cma|nr_zone_\w*(file|anon)|start_pfn|count)\b"
    ),
    "proc/vmstat": re.compile(r"nr_foll_pin|oom_kill"),
    "proc/cpuinfo": re.compile(r"flags"),
    "proc/self/status": re.compile(r"Name|Uid|Vm(Size|Pin|Lck)|CapEff|Mems_allowed"),
}


def short(path: str, content: str) -> str:
    if path == "proc/cpuinfo":
        flags = "pdpe1gb" if " pdpe1gb" in content else ""
        return f"flags\t\t: fpu {flags}\n"
    keep = KEPT.get(path)
    lines = content.splitlines(keepends=True)
    return "".join(line for line in lines if keep is None or keep.match(line))


def read_files(d: Draw, guest: Guest) -> dict[str, str]:
    """The files, read by a shell with the limits of the one that will lock."""
    patterns = " ".join("/" + word for word in FILES.split())
    script = (
        f'for f in {patterns}; do [ -f "$f" ] || continue; echo "== ${{f#/}}"; '
        "cat $f 2>/dev/null; done"
    )
    guest.put_file(script.encode(), "/tmp/read.sh")
    shell = f"{trial.limited(d)}sh /tmp/read.sh"
    text = guest.run(shell, timeout=120).stdout
    found = {path: short(path, content) for path, content in tree.sections(text)}
    cards = {
        path.split("/")[4]
        for path, content in found.items()
        if path.startswith("sys/bus/pci") and "0x10cc" in content
    }
    return {
        path: content
        for path, content in found.items()
        if not path.startswith("sys/bus/pci") or path.split("/")[4] in cards
    }


def record(name: str, d: Draw, logs: Path) -> str:
    with Guest(trial.config(d), logs) as guest:
        trial.prepare(d, guest)
        files = read_files(d, guest)
        out = guest.run(f"for f in {FOLDERS}; do [ -e /$f ] && echo $f; done; true").stdout
        packed = b""
        if not d.user and d.strategy in ("contig-range", "coherent", "pool"):
            packed = guest.run("gzip -c /proc/kpageflags", timeout=300).stdout_bytes
        info = guest.run("gigalock --json info").stdout
        happened = trial.happen(d, guest)
    expect = {
        "machine": d.describe(),
        "request": d.request(),
        "bytes": d.bytes,
        "locks": happened.locks,
        "reason": happened.reason,
        "cause": happened.cause,
        "largest": happened.largest,
    }
    parts = ["# SPDX-License-Identifier: GPL-2.0-or-later\n"]
    parts.append(f"== expect\n{json.dumps(expect, indent=1)}\n")
    parts += [f"== dir {folder}\n" for folder in out.split()]
    parts.append(f"== gigalock-info.json\n{info}")
    for path, content in files.items():
        end = "" if content.endswith("\n") or not content else "\n"
        parts.append(f"== {path}\n{content}{end}")
    if packed:
        parts.append(f"== runs proc/kpageflags\n{tree.runs(gzip.decompress(packed))}")
    return "".join(parts)


def main(names: list[str]) -> int:
    for name in names or MACHINES:
        with tempfile.TemporaryDirectory() as logs:
            try:
                text = record(name, MACHINES[name], Path(logs))
            except (OSError, toolcall.ToolError, trial.GuestError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
        (HERE / f"{name}.tree").write_text(text, encoding="utf-8")
        print(f"{name}: {len(text)} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
