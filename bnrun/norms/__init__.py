"""Normalization layers: the formula, the layers built on it, and the table of their names.

`batch_norm` and `BatchNorm` load torch when they are first asked for: whoever only wants to know
whether a name exists (the command line, before it answers a mistyped one) does not wait for it.
"""

from typing import TYPE_CHECKING, Any

from bnrun.norms.factory import NormFactory
from bnrun.norms.table import NORMS, check_norm, norm_factory

if TYPE_CHECKING:
    from bnrun.norms.functional import batch_norm
    from bnrun.norms.scratch import BatchNorm

__all__ = ["NORMS", "BatchNorm", "NormFactory", "batch_norm", "check_norm", "norm_factory"]


def __getattr__(name: str) -> Any:
    if name == "BatchNorm":
        from bnrun.norms.scratch import BatchNorm

        return BatchNorm
    if name == "batch_norm":
        from bnrun.norms.functional import batch_norm

        return batch_norm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
