"""Study `landscape`: what is made of made-up looks along gradients, and trainings at rates."""

import math

import pytest
import torch
from made_up_trainings import MadeUpLaboratory, epoch, summary

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.events import Probed, drain
from bnrun.studies import landscape
from bnrun.studies.rate_runs import RateRuns, _Adam, _along, runs_at_rates
from bnrun.studies.study import plan, run_study

STEPS = (0, 40, 80, 120, 160, 200, 235)


def _outcome(one):
    """The best rates of ReLU are .3 without a norm and .1 with it."""
    model, lr = one.config.model, one.config.optimizer.lr
    best = 0.3 if model.norm == "none" else 0.1
    loss = {"scratch": 0.5, "layer": 0.51, "l1": 0.4}.get(model.norm, 0.6)
    return summary(one, epoch(1, loss, validation=0.8 - abs(lr - best)))


def _decades(one, step):
    """Without a norm: flat at first, with sigmoids; 2 decades above batch norm near the limit."""
    model, lr = one.config.model, one.config.optimizer.lr
    if model.norm != "none":
        return -1.0
    if model.activation == "relu":
        return 1.0 if lr == 0.5 else 0.0
    return (-3.0 if step < 100 else 0.0) + 0.1 * one.config.training.seed


def _probed(one):
    for step in STEPS if one.config.training.probe else ():
        decades = _decades(one, step)
        values = {
            "range": 10**decades,
            "lowest": 1.0,
            "highest": 1 + 10**decades if step else math.inf,
            "change": 10 ** (2 * decades),
            "beta": 10 ** (decades / 2),
            "surprise": 10 ** (decades - 1),
            "relative": 10**decades,
            "cosine": 1 - 10 ** (decades - 2),
        }
        yield Probed("landscape", step, {"network": values})


def _measured(*ids):
    laboratory = MadeUpLaboratory(_outcome, lambda one: list(_probed(one)))
    start = plan(landscape.STUDY, "quick", "a machine")
    return drain(run_study(start, laboratory, ids)).evidence, laboratory.asked


def test_each_measure_is_compared_in_decades_window_by_window():
    evidence, asked = _measured("L1", "L2", "L3")
    # In the first 200 steps, three looks are at -3 and three at 0: the median is between.
    assert {part: pytest.approx(values) for part, values in evidence["L1"].values.items()} == {
        "sigmoid, first 200 steps": [-0.5, -0.4],
        "sigmoid, second half": [1.0, 1.1],
        "relu, rate 0.5": [2.0, 2.0],
        "relu, each at its best rate": [1.0, 1.0],
        "scale-free, sigmoid, first 200 steps": [-0.5, -0.4],
        "scale-free, relu, rate 0.5": [2.0, 2.0],
    }
    by_id = {id_: one.values["relu, rate 0.5"] for id_, one in evidence.items()}
    assert by_id == {
        "L1": pytest.approx([2, 2]), "L2": pytest.approx([4, 4]), "L3": pytest.approx([1, 1])
    }  # fmt: skip
    assert evidence["L3"].values["scale-free, relu, rate 0.5"] == pytest.approx([2, 2])
    assert evidence["L1"].remark == "The best rates of relu: 0.3 without, 0.1 with."
    relu = {one.name for one in asked if one.arm.startswith("none-relu")}
    assert relu == {f"none-relu-lr{rate}-s{seed}" for rate in (0.5, 0.3) for seed in (0, 1)}


def test_the_curves_are_both_ends_of_the_loss_and_both_measures():
    evidence, _ = _measured("L1", "L2")
    bands, curves = (evidence[id_].curves for id_ in ("L1", "L2"))
    assert bands["relu: no norm, lowest"][:2] == [(0, 1), (40, 1)]
    assert bands["relu: no norm, highest"][:2] == [(0, 10), (40, 10)]  # ends at 10
    assert bands["sigmoid: batch norm, highest"][1] == (40, pytest.approx(1.1))
    assert curves["absolute: no norm, sigmoid"][0] == (0, pytest.approx(-5.9))
    assert curves["scale-free: batch norm, relu"][0] == (0, pytest.approx(-1))
    assert len(bands) == len(curves) == 8


