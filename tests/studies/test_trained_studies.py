"""Studies `rates` and `converge` on made-up trainings: what is planned, and what is made of it."""

import dataclasses
import math

import pytest
import torch

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.events import DataUsed, EpochEnded, Probed, drain
from bnrun.studies import converge, rates
from bnrun.studies.percentiles import Travels
from bnrun.studies.study import plan, run_study
from bnrun.studies.trainings import epochs_to_reach, last_epoch, trial
from bnrun.training_summary import Summary

DATA = DataUsed("fashion-mnist", "a folder", True, 60_000, 0, 10_000)


def _epoch(number, loss=1.0, train=0.8, test=0.8, validation=None):
    return EpochEnded(number, loss, train, test, validation, 1.0, 1.0, 1.0)


def _summary(trial, *epochs, status="completed"):
    config = trial.config.to_dict()
    seed = trial.config.training.seed
    return Summary(config, config["model"]["norm"], "cpu", "a machine", seed, DATA, epochs, status)


def _made_up(outcome):
    """Return a laboratory whose trials end as `outcome` says, and the list of those asked for."""
    asked = []

    class Laboratory:
        def train(self, trials):
            asked.extend(trials)
            yield from ()
            return {trial.name: outcome(trial) for trial in trials}

        def checkpoint(self, trial, epoch):
            return trial, epoch

        def probed(self, trial):
            return list(_probed(trial))

    return Laboratory(), asked


def _probed(one):
    """With batch norm, gradients turn more at first, and fewer inputs are saturated."""
    is_bn, seed = one.config.model.norm == "scratch", one.config.training.seed
    for step in range(0, 1201, 40):
        early = step <= 200
        cosine = (0.5 if is_bn and early else 0.9) + 0.01 * seed
        off = (0.02 if is_bn else 0.2) + 0.001 * step / 40
        for probe, values in (
            ("shift", {"cosine": cosine, "absolute": 0.5 + is_bn}),
            ("activations", {"off": off}),
        ):
            yield Probed(probe, step, {"conv2": values, "fc1": values})


def test_a_trial_has_the_defaults_and_its_keys():
    one = trial("arm", 3, model__norm="none", optimizer__lr=0.5)
    expected = Config().to_dict()
    expected["model"]["norm"], expected["optimizer"]["lr"] = "none", 0.5
    expected["training"]["seed"] = 3
    assert one.config.to_dict() == expected
    assert one.name == "arm-s3"


@pytest.mark.parametrize(
    ("accuracies", "epochs"),
    [
        ([0.5, 0.9], 1.75),
        ([0.8], 1.0),
        ([0.9], 0.875),
        ([0.5, 0.4, 0.9], 2.75),  # a dip does not count as a new start
        ([0.5, 0.6], math.inf),
        ([0.05, 0.8], 2.0),
    ],
)
def test_accuracy_grows_linearly_between_epochs(accuracies, epochs):
    summary = _summary(trial("arm", 0), *(_epoch(n, train=a) for n, a in enumerate(accuracies, 1)))
    assert epochs_to_reach(summary, 0.8) == pytest.approx(epochs)


def test_a_diverged_training_has_no_last_epoch():
    assert last_epoch(_summary(trial("arm", 0), _epoch(1), status="diverged")) is None
    assert last_epoch(_summary(trial("arm", 0), _epoch(1))) == _epoch(1)


def _by_rate(one):
    """Without a norm, ReLU trains to 2^-1 and then diverges, sigmoid to 2^1; with it, always."""
    model, lr = one.config.model, one.config.optimizer.lr
    largest = {"relu": 0.5, "sigmoid": 2}[model.activation] if model.norm == "none" else 64
    # Seed 1 of sigmoid needs a rate of 1/4 at least.
    least = 0.25 if (model.activation, one.config.training.seed) == ("sigmoid", 1) else 0
    if lr > largest and model.activation == "relu":
        return _summary(one, status="diverged")
    loss = 1.0 if least <= lr <= largest else 2.3
    accuracy = 0.85 if model.norm == "scratch" else 0.84 + 0.001 * one.config.training.seed
    return _summary(one, *(_epoch(n, loss, accuracy) for n in range(1, 4)))


