"""What a norm is to the rest of the program: something that builds layers."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


class NormFactory(Protocol):
    """Builds a layer for inputs of `num_features` channels and rank `num_dims`."""

    def __call__(self, num_features: int, num_dims: int, **options: Any) -> "nn.Module":
        """Return a new layer."""
