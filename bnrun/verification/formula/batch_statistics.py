"""What the batch's statistics are taken over, and which statistics normalize.

(Ioffe & Szegedy 2015, Algorithm 1.) mean and var have a shape that broadcasts over x.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from bnrun.verification.fault import Choice, Fault, choices, wrong
from bnrun.verification.formula.axes import Axes, Dims
from bnrun.verification.formula.modes import MOVES_WHEN_PREDICTING

EPS = 1e-5

Pair = tuple[Tensor, Tensor]  # mean and variance
Source = Callable[[Pair, Pair, Pair], Pair]  # from own, moving and updated statistics


def _positions(rank: int) -> Dims:
    return tuple(range(2, rank))


@dataclass(frozen=True)
class Renormalized:
    """Batch renormalization: x_hat * r + d, in which r and d are constants in gradients.

    r is at most `r_max` and at least 1 / r_max, and |d| is at most `d_max`.
    """

    r_max: float = 3.0
    d_max: float = 5.0

    def __call__(self, own: Pair, moving: Pair, updated: Pair) -> Pair:
        """Return the pair that normalizes as it does."""
        (mean, var), (moving_mean, moving_var) = own, moving
        deviation, spread = (var + EPS).sqrt(), (moving_var + EPS).sqrt()
        r = (deviation / spread).clamp(1 / self.r_max, self.r_max).detach()
        d = ((mean - moving_mean) / spread).clamp(-self.d_max, self.d_max).detach()
        return mean - d * deviation / r, (deviation / r).square() - EPS


# fmt: off
# The dimensions of x that the batch's mean and variance are taken over
OVER: tuple[Choice[Axes], ...] = choices(
    Axes(lambda rank: (0, *_positions(rank))),
    wrong("statistics-over-batch-alone", Axes(lambda rank: (0,)),
          "Mean and variance are taken over the batch dimension alone, separately for each "
          "position; a channel of an image has one mean and one variance for all its positions."),
    wrong("statistics-per-image", Axes(lambda rank: _positions(rank) or (0,)),
          "Mean and variance are taken for each image separately: that is instance normalization.",
          "Take them over the batch too: dimensions (0, 2, 3) for (N, C, H, W)."),
    wrong("statistics-per-example", Axes(lambda rank: tuple(range(1, rank))),
          "Mean and variance are taken over the channels of each example: that is layer "
          "normalization."),
    wrong("statistics-over-everything", Axes(lambda rank: tuple(range(rank))),
          "One mean and one variance are taken over the whole input, channels included."),
    wrong("statistics-miss-a-dimension", Axes(lambda rank: (0, *_positions(rank)[:-1])),
          "Mean and variance leave out the last dimension of the input: each column has its own."),
    wrong("statistics-miss-a-dimension", Axes(lambda rank: (0, *_positions(rank)[1:])),
          "Mean and variance leave out the third dimension of the input: each row has its own."),
    fix="Take both over every dimension but 1: (0,) for (N, C), and (0, 2, 3) for (N, C, H, W).",
)

# Into how many parts the batch is split, each with statistics of its own
IN_PARTS = Fault(
    "statistics-of-parts",
    "In training, the batch is split, and each part is normalized by its own mean and variance: "
    "that is ghost batch normalization.",
    "Take mean and variance of the whole batch.")
PARTS: tuple[Choice[int], ...] = (
    Choice(1), *(Choice(parts, IN_PARTS, rare=True) for parts in (2, 3)))

# Which statistics normalize: the batch's own, the moving ones, or those updated by this batch
BY_BATCH: Choice[Source] = wrong(
    "predicts-with-batch", lambda own, moving, updated: own,
    "When predicting, it normalizes with the statistics of the current batch, not with the moving "
    "ones: a prediction then depends on what else is in its batch.",
    "Use the moving mean and variance when not training.")
BY_MOVING: Choice[Source] = wrong(
    "trains-with-moving", lambda own, moving, updated: moving,
    "In training, it normalizes with the moving statistics, not with those of the batch.",
    "Use the batch's mean and variance in training; the moving ones are for predicting.")
BY_MOVED: Choice[Source] = Choice(lambda own, moving, updated: updated, MOVES_WHEN_PREDICTING)
RENORMALIZES = Fault(
    "renormalizes",
    "In training, the output is corrected by the moving statistics (batch renormalization), from "
    "the first step on, when they are still far from the data.",
    "Use the batch's own statistics; or, for batch renormalization, raise r_max from 1 and d_max "
    "from 0 in the first steps.")
BY_EXAMPLE: Choice[Source] = wrong(
    "predicts-with-batch", BY_BATCH.value,
    "When predicting, too, it normalizes each example with its own statistics, not with the moving "
    "ones.",
    "Use the moving mean and variance when not training.")
TRAINING_SOURCE: tuple[Choice[Source], ...] = choices(
    BY_BATCH,
    BY_MOVING,
    wrong("trains-with-moved", lambda own, moving, updated: updated,
          "In training, it normalizes with the moving statistics that it has just updated, not "
          "with those of the batch."),
    wrong("trains-with-moved-mean", lambda own, moving, updated: (updated[0], own[1]),
          "In training, it divides by the batch's variance but subtracts the moving mean that it "
          "has just updated."),
    wrong("trains-with-moving-variance", lambda own, moving, updated: (own[0], moving[1]),
          "In training, it subtracts the batch's mean but divides by the moving variance."),
    wrong("trains-with-moving-mean", lambda own, moving, updated: (moving[0], own[1]),
          "In training, it divides by the batch's variance but subtracts the moving mean."),
    Choice(Renormalized(), RENORMALIZES, rare=True),
    fix="Use the batch's own mean and variance in training; the moving ones are for predicting.",
)
PREDICTING_SOURCE: tuple[Choice[Source], ...] = choices(
    BY_MOVING,
    BY_BATCH,
    wrong("predicts-with-batch-mean", lambda own, moving, updated: (own[0], moving[1]),
          "When predicting, it subtracts the mean of the current batch, not the moving mean."),
    wrong("predicts-with-batch-variance", lambda own, moving, updated: (moving[0], own[1]),
          "When predicting, it divides by the variance of the current batch, not by the moving "
          "variance."),
    wrong("moving-statistics-swapped-in-use", lambda own, moving, updated: (moving[1], moving[0]),
          "When predicting, moving mean and moving variance are swapped."),
    BY_MOVED,
    fix="When not training, subtract the moving mean, and divide by the root of the moving "
    "variance plus eps.",
)


def renormalizing(outputs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Choice[Source], ...]:
    """Return batch renormalization with the limits of r and d that outputs show, if they do.

    Args:
        outputs: pairs of x and of an output before gamma and beta, of shape (N, C, ...).
    """
    r_max, d_max = 1.0, 0.0
    for x, y in outputs:
        rows_x, rows_y = (values.transpose(0, 1).flatten(1) for values in (x, y))
        centred = rows_x - rows_x.mean(1, keepdim=True)
        x_hat = centred / (centred.square().mean(1, keepdim=True) + EPS).sqrt()
        r = (x_hat * rows_y).sum(1) / x_hat.square().sum(1)
        r_max = max(r_max, float(r.max()), 1 / max(float(r.min()), 1e-9))
        d_max = max(d_max, float(rows_y.mean(1).abs().max()))
    if not math.isfinite(r_max + d_max):
        return ()
    r_max, d_max = (
        short if math.isclose(short := float(f"{limit:.6g}"), limit, rel_tol=1e-9) else limit
        for limit in (r_max, d_max)
    )
    return (Choice(Renormalized(r_max, d_max), RENORMALIZES, rare=True),)
