"""A study from its plan to its directory, its screen and its document."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bnrun
from bnrun.cli import app
from bnrun.errors import ConfigError, RunError
from bnrun.events import drain
from bnrun.runs.lookup import find_study_directory
from bnrun.runs.study_directory import create_study, reopen_study
from bnrun.show.console import as_text
from bnrun.show.study_tables import study_view
from bnrun.studies.claim import Evidence, Part, judge_claim
from bnrun.studies.registry import STUDIES, find_claim, find_study
from bnrun.studies.rules import Exact
from bnrun.studies.study import Measured, StudyResult, plan, run_study

SCREEN = """\
study made-up, budget quick, one seed: Is it?

M1  The claim M1 holds.
    says  A paper, section 2
    here  LeNet
    number  error
    supported  where the largest relative error in float64 is at most 1e-10
    also  With momentum, it is off by 0.4.
    part      measured  verdict       expected
    ────────────────────────────────────────────────────────
    forward      3e-16  supported     supported
    backward     2e-01  contradicted  supported  (a surprise)

M2  The claim M2 holds.
    says  A paper, section 2
    here  LeNet
    number  error
    supported  where the whole interval is above 0.01
    part                       measured  verdict    expected
    ──────────────────────────────────────────────────────────
    accuracy  0.05 (0.0252 to 0.0748), n = 3  supported  supported

claim           verdict       expected
───────────────────────────────────────────────────
M1     m1-name  contradicted  supported  (a surprise)
M2     m2-name  supported     supported

