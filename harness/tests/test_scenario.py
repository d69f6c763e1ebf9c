# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenario format: what it means, and what it refuses with which words on which line."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from gigalock_harness import cli, reasons, scenario
from gigalock_harness.scenario import ScenarioError
from gigalock_harness.sizes import GIB, MIB, format_size, parse_size
from gigalock_harness.tomllines import lines_of

GOOD = """\
format = 1
name = "some-name"
title = "A title"

[guest]
ram = ["512M", "2G"]
kernel = "stock"
cmdline = ["iommu=off"]
setup = ["true"]

[guest.card]
card-mem = "64M"
fault = "none"

[guest.rlimit]
memlock = "8M"

[request]
bytes = "1G"
strategy = ["coherent", "sg"]

[limits]
step_seconds = 90

[[expect]]
strategy = "coherent"
outcome = "fails"
reason = ["buddy-limit", "no-free-block"]
largest_max = "4M"

[[expect]]
strategy = "sg"
ram = "<1G"
outcome = "fails"
reason = "overcommit"

[[expect]]
strategy = "sg"
ram = ">=1G"
outcome = "locks"

[[console]]
strategy = "sg"
ram = "<1G"
line = "Out of memory"
needed = true
when = "limit"
"""


@pytest.fixture
def load(tmp_path: Path):
    def load_text(text: str | bytes, **axes: list[str]) -> scenario.Scenario:
        path = tmp_path / "given.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return scenario.load(path, axes)

    return load_text


