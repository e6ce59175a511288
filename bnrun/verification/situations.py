"""The situations in which a norm is observed: inputs, gradients and state, the same every time.

All are random, above all the state: a layer's initial gamma 1, beta 0, moving mean 0 and moving
variance 1 would hide most faults.
"""

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.fault import Family

CHANNELS = 4
GROUPED_CHANNELS = 8
"""Channels for a group normalization. With 2 groups of 4, a count is not taken for a size."""
GROUPS = 2

# No two lengths of a shape are equal, and none is 1: an accidental broadcast then fails.
SHAPES = {2: (6, 4), 3: (6, 4, 5), 4: (6, 4, 3, 5), 5: (6, 4, 2, 3, 5)}
RANKS = (2, 4, 3, 5)
"""Ranks of input. An experiment that needs any one takes the first that the norm accepts."""
MAIN_RANKS = (2, 4)
"""The ranks that LeNet needs."""
LAYOUTS = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
LAST_LAYOUTS = {2: "(N, C)", 3: "(N, L, C)", 4: "(N, H, W, C)", 5: "(N, D, H, W, C)"}
"""The layouts of a class whose channels are the last dimension."""
ODD_SHAPES = (
    *((2, 4), (7, 1), (4, 4), (1, 4, 3, 5), (2, 4, 1, 1), (3, 1, 2, 2), (2, 5, 1, 7)),
    *((5, 4, 3, 4), (4, 4, 4, 4)),  # as many columns, or anything else, as channels
)
FAINT_SCALES = (1.0, 1e-2, 1e-3, 1e-5, 1e-8, 0.0)
"""What the examples of a faint input are multiplied by, where each is normalized by itself."""
ODD_SHAPES_OF_ONE = ((2, 1), (3, 1, 7), (1, 1, 3, 5), (2, 1, 1, 7), (4, 1, 4, 4))
"""Odd shapes for families that normalize each example by itself, with 1 in place of the channels"""
STEPS = 12
"""Batches in a sequence of updates."""


@dataclass(frozen=True, eq=False)
class Situation:
    """What a norm is given: x and the gradient g of its output; and its state, of shape (C,).

    All are float64 tensors of values that the dtype asked for can represent.
    """

    x: Tensor
    g: Tensor
    gamma: Tensor
    beta: Tensor
    moving_mean: Tensor
    moving_var: Tensor

    def without(self, *, gamma: bool, beta: bool, moving: bool) -> "Situation":
        """Return the situation with 1 or 0, the initial values, for what a norm does not have."""
        if not (gamma or beta or moving):
            return self
        changes = {}
        if gamma:
            changes["gamma"] = torch.ones_like(self.gamma)
        if beta:
            changes["beta"] = torch.zeros_like(self.beta)
        if moving:
            changes["moving_mean"] = torch.zeros_like(self.moving_mean)
            changes["moving_var"] = torch.ones_like(self.moving_var)
        return dataclasses.replace(self, **changes)


def channels_of(family: Family, channels: int = 0) -> int:
    """Return how many channels the inputs of a family have, if no other number is asked for."""
    return channels or (GROUPED_CHANNELS if family == "group" else CHANNELS)


def shape_of(rank: int, family: Family = "batch", channels: int = 0) -> tuple[int, ...]:
    """Return the shape of an ordinary input of a rank."""
    examples, _, *positions = SHAPES[rank]
    return (examples, channels_of(family, channels), *positions)


