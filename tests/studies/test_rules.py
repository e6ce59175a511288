"""Every rule on made-up values, for each of its outcomes."""

import statistics

import pytest

from bnrun.comparison.estimate import interval
from bnrun.studies.rules import (
    Definition,
    Direction,
    Equivalence,
    Exact,
    Judgment,
    Law,
    combined,
    judge,
)

SURE = [0.9, 1.0, 1.1, 1.0]  # mean 1, 95 % interval .87 to 1.13
UNSURE = [-1.0, 3.0, 0.5, 1.5]  # mean 1, 95 % interval -1.7 to 3.7


def _verdict(rule, values):
    return judge({"part": rule}, {"part": values})["part"].verdict


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        (Direction(0.5), SURE, "supported"),
        (Direction(0.95), SURE, "not decided"),
        (Direction(1.2), SURE, "contradicted"),
        (Direction(0.5), UNSURE, "not decided"),
        (Direction(0), [-value for value in SURE], "contradicted"),
        (Equivalence(1.2), SURE, "supported"),
        (Equivalence(1.0), SURE, "not decided"),
        (Equivalence(0.5), SURE, "contradicted"),
        (Equivalence(0.5), [-value for value in SURE], "contradicted"),
        (Equivalence(3), UNSURE, "not decided"),
        (Law(1.0, tolerance=0.2), SURE, "supported"),
        (Law(1.0), SURE, "not decided"),  # it holds the number, but is too wide
        (Law(0.8), SURE, "not decided"),
        (Law(1.001), [0.9999, 1.0, 1.0001], "supported"),  # off by less than the tolerance
        (Law(0.7), SURE, "contradicted"),
        (Law(-0.7), [-value for value in SURE], "contradicted"),
        (Law(1.4), SURE, "contradicted"),
        (Law(1.0), UNSURE, "not decided"),
        (Exact(), [1e-10], "supported"),
        (Exact(), [2e-10], "not decided"),
        (Exact(), [2e-6], "contradicted"),
        (Exact(), [0.0, 2e-6], "contradicted"),
        (Exact(), [float("nan")], "not decided"),
        (Definition(), [1.0], "supported"),
        (Definition(), [0.0], "contradicted"),
        (Definition(), [0.5], "not decided"),
    ],
)
def test_a_rule_decides(rule, values, verdict):
    assert _verdict(rule, values) == verdict


@pytest.mark.parametrize("rule", [Direction(), Equivalence(1), Law(1)])
@pytest.mark.parametrize("values", [[], [5.0]])
def test_fewer_than_two_seeds_decide_nothing(rule, values):
    judgment = judge({"part": rule}, {"part": values})["part"]
    assert judgment.verdict == "not decided"
    assert judgment.n == len(values)
    assert judgment.ci95 is None
    assert judgment.seeds_needed is None


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_value_that_is_not_finite_decides_nothing(value):
    judgment = judge({"part": Direction()}, {"part": [value, 1.0, 1.1]})["part"]
    assert judgment == Judgment("not decided", None, None, 3)


def test_what_is_reported_is_the_mean_with_its_interval():
    judgment = judge({"part": Direction(0.5)}, {"part": SURE})["part"]
    assert judgment.estimate == pytest.approx(1)
    assert judgment.ci95 == interval(SURE, 0.95)
    assert judgment.n == 4


def test_parts_are_adjusted_as_holm_does():
    weak = [0.1, 0.9, 1.1, 2.1]  # p = .07 against 0 at first; .034 one-sided
    strong = [value + 5 for value in SURE]
    rules = {"strong": Direction(), "weak": Direction(0.0)}
    border = [value + 0.35 for value in weak]  # p = .034: decided alone, not as one of two
    assert _verdict(Direction(), weak) == "not decided"
    assert _verdict(Direction(), border) == "supported"
    both = {"strong": border, "weak": border}
    assert {one.verdict for one in judge(rules, both).values()} == {"not decided"}
    one_strong = judge(rules, {"strong": strong, "weak": border})
    assert {one.verdict for one in one_strong.values()} == {"supported"}


@pytest.mark.parametrize(
    ("rule", "values"),
    [(Direction(0.5), UNSURE), (Equivalence(3), UNSURE), (Law(1.0, tolerance=0.5), UNSURE)],
)
def test_the_seeds_needed_are_the_fewest_that_decide(rule, values):
    needed = judge({"part": rule}, {"part": values})["part"].seeds_needed
    assert needed is not None
    assert needed > len(values)

    def decides(n):
        mean, scale = 1.0, (sum((value - 1) ** 2 for value in values) / 3) ** 0.5
        spread = scale * ((n - 1) / n) ** 0.5  # n values, half above and half below, of that s
        made = [mean + spread * (1 if i % 2 else -1) for i in range(n)]
        return _verdict(rule, made) != "not decided"

    assert decides(needed + needed % 2)
    assert not decides(needed - 2 - needed % 2)


def test_no_number_of_seeds_decides_what_lies_on_the_margin():
    judgment = judge({"part": Direction(1.0)}, {"part": UNSURE})["part"]
    assert judgment.seeds_needed is None


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "not decided"], "not decided"),
        (["not decided", "contradicted"], "contradicted"),
        ([], "not decided"),
    ],
)
def test_a_claim_is_as_good_as_its_parts(verdicts, whole):
    assert combined(verdicts) == whole


def test_rules_say_what_they_ask_for():
    assert Direction(0.5).text() == "the whole interval is above 0.5"
    assert Equivalence(0.005).text() == "the whole interval lies within ±0.005"
    assert Law(1.2).text() == "the whole interval lies within 1.2 ± 0.12"
    assert Exact().text() == "the largest relative error in float64 is at most 1e-10"
    assert Definition().text() == "the check of the definition holds"


def test_the_seeds_needed_decide_at_the_confidence_of_a_claim_of_several_parts():
    values = [0.45, 1.25, 1.45, 2.45]
    parts = ("a", "b", "c", "d")
    needed = judge(dict.fromkeys(parts, Direction()), dict.fromkeys(parts, values))["a"]
    assert needed.seeds_needed == 6  # one part alone is decided with the 4 values
    mean, spread = statistics.fmean(values), statistics.stdev(values)

    def verdict(n):
        unit = [index - (n - 1) / 2 for index in range(n)]
        made = [mean + spread * one / statistics.stdev(unit) for one in unit]
        return judge(dict.fromkeys(parts, Direction()), dict.fromkeys(parts, made))["a"].verdict

    assert (verdict(5), verdict(6)) == ("not decided", "supported")
