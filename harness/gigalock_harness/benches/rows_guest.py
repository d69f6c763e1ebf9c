# SPDX-License-Identifier: GPL-2.0-or-later
"""In a guest, beside QEMU's own NVMe device: what a program gets out of the card."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import toolcall
from ..guest import Guest, GuestConfig
from ..places import build_dir
from ..sizes import GIB, KIB, MIB
from . import Details, Group, NotMeasured, Row, Setup

KERNEL = "lab"  # it has NVMe and io_uring without any module
FOLDER = "/usr/lib/gigalock/bench"
PROGRAMS = ("queue_rate", "nvme_rate")
DEPTH = 32
BATCHES = (1, 8, 16, 32)  # both sides may choose how many they give in one call
OURS, THEIRS = 100_000, 30_000  # transfers of a sample
STEP_SECONDS = 180
BOOT_SECONDS = 180.0
FIGURES = ("transfers", "calls", "seconds", "in_calls")
THREADS = ("emulated CPUs", "the card's workers", "QEMU's main loop")
NVME = ["-blockdev", f"driver=null-co,node-name=nothing,size={2 * GIB}"]
NVME += ["-device", "nvme,serial=bench,drive=nothing"]
NVME_DISK = "/dev/nvme0n1"


@dataclass
class State:
    """The guest, and what was seen besides the rates."""

    guest: Guest
    best: dict[str, int] = field(default_factory=dict)
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def program(name: str) -> Path:
    path = build_dir() / "bench" / "guest" / name
    if not path.exists():
        raise NotMeasured(f"{path} is missing; run 'make bench'")
    return path


@contextmanager
def in_guest(setup: Setup, smp: int, ram_mib: int, card: str, extra: list[str]) -> Iterator[State]:
    config = GuestConfig(
        ram_mib=ram_mib,
        kernel=KERNEL,
        smp=smp,
        boot_timeout=BOOT_SECONDS,
        devices=[f"gigalock,id=gl0,bus=rp0,{card}"],
        put_files={f"{FOLDER}/{name}": program(name) for name in PROGRAMS},
        extra_qemu=["-name", "bench,debug-threads=on", *extra, *NVME],
    )
    with Guest(config, log_dir=setup.log_dir) as guest:
        if not guest.run(f"[ -b {NVME_DISK} ]").ok:
            raise NotMeasured(f"the guest has no {NVME_DISK}")
        guest.run(f"chmod 755 {FOLDER}/*")
        yield State(guest)


def ask(state: State, words: str) -> dict[str, Any]:
    """Run one of the programs; its line of JSON."""
    done = state.guest.run(f"{FOLDER}/{words}", timeout=STEP_SECONDS)
    if not done.ok:
        raise NotMeasured(f"{words}: exit code {done.code}: {done.stderr.strip()[-200:]}")
    try:
        answer = json.loads(done.stdout)
        return {name: float(answer[name]) for name in FIGURES}
    except (ValueError, KeyError, TypeError):
        raise NotMeasured(f"{words} printed {done.stdout[:80]!r}") from None


def queue(state: State, batch: int, count: int) -> dict[str, Any]:
    return ask(state, f"queue_rate /dev/gigalock0 {4 * KIB} {DEPTH} {batch} {count}")


def nvme(state: State, batch: int, count: int) -> dict[str, Any]:
    return ask(state, f"nvme_rate {NVME_DISK} {4 * KIB} {DEPTH} {batch} {count}")


def cpu_seconds(state: State) -> dict[str, float]:
    """Processor time of QEMU's threads by what they do."""
    process = state.guest.process
    assert process
    total = dict.fromkeys(THREADS, 0.0)
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(OSError, ValueError):  # one that ends right now
            name = (task / "comm").read_text()
            kind = 0 if name.startswith("CPU ") else 1 if name.startswith("gigalock-") else 2
            total[THREADS[kind]] += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def with_cpu(state: State, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    before = cpu_seconds(state)
    answer = run()
    after = cpu_seconds(state)
    answer["cpu"] = {name: after[name] - before[name] for name in THREADS}
    return answer


def rate(answer: dict[str, Any]) -> float:
    return answer["transfers"] / answer["seconds"]


def best(state: State, name: str, run: Callable[[State, int, int], dict[str, Any]]) -> int:
    """The batch that suits this side best, tried once."""
    if name not in state.best:
        count = (OURS if name == "card" else THEIRS) // 4
        tried = {batch: rate(run(state, batch, count)) for batch in BATCHES}
        state.best[name] = max(tried, key=lambda batch: tried[batch])
    return state.best[name]


def small(state: State) -> tuple[float, float]:
    """4 KiB transfers a second, ours and NVMe's."""
    batches = best(state, "card", queue), best(state, "nvme", nvme)
    theirs = with_cpu(state, lambda: nvme(state, batches[1], THEIRS))
    ours = with_cpu(state, lambda: queue(state, batches[0], OURS))
    state.seen.setdefault("card", []).append(ours)
    state.seen.setdefault("nvme", []).append(theirs)
    return rate(ours), rate(theirs)


def small_details(state: State) -> Details:
    """Where the time of a transfer goes, as the guest and the host see it."""
    text = []
    for name, what in (("card", "our queue"), ("nvme", "NVMe by io_uring")):
        seen = state.seen[name]

        def middle(value: Callable[[dict[str, Any]], float], seen: Any = seen) -> float:
            return statistics.median(value(one) for one in seen)

        us = middle(lambda one: one["seconds"] / one["transfers"] * 1e6)
        calls = middle(lambda one: one["in_calls"] / one["transfers"] * 1e6)
        each = middle(lambda one: one["transfers"] / one["calls"])
        text.append(
            f"{what}: {us:.2f} us a transfer; the guest sees {calls:.2f} us of it in the system "
            f"calls that give new ones, {each:.0f} a call (batches of {state.best[name]})"
        )
        threads = [
            f"{thread} {middle(lambda one, t=thread: one['cpu'][t] / one['transfers']) * 1e6:.2f}"
            for thread in THREADS
        ]
        text.append(f"    processor time on the host, us a transfer: {', '.join(threads)}")
    text.append("Where the emulated CPUs take most of a transfer's time, the card waits for them.")
    return Details(text)


def long(state: State) -> tuple[float, float]:
    """GiB a second out of the card into 1 GiB of locked memory, and NVMe's reads of 1 MiB."""
    reads = ask(state, f"nvme_rate {NVME_DISK} {MIB} 8 1 {GIB // MIB}")
    done = state.guest.run(
        f"gigalock --json xfer --size {GIB} --strategy contig-range --no-verify --no-crc",
        timeout=STEP_SECONDS,
    )
    answer = toolcall.read(done.code, done.stdout, done.stderr)
    if answer.code != toolcall.EXIT_DONE:
        failure = answer.failure() or {}
        raise NotMeasured(str(failure.get("text") or answer.data.get("error")))
    state.seen.setdefault("to_card", []).append({"rate": answer.number("to_card_gib_per_s")})
    return answer.number("from_card_gib_per_s"), 1 / reads["seconds"]


def long_details(state: State) -> Details:
    rates = statistics.median(one["rate"] for one in state.seen["to_card"])
    return Details(
        [
            f"the other direction, to the card: {rates:.2f} GiB/s.",
            "NVMe with null-co copies nothing: its time is that of 1024 commands.",
        ]
    )


def small_group(smp: int) -> Group:
    @contextmanager
    def start(setup: Setup) -> Iterator[State]:
        with in_guest(setup, smp, 512, "card-mem=64M", []) as state:
            yield state

    row = Row(
        f"4 KiB transfers a second, polled, queue depth {DEPTH}, {smp} CPU" + "s" * (smp > 1),
        "1/s",
        "QEMU's NVMe with null-co, raw reads by io_uring in the same guest",
        4.0,
        small,
        small_details,
    )
    return Group(f"small transfers in a guest, {smp} CPU" + "s" * (smp > 1), start, [row], 1024)


def long_group() -> Group:
    @contextmanager
    def start(setup: Setup) -> Iterator[State]:
        extra = ["-object", f"memory-backend-memfd,id=cardmem,size={GIB},share=on,prealloc=on"]
        with in_guest(setup, 2, 4096, "memdev=cardmem", extra) as state:
            yield state

    row = Row(
        "1 GiB out of the card, in a guest",
        "GiB/s",
        "QEMU's NVMe with null-co, 1 MiB reads, queue depth 8, in the same guest",
        1.2,
        long,
        long_details,
    )
    return Group("1 GiB in a guest", start, [row], 4 * 1024)


def groups() -> list[Group]:
    return [small_group(2), small_group(1), long_group()]
