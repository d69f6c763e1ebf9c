# SPDX-License-Identifier: GPL-2.0-or-later
"""junit.xml, read back as a CI system would."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import samples
from gigalock_harness import junit


def written(tmp_path: Path, *outcomes: object) -> ElementTree.Element:
    path = tmp_path / "junit.xml"
    junit.write(path, outcomes, 12.5)
    return ElementTree.parse(path).getroot()


def test_a_case_for_each_cell(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        samples.locked(),
        samples.refused(),
        samples.broken(),
        samples.skipped(ram_mib=4096),
    )
    suite = root.find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "skipped", "errors")} == {
        "name": "sample",
        "tests": "4",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
    }
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert set(cases) == {
        "sample-2G-stock-sg",
        "sample-2G-stock-coherent",
        "sample-2G-stock-contig-range",
        "sample-4G-stock-sg",
    }
    failed = cases["sample-2G-stock-contig-range"].find("failure")
    assert failed is not None and failed.get("type") == "panic"
    assert "panicked" in (failed.get("message") or "") and "reproduce:" in (failed.text or "")
    skip = cases["sample-4G-stock-sg"].find("skipped")
    assert skip is not None and "host memory" in (skip.get("message") or "")
    properties = {
        p.get("name"): p.get("value") for p in cases["sample-2G-stock-coherent"].iter("property")
    }
    assert properties["reason"] == "buddy-limit" and properties["largest_bytes"] == str(4 << 20)
    assert "reason" not in {p.get("name") for p in cases["sample-2G-stock-sg"].iter("property")}


def test_every_problem_is_told(tmp_path: Path) -> None:
    outcome = samples.broken()
    outcome.fail("console", "a second thing")
    root = written(tmp_path, outcome)
    assert [f.get("type") for f in root.iter("failure")] == ["panic", "console"]
    suite = root.find("testsuite")
    assert suite is not None and suite.get("tests") == "1"


def test_a_hostile_guest_makes_no_bad_xml(tmp_path: Path) -> None:
    outcome = samples.broken(samples.NASTY + "\ufffe\ud800" + "\x85\u2028")
    root = written(tmp_path, outcome)
    error = root.find(".//system-err")
    assert error is not None and "<script>alert(1)</script>\\x1b[31m\\x00" in (error.text or "")


def test_nothing_ran(tmp_path: Path) -> None:
    assert written(tmp_path).tag == "testsuites"
