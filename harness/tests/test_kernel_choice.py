# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of other kernels than the stock one: chosen by name, each with modules of its own.

What the lab kernel is there for is looked at where it counts: in a guest of it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness import places, qemu_args
from gigalock_harness.errors import GuestError
from gigalock_harness.guest import Guest, GuestConfig

KERNEL = places.TOP / "guest-image" / "scripts" / "kernel"


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIGALOCK_KERNEL", raising=False)
    assert GuestConfig().kernel == "stock"
    monkeypatch.setenv("GIGALOCK_KERNEL", "lab")
    assert GuestConfig().kernel == "lab"
    assert GuestConfig(kernel="6.12").kernel == "6.12"


def test_each_kernel_has_its_initramfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGALOCK_BUILD", str(tmp_path))
    monkeypatch.delenv("GIGALOCK_KERNEL", raising=False)
    for name in ("stock", "other"):
        (tmp_path / "guest-image" / name).mkdir(parents=True)
        (tmp_path / "guest-image" / name / "initramfs.cpio").write_text(name)
    for name in ("stock", "other"):
        assert qemu_args.initramfs_file(GuestConfig(kernel=name)).read_text() == name
    # A kernel that is a file has none.
    assert qemu_args.initramfs_file(GuestConfig(kernel="/a/vmlinux")).read_text() == "stock"
    with pytest.raises(GuestError, match="run 'make image KERNEL=third'"):
        qemu_args.initramfs_file(GuestConfig(kernel="third"))
    with pytest.raises(GuestError, match="no kernel 'third'.*'make image KERNEL=NAME'"):
        qemu_args.kernel_file(GuestConfig(kernel="third"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    image = places.build_dir() / "guest-image" / "lab" / "initramfs.cpio"
    if subprocess.run([KERNEL, "--have", "lab"], check=False).returncode or not image.exists():
        pytest.skip("the lab kernel's image is not built; make image KERNEL=lab")
    config = GuestConfig(
        kernel="lab",
        ram_mib=768,
        iommu="intel",
        # Bounce buffers are there only where something needs them.
        cmdline_extra=[
            "cma=96M",
            "hugepagesz=2M",
            "hugepages=3",
            "kernelcore=512M",
            "swiotlb=4096,force",
        ],
    )
    with Guest(config, tmp_path_factory.mktemp("lab")) as g:
        yield g
        assert g.unexpected_lines() == []


def test_it_is_that_kernel(lab: Guest) -> None:
    release = (places.kernels_built() / "lab" / "release").read_text().strip()
    assert lab.run("uname -r").stdout.strip() == release
    assert lab.run("cat /sys/module/gigalock/refcnt").ok


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat /proc/meminfo", "CmaTotal:          98304 kB"),
        ("ls /sys/kernel/mm/cma", "reserved"),
        ("ls /sys/kernel/debug/cma", "reserved"),
        ("ls /sys/kernel/debug", "gup_test"),
        ("cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3"),
        ("ls /sys/kernel/mm/hugepages", "hugepages-1048576kB"),
        ("cat /sys/kernel/mm/transparent_hugepage/enabled", "[always]"),
        ("cat /proc/zoneinfo", "Movable"),
        ("ls /dev/dma_heap", "system"),
        ("ls /dev", "udmabuf"),
        ("cat /sys/fs/cgroup/cgroup.controllers", "memory"),
        ("ls /sys/kernel/debug/swiotlb", "io_tlb_nslabs"),
        ("ls /sys/class/iommu", "dmar0"),
        ("ls /sys/kernel/debug/failslab", "probability"),
        ("ls /sys/kernel/debug/fail_page_alloc", "min-order"),
        ("ls /sys/kernel/debug/tracing/events", "cma"),
        ("cat /proc/filesystems", "ext2"),
        ("cat /sys/power/state", "mem"),
        ("ls /sys/bus/pci/drivers", "nvme"),
        ("ls /sys/module/dmatest/parameters", "channel"),
    ],
)
def test_it_has(lab: Guest, command: str, said: str) -> None:
    assert said in lab.run(command).stdout


def test_memory_is_not_cleared_by_itself(lab: Guest) -> None:
    """So that a test sees who clears: neither by the configuration nor by the command line."""
    assert "mem auto-init: stack:off, heap alloc:off, heap free:off" in lab.run("dmesg").stdout


def test_modprobe_is_content_with_what_is_built_in(lab: Guest) -> None:
    assert lab.run("modprobe nvme").ok
    assert not lab.run("modprobe no-such-module").ok


def test_coherent_memory_comes_from_cma(lab: Guest) -> None:
    """Without an IOMMU's help: 32 MiB are more than any block of the page allocator."""
    config = GuestConfig(kernel="lab", ram_mib=512, cmdline_extra=["cma=64M"])
    with Guest(config, lab.log_dir / "cma") as guest:
        before = int(guest.run("cat /sys/kernel/mm/cma/*/alloc_pages_success").stdout)
        done = guest.run("gigalock lock --size 32M --strategy coherent")
        assert done.ok, done.stderr
        after = int(guest.run("cat /sys/kernel/mm/cma/*/alloc_pages_success").stdout)
        assert after - before >= (32 << 20) // 4096
