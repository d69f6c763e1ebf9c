# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's trial: what it draws, how it judges, what it prints, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import guests
import pytest
from gigalock_harness import causes, reasons, trial
from gigalock_harness.guest import Guest
from gigalock_harness.sizes import GIB, KIB, MIB
from gigalock_harness.trial_draw import THEMES, Draw, draw
from gigalock_harness.trial_judge import (
    NO_CAUSE,
    Outcome,
    agrees,
    by_ram_alone,
    near,
    true_cause,
)

KERNELS = ("stock", "lab", "6.12")
STRATEGIES = ("coherent", "contig-range", "sg", "reserved", "pool", "hugetlb", "chunked")


def many(seed: int, count: int) -> list[Draw]:
    return [draw(seed, n, KERNELS, STRATEGIES) for n in range(count)]


# -- what is drawn -------------------------------------------------------------


def test_a_seed_is_a_seed() -> None:
    assert [d.to_json() for d in many(5, 40)] == [d.to_json() for d in many(5, 40)]
    assert [d.to_json() for d in many(5, 40)] != [d.to_json() for d in many(6, 40)]


def test_the_same_draw_alone_and_among_others() -> None:
    assert many(5, 40)[31].to_json() == draw(5, 31, KERNELS, STRATEGIES).to_json()


def test_every_theme_comes() -> None:
    seen = Counter(d.theme for d in many(1, 1500))
    assert set(seen) == {theme.__name__ for theme in THEMES}


def test_what_is_not_there_is_not_drawn() -> None:
    for n in range(200):
        d = draw(3, n, ("stock",), ("sg", "coherent"))
        assert d.kernel == "stock" and d.strategy in ("sg", "coherent")
    with pytest.raises(ValueError, match="no theme fits"):
        draw(3, 0, ("stock",), ())


def test_every_cause_can_come() -> None:
    """But for those that the file says can't. From each draw, whatever reason its lock may give."""
    known = causes.load()
    may: dict[str, set[str]] = {
        "cma": {"coherent", "lab_coherent", "cma_held", "cma_high"},
        "io-uring": {"ring"},
        "unpinnable": {"kinds_of_memory"},
        "read-only": {"kinds_of_memory"},
        "reserved": {"reserved", "reserved_by_name"},
        "swiotlb-segment": {"forced"},
        "swiotlb-full": {"bounced", "forced"},
        "memlock": {"memlock"},
        "iova": {"translated"},
        "pool-": {"pool"},
        "hugetlb": {"huge_pages"},
        "address-space": {"address_space", "process_32"},
    }

    def drawn(kernels: tuple[str, ...]) -> set[int]:
        seen = set()
        for n in range(1500):
            d = draw(9, n, kernels, STRATEGIES)
            for reason in {name for cause in known.values() for name in cause.reasons}:
                themes = [some for word, some in may.items() if reason.startswith(word)]
                if not themes or d.theme in themes[0]:
                    seen.add(true_cause(d, reason))
        return {one for one in seen if one is not None}

    everything = {cause.number for cause in known.values()}
    assert drawn(KERNELS) == everything - {14, 18}
    assert drawn(("stock", "lab")) == everything - {14, 18, 29}


def test_drawn_machines_can_be() -> None:
    for d in many(2, 400):
        trial.config(d).check()
        assert d.bytes % 4096 == 0 and d.bytes > 0, d.describe()
        assert d.ram_mib <= 6144 and (not d.nodes_mib or sum(d.nodes_mib) == d.ram_mib)
        assert str(d.bytes) in d.request() and d.strategy in d.describe()


# -- how it is judged ------------------------------------------------------------