def test_a_training_that_diverged_early_leaves_its_seed_out(monkeypatch):
    def probed(one):
        return [] if one.name == "none-relu-lr0.5-s1" else list(_probed(one))

    laboratory = MadeUpLaboratory(_outcome, probed)
    start = plan(landscape.STUDY, "quick", "a machine")
    evidence = drain(run_study(start, laboratory, ["L1"])).evidence["L1"]
    assert evidence.values["relu, rate 0.5"] == [pytest.approx(2)]
    assert len(evidence.values["sigmoid, second half"]) == 2


def test_other_norms_are_compared_by_their_loss_and_looked_at_once():
    evidence, asked = _measured("L5")
    assert evidence["L5"].values == {
        "l1": pytest.approx([-0.1, -0.1]),
        "layer norm": pytest.approx([0.01, 0.01]),
        "linf": pytest.approx([0.1, 0.1]),
    }
    assert list(evidence["L5"].curves) == ["no norm", "batch norm", "layer norm", "l1", "linf"]
    watched = {one.name for one in asked if one.config.training.probe}
    assert {name for name in watched if name.startswith("l1")} == {"l1-sigmoid-lr1-s0"}


@pytest.mark.parametrize(("cosines", "check"), [([0.99, 1.0], 1), ([0.1, 1.0], 0)])
def test_the_taught_picture_has_the_extremes_of_trainings(monkeypatch, cosines, check):
    def runs(config, train, rates, steps):
        assert (list(rates), steps) == ([1e-3, 2e-3, 1e-4, 5e-4], 60)
        return RateRuns([[2.3, 2.0], [2.3, 1.0], [2.3, math.nan]], cosines)

    def load(config):
        yield from ()
        split = Split(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4))
        return Dataset(split, split, "synthetic", "generated", None)

    monkeypatch.setattr("bnrun.studies.rate_runs.runs_at_rates", runs)
    monkeypatch.setattr("bnrun.data.load.load", load)
    evidence, _ = _measured("L4")
    assert evidence["L4"].values == {"along one gradient": [check]}
    curves = evidence["L4"].curves
    assert curves["taught: no norm, lowest"] == [(1, 2.3), (2, 1.0)]
    assert curves["paper: batch norm, lowest"][0] == (0, 1.0)
    assert len(curves) == 8


def test_trainings_at_rates_start_at_one_loss_and_end_apart(small):
    config = Config(training={"batch_size": 100})
    runs = runs_at_rates(config, small.train, [1e-3, 1e-2], 3)
    (first, *_), (second, *others) = runs.losses
    assert first == second
    assert len(others) == 2
    assert len(runs.cosines) == 1
    assert 0 <= runs.cosines[0] < 0.9


def test_weights_a_step_down_a_gradient_lie_along_it():
    weights, gradient, other = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    ends = ((weights, gradient), (weights - 0.1 * gradient, other))
    assert _along(*ends) == pytest.approx(1)
    assert _along((weights, other), (weights - 0.1 * gradient, other)) < 0.5


def test_adam_is_the_papers_algorithm():
    adam, gradient = _Adam(0.1), torch.tensor([2.0, -0.01, 0.0])
    assert adam.step(gradient).tolist() == pytest.approx([0.1, -0.1, 0.0], abs=1e-6)
    # mean (.9 * .1 * 2 + .1 * -1) / .19, square (.999 * .001 * 4 + .001 * 1) / .001999
    second = adam.step(torch.tensor([-1.0, -0.01, 0.0]))
    assert second.tolist() == pytest.approx([0.1 * 0.421053 / 1.580910, -0.1, 0.0], abs=1e-5)
