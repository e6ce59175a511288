"""LeNet's poolings: what `pooling.h` computes, with its gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.dispatch import call, supports

SIZES = ((24, 24), (8, 8))
"""Height and width of the images that have a kernel."""


def supports_pooling(x: Tensor) -> bool:
    """Return whether the kernels are enabled and can pool x: the input of one of LeNet's two."""
    return supports(x) and x.dim() == 4 and x.shape[2:] in SIZES


def sigmoid_average_pool(x: Tensor) -> Tensor:
    """Return `F.avg_pool2d(torch.sigmoid(x), 2)`, where `supports_pooling` is true."""
    return _SigmoidAveragePool.apply(x)  # type: ignore[no-any-return,unused-ignore]


def max_pool(x: Tensor) -> Tensor:
    """Return `F.max_pool2d(x, 2)`, where `supports_pooling` is true."""
    return _MaxPool.apply(x)  # type: ignore[no-any-return,unused-ignore]


def _pooled_shape(x: Tensor) -> tuple[int, ...]:
    return (*x.shape[:-2], x.shape[-2] // 2, x.shape[-1] // 2)


def _planes(x: Tensor) -> int:
    """Return the number of planes: one for each channel of each image."""
    return len(x) * x.shape[1]


class _SigmoidAveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y = x.new_empty(_pooled_shape(x))
        call(f"sigmoid_average_pool_{x.shape[-1]}", x, y, _planes(x))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        d_x = torch.empty_like(x)
        call(f"sigmoid_average_pool_{x.shape[-1]}_gradient", x, g.contiguous(), d_x, _planes(x))
        return d_x


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        y = x.new_empty(_pooled_shape(x))
        argmax = torch.empty_like(y, dtype=torch.int32)
        call(f"max_pool_{x.shape[-1]}", x.contiguous(), y, argmax, _planes(x))
        ctx.save_for_backward(argmax)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (argmax,) = ctx.saved_tensors
        d_x = g.new_empty(ctx.shape)
        call(f"max_pool_{d_x.shape[-1]}_gradient", g.contiguous(), argmax, d_x, _planes(d_x))
        return d_x
