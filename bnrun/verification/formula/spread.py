"""The variance that normalizes.

(Ioffe & Szegedy 2015, Algorithm 1.) The mean and the results have a shape that broadcasts over x.
"""

import math
from collections.abc import Callable

from torch import Tensor

from bnrun.verification.fault import Choice, Fault, choices, wrong
from bnrun.verification.formula.axes import Axes

Spread = Callable[[Tensor, Tensor, Axes], Tensor]  # from x, its mean and what shares statistics


def _squares(x: Tensor, mean: Tensor, axes: Axes) -> Tensor:
    return axes.sum((x - mean).square())


def _within_images(x: Tensor, mean: Tensor, axes: Axes) -> Tensor:
    positions = tuple(range(2, x.dim()))
    own_mean = x.mean(positions or (0,), keepdim=True)
    return axes.mean((x - own_mean).square())


def _normal_extreme(n: int) -> float:
    """Return about where the largest of n normally distributed values lies."""
    return math.sqrt(2 * math.log(max(n, 2)))


def _squared_range(per_deviation: Callable[[int], float]) -> Spread:
    """Return what squares the range, divided by what it is in standard deviations of n values."""

    def spread(x: Tensor, mean: Tensor, axes: Axes) -> Tensor:
        return (axes.range(x) / per_deviation(axes.count(x))).square()

    return spread


# fmt: off
RANGE = Fault(
    "range-as-variance",
    "The spread is taken from the largest and the smallest value, not from the variance.",
    "Use ((x - mean) ** 2).mean(...).")
SPREAD: tuple[Choice[Spread], ...] = choices(
    lambda x, mean, axes: axes.mean((x - mean).square()),
    wrong("unbiased-variance-normalizes",
          lambda x, mean, axes: _squares(x, mean, axes) / (axes.count(x) - 1),
          "It normalizes with the unbiased variance (a sum divided by n - 1), not with the biased "
          "one (divided by n).",
          "Use x.var(..., unbiased=False), or ((x - mean) ** 2).mean(...): by default, torch's "
          "`var` is unbiased."),
    wrong("variance-not-centred", lambda x, mean, axes: axes.mean(x.square()),
          "The variance is the mean of x², with no mean subtracted."),
    wrong("variance-not-divided", _squares,
          "The variance is a sum of squares that is not divided by the number of values.",
          "Use ((x - mean) ** 2).mean(...), not .sum(...)."),
    wrong("deviation-as-variance",
          lambda x, mean, axes: axes.mean((x - mean).square()).sqrt(),
          "The standard deviation is used in place of the variance, so the root is taken twice.",
          "Use .var(...), not .std(...), under the root; or divide by std without another root."),
    wrong("absolute-deviation-as-variance",
          lambda x, mean, axes: axes.mean((x - mean).abs()),
          "The mean of |x - mean| is used in place of the variance."),
    *(Choice(_squared_range(per_deviation), RANGE, rare=True) for per_deviation in (
        lambda n: 2 * _normal_extreme(n), lambda n: _normal_extreme(n),
        lambda n: 2.0, lambda n: 1.0)),
    fix="Use ((x - mean) ** 2).mean(...).",
)

OF_A_BATCH: tuple[Choice[Spread], ...] = choices(
    SPREAD[0],
    *SPREAD[1:],
    wrong("variance-divided-by-batch-alone",
          lambda x, mean, axes: _squares(x, mean, axes) / x.shape[0],
          "The sum of squares is divided by the batch size, not by all values of a channel.",
          "Use ((x - mean) ** 2).mean(...), or divide by N * H * W."),
    wrong("variance-within-images", _within_images,
          "The variance is the mean of the variances within each image: the differences between "
          "the means of the images are missing from it.",
          "Take one variance over batch and positions: dimensions (0, 2, 3) for (N, C, H, W)."),
    fix="Use ((x - mean) ** 2).mean(...).",
)
"""The ways to compute the variance of a batch, whose values lie in several images."""
# fmt: on
