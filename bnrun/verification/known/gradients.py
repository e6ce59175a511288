"""The gradients, each right, then as people get it wrong: by hand, or by cutting autograd's graph.

With m values per channel, x_hat = (x - mean) / sqrt(var + eps), and g the gradient of y:

    d_beta  = sum(g)
    d_gamma = sum(g * x_hat)
    d_x     = gamma / sqrt(var + eps) * (g - d_beta / m - x_hat * d_gamma / m)

(Ioffe & Szegedy 2015, section 3.) The first of each list is right.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bnrun.verification.known.batch_statistics import Dims, count
from bnrun.verification.known.fault import Choice, Fault


class DifferentiatesX(Protocol):
    """Returns autograd's gradient of x, some statistics taken as constant, or gamma as 1."""

    def __call__(self, constant: Iterable[str] = (), *, unscaled: bool = False) -> Tensor:
        """Differentiate; `constant` names "mean", "var" or both."""


@dataclass(frozen=True)
class Pieces:
    """What a backward pass works with. Vectors broadcast over x; `d_x` asks autograd."""

    x: Tensor
    y: Tensor
    g: Tensor
    gamma: Tensor
    centred: Tensor
    denominator: Tensor
    dims: Dims  # those of x that a channel's statistics are over
    d_x: DifferentiatesX
    d_gamma: Tensor  # autograd's
    d_beta: Tensor

    @property
    def x_hat(self) -> Tensor:
        """Return the normalized x."""
        return self.centred / self.denominator

    def per_channel(self, values: Tensor) -> Tensor:
        """Sum over all but the channels: shape (C,)."""
        return values.sum([dim for dim in range(values.dim()) if dim != 1])

    @property
    def m(self) -> int:
        """Return the number of values per channel."""
        return self.x.numel() // self.x.shape[1]


Gradient = Callable[[Pieces], Tensor]

_WRITE_OUT = (
    "Let gradients flow through mean and variance (no detach(), .data, .item() or no_grad() "
    "around them), or add the missing term to the backward pass: d_x = gamma / sqrt(var + eps) * "
    "(g - mean(g) - x_hat * mean(g * x_hat))."
)

X_GRADIENT: tuple[Choice[Gradient], ...] = (
    Choice(lambda p: p.d_x()),
    Choice(
        lambda p: p.d_x(("mean",)),
        Fault(
            "gradient-takes-mean-as-constant",
            "The gradient of x takes the batch's mean as a constant: the term - mean(g) is "
            "missing.",
            _WRITE_OUT,
        ),
    ),
    Choice(
        lambda p: p.d_x(("var",)),
        Fault(
            "gradient-takes-variance-as-constant",
            "The gradient of x takes the batch's variance as a constant: the term "
            "- x_hat * mean(g * x_hat) is missing.",
            _WRITE_OUT,
        ),
    ),
    Choice(
        lambda p: p.d_x(("mean", "var")),
        Fault(
            "gradient-takes-statistics-as-constants",
            "The gradient of x takes the batch's mean and variance as constants: it is "
            "gamma / sqrt(var + eps) * g alone.",
            _WRITE_OUT,
        ),
    ),
    Choice(
        lambda p: p.d_x(unscaled=True),
        Fault(
            "gradient-of-x-misses-gamma",
            "The gradient of x is not multiplied by gamma.",
            "Multiply it by gamma.",
        ),
    ),
    Choice(
        lambda p: p.d_x() * p.denominator,
        Fault(
            "gradient-of-x-misses-root",
            "The gradient of x is not divided by sqrt(var + eps).",
            "Divide it by sqrt(var + eps).",
        ),
    ),
    Choice(
        lambda p: p.g * p.gamma,
        Fault(
            "gradient-of-x-misses-normalization",
            "The gradient of x is gamma * g: nothing of the normalization is in it.",
            _WRITE_OUT,
        ),
    ),
    Choice(
        lambda p: (
            p.gamma / p.denominator * (p.g - _mean(p, p.g) - p.x_hat * _mean(p, p.g * p.x_hat))
        ),
        Fault(
            "predicting-gradient-as-in-training",
            "When predicting, the gradient of x has the terms of training, though the moving "
            "statistics are constants.",
            "When predicting, d_x = gamma / sqrt(moving_var + eps) * g.",
        ),
    ),
    Choice(
        lambda p: torch.zeros_like(p.x),
        Fault(
            "no-gradient-of-x",
            "No gradient reaches the input: what lies before this layer would never learn.",
            "Let y depend on x in the graph: no detach(), .data or no_grad() on the way, and a "
            "backward pass that returns d_x.",
        ),
    ),
)

GAMMA_GRADIENT: tuple[Choice[Gradient], ...] = (
    Choice(lambda p: p.d_gamma),
    Choice(
        lambda p: p.per_channel(p.g * p.centred),
        Fault(
            "gradient-of-gamma-not-normalized",
            "The gradient of gamma is sum(g * (x - mean)), not divided by sqrt(var + eps).",
            "Use d_gamma = sum(g * x_hat).",
        ),
    ),
    Choice(
        lambda p: p.per_channel(p.g * p.x),
        Fault(
            "gradient-of-gamma-from-input",
            "The gradient of gamma is sum(g * x): it takes the input, not the normalized input.",
            "Use d_gamma = sum(g * x_hat).",
        ),
    ),
    Choice(
        lambda p: p.d_gamma / p.m,
        Fault(
            "gradient-of-gamma-averaged",
            "The gradient of gamma is averaged over batch and positions; it is a sum.",
            "Use d_gamma = sum(g * x_hat): the loss has done the averaging.",
        ),
    ),
    Choice(
        lambda p: p.d_gamma / p.x.shape[0],
        Fault(
            "gradient-of-gamma-averaged",
            "The gradient of gamma is averaged over the batch; it is a sum.",
            "Use d_gamma = sum(g * x_hat): the loss has done the averaging.",
        ),
    ),
    Choice(
        lambda p: p.d_beta,
        Fault(
            "gradient-of-gamma-is-betas",
            "The gradient of gamma is sum(g), which is that of beta.",
            "Use d_gamma = sum(g * x_hat).",
        ),
    ),
    Choice(
        lambda p: torch.zeros_like(p.d_gamma),
        Fault(
            "no-gradient-of-gamma",
            "No gradient reaches gamma: it would never learn.",
            "Use the parameter itself in forward, not gamma.data or gamma.detach(); and return "
            "d_gamma from a backward pass of your own.",
        ),
    ),
)

BETA_GRADIENT: tuple[Choice[Gradient], ...] = (
    Choice(lambda p: p.d_beta),
    Choice(
        lambda p: p.d_beta / p.m,
        Fault(
            "gradient-of-beta-averaged",
            "The gradient of beta is averaged over batch and positions; it is a sum.",
            "Use d_beta = sum(g): the loss has done the averaging.",
        ),
    ),
    Choice(
        lambda p: p.d_beta / p.x.shape[0],
        Fault(
            "gradient-of-beta-averaged",
            "The gradient of beta is averaged over the batch; it is a sum.",
            "Use d_beta = sum(g): the loss has done the averaging.",
        ),
    ),
    Choice(
        lambda p: torch.zeros_like(p.d_beta),
        Fault(
            "no-gradient-of-beta",
            "No gradient reaches beta: it would never learn.",
            "Use the parameter itself in forward, not beta.data or beta.detach(); and return "
            "d_beta from a backward pass of your own.",
        ),
    ),
)


def _mean(p: Pieces, values: Tensor) -> Tensor:
    return values.sum(p.dims, keepdim=True) / count(p.x, p.dims)
