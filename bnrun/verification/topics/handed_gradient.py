"""The gradient that is handed to a backward pass: how it lies in memory, its size, who owns it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.distance import distance, worst_difference
from bnrun.verification.experiment import describe, experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed, passed
from bnrun.verification.situations import plain
from bnrun.verification.subject import NotOffered, Record, Subject, to_record
from bnrun.verification.topics.memory import REFUSES_GRADIENT

# fmt: off
WRITES_INTO_GRADIENT = Fault(
    "writes-into-gradient",
    "Its backward pass writes into the gradient that is handed to it: whatever else uses that (a "
    "skip connection, say) gets other values.",
    "Use g = g * gamma instead of g *= gamma, g.mul_(gamma) and the like.")
NOT_PROPORTIONAL = Fault(
    "gradient-not-proportional",
    "A gradient of y that is 100 times as large does not give one of x that is: it is clipped, "
    "scaled or rounded on the way.",
    "Hand it on as it is: d_x is linear in g. Clip gradients in the training loop.",
    of_values=True)
WRONG_LAYOUT = Fault(
    "wrong-on-non-contiguous-gradient",
    "Its backward pass gives other values for a gradient that is not contiguous in memory, such as "
    "that of a transpose.",
    "Do not rely on the storage order (as_strided, data_ptr): call .contiguous() on it first.",
    of_values=True)
# fmt: on

FACTOR = 100.3
"""A larger gradient: no power of two, whose multiples have the same digits."""


@dataclass(frozen=True)
class Handed(Record):
    """The gradients of x for gradients of y of several kinds.

    Attributes:
        usual: of a contiguous one.
        larger: of FACTOR times that.
        transposed: of one that lies transposed in memory; None where that raises.
        refusal: the error of that.
        written: whether the gradient of y had other values afterwards.
    """

    usual: Tensor
    larger: Tensor
    transposed: Tensor | None
    refusal: str
    written: str


@experiment("gradient handed in")
def handed(subject: Subject) -> Handed:
    """Go backward from the same gradient in several forms, with a new layer each."""
    situation = subject.situation(plain)

    def backward(g: Tensor) -> Tensor:
        layer = subject.build(subject.rank, situation)
        x = layer.own(situation.x).requires_grad_()
        y = layer.forward(x.clone(), training=True)
        if not y.requires_grad:
            raise NotOffered("the output has no gradient")
        (d_x,) = torch.autograd.grad(y, x, g, materialize_grads=True)
        return to_record(d_x)

    g = subject.build(subject.rank).own(situation.g)
    before = g.clone()
    usual = backward(g)
    written = ""
    if not torch.equal(g, before):
        written = worst_difference(*({"d_y": to_record(one)} for one in (g, before)))
    larger = backward(FACTOR * before)
    transposed, refusal = None, ""
    try:
        transposed = backward(before.transpose(0, -1).contiguous().transpose(0, -1))
    except Exception as error:
        refusal = describe(error)
    return Handed(usual, larger, transposed, refusal, written)


@check(handed, "mathematics", "a larger gradient, one that lies transposed in memory, its owner")
def _handed(case: Case) -> Outcome:
    record = case.require(handed)
    if record.written:
        return failed(WRITES_INTO_GRADIENT, note=record.written)
    if record.transposed is None:
        return failed(REFUSES_GRADIENT, note=record.refusal)
    error = distance(record.transposed, record.usual)
    if error > case.tolerance:
        note = worst_difference({"d_x": record.transposed}, {"d_x": record.usual})
        return failed(WRONG_LAYOUT, error=error, note=note)
    expected = FACTOR * record.usual
    error = distance(record.larger, expected)
    if error > case.tolerance:
        note = worst_difference({"d_x": record.larger}, {"d_x": expected})
        return failed(NOT_PROPORTIONAL, error=error, note=note)
    return passed(error)
