"""Which statistics normalize, and how a batch's own are taken: right, then as people get it wrong.

(Ioffe & Szegedy 2015, Algorithm 1.) The first of each list is right. mean and var broadcast over x.
"""

import math
from collections.abc import Callable

from torch import Tensor

from bnrun.verification.known.fault import Choice, Fault

Dims = tuple[int, ...]
Pair = tuple[Tensor, Tensor]  # mean and variance


def count(x: Tensor, dims: Dims) -> int:
    """Return how many values a mean over these dimensions takes in."""
    return math.prod(x.shape[dim] for dim in dims)


# ---- over which dimensions of x the batch's mean and variance are taken, by its rank


def _positions(rank: int) -> Dims:
    return tuple(range(2, rank))


OVER: tuple[Choice[Callable[[int], Dims]], ...] = (
    Choice(lambda rank: (0, *_positions(rank))),
    Choice(
        lambda rank: (0,),
        Fault(
            "statistics-over-batch-alone",
            "Mean and variance are taken over the batch alone, separately for each position; a "
            "channel of an image shares one mean and one variance over all its positions.",
            "Take both over every dimension but 1: (0, 2, 3) for (N, C, H, W).",
        ),
    ),
    Choice(
        lambda rank: _positions(rank) or (0,),
        Fault(
            "statistics-per-image",
            "Mean and variance are taken for each image by itself: that is instance normalization.",
            "Take them over the batch too: dimensions (0, 2, 3) for (N, C, H, W).",
        ),
    ),
    Choice(
        lambda rank: tuple(range(1, rank)),
        Fault(
            "statistics-per-example",
            "Mean and variance are taken over the channels of each example: that is layer "
            "normalization.",
            "Take them for each channel, over the batch: dimension 0 for (N, C), and (0, 2, 3) "
            "for (N, C, H, W).",
        ),
    ),
    Choice(
        lambda rank: tuple(range(rank)),
        Fault(
            "statistics-over-everything",
            "One mean and one variance are taken over the whole input, channels included.",
            "Take them for each channel: over dimension 0 for (N, C), and (0, 2, 3) for "
            "(N, C, H, W).",
        ),
    ),
    *(
        Choice(
            leave_out,
            Fault(
                "statistics-miss-a-dimension",
                f"Mean and variance leave out the {which} dimension of the input: each {each} has "
                "its own.",
                "Take them over every dimension but 1: (0, 2, 3) for (N, C, H, W).",
            ),
        )
        for leave_out, which, each in (
            (lambda rank: (0, *_positions(rank)[:-1]), "last", "column"),
            (lambda rank: (0, *_positions(rank)[1:]), "third", "row"),
        )
    ),
)

# ---- the batch's variance, from x and its mean


def _about_own_image(x: Tensor) -> Tensor:
    positions = _positions(x.dim())
    return x - x.mean(positions or (0,), keepdim=True)


SPREAD: tuple[Choice[Callable[[Tensor, Tensor, Dims], Tensor]], ...] = (
    Choice(lambda x, mean, dims: (x - mean).square().mean(dims, keepdim=True)),
    Choice(
        lambda x, mean, dims: (x - mean).square().sum(dims, keepdim=True) / (count(x, dims) - 1),
        Fault(
            "unbiased-variance-normalizes",
            "It normalizes with the unbiased variance of the batch (a sum divided by n - 1); batch "
            "normalization takes the biased one (divided by n).",
            "Use x.var(..., unbiased=False), or ((x - mean) ** 2).mean(...): torch's `var` is "
            "unbiased unless told.",
        ),
    ),
    Choice(
        lambda x, mean, dims: x.square().mean(dims, keepdim=True),
        Fault(
            "variance-not-centred",
            "The variance is the mean of x², with no mean subtracted.",
            "Use ((x - mean) ** 2).mean(...).",
        ),
    ),
    Choice(
        lambda x, mean, dims: (x - mean).square().sum(dims, keepdim=True),
        Fault(
            "variance-not-divided",
            "The variance is a sum of squares that is not divided by the number of values.",
            "Use ((x - mean) ** 2).mean(...), not .sum(...).",
        ),
    ),
    Choice(
        lambda x, mean, dims: (x - mean).square().sum(dims, keepdim=True) / x.shape[0],
        Fault(
            "variance-divided-by-batch-alone",
            "The sum of squares is divided by the batch size, not by all values of a channel.",
            "Use ((x - mean) ** 2).mean(...), or divide by N * H * W.",
        ),
    ),
    Choice(
        lambda x, mean, dims: _about_own_image(x).square().mean(dims, keepdim=True),
        Fault(
            "variance-within-images",
            "The variance is the mean of each image's own: how far images lie apart is not in it.",
            "Take one variance over batch and positions: dimensions (0, 2, 3) for (N, C, H, W).",
        ),
    ),
    Choice(
        lambda x, mean, dims: (x - mean).square().mean(dims, keepdim=True).sqrt(),
        Fault(
            "deviation-as-variance",
            "The standard deviation stands where the variance belongs, so the root is taken twice.",
            "Use .var(...), not .std(...), under the root; or divide by std without another root.",
        ),
    ),
    Choice(
        lambda x, mean, dims: (x - mean).abs().mean(dims, keepdim=True),
        Fault(
            "absolute-deviation-as-variance",
            "The mean of |x - mean| stands where the variance belongs.",
            "Square the differences: ((x - mean) ** 2).mean(...).",
        ),
    ),
)

