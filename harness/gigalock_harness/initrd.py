# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs that one guest boots: the image, and what this guest has of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import places
from .errors import GuestError
from .qemu_args import GuestConfig, initramfs_file

DRIVER = "/lib/modules/gigalock.ko"
PARAMETERS = "/etc/gigalock.params"  # read by the login shell of `make shell`


def _check_module(path: Path) -> Path:
    if not path.is_file():
        raise GuestError(f"there is no driver {path}")
    if path.open("rb").read(4) != b"\x7fELF":
        raise GuestError(f"{path} is no kernel module: not an ELF file")
    return path


def make_initrd(cfg: GuestConfig, work_dir: Path) -> Path:
    """The image itself, or a copy in work_dir that ends in a second archive.

    The kernel unpacks both, the second over the first.
    """
    base = initramfs_file(cfg)
    put = dict(cfg.put_files)
    if cfg.driver_path:
        put[DRIVER] = _check_module(Path(cfg.driver_path))
    if not put:
        return base
    for path in put.values():
        if not path.is_file():
            raise GuestError(f"{path} is to be put into the guest, but there is no such file")
    extra = work_dir / "extra.cpio"
    tool = places.TOP / "guest-image" / "scripts" / "mkinitramfs"
    command = [sys.executable, str(tool), "--out", str(extra)]
    for inside, here in put.items():
        command += ["--put", f"{inside}={here}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestError(done.stderr.strip())
    out = work_dir / "initramfs.cpio"
    out.write_bytes(base.read_bytes() + extra.read_bytes())
    extra.unlink()
    return out
