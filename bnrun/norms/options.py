"""Options of a norm against the signature of what they are handed to: names first, then types.

Types are checked as far as an annotation or, without one, a default tells: a default of 0.1 says
that a number belongs there. What the signature leaves open, the constructor decides.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from bnrun.config.norm_call import norm_call
from bnrun.errors import NormError, did_you_mean

PLACE = ("num_features", "num_dims")
"""What a norm is built with at its place in the network: the channels, the rank of the input."""

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    list: "a list",
    types.NoneType: "none",
}
"""How an error calls each type that an option may have."""


def arguments(
    target: Callable[..., Any], place: tuple[int, int], options: Mapping[str, Any]
) -> tuple[list[int], dict[str, Any]]:
    """Return the positional and the keyword arguments that build a layer.

    Behind a parameter that an option names, the channels and the rank can only be given by name:
    `torch.nn:GroupNorm(num_groups=2)` is built as GroupNorm(num_groups=2, num_channels=6).

    Args:
        target: the class.
        place: the channels and the rank.
        options: values by name.
    """
    positional = [p for p in _parameters(target) if p.kind in _BY_POSITION]
    taking = _place_parameters(target, options)
    if not taking:
        return [place[0]], dict(options)
    given: list[int] = []
    keywords = dict(options)
    for parameter, value in zip(taking, place, strict=False):  # the rank may not be asked for
        if parameter == positional[len(given)]:
            given.append(value)
        else:
            keywords[parameter.name] = value
    return given, keywords


def rank_parameter(target: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """Return the name of the constructor's parameter that takes the rank, or "" without one."""
    taking = _place_parameters(target, options)
    return taking[1].name if len(taking) > 1 else ""


def check_options(name: str, target: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check the options of a norm against a signature.

    Args:
        name: how the norm is called in errors.
        target: the class, or the function, that the options are handed to.
        options: values by name.

    Raises:
        NormError: one is not taken, or has a value of another type.
    """
    if not options:
        return
    taken = _parameters(target)
    place = _place_parameters(target, options)
    known = {p.name: p for p in taken if p.kind in _BY_NAME and p not in place}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in taken) or not taken
    for option, value in options.items():
        if option in PLACE:
            raise _error(
                f"received {norm_call(name, options)}; {option} comes from the network, at each "
                "place of it. Leave it out."
            )
        if option in known:
            _check_type(name, known[option], value)
        elif not takes_any:
            near = did_you_mean(option, known)
            takes = f"It takes: {', '.join(known)}." if known else "It takes none at all."
            raise _error(f"{name} takes no option '{option}'.{near} {takes}")


@functools.lru_cache(maxsize=64)
def _parameters(target: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of a class's constructor or of a function; none where they are unknown.

    Annotations are evaluated where they are text and can be. Reading a signature takes longer than
    building a layer, and verifying builds a hundred.
    """
    for evaluated in (True, False):
        try:
            signature = inspect.signature(target, eval_str=evaluated)
        except Exception:  # an annotation is any code of the user's
            continue
        return tuple(signature.parameters.values())
    return ()


def _place_parameters(
    target: Callable[..., Any], options: Mapping[str, Any]
) -> list[inspect.Parameter]:
    """Return the parameters that take the channels and, where it is asked for, the rank.

    They are the first ones that no option names. The second one takes the rank where it has no
    default, or is called `num_dims`.
    """
    positional = (p for p in _parameters(target) if p.kind in _BY_POSITION)
    free = [p for p in positional if p.name not in options or p.kind is p.POSITIONAL_ONLY]
    second = free[1:2]
    if second and (second[0].default is second[0].empty or second[0].name == PLACE[1]):
        return free[:2]
    return free[:1]


def _check_type(name: str, parameter: inspect.Parameter, value: Any) -> None:
    accepted = _accepted(parameter)
    if accepted is None or any(_is_one(value, kind) for kind in accepted):
        return
    without = parameter.annotation is parameter.empty  # then None may have a meaning, or not
    if without and value is None:
        return
    *others, last = (_WORDS.get(kind, repr(kind)) for kind in accepted)
    required = f"{', '.join(others)} or {last}" if others else last
    call = norm_call(name, {parameter.name: value})
    takes_none = without or types.NoneType in accepted
    hint = " YAML's none is written null." if value == "none" and takes_none else ""
    raise _error(f"received {call}; {parameter.name} must be {required}.{hint}")


def _accepted(parameter: inspect.Parameter) -> list[Any] | None:
    """Return the types and values that a parameter accepts; None where it does not say."""
    if parameter.annotation is not parameter.empty:
        return _of_annotation(parameter.annotation)
    default = parameter.default
    if isinstance(default, bool | str):
        return [type(default)]
    if isinstance(default, int | float):  # `scale=1` does not say that 0.5 is refused
        return [float]
    return None


def _of_annotation(annotation: Any) -> list[Any] | None:
    """Return the types and values that an annotation accepts; None where one of them is no type
    that an option can have: then the constructor decides.
    """
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return list(typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        parts = [_of_annotation(part) for part in typing.get_args(annotation)]
        if any(part is None for part in parts):
            return None
        return [kind for part in parts for kind in part or ()]
    kind = types.NoneType if annotation is None else origin or annotation
    kind = list if kind in (tuple, Sequence) else kind
    return [kind] if isinstance(kind, type) and kind in _WORDS else None


def _is_one(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, or is a literal value."""
    if not isinstance(kind, type):
        return type(value) is type(kind) and bool(value == kind)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _error(reason: str) -> NormError:
    return NormError(reason, key="model.norm")
