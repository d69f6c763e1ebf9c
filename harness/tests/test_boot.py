# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that works: booted, spoken to, ended, without anything left behind."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gigalock_harness import places
from gigalock_harness.guest import CommandTimeout, Guest, GuestError
from guests import alive, children, open_files, plain


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(plain(), log_dir=tmp_path_factory.mktemp("guest")) as g:
        yield g


def test_first_command(guest: Guest) -> None:
    assert 0.2 < guest.boot_s < 60
    release = (places.kernels_built() / guest.config.kernel / "release").read_text().strip()
    assert guest.run("uname -r").stdout.strip() == release
    assert guest.hello is not None and guest.hello.release == release


def test_ram_is_as_asked(guest: Guest) -> None:
    total = int(guest.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo").stdout) / 1024
    assert 150 < total < 256


@pytest.mark.parametrize("code", [0, 1, 42, 127, 255])
def test_exit_code(guest: Guest, code: int) -> None:
    result = guest.run(f"exit {code}")
    assert (result.code, result.signal, result.ok) == (code, None, code == 0)


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("SEGV", 11), ("TERM", 15)])
def test_signal(guest: Guest, name: str, number: int) -> None:
    result = guest.run(f"kill -{name} $$; sleep 5")
    assert (result.code, result.signal) == (128 + number, number)


def test_streams_are_apart(guest: Guest) -> None:
    result = guest.run("echo out; echo err >&2; echo more")
    assert result.stdout == "out\nmore\n"
    assert result.stderr == "err\n"


def test_environment(guest: Guest) -> None:
    said = guest.run("echo $PATH $HOME; pwd; umask; readlink /proc/self/fd/0; id -u").stdout.split()
    assert said == ["/usr/sbin:/usr/bin:/sbin:/bin", "/root", "/root", "0022", "/dev/null", "0"]


def test_mounts(guest: Guest) -> None:
    kinds = {
        line.split()[1]: line.split()[2]
        for line in guest.run("cat /proc/mounts").stdout.splitlines()
    }
    for path, kind in {
        "/proc": "proc",
        "/sys": "sysfs",
        "/dev": "devtmpfs",
        "/dev/pts": "devpts",
        "/tmp": "tmpfs",
        "/sys/kernel/debug": "debugfs",
        "/sys/fs/cgroup": "cgroup2",
    }.items():
        assert kinds[path] == kind


def test_other_user(guest: Guest) -> None:
    result = guest.run("su user -c 'id -u; cat /root/x'")
    assert result.stdout == "1000\n"
    assert "Permission denied" in result.stderr


def test_command_text_is_not_changed(guest: Guest) -> None:
    text = "a  'b' \"c\" $d `e` \\ \t ü€ \n second line # % 50"
    assert guest.run(f"printf %s {shlex.quote(text)}").stdout == text


def test_binary_output(guest: Guest) -> None:
    put = random.Random(7).randbytes(100_003)
    guest.put_file(put, "/tmp/binary")
    result = guest.run("cat /tmp/binary")
    assert result.stdout_bytes == put


def test_large_output(guest: Guest) -> None:
    result = guest.run("seq 1 120000", timeout=120)
    expected = "".join(f"{i}\n" for i in range(1, 120001)).encode()
    assert len(result.stdout_bytes) == len(expected)
    assert result.stdout_bytes == expected


def test_output_is_streamed(guest: Guest) -> None:
    seen: list[tuple[str, str, float]] = []
    start = time.monotonic()
    guest.run(
        "echo one; sleep 2; echo two >&2",
        on_output=lambda stream, text: seen.append((stream, text, time.monotonic() - start)),
    )
    assert [(s, t) for s, t, _ in seen] == [("stdout", "one\n"), ("stderr", "two\n")]
    assert seen[1][2] - seen[0][2] > 1


def test_closed_stdin_and_stdout(guest: Guest) -> None:
    assert guest.run("exec 0<&- 1>&- 2>&-; sleep 0.2; exit 5").code == 5


def test_background_does_not_hold_the_command(guest: Guest) -> None:
    start = time.monotonic()
    result = guest.run("sleep 300 & echo $!")
    assert time.monotonic() - start < 15
    pid = int(result.stdout)
    assert guest.run(f"kill -0 {pid}").ok, "what runs in the background stays"
    guest.run(f"kill -9 {pid}")


def test_orphans_are_reaped(guest: Guest) -> None:
    guest.run("for i in 1 2 3 4 5; do (sleep 0.1 & ) ; done; sleep 1")
    assert guest.run("grep -l '^State:.Z' /proc/[0-9]*/status | wc -l").stdout.strip() == "0"


def test_time_limit_kills_the_whole_session(guest: Guest) -> None:
    with pytest.raises(CommandTimeout) as caught:
        # One in the background, one that left the process group.
        guest.run("echo begun; sleep 1234 & sh -c 'sleep 1235'; wait", timeout=1.5)
    assert caught.value.result.stdout == "begun\n"
    assert caught.value.result.code is None
    assert "1.5 s" in caught.value.message
    left = guest.run("grep -l -E 'sleep.123[45]' /proc/[0-9]*/cmdline").stdout
    assert left == ""


