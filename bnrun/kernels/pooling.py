"""Pooling: what `pooling.h` computes, with its gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.dispatch import call, take

POOLED = ((24, 24), (8, 8))


def take_pooling(x: Tensor) -> bool:
    """Tell whether they take this pooling: one of LeNet's two."""
    return take(x) and x.dim() == 4 and x.shape[2:] in POOLED


def sigmoid_average_pool(x: Tensor) -> Tensor:
    """Return `F.avg_pool2d(torch.sigmoid(x), 2)`, of what `take_pooling` tells."""
    return _SigmoidAveragePool.apply(x)  # type: ignore[no-any-return,unused-ignore]


def max_pool(x: Tensor) -> Tensor:
    """Return `F.max_pool2d(x, 2)`, of what `take_pooling` tells."""
    return _MaxPool.apply(x)  # type: ignore[no-any-return,unused-ignore]


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
        y = x.new_empty(_halved(x))
        winner = torch.empty_like(y, dtype=torch.int32)
        call(f"max_pool_{x.shape[-1]}", x.contiguous(), y, winner, _planes(x))
        ctx.save_for_backward(winner)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (winner,) = ctx.saved_tensors
        d_x = g.new_empty(ctx.shape)
        call(f"max_pool_{d_x.shape[-1]}_gradient", g.contiguous(), winner, d_x, _planes(d_x))
        return d_x
