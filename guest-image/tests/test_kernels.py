# SPDX-License-Identifier: GPL-2.0-or-later
"""Where kernels come from: the list, the configuration of our own, and builds that are cut off."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_image import BUILD, ELF, HERE, bzimage, load, tool

TOP = HERE.parent
KERNEL = HERE / "scripts" / "kernel"
CACHED = TOP / "scripts" / "cached"
FRAGMENT = HERE / "lab.config"
HEAD = (
    "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.192 Kernel Configuration\n#\n"
)

in_effect = load("config-in-effect")


def entries() -> list[list[str]]:
    lines = (HERE / "kernels.list").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | env,
    )


# ---- the list ----


def test_each_line_of_the_list_can_be_followed() -> None:
    assert len(entries()) >= 4
    for name, need, how, *arguments in entries():
        assert re.fullmatch(r"[a-z0-9.]+", name)
        assert need in ("must", "may", "report", "asked"), name
        assert os.access(HERE / "scripts" / f"kernel-{how}", os.X_OK), name
        assert arguments, name
        assert run(KERNEL, "--need", name).stdout == need + "\n"
    names = [e[0] for e in entries()]
    assert len(set(names)) == len(names)
    assert run(KERNEL, "--list").stdout.split() == names
    # Without these two nothing can be promised; the newest one moves by itself; what is built
    # for many minutes for the driver's own sake is nobody's who didn't ask.
    needs = {e[0]: e[1] for e in entries()}
    assert (needs["stock"], needs["lab"], needs["newest"]) == ("must", "must", "report")
    assert needs["debug"] == "asked"


@pytest.mark.parametrize("words", [["--need"], ["--have"], []])
def test_a_name_that_is_not_in_the_list(words: list[str], tmp_path: Path) -> None:
    done = run(KERNEL, *words, "labb", *([] if words else [tmp_path]))
    assert done.returncode == 1
    assert f"no kernel 'labb' in kernels.list, there are: {' '.join(e[0] for e in entries())}" in (
        done.stderr
    )


def test_make_refuses_it_too() -> None:
    done = run("make", "-C", TOP, "image", "KERNEL=labb")
    assert done.returncode == 2
    assert "no kernel 'labb'" in done.stderr and "stock lab" in done.stderr


def test_what_is_not_in_the_cache_is_not_there(tmp_path: Path) -> None:
    done = run(KERNEL, "--have", "lab", GIGALOCK_CACHE=str(tmp_path / "none"))
    assert done.returncode == 1 and not (tmp_path / "none").exists()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The scripts that bring kernels, beside an apt-fetch of our own."""
    top = tmp_path / "top"
    (top / "scripts").mkdir(parents=True)
    shutil.copy(CACHED, top / "scripts")
    shutil.copytree(HERE / "scripts", top / "guest-image" / "scripts")
    for file in [*HERE.glob("*.list"), *HERE.glob("*.config")]:
        shutil.copy(file, top / "guest-image")
    return top


def fake_fetch(tree: Path, text: str) -> None:
    fetch = tree / "scripts" / "apt-fetch"
    fetch.write_text(f"#!/bin/sh\n{text}\n")
    fetch.chmod(0o755)


@pytest.mark.parametrize("name", ["6.12", "lab", "debug", "stock"])
def test_a_kernel_that_the_release_has_not(tree: Path, tmp_path: Path, name: str) -> None:
    """Told from an archive that can't be reached: only the first is no error everywhere."""
    bring = tree / "guest-image" / "scripts" / "kernel"
    cache = str(tmp_path / "cache")
    fake_fetch(tree, 'echo "apt-fetch: no package $2 in Debian trixie" >&2; exit 3')
    done = run(bring, name, tmp_path / "k", GIGALOCK_CACHE=cache)
    assert done.returncode == 3 and "no package linux-" in done.stderr
    fake_fetch(tree, 'echo "apt-fetch: the lists can\'t be fetched" >&2; exit 1')
    done = run(bring, name, tmp_path / "k", GIGALOCK_CACHE=cache)
    assert done.returncode == 1
    assert not (tmp_path / "k").exists()
    assert not list((tmp_path / "cache").rglob("*/*")), "something half-known is remembered"


# ---- our configuration ----


def kernel_config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config"
    path.write_text(HEAD + text)
    return path


def fragments(name: str) -> list[str]:
    """The configuration of a kernel that we build, as the list has it."""
    return next(e[4:] for e in entries() if e[0] == name)


def test_each_of_our_kernels_is_what_it_depends_on(tree: Path) -> None:
    """A line more in the debug kernel's own fragment builds that one anew, and no other."""

    def inputs(name: str) -> str:
        script = tree / "guest-image/scripts/kernel-source"
        return run(script, "inputs", "linux-source", *fragments(name)).stdout

    assert fragments("lab") == fragments("debug")[:1] == [FRAGMENT.name]
    lab, debug = inputs("lab"), inputs("debug")
    assert lab and debug and lab != debug
    with (tree / "guest-image" / fragments("debug")[1]).open("a") as own:
        own.write("CONFIG_KCOV=y\n")
    assert inputs("lab") == lab and inputs("debug") != debug
    with (tree / "guest-image" / FRAGMENT.name).open("a") as shared:
        shared.write("CONFIG_KCOV=y\n")
    assert inputs("lab") != lab


