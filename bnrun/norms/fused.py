"""The same function as `reference.batch_norm` with explicit gradients: the fast path.

Autograd keeps every intermediate tensor of the formula and goes back through each. The paper gives
the gradients in closed form (Ioffe & Szegedy 2015, section 3): they need only the input and two
numbers per channel. The specification is `reference.batch_norm`, and a test compares the two. Use
that one under forward-mode differentiation or `vmap`, which this one does not support.
"""

from typing import Any

import torch
from torch import Tensor

from bnrun import kernels
from bnrun.norms import reference


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
    """Normalize, scale and shift: arguments, result and errors are `reference.batch_norm`'s.

    Computed by `bnrun.kernels` where they are enabled and support the input.
    """
    supported = kernels.supports_batch_norm(x, gamma, beta, moving_mean, moving_var)
    if not training:
        if moving_mean is None or moving_var is None or torch.is_grad_enabled() or not supported:
            return reference.batch_norm(
                x, gamma, beta, moving_mean, moving_var, training=False, momentum=momentum, eps=eps
            )
        reference.check(x, gamma, beta, moving_mean, moving_var, training=False)
        y = kernels.batch_norm_evaluation(x, gamma, beta, moving_mean, moving_var, eps)
        return y, moving_mean, moving_var
    count = reference.check(x, gamma, beta, moving_mean, moving_var, training=True)
    if count and supported:
        return kernels.batch_norm(
            x, gamma, beta, moving_mean, moving_var, momentum=momentum, eps=eps
        )
    wide = (None if vector is None else reference.widen(vector) for vector in (gamma, beta))
    y, mean, var = _NormalizeByBatch.apply(reference.widen(x), *wide, eps)
    moving_mean, moving_var = reference.move(moving_mean, moving_var, mean, var, momentum, count)
    return y.to(x.dtype), moving_mean, moving_var


class _NormalizeByBatch(torch.autograd.Function):
    """Algorithm 1 and its gradients: (x, gamma, beta, eps) to (y, mean, var).

    With m values per channel, x_hat = (x - mean) / sqrt(var + eps), and g the gradient of y:

        d_beta  = sum(g)
        d_gamma = sum(g * x_hat)
        d_x     = gamma / sqrt(var + eps) * (g - d_beta / m - x_hat * d_gamma / m)
    """

    @staticmethod
    def forward(
        x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        over, per_channel, m = reference.layout(x)
        mean = x.sum(over) / m
        centered = x - mean.view(per_channel)
        var = centered.square().sum(over) / m
        scale = torch.rsqrt(var + eps)
        if gamma is not None:
            scale = scale * gamma
        y = centered.mul_(scale.view(per_channel))
        if beta is not None:
            y.add_(beta.view(per_channel))
        return y, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, gamma, beta, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, gamma, beta, mean, var)

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            return *_differentiable_gradients(x, gamma, beta, g, ctx.eps), None

        over, per_channel, m = reference.layout(x)
        inv_std = torch.rsqrt(var + ctx.eps)
        d_beta = g.sum(over)
        centered = x - mean.view(per_channel)
        d_gamma = (g * centered).sum(over) * inv_std
        # In place: these passes over the whole input take most of the time.
        d_x = centered.mul_((-inv_std * d_gamma / m).view(per_channel))
        d_x.add_(g).sub_((d_beta / m).view(per_channel))
        d_x.mul_((inv_std if gamma is None else inv_std * gamma).view(per_channel))
        return d_x, None if gamma is None else d_gamma, None if beta is None else d_beta, None


def _differentiable_gradients(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, g: Tensor, eps: float
) -> list[Tensor | None]:
    """Return the gradients with a graph of their own, by autograd from the plain formula."""
    y, _, _ = reference.batch_norm(x, gamma, beta, None, None, training=True, momentum=0.0, eps=eps)
    inputs = [t for t in (x, gamma, beta) if t is not None and t.requires_grad]
    gradients = iter(torch.autograd.grad(y, inputs, g, create_graph=True))
    return [
        next(gradients) if t is not None and t.requires_grad else None for t in (x, gamma, beta)
    ]
