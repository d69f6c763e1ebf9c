# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts that make what guests boot: initramfs, vmlinux, kernel and headers."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import os
import struct
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("BUILD") or HERE.parent / "build")
MKINITRAMFS = HERE / "scripts" / "mkinitramfs"


def load(name: str) -> ModuleType:
    loader = SourceFileLoader(name.replace("-", "_"), str(HERE / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


sys.dont_write_bytecode = True
extract = load("extract-vmlinux")


def image(tmp: Path, manifest: str, name: str = "out.cpio") -> subprocess.CompletedProcess[str]:
    (tmp / "manifest").write_text(manifest)
    (tmp / "build").mkdir(exist_ok=True)
    return subprocess.run(
        [
            MKINITRAMFS,
            "--manifest",
            tmp / "manifest",
            "--build",
            tmp / "build",
            "--kernel",
            "mine",
            "--out",
            tmp / name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def listing(cpio: Path) -> dict[str, str]:
    done = subprocess.run(
        ["cpio", "-tvn"], stdin=cpio.open("rb"), capture_output=True, text=True, check=True
    )
    out: dict[str, str] = {}
    for line in done.stdout.splitlines():
        words = line.split(maxsplit=8)
        assert words[2:4] == ["0", "0"], "everything belongs to root"
        out[words[8]] = words[0]
    return out


MANIFEST = """
dir   /tmp 1777
tree  /    src:tree
file  /init 0755 src:data   # the comment
program /bin/true host:/bin/true
"""


def test_image(tmp_path: Path) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/x").write_text("x")
    (tmp_path / "data").write_text("#!/bin/sh\n")
    assert image(tmp_path, MANIFEST).stderr == ""
    seen = listing(tmp_path / "out.cpio")
    assert seen["tmp"] == "drwxrwxrwt" and seen["init"] == "-rwxr-xr-x"
    assert seen["etc/x"] == "-rw-r--r--" and seen["etc"] == "drwxr-xr-x"
    assert any(n.startswith("usr/lib/gigalock/lib/libc.so") for n in seen)
    assert any("ld-linux-x86-64" in n for n in seen)
    names = [n.partition(" -> ")[0] for n in seen]
    assert all(os.path.dirname(n) in ("", *names[:i]) for i, n in enumerate(names)), "folders first"


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for n in "cab":
        (tmp_path / "tree" / n).write_text(n)
    (tmp_path / "data").write_text("x")
    image(tmp_path, MANIFEST)
    first = (tmp_path / "out.cpio").read_bytes()
    os.utime(tmp_path / "data", (1, 1))
    image(tmp_path, MANIFEST, "other.cpio")
    assert (tmp_path / "other.cpio").read_bytes() == first


def test_written_only_when_an_input_changed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "data").write_text("one")
    optional = MANIFEST + "file /opt 0644 build:later?\nprograms /bin build:tests/*?\n"
    image(tmp_path, optional)
    cpio = tmp_path / "out.cpio"

    def stamp() -> tuple[int, int]:
        return cpio.stat().st_ino, cpio.stat().st_mtime_ns

    before = stamp()
    image(tmp_path, optional)
    assert stamp() == before
    (tmp_path / "data").write_text("two")
    image(tmp_path, optional)
    assert b"two" in cpio.read_bytes()
    before = stamp()
    (tmp_path / "build/later").write_text("now it is there")
    image(tmp_path, optional)
    assert stamp() != before and "opt" in listing(cpio)
    (tmp_path / "build/tests").mkdir()
    script = tmp_path / "build/tests/t1"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    image(tmp_path, optional)
    assert "bin/t1" in listing(cpio)
    script.unlink()
    image(tmp_path, optional)
    assert "bin/t1" not in listing(cpio)


def test_each_kernel_gets_its_own_modules(tmp_path: Path) -> None:
    for kernel in ("mine", "other"):
        folder = tmp_path / "build/guest-image/kernels" / kernel
        (folder / "modules").mkdir(parents=True)
        (folder / "release").write_text(f"9.9-{kernel}\n")
        (folder / "modules" / f"{kernel}.ko").write_text("a module")
        (tmp_path / "build/driver" / kernel).mkdir(parents=True)
        (tmp_path / "build/driver" / kernel / "gl.ko").write_text(f"for {kernel}")
    manifest = "module /lib/gl.ko driver:gl.ko\ntree /lib/{release} kernel:modules?\n"
    done = image(tmp_path, manifest)
    assert done.returncode == 0, done.stderr
    assert set(listing(tmp_path / "out.cpio")) == {
        "lib",
        "lib/gl.ko",
        "lib/9.9-mine",
        "lib/9.9-mine/mine.ko",
    }
    assert b"for mine" in (tmp_path / "out.cpio").read_bytes()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("tree /lib/{release} kernel:modules?", "kernels/mine/release"),
        ("file /x 0644 src:missing", "manifest:1: there is no"),
        ("\nfile /x 0644 elsewhere:x", "manifest:2: 'elsewhere:x' does not start with"),
        ("what /x", "don't understand 'what /x'"),
        ("file /x 0644", "don't understand"),
    ],
)
def test_bad_manifest(tmp_path: Path, manifest: str, message: str) -> None:
    done = image(tmp_path, manifest)
    assert done.returncode == 1 and message in done.stderr
    assert not (tmp_path / "out.cpio").exists()


def test_put(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    out = tmp_path / "extra.cpio"
    subprocess.run(
        [MKINITRAMFS, "--out", out, "--put", f"/lib/modules/x.ko={tmp_path / 'f'}"], check=True
    )
    assert list(listing(out)) == ["lib", "lib/modules", "lib/modules/x.ko"]
    done = subprocess.run(
        [MKINITRAMFS, "--out", out, "--put", "x=y"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "is not /PATH=FILE" in done.stderr


def test_the_image_itself() -> None:
    """What guests boot holds what they need, and no debug information."""
    cpio = BUILD / "guest-image" / "stock" / "initramfs.cpio"
    seen = listing(cpio)
    for name in ("init", "bin/busybox", "bin/sh -> busybox", "etc/passwd", "etc/profile"):
        assert name in seen
    assert cpio.stat().st_size < 12 << 20


ELF = b"\x7fELF" + bytes(range(256)) * 300


def bzimage(body: bytes, sectors: int = 3) -> bytes:
    head = bytearray((sectors + 1) * 512)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<II", head, 0x248, 64, len(body))
    return bytes(head) + bytes(64) + body + bytes(99)


def tool(name: str, data: bytes) -> bytes:
    return subprocess.run([name, "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("kind", ["xz", "gzip", "bzip2", "zstd"])
def test_extract(kind: str) -> None:
    size = struct.pack("<I", len(ELF))
    body = {
        "xz": lambda: lzma.compress(ELF) + size,
        "gzip": lambda: gzip.compress(ELF),
        "bzip2": lambda: bz2.compress(ELF) + size,
        "zstd": lambda: tool("zstd", ELF) + size,
    }[kind]()
    assert extract.unpack(extract.payload(bzimage(body))) == ELF


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no HdrS"),
        (bytes(4096), "no HdrS"),
        (bzimage(b"plain" * 20), "unknown compression"),
        (bzimage(lzma.compress(ELF) + b"\x01\0\0\0"), "its trailer says 1"),
        (bzimage(lzma.compress(b"no kernel") + struct.pack("<I", 9)), "no ELF image"),
        (bzimage(lzma.compress(ELF))[:900], "not inside the 900 byte file"),
    ],
)
def test_extract_refuses(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "bz").write_bytes(data)
    done = subprocess.run(
        [HERE / "scripts/extract-vmlinux", tmp_path / "bz", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_kernel_is_unpacked() -> None:
    kernel = BUILD / "guest-image/kernels/stock"
    release = (kernel / "release").read_text().strip()
    assert (kernel / "vmlinux").open("rb").read(4) == b"\x7fELF"
    assert f"Linux version {release} ".encode() in (kernel / "vmlinux").read_bytes()
    names = [line.partition("=")[0] for line in (kernel / "packages").read_text().splitlines()]
    assert names[0] == f"linux-image-{release}" and f"linux-headers-{release}" in names


def test_module_builds(tmp_path: Path) -> None:
    """The headers work where they are: not installed, and under another path than Debian's."""
    (tmp_path / "Kbuild").write_text("obj-m := trial.o\n")
    (tmp_path / "trial.c").write_text(
        "#include <linux/module.h>\n#include <linux/pci.h>\n"
        "static int __init trial_init(void) { return pci_dev_present(NULL); }\n"
        'module_init(trial_init);\nMODULE_LICENSE("GPL");\n'
    )
    kdir = BUILD / "guest-image/kernels/stock/build"
    done = subprocess.run(
        ["make", "-C", kdir, f"M={tmp_path}", "W=1", "modules"],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    )
    assert done.returncode == 0, done.stderr
    assert "warning:" not in done.stderr
    release = (BUILD / "guest-image/kernels/stock/release").read_text().strip()
    assert f"vermagic={release} ".encode() in (tmp_path / "trial.ko").read_bytes()


def test_kernel_needs_no_network_again(tmp_path: Path) -> None:
    """With an apt-fetch that can't reach anything the known kernel is still found."""
    env = dict(os.environ, http_proxy="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1")
    done = subprocess.run(
        [HERE / "scripts/kernel", "stock", tmp_path / "k"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "k/vmlinux").exists() and (tmp_path / "k/build/Makefile").exists()


def test_kernel_that_is_not_known(tmp_path: Path) -> None:
    done = subprocess.run(
        [HERE / "scripts/kernel", "9.99", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no kernel '9.99' in kernels.list, there are: stock lab 6.12" in done.stderr