@pytest.mark.parametrize("name", ["lab", "debug"])
def test_our_kernels_have_all_they_should(name: str) -> None:
    if run(KERNEL, "--have", name).returncode:
        pytest.skip(f"the {name} kernel is not built; make kernel KERNEL={name}")
    assert run(KERNEL, name, BUILD / "guest-image/kernels" / name).returncode == 0
    config = BUILD / "guest-image/kernels" / name / "config"
    wanted = [HERE / f for f in fragments(name)]
    done = run(HERE / "scripts/config-in-effect", *wanted, config)
    assert (done.returncode, done.stderr) == (0, "")
    release = (config.parent / "release").read_text().strip()
    assert release.endswith(f"-{name}")
    booted = (config.parent / "vmlinux").read_bytes()
    if "CONFIG_KASAN=y\n" in config.read_text():
        # PVH would start it before KASAN is ready: a bzImage, whose head has the version.
        assert booted[0x202:0x206] == b"HdrS" and f"\0{release} (".encode() in booted[:0x8000]
    else:
        assert f"Linux version {release} ".encode() in booted
    assert (config.parent / "build/Module.symvers").stat().st_size > 100_000


def test_each_missing_option_is_named() -> None:
    text = FRAGMENT.read_text()
    wanted = in_effect.options(text, "lab.config", (6, 1, 192))
    assert len(wanted) > 100
    assert in_effect.missing(wanted, wanted) == []
    for option, value in wanted.items():
        there = {k: v for k, v in wanted.items() if k != option}
        if value != "n":
            assert in_effect.missing(wanted, there) == [
                f"{option} is not known or not possible, wanted is {value}"
            ]
        there[option] = "m"
        assert in_effect.missing(wanted, there) == [f"{option} is m, wanted is {value}"]


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("CONFIG_B=y\n", "CONFIG_B is not known or not possible, wanted is y"),
        ("CONFIG_A=m\n", "CONFIG_A is y, wanted is m"),
        ("# CONFIG_A is not set\n", "CONFIG_A is y, wanted is n"),
        ("CONFIG_A=y\nCONFIG_A=y\n", "fragment:2: CONFIG_A is said twice"),
        ("CONFIG_A\n", "fragment:1: don't understand 'CONFIG_A'"),
        ("# nothing\n", "wants nothing"),
        ("# only before 6.2:\nCONFIG_B=y\n", "CONFIG_B is not known"),
    ],
)
def test_a_fragment_that_is_not_in_effect(tmp_path: Path, fragment: str, message: str) -> None:
    (tmp_path / "fragment").write_text(fragment)
    config = kernel_config(tmp_path, "CONFIG_A=y\n# CONFIG_C is not set\n")
    done = run(HERE / "scripts/config-in-effect", tmp_path / "fragment", config)
    assert done.returncode == 1 and message in done.stderr


@pytest.mark.parametrize(
    "fragment",
    [
        "CONFIG_A=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n",
        "CONFIG_A=y\n# only before 6.1.192:\nCONFIG_B=y\n",
        "# only before 5.19:\nCONFIG_B=y\n# a remark\nCONFIG_A=y\n",
    ],
)
def test_a_fragment_that_is(tmp_path: Path, fragment: str) -> None:
    (tmp_path / "fragment").write_text(fragment)
    config = kernel_config(tmp_path, "CONFIG_A=y\n# CONFIG_C is not set\n")
    done = run(HERE / "scripts/config-in-effect", tmp_path / "fragment", config)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        (["CONFIG_A=n\n# CONFIG_C is not set\n", "CONFIG_A=y\n"], ""),
        (["CONFIG_A=y\n", "# CONFIG_A is not set\n"], "CONFIG_A is y, wanted is n"),
        (["CONFIG_B=y\n", "CONFIG_A=y\n"], "CONFIG_B is not known or not possible"),
        (["CONFIG_A=y\n", "# nothing\n"], "fragment1 wants nothing"),
    ],
)
def test_fragments_one_over_the_other(tmp_path: Path, fragments: list[str], message: str) -> None:
    files = [tmp_path / f"fragment{n}" for n in range(len(fragments))]
    for file, text in zip(files, fragments, strict=True):
        file.write_text(text)
    config = kernel_config(tmp_path, "CONFIG_A=y\n# CONFIG_C is not set\n")
    done = run(HERE / "scripts/config-in-effect", *files, config)
    assert done.returncode == bool(message) and message in done.stderr


