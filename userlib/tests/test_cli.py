# SPDX-License-Identifier: GPL-2.0-or-later
"""The gigalock tool without a card: bad input, exit codes, JSON, and the pattern."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

USERLIB = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", USERLIB.parent / "build")).resolve()
TOOL = BUILD / "userlib" / "gigalock"
NOBODY = 65534

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15


def run(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(TOOL), *args],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        **options,
    )  # type: ignore[call-overload]


def one_object(text: str) -> dict[str, object]:
    """One JSON object on one line, and nothing else."""
    assert text.endswith("\n") and text.count("\n") == 1
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


# -- the pattern, computed once more in another language ----------------------


def pattern(seed: int, length: int) -> bytes:
    x = (seed + STEP) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    start = x ^ (x >> 31)
    words = []
    for i in range((length + 7) // 8):
        w = (start + i * STEP) & MASK
        words.append((w ^ (w >> 32)).to_bytes(8, "little"))
    return b"".join(words)[:length]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_reference_crc() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    "seed, offset, size",
    [
        (0, 0, 1),
        (1, 0, 8),
        (42, 0, 20001),
        (MASK, 3, 4097),
        (7, 4096, 65537),
        (9, 1 << 40, 5),
    ],
)
def test_pattern(seed: int, offset: int, size: int) -> None:
    if offset < 1 << 20:
        expected = f"0x{crc32c(pattern(seed, offset + size)[offset:]):08x}"
    else:
        expected = None
    done = run("pattern", "--size", str(size), "--seed", str(seed), "--offset", str(offset))
    assert done.returncode == 0
    said = one_object(
        run("pattern", "--json", f"--size={size}", f"--seed={seed:#x}", f"--offset={offset}").stdout
    )
    assert said == {
        "command": "pattern",
        "ok": True,
        "bytes": size,
        "seed": seed,
        "offset": offset,
        "crc32c": done.stdout.strip(),
    }
    if expected:
        assert done.stdout == expected + "\n"


def test_pattern_of_a_gib_in_pieces() -> None:
    """The tool goes in steps; the whole must not depend on them."""
    whole = run("pattern", "--size", "130M", "--seed", "5").stdout
    assert whole == run("pattern", "--size", str(130 << 20), "--seed", "5").stdout
    assert whole != run("pattern", "--size", "130M", "--seed", "6").stdout
    assert whole != run("pattern", "--size", str((130 << 20) - 1), "--seed", "5").stdout


# -- bad input ------------------------------------------------------------------

BAD = [
    (["lock", "--size", "0"], ['"0"', "zero", "128 TiB"]),
    (["lock", "--size", "-1G"], ['"-1G"', "negative", "128 TiB"]),
    (["lock", "--size", "ten"], ['"ten"', "not a number"]),
    (["lock", "--size", ""], ['""', "not a number"]),
    (["lock", "--size", "1X"], ['"1X"', "unit"]),
    (["lock", "--size", "1.5G"], ['"1.5G"', "unit"]),
    (["lock", "--size", "129T"], ['"129T"', "address space", "128 TiB"]),
    (["lock", "--size", "99999999999999999999999"], ["address space", "128 TiB"]),
    (["lock", "--size", "17179869184G"], ["address space"]),
    (["lock"], ["--size is needed"]),
    (["lock", "--size"], ["--size needs a value"]),
    (
        ["lock", "--size", "1G", "--strategy", "magic"],
        ['"magic"', "coherent, contig-range, sg, reserved, pool, hugetlb, chunked, dmabuf, auto"],
    ),
    (["lock", "--size", "1G", "--strategy", ""], ['""', "contig-range"]),
    (["lock", "--size", "1G", "--direction", "up"], ['"up"', "to-card, from-card, both"]),
    (["lock", "--size", "1G", "--hold", "-3"], ['"-3"', "seconds"]),
    (["lock", "--size", "1G", "--hold", "soon"], ['"soon"', "seconds"]),
    (["lock", "--size", "1G", "--no-touch=yes"], ["takes no value"]),
    (["lock", "--size", "1G", "extra"], ['"extra"']),
    (["lock", "--sizes", "1G"], ['"--sizes"']),
    (["lock", "-z"], ['"-z"']),
    (["xfer", "--size", "1M", "--seed", "-1"], ['"-1"', "18446744073709551615"]),
    (["xfer", "--size", "1M", "--seed", "18446744073709551616"], ["18446744073709551615"]),
    (["xfer", "--size", "1M", "--seed", "x"], ['"x"']),
    (["xfer", "--size", "1M", "--offset", "1M"], ["1048576", "not within"]),
    (["xfer", "--size", "1M", "--window", "0"], ["zero"]),
    (["xfer", "--size", "1M", "--timeout", "1e9"], ['"1e9"']),
    (["xfer", "--size", "1M", "--timeout", "9999999"], ["2000000"]),
    (["lock", "--size", "1G", "--address-width", "23"], ["23", "24 to 64"]),
    (["lock", "--size", "1G", "--address-width", "65"], ["65", "24 to 64"]),
    (["xfer", "--size", "1G", "--address-width", "x"], ['"x"']),
    (["lock", "--size", "1G", "--node", "4294967296"], ["4294967296", "4294967295"]),
    (["limit", "--size", "1G", "--node", "-1"], ['"-1"']),
    (["lock", "--size", "1G", "--max-segment", "4097"], ["4097", "multiple", "4096"]),
    (["lock", "--size", "1G", "--max-segment", "0"], ["zero"]),
    (["lock", "--size", "1G", "--page-size", "3M"], ["3145728", "power of two"]),
    (["lock", "--size", "1G", "--page-size", "1K"], ["1024", "4096"]),
    (["lock", "--size", "1G", "-S", "sg", "--page-size", "2M"], ["hugetlb", "not sg"]),
    (["lock", "--size", "1G", "-S", "pool", "--region", "0"], ["reserved", "not pool"]),
    (["lock", "--size", "1G", "-S", "reserved", "--region", "4294967296"], ["4294967295"]),
    (["lock", "--size", "1G", "--lock-timeout", "-1"], ['"-1"', "seconds"]),
    (["lock", "--size", "1G", "-S", "dmabuf"], ["--dmabuf", "go together"]),
    (["lock", "--size", "1G", "-S", "sg", "--dmabuf", "system"], ["go together"]),
    (["lock", "--size", "1G", "-S", "dmabuf", "--dmabuf", "magic"], ['"magic"', "udmabuf"]),
    (["lock", "--size", "1G", "-S", "dmabuf", "--dmabuf", "fd:x"], ['"fd:x"']),
    (["lock", "--size", "1G", "-S", "dmabuf", "--dmabuf", "heap:a/b"], ['"heap:a/b"']),
    (["lock", "--size", "1G", "-S", "dmabuf", "--dmabuf", "export:dmabuf"], ["export:dmabuf"]),
    (["limit", "--size", "1G", "-S", "dmabuf", "--dmabuf", "system"], ["nothing to search"]),
    (["xfer", "--size", "1M", "--check", "magic"], ['"magic"', "host, device, none"]),
    (["xfer", "--size", "1M", "--check", "device", "--no-verify"], ["--check none"]),
    (["xfer", "--size", "1M", "--check", "device", "--no-crc"], ["--no-crc"]),
    (["xfer", "--size", "1M", "--check", "device", "--offset", "4"], ["4", "multiple of 8"]),
    (["xfer", "--size", "1M", "--check", "device", "--window", "9"], ["9", "multiple of 8"]),
    (["xfer", "--size", "1M", "--check", "device", "--direction", "to-card"], ["not to-card"]),
    (["xfer", "--size", "1M", "--no-map"], ["--check device or none"]),
    (["xfer", "--size", "1M", "--queue", "15"], ["15", "16 to 65536"]),
    (["xfer", "--size", "1M", "--queue", "131072"], ["131072", "16 to 65536"]),
    (["xfer", "--size", "1M", "--piece", "4K"], ["--queue"]),
    (["xfer", "--size", "1M", "--irq"], ["--queue"]),
    (["bench", "--depth", "0"], ["0", "1 to 1024"]),
    (["bench", "--depth", "1025"], ["1025", "1 to 1024"]),
    (["bench", "--count", "0"], ["0", "1 to 100000000"]),
    (["bench", "--calls", "--irq"], ["--calls"]),
    (["bench", "--size", "127T"], ["address space"]),
    (["io-uring"], ["--size is needed"]),
    (["io-uring", "--size", "0"], ["zero"]),
    (["limit", "--size", "1G", "--resolution", "0"], ['"0"', "0.1%", "50%"]),
    (["limit", "--size", "1G", "--resolution", "60%"], ['"60%"']),
    (["limit", "--size", "1G", "--resolution", "nan"], ['"nan"']),
    (["limit", "--size", "1G", "--timeout", "-1"], ['"-1"', "2000000"]),
    (["limit"], ["--size is needed"]),
    (["pattern", "--size", "1G"], ["--seed"]),
    (["failures", "--since", "yesterday"], ['"yesterday"']),
    (["info", "now"], ['"now"']),
    (["dance"], ['"dance"']),
]


@pytest.mark.parametrize("args, words", BAD, ids=[" ".join(args) for args, _ in BAD])
def test_bad_input(args: list[str], words: list[str]) -> None:
    done = run(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
    said = run(*args, "--json") if args[-1] != "--size" else run("--json", *args)
    assert said.returncode == 2
    answer = one_object(said.stdout)
    assert answer["ok"] is False
    assert answer["command"] == (args[0] if args[0] != "dance" else None)
    for word in words:
        assert word in str(answer["error"])


def test_very_long_input_is_cut() -> None:
    done = run("lock", "--json", "--size", "9" * 100000)
    assert done.returncode == 2
    assert len(str(one_object(done.stdout)["error"])) < 400


def test_no_command() -> None:
    assert run().returncode == 2
    assert "Usage" in run().stderr
    assert run("--json").returncode == 2
    one_object(run("--json").stdout)


def test_help_and_version() -> None:
    assert "gigalock 1.1" in run("--version").stdout
    text = run("--help").stdout
    for command in ("info", "lock", "xfer", "limit", "bench", "failures", "pattern", "io-uring"):
        assert f"  {command} " in text
        done = run(command, "--help")
        assert done.returncode == 0 and "--json" in done.stdout
    page = (USERLIB / "man/gigalock.1").read_text().replace("\\-", "-")
    for command in ("lock", "xfer", "limit", "bench", "io-uring", "pattern"):
        said = run(command, "--help").stdout.partition("Options of every command")[0]
        options = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", said))
        assert len(options) >= (13 if command in ("lock", "xfer", "limit", "bench") else 1)
        missing = {o for o in options if f"Fl -{o}" not in page}
        assert not missing, f"{command}: not in gigalock(1)"


# -- no card ----------------------------------------------------------------------

COMMANDS = [
    ["info"],
    ["failures"],
    ["lock", "--size", "1G"],
    ["xfer", "--size", "1G"],
    ["limit", "--size", "1G"],
    ["bench"],
]


@pytest.mark.parametrize("args", COMMANDS, ids=[c[0] for c in COMMANDS])
@pytest.mark.parametrize(
    "device, reason, errno_name",
    [
        ("/dev/no-such-card", "no-device", "ENOENT"),
        ("4242", "no-device", "ENOENT"),
        ("/dev/null", "no-device", "ENOTTY"),
    ],
)
def test_no_card(args: list[str], device: str, reason: str, errno_name: str) -> None:
    done = run(*args, "-d", device)
    assert done.returncode == 3
    assert done.stdout == ""
    assert device in done.stderr and reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    said = run("--json", "--device", device, *args)
    assert said.returncode == 3
    answer = one_object(said.stdout)
    failure = answer["failure"]
    assert isinstance(failure, dict)
    assert answer["ok"] is False and answer["command"] == args[0]
    assert device in str(answer["error"])
    assert failure["reason"] == reason and failure["stage"] == "open"
    assert failure["errno_name"] == errno_name
    assert set(failure) >= {
        "reason",
        "code",
        "stage",
        "errno",
        "errno_name",
        "limit",
        "request",
        "available",
        "unit",
        "strategy",
        "op",
        "lock_size",
        "pid",
        "seq",
        "text",
        "remedy",
    }


def test_no_permission(tmp_path: Path) -> None:
    node = tmp_path / "card"
    node.write_text("")
    node.chmod(0)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        if parent.owner() != "root" or os.geteuid() == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    options: dict[str, object] = {"user": NOBODY} if os.geteuid() == 0 else {}
    try:
        done = run("info", "--json", "-d", str(node), **options)
    except PermissionError:
        pytest.skip("another user can't run the tool here")
    assert done.returncode == 3
    failure = one_object(done.stdout)["failure"]
    assert isinstance(failure, dict)
    assert failure["reason"] == "permission" and failure["errno_name"] == "EACCES"


def test_odd_device_names_stay_valid_json() -> None:
    name = '/dev/a"b\\c\nd\te\u00e9'
    answer = one_object(run("info", "--json", "-d", name).stdout)
    assert 'a"b\\c\nd\te' in str(answer["error"])


def test_full_stdout_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [str(TOOL), "pattern", "--json", "--size", "1", "--seed", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr


# -- io_uring, which needs no card --------------------------------------------------


def test_io_uring_registers_what_is_short() -> None:
    said = run("io-uring", "--json", "--size", "64K")
    answer = one_object(said.stdout)
    failure = answer["failure"]
    if isinstance(failure, dict) and failure["errno_name"] in ("ENOSYS", "EPERM"):
        pytest.skip("no io_uring here")
    assert said.returncode == 0 and answer["ok"] is True and failure is None


def test_io_uring_refuses_what_is_long() -> None:
    """Kernels up to 6.12 at least take no more than 1 GiB, and not a page beyond."""
    said = run("io-uring", "--json", "--size", str((1 << 30) + 4096))
    failure = one_object(said.stdout)["failure"]
    if failure is None:
        assert re.match(r"6\.1[3-9]|[7-9]\.", os.uname().release)
        return
    assert isinstance(failure, dict)
    if failure["errno_name"] in ("ENOSYS", "EPERM", "ENOMEM"):
        pytest.skip(f"can't be tried here: {failure['errno_name']}")
    assert said.returncode == 1 and failure["reason"] == "io-uring-buffer"
    assert failure["stage"] == "pin" and failure["request"] == (1 << 30) + 4096
    assert failure["limit"] == 1 << 30 and "1 GiB" in failure["text"]
    assert run("io-uring", "--size", "1G").returncode == 0
