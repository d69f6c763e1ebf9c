# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/lint counts what it could not check, and never passes by not looking.

The slow checkers are stood in for by programs that find nothing: what is tested is lint itself.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from clone import Clone
from gigalock_harness.places import TOP

PINNED = re.search(r"^RUFF_VERSION=(\S+)$", (TOP / "scripts" / "lint").read_text(), re.M)[1]
RUFF = """case $* in
--version) echo "ruff {version}";;
check*) echo 'x.py:1: X001 made up'; exit {check};;
esac"""


class Lint:
    def __init__(self, folder: Path) -> None:
        self.clone = Clone(folder)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for quiet in ("perl", "make", "shellcheck", "spatch"):
            self.fake(quiet, "exit 0")
        self.ruff(PINNED)

    def fake(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def ruff(self, version: str, check: int = 0) -> None:
        self.fake("ruff", RUFF.format(version=version, check=check))

    def run(self) -> subprocess.CompletedProcess[str]:
        self.clone.env["PATH"] = f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.clone.run("scripts/lint")


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    return Lint(tmp_path)


def test_passes_as_the_tree_is(lint: Lint) -> None:
    done = lint.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    SPDX lines" in done.stdout and "ok    ruff check" in done.stdout
    assert re.search(r"^lint: \d+ passed, 0 failed, \d+ skipped$", done.stdout, re.M)


@pytest.mark.parametrize("git", ["exit 128", "exit 0"])
def test_without_a_list_of_files_it_fails(lint: Lint, git: str) -> None:
    lint.fake("git", git)
    done = lint.run()
    assert done.returncode == 1
    assert "git lists no files" in done.stderr
    assert "ok " not in done.stdout


@pytest.mark.parametrize(
    ("file", "licence"),
    [
        ("driver/pci.c", "GPL-2.0-or-later"),
        ("userlib/lib/card.c", "GPL-2.0-or-later"),
        ("driver/include/uapi/linux/gigalock.h", "GPL-2.0-only"),
        ("Makefile", "MIT"),
        ("harness/tests/clone.py", ""),
    ],
)
def test_a_file_with_another_licence_fails(lint: Lint, file: str, licence: str) -> None:
    path = lint.clone.top / file
    text = path.read_text()
    changed = re.sub(
        r"(SPDX-License-Identifier:) [\w.+ -]+?( \*/|$)",
        rf"\1 {licence}\2",
        text,
        count=1,
        flags=re.M,
    )
    assert changed != text
    path.write_text(changed)
    done = lint.run()
    assert done.returncode == 1
    assert f"{file}: no 'SPDX-License-Identifier:" in done.stdout
    assert done.stdout.count("SPDX-License-Identifier") == 1


def test_what_the_pinned_ruff_finds_fails(lint: Lint) -> None:
    lint.ruff(PINNED, check=1)
    done = lint.run()
    assert done.returncode == 1
    assert "FAIL  ruff check" in done.stdout and "X001 made up" in done.stdout


def test_what_another_ruff_finds_is_shown_and_skipped(lint: Lint) -> None:
    lint.ruff("99.1.2", check=1)
    done = lint.run()
    assert done.returncode == 0, done.stdout
    assert "X001 made up" in done.stdout
    why = f"this is ruff 99.1.2; the tree is laid out with {PINNED}"
    assert f"skip  ruff check: {why}" in done.stdout
    assert f"skip  ruff format: {why}" in done.stdout
    assert "ok    ruff" not in done.stdout


def test_a_checker_that_finds_something_fails(lint: Lint) -> None:
    lint.fake("shellcheck", "echo SC0000 made up; exit 1")
    done = lint.run()
    assert done.returncode == 1
    assert "FAIL  shellcheck" in done.stdout and "SC0000 made up" in done.stdout


def test_a_build_that_warns_fails(lint: Lint) -> None:
    lint.fake("make", "echo driver/x.c:1: warning: made up")
    done = lint.run()
    assert done.returncode == 1
    assert "FAIL  driver, W=1 and sparse" in done.stdout


def test_what_passed_is_not_run_again_until_it_changed(lint: Lint) -> None:
    name = "checkpatch --strict, driver"
    first, again = lint.run(), lint.run()
    assert f"ok    {name}\n" in first.stdout and f"ok    {name} (as before)\n" in again.stdout
    # What would fail now is not asked, as nothing it looks at is another ...
    lint.fake("perl", "echo made up; exit 1")
    lint.fake("make", "echo driver/x.c:1: warning: made up")
    done = lint.run()
    assert f"ok    {name} (as before)\n" in done.stdout and "FAIL  driver" not in done.stdout
    # ... until it is; and what failed is asked each time.
    lint.clone.change("driver/pci.c", "module_exit(", "/* another */\nmodule_exit(")
    for _ in range(2):
        done = lint.run()
        assert done.returncode == 1
        assert f"FAIL  {name}\n" in done.stdout and "FAIL  kernel-doc, driver\n" in done.stdout
        assert "FAIL  driver, W=1 and sparse, stock\n" in done.stdout


def test_a_kernel_that_is_not_in_the_cache_is_skipped_aloud(lint: Lint) -> None:
    with (lint.clone.top / "guest-image" / "kernels.list").open("a") as kernels:
        kernels.write("unheard\tmust\tdeb\tlinux-image-unheard\n")
        kernels.write("moving\treport\tdeb\tlinux-image-moving\n")
    done = lint.run()
    assert done.returncode == 0, done.stdout
    assert "skip  driver, W=1 and sparse, unheard: this kernel is not in the cache" in done.stdout
    assert "moving" not in done.stdout


SEMANTIC_PATCH = """/// Made up.
// Options: --no-includes
virtual report
virtual org
@r@
expression e;
position p;
@@
 made_up@p(e)
@script:python depends on report@
p << r.p;
@@
coccilib.report.print_report(p[0], "WARNING: made up")
"""


def test_what_a_semantic_patch_finds_fails(tmp_path: Path) -> None:
    scripts, sources = tmp_path / "scripts", tmp_path / "sources"
    scripts.mkdir()
    sources.mkdir()
    (scripts / "a.cocci").write_text(SEMANTIC_PATCH)
    check = [TOP / "scripts" / "coccicheck", scripts, sources]
    source = sources / "a.c"
    source.write_text("int f(int x)\n{\n\treturn x;\n}\n")
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    source.write_text("int f(int x)\n{\n\treturn made_up(x);\n}\n")
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"a\.c:3:.*WARNING: made up", done.stdout), done.stdout
    # A patch that can't be run is no patch that found nothing.
    (scripts / "a.cocci").write_text(SEMANTIC_PATCH.replace("@r@", "@r"))
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "a.cocci: spatch failed" in done.stdout
    (scripts / "a.cocci").unlink()
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no script in" in done.stderr


def test_every_licence_named_has_its_text() -> None:
    files = subprocess.run(
        ["git", "grep", "-hIoE", r"^.{0,4}SPDX-License-Identifier: [A-Za-z0-9. -]*[A-Za-z0-9]"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    named = {word for line in files for word in line.partition(": ")[2].split()} - {"WITH", "OR"}
    assert named >= {"GPL-2.0-only", "LGPL-2.1-or-later", "Linux-syscall-note"}
    assert named == {path.stem for path in (TOP / "LICENSES").iterdir()}
    for name in named:
        assert len((TOP / "LICENSES" / f"{name}.txt").read_text()) > 500
