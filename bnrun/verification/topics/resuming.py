"""A layer that loads another's state goes on as that one does: predicting, and training."""

import copy
from dataclasses import dataclass

import torch

from bnrun.verification.check import Case, check
from bnrun.verification.diagnostic_passes import Outputs
from bnrun.verification.distance import worst_difference
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed, passed, skipped
from bnrun.verification.situations import sequence
from bnrun.verification.subject import Layer, NotOffered, Record, Subject, to_record
from bnrun.verification.topics.copies import state_dict
from bnrun.verification.topics.switching import OLD_STATE, again

# fmt: off
OLD_PREDICTIONS = Fault(
    "loaded-state-ignored",
    "A layer that has predicted before goes on predicting with its old state when it loads "
    "another.",
    "Compute what goes into a prediction (a folded scale and shift, say) anew each time; or forget "
    "it in load_state_dict, too.",
    of_values=True)
FORGETS = Fault(
    "state-lost-when-saved",
    "Training goes on differently after its state is saved and loaded: state_dict() leaves out "
    "part of what it remembers, such as a flag or a count of batches.",
    "Register it: self.register_buffer('batches', torch.tensor(0)), and count in that.",
    of_values=True)
# fmt: on

BATCHES = 3
"""Batches before the state is saved."""


@dataclass(frozen=True)
class Resumed(Record):
    """What a used layer does and, in pairs with it, another one that has loaded its state.

    Attributes:
        predicts: of the same batch; the other one has predicted before it loaded.
        trains, moved: the output of the next batch in training, and the moving statistics after it.
    """

    predicts: Outputs
    trains: Outputs
    moved: Outputs | None


@experiment("after loading")
def resumed(subject: Subject) -> Resumed:
    """Train, save, load into a layer that is in use, and go on with both."""
    inputs = subject.construction.inputs
    *batches, last = sequence(subject.rank, subject.dtype, **inputs)[: BATCHES + 1]
    layer, other = (subject.build(subject.rank, batches[0]) for _ in range(2))
    for batch in batches:
        layer.forward(layer.own(batch.x), training=True)
    other.forward(other.own(last.x), training=False)
    state = copy.deepcopy(layer.module.state_dict())
    try:
        other.module.load_state_dict(state)
    except Exception as error:
        raise NotOffered("a layer refuses the state of another") from error

    x = layer.own(last.x)
    with torch.no_grad():  # without eval() before it, since there was one before loading
        prediction = to_record(other.module(x.clone()))
    predicts = Outputs(to_record(layer.forward(x.clone(), training=False)), prediction)
    trains = Outputs(*(to_record(one.forward(x.clone(), training=True)) for one in (layer, other)))
    moved = [_stacked(one) for one in (layer, other)]
    both = None if moved[0] is None or moved[1] is None else Outputs(moved[0], moved[1])
    return Resumed(predicts, trains, both)


def _stacked(layer: Layer) -> torch.Tensor | None:
    values = layer.moving_values()
    return torch.stack([*values.values()]) if values else None


@check(resumed, "module contract", "a layer that loads another's state goes on as that one does")
def _resumed(case: Case) -> Outcome:
    record = case.require(resumed)
    saved = case.record(state_dict)
    if saved is None or saved.missing or saved.outputs is None:
        return skipped("its state_dict does not hold its state")
    if saved.outputs.distance > case.tolerance:
        return skipped("its state_dict does not restore its predictions")
    error = record.predicts.distance
    if error > case.tolerance:
        traces = case.record(again)
        is_old = traces is not None and traces.predicts.distance > case.tolerance
        fault = OLD_STATE if is_old else OLD_PREDICTIONS
        return failed(fault, error=error, note=record.predicts.difference)
    error = record.trains.distance
    if error > case.tolerance:
        return failed(FORGETS, error=error, note=record.trains.difference)
    if record.moved is None or record.moved.distance <= case.tolerance:
        return passed(error)
    loaded, usual = (
        dict(zip(("moving_mean", "moving_var"), one, strict=True))
        for one in (record.moved.second, record.moved.first)
    )
    note = worst_difference(loaded, usual)
    return failed(FORGETS, error=record.moved.distance, note=note)
