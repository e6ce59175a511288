"""Over which dimensions of its input a norm takes its statistics, by its output.

Its output, with gamma and beta taken off, is compared with the input normalized over each set of
dimensions that a norm may use. What fits is what it does, whatever its class is called.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.health.evidence import NormKind

FITS = 0.01
"""Largest root mean square of the difference at which a set of dimensions explains an output."""
SMALLEST_GAMMA = 1e-3
"""Channels with a gamma below this share of the largest one are left out: they divide by it."""
MOST_GROUPS = 64


@dataclass(frozen=True)
class Axes:
    """The dimensions, and into how many groups of channels dimension 1 is cut."""

    over: tuple[int, ...]
    groups: int = 1


def find_axes(
    x: Tensor,
    y: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    groups: int,
    kind: NormKind = "batch",
) -> Axes | None:
    """Return the dimensions that explain an output; None where none do.

    Of an input that is normalized already, several may. Those that the kind of norm promises count
    first.

    Args:
        x, y: input and output, of one shape (N, ...), at least 2 dimensions.
        gamma, beta: vectors of one size, or None.
        eps: added to the variance.
        groups: the number of groups that the norm says it has; 1 without.
        kind: what the norm is meant to be.
    """
    if x.shape != y.shape or x.dim() < 2:
        return None
    x, y = x.detach().double(), y.detach().double()
    for z, kept in _without_affine(x, y, gamma, beta):
        for axes in _candidates(x.dim(), groups, kind):
            for centred in (True, False):
                expected = _normalized(x, axes, eps, centred)
                if expected is None:
                    continue
                error = (z - expected)[kept.expand_as(z)].square().mean().sqrt()
                if float(error) <= FITS:
                    return axes
    return None


def _without_affine(
    x: Tensor, y: Tensor, gamma: Tensor | None, beta: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the output without gamma and beta, and where that says something.

    The vectors may lie along dimension 1 or along the last ones.
    """
    vector = gamma if gamma is not None else beta
    if vector is None:
        yield y, torch.ones_like(y, dtype=torch.bool)
        return
    for shape in _shapes(x, vector.numel()):
        scale, shift = (
            torch.full(shape, start, dtype=y.dtype, device=y.device)
            if one is None
            else one.detach().to(y.device, y.dtype).reshape(shape)
            for one, start in ((gamma, 1.0), (beta, 0.0))
        )
        kept = scale.abs() > SMALLEST_GAMMA * scale.abs().max()
        if bool(kept.any()):
            yield (y - shift) / torch.where(kept, scale, torch.ones_like(scale)), kept


def _shapes(x: Tensor, numel: int) -> list[tuple[int, ...]]:
    """Return the shapes in which a vector of so many values may broadcast over an input."""
    shapes: list[tuple[int, ...]] = []
    if x.shape[1] == numel:
        shapes.append((1, numel, *[1] * (x.dim() - 2)))
    if x.shape[-1] == numel:
        shapes.append((numel,))
    if x[0].numel() == numel:
        shapes.append(tuple(x.shape[1:]))
    return list(dict.fromkeys(shapes))


def _candidates(rank: int, groups: int, kind: NormKind) -> list[Axes]:
    positions = tuple(range(2, rank))
    over_batch = [(0, *positions), tuple(range(rank - 1)), (0,)]
    over_features = [(rank - 1,), tuple(range(1, rank)), (1,), positions]
    by_kind = over_batch + over_features if kind == "batch" else over_features + over_batch
    sets = [positions, *by_kind] if kind == "instance" else by_kind
    found = [Axes(one) for one in dict.fromkeys(sets) if one]
    grouped = [Axes((1, *positions), groups)] if 1 < groups <= MOST_GROUPS else []
    return grouped + found


def _normalized(x: Tensor, axes: Axes, eps: float, centred: bool) -> Tensor | None:
    """Return the input normalized over some dimensions; None where that is not defined."""
    over = axes.over
    values = x
    if axes.groups > 1:
        if x.shape[1] % axes.groups:
            return None
        values = x.reshape(x.shape[0], axes.groups, -1)
        over = (2,)
    if all(values.shape[one] == 1 for one in over):
        return None
    mean = values.mean(over, keepdim=True) if centred else 0.0
    spread = (values - mean).square().mean(over, keepdim=True)
    normalized: Tensor = (values - mean) / (spread + eps).sqrt()
    return normalized.reshape(x.shape)
