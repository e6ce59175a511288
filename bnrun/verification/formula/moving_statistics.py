"""How the moving statistics move: towards which target, and how far.

    moving_mean <- (1 - momentum) * moving_mean + momentum * mean
    moving_var  <- (1 - momentum) * moving_var  + momentum * var * n / (n - 1)

This is PyTorch's update, with momentum 0.1; the textbook's momentum of 0.9 weighs the old average,
which is the same. The unbiased variance is Ioffe & Szegedy 2015, Algorithm 2, step 10. The first of
each list is PyTorch's.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor

from bnrun.verification.fault import OF_BATCH, Choice, Fault, choices, wrong
from bnrun.verification.formula.axes import Axes
from bnrun.verification.formula.spread import Spread
from bnrun.verification.situations import per_channel

CACHED_BATCHES = 256
"""Batches whose statistics are cached."""


@dataclass(frozen=True, eq=False)
class BatchSummary:
    """The statistics of one batch, of shape (C,), that a moving statistic may move towards.

    Each is computed when it is asked for: few of the ways to move need them all.

    Attributes:
        x: the batch, of shape (N, C, ...).
        moving_mean: before it.
        axes, spread: how mean and variance are taken.
        eps: what normalizes with.
    """

    x: Tensor
    moving_mean: Tensor
    axes: Axes
    spread: Spread
    eps: float

    @property
    def mean(self) -> Tensor:
        """Return the mean."""
        return _mean(self.x, self.axes)

    @property
    def var(self) -> Tensor:
        """Return the biased variance."""
        return _variance(self.x, self.axes, self.spread)

    @cached_property
    def squares(self) -> Tensor:
        """Return the mean of x²."""
        return _by_channel(self.x.square(), self.x)

    @cached_property
    def about_moving(self) -> Tensor:
        """Return the mean of (x - moving mean)²."""
        return _by_channel((self.x - per_channel(self.moving_mean, self.x)).square(), self.x)

    @property
    def n(self) -> int:
        """Return the number of values per channel."""
        return self.x.numel() // self.x.shape[1]

    @property
    def batch(self) -> int:
        """Return the number of examples."""
        return self.x.shape[0]

    @property
    def positions(self) -> int:
        """Return how many values of a channel each example has."""
        return self.n // self.batch

    @property
    def unbiased(self) -> Tensor:
        """Return the unbiased variance."""
        return self.var * self.n / (self.n - 1)


# The same few batches are summarized for each recipe that a search tries, and for each norm.
@lru_cache(maxsize=CACHED_BATCHES)
def _mean(x: Tensor, axes: Axes) -> Tensor:
    return _by_channel(axes.mean(x), x)


@lru_cache(maxsize=CACHED_BATCHES)
def _variance(x: Tensor, axes: Axes, spread: Spread) -> Tensor:
    return _by_channel(spread(x, axes.mean(x), axes), x)


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    """Average over all dimensions but the channels' of x, as far as the values have them."""
    if values.dim() != x.dim():
        return values.expand(x.shape[1])
    return values.mean([dim for dim in range(values.dim()) if dim != 1]).expand(x.shape[1])


Target = Callable[[BatchSummary], Tensor]
Update = Callable[[Tensor, Tensor, int], Tensor]  # from old, target and the count of batches so far

# fmt: off
# ---- the targets

_SWAPPED = Fault(
    "moving-statistics-swapped",
    "The updates of moving mean and moving variance are swapped: each averages the batch statistic "
    "of the other.",
    "Update the moving mean with the batch's mean, and the moving variance with its variance.")
_DEVIATION = Fault(
    "moving-variance-keeps-deviation",
    "The moving variance averages the batch's standard deviation, not its variance.",
    "Average the variance of the batch, times n / (n - 1) for the unbiased one.")
_COUNT = "Use n = x.numel() / x.shape[1] in n / (n - 1)."

