# SPDX-License-Identifier: GPL-2.0-or-later
"""From a guest's description to QEMU's argument list."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from .errors import GuestError
from .places import build_dir

MIN_QEMU = (7, 2)
MAX_RAM_MIB = 1 << 24  # 16 TiB: what QEMU's q35 takes
DEFAULT_DEVICE = "gigalock,id=gl0,bus=rp0,card-mem=64M"

# quiet: each printed line costs time, and the agent turns warnings on again.
# cryptomgr.notests: a third of a second of self-tests. tsc, no_timer_check:
# the timer calibration is slow and sometimes wrong under TCG.
FAST_BOOT = "quiet cryptomgr.notests=1 tsc=reliable no_timer_check"

Iommu = Literal["intel", "intel-intremap", "amd"]


def default_kernel() -> str:
    """The kernel of a guest that names none: $GIGALOCK_KERNEL, so that the same tests run on
    each, or the distribution's."""
    return os.environ.get("GIGALOCK_KERNEL") or "stock"


@dataclass
class GuestConfig:
    """A guest. `devices` are QEMU -device options; each bus rpN that they name gets its PCIe
    root port, and rp0 is always there."""

    ram_mib: int = 1024
    kernel: str = field(default_factory=default_kernel)
    cmdline_extra: Sequence[str] = ()
    devices: Sequence[str] = (DEFAULT_DEVICE,)
    smp: int = 1
    iommu: Iommu | None = None
    cpu: str = "max"
    low_ram_mib: int | None = None  # RAM below 4 GiB; the rest lies above
    nodes_mib: Sequence[int] = ()  # NUMA nodes, that together have all RAM
    load_driver: bool = True
    driver_params: Sequence[str] = ()
    driver_path: Path | None = None  # another module in place of the image's
    extra_qemu: Sequence[str] = ()
    kaslr: bool = False  # boots the bzImage, as only its decompressor moves the kernel
    firmware: str = "qboot.rom"
    accel: str | None = None  # "tcg", "kvm"; None: what accel.py finds
    boot_timeout: float = 60.0
    qemu: str | None = None
    initramfs: Path | None = None
    put_files: dict[str, Path] = field(default_factory=dict)  # path in the guest: file here

    def check(self) -> None:
        """Refuse what can't be, with the value and the limit."""
        if not 1 <= self.ram_mib <= MAX_RAM_MIB:
            raise GuestError(f"RAM of {self.ram_mib} MiB; 1 to {MAX_RAM_MIB} are possible")
        if not 1 <= self.smp <= 255:
            raise GuestError(f"{self.smp} processors; 1 to 255 are possible")
        if self.iommu not in (None, "intel", "intel-intremap", "amd"):
            raise GuestError(
                f"iommu '{self.iommu}'; None, intel, intel-intremap and amd are possible"
            )
        if self.nodes_mib and sum(self.nodes_mib) != self.ram_mib:
            raise GuestError(
                f"NUMA nodes of {sum(self.nodes_mib)} MiB together; "
                f"the guest has {self.ram_mib} MiB"
            )
        if self.low_ram_mib is not None and not 1 <= self.low_ram_mib <= 4096:
            raise GuestError(f"{self.low_ram_mib} MiB below 4 GiB; 1 to 4096 are possible")
        if self.boot_timeout <= 0:
            raise GuestError(f"boot time limit of {self.boot_timeout:g} s; it must be above 0")
        for word in [*self.cmdline_extra, *self.driver_params]:
            if not word or "\n" in word or "\0" in word:
                raise GuestError(f"{word!r} is no word for a kernel command line")


def parse_version(text: str) -> tuple[int, int, int]:
    """(7, 2, 22) from what `qemu --version` prints."""
    m = re.search(r"QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?", text)
    if not m:
        raise GuestError(f"this does not say which QEMU it is: {text.strip()[:200]!r}")
    return int(m[1]), int(m[2]), int(m[3] or 0)


def check_version(text: str, binary: str) -> tuple[int, int, int]:
    version = parse_version(text)
    if version[:2] < MIN_QEMU:
        raise GuestError(
            f"{binary} is QEMU {'.'.join(map(str, version))}; "
            f"{'.'.join(map(str, MIN_QEMU))} or later is needed"
        )
    return version


@lru_cache(maxsize=16)
def _version_of(binary: str, stamp: tuple[str | None, int]) -> tuple[int, int, int]:
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        raise GuestError(f"there is no {binary}; Debian has it in qemu-system-x86") from None
    except (OSError, subprocess.TimeoutExpired) as e:
        raise GuestError(f"{binary} --version: {e}") from e
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise GuestError(f"{binary} does not start (exit code {done.returncode}): {said[-500:]}")
    return check_version(done.stdout, binary)


def qemu_version(binary: str) -> tuple[int, int, int]:
    """The version of that QEMU; GuestError when it is too old or is none."""
    try:
        changed = os.stat(binary).st_mtime_ns
    except OSError:
        changed = 0
    return _version_of(binary, (os.environ.get("QEMU"), changed))


def find_qemu(cfg: GuestConfig) -> str:
    """The launcher with our device when it is built, else the distribution's QEMU."""
    if cfg.qemu:
        return cfg.qemu
    launcher = build_dir() / "qemu-dev" / "gigalock-qemu"
    if launcher.exists():
        return str(launcher)
    if any(d.partition(",")[0] == "gigalock" for d in cfg.devices):
        raise GuestError(f"there is no device: {launcher} is missing; run 'make device'")
    return os.environ.get("QEMU") or "qemu-system-x86_64"


