"""The report: one page that needs nothing else, for results that are made by hand."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnrun import runs
from bnrun.cli import app
from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.plan import make_plan
from bnrun.config import parse_override, resolve
from bnrun.events import DataUsed, EpochEnded, RunEnded, RunStarted, drain
from bnrun.report import records
from bnrun.report.documents import audit_section
from bnrun.report.page import build_page
from bnrun.runs.kept_results import Document, KeptResults, find_results, newest_results
from bnrun.runs.study_file import StudyFile
from bnrun.show.page_blocks import PlainTable
from bnrun.studies.claim import Evidence
from bnrun.studies.registry import find_study
from bnrun.studies.study import StudyResult

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)


RUN_START = "20260102"


class Outline(HTMLParser):
    """What a test asks of a page: its elements, their attributes, its headings and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, text = self.headings.pop()
            self.headings.append((level, text + data))
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize(
    ("arms", "seeds", "settings", "command"),
    [
        (["scratch", "builtin"], 3, [], "bnrun compare scratch builtin --seeds 3"),
        (
            ["none", "scratch"],
            [4, 5],
            ["data.name=synthetic", "data.images=200", "model.norm_places=[1, 2]"],
            "bnrun compare none scratch --seeds 2 --set training.seed=4 "
            "--set 'model.norm_places=[1, 2]' --set data.name=synthetic --set data.images=200",
        ),
        (["scratch", "builtin"], [0, 2], [], "bnrun compare --resume None"),
        (["a=scratch,model.pool=max", "b=scratch"], 1, [], "bnrun compare --resume None"),
    ],
)
def test_a_comparison_has_the_command_that_repeats_it(
    arms: list[str], seeds: int | list[int], settings: list[str], command: str
) -> None:
    overrides = [one for text in settings for one in parse_override(text)]
    plan = make_plan(build_arms(arms, None, overrides), seeds)
    assert records._command(plan) == command


def test_the_page_has_its_sections_in_order(page: str) -> None:
    assert Outline(page).headings == [
        (1, "Normalization, put to the test"),
        (2, "What came out"),
        (2, "Study converge: How fast does training get how far, with and without batch norm?"),
        (3, "C2  Batch norm does not change the final accuracy."),
        (3, "C6  Without batch norm, sigmoids saturate."),
        (2, "Runs"),
        (3, "Run LeNet, norm scratch, synthetic data, one seed (0)"),
        (2, "Verifications"),
        (3, "Verification of script>"),
        (2, "Audits"),
        (3, "Audit of resnet.py:build"),
    ]  # fmt: skip


def test_its_title_says_how_much_is_in_it(page: str) -> None:
    assert "<title>bnrun: 1 study, 1 run, 1 verification, 1 audit</title>" in page


def test_a_claim_says_its_verdict_its_source_and_what_was_done(page: str) -> None:
    claim = page[
        page.index('<article id="C6"') : page.index(
            '<section class="chapter" aria-labelledby="runs"'
        )
    ]
    words = " ".join(re.sub("<[^>]*>", " ", claim.replace("<desc", "\n<desc")).split())
    for sentence in (
        "● supported expected: contradicted, with medium confidence a surprise",
        "Ioffe and Szegedy 2015, Batch Normalization, section 1",
        "How often: once for each seed, n = 3; budget quick, on a machine.",
        "Supported where the whole interval is above 0.1.",
        "Curves over: step. no norm: from 0 at 0 to 0.78 at 780; batch norm: from 0 at 0",
        "a tenth or more ● supported 0.21 (0.185 to 0.235) 3 contradicted (a surprise) 0.2, 0.21,",
        "Curves, means over the seeds, one of 4 points step no norm batch norm 0 0 0 80 0.08",
        "Run it again: bnrun study converge --budget quick",
    ):
        assert sentence in words


def _numbers_of(study: str, evidence: dict[str, Evidence]) -> str:
    """Return the words of a page on claims of a study, whose evidence is given."""
    result = StudyResult(find_study(study), "quick", "a machine", evidence, 1.0)
    page = drain(build_page(KeptResults(studies=[StudyFile(result, {}, None)])))
    shown = page[page.index('<section class="chapter"') : page.index("<footer>")]
    return " ".join(re.sub("<[^>]*>", " ", shown).split())