MEAN_TARGET: tuple[Choice[Target], ...] = (
    Choice(lambda batch: batch.mean),
    Choice(lambda batch: batch.var, _SWAPPED),
    Choice(lambda batch: batch.unbiased, _SWAPPED),
)

UNBIASED: Choice[Target] = wrong(
    "unbiased-moving-variance", lambda batch: batch.unbiased,
    "The moving variance averages the unbiased variances of the batches (divided by n - 1); the "
    "textbook averages the biased ones, smaller by (n - 1)/n.",
    "Average the variance that normalizes, ((x - mean) ** 2).mean(...).",
    "PyTorch, and Ioffe & Szegedy 2015, Algorithm 2")
BIASED: Choice[Target] = wrong(
    "biased-moving-variance", lambda batch: batch.var,
    "The moving variance averages the biased variances of the batches (divided by n); PyTorch "
    "averages the unbiased ones, larger by n/(n - 1).",
    "Multiply the variance by n / (n - 1) in the update, n being the number of values per "
    "channel, if predictions should equal those of PyTorch's layer.",
    "Flax, Keras and the textbook")
HOLDS_EPS: Choice[Target] = wrong(
    "moving-variance-holds-eps", lambda batch: batch.var + batch.eps,
    "The moving variance averages var + eps, and eps is added again when predicting.",
    "Average the variance without eps.")
CORRECTED_TWICE: Choice[Target] = wrong(
    "moving-variance-corrected-twice",
    lambda batch: batch.var * (batch.n / (batch.n - 1)) ** 2,
    "The moving variance is corrected twice: an unbiased variance is multiplied by n/(n - 1) "
    "again.",
    "By default, torch's `var` is unbiased: correct it once.")
CORRECTED_DEVIATION: Choice[Target] = wrong(
    "deviation-corrected-as-variance",
    lambda batch: (batch.var + batch.eps) * (batch.n / (batch.n - 1)) ** 2,
    "What is averaged is the standard deviation, not the variance, and it is multiplied by "
    "n/(n - 1), which corrects a variance.",
    "Average the variance times n / (n - 1), and take the root when predicting.")
VAR_TARGET: tuple[Choice[Target], ...] = choices(
    UNBIASED,
    BIASED,
    Choice(lambda batch: batch.var.sqrt(), _DEVIATION),
    Choice(lambda batch: batch.unbiased.sqrt(), _DEVIATION),
    wrong("moving-variance-counts-batch-alone",
          lambda batch: batch.var * batch.batch / (batch.batch - 1),
          "The moving variance is corrected by N/(N - 1) with the batch size N; the right count is "
          "that of all values of a channel, N * H * W for images.", _COUNT),
    wrong("moving-variance-counts-positions-alone",
          lambda batch: (batch.var * batch.positions / (batch.positions - 1)
                         if batch.positions > 1 else batch.unbiased),
          "The moving variance is corrected by m/(m - 1) with m = H * W; the right count is that "
          "of all values of a channel, N * H * W.", _COUNT),
    wrong("moving-variance-correction-inverted",
          lambda batch: batch.var * (batch.n - 1) / batch.n,
          "The correction of the moving variance is upside down: the biased variance is "
          "multiplied by (n - 1)/n.",
          "Multiply the biased variance by n / (n - 1)."),
    CORRECTED_TWICE,
    HOLDS_EPS,
    CORRECTED_DEVIATION,
    wrong("moving-variance-keeps-inverse", lambda batch: 1 / (batch.var + batch.eps).sqrt(),
          "The moving variance averages 1 / sqrt(var + eps), not the variance."),
    wrong("moving-variance-not-centred", lambda batch: batch.squares,
          "The moving variance averages the mean of x², with no mean subtracted."),
    wrong("moving-variance-about-moving-mean", lambda batch: batch.about_moving,
          "The moving variance is taken about the moving mean, not about the batch's own mean.",
          "Use ((x - mean) ** 2) with the batch's mean."),
    Choice(lambda batch: batch.mean, _SWAPPED),
    fix=_DEVIATION.fix,
)

