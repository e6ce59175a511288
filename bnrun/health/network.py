"""A user's network and data by the text that says where they are, loaded and called.

my_net.py:build                     a function or a class in a file
torchvision.models:resnet18         in a module that Python can import
my_net.py:build(depth=3)            with arguments
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bnrun.config.norm_call import parse_norm_call
from bnrun.errors import BnrunError, DataError, NetworkError
from bnrun.health.batches import folder_batches, open_batches
from bnrun.norms.user_module import attribute_of, own_line
from bnrun.paths import user_path


class OnCpu(TorchFunctionMode):
    """Sends to the CPU what code asks to have on a GPU, where there is none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch with the CPU in place of each CUDA device."""
        kwargs = {name: _on_cpu(value) for name, value in (kwargs or {}).items()}
        if getattr(func, "__name__", "") == "cuda":
            return args[0]
        return func(*map(_on_cpu, args), **kwargs)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


class Substitute:
    """Runs a user's code as it is, and without a GPU on the CPU where it asks for one.

    Attributes:
        is_used: whether it was asked for a GPU that is not there.
    """

    def __init__(self) -> None:
        self.is_used = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the user's code inside the block."""
        with OnCpu() if self.is_used else contextlib.nullcontext():
            yield

    def is_needed(self, error: BaseException) -> bool:
        """Return whether to try again on the CPU after an error, and do so from here on."""
        words = str(error).lower()
        asks = "cuda" in words or "nvidia" in words
        if self.is_used or torch.cuda.is_available() or not asks:
            return False
        self.is_used = True
        return True


def split_target(text: str, option: str) -> tuple[str, dict[str, Any]]:
    """Return where a network or its data is, and the arguments in brackets after it.

    Raises:
        ConfigError: the brackets are malformed.
        NetworkError: the text has another form.
    """
    target, options = parse_norm_call(text, option)
    source, _, name = target.rpartition(":")
    is_module = bool(source) and all(part.isidentifier() for part in source.split("."))
    if not name.isidentifier() or not (source.endswith(".py") or is_module):
        example = "my_data.py:batches" if option == "--data" else "my_net.py:build"
        raise NetworkError(
            f"received '{text}'; write path/to/file.py:NAME, or package.module:NAME, of a function "
            f"or a class, such as {example}.",
            option,
        )
    return target, options or {}


def build_network(text: str, substitute: Substitute) -> nn.Module:
    """Import what a text names, call it, and return the network.

    Raises:
        ConfigError, NetworkError: see `split_target`; or it cannot be imported, raises, or returns
            no network. The reason shows the user's own line.
    """
    target, options = split_target(text, "NETWORK")
    built = _called(target, options, "NETWORK", substitute)
    if isinstance(built, nn.Module):
        return built
    what = "None" if built is None else f"a value of type {type(built).__name__}"
    raise NetworkError(f"{target} returned {what}; it must return a torch.nn.Module.", "NETWORK")


def _called(target: str, options: Mapping[str, Any], option: str, substitute: Substitute) -> Any:
    """Return what a function or a class gives when it is called; other values as they are."""
    while True:
        try:
            with substitute.running():
                value = attribute_of(target, "function or class", option)
                is_object = isinstance(value, nn.Module) or not callable(value)
                return value if is_object else value(**options)
        except KeyboardInterrupt:
            raise
        except BnrunError as error:
            if not substitute.is_needed(error):
                raise NetworkError(error.reason, option) from error
        except BaseException as error:  # SystemExit too
            if not substitute.is_needed(error):
                raise NetworkError(
                    f"{target}() raised {type(error).__name__}: {error}{own_line(error)}", option
                ) from error


def open_data(text: str, substitute: Substitute) -> Iterator[Any]:
    """Return an iterator of the batches that a text names: a folder, or something to iterate.

    Raises:
        DataError, NetworkError: it is not there, or nothing of the kind.
    """
    folder = user_path(text)
    if folder.is_dir():
        return folder_batches(folder)
    if ":" not in text:
        raise DataError(
            f"{folder} is no folder (seen from {Path.cwd()}). Data is a folder of .npy files, or a "
            "function, such as my_data.py:batches.",
            "--data",
        )
    target, options = split_target(text, "--data")
    return open_batches(_called(target, options, "--data", substitute))
