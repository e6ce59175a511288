"""What a forward pass leaves alone: its input, its next result, and torch's own state."""

from dataclasses import dataclass

import torch

from bnrun.verification.check import Case, check
from bnrun.verification.diagnostic_passes import repeat
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed, passed, skipped
from bnrun.verification.situations import plain
from bnrun.verification.subject import Record, Subject

# fmt: off
WRITES_INTO_INPUT = Fault(
    "writes-into-input",
    "It writes into its input: whatever else uses that tensor (a skip connection, say) gets "
    "other values.",
    "Use x = x - mean instead of x -= mean, x.sub_(mean) and the like.")
OVERWRITES = Fault(
    "overwrites-what-backward-needs",
    "An operation in place (-=, *=, mul_() and the like) overwrites a tensor that the backward "
    "pass needs, so that raises.",
    "Use y = y * gamma instead of y *= gamma, y.mul_(gamma) and the like.")
NOT_REPEATABLE = Fault(
    "not-repeatable",
    "The same state and the same input give a different output the second time.",
    "Let forward depend only on its input and the layer's state.",
    of_values=True)
CHANGES_TORCH = Fault(
    "changes-torch",
    "A forward pass changes torch's own state, for everything else in the program.",
    "Use `with torch.no_grad():` instead of torch.set_grad_enabled(False), which outlasts the "
    "call. Call neither torch.manual_seed nor torch.set_default_dtype.")
# fmt: on

RANDOM_NUMBERS = "torch's random state is another"
UNUSUAL_SEED = 20_150_211  # one that no norm is likely to set


@dataclass(frozen=True)
class Changes(Record):
    """What a forward pass changed, in words."""

    changes: list[str]


@experiment("input left unchanged")
def input_afterwards(subject: Subject) -> Changes:
    """Compare the input with what it was, in training and when predicting."""
    situation = subject.situation(plain)
    record = Changes([])
    for training, how in ((True, "in training"), (False, "when predicting")):
        layer = subject.build(subject.rank, situation)
        x = layer.own(situation.x)
        layer.forward(x, training=training)
        if not torch.equal(x, layer.own(situation.x)):
            record.changes.append(how)
    return record


@experiment("torch left alone")
def torch_state(subject: Subject) -> Changes:
    """Compare torch's gradient mode, default dtype and random state with what they were."""
    situation = subject.situation(plain)
    layer = subject.build(subject.rank, situation)
    changes = []
    torch.manual_seed(UNUSUAL_SEED)
    for training in (True, False):
        random, dtype = torch.get_rng_state(), torch.get_default_dtype()
        torch.set_grad_enabled(True)
        layer.module.train(training)
        layer.module(layer.own(situation.x))
        if not torch.is_grad_enabled():
            changes.append("gradients are disabled")
        if torch.get_default_dtype() != dtype:
            changes.append(f"the default dtype is {torch.get_default_dtype()}")
        if not torch.equal(random, torch.get_rng_state()):
            changes.append(RANDOM_NUMBERS)
    return Changes(list(dict.fromkeys(changes)))


IN_PLACE = "modified by an inplace operation"
"""Part of torch's error where the backward pass needs a tensor that was overwritten."""


def from_in_place(case: Case, message: str) -> Outcome:
    """Return the failure from torch's error of an operation in place."""
    record = case.record(input_afterwards)
    writes = record is not None and record.changes
    return failed(WRITES_INTO_INPUT if writes else OVERWRITES, note=f"backward raises {message}")


def _without_forward(case: Case, message: str) -> Outcome | None:
    return None if case.ranks else skipped("no forward pass works")


@check(
    input_afterwards,
    "mathematics",
    "the input holds the same values afterwards",
    needs_forward=False,
    on_trouble=_without_forward,
)
def _input_afterwards(case: Case) -> Outcome:
    record = case.require(input_afterwards)
    if not record.changes:
        return passed()
    return failed(WRITES_INTO_INPUT, note=" and ".join(record.changes))


@check(repeat, "mathematics", "the same state and input give the same output, to the bit")
def _repeat(case: Case) -> Outcome:
    record = case.require(repeat)
    error = record.distance
    return failed(NOT_REPEATABLE, error=error) if error > 0 else passed(error)


@check(
    torch_state, "module contract", "gradients, default dtype and random numbers are as they were"
)
def _torch_state(case: Case) -> Outcome:
    record = case.require(torch_state)
    if not record.changes:
        return passed()
    outputs = case.record(repeat)
    draws = record.changes == [RANDOM_NUMBERS] and outputs is not None and outputs.distance > 0
    return failed(NOT_REPEATABLE if draws else CHANGES_TORCH, note=", ".join(record.changes))
