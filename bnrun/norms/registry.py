"""Norms by name, by the text that says where a class is, or by class: to a factory of layers.

A factory takes `(num_features, num_dims)`, where `num_dims` is the rank of the layer's input: 2
after a fully connected layer, (N, C), and 4 after a convolution, (N, C, H, W). It passes options on
to the layer's class as keyword arguments: `eps`, `momentum` and the like, where the class takes
them.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from bnrun.config import Resolved
from bnrun.config.norm_call import norm_call
from bnrun.errors import NormError, did_you_mean
from bnrun.norms import user_module
from bnrun.norms.factories import NORMS
from bnrun.norms.options import check_options

if TYPE_CHECKING:
    from torch import nn


class NormFactory(Protocol):
    """Builds a layer for inputs of `num_features` channels and rank `num_dims`."""

    def __call__(self, num_features: int, num_dims: int, **options: Any) -> "nn.Module":
        """Return a new layer."""


def check_norm(
    norm: "str | type[nn.Module]", options: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Check that a norm exists, without loading torch and without running a user's code.

    The options of a user's norm are checked when it is loaded.

    Args:
        norm: a name; `path/to/file.py:Class`, or `package.module:Class` of a module that Python
            can import; or a class.
        options: arguments for the norm's constructor, by name.

    Raises:
        NormError: the name, the file or the module does not exist, or the file is not Python; or
            the norm takes no such option.
    """
    if user_module.is_user_norm(norm):
        user_module.check(norm)
    elif norm in NORMS:
        check_options(f"norm {norm}", NORMS[norm], options)
    else:
        raise NormError(
            f"there is no norm '{norm}'.{did_you_mean(str(norm), NORMS)} `bnrun norms` lists the "
            "norms; your own is written path/to/file.py:Class.",
            key="model.norm",
        )


def checked_config(resolved: Resolved) -> Resolved:
    """Return a config whose norm exists and takes its options, with the absolute path of its file.

    A run that continues somewhere else finds the file by that path. Neither torch nor a user's
    code is loaded.

    Raises:
        NormError: see `check_norm`. It names where the norm, or its options, were set.
    """
    model = resolved.config.model
    for key, options in (("model.norm", {}), ("model.norm_options", model.norm_options)):
        try:
            check_norm(model.norm, options)
        except NormError as error:
            source = resolved.sources[key]
            error.source = None if source == "default" else source
            raise
    located = model.model_copy(update={"norm": user_module.absolute(model.norm)})
    return replace(resolved, config=resolved.config.model_copy(update={"model": located}))


def norm_text(norm: "str | type[nn.Module]") -> str:
    """Return the text that stands for a norm in a config; for a class, it says where it is.

    A class of a notebook or a script is `__main__:Class`, which only that process can find.

    Raises:
        NormError: the class cannot be found by such a text.
    """
    return norm if isinstance(norm, str) else user_module.text_of(norm)


def norm_factory(
    norm: "str | type[nn.Module]",
    options: Mapping[str, Any] = MappingProxyType({}),
    copy: str | None = None,
) -> NormFactory:
    """Return the factory of a norm, which hands the options to each layer's constructor.

    Args:
        norm, options: see `check_norm`.
        copy: a file to import in place of the one that `norm` names.

    Raises:
        NormError: there is no such norm, its class cannot be loaded or is no `nn.Module`, or it
            takes no such option. The factory raises it, too, where the class refuses to be built.
    """
    if user_module.is_user_norm(norm):
        return user_module.load(norm, options, copy)
    check_norm(norm, options)
    return functools.partial(_build, str(norm), options)


def _build(
    name: str, options: Mapping[str, Any], num_features: int, num_dims: int, **more: Any
) -> "nn.Module":
    """Build a layer of a norm that has a name.

    Raises:
        NormError: it refuses the options at this place of the network.
    """
    given = {**options, **more}
    try:
        return NORMS[name](num_features, num_dims, **given)
    except ValueError as error:
        raise NormError(f"{norm_call(name, given)}: {error}.", "model.norm_options") from error