def odd_shapes_of(family: Family, channels: int = 0) -> tuple[tuple[int, ...], ...]:
    """Return tiny and odd shapes of inputs."""
    if family == "batch":
        return ODD_SHAPES
    channels = channels_of(family, channels)
    return tuple((shape[0], channels, *shape[2:]) for shape in ODD_SHAPES_OF_ONE)


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return values of shape (C,) as a view that broadcasts over x, of shape (N, C, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


@functools.lru_cache(maxsize=64)
def make_situation(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    mean: float = 0.0,
    spread: float = 1.0,
    seed: int = 0,
) -> Situation:
    """Return a situation with inputs of a shape (N, C, ...).

    Args:
        shape: of x.
        dtype: all values can be represented in it.
        mean: the centre of the channels' means.
        spread: multiplies the channels' spreads, and the distances between their means.
        seed: of all values.
    """
    generator = torch.Generator().manual_seed(1_000 * len(shape) + seed)
    channels = shape[1]

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    def uniform(low: float, high: float) -> Tensor:
        values = torch.rand(channels, generator=generator, dtype=torch.float64)
        return low + (high - low) * values

    spreads, noise = uniform(0.7, 2.0), normal(*shape)
    wide = per_channel(spreads, noise) * noise
    signs = torch.ones(channels, dtype=torch.float64)
    signs[1::3] = -1
    values = {
        "x": mean + spread * (wide + 2 * per_channel(normal(channels), wide)),
        "g": normal(*shape),
        "gamma": signs * uniform(0.5, 2.0),
        "beta": normal(channels),
        "moving_mean": normal(channels),
        "moving_var": uniform(0.3, 2.5),
    }
    return Situation(**{name: value.to(dtype).double() for name, value in values.items()})


@functools.lru_cache
def plain(
    rank: int, dtype: torch.dtype, seed: int = 0, *, family: Family = "batch", channels: int = 0
) -> Situation:
    """Return an ordinary situation with inputs of a rank."""
    return make_situation(shape_of(rank, family, channels), dtype, seed=seed)


@functools.lru_cache
def faint(
    rank: int, dtype: torch.dtype, *, family: Family = "batch", channels: int = 0
) -> Situation:
    """Return a situation in which eps decides.

    Variances, moving ones too, are near 1e-6. For families that normalize each example by itself,
    each example has another one, down to 0.
    """
    if family != "batch":
        ordinary = plain(rank, dtype, family=family, channels=channels)
        scales = torch.tensor(FAINT_SCALES, dtype=torch.float64).view(-1, *[1] * (rank - 1))
        return dataclasses.replace(ordinary, x=(ordinary.x * scales).to(dtype).double())
    ordinary = make_situation(SHAPES[rank], dtype, spread=1e-3)
    small = (ordinary.moving_var * 1e-6).to(dtype).double()
    return dataclasses.replace(ordinary, moving_var=small)


@functools.lru_cache
def far(rank: int, dtype: torch.dtype, *, family: Family = "batch", channels: int = 0) -> Situation:
    """Return a situation with means large beside the spread: E[x²] - E[x]² cancels there."""
    mean = 1e6 if dtype == torch.float64 else 1e3
    return make_situation(shape_of(rank, family, channels), dtype, mean=mean)


@functools.lru_cache
def level(
    rank: int, dtype: torch.dtype, *, family: Family = "batch", channels: int = 0
) -> Situation:
    """Return a situation in which all variances are 0.

    Each channel holds one value; for families that normalize each example by itself, each example;
    and that value is 0 where no mean is subtracted.
    """
    ordinary = plain(rank, dtype, family=family, channels=channels)
    if family == "rms":
        return dataclasses.replace(ordinary, x=torch.zeros_like(ordinary.x))
    kept = 1 if family == "batch" else 0
    dims = [dim for dim in range(ordinary.x.dim()) if dim != kept]
    means = ordinary.x.mean(dims, keepdim=True).to(dtype).double()
    return dataclasses.replace(ordinary, x=means.expand_as(ordinary.x).contiguous())


def sequence(
    rank: int, dtype: torch.dtype, *, family: Family = "batch", channels: int = 0
) -> list[Situation]:
    """Return the situations of several batches in order; the state is that of the first."""
    return [
        plain(rank, dtype, seed=seed, family=family, channels=channels) for seed in range(STEPS)
    ]


def others_changed(x: Tensor) -> Tensor:
    """Return x with every value changed but the first."""
    changed = 1.5 * x + 0.25
    changed.view(-1)[0] = x.view(-1)[0]
    return changed