def test_rates_finds_the_largest_and_the_smallest_rate_that_train():
    laboratory, asked = _made_up(_by_rate)
    start = plan(rates.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["R1", "R2"]))
    largest, smallest = (result.evidence[id_] for id_ in ("R1", "R2"))
    assert dict(largest.values) == {"relu": [8.0, 8.0], "sigmoid": [6.0, 6.0]}
    assert largest.remark == (
        "The largest rates that train: relu: 0.25 without, 64 with; sigmoid: 1 without, 64 with."
    )
    assert dict(smallest.values) == {
        "relu": pytest.approx([0.01, 0.009]),
        "sigmoid": pytest.approx([0.01, 0.009]),
    }
    assert smallest.remark == "The rates: relu 0.015625, sigmoid 0.25."
    assert len({one.name for one in asked}) == len(asked) == 7 * 2 * 2 * 2 + 2 * 2 * 2
    assert {one.config.training.epochs for one in asked} == {1, 3}


def test_where_nothing_trains_the_smallest_rate_is_not_decided():
    laboratory, _ = _made_up(lambda one: _summary(one, _epoch(1, loss=2.3)))
    start = plan(rates.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["R1", "R2"]))
    assert dict(result.evidence["R1"].values) == {"relu": [0.0, 0.0], "sigmoid": [0.0, 0.0]}
    assert dict(result.evidence["R2"].values) == {"relu": [], "sigmoid": []}
    assert result.claims[1].verdict == "not decided"
    assert "no rate" in result.evidence["R2"].remark
    assert "relu: none of the grid without, none of the grid with" in result.evidence["R1"].remark


def _converging(one):
    """With batch norm, training is five times as fast; .3 is ReLU's best rate without it."""
    config = one.config
    speed = 5 if config.model.norm == "scratch" else 1
    accuracies = [min(0.1 + 0.07 * speed * n, 0.9) for n in range(1, config.training.epochs + 1)]
    validation = 0.8 - abs(config.optimizer.lr - (0.3 if config.model.norm == "none" else 1.0))
    moving = 0.7 if speed == 5 else 0.82
    return _summary(
        one,
        *(_epoch(n, 1.0, accuracy, moving, validation) for n, accuracy in enumerate(accuracies, 1)),
    )


@pytest.fixture
def no_training(monkeypatch):
    """Experiments outside the laboratory: layers converge from the input up, or down."""

    def first_converged(config, states, images, alike):
        assert [epoch for _, epoch in states] == [1, 2, 3, 4, 5]
        assert (len(images), alike) == (512, 0.95)
        return [1, 2, 2, 4, 5] if config.model.norm == "scratch" else [5, 4, 3, 3, 3]

    def travels(norm, train, steps, every, seeds):
        typical = [[(0.0, 1.0), (120.0, 2.0)]] * 3
        if norm == "none":
            return [Travels(4.0 + seed, 4.0 + seed, typical) for seed in range(seeds)]
        return [Travels(0.4, 6.0, typical)] * seeds

    def load(config):
        yield from ()
        images = torch.zeros(600, 1, 28, 28, dtype=torch.uint8)
        split = Split(images, torch.zeros(600, dtype=torch.long))
        return Dataset(split, split, "synthetic", "generated", None)

    def accuracy_of_an_epoch(config, train, rate, engine):
        return {1.0: 0.8, 2.0**-8: 0.7, 2.0**8: 0.5}[rate] + 0.01 * config.training.seed

    def population(trial, state):
        yield from ()
        assert state == (trial, 5)
        return 0.87 + 0.001 * trial.config.training.seed

    monkeypatch.setattr(converge, "_population", population)
    for path, stand_in in (
        ("bnrun.data.load.load", load),
        ("bnrun.studies.representations.first_converged", first_converged),
        ("bnrun.studies.percentiles.travels", travels),
        ("bnrun.studies.weight_rates.accuracy_of_an_epoch", accuracy_of_an_epoch),
    ):
        monkeypatch.setattr(path, stand_in)


