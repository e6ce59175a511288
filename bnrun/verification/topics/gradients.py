"""The gradients of x, gamma and beta: against the formula, and against the norm's own output."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check, check_ranks, simulation
from bnrun.verification.diagnostic_passes import PREDICTING_WITH_GRADIENTS, TRAINING
from bnrun.verification.experiment import Experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import UNEXPLAINED, Outcome, failed, passed
from bnrun.verification.situations import make_situation, plain
from bnrun.verification.subject import NotOffered, Record, Subject

# fmt: off
DETACHED = Fault(
    "output-detached",
    "The output has no gradient at all: neither the input nor gamma and beta would ever learn.",
    "Compute the output with gradients enabled; no_grad() is for updates of statistics alone.")
# fmt: on

# Examples and positions: few, so that one value weighs something
SMALL_SIZES = {2: (4, ()), 3: (2, (3,)), 4: (2, (2, 1)), 5: (2, (2, 1, 1))}
STEP = 1e-5
"""Distance of the finite differences, in units of the inputs."""
LARGEST_ERROR = 1e-6
"""Largest disagreement that rounding explains, relative to the derivative or to 1."""
BACKWARD = {True: TRAINING, False: PREDICTING_WITH_GRADIENTS}
HOW = {True: "in training", False: "when predicting"}


@dataclass(frozen=True)
class FiniteDifferences(Record):
    """How gradients and finite differences disagree, by rank of input; "" where they agree."""

    errors: dict[int, str]


def _finite_differences(training: bool, subject: Subject) -> FiniteDifferences:
    if subject.dtype != torch.float64:
        raise NotOffered("finite differences need float64")
    return FiniteDifferences({r: _disagreement(subject, r, training) for r in subject.main_ranks})


def _disagreement(subject: Subject, rank: int, training: bool) -> str:
    """Return how gradients and differences disagree along a random direction of all inputs.

    One direction takes two passes, where torch's gradcheck takes a dozen.
    """
    examples, positions = SMALL_SIZES[rank]
    shape = (examples, subject.construction.channels, *positions)
    situation = make_situation(shape, subject.dtype)
    layer = subject.build(rank, situation)
    learned = [tensor for tensor in (*layer.gammas, *layer.betas) if tensor.requires_grad]
    point = [layer.own(situation.x), *(tensor.detach().clone() for tensor in learned)]
    generator = torch.Generator().manual_seed(rank)
    weights, *direction = (
        torch.randn(one.shape, generator=generator, dtype=one.dtype).to(one.device)
        for one in (point[0], *point)
    )

    def weigh(step: float) -> tuple[Tensor, Tensor]:
        """Return the sum of the output, each value times a weight, at some place; and x."""
        x, *values = (one + step * way for one, way in zip(point, direction, strict=True))
        with torch.no_grad():
            for own, value in zip(learned, values, strict=True):
                own.copy_(value)
        layer.set_moving(situation.moving_mean, situation.moving_var)
        x.requires_grad_()
        y = layer.forward(x.clone(), training=training, grad=True)
        return (weights * y).sum(), x

    total, x = weigh(0.0)
    by_gradients = 0.0
    if total.requires_grad:
        gradients = torch.autograd.grad(total, [x, *learned], materialize_grads=True)
        by_gradients = sum(
            float((one * way).sum()) for one, way in zip(gradients, direction, strict=True)
        )
    above, below = (weigh(step)[0].detach() for step in (STEP, -STEP))
    by_differences = float(above - below) / (2 * STEP)
    if abs(by_gradients - by_differences) <= LARGEST_ERROR * max(1.0, abs(by_differences)):
        return ""
    return (
        f"along a random direction of all inputs, the gradients give {by_gradients:.6g}, and "
        f"differences of the output {by_differences:.6g}"
    )


FINITE_DIFFERENCES = {
    training: Experiment(
        f"finite differences {how}", functools.partial(_finite_differences, training)
    )
    for training, how in HOW.items()
}


def _gradients(case: Case, rank: int, training: bool) -> Outcome:
    record = case.require(BACKWARD[training][rank]).plain
    if not record.connected:
        return failed(DETACHED, note="y.requires_grad is False")
    expect = simulation(case.situation(plain, rank), training=training, grad=True, gradients=True)
    outcome = case.compare(rank, record.gradients, expect)
    differences = case.record(FINITE_DIFFERENCES[training])
    if outcome.unexplained and differences is not None and differences.errors.get(rank) == "":
        note = "right for its own output: the gradients follow from the fault in that"
        return failed(UNEXPLAINED, error=outcome.error, note=note)
    return outcome


def _differences(case: Case, training: bool) -> Outcome:
    """Judge the gradients by the norm's own output, right or wrong."""
    record = case.require(FINITE_DIFFERENCES[training])
    wrong = {rank: text for rank, text in record.errors.items() if text}
    if not wrong:
        return passed()
    if case.narrowing is not None:
        return failed(case.narrowing)
    passes = [case.record(BACKWARD[training][rank]) for rank in wrong]
    if any(one is not None and not one.plain.connected for one in passes):
        return failed(DETACHED, note="y.requires_grad is False")
    faults = [fault for rank in wrong for fault in _faults(case, rank, training)]
    if not faults:
        return failed(UNEXPLAINED, note=next(iter(wrong.values())))
    return failed(*dict.fromkeys(faults), note=next(iter(wrong.values())))


def _passes_raise(case: Case, message: str, training: bool) -> Outcome | None:
    """Return the failure of the pass that finite differences are made of, if that raises, too."""
    for rank in (rank for rank in case.construction.main_ranks if rank in case.ranks):
        seen = case.of(BACKWARD[training][rank])
        if seen.trouble is not None:
            return case.failed_from(seen.trouble, seen.message)
    return None


def _faults(case: Case, rank: int, training: bool) -> list[Fault]:
    """Return the diagnosed faults that finite differences can show.

    The source of the statistics is one: those that are not the batch's may be constants.
    """
    recipe = case.recipe(rank)
    part = "training" if recipe.mode.value(training, True) else "predicting"
    ours, right = getattr(recipe, part), getattr(case.right, part)
    slots = ("x_gradient", "gamma_gradient", "beta_gradient", "source")
    choices = [getattr(ours, s) for s in slots if getattr(ours, s) is not getattr(right, s)]
    return [choice.fault for choice in choices if choice.fault is not None]


for training, how in HOW.items():
    check_ranks(
        f"gradients {how}",
        "mathematics",
        "the gradients of x, gamma and beta, against those of the formula",
        BACKWARD[training],
    )(functools.partial(_gradients, training=training))
for training in HOW:
    check(
        FINITE_DIFFERENCES[training],
        "mathematics",
        "the gradients against finite differences of its own output",
        on_trouble=functools.partial(_passes_raise, training=training),
    )(functools.partial(_differences, training=training))
