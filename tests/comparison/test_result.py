"""The result of a comparison by hand: its estimates, its document, and that read back."""

import json
import math
from dataclasses import replace

import pytest

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.parity_verdict import Agreement, Parity
from bnrun.comparison.result import Comparison, Speeds, Throughput
from bnrun.comparison.trial_metrics import METRIC_NAMES
from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded
from bnrun.training_summary import METRICS, Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)
EXACT = Agreement(("eager", "eager"), "float64", 30, 1e-15, 2e-15, None, 3e-15)
TRAINED = Agreement(("compiled", "eager"), "float32", 30, 1e-7, 2e-7, None, 3e-7, per_step=True)


def _trial(seed: int, loss: float, acc: float, population: float | None = 0.8) -> Summary:
    epoch = EpochEnded(1, loss, 0.9, acc, None, 1e4, 1e4, 3.0, population)
    return Summary(Config().to_dict(), "scratch", "cpu", "CPU", seed, DATA, (epoch,), "completed")


def _arm(name: str, *trials: Summary) -> ArmResult:
    return ArmResult(Arm(name, Config()), trials)


def test_an_arm_is_estimated_over_the_trials_that_completed() -> None:
    arm = _arm("b", _trial(0, 1.0, 0.4, None), replace(_trial(1, 9.0, 0.1), status="diverged"))
    found = arm.estimate("test_acc")
    assert found is not None
    assert (found.mean, found.n) == (0.4, 1)
    assert arm.estimate("test_acc_population") is None
    assert (len(arm.lost), arm.keeps_moving_statistics) == (1, False)


def test_every_metric_has_a_name() -> None:
    assert tuple(METRIC_NAMES) == METRICS


def test_a_trial_takes_the_place_of_its_earlier_state() -> None:
    waiting = replace(_trial(1, 9.0, 0.1), status="interrupted")
    comparison = Comparison((_arm("a", waiting), _arm("b")), (0, 1))
    comparison = comparison.with_trial("a", _trial(1, 1.0, 0.5)).with_trial(
        "a", _trial(0, 1.0, 0.6)
    )
    assert [trial.seed for trial in comparison.arms[0].completed] == [0, 1]
    assert comparison.arms[1].trials == ()


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
        engine="compiled",
        engine_reason="it is faster",
        parity=(Parity("a", "b", EXACT, TRAINED),),
        speeds=Speeds(
            20,
            10,
            "CPU",
            (
                Throughput("a", "scratch", 1e4, 1.0, (1.0, 1.0), "compiled"),
                Throughput("b", "scratch", 2e4, 2.0, (1.9, 2.1), "eager"),
            ),
            Throughput("a", "scratch", 1e4, 1.01, (0.9, 1.1), "compiled"),
        ),
        status="completed",
        run="runs/x",
    )


def test_the_document_holds_what_the_contract_names() -> None:
    found = json.loads(json.dumps(_whole().to_dict()))
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
    assert parity["as_trained"]["max_loss_difference"] == 1e-7
    assert [one["verdict"] for one in parity["arms"]] == ["same function"]
    assert [speed["ratio_to_first"] for speed in found["throughput"]] == [1.0, 2.0]
    assert {"norm", "examples_per_second", "spread"} <= set(found["throughput"][1])
    assert found["throughput_noise"]["spread"] == [0.9, 1.1]
    assert [speed["engine"] for speed in found["throughput"]] == ["compiled", "eager"]
    assert [speed["verdict"] for speed in found["throughput"]] == [None, "faster"]
    assert (found["engine"], found["engine_reason"]) == ("compiled", "it is faster")
    assert found["criteria"] == {
        "metric": None, "equivalence": None, "survivors": False, "pairs": None,
    }  # fmt: skip
    assert found["measures"] == ["parity", "throughput"]
    assert found["remarks"] == list(_whole().remarks)


def test_what_was_measured_is_read_back_from_the_document() -> None:
    whole = _whole()
    plan = replace(whole, parity=(), speeds=None, status="interrupted")
    assert plan.with_measurements(json.loads(json.dumps(whole.to_dict()))) == whole


