"""Normalized weights, in place of normalized activations or beside them.

Each output channel's weights, over all of its inputs, are what a formula makes of the parameters
that are trained.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

EPS = 1e-5
"""Added to the variance of standardized weights, inside the root."""


def standardized(v: Tensor, eps: float = EPS) -> Tensor:
    """Return the weights (v - mean) / √(var + eps), by output channel.

    Qiao, Wang, Liu, Shen and Yuille 2019, "Micro-Batch Training with Batch-Channel Normalization
    and Weight Standardization" (arXiv:1903.10520). The variance is biased.

    Args:
        v: of shape (outputs, ...).
        eps: added to the variance.
    """
    flat = v.flatten(1)
    centered = flat - flat.mean(1, keepdim=True)
    var = centered.square().mean(1, keepdim=True)
    return (centered * torch.rsqrt(var + eps)).view_as(v)


def directed(g: Tensor, v: Tensor) -> Tensor:
    """Return the weights g v / |v|, by output channel: length and direction apart.

    Salimans and Kingma 2016, "Weight Normalization", section 2, equation 2 (arXiv:1602.07868).

    Args:
        g: the lengths, of shape (outputs, 1).
        v: the directions, of shape (outputs, ...).
    """
    flat = v.flatten(1)
    length = flat.square().sum(1, keepdim=True).sqrt()
    return (flat * (g / length)).view_as(v)


class StandardizedWeight(nn.Module):
    """Weight standardization: see `standardized`. It starts from the layer's own weights as v."""

    def forward(self, v: Tensor) -> Tensor:
        """Return the weights."""
        return standardized(v)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the v to start from."""
        return weight


class DirectedWeight(nn.Module):
    """Weight norm: see `directed`. It starts from the layer's own weights."""

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """Return the weights."""
        return directed(g, v)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the g and v to start from."""
        return weight.flatten(1).norm(dim=1, keepdim=True), weight.clone()


WEIGHTS: Mapping[str, Callable[[], nn.Module]] = {
    "standardized": StandardizedWeight,
    "normalized": DirectedWeight,
}
"""By the value of `model.weights`."""


def normalize_weights(layers: Iterable[nn.Module], kind: str) -> None:
    """Let layers compute their weights by a formula, which starts from those that they have.

    Args:
        layers: with a parameter `weight`, of shape (outputs, ...).
        kind: a key of `WEIGHTS`.
    """
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", WEIGHTS[kind]())
