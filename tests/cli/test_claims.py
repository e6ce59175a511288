"""`bnrun claims`: the catalogue, and the last verdict here."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bnrun.cli import app, completion
from bnrun.runs.study_directory import create_study
from bnrun.studies.claim import Evidence
from bnrun.studies.registry import STUDIES, find_study
from bnrun.studies.study import Measured, plan

OLD, NEW = "20260101T000000Z-study-converge", "20260102T000000Z-study-converge"
LATER = "20260103T000000Z-study-converge"


def _claims(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["claims", *words], terminal_width=80)
    return done.exit_code, done.output


def _keep(out: Path, name: str, evidence: dict[str, Evidence]) -> None:
    with create_study(out, plan(find_study("converge"), "quick", "a machine")) as directory:
        for id_, one in evidence.items():
            directory.record(Measured(id_, one, 1.0))
    directory.path.rename(out / name)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three studies: C6 is decided in the two older ones, other than expected in the newer."""
    _keep(tmp_path, OLD, {"C6": Evidence({"a tenth or more": [0.01, 0.011, 0.012]})})
    _keep(tmp_path, NEW, {"C6": Evidence({"a tenth or more": [0.2, 0.21, 0.22]}, "A remark.")})
    _keep(tmp_path, LATER, {})
    return tmp_path


def test_the_catalogue_has_every_claim_with_its_source_and_last_verdict(out: Path) -> None:
    code, shown = _claims("--out", str(out))
    lines = shown.splitlines()
    assert code == 0
    for study in STUDIES.values():
        for claim in study.claims:
            assert any(line.startswith(f"{claim.id} ") for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("C6"))
    assert lines[at].split()[-1] == "supported"
    assert lines[at + 1].endswith("(a surprise)")
    assert f"{NEW}  quick   2026-01-02 00:00:00 UTC" in lines
    assert "No verdict here yet: exact, start, predict," in shown


def test_a_claim_is_shown_whole(out: Path) -> None:
    code, shown = _claims("percent-SATURATED", "--out", str(out))
    assert code == 0
    assert shown.startswith("C6 percent-saturated  ")
    for heading in ("says", "here", "number", "supported", "expected", "study"):
        assert f"\n    {heading} " in shown
    words = " ".join(shown.split())
    assert f"last run here: {out / NEW}, budget quick, a machine, 2026-01-02" in words
    assert "a tenth or more 0.21 (0.185 to 0.235), n = 3 supported contradicted" in words
    assert words.endswith("(a surprise) A remark.")
    assert "not decided here yet; `bnrun study converge` does it" in _claims("C1")[1]


def test_the_document_has_the_sources_and_the_last_verdict(out: Path) -> None:
    document = json.loads(_claims("C6", "--json", "--out", str(out))[1])
    assert document["study"] == "converge"
    assert document["sources"][0]["reading"] == "read"
    assert document["parts"][0]["supported_where"] == "the whole interval is above 0.1"
    assert document["last"]["run"] == str(out / NEW)
    assert document["last"]["started"] == "2026-01-02T00:00:00Z"
    assert (document["last"]["verdict"], document["last"]["surprise"]) == ("supported", True)
    every = json.loads(_claims("--json", "--out", str(out))[1])["claims"]
    assert [one["id"] for one in every if one["last"]] == ["C6"]


def test_a_mistyped_claim_gets_the_closest_one() -> None:
    code, shown = _claims("fastr")
    assert (code, shown) == (
        2, "error: ID: there is no claim 'fastr'. Did you mean 'faster'?\n",
    )  # fmt: skip


def test_the_ids_of_claims_and_what_a_report_may_be_of_are_completed(out: Path) -> None:
    ids = dict(completion.claims())
    assert ids["C6"] == "Without batch norm"
    context = typer.Context(typer.main.get_command(app))
    context.params["out"] = out
    assert completion.reportable(context)[:3] == ["latest", "exact", "start"]
    assert completion.reportable(context)[-3:] == [LATER, NEW, OLD]
