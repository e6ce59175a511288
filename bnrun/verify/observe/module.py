"""Experiments on a norm as a module: what it registers, copies, converts, offers and refuses."""

import contextlib
import copy
import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.norms.parts import BETA, GAMMA
from bnrun.verify.observe.experiment import Experiment, Values, describe
from bnrun.verify.situations import CHANNELS, Situation, plain, sequence, situation
from bnrun.verify.subject import EPS_NAMES, Layer, NotOffered, Subject

ROLES = {"gamma": GAMMA, "beta": BETA}
OTHER_EPS = 0.5  # values to build with, far from the usual ones
OTHER_MOMENTUM = 0.3


def _offers(subject: Subject) -> Values:
    """What the class has; what is missing is not looked for any further."""
    layer = subject.build(subject.rank)
    stated = next((getattr(layer.module, name, None) for name in EPS_NAMES), None)
    return {
        "gamma": layer.gamma is not None,
        "beta": layer.beta is not None,
        "moving": layer.moving is not None,
        "asks_rank": subject.asks_rank,
        "eps": float(stated) if isinstance(stated, int | float) else None,
    }


def _parameters(subject: Subject) -> Values:
    """Are gamma and beta among what an optimizer would be given, or at least in the state?

    `shared` names those that are one number for all channels; `others` what else is learned.
    """
    layer = subject.build(subject.rank)
    named = dict(layer.module.named_parameters())
    kept = {id(tensor) for tensor in layer.module.state_dict(keep_vars=True).values()}
    found: Values = {"shared": [], "others": [], "parts": {}}
    for part, tensor in (("gamma", layer.gamma), ("beta", layer.beta)):
        if tensor is not None:
            is_one = any(tensor is parameter for parameter in named.values())
            learned = is_one and tensor.requires_grad
            state = {"parameter": is_one, "learned": learned, "kept": id(tensor) in kept}
            found["parts"][part] = state
    for name, parameter in named.items():
        if parameter is layer.gamma or parameter is layer.beta or not parameter.requires_grad:
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
        for name, tensor in zip(layer.moving.names, layer.moving.held(), strict=True):
            dtypes[name] = str(tensor.dtype)
    y = after.forward(after.to_own(made.x), training=True, grad=True)
    return {
        "dtypes": dtypes,
        "moving": [] if layer.moving is None else list(layer.moving.names),
        "y_dtype": str(y.dtype),
        "y": y.detach().cpu().double(),
    }


def _other_eps(subject: Subject) -> Values:
    name = subject.argument(*EPS_NAMES)
    made = plain(subject.rank, subject.dtype)
    values = subject.build(subject.rank, made).run(made, training=True, grad=True)
    options: dict[str, Any] = {name: OTHER_EPS}
    other = subject.build(subject.rank, made, **options)
    return {"default": values["y"], "y": other.run(made, training=True, grad=True)["y"]}


def _other_momentum(subject: Subject) -> Values:
    subject.argument("momentum")
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made, momentum=OTHER_MOMENTUM)
    return layer.run(made, training=True, grad=True)


def _momentum_none(subject: Subject) -> Values:
    """With momentum=None PyTorch averages over all batches alike."""
    subject.argument("momentum")
    steps = sequence(subject.rank, subject.dtype)
    try:
        layer = subject.build(subject.rank, steps[0], momentum=None)
        for step in steps:
            layer.forward(layer.to_own(step.x), training=True, grad=True)
    except Exception as error:
        raise NotOffered(f"the class takes no momentum=None ({describe(error)})") from error
    return dict(layer.moving_values())


def _affine_false(subject: Subject) -> Values:
    subject.argument("affine")
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made, affine=False)
    learns = [name for name, p in layer.module.named_parameters() if p.requires_grad]
    return {"learns": learns, **layer.run(made, training=True, grad=True)}


def _track_false(subject: Subject) -> Values:
    subject.argument("track_running_stats")
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made, track_running_stats=False)
    return layer.run(made, training=False, grad=False)


def _one_value(subject: Subject) -> Values:
    """Train on a single value per channel, whose variance is 0 whatever the value."""
    values: Values = {}
    for rank in subject.main_ranks:
        shape = (1, CHANNELS, *[1] * (rank - 2))
        made = situation(shape, subject.dtype)
        try:
            seen = subject.build(rank, made).run(made, training=True, grad=True)
        except Exception as error:
            values[repr(shape)] = describe(error)
        else:
            values[repr(shape)] = {
                "y": seen["y"],
                "finite": _finite(seen["y"]),
                "moving_finite": all(_finite(seen[k]) for k in seen if k.startswith("moving")),
            }
    return values


def _finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _wrong_channels(subject: Subject) -> Values:
    """Give it an input of more, and of fewer, channels than it was built for."""
    accepted: list[str] = []
    for rank in subject.main_ranks:
        for channels in (CHANNELS - 1, CHANNELS + 2):
            made = plain(rank, subject.dtype)
            shape = (made.x.shape[0], channels, *made.x.shape[2:])
            for training in (True, False):
                layer = subject.build(rank, made)
                x = situation(shape, subject.dtype).x
                with contextlib.suppress(Exception):
                    layer.forward(layer.to_own(x), training=training, grad=training)
                    accepted.append(f"{shape} {'in training' if training else 'when predicting'}")
    return {"accepted": accepted}


MODULE: dict[str, Experiment] = {
    "offers": _offers,
    "parameters": _parameters,
    "state_dict": _state_dict,
    "deepcopy": functools.partial(_copied, copy.deepcopy),
    "pickle": functools.partial(_copied, _pickled),
    "double": _double,
    "eps": _other_eps,
    "momentum": _other_momentum,
    "momentum none": _momentum_none,
    "affine": _affine_false,
    "track": _track_false,
    "one value": _one_value,
    "channels": _wrong_channels,
}
