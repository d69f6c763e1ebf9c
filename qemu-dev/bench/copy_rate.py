#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The device's copy rate against plain memcpy, interleaved, on stock QEMU without a guest.

One descriptor of 1 GiB, host to card; guest RAM and card memory are memfds, touched, as are
memcpy_ref's buffers. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from card import C2H, CARD_AT, F_CPL, H2C, Card  # noqa: E402
from qemu import BUILD, Qemu  # noqa: E402

GIB = 1 << 30
HOST = 1 << 32  # above 4 GiB: one piece of RAM


def reference(runs: int) -> float:
    """What memcpy does right now."""
    out = subprocess.run(
        [BUILD / "qemu-dev" / "memcpy_ref", str(GIB), str(runs)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return json.loads(out.stdout)["median_gib_per_s"]


def copy(card: Card, op: int) -> float:
    """GiB/s of one descriptor, from doorbell to completion."""
    card.put(0, op, *((HOST, 0) if op == H2C else (0, HOST)), GIB, F_CPL)
    start = time.monotonic()
    card.ring()
    while card.ch(0, "HEAD") != card.tails[0]:
        time.sleep(0.002)
    seconds = time.monotonic() - start
    record = card.wait()
    if record.status or record.bytes != GIB:
        raise SystemExit(f"the copy failed: {record}")
    return 1 / seconds


def main() -> None:
    """Interleave device and reference, so that both see the same machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    args = [
        "-object",
        "memory-backend-memfd,id=ram,size=4G,share=on",
        "-object",
        "memory-backend-memfd,id=card,size=1G,share=on",
        "-machine",
        "memory-backend=ram",
        "-device",
        "gigalock,id=gl0,addr=5,memdev=card",
    ]
    rates: dict[str, list[float]] = {"to_card": [], "from_card": [], "memcpy": []}
    with Qemu(args, memory="4G") as q:
        card = Card(q)
        q.fill(HOST, GIB, 0x5A)
        q.fill(CARD_AT, GIB, 0xA5)
        card.enable(0)
        copy(card, H2C)
        copy(card, C2H)
        for _ in range(rounds):
            rates["memcpy"].append(reference(3))
            rates["to_card"].append(copy(card, H2C))
            rates["from_card"].append(copy(card, C2H))
    median = {k: statistics.median(v) for k, v in rates.items()}
    print(
        json.dumps(
            {
                "bytes": GIB,
                "rounds": rounds,
                **{f"{k}_gib_per_s": round(v, 3) for k, v in median.items()},
                "ratio_to_card": round(median["to_card"] / median["memcpy"], 3),
                "ratio_from_card": round(median["from_card"] / median["memcpy"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
