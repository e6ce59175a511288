"""The mean square of RMS normalization, which subtracts no mean.

    y = gamma * x / sqrt(mean(x^2) + eps)

(Zhang & Sennrich 2019, section 3.)
"""

from torch import Tensor

from bnrun.verification.fault import Choice, Fault, choices, wrong
from bnrun.verification.formula import gradients, normalization
from bnrun.verification.formula.gradients import BackwardPass, Gradient
from bnrun.verification.formula.normalization import Centring, Denominator
from bnrun.verification.formula.spread import Spread


def _scaled(p: BackwardPass) -> Tensor:
    return p.gamma * p.g


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

BY_LENGTH: Choice[Denominator] = wrong(
    "length-with-floor", lambda square, eps: square.clamp(min=eps**2).sqrt(),
    "x is divided by its length and multiplied by the root of the number of values; eps is not "
    "added, but a lower bound of the length.",
    "Use torch.rsqrt((x ** 2).mean(-1, keepdim=True) + eps).",
    "x-transformers and many others, by F.normalize(x, dim=-1) * dim ** 0.5; and ScaleNorm")
OUTSIDE: Choice[Denominator] = wrong(
    "eps-outside-root", normalization.OUTSIDE.value,
    "eps is added outside the root: it divides by sqrt(mean(x²)) + eps.",
    "Divide by sqrt(mean(x²) + eps).",
    "Zhang and Sennrich's code, of the paper")
DENOMINATOR: tuple[Choice[Denominator], ...] = (
    normalization.DENOMINATOR[0], BY_LENGTH, OUTSIDE,
    *(one for one in normalization.DENOMINATOR[1:] if one is not normalization.OUTSIDE))
CENTRING: tuple[Choice[Centring], ...] = (
    Choice(lambda x, mean: x), Choice(lambda x, mean: x - mean, MEAN_SUBTRACTED))
X_GRADIENT: tuple[Choice[Gradient], ...] = choices(
    lambda p: p.d_x(),
    wrong("gradient-takes-mean-square-as-constant", lambda p: p.d_x(("var",)),
          "The gradient of x treats the mean square as a constant: the term - x_hat * mean(g * "
          "x_hat) is missing."),
    wrong("gradient-scaled-after-means",
          lambda p: p.gamma / p.denominator * (p.g - p.x_hat * p.mean(p.g * p.x_hat)),
          "In the gradient of x, gamma multiplies last; g must be multiplied by gamma before the "
          "mean is taken."),
    wrong("gradient-of-x-as-layer-norm",
          lambda p: (_scaled(p) - p.mean(_scaled(p)) - p.x_hat * p.mean(_scaled(p) * p.x_hat))
          / p.denominator,
          "The gradient of x has a term - mean(g), which belongs to layer normalization."),
    *(one for one in gradients.X_GRADIENT if one.fault is not None and one.fault.name in (
        "gradient-of-x-misses-gamma", "gradient-of-x-misses-root",
        "gradient-of-x-misses-normalization", "no-gradient-of-x")),
    fix="With h = gamma * g: d_x = (h - x_hat * mean(h * x_hat)) / sqrt(mean(x²) + eps).",
)
# fmt: on
