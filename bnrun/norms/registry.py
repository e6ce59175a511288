"""Norms by name, by the text that says where a class is, or by class: to a factory of layers.

A factory takes `(num_features, num_dims)`, where `num_dims` is the rank of the layer's input: 2
after a fully connected layer, (N, C), and 4 after a convolution, (N, C, H, W). It passes keyword
arguments on to the layer's class: `eps`, `momentum` and the like, where the class takes them.
"""

from typing import TYPE_CHECKING, Any, Protocol

from bnrun.errors import NormError, did_you_mean
from bnrun.norms import user_module

if TYPE_CHECKING:
    from torch import nn


class NormFactory(Protocol):
    """Builds a layer for inputs of `num_features` channels and rank `num_dims`."""

    def __call__(self, num_features: int, num_dims: int, **options: Any) -> "nn.Module":
        """Return a new layer."""


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


def check_norm(norm: "str | type[nn.Module]") -> None:
    """Check that a norm exists, without loading torch and without running a user's code.

    Args:
        norm: a name; `path/to/file.py:Class`, or `package.module:Class` of a module that Python
            can import; or a class.

    Raises:
        NormError: the name, the file or the module does not exist, or the file is not Python.
    """
    if user_module.is_user_norm(norm):
        user_module.check(norm)
    elif norm not in NORMS:
        raise NormError(
            f"there is no norm '{norm}'.{did_you_mean(str(norm), NORMS)} The norms: "
            f"{', '.join(NORMS)}; or your own, as path/to/file.py:Class.",
            key="model.norm",
        )


def norm_text(norm: "str | type[nn.Module]") -> str:
    """Return the text that stands for a norm in a config; for a class, it says where it is.

    A class of a notebook or a script is `__main__:Class`, which only that process can find.

    Raises:
        NormError: the class cannot be found by such a text.
    """
    return norm if isinstance(norm, str) else user_module.text_of(norm)


def norm_factory(norm: "str | type[nn.Module]") -> NormFactory:
    """Return the factory of a norm.

    Args:
        norm: see `check_norm`.

    Raises:
        NormError: there is no such norm, or its class cannot be loaded or is not an `nn.Module`.
            The factory raises it, too, where the class refuses to be built.
    """
    if user_module.is_user_norm(norm):
        return user_module.load(norm)
    check_norm(norm)
    return NORMS[str(norm)]
