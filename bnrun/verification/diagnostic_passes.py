"""The experiments that the diagnosis rests on: passes through the norm, in each mode and rank."""

import dataclasses
import functools
from dataclasses import dataclass

from torch import Tensor

from bnrun.norms.user_module import WrongOutput
from bnrun.verification.distance import distance, worst_difference
from bnrun.verification.experiment import Experiment, describe, experiment
from bnrun.verification.situations import (
    CHANNELS,
    LAYOUTS,
    RANKS,
    SHAPES,
    faint,
    make_situation,
    plain,
)
from bnrun.verification.subject import Misaligned, NotOffered, Pass, Record, Subject

EPS_NAMES = ("eps", "epsilon", "variance_epsilon", "layer_norm_eps", "norm_eps", "_eps")


@dataclass(frozen=True)
class Parts(Record):
    """What the class has; what it lacks is not looked for any further.

    Attributes:
        gamma, beta, moving: whether there are such values under the usual names.
        takes_rank: see Subject.
        eps: the value of the attribute `eps`, or None if the class has no such attribute.
        read: whether there are moving statistics without such names, read from predictions.
    """

    gamma: bool
    beta: bool
    moving: bool
    takes_rank: str = ""
    eps: float | None = None
    read: bool = False

    @property
    def moves(self) -> bool:
        """Return whether the moving statistics can be observed."""
        return self.moving or self.read


@experiment("parts of the layer")
def parts(subject: Subject) -> Parts:
    """Look for gamma, beta, moving statistics and eps by their usual names."""
    layer = subject.build(subject.rank)
    eps = next((getattr(layer.module, name, None) for name in EPS_NAMES), None)
    return Parts(
        gamma=layer.gamma is not None,
        beta=layer.beta is not None,
        moving=layer.moving is not None,
        takes_rank=subject.takes_rank,
        eps=float(eps) if isinstance(eps, int | float) else None,
        read=layer.moving is None and subject.eps_read() is not None,
    )


@dataclass(frozen=True)
class Passes(Record):
    """A pass on ordinary inputs, and one on inputs whose variances lie below eps."""

    plain: Pass
    faint: Pass


REFUSALS = (ValueError, NotImplementedError, AssertionError)
"""What a class raises to refuse an input. Other errors are mistakes, for rows and for images."""


def _training(rank: int, subject: Subject) -> Passes:
    situation = subject.situation(plain, rank)
    try:
        finish = subject.build(rank, situation).begin(situation, training=True)
    except Exception as error:
        one = subject.construction
        if isinstance(error, WrongOutput) and (one.family == "batch" or rank in one.main_ranks):
            raise
        if rank in one.main_ranks and not isinstance(error, REFUSALS):
            raise
        raise NotOffered(describe(error)) from error
    if subject.takes_one_example(rank):
        raise NotOffered("it takes that for one example, without a batch")
    ordinary = finish()
    subject.accept(rank)
    return Passes(ordinary, subject.run(subject.situation(faint, rank), training=True))


def _predicting(rank: int, grad: bool, subject: Subject) -> Passes:
    try:
        situations = (subject.situation(kind, rank) for kind in (plain, faint))
        return Passes(*(subject.run(one, training=False, grad=grad) for one in situations))
    except RuntimeError as error:
        has_moving = subject.construction.family == "batch"
        if rank > 2 and has_moving and subject.accepts(rank) and _are_along_last(rank, subject):
            raise Misaligned from error
        raise


def _are_along_last(rank: int, subject: Subject) -> bool:
    """Return whether moving statistics lie along the last dimension of an input, when predicting.

    Of an input with as many columns as channels, those of the first channel then change the first
    column of all channels.
    """
    situation = make_situation((*SHAPES[rank][:-1], CHANNELS), subject.dtype)
    mean, var = situation.moving_mean.clone(), situation.moving_var.clone()
    mean[0], var[0] = mean[0] + 1, var[0] + 1
    other = dataclasses.replace(situation, moving_mean=mean, moving_var=var)
    try:
        first, second = (subject.run(one, training=False).y for one in (situation, other))
    except Exception:
        return False
    elsewhere = (first != second)[:, 1:].nonzero()[:, -1]
    return len(elsewhere) > 0 and not elsewhere.any()


TRAINING = {
    rank: Experiment(f"training, {LAYOUTS[rank]}", functools.partial(_training, rank))
    for rank in RANKS
}
PREDICTING, PREDICTING_WITH_GRADIENTS = (
    {
        rank: Experiment(
            f"predicting{how}, {LAYOUTS[rank]}", functools.partial(_predicting, rank, grad)
        )
        for rank in RANKS
    }
    for grad, how in ((False, ""), (True, " with gradients"))
)


@dataclass(frozen=True)
class Outputs(Record):
    """Two outputs that should be equal."""

    first: Tensor
    second: Tensor

    @property
    def distance(self) -> float:
        """Return how far the second lies from the first."""
        return distance(self.second, self.first)

    @property
    def difference(self) -> str:
        """Return where they differ most, and by what."""
        return worst_difference({"y": self.second}, {"y": self.first})


@experiment("same output twice")
def repeat(subject: Subject) -> Outputs:
    """Run the same pass in two equal layers."""
    situation = subject.situation(plain)
    return Outputs(*(subject.output(situation) for _ in range(2)))
