"""The plan of a comparison: what it may be, and how it is written down."""

from collections.abc import Sequence

import pytest

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.arms import Arm
from bnrun.comparison.paired_differences import Criteria
from bnrun.comparison.plan import make_plan, plan_from_dict, plan_to_dict, revise_plan
from bnrun.config import Config, parse_override, yaml_text
from bnrun.errors import ConfigError


def _arms() -> tuple[Arm, ...]:
    return build_arms(["scratch", "max=scratch,model.pool=max"], None)


def test_a_plan_is_read_back_from_its_yaml() -> None:
    plan = make_plan(_arms(), (3, 5), Criteria("loss", 0.01, survivors=True), ["parity"])
    text = yaml_text.dump(plan_to_dict(plan))
    assert plan_from_dict(yaml_text.parse(text, "here").value) == plan


def test_pairs_are_decided_by_the_number_of_arms_unless_the_user_decides() -> None:
    four = build_arms(["scratch", "builtin", "textbook", "none"], None)
    assert make_plan(four[:3], (0,)).criteria.pairs == "all"
    assert make_plan(four, (0,)).criteria.pairs == "first"
    assert make_plan(four, (0,), Criteria(pairs="all")).criteria.pairs == "all"


def test_many_arms_are_not_timed() -> None:
    arms = [Arm(f"a{number}", Config()) for number in range(13)]
    assert make_plan(arms[:12], (0,)).measures == ("parity", "throughput")
    plan = make_plan(arms, (0,))
    assert plan.measures == ("parity",)
    assert plan.remarks[-1] == "Throughput: not measured (more than 12 arms)."


def test_a_number_of_seeds_counts_up_from_that_of_the_arms() -> None:
    seeded = build_arms(["scratch", "none"], None, parse_override("training.seed=5"))
    assert make_plan(seeded, 3).seeds == (5, 6, 7)


def test_a_later_session_may_change_what_trials_do_not_depend_on() -> None:
    plan = make_plan(_arms(), (0,), Criteria("loss"))
    assert revise_plan(plan, Criteria()) == plan
    found = revise_plan(plan, Criteria(survivors=True, pairs="first"), ["parity"])
    assert found.criteria == Criteria("loss", survivors=True, pairs="first")
    assert found.measures == ("parity",)
    assert revise_plan(found, Criteria()) == found  # what is left out stays out


def test_an_older_plan_has_neither_engine_nor_criteria() -> None:
    document = plan_to_dict(make_plan(_arms(), (3, 5), Criteria("loss")))
    old = {key: document[key] for key in ("arms", "seeds")}
    plan = plan_from_dict(old)
    assert (plan.engine, plan.criteria) == (None, Criteria(pairs="all"))
    assert plan.measures == ("parity", "throughput")


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        (Criteria("accuracy"), "--metric: received 'accuracy'; it must be loss, train_acc"),
        (Criteria("los"), "or test_acc_population. Did you mean 'loss'?"),
        (Criteria(pairs="some"), "--pairs: received 'some'; it must be first or all"),  # type: ignore[arg-type]
        (Criteria(equivalence=0.0), "--equivalence: received 0; the margin must be above 0"),
        (Criteria(equivalence=-1.0), "--equivalence: received -1"),
        (Criteria(equivalence=float("nan")), "--equivalence: received nan"),
    ],
)
def test_criteria_that_cannot_be_judged_by_are_refused(criteria: Criteria, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(_arms(), (0,), criteria)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ((), "received 0 seeds; there must be 1 to 10,000."),
        (range(10**11), "received 100000000000 seeds"),  # no list of them fits in memory
        ((4, 1, 1), "received seed 1 twice; seeds must differ."),
        ((-1,), "received seed -1; seeds must be whole numbers from 0 to 4294967295."),
        ((2**32,), "received seed 4294967296"),
    ],
)
def test_seeds_that_trials_cannot_have_are_refused(seeds: Sequence[int], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(_arms(), seeds)
    assert message in str(refused.value)


def test_fewer_than_two_arms_are_no_comparison() -> None:
    with pytest.raises(ConfigError, match="two arms or more"):
        make_plan([Arm("a", Config())], (0,))


def test_an_unknown_engine_is_refused() -> None:
    document = plan_to_dict(make_plan(_arms(), (0,))) | {"engine": "quick"}
    with pytest.raises(ConfigError, match="engine: received 'quick'; it must be eager or compiled"):
        plan_from_dict(document)
