# SPDX-License-Identifier: GPL-2.0-or-later
"""A clone of this tree with a home and a temporary folder of its own; only the cache is shared."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from gigalock_harness import places

SECONDS = 500


class Clone:
    def __init__(self, folder: Path) -> None:
        self.top = folder / "tree"
        self.build = self.top / "build"
        self.home, self.tmp = folder / "home", folder / "tmp"
        for own in (self.home, self.tmp):
            own.mkdir()
            os.utime(own, (0, 0))
        subprocess.run(["git", "clone", "-q", str(places.TOP), str(self.top)], check=True)
        self.env = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("MAKE", "MFLAGS", "GIGALOCK", "XDG_", "PYTHON", "PYTEST"))
            and k not in ("BUILD", "OUT", "KDIR")
        } | {
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "GIGALOCK_CACHE": str(places.cache_dir().resolve()),
        }

    def make(self, *targets: str) -> float:
        """Make it; the seconds it took."""
        start = time.monotonic()
        done = self.run("make", *targets)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return time.monotonic() - start

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.top,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def status(self) -> list[str]:
        """What git sees that is not committed, ignored files too."""
        done = self.run("git", "status", "--porcelain", "--ignored", "--untracked-files=all")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def change(self, file: str, old: str, new: str) -> None:
        path = self.top / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))
