"""How much what enters the nonlinearities moves while a network trains."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Split
from bnrun.training.stepper import Stepper


def mean_change(config: Config, train: Split, steps: int) -> float:
    """Return by how much the mean of a channel changes from one step to the next.

    The mean of what the norms of LeNet give to the nonlinearities, over the batch and positions of
    each step; its absolute change, as a mean over channels and steps (Santurkar et al. 2018, figure
    8). The training is one of its own, eager, and leaves nothing.

    Args:
        config: of the training.
        train: the training images.
        steps: how many steps are followed.
    """
    stepper = Stepper(config, train)
    model = stepper.model
    means: list[Tensor] = []
    hooks = [
        norm.register_forward_hook(_keeping(means))
        for norm in (model.norm1, model.norm2, model.norm3, model.norm4)
    ]
    for _ in range(steps):
        stepper.step()
    for hook in hooks:
        hook.remove()
    return _change(means, len(hooks))


def _keeping(means: list[Tensor]) -> Callable[[nn.Module, Sequence[Tensor], Tensor], None]:
    """Return a forward hook that appends the mean of each channel of a layer's output."""

    def hook(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> None:
        with torch.no_grad():
            means.append(output.transpose(0, 1).flatten(1).mean(1))

    return hook


def _change(means: Sequence[Tensor], layers: int) -> float:
    """Return the mean absolute change of means that come layer by layer, step after step."""
    changes = [(later - sooner).abs() for sooner, later in zip(means, means[layers:], strict=False)]
    return float(torch.cat(changes).mean())
