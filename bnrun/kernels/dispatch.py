"""Whether layers use the kernels, and the one way to call a kernel.

The code around a layer chooses, by a block of `enabled` or `disabled`. The layer asks one of the
`supports_...` functions, and all of them ask `supports`. A backward pass does not ask: a kernel
computes the gradient of what a kernel has computed, wherever `backward()` is called.
"""

import contextlib
import contextvars
import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bnrun.kernels.build import load

PARTS = 16
"""Number of parts that sums over a batch are computed in; the same constant as in lanes.h."""


class _Tensor:
    """The C type of a pointer to a tensor's values: checks the tensor, and passes its address."""

    def __init__(self, dtype: torch.dtype, *, optional: bool = False) -> None:
        self.dtype, self.optional = dtype, optional

    def from_param(self, tensor: Tensor | None) -> ctypes.c_void_p:
        """Return a tensor's address; ctypes calls this for every argument.

        Raises:
            TypeError: the tensor is not what the kernel reads or writes.
        """
        if tensor is None and self.optional:
            return ctypes.c_void_p(None)
        if (
            not isinstance(tensor, Tensor)
            or tensor.dtype != self.dtype
            or not tensor.is_cpu
            or not tensor.is_contiguous()
        ):
            raise TypeError(f"expected a contiguous {self.dtype} tensor on the CPU")
        return ctypes.c_void_p(tensor.data_ptr())


class _Tensors:
    """The C type of an array of pointers to contiguous float32 tensors; any of them may be None."""

    def from_param(self, tensors: Sequence[Tensor | None]) -> "ctypes.Array[ctypes.c_void_p]":
        """Return the tensors' addresses; ctypes calls this for every argument.

        It checks less than `_Tensor` does, because a training step has some 60 of them, which were
        on the CPU when it began.

        Raises:
            TypeError: the dtype or the layout of a tensor is another.
        """
        addresses: list[int | None] = []
        for tensor in tensors:
            if tensor is None:
                addresses.append(None)
            elif tensor.dtype is torch.float32 and tensor.is_contiguous():
                addresses.append(tensor.data_ptr())
            else:
                raise TypeError("expected contiguous torch.float32 tensors")
        return (ctypes.c_void_p * len(tensors))(*addresses)


_FLOATS, _DOUBLES = _Tensor(torch.float32), _Tensor(torch.float64)
_LONGS, _BYTES = _Tensor(torch.int64), _Tensor(torch.uint8)
_FLOATS_OR_NULL = _Tensor(torch.float32, optional=True)
_DOUBLES_OR_NULL = _Tensor(torch.float64, optional=True)
_TENSORS = _Tensors()
_LONG, _DOUBLE, _BOOL = ctypes.c_long, ctypes.c_double, ctypes.c_int

