# SPDX-License-Identifier: GPL-2.0-or-later
"""What README and docs/ say is so: links, commands, and every name that code has, too."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest
from gigalock_harness import causes, places, reasons

TOP = places.TOP
README = TOP / "README.md"
PAGES = [README, *sorted((TOP / "docs").glob("*.md"))]
FIRST_SCREEN = 60
NOT_YET = re.compile(
    r"\b(TODO|FIXME|XXX+|TBD|TBA|WIP|PLACEHOLDER|lorem ipsum|coming soon|to be written|"
    r"not yet written|fill in)\b|^\s*[A-Z]{4,}\s*$|<insert|\?\?\?",
    re.MULTILINE,
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    folders = {str(parent) for name in listed for parent in Path(name).parents}
    return {*listed, *folders}


def blocks(text: str) -> list[str]:
    """Fenced and indented blocks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return fenced + re.findall(r"(?:(?<=\n\n)|^)(?:    .*\n)+", text)


def table_rows(text: str, first: str) -> list[list[str]]:
    """The rows of all tables whose head begins with that cell."""
    rows = []
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        cells = [
            [cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()
        ]
        if cells[0][0] == first:
            rows += cells[2:]
    return rows


def names(rows: list[list[str]], pattern: str = r"`?([a-z_][a-z0-9_-]*)`?") -> set[str]:
    return {name for row in rows for name in re.findall(pattern, row[0])}


# ---- any page ---------------------------------------------------------------


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "device.md", "driver.md", "scenarios.md"}


@each_page
def test_nothing_is_left_to_be_written(page: Path) -> None:
    found = NOT_YET.search(page.read_text())
    assert not found, f"{page.name}: {found[0]!r}"


@pytest.mark.parametrize("text", ["see TODO", "a\nTABLE\nb", "TBD.", "what is ??? here", "XXXX"])
def test_placeholders_are_known(text: str) -> None:
    assert NOT_YET.search(text)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    there = tracked()
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target} leads nowhere"
        inside = str(file.relative_to(TOP))
        assert inside in there, f"{page.name}: {target} is not in the repository"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name}: no heading for {target}"


@each_page
def test_pictures_are_pictures(page: Path) -> None:
    for target in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", page.read_text()):
        data = (page.parent / target).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n", target
        width, height = struct.unpack(">II", data[16:24])
        assert width >= 400 and height >= 200, target
        assert len(data) < 1 << 20, f"{target}: {len(data)} bytes make a clone slow"


@each_page
def test_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (TOP / "Makefile").read_text(), re.MULTILINE))
    tool = {path.stem for path in (TOP / "userlib" / "tools").glob("cmd-*.c")}
    text = page.read_text()
    quoted = "\n".join([*blocks(text), *re.findall(r"`([^`\n]+)`", text)])
    for target in re.findall(r"(?:^|&& |\s)make ([a-z][a-z-]*)\b(?!=)", quoted):
        assert target in targets, f"{page.name}: make {target}"
    for word in re.findall(r"^ *gigalock ([a-z]+)\b", quoted, re.MULTILINE):
        assert f"cmd-{word}" in tool, f"{page.name}: gigalock {word}"
    for test in re.findall(r"TESTS=(\S+)", quoted):
        assert (TOP / test).exists(), test


# ---- README -----------------------------------------------------------------


def first_screen() -> str:
    return "".join(README.read_text().splitlines(keepends=True)[:FIRST_SCREEN])


def test_first_screen() -> None:
    text = first_screen()
    commands = blocks(text)[0].splitlines()
    assert len(commands) == 2
    for line, target in zip(commands, ("make demo", "make test")):
        assert re.search(rf"install -y make && {target}\b", line), line
    assert re.search(r"!\[[^\]]{10,}\]\(docs/\S+\.png\)", text), "no picture"


def test_map_of_the_house() -> None:
    """Each folder that holds code is in it, and there are no others."""
    rows = table_rows(first_screen(), "folder")
    folders = {name.split("/")[0] for name in tracked() if "/" in name}
    code = {name for name in folders if name[0] != "."} - {"docs", "scripts", "LICENSES"}
    assert {row[0].partition("]")[0].strip("[/") for row in rows} == code
    assert all(row[1] for row in rows)


def test_columns_of_the_table_shown() -> None:
    """The table is the demo's own: its columns are those that are printed."""
    head = next(line for line in README.read_text().splitlines() if "RAM  strategy" in line)
    source = (places.HARNESS / "gigalock_harness" / "table.py").read_text()
    for column in re.split(r"\s{2,}", head.strip()):
        assert f'"{column}"' in source, column


# ---- names that code has, too -------------------------------------------------


def known_reasons() -> set[str]:
    return set(reasons.load().reasons)


