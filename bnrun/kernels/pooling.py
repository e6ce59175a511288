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
    return _Pool.apply(x, "sigmoid_average_pool")  # type: ignore[no-any-return,unused-ignore]


def max_pool(x: Tensor) -> Tensor:
    """Return `F.max_pool2d(x, 2)`, where `supports_pooling` is true."""
    return _Pool.apply(x, "max_pool")  # type: ignore[no-any-return,unused-ignore]


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str) -> Tensor:
        x = x.contiguous()
        ctx.kernel = f"{name}_{x.shape[-1]}"
        ctx.planes = len(x) * x.shape[1]  # one for each channel of each image
        y = x.new_empty(*x.shape[:-2], x.shape[-2] // 2, x.shape[-1] // 2)
        call(ctx.kernel, x, y, ctx.planes)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        d_x = torch.empty_like(x)
        call(f"{ctx.kernel}_gradient", x, g.contiguous(), d_x, ctx.planes)
        return d_x, None
