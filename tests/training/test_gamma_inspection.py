"""Norms are read from a checkpoint by name alone: no class of theirs is imported or run."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS, NormFactory
from bnrun.training.checkpoint import capture
from bnrun.training.gamma_inspection import NormLayer, norm_layers
from bnrun.training.optimizer import SGD


class Wraps(nn.Module):
    """A user's norm that holds another, and a linear layer and a convolution beside it."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        self.gate = nn.Linear(num_features, num_features)
        self.depthwise = nn.Conv2d(num_features, num_features, 1, groups=num_features)
        self.bn = NORMS["builtin"](num_features, num_dims)


class Bare(nn.Module):
    """A user's norm without moving statistics, a beta or a stated eps."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((num_features,), 0.5))


def _state(norm: NormFactory) -> dict[str, Any]:
    model = LeNet(norm)
    return capture(model, SGD(model.parameters(), lr=0.1))


def _layer(**changes: Any) -> NormLayer:
    fields = {
        "name": "norm1",
        "channels": 3,
        "gamma": (1.0, -2.0, 0.1),
        "beta": (0.0,) * 3,
        "moving_mean": (0.0,) * 3,
        "moving_var": (4.0, 1.0, 0.0),
        "eps": 0.0,
    }
    return NormLayer(**(fields | changes))


def _floats(vector: Tensor) -> tuple[float, ...]:
    return tuple(vector.detach().flatten().tolist())


@pytest.mark.parametrize("norm", ["scratch", "builtin", "textbook"])
def test_the_four_norms_of_lenet_are_read_in_order(norm: str) -> None:
    torch.manual_seed(0)
    model = LeNet(NORMS[norm])
    model(torch.rand(8, 1, 28, 28))  # moves the moving statistics
    with torch.no_grad():
        for module in (model.norm1, model.norm2, model.norm3, model.norm4):
            for vector in module.parameters():
                vector.uniform_(-1, 1)
    layers = norm_layers(capture(model, SGD(model.parameters(), lr=0.1)))

    assert [layer.name for layer in layers] == ["norm1", "norm2", "norm3", "norm4"]
    assert [layer.channels for layer in layers] == [6, 16, 120, 84]
    gamma, beta, mean, var = (
        ("gamma", "beta", "moving_mean", "moving_var")
        if norm == "textbook"
        else ("weight", "bias", "running_mean", "running_var")
    )
    for layer in layers:
        module = model.get_submodule(layer.name)
        assert _floats(getattr(module, gamma)) == layer.gamma
        assert _floats(getattr(module, beta)) == layer.beta
        assert _floats(getattr(module, mean)) == layer.moving_mean
        assert _floats(getattr(module, var)) == layer.moving_var
        assert layer.eps == 1e-5
        assert layer.eps_stated is (norm != "textbook")


def test_no_norm_is_no_layer() -> None:
    assert norm_layers(_state(NORMS["none"])) == ()


def test_a_wrapped_norm_is_found_and_its_neighbours_are_not() -> None:
    layers = norm_layers(_state(Wraps))
    assert [layer.name for layer in layers] == ["norm1.bn", "norm2.bn", "norm3.bn", "norm4.bn"]


def test_what_a_norm_lacks_is_none() -> None:
    first = norm_layers(_state(Bare))[0]
    assert first.gamma == (0.5,) * 6
    assert first.beta is first.moving_mean is first.moving_var is first.effective_scale is None
    assert (first.eps, first.eps_stated) == (1e-5, False)


def test_a_stated_eps_is_taken() -> None:
    layers = norm_layers(_state(lambda n, _: nn.BatchNorm1d(n, eps=0.25)))
    assert {(layer.eps, layer.eps_stated) for layer in layers} == {(0.25, True)}


def test_the_effective_scale_is_gamma_over_the_root() -> None:
    scale = _layer(eps=1.0).effective_scale
    assert scale == pytest.approx((1 / math.sqrt(5), -2 / math.sqrt(2), 0.1))
    assert _layer(gamma=None).effective_scale[:2] == (0.5, 1.0)  # type: ignore[index]
    assert math.isnan(_layer().effective_scale[2])  # type: ignore[index]


@pytest.mark.parametrize(
    ("gamma", "off"),
    [
        ((1.0, -2.0, 0.09), (False, False, True)),
        ((1.0, -0.05, 2.0), (False, True, False)),
        ((1.0, 0.9, 0.2), (False, False, False)),
        ((0.0, 0.0, 0.0), (True, True, True)),
        ((math.nan, 1.0, 1.0), (False, False, False)),
        (None, (False, False, False)),
    ],
)
def test_a_channel_is_nearly_off_far_below_the_median(gamma: Any, off: tuple[bool, ...]) -> None:
    assert _layer(gamma=gamma).nearly_off == off
