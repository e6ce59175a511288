"""Stochastic gradient descent, and the learning rate as a function of the step.

The same updates as `torch.optim.SGD`, to the bit. Where a step is one call of a kernel, `sgd.h` of
bnrun/kernels computes the same formula, up to rounding. Constructing any optimizer of torch imports
its compiler first, which costs every run 1.8 s (torch 2.15).
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.config import Config

WARM_UP_FRACTION = 0.3
"""Part of the run over which `one-cycle` climbs to its peak."""
START_DIVISOR = 25
"""`one-cycle` starts at the peak divided by this."""
END_DIVISOR = 250_000
"""`one-cycle` ends at the peak divided by this."""


class SGD:
    """SGD with momentum (Sutskever et al. 2013, section 2) and an L2 penalty.

    For each parameter p with gradient g, and a velocity v that starts at 0:

        g <- g + weight_decay * p
        v <- momentum * v + g
        p <- p - lr * g                       without momentum
        p <- p - lr * v                       with momentum
        p <- p - lr * (g + momentum * v)      with Nesterov's momentum

    `lr` is an attribute to set before each step: a number, or a tensor of shape () that a captured
    CUDA graph reads at each replay. A parameter without a gradient is skipped.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Tensor,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.velocities = [torch.zeros_like(p) for p in self.parameters] if momentum else []

    def zero_grad(self) -> None:
        """Set every gradient to None."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient, all of them in one call per formula line."""
        indices = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not indices:
            return
        parameters = [self.parameters[i] for i in indices]
        update = [p.grad for p in parameters if p.grad is not None]
        if self.weight_decay:
            update = list(torch._foreach_add(update, parameters, alpha=self.weight_decay))
        if self.momentum:
            update = self._with_momentum(update, [self.velocities[i] for i in indices])
        if isinstance(self.lr, Tensor):
            torch._foreach_sub_(parameters, list(torch._foreach_mul(update, self.lr)), alpha=1)
        else:
            torch._foreach_add_(parameters, update, alpha=-self.lr)

    def _with_momentum(self, gradients: list[Tensor], velocities: list[Tensor]) -> list[Tensor]:
        """Update the velocities in place, and return what the learning rate multiplies."""
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients, alpha=1)
        if self.nesterov:
            return list(torch._foreach_add(gradients, velocities, alpha=self.momentum))
        return velocities

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on besides parameters and settings: velocities."""
        return {"velocities": self.velocities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy the velocities of a state into this optimizer's.

        Raises:
            ValueError: the number of velocities differs.
            RuntimeError: a velocity has another shape.
        """
        for velocity, values in zip(self.velocities, state["velocities"], strict=True):
            velocity.copy_(values)


def build_optimizer(config: Config, model: nn.Module) -> SGD:
    """Build the optimizer that a config describes, over all parameters of a model."""
    return SGD(
        model.parameters(),
        lr=config.optimizer.lr,
        momentum=config.optimizer.momentum,
        nesterov=config.optimizer.nesterov,
        weight_decay=config.optimizer.weight_decay,
    )


def learning_rate(schedule: str, peak: float, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0 over all `steps` of the run.

    `constant` is the peak throughout. `one-cycle` climbs to the peak over the first 30 % of the
    run and falls to almost nothing over the rest, along half cosines (Smith & Topin 2018,
    "Super-Convergence", section 3). It is the curve of `torch.optim.lr_scheduler.OneCycleLR`.

    A function of the step needs no state, so a checkpoint holds none.
    """
    if schedule == "constant":
        return peak
    top = WARM_UP_FRACTION * steps - 1
    if step <= top:
        return _half_cosine(peak / START_DIVISOR, peak, step / top)
    return _half_cosine(peak, peak / END_DIVISOR, (step - top) / (steps - 1 - top))


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
