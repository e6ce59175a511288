"""Study `exact`: its verdicts, and that each experiment can tell a wrong identity."""

import pytest
import torch

from bnrun.events import Stage, drain
from bnrun.studies import exact, identities
from bnrun.studies.registry import STUDIES
from bnrun.studies.study import BUDGETS, Measured, plan, run_study


@pytest.fixture(scope="module")
def run():
    """The events of the study at the quick budget, and its result."""
    events = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "IMAGES", 16)  # half of them: half the time
        result = drain(run_study(plan(exact.STUDY, "quick", "a machine"), None), events.append)
    return events, result


def test_every_verdict_is_the_expected_one(run):
    _, result = run
    found = {one.claim.id: (one.verdict, one.is_surprise) for one in result.claims}
    contradicted = {"X5", "X6", "X8", "X9", "X12"}
    assert found == {
        f"X{i}": ("contradicted" if f"X{i}" in contradicted else "supported", False)
        for i in range(1, 13)
    }


def test_an_error_is_rounding_or_plain_to_see(run):
    _, result = run
    errors = [one.estimate for claim in result.claims for one in claim.judgments.values()]
    assert not [value for value in errors if 1e-10 < value < 1e-2]


def test_it_tells_what_it_measures_before_it_measures_it(run):
    events, _ = run
    stages = [event for event in events if isinstance(event, Stage)]
    assert [stage.name for stage in stages[:2]] == ["X1 bias-idle", "X2 scale-free"]
    assert [stage.done for stage in stages] == list(range(13))
    assert isinstance(events[1], Measured)


def test_a_study_measures_only_what_has_no_evidence():
    start = plan(exact.STUDY, "quick", "a machine")
    known = [claim.id for claim in exact.CLAIMS if claim.id not in ("X2", "X5")]
    work = exact.measure("quick", [id_ for id_ in start.unfinished if id_ not in known], None)
    assert [event.claim for event in work if isinstance(event, Measured)] == ["X2", "X5"]


def test_the_experiments_do_not_depend_on_the_global_generator():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append([identities.replicas(), identities.folding(), identities.freezing(1)])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("measure", "part", "break_it"),
    [
        (identities.scale_free, "output", ("batch_norm", lambda *a, **k: (a[0], None, None))),
        (identities.one_formula, "layer norm is one group", ("grouped_norm", lambda x, *a, **k: x)),
        (
            identities.replicas,
            "synchronized",
            ("_all_normalized", lambda zs: [z - zs[0].mean(0) for z in zs]),
        ),
    ],
)
def test_a_wrong_formula_is_contradicted(monkeypatch, measure, part, break_it):
    monkeypatch.setattr(identities, *break_it)
    assert measure().values[part][0] > 1e-2


STUDY_CLAIMS = [(study, claim) for study in STUDIES.values() for claim in study.claims]


@pytest.mark.parametrize(("study", "claim"), STUDY_CLAIMS, ids=lambda one: getattr(one, "id", ""))
def test_every_claim_is_complete(study, claim):
    for text in (claim.sentence, claim.differs):
        assert text
    assert claim.sentence.endswith(".")
    assert claim.name == claim.name.lower()
    assert claim.statistic
    assert claim.sources
    for source in claim.sources:
        assert source.text
        assert source.place
        assert source.reading != "memory" or not source.numbers
    assert claim.parts
    assert len({part.name for part in claim.parts}) == len(claim.parts)
    assert len({other.id for other in study.claims}) == len(study.claims)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_every_study_names_what_each_budget_takes(study):
    assert set(study.seeds) == set(BUDGETS)
    assert study.seconds > 0
    assert study.question.endswith("?")
