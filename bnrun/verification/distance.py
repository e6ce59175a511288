"""How far observed numbers lie from expected ones."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
"""Quantities by name: y; d_x, d_gamma, d_beta; moving_mean, moving_var."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""The largest distance that counts as rounding, by the dtype of the inputs."""

LABELS = {
    "y": "y",
    "d_y": "the gradient of y",
    "d_x": "the gradient of x",
    "d_gamma": "the gradient of gamma",
    "d_beta": "the gradient of beta",
    "moving_mean": "moving mean",
    "moving_var": "moving variance",
}
DIGITS = (6, 9, 17)
"""Significant digits: the fewest of these that show two numbers to differ."""


def distance(observed: Tensor, expected: Tensor) -> float:
    """Return the largest difference, in units of the largest expected value, or of 1.

    It is infinite where shapes differ, and where values that are not finite differ.
    """
    if observed.shape != expected.shape:
        return math.inf
    if expected.numel() and math.isfinite(difference := float((observed - expected).abs().max())):
        return difference / max(1.0, float(expected.abs().max()))  # all values are finite
    finite = expected.isfinite()
    if not torch.equal(observed.isfinite(), finite):
        return math.inf
    if not torch.equal(observed[~finite].nan_to_num(), expected[~finite].nan_to_num()):
        return math.inf
    observed, expected = observed[finite], expected[finite]
    if observed.numel() == 0:
        return 0.0
    return float((observed - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def largest_distance(observed: Tensors, expected: Tensors) -> float:
    """Return the largest distance among the quantities that both have."""
    common = observed.keys() & expected.keys()
    return max((distance(observed[name], expected[name]) for name in common), default=0.0)


def worst_difference(observed: Tensors, expected: Tensors) -> str:
    """Return where the quantity that is furthest off differs most, and by what."""
    worst = max(
        (name for name in observed if name in expected),
        key=lambda name: distance(observed[name], expected[name]),
    )
    ours, right = observed[worst], expected[worst]
    label = LABELS.get(worst, worst)
    if ours.shape != right.shape:
        return f"{label} has the shape {tuple(ours.shape)}, not {tuple(right.shape)}"
    off = torch.where(ours == right, 0.0, ours - right).abs()  # of two infinities, too
    off = torch.where(ours.isnan() & right.isnan(), 0.0, off).nan_to_num(torch.inf)
    index = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))
    one, other = float(ours[index]) + 0.0, float(right[index]) + 0.0  # adding 0 turns -0 into 0
    digits = next(n for n in DIGITS if f"{one:.{n}g}" != f"{other:.{n}g}" or n == DIGITS[-1])
    return f"{label}{list(index)} is {one:.{digits}g}, expected {other:.{digits}g}"
