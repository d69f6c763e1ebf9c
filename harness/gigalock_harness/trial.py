# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's trial: `make doctor-trial SEED=n DRAWS=m`.

Each machine is booted and made as it was drawn. Then the doctor is asked, and what it says is
written down before anything is allocated. Then the lock is tried. A guest that crashes or hangs
counts as a disagreement.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import outdir, places, toolcall
from .errors import GuestError
from .guest import Guest, GuestConfig
from .machine import PROGRAMS
from .matrix import GATE_SECONDS, Interrupts
from .prepare import TOOL as PREPARE
from .prepare import hold
from .sizes import GIB, KIB
from .trial_draw import USER, Draw, draw
from .trial_judge import Outcome, agrees, by_ram_alone, true_cause

STEP_SECONDS = 3600  # by the guest's clock, which runs fast on a busy host
GROUP = "/sys/fs/cgroup/trial"
MOST_DRAWS = 100_000
PAGE = 4096
LEAST, LEAST_DRAWS = 95.0, 100  # percent that must agree, where so many were drawn
BALANCED = (40, 60)  # percent of locks that fail: else one could score by always saying the same
EXIT_STOPPED = 130


class Ledger:
    """The predictions, written down and flushed before the lock is tried."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, number: int, said: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps({"draw": number, "said": said}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def config(d: Draw) -> GuestConfig:
    extra: dict[str, Any] = {}
    if d.nodes_mib:
        extra["nodes_mib"] = d.nodes_mib
    if d.low_ram_mib:
        extra["low_ram_mib"] = d.low_ram_mib
    return GuestConfig(
        ram_mib=d.ram_mib,
        kernel=d.kernel,
        cmdline_extra=d.cmdline,
        devices=[f"gigalock,id=gl0,bus=rp0,card-mem=64M,addr-width={d.card_bits}"],
        iommu=d.iommu,  # type: ignore[arg-type]
        cpu=d.cpu,
        kaslr=d.kaslr,
        load_driver=not d.late,
        driver_params=d.driver_params,
        boot_timeout=240.0,
        **extra,
    )


def limited(d: Draw) -> str:
    """What the shell does to itself before it becomes the tool."""
    words = []
    if d.group is not None:
        words.append(f"echo $$ > {GROUP}/cgroup.procs && ")
    if d.memlock is not None:
        words.append(f"ulimit -l {d.memlock // KIB} && ")
    if d.address_space is not None:
        words.append(f"ulimit -v {d.address_space // KIB} && ")
    if d.user:
        words.append(f"exec /usr/bin/setpriv --reuid={USER} --regid={USER} --clear-groups -- ")
    return "".join(words)


def huge_pages(size: int, count: int, root: str = "") -> str:
    """Ask for huge pages. The folder is missing where the CPU has none of 1 GiB, and only there;
    that fewer are made than were asked for is the kernel's answer, and no error."""
    folder = f"{root}/sys/kernel/mm/hugepages/hugepages-{size // KIB}kB"
    ask = f"echo {count} > {folder}/nr_hugepages"
    if size < GIB:
        return ask
    return f"if [ ! -d {folder} ] && ! grep -qw pdpe1gb {root}/proc/cpuinfo; then :; else {ask}; fi"


def prepare(d: Draw, guest: Guest) -> None:
    """Make the machine as drawn; GuestError when it can't be."""
    # A driver that is loaded late has no node yet: the lock itself then says so.
    commands = ["[ ! -e /dev/gigalock0 ] || chmod 666 /dev/gigalock0"]
    if d.fragmented is not None:
        commands.append(f"{PREPARE} fragment {d.fragmented}")
    if d.late:
        commands.append(f"insmod /lib/modules/gigalock.ko {' '.join(d.driver_params)}")
    if d.hold_cma:
        commands.append(f"{PREPARE} hold-cma")
    if d.hold:
        commands.append(hold(d.hold, d.strategy))
    if d.huge is not None:
        commands.append(huge_pages(*d.huge))
    if d.left_free is not None:
        commands.append(f"{PREPARE} leave-free {d.left_free}")
    if d.overcommit:
        commands.append(f"echo {d.overcommit} > /proc/sys/vm/overcommit_memory")
    if d.group is not None:
        commands.append(
            f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control && mkdir -p {GROUP} && "
            f"echo {d.group} > {GROUP}/memory.max"
        )
    for command in commands:
        result = guest.run(command, timeout=STEP_SECONDS)
        if not result.ok:
            said = (result.stderr or result.stdout).strip()[-200:]
            raise GuestError(f"{command!r:.120} ended with {result.code}: {said}")