def kernel_file(cfg: GuestConfig) -> Path:
    """What QEMU boots: the ELF kernel by PVH, or the bzImage. A path is taken as it is."""
    if "/" in cfg.kernel:
        path = Path(cfg.kernel)
    else:
        path = build_dir() / "guest-image" / "kernels" / cfg.kernel
        path /= "bzImage" if cfg.kaslr else "vmlinux"
    if not path.exists():
        known = sorted(p.name for p in (build_dir() / "guest-image" / "kernels").glob("*"))
        raise GuestError(
            f"there is no kernel '{cfg.kernel}' ({path}); built are: {', '.join(known) or 'none'}"
            "; 'make image KERNEL=NAME' builds another one of guest-image/kernels.list"
        )
    return path


def initramfs_file(cfg: GuestConfig) -> Path:
    """Each kernel has one of its own, with modules for it; a kernel given as a path has none."""
    kernel = default_kernel() if "/" in cfg.kernel else cfg.kernel
    path = cfg.initramfs or build_dir() / "guest-image" / kernel / "initramfs.cpio"
    if not path.exists():
        raise GuestError(f"there is no initramfs {path}; run 'make image KERNEL={kernel}'")
    return path


def command_line(cfg: GuestConfig) -> str:
    words = ["console=ttyS0", "panic=-1", FAST_BOOT]
    if not cfg.kaslr:
        words.append("nokaslr")
    if cfg.iommu in ("intel", "intel-intremap"):
        words.append("intel_iommu=on")
    return " ".join([*words, *cfg.cmdline_extra])


def root_ports(cfg: GuestConfig) -> list[str]:
    named = {int(n) for d in cfg.devices for n in re.findall(r"\bbus=rp(\d+)\b", d)}
    if bad := [n for n in named if n > 15]:
        raise GuestError(f"root port rp{bad[0]}; rp0 to rp15 are possible")
    out: list[str] = []
    for n in sorted(named | {0}):
        out += ["-device", f"pcie-root-port,id=rp{n},chassis={n + 1},slot={n + 1}"]
    return out


@dataclass(frozen=True)
class Memory:
    """Files that hold the guest's RAM, one for each NUMA node; without nodes, one.

    private: what the guest writes goes to a copy of its own, page by page.
    """

    files: Sequence[str]
    private: bool


def node_sizes(cfg: GuestConfig) -> list[int]:
    """MiB of each piece of RAM."""
    return list(cfg.nodes_mib) or [cfg.ram_mib]


def _memory(cfg: GuestConfig, memory: Memory | None) -> list[str]:
    args: list[str] = []
    for n, size in enumerate(node_sizes(cfg)):
        if memory is None:
            # share=on: RAM is a memfd that other processes can be given.
            args += ["-object", f"memory-backend-memfd,id=m{n},size={size}M,share=on"]
        else:
            share = "off" if memory.private else "on"
            args += [
                "-object",
                f"memory-backend-file,id=m{n},size={size}M,mem-path={memory.files[n]},share={share}",
            ]
        if cfg.nodes_mib:
            # All processors are of the first node; the others have memory alone.
            cpus = f",cpus=0-{cfg.smp - 1}" if n == 0 else ""
            args += ["-numa", f"node,nodeid={n},memdev=m{n}{cpus}"]
    return args


def arguments(
    cfg: GuestConfig,
    accel: str,
    initrd: Path,
    channels: Sequence[str],
    memory: Memory | None = None,
) -> list[str]:
    """QEMU's arguments after its name; `channels` are the console, agent and QMP options."""
    machine = "q35" if cfg.nodes_mib else "q35,memory-backend=m0"
    if cfg.iommu == "intel-intremap":
        machine += ",kernel-irqchip=split"
    if cfg.low_ram_mib is not None:
        machine += f",max-ram-below-4g={cfg.low_ram_mib}M"
    cpu = cfg.cpu
    if cpu.partition(",")[0] == "max" and accel.startswith("tcg"):
        # With ERMS the kernel clears pages by "rep stosb", which TCG emulates byte by byte;
        # without, by words: locking 1 GiB takes about a third of the time.
        cpu += ",-erms"
    args = ["-M", machine, "-accel", accel, "-cpu", cpu, "-smp", str(cfg.smp)]
    args += ["-m", f"{cfg.ram_mib}M", *_memory(cfg, memory)]
    args += ["-nodefaults", "-display", "none", "-no-reboot"]
    args += ["-bios", cfg.firmware, "-kernel", str(kernel_file(cfg)), "-initrd", str(initrd)]
    args += ["-append", command_line(cfg)]
    if cfg.iommu:
        # Before the devices that it translates for.
        if cfg.iommu == "amd":
            args += ["-device", "amd-iommu"]
        else:
            intremap = "on" if cfg.iommu == "intel-intremap" else "off"
            args += ["-device", f"intel-iommu,intremap={intremap}"]
    args += root_ports(cfg)
    args += cfg.extra_qemu
    if not (memory and memory.private):
        for device in cfg.devices:
            args += ["-device", device]
    return [*args, *channels]


def reproducer(cfg: GuestConfig, qemu: str, accel: str, initrd: Path) -> str:
    """A command line for a terminal: the same guest with a shell instead of the agent's host."""
    by_hand = GuestConfig(
        **{**cfg.__dict__, "cmdline_extra": [*cfg.cmdline_extra, "gigalock.shell"]}
    )
    channels = ["-serial", "mon:stdio", "-serial", "null"]
    return shlex.join([qemu, *arguments(by_hand, accel, initrd, channels)])
