"""Copies of a layer, by state_dict, deepcopy and pickle: equal predictions, and nothing shared."""

import copy
import functools
import io
import pickle
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from bnrun.verification.check import Case, check
from bnrun.verification.diagnostic_passes import Outputs
from bnrun.verification.distance import worst_difference
from bnrun.verification.experiment import Experiment, describe, experiment
from bnrun.verification.fault import OF_BATCH, Fault
from bnrun.verification.outcome import Outcome, failed, passed
from bnrun.verification.situations import Situation, plain
from bnrun.verification.subject import Layer, Record, Subject, changed
from bnrun.verification.topics.registration import MISSING, registration

# fmt: off
IN_ATTRIBUTES = Fault(
    "statistics-not-in-state-dict",
    "The moving statistics are plain attributes: state_dict() leaves them out, so a saved model "
    "predicts wrongly when loaded, and .to() and .double() leave them behind.",
    "Register them under the names they have: self.register_buffer('moving_mean', "
    "torch.zeros(num_features)), and so on.",
    families=OF_BATCH)
NOT_PERSISTENT = Fault(
    "statistics-not-persistent",
    "The moving statistics are buffers that state_dict() leaves out (persistent=False), so a "
    "saved model predicts wrongly when loaded.",
    "Register them without persistent=False.",
    families=OF_BATCH)
INCOMPLETE = Fault(
    "state-dict-does-not-restore",
    "A layer that loads another's state_dict predicts something else: it lacks part of the state.",
    "Keep all state in parameters and buffers.",
    of_values=True)
REFUSED = Fault(
    "state-dict-refused",
    "A new layer of the class refuses the state_dict of a used one.",
    "Keep names and shapes of parameters and buffers the same before and after training.")
COPY_FAILS = Fault(
    "cannot-be-copied",
    "copy.deepcopy of the layer fails.",
    "Store only parameters, buffers and plain values: no locks, generators or open files; and "
    "detach the tensors that you store.")
SHARES = Fault(
    "copies-share-state",
    "Training a copy of the layer changes the moving statistics of the original.",
    "Store them in buffers of the instance, not on the class or in a global variable.",
    families=OF_BATCH)
DIFFERS = Fault(
    "copies-differ",
    "A copy of the layer predicts something else than the original.",
    "Keep all state in parameters, buffers and plain attributes of the instance.",
    of_values=True)
PICKLE_FAILS = Fault(
    "cannot-be-pickled",
    "The layer cannot be pickled, so torch.save(model), and sending it to another process, fail.",
    "Store no lambdas, nested functions, generators or open files in attributes.")
# fmt: on


@dataclass(frozen=True)
class Copy(Record):
    """The predictions of a layer and its copy, or the error of copying.

    Attributes:
        shares: how training the copy changed the original's moving statistics; "" if it did not.
        missing: moving statistics that state_dict() leaves out, each a "buffer" or an "attribute".
    """

    outputs: Outputs | None = None
    error: str = ""
    shares: str = ""
    missing: dict[str, str] = field(default_factory=dict)


@experiment("state_dict")
def state_dict(subject: Subject) -> Copy:
    """Save the state of a trained layer, and load it into a new one."""
    situation = subject.situation(plain)
    layer, other = subject.build(subject.rank, situation), subject.build(subject.rank)
    layer.run(situation, training=True)  # it may change what it stores beside its state
    state = layer.module.state_dict()
    missing = {}
    for one in layer.statistics:
        owner = one.module
        path = next(name for name, part in layer.module.named_modules() if part is owner)
        for name in one.names:
            if (f"{path}." if path else "") + name not in state:
                missing[name] = "buffer" if name in owner._buffers else "attribute"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        other.module.load_state_dict(torch.load(buffer, weights_only=True))
    except Exception as error:
        return Copy(None, describe(error), missing=missing)
    return Copy(_predictions(layer, other, situation), missing=missing)


def _predictions(layer: Layer, other: Layer, situation: Situation) -> Outputs:
    return Outputs(*(one.run(situation, training=False).y for one in (layer, other)))


def _copy_by(duplicate: Callable[[nn.Module], nn.Module], subject: Subject) -> Copy:
    situation = subject.situation(plain)
    layer = subject.build(subject.rank, situation)
    try:
        other = subject.layer(duplicate(layer.module))
    except Exception as error:
        return Copy(None, describe(error))
    outputs = _predictions(layer, other, situation)
    before = layer.moving_values()
    other.run(situation, training=True)
    after = layer.moving_values()
    return Copy(outputs, shares=worst_difference(after, before) if changed(before, after) else "")


def _by_pickle(module: nn.Module) -> nn.Module:
    added = []
    for part in module.modules():  # pickle looks classes up in modules, which may be forgotten
        cls = type(part)
        if cls.__module__ not in sys.modules:
            sys.modules[cls.__module__] = types.ModuleType(cls.__module__)
            added.append(cls.__module__)
        home = sys.modules[cls.__module__]
        if "<locals>" not in cls.__qualname__ and not hasattr(home, cls.__name__):
            setattr(home, cls.__name__, cls)
    try:
        loaded: nn.Module = pickle.loads(pickle.dumps(module))
    finally:
        for name in added:
            del sys.modules[name]  # with these classes alone, a later import would find it empty
    return loaded


DEEPCOPY = Experiment("deepcopy", functools.partial(_copy_by, copy.deepcopy))
PICKLE = Experiment("pickle", functools.partial(_copy_by, _by_pickle))


def unregistered(case: Case) -> tuple[Fault, ...]:
    """Return the fault of moving statistics that state_dict() leaves out, if it does."""
    record = case.record(state_dict)
    if case.contract == "textbook" or record is None or not record.missing:
        return ()
    return (IN_ATTRIBUTES if "attribute" in record.missing.values() else NOT_PERSISTENT,)


@check(state_dict, "module contract", "it holds all state: loading it restores predictions")
def _state_dict(case: Case) -> Outcome:
    record = case.require(state_dict)
    if unregistered(case):
        return failed(*unregistered(case), note=f"missing: {', '.join(record.missing)}")
    if record.outputs is None:
        return failed(REFUSED, note=record.error)
    if record.missing:
        return passed()
    error = record.outputs.distance
    if error <= case.rounding:
        return passed(error)
    registered = case.record(registration)
    parts = {} if registered is None else registered.parts
    left_out = [MISSING[name] for name, part in parts.items() if not part.in_state_dict]
    return failed(*(left_out or [INCOMPLETE]), error=error, note=record.outputs.difference)


def _copy(case: Case, method: Experiment[Copy], fails: Fault) -> Outcome:
    record = case.require(method)
    if record.outputs is None:
        by_deepcopy = case.record(DEEPCOPY)
        both_fail = by_deepcopy is not None and by_deepcopy.outputs is None
        return failed(COPY_FAILS if both_fail else fails, note=record.error)
    error = record.outputs.distance
    if error > case.rounding:
        return failed(DIFFERS, error=error, note=record.outputs.difference)
    return failed(SHARES, note=record.shares) if record.shares else passed(error)


for method, fails in ((DEEPCOPY, COPY_FAILS), (PICKLE, PICKLE_FAILS)):
    check(method, "module contract", "a copy predicts the same, and shares nothing")(
        functools.partial(_copy, method=method, fails=fails)
    )
