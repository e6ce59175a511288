"""What a norm is made of, found by the names that people give it.

gamma, beta and the moving statistics have one value per channel, and go by few names: `weight`,
`gamma` or `scale`; `bias`, `beta` or `shift`; `running_mean` or `moving_mean`; and so on. They may
be parameters, buffers or plain attributes, of shape (C,), (1, C), (1, C, 1, 1) or (C, 1, 1), but
not of shape (C, 1) or (C, 1, 1, 1): those are the weights of a linear layer or a convolution. So a
norm needs no base class of ours to be looked into, and neither does a checkpoint of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

GAMMA = ("weight", "gamma", "scale")
BETA = ("bias", "beta", "shift")
MOVING_MEAN = ("running_mean", "moving_mean")
MOVING_VAR = ("running_var", "moving_var", "running_variance", "moving_variance")


@dataclass(frozen=True)
class Parts:
    """A norm's values by channel, each in the shape that the norm keeps it in, or None."""

    gamma: Tensor | None
    beta: Tensor | None
    moving_mean: Tensor | None
    moving_var: Tensor | None

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        vectors = (self.gamma, self.beta, self.moving_mean, self.moving_var)
        return next(vector.numel() for vector in vectors if vector is not None)


def parts(values: Mapping[str, Any]) -> Parts | None:
    """Return what is found among named values; None where nothing is, or lengths disagree.

    A single value that all channels share is none of them.
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
    return Parts(**found) if len(lengths) == 1 else None


def values_of(module: nn.Module) -> dict[str, Any]:
    """Return what a module holds by name: parameters, buffers and plain attributes, not children's.

    Torch's own bookkeeping is left out.
    """
    bookkeeping = set(vars(nn.Module()))
    plain = {name: value for name, value in vars(module).items() if name not in bookkeeping}
    held: dict[str, Any] = plain | module._parameters | module._buffers
    return held


class MovingStatistics:
    """The moving mean and variance of a module, to read, write and put back.

    `find` returns those of every module that keeps both, by the module's path in the model.
    `names` are the two attributes.
    """

    def __init__(self, module: nn.Module, mean_name: str, var_name: str) -> None:
        self.module = module
        self.names = (mean_name, var_name)

    @classmethod
    def find(cls, model: nn.Module) -> "dict[str, MovingStatistics]":
        """Return the moving statistics in a model, by path, in the order of definition."""
        found = {}
        for path, module in model.named_modules():
            values = values_of(module)
            mean, var = (
                next((name for name in names if _is_vector(values.get(name))), None)
                for names in (MOVING_MEAN, MOVING_VAR)
            )
            if mean and var and values[mean].numel() == values[var].numel():
                found[path] = cls(module, mean, var)
        return found

    def held(self) -> tuple[Tensor, Tensor]:
        """Return the very tensors that the module holds."""
        mean, var = (getattr(self.module, name) for name in self.names)
        return mean, var

    def named(self) -> dict[str, Tensor]:
        """Return them by the names of their attributes."""
        return dict(zip(self.names, self.held(), strict=True))

    def hold(self, mean: Tensor, var: Tensor) -> None:
        """Let the module hold these very tensors, as the kind of thing it holds now."""
        for name, tensor in zip(self.names, (mean, var), strict=True):
            is_parameter = name in self.module._parameters
            if is_parameter and not isinstance(tensor, nn.Parameter):
                tensor = nn.Parameter(tensor, requires_grad=False)
            setattr(self.module, name, tensor)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Take them to a device and a dtype, as `Module.to` does with buffers alone."""
        self.hold(*(tensor.to(device, dtype) for tensor in self.held()))

    def replace(self, mean: Tensor, var: Tensor) -> None:
        """Let the module hold new tensors of these values, in its own shape, type and device."""
        like_mean, like_var = self.held()
        self.hold(_like(like_mean, mean), _like(like_var, var))


def _like(old: Tensor, values: Tensor) -> Tensor:
    return values.detach().to(old.device, old.dtype, copy=True).reshape(old.shape)


def _is_vector(value: Any) -> bool:
    """Tell whether a value is a floating-point tensor of one of the shapes named above."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() == 0:
        return False
    channels = max(value.shape)
    shapes = [(channels,), (1, channels, *[1] * (value.dim() - 2)), (channels, 1, 1)]
    return channels > 0 and tuple(value.shape) in shapes
