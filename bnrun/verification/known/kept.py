"""What the moving statistics keep of a batch: right, then as people get it wrong.

    moving_mean <- 0.9 * moving_mean + 0.1 * mean
    moving_var  <- 0.9 * moving_var  + 0.1 * var * n / (n - 1)

(PyTorch's; the unbiased variance is Ioffe & Szegedy 2015, Algorithm 2, step 10.) The first of each
list is PyTorch's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bnrun.verification.known.fault import Choice, Fault


@dataclass(frozen=True)
class Seen:
    """What one batch has to offer, by channel.

    `n` counts the values per channel, `batch` the examples and `positions` those of an image;
    `squares` is the mean of x², and
    `about_moving` the mean of (x - moving mean)².
    """

    mean: Tensor
    var: Tensor  # biased
    n: int
    batch: int
    squares: Tensor
    about_moving: Tensor
    eps: float

    @property
    def positions(self) -> int:
        """Return how many values of a channel each example has."""
        return self.n // self.batch


Kept = Callable[[Seen], Tensor]

_SWAPPED = Fault(
    "moving-statistics-swapped",
    "The updates of moving mean and moving variance have changed places: one moves towards what "
    "the other should.",
    "Move the moving mean towards the batch's mean, the moving variance towards its variance.",
)

KEPT_MEAN: tuple[Choice[Kept], ...] = (
    Choice(lambda seen: seen.mean),
    Choice(lambda seen: seen.var, _SWAPPED),
    Choice(lambda seen: seen.var * seen.n / (seen.n - 1), _SWAPPED),
)

UNBIASED: Choice[Kept] = Choice(
    lambda seen: seen.var * seen.n / (seen.n - 1),
    Fault(
        "unbiased-moving-variance",
        "The moving variance keeps the unbiased variance of each batch (divided by n - 1); the "
        "textbook keeps the biased one, smaller by (n - 1)/n.",
        "Keep the variance that normalizes, ((x - mean) ** 2).mean(...).",
        "PyTorch, and Ioffe & Szegedy 2015, Algorithm 2",
    ),
)
BIASED: Choice[Kept] = Choice(
    lambda seen: seen.var,
    Fault(
        "biased-moving-variance",
        "The moving variance equals the biased variance of each batch (divided by n); PyTorch "
        "keeps the unbiased one, larger by n/(n - 1).",
        "Multiply the variance by n / (n - 1) where it is kept, n being the values per channel, if "
        "predictions are to equal those of PyTorch's layer.",
        "Flax, Keras and the textbook",
    ),
)
_KEEP_VARIANCE = "Keep the variance of the batch, times n / (n - 1) for the unbiased one."

KEPT_VAR: tuple[Choice[Kept], ...] = (
    UNBIASED,
    BIASED,
    Choice(
        lambda seen: seen.var.sqrt(),
        Fault(
            "moving-variance-keeps-deviation",
            "The moving variance keeps the batch's standard deviation, not its variance.",
            _KEEP_VARIANCE,
        ),
    ),
    Choice(
        lambda seen: (seen.var * seen.n / (seen.n - 1)).sqrt(),
        Fault(
            "moving-variance-keeps-deviation",
            "The moving variance keeps the batch's standard deviation, not its variance.",
            _KEEP_VARIANCE,
        ),
    ),
    Choice(
        lambda seen: seen.var * seen.batch / (seen.batch - 1),
        Fault(
            "moving-variance-counts-batch-alone",
            "The moving variance is corrected by N/(N - 1) with the batch size N; the count is "
            "that of all values of a channel, N * H * W for images.",
            "Use n = x.numel() / x.shape[1] in n / (n - 1).",
        ),
    ),
    Choice(
        lambda seen: (
            seen.var * seen.positions / (seen.positions - 1)
            if seen.positions > 1
            else seen.var * seen.n / (seen.n - 1)
        ),
        Fault(
            "moving-variance-counts-positions-alone",
            "The moving variance is corrected by m/(m - 1) with m = H * W; the count is that of "
            "all values of a channel, N * H * W.",
            "Use n = x.numel() / x.shape[1] in n / (n - 1).",
        ),
    ),
    Choice(
        lambda seen: seen.var * (seen.n - 1) / seen.n,
        Fault(
            "moving-variance-correction-inverted",
            "The correction of the moving variance is upside down: the biased variance is "
            "multiplied by (n - 1)/n.",
            "Multiply the biased variance by n / (n - 1).",
        ),
    ),
    Choice(
        lambda seen: seen.var * (seen.n / (seen.n - 1)) ** 2,
        Fault(
            "moving-variance-corrected-twice",
            "The moving variance is corrected twice: an unbiased variance is multiplied by "
            "n/(n - 1) again.",
            "torch's `var` is unbiased unless told otherwise: correct it once.",
        ),
    ),
    Choice(
        lambda seen: seen.var + seen.eps,
        Fault(
            "moving-variance-holds-eps",
            "The moving variance keeps var + eps, and eps is added again when predicting.",
            "Keep the variance without eps.",
        ),
    ),
    Choice(
        lambda seen: 1 / (seen.var + seen.eps).sqrt(),
        Fault(
            "moving-variance-keeps-inverse",
            "The moving variance keeps 1 / sqrt(var + eps), not the variance.",
            _KEEP_VARIANCE,
        ),
    ),
    Choice(
        lambda seen: seen.squares,
        Fault(
            "moving-variance-not-centred",
            "The moving variance keeps the mean of x², with no mean subtracted.",
            _KEEP_VARIANCE,
        ),
    ),
    Choice(
        lambda seen: seen.about_moving,
        Fault(
            "moving-variance-about-moving-mean",
            "The moving variance is taken about the moving mean, not about the batch's own.",
            "Use ((x - mean) ** 2) with the batch's mean.",
        ),
    ),
    Choice(lambda seen: seen.mean, _SWAPPED),
)
