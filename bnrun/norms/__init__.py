"""Normalization layers: the formula, the layers built on it, and the registry of their names.

`BatchNorm` imports torch on first access: checking a norm's name does not wait for torch.
"""

from typing import TYPE_CHECKING, Any

from bnrun.norms.factories import NORMS
from bnrun.norms.registry import NormFactory, check_norm, checked_config, norm_factory, norm_text

if TYPE_CHECKING:
    from bnrun.norms.batch_norm import BatchNorm

__all__ = [
    "NORMS",
    "BatchNorm",
    "NormFactory",
    "check_norm",
    "checked_config",
    "norm_factory",
    "norm_text",
]


def __getattr__(name: str) -> Any:
    if name == "BatchNorm":
        from bnrun.norms.batch_norm import BatchNorm

        return BatchNorm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
