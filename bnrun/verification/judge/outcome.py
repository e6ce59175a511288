"""How one check came out, and the case that it is judged on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnrun.verification.diagnose import Diagnosis
from bnrun.verification.evidence import Evidence, distance
from bnrun.verification.known import behaviour
from bnrun.verification.known.fault import Fault
from bnrun.verification.observe.experiment import Values
from bnrun.verification.recipe import Recipe, deviations, play
from bnrun.verification.report import Contract, Status
from bnrun.verification.situations import Situation, plain

Tensors = Mapping[str, Tensor]

OUTPUT, GRADIENTS, MOVING = ("y",), ("d_x", "d_gamma", "d_beta"), ("moving_mean", "moving_var")
NOTHING_MOVING = (
    "no moving statistics under the usual names (running_mean, running_var; moving_mean, "
    "moving_var)"
)


@dataclass(frozen=True)
class Outcome:
    """How a check came out.

    `faults` are those it fails from (or the dialects that it passes in), each with what else is to
    be seen of it; `reason` is why it was skipped.
    """

    status: Status
    error: float | None = None
    faults: Mapping[Fault, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def unexplained(self) -> bool:
        """Tell whether it failed, and no known mistake says why."""
        return behaviour.UNEXPLAINED in self.faults


def passed(error: float | None = None) -> Outcome:
    """Return the outcome of a check that passed."""
    return Outcome("pass", error)


def failed(*faults: Fault, error: float | None = None, note: str = "") -> Outcome:
    """Return the outcome of a check that fails from these faults; where all are dialects, not."""
    dialect = bool(faults) and all(fault.is_dialect for fault in faults)
    return Outcome("pass" if dialect else "fail", error, dict.fromkeys(faults, note))


def skipped(reason: str) -> Outcome:
    """Return the outcome of a check that was not made."""
    return Outcome("skip", reason=reason)


@dataclass(frozen=True)
class Case:
    """All that a check is judged on."""

    evidence: Evidence
    diagnosis: Diagnosis
    right: Recipe
    contract: Contract
    float64_refused: bool = False

    def values(self, experiment: str) -> Values:
        """Return what an experiment came to; what trouble in it means is judged elsewhere."""
        values = self.evidence.values(experiment)
        assert values is not None
        return values

    @property
    def tolerance(self) -> float:
        """Return the largest distance that rounding makes, in float32 where that is narrowed."""
        return max(self.evidence.tolerance, self.diagnosis.tolerance)

    @property
    def narrowing(self) -> Fault | None:
        """Return why float64 does not come out with its precision, if it does not."""
        values = self.evidence.values("double")
        if self.identity:
            return None
        if values is not None and values.get("y_dtype", "torch.float64") != "torch.float64":
            return behaviour.OUTPUT_DTYPE
        return behaviour.NARROWED if self.diagnosis.narrowed else None

    @property
    def spoilt(self) -> Fault | None:
        """Return what spoils every comparison of values, if something does: NaN, or noise."""
        seen = [self.evidence.values(f"training {rank}") for rank in self.evidence.ranks]
        if any(values is not None and not values["y"].isfinite().any() for values in seen):
            return behaviour.OUTPUT_NOT_FINITE
        return behaviour.NOT_REPEATABLE if self.evidence.noise else None

    @property
    def identity(self) -> bool:
        """Tell whether the norm hands its input through."""
        seen = [
            (self.evidence.values(f"{part} {rank}"), rank)
            for rank in self.evidence.ranks
            for part in ("training", "predicting")
        ]
        return bool(seen) and all(
            values is not None and torch.equal(values["y"], plain(rank, self.evidence.dtype).x)
            for values, rank in seen
        )

    def recipe(self, rank: int) -> Recipe:
        """Return what reproduces the observations for inputs of a rank."""
        return self.diagnosis.recipes.get(rank, self.right)

    def compare(
        self,
        rank: int,
        observed: Tensors,
        expect: Callable[[Recipe], Tensors],
        *,
        slack: float = 1.0,
    ) -> Outcome:
        """Hold what was observed to what is right, and else to what was diagnosed.

        It fails from those diagnosed mistakes without which other values would be expected.
        `slack` multiplies the tolerance, where rounding makes more than usual.
        """
        bound = slack * self.evidence.tolerance
        right = only(expect(self.right), *observed)
        error = apart(observed, right)
        if error <= bound:
            return passed(error)
        if self.identity:
            return failed(behaviour.IDENTITY, error=error)
        recipe = self.recipe(rank)
        diagnosed = only(expect(recipe), *observed)
        distance_left = apart(observed, diagnosed)
        if distance_left > slack * self.tolerance:
            note = _first_difference(observed, right)
            return failed(behaviour.UNEXPLAINED, error=error, note=note)
        needed = [
            fault
            for _, fault, mended in deviations(recipe, self.right)
            if apart(diagnosed, expect(mended)) > bound
        ]
        if self.narrowing is not None and distance_left > bound:
            needed.append(self.narrowing)
        return failed(*dict.fromkeys(needed), error=error)


def apart(observed: Tensors, expected: Tensors) -> float:
    """Return the largest distance between tensors of the same names, where both have them."""
    common = [name for name in observed if name in expected]
    return max((distance(observed[name], expected[name]) for name in common), default=0.0)


def playing(made: Situation, *, training: bool) -> Callable[[Recipe], Tensors]:
    """Return what is to be expected of a recipe in a situation.

    Training is with gradients enabled and predicting without: there all contracts agree.
    """
    return lambda recipe: play(recipe, made, training=training, grad=training)


def only(values: Mapping[str, Any], *names: str) -> dict[str, Tensor]:
    """Return some of the values, those that are there."""
    return {name: values[name] for name in names if name in values}


def _first_difference(observed: Tensors, expected: Tensors) -> str:
    """Say where the worst of them differs first, and by what."""
    worst = max(
        (name for name in observed if name in expected),
        key=lambda name: distance(observed[name], expected[name]),
    )
    ours, right = observed[worst], expected[worst]
    label = LABELS.get(worst.partition(" ")[0], worst)
    if ours.shape != right.shape:
        return f"{label} has the shape {tuple(ours.shape)}, not {tuple(right.shape)}"
    wrong = ~torch.isclose(ours, right, rtol=1e-6, atol=1e-9, equal_nan=True)
    index = tuple(int(i) for i in wrong.nonzero()[0]) if wrong.any() else (0,) * ours.dim()
    one, other = float(ours[index]) + 0.0, float(right[index]) + 0.0  # and no -0
    digits = next(n for n in (6, 9, 17) if f"{one:.{n}g}" != f"{other:.{n}g}" or n == MOST_DIGITS)
    return f"{label}{list(index)} is {one:.{digits}g}, and {other:.{digits}g} is right"


MOST_DIGITS = 17
LABELS = {
    "y": "y",
    "d_x": "the gradient of x",
    "d_gamma": "the gradient of gamma",
    "d_beta": "the gradient of beta",
    "moving_mean": "moving mean",
    "moving_var": "moving variance",
}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return several outcomes as one: failed if any is, with the faults of all."""
    made = list(outcomes)
    if not made:
        return skipped("no input of such a shape is taken")
    errors = [outcome.error for outcome in made if outcome.error is not None]
    faults: dict[Fault, str] = {}
    for outcome in made:
        for fault, note in outcome.faults.items():
            faults[fault] = faults.get(fault) or note
    status: Status = "fail" if any(outcome.status == "fail" for outcome in made) else "pass"
    return Outcome(status, max(errors, default=None), faults)
