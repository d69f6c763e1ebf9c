# SPDX-License-Identifier: GPL-2.0-or-later
"""Datasheet, register header and device say the same, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from card import GL, REGS_AT

TOP = Path(__file__).resolve().parents[2]
SHEET = (TOP / "docs" / "device.md").read_text()


def tables() -> list[list[list[str]]]:
    """All tables of the datasheet: rows of cells, the heading first."""
    out: list[list[list[str]]] = [[]]
    for line in SHEET.splitlines():
        if line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            if not all(set(c) <= {"-"} and c for c in cells):
                out[-1].append(cells)
        elif out[-1]:
            out.append([])
    return [t for t in out if t]


def table(*heading: str, nth: int = 0) -> list[list[str]]:
    """The rows of the nth table whose heading begins so."""
    found = [t[1:] for t in tables() if tuple(t[0][: len(heading)]) == heading]
    return found[nth]


REGISTERS = {"REG": table("offset", "name", nth=0), "CH": table("offset", "name", nth=1)}
NOT_REGISTERS = {"GL_CH_BASE", "GL_CH_STRIDE"}


def of_header(prefix: str) -> dict[str, int]:
    """The header's registers with this prefix."""
    return {
        n[len(prefix) :]: v
        for n, v in GL.items()
        if n.startswith(prefix) and not n.endswith(("_SHIFT", "_LEN")) and n not in NOT_REGISTERS
    }


def of_sheet(rows: list[list[str]]) -> dict[str, int]:
    """The datasheet's registers; a pair counts as two."""
    out = {}
    for offset, name, _, _, text in rows:
        if "(LO, HI" in text:
            out[name + "_LO"], out[name + "_HI"] = int(offset, 16), int(offset, 16) + 4
        else:
            out[name] = int(offset, 16)
    return out


@pytest.mark.parametrize("kind", ["REG", "CH"])
def test_registers(kind):
    """Every register with its offset; none that the other does not have."""
    assert of_sheet(REGISTERS[kind]) == of_header(f"GL_{kind}_")


def fields(text: str) -> dict[str, tuple[int, int]]:
    """Fields as the datasheet writes them, 15:8 NAME: shift and length."""
    return {
        name: (int(low), int(high) - int(low) + 1)
        for high, low, name in re.findall(r"(\d+):(\d+) ([A-Z][A-Z_0-9]+)", text)
    }


def test_fields():
    sheet = {}
    for kind, rows in REGISTERS.items():
        for _, register, _, _, text in rows:
            for name, place in fields(text).items():
                prefix = "CH_" if kind == "CH" else ""
                sheet[f"GL_{prefix}{register}_{name}"] = place
    header = {
        n[: -len("_SHIFT")]: (v, GL[n[: -len("_SHIFT")] + "_LEN"])
        for n, v in GL.items()
        if n.endswith("_SHIFT")
    }
    assert sheet == header


@pytest.mark.parametrize(
    "heading,prefix", [(("op", "name"), "GL_OP_"), (("flag", "name"), "GL_DESC_F_")]
)
def test_operations_and_flags(heading, prefix):
    sheet = {row[1]: int(row[0], 16) for row in table(*heading)}
    header = {n[len(prefix) :]: v for n, v in GL.items() if n.startswith(prefix)}
    assert sheet == {n: v for n, v in header.items() if n != "ALL"}
    if "ALL" in header:
        assert header["ALL"] == sum(sheet.values())


def test_errors():
    rows = table("code", "name", "fault_addr") + table("code", "name", nth=1)
    sheet = {row[1].split(":")[0]: int(row[0], 16) for row in rows}
    assert len(sheet) == len(rows)
    assert sheet == {n[len("GL_ERR_") :]: v for n, v in GL.items() if n.startswith("GL_ERR_")}


def test_layouts():
    """The structs of the header, member by member."""
    header = (Path(__file__).parents[1] / "include" / "gigalock_regs.h").read_text()
    rows = table("offset", "descriptor")
    for struct, columns in (("gl_desc", (0, 1)), ("gl_cpl", (2, 3))):
        body = re.search(rf"struct {struct} {{(.*?)}};", header, re.S)
        assert body
        at, members = 0, []
        for bits, name in re.findall(r"GIGALOCK_LE(\d+) (\w+);", body.group(1)):
            members.append((f"0x{at:02x}", f"{name}, {bits} bits"))
            at += int(bits) // 8
        assert [(r[columns[0]], r[columns[1]]) for r in rows] == members
        assert at == 32


