"""What a norm holds of the batches that it has seen: autograd's graph, or memory."""

import gc
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import Parameter

from bnrun.norms.introspection import named_values
from bnrun.verification.check import Case, check
from bnrun.verification.experiment import describe, experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed, passed
from bnrun.verification.situations import Situation, plain
from bnrun.verification.subject import Layer, Record, Subject

# fmt: off
KEEPS_GRAPH = Fault(
    "keeps-graph",
    "The layer keeps autograd's graph of past batches alive: memory grows with every step, and a "
    "second backward pass may fail.",
    "Store only what has no graph: computed under torch.no_grad(), or from mean.detach() and "
    "var.detach().")
HOLDS_GRAPH = Fault(
    "holds-last-graph",
    "An attribute holds a tensor of autograd's graph until the next batch: copy.deepcopy of the "
    "layer then fails, and the batch's memory is not freed.",
    "Detach it: self.x = x.detach().")
REFUSES_GRADIENT = Fault(
    "refuses-non-contiguous-gradient",
    "Its backward pass refuses a gradient that is not contiguous in memory, such as that of a sum "
    "or of a transpose.",
    "Call .contiguous() on the gradient first, or index by dimension.")
GROWS = Fault(
    "memory-grows",
    "Memory grows with every training step, though no graph is kept: the layer stores something "
    "of each batch.",
    "Store no lists of what has been seen.")
# fmt: on

MEMORY_STEPS = 40
LEAST_GROWTH = 4.0
"""Bytes per batch: the size of one float32 number."""

weak_reference: Any = StorageWeakRef  # torch leaves it untyped


@dataclass(frozen=True)
class Graph(Record):
    """What two steps left behind.

    Attributes:
        attributes: those that held autograd's graph after a step.
        failures: errors of backward passes.
        refused: those that a gradient contiguous in memory does not raise; that of a sum is not.
    """

    attributes: list[str]
    failures: list[str]
    refused: list[str]


@experiment("no graph kept")
def graph(subject: Subject) -> Graph:
    """Take two steps in each mode."""
    situation = subject.situation(plain)
    record = Graph([], [], [])
    for training in (True, False):
        layer = subject.build(subject.rank, situation)
        for _ in range(2):
            x = layer.own(situation.x).requires_grad_()
            y = layer.forward(x.clone(), training=training, grad=True)
            for name, tensor in _attributes(layer):
                if tensor.grad_fn is not None and name not in record.attributes:
                    record.attributes.append(name)
            try:
                if y.requires_grad:
                    torch.autograd.backward(y.sum())
            except Exception as error:
                is_refused = _takes_contiguous(subject, situation, training)
                (record.refused if is_refused else record.failures).append(describe(error))
    return record


def _takes_contiguous(subject: Subject, situation: Situation, training: bool) -> bool:
    """Return whether new layers go backward from a contiguous gradient, and not from a sum's."""
    works = []
    for is_sum in (False, True):
        layer = subject.build(subject.rank, situation)
        y = layer.forward(
            layer.own(situation.x).requires_grad_().clone(), training=training, grad=True
        )
        try:
            torch.autograd.backward(
                y.sum() if is_sum else y, None if is_sum else torch.ones_like(y)
            )
            works.append(True)
        except Exception:
            works.append(False)
    return works == [True, False]


def _attributes(layer: Layer) -> list[tuple[str, Tensor]]:
    """Return the tensors that a layer holds, by name, with those in its lists and dicts."""
    tensors: list[tuple[str, Any]] = []
    for part in layer.module.modules():
        for name, value in named_values(part).items():
            members = [*value.values()] if isinstance(value, dict) else value
            if isinstance(members, Tensor):
                tensors.append((name, members))
            elif isinstance(members, list | tuple | set | deque):
                tensors += [(name, member) for member in members]
    return [(name, value) for name, value in tensors if isinstance(value, Tensor)]


@dataclass(frozen=True)
class Memory(Record):
    """Bytes still alive for each batch, over the second half of many steps; and a batch's bytes."""

    growth: float
    batch_bytes: int


@experiment("memory over many steps")
def memory(subject: Subject) -> Memory:
    """Train many steps. An input counts, too, that only autograd's graph can reach."""
    situation = subject.situation(plain)
    layer = subject.build(subject.rank, situation)
    size = layer.own(situation.x).untyped_storage().nbytes()

    def step() -> Any:
        x = layer.own(situation.x).requires_grad_()
        layer.forward(x.clone(), training=True)
        return weak_reference(x.untyped_storage())

    step()
    gc.freeze()  # the many objects that exist by now need not be searched again
    try:
        inputs = [step() for _ in range(MEMORY_STEPS // 2)]
        before = _bytes_alive()
        inputs += [step() for _ in range(MEMORY_STEPS // 2)]
        growth = (_bytes_alive() - before) / (MEMORY_STEPS // 2)
        alive = size * sum(not reference.expired() for reference in inputs) / MEMORY_STEPS
        # The last input may be held by a tensor that is replaced at the next step.
        return Memory(max(growth, alive if alive > size / 2 else 0.0), size)
    finally:
        gc.unfreeze()


def _bytes_alive() -> int:
    """Return the bytes of all tensors that Python can reach and that are not frozen."""
    gc.collect()
    storages = (o.untyped_storage() for o in gc.get_objects() if type(o) in (Tensor, Parameter))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@check(graph, "moving statistics", "nothing of autograd's graph outlives a step")
def _graph(case: Case) -> Outcome:
    record = case.require(graph)
    if record.refused:
        return failed(REFUSES_GRADIENT, note=record.refused[0])
    if record.failures:
        return failed(KEEPS_GRAPH, note=record.failures[0])
    if not record.attributes:
        return passed()
    used = case.record(memory)
    grows = used is None or used.growth >= LEAST_GROWTH
    note = f"a grad_fn after a step, of {', '.join(record.attributes)}"
    return failed(KEEPS_GRAPH if grows else HOLDS_GRAPH, note=note)


@check(memory, "moving statistics", "nothing of a batch is held after many steps")
def _memory(case: Case) -> Outcome:
    record = case.require(memory)
    if record.growth < LEAST_GROWTH:
        return passed()
    alive = case.record(graph)
    keeps_graph = alive is not None and (alive.attributes or alive.failures)
    each = f"each batch, whose input has {record.batch_bytes} bytes"
    note = f"{record.growth:.0f} bytes more with {each}"
    return failed(KEEPS_GRAPH if keeps_graph else GROWS, note=note)
