"""The values of a norm, found by the names that people give them.

gamma, beta and the moving statistics have one value per channel and go by few names: `weight`,
`gamma` or `scale`; `bias`, `beta` or `shift`; `running_mean` or `moving_mean`; and so on. They may
be parameters, buffers or plain attributes, of shape (C,), (1, C), (1, C, 1, 1) or (C, 1, 1). A
tensor of shape (C, 1) or (C, 1, 1, 1) is not one of them: it is the weight of a linear layer or a
convolution. So any class of norm can be read, and a checkpoint without its class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

GAMMA = ("weight", "gamma", "scale")
BETA = ("bias", "beta", "shift")
MOVING_MEAN = ("running_mean", "moving_mean")
MOVING_VAR = ("running_var", "moving_var", "running_variance", "moving_variance")

MovingNames = tuple[str, str]
"""Names of the moving mean and the moving variance, where a norm has others than these."""

_BOOKKEEPING = frozenset(vars(nn.Module()))
"""The attributes that every module has."""


@dataclass(frozen=True)
class ChannelValues:
    """A norm's values by channel, each in the shape in which the norm keeps it, or None."""

    gamma: Tensor | None
    beta: Tensor | None
    moving_mean: Tensor | None
    moving_var: Tensor | None

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        vectors = (self.gamma, self.beta, self.moving_mean, self.moving_var)
        return next(vector.numel() for vector in vectors if vector is not None)


def channel_values(values: Mapping[str, Any]) -> ChannelValues | None:
    """Return the values by channel among named values; None where there are none.

    Where their lengths differ, return None too. A single value that all channels share is not a
    value by channel, and is left out.
    """
    found = {
        role: next((values[name] for name in names if _is_vector(values.get(name))), None)
        for role, names in (
            ("gamma", GAMMA),
            ("beta", BETA),
            ("moving_mean", MOVING_MEAN),
            ("moving_var", MOVING_VAR),
        )
    }
    channels = max((vector.numel() for vector in found.values() if vector is not None), default=0)
    found = {
        role: None if vector is None or vector.numel() == 1 < channels else vector
        for role, vector in found.items()
    }
    lengths = {vector.numel() for vector in found.values() if vector is not None}
    return ChannelValues(**found) if len(lengths) == 1 else None


def named_values(module: nn.Module) -> dict[str, Any]:
    """Return a module's own parameters, buffers and plain attributes by name.

    Those of its children and torch's bookkeeping are left out.
    """
    plain = {name: value for name, value in vars(module).items() if name not in _BOOKKEEPING}
    values: dict[str, Any] = plain | module._parameters | module._buffers
    return values


class MovingStatistics:
    """The moving mean and variance of a module: to read, and to replace.

    Attributes:
        module: keeps them.
        names: of its two attributes.
    """

    def __init__(self, module: nn.Module, mean_name: str, var_name: str) -> None:
        self.module = module
        self.names = (mean_name, var_name)

    @classmethod
    def find(
        cls, model: nn.Module, names: MovingNames | None = None
    ) -> "dict[str, MovingStatistics]":
        """Return the statistics of every module that keeps both, by path, in the model's order."""
        found = {}
        for path, module in model.named_modules():
            one = cls.of(module, named_values(module), names)
            if one is not None:
                found[path] = one
        return found

    @classmethod
    def of(
        cls, module: nn.Module, values: Mapping[str, Any], names: MovingNames | None = None
    ) -> "MovingStatistics | None":
        """Return the statistics among a module's own values; None if it does not keep both."""
        known = (MOVING_MEAN, MOVING_VAR) if names is None else ((names[0],), (names[1],))
        mean, var = (
            next((name for name in one if _is_vector(values.get(name))), None) for one in known
        )
        if mean and var and values[mean].numel() == values[var].numel():
            return cls(module, mean, var)
        return None

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the module's own tensors, mean and variance."""
        mean, var = (getattr(self.module, name) for name in self.names)
        return mean, var

    def by_name(self) -> dict[str, Tensor]:
        """Return the module's own tensors by the names of their attributes."""
        return dict(zip(self.names, self.tensors(), strict=True))

    def assign(self, mean: Tensor, var: Tensor) -> None:
        """Make the module keep these tensors, as parameters where it keeps parameters now."""
        for name, tensor in zip(self.names, (mean, var), strict=True):
            is_parameter = name in self.module._parameters
            if is_parameter and not isinstance(tensor, nn.Parameter):
                tensor = nn.Parameter(tensor, requires_grad=False)
            if name in self.module._buffers:
                self.module._buffers[name] = tensor  # setattr takes ten times as long
            else:
                setattr(self.module, name, tensor)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Convert both tensors; `Module.to` does not convert those in plain attributes."""
        self.assign(*(tensor.to(device, dtype) for tensor in self.tensors()))

    def replace(self, mean: Tensor, var: Tensor) -> None:
        """Replace both by copies of these values, in the old tensors' shape, dtype and device."""
        old_mean, old_var = self.tensors()
        self.assign(_like(old_mean, mean), _like(old_var, var))


def unknown_vectors(model: nn.Module) -> list[str]:
    """Return the names of values by channel that no name above says the meaning of, each once.

    Those that learn are left out.
    """
    known = {*GAMMA, *BETA, *MOVING_MEAN, *MOVING_VAR}
    names = (
        name
        for module in model.modules()
        for name, value in named_values(module).items()
        if name not in known and _is_vector(value) and not value.requires_grad
    )
    return list(dict.fromkeys(names))


def _like(old: Tensor, values: Tensor) -> Tensor:
    return values.detach().to(old.device, old.dtype, copy=True).reshape(old.shape)


def _is_vector(value: Any) -> bool:
    """Return whether a value is a floating-point tensor of one of the shapes named above."""
    if value is None or not isinstance(value, Tensor) or is_lazy(value):
        return False
    shape, channels = value.shape, value.numel()
    if not shape or max(shape) != channels or not value.is_floating_point():
        return False  # some other dimension is not 1
    has_place = (
        len(shape) == 1 or shape[1] == channels or (len(shape) == 3 and shape[0] == channels)
    )
    return channels > 0 and has_place
