# SPDX-License-Identifier: GPL-2.0-or-later
"""Datasheet, register header and device say the same, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from card import GL, HEADER, REGS_AT
from qemu import QemuError

TOP = Path(__file__).resolve().parents[2]
SHEET = (TOP / "docs" / "device.md").read_text()
UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


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


PCI = [t for t in tables() if t[0] == ["", ""]][0][1:]
PCI_IDS = ("GL_PCI_VENDOR_ID", "GL_PCI_DEVICE_ID", "GL_PCI_REVISION")
BARS = {row[0]: row[1] for row in PCI if row[0].startswith("BAR ")}
REGISTERS = {"REG": table("offset", "name", nth=0), "CH": table("offset", "name", nth=1)}


def bar_size(text: str) -> int:
    """As the datasheet gives it for a BAR."""
    m = re.search(r"\d+ KiB", text)
    assert m, f"no size: {text}"
    return number(m[0])


def limits(text: str) -> tuple[int, int]:
    """The range that the datasheet gives for a property, 4K to 1T."""
    m = re.search(r"\b(\d+[KMGT]?) to (\d+[KMGT]?)\b", text)
    assert m, f"no range: {text}"
    return number(m[1]), number(m[2])


def of_sheet(rows: list[list[str]]) -> dict[str, int]:
    """The datasheet's registers; a pair counts as two."""
    out = {}
    for offset, name, _, _, text in rows:
        if "(LO, HI" in text:
            out[name + "_LO"], out[name + "_HI"] = int(offset, 16), int(offset, 16) + 4
        else:
            out[name] = int(offset, 16)
    return out


def fields(text: str) -> dict[str, tuple[int, int]]:
    """Fields as the datasheet writes them, 15:8 NAME: shift and length."""
    return {
        name: (int(low), int(high) - int(low) + 1)
        for high, low, name in re.findall(r"(\d+):(\d+) ([A-Z][A-Z_0-9]+)", text)
    }


def number(text: str) -> int:
    """A number as a person writes it: 0x10, 4096, 4K, 8 KiB."""
    m = re.fullmatch(r"(0x[0-9a-f]+|\d+) ?([KMGT]?)(?:iB)?", text)
    assert m, f"no number: {text}"
    return int(m[1], 0) << UNITS.get(m[2], 0)


def sentence(pattern: str) -> list[int]:
    """The numbers in the one sentence of the datasheet that says it so."""
    found = re.findall(pattern, SHEET)
    assert len(found) == 1, f"the datasheet says {len(found)} times: {pattern}"
    return [number(n) for n in ((found[0],) if isinstance(found[0], str) else found[0])]


# What the datasheet says, one kind of it a function, by the names of the header.


def said_of_pci() -> dict[str, int]:
    rows = {row[0]: row[1] for row in PCI}
    out = dict(zip(PCI_IDS, map(number, rows["vendor, device, revision"].split(", ")), strict=True))
    bars = {text.split(": ")[1].split(",")[0]: int(name[4:]) for name, text in BARS.items()}
    for name, what in (("REGS", "registers"), ("CARD", "card memory"), ("MSIX", "MSI-X table")):
        out["GL_BAR_" + name] = bars.pop(what)
    assert not bars
    return out | {"GL_BAR_REGS_SIZE": bar_size(BARS[f"BAR {out['GL_BAR_REGS']}"])}


def said_of_registers() -> dict[str, int]:
    return {
        f"GL_{kind}_{name}": at
        for kind, rows in REGISTERS.items()
        for name, at in of_sheet(rows).items()
    }


def said_of_identity() -> dict[str, int]:
    reset = {row[1]: row[3] for row in REGISTERS["REG"]}
    version = int(reset["VERSION"], 16)
    return {
        "GL_ID_MAGIC": int(reset["ID"], 16),
        "GL_VERSION_MAJOR": version >> 16,
        "GL_VERSION_MINOR": version & 0xFFFF,
    }


def said_of_places() -> dict[str, int]:
    base, stride = sentence(r"Channel n at (0x[0-9a-f]+) \+ n \* (0x[0-9a-f]+)")
    return {"GL_CH_BASE": base, "GL_CH_STRIDE": stride}


def said_of_limits() -> dict[str, int]:
    rows = {row[0]: row[2] for row in table("name", "default")}
    (least, channels), ring = limits(rows["channels"]), limits(rows["max-ring"])
    assert least == 1
    return {
        "GL_MAX_CHANNELS": channels,
        "GL_MIN_RING_LOG2": ring[0],
        "GL_MAX_RING_LOG2": ring[1],
    }


def said_of_fields() -> dict[str, int]:
    out = {}
    for kind, rows in REGISTERS.items():
        for _, register, _, _, text in rows:
            for name, place in fields(text).items():
                prefix = f"GL_{'CH_' if kind == 'CH' else ''}{register}_{name}"
                out[prefix + "_SHIFT"], out[prefix + "_LEN"] = place
    return out


def said_of_operations() -> dict[str, int]:
    return {"GL_OP_" + row[1]: int(row[0], 16) for row in table("op", "name")}