def test_agreement() -> None:
    locks, fails = Outcome(True), Outcome(False, 10, 900 * MIB, "killed")
    assert agrees(locks, locks, GIB) == []
    assert agrees(locks, fails, GIB) == ["locks"]
    assert agrees(fails, locks, GIB) == ["locks"]
    assert agrees(Outcome(None), locks, GIB) == ["locks"]
    assert agrees(Outcome(None), fails, GIB) == ["locks"]
    assert agrees(Outcome(False, 10, 980 * MIB), fails, GIB) == []
    assert agrees(Outcome(False, 11, 980 * MIB), fails, GIB) == ["cause"]
    assert agrees(Outcome(False, 11, 700 * MIB), fails, GIB) == ["cause", "largest"]
    assert agrees(Outcome(False, 10, None), fails, GIB) == ["largest"]


def test_a_cause_that_nobody_knows_is_no_agreement() -> None:
    unknown = Outcome(False, None, 0, "no-memory")
    assert agrees(replace(unknown), unknown, GIB) == ["no cause"]
    assert agrees(Outcome(False, 10, 0, "no-memory"), unknown, GIB) == ["no cause"]
    assert agrees(Outcome(False, 10, GIB, "no-memory"), unknown, GIB) == ["no cause", "largest"]


@pytest.mark.parametrize("reason", sorted(NO_CAUSE))
def test_a_reason_without_a_cause_is_judged_itself(reason: str) -> None:
    """The catalogue has no cause for it; so the doctor must name the reason, and no cause."""
    happened = Outcome(False, None, MIB, reason)
    assert agrees(Outcome(False, None, MIB, reason), happened, GIB) == []
    assert agrees(Outcome(False, None, MIB, "no-memory"), happened, GIB) == ["reason"]
    assert agrees(Outcome(False, None, MIB, None), happened, GIB) == ["reason"]
    assert agrees(Outcome(False, 26, MIB, reason), happened, GIB) == ["cause"]


def test_every_reason_that_a_draw_can_give_is_judged() -> None:
    """By its cause, or by itself where the catalogue has none."""
    known = reasons.load().reasons
    assert set(NO_CAUSE) <= set(known)
    with_cause = {name for cause in causes.load().values() for name in cause.reasons}
    for name in with_cause - NO_CAUSE:
        assert true_cause(Draw(), name) is not None, name
    for name in NO_CAUSE:
        assert true_cause(Draw(options=["--page-size 2M"]), name) is None, name


def test_near_is_ten_percent() -> None:
    assert near(1090 * MIB, 1000 * MIB, 2 * GIB) and not near(1110 * MIB, 1000 * MIB, 2 * GIB)
    assert near(910 * MIB, 1000 * MIB, 2 * GIB) and not near(890 * MIB, 1000 * MIB, 2 * GIB)
    assert near(5 * GIB, GIB, GIB)  # more than was asked for is never tried
    assert near(0, 0, GIB) and not near(MIB, 0, GIB)


