"""The one table of norms: a name, or `path/to/file.py:Class`, to a factory of layers.

A factory takes `(num_features, num_dims)`, where `num_dims` is the rank of the layer's input:
2 after a fully connected layer, (N, C), and 4 after a convolution, (N, C, H, W). It hands keyword
arguments on to the layer's class: `eps`, `momentum` and the like, where the class takes them.
"""

from typing import TYPE_CHECKING, Any

from bnrun.errors import NormError, did_you_mean
from bnrun.norms import user_module
from bnrun.norms.factory import NormFactory

if TYPE_CHECKING:
    from torch import nn


def _scratch(num_features: int, num_dims: int, **options: Any) -> "nn.Module":
    from bnrun.norms.batch_norm import BatchNorm

    return BatchNorm(num_features, **options)


def _builtin(num_features: int, num_dims: int, **options: Any) -> "nn.Module":
    from torch import nn

    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    return kinds[num_dims](num_features, **options)


def _textbook(num_features: int, num_dims: int, **options: Any) -> "nn.Module":
    from bnrun.norms.textbook import TextbookBatchNorm

    return TextbookBatchNorm(num_features, num_dims, **options)


def _none(num_features: int, num_dims: int, **options: Any) -> "nn.Module":
    from torch import nn

    return nn.Identity()


NORMS: dict[str, NormFactory] = {
    "scratch": _scratch,
    "builtin": _builtin,
    "textbook": _textbook,
    "none": _none,
}


def check_norm(norm: str) -> None:
    """Check that a norm's name exists, or its file, without loading torch or the file.

    Raises:
        NormError: naming what was received, and what there is.
    """
    if user_module.is_spec(norm):
        user_module.check(norm)
    elif norm not in NORMS:
        raise NormError(
            f"model.norm: there is no norm '{norm}'.{did_you_mean(norm, NORMS)} "
            f"The norms: {', '.join(NORMS)}; or your own, as path/to/file.py:Class."
        )


def norm_factory(norm: str) -> NormFactory:
    """Return the factory of a norm, by its name or as `path/to/file.py:Class`.

    Raises:
        NormError: there is no such norm, or the user's file or class cannot be loaded.
    """
    check_norm(norm)
    return user_module.load(norm) if user_module.is_spec(norm) else NORMS[norm]
