"""Batch normalization of a batch whose examples lie in several processes: each has a share of it.

The same function as `reference.batch_norm` of the whole batch. Forward, each process sends the
count, the mean and the centred squares of its share, by channel; backward, the two sums that the
gradient needs. A process without any example takes part with a count of 0.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnrun.norms import reference
from bnrun.processes import Processes


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    moving_mean: Tensor | None,
    moving_var: Tensor | None,
    *,
    processes: Processes,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalize this process's share of a batch by the statistics of the whole batch.

    Arguments, result and errors are those of `reference.batch_norm` with `training`. All processes
    must call it, in the same order of layers. The gradients of gamma and beta are those of this
    share: summed over the processes, they are the gradients of the whole batch.
    """
    reference.check(x, gamma, beta, moving_mean, moving_var, training=False)
    wide = (None if vector is None else reference.widen(vector) for vector in (gamma, beta))
    y, mean, var, count = _NormalizeByAll.apply(reference.widen(x), *wide, eps, processes)
    if count == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got 1 in all processes"
        )
    moved = reference.move(moving_mean, moving_var, mean, var, momentum, int(count))
    return y.to(x.dtype), *moved


def gathered_statistics(
    processes: Processes, count: int, mean: Tensor, squares: Tensor
) -> tuple[int, Tensor, Tensor]:
    """Return count, mean and centred squares, by channel, of the values of all processes.

    With n_i, mean_i and squares_i of each process, and N = sum(n_i):

        mean    = sum(n_i * mean_i) / N
        squares = sum(squares_i) + sum(n_i * (mean_i - mean)^2)

    Chan, Golub and LeVeque (1979), for any number of parts: no large numbers are subtracted. The
    sums are in float64 and in the order of the ranks, so all processes get the same bits.
    """
    here = torch.cat([mean.new_tensor([count]), mean, squares]).double()
    rows, channels = processes.gather(here), len(mean)
    counts, means, squares_of = rows[:, :1], rows[:, 1 : 1 + channels], rows[:, 1 + channels :]
    total = counts.sum()
    if total == 0:
        return 0, mean, squares
    merged = (counts * means).sum(0) / total
    distances = (counts * (means - merged).square()).sum(0)
    return int(total), merged.to(mean.dtype), (squares_of.sum(0) + distances).to(mean.dtype)


class _NormalizeByAll(torch.autograd.Function):
    """Algorithm 1 and its gradients, as `fused._NormalizeByBatch`, with sums over all processes.

    With m values per channel in all processes together, and g the gradient of this share's y:

        d_beta  = sum(g)                    (of this share)
        d_gamma = sum(g * x_hat)            (of this share)
        d_x     = gamma / sqrt(var + eps) * (g - all d_beta / m - x_hat * all d_gamma / m)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        eps: float,
        processes: Processes,
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        over, per_channel, divisor = reference.layout(x)
        mean = x.sum(over) / divisor
        squares = (x - mean.view(per_channel)).square().sum(over)
        count = x.numel() // x.shape[1]
        total, mean, squares = gathered_statistics(processes, count, mean, squares)
        var = squares / max(total, 1)
        inv_std = torch.rsqrt(var + eps)
        scale = inv_std if gamma is None else inv_std * gamma
        y = (x - mean.view(per_channel)).mul_(scale.view(per_channel))
        if beta is not None:
            y.add_(beta.view(per_channel))
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, gamma, mean, inv_std)
        ctx.has_beta, ctx.total, ctx.processes = beta is not None, total, processes
        return y, mean, var, total

    @staticmethod
    @once_differentiable  # type: ignore[misc,untyped-decorator,unused-ignore]
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, gamma, mean, inv_std = ctx.saved_tensors
        over, per_channel, _divisor = reference.layout(x)
        x_hat = (x - mean.view(per_channel)).mul_(inv_std.view(per_channel))
        d_beta, d_gamma = g.sum(over), (g * x_hat).sum(over)
        all_beta, all_gamma = d_beta.clone(), d_gamma.clone()
        ctx.processes.add([all_beta, all_gamma])
        m = max(ctx.total, 1)
        d_x = g - (all_beta / m).view(per_channel) - x_hat * (all_gamma / m).view(per_channel)
        d_x.mul_((inv_std if gamma is None else inv_std * gamma).view(per_channel))
        return (
            d_x,
            None if gamma is None else d_gamma,
            d_beta if ctx.has_beta else None,
            None,
            None,
        )