def refusal(load, text: str | bytes, **axes: list[str]) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(text, **axes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_axes_become_cells(load) -> None:
    cells = load(GOOD).cells
    assert [(c.ram_mib, c.strategy, c.expect.outcome) for c in cells] == [
        (512, "coherent", "fails"),
        (512, "sg", "fails"),
        (2048, "coherent", "fails"),
        (2048, "sg", "locks"),
    ]
    assert cells[0].bytes == GIB
    assert cells[0].expect.reasons == ("buddy-limit", "no-free-block")
    assert cells[0].expect.largest_max == 4 * MIB
    assert [len(c.console) for c in cells] == [0, 1, 0, 0]
    assert cells[1].console[0].phase == "limit"
    assert cells[0].device() == "gigalock,id=gl0,bus=rp0,card-mem=64M,fault=none"
    assert cells[0].rlimit == (("memlock", 8 * MIB),)
    assert cells[0].step_seconds == 90


def test_axes_from_the_command_line(load) -> None:
    cells = load(GOOD, ram=["1G", "3G"], strategy=["sg"]).cells
    assert [(c.ram_mib, c.expect.outcome) for c in cells] == [(1024, "locks"), (3072, "locks")]
    cell = load(GOOD, card=["fault=corrupt", "channels=4"]).cells[0]
    assert cell.device() == "gigalock,id=gl0,bus=rp0,card-mem=64M,fault=corrupt,channels=4"


@pytest.mark.parametrize(
    "axes, words",
    [
        ({"ram": ["0"]}, "ram 0 must be above 0"),
        ({"ram": ["-1G"]}, 'ram "-1G" is not a size'),
        ({"ram": ["99999T"]}, "the limits are 64M and 1024G"),
        ({"ram": ["16M"]}, "the limits are 64M"),
        ({"strategy": ["sgg"]}, 'did you mean "sg"'),
        ({"kernel": ["vista"]}, "unknown kernel 'vista'"),
        ({"card": ["fault"]}, '--card: "fault" is not KEY=VALUE'),
        ({"card": ["fault=a,b"]}, "--card: fault must be a number"),
        ({"card": ["id=gl1"]}, '--card: the card\'s "id" belongs to the harness'),
        ({"strategy": ["contig-range"]}, "no [[expect]] says what must happen with ram 512M"),
    ],
)
def test_bad_axes_from_the_command_line(load, axes: dict[str, list[str]], words: str) -> None:
    assert words in refusal(load, GOOD, **axes)


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ('"512M", "2G"', '"512M", "2 GB"', 6, 'ram "2 GB" is not a size'),
        ('"512M", "2G"', '"512M", "32M"', 6, "the limits are 64M and 1024G"),
        ('"512M", "2G"', '"512M", "2000000G"', 6, "the limits are"),
        ('"512M", "2G"', '"512M", "99999999999999999999T"', 6, "beyond the largest size"),
        ('"512M", "2G"', '"512M", 0', 6, "ram 0 must be above 0"),
        ('"512M", "2G"', '"512M", -4096', 6, "must be above 0"),
        ('"512M", "2G"', '"512M", 1.5', 6, "is not a size"),
        ('"512M", "2G"', '"512M", "512M"', 6, "twice"),
        ('"512M", "2G"', '"512M", "513M"', 6, "multiple of 2M"),
        ('["512M", "2G"]', "[]", 6, "empty list"),
        ('kernel = "stock"', 'kernel = "stok"', 7, 'did you mean "stock"'),
        ('kernel = "stock"', 'kernel = "../../etc"', 7, "unknown kernel"),
        (
            'kernel = "stock"',
            'kernal = "stock"',
            7,
            'unknown key "kernal" in guest; did you mean "kernel"',
        ),
        ('["iommu=off"]', '["a b"]', 8, "must be one word"),
        ('["iommu=off"]', '["a\\nb"]', 8, "printable text on one line"),
        ('["true"]', "[7]", 9, "setup must be a string, not a number"),
        (
            'card-mem = "64M"',
            'card-mem = "64M,romfile=/etc/passwd"',
            12,
            "without blanks and commas",
        ),
        ('fault = "none"', 'bus = "pcie.0"', 13, "belongs to the harness"),
        ('memlock = "8M"', 'memlok = "8M"', 16, 'did you mean "memlock"'),
        ('bytes = "1G"', 'bytes = "0"', 19, "bytes 0 must be above 0"),
        ('bytes = "1G"', 'bytes = "16777216T"', 19, "2^64 - 1"),
        (
            '["coherent", "sg"]',
            '["coherent", "sgg"]',
            20,
            "unknown strategy 'sgg'; did you mean \"sg\"",
        ),
        ("step_seconds = 90", "step_seconds = 90000", 23, "the limits are 1 and 3600"),
        (
            "step_seconds = 90",
            "step_seconds = true",
            23,
            "must be a whole number, not true or false",
        ),
        (
            'reason = ["buddy-limit", "no-free-block"]',
            'reason = "budy-limit"',
            28,
            'did you mean "buddy-limit"',
        ),
        ('reason = "overcommit"', 'reason = "none"', 35, 'does not fail with "none"'),
        ('reason = "overcommit"', "", 31, 'needs the key "reason"'),
        ('outcome = "locks"', 'outcome = "works"', 40, "unknown outcome 'works'"),
        ('outcome = "locks"', 'outcome = "locks"\nreason = "overcommit"', 37, "takes no reason"),
        ('ram = ">=1G"', 'ram = ">=1500M"\nkernel = "stock"', 0, ""),
        ('ram = ">=1G"', 'ram = ">=4G"', 37, "this [[expect]] is for no cell"),
        (
            'ram = ">=1G"',
            "",
            37,
            "two [[expect]] are for ram 512M, kernel stock, strategy sg; the other is on line 31",
        ),
        ('largest_max = "4M"', 'largest_max = "2G"', 29, "the limits are 1 and 1G"),
        ('line = "Out of memory"', 'line = "Out (of"', 45, "not a regular expression"),
        ('line = "Out of memory"', 'line = ".*"', 45, "would match everything"),
        ('line = "Out of memory"', f'line = "{"x" * 500}"', 45, "500 characters; the limit is 400"),
        ('when = "limit"', 'when = "never"', 47, "unknown when 'never'"),
        ("needed = true", "needed = 1", 46, "must be true or false"),
        ("format = 1", "format = 3", 1, "format must be 1 or 2"),
        ('name = "some-name"', 'name = "../../x"', 2, "must be 1 to 64 of a-z"),
        ('name = "some-name"', 'name = "a/b"', 2, "must be 1 to 64 of a-z"),
        ('name = "some-name"', f'name = "{"a" * 65}"', 2, "must be 1 to 64 of a-z"),
        ('title = "A title"', 'title = ""', 3, "not empty"),
        ('title = "A title"', "", 1, 'the file needs the key "title"'),
        ("[guest]", "[guest", 5, "Expected"),
        ("[guest.card]", "[[guest.card]]", 11, "guest.card must be a table, not a list"),
        ('outcome = "locks"', 'outcome = "locks"\nresaon = 1', 41, 'did you mean "reason"'),
        ("[limits]", "[limit]", 22, 'unknown key "limit"; did you mean "limits"'),
    ],
)
def test_refusals_name_the_line(load, old: str, new: str, line: int, words: str) -> None:
    assert GOOD.count(old) >= 1
    text = GOOD.replace(old, new, 1)
    if not line:
        load(text)
        return
    message = refusal(load, text)
    assert f"given.toml:{line}: " in message and words in message, message


@pytest.mark.parametrize(
    "text, words",
    [
        (GOOD.encode() + b'x = "\xff"\n', "given.toml:48: is not UTF-8 text: byte 0xff"),
        (b"\x00" * 100, "given.toml:1: "),
        (b"#" * (65 << 10), "the limit is 65536"),
        ("x = " + "[" * 20_000, "nested too deeply"),
        ("x = " + "[" * 30 + "]" * 30, "nested too deeply"),
        ("x = " + "{a=" * 200 + "1" + "}" * 200, "nested too deeply"),
        ("a." * 400 + "b = 1", "nested too deeply"),
        ("x = " + "9" * 5000, "given.toml"),
        ("", 'needs the key "format"'),
        ("format = 1\nformat = 1\n", "given.toml:2: "),
    ],
)
def test_hostile_files(load, text: str | bytes, words: str) -> None:
    assert words in refusal(load, text)


