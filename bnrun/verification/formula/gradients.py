"""The gradients of x, gamma and beta.

With m values per channel, x_hat = (x - mean) / sqrt(var + eps), and g the gradient of y:

    d_beta  = sum(g)
    d_gamma = sum(g * x_hat)
    d_x     = gamma / sqrt(var + eps) * (g - d_beta / m - x_hat * d_gamma / m)

(Ioffe & Szegedy 2015, section 3.) Mistakes are made in a backward pass written by hand, or by
cutting autograd's graph.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bnrun.verification.distance import distance
from bnrun.verification.fault import OF_OTHERS, Choice, Fault, choices, wrong
from bnrun.verification.formula.axes import Axes


class XGradient(Protocol):
    """Computes the gradient of x by autograd."""

    def __call__(self, constant: tuple[str, ...] = (), *, unscaled: bool = False) -> Tensor:
        """Differentiate, with "mean" or "var" as constants if named, or with gamma as 1."""


@dataclass(frozen=True)
class BackwardPass:
    """What a backward pass works with. Vectors broadcast over x."""

    x: Tensor
    y: Tensor
    g: Tensor
    gamma: Tensor
    centred: Tensor
    denominator: Tensor
    axes: Axes  # what the statistics are taken over
    d_x: XGradient
    d_gamma: Tensor  # by autograd, as is d_beta
    d_beta: Tensor

    @property
    def x_hat(self) -> Tensor:
        """Return the normalized x."""
        return self.centred / self.denominator

    @property
    def shares_channels(self) -> bool:
        """Return whether channels, with gammas of their own, share statistics."""
        return self.axes.groups > 0 or self.axes.include(1, self.x.dim())

    @property
    def m(self) -> int:
        """Return the number of values per channel."""
        return self.x.numel() // self.x.shape[1]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sums per channel, of shape (C,)."""
        return values.sum([dim for dim in range(values.dim()) if dim != 1])

    def mean(self, values: Tensor) -> Tensor:
        """Return the means over the dimensions of the statistics."""
        return self.axes.sum(values) / self.axes.count(self.x)


Gradient = Callable[[BackwardPass], Tensor]

# fmt: off
AS_IN_TRAINING: Choice[Gradient] = wrong(
    "predicting-gradient-as-in-training",
    lambda p: p.gamma / p.denominator * (p.g - p.mean(p.g) - p.x_hat * p.mean(p.g * p.x_hat)),
    "When predicting, the gradient of x has the terms of training, though the moving statistics "
    "are constants.",
    "When predicting, d_x = gamma / sqrt(moving_var + eps) * g.")
X_GRADIENT: tuple[Choice[Gradient], ...] = choices(
    lambda p: p.d_x(),
    wrong("gradient-takes-mean-as-constant", lambda p: p.d_x(("mean",)),
          "The gradient of x treats the mean as a constant: the term - mean(g) is missing."),
    wrong("gradient-takes-variance-as-constant", lambda p: p.d_x(("var",)),
          "The gradient of x treats the variance as a constant: the term - x_hat * mean(g * "
          "x_hat) is missing."),
    wrong("gradient-takes-statistics-as-constants", lambda p: p.d_x(("mean", "var")),
          "The gradient of x treats mean and variance as constants: it is only gamma / sqrt(var "
          "+ eps) * g."),
    wrong("gradient-of-x-misses-gamma", lambda p: p.d_x(unscaled=True),
          "The gradient of x is not multiplied by gamma.", "Multiply it by gamma."),
    wrong("gradient-of-x-misses-root", lambda p: p.d_x() * p.denominator,
          "The gradient of x is not divided by sqrt(var + eps).", "Divide it by sqrt(var + eps)."),
    wrong("gradient-of-x-misses-normalization", lambda p: p.g * p.gamma,
          "The gradient of x is gamma * g: the normalization is not differentiated."),
    AS_IN_TRAINING,
    wrong("no-gradient-of-x", lambda p: torch.zeros_like(p.x),
          "No gradient reaches the input: the layers before this one would never learn.",
          "Keep y connected to x in the graph: no detach(), .data or no_grad() between them. In a "
          "torch.autograd.Function, return d_x from backward."),
    fix="Let gradients flow through mean and variance (no detach(), .data, .item() or no_grad() "
    "around them), or add the missing term to the backward pass: d_x = gamma / sqrt(var + eps) * "
    "(g - mean(g) - x_hat * mean(g * x_hat)).",
)

SCALED_AFTER = Fault(
    "gradient-scaled-after-means",
    "In the gradient of x, gamma multiplies last, as in batch normalization; here, channels of "
    "another gamma share their statistics, so g must be multiplied by gamma before the means.",
    "With h = gamma * g: d_x = (h - mean(h) - x_hat * mean(h * x_hat)) / sqrt(var + eps).",
    families=OF_OTHERS)
X_GRADIENT_OF_CHANNELS: tuple[Choice[Gradient], ...] = (
    *(one for one in X_GRADIENT if one is not AS_IN_TRAINING),
    Choice(AS_IN_TRAINING.value, SCALED_AFTER))
