"""All that a run must remember between epochs, as plain values and tensors.

`state_dict` alone is not enough: the textbook's layer, and many a learner's, keeps its moving
statistics in plain attributes. So those are captured too: every tensor and number that a module
holds outside its parameters and buffers. The order of the images and the learning rate are
functions of the seed and the step, and need no memory.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.training.sgd import SGD

FORMAT = 1


def capture(model: nn.Module, optimizer: SGD) -> dict[str, Any]:
    """Return the state of a model, its optimizer and torch's random generators.

    The tensors are copies, on the CPU: training may go on while they are written.
    """
    state = {
        "format": FORMAT,
        "model": model.state_dict(),
        "attributes": _attributes(model),
        "optimizer": optimizer.state_dict(),
        "rng": {"cpu": torch.get_rng_state(), **_device_rng()},
    }
    copied: dict[str, Any] = _copy(state)
    return copied


def restore(state: Mapping[str, Any], model: nn.Module, optimizer: SGD) -> None:
    """Put a captured state back.

    Raises:
        RuntimeError, KeyError, ValueError: it is the state of another model.
    """
    model.load_state_dict(state["model"])
    device = next(model.parameters()).device
    modules = dict(model.named_modules())
    for path, attributes in state["attributes"].items():
        for name, value in attributes.items():
            setattr(modules[path], name, value.to(device) if isinstance(value, Tensor) else value)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"]["cpu"])
    if "cuda" in state["rng"] and len(state["rng"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
    if "mps" in state["rng"] and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["rng"]["mps"])


def _attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    found = {}
    for path, module in model.named_modules():
        plain = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_") and isinstance(value, Tensor | bool | int | float)
        }
        found[path] = plain
    return found


def _device_rng() -> dict[str, Any]:
    if torch.cuda.is_available():
        return {"cuda": torch.cuda.get_rng_state_all()}
    if torch.backends.mps.is_available():
        return {"mps": torch.mps.get_rng_state()}
    return {}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(inner) for inner in value)
    return value