def test_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path, words in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe.toml", "not a regular file"),
        (Path("a\0b"), "null character in its name"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        with pytest.raises(ScenarioError, match=words):
            scenario.load(path)


def test_damaged_files_never_raise_anything_else(tmp_path: Path) -> None:
    """Every file is either good or refused in one line; 400 damaged ones to show it."""
    dice = random.Random(7)
    path = tmp_path / "damaged.toml"
    refused = 0
    for _ in range(400):
        raw = bytearray(GOOD.encode())
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(raw))
            raw[at : at + dice.randrange(3)] = dice.choice(
                [b"", b"[", b"]", b'"', b"'''", b"\n", b"=", b"{", b".", b"-1", b"\xc3", b"#"]
            )
        path.write_bytes(raw)
        try:
            scenario.load(path)
        except ScenarioError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 200


def test_lines_of_all_forms() -> None:
    text = (
        'a = 1\n"b c".d = """x\n"y" ]\n"""\n[t] # c\nl = [\n 1, # ]\n 2,\n {k = "}"},\n]\n'
        "[[r]]\nx = '''\n'''\n[[r]]\nx = 2\n[r.s]\ny = 1979-05-27T07:32:00Z\n"
    )
    lines = lines_of(text)
    assert {
        path: lines[path]
        for path in (
            ("a",),
            ("b c", "d"),
            ("t", "l"),
            ("t", "l", 1),
            ("t", "l", 2, "k"),
            ("r", 0, "x"),
            ("r", 1, "x"),
            ("r", 1, "s", "y"),
        )
    } == {
        ("a",): 1,
        ("b c", "d"): 2,
        ("t", "l"): 6,
        ("t", "l", 1): 8,
        ("t", "l", 2, "k"): 9,
        ("r", 0, "x"): 12,
        ("r", 1, "x"): 15,
        ("r", 1, "s", "y"): 17,
    }


def test_scenarios_of_the_project_are_good() -> None:
    files = sorted(scenario.SCENARIOS.glob("*.toml"))
    assert files
    for file in files:
        assert scenario.load(file).name == file.stem


def test_the_demo_covers_the_issue() -> None:
    cells = scenario.load(scenario.find("demo")).cells
    assert {(c.ram_mib, c.strategy) for c in cells} == {
        (ram, strategy)
        for ram in (512, 1024, 1536, 2048, 4096)
        for strategy in ("coherent", "contig-range", "sg")
    }
    assert {c.bytes for c in cells} == {GIB}


def test_validate_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("format = 3\n")
    assert cli.main(["validate", "demo"]) == 0
    assert "15 cells" in capsys.readouterr().out
    assert cli.main(["validate", str(bad), "demo", "nowhere"]) == 2
    out, err = capsys.readouterr()
    assert "bad.toml:1: format must be 1 or 2" in err and "nowhere" in err and "demo" in out


def test_ram_beyond_the_host(load) -> None:
    cells = load(GOOD).cells
    scenario.check_host(cells, 2 * GIB)
    with pytest.raises(ScenarioError, match="ram 2G is more than the host has; the limit is 1.5G"):
        scenario.check_host(cells, 3 * GIB // 2)


@pytest.mark.parametrize(
    "text, size",
    [
        ("4096", 4096),
        ("64K", 64 << 10),
        ("1536M", 1536 << 20),
        ("1G", GIB),
        ("1GiB", GIB),
        (4096, 4096),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "1g",
        "1 G",
        "+1",
        "-1",
        "0",
        0,
        -1,
        "0x10",
        "1e9",
        "1KB",
        "18446744073709551616",
        "16777216T",
        True,
        None,
        1.0,
        "１G",
    ],
)
def test_bad_sizes(text: object) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_sizes_as_text() -> None:
    assert [format_size(n) for n in (1, 4096, 4 * MIB, 1536 * MIB, GIB, 4 * GIB, 945_000_000)] == [
        "1",
        "4K",
        "4M",
        "1536M",
        "1G",
        "4G",
        "901.2M",
    ]


def test_reasons_come_from_the_header() -> None:
    catalogue = reasons.load()
    assert catalogue.strategies[:3] == ("coherent", "contig-range", "sg")
    assert catalogue.strategies[-1] == "dmabuf"
    assert catalogue.reasons["buddy-limit"].code == 4
    assert catalogue.reasons["overcommit"].text.startswith("the kernel won't promise")


REASONS = len(reasons.load().reasons)
STRATEGIES = len(reasons.load().strategies)


@pytest.mark.parametrize(
    "old, new",
    [
        ("/* buddy-limit:", "/* body-limit:"),
        ("/* buddy-limit: ", "/* "),
        (f"REASON_COUNT\t\t{REASONS}", f"REASON_COUNT\t\t{REASONS + 1}"),
        (f"STRATEGY_COUNT\t\t{STRATEGIES}", f"STRATEGY_COUNT\t\t{STRATEGIES + 1}"),
    ],
)
def test_a_header_that_breaks_its_rule(old: str, new: str) -> None:
    text = reasons.UAPI_HEADER.read_text()
    assert old in text
    with pytest.raises(reasons.HeaderError, match="uapi.h"):
        reasons.parse(text.replace(old, new), "uapi.h")
