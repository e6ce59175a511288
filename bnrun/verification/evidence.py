"""All that was observed of a norm, and how far numbers in it lie from what they should be."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bnrun.verification.observe.experiment import Observation, Values
from bnrun.verification.situations import RANKS, Situation

# The largest distance that rounding makes, in the dtype of the inputs.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 1e-1}


def distance(observed: Tensor, expected: Tensor) -> float:
    """Return the largest difference, in units of the largest value expected, or of 1.

    Infinite where shapes differ, or where one has a value that is not finite and the other has
    another there.
    """
    finite = expected.isfinite()
    if observed.shape != expected.shape or not torch.equal(observed.isfinite(), finite):
        return math.inf
    if not torch.equal(observed[~finite].nan_to_num(), expected[~finite].nan_to_num()):
        return math.inf
    observed, expected = observed[finite], expected[finite]
    if observed.numel() == 0:
        return 0.0
    return float((observed - expected).abs().max()) / max(1.0, float(expected.abs().max()))


@dataclass(frozen=True)
class Evidence:
    """What was observed, by experiment, in a dtype."""

    observations: Mapping[str, Observation]
    dtype: torch.dtype

    def values(self, experiment: str) -> Values | None:
        """Return what an experiment came to; None where there was trouble."""
        seen = self.observations[experiment]
        return seen.values if seen.trouble is None else None

    @cached_property
    def offers(self) -> Values:
        """Return what the class has; what was seen of it, where it could not be asked."""
        known = self.values("offers")
        if known is not None:
            return known
        seen: Values = self.values(f"training {self.rank}") or {}
        return {
            "gamma": "d_gamma" in seen,
            "beta": "d_beta" in seen,
            "moving": "moving_mean" in seen,
            "asks_rank": False,
            "eps": None,
        }

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks of input that it takes."""
        return tuple(rank for rank in RANKS if self.values(f"training {rank}") is not None)

    @property
    def rank(self) -> int:
        """Return the rank of experiments that ask for none: the first that is taken."""
        return next(iter(self.ranks), RANKS[0])

    @cached_property
    def noise(self) -> bool:
        """Tell whether the same input gives an output that is other than by rounding."""
        values = self.values("repeat")
        if values is None:
            return False
        return distance(values["second"], values["first"]) > self.tolerance

    @property
    def tolerance(self) -> float:
        """Return the largest distance that rounding makes."""
        return TOLERANCE[self.dtype]

    def situation(
        self, kind: Callable[[int, torch.dtype], Situation], rank: int | None = None
    ) -> Situation:
        """Return the situation that the norm was in, as far as it has a state to be given."""
        return self.as_held(kind(self.rank if rank is None else rank, self.dtype))

    def as_held(self, made: Situation) -> Situation:
        """Return a situation, as far as the norm could be given its state.

        Without a gamma it has 1, without a beta 0; where its moving statistics are not found, they
        are what it starts with.
        """
        return made.without(
            gamma=not self.offers["gamma"],
            beta=not self.offers["beta"],
            moving=not self.offers["moving"],
        )
