# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue's files as a whole, and how a run of them is judged."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
from gigalock_harness import catalogue, causes, causetable, choose, cli, failuresdoc, report
from gigalock_harness.cells import Expectation, Remedy
from gigalock_harness.doctor import Diagnosis
from gigalock_harness.outcome import FAIL, PASS, SKIP, Outcome
from gigalock_harness.places import CATALOGUE
from gigalock_harness.results import Figures, write_results
from gigalock_harness.scenario import Scenario


@pytest.fixture(scope="module")
def everything() -> list[Scenario]:
    return choose.load_all(choose.folders())


# -- the files ------------------------------------------------------------------


def test_every_cause_is_shown(everything: list[Scenario]) -> None:
    """By a failing guest with its cure, or, where nothing fails, by a guest that shows it."""
    for cause in causes.load().values():
        mine = [one for one in everything if one.cause == cause.slug]
        stem = f"{cause.number:02}-{cause.slug}"
        kinds = {one.name.removeprefix(f"{stem}.") for one in mine}
        assert kinds in ({"failing", "cured"}, {"shown"}), f"{stem}: {kinds or 'no scenario'}"


def test_a_failing_guest_gives_a_reason_of_its_cause(everything: list[Scenario]) -> None:
    for one in everything:
        for cell in one.cells:
            if cell.expect.cause:
                known = causes.load()[cell.expect.cause].reasons
                assert set(cell.expect.reasons) <= set(known), cell.name


def test_a_cured_guest_moves_what_was_refused(everything: list[Scenario]) -> None:
    cells = {cell.name: cell for one in everything for cell in one.cells}
    assert len(cells) == sum(len(one.cells) for one in everything), "two cells with one name"
    for cell in cells.values():
        if cell.twin:
            assert cell.bytes == cells[cell.twin].bytes >= 1 << 30, cell.name
            assert cell.expect.outcome == "locks"
            # One boot that moves the buffer, and a remedy: what the judgement asks a proof of.
            assert cell.boots == 1 and cell.remedy is not None, cell.name


def test_the_axis(everything: list[Scenario]) -> None:
    axis = [cell for one in everything if one.name.startswith("axis-") for cell in one.cells]
    sizes = [256, 512, 768, 1024, 1200, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384]
    for kernel in ("stock", "lab"):
        for iommu in ("none", "intel"):
            mine = {c.ram_mib for c in axis if c.kernel == kernel and c.iommu == iommu}
            assert sorted(mine) == sizes, (kernel, iommu)


def test_failures_md_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["docs", "--check"]) == 0, capsys.readouterr().out


def test_the_check_of_failures_md_sees_a_change(tmp_path: Path) -> None:
    page = tmp_path / "failures.md"
    assert failuresdoc.run(True, page) == 1
    assert failuresdoc.run(False, page) == 0 and failuresdoc.run(True, page) == 0
    page.write_text(page.read_text().replace("Symptom", "Sympton", 1))
    assert failuresdoc.run(True, page) == 1


def test_failures_md_has_a_section_for_each_cause() -> None:
    text = failuresdoc.text()
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(heads) == len(causes.load())
    for head, cause in zip(heads, causes.load().values()):
        assert head == f"## {cause.number}. {cause.title}"
        section = text.split(head, 1)[1].split("\n## ", 1)[0]
        assert section.strip().startswith(f"**Symptom.** {cause.symptom}")
        assert "Not reproduced yet" not in section or not list(
            CATALOGUE.glob(f"{cause.number:02}-*.toml")
        )


# -- the judgement ---------------------------------------------------------------


def diagnosis(cause: str = "ram-too-small", *remedies: dict[str, Any]) -> Diagnosis:
    return Diagnosis(False, 1, True, cause, "overcommit", [], [], list(remedies))


def pair(*printed: dict[str, Any]) -> list[Outcome]:
    failing = samples.refused(scenario="01-x.failing")
    failing.diagnosis = diagnosis("ram-too-small", *printed)
    cell = samples.cell(
        scenario="01-x.cured", twin=failing.cell.name, remedy=Remedy("ram", "2G"), place="here"
    )
    return [failing, Outcome(cell, move=samples.move(), largest_bytes=1 << 30)]


def test_a_cure_whose_remedy_was_printed() -> None:
    failing, cured = pair({"kind": "ram", "value": "2G"})
    catalogue.judge_twins([failing, cured])
    assert (cured.status, cured.remedy_printed, failing.status) == (PASS, True, PASS)


@pytest.mark.parametrize(
    "printed", [[], [{"kind": "ram", "value": "4G"}], [{"kind": "size", "value": "2G"}]]
)
def test_a_cure_whose_remedy_was_not_printed(printed: list[dict[str, str]]) -> None:
    failing, cured = pair(*printed)
    catalogue.judge_twins([failing, cured])
    assert (cured.status, cured.remedy_printed) == (FAIL, False)
    assert cured.problems[0].kind == "remedy" and "ram 2G" in cured.problems[0].text


def test_a_cure_without_its_twin_proves_nothing() -> None:
    failing, cured = pair({"kind": "ram", "value": "2G"})
    failing.status = SKIP
    catalogue.judge_twins([failing, cured])
    assert cured.status == SKIP and failing.cell.name in cured.skip_reason
    failing, cured = pair({"kind": "ram", "value": "2G"})
    catalogue.judge_twins([cured])
    assert cured.status == SKIP