@pytest.mark.parametrize("timeout", [0, -1, 1e12])
def test_bad_time_limit(guest: Guest, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"0\.001 to"):
        guest.run("true", timeout=timeout)


@pytest.mark.parametrize("command", ["", "a\0b", "x" * 100_000])
def test_bad_command(guest: Guest, command: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        guest.run(command)
    assert guest.run("echo still here").stdout == "still here\n"


def test_put_file(guest: Guest, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(700_001)
    file = tmp_path / "data"
    file.write_bytes(data)
    guest.put_file(file, "/tmp/a b", mode=0o751)
    assert guest.run("sha256sum < '/tmp/a b'").stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert guest.run("stat -c %a '/tmp/a b'").stdout.strip() == "751"
    guest.put_file(b"", "/tmp/empty")
    assert guest.run("stat -c %s /tmp/empty").stdout.strip() == "0"


def test_put_file_where_there_is_no_folder(guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"/nowhere/x.*No such file"):
        guest.put_file(b"x", "/nowhere/x")
    assert guest.run("true").ok


def test_put_file_on_a_full_disk(guest: Guest) -> None:
    guest.run("mkdir -p /tmp/small && mount -t tmpfs -o size=64k none /tmp/small")
    with pytest.raises(GuestError, match="No space left"):
        guest.put_file(bytes(200_000), "/tmp/small/x")
    assert guest.run("ls /tmp/small").stdout == ""


def test_warnings_reach_the_console(guest: Guest) -> None:
    assert guest.unexpected_lines() == []
    guest.run("echo '<4>WARNING: made by a test' > /dev/kmsg")
    assert "made by a test" in guest.console()
    assert len(guest.unexpected_lines()) == 1
    assert guest.unexpected_lines(allowed=["made by a test"]) == []
    assert guest.missing_lines(["made by a test", "never printed"]) == ["never printed"]


def test_qmp(guest: Guest) -> None:
    assert guest.qmp("query-status")["running"] is True
    assert guest.qmp("qom-get", path="/machine/peripheral/rp0", property="chassis") == 1


def test_logs(guest: Guest) -> None:
    guest.run("echo for the log; exit 9")
    log = (guest.log_dir / "commands.log").read_text()
    assert "$ echo for the log; exit 9" in log and "exit code 9" in log
    script = guest.log_dir / "command.sh"
    assert os.access(script, os.X_OK)
    assert guest.reproducer() in script.read_text()


def test_reproducer_boots_by_hand(guest: Guest) -> None:
    done = subprocess.run(
        ["timeout", "60", str(guest.log_dir / "command.sh")],
        capture_output=True,
        input=b"echo $((6 * 7))-by-hand\nexit\n" * 3,
        timeout=90,
    )
    assert b"42-by-hand" in done.stdout


def test_two_at_once(tmp_path: Path) -> None:
    said: dict[str, str] = {}

    def one(name: str) -> None:
        with Guest(plain(), log_dir=tmp_path / name) as g:
            g.run(f"echo {name} > /tmp/name")
            said[name] = g.run("cat /tmp/name; ls /tmp").stdout

    threads = [threading.Thread(target=one, args=(n,)) for n in ("left", "right")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert said == {"left": "left\nname\n", "right": "right\nname\n"}


def test_nothing_is_left(tmp_path: Path) -> None:
    processes, files = children(), open_files()
    with Guest(plain(), log_dir=tmp_path / "a,b c") as g:
        assert g.process is not None
        pid = g.process.pid
        assert g.run("true").ok
        assert alive(pid)
    assert not alive(pid)
    assert (children(), open_files()) == (processes, files)
    left = {p.name for p in (tmp_path / "a,b c").iterdir()}
    assert left == {"console.log", "qemu.log", "command.sh", "commands.log"}
    g.close()  # again does no harm
    with pytest.raises(GuestError, match="not running"):
        g.run("true")
    with pytest.raises(GuestError, match="booted once"):
        g.boot()


def test_touched_memory_and_power_off(tmp_path: Path) -> None:
    with Guest(plain(ram_mib=1024), log_dir=tmp_path) as g:
        assert g.process is not None
        before = g.touched_mib()
        assert 50 < before < 500
        assert g.run("dd if=/dev/zero of=/dev/shm/x bs=1M count=450", timeout=60).ok
        assert g.touched_mib() > before + 150
        g.power_off()
        assert g.process.returncode == 0
        assert g.touched_mib() == 0


def test_close_from_another_thread(tmp_path: Path) -> None:
    with Guest(plain(), log_dir=tmp_path) as g:
        threading.Timer(2, g.close).start()
        start = time.monotonic()
        with pytest.raises(GuestError):
            g.run("sleep 100", timeout=200)
        assert time.monotonic() - start < 15


def test_qemu_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from guests import plain; from gigalock_harness.guest import Guest\n"
        "g = Guest(plain(), log_dir=Path(sys.argv[2])); g.boot()\n"
        "print(g.process.pid, flush=True); time.sleep(100)"
    )
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", code, str(Path(__file__).parent), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        parent.wait()
    for _ in range(50):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)