def tool(d: Draw, guest: Guest, arguments: str, program: str = "gigalock") -> toolcall.Answer:
    result = guest.run(
        f"{limited(d)}{PROGRAMS[program][0]} --json {arguments}", timeout=STEP_SECONDS
    )
    return toolcall.read(result.code, result.stdout, result.stderr)


def asker(d: Draw) -> str:
    """What the doctor is told of who asks: of a 32-bit process, which one it is."""
    if d.program != "gl-32":
        return PROGRAMS[d.program][1]
    return "--pid $(pidof gl-32)"


def start_32(d: Draw, guest: Guest) -> None:
    """A process with its buffers mapped, which stops before it asks for one more."""
    command = (
        f"( ( {limited(d)}{PROGRAMS[d.program][0]} --json lock --stop --others {d.mapped} "
        f"{d.request()} >/run/asked 2>/run/asked.said ); echo $? >/run/asked.code ) & "
        "until grep -qs '^State:.T' /proc/$(pidof gl-32)/status; do "
        "[ ! -e /run/asked.code ] || { cat /run/asked /run/asked.said >&2; exit 1; }; "
        "sleep 0.1; done"
    )
    result = guest.run(command, timeout=STEP_SECONDS)
    if not result.ok:
        raise GuestError(f"gl-32 did not come so far: {result.stderr.strip()[-200:]}")


def let_go_on(d: Draw, guest: Guest) -> toolcall.Answer:
    """That process, as it was looked at, asks."""
    result = guest.run(
        "kill -CONT $(pidof gl-32); until [ -s /run/asked.code ]; do sleep 0.1; done; "
        "cat /run/asked; cat /run/asked.said >&2; exit $(cat /run/asked.code)",
        timeout=STEP_SECONDS,
    )
    return toolcall.read(result.code, result.stdout, result.stderr)


def predict(d: Draw, guest: Guest) -> tuple[Outcome, dict[str, Any]]:
    if d.program == "gl-32":
        start_32(d, guest)
    said = tool(d, guest, f"doctor {d.request()} {asker(d)}").data
    cause = said.get("cause")
    return (
        Outcome(
            said.get("locks"),
            cause["number"] if isinstance(cause, dict) else None,
            said.get("largest_bytes"),
            said.get("reason"),
        ),
        said,
    )


