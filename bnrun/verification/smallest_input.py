"""The smallest input that shows a fault: few enough numbers to work out by hand.

Two channels, of three values where these are enough. The state is random in all other experiments;
here it is of small whole numbers.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnrun.verification.check import Case, Check
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import Family
from bnrun.verification.recipe import simulate
from bnrun.verification.report import Example, Row
from bnrun.verification.situations import Situation
from bnrun.verification.subject import Pass, Record, Subject

SHAPES: Mapping[int, Sequence[tuple[int, ...]]] = {
    2: ((3,), (4,)),
    3: ((1, 3), (2, 3)),
    4: ((1, 1, 3), (2, 1, 2), (2, 2, 2)),
    5: ((1, 1, 1, 3), (2, 1, 1, 2), (2, 2, 2, 2)),
}
"""Shapes by rank without the channels, the smallest first: some mistakes need several examples, or
rows of pixels."""
SHAPES_OF_ONE: Mapping[int, Sequence[tuple[int, ...]]] = {
    2: ((2,),),
    3: ((1, 2), (2, 3)),
    4: ((1, 1, 2), (2, 2, 2)),
    5: ((1, 1, 1, 2), (2, 2, 2, 2)),
}
"""The same for families that normalize each example by itself."""
CHANNELS: Mapping[Family, int] = {"batch": 2, "instance": 2, "layer": 3, "rms": 3, "group": 4}
# The values of x, of the gradient g of y, and of the parameters, one after the other
X = (1, 0, 2, 3, 6, 9, 4, -2, 5, 8, -1, 7, 3, -3, 1, 6, 10, 2, -4, 5, 0, 7, 11, 1, -2, 4, 8, 3)
G = (1, 2, 0, -1, 3, 1, 2, 0, -2, 1, 1, 0, 4, -1, 2, 1, 0, 3, 1, -2, 2)
GAMMA, BETA = (2, -3, 0.5, 4), (1, -1, 2, 0)
GRADIENTS = ("d_x", "d_gamma", "d_beta")
MOVING = ("moving_mean", "moving_var")
MOVING_MEAN, MOVING_VAR = (5, -2), (4, 0.25)
HOW = {"in training": (True, True), "when predicting": (False, False)}
WITH_GRADIENTS = {"in training": (True, True), "when predicting": (False, True)}
"""Of train() or eval(), and gradients enabled or not."""
SHOWS: Mapping[str, tuple[tuple[bool, bool], tuple[str, ...]]] = {
    **{f"forward {how}": (mode, ("y",)) for how, mode in HOW.items()},
    **{f"gradients {how}": (mode, GRADIENTS) for how, mode in WITH_GRADIENTS.items()},
    **{f"finite differences {how}": (mode, GRADIENTS) for how, mode in WITH_GRADIENTS.items()},
    "first update": (HOW["in training"], MOVING),
    "updates in order": (HOW["in training"], MOVING),
    "left alone when predicting": (HOW["when predicting"], MOVING),
}
"""Checks that a small input can show, by their name without the layout: in which mode, and which
quantities."""
NAMES = {"moving_mean": "moving mean", "moving_var": "moving variance"}
MOST_ROWS = 12
"""Numbers that an example lists."""


@functools.lru_cache
def small(shape: tuple[int, ...], dtype: torch.dtype) -> Situation:
    """Return a situation of whole numbers; the shape is (N, C, ...)."""

    def numbers(values: Sequence[float], *size: int) -> Tensor:
        repeated = itertools.islice(itertools.cycle(values), math.prod(size))
        return torch.tensor([*repeated], dtype=torch.float64).to(dtype).double().view(size)

    channels = shape[1]
    return Situation(
        x=numbers(X, *shape),
        g=numbers(G, *shape),
        gamma=numbers(GAMMA, channels),
        beta=numbers(BETA, channels),
        moving_mean=numbers(MOVING_MEAN, channels),
        moving_var=numbers(MOVING_VAR, channels),
    )


def shapes_of(family: Family, rank: int) -> list[tuple[int, ...]]:
    """Return the shapes of small inputs of a rank, (N, C, ...)."""
    shapes = (SHAPES if family == "batch" else SHAPES_OF_ONE)[rank]
    return [(examples, CHANNELS[family], *positions) for examples, *positions in shapes]


@dataclass(frozen=True)
class SmallPass(Record):
    """A pass on a small input, with gradients enabled or not; None where it raised."""

    shape: tuple[int, ...]
    training: bool
    grad: bool
    result: Pass | None


@dataclass(frozen=True)
class SmallPasses(Record):
    """The passes on small inputs of the main ranks that the norm accepts, the smallest first."""

    passes: list[SmallPass]


@experiment("smallest input")
def smallest(subject: Subject) -> SmallPasses:
    """Run small inputs in training and when predicting."""
    record = SmallPasses([])
    family = subject.construction.family
    for shape in (one for rank in subject.main_ranks for one in shapes_of(family, rank)):
        for training, grad in ((True, True), (False, False), (False, True)):
            one = None
            with contextlib.suppress(Exception):
                one = subject.run(small(shape, subject.dtype), training=training, grad=grad)
            record.passes.append(SmallPass(shape, training, grad, one))
    return record


def example_of(case: Case, check: Check) -> Example | None:
    """Return the smallest input that shows what fails a check; of one that passes, the first.

    None where the check is about something else than the numbers of a single pass.
    """
    seen = case.observations.get(smallest.name)  # where nothing is found, it is not made
    record = None if seen is None else seen.record
    mode, quantities = SHOWS.get(check.base, (None, ()))
    if record is None or mode is None:
        return None
    first = None
    for one in record.passes:
        is_of_rank = check.rank in (None, len(one.shape))
        if one.result is None or (one.training, one.grad) != mode or not is_of_rank:
            continue
        shown = _example(case, one, one.result, quantities)
        if shown.differs:
            return shown
        first = first or shown
    return first


def _example(case: Case, one: SmallPass, result: Pass, quantities: Sequence[str]) -> Example:
    situation = case.restrict(small(one.shape, case.dtype))
    right = simulate(case.right, situation, training=one.training, grad=one.grad)
    seen = {"y": result.y} | result.gradients | result.moving
    seen, right = map(case.construction.all_given, (seen, right))
    named = [name for name in quantities if name in seen and seen[name].shape == right[name].shape]
    by_example = case.construction.family in ("layer", "rms")
    rows = [
        row
        for name in named
        for row in _rows(name, seen[name], right[name], case.tolerance, by_example)
    ]
    if len(rows) > MOST_ROWS and any(row.differs for row in rows):
        rows.sort(key=lambda row: not row.differs)
    given = _given(case, situation, quantities, one.training)
    if "y" in quantities or "d_x" in quantities:
        given["eps"] = float(f"{case.right.formula(one.training, one.grad).eps.value:.4g}")
        if case.construction.family == "group":
            given["groups"] = case.construction.groups
    return Example(one.training, given, tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS))


def _rows(
    name: str, seen: Tensor, right: Tensor, tolerance: float, by_example: bool
) -> Iterator[Row]:
    """Yield the values of a quantity, each with its index, in the order in which they are used."""
    order = list(itertools.product(*map(range, seen.shape)))
    indices = order
    if seen.dim() > 1 and not by_example:
        indices = sorted(order, key=lambda index: index[1])
    observed, expected = (
        dict(zip(order, t.flatten().tolist(), strict=True)) for t in (seen, right)
    )
    for index in indices:
        one, other = observed[index], expected[index]
        is_near = one == other or abs(one - other) <= tolerance * max(1.0, abs(other))
        yield Row(f"{NAMES.get(name, name)}{list(index)}", one, other, not is_near)


def _given(
    case: Case, situation: Situation, quantities: Sequence[str], training: bool
) -> dict[str, Any]:
    """Return what the quantities are computed from, in the layout of the class."""
    names = ["x"]
    if "moving_mean" not in quantities:
        names += [name for name in ("gamma", "beta") if getattr(case.parts, name)]
    if "d_x" in quantities:
        names += ["g"]
    if case.parts.moves and (not training or "moving_mean" in quantities):
        names += MOVING
    values = {name: getattr(situation, name) for name in names}
    values |= {name: case.construction.given(values[name]) for name in ("x", "g") if name in names}
    return {NAMES.get(name, name): _whole(value.tolist()) for name, value in values.items()}


def _whole(values: Any) -> Any:
    """Return nested lists of numbers, the whole ones without a decimal point."""
    if isinstance(values, list):
        return [_whole(value) for value in values]
    return int(values) if values == int(values) else values
