"""The state of a training between two epochs, as plain values and tensors.

`state_dict` alone is not enough: the textbook's layer, like many a learner's, keeps its moving
statistics in plain attributes. So every tensor, number and text that a module holds outside its
`state_dict` is captured as well, also in lists and dicts. The order of the images and the learning
rate are functions of the seed and the step, and need no state.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from bnrun.errors import RunError
from bnrun.norms.introspection import named_values
from bnrun.training.optimizer import SGD
from bnrun.training.random_numbers import generator_states, set_generator_states

FORMAT = 1
"""Version of the state's layout, stored in it as `format`."""


def capture(model: nn.Module, optimizer: SGD) -> dict[str, Any]:
    """Return the state of a model, its optimizer and torch's random generators.

    The tensors are copies on the CPU, so training may continue while they are written.
    """
    return _copied(
        {
            "format": FORMAT,
            "model": model.state_dict(),
            "attributes": _attributes(model),
            "optimizer": optimizer.state_dict(),
            "rng": generator_states(next(model.parameters()).device),
        }
    )


@contextlib.contextmanager
def require_fit() -> Iterator[None]:
    """Convert what restoring another model's checkpoint raises into an error that says so.

    Raises:
        RunError: the checkpoint is of another model.
    """
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the checkpoint does not fit this config's model: {error}") from error


def with_model(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return a captured state with its model's part replaced by that of another model."""
    return {
        **state,
        **_copied({"model": model.state_dict(), "attributes": _attributes(model)}),
    }


def restore(state: Mapping[str, Any], model: nn.Module, optimizer: SGD) -> None:
    """Set a model, its optimizer and torch's random generators to a captured state.

    Raises:
        RuntimeError, KeyError, ValueError: the state is of another model.
    """
    restore_model(state, model)
    optimizer.load_state_dict(state["optimizer"])
    set_generator_states(state["rng"], next(model.parameters()).device)


def restore_model(state: Mapping[str, Any], model: nn.Module) -> None:
    """Set a model's parameters, buffers and plain attributes to those of a captured state.

    Raises:
        RuntimeError, KeyError: the state is of another model.
    """
    model.load_state_dict(state["model"])
    device = next(model.parameters()).device
    modules = dict(model.named_modules())
    for path, attributes in state["attributes"].items():
        for name, value in attributes.items():
            current = getattr(modules[path], name, None)
            if isinstance(value, Tensor) and isinstance(current, Tensor) and _fits(value, current):
                current.detach().copy_(value)  # in place: a CUDA graph reads this very tensor
                continue
            restored = _map(lambda tensor: tensor.to(device, copy=True), value)
            if isinstance(current, dict) and isinstance(restored, dict):
                current.clear()  # in place: it may be a defaultdict or another class of dict
                current.update(restored)
                continue
            setattr(modules[path], name, restored)


def _fits(value: Tensor, current: Tensor) -> bool:
    """Return whether a value can be copied into a tensor; an expanded one shares its memory."""
    is_expanded = any(
        size > 1 and stride == 0
        for size, stride in zip(current.shape, current.stride(), strict=True)
    )
    return value.shape == current.shape and value.dtype == current.dtype and not is_expanded


def _attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the plain values that each module holds outside its `state_dict`, by path and name.

    They include buffers with `persistent=False`.
    """
    in_state_dict = set(model.state_dict(keep_vars=True))
    attributes = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        attributes[path] = {
            name: value
            for name, value in named_values(module).items()
            if f"{prefix}{name}" not in in_state_dict and _is_plain(value)
        }
    return attributes


def _is_plain(value: Any) -> bool:
    """Return whether a value consists of tensors, numbers and text alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) for key in value) and _is_plain([*value.values()])
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, Tensor) or type(value) in (bool, int, float, str, type(None))


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = _map(lambda tensor: tensor.detach().to("cpu", copy=True), state)
    return copied


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return a value with a function applied to each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(function, inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_map(function, inner) for inner in value)
    return value
