# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM or TCG: KVM only when a guest has truly booted with it.

There are machines where /dev/kvm opens and guests hang all the same. So the
stock kernel is booted to the agent once, in a bounded time; the answer is kept
in the cache for this boot of the host, this QEMU and this kernel.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from . import places, qemu_args
from .errors import GuestError
from .qemu_args import GuestConfig

PROBE_SECONDS = 20.0


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _key(cfg: GuestConfig, qemu: str) -> str:
    kernel = qemu_args.kernel_file(cfg).resolve()
    parts = (_boot_id(), os.uname().nodename, qemu, str(qemu_args.qemu_version(qemu)), str(kernel))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def probe(cfg: GuestConfig, qemu: str, seconds: float) -> tuple[bool, str]:
    """Boot a guest with KVM; (it works, why not)."""
    from .guest import Guest  # it asks us which accelerator to use

    trial = replace(
        cfg,
        accel="kvm",
        devices=[],
        extra_qemu=[],
        load_driver=False,
        driver_path=None,
        ram_mib=512,
        smp=1,
        iommu=None,
        cmdline_extra=[],
        boot_timeout=seconds,
        qemu=qemu,
        put_files={},
    )
    with tempfile.TemporaryDirectory(prefix="kvm-", dir=places.tmp_dir()) as d:
        try:
            with Guest(trial, log_dir=Path(d)) as guest:
                return True, f"a guest booted with KVM in {guest.boot_s:.1f} s"
        except GuestError as e:
            return False, e.message


def choose(cfg: GuestConfig, qemu: str) -> str:
    """The accelerator for this guest: "kvm" or "tcg"."""
    given = cfg.accel or os.environ.get("GIGALOCK_ACCEL")
    if given:
        if given not in ("tcg", "kvm"):
            raise GuestError(f"accelerator '{given}' (GIGALOCK_ACCEL); tcg and kvm are possible")
        return given
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    folder = places.cache_dir() / "accel"
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / f"{_key(cfg, qemu)}.json"
    # Guests side by side: one probes, the others wait for its answer.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return "kvm" if json.loads(answer.read_text())["works"] is True else "tcg"
        except (OSError, ValueError, KeyError, TypeError):
            pass
        works, why = probe(cfg, qemu, PROBE_SECONDS)
        part = answer.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"works": works, "why": why}) + "\n")
        part.rename(answer)
        return "kvm" if works else "tcg"
