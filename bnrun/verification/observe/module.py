"""Experiments on a norm as a module: what it registers, copies, converts, and leaves alone."""

import copy
import functools
import io
import pickle
import sys
import types
from collections.abc import Callable

import torch
from torch import nn

from bnrun.norms.introspection import BETA, GAMMA
from bnrun.verification.observe.experiment import Experiment, Values, describe
from bnrun.verification.situations import Situation, plain, sequence
from bnrun.verification.subject import Layer, NotOffered, Subject

RANDOM_NUMBERS = "the random numbers that come next are others"
ROLES = {"gamma": GAMMA, "beta": BETA}


def _parameters(subject: Subject) -> Values:
    """Are gamma and beta among what an optimizer would be given, or at least in the state?

    `shared` names those that are one number for all channels; `others` what else is learned.
    """
    layer = subject.build(subject.rank)
    named = dict(layer.module.named_parameters())
    kept = {id(tensor) for tensor in layer.module.state_dict(keep_vars=True).values()}
    found: Values = {"shared": [], "others": [], "parts": {}, "statistics": []}
    moving = {} if layer.moving is None else layer.moving.by_name()
    found["statistics"] = [
        name
        for name, tensor in moving.items()
        if tensor.requires_grad and any(tensor is parameter for parameter in named.values())
    ]
    for part, tensor in (("gamma", layer.gamma), ("beta", layer.beta)):
        if tensor is not None:
            is_one = any(tensor is parameter for parameter in named.values())
            learned = is_one and tensor.requires_grad
            state = {"parameter": is_one, "learned": learned, "kept": id(tensor) in kept}
            found["parts"][part] = state
    for name, parameter in named.items():
        known = (layer.gamma, layer.beta, *moving.values())
        if any(parameter is one for one in known) or not parameter.requires_grad:
            continue
        last = name.rpartition(".")[2]
        role = next((role for role, names in ROLES.items() if last in names), None)
        if parameter.numel() == 1 and role is not None:
            found["shared"].append(role)
        else:
            found["others"].append(name)
    return found


def _state_dict(subject: Subject) -> Values:
    """Is the state in `state_dict`, and does loading it restore predictions?"""
    made = plain(subject.rank, subject.dtype)
    layer, other = subject.build(subject.rank, made), subject.build(subject.rank)
    layer.run(made, training=True, grad=True)  # what it keeps beside its state shows then
    state = layer.module.state_dict()
    missing = {}
    if layer.moving is not None:
        owner = layer.moving.module
        path = next(name for name, part in layer.module.named_modules() if part is owner)
        for name in layer.moving.names:
            if (f"{path}." if path else "") + name not in state:
                missing[name] = "buffer" if name in owner._buffers else "attribute"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        other.module.load_state_dict(torch.load(buffer, weights_only=True))
    except Exception as error:
        return {"missing": missing, "error": describe(error)}
    return {"missing": missing, **_both_predict(layer, other, made)}


def _both_predict(layer: Layer, other: Layer, made: Situation) -> Values:
    first, second = (one.run(made, training=False, grad=False)["y"] for one in (layer, other))
    return {"first": first, "second": second}


def _copied(duplicate: Callable[[nn.Module], nn.Module], subject: Subject) -> Values:
    """Does a copy predict the same, and does training it leave the original alone?"""
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made)
    try:
        other = Layer(duplicate(layer.module), subject.device, subject.dtype)
    except Exception as error:
        return {"error": describe(error)}
    values = _both_predict(layer, other, made)
    before = layer.moving_values()
    other.run(made, training=True, grad=True)
    after = layer.moving_values()
    return values | {"shares": any(not torch.equal(before[k], after[k]) for k in before)}


def _pickled(module: nn.Module) -> nn.Module:
    for part in module.modules():  # classes from files beside the norm's, which are forgotten
        cls = type(part)
        if cls.__module__ not in sys.modules:
            sys.modules[cls.__module__] = types.ModuleType(cls.__module__)
        if "<locals>" not in cls.__qualname__ and not hasattr(
            sys.modules[cls.__module__], cls.__name__
        ):
            setattr(sys.modules[cls.__module__], cls.__name__, cls)
    loaded: nn.Module = pickle.loads(pickle.dumps(module))
    return loaded


def _double(subject: Subject) -> Values:
    """Build it in float32, give it a state, and call `.double()`, as a user would."""
    if subject.device.type == "mps":
        raise NotOffered("there is no float64 on mps")
    made = plain(subject.rank, torch.float32)
    layer = subject.build(subject.rank, made, dtype=torch.float32)
    layer.module.double()
    after = Layer(layer.module, subject.device, torch.float64)
    tensors = dict(layer.module.named_parameters()) | dict(layer.module.named_buffers())
    dtypes = {name: str(t.dtype) for name, t in tensors.items() if t.is_floating_point()}
    if layer.moving is not None:
        for name, tensor in zip(layer.moving.names, layer.moving.tensors(), strict=True):
            dtypes[name] = str(tensor.dtype)
    y = after.forward(after.to_own(made.x), training=True, grad=True)
    return {
        "dtypes": dtypes,
        "moving": [] if layer.moving is None else list(layer.moving.names),
        "y_dtype": str(y.dtype),
        "y": y.detach().cpu().double(),
    }


def _torch_left(subject: Subject) -> Values:
    """Does a forward pass leave torch's own state as it is?"""
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made)
    changed = []
    torch.manual_seed(20_150_211)  # that nobody seeds with
    for training in (True, False):
        random = torch.get_rng_state()
        dtype = torch.get_default_dtype()
        torch.set_grad_enabled(True)
        layer.module.train(training)
        layer.module(layer.to_own(made.x))
        if not torch.is_grad_enabled():
            changed.append("gradients are disabled")
        if torch.get_default_dtype() != dtype:
            changed.append(f"the default dtype is {torch.get_default_dtype()}")
        if not torch.equal(random, torch.get_rng_state()):
            changed.append(RANDOM_NUMBERS)
    return {"changed": list(dict.fromkeys(changed))}


def _again(subject: Subject) -> Values:
    """Train, predict, and train again on one layer; and train on a new one."""
    first, second, third = sequence(subject.rank, subject.dtype)[:3]
    layer = subject.build(subject.rank, first)
    layer.forward(layer.to_own(first.x), training=True, grad=True)
    layer.forward(layer.to_own(second.x), training=False, grad=False)
    before = layer.moving_values()
    again = layer.run(third, training=True, grad=True)
    fresh = subject.build(subject.rank, first).run(third, training=True, grad=True)
    return {
        "again": again["y"],
        "fresh": fresh["y"],
        "moved": any(not torch.equal(before[name], again[name]) for name in before),
    }


MODULE: dict[str, Experiment] = {
    "parameters": _parameters,
    "torch": _torch_left,
    "again": _again,
    "state_dict": _state_dict,
    "deepcopy": functools.partial(_copied, copy.deepcopy),
    "pickle": functools.partial(_copied, _pickled),
    "double": _double,
}