@pytest.mark.usefixtures("no_training")
def test_converge_looks_at_layers():
    laboratory, asked = _made_up(_converging)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C3", "C4", "C5", "C6"]))
    values = {id_: dict(one.values) for id_, one in result.evidence.items()}
    assert values["C3"] == {
        "no norm": pytest.approx([0.894, 0.894], abs=1e-3),
        "batch norm": pytest.approx([-0.975, -0.975], abs=1e-3),
    }
    assert values["C4"] == {
        "first 200 steps": pytest.approx([-0.4, -0.4]),
        "second half": pytest.approx([0.0, 0.0]),
    }
    assert result.evidence["C4"].remark.endswith("the paper's number: 0.5 without, 1.5 with.")
    assert values["C5"] == {
        "normalized": pytest.approx([0.9, 0.92]),
        "scaled and shifted": pytest.approx([-0.5, -0.2]),
    }
    assert values["C6"] == {"a tenth or more": pytest.approx([0.215, 0.215])}
    assert {one.arm for one in asked} == {"none-sigmoid-lr1", "scratch-sigmoid-lr1"}
    assert {one.config.training.probe_every for one in asked} == {40}
    assert result.unfinished == ("C1", "C2")


@pytest.mark.usefixtures("no_training")
def test_rates_of_normalized_weights_range_over_16_octaves():
    laboratory, asked = _made_up(_by_rate)
    result = drain(run_study(plan(rates.STUDY, "quick", "a machine"), laboratory, ["R3"]))
    assert dict(result.evidence["R3"].values) == {"16 octaves": pytest.approx([0.3, 0.3])}
    assert dict(result.evidence["R3"].curves)["training accuracy"] == [
        (-8, pytest.approx(0.705)), (0, pytest.approx(0.805)), (8, pytest.approx(0.505)),
    ]  # fmt: skip
    assert asked == []


@pytest.mark.usefixtures("no_training")
def test_converge_compares_steps_and_accuracies():
    laboratory, asked = _made_up(_converging)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C1", "C2"]))
    speed, accuracy = (result.evidence[id_] for id_ in ("C1", "C2"))
    assert speed.values["sigmoid, same rate"] == pytest.approx([5.0, 5.0])
    assert speed.values["relu, each at its best rate"] == pytest.approx([5.0, 5.0])
    assert accuracy.values["sigmoid, moving statistics"] == pytest.approx([-0.12, -0.12])
    assert accuracy.values["sigmoid, population statistics"] == pytest.approx([0.05, 0.051])
    assert speed.remark == "The best rates of relu: 0.3 without, 1 with."
    chosen = {one.arm for one in asked if one.arm.startswith(("none-relu", "scratch-relu"))}
    assert chosen == {"none-relu-lr0.3", "scratch-relu-lr1"}
    choosing = [one for one in asked if one.arm.startswith("choice")]
    assert {one.config.data.validation for one in choosing} == {5_000}
    assert {one.config.data.validation for one in asked if one not in choosing} == {0}


def test_a_network_that_never_gets_there_is_not_faster():
    def slow(one):
        summary = _converging(one)
        if one.config.model.norm == "none":
            return summary
        epochs = tuple(dataclasses.replace(epoch, train_acc=0.2) for epoch in summary.epochs)
        return dataclasses.replace(summary, epochs=epochs)

    laboratory, _ = _made_up(slow)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C1"]))
    assert result.evidence["C1"].values["sigmoid, same rate"] == [0.0, 0.0]


def test_a_network_that_only_guesses_gives_no_ratio():
    def guessing(one):
        summary = _converging(one)
        if one.config.model.norm != "none" or one.config.model.activation == "relu":
            return summary
        epochs = tuple(dataclasses.replace(epoch, train_acc=0.0995) for epoch in summary.epochs)
        return dataclasses.replace(summary, epochs=epochs)

    laboratory, _ = _made_up(guessing)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C1"]))
    assert result.evidence["C1"].values["sigmoid, same rate"] == []
    assert len(result.evidence["C1"].values["relu, each at its best rate"]) == 2


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("study", [rates, converge])
def test_claims_that_have_evidence_are_not_measured_again(study):
    laboratory, _ = _made_up(_by_rate if study is rates else _converging)
    first, *others = (claim.id for claim in study.CLAIMS)
    start = plan(study.STUDY, "quick", "a machine")
    whole = drain(run_study(start, laboratory))
    begun = dataclasses.replace(start, evidence={first: whole.evidence[first]})
    assert dict(drain(run_study(begun, laboratory)).evidence) == dict(whole.evidence)
    assert begun.unfinished == tuple(others)