"""The ways to compute it where channels share statistics, in both modes."""

GAMMA_GRADIENT: tuple[Choice[Gradient], ...] = choices(
    lambda p: p.d_gamma,
    wrong("gradient-of-gamma-not-normalized", lambda p: p.sum(p.g * p.centred),
          "The gradient of gamma is sum(g * (x - mean)), not divided by sqrt(var + eps)."),
    wrong("gradient-of-gamma-from-input", lambda p: p.sum(p.g * p.x),
          "The gradient of gamma is sum(g * x): it uses the input, not the normalized input."),
    wrong("gradient-of-gamma-averaged", lambda p: p.d_gamma / p.m,
          "The gradient of gamma is averaged over batch and positions; it should be a sum.",
          "Use d_gamma = sum(g * x_hat): the loss averages already."),
    wrong("gradient-of-gamma-averaged", lambda p: p.d_gamma / p.x.shape[0],
          "The gradient of gamma is averaged over the batch; it should be a sum.",
          "Use d_gamma = sum(g * x_hat): the loss averages already."),
    wrong("gradient-of-gamma-is-betas", lambda p: p.d_beta,
          "The gradient of gamma is sum(g), which is the gradient of beta."),
    wrong("no-gradient-of-gamma", lambda p: torch.zeros_like(p.d_gamma),
          "No gradient reaches gamma: it would never learn.",
          "Use the parameter itself in forward, not gamma.data or gamma.detach(). In a "
          "torch.autograd.Function, return d_gamma from backward."),
    fix="Use d_gamma = sum(g * x_hat).",
)

BETA_GRADIENT: tuple[Choice[Gradient], ...] = choices(
    lambda p: p.d_beta,
    wrong("gradient-of-beta-averaged", lambda p: p.d_beta / p.m,
          "The gradient of beta is averaged over batch and positions; it should be a sum."),
    wrong("gradient-of-beta-averaged", lambda p: p.d_beta / p.x.shape[0],
          "The gradient of beta is averaged over the batch; it should be a sum."),
    wrong("no-gradient-of-beta", lambda p: torch.zeros_like(p.d_beta),
          "No gradient reaches beta: it would never learn.",
          "Use the parameter itself in forward, not beta.data or beta.detach(). In a "
          "torch.autograd.Function, return d_beta from backward."),
    fix="Use d_beta = sum(g): the loss averages already.",
)

WRONG_TERM = Fault(
    "gradient-terms-wrong",
    "The terms of the gradient of x have other factors than 1, -1 and -1.",
    "Use d_x = gamma / sqrt(var + eps) * (g - mean(g) - x_hat * mean(g * x_hat)).")
# fmt: on

LEAST_DEVIATION = 1e-4
"""How far a factor is off at least, to be called wrong."""


def terms_of(backward: BackwardPass, d_x: Tensor, tolerance: float) -> Choice[Gradient] | None:
    """Return the gradient of x with the factors of its three terms that fit an observed one.

    Args:
        backward: a right backward pass of the same input.
        d_x: the gradient that was observed, of x's shape.
        tolerance: the largest distance at which factors fit.

    Returns:
        None where no factors fit, or where all of them are right.
    """
    names = ("g", "mean(g)", "x_hat * mean(g * x_hat)")
    factors, right = (_factors(backward, gradient) for gradient in (d_x, backward.d_x()))
    if distance(d_x, _combined(factors, backward)) > tolerance:
        return None
    wrong = [
        f"{name} has the factor {float(factor) + 0.0:.4g}, expected {round(float(expected))}"
        for name, factor, expected in zip(names, factors, right, strict=True)
        if abs(float(factor - expected)) > LEAST_DEVIATION
    ]
    if not wrong:
        return None
    sentence = f"In the gradient of x, gamma / sqrt(var + eps) * (...), {' and '.join(wrong)}."
    if backward.shares_channels:  # then gamma is no common factor
        start = "In the gradient of x, (...) / sqrt(var + eps) with g times gamma in place of g, "
        sentence = f"{start}{' and '.join(wrong)}."
    return Choice(
        functools.partial(_combined, factors),
        dataclasses.replace(WRONG_TERM, sentence=sentence),
    )


def _factors(p: BackwardPass, d_x: Tensor) -> Tensor:
    """Return the factors of the three terms that fit a gradient of x best."""
    fit = torch.linalg.lstsq(_terms(p).flatten(1).T, d_x.flatten()[:, None])
    factors: Tensor = fit.solution.flatten()
    return factors


def _terms(p: BackwardPass) -> Tensor:
    """Return the three terms, one behind the other: of shape (3, *x.shape)."""
    g = p.gamma * p.g
    terms = (g, p.mean(g).expand_as(g), p.x_hat * p.mean(g * p.x_hat))
    return torch.stack([term / p.denominator for term in terms])


def _combined(factors: Tensor, p: BackwardPass) -> Tensor:
    """Return the sum of the terms, each times its factor."""
    return (factors.view(-1, *[1] * p.x.dim()) * _terms(p)).sum(0)
