"""Steps of training LeNet, each one call: what `LeNet::step` of `lenet.h` computes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from bnrun.kernels.dispatch import call, supports
from bnrun.kernels.gather import supports_gather
from bnrun.kernels.lenet import (
    FORWARD_STAGES,
    GRADIENT_STAGES,
    GRADIENT_SUMS,
    GRADIENT_VALUES,
    IMAGE,
    NORM_VALUES,
    VALUES,
    LeNetParts,
    in_groups,
    memory,
    seconds_of,
    supports_parts,
)

STAGES_OF_PHASES = {
    "forward": FORWARD_STAGES,
    "backward": GRADIENT_STAGES,
    "optimizer": ("optimizer",),
}
"""The stages of a step that `timed_stages` reports, by phase, in order."""
STEP_STAGES = tuple(stage for stages in STAGES_OF_PHASES.values() for stage in stages)


def supports_lenet_step(
    images: Tensor, labels: Tensor, parts: LeNetParts, velocities: Sequence[Tensor]
) -> bool:
    """Return whether the kernels are enabled and can train LeNet on these images."""
    return (
        supports_gather(images, labels)
        and supports(*velocities)
        and all(velocity.is_contiguous() for velocity in velocities)
        and images.shape[1:] == IMAGE
        and images.is_contiguous()
        and labels.is_contiguous()
        and supports_parts(parts)
    )


class LeNetStep:
    """Takes steps of stochastic gradient descent, for as long as the parts of a network are these.

    A step changes the parameters, their velocities and the moving statistics, in place. It leaves
    no gradients behind.

    Args:
        images: uint8, (N, 1, 28, 28).
        labels: int64, (N,).
        parts: of the network: see `supports_lenet_step`.
        velocities: by the `id` of a parameter; empty without momentum.
        batch_size: of the largest batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        parts: LeNetParts,
        velocities: Mapping[int, Tensor],
        batch_size: int,
    ) -> None:
        self._images, self._labels, self._parts = images, labels, parts
        self._parameters = [*parts.layers, *parts.affine()]
        self._moving, self._numbers = parts.moving(), parts.numbers()
        self._written = [one for one in (*self._parameters, *self._moving) if one is not None]
        self._counts = [norm.batches_tracked for norm in parts.norms if norm is not None]
        self._gradients = [None if p is None else torch.empty_like(p) for p in self._parameters]
        self._velocities = [velocities.get(id(p)) for p in self._parameters]
        like, rows = self._numbers.float(), in_groups(batch_size)
        self._work = memory(like, NORM_VALUES + rows * VALUES)
        self._gradient_work = memory(like, GRADIENT_SUMS + rows * GRADIENT_VALUES)

    def take(
        self,
        index: Tensor,
        loss: Tensor,
        correct: Tensor,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        nesterov: bool,
    ) -> None:
        """Take a step.

        Args:
            index: of the batch's images, int64; values from 0 to N - 1, which are not checked. Two
                or more, at most `batch_size`.
            loss, correct: where the mean loss and the count of right answers are written: float32,
                of one value each.
            lr, momentum, weight_decay, nesterov: as in `training/optimizer.py`.
        """
        if self._counts:
            torch._foreach_add_(self._counts, 1)
        call(
            *("lenet_step", self._parts.is_relu, self._parts.is_max),
            *(self._images, self._labels, index, self._parameters, self._moving, self._numbers),
            *(self._gradients, self._velocities, lr, momentum, weight_decay, nesterov),
            *(self._work, self._gradient_work, loss, correct, seconds_of(STEP_STAGES), len(index)),
        )
        for tensor in self._written:  # autograd then refuses to go back through what is no more
            increment_version(tensor)
