"""The mean square of RMS normalization, which subtracts no mean.

    y = gamma * x / sqrt(mean(x^2) + eps)

(Zhang & Sennrich 2019, section 3.)
"""

from bnrun.verification.fault import Choice, Fault, choices, wrong
from bnrun.verification.formula.normalization import Centring
from bnrun.verification.formula.spread import Spread

# fmt: off
MEAN_SUBTRACTED = Fault(
    "mean-subtracted",
    "The mean is subtracted: that is layer normalization. RMS normalization divides x itself by "
    "the root of its mean square.",
    "Use x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + eps).")
MEAN_SQUARE: tuple[Choice[Spread], ...] = choices(
    lambda x, mean, axes: axes.mean(x.square()),
    Choice(lambda x, mean, axes: axes.mean((x - mean).square()), MEAN_SUBTRACTED),
    wrong("unbiased-variance-for-mean-square",
          lambda x, mean, axes: axes.sum((x - mean).square()) / (axes.count(x) - 1),
          "It divides by the unbiased standard deviation (x.std()), not by the root of the mean "
          "square."),
    wrong("mean-square-not-divided", lambda x, mean, axes: axes.sum(x.square()),
          "The mean square is a sum of squares that is not divided by the number of values: x has "
          "the length 1 afterwards.",
          "Use (x ** 2).mean(-1, ...), not .sum(...) or .norm(); or divide by the number of "
          "values."),
    wrong("mean-square-divided-by-one-less",
          lambda x, mean, axes: axes.sum(x.square()) / (axes.count(x) - 1),
          "The sum of squares is divided by n - 1, not by n: no mean is subtracted, so there is "
          "nothing to correct."),
    wrong("mean-of-root-squares", lambda x, mean, axes: axes.mean(x.square()).sqrt(),
          "The root of the mean square is used in place of the mean square, so the root is taken "
          "twice."),
    wrong("mean-of-absolute-values", lambda x, mean, axes: axes.mean(x.abs()).square(),
          "It divides by the mean of |x|, not by the root of the mean square."),
    wrong("square-of-mean", lambda x, mean, axes: mean.square(),
          "It squares the mean; the mean of the squares is right."),
    fix="Use (x ** 2).mean(-1, keepdim=True).",
)
"""The ways to compute the mean square of RMS normalization."""

CENTRING: tuple[Choice[Centring], ...] = (
    Choice(lambda x, mean: x), Choice(lambda x, mean: x - mean, MEAN_SUBTRACTED))
# fmt: on
