"""Convolution: what `convolution.h` computes, with its gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.dispatch import PARTS, call, take

CONVOLUTIONS = {(6, 1, 28): "convolve_1_6_28", (16, 6, 12): "convolve_6_16_12"}


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


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        images, _, _, size = x.shape
        y = x.new_empty(images, weight.shape[0], size - 4, size - 4)
        call(_name(x, weight), x, weight, bias, y, images)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g, name = g.contiguous(), _name(x, weight)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = torch.empty_like(x)
            call(f"{name}_input_gradient", g, weight, d_x, len(x))
        d_weight, d_bias = x.new_empty(PARTS, *weight.shape), x.new_empty(PARTS, len(weight))
        call(f"{name}_weight_gradient", x, g, d_weight, d_bias, len(x))
        return d_x, d_weight.sum(0), d_bias.sum(0)


def _name(x: Tensor, weight: Tensor) -> str:
    return CONVOLUTIONS[weight.shape[0], weight.shape[1], x.shape[3]]