# ---- the updates

_AVERAGE = "Use (1 - momentum) * old + momentum * new, with momentum 0.1."
OTHER_MOMENTUM = Fault(
    "momentum-value",
    "The weight of each new batch in the moving statistics is not 0.1, the value of PyTorch and "
    "the textbook.",
    "Use momentum 0.1 as PyTorch defines it (the weight of the new batch), which is 0.9 as the "
    "textbook does (the weight of the old average).",
    "many: momentum is a free choice")
MOMENTUM_REVERSED = Fault(
    "momentum-reversed",
    "Momentum is the wrong way round: each new batch weighs 0.9 in the moving statistics, and all "
    "earlier ones 0.1.",
    "With PyTorch's momentum of 0.1: (1 - momentum) * old + momentum * new. With the textbook's of "
    "0.9: momentum * old + (1 - momentum) * new.")
NO_AVERAGE = Fault(
    "moving-statistics-no-average",
    "The moving statistics are not an average: the weights of old and new are not between 0 and 1.",
    _AVERAGE)
CHANGING_MOMENTUM = Fault(
    "momentum-changes",
    "The weight of each new batch in the moving statistics changes from batch to batch.",
    "Use the same momentum for every batch, and update with every batch.",
    families=OF_BATCH)
LARGER_AT_FIRST = Fault(
    "momentum-larger-at-first",
    "The first batches weigh more in the moving statistics than 0.1, which momentum falls to.",
    "Use momentum 0.1 from the first batch on.",
    "some, as TensorFlow's moving averages with num_updates",
    families=OF_BATCH)
# fmt: on
WEIGHTS_SHOWN = 5
WEIGHT_DECIMALS = 6  # of a weight that is measured; the rest is rounding
KERAS_WEIGHT = 0.01  # of the new batch, which Keras calls momentum 0.99


Share = Callable[[float, int], float]  # of the k-th batch, from momentum and k


@dataclass(frozen=True)
class Average:
    """A weighted average of old and new, in which momentum decides the share of the new batch."""

    weight: float = 0.1
    share: Share = lambda weight, k: weight

    def __call__(self, old: Tensor, target: Tensor, k: int) -> Tensor:
        """Return the average after the k-th batch."""
        share = self.share(self.weight, k)
        return (1 - share) * old + share * target


def exponential(weight: float) -> Update:
    """Return the exponential average, in which the new batch has this weight."""
    return Average(weight)


def cumulative(old: Tensor, target: Tensor, k: int) -> Tensor:
    """Return the plain average over k batches, the last of which is the target."""
    return old + (target - old) / k


def weight_of(weight: float) -> Choice[Update]:
    """Return another weight of the new batch than PyTorch's 0.1, as a choice.

    Below a half it is a free choice; from there on, momentum is the wrong way round.
    """
    new, old = f"{weight:.4g}", f"{1 - weight:.4g}"
    if not 0 < weight < 1:
        sentence = f"The moving statistics are not an average: a new batch weighs {new}, and the "
        fault = dataclasses.replace(NO_AVERAGE, sentence=f"{sentence}old average {old}.")
    elif weight < 0.5:
        sentence = f"Each new batch weighs {new} in the moving statistics; in PyTorch and the "
        fault = dataclasses.replace(OTHER_MOMENTUM, sentence=f"{sentence}textbook it weighs 0.1.")
        if abs(weight - KERAS_WEIGHT) < 1e-9:
            fault = dataclasses.replace(fault, speakers="Keras and Flax, as momentum 0.99")
    else:
        sentence = f"Momentum is the wrong way round: each new batch weighs {new} in the moving "
        fault = dataclasses.replace(
            MOMENTUM_REVERSED, sentence=f"{sentence}statistics, and all earlier ones {old}."
        )
    return Choice(exponential(weight), fault)


