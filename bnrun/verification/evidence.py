"""All that was observed of a norm in one dtype."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from bnrun.verification import diagnostic_passes
from bnrun.verification.diagnostic_passes import TRAINING, Parts
from bnrun.verification.distance import TOLERANCE
from bnrun.verification.experiment import Experiment, Observation, Observations, R
from bnrun.verification.formula.families import Ways
from bnrun.verification.situations import Situation
from bnrun.verification.subject import Construction


@dataclass(frozen=True)
class Evidence:
    """The observations, and what can be read from them directly."""

    observations: Observations
    dtype: torch.dtype
    construction: Construction

    def of(self, experiment: Experiment[R]) -> Observation[R]:
        """Return what was observed in an experiment."""
        return self.observations[experiment.name]

    def record(self, experiment: Experiment[R]) -> R | None:
        """Return the record of an experiment; None where something went wrong."""
        return self.of(experiment).record

    @cached_property
    def parts(self) -> Parts:
        """Return what the class has; where that experiment failed, what its passes show."""
        record = self.record(TRAINING[self.rank])
        gradients, moving = (record.plain.gradients, record.plain.moving) if record else ({}, {})
        shown = Parts("d_gamma" in gradients, "d_beta" in gradients, bool(moving))
        return self.record(diagnostic_passes.parts) or shown

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks of input that it accepts."""
        ranks = self.construction.ranks
        return tuple(rank for rank in ranks if self.record(TRAINING[rank]) is not None)

    @property
    def rank(self) -> int:
        """Return the rank of experiments that need any one: the first that is accepted."""
        return next(iter(self.ranks), self.construction.ranks[0])

    @cached_property
    def noisy(self) -> bool:
        """Return whether the same input gives outputs that differ by more than rounding."""
        outputs = self.record(diagnostic_passes.repeat)
        return outputs is not None and outputs.distance > self.rounding

    @property
    def rounding(self) -> float:
        """Return the largest distance that counts as rounding in the dtype."""
        return TOLERANCE[self.dtype]

    @property
    def ways(self) -> Ways:
        """Return the ways to compute each part, in its family."""
        return self.construction.ways(self.dtype)

    def situation(self, kind: Callable[..., Situation], rank: int | None = None) -> Situation:
        """Return the situation that the norm was in, as far as it could take on its state."""
        rank = self.rank if rank is None else rank
        return self.restrict(kind(rank, self.dtype, **self.construction.inputs))

    def restrict(self, situation: Situation) -> Situation:
        """Return a situation, as far as the norm could take on its state.

        Without a gamma it has 1, without a beta 0; moving statistics that are not found have
        their initial values.
        """
        has = self.parts
        return situation.without(gamma=not has.gamma, beta=not has.beta, moving=not has.moving)