_CONVOLUTION = (_FLOATS, _FLOATS, _FLOATS, _FLOATS, _LONG)  # x, w, b, y, images
_CONVOLUTION_GRADIENT = (
    *(_FLOATS, _FLOATS, _FLOATS),  # x, w, g
    *(_FLOATS_OR_NULL, _FLOATS, _FLOATS, _FLOATS, _LONG),  # dx, dw, db, work, images
)
_POOL = (_FLOATS, _FLOATS, _LONG)  # x, y, planes
_POOL_GRADIENT = (_FLOATS, _FLOATS, _FLOATS, _LONG)  # x, g, dx, planes
_LENET = (
    *(_BOOL, _BOOL),  # whether it has ReLU, and max pooling
    *(_FLOATS, _TENSORS, _TENSORS, _DOUBLES),  # x, layers, moving, norms
    *(_FLOATS, _FLOATS, _DOUBLES_OR_NULL, _LONG),  # work, logits, seconds, images
)
_LENET_GRADIENT = (
    *(_BOOL, _BOOL),  # likewise
    *(_FLOATS, _TENSORS, _DOUBLES),  # d_logits, layers, norms
    *(_FLOATS, _FLOATS, _TENSORS),  # work, gradient work, gradients
    *(_DOUBLES_OR_NULL, _LONG),  # seconds, images
)

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "convolve_1_6_28": _CONVOLUTION,
    "convolve_1_6_28_gradient": _CONVOLUTION_GRADIENT,
    "convolve_6_16_12": _CONVOLUTION,
    "convolve_6_16_12_gradient": _CONVOLUTION_GRADIENT,
    "sigmoid_average_pool_24": _POOL,
    "sigmoid_average_pool_24_gradient": _POOL_GRADIENT,
    "sigmoid_average_pool_8": _POOL,
    "sigmoid_average_pool_8_gradient": _POOL_GRADIENT,
    "max_pool_24": _POOL,
    "max_pool_24_gradient": _POOL_GRADIENT,
    "max_pool_8": _POOL,
    "max_pool_8_gradient": _POOL_GRADIENT,
    "batch_norm": (
        *(_FLOATS, _FLOATS_OR_NULL, _FLOATS_OR_NULL),  # x, gamma, beta
        *(_FLOATS, _FLOATS, _FLOATS),  # y, mean, var
        *(_FLOATS_OR_NULL, _FLOATS_OR_NULL),  # moving mean, moving var
        *(_FLOATS, _DOUBLE),  # moved, momentum
        *(_DOUBLES, _LONG, _LONG, _LONG, _LONG),  # work, pieces, images, channels, size
        _DOUBLE,  # eps
    ),
    "batch_norm_gradient": (
        *(_FLOATS, _FLOATS_OR_NULL, _FLOATS, _FLOATS, _FLOATS),  # x, gamma, mean, var, g
        *(_FLOATS, _FLOATS, _FLOATS),  # dx, d_gamma, d_beta
        *(_DOUBLES, _LONG, _LONG, _LONG, _LONG),  # work, pieces, images, channels, size
        _DOUBLE,  # eps
    ),
    "batch_norm_evaluation": (
        *(_FLOATS, _FLOATS_OR_NULL, _FLOATS_OR_NULL, _FLOATS, _FLOATS),  # x, gamma, beta, mean, var
        *(_FLOATS, _DOUBLES, _LONG, _LONG, _LONG, _DOUBLE),  # y, work, images, channels, size, eps
    ),
    "batch_statistics": (
        *(_FLOATS, _DOUBLES, _DOUBLES, _DOUBLES),  # x, mean, squares, work
        *(_LONG, _LONG, _LONG),  # images, channels, size
    ),
    "gather": (_BYTES, _LONGS, _FLOATS, _LONG, _LONG),  # images, index, batch, count, pixels
    "softmax_cross_entropy": (
        *(_FLOATS, _LONGS, _FLOATS, _FLOATS),  # logits, labels, loss, d_logits
        *(_LONG, _LONG),  # images, classes
    ),
    "lenet": _LENET,
    "lenet_gradient": _LENET_GRADIENT,
    "lenet_prediction": (
        *(_BOOL, _BOOL),  # likewise
        *(_FLOATS, _TENSORS, _TENSORS, _DOUBLES),  # x, layers, moving, norms
        *(_FLOATS, _FLOATS, _LONG),  # work, logits, images
    ),
    "lenet_step": (
        *(_BOOL, _BOOL),  # likewise
        *(_BYTES, _LONGS, _LONGS),  # pixels, labels, index
        *(_TENSORS, _TENSORS, _DOUBLES),  # layers, moving, norms
        *(_TENSORS, _TENSORS),  # gradients, velocities
        *(_DOUBLE, _DOUBLE, _DOUBLE, _BOOL),  # lr, momentum, weight decay, Nesterov's
        *(_FLOATS, _FLOATS, _FLOATS, _FLOATS),  # work, gradient work, loss, correct
        *(_DOUBLES_OR_NULL, _LONG),  # seconds, images
    ),
    "lenet_population": (
        *(_BOOL, _BOOL),  # likewise
        *(_FLOATS, _TENSORS, _DOUBLES),  # x, layers, norms
        *(_FLOATS, _FLOATS, _FLOATS, _LONG),  # work, logits, statistics, images
    ),
}
"""The arguments of each kernel of kernels.cpp, without the last: the number of threads."""

_is_enabled = contextvars.ContextVar("kernels are enabled", default=False)
_calls = _requests = 0


def enabled() -> contextlib.AbstractContextManager[None]:
    """Let the layers that have a kernel use it, inside the block and in this thread.

    Raises:
        EngineError: the kernels cannot be compiled or loaded on this machine.
    """
    _kernels()
    return _switched(True)


def disabled() -> contextlib.AbstractContextManager[None]:
    """Let no layer use a kernel inside the block, also inside a block of `enabled`."""
    return _switched(False)


@contextlib.contextmanager
def _switched(on: bool) -> Iterator[None]:
    token = _is_enabled.set(on)
    try:
        yield
    finally:
        _is_enabled.reset(token)


def is_enabled() -> bool:
    """Return whether the code here runs inside a block of `enabled`."""
    return _is_enabled.get()


def calls() -> int:
    """Return how often this process has called a kernel: evidence that kernels computed."""
    return _calls


def requests() -> int:
    """Return how often this process has asked for a kernel; only code that has one asks."""
    return _requests


def supports(*tensors: Tensor | None) -> bool:
    """Return whether the kernels are enabled and can compute with these tensors.

    They must be float32 and on the CPU. None stands for a vector that a layer does not have.
    """
    global _requests
    _requests += 1
    return _is_enabled.get() and all(
        tensor is None or (tensor.dtype == torch.float32 and tensor.is_cpu) for tensor in tensors
    )


def call(name: str, *arguments: Tensor | Sequence[Tensor | None] | int | float | None) -> None:
    """Call a kernel on torch's number of threads.

    Args:
        name: of the kernel, a key of `SIGNATURES`.
        arguments: as the signature lists them; tensors are passed as addresses.

    Raises:
        ctypes.ArgumentError, TypeError: the arguments are not those of the signature.
    """
    global _calls
    _calls += 1
    if len(arguments) != len(SIGNATURES[name]):  # ctypes accepts too many
        raise TypeError(f"{name} takes {len(SIGNATURES[name])} arguments, got {len(arguments)}")
    _kernels()[name](*arguments, torch.get_num_threads())


@cache
def _kernels() -> dict[str, Callable[..., None]]:
    """Return the compiled kernels by name, loaded once, with their C signatures.

    Raises:
        EngineError: they cannot be compiled or loaded on this machine.
    """
    library = load()
    kernels = {}
    for name, signature in SIGNATURES.items():
        kernel = getattr(library, name)
        kernel.argtypes = [*signature, ctypes.c_int]
        kernel.restype = None
        kernels[name] = kernel
    return kernels
