# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of this tree, as fresh as a clone, with a home and a temporary folder of its own.

Only the cache is shared.
"""

from __future__ import annotations

import os
import shutil
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
        self._copy()
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

    def _copy(self) -> None:
        # Not git clone: it refuses a repository of another user, as a hosted checkout is, even
        # where safe.directory names it. And what is not committed yet is tested, too.
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=places.TOP, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, listed.split("\0")):
            if os.path.lexists(places.TOP / name):
                (self.top / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(places.TOP / name, self.top / name, follow_symlinks=False)
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
        for words in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "As it is"]):
            subprocess.run([*git, *words], cwd=self.top, check=True)

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