def said_to_be_reasons(text: str) -> set[str]:
    """In examples of scenarios and answers, and in tables that have a column of reasons."""
    found: set[str] = set()
    for value in re.findall(r"\breason\"?\s*[=:]\s*(\[[^\]]*\]|\"[^\"]*\")", text):
        found |= set(re.findall(r'"([^"]+)"', value))
    for block in blocks(text):
        lines = block.splitlines()
        for i, line in enumerate(lines):
            at = line.find("  reason  ")
            if at >= 0:
                for row in lines[i + 2 :]:
                    found |= {row[at + 2 :].split()[0]} - {"-"} if row[at + 2 :].split() else set()
    return found


@each_page
def test_reasons_exist(page: Path) -> None:
    text = page.read_text()
    assert said_to_be_reasons(text) <= known_reasons() | {"not-reached"}
    # Any other name in code marks that looks like one: two words of reasons, put together.
    # A cause may be called that.
    words = {word for name in known_reasons() for word in name.split("-")}
    for name in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text):
        if set(name.split("-")) <= words and name not in causes.slugs():
            assert name in known_reasons(), f"{page.name}: {name}"


def test_reasons_are_looked_for_in_the_right_places() -> None:
    assert said_to_be_reasons(README.read_text()) >= {"buddy-limit", "ram-too-small"}
    assert said_to_be_reasons((TOP / "docs/scenarios.md").read_text()) >= {"buddy-limit"}


def test_manual_page_has_every_reason() -> None:
    page = (places.build_dir() / "userlib" / "man" / "glk_failure.3").read_text()
    section = page.partition(".Sh REASONS")[2].partition("\n.Sh ")[0]
    listed = re.findall(r"^\.It Cm ([a-z-]+)$", section, re.MULTILINE)
    ordered = sorted(reasons.load().reasons.values(), key=lambda reason: reason.code)
    assert listed == [reason.name for reason in ordered]


def test_strategies_and_injection_points() -> None:
    text = (TOP / "docs" / "driver.md").read_text()
    strategies = {row[0].strip("`") for row in table_rows(text, "name")}
    assert strategies == set(reasons.load().strategies) - {"auto", "none"}
    source = (TOP / "driver" / "inject.c").read_text()
    table = re.search(r"gl_inject_names\[[^=]*= \{(.*?)\};", source, re.DOTALL)
    said = re.search(r"Points: (.*?)\.\n", text, re.DOTALL)
    assert table and said
    assert set(re.findall(r"`([a-z-]+)`", said[1])) == set(re.findall(r'"([a-z-]+)"', table[1]))


def test_module_parameters() -> None:
    text = (TOP / "docs" / "driver.md").read_text()
    source = "".join(path.read_text() for path in (TOP / "driver").glob("*.c"))
    assert names(table_rows(text, "parameter")) == set(
        re.findall(r"^module_param(?:_named|_cb)?\((\w+),", source, re.MULTILINE)
    )


def uapi_structs() -> dict[str, list[str]]:
    """The fields of every struct of the driver's contract."""
    text = re.sub(r"/\*.*?\*/", "", places.UAPI_HEADER.read_text(), flags=re.DOTALL)
    return {
        name: re.findall(r"\b(\w+)(?:\[\d+\])?;", body)
        for name, body in re.findall(r"^struct (gigalock_\w+) \{(.*?)^\};", text, re.M | re.S)
    }


def test_every_field_of_the_calls() -> None:
    """docs/driver.md has a table for each struct, with its fields and no others, in order."""
    text = (TOP / "docs" / "driver.md").read_text()
    structs = uapi_structs()
    assert len(structs) > 15
    said: dict[str, list[str]] = {}
    waiting: list[str] = []
    for line in text.splitlines():
        if line.startswith("| field |"):
            current, waiting = waiting, []
            for name in current:
                said[name] = []
        elif line.startswith("| `") and current:
            for name in current:
                said[name] += re.findall(r"`(\w+)`", line.split("|")[1])
        elif not line.startswith("|"):
            current = []
            waiting += re.findall(r"struct (gigalock_\w+)", line)
            if line.startswith("#"):
                waiting = re.findall(r"struct (gigalock_\w+)", line)
    for name, fields in structs.items():
        assert name in said, f"no table for struct {name}"
        # Two short structs may share a table.
        assert [field for field in said[name] if field in fields] == fields, name
    known = {field for fields in structs.values() for field in fields}
    assert {field for fields in said.values() for field in fields} <= known


