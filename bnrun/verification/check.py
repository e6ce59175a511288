"""A check: what it asks, and the case that it is judged on."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from bnrun.verification.diagnostic_passes import PREDICTING, TRAINING, Passes
from bnrun.verification.distance import Tensors, largest_distance, worst_difference
from bnrun.verification.evidence import Evidence
from bnrun.verification.experiment import Experiment, R
from bnrun.verification.fault import FAMILIES, Family, Fault
from bnrun.verification.outcome import (
    IDENTITY,
    UNEXPLAINED,
    Outcome,
    explained,
    failed,
    passed,
    trouble,
)
from bnrun.verification.recipe import Recipe, deviations, simulate
from bnrun.verification.report import Contract, Group, base_name
from bnrun.verification.situations import LAYOUTS, Situation, plain


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
class Case(Evidence):
    """Everything that a check is judged on: the evidence, and the diagnosis of it.

    Attributes:
        right, contract: what is right, and by which contract.
        float64_refused: whether float64 was tried and raised.
        narrowing: why float64 does not come out with its precision, if it does not.
        required_ranks: the ranks of input that the norm accepts under another engine.
    """

    diagnosis: Diagnosis
    right: Recipe
    contract: Contract
    float64_refused: bool = False
    narrowing: Fault | None = None
    required_ranks: tuple[int, ...] = ()

    def require(self, experiment: Experiment[R]) -> R:
        """Return the record of the experiment of a check, which is not judged without it."""
        record = self.record(experiment)
        assert record is not None
        return record

    def passes(self, training: bool) -> Iterator[tuple[int, Passes]]:
        """Yield the passes that worked, in training or when predicting, each after its rank."""
        for rank in self.ranks:
            passes = self.record((TRAINING if training else PREDICTING)[rank])
            if passes is not None:
                yield rank, passes

    @property
    def tolerance(self) -> float:
        """Return the largest distance that counts as rounding: float32's where that is narrowed."""
        return max(self.rounding, self.diagnosis.tolerance)

    @cached_property
    def identity(self) -> bool:
        """Return whether the norm returns its input unchanged."""
        return bool(self.ranks) and all(
            passes is not None and torch.equal(passes.plain.y, self.situation(plain, rank).x)
            for rank in self.ranks
            for passes in map(self.record, (TRAINING[rank], PREDICTING[rank]))
        )

    def failed_from(self, kind: str, message: str) -> Outcome:
        """Return a failure from an error; of errors that differ in numbers alone, the first."""
        text = _without_numbers(message)
        for seen in self.observations.values():
            if seen.trouble is not None and _without_numbers(seen.message) == text:
                kind = "raised" if seen.trouble == "not offered" else seen.trouble
                message = seen.message
                break
        return failed(trouble(kind, message), note=message if kind == "misaligned" else "")

    def recipe(self, rank: int) -> Recipe:
        """Return what reproduces the observations for inputs of a rank."""
        return self.diagnosis.recipes.get(rank, self.right)

    def difference(self, observed: Tensors, expected: Tensors) -> str:
        """Return where two quantities differ most, with indices in the layout of the class."""
        return worst_difference(*map(self.construction.all_given, (observed, expected)))

    def compare(
        self,
        rank: int,
        observed: Tensors,
        expect: Callable[[Recipe], Tensors],
        *,
        slack: float = 1.0,
    ) -> Outcome:
        """Compare what was observed with what is right and, failing that, with the diagnosis.

        On failure, the faults are those diagnosed mistakes that change the expected values.
        `slack` multiplies the tolerance, where rounding errors are larger than usual.
        """
        bound = slack * self.rounding
        right = expect(self.right)
        error = largest_distance(observed, right)
        if error <= bound:
            return passed(error)
        if self.identity:
            return failed(IDENTITY, error=error)
        recipe = self.recipe(rank)
        diagnosed = expect(recipe)
        remaining = largest_distance(observed, diagnosed)
        if remaining > slack * self.tolerance and recipe.training.parts.fault is not None:
            # How it splits a batch of another size, and what then moves, is not known.
            return failed(recipe.training.parts.fault, error=error)
        if remaining > slack * self.tolerance:
            return failed(UNEXPLAINED, error=error, note=self.difference(observed, right))
        diagnosed = {name: diagnosed[name] for name in observed if name in diagnosed}
        needed: dict[Fault, str] = {}
        shares: dict[Fault, float] = {}
        for deviation in deviations(recipe, self.right):
            without = expect(deviation.without)
            share = largest_distance(diagnosed, without)
            if share > bound:
                shares.setdefault(deviation.fault, share)
                needed.setdefault(deviation.fault, self.difference(diagnosed, without))
        if self.narrowing is not None and remaining > bound:
            needed.setdefault(self.narrowing, self.difference(observed, right))
        return explained(needed, error, shares)


