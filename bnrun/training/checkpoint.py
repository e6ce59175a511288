"""All that a run must remember between epochs, as plain values and tensors.

`state_dict` alone is not enough: the textbook's layer, and many a learner's, keeps its moving
statistics in plain attributes. So those are captured too: every tensor, number or text that a
module holds outside its `state_dict`, also in lists and dicts. The order of the images and the
learning rate are functions of the seed and the step, and need no memory.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.errors import RunError
from bnrun.norms.introspection import values_of
from bnrun.training.optimizer import SGD

FORMAT = 1


def capture(model: nn.Module, optimizer: SGD) -> dict[str, Any]:
    """Return the state of a model, its optimizer and torch's random generators.

    The tensors are copies, on the CPU: training may go on while they are written.
    """
    return _copied(
        {
            "format": FORMAT,
            "model": model.state_dict(),
            "attributes": _attributes(model),
            "optimizer": optimizer.state_dict(),
            "rng": _rng(next(model.parameters()).device),
        }
    )


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """Turn what a checkpoint of another model leads to into an error that says so.

    Raises:
        RunError: it is one.
    """
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the checkpoint does not fit this config's model: {error}") from error


def with_model(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return a captured state with this model's in the place of the one it holds."""
    return {
        **state,
        **_copied({"model": model.state_dict(), "attributes": _attributes(model)}),
    }


def restore(state: Mapping[str, Any], model: nn.Module, optimizer: SGD) -> None:
    """Put a captured state back.

    Raises:
        RuntimeError, KeyError, ValueError: it is the state of another model.
    """
    restore_model(state, model)
    optimizer.load_state_dict(state["optimizer"])
    device = next(model.parameters()).device
    torch.set_rng_state(state["rng"]["cpu"])
    if device.type in state["rng"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["rng"]["cuda"], device)
    if device.type in state["rng"] and device.type == "mps":
        torch.mps.set_rng_state(state["rng"]["mps"])


def restore_model(state: Mapping[str, Any], model: nn.Module) -> None:
    """Put the model of a captured state back.

    Raises:
        RuntimeError, KeyError: it is the state of another model.
    """
    model.load_state_dict(state["model"])
    device = next(model.parameters()).device
    modules = dict(model.named_modules())
    for path, attributes in state["attributes"].items():
        for name, value in attributes.items():
            held = getattr(modules[path], name, None)
            if isinstance(value, Tensor) and isinstance(held, Tensor) and _fits(value, held):
                held.detach().copy_(value)  # in place, where a captured step may look for it
                continue
            setattr(modules[path], name, _map(lambda tensor: tensor.to(device, copy=True), value))


def _fits(value: Tensor, held: Tensor) -> bool:
    return value.shape == held.shape and value.dtype == held.dtype


def _attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return what each module holds outside its `state_dict`, as far as it is plain values."""
    in_state_dict = set(model.state_dict(keep_vars=True))
    found = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        found[path] = {
            name: value
            for name, value in values_of(module).items()  # also buffers with persistent=False
            if f"{prefix}{name}" not in in_state_dict and _is_plain(value)
        }
    return found


def _is_plain(value: Any) -> bool:
    """Tell whether a value is made of tensors, numbers and text alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) for key in value) and _is_plain([*value.values()])
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, Tensor) or type(value) in (bool, int, float, str, type(None))


def _rng(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's random generators that a run on this device draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


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
