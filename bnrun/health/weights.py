"""Loading weights into a network: wrappers come off, and what does not fit is said.

A file is read with torch's `weights_only=True`, which runs no code.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.errors import NetworkError
from bnrun.health.evidence import Loading
from bnrun.paths import user_path

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
"""Names under which training scripts keep the weights in a file, the likeliest first."""
AVERAGES = ("ema", "ema_model", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema")
"""Names of averaged copies of the weights, which are taken only where there are no others."""
OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_state")
COUNTER = "n_averaged"
"""A count that `torch.optim.swa_utils.AveragedModel` keeps beside the weights."""
DEEPEST = 3
"""How many wrappers may lie around the weights."""

Weights = Mapping[str, Tensor]


def load_weights(model: nn.Module, file: str) -> Loading:
    """Load the weights of a file into a network, and return what fitted and what did not.

    Raises:
        NetworkError: the file cannot be read as plain tensors, or has no weights that fit.
    """
    content = _read(user_path(file))
    own = _shapes(model)
    found = list(_weights_in(content, ()))
    if not found:
        raise NetworkError(
            f"{file} has no weights: no mapping of names to tensors. Save them with "
            "torch.save(model.state_dict(), 'weights.pt').",
            "--weights",
        )
    fitted = [(path, *_renamed(weights, own)) for path, weights in found]
    path, prefix, weights = max(fitted, key=lambda one: _fit(one[0], one[2], own))
    matching = {n: v for n, v in weights.items() if own.get(n) == tuple(v.shape)}
    if not matching:
        raise NetworkError(
            f"none of the {len(weights)} tensors in {file} belongs to the network: it has "
            f"{_some(weights)}, and the network has {_some(own)}.",
            "--weights",
        )
    model.load_state_dict(matching, strict=False)
    return Loading(
        file=file,
        unwrapped=(*path, *([prefix] if prefix else [])),
        missing=tuple(name for name in own if name not in weights),
        unexpected=tuple(name for name in weights if name not in own),
        mismatched=tuple(
            f"{name}: {tuple(value.shape)} for {own[name]}"
            for name, value in weights.items()
            if name in own and own[name] != tuple(value.shape)
        ),
        others=tuple(".".join(other) for other, _, _ in fitted if other != path),
        weight_decay=_weight_decay(model, content),
    )


def _read(file: Path) -> Any:
    """Return what a file holds.

    Raises:
        NetworkError: it cannot be read, or holds more than plain data.
    """
    if not file.is_file():
        raise NetworkError(f"{file} is not a file (seen from {Path.cwd()}).", "--weights")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not whole
        # torch's own message advises to load the file in a way that runs code from it.
        raise NetworkError(
            f"{file} can't be read as plain tensors ({type(error).__name__}); a file that holds "
            "objects could run code. Save the weights alone: torch.save(model.state_dict(), "
            "'weights.pt').",
            "--weights",
        ) from error


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a network's state by name."""
    state = model.state_dict()
    return {name: tuple(v.shape) for name, v in state.items() if isinstance(v, Tensor)}


def _weights_in(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Weights]]:
    """Yield each mapping of names to tensors in a file, with the names around it."""
    if not isinstance(content, Mapping) or len(path) > DEEPEST:
        return
    tensors = {n: v for n, v in content.items() if isinstance(n, str) and isinstance(v, Tensor)}
    if len(tensors) > len(content) / 2:
        yield path, tensors
        return
    for name, inner in content.items():
        if isinstance(name, str) and name not in OPTIMIZERS:
            yield from _weights_in(inner, (*path, name))


def _renamed(weights: Weights, own: Mapping[str, Any]) -> tuple[str, Weights]:
    """Return the prefix to take off all names so that most fit the network, and the weights."""
    best: tuple[str, Weights] = ("", weights)
    prefix = ""
    names = [name for name in weights if name != COUNTER]
    while names and all(name.startswith(f"{names[0].partition('.')[0]}.") for name in names):
        prefix += f"{names[0].partition('.')[0]}."
        names = [name.partition(".")[2] for name in names]
        stripped = {name.removeprefix(prefix): v for name, v in weights.items() if name != COUNTER}
        if len(own.keys() & stripped.keys()) > len(own.keys() & best[1].keys()):
            best = (prefix, stripped)
    for added in ("module.", "_orig_mod.", "model."):
        longer = {f"{added}{name}": value for name, value in weights.items()}
        if len(own.keys() & longer.keys()) > len(own.keys() & best[1].keys()):
            best = (f"no {added}", longer)
    return best


def _fit(path: tuple[str, ...], weights: Weights, own: Mapping[str, Any]) -> tuple[int, int]:
    """Return how well weights fit: how many names do, then how likely the wrapper is."""
    last = path[-1] if path else ""
    likely = 0 if last in AVERAGES else 1
    return sum(own.get(n) == tuple(v.shape) for n, v in weights.items()), likely


def _weight_decay(model: nn.Module, content: Any) -> dict[str, float]:
    """Return the weight decay of each parameter by name, if the file has an optimizer's state."""
    if not isinstance(content, Mapping):
        return {}
    state = next((content[name] for name in OPTIMIZERS if name in content), None)
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    return weight_decay_by_name(model, groups) if isinstance(groups, list) else {}


def weight_decay_by_name(model: nn.Module, groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the weight decay of each parameter by name, from an optimizer's groups.

    A group of an optimizer's state names parameters by their place among all; nothing is returned
    where their count is not the network's.
    """
    names = [name for name, one in model.named_parameters() if one.requires_grad]
    everything = [name for name, _ in model.named_parameters()]
    places = [place for group in groups for place in group.get("params", [])]
    chosen = next((n for n in (everything, names) if len(n) == len(places)), None)
    if chosen is None or any(not isinstance(place, int) for place in places):
        return {}
    return {
        chosen[place]: float(group.get("weight_decay") or 0.0)
        for group in groups
        for place in group["params"]
        if place < len(chosen)
    }


def _some(names: Mapping[str, Any]) -> str:
    shown = list(names)[:3]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")
