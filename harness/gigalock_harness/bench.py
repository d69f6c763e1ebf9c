# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast is the device's copy beside a plain memcpy, both measured in turn?

One guest locks 1 GiB contiguous; its RAM and the card's memory are memfds, as
are the buffers of memcpy_ref, which runs on the host between the transfers.
All of them are touched before the clock runs. Nobody computes checksums: it is
the copy that is compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import toolcall
from .guest import Guest, GuestConfig, GuestError
from .matrix import RESERVE_MIB, available_mib
from .places import memcpy_ref
from .sizes import GIB
from .toolcall import ToolError

RAM_MIB = 4096
ROUNDS = 3
NEED_MIB = 250 + 64 + 1024 + 1024 + 2048  # QEMU, tables, lock, card, memcpy_ref's two buffers
STEP_SECONDS = 180


def _memcpy_gib_per_s() -> float:
    done = subprocess.run(
        [str(memcpy_ref()), str(GIB), "3"],
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise ToolError(f"memcpy_ref ended with status {done.returncode}: {done.stderr[-200:]}")
    try:
        return float(json.loads(done.stdout)["median_gib_per_s"])
    except (ValueError, KeyError, TypeError):
        raise ToolError(f"memcpy_ref printed {done.stdout[:80]!r}") from None


def measure(
    kernel: str, log_dir: Path, say: Callable[[str], None], rounds: int = ROUNDS
) -> dict[str, Any]:
    """Medians and ratio; {"error": ...} when it can't be measured here."""
    room = available_mib() - RESERVE_MIB
    if room < NEED_MIB:
        return _error(f"needs about {NEED_MIB} MiB of host memory; {room} MiB can be had")
    to_card: list[float] = []
    from_card: list[float] = []
    plain: list[float] = []
    config = GuestConfig(
        ram_mib=RAM_MIB,
        kernel=kernel,
        devices=["gigalock,id=gl0,bus=rp0,memdev=cardmem"],
        extra_qemu=["-object", "memory-backend-memfd,id=cardmem,size=1G,share=on,prealloc=on"],
    )
    try:
        with Guest(config, log_dir=log_dir) as guest:
            for number in range(rounds):
                say(f"copy rate, round {number + 1} of {rounds}")
                result = guest.run(
                    f"gigalock --json xfer --size {GIB} --strategy contig-range "
                    "--no-verify --no-crc",
                    timeout=STEP_SECONDS,
                )
                answer = toolcall.read(result.code, result.stdout, result.stderr)
                if answer.code != toolcall.EXIT_DONE:
                    failure = answer.failure() or {}
                    return _error(str(failure.get("text") or answer.data.get("error")))
                to_card.append(answer.number("to_card_gib_per_s"))
                from_card.append(answer.number("from_card_gib_per_s"))
                plain.append(_memcpy_gib_per_s())
    except (GuestError, ToolError, OSError, subprocess.TimeoutExpired) as error:
        return _error(str(error))
    medians = [statistics.median(values) for values in (to_card, from_card, plain)]
    device = min(medians[:2])
    ratio = device / medians[2]
    return {
        "to_card_gib_per_s": to_card,
        "from_card_gib_per_s": from_card,
        "memcpy_gib_per_s": plain,
        "ratio": round(ratio, 3),
        "error": None,
        "text": f"copy rate of 1 GiB contiguous, medians of {rounds}: to the card "
        f"{medians[0]:.2f} GiB/s, from it {medians[1]:.2f} GiB/s, plain memcpy "
        f"{medians[2]:.2f} GiB/s",
    }


def _error(text: str) -> dict[str, Any]:
    return {
        "to_card_gib_per_s": [],
        "from_card_gib_per_s": [],
        "memcpy_gib_per_s": [],
        "ratio": None,
        "error": text,
        "text": f"copy rate: not measured: {text}",
    }
