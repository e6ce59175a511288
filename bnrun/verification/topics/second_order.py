"""Second derivatives: what a gradient penalty, or an optimizer of second order, needs.

They go wrong in a backward pass that is written out: it is differentiated as any other code, and
what it takes as a number, though it depends on the input, has no derivative.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.experiment import describe, experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, combined, failed, passed, skipped
from bnrun.verification.situations import LAYOUTS, plain
from bnrun.verification.subject import NotOffered, Record, Subject
from bnrun.verification.topics.gradients import FINITE_DIFFERENCES

# fmt: off
WRONG_TWICE = Fault(
    "second-derivatives-wrong",
    "Second derivatives are wrong: what the backward pass computes with, such as a saved x_hat or "
    "mean, counts as a constant when it is differentiated again. A gradient penalty is then "
    "silently wrong.",
    "Save inputs and outputs alone (ctx.save_for_backward(x, gamma)), and compute everything else "
    "from them in backward; or mark backward with @torch.autograd.function.once_differentiable, so "
    "that it raises.",
    of_values=True)
# fmt: on

STEP = 1e-5
"""Distance of the finite differences, in units of the inputs."""
LARGEST_ERROR = 1e-6
"""Largest difference that rounding explains, relative to the derivative or to 1."""


@dataclass(frozen=True)
class Derivative(Record):
    """A derivative of the gradients, along a random direction of the inputs and the parameters.

    Attributes:
        training, rank: where it was taken.
        by_graph: by differentiating the backward pass; None where that raises.
        by_differences: by differences of gradients.
        message: the error of differentiating it.
    """

    training: bool
    rank: int
    by_graph: float | None
    by_differences: float
    message: str = ""

    @property
    def error(self) -> float:
        """Return how far both lie apart, relative to the derivative or to 1."""
        assert self.by_graph is not None
        error = abs(self.by_graph - self.by_differences) / max(1.0, abs(self.by_differences))
        return error if math.isfinite(error) else math.inf


@dataclass(frozen=True)
class Derivatives(Record):
    """The derivatives, in training and when predicting."""

    taken: list[Derivative]


@experiment("second derivatives")
def second(subject: Subject) -> Derivatives:
    """Differentiate the gradients along a direction, by autograd and by differences."""
    if subject.dtype != torch.float64:
        raise NotOffered("finite differences need float64")
    where = [(True, rank) for rank in subject.main_ranks] + [(False, subject.rank)]
    return Derivatives([_derivative(subject, rank, training) for training, rank in where])


def _derivative(subject: Subject, rank: int, training: bool) -> Derivative:
    situation = subject.situation(plain, rank)
    layer = subject.build(rank, situation)
    learned = [tensor for tensor in (*layer.gammas, *layer.betas) if tensor.requires_grad]
    point = [layer.own(situation.x), layer.own(situation.g), *(t.detach() for t in learned)]
    point = [values.clone() for values in point]
    generator = torch.Generator().manual_seed(rank)
    weights, direction = (
        [torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device) for t in point]
        for _ in range(2)
    )

    def weigh(values: list[Tensor], create_graph: bool) -> tuple[Tensor, list[Tensor]]:
        """Return the sum of all gradients, each value times a weight, and what it depends on."""
        x, g = (one.detach().requires_grad_() for one in values[:2])
        with torch.no_grad():
            for own, value in zip(learned, values[2:], strict=True):
                own.copy_(value)
        layer.set_moving(situation.moving_mean, situation.moving_var)
        y = layer.forward(x.clone(), training=training, grad=True)
        gradients = torch.autograd.grad(
            y, [x, *learned], g, create_graph=create_graph, materialize_grads=True
        )
        pairs = zip(gradients, (weights[0], *weights[2:]), strict=True)
        terms = [(gradient * weight).sum() for gradient, weight in pairs]
        return torch.stack(terms).sum(), [x, g, *learned]

    def difference(step: float) -> Tensor:
        shifted = [one + step * way for one, way in zip(point, direction, strict=True)]
        return weigh(shifted, False)[0].detach()

    by_differences = float(difference(STEP) - difference(-STEP)) / (2 * STEP)
    total, inputs = weigh(point, True)
    try:
        if total.requires_grad:
            torch.autograd.backward(total)  # of the whole graph: some of it may refuse
    except Exception as error:
        return Derivative(training, rank, None, by_differences, describe(error))
    along = [
        (one.grad * way).sum()
        for one, way in zip(inputs, direction, strict=True)
        if one.grad is not None
    ]
    return Derivative(training, rank, float(sum(along)), by_differences)


@check(
    second,
    "mathematics",
    "the derivatives of the gradients, as gradient penalties need them",
    on_trouble=lambda case, message: skipped("its gradients cannot be computed"),
)
def _second(case: Case) -> Outcome:
    if case.narrowing is not None:
        return skipped("it has not float64's precision")
    first = [case.record(differences) for differences in FINITE_DIFFERENCES.values()]
    if any(record is None or any(record.errors.values()) for record in first):
        return skipped("its first derivatives are wrong")
    return combined(_judge(one) for one in case.require(second).taken)


def _judge(derivative: Derivative) -> Outcome:
    """Judge a derivative by the gradients themselves, which are right or wrong elsewhere."""
    if derivative.by_graph is None:
        return skipped(f"differentiating its backward pass raises {derivative.message}")
    if derivative.error <= LARGEST_ERROR:
        return passed()  # without the error: that is of the differences
    how = "in training" if derivative.training else "when predicting"
    note = (
        f"{how}, {LAYOUTS[derivative.rank]}, along a random direction it is "
        f"{derivative.by_graph:.6g}, expected {derivative.by_differences:.6g}"
    )
    return failed(WRONG_TWICE, error=derivative.error, note=note)
