"""LeNet's two convolutions: what `convolution.h` computes, with its gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.dispatch import PARTS, call, supports

KERNEL_SIZE = 5
CONVOLUTIONS = {(1, 6, 28): "convolve_1_6_28", (6, 16, 12): "convolve_6_16_12"}
"""Kernels by input channels, output channels, and input pixels a side."""


def supports_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether the kernels are enabled and can compute `F.conv2d(x, weight, bias)`.

    They can for the shapes of LeNet's two convolutions, without stride or padding, with a bias.
    """
    return (
        supports(x, weight, bias)
        and bias is not None
        and x.dim() == 4
        and x.shape[1:] == (weight.shape[1], x.shape[3], x.shape[3])
        and (weight.shape[1], weight.shape[0], x.shape[3]) in CONVOLUTIONS
        and weight.shape[2:] == (KERNEL_SIZE, KERNEL_SIZE)
    )


def conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `F.conv2d(x, weight, bias)`, where `supports_conv2d` is true."""
    return _Convolution.apply(x, weight, bias)  # type: ignore[no-any-return,unused-ignore]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        ctx.save_for_backward(x, weight)
        images, size = len(x), x.shape[3] - KERNEL_SIZE + 1
        y = x.new_empty(images, len(weight), size, size)
        call(_kernel(x, weight), x, weight, bias, y, images)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g, kernel = g.contiguous(), _kernel(x, weight)
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        d_weight, d_bias = torch.empty_like(weight), weight.new_empty(len(weight))
        work = weight.new_empty(PARTS * (weight.numel() + len(weight)))
        call(f"{kernel}_gradient", x, weight, g, d_x, d_weight, d_bias, work, len(x))
        return d_x, d_weight, d_bias


def _kernel(x: Tensor, weight: Tensor) -> str:
    return CONVOLUTIONS[weight.shape[1], weight.shape[0], x.shape[3]]
