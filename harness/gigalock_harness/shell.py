# SPDX-License-Identifier: GPL-2.0-or-later
"""A prompt in a guest: python3 -m gigalock_harness shell [--ram 2G] [--driver other.ko] ...

The guest's console is this terminal. The driver is loaded by the guest's login
shell, which says what there is; `exit` powers the guest off, Ctrl-A X ends
QEMU at once. All other keys, Ctrl-C too, go to the guest.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from . import accel, places, qemu_args
from .errors import GuestError
from .initrd import PARAMETERS, make_initrd
from .qemu_args import DEFAULT_DEVICE, GuestConfig
from .sizes import MIB, parse_size

CHANNELS = (
    # signal=off: Ctrl-C is for the guest. mux: Ctrl-A C reaches QEMU's monitor.
    "-chardev",
    "stdio,id=console,mux=on,signal=off",
    "-serial",
    "chardev:console",
    "-mon",
    "chardev=console,mode=readline",
    "-serial",
    "null",
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 -m gigalock_harness shell",
        description="A prompt in a guest with the device, the driver and the tool.",
    )
    top.add_argument("--ram", default="2G", metavar="SIZE", help="RAM (default %(default)s)")
    top.add_argument(
        "--kernel", default="stock", metavar="NAME", help="a built kernel (default stock)"
    )
    top.add_argument("--driver", type=Path, metavar="KO", help="a module to load in place of ours")
    top.add_argument("--driver-params", default="", metavar="WORDS", help="its parameters")
    top.add_argument(
        "--device-opts",
        default="",
        metavar="K=V,...",
        help="properties of the card, such as card-mem=1G,channels=4",
    )
    top.add_argument("--smp", type=int, default=1, metavar="N", help="processors (default 1)")
    top.add_argument("--iommu", choices=["intel", "intel-intremap"], help="give it an IOMMU")
    top.add_argument("--cmdline", default="", metavar="WORDS", help="more kernel command line")
    return top


def config(options: argparse.Namespace) -> GuestConfig:
    try:
        size = parse_size(options.ram)
    except ValueError as e:
        raise GuestError(f"--ram: {e}") from e
    if size % MIB:
        raise GuestError(f"--ram {options.ram}: whole MiB only")
    device = DEFAULT_DEVICE + ("," + options.device_opts if options.device_opts else "")
    return GuestConfig(
        ram_mib=size // MIB,
        kernel=options.kernel,
        smp=options.smp,
        iommu=options.iommu,
        devices=[device],
        driver_path=options.driver,
        driver_params=options.driver_params.split(),
        cmdline_extra=options.cmdline.split(),
    )


def shell_word() -> str:
    """The kernel parameter that asks for a shell, with the size of this terminal."""
    try:
        size = os.get_terminal_size(sys.stdin.fileno())
    except (OSError, ValueError):
        return "gigalock.shell"
    if not (size.lines and size.columns):
        return "gigalock.shell"
    return f"gigalock.shell={size.lines}x{size.columns}"


def run(cfg: GuestConfig) -> int:
    """Boot the guest on this terminal; returns QEMU's exit code."""
    cfg.check()
    qemu = qemu_args.find_qemu(cfg)
    qemu_args.qemu_version(qemu)
    how = accel.choose(cfg, qemu)
    with tempfile.TemporaryDirectory(prefix="shell-", dir=places.tmp_dir()) as d:
        if cfg.driver_params:
            words = Path(d, "params")
            words.write_text(" ".join(cfg.driver_params) + "\n")
            cfg = replace(cfg, put_files={**cfg.put_files, PARAMETERS: words})
        initrd = make_initrd(cfg, Path(d))
        cfg = replace(cfg, cmdline_extra=[*cfg.cmdline_extra, shell_word()])
        args = [qemu, *qemu_args.arguments(cfg, how, initrd, CHANNELS)]
        print(
            f"Booting {cfg.kernel} with {cfg.ram_mib} MiB under {how.upper()}; "
            "'exit' powers off, Ctrl-A X ends QEMU.",
            flush=True,
        )
        process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *args])
        # QEMU puts the terminal back when it ends, so it must end first.
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        signal.signal(signal.SIGHUP, lambda *_: process.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return process.wait()


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    try:
        return run(config(options))
    except GuestError as e:
        print(f"error: {e.message}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