def test_a_check_of_a_definition_over_seeds_has_no_interval_and_no_zone() -> None:
    words = _numbers_of("predict", {"S4": Evidence({"definition": [0.0, 0.0, 0.0]})})
    assert "How often: once for each seed, n = 3: all must agree; budget quick" in words
    assert "Circles: seeds, at 1 where the check of the definition holds, else at 0." in words
    assert "Parts part verdict measured" in words
    assert "95 %" not in words


def test_a_table_of_curves_says_of_which_seeds_and_has_the_end_of_each_curve() -> None:
    loss = [(step / 10, step / 100) for step in range(30)]
    evidence = Evidence({}, curves={"no norm": loss, "batch norm": loss[:6]})
    words = _numbers_of("regularize", {"D1": evidence})
    assert "Curves, seed 0, one of 3 points -log10 of the training loss no norm batch norm" in words
    assert "0.3 0.03 0.03 0.5 0.05 0.05 0.6 0.06" in words


def test_how_a_source_is_known_is_said_once() -> None:
    words = _numbers_of("predict", {"S9": Evidence({"slope": [-0.5, -0.5]})})
    assert "Batch Normalized Nets, from memory What was done" in words


def test_an_audit_without_data_has_no_outputs_and_is_repeated_without_data() -> None:
    norm = {"name": "bn1", "eps": 1e-5, "distance": None}
    facts = {"network": "net.py:build", "verdict": "healthy", "norms": [norm], "findings": []}
    nothing = {"accuracies": {}, "parts_at": None, "examples": 0}
    plain = audit_section(
        Document("audit", Path("a.json"), facts | {"outputs": nothing}), "audit-1"
    )
    assert [fold.summary for fold in plain.folds] == ["The norms"]
    assert plain.command == "bnrun audit net.py:build"
    seen = audit_section(
        Document("audit", Path("a.json"), facts | {"outputs": nothing | {"examples": 8}}), "a"
    )
    (norms,), (outputs,) = (fold.blocks for fold in seen.folds)
    assert isinstance(norms, PlainTable)
    assert isinstance(outputs, PlainTable)
    assert norms.are_numbers == (False, True, True)
    assert outputs.rows == (("examples", "8"),)
    assert seen.command == "bnrun audit net.py:build --data DATA"


def test_it_needs_nothing_from_outside_and_runs_nothing(page: str) -> None:
    outline = Outline(page)
    (policy,) = [one for one in outline.all("meta") if one.get("http-equiv")]
    assert policy == {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    }
    assert [one["type"] for one in outline.all("script")] == ["application/json"]
    for _, attributes in outline.elements:
        assert not {"src", "srcset", "onclick", "onload"} & set(attributes)
        for name in ("href", "clip-path"):
            if attributes.get(name):
                assert str(attributes[name]).startswith(("#", "url(#"))
    shown = page[: page.index('<script type="application/json"')]
    assert "http" not in shown.replace("http-equiv", "")
    assert "@import" not in page
    assert "url(" not in page[page.index("<style>") : page.index("</style>")]


def test_names_of_users_are_text_and_never_markup(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "A remark with &lt;b&gt;tags&lt;/b&gt;." in page


def test_the_raw_results_are_in_it_as_json(out: Path, page: str) -> None:
    (text,) = Outline(page).texts["script"]
    data = json.loads(text)
    (study,) = data["studies"]
    assert study["file"]["evidence"]["C6"]["values"] == {"a tenth or more": [0.2, 0.21, 0.22]}
    assert study["result"]["claims"][0]["id"] == "C2"
    values = study["file"]["evidence"]["C2"]["values"].values()
    assert [one[-1] for one in values] == [0.1, 0.11, "inf"]
    assert data["runs"][0]["probes"][0]["probe"] == "gradients"
    for name in ("verification", "audit"):
        assert data[f"{name}s"] == [json.loads((out / f"{name}.json").read_text())]


def test_every_picture_has_a_title_and_a_description_and_every_id_is_one(page: str) -> None:
    outline = Outline(page)
    ids = [str(one["id"]) for _, one in outline.elements if "id" in one]
    assert len(ids) == len(set(ids))
    pictures = outline.all("svg")
    assert len(pictures) == 1 + 2 + 2 + 2  # C2's rows; C6's rows and curves; the run; its probe
    for picture in pictures:
        assert picture["role"] == "img"
        assert set(str(picture["aria-labelledby"]).split()) <= set(ids)
    references = re.findall(r'(?:href="|url\()#([^")]*)', page)
    assert set(references) <= set(ids)
    for region in outline.all("div"):
        assert region.get("aria-labelledby", ids[0]) in ids
    assert {one.get("scope") for one in outline.all("th")} == {"col", "row"}


def test_pictures_take_the_colours_of_the_page(page: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page))
    assert "var(--c-004488)" in drawn
    assert "stroke: currentColor" in drawn
    assert not re.search(r"#[0-9a-f]{6}[;\"]", drawn)
    assert "@media screen and (prefers-color-scheme: dark)" in page