def largest(d: Draw, guest: Guest) -> int:
    """The largest size that locks. The tool searches itself; other programs are asked again."""
    if d.program == "gigalock":
        return tool(d, guest, f"limit --timeout 0 {d.request()}").integer("largest_bytes")
    others = "" if d.mapped is None else f" --others {d.mapped}"
    low, high = 0, d.bytes
    while high - low > max(16 * KIB, high // 64):
        middle = (low + high) // 2 // PAGE * PAGE
        request = replace(d, bytes=middle).request()
        answer = tool(d, guest, f"lock {request}{others}", d.program)
        if answer.code == toolcall.EXIT_DONE:
            low = middle
        elif answer.failure() is not None:
            high = middle
        else:
            raise toolcall.ToolError(f"no reason: {answer.data.get('error')!r:.200}")
    return low


def happen(d: Draw, guest: Guest) -> Outcome:
    if d.program == "gl-32":
        answer = let_go_on(d, guest)
    else:
        quick = "--no-touch " if d.program == "gigalock" else ""
        answer = tool(d, guest, f"lock {quick}{d.request()}", d.program)
    if answer.code == toolcall.EXIT_DONE:
        return Outcome(True)
    failure = answer.failure()
    if failure is None:
        raise toolcall.ToolError(f"no lock and no reason: {answer.data.get('error')!r:.200}")
    reason = str(failure["reason"])
    return Outcome(False, true_cause(d, reason), largest(d, guest), reason)


class Alive:
    """The guests that run, so that an interrupted trial leaves none behind."""

    def __init__(self) -> None:
        self._guests: set[Guest] = set()
        self._lock = threading.Lock()
        self.stopped = False

    @contextlib.contextmanager
    def guest(self, d: Draw, logs: Path) -> Iterator[Guest]:
        guest = Guest(config(d), logs)
        with self._lock:
            if self.stopped:
                raise GuestError("the trial was stopped")
            self._guests.add(guest)
        try:
            with guest:
                yield guest
        finally:
            with self._lock:
                self._guests.discard(guest)

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            guests = list(self._guests)
        for guest in guests:
            guest.close()


def run_draw(d: Draw, ledger: Ledger, logs: Path, alive: Alive) -> dict[str, Any]:
    """One machine, from boot to judgement."""
    result: dict[str, Any] = {"draw": d.to_json(), "machine": d.describe(), "error": None}
    predicted: Outcome | None = None
    happened: Outcome | None = None
    started = time.monotonic()
    try:
        with alive.guest(d, logs / f"{d.number:04}") as guest:
            prepare(d, guest)
            predicted, said = predict(d, guest)
            ledger.write(d.number, said)
            result["said"] = said
            happened = happen(d, guest)
    except (GuestError, toolcall.ToolError, OSError) as error:
        result["error"] = str(error)[:400]
    except Exception as error:  # what a guest answers must not end the trial of the others
        result["error"] = f"{type(error).__name__}: {error}"[:400]
    result["seconds"] = round(time.monotonic() - started, 2)
    result["predicted"] = predicted.to_json() if predicted else None
    result["happened"] = happened.to_json() if happened else None
    if predicted is None or happened is None:
        result["differs"] = ["crashed"]
        result["ram_differs"] = ["crashed"]
    else:
        result["differs"] = agrees(predicted, happened, d.bytes)
        result["ram_differs"] = agrees(by_ram_alone(d), happened, d.bytes)
        result["line"] = f"predicted {predicted.describe()}; happened {happened.describe()}"
    return result


class Admission:
    """Guests run while their RAM together fits into what the host has."""

    def __init__(self, mib: int) -> None:
        self._all = self._free = mib
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def __call__(self, mib: int) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= mib or self._free == self._all)
            self._free -= mib
        try:
            yield
        finally:
            with self._changed:
                self._free += mib
                self._changed.notify_all()


def memory_mib() -> int:
    text = Path("/proc/meminfo").read_text()
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found[1]) * 3 // 4 // 1024 if found else 4096


def known_strategies(wanted: Path) -> set[str]:
    """Those that the built driver has: asked in a small guest."""
    with Guest(GuestConfig(ram_mib=256), wanted) as guest:
        said = guest.run("gigalock --json info", timeout=60)
        return set(json.loads(said.stdout)["strategies"])


def known_kernels() -> set[str]:
    """Those that a guest can boot: they are there, and so is what they begin with."""
    built = {p.name for p in places.kernels_built().glob("*") if (p / "vmlinux").exists()}
    images = places.build_dir() / "guest-image"
    return {name for name in built if (images / name / "initramfs.cpio").exists()}


def failures(results: list[dict[str, Any]]) -> int:
    return sum(1 for r in results if r["happened"] and not r["happened"]["locks"])


def balanced(results: list[dict[str, Any]]) -> bool:
    low, high = BALANCED
    return low * len(results) <= 100 * failures(results) <= high * len(results)


def too_low(results: list[dict[str, Any]], least: float | None) -> str:
    """What to say when too few agree; "" when enough do."""
    total = len(results)
    if least is None:
        if total < LEAST_DRAWS:
            return ""
        least = LEAST
    agree = sum(1 for r in results if not r["differs"])
    if 100 * agree >= least * total:
        return ""
    return f"{agree} of {total} agree, less than {least:g} %"


