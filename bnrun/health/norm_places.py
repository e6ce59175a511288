"""Which modules of a network are norms, and what can be read of them without running it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from bnrun.health.evidence import Home, NormKind, NormPlace
from bnrun.norms.introspection import ChannelValues, MovingStatistics, channel_values, named_values
from bnrun.verification.recognition import family_named

_TORCH_KINDS: tuple[tuple[tuple[type[nn.Module], ...], NormKind], ...] = (
    ((_InstanceNorm,), "instance"),
    ((_BatchNorm,), "batch"),
    ((nn.GroupNorm,), "group"),
    ((nn.LayerNorm,), "layer"),
    ((nn.RMSNorm,), "rms"),
)
_PLAIN = (bool, int, float, str, type(None))
"""Types of plain attributes that a record holds."""


@dataclass(frozen=True)
class Norm:
    """A norm of a network: its module, its paths, what it is meant to be, and its statistics."""

    module: nn.Module
    names: tuple[str, ...]
    kind: NormKind
    moving: MovingStatistics | None

    @property
    def name(self) -> str:
        """Return the first of its paths."""
        return self.names[0]

    @property
    def is_torch_class(self) -> bool:
        """Return whether its class is one of PyTorch's own, and not derived from it."""
        return type(self.module).__module__.startswith("torch.")


def find_norms(model: nn.Module) -> list[Norm]:
    """Return the norms of a network, in the order of its modules, each once.

    A norm is a module of a class that is known or called as one, or that keeps moving statistics,
    or that has nothing but a gamma and a beta.
    """
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    moving = {id(one.module): one for one in MovingStatistics.find(model).values()}
    found = []
    for module in model.modules():
        kind = _kind(module, id(module) in moving)
        if kind is not None:
            paths = tuple(names[id(module)])
            found.append(Norm(module, paths, kind, moving.get(id(module))))
    return found


def _kind(module: nn.Module, keeps_moving: bool) -> NormKind | None:
    """Return what a module is meant to be; None where it is no norm."""
    for classes, kind in _TORCH_KINDS:
        if isinstance(module, classes):
            return kind
    own = named_values(module)
    values = channel_values(own)
    named = family_named(type(module).__name__)
    if keeps_moving:
        return named or "batch"
    if values is None:
        return None
    if named is not None and values.gamma is not None:
        return named
    has_both = values.gamma is not None and values.beta is not None
    tensors = [value for value in own.values() if isinstance(value, Tensor)]
    return "unknown" if has_both and len(tensors) == 2 else None


def describe(norm: Norm, **observed: Any) -> NormPlace:
    """Return the record of a norm.

    Args:
        norm: to describe.
        observed: further fields: its modes, and what the passes saw.
    """
    module = norm.module
    own = named_values(module)
    values = channel_values(own)
    cls = type(module)
    tracked = own.get("num_batches_tracked")
    return NormPlace(
        name=norm.name,
        other_names=norm.names[1:],
        kind=norm.kind,
        class_name=f"{cls.__module__}.{cls.__qualname__}",
        bases=tuple(base.__name__ for base in cls.__mro__[:-1]),
        channels=0 if values is None else values.channels,
        options={name: value for name, value in own.items() if _is_plain(value)},
        momentum=_number(own.get("momentum")),
        has_momentum="momentum" in own,
        eps=_number(own.get("eps")),
        batches_tracked=None if tracked is None else int(tracked),
        statistics_home=_home(norm.moving),
        **_values(norm, values),
        **observed,
    )


def _values(norm: Norm, values: ChannelValues | None) -> dict[str, Any]:
    """Return the channel vectors of a norm in float64, their dtypes, and whether they learn."""
    tensors: dict[str, Tensor | None] = {
        "gamma": None if values is None else values.gamma,
        "beta": None if values is None else values.beta,
    }
    if norm.moving is not None:
        tensors |= dict(zip(("moving_mean", "moving_var"), norm.moving.tensors(), strict=True))
    there = {role: tensor for role, tensor in tensors.items() if tensor is not None}
    learns = {
        f"{role}_learns": there[role].requires_grad for role in ("gamma", "beta") if role in there
    }
    dtypes = {role: str(tensor.dtype).removeprefix("torch.") for role, tensor in there.items()}
    return {role: as_record(tensor) for role, tensor in there.items()} | {"dtypes": dtypes} | learns


def as_record(values: Tensor) -> Tensor:
    """Return a copy of a vector as records hold it: float64, on the CPU, of shape (C,)."""
    return values.as_subclass(Tensor).detach().cpu().double().reshape(-1).clone()


def _home(moving: MovingStatistics | None) -> Home | None:
    if moving is None:
        return None
    name = moving.names[0]
    if name in moving.module._buffers:
        return "buffer"
    return "parameter" if name in moving.module._parameters else "attribute"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(one, _PLAIN) for one in value)
    return isinstance(value, _PLAIN)


def _number(value: Any) -> float | None:
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return float(value) if is_number else None


def modes_by_name(model: nn.Module, set_mode: Callable[[], object]) -> dict[str, bool]:
    """Return the mode of each module by path, after a call of the network's `train` or `eval`.

    The modes are put back, and `requires_grad`. A network may override the two, so they are called,
    not guessed.
    """
    before = [(module, module.training) for module in model.modules()]
    learning = [(one, one.requires_grad) for one in model.parameters()]
    try:
        set_mode()
        return {name: module.training for name, module in model.named_modules()}
    finally:
        for module, training in before:
            module.training = training
        for one, learns in learning:
            one.requires_grad_(learns)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(one.numel() for one in model.parameters() if not nn.parameter.is_lazy(one))


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's first parameter or buffer; the CPU without any."""
    for values in (model.parameters(), model.buffers()):
        for one in values:
            return one.device
    return torch.device("cpu")
