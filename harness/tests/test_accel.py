# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM is used only when a guest has booted with it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from gigalock_harness import accel, places
from gigalock_harness.errors import GuestError
from gigalock_harness.guest import Guest
from guests import alive, children, plain

QEMU = "qemu-system-x86_64"
have_kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIGALOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GIGALOCK_ACCEL", raising=False)
    return tmp_path / "cache"


def answers(cache: Path) -> list[Path]:
    return list((cache / "accel").glob("*.json"))


def test_override(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setenv("GIGALOCK_ACCEL", "tcg")
    assert accel.choose(plain(), QEMU) == "tcg"
    monkeypatch.setenv("GIGALOCK_ACCEL", "kvm")
    assert accel.choose(plain(), QEMU) == "kvm"
    assert accel.choose(plain(accel="tcg"), QEMU) == "tcg"
    assert not own_cache.exists(), "nobody was asked"
    monkeypatch.setenv("GIGALOCK_ACCEL", "turbo")
    with pytest.raises(GuestError, match="accelerator 'turbo'"):
        accel.choose(plain(), QEMU)


def test_no_kvm_no_probe(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(accel.os, "access", lambda *_: False)
    assert accel.choose(plain(), QEMU) == "tcg"
    assert answers(own_cache) == []


@pytest.mark.skipif(not have_kvm, reason="no /dev/kvm to probe")
def test_probe_is_bounded_remembered_and_true(own_cache: Path) -> None:
    start = time.monotonic()
    choice = accel.choose(plain(), QEMU)
    first = time.monotonic() - start
    assert first < accel.PROBE_SECONDS + 15
    (answer,) = answers(own_cache)
    said = json.loads(answer.read_text())
    assert said["works"] is (choice == "kvm") and said["why"]
    start = time.monotonic()
    assert accel.choose(plain(), QEMU) == choice
    assert time.monotonic() - start < 1, "the answer is remembered"
    # What is remembered counts, and only for this QEMU and this kernel.
    answer.write_text(json.dumps({"works": choice != "kvm"}))
    assert accel.choose(plain(), QEMU) != choice
    # ... and what was chosen really boots.
    with Guest(replace(plain(), accel=choice), log_dir=own_cache / "log") as g:
        assert g.run("echo up").stdout == "up\n"


def test_answer_depends_on_kernel_and_qemu(tmp_path: Path) -> None:
    other = tmp_path / "vmlinux"
    other.write_bytes(b"\x7fELF")
    wrapper = tmp_path / "qemu"
    wrapper.write_text("#!/bin/sh\necho 'QEMU emulator version 8.1.0'\n")
    wrapper.chmod(0o755)
    keys = {
        accel._key(plain(), QEMU),
        accel._key(plain(kernel=str(other)), QEMU),
        accel._key(plain(), str(wrapper)),
    }
    assert len(keys) == 3


HANGS = """#!/usr/bin/python3
import os, signal, sys, time
if "--version" in sys.argv:
    print("QEMU emulator version 7.2.99")
    sys.exit()
with open({started!r}, "a") as log:
    log.write(f"{{os.getpid()}} {{sys.argv[sys.argv.index('-accel') + 1]}}\\n")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1000)
"""


def test_a_guest_that_hangs_with_kvm(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that this is for: /dev/kvm is there, and nothing ever comes of it."""
    started = tmp_path / "started"
    qemu = tmp_path / "qemu"
    qemu.write_text(HANGS.format(started=str(started)))
    qemu.chmod(0o755)
    monkeypatch.setattr(accel.os, "access", lambda *_: True)
    monkeypatch.setattr(accel, "PROBE_SECONDS", 1.5)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(places, "tmp_dir", lambda: scratch)
    before = children()
    start = time.monotonic()
    assert accel.choose(plain(), str(qemu)) == "tcg"
    # Its time, three for the monitor's silence, and the steps of Guest.close().
    assert 1.5 <= time.monotonic() - start < 20
    ((pid, how),) = [line.split() for line in started.read_text().splitlines()]
    assert how == "kvm" and not alive(int(pid)), "it ignores SIGTERM, and must end all the same"
    assert children() == before
    (answer,) = answers(own_cache)
    said = json.loads(answer.read_text())
    assert said["works"] is False and "within 1.5 s" in said["why"]
    assert accel.choose(plain(), str(qemu)) == "tcg"
    assert len(started.read_text().splitlines()) == 1, "it is asked once"
    assert list(scratch.iterdir()) == []


def test_unreadable_answer_is_no_answer(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel.os, "access", lambda *_: True)
    asked: list[float] = []
    monkeypatch.setattr(accel, "probe", lambda *_: (asked.append(1), (False, "no"))[1])
    assert accel.choose(plain(), QEMU) == "tcg"
    (answer,) = answers(own_cache)
    answer.write_text("{broken")
    assert accel.choose(plain(), QEMU) == "tcg"
    assert len(asked) == 2
    assert places.cache_dir() == own_cache
