"""Batch normalization as one pure function: the formula, to compare with the paper.

Sergey Ioffe and Christian Szegedy, "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift", ICML 2015 (arXiv:1502.03167).
"""

import torch
from torch import Tensor


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    moving_mean: Tensor | None,
    moving_var: Tensor | None,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalize each channel of `x`, then scale and shift it.

    With `training`, normalize by the batch's own statistics (the paper's Algorithm 1). With m
    values per channel:

        mean = sum(x) / m
        var  = sum((x - mean)^2) / m                                  (biased)
        y    = gamma * (x - mean) / sqrt(var + eps) + beta
        moving_mean <- (1 - momentum) * moving_mean + momentum * mean
        moving_var  <- (1 - momentum) * moving_var  + momentum * var * m / (m - 1)   (unbiased)

    Without `training`, normalize by the moving statistics (Algorithm 2) and do not change them.

    Args:
        x: the input, of rank 2 to 5: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        gamma: scale, shape (C,); None means 1.
        beta: shift, shape (C,); None means 0.
        moving_mean: shape (C,); None where none is kept.
        moving_var: shape (C,); None where none is kept.
        training: whether to normalize by the batch and to update the moving statistics.
        momentum: the weight of the new batch, as in PyTorch (the textbook's 0.9 is 0.1 here).
        eps: added to the variance, inside the root.

    Returns:
        y, of x's shape and dtype; the moving mean; the moving variance. With `training` these two
        are new, detached tensors; otherwise, and after an empty batch, they are the given ones.

    Raises:
        ValueError: the rank is not 2 to 5; or `training` with one value per channel, whose
            variance would be 0 whatever the value; or no moving statistics without `training`.
        RuntimeError: a vector's length is not the channel count of x.
        NotImplementedError: x is not of a floating-point dtype.
        These are the errors of PyTorch's layer.
    """
    count = check(x, gamma, beta, moving_mean, moving_var, training=training)
    over, per_channel, m = layout(x)
    x_wide = widen(x)

    if training:
        mean = x_wide.sum(over) / m
        # Centering first keeps the digits that E[x^2] - E[x]^2 cancels where the mean is large.
        centered = x_wide - mean.view(per_channel)
        var = centered.square().sum(over) / m
        moving_mean, moving_var = move(moving_mean, moving_var, mean, var, momentum, count)
    else:
        if moving_mean is None or moving_var is None:
            raise ValueError("without moving statistics only `training` can normalize")
        centered = x_wide - moving_mean.view(per_channel)
        var = widen(moving_var)

    scale = torch.rsqrt(var + eps)
    if gamma is not None:
        scale = scale * gamma
    y = centered * scale.view(per_channel)
    if beta is not None:
        y = y + beta.view(per_channel)
    return y.to(x.dtype), moving_mean, moving_var


def layout(x: Tensor) -> tuple[list[int], tuple[int, ...], int]:
    """Return the dimensions to sum over for each channel, a broadcasting shape, and the divisor m.

    The dimensions are all but 1. A vector of shape (C,) broadcasts over x in the returned shape.
    m is the number of values per channel; for an empty batch it is 1, so that the statistics are 0
    and not NaN.
    """
    over = [0, *range(2, x.dim())]
    per_channel = (1, x.shape[1], *[1] * (x.dim() - 2))
    return over, per_channel, max(x.numel() // max(x.shape[1], 1), 1)


def move(
    moving_mean: Tensor | None,
    moving_var: Tensor | None,
    mean: Tensor,
    var: Tensor,
    momentum: float,
    count: int,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the moving statistics after a batch of `count` values per channel.

    `var` is the batch's biased variance; the moving variance is updated with the unbiased one. An
    empty batch changes nothing.
    """
    if count == 0:
        return moving_mean, moving_var
    unbiased = var.detach() * (count / (count - 1))
    return _move(moving_mean, mean.detach(), momentum), _move(moving_var, unbiased, momentum)


def check(x: Tensor, *vectors: Tensor | None, training: bool) -> int:
    """Return the number of values per channel of x, after checking that x can be normalized.

    Raises:
        ValueError, RuntimeError, NotImplementedError: see `batch_norm`.
    """
    check_rank(x)
    channels = x.shape[1]
    count = x.numel() // max(channels, 1)
    if training and count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}"
        )
    if not x.is_floating_point():
        raise NotImplementedError(f"batch_norm is not implemented for an input of {x.dtype}")
    for name, vector in zip(("gamma", "beta", "moving_mean", "moving_var"), vectors, strict=True):
        if vector is not None and vector.numel() != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements, one for each channel of an input of "
                f"shape {tuple(x.shape)}, not {vector.numel()}"
            )
    return count


def check_rank(x: Tensor) -> None:
    """Check that the rank of an input is 2 to 5.

    Raises:
        ValueError: it is not.
    """
    if not 2 <= x.dim() <= 5:
        raise ValueError(f"expected 2D to 5D input (got {x.dim()}D input)")


def _move(moving: Tensor | None, new: Tensor, momentum: float) -> Tensor | None:
    if moving is None:
        return None
    moved = (1 - momentum) * moving.detach().to(new.dtype) + momentum * new
    return moved.to(moving.dtype)


def widen(x: Tensor) -> Tensor:
    """Return half precision as float32, and any other dtype unchanged.

    Sums in half precision lose most digits of the statistics. PyTorch computes them in float32.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