def fresh_of(outcome: Outcome, **more: Any) -> Outcome:
    return replace(
        outcome, cell=replace(outcome.cell, fresh=True), problems=[], **({"status": PASS} | more)
    )


def test_a_fresh_boot_that_agrees() -> None:
    outcome = samples.locked()
    catalogue.judge_fresh([outcome, again := fresh_of(outcome)])
    assert again.status == PASS


@pytest.mark.parametrize("what", ["locks", "reason", "cause"])
def test_a_fresh_boot_that_disagrees(what: str) -> None:
    outcome = samples.refused()
    outcome.diagnosis = diagnosis()
    changed: dict[str, Any] = {
        "locks": {"move": samples.move(), "failure": None},
        "reason": {"failure": samples.failure("killed", 9)},
        "cause": {"diagnosis": diagnosis("memlock-limit")},
    }[what]
    again = fresh_of(outcome, **changed)
    catalogue.judge_fresh([outcome, again])
    assert [problem.kind for problem in again.problems] == ["template"]


def test_figures_beside_their_goals() -> None:
    outcomes = [samples.locked() for _ in range(3)]
    for outcome, overhead in zip(outcomes, (0.1, 0.3, 9.0)):
        outcome.template, outcome.overhead_s = True, overhead
    rate, overhead, _ = catalogue.goals([*outcomes, samples.skipped()], 30.0)
    assert rate.value == pytest.approx(1500) and rate.met is False
    assert overhead.value == 0.3 and overhead.met is True
    assert catalogue.goals([], 1.0)[0].met is None


# -- what people see ---------------------------------------------------------------


def shown() -> list[Outcome]:
    failing, cured = pair({"kind": "ram", "value": "2G", "cost": samples.NASTY, "commands": ["x"]})
    assert failing.diagnosis
    failing.diagnosis.evidence.append({"what": samples.NASTY, "value": 5})
    for outcome in (failing, cured):
        outcome.cell = replace(outcome.cell, shows="ram-too-small")
    failing.cell = replace(
        failing.cell, expect=Expectation("fails", ("overcommit",), cause="ram-too-small")
    )
    catalogue.judge_twins([failing, cured])
    return [failing, cured, samples.locked(), fresh_of(samples.locked())]


def test_the_table_of_causes() -> None:
    text = causetable.render(shown())
    line = next(line for line in text.splitlines() if "ram-too-small" in line)
    assert line.split() == ["9", "ram-too-small", "ok", "buddy-limit", "ok", "ram", "2G"]
    failed = shown()
    failed[1].status = FAIL
    assert "FAILED" in causetable.render(failed)


def test_the_report_has_causes_evidence_and_twins(tmp_path: Path) -> None:
    outcomes = shown()
    figures = Figures(started=0.0, causes=causetable.to_json(outcomes), seed=7)
    figures.counts = {"pass": 4, "fail": 0, "skip": 0}
    figures.host = samples.run_figures()["host"]
    figures.absent = [{"scenario": "s", "cause": "c", "kernel": "lab", "why": samples.NASTY}]
    write_results(tmp_path, outcomes, figures)
    data = json.loads((tmp_path / "matrix.json").read_text())
    assert data["cells"][0]["cause"] == data["cells"][0]["expected_cause"] == "ram-too-small"
    assert data["cells"][0]["evidence"][0]["value"] == 5
    assert data["cells"][1]["twin"] == data["cells"][0]["name"]
    assert data["cells"][1]["remedy"] == {"kind": "ram", "value": "2G"}
    page = report.render(data)
    assert causes.load()["ram-too-small"].title in page
    assert "as the doctor printed it there" in page and "can&#39;t exist" in page or "lab" in page
    assert "<script>alert" not in page
    assert (tmp_path / "report.html").read_text() == page


def test_bad_input_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--scenarios", "nothing-of-that-name"], "no cell fits"),
        (["--kernel", "vista"], "unknown kernel 'vista'"),
        (["--ram", "lots"], "--ram: ram"),
        (["--folder", str(tmp_path / "none")], "no such folder"),
    ):
        assert cli.main(["matrix", "--out", str(tmp_path), *words]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    (tmp_path / "bad.toml").write_text('format = 2\nname = "bad"\ntitle = "x"\ncolour = 1\n')
    assert cli.main(["matrix", "--out", str(tmp_path), "--folder", str(tmp_path)]) == 2
    assert "bad.toml:" in (err := capsys.readouterr().err) and "key" in err


def test_make_matrix_passes_on_what_it_is_given() -> None:
    words = ["SCENARIOS=12-", "RAM=1G,2G", "KERNEL=stock,lab", "SEED=7"]
    done = subprocess.run(
        [
            "make",
            "-n",
            "-o",
            "all",
            "matrix",
            "SCENARIOS=12-",
            "RAM=1G,2G",
            "KERNEL=stock,lab",
            "SEED=7",
        ],
        cwd=CATALOGUE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.replace("\\\n", " ").splitlines()
    line = next(one for one in lines if "gigalock_harness matrix" in one)
    for words in ("--scenarios '12-'", "--ram 1G,2G", "--kernel stock,lab", "--seed 7"):
        assert words in line
