"""Batch normalization: what `batch_norm.h` computes, with its gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.kernels.dispatch import PARTS, call, supports


def supports_batch_norm(x: Tensor, *vectors: Tensor | None) -> bool:
    """Return whether the kernels are enabled and can normalize x, (N, C, ...), by these vectors.

    Args:
        x: the input.
        vectors: gamma, beta, moving mean and moving variance, None or of shape (C,); for a batch in
            pieces, (pieces * C,).
    """
    return supports(x, *vectors)


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    moving_mean: Tensor | None,
    moving_var: Tensor | None,
    *,
    momentum: float,
    eps: float,
    pieces: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalize by the batch: `norms.reference.batch_norm` with `training`.

    The caller has checked the shapes, and that the batch is not empty.

    Args:
        pieces: how many batches of equal length x consists of. Each is normalized by itself, and
            vectors, given and returned, are of shape (pieces * C,), piece after piece.
    """
    y, moved = _BatchNorm.apply(x, gamma, beta, (moving_mean, moving_var), momentum, eps, pieces)
    mean, var = moved.unbind(1)
    return (
        y,
        None if moving_mean is None else mean.flatten(),
        None if moving_var is None else var.flatten(),
    )


def batch_norm_evaluation(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    moving_mean: Tensor,
    moving_var: Tensor,
    eps: float,
) -> Tensor:
    """Normalize by moving statistics: `norms.reference.batch_norm` without `training`.

    It has no gradient.
    """
    x = x.contiguous()
    y = torch.empty_like(x)
    size = x.shape[2:].numel()
    vectors = map(_contiguous, (gamma, beta, moving_mean, moving_var))
    call("batch_norm_evaluation", x, *vectors, y, _work(x), *x.shape[:2], size, float(eps))
    return y


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's mean, and its sum of squares about it: float64, shape (C,).

    Args:
        x: (N, C, ...), not empty, as `supports_batch_norm` has it.
    """
    mean, squares = torch.empty(2, x.shape[1], dtype=torch.float64)
    size = x.shape[2:].numel()
    call("batch_statistics", x.contiguous(), mean, squares, _work(x), *x.shape[:2], size)
    return mean, squares


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        moving: tuple[Tensor | None, Tensor | None],
        momentum: float,
        eps: float,
        pieces: int,
    ) -> tuple[Tensor, Tensor]:
        x, gamma, beta, *moving_vectors = map(_contiguous, (x, gamma, beta, *moving))
        channels = x.shape[1]
        y, mean, var = torch.empty_like(x), *x.new_empty(2, pieces * channels)
        moved = x.new_empty(pieces, 2, channels)
        size = x.shape[2:].numel()
        ctx.shape = (pieces, len(x) // pieces, channels, size, float(eps))
        call(
            *("batch_norm", x, gamma, beta, y, mean, var, *moving_vectors, moved),
            *(float(momentum), _work(x, pieces), *ctx.shape),
        )
        ctx.mark_non_differentiable(moved)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, gamma, beta, mean, var)
        return y, moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, mean, var = ctx.saved_tensors
        d_x, d_gamma, d_beta = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
        call(
            *("batch_norm_gradient", x, gamma, mean, var, g.contiguous(), d_x, d_gamma, d_beta),
            *(_work(x, ctx.shape[0]), *ctx.shape),
        )
        gradients = (d_x, None if gamma is None else d_gamma, None if beta is None else d_beta)
        return *gradients, None, None, None, None


def _contiguous(tensor: Any) -> Any:
    return None if tensor is None else tensor.contiguous()


def _work(x: Tensor, pieces: int = 1) -> Tensor:
    """Return the memory in which a kernel keeps the sums of all parts, and their totals.

    It is for each of as many threads as compute pieces.
    """
    return x.new_empty(min(pieces, PARTS), PARTS + 1, 2, x.shape[1], dtype=torch.float64)