def test_every_reason_of_the_driver() -> None:
    rows = table_rows((TOP / "docs" / "driver.md").read_text(), "reason")
    said = [row[0].strip("`") for row in rows]
    source = "".join(path.read_text() for path in (TOP / "driver").glob("*.c"))
    used = {
        name.lower().replace("_", "-") for name in re.findall(r"GIGALOCK_REASON_(\w+)", source)
    } - {"none"}
    assert set(said) == used
    codes = {name: reason.code for name, reason in reasons.load().reasons.items()}
    assert said == sorted(said, key=codes.__getitem__)
    assert {unit for row in rows for unit in row[2].split(", ")} <= {
        "bytes",
        "count",
        "milliseconds",
        "address",
    }


def errnos_of_reasons() -> dict[str, set[str]]:
    """By docs/driver.md."""
    rows = table_rows((TOP / "docs" / "driver.md").read_text(), "reason")
    return {row[0].strip("`"): set(re.findall(r"`(E\w+)`", row[1])) for row in rows}


def test_errnos_that_the_driver_gives() -> None:
    """Each errno that stands beside a reason in the driver's source is one that the table has."""
    said = errnos_of_reasons()
    source = "".join(path.read_text() for path in (TOP / "driver").glob("*.c"))
    given = re.findall(
        r"gl_fail_set\(\w+,\s*GIGALOCK_REASON_(\w+),\s*GIGALOCK_STAGE_\w+,\s*(?:err \?: )?-(E\w+)",
        source,
    )
    # What is wrong with an argument may have an errno of its own, set behind it.
    given += [("BAD_ARGUMENT", err) for err in re.findall(r"\bfail->err = -(E\w+)", source)]
    assert len(given) > 30
    for name, err in given:
        reason = name.lower().replace("_", "-")
        assert err in said[reason], f"{reason}: {err}"


def test_errnos_of_a_lock_in_the_header() -> None:
    """The comment of struct gigalock_lock has the reasons of each errno, as the table does."""
    said = errnos_of_reasons()
    comment = re.search(
        r"each with a reason:\n(.*?)\*/\nstruct gigalock_lock ",
        places.UAPI_HEADER.read_text(),
        re.DOTALL,
    )
    assert comment
    entries = re.findall(
        r"^ \*   (E[A-Z0-9]+)\b(.*?)(?=^ \*   E|\Z)", comment[1], re.MULTILINE | re.DOTALL
    )
    listed: dict[str, set[str]] = {}
    for err, text in entries:
        for reason in re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text):
            if reason in said:
                listed.setdefault(reason, set()).update({err, *re.findall(r"\bE[A-Z]+", text)})
                assert err in said[reason], f"{reason}: {err} in the header"
    transfers = {"card-range", "lock-range", "device-error", "cancelled", "device-gone"}
    assert set(said) - set(listed) == transfers
    for reason, errnos in listed.items():
        if reason != "bad-argument":  # of a transfer, it has others
            assert said[reason] <= errnos, f"{reason}: {said[reason]} in the table"


def test_device_errors() -> None:
    header = (TOP / "qemu-dev" / "include" / "gigalock_regs.h").read_text()
    defined = {
        (int(code, 16), name)
        for name, code in re.findall(r"^#define GL_ERR_(\w+)\s+(0x[0-9a-f]{2})\b", header, re.M)
    }
    rows = table_rows((TOP / "docs" / "device.md").read_text(), "code")
    said = {(int(row[0], 16), row[1].partition(":")[0]) for row in rows if row[0][:2] == "0x"}
    assert said == defined


def test_problem_kinds() -> None:
    """docs/scenarios.md lists what can be wrong with a cell: these and no others."""
    rows = table_rows((TOP / "docs" / "scenarios.md").read_text(), "kind")
    code = "".join(
        (places.HARNESS / "gigalock_harness" / f"{name}.py").read_text()
        for name in ("cell", "matrix", "catalogue")
    )
    kinds = set(re.findall(r'\.fail\(\s*"([a-z-]+)"', code))
    assert len(kinds) > 10
    assert names(rows, r"`([a-z-]+)`") == kinds


def test_keys_of_matrix_json() -> None:
    """What a cell's object holds, and what the page says of it."""
    import samples

    rows = table_rows((TOP / "docs" / "scenarios.md").read_text(), "key")
    said = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row[0])}
    missing = set(samples.locked().to_json()) - said
    assert not missing


def test_kinds_of_remedies() -> None:
    """docs/scenarios.md lists what the harness can apply: these and no others."""
    from gigalock_harness import prepare, remedy

    text = (TOP / "docs" / "scenarios.md").read_text()
    assert names(table_rows(text, "remedy"), r"`([a-z-]+)`") == set(remedy.KINDS)
    step = next(line for line in text.splitlines() if line.startswith("| `step` |"))
    assert set(re.findall(r'`"([a-z-]+)"`', step)) == set(prepare.KINDS)
