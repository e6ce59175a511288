"""Normalized weights against torch and second formulas, in float64; and trained in LeNet."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from bnrun.config import Config
from bnrun.events import CheckpointReady
from bnrun.norms.weights import WEIGHTS, directed, normalize_weights, standardized
from bnrun.training import train
from bnrun.training.model import build_model

CPU = torch.device("cpu")
V = 0.3 + 2 * torch.randn(4, 3, 5, 5, dtype=torch.float64)


def test_standardized_weights_are_instance_norm_of_the_weights():
    expected = nn.functional.instance_norm(V.view(1, 4, -1), eps=1e-3).view_as(V)
    torch.testing.assert_close(standardized(V, eps=1e-3), expected)


def test_directed_weights_are_torchs_weight_norm():
    layer = nn.Conv2d(3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(V)
    parametrizations.weight_norm(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(3)
    g = 3 * V.flatten(1).norm(dim=1, keepdim=True)
    torch.testing.assert_close(directed(g, V), layer.weight)


def test_weight_norm_starts_at_the_layers_own_weights():
    layer = nn.Linear(7, 3)
    before = layer.weight.detach().clone()
    normalize_weights([layer], "normalized")
    torch.testing.assert_close(layer.weight.detach(), before)
    assert sorted(name for name, _ in layer.named_parameters()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1",
    ]  # fmt: skip


def _config(weights, norm="group", **training):
    values = {"epochs": 1, "batch_size": 100, "engine": "eager"} | training
    return Config(model={"norm": norm, "weights": weights}, training=values)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_training_of_normalized_weights_continues_where_it_was(weights, small):
    config = _config(weights, epochs=2, batch_size=150)
    states = [one.state for one in train(config, small, CPU) if isinstance(one, CheckpointReady)]
    (rest,) = (
        one.state
        for one in train(config, small, CPU, states[0])
        if isinstance(one, CheckpointReady)
    )
    for name, value in states[-1]["model"].items():
        assert torch.equal(rest["model"][name], value), name
    model = build_model(config)
    model.load_state_dict(rest["model"])
    if weights == "standardized":
        assert model.fc2.weight.mean(1).abs().max() < 1e-6
    assert "parametrizations" not in str(model.fc3)  # the last layer is as it was


@pytest.mark.usefixtures("compilable")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_engines_agree_on_normalized_weights(weights, small):
    states = {}
    for engine in ("eager", "compiled"):
        config = _config(weights, norm="scratch", engine=engine)
        (states[engine],) = (
            one.state for one in train(config, small, CPU) if isinstance(one, CheckpointReady)
        )
    for name, value in states["eager"]["model"].items():
        torch.testing.assert_close(states["compiled"]["model"][name], value, rtol=1e-3, atol=1e-4)
