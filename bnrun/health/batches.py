"""The data of an audit: reading batches, and handing them to a network.

A batch is what the user's function, generator, DataLoader or folder yields: inputs, or (inputs,
targets). Inputs are a tensor, a tuple of arguments, or a dict of arguments by name.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.errors import DataError

LABELS = ("labels", "label", "targets", "target")
"""Names under which a dict holds targets beside the inputs."""
TARGETS = "_targets"
"""`a.npy` holds inputs, and `a_targets.npy` beside it the classes of these."""
MOST_BYTES = 1 << 30
"""Bytes of inputs that an audit keeps: it sends the same batches through the network again."""


@dataclass(frozen=True)
class Batch:
    """A batch as the network is called with it.

    Attributes:
        arguments, keywords: of the network's forward.
        targets: class indices, shape (N,); None without.
        examples: how many.
        measured: whether statistics are taken over it.
        predicted: whether outputs are compared on it.
    """

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    targets: Tensor | None = None
    examples: int = 0
    measured: bool = True
    predicted: bool = True

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with every tensor of its inputs changed."""
        return dataclasses.replace(
            self,
            arguments=_mapped(self.arguments, change),
            keywords=_mapped(dict(self.keywords), change),
        )

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors of its inputs."""
        yield from tensors_in((self.arguments, dict(self.keywords)))

    @property
    def bytes(self) -> int:
        """Return how much memory its inputs take."""
        return sum(one.numel() * one.element_size() for one in self.tensors())


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    match value:
        case Tensor():
            return change(value)
        case dict():
            return {name: _mapped(one, change) for name, one in value.items()}
        case list():
            return [_mapped(one, change) for one in value]
        case tuple():
            return tuple(_mapped(one, change) for one in value)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in tuples, lists, dicts and dataclasses, at any depth, in their order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from tensors_in(one)
    elif dataclasses.is_dataclass(value):
        for name in dataclasses.fields(value):
            yield from tensors_in(getattr(value, name.name))


def open_batches(source: Any) -> Iterator[Any]:
    """Return an iterator of what the user's data yields.

    Args:
        source: a function that returns something to iterate, or that itself; one tensor is one
            batch.

    Raises:
        DataError: it is nothing of the kind.
    """
    if callable(source) and not isinstance(source, Iterable):
        source = source()
    if isinstance(source, Tensor):
        return iter((source,))
    try:
        return iter(source)
    except TypeError:
        raise DataError(
            f"received {_a(source)}; data is a function, a generator, a list or a DataLoader that "
            "yields inputs, or (inputs, targets).",
            "--data",
        ) from None


def folder_batches(folder: Path) -> Iterator[Any]:
    """Yield the batches in a folder of .npy files, by name: each of shape (N, ...).

    Raises:
        DataError: there are none, or one cannot be read as plain numbers.
    """
    import numpy as np

    files = [file for file in sorted(folder.glob("*.npy")) if not file.stem.endswith(TARGETS)]
    if not files:
        raise DataError(f"{folder} has no .npy files. Each holds a batch: (N, ...).", "--data")

    def load(file: Path) -> Tensor:
        try:
            return torch.from_numpy(np.load(file, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{file} can't be read as numbers: {error}.", "--data") from error

    for file in files:
        inputs = load(file)
        inputs = inputs if inputs.is_floating_point() else inputs.float()
        targets = file.with_name(f"{file.stem}{TARGETS}.npy")
        yield (inputs.float(), load(targets).long()) if targets.is_file() else inputs.float()


def to_batch(item: Any, model: nn.Module) -> Batch:
    """Return what the data yields as a batch for a network.

    A pair is (inputs, targets), unless it is two tensors and `forward` requires two arguments. A
    dict may hold targets under one of `LABELS`. Targets count where they are a whole number for
    each example.

    Raises:
        DataError: there is no tensor in it, or it is a tuple that fits no call.
    """
    inputs, targets = _separate(item, model)
    examples = _first_length(inputs)
    if examples is None:
        raise DataError(
            f"received {_a(item)} without a tensor; the data must yield inputs (a tensor, a tuple "
            "or a dict of tensors), or (inputs, targets).",
            "--data",
        )
    classes = targets.reshape(-1).long() if is_classes(targets, examples) else None
    _check_length(inputs, model)
    return Batch(*_call_of(inputs, model), classes, examples)


def _separate(item: Any, model: nn.Module) -> tuple[Any, Any]:
    """Return the inputs in what the data yields, and the targets or None."""
    if isinstance(item, Mapping):
        return _separate_by_name(item, model)
    required = _positional(model)[0]
    is_pair = isinstance(item, tuple | list) and len(item) == 2
    if not is_pair or (required > 1 and all(isinstance(one, Tensor) for one in item)):
        return item, None
    return item[0], item[1]


def _separate_by_name(item: Mapping[Any, Any], model: nn.Module) -> tuple[Any, Any]:
    """Return the inputs in a dict, and the targets or None.

    Targets that `forward` has a parameter for stay, as a loss in it may need them. One input beside
    the targets is what `forward` is called with, whatever its name.
    """
    named = [name for name in LABELS if name in item]
    if len(named) != 1:
        return item, None
    inputs = {name: value for name, value in item.items() if name != named[0]}
    if not is_classes(item[named[0]], _first_length(inputs)) or _takes_names(model, item):
        return item, item[named[0]]
    if len(inputs) == 1 and not _takes_names(model, inputs):
        return next(iter(inputs.values())), item[named[0]]
    return inputs, item[named[0]]


def _check_length(inputs: Any, model: nn.Module) -> None:
    """Refuse a tuple, such as (a, b, targets), of more values than `forward` takes.

    A list may be one input. A DataLoader makes a list of such a tuple, too: its last value is then
    a class for each example.

    Raises:
        DataError: it says what is understood.
    """
    required, most = _positional(model)
    if not isinstance(inputs, tuple | list) or _are_images(inputs):
        return
    if len(inputs) < 3 or required <= len(inputs) <= most:
        return
    if isinstance(inputs, tuple) or is_classes(inputs[-1], _first_length(inputs)):
        takes = f"{required} to {most}" if required < most else f"{most}"
        raise DataError(
            f"received {_a(inputs)} of {len(inputs)} values, and the network's forward takes "
            f"{takes} by position. Yield inputs, or (inputs, targets); several inputs are a tuple "
            "of their own: yield (a, b), targets.",
            "--data",
        )


def _call_of(inputs: Any, model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs as arguments of a network, and as keywords."""
    required, most = _positional(model)
    if isinstance(inputs, Mapping) and _takes_names(model, inputs):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        is_call = not _are_images(inputs) and required <= len(inputs) <= most
        return (tuple(inputs), {}) if is_call else ((list(inputs),), {})
    return (inputs,), {}