def test_a_configuration_of_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "fragment").write_text("CONFIG_A=y\n")
    (tmp_path / "config").write_text("CONFIG_A=y\n")
    done = run(HERE / "scripts/config-in-effect", tmp_path / "fragment", tmp_path / "config")
    assert done.returncode == 1 and "does not say which kernel it is for" in done.stderr


# ---- what is cut off, and two at once ----


def cached(cache: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [CACHED, *words],
        env=os.environ | {"GIGALOCK_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(what: Path) -> None:
    for _ in range(600):
        if what.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} does not appear")


def test_a_build_that_is_cut_off_leaves_nothing_that_looks_done(tmp_path: Path) -> None:
    mark = tmp_path / "began"
    half = f"echo half > $OUT/vmlinux; touch {mark}; sleep 600"
    first = cached(tmp_path / "c", "kernel-x", "key", "sh", "-c", half)
    until(mark)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert run(CACHED, "--have", "kernel-x", "key", GIGALOCK_CACHE=str(tmp_path / "c")).returncode
    left = list((tmp_path / "c").glob(".tmp-kernel-x-*"))
    assert len(left) == 1
    again = cached(tmp_path / "c", "kernel-x", "key", "sh", "-c", "echo whole > $OUT/vmlinux")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert (Path(out.strip()) / "vmlinux").read_text() == "whole\n"
    assert not list((tmp_path / "c").glob(".tmp-*")), "what was cut off is still there"
    have = run(CACHED, "--have", "kernel-x", "key", GIGALOCK_CACHE=str(tmp_path / "c"))
    assert (have.returncode, have.stdout) == (0, out)


def test_two_at_once_build_it_once(tmp_path: Path) -> None:
    mark, go = tmp_path / "began", tmp_path / "go"
    slow = f"echo one >> {mark}; while [ ! -e {go} ]; do sleep 0.05; done; touch $OUT/done"
    first = cached(tmp_path / "c", "kernel-x", "key", "sh", "-c", slow)
    until(mark)
    second = cached(tmp_path / "c", "kernel-x", "key", "sh", "-c", slow)
    assert second.stderr is not None
    assert "another run builds kernel-x; waiting" in second.stderr.readline()
    go.touch()
    outs = [p.communicate(timeout=60)[0] for p in (first, second)]
    assert outs[0] == outs[1] and (Path(outs[0].strip()) / "done").exists()
    assert mark.read_text() == "one\n"


def test_a_build_that_fails_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        p = cached(tmp_path / "c", "kernel-x", "key", "sh", "-c", "echo no >&2; exit 4")
        assert "building kernel-x failed" in p.communicate(timeout=60)[1]
        assert p.returncode == 1
    assert not [f for f in (tmp_path / "c").iterdir() if not f.name.startswith(".lock")]


# ---- Debian's image packages, of both kinds ----


def object_file(path: Path) -> Path:
    source = path.with_suffix(".c")
    source.write_text('char licence[] __attribute__((section(".modinfo"))) = "license=GPL";\n')
    subprocess.run(["gcc", "-c", "-o", path, source], check=True)
    source.unlink()
    return path


@pytest.mark.parametrize("newer", [False, True])
def test_an_image_package(tmp_path: Path, newer: bool) -> None:
    """Newer packages have kernel and configuration with the modules, and these compressed."""
    package, release = tmp_path / "package", "9.9-amd64"
    modules = package / ("usr/lib/modules" if newer else "lib/modules") / release
    (modules / "kernel/drivers/nvme").mkdir(parents=True)
    for name in ("nvme", "another"):
        ko = object_file(modules / f"kernel/drivers/nvme/{name}.ko")
        if newer:
            ko.with_suffix(".ko.xz").write_bytes(tool("xz", ko.read_bytes()))
            ko.unlink()
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (modules / name).write_text("")
    (modules / "modules.builtin").write_text("kernel/lib/sure.ko\n")
    boot = modules if newer else package / "boot"
    boot.mkdir(exist_ok=True)
    dash = "" if newer else f"-{release}"
    (boot / f"vmlinuz{dash}").write_bytes(bzimage(gzip.compress(ELF)))
    (boot / f"config{dash}").write_text("CONFIG_A=y\n")
    out = tmp_path / "out"
    out.mkdir()
    done = run(HERE / "scripts/kernel-image", package, release, OUT=str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / "vmlinux").read_bytes() == ELF
    assert (out / "config").read_text() == "CONFIG_A=y\n"
    assert (out / "release").read_text() == release + "\n"
    # The one of modules.list, unpacked; not its neighbour; and what modprobe reads.
    assert sorted(p.name for p in (out / "modules").iterdir()) == [
        "modules.builtin",
        "modules.dep",
        "nvme.ko",
    ]
    assert (out / "modules/nvme.ko").read_bytes()[:4] == b"\x7fELF"
    assert (out / "modules/modules.dep").read_text() == "nvme.ko:\n"
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["bzImage", "vmlinux", "config", "release", "modules"]
    )
