"""The kernels as functions of tensors, with their gradients: what modules call.

Each computes what the function of PyTorch's that it names computes, on float32 tensors on the CPU,
and can be differentiated once.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.library import load

PARTS = 16  # as in lanes.h: in how many parts sums over a batch are taken
CONVOLUTIONS = {(6, 1, 28): "convolve_1_6_28", (16, 6, 12): "convolve_6_16_12"}
POOLED = ((24, 24), (8, 8))

_library: ctypes.CDLL | None = None  # while they are enabled


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Let the modules that can compute by the kernels do so, for the time being.

    Raises:
        EngineError: they can't be compiled on this machine.
    """
    global _library
    before, _library = _library, load()
    try:
        yield
    finally:
        _library = before


def take(*tensors: Tensor | None) -> bool:
    """Tell whether the kernels are enabled, and take these tensors."""
    return _library is not None and all(
        t is None or (t.dtype == torch.float32 and t.device.type == "cpu") for t in tensors
    )


def take_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Tell whether they take this convolution: one of LeNet's two, without stride or padding."""
    return (
        take(x, weight, bias)
        and bias is not None
        and x.dim() == 4
        and x.shape[1:] == (weight.shape[1], x.shape[3], x.shape[3])
        and (weight.shape[0], weight.shape[1], x.shape[3]) in CONVOLUTIONS
        and weight.shape[2:] == (5, 5)
    )


def conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `F.conv2d(x, weight, bias)`, of those that `take_convolution`."""
    return _Convolution.apply(x, weight, bias)  # type: ignore[no-any-return,unused-ignore]


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    moving_mean: Tensor | None,
    moving_var: Tensor | None,
    *,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalize by the batch: `norms.functional.batch_norm` with `training`, for what that takes.

    The batch must not be empty.
    """
    y, moved = _BatchNorm.apply(x, gamma, beta, moving_mean, moving_var, momentum, eps)
    return y, None if moving_mean is None else moved[0], None if moving_var is None else moved[1]


def take_pooling(x: Tensor) -> bool:
    """Tell whether they take this pooling: one of LeNet's two."""
    return take(x) and x.dim() == 4 and x.shape[2:] in POOLED


def sigmoid_average_pool(x: Tensor) -> Tensor:
    """Return `F.avg_pool2d(torch.sigmoid(x), 2)`, of what `take_pooling` tells."""
    return _SigmoidAveragePool.apply(x)  # type: ignore[no-any-return,unused-ignore]


def max_pool(x: Tensor) -> Tensor:
    """Return `F.max_pool2d(x, 2)`, of what `take_pooling` tells."""
    return _MaxPool.apply(x)  # type: ignore[no-any-return,unused-ignore]


def _call(name: str, *arguments: Tensor | int | float | None) -> None:
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


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        images, _, _, size = x.shape
        y = x.new_empty(images, weight.shape[0], size - 4, size - 4)
        _call(_name(x, weight), x, weight, bias, y, images)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g, name = g.contiguous(), _name(x, weight)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = torch.empty_like(x)
            _call(f"{name}_input_gradient", g, weight, d_x, len(x))
        d_weight, d_bias = x.new_empty(PARTS, *weight.shape), x.new_empty(PARTS, len(weight))
        _call(f"{name}_weight_gradient", x, g, d_weight, d_bias, len(x))
        return d_x, d_weight.sum(0), d_bias.sum(0)


def _name(x: Tensor, weight: Tensor) -> str:
    return CONVOLUTIONS[weight.shape[0], weight.shape[1], x.shape[3]]


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        moving_mean: Tensor | None,
        moving_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        images, channels = x.shape[:2]
        y, mean, var = torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
        moved = x.new_empty(2, channels)
        size = x[0, 0].numel()
        _call(
            *("batch_norm", x, gamma, beta, y, mean, var, moving_mean, moving_var, moved),
            *(float(momentum), _work(x), images, channels, size, float(eps)),
        )
        ctx.mark_non_differentiable(moved)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, gamma, beta, mean, var)
        ctx.eps, ctx.size = float(eps), size
        return y, moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, mean, var = ctx.saved_tensors
        d_x, d_gamma, d_beta = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
        _call(
            *("batch_norm_gradient", x, gamma, mean, var, g.contiguous(), d_x, d_gamma, d_beta),
            *(_work(x), *x.shape[:2], ctx.size, ctx.eps),
        )
        gradients = (d_x, None if gamma is None else d_gamma, None if beta is None else d_beta)
        return *gradients, None, None, None, None


def _work(x: Tensor) -> Tensor:
    """Return room for the sums of all parts, and for their totals."""
    return x.new_empty(PARTS + 1, 2, x.shape[1], dtype=torch.float64)


def _halved(x: Tensor) -> tuple[int, ...]:
    """Return the shape of images whose height and width are half."""
    return (*x.shape[:-2], x.shape[-2] // 2, x.shape[-1] // 2)


def _planes(x: Tensor) -> int:
    """Return how many planes images are made of: one for each channel of each."""
    return len(x) * x.shape[1]


class _SigmoidAveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y = x.new_empty(_halved(x))
        _call(f"sigmoid_average_pool_{x.shape[-1]}", x, y, _planes(x))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        d_x = torch.empty_like(x)
        _call(f"sigmoid_average_pool_{x.shape[-1]}_gradient", x, g.contiguous(), d_x, _planes(x))
        return d_x


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        y = x.new_empty(_halved(x))
        winner = torch.empty_like(y, dtype=torch.int32)
        _call(f"max_pool_{x.shape[-1]}", x.contiguous(), y, winner, _planes(x))
        ctx.save_for_backward(winner)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (winner,) = ctx.saved_tensors
        d_x = g.new_empty(ctx.shape)
        _call(f"max_pool_{d_x.shape[-1]}_gradient", g.contiguous(), winner, d_x, _planes(d_x))
        return d_x
