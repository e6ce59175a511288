"""Study `start`: its measurements against formulas, and the whole study on small networks."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnrun.events import DataUsed, EpochEnded, drain
from bnrun.networks.mlp import ACTIVATIONS, MLP
from bnrun.norms import NORMS
from bnrun.studies import start
from bnrun.studies.signals import (
    deviations_by_layer,
    gradients_by_layer,
    growth_law,
    rms,
    slope,
)
from bnrun.studies.study import plan, run_study
from bnrun.training_summary import Summary


def test_the_law_of_relu_is_known_in_closed_form():
    assert growth_law(nn.ReLU()) == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=1e-5)


@pytest.mark.parametrize("name", start.GROWTH)
def test_the_numbers_of_the_claim_are_the_laws(name):
    assert growth_law(ACTIVATIONS[name]()) == pytest.approx(start.GROWTH[name], abs=1e-4)


def test_a_linear_layer_keeps_gradients():
    assert growth_law(lambda z: 3 * z + 1) == pytest.approx(1, rel=1e-12)


def test_a_slope_is_that_of_the_logarithm():
    assert slope([0.01, 0.1, 1, 10]) == pytest.approx(1)
    assert slope([8, 4, 2]) == pytest.approx(-math.log10(2))
    assert slope([1, 100, 1]) == pytest.approx(0)


def test_gradients_are_those_of_autograd():
    model = MLP(NORMS["none"], depth=2, width=5, activation="tanh", inputs=3)
    x, labels = torch.randn(6, 3), torch.arange(6)
    first = (x @ model.blocks[0].linear.weight.T).detach().requires_grad_()
    second = first.tanh() @ model.blocks[1].linear.weight.T
    loss = functional.cross_entropy(second.tanh() @ model.last.weight.T, labels)
    expected = [rms(gradient) for gradient in torch.autograd.grad(loss, (first, second))]
    layers = [block.norm for block in model.blocks]
    assert gradients_by_layer(model, layers, x, labels) == pytest.approx(expected, rel=1e-5)


def test_deviations_are_those_of_the_batch():
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 4))
    x = 5 + torch.randn(50, 3)
    found = deviations_by_layer(model, model, x)
    outputs = (x, model(x))
    expected = [y.var(0, unbiased=False).mean().sqrt().item() for y in outputs]
    assert found == pytest.approx(expected, rel=1e-4)


class _Laboratory:
    """Trains nothing: with batch norm, accuracy falls at the largest scale alone."""

    def train(self, trials):
        yield from ()
        return {one.name: self._summary(one) for one in trials}

    def compute(self, data, parts):
        yield from ()
        return [part(None) for part in parts.values()]

    def _summary(self, one):
        model = one.config.model
        if model.norm == "none":
            accuracy = 0.8 if model.weight_scale == 1 else 0.3
        else:
            accuracy = {100.0: 0.6, 10.0: 0.79}.get(model.weight_scale, 0.8)
        accuracy += 0.01 * one.config.training.seed
        data = DataUsed("fashion-mnist", "a folder", True, 60_000, 0, 10_000)
        epoch = EpochEnded(1, 1.0, accuracy, 0.5, None, 1.0, 1.0, 1.0)
        diverged = model.norm == "none" and model.weight_scale == 100
        status = "diverged" if diverged else "completed"
        return Summary(one.config.to_dict(), "norm", "cpu", "a machine", 0, data, (epoch,), status)


@pytest.fixture(scope="module")
def small():
    """The study of two seeds on small networks and random images."""

    def images(dataset, count):
        return torch.rand(64, 1, 28, 28), torch.arange(64) % 10

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "SEEDS": {"quick": 2}, "DEPTH": 6, "WIDTH": 64, "INPUTS": 64, "_images": images,
            "RESIDUAL_DEPTH": 12, "RESIDUAL_WIDTH": 32,
        }.items():  # fmt: skip
            patch.setattr(start, name, value)
        return drain(run_study(plan(start.STUDY, "quick", "a machine"), _Laboratory()))


def test_every_part_of_every_claim_gets_a_number_for_each_seed(small):
    assert small.unfinished == ()
    for claim in start.CLAIMS:
        values = small.evidence[claim.id].values
        assert list(values) == [part.name for part in claim.parts]
        assert all(
            len(numbers) == 2 and all(map(math.isfinite, numbers)) for numbers in values.values()
        )


def test_seeds_differ(small):
    for id_ in ("A1", "A2", "A3"):
        values = small.evidence[id_].values
        assert all(first != second for first, second in values.values())


def test_small_networks_show_what_deep_ones_do(small):
    gradients, law, activations = (small.evidence[id_].values for id_ in ("A1", "A2", "A3"))
    assert min(gradients["sigmoid"]) > 0.3
    assert min(gradients["sigmoid, no norm less batch norm"]) > 0
    assert law["relu"] == pytest.approx([1.21, 1.21], rel=0.1)
    assert min(activations["residual, no norm"]) > 0.1
    assert max(activations["plain sigmoid, no norm"]) < 0


def test_the_range_is_over_the_scales_of_the_initial_weights(small):
    assert dict(small.evidence["A4"].values) == {
        "no norm ranges over 20 points": pytest.approx([0.7, 0.71]),  # one that diverged guesses
        "batch norm within 5 points, .01 to 10": pytest.approx([0.01, 0.01]),
        "batch norm within 5 points, .01 to 100": pytest.approx([0.2, 0.2]),
    }
    assert [x for x, _ in small.evidence["A4"].curves["scratch"]] == [0.01, 0.1, 1, 10, 100]


def test_curves_are_means_over_the_seeds_by_layer(small):
    curves = small.evidence["A1"].curves
    assert list(curves) == ["none, sigmoid", "scratch, sigmoid", "none, relu", "scratch, relu"]
    assert [x for x, _ in curves["none, sigmoid"]] == [1, 2, 3, 4]
    assert small.evidence["A2"].curves["relu"][-1] == (6, 0)  # log10 of 1: relative to the last