# ---- which statistics normalize: the batch's own, the moving ones, or those already moved by it

Source = Callable[[Pair, Pair, Pair], Pair]

BY_BATCH: Choice[Source] = Choice(
    lambda own, held, moved: own,
    Fault(
        "predicts-with-batch",
        "When predicting it normalizes with the statistics of the batch at hand, not with the "
        "moving ones: a prediction then depends on what else is in its batch.",
        "Use the moving mean and variance when not training.",
    ),
)
BY_MOVING: Choice[Source] = Choice(
    lambda own, held, moved: held,
    Fault(
        "trains-with-moving",
        "In training it normalizes with the moving statistics, not with those of the batch.",
        "Use the batch's mean and variance in training; the moving ones are for predicting.",
    ),
)
TRAINING_SOURCE: tuple[Choice[Source], ...] = (
    BY_BATCH,
    BY_MOVING,
    Choice(
        lambda own, held, moved: moved,
        Fault(
            "trains-with-moved",
            "In training it normalizes with the moving statistics that it has just updated, not "
            "with those of the batch.",
            "Normalize with the batch's own mean and variance; the moving ones are for predicting.",
        ),
    ),
    Choice(
        lambda own, held, moved: (moved[0], own[1]),
        Fault(
            "trains-with-moved-mean",
            "In training it divides by the batch's variance but subtracts the moving mean that it "
            "has just updated.",
            "Subtract the batch's own mean in training.",
        ),
    ),
    Choice(
        lambda own, held, moved: (own[0], held[1]),
        Fault(
            "trains-with-moving-variance",
            "In training it subtracts the batch's mean but divides by the moving variance.",
            "Use the batch's variance in training too.",
        ),
    ),
    Choice(
        lambda own, held, moved: (held[0], own[1]),
        Fault(
            "trains-with-moving-mean",
            "In training it divides by the batch's variance but subtracts the moving mean.",
            "Use the batch's mean in training too.",
        ),
    ),
)
PREDICTING_SOURCE: tuple[Choice[Source], ...] = (
    BY_MOVING,
    BY_BATCH,
    Choice(
        lambda own, held, moved: (own[0], held[1]),
        Fault(
            "predicts-with-batch-mean",
            "When predicting it subtracts the mean of the batch at hand, not the moving mean.",
            "Subtract the moving mean when not training.",
        ),
    ),
    Choice(
        lambda own, held, moved: (held[0], own[1]),
        Fault(
            "predicts-with-batch-variance",
            "When predicting it divides by the variance of the batch at hand, not by the moving "
            "variance.",
            "Use the moving variance when not training.",
        ),
    ),
    Choice(
        lambda own, held, moved: (held[1], held[0]),
        Fault(
            "moving-statistics-swapped-in-use",
            "When predicting, moving mean and moving variance have changed places.",
            "Subtract the moving mean, and divide by the root of the moving variance plus eps.",
        ),
    ),
)