def weights_of(weights: Sequence[float]) -> Choice[Update]:
    """Return weights of the new batch that are not all the same, one for each batch, as a choice.

    Where they fall to 0.1, that is a free choice.
    """
    shown = ", ".join(f"{weight:.4g}" for weight in weights[:WEIGHTS_SHOWN])
    rounded = [round(weight, WEIGHT_DECIMALS) for weight in weights]
    falls = rounded == sorted(rounded, reverse=True) and rounded[-1] == 0.1
    fault = LARGER_AT_FIRST if falls else CHANGING_MOMENTUM
    sentence = f"{fault.sentence.removesuffix('.')}: {shown}, and so on."
    average = Average(share=lambda weight, k: weights[min(k, len(weights)) - 1])
    return Choice(average, dataclasses.replace(fault, sentence=sentence))


# fmt: off
UPDATE: tuple[Choice[Update], ...] = choices(
    exponential(0.1),
    weight_of(0.9),
    wrong("never-moves", exponential(0.0),
          "The moving statistics are never updated.",
          "Assign the new values in training: to self (self.running_mean = ...), or in place "
          "(.copy_, .mul_().add_()); a new local variable of that name is lost."),
    wrong("replaced-by-batch", exponential(1.0),
          "The moving statistics are those of the last batch alone: the old average is dropped."),
    wrong("old-average-not-weighed", lambda old, target, k: old + 0.1 * target,
          "The old average is not multiplied by 0.9: old + 0.1 * new grows with every batch."),
    wrong("new-batch-not-weighed", lambda old, target, k: 0.9 * old + target,
          "The new batch is not multiplied by 0.1: 0.9 * old + new settles at ten times the right "
          "value."),
    wrong("both-weighed-alike", lambda old, target, k: 0.1 * old + 0.1 * target,
          "Old average and new batch are both multiplied by 0.1, so most of the average is lost "
          "with every batch."),
    wrong("moves-twice", exponential(1 - 0.9**2),
          "The moving statistics are updated twice for each batch.",
          "Update them once per forward pass."),
    wrong("cumulative-average", cumulative,
          "The moving statistics are the plain average over all batches so far, not an "
          "exponential one.", _AVERAGE,
          "PyTorch, with momentum=None"),
    wrong("first-batch-initializes",
          Average(share=lambda weight, k: 1.0 if k == 1 else weight),
          "The first batch's statistics replace the initial moving statistics; from the second "
          "batch on they are averaged.",
          "Average the first batch, too: 0.9 * old + 0.1 * new.",
          "some: it starts the average where the data is"),
    wrong("average-without-start",
          Average(share=lambda weight, k: weight / (1 - (1 - weight)**k)),
          "The moving statistics are averages of the batches alone: the initial 0 and 1 have no "
          "weight in them (the sum over batches is divided by 1 - 0.9^k after k batches).",
          "Use (1 - momentum) * old + momentum * new without dividing by 1 - (1 - momentum)**k.",
          "Haiku, Sonnet, and TensorFlow with zero_debias"),
    weight_of(KERAS_WEIGHT),
    fix=_AVERAGE,
)

AVERAGES_DEVIATION: Choice[Update] = wrong(
    "averages-deviation",
    lambda old, target, k: (0.9 * old.clamp(min=0).sqrt() + 0.1 * target.sqrt()) ** 2,
    "What is averaged is the standard deviation, not the variance, so predictions go by the square "
    "of a mean of roots.",
    "Average the variance, and take the root when predicting.")
VAR_UPDATE: tuple[Choice[Update], ...] = (*UPDATE, AVERAGES_DEVIATION)
AVERAGES_CORRECTED: Choice[Update] = Choice(AVERAGES_DEVIATION.value, CORRECTED_DEVIATION.fault)
"""The same, for a deviation that is corrected as a variance: both are one mistake."""
