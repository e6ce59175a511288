"""Results by hand: means, paired differences, verdicts, and the document of it all."""

import json
import math
from dataclasses import replace

import pytest

from bnrun.comparison.arms import build_arms
from bnrun.comparison.estimate import estimate
from bnrun.comparison.json_document import document, measured
from bnrun.comparison.outcome import (
    NO_DIFFERENCE,
    Arm,
    ArmResult,
    Comparison,
    Parity,
    Speeds,
    Throughput,
    verdict,
)
from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded
from bnrun.summary import Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)


def _trial(seed: int, loss: float, acc: float, population: float | None = 0.8) -> Summary:
    epoch = EpochEnded(1, loss, 0.9, acc, None, 1e4, 1e4, 3.0, population)
    return Summary(Config().to_dict(), "scratch", "cpu", "CPU", seed, DATA, (epoch,), "completed")


def _arm(name: str, *trials: Summary) -> ArmResult:
    return ArmResult(Arm(name, Config()), trials)


def _pairs(comparison: Comparison) -> dict[str, tuple[float, int, str]]:
    return {p.metric: (p.difference.mean, p.difference.n, p.verdict) for p in comparison.pairs}


def test_differences_are_paired_by_seed() -> None:
    """The arms differ by .01 on every seed, while the seeds differ by far more."""
    a = _arm("a", *(_trial(s, 1.0, 0.1 * s + 0.010 + 1e-4 * s) for s in range(1, 5)))
    b = _arm("b", *(_trial(s, 1.0, 0.1 * s) for s in range(1, 5)))
    difference, n, said = _pairs(Comparison((a, b), (1, 2, 3, 4)))["test_acc"]
    assert difference == pytest.approx(0.01025)
    assert (n, said) == (4, "a higher")
    assert _pairs(Comparison((b, a), (1, 2, 3, 4)))["test_acc"][2] == "a higher"


def test_only_seeds_that_both_completed_are_pairs() -> None:
    a = _arm("a", _trial(0, 1.0, 0.5), _trial(1, 1.0, 0.6), _trial(2, 1.0, 0.7))
    b = _arm("b", _trial(0, 1.0, 0.4), replace(_trial(1, 9.0, 0.1), status="diverged"))
    comparison = Comparison((a, b), (0, 1, 2))
    difference, n, said = _pairs(comparison)["test_acc"]
    assert difference == pytest.approx(0.1)
    assert (n, said) == (1, "one seed: not judged")
    mean = b.estimate("test_acc")
    assert mean is not None
    assert (mean.mean, mean.n) == (0.4, 1)


def test_a_metric_that_one_arm_lacks_makes_no_pair() -> None:
    a = _arm("a", _trial(0, 1.0, 0.5), _trial(1, 1.0, 0.6))
    b = _arm("b", _trial(0, 1.0, 0.5, None), _trial(1, 1.0, 0.6, None))
    assert set(_pairs(Comparison((a, b), (0, 1)))) == {"loss", "train_acc", "test_acc"}
    assert b.estimate("test_acc_population") is None


def test_three_arms_make_three_pairs_of_each_metric() -> None:
    arms = tuple(_arm(name, _trial(0, 1.0, 0.5), _trial(1, 1.0, 0.6)) for name in "abc")
    pairs = [(p.a, p.b) for p in Comparison(arms, (0, 1)).pairs if p.metric == "loss"]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([0.1], "one seed: not judged"),
        ([0.1, 0.11, 0.12], "a higher"),
        ([-0.1, -0.11, -0.12], "b higher"),
        ([0.1, 0.2, -0.1], NO_DIFFERENCE),
        ([0.1, 0.2], NO_DIFFERENCE),  # t is 12.7 with two seeds
        ([0.0, 0.0, 0.0], NO_DIFFERENCE),
        ([1e-14, 1e-14, 1e-14], NO_DIFFERENCE),
        ([0.3 - 0.2, 0.2 - 0.1, 0.1], "no spread over seeds: not judged"),
    ],
)
def test_a_verdict_says_no_more_than_the_data(differences: list[float], said: str) -> None:
    found = estimate(differences)
    assert found is not None
    assert verdict("a", "b", found) == said


def test_it_says_in_what_else_than_the_norm_arms_differ() -> None:
    arms = build_arms(["max=scratch,model.pool=max", "avg=builtin,model.pool=avg", "n=none"], None)
    comparison = Comparison(tuple(ArmResult(arm, ()) for arm in arms), (0,))
    found = [(d.a, d.b, d.key, d.value_a, d.value_b) for d in comparison.differences]
    assert found == [
        ("max", "avg", "model.pool", "max", "avg"),
        ("max", "n", "model.pool", "max", "avg"),
    ]


def _whole() -> Comparison:
    a = _arm("a", _trial(0, 1.0, 0.5), _trial(1, 1.2, 0.6))
    b = _arm("b", _trial(0, 1.1, 0.5), _trial(1, 1.4, 0.7))
    return Comparison(
        (a, b),
        (0, 1),
        (Parity("a", "b", "float64", 30, 1e-15, 2e-15, None, 3e-15),),
        Speeds(
            20,
            10,
            "CPU",
            (
                Throughput("a", "scratch", 1e4, 1.0, (1.0, 1.0)),
                Throughput("b", "scratch", 2e4, 2.0, (1.9, 2.1)),
            ),
            Throughput("a", "scratch", 1e4, 1.01, (0.9, 1.1)),
        ),
        status="completed",
        run="runs/x",
    )


def test_the_document_holds_what_the_contract_names() -> None:
    found = json.loads(json.dumps(document(_whole())))
    arm = found["arms"][0]
    assert arm["norm"] == "scratch"
    assert [trial["seed"] for trial in arm["trials"]] == [0, 1]
    assert arm["mean"]["loss"] == pytest.approx(1.1)
    low, high = arm["ci95"]["loss"]
    assert (low + high) / 2 == pytest.approx(1.1)
    assert high - low == pytest.approx(2 * 12.706205 * math.sqrt(0.02) / math.sqrt(2), rel=1e-6)
    pair = found["pairs"][0]
    assert {"a", "b", "metric", "difference", "ci95", "n", "verdict"} <= set(pair)
    assert (pair["a"], pair["b"], pair["metric"], pair["n"]) == ("a", "b", "loss", 2)
    assert pair["difference"] == pytest.approx(-0.15)
    parity = found["parity"]
    assert (parity["dtype"], parity["steps"], parity["max_loss_difference"]) == (
        "float64", 30, 1e-15,
    )  # fmt: skip
    assert [speed["ratio_to_first"] for speed in found["throughput"]] == [1.0, 2.0]
    assert {"norm", "examples_per_second", "spread"} <= set(found["throughput"][1])
    assert found["throughput_noise"]["spread"] == [0.9, 1.1]


def test_what_was_measured_is_read_back_from_the_document() -> None:
    whole = _whole()
    assert measured(json.loads(json.dumps(document(whole)))) == (whole.parity, whole.speeds)


def test_a_document_of_nothing_yet_is_read_back_too() -> None:
    nothing = Comparison((_arm("a"), _arm("b")), (0,))
    assert measured(json.loads(json.dumps(document(nothing)))) == ((), None)