def is_classes(value: Any, examples: int | None) -> bool:
    """Return whether a value has a class index for each of so many examples."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex():
        return False
    return value.dim() in (1, 2) and value.numel() == value.shape[0] == examples


def _first_length(inputs: Any) -> int | None:
    """Return the examples of inputs: the length of their first tensor, or of a list of images."""
    if _are_images(inputs):
        return len(inputs)
    tensors = [one for one in tensors_in(inputs) if one.dim() > 0]
    return tensors[0].shape[0] if tensors else None


def _are_images(value: Any) -> bool:
    """Return whether a value is a list of single images, each of shape (C, H, W)."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(one, Tensor) and one.dim() == 3 and len(one) <= 4 for one in value)


def _positional(model: nn.Module) -> tuple[int, int]:
    """Return how many arguments `forward` requires by position, and how many it takes."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return (1, 1)
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    required = sum(p.default is p.empty for p in by_place)
    return required, 1_000 if takes_any else len(by_place)


def _takes_names(model: nn.Module, inputs: Mapping[Any, Any]) -> bool:
    """Return whether `forward` has a parameter for each name."""
    try:
        parameters = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return False
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return all(isinstance(name, str) for name in inputs)
    return all(name in parameters for name in inputs)


def _a(thing: Any) -> str:
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
