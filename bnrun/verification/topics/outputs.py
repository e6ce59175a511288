"""The output: for inputs of each rank, and at the edges.

Edges are variances below eps or of 0, means of a million, tiny and odd shapes.
"""

import functools
import math
from dataclasses import dataclass

import torch

from bnrun.verification.check import Case, check, check_ranks, simulation
from bnrun.verification.diagnostic_passes import PREDICTING, TRAINING
from bnrun.verification.experiment import describe, experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, combined, failed, skipped, trouble
from bnrun.verification.recipe import Recipe, deviations
from bnrun.verification.situations import faint, far, level, make_situation, odd_shapes_of, plain
from bnrun.verification.subject import Pass, Record, Subject

# fmt: off
NOT_FINITE = Fault(
    "output-not-finite",
    "The output is NaN or infinite for an ordinary input.",
    "Print what goes into each root and each division: something is negative, or 0.")
CANCELS = Fault(
    "variance-cancels",
    "The variance is lost to rounding where the mean is large beside the spread, as in "
    "E[x²] - E[x]².",
    "Subtract the mean first: ((x - mean) ** 2).mean(...), or x.var(...).", of_values=True)
NOT_FINITE_AT_ZERO = Fault(
    "not-finite-at-zero-variance",
    "A variance of 0, that of equal values, gives an output or a gradient that is not finite.",
    "Divide by sqrt(var + eps), with a positive eps inside the root: the gradient of sqrt is "
    "infinite at 0.",
    of_values=True)
# fmt: on

# Multiples of the usual tolerance, where any formula loses digits
FAR_SLACK = 1e3  # at a mean of a million, those of the mean
LEVEL_SLACK = 1e2  # at a variance of 0, the rounding of the mean is divided by sqrt(eps)
HALVES = (torch.float16, torch.bfloat16)
TOO_FEW_DIGITS = "too few digits in this dtype"


@experiment("large mean, small spread")
def large_mean(subject: Subject) -> Pass:
    """Train where means are large beside the spread."""
    return subject.run(subject.situation(far), training=True)


@experiment("channels of one value")
def level_channels(subject: Subject) -> Pass:
    """Train where every variance is 0."""
    return subject.run(subject.situation(level), training=True)


@dataclass(frozen=True)
class OddShape(Record):
    """A pass in training on an input of some shape, or the error that it raised."""

    shape: tuple[int, ...]
    result: Pass | None
    error: str = ""


@dataclass(frozen=True)
class OddShapes(Record):
    """What happened at each odd shape that has a rank which the norm accepts."""

    passes: list[OddShape]


@experiment("tiny and odd shapes")
def odd_shapes(subject: Subject) -> OddShapes:
    """Train on an input of each shape."""
    record = OddShapes([])
    of_family = odd_shapes_of(**subject.construction.inputs)
    shapes = [shape for shape in of_family if len(shape) in subject.construction.ranks]
    for shape in (shape for shape in shapes if subject.accepts(len(shape))):
        try:
            one = OddShape(shape, subject.run(make_situation(shape, subject.dtype), training=True))
        except Exception as error:
            one = OddShape(shape, None, describe(error))
        record.passes.append(one)
    return record


def _forward(case: Case, rank: int, training: bool) -> Outcome:
    passes = case.require((TRAINING if training else PREDICTING)[rank])
    expect = simulation(case.situation(plain, rank), training=training)
    return case.compare(rank, passes.plain.output, expect)


_ABOUT = "the output, from random parameters and statistics"
check_ranks("forward in training", "mathematics", _ABOUT, TRAINING)(
    functools.partial(_forward, training=True)
)
check_ranks("forward when predicting", "mathematics", _ABOUT, PREDICTING)(
    functools.partial(_forward, training=False)
)


@check(
    "variance far below eps",
    "mathematics",
    "the output where eps decides: variances near 1e-6",
    *(*TRAINING.values(), *PREDICTING.values()),
)
def _faint_variance(case: Case) -> Outcome:
    return combined(
        case.compare(
            rank, passes.faint.output, simulation(case.situation(faint, rank), training=training)
        )
        for training in (True, False)
        for rank, passes in case.passes(training)
    )


@check(
    large_mean, "mathematics", "the output at a mean of 1e6 (1e3 in float32) and a spread near 1"
)
def _large_mean(case: Case) -> Outcome:
    if case.dtype in HALVES:
        return skipped(TOO_FEW_DIGITS)
    expect = simulation(case.situation(far), training=True)
    outcome = case.compare(case.rank, case.require(large_mean).output, expect, slack=FAR_SLACK)
    if not outcome.unexplained:
        return outcome
    if case.narrowing is not None:
        return failed(case.narrowing, error=outcome.error)
    is_explained = ("training", case.rank) not in case.diagnosis.unexplained
    return failed(CANCELS, error=outcome.error) if is_explained else outcome


@check(level_channels, "mathematics", "output and gradient at a variance of 0")
def _level_channels(case: Case) -> Outcome:
    if case.dtype in HALVES:
        return skipped(TOO_FEW_DIGITS)
    record = case.require(level_channels)
    expect = simulation(case.situation(level), training=True, gradients=True)
    values = record.output | {k: d_x for k, d_x in record.gradients.items() if k == "d_x"}
    if all(bool(one.isfinite().all()) for one in values.values()):
        return case.compare(case.rank, record.output, expect, slack=LEVEL_SLACK)

    def finite(recipe: Recipe) -> bool:
        return all(bool(expect(recipe)[name].isfinite().all()) for name in values)

    recipe = case.recipe(case.rank)
    # A dialect, such as another eps, excuses no output that is not finite.
    mistakes = (one for one in deviations(recipe, case.right) if not one.fault.is_dialect)
    needed = [one.fault for one in mistakes if finite(one.without)]
    if finite(recipe) or not needed:
        needed = [NOT_FINITE_AT_ZERO]
    return failed(*dict.fromkeys(needed), error=math.inf)


@check(
    odd_shapes,
    "mathematics",
    "batches of 1 and 2, one position, and the like",
)
def _odd_shapes(case: Case) -> Outcome:
    return combined(_judge_shape(case, odd) for odd in case.require(odd_shapes).passes)


def _judge_shape(case: Case, odd: OddShape) -> Outcome:
    in_parts = case.recipe(len(odd.shape)).training.parts.fault
    if odd.result is None and in_parts is not None:
        return failed(in_parts, note=f"{odd.error} for an input of {odd.shape}")
    if odd.result is None:
        return failed(trouble("raised", f"{odd.error} for an input of {odd.shape}"))
    situation = case.restrict(make_situation(odd.shape, case.dtype))
    moving = odd.result.moving if case.ways.has_moving else {}
    observed = odd.result.output | moving
    return case.compare(len(odd.shape), observed, simulation(situation, training=True))