3.0 s on a machine
"""


def _finished(study):
    return drain(run_study(plan(study, "quick", "a machine"), None))


def _words(text):
    return [line.split() for line in text.splitlines() if set(line) - {"─", " "}]


def test_the_screen_ends_with_the_verdicts(made_up):
    assert _words(as_text(study_view(_finished(made_up)), 80)) == _words(SCREEN)


def test_rules_that_differ_name_their_parts():
    shown = " ".join(as_text(study_view(_of_start({"A1": {}})), 100).split())
    assert (
        "where the whole interval is above 0.3 (sigmoid; relu); the whole interval is above 0 "
        "(sigmoid, no norm less batch norm)"
    ) in shown


def test_a_single_seed_has_its_value_and_no_interval():
    shown = as_text(study_view(_of_start({"A1": {"sigmoid": [0.8125]}})), 100)
    assert "0.812, n = 1" in shown


def test_the_check_of_a_definition_is_shown_as_0_or_1():
    evidence = {"S4": Evidence({"definition": [1.0]})}
    result = StudyResult(STUDIES["predict"], "quick", "a machine", evidence, 1.0)
    shown = [line.split() for line in as_text(study_view(result), 100).splitlines()]
    assert ["definition", "1", "supported", "contradicted", "(a", "surprise)"] in shown


def _of_start(values):
    evidence = {id_: Evidence(one) for id_, one in values.items()}
    return StudyResult(STUDIES["start"], "quick", "a machine", evidence, 1.0)


def test_the_surprise_of_one_part_is_said_to_be_of_a_part(made_up):
    parts = tuple(Part(name, Exact(), "contradicted") for name in ("first", "second"))
    claim = replace(made_up.claims[0], parts=parts)
    for errors, words in (
        ((0.1, 0.2), ""),
        ((0.1, 0.0), "a surprise in a part"),
        ((1e-8, 0.0), "a surprise in a part"),  # the first is not decided, so the claim is not
        ((0.0, 0.0), "a surprise"),
    ):
        evidence = Evidence({"first": [errors[0]], "second": [errors[1]]})
        assert judge_claim(claim, evidence).surprise == words


def test_a_verdict_on_identities_rests_on_the_largest_error(made_up):
    claim = made_up.claims[0]
    supported = judge_claim(claim, Evidence({"forward": [7e-18], "backward": [2e-14]}))
    assert (supported.deciding[0].name, supported.to_dict()["estimate"]) == ("backward", 2e-14)
    contradicted = judge_claim(claim, Evidence({"forward": [0.1], "backward": [2e-14]}))
    assert (contradicted.deciding[0].name, contradicted.to_dict()["estimate"]) == ("forward", 0.1)


def test_what_is_not_decided_is_no_surprise(made_up):
    evidence = {"M2": Evidence({"accuracy": [0.0, 0.5]})}
    (claim,) = StudyResult(made_up, "quick", "a machine", evidence, 1.0).claims
    assert (claim.verdict, claim.is_surprise) == ("not decided", False)
    assert "surprise" not in as_text(study_view(_finished(made_up)), 80).partition("M2")[2][:300]


def test_what_is_not_decided_says_what_would_decide(made_up):
    evidence = {"M2": Evidence({"accuracy": [0.0, 0.1, 0.05]})}
    result = StudyResult(made_up, "standard", "a machine", evidence, 90.0)
    (claim,) = result.claims
    ((part, (seeds, seconds)),) = claim.needs.items()
    assert (part, seconds) == ("accuracy", seeds * 30.0)
    assert claim.to_dict()["parts"][0]["seeds_needed"] == seeds > 3
    shown = " ".join(as_text(study_view(result), 80).split())
    assert f"accuracy: {seeds} seeds with this mean and spread would decide" in shown


def test_the_document_has_every_figure(made_up):
    document = _finished(made_up).to_dict()
    first, second = document.pop("claims")
    assert document == {
        "study": "made-up",
        "question": "Is it?",
        "budget": "quick",
        "seeds": 1,
        "seconds": 3.0,
        "machine": "a machine",
        "run": None,
        "unfinished": [],
    }
    assert (first["id"], first["verdict"], first["expected"]) == ("M1", "contradicted", "supported")
    assert first["surprise"] is True
    assert (first["rule"], first["estimate"], first["margin"]) == ("exact", 0.25, 1e-10)
    assert first["note"] == (
        "Supported: forward; contradicted: backward. With momentum, it is off by 0.4."
    )
    assert first["source"] == "A paper, section 2"
    assert [part["verdict"] for part in first["parts"]] == ["supported", "contradicted"]
    assert (second["verdict"], second["n"], second["note"]) == ("supported", 3, "")
    assert second["ci95"] == pytest.approx((0.0252, 0.0748), abs=1e-4)
    json.dumps(document)


def test_a_directory_keeps_the_evidence_and_judges_it_anew(made_up, tmp_path, monkeypatch):
    with create_study(tmp_path, plan(made_up, "quick", "a machine")) as directory:
        for event in run_study(directory.result, None):
            directory.record(event)
    kept = reopen_study(directory.path).result
    assert kept.to_dict() == directory.result.to_dict()
    assert json.loads((directory.path / "summary.json").read_text()) == json.loads(
        json.dumps(kept.to_dict())
    )
    monkeypatch.setattr("bnrun.studies.rules.Exact.WRONG", 0.5)
    assert reopen_study(directory.path).result.claims[0].verdict == "not decided"


def test_an_interrupted_study_continues_with_what_is_missing(made_up, tmp_path):
    with create_study(tmp_path, plan(made_up, "quick", "a machine")) as directory:
        for event in run_study(directory.result, None):
            directory.record(event)
            if isinstance(event, Measured):
                break
    again = reopen_study(directory.path)
    assert again.result.unfinished == ("M2",)
    with again:
        measured = [event for event in run_study(again.result, None) if isinstance(event, Measured)]
    assert [event.claim for event in measured] == ["M2"]


def test_what_another_process_measured_before_the_lock_is_kept(made_up, tmp_path):
    first = create_study(tmp_path, plan(made_up, "quick", "a machine"))
    second = reopen_study(first.path)
    with first:
        for event in run_study(first.result, None):
            first.record(event)
    with second:
        assert second.result.unfinished == ()


def test_a_study_at_work_is_locked(made_up, tmp_path):
    with (
        create_study(tmp_path, plan(made_up, "quick", "a machine")) as directory,
        pytest.raises(RunError, match="another process is working on this study"),
        reopen_study(directory.path),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"budget": "huge"}', "no budget 'huge'"),
        ('{"budget": "quick", "environment": {}, "study": "made-up"}', "is damaged"),
    ],
)
def test_a_damaged_study_is_said_to_be(made_up, tmp_path, content, words):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(RunError, match=words):
        reopen_study(tmp_path)


def test_a_study_that_this_version_does_not_have_is_named(made_up, tmp_path):
    path = create_study(tmp_path, plan(made_up, "quick", "a machine")).path
    del STUDIES["made-up"]
    with pytest.raises(ConfigError, match="there is no study 'made-up'"):
        reopen_study(path)


@pytest.mark.parametrize(
    ("find", "name", "words"),
    [
        (find_study, "x8", "there is no study 'x8'. X8 is a claim of study exact."),
        (find_claim, "start", "there is no claim 'start'. Study start has A1, A2, A3, A4."),
    ],
)
def test_a_claim_is_no_study_and_the_other_way_round(find, name, words):
    with pytest.raises(ConfigError) as error:
        find(name)
    assert words in str(error.value)


def test_it_is_found_by_its_name_or_as_the_latest(made_up, tmp_path):
    path = create_study(tmp_path, plan(made_up, "quick", "a machine")).path
    for name in (str(path), path.name, path.name[:10], "latest"):
        assert find_study_directory(name, tmp_path) == path
    with pytest.raises(RunError, match="there is no study 'nothing'"):
        find_study_directory("nothing", tmp_path)
    with pytest.raises(RunError, match="no latest study"):
        find_study_directory("latest", tmp_path / "empty")


def test_a_mistyped_study_gets_the_closest_one():
    with pytest.raises(ConfigError, match="Did you mean 'exact'"):
        find_study("exakt")


def _run(*arguments):
    return CliRunner().invoke(app, ["study", *map(str, arguments)])


def test_the_command_measures_judges_and_continues(made_up, tmp_path):
    done = _run("made-up", "--budget", "quick", "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert [claim["verdict"] for claim in document["claims"]] == ["contradicted", "supported"]
    for option in ("--judge", "--resume"):
        again = _run(option, "latest", "--out", tmp_path, "--json")
        assert json.loads(again.stdout) == document
    shown = _run("--judge", document["run"]).stdout
    assert "kept in" in shown
    assert "picture    M1-m1-name.png" in shown
    assert list(document["pictures"]) == ["M1", "M2"]
    assert Path(document["pictures"]["M2"]).name == "M2-m2-name.png"
    assert Path(document["pictures"]["M2"]).is_file()


def test_where_pictures_cannot_be_drawn_the_result_is_shown(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr("bnrun.show.pictures.claim_picture", lambda *arguments: 1 / 0)
    done = _run("made-up", "--budget", "quick", "--out", tmp_path)
    assert done.exit_code == 0
    assert "M1" in done.stdout
    assert "the pictures can't be drawn: division by zero" in done.stderr


def test_the_list_names_every_study():
    documents = json.loads(_run("--list", "--json").stdout)["studies"]
    assert [one["name"] for one in documents] == list(STUDIES)
    assert documents[0]["claims"][:2] == ["X1", "X2"]
    assert "Which sentences about normalization are identities?" in _run().stdout


def test_the_list_of_runs_has_studies(made_up, tmp_path):
    path = create_study(tmp_path, plan(made_up, "quick", "a machine")).path

    def listed(*arguments):
        done = CliRunner().invoke(app, ["runs", "--out", str(tmp_path), *arguments])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    shown = " ".join(listed().split())
    assert shown.endswith(f"{path.name} interrupted budget quick; no verdict yet")
    _run("--resume", path, "--out", tmp_path, "--json")
    assert "budget quick; 1 contradicted, 1 supported" in listed()
    (entry,) = json.loads(listed("--json"))["studies"]
    assert entry == {
        "run": str(path),
        "status": "completed",
        "budget": "quick",
        "verdicts": {"contradicted": 1, "supported": 1},
        "unfinished": [],
    }
    (path / "study.json").write_text("{")
    assert path.name in listed("status=damaged")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exakt"], "Did you mean 'exact'"),
        (["exact", "--budget", "quik"], "Did you mean 'quick'"),
        (["all", "--json"], "--json: it prints one document"),
        (["--judge", "latest", "--budget", "quick"], "--judge: a kept study has its own budget"),
        (["--judge", "latest", "--resume", "latest"], "--judge: give --resume or --judge"),
        (["--judge", "nothing"], "there is no study 'nothing'"),
        (["exact", "--judge", "latest"], "is of study made-up, not of exact"),
    ],
)
def test_what_cannot_be_done_is_refused(made_up, tmp_path, arguments, words):
    create_study(tmp_path, plan(made_up, "quick", "a machine"))
    done = _run(*arguments, "--out", tmp_path)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_python_gets_the_result_of_the_command(made_up, tmp_path):
    result = bnrun.study("made-up", budget="quick")
    assert result.run is None
    assert result.to_dict()["claims"] == _finished(made_up).to_dict()["claims"]
    assert "M1" in bnrun.render(result)
    assert bnrun.plot(result, claim="M2").get_suptitle() == "M2  The claim M2 holds."
    with pytest.raises(ConfigError, match="claim: received 'M3'; it must be M1 or M2"):
        bnrun.plot(result, claim="M3")
    kept = bnrun.study("made-up", budget="quick", claims=["M2"], out=tmp_path)
    assert kept.unfinished == ("M1",)
    assert reopen_study(find_study_directory("latest", tmp_path)).result.to_dict() == kept.to_dict()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "exakt"}, "Did you mean 'exact'"),
        ({"name": "made-up", "budget": "huge"}, "budget: received 'huge'"),
        ({"name": "made-up", "claims": ["M3"]}, "has no claim 'M3'. It has: M1, M2"),
    ],
)
def test_python_gets_an_error_for_what_there_is_not(made_up, given, words):
    with pytest.raises(ConfigError, match=words):
        bnrun.study(**given)