def _without_numbers(text: str) -> str:
    """Return a message without the numbers in which shapes differ."""
    return re.sub(r"[\d ,()]+", " ", text)


def simulation(
    situation: Situation, *, training: bool, grad: bool | None = None, gradients: bool = False
) -> Callable[[Recipe], Tensors]:
    """Return what is expected of a recipe in a situation.

    By default, training is with gradients enabled and predicting without: there all contracts
    agree. With `gradients`, they are expected, too, which takes far longer.
    """
    enabled = training if grad is None else grad
    return lambda recipe: simulate(
        recipe, situation, training=training, grad=enabled, gradients=gradients
    )


# ---- the check


@dataclass(frozen=True)
class Check:
    """A check, and how its outcome is judged.

    Attributes:
        name, group, about: its row, and what it asks in a few words.
        families: those of norms that it is about.
        dtypes: those that it is about; none for all.
        experiments: what it is judged on. If there is only one, `judge` needs its record.
        judge: returns the outcome.
        rank: of the inputs, if it is for one.
        needs_forward: whether it needs a forward pass that works.
        on_trouble: returns the outcome of an error in the experiment, if its cause is known.
    """

    name: str
    group: Group
    about: str
    experiments: tuple[Experiment[Any], ...]
    judge: Callable[[Case], Outcome]
    rank: int | None = None
    families: tuple[Family, ...] = FAMILIES
    dtypes: tuple[torch.dtype, ...] = ()
    needs_forward: bool = True
    on_trouble: Callable[[Case, str], Outcome | None] = lambda case, message: None

    @property
    def base(self) -> str:
        """Return the name without the layout of the input, if it has one."""
        return base_name(self.name)

    def group_in(self, family: Family) -> Group:
        """Return its group; of moving statistics, other families than batch have none."""
        has_moving = family == "batch" or self.group != "moving statistics"
        return self.group if has_moving else "module contract"

    def name_in(self, layouts: Mapping[int, str]) -> str:
        """Return its name, with the layout of its inputs as the class takes them."""
        if self.rank is None:
            return self.name
        return self.name.replace(LAYOUTS[self.rank], layouts[self.rank])


CHECKS: list[Check] = []
"""All checks, in the order in which the files of `topics/` register them."""


def check(
    first: str | Experiment[Any], group: Group, about: str, *others: Experiment[Any], **details: Any
) -> Callable[[Callable[[Case], Outcome]], Callable[[Case], Outcome]]:
    """Register the judge of a check.

    Args:
        first: the experiment that is judged, whose name the check has; or a name of its own.
        group, about: see Check.
        others: the experiments of a check with a name of its own.
        details: other fields of Check.
    """
    name, experiments = (first, others) if isinstance(first, str) else (first.name, (first,))

    def register(judge: Callable[[Case], Outcome]) -> Callable[[Case], Outcome]:
        CHECKS.append(Check(name, group, about, experiments, judge, **details))
        return judge

    return register


def check_ranks(
    name: str,
    group: Group,
    about: str,
    experiments: Mapping[int, Experiment[Any]],
    **details: Any,
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Register a check for each rank of input that has an experiment; the judge gets the rank."""

    def register(judge: Callable[..., Outcome]) -> Callable[..., Outcome]:
        for rank, one in experiments.items():
            judge_rank = functools.partial(judge, rank=rank)
            named = f"{name}, {LAYOUTS[rank]}"
            check(named, group, about, one, rank=rank, **details)(judge_rank)
        return judge

    return register
