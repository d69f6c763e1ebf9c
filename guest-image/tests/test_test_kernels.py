# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/test-kernels: what turns it red, and what it says in its table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
from test_image import HERE

TOP = HERE.parent

# Files with guests in them that are not for every kernel: about the harness itself, about the one
# that they name, or with their kernels named in their scenarios.
NOT_ABOUT_A_KERNEL = {
    "harness/tests": {
        "test_accel.py",
        "test_boot_bad.py",
        "test_debug_kernel.py",
        "test_flood.py",
        "test_kernel_choice.py",
        "test_rebuild.py",
        "test_template.py",
    },
    "userlib/tests": set(),
}


def script() -> ModuleType:
    loader = SourceFileLoader("test_kernels_script", str(TOP / "scripts" / "test-kernels"))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


sys.dont_write_bytecode = True
tk = script()
JUNIT = (
    '<testsuites><testsuite tests="9" failures="{failures}" errors="1" skipped="2"/></testsuites>'
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of five kernels, made by a script of ours; make and pytest only say they were."""
    kernel = tmp_path / "kernel"
    kernel.write_text(
        "#!/bin/sh\n"
        'case $1 in --list) printf "%s\\n" good gone broken late extra ;;\n'
        "--need) case $2 in good | broken) echo must ;; gone) echo may ;; extra) echo asked ;; "
        "*) echo report ;; esac ;;\n"
        'gone) echo "apt-fetch: no package linux-gone in Debian trixie"; exit 3 ;;\n'
        f'*) mkdir -p "$2"; echo "9.9-$1" >"$2/release"; exit $(cat {tmp_path}/code-$1) ;;\nesac\n'
    )
    kernel.chmod(0o755)
    for name in ("good", "broken", "late", "extra"):
        (tmp_path / f"code-{name}").write_text("0")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "make").write_text("#!/bin/sh\nexit 0\n")
    (bin_ / "make").chmod(0o755)
    pytest_ = bin_ / "python"
    pytest_.write_text(
        "#!/bin/sh\nfor a in $*; do case $a in --junitxml=*) out=${a#*=} ;; esac; done\n"
        f"cp {tmp_path}/junit-$GIGALOCK_KERNEL.xml $out 2>/dev/null\n"
        f"exit $(cat {tmp_path}/ended-$GIGALOCK_KERNEL)\n"
    )
    pytest_.chmod(0o755)
    monkeypatch.setattr(tk, "KERNEL", kernel)
    monkeypatch.setattr(tk, "BUILD", tmp_path / "build")
    monkeypatch.setattr(tk.sys, "executable", str(pytest_))
    monkeypatch.setenv("PATH", str(bin_), prepend=":")
    for name in ("good", "broken", "late", "extra"):
        result(tmp_path, name, failures=0)
    return tmp_path


def result(world: Path, name: str, failures: int | None, ended: int | None = None) -> None:
    junit = world / f"junit-{name}.xml"
    if failures is None:
        junit.unlink()
    else:
        text = JUNIT.format(failures=failures)
        junit.write_text(text if failures else text.replace('errors="1"', 'errors="0"'))
    code = (1 if failures else 0) if ended is None else ended
    (world / f"ended-{name}").write_text(str(code))


def rows(world: Path) -> dict[str, dict]:
    return {
        r["kernel"]: r for r in json.loads((world / "build/test-kernels/kernels.json").read_text())
    }


def line(said: str, kernel: str) -> str:
    return next(li for li in said.split("remark\n")[1].splitlines() if li.startswith(kernel))


def test_what_the_release_has_not_is_shown_and_fine(
    world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tk.main(["scripts/lint"]) == 0
    said = capfd.readouterr().out
    assert re.search(r"^good +9\.9-good +7 +0 +2 +\d+\.\d min$", line(said, "good"))
    assert line(said, "gone").endswith("no package linux-gone in Debian trixie")
    assert rows(world)["gone"]["absent"] and not rows(world)["gone"]["bad"]


def test_the_newest_one_is_reported_only(world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result(world, "late", failures=3)
    assert tk.main(["scripts/lint"]) == 0
    said = capfd.readouterr().out
    assert re.search(r"^late +9\.9-late +3 +4 +2 .*reported only$", line(said, "late"))
    (world / "code-late").write_text("1")
    assert tk.main(["scripts/lint"]) == 0
    # ... but a kernel that must pass turns it red for the same.
    result(world, "broken", failures=3)
    assert tk.main(["scripts/lint"]) == 1
    assert capfd.readouterr().out.endswith("test-kernels: failed: broken\n")


@pytest.mark.parametrize(
    ("failures", "ended", "why"),
    [
        (None, 1, "the tests left no result"),
        (0, 2, "pytest ended with exit code 2"),
        (0, 5, "pytest ended with exit code 5"),
        (0, 1, "something failed, and its results don't"),
    ],
)
def test_a_run_without_a_clear_result_is_red(
    world: Path, capfd: pytest.CaptureFixture[str], failures: int | None, ended: int, why: str
) -> None:
    result(world, "broken", failures, ended)
    assert tk.main(["scripts/lint"]) == 1
    assert why in line(capfd.readouterr().out, "broken")


def test_tests_that_all_skip_prove_nothing(world: Path) -> None:
    (world / "junit-broken.xml").write_text('<testsuite tests="2" skipped="2"/>')
    assert tk.main(["scripts/lint"]) == 1


def test_a_kernel_that_cannot_be_had_is_red(world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (world / "code-broken").write_text("1")
    assert tk.main(["--build-only"]) == 1
    assert rows(world)["broken"]["bad"] and not rows(world)["good"]["bad"]
    assert line(capfd.readouterr().out, "good").endswith("built")


def test_one_that_must_be_asked_for(world: Path) -> None:
    result(world, "extra", failures=3)
    assert tk.main(["scripts/lint"]) == 0
    assert list(rows(world)) == ["good", "gone", "broken", "late"]
    # ... and then it counts like any other.
    assert tk.main(["--kernel", "extra", "scripts/lint"]) == 1
    assert list(rows(world)) == ["extra"] and rows(world)["extra"]["bad"]
    result(world, "extra", failures=0)
    assert tk.main(["--kernel", "extra", "scripts/lint"]) == 0


def test_one_kernel_alone(world: Path) -> None:
    assert tk.main(["--kernel", "good", "scripts/lint"]) == 0
    assert list(rows(world)) == ["good"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--kernel", "labb", "scripts/lint"],
            "no kernel 'labb'; guest-image/kernels.list has: st",
        ),
        (["no/such.py"], "no such test: no/such.py"),
        (["--jobs", "0", "scripts/lint"], "0 jobs; at least 1"),
        ([], "either tests or --build-only"),
        (["--build-only", "scripts/lint"], "either tests or --build-only"),
    ],
)
def test_bad_words(words: list[str], message: str) -> None:
    done = subprocess.run(
        [TOP / "scripts" / "test-kernels", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and message in done.stderr


def listed_in_the_makefile(variable: str) -> list[str]:
    return subprocess.run(
        ["make", "-C", TOP, "--no-print-directory", "kt", "--eval", f"kt: ; @echo $({variable})"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


def test_what_runs_on_the_debug_kernel() -> None:
    listed = listed_in_the_makefile("DEBUG_TESTS")
    assert {f"harness/tests/test_{name}.py" for name in ("debug_kernel", "driver")} < set(listed)
    for name in listed:
        assert (TOP / name).exists(), name
        assert "unexpected_lines(" in (TOP / name).read_text(), f"{name} looks at no console"


def test_every_test_in_guests_is_for_all_kernels_or_for_none() -> None:
    """A file that nobody thought of would be run on one kernel only, and look as if on each."""
    listed = listed_in_the_makefile("KERNEL_TESTS")
    assert "harness/tests/test_driver.py" in listed
    assert "userlib/tests/test_in_guest.py" in listed
    for folder, others in NOT_ABOUT_A_KERNEL.items():
        for file in sorted((TOP / folder).glob("test_*.py")):
            if re.search(r"\bGuest\(", file.read_text()):
                here = f"{folder}/{file.name}" in listed
                assert here != (file.name in others), (
                    f"{file.name} boots guests: put it into the Makefile's KERNEL_TESTS, "
                    "or else into NOT_ABOUT_A_KERNEL here"
                )
