"""Studies `rates` and `converge` on made-up trainings: what is planned, and what is made of it."""

import dataclasses
import math

import pytest
import torch
from made_up_trainings import MadeUpLaboratory, epoch, summary

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.events import Probed, drain
from bnrun.studies import converge, rates
from bnrun.studies.percentiles import Travels
from bnrun.studies.study import plan, run_study
from bnrun.studies.trainings import epochs_to_reach, last_epoch, trial


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
    found = summary(trial("arm", 0), *(epoch(n, train=a) for n, a in enumerate(accuracies, 1)))
    assert epochs_to_reach(found, 0.8) == pytest.approx(epochs)


def test_a_diverged_training_has_no_last_epoch():
    assert last_epoch(summary(trial("arm", 0), epoch(1), status="diverged")) is None
    assert last_epoch(summary(trial("arm", 0), epoch(1))) == epoch(1)


def _by_rate(one):
    """Without a norm, ReLU trains to 2^-1 and then diverges, sigmoid to 2^1; with it, always."""
    model, lr = one.config.model, one.config.optimizer.lr
    largest = {"relu": 0.5, "sigmoid": 2}[model.activation] if model.norm == "none" else 64
    # Seed 1 of sigmoid needs a rate of 1/4 at least.
    least = 0.25 if (model.activation, one.config.training.seed) == ("sigmoid", 1) else 0
    if lr > largest and model.activation == "relu":
        return summary(one, status="diverged")
    loss = 1.0 if least <= lr <= largest else 2.3
    accuracy = 0.85 if model.norm == "scratch" else 0.84 + 0.001 * one.config.training.seed
    return summary(one, *(epoch(n, loss, accuracy) for n in range(1, 4)))


def test_rates_finds_the_largest_and_the_smallest_rate_that_train():
    laboratory = MadeUpLaboratory(_by_rate)
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
    assert (
        len({one.name for one in laboratory.asked})
        == len(laboratory.asked)
        == 7 * 2 * 2 * 2 + 2 * 2 * 2
    )
    assert {one.config.training.epochs for one in laboratory.asked} == {1, 3}


def test_where_nothing_trains_the_smallest_rate_is_not_decided():
    laboratory = MadeUpLaboratory(lambda one: summary(one, epoch(1, loss=2.3)))
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
    return summary(
        one,
        *(epoch(n, 1.0, accuracy, moving, validation) for n, accuracy in enumerate(accuracies, 1)),
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
    laboratory = MadeUpLaboratory(_converging, _probed)
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
    assert {one.arm for one in laboratory.asked} == {"none-sigmoid-lr1", "scratch-sigmoid-lr1"}
    assert {one.config.training.probe_every for one in laboratory.asked} == {40}
    assert result.unfinished == ("C1", "C2")


@pytest.mark.usefixtures("no_training")
def test_rates_of_normalized_weights_range_over_16_octaves():
    laboratory = MadeUpLaboratory(_by_rate)
    result = drain(run_study(plan(rates.STUDY, "quick", "a machine"), laboratory, ["R3"]))
    assert dict(result.evidence["R3"].values) == {"16 octaves": pytest.approx([0.3, 0.3])}
    assert dict(result.evidence["R3"].curves)["training accuracy"] == [
        (-8, pytest.approx(0.705)), (0, pytest.approx(0.805)), (8, pytest.approx(0.505)),
    ]  # fmt: skip
    assert laboratory.asked == []


@pytest.mark.usefixtures("no_training")
def test_converge_compares_steps_and_accuracies():
    laboratory = MadeUpLaboratory(_converging)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C1", "C2"]))
    speed, accuracy = (result.evidence[id_] for id_ in ("C1", "C2"))
    assert speed.values["sigmoid, same rate"] == pytest.approx([5.0, 5.0])
    assert speed.values["relu, each at its best rate"] == pytest.approx([5.0, 5.0])
    assert accuracy.values["sigmoid, moving statistics"] == pytest.approx([-0.12, -0.12])
    assert accuracy.values["sigmoid, population statistics"] == pytest.approx([0.05, 0.051])
    assert speed.remark == "The best rates of relu: 0.3 without, 1 with."
    chosen = {
        one.arm for one in laboratory.asked if one.arm.startswith(("none-relu", "scratch-relu"))
    }
    assert chosen == {"none-relu-lr0.3", "scratch-relu-lr1"}
    choosing = [one for one in laboratory.asked if one.arm.startswith("choice")]
    assert {one.config.data.validation for one in choosing} == {5_000}
    assert {one.config.data.validation for one in laboratory.asked if one not in choosing} == {0}


def test_a_network_that_never_gets_there_is_not_faster():
    def slow(one):
        found = _converging(one)
        if one.config.model.norm == "none":
            return found
        epochs = tuple(dataclasses.replace(epoch, train_acc=0.2) for epoch in found.epochs)
        return dataclasses.replace(found, epochs=epochs)

    laboratory = MadeUpLaboratory(slow)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C1"]))
    assert result.evidence["C1"].values["sigmoid, same rate"] == [0.0, 0.0]


def test_a_network_that_only_guesses_gives_no_ratio():
    def guessing(one):
        found = _converging(one)
        if one.config.model.norm != "none" or one.config.model.activation == "relu":
            return found
        epochs = tuple(dataclasses.replace(epoch, train_acc=0.0995) for epoch in found.epochs)
        return dataclasses.replace(found, epochs=epochs)

    laboratory = MadeUpLaboratory(guessing)
    start = plan(converge.STUDY, "quick", "a machine")
    result = drain(run_study(start, laboratory, ["C1"]))
    assert result.evidence["C1"].values["sigmoid, same rate"] == []
    assert len(result.evidence["C1"].values["relu, each at its best rate"]) == 2


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("study", [rates, converge])
def test_claims_that_have_evidence_are_not_measured_again(study):
    laboratory = MadeUpLaboratory(_by_rate if study is rates else _converging, _probed)
    first, *others = (claim.id for claim in study.CLAIMS)
    start = plan(study.STUDY, "quick", "a machine")
    whole = drain(run_study(start, laboratory))
    begun = dataclasses.replace(start, evidence={first: whole.evidence[first]})
    assert dict(drain(run_study(begun, laboratory)).evidence) == dict(whole.evidence)
    assert begun.unfinished == tuple(others)
