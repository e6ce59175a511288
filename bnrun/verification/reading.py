"""Moving statistics that go by no known name, read from predictions.

When predicting, y = gamma * (x - mean) / sqrt(var + eps) + beta: a straight line for each channel.
With gamma and beta known, its slope and its height are the moving mean, and the variance plus eps.
"""

import torch
from torch import Tensor

LARGEST_RESIDUAL = 1e-9
"""The largest distance from a straight line, relative to the largest output."""
LARGEST_EPS = 0.02
"""The largest excess of the variance that a new layer starts with over 1, to be its eps."""

Reading = tuple[Tensor, Tensor]
"""The moving mean, and the moving variance plus eps, each of shape (C,)."""


def read(x: Tensor, y: Tensor, gamma: Tensor, beta: Tensor) -> Reading | None:
    """Return the statistics that a prediction y of x was made with; None if it is no line.

    x and y have the shape (N, C, ...), gamma and beta (C,), all in float64.
    """
    rows_x, rows_y = (values.transpose(0, 1).flatten(1) for values in (x, y))
    centred_x = rows_x - rows_x.mean(1, keepdim=True)
    centred_y = rows_y - rows_y.mean(1, keepdim=True)
    slope = (centred_x * centred_y).sum(1) / centred_x.square().sum(1)
    residual = (centred_y - slope[:, None] * centred_x).abs().max()
    if not bool(residual <= LARGEST_RESIDUAL * max(1.0, float(rows_y.abs().max()))):
        return None  # which is so for NaN, too
    height = rows_y.mean(1) - slope * rows_x.mean(1)
    return (beta - height) / slope, (gamma / slope).square()


def initial_eps(before: Reading | None, after: Reading | None) -> float | None:
    """Return eps, from readings of a new layer and of the same after a batch in training.

    None if these are no moving statistics, or none that start at 0 and 1.
    """
    if before is None or after is None or torch.equal(before[0], after[0]):
        return None
    mean, var = before
    excess = float(var.mean()) - 1
    starts = float(mean.abs().max()) <= 1e-6 and float((var - var.mean()).abs().max()) <= 1e-6
    return max(excess, 0.0) if starts and -1e-9 <= excess <= LARGEST_EPS else None