def summary(results: list[dict[str, Any]]) -> list[str]:
    """The lines at the end, the last one the score."""
    lines = []
    wrong = [r for r in results if r["differs"]]
    for r in wrong:
        lines.append(f"draw {r['draw']['number']}: {r['machine']}")
        lines.append(f"    {r['error'] or r['line']}  [{', '.join(r['differs'])}]")
    failed = failures(results)
    causes = Counter(
        r["happened"]["cause"] for r in results if r["happened"] and not r["happened"]["locks"]
    )
    total = len(results)
    ram = sum(1 for r in results if not r["ram_differs"])
    share = 100 * failed / total if total else 0
    lines.append("")
    mark = "" if balanced(results) else "; NOT BALANCED: {} to {} % should".format(*BALANCED)
    lines.append(f"failed: {failed} of {total} ({share:.0f} %){mark}")
    lines.append(
        "causes seen: " + ", ".join(f"{c} ({n})" for c, n in sorted(causes.items(), key=str))
    )
    lines.append(f"a predictor that looks at RAM alone: agree {ram} of {total}")
    lines.append(f"agree {total - len(wrong)} of {total}")
    return lines


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="doctor-trial", description=__doc__)
    top.add_argument("--seed", type=int, default=1)
    top.add_argument("--draws", type=int, default=200)
    top.add_argument("--first", type=int, default=0, help="begin with this draw")
    top.add_argument("--out", type=Path, default=places.build_dir() / "trial")
    top.add_argument("--jobs", type=int, default=max(1, os.cpu_count() or 1))
    top.add_argument(
        "--least",
        type=float,
        default=None,
        metavar="PERCENT",
        help=f"fail where less agree (default: {LEAST:g} from {LEAST_DRAWS} draws on, else none)",
    )
    return top


def main(argv: list[str] | None = None) -> int:
    top = parser()
    args = top.parse_args(argv)
    if not 1 <= args.draws <= MOST_DRAWS:
        top.error(f"--draws {args.draws}; 1 to {MOST_DRAWS} are possible")
    if args.first < 0 or not 1 <= args.jobs <= 64:
        top.error(f"--first {args.first} --jobs {args.jobs}; 0 or more, and 1 to 64")
    if args.least is not None and not 0 <= args.least <= 100:
        top.error(f"--least {args.least:g}; 0 to 100 are possible")
    args.out = args.out.resolve()
    try:
        with outdir.taken(args.out), Interrupts(last=True) as interrupts:
            return run(args, interrupts)
    except KeyboardInterrupt:
        print("stopped before the first draw", file=sys.stderr)
        return EXIT_STOPPED
    except (GuestError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(args: argparse.Namespace, interrupts: Interrupts) -> int:
    """Draw, run and judge; the exit code."""
    with interrupts.breaking():
        kernels, strategies = known_kernels(), known_strategies(args.out / "first")
    draws = [
        draw(args.seed, n, kernels, strategies) for n in range(args.first, args.first + args.draws)
    ]
    ledger, alive = Ledger(args.out / "predictions.jsonl"), Alive()
    admission, results = Admission(memory_mib()), list[dict[str, Any]]()

    def one(d: Draw) -> dict[str, Any]:
        with admission(d.ram_mib + 400):
            result = run_draw(d, ledger, args.out / "guests", alive)
        if result["error"] and not interrupts.count:
            # Ctrl-C on a terminal reaches QEMU as soon as it reaches us.
            time.sleep(GATE_SECONDS)
        return result

    def note(result: dict[str, Any]) -> None:
        results.append(result)
        mark = "ok " if not result["differs"] else "NOT"
        said = (result["error"] or result["line"]).splitlines()[0]
        print(
            f"{mark} {result['draw']['number']:4} {result['seconds']:6.1f} s  "
            f"{result['machine']}: {said}",
            flush=True,
        )
        part = args.out / "trial.json.part"
        report = {"seed": args.seed, "balanced": balanced(results), "results": results}
        part.write_text(json.dumps(report, indent=1))
        part.replace(args.out / "trial.json")

    pool = ThreadPoolExecutor(args.jobs)
    try:
        for future in [pool.submit(one, d) for d in draws]:
            while not interrupts.count and wait([future], GATE_SECONDS).not_done:
                pass
            if interrupts.count:
                break
            note(future.result())
    finally:
        alive.stop()
        pool.shutdown(cancel_futures=True)
        ledger.close()
    if interrupts.count:
        print("stopped; what was done is in the report", file=sys.stderr)
    print()
    print("\n".join(summary(results)), flush=True)
    if interrupts.count:
        return EXIT_STOPPED
    why = too_low(results, args.least)
    if why:
        print(why, file=sys.stderr)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