def said_of_flags() -> dict[str, int]:
    out = {"GL_DESC_F_" + row[1]: int(row[0], 16) for row in table("flag", "name")}
    return out | {"GL_DESC_F_ALL": sum(out.values())}


def said_of_errors() -> dict[str, int]:
    rows = table("code", "name", "fault_addr") + table("code", "name", nth=1)
    out = {"GL_ERR_" + row[1].split(":")[0]: int(row[0], 16) for row in rows}
    assert len(out) == len(rows)
    return out


SAID = {n[len("said_of_") :]: f for n, f in list(globals().items()) if n.startswith("said_of_")}


@pytest.mark.parametrize("what", SAID)
def test_header(what):
    """Each number of the datasheet is the header's, under the name that it has there."""
    said = SAID[what]()
    assert said == {name: GL.get(name) for name in said}


def test_every_define_is_in_the_datasheet():
    """A define that no comparison above claims is one that the datasheet doesn't know."""
    defines = re.findall(r"^\s*#\s*define\s+(\w+)(\(.*?\))?(.*)", HEADER.read_text(), re.M)
    assert [d for d in defines if d[1]] == [
        ("GL_CH", "(n)", "\t\t\t(GL_CH_BASE + (n) * GL_CH_STRIDE)")
    ]
    names = [name for name, arguments, _ in defines if not arguments]
    assert len(names) == len(set(names))
    claimed = [name for said in SAID.values() for name in said()]
    assert len(claimed) == len(set(claimed))
    assert sorted(set(names) - set(claimed)) == ["GIGALOCK_REGS_H"]


def test_layouts():
    """The structs of the header, member by member."""
    header = HEADER.read_text()
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


def test_access_rights(start):
    """RW keeps what was written, RO and WO don't; what is not in the sheet reads 0."""
    card = start("channels=3")
    bases = [GL["GL_CH_BASE"] + n * GL["GL_CH_STRIDE"] for n in range(3)]
    known, controls = {}, {GL["GL_REG_CTRL"]: 0xFFFFFFFE}
    for start_at, kind in ((0, "REG"), *((base, "CH") for base in bases)):
        rights = {row[1]: row[2] for row in REGISTERS[kind]}
        for name, at in of_sheet(REGISTERS[kind]).items():
            plain = re.sub("_(LO|HI)$", "", name)
            known[start_at + at] = rights.get(name) or rights[plain]
    for base in bases:  # all bits but ENABLE
        controls[base + GL["GL_CH_CTRL"]] = 0xFFFFFFFE
    ctrl = {row[1]: fields(row[4]) for row in REGISTERS["CH"]}["CTRL"]
    irq = 1 << ctrl["IRQ"][0]
    for at in range(0, GL["GL_BAR_REGS_SIZE"], 4):
        before, value = read(card, at), controls.get(at, 0x5A5AA5A4)
        card.q.writel(REGS_AT + at, value)
        want = value if known.get(at) == "RW" else before
        if at in controls and at >= GL["GL_CH_BASE"]:
            want = irq  # what is no field of it is not kept
        assert read(card, at) == want, hex(at)
        if at not in known or known[at] == "WO":
            assert before == 0, hex(at)
    # The one bit of each CTRL that was left out.
    for n, base in enumerate(bases):
        card.q.writel(REGS_AT + base + GL["GL_CH_RING_LOG2"], GL["GL_MIN_RING_LOG2"])
        card.q.writel(REGS_AT + base + GL["GL_CH_RING_LO"], 0)
        card.q.writel(REGS_AT + base + GL["GL_CH_CPL_LO"], 0)
        card.q.writel(REGS_AT + base + GL["GL_CH_CTRL"], 1)
        assert read(card, base + GL["GL_CH_CTRL"]) == 1
        assert card.status(n)["RUNNING"]
    assert card.reg("SCRATCH") == 0x5A5AA5A4
    card.set_reg("CTRL", 1)
    assert (card.reg("CTRL"), card.reg("SCRATCH"), card.ch(2, "CTRL")) == (0, 0, 0)


def test_pci(start):
    """The PCI table against the configuration space: ids, BARs, MSI-X, capabilities."""
    channels = 5
    card = start(f"channels={channels}")
    rows = {row[0]: row[1] for row in PCI}
    ids = [number(n) for n in rows["vendor, device, revision"].split(", ")]
    config = card.pci.read(0), card.pci.read(8)
    assert [config[0] & 0xFFFF, config[0] >> 16, config[1] & 0xFF] == ids
    sizes = {}
    for n in range(6):
        reg, text = 0x10 + 4 * n, BARS.get(f"BAR {n}")
        if text is None:  # nothing, or the upper half of the one before
            assert f"BAR {n - 1}" in BARS or card.pci.read(reg) == 0
            continue
        old = card.pci.read(reg), card.pci.read(reg + 4)
        assert (old[0] & 0xF) == (0xC if "prefetchable" in text else 4), "64-bit memory"
        assert "64-bit" in text
        card.pci.write(reg, 0xFFFFFFFF)
        card.pci.write(reg + 4, 0xFFFFFFFF)
        mask = card.pci.read(reg) & ~0xF | card.pci.read(reg + 4) << 32
        sizes[n] = (1 << 64) - mask
        for half in (0, 1):
            card.pci.write(reg + 4 * half, old[half])
        if "plain RAM" not in text:
            assert sizes[n] == bar_size(text)
    assert sizes[GL["GL_BAR_CARD"]] == 64 << 20
    assert "table" in BARS[f"BAR {GL['GL_BAR_MSIX']}"]
    (pending,) = sentence(r"pending bits at (0x[0-9a-f]+)")
    msix = card.pci.capability(0x11)
    assert (card.pci.read(msix) >> 16 & 0x7FF) + 1 == channels, "one vector a channel"
    assert card.pci.read(msix + 4) == GL["GL_BAR_MSIX"]
    assert card.pci.read(msix + 8) == GL["GL_BAR_MSIX"] | pending


