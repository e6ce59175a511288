"""Experiments on what a norm keeps of the batches that it has seen."""

import gc
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import Parameter

from bnrun.verification.observe.experiment import Experiment, Values, describe
from bnrun.verification.situations import plain
from bnrun.verification.subject import Layer, Subject

reference: Any = StorageWeakRef  # which torch leaves untyped

MEMORY_STEPS = 40


def _graph(subject: Subject) -> Values:
    """Take two steps in each mode; what of autograd's graph does the layer keep?"""
    made = plain(subject.rank, subject.dtype)
    kept: list[str] = []
    failures: list[str] = []
    for training in (True, False):
        layer = subject.build(subject.rank, made)
        for _ in range(2):
            x = layer.to_own(made.x).requires_grad_()
            y = layer.forward(x.clone(), training=training, grad=True)
            kept += [name for name, held in _held(layer) if held.grad_fn is not None]
            if not y.requires_grad:
                continue
            try:
                torch.autograd.backward(y.sum())
            except RuntimeError as error:
                failures.append(describe(error))
    return {"kept": list(dict.fromkeys(kept)), "failures": failures}


def _held(layer: Layer) -> list[tuple[str, Tensor]]:
    """Return the tensors that a layer holds, by name: those in its lists and dicts, too."""
    found: list[tuple[str, Any]] = []
    for part in layer.module.modules():
        for name, value in {**vars(part), **part._buffers}.items():
            members = [*value.values()] if isinstance(value, dict) else value
            if isinstance(members, Tensor):
                found.append((name, members))
            elif isinstance(members, list | tuple | set | deque):
                found += [(name, member) for member in members]
    return [(name, value) for name, value in found if isinstance(value, Tensor)]


def _memory(subject: Subject) -> Values:
    """Train many steps; how much of what belongs to a batch is still alive afterwards?

    `growth` is in bytes a step, over the second half of the steps. An input that autograd's graph
    keeps counts, though nobody could name it any more.
    """
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made)
    size = layer.to_own(made.x).untyped_storage().nbytes()

    def step() -> Any:
        x = layer.to_own(made.x).requires_grad_()
        layer.forward(x.clone(), training=True, grad=True)
        return reference(x.untyped_storage())

    step()
    gc.freeze()  # what there is by now is not looked at again: it is much
    try:
        inputs = [step() for _ in range(MEMORY_STEPS // 2)]
        before = _alive()
        inputs += [step() for _ in range(MEMORY_STEPS // 2)]
        growth = (_alive() - before) / (MEMORY_STEPS // 2)
        kept = size * sum(not held.expired() for held in inputs) / MEMORY_STEPS
        # The last input may live on, in a tensor that is kept until the next.
        return {"growth": max(growth, kept if kept > size / 2 else 0.0), "steps": MEMORY_STEPS}
    finally:
        gc.unfreeze()


def _alive() -> int:
    """Return the bytes of all tensors that can be reached from Python, and are not frozen."""
    gc.collect()
    storages = (o.untyped_storage() for o in gc.get_objects() if type(o) in (Tensor, Parameter))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


KEEPING: dict[str, Experiment] = {"graph": _graph, "memory": _memory}
