# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests booted once and restored many times.

A template is a guest without a card and without the driver, saved when its agent waits for the
first command: RAM in a memfd, the rest of the machine in another. A restored guest maps the RAM
privately, so what it writes is its own. The card is plugged in then, and the driver loaded, so
all that is chosen after the boot can differ between guests of one template.

Both files exist only in memory that this process holds: when it ends, they are gone.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import qemu_args
from .agent import Hello
from .errors import GuestError
from .qemu_args import GuestConfig
from .qmp import QmpError

# Flagged as unstable by QEMU, but there since 4.0: RAM that lies in a file stays there.
IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]
SAVE_SECONDS = 30.0

# A card that is plugged in later finds room for its memory BAR only if the kernel keeps it.
ROOM_FOR_CARD = "pci=hpmmioprefsize=256M"


@dataclass
class Template:
    """A saved guest."""

    ram: list[int]
    state: int
    hello: Hello
    console: bytes
    boot_s: float
    save_s: float

    def open_state(self) -> io.FileIO:
        """The machine's state from its start, with a place in it that is nobody else's."""
        return io.FileIO(f"/proc/self/fd/{self.state}", "r")

    def held_mib(self) -> float:
        """Host memory that the template takes."""
        return sum(os.fstat(fd).st_blocks * 512 for fd in (*self.ram, self.state)) / (1 << 20)

    def close(self) -> None:
        for fd in (*self.ram, self.state):
            with contextlib.suppress(OSError):
                os.close(fd)


def key_of(cfg: GuestConfig) -> tuple[object, ...]:
    """What must be the same for two guests to begin from one template."""
    return (
        cfg.ram_mib,
        cfg.kernel,
        tuple(cfg.cmdline_extra),
        cfg.smp,
        cfg.iommu,
        cfg.cpu,
        cfg.low_ram_mib,
        tuple(cfg.nodes_mib),
        tuple(cfg.extra_qemu),
        cfg.firmware,
        cfg.accel,
        cfg.initramfs,
        cfg.driver_path,
        tuple(sorted(cfg.put_files.items())),
    )


def save(cfg: GuestConfig, log_dir: Path) -> Template:
    """Boot a guest without card and driver, and keep it as a template."""
    from .guest import Guest  # it restores what we save

    bare = replace(cfg, devices=[], load_driver=False, driver_params=[])
    files: list[int] = []
    try:
        for n, size in enumerate(qemu_args.node_sizes(cfg)):
            files.append(os.memfd_create(f"gigalock-ram{n}"))
            os.ftruncate(files[-1], size << 20)
        files.append(os.memfd_create("gigalock-state"))
        guest = Guest(bare, log_dir=log_dir)
        guest.ram_files = files[:-1]
        with guest:
            start = time.monotonic()
            _migrate(guest, files[-1])
            guest.close()  # the console is whole only then
            assert guest.hello
            return Template(
                files[:-1],
                files[-1],
                guest.hello,
                guest.console().encode(),
                guest.boot_s,
                time.monotonic() - start,
            )
    except BaseException as error:
        for fd in files:
            os.close(fd)
        if isinstance(error, (QmpError, TimeoutError)):
            raise GuestError(f"a template can't be saved: {error}", log_dir=log_dir) from error
        raise


def _migrate(guest: object, state: int) -> None:
    """Save the machine without its RAM. It isn't stopped before, or it would stay stopped."""
    qmp = guest._qmp  # type: ignore[attr-defined]
    qmp.execute("migrate-set-capabilities", {"capabilities": IGNORE_SHARED})
    qmp.execute_with_file("getfd", {"fdname": "state"}, state)
    qmp.execute("migrate", {"uri": "fd:state"})
    end = time.monotonic() + SAVE_SECONDS
    while (status := qmp.execute("query-migrate").get("status")) != "completed":
        if status in ("failed", "cancelled"):
            raise GuestError(f"a template can't be saved: migration {status}: {guest.qemu_log()}")  # type: ignore[attr-defined]
        if time.monotonic() > end:
            raise TimeoutError(f"not saved within {SAVE_SECONDS:g} s")
        time.sleep(0.005)


@dataclass
class _Entry:
    users: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    template: Template | None = None
    error: GuestError | None = None


class TemplateStore:
    """The templates of a run. Each is made when first wanted, and let go after its last guest."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self._entries: dict[tuple[object, ...], _Entry] = {}
        self._lock = threading.Lock()
        self.made: list[Template] = []

    def expect(self, cfg: GuestConfig) -> None:
        """One more guest of that kind will come."""
        with self._lock:
            self._entries.setdefault(key_of(cfg), _Entry(0)).users += 1

    def worth_it(self, cfg: GuestConfig) -> bool:
        """A template takes a boot itself: it pays from the second guest on."""
        entry = self._entries.get(key_of(cfg))
        return entry is not None and (entry.users > 1 or entry.template is not None)

    @contextlib.contextmanager
    def use(self, cfg: GuestConfig) -> Iterator[Template]:
        """The template for a guest, made if nobody did; GuestError if it can't be."""
        key = key_of(cfg)
        entry = self._entries[key]
        try:
            with entry.lock:
                if entry.error is not None:
                    raise entry.error
                if entry.template is None:
                    try:
                        number = len(self.made)
                        entry.template = save(cfg, self.log_dir / f"template-{number}")
                    except GuestError as error:
                        entry.error = error
                        raise
                    self.made.append(entry.template)
            yield entry.template
        finally:
            self.done(cfg)

    def done(self, cfg: GuestConfig) -> None:
        """One guest of that kind fewer will come."""
        with self._lock:
            entry = self._entries.get(key_of(cfg))
            if entry is None:
                return
            entry.users -= 1
            if entry.users <= 0:
                del self._entries[key_of(cfg)]
                if entry.template is not None:
                    entry.template.close()

    def close(self) -> None:
        with self._lock:
            for entry in self._entries.values():
                if entry.template is not None:
                    entry.template.close()
            self._entries.clear()