def test_capabilities(card):
    """Those of the list, and no other; no INTx and no MSI."""
    row = {row[0]: row[1] for row in PCI}["capabilities"]
    kinds = {"PCI Express": 0x10, "power management": 0x01, "MSI-X": 0x11}
    extended = {"AER": 0x0001}
    said = [re.split(r" with | \(", part)[0] for part in re.sub(r", D3hot", "", row).split(", ")]
    assert sorted(said) == sorted([*kinds, *extended])
    found, at = [], card.pci.read(0x34) & 0xFF
    while at:
        head = card.pci.read(at)
        found.append(head & 0xFF)
        at = head >> 8 & 0xFF
    assert sorted(found) == sorted(kinds.values())
    # The extended ones lie beyond what the two ports reach: QEMU's memory map of them.
    q = card.q
    q.outl(0xCF8, 1 << 31 | 0x60)  # PCIEXBAR of q35's host bridge, 00:00.0
    q.outl(0xCFC, 0xB0000001)
    head = q.readl(0xB0000000 + (5 << 15) + 0x100)
    assert head & 0xFFFF == extended["AER"] and not head >> 20
    # Function level reset; D3hot as the only other power state.
    assert "function level reset" in row and card.pci.read(card.pci.capability(0x10) + 4) >> 28 & 1
    assert "(D0, D3hot)" in row and not card.pci.read(card.pci.capability(0x01)) >> 25 & 3
    assert "no INTx and no MSI" in SHEET
    assert card.pci.read(0x3C) >> 8 & 0xFF == 0


def power_of_two(text: str) -> bool:
    return "power of two" in text


def beyond(name: str, text: str, default: str, version: str) -> tuple[list[int], list[int]]:
    """The outermost values that the datasheet allows, and those next to them."""
    if "up to one second" in text:
        return [0, 10**9], [10**9 + 1]
    if m := re.match(r"([\d, ]+) or (\d+)$", text):
        good = [int(n) for n in [*m[1].split(", "), m[2]]]
        return good, [n for n in range(18) if n not in good]
    low, high = limits(text)
    if m := re.search(rf"\({version}: to (\d+)\)", text):
        high = int(m[1])
    good = [low, high]
    low = min(low, int(default)) if re.fullmatch(r"-?\d+", default) else low
    good += [low] if low not in good else []
    if power_of_two(text):
        return good, [low // 2, low * 3, high * 2]
    return good, [n for n in (low - 1, high + 1) if n >= 0 or default.startswith("-")]


def test_property_ranges(start):
    """Each limit of the datasheet is taken, and what lies next to it refused."""
    ports = []
    for n in range(24):  # the card of start() is in slot 5
        place = n + 1 if n < 4 else n + 2
        ports += ["-device", f"pcie-root-port,id=p{n},chassis={n + 2},addr={place:#x}"]
    q = start(extra=ports).q
    version = "{major}.{minor}".format(**q.qmp("query-version")["qemu"])
    free = iter(range(24))
    tried = set()
    for name, default, text in table("name", "default"):
        ranged = re.search(r"\d+[KMGT]? to \d|\d or \d+$|up to one second", text)
        if not ranged or name.startswith("x-"):
            continue
        tried.add(name)
        good, bad = beyond(name, text, default, version)
        for value in bad:
            with pytest.raises(QemuError, match=name):
                q.qmp("device_add", driver="gigalock", bus="p23", **{name: value})
        for value in good:
            q.qmp("device_add", driver="gigalock", bus=f"p{next(free)}", **{name: value})
    assert tried >= {"card-mem", "channels", "addr-width", "max-ring", "align", "workers"}
    assert tried >= {"link-gen", "link-lanes", "link-latency"}


def test_properties(start):
    """Every property of the datasheet exists with its default, and none is left out."""
    card = start()
    rows = {row[0]: row[1] for row in table("name", "default")}
    have = {p["name"] for p in card.q.qmp("device-list-properties", typename="gigalock")} - {
        p["name"] for p in card.q.qmp("device-list-properties", typename="pci-testdev")
    }
    knobs = {n.strip() for row in table("name", "") for n in row[0].split(",")}
    assert have == set(rows) | knobs
    for name, default in rows.items():
        if default == "none":
            want = (1 << 64) - 1
        elif default:
            want = int(default) if default.startswith("-") else number(default)
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
