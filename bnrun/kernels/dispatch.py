"""The kernels enabled, and called: tensors go to C++ as addresses."""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bnrun.kernels.build import load

PARTS = 16  # as in lanes.h: in how many parts sums over a batch are taken

_library: ctypes.CDLL | None = None  # while they are enabled


def enabled() -> contextlib.AbstractContextManager[None]:
    """Let what can compute by the kernels do so, for the time being.

    Raises:
        EngineError: they can't be compiled on this machine.
    """
    return _using(load())


def disabled() -> contextlib.AbstractContextManager[None]:
    """Let nothing compute by them for the time being, whatever is going on around it."""
    return _using(None)


@contextlib.contextmanager
def _using(library: ctypes.CDLL | None) -> Iterator[None]:
    global _library
    before, _library = _library, library
    try:
        yield
    finally:
        _library = before


def is_enabled() -> bool:
    """Tell whether they are."""
    return _library is not None


def take(*tensors: Tensor | None) -> bool:
    """Tell whether the kernels are enabled, and take these tensors.

    Those are of float32, on the CPU; a vector must lie in one piece.
    """
    return is_enabled() and all(t is None or _is_taken(t) for t in tensors)


def _is_taken(t: Tensor) -> bool:
    return (
        t.dtype == torch.float32 and t.device.type == "cpu" and (t.dim() != 1 or t.is_contiguous())
    )


def call(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel, which is also told how many threads to use. Tensors go as addresses."""
    kernel = getattr(_library, name)
    if kernel.argtypes is None:
        kernel.argtypes = [*map(_c_type, arguments), ctypes.c_int]
    kernel(
        *[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments], torch.get_num_threads()
    )


def _c_type(argument: Tensor | int | float | None) -> Any:
    if isinstance(argument, int):
        return ctypes.c_long
    return ctypes.c_double if isinstance(argument, float) else ctypes.c_void_p
