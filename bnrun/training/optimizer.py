"""Stochastic gradient descent, written out.

Ours, and not `torch.optim.SGD`, whose steps are the same to the bit: making any of torch's
optimizers loads its compiler first, which keeps every run waiting for another 1.8 s (torch 2.15).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class SGD:
    """SGD with momentum (Sutskever et al. 2013, section 2) and an L2 penalty.

    For each parameter p with gradient g, and a velocity v that starts at 0:

        g <- g + weight_decay * p
        v <- momentum * v + g
        p <- p - lr * g                       without momentum,
        p <- p - lr * v                       with it,
        p <- p - lr * (g + momentum * v)      and in Nesterov's form.

    `lr` is an attribute, to be set before each step: a number; or a tensor, (), which a captured
    step reads anew each time. A parameter without a gradient is passed over.
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
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step against the gradients; each line of it takes all parameters at once."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not moved:
            return
        parameters = [self.parameters[i] for i in moved]
        against = [p.grad for p in parameters if p.grad is not None]
        if self.weight_decay:
            against = list(torch._foreach_add(against, parameters, alpha=self.weight_decay))
        if self.momentum:
            velocities = [self.velocities[i] for i in moved]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, against, alpha=1)
            if self.nesterov:
                against = list(torch._foreach_add(against, velocities, alpha=self.momentum))
            else:
                against = velocities
        if isinstance(self.lr, Tensor):
            torch._foreach_sub_(parameters, list(torch._foreach_mul(against, self.lr)), alpha=1)
        else:
            torch._foreach_add_(parameters, against, alpha=-self.lr)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on, besides the parameters and the settings."""
        return {"velocities": self.velocities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the velocities of a state.

        Raises:
            ValueError, RuntimeError: they are not those of these parameters.
        """
        for mine, saved in zip(self.velocities, state["velocities"], strict=True):
            mine.copy_(saved)
