# SPDX-License-Identifier: GPL-2.0-or-later
"""The gigalock tool without a card: bad input, exit codes, JSON, and the pattern."""

from __future__ import annotations

import json
import os
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
    for command in ("info", "lock", "xfer", "limit", "failures", "pattern"):
        assert f"  {command} " in text
        done = run(command, "--help")
        assert done.returncode == 0 and "--json" in done.stdout


# -- no card ----------------------------------------------------------------------

COMMANDS = [
    ["info"],
    ["failures"],
    ["lock", "--size", "1G"],
    ["xfer", "--size", "1G"],
    ["limit", "--size", "1G"],
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
