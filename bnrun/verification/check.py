"""A check: what it asks, the case that it is judged on, and how it came out."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from bnrun.verification.distance import Tensors, first_difference, largest_distance
from bnrun.verification.evidence import Evidence
from bnrun.verification.experiment import Experiment, R
from bnrun.verification.fault import Fault
from bnrun.verification.passes import PREDICTING, TRAINING, Passes
from bnrun.verification.recipe import Recipe, deviations, play
from bnrun.verification.report import GROUPS, Contract, Group, Status
from bnrun.verification.situations import LAYOUTS, Situation, plain

MATHEMATICS, MOVING, CONTRACT = GROUPS
NO_MOVING_STATISTICS = (
    "no moving statistics under the usual names (running_mean, running_var; moving_mean, "
    "moving_var)"
)

# ---- faults that any check may fail from

IDENTITY = Fault(
    "identity",
    "It returns its input unchanged: nothing is normalized.",
    "Return gamma * (x - mean) / sqrt(var + eps) + beta.",
)
UNEXPLAINED = Fault(
    "unexplained",
    "No known mistake gives what was observed, and no combination that was tried.",
    "Compute each part by hand on a small input, and compare: gamma * (x - mean) / sqrt(var + eps) "
    "+ beta; (1 - momentum) * moving + momentum * new.",
    of_values=True,
)


def trouble(kind: str, message: str) -> Fault:
    """Return the fault of code that raises, hangs or exits."""
    if kind == "hung":
        fix = "Look for a loop that does not end; or, if it is only slow, raise --time-limit."
        return Fault(kind, f"It {message}.", fix)
    if kind == "exited":
        return Fault(kind, f"It {message}.", "Raise an error instead of ending the process.")
    fix = "Fix that line, or what leads to it."
    if "forward returned" in message:
        fix = "Return one tensor, of the input's shape, and nothing else."
    elif any(words in message for words in ("size of tensor", "shape", "dimension", "size mis")):
        fix = (
            "Run that line by hand on an input of each shape that the layer is for, and print the "
            "shapes."
        )
    return Fault(kind, f"It raises {message}.", fix)


# ---- outcomes


@dataclass(frozen=True)
class Outcome:
    """How a check came out.

    `faults` are those it fails from, or the dialects that it passes in, each with a note of what
    was seen; `reason` says why it was skipped.
    """

    status: Status
    error: float | None = None
    faults: Mapping[Fault, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def unexplained(self) -> bool:
        """Return whether it failed, and no known mistake says why."""
        return UNEXPLAINED in self.faults


def passed(error: float | None = None) -> Outcome:
    """Return the outcome of a check that passed."""
    return Outcome("pass", error)


def failed(*faults: Fault, error: float | None = None, note: str = "") -> Outcome:
    """Return the outcome of a check that fails from faults; with dialects alone, it passes."""
    dialect = bool(faults) and all(fault.is_dialect for fault in faults)
    return Outcome("pass" if dialect else "fail", error, dict.fromkeys(faults, note))


def skipped(reason: str) -> Outcome:
    """Return the outcome of a check that was not made."""
    return Outcome("skip", reason=reason)


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """Return several outcomes as one: failed if any is, with the faults of all."""
    made = list(outcomes)
    if not made:
        return skipped("no input of such a shape is taken")
    if all(outcome.status == "skip" for outcome in made):
        return made[0]
    errors = [outcome.error for outcome in made if outcome.error is not None]
    faults: dict[Fault, str] = {}
    for outcome in made:
        for fault, note in outcome.faults.items():
            faults[fault] = faults.get(fault) or note
    status: Status = "fail" if any(outcome.status == "fail" for outcome in made) else "pass"
    return Outcome(status, max(errors, default=None), faults)


# ---- the case


@dataclass(frozen=True)
class Diagnosis:
    """The fewest known mistakes that give what was observed.

    Attributes:
        recipes: by rank of input, what reproduces the observations.
        tolerance: how closely they do.
        narrowed: whether that is in float32 only, though float64 was asked for.
        unexplained: (part, rank) that no known mistake explains; parts are "training",
            "predicting" (their outputs), "moving mean", "moving var".
    """

    recipes: Mapping[int, Recipe]
    tolerance: float
    narrowed: bool
    unexplained: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Case:
    """All that a check is judged on.

    Attributes:
        evidence, diagnosis: what was observed, and the mistakes in it.
        right, contract: what is right, and by which contract.
        float64_refused: whether float64 was tried and raised.
        narrowing: why float64 does not come out with its precision, if it does not.
        required_ranks: the ranks of input that the norm accepts under another engine.
    """

    evidence: Evidence
    diagnosis: Diagnosis
    right: Recipe
    contract: Contract
    float64_refused: bool = False
    narrowing: Fault | None = None
    required_ranks: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        """Return the rank of experiments that need any one."""
        return self.evidence.rank

    def seen(self, experiment: Experiment[R]) -> R | None:
        """Return the record of an experiment; None where something went wrong."""
        return self.evidence.record(experiment)

    def record(self, experiment: Experiment[R]) -> R:
        """Return the record of the experiment of a check, which is not judged without it."""
        record = self.evidence.record(experiment)
        assert record is not None
        return record

    def passes(self, training: bool) -> Iterator[tuple[int, Passes]]:
        """Yield the passes that worked, in training or when predicting, each after its rank."""
        for rank in self.evidence.ranks:
            passes = self.seen((TRAINING if training else PREDICTING)[rank])
            if passes is not None:
                yield rank, passes

    def given(
        self, kind: Callable[[int, torch.dtype], Situation], rank: int | None = None
    ) -> Situation:
        """Return the situation that the norm was in."""
        return self.evidence.situation(kind, rank)

    @property
    def tolerance(self) -> float:
        """Return the largest distance that counts as rounding: float32's where that is narrowed."""
        return max(self.evidence.tolerance, self.diagnosis.tolerance)

    @cached_property
    def identity(self) -> bool:
        """Return whether the norm returns its input unchanged."""
        return bool(self.evidence.ranks) and all(
            passes is not None and torch.equal(passes.plain.y, plain(rank, self.evidence.dtype).x)
            for rank in self.evidence.ranks
            for passes in map(self.evidence.record, (TRAINING[rank], PREDICTING[rank]))
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
        """Compare what was observed with what is right and, failing that, with the diagnosis.

        It fails from those diagnosed mistakes without which other values would be expected.
        `slack` multiplies the tolerance, where rounding errors are larger than usual.
        """
        bound = slack * self.evidence.tolerance
        right = expect(self.right)
        error = largest_distance(observed, right)
        if error <= bound:
            return passed(error)
        if self.identity:
            return failed(IDENTITY, error=error)
        recipe = self.recipe(rank)
        diagnosed = expect(recipe)
        remaining = largest_distance(observed, diagnosed)
        if remaining > slack * self.tolerance:
            return failed(UNEXPLAINED, error=error, note=first_difference(observed, right))
        diagnosed = {name: diagnosed[name] for name in observed if name in diagnosed}
        needed = [
            deviation.fault
            for deviation in deviations(recipe, self.right)
            if largest_distance(diagnosed, expect(deviation.without)) > bound
        ]
        if self.narrowing is not None and remaining > bound:
            needed.append(self.narrowing)
        return failed(*dict.fromkeys(needed), error=error)


def playing(
    situation: Situation, *, training: bool, grad: bool | None = None
) -> Callable[[Recipe], Tensors]:
    """Return what is expected of a recipe in a situation.

    By default, training is with gradients enabled and predicting without: there all contracts
    agree.
    """
    enabled = training if grad is None else grad
    return lambda recipe: play(recipe, situation, training=training, grad=enabled)


# ---- the check


@dataclass(frozen=True)
class Check:
    """A check that can be made, and how its case is judged.

    Attributes:
        name, group, about: its row, and what it asks in a few words.
        experiments: what it is judged on. Where there is only one, that must have gone well.
        judge: returns the outcome.
        rank: of the inputs, if it is for one.
        needs_forward: whether it needs a forward pass that works.
        on_trouble: returns the outcome that an error in the experiment follows from, if any.
    """

    name: str
    group: Group
    about: str
    experiments: tuple[Experiment[Any], ...]
    judge: Callable[[Case], Outcome]
    rank: int | None = None
    needs_forward: bool = True
    on_trouble: Callable[[Case, str], Outcome | None] = lambda case, message: None


CHECKS: list[Check] = []
"""All checks, in the order in which the files of `topics/` register them."""


def check(
    name: str, group: Group, about: str, *experiments: Experiment[Any], **details: Any
) -> Callable[[Callable[[Case], Outcome]], Callable[[Case], Outcome]]:
    """Register the judge of a check; `details` are the other fields of Check."""

    def register(judge: Callable[[Case], Outcome]) -> Callable[[Case], Outcome]:
        CHECKS.append(Check(name, group, about, experiments, judge, **details))
        return judge

    return register


def check_ranks(
    name: str, group: Group, about: str, experiments: Mapping[int, Experiment[Any]]
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Register a check for each rank of input that has an experiment; the judge gets the rank."""

    def register(judge: Callable[..., Outcome]) -> Callable[..., Outcome]:
        for rank, one in experiments.items():
            judge_rank = functools.partial(judge, rank=rank)
            check(f"{name}, {LAYOUTS[rank]}", group, about, one, rank=rank)(judge_rank)
        return judge

    return register