@pytest.mark.parametrize("size", [4 * MIB - 4096, 4 * MIB, 8 * MIB, 32 * MIB])
def test_near_is_ten_percent_of_small_sizes_too(size: int) -> None:
    """Nothing changes at a size: what is 10 % of it is near, and what is 11 % is not."""
    for sign in (1, -1):
        assert near(size + sign * (size * 10 // 100), size, GIB)
        assert not near(size + sign * (size * 11 // 100), size, GIB)
    assert not near(0, size, GIB) and not near(2 * size, size, GIB)


def test_near_is_16_pages_of_the_smallest_sizes() -> None:
    for size in (0, 4096, 512 * KIB):
        assert near(size + 64 * KIB, size, GIB) and not near(size + 68 * KIB, size, GIB)


@pytest.mark.parametrize(
    "d, reason, cause",
    [
        (Draw(strategy="coherent"), "buddy-limit", 1),
        (Draw(strategy="coherent", cmdline=["cma=1G"]), "buddy-limit", 2),
        (Draw(strategy="coherent", kernel="lab"), "buddy-limit", 3),
        (Draw(strategy="coherent", kernel="lab", cmdline=["cma=9G"]), "buddy-limit", 7),
        (Draw(hold_cma=True), "cma-busy", 6),
        (Draw(hold=GIB), "cma-busy", 5),
        (Draw(cmdline=["swiotlb=force"]), "swiotlb-full", 17),
        (Draw(), "swiotlb-full", 15),
        (Draw(overcommit=2), "overcommit", 22),
        (Draw(), "overcommit", 9),
        (Draw(group=512 * MIB), "killed", 13),
        (Draw(group=512 * MIB), "kernel-metadata", 13),
        (Draw(cmdline=["kernelcore=512M"]), "killed", 30),
        (Draw(left_free=GIB), "killed", 11),
        (Draw(ram_mib=1024, left_free=GIB), "killed", 10),
        (Draw(ram_mib=1200), "killed", 10),
        (Draw(fragmented=GIB), "no-free-range", 24),
        (Draw(kaslr=True), "no-free-range", 25),
        (Draw(nodes_mib=[1024, 1024]), "no-free-range", 23),
        (Draw(options=["--page-size 1G"]), "hugetlb-pool", 26),
        (Draw(options=["--page-size 2M"]), "hugetlb-pool", None),
        (Draw(options=["--small-table", "--max-segment 65536"]), "too-many-segments", 32),
        (Draw(options=["--small-table"]), "too-many-segments", 37),
        (Draw(address_space=GIB), "address-space", 20),
        (Draw(), "address-space", 21),
        (Draw(), "reserved-missing", 28),
    ],
)
def test_true_cause(d: Draw, reason: str, cause: int | None) -> None:
    assert true_cause(d, reason) == cause


def test_ram_alone_knows_only_ram() -> None:
    assert by_ram_alone(Draw(ram_mib=2048, bytes=GIB)).locks is True
    beyond = by_ram_alone(Draw(ram_mib=512, bytes=GIB))
    assert beyond.locks is False and beyond.cause == 9 and beyond.largest == 512 * MIB
    assert by_ram_alone(Draw(ram_mib=2048, user=True, memlock=0)).locks is True


def result(number: int, differs: list[str], happened: Outcome | None) -> dict[str, Any]:
    return {
        "draw": {"number": number},
        "machine": f"machine {number}",
        "error": None if happened else "the guest panicked",
        "line": "predicted that; happened this",
        "differs": differs,
        "ram_differs": [] if number % 2 else ["locks"],
        "happened": happened.to_json() if happened else None,
    }


def test_summary() -> None:
    fails = Outcome(False, 10, 0, "killed")
    lines = trial.summary(
        [result(0, [], fails), result(1, ["cause"], fails), result(2, ["crashed"], None),
         result(3, [], Outcome(True))]
    )  # fmt: skip
    text = "\n".join(lines)
    assert lines[-1] == "agree 2 of 4"
    assert lines[-2].endswith("RAM alone: agree 2 of 4")
    assert "draw 1: machine 1" in text and "draw 2: machine 2" in text and "draw 0" not in text
    assert "the guest panicked  [crashed]" in text
    assert "failed: 2 of 4 (50 %)" in text and "10 (2)" in text


LOCKS, FAILS = Outcome(True), Outcome(False, 10, 0, "killed")


def of(right: int, total: int) -> list[dict[str, Any]]:
    return [
        result(n, [] if n < right else ["cause"], FAILS if n % 2 else LOCKS) for n in range(total)
    ]


@pytest.mark.parametrize(
    "right, total, least, fails",
    [
        (190, 200, None, False),
        (189, 200, None, True),
        (95, 100, None, False),
        (94, 100, None, True),
        (0, 99, None, False),  # few draws say little; who wants a bound says so
        (0, 99, 1.0, True),
        (90, 100, 90.0, False),
        (89, 100, 90.0, True),
        (99, 100, 100.0, True),
        (0, 100, 0.0, False),
    ],
)
def test_too_few_agree(right: int, total: int, least: float | None, fails: bool) -> None:
    said = trial.too_low(of(right, total), least)
    assert bool(said) == fails
    assert not fails or f"{right} of {total}" in said


@pytest.mark.parametrize(
    "failing, marked", [(0, True), (39, True), (40, False), (60, False), (61, True), (100, True)]
)
def test_a_lopsided_run_is_marked(failing: int, marked: bool) -> None:
    results = [result(n, [], FAILS if n < failing else LOCKS) for n in range(100)]
    assert ("NOT BALANCED" in "\n".join(trial.summary(results))) == marked
    assert trial.balanced(results) != marked


@pytest.mark.parametrize(
    "words, differs, code",
    [([], "cause", 0), (["--least", "100"], "", 0), (["--least", "1"], "cause", 1)],
)
def test_the_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    differs: str,
    code: int,
) -> None:
    monkeypatch.setattr(trial, "known_strategies", lambda wanted: set(STRATEGIES))
    monkeypatch.setattr(
        trial,
        "run_draw",
        lambda d, *_: result(d.number, [differs] if differs else [], FAILS) | {"seconds": 1.0},
    )
    assert trial.main(["--draws", "3", "--out", str(tmp_path), *words]) == code
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"agree {0 if differs else 3} of 3"
    assert ("less than 1 %" in said.err) == (code == 1)
    report = json.loads((tmp_path / "trial.json").read_text())
    assert len(report["results"]) == 3 and report["balanced"] is False


# -- how a machine is made as drawn ------------------------------------------------


@pytest.mark.parametrize(
    "size, folder, flags, good",
    [
        (2 * MIB, True, "pse", True),
        (2 * MIB, False, "pse", False),
        (GIB, True, "pse pdpe1gb", True),
        (GIB, False, "pse", True),  # this CPU has no such pages
        (GIB, False, "pse pdpe1gb", False),
    ],
)
def test_huge_pages(tmp_path: Path, size: int, folder: bool, flags: str, good: bool) -> None:
    """A CPU without pages of 1 GiB is a machine as drawn; a write that fails is none."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"flags\t\t: {flags} nx\n")
    pages = tmp_path / f"sys/kernel/mm/hugepages/hugepages-{size // 1024}kB"
    if folder:
        pages.mkdir(parents=True)
    done = subprocess.run(
        ["busybox", "sh", "-c", trial.huge_pages(size, 3, str(tmp_path))],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode == 0) == good, done.stderr
    if folder:
        assert (pages / "nr_hugepages").read_text() == "3\n"
        (pages / "nr_hugepages").unlink()
        (pages / "nr_hugepages").mkdir()  # can't be written
        again = ["busybox", "sh", "-c", trial.huge_pages(size, 3, str(tmp_path))]
        assert subprocess.run(again, stderr=subprocess.DEVNULL).returncode != 0


# -- in guests --------------------------------------------------------------------


def test_a_crash_is_a_disagreement(tmp_path: Path) -> None:
    """A machine that panics while it boots."""
    d = Draw(strategy="coherent", ram_mib=512, cmdline=["rdinit=/none"], bytes=MIB)
    ledger = trial.Ledger(tmp_path / "predictions.jsonl")
    said = trial.run_draw(d, ledger, tmp_path / "guests", trial.Alive())
    assert said["differs"] == ["crashed"] and said["happened"] is None and said["error"]


@pytest.mark.parametrize("error", [KeyError("number"), ValueError("x"), RecursionError()])
def test_whatever_a_guest_does_is_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An answer that nobody thought of ends one draw, not the trial."""

    def start(guest: Guest) -> None:
        raise error

    monkeypatch.setattr(Guest, "_start", start)
    ledger = trial.Ledger(tmp_path / "predictions.jsonl")
    said = trial.run_draw(Draw(number=3), ledger, tmp_path / "guests", trial.Alive())
    assert said["differs"] == ["crashed"] and said["happened"] is None
    assert type(error).__name__ in said["error"]
    assert trial.summary([said])[-1] == "agree 0 of 1"


def test_the_prediction_is_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the lock is tried the prediction is in the file, and it is the doctor's own."""
    d = Draw(number=7, ram_mib=512, strategy="coherent", bytes=64 * MIB)
    path = tmp_path / "predictions.jsonl"
    ledger, seen = trial.Ledger(path), list[dict[str, Any]]()
    real = trial.happen

    def happen(draw: Draw, guest: Any) -> Outcome:
        seen.append(json.loads(path.read_text()))
        return real(draw, guest)

    monkeypatch.setattr(trial, "happen", happen)
    said = trial.run_draw(d, ledger, tmp_path / "guests", trial.Alive())
    assert said["differs"] == [] and said["predicted"]["cause"] == 1
    assert seen[0]["draw"] == 7 and seen[0]["said"]["cause"]["number"] == 1


@pytest.mark.parametrize(
    "d, cause",
    [
        (Draw(program="gl-32", ram_mib=768, mapped=3584 * MIB, bytes=512 * MIB), 21),
        (
            Draw(
                program="gl-user",
                ram_mib=256,
                bytes=16 * MIB,
                options=["--memory readonly", "--direction both"],
            ),
            31,
        ),
    ],
    ids=["32-bit process", "read-only memory"],
)
def test_programs_of_their_own(tmp_path: Path, d: Draw, cause: int) -> None:
    ledger = trial.Ledger(tmp_path / "predictions.jsonl")
    said = trial.run_draw(d, ledger, tmp_path / "guests", trial.Alive())
    assert said["error"] is None and said["happened"]["cause"] == cause
    assert said["differs"] == [], said["line"]


def stopped(out: Path, number: int, ready: Callable[[], bool]) -> tuple[int, str]:
    """A trial that gets that signal once it is ready and has a QEMU: its code and what it said.
    Nothing that it had started is left."""
    command = [sys.executable, "-m", "gigalock_harness.trial", "--draws", "50", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 300
        started: dict[int, str] = {}
        while not ready() or not any("qemu-system" in line for line in started.values()):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
            started = guests.descendants(process.pid)
        os.killpg(process.pid, number)
        text, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    until = time.monotonic() + 5
    while (left := [line for pid, line in started.items() if guests.alive(pid)]) and (
        time.monotonic() < until
    ):
        time.sleep(0.05)
    assert not left
    assert "Traceback" not in text, text
    return process.returncode, text


def test_interrupted(tmp_path: Path) -> None:
    """In the middle: no guest stays, and what was done is in the report."""
    report = tmp_path / "trial.json"
    code, text = stopped(tmp_path, signal.SIGINT, report.exists)
    results = json.loads(report.read_text())["results"]
    assert code == 130 and 1 <= len(results) < 50, text
    assert text.rstrip().splitlines()[-1].endswith(f" of {len(results)}")
    assert not [r["error"] for r in results if r["error"]], "a guest that was ended is no crash"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_the_first_draw(tmp_path: Path, number: int) -> None:
    """While the first guest says what the driver can do."""
    code, text = stopped(tmp_path, number, lambda: True)
    assert code == 130 and text == "stopped before the first draw\n"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--draws", "0"], "--draws 0; 1 to 100000"),
        (["--draws", "100001"], "--draws 100001"),
        (["--jobs", "0"], "--jobs 0"),
        (["--first", "-1"], "--first -1"),
        (["--least", "100.5"], "--least 100.5; 0 to 100"),
        (["--least", "-1"], "--least -1; 0 to 100"),
        (["--least", "nan"], "--least nan; 0 to 100"),
        (["--seed", "x"], "invalid int value: 'x'"),
    ],
)
def test_bad_arguments(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        trial.main(words)
    assert caught.value.code == 2 and said in capsys.readouterr().err