def read(card, at: int) -> int:
    return card.q.readl(REGS_AT + at)


OPTIONS = {
    "channels": 3,
    "addr-width": 41,
    "max-ring": 9,
    "card-mem": 1 << 33,
    "max-xfer": (1 << 34) + 5,
    "max-seg": (1 << 35) + 7,
    "align": 256,
    "boundary": 1 << 36,
    "link-gen": 2,
    "link-lanes": 4,
    "link-latency": 1234,
    "workers": 2,
}


def reset_values(card, kind: str, base: int) -> None:
    """Read every register and hold it against the datasheet's column."""
    for offset, name, access, reset, text in REGISTERS[kind]:
        assert access in ("RO", "RW", "WO")
        at = base + int(offset, 16)
        value = read(card, at)
        if "(LO, HI" in text:
            value |= read(card, at + 4) << 32
        if not reset:
            continue
        if reset[0] != "`":
            want = int(reset, 0)
        else:
            names = re.findall(r"`([a-z-]+)`", reset)
            places = list(fields(text).values()) or [(0, 64)]
            assert len(names) == len(places), name
            want = sum(OPTIONS[n] << shift for n, (shift, _) in zip(names, places, strict=True))
        assert value == want, f"{name} reads {value:#x}, the datasheet says {want:#x}"


def test_reset_values(start):
    """As the card starts, and again after everything writable was written."""
    card = start(",".join(f"{k}={v}" for k, v in OPTIONS.items()))
    channels = [GL["GL_CH_BASE"] + n * GL["GL_CH_STRIDE"] for n in range(OPTIONS["channels"])]
    for again in (False, True):
        reset_values(card, "REG", 0)
        for base in channels:
            reset_values(card, "CH", base)
        if again:
            break
        for base, kind in [(0, "REG")] + [(b, "CH") for b in channels]:
            for name, at in of_sheet(REGISTERS[kind]).items():
                if name != "CTRL":
                    card.q.writel(REGS_AT + base + at, 0xFFFFFFFF)
        card.set_reg("CTRL", 1)


def test_access_rights(card):
    """RW keeps what was written, RO and WO don't; what is not in the sheet reads 0."""
    base = GL["GL_CH_BASE"]
    known = {}
    for start_at, kind in ((0, "REG"), (base, "CH")):
        rights = {row[1]: row[2] for row in REGISTERS[kind]}
        for name, at in of_sheet(REGISTERS[kind]).items():
            plain = re.sub("_(LO|HI)$", "", name)
            known[start_at + at] = rights.get(name) or rights[plain]
    for at in range(0, base + GL["GL_CH_STRIDE"], 4):
        if at in (GL["GL_REG_CTRL"], base + GL["GL_CH_CTRL"]):
            continue
        before = read(card, at)
        card.q.writel(REGS_AT + at, 0x5A5AA5A4)
        want = 0x5A5AA5A4 if known.get(at) == "RW" else before
        assert read(card, at) == want, hex(at)
        if at not in known:
            assert before == 0, hex(at)


def test_properties(start):
    """Every property of the datasheet exists with its default, and none is left out."""
    card = start()
    rows = {row[0]: row[1] for row in table("name", "default")}
    have = {p["name"] for p in card.q.qmp("device-list-properties", typename="gigalock")} - {
        p["name"] for p in card.q.qmp("device-list-properties", typename="pci-testdev")
    }
    knobs = {n.strip() for row in table("name", "") for n in row[0].split(",")}
    assert have == set(rows) | knobs
    units = {"M": 20, "G": 30, "T": 40}
    for name, default in rows.items():
        if default == "none":
            want = (1 << 64) - 1
        elif default and default[-1] in units:
            want = int(default[:-1]) << units[default[-1]]
        elif default:
            want = int(default)
        else:
            continue
        assert card.q.get(name) == want, name


def test_examples():
    """Those of the datasheet are, to the letter, parts of a program that is compiled and run."""
    source = (TOP / "qemu-dev" / "qtest" / "gigalock-example-test.c").read_text()
    assert source.count("---- example:") == source.count("---- end of example ----") > 0
    run = re.findall(
        r"^/\* ---- example: [\w ]+ ---- \*/\n(.*?)^/\* ---- end of example ---- \*/$",
        source,
        re.M | re.S,
    )
    assert re.findall(r"^```c\n(.*?)^```$", SHEET, re.M | re.S) == run
    assert len(run) == source.count("---- example:")
