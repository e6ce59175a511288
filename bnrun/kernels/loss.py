"""The cross entropy of a softmax: what `loss.h` computes, with its gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.dispatch import call, supports

MAX_CLASSES = 16
"""The same constant as in loss.h."""


def supports_cross_entropy(logits: Tensor, labels: Tensor) -> bool:
    """Return whether the kernels are enabled and can compute the loss of these logits."""
    return (
        supports(logits)
        and logits.dim() == 2
        and 0 < logits.shape[1] <= MAX_CLASSES
        and labels.is_cpu
        and labels.dtype == torch.int64
        and labels.shape == logits.shape[:1]
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return `F.cross_entropy(logits, labels)`, of shape ().

    Args:
        logits: float32, (N, C) with C at most 16.
        labels: int64, (N,). A label that is no class makes the loss NaN; PyTorch raises.
    """
    return _CrossEntropy.apply(logits, labels)  # type: ignore[no-any-return,unused-ignore]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.contiguous()
        loss, d_logits = logits.new_empty(()), torch.empty_like(logits)
        call("softmax_cross_entropy", logits, labels.contiguous(), loss, d_logits, *logits.shape)
        ctx.save_for_backward(d_logits)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (d_logits,) = ctx.saved_tensors
        return d_logits * g, None