def test_the_same_results_make_the_same_bytes_and_ids_of_their_own(out: Path, page: str) -> None:
    (kept,) = find_results(["converge"], out).studies
    twice = drain(build_page(KeptResults(studies=[kept, kept])))
    articles = re.findall(r'<article id="[^"]*".*?</article>', twice, re.DOTALL)
    assert [one.split('"')[1] for one in articles] == ["C2", "C6", "C2-2", "C6-2"]
    assert all(one in page for one in articles[:2])


def test_results_are_found_by_path_by_name_and_in_one_order(out: Path) -> None:
    found = find_results([RUN_START, str(out / "audit.json"), "20260101", "latest"], out)
    assert found.counts == {"study": 1, "run": 1, "audit": 1}
    again = find_results(["converge", "latest", str(out / "audit.json")], out)
    assert again == found


def _report(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    return done.exit_code, done.output


def test_the_command_writes_the_page_and_says_what_is_in_it(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "page.html"
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    code, shown = _report(out / "audit.json", "--out", out, "-o", file, "--open", "-q")
    assert (code, shown) == (0, f"{file}  0.01 MB  (audit: 1)\n")
    assert opened == [file.as_uri()]
    code, shown = _report("verification.json", "--out", out, "-o", file, "-q")
    assert code == 2
    assert "there is no run, comparison or study 'verification.json'" in shown
    code, shown = _report(out / "audit.json", "-o", file, "--json", "-q")
    assert json.loads(shown)["contents"] == {"audit": 1}


def test_what_cannot_be_reported_or_written_is_refused(out: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("my own page")
    for words, says in (
        (["-o", mine], "is no report of bnrun. Name another file."),
        (["-o", tmp_path], "which is a folder"),
        (["-o", tmp_path / "no" / "page.html"], "is in a folder that does not exist"),
        (["--out", tmp_path], "there is nothing to report below"),
        (["rates", "--out", out], "study rates was not run below"),
        ([out / "other.json"], "is no document of `bnrun verify X --json`"),
        ([mine], "it is no JSON document"),
    ):
        code, shown = _report(*words) if "-o" in words else _report(*words, "-o", tmp_path / "p")
        assert code == 2
        assert says in " ".join(shown.split())
    assert mine.read_text() == "my own page"


def test_older_and_damaged_results_are_left_out_and_named(tmp_path: Path) -> None:
    for number in range(7):
        run = runs.create(tmp_path, resolve(None, []))
        with run:
            run.record(RunStarted("scratch", "cpu", "a machine", 0, 1, 3, DATA))
            run.record(EpochEnded(1, 0.5, 0.8, 0.7, None, None, None, 1.5))
            run.record(RunEnded("completed", None, None))
        run.path.rename(tmp_path / f"2026010{number + 1}T000000Z-lenet_bn-scratch-s0")
    (tmp_path / "20260101T000000Z-lenet_bn-scratch-s0" / "config.yaml").write_text("model: 1")
    (tmp_path / "broken.json").write_text('{"findings": [')
    (tmp_path / "other.json").write_text("[]")
    found = newest_results(tmp_path)
    assert [kept.record.path.name[:8] for kept in found.runs] == [
        f"2026010{day}" for day in range(3, 8)
    ]
    broken, other, damaged, older = found.remarks
    assert broken.startswith(
        f"left out: {tmp_path / 'broken.json'} can't be read: it is no JSON document ("
    )
    assert other.startswith(f"left out: {tmp_path / 'other.json'} is no document of `bnrun verify")
    assert damaged.startswith("left out: 20260101T000000Z-lenet_bn-scratch-s0, which can't")
    assert older == "left out: 1 older run"