def test_a_document_of_nothing_yet_is_read_back_too() -> None:
    nothing = Comparison((_arm("a"), _arm("b")), (0,))
    assert nothing.with_measurements(json.loads(json.dumps(nothing.to_dict()))) == nothing


def test_what_the_plan_leaves_out_is_null_in_the_document_and_said() -> None:
    plain = Comparison((_arm("a"), _arm("b")), (0,), measures=())
    document = json.loads(json.dumps(plain.to_dict()))
    assert (document["parity"], document["throughput"]) == (None, None)
    assert document["remarks"] == [
        "Parity: not measured (--no-parity).",
        "Throughput: not measured (--no-throughput).",
    ]
    assert plain.with_measurements(document) == plain
    before = replace(_whole(), measures=())  # left out later: what was measured is still shown
    assert before.to_dict()["throughput"]
    assert not any("not measured" in remark for remark in before.remarks)


def test_arms_of_one_network_and_norm_are_said_to_be_that_and_not_measured() -> None:
    texts = ["slow=scratch,optimizer.lr=0.1", "scratch", "none", "e=scratch,training.engine=eager"]
    arms = tuple(ArmResult(arm, ()) for arm in build_arms(texts, None))
    comparison = Comparison(arms, (0,))
    groups = [[arm.name for arm in group] for group in comparison.networks]
    assert groups == [["slow", "scratch"], ["none"], ["e"]]
    assert comparison.remarks[-1] == (
        "Parity: slow and scratch are the same network with the same norm, scratch; there is "
        "nothing to measure."
    )


def test_a_key_in_which_many_arms_differ_is_one_remark() -> None:
    texts = ["a=none,optimizer.lr=0.1", "b=none", "c=none", "d=scratch,optimizer.lr=0.1"]
    comparison = Comparison(tuple(ArmResult(arm, ()) for arm in build_arms(texts, None)), (0,))
    assert comparison.remarks[0] == (
        "The arms differ in optimizer.lr: 0.1 in a and d, 1.0 in b and c."
    )


@pytest.mark.parametrize(
    ("texts", "differ"),
    [
        (["scratch", "builtin(eps=1e-3)"], False),
        (["scratch(momentum=0.2)", "builtin(eps=1e-3)", "builtin(eps=1e-3),model.pool=max"], False),
        (["builtin(momentum=0.01)", "builtin", "scratch"], True),
    ],
)
def test_options_of_two_norms_are_no_difference_beside_the_norm(
    texts: list[str], differ: bool
) -> None:
    texts = [f"{name}={text}" for name, text in zip("abc", texts, strict=False)]
    comparison = Comparison(tuple(ArmResult(arm, ()) for arm in build_arms(texts, None)), (0,))
    assert ("differ in model.norm_options" in " ".join(comparison.remarks)) is differ


def test_a_document_of_an_older_version_is_read_back() -> None:
    """Parity was eager and in float64 alone, and every arm was timed on one engine."""
    document = json.loads(json.dumps(_whole().to_dict()))
    for parity in document["parity"]["arms"]:
        for key in ("engines", "tf32", "per_step", "as_trained", "verdict"):
            del parity[key]
    for speed in document["throughput"]:
        del speed["engine"], speed["verdict"]
    plan = Comparison(_whole().arms, (0, 1))
    found = plan.with_measurements(document)
    assert found.parity == (Parity("a", "b", EXACT),)
    assert not found.parity[0].is_complete
    assert found.speeds is not None
    assert [speed.engine for speed in found.speeds.arms] == ["compiled", "compiled"]


@pytest.mark.parametrize(
    ("spread", "verdict"),
    [((1.2, 1.3), "faster"), ((0.5, 0.6), "slower"), ((0.9, 1.0), "within the noise")],
)
def test_a_speed_is_judged_against_the_noise(spread: tuple[float, float], verdict: str) -> None:
    first = Throughput("a", "scratch", 1e4, 1.0, (1.0, 1.0))
    other = Throughput("b", "scratch", 1e4, 1.0, spread)
    speeds = Speeds(10, 10, "CPU", (first, other), replace(first, spread=(0.9, 1.1)))
    assert (speeds.verdict(first), speeds.verdict(other)) == (None, verdict)
