# SPDX-License-Identifier: GPL-2.0-or-later
"""The pipeline file is what it says: its steps are real, and run in a debootstrap of each release.

The run itself is marked full: it takes the better part of an hour for each release.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from gigalock_harness import places

TOP = places.TOP
FILE = TOP / ".github" / "workflows" / "ci.yml"
STEP_MINUTES = 60


def job() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())["jobs"]["test"]


def steps() -> list[str]:
    return [s["run"] for s in job()["steps"] if "run" in s]


def containers() -> list[str]:
    return job()["strategy"]["matrix"]["container"]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (TOP / "Makefile").read_text(), re.M))


def test_the_link_at_the_top_is_the_file() -> None:
    link = TOP / "ci.yml"
    assert link.is_symlink()
    assert link.resolve() == FILE.resolve()


def test_both_releases_are_run() -> None:
    assert containers() == ["debian:bookworm", "debian:trixie"]


def test_every_make_target_exists() -> None:
    called = [t for s in steps() for t in re.findall(r"\bmake ([a-z-]+)", s) if t != "git"]
    assert {"deps", "all", "lint", "test", "demo"} <= set(called)
    assert set(called) <= make_targets()


def test_only_what_a_debootstrap_cannot_do_is_left_to_actions() -> None:
    """A step with "uses" is not tried here, so there is no other than these two."""
    order = [s.get("uses", "").partition("@")[0] or s["run"] for s in job()["steps"]]
    actions = [s for s in order if s.startswith("actions/")]
    assert actions == ["actions/checkout", "actions/upload-artifact"]
    makes = [i for i, s in enumerate(order) if s.startswith("make ")]
    trusts = [i for i, s in enumerate(order) if "safe.directory" in s]
    assert order.index(actions[0]) < trusts[0] < makes[0] < makes[-1] < order.index(actions[1])
    assert not [s for s in steps() if "${{" in s], "only the hosted runner knows what that is"


def test_the_reports_kept_are_those_that_are_written() -> None:
    kept = next(s for s in job()["steps"] if "upload-artifact" in s.get("uses", ""))
    assert kept["if"] == "always()"
    folders = kept["with"]["path"].split()
    assert set(folders) == {"build/demo/", "build/test/"}
    assert "--out $(BUILD)/demo" in (TOP / "Makefile").read_text()
    assert '"$BUILD/test/junit.xml"' in (TOP / "scripts" / "run-tests").read_text()


def readme_commands() -> list[str]:
    """The lines of README's first block of commands, without their remarks."""
    text = (TOP / "README.md").read_text()
    block = re.search(r"^```\w*\n((?:.*\n)*?)```$|((?:^ {4}\S.*\n)+)", text, re.M)
    assert block, "README.md has no block of commands"
    lines = (block[1] or block[2]).splitlines()
    return [" ".join(line.partition("#")[0].split()) for line in lines if line.strip()]


def ci_commands() -> list[str]:
    text = (TOP / ".ci" / "run").read_text()
    return re.findall(r'^step \d+ "[^"]+" (.+?)(?: \|\| .*)?$', text, re.M)


def test_readme_commands_are_what_ci_calls() -> None:
    commands = readme_commands()
    assert [c.rpartition("&& ")[2] for c in commands] == ["make demo", "make test"]
    for command in commands:
        first, _, last = command.rpartition(" && ")
        assert re.search(r"\bapt-get install\b.* make$", first), "make itself may be missing"
        assert last in ci_commands()
        assert last in steps()


# ---- for real ---------------------------------------------------------------


def mirror() -> str:
    """Where this host gets Debian from, as its own configuration says."""
    out = subprocess.run(
        [TOP / "scripts" / "apt-fetch", "sources"], capture_output=True, text=True, check=True
    ).stdout
    for line in out.splitlines():
        m = re.search(r"(https?://\S+)\s+\w+\s+main", line)
        if m and "security" not in m[1]:
            return m[1]
    pytest.skip("this host's apt has no plain Debian mirror")


def enter(root: Path, command: str, log: Path, minutes: int = STEP_MINUTES) -> int:
    """Run in the tree, in its own mount and process namespace: it all ends with the command."""
    script = (
        f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev &&"
        f" mount -t tmpfs -o size=90% tmpfs {root}/dev/shm && mount --rbind /sys {root}/sys &&"
        f" exec chroot {root} /bin/sh -ec 'cd /src && {command}'"
    )
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
    }
    env.update({k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")})
    with log.open("ab") as out:
        out.write(f"+ {command}\n".encode())
        out.flush()
        return subprocess.run(
            [
                "timeout",
                "--kill-after=30",
                f"{minutes}m",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-ec",
                script,
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
        ).returncode


@pytest.mark.full
@pytest.mark.parametrize("container", containers())
def test_steps_in_a_debootstrap(container: str) -> None:
    if os.geteuid():
        pytest.skip("debootstrap needs root")
    if not shutil.which("debootstrap"):
        pytest.skip("debootstrap is not installed")
    release = container.partition(":")[2]
    here = places.build_dir() / "debootstrap" / release
    root, log = here / "root", here / "log"
    # A machine that never built it: nothing of an earlier run is kept.
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    with log.open("wb") as out:
        subprocess.run(
            ["debootstrap", "--variant=minbase", release, str(root), mirror()],
            stdout=out,
            stderr=out,
            check=True,
        )
    subprocess.run(["git", "clone", "-q", str(TOP), str(root / "src")], check=True)
    # As a hosted runner has it: the checkout is another user's, which git doesn't like.
    subprocess.run(["chown", "-R", "12345:12345", str(root / "src")], check=True)
    for file in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{file}", root / "etc" / file)
    for command in steps():
        code = enter(root, command, log)
        assert code == 0, f"{command}: exit code {code}\n" + "\n".join(
            log.read_text(errors="replace").splitlines()[-60:]
        )
    assert (root / "src/build/demo/matrix.json").is_file()
    shutil.copy(root / "src/build/demo/matrix.json", here / "matrix.json")
    shutil.rmtree(root)
