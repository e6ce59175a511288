"""Paired differences and their verdicts, by hand."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import special

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.paired_differences import (
    DEFAULT_CRITERIA,
    NO_DIFFERENCE,
    NOT_EQUIVALENT,
    Criteria,
    Pair,
    judge_pairs,
)
from bnrun.comparison.significance import detectable_difference, holm
from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded
from bnrun.training_summary import Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)


def _trial(seed: int, acc: float, population: float | None = None, loss: float = 1.0) -> Summary:
    epoch = EpochEnded(1, loss, 0.9, acc, None, 1e4, 1e4, 3.0, population)
    return Summary(Config().to_dict(), "scratch", "cpu", "CPU", seed, DATA, (epoch,), "completed")


def _arm(name: str, *trials: Summary) -> ArmResult:
    return ArmResult(Arm(name, Config()), trials)


def _accuracies(name: str, values: Sequence[float]) -> ArmResult:
    """An arm whose population accuracies are these, and whose other metrics are constant."""
    return _arm(name, *(_trial(seed, 0.5, value) for seed, value in enumerate(values)))


def _judge(
    *arms: ArmResult, criteria: Criteria = DEFAULT_CRITERIA, seeds: int | None = None
) -> tuple[Pair, ...]:
    return judge_pairs([arms], range(seeds or max(len(arm.trials) for arm in arms)), criteria)


def _primary(*arms: ArmResult, criteria: Criteria = DEFAULT_CRITERIA) -> Pair:
    (pair,) = (pair for pair in _judge(*arms, criteria=criteria) if pair.primary)
    return pair


def test_differences_are_paired_by_seed() -> None:
    """The arms differ by .01 on every seed, while the seeds differ by far more."""
    a = _accuracies("a", [0.1 * s + 0.010 + 1e-4 * s for s in range(1, 5)])
    b = _accuracies("b", [0.1 * s for s in range(1, 5)])
    pair = _primary(a, b)
    assert pair.difference.mean == pytest.approx(0.01025)
    assert (pair.difference.n, pair.verdict, pair.detected) == (4, "a higher", True)
    assert _primary(b, a).verdict == "a higher"


def test_population_accuracy_is_primary_and_the_others_are_adjusted() -> None:
    a = _arm("a", *(_trial(s, 0.50 + 0.01 * s * s, 0.8, 1.0 + 0.1 * s) for s in range(4)))
    b = _arm("b", *(_trial(s, 0.45 + 0.02 * s, 0.7 + 0.001 * s, 1.05) for s in range(4)))
    found = {pair.metric: pair for pair in _judge(a, b)}
    assert [metric for metric, pair in found.items() if pair.primary] == ["test_acc_population"]
    primary = found.pop("test_acc_population")
    assert (primary.tests, primary.p_adjusted) == (1, primary.p)
    assert [pair.tests for pair in found.values()] == [3, 3, 3]
    raw = [pair.p or 0.0 for pair in found.values()]
    assert [pair.p_adjusted for pair in found.values()] == holm(raw)
    test_acc = [
        x - y for x, y in zip([0.50, 0.51, 0.54, 0.59], [0.45, 0.47, 0.49, 0.51], strict=True)
    ]
    t = statistics.fmean(test_acc) / (statistics.stdev(test_acc) / 2)  # the root of 4 seeds
    assert found["test_acc"].p == pytest.approx(2 * special.stdtr(3, -t))


def test_an_adjusted_verdict_may_detect_nothing_where_the_interval_leaves_out_0() -> None:
    """A p of .04 is one of three: adjusted, it is .12."""
    a = _arm("a", *(_trial(s, 0.8, 0.8, 1.0) for s in range(4)))
    b = _arm("b", *(_trial(s, 0.8, 0.8, 1.0 - d) for s, d in enumerate((0.1, 0.2, 0.1, 0.3))))
    (loss,) = (pair for pair in _judge(a, b) if pair.metric == "loss")
    assert loss.difference.ci95 is not None
    assert loss.difference.ci95[0] > 0
    assert loss.p is not None
    assert 0.017 < loss.p < 0.05
    assert (loss.verdict, loss.detected) == (NO_DIFFERENCE, False)


def test_with_three_arms_the_primary_metric_is_adjusted_over_the_pairs() -> None:
    arms = (
        _accuracies("a", [0.80, 0.81, 0.83]),
        _accuracies("b", [0.79, 0.82, 0.80]),
        _accuracies("c", [0.70, 0.72, 0.73]),
    )
    pairs = _judge(*arms)
    primary = [pair for pair in pairs if pair.primary]
    assert [(pair.a, pair.b) for pair in primary] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.tests for pair in primary] == [3, 3, 3]
    assert [pair.p_adjusted for pair in primary] == holm([pair.p or 0.0 for pair in primary])
    assert {pair.tests for pair in pairs if not pair.primary} == {9}


def test_another_metric_can_be_the_primary_one() -> None:
    a, b = _accuracies("a", [0.8, 0.9]), _accuracies("b", [0.7, 0.9])
    assert _primary(a, b, criteria=Criteria(metric="loss")).metric == "loss"


def test_a_norm_without_moving_statistics_is_compared_as_it_predicts() -> None:
    """Its one accuracy stands for both kinds: stale statistics are no fault of the other arm."""
    keeps = _arm("keeps", *(_trial(s, 0.5, 0.8 + 0.01 * s) for s in range(3)))
    none = _arm("none", *(_trial(s, 0.7 + 0.02 * s) for s in range(3)))
    pair = _primary(keeps, none)
    assert (pair.metric_a, pair.metric_b) == ("test_acc_population", "test_acc")
    assert pair.difference.mean == pytest.approx(0.09)
    assert [p.metric for p in _judge(keeps, none)] == [
        "loss", "train_acc", "test_acc", "test_acc_population",
    ]  # fmt: skip


def test_two_norms_without_moving_statistics_have_one_accuracy() -> None:
    a, b = (_arm(name, *(_trial(s, 0.5) for s in range(2))) for name in "ab")
    assert [pair.metric for pair in _judge(a, b)] == ["loss", "train_acc", "test_acc"]
    assert _primary(a, b).metric == "test_acc"


@pytest.mark.parametrize(
    ("differences", "verdict", "detected"),
    [
        ([0.1], "one seed: not judged", None),
        ([0.1, 0.11, 0.12], "a higher", True),
        ([-0.1, -0.11, -0.12], "b higher", True),
        ([0.1, 0.2, -0.1], NO_DIFFERENCE, False),
        ([0.1, 0.2], NO_DIFFERENCE, False),  # t is 12.7 with two seeds
        ([0.0, 0.0, 0.0], NO_DIFFERENCE, False),
        ([1e-14, 1e-14, 2e-14], NO_DIFFERENCE, False),
        ([0.3 - 0.2, 0.2 - 0.1, 0.1], "no spread over seeds: not judged", None),
    ],
)
def test_a_verdict_says_no_more_than_the_data(
    differences: list[float], verdict: str, detected: bool | None
) -> None:
    pair = _primary(_accuracies("a", differences), _accuracies("b", [0.0] * len(differences)))
    assert (pair.verdict, pair.detected) == (verdict, detected)
    assert (pair.p is None) == (detected is None)


def test_what_was_not_detected_comes_with_what_would_have_been() -> None:
    differences = [0.1, 0.2, -0.1]
    pair = _primary(_accuracies("a", differences), _accuracies("b", [0.0] * 3))
    assert pair.detectable == pytest.approx(detectable_difference(differences))
    nothing = _primary(_accuracies("a", [0.5, 0.6]), _accuracies("b", [0.5, 0.6]))
    assert nothing.detectable is None


def test_a_family_detects_at_its_strictest_level() -> None:
    a = _arm("a", *(_trial(s, 0.5 + 0.1 * s, 0.8) for s in range(3)))
    b = _arm("b", *(_trial(s, 0.5, 0.8) for s in range(3)))
    (pair,) = (pair for pair in _judge(a, b) if pair.metric == "test_acc")
    assert pair.detectable == pytest.approx(detectable_difference([0.0, 0.1, 0.2], 0.05 / 3))


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_pair_that_lost_a_trial_is_not_judged(status: str) -> None:
    a = _accuracies("a", [0.8, 0.81, 0.82])
    lost = replace(_trial(2, 0.1, 0.1), status=status)
    b = _arm("b", _trial(0, 0.5, 0.5), _trial(1, 0.5, 0.52), lost)
    pair = _primary(a, b)
    assert pair.verdict == "not judged: 1 of 3 trials lost"
    assert (pair.detected, pair.p, pair.lost, pair.difference.n) == (None, None, 1, 2)
    assert _primary(_arm("a", *a.trials[:2], lost), b).verdict == "not judged: 2 of 6 trials lost"


def test_survivors_are_judged_if_the_user_asks_for_them() -> None:
    a = _accuracies("a", [0.8, 0.81, 0.82])
    lost = replace(_trial(2, 0.1, 0.1), status="diverged")
    b = _arm("b", _trial(0, 0.5, 0.5), _trial(1, 0.5, 0.5101), lost)
    pair = _primary(a, b, criteria=Criteria(survivors=True))
    assert (pair.verdict, pair.survivors_only) == ("a higher (survivors: 2 of 3)", True)
    whole = _primary(a, _accuracies("b", [0.5, 0.6, 0.7]), criteria=Criteria(survivors=True))
    assert not whole.survivors_only


def test_a_lost_trial_leaves_other_pairs_judged() -> None:
    lost = replace(_trial(1, 0.1, 0.1), status="failed")
    arms = (
        _accuracies("a", [0.8, 0.9]),
        _accuracies("b", [0.7, 0.9]),
        _arm("c", _trial(0, 0.5, 0.5), lost),
    )
    primary = [pair for pair in _judge(*arms) if pair.primary]
    assert [pair.detected is None for pair in primary] == [False, True, True]
    assert primary[0].tests == 1  # those that are not judged are not counted


def test_an_interrupted_trial_is_not_lost() -> None:
    waiting = replace(_trial(2, 0.1, 0.1), status="interrupted")
    a = _accuracies("a", [0.8, 0.82, 0.81])
    b = _arm("b", _trial(0, 0.5, 0.7), _trial(1, 0.5, 0.6), waiting)
    assert _primary(a, b).lost == 0
    assert _primary(a, b).detected is not None


def test_only_seeds_that_both_completed_are_pairs() -> None:
    a = _arm("a", _trial(0, 0.5, 0.5), _trial(1, 0.6, 0.6), _trial(2, 0.7, 0.7))
    b = _arm("b", _trial(1, 0.4, 0.4), _trial(7, 0.4, 0.4))
    pair = _primary(a, b)
    assert (pair.difference.n, pair.difference.mean) == (1, pytest.approx(0.2))


def test_arms_are_equivalent_where_two_one_sided_tests_say_so() -> None:
    differences = [0.001, -0.001, 0.0005, 0.0]
    a, b = _accuracies("a", differences), _accuracies("b", [0.0] * 4)
    found = _primary(a, b, criteria=Criteria(equivalence=0.005)).equivalence
    assert found is not None
    assert found.verdict == "equivalent within ±0.005"
    low, high = found.ci90
    assert -0.005 < low < high < 0.005
    narrow = _primary(a, b, criteria=Criteria(equivalence=0.0005)).equivalence
    assert narrow is not None
    assert narrow.verdict == NOT_EQUIVALENT
    assert _primary(a, b).equivalence is None


def test_a_difference_may_be_detected_and_within_the_margin() -> None:
    a, b = _accuracies("a", [0.0010, 0.0011, 0.0012]), _accuracies("b", [0.0] * 3)
    pair = _primary(a, b, criteria=Criteria(equivalence=0.005))
    assert pair.verdict == "a higher"
    assert pair.equivalence is not None
    assert pair.equivalence.verdict == "equivalent within ±0.005"


def test_a_margin_is_of_the_primary_metrics_unit() -> None:
    a, b = _accuracies("a", [0.8, 0.9]), _accuracies("b", [0.7, 0.9])
    with_margin = {
        metric: {
            pair.metric
            for pair in _judge(a, b, criteria=Criteria(metric=metric, equivalence=0.1))
            if pair.equivalence
        }
        for metric in ("loss", "train_acc")
    }
    assert with_margin == {
        "loss": {"loss"},
        "train_acc": {"train_acc", "test_acc", "test_acc_population"},
    }


def test_equivalence_is_adjusted_in_the_same_families() -> None:
    arms = [_accuracies(name, values) for name, values in (
        ("a", [0.80, 0.81, 0.83]), ("b", [0.79, 0.82, 0.80]), ("c", [0.70, 0.72, 0.73]),
    )]  # fmt: skip
    pairs = [p for p in _judge(*arms, criteria=Criteria(equivalence=0.05)) if p.primary]
    found = [pair.equivalence for pair in pairs]
    assert [e.p_adjusted for e in found if e] == holm([e.p for e in found if e])


def test_the_document_of_a_pair_holds_its_judgment() -> None:
    a, b = _accuracies("a", [0.8, 0.9]), _accuracies("b", [0.7, 0.9])
    document = _primary(a, b, criteria=Criteria(equivalence=0.1)).to_dict()
    assert {"a", "b", "metric", "difference", "ci95", "n", "verdict"} <= document.keys()
    assert (document["primary"], document["adjusted"], document["tests"]) == (True, False, 1)
    assert document["p"] == document["p_adjusted"]
    assert document["equivalence"]["verdict"] == NOT_EQUIVALENT
