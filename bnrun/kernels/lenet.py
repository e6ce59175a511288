"""LeNet as a whole: what `lenet.h` computes, with its gradients."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

from bnrun.kernels.dispatch import PARTS, call, supports

IMAGE = (1, 28, 28)
CLASSES = 10
CHANNELS = (6, 16, 120, 84)
LAYERS = [
    *((6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,)),
    *((120, 256), (120,), (84, 120), (84,), (10, 84), (10,)),
]
CHUNK = 4
"""Groups that a thread predicts at a time; the same constant as in lenet.h."""
MOST_LANES = 16
"""Images of a group, at most: see lanes.h."""
VALUES, GRADIENT_VALUES, LATER_VALUES = 6_792, 5_208, 1_688
"""Numbers that are kept of each image: by the forward pass, by the gradients besides, and from the
output of the second convolution on."""
NORM_VALUES, GRADIENT_SUMS = 4_096, PARTS * 2_572 + 256
"""Numbers that are kept of all images together, likewise."""
FORWARD_STAGES = (
    "conv1",
    "norm1, pool1, conv2",
    "norm2, pool2, fc1",
    "norm3, fc2",
    "norm4, fc3",
)
GRADIENT_STAGES = (
    "fc3",
    "fc3's weights, norm4, fc2",
    "fc2's weights, norm3, fc1, pool2",
    "fc1's weights, norm2, conv2, pool1",
    "norm1, conv1's weights",
)
"""What a call does between two points at which its threads wait for one another."""


_timings: contextvars.ContextVar[list[tuple[Sequence[str], Tensor]] | None]
_timings = contextvars.ContextVar("seconds of stages", default=None)


@dataclass(frozen=True)
class Norm:
    """What a kernel needs of a batch norm: `norms.reference.batch_norm`'s arguments.

    Attributes:
        gamma, beta: of shape (C,), or None.
        moving_mean, moving_var: of shape (C,).
        batches_tracked: the number of batches that they have averaged, of shape ().
        momentum: the weight of the new batch in the moving statistics.
        eps: added to the variance.
    """

    gamma: Tensor | None
    beta: Tensor | None
    moving_mean: Tensor
    moving_var: Tensor
    batches_tracked: Tensor
    momentum: float
    eps: float


@dataclass(frozen=True)
class LeNetParts:
    """What a kernel needs of LeNet.

    Attributes:
        is_relu: whether its activation is ReLU; else a sigmoid.
        is_max: whether it pools the maximum; else the mean.
        layers: weight and bias of conv1, conv2, fc1, fc2 and fc3.
        norms: at each place; None where the network has no norm.
    """

    is_relu: bool
    is_max: bool
    layers: Sequence[Tensor | None]
    norms: Sequence[Norm | None]

    def affine(self) -> list[Tensor | None]:
        """Return gamma and beta of each place."""
        return [x for norm in self.norms for x in ((norm.gamma, norm.beta) if norm else _NOTHING)]

    def moving(self) -> list[Tensor | None]:
        """Return moving mean and moving variance of each place."""
        return [
            x
            for norm in self.norms
            for x in ((norm.moving_mean, norm.moving_var) if norm else _NOTHING)
        ]

    def numbers(self) -> Tensor:
        """Return momentum and eps of each place, float64; a negative eps stands for no norm."""
        pairs = ((norm.momentum, norm.eps) if norm else (0.0, -1.0) for norm in self.norms)
        return torch.tensor([x for pair in pairs for x in pair], dtype=torch.float64)


_NOTHING = (None, None)


def supports_lenet(x: Tensor, parts: LeNetParts) -> bool:
    """Return whether the kernels are enabled and can compute LeNet of these images.

    They compute no gradient of the images.
    """
    return (
        supports(x)
        and x.shape[1:] == IMAGE
        and len(x) > 0
        and not x.requires_grad
        and supports_parts(parts)
    )


def supports_parts(parts: LeNetParts) -> bool:
    """Return whether the kernels are enabled and can compute with these parameters."""
    vectors = [*parts.affine(), *parts.moving()]
    tensors = [*parts.layers, *vectors]
    sizes = [channels for channels in CHANNELS for _ in range(2)] * 2
    return (
        supports(*tensors)
        and [tuple(one.shape) for one in parts.layers if one is not None] == LAYERS
        and all(
            one is None or one.shape == (size,) for one, size in zip(vectors, sizes, strict=True)
        )
        and all(tensor is None or tensor.is_contiguous() for tensor in tensors)
    )


def lenet(x: Tensor, parts: LeNetParts) -> Tensor:
    """Return the logits, (N, 10), by the batch's statistics; move the moving ones in place.

    Args:
        x: images, (N, 1, 28, 28), two or more.
        parts: see `supports_lenet`.
    """
    for norm in filter(None, parts.norms):
        norm.batches_tracked.add_(1)
        increment_version(norm.moving_mean)  # which the kernel writes
        increment_version(norm.moving_var)
    return _LeNet.apply(x, parts, *parts.layers, *parts.affine())  # type: ignore[no-any-return,unused-ignore]


def lenet_prediction(x: Tensor, parts: LeNetParts) -> Tensor:
    """Return the logits, (N, 10), by the moving statistics. They have no gradient."""
    logits = x.new_empty(len(x), CLASSES)
    images = PARTS * CHUNK * MOST_LANES  # as for the most threads; what is not used costs nothing
    call(
        *("lenet_prediction", parts.is_relu, parts.is_max, x.contiguous()),
        *(
            [*parts.layers, *parts.affine()],
            parts.moving(),
            parts.numbers(),
            memory(x, NORM_VALUES + images * VALUES),
        ),
        *(logits, len(x)),
    )
    return logits


def lenet_population(x: Tensor, parts: LeNetParts) -> list[tuple[Tensor, Tensor] | None]:
    """Return mean and biased variance of what each norm gets of these images; None without a norm.

    The norms before it have normalized by these statistics, too.

    Args:
        x: images, (N, 1, 28, 28).
        parts: see `supports_lenet`.
    """
    logits, statistics = x.new_empty(len(x), CLASSES), x.new_empty(2 * sum(CHANNELS))
    once = PARTS * MOST_LANES * VALUES
    call(
        *("lenet_population", parts.is_relu, parts.is_max, x.contiguous()),
        *([*parts.layers, *parts.affine()], parts.numbers()),
        memory(x, NORM_VALUES + once + in_groups(len(x)) * LATER_VALUES),
        *(logits, statistics, len(x)),
    )
    sizes = [size for channels in CHANNELS for size in (channels, channels)]
    pairs = torch.split(statistics, sizes)
    return [
        None if norm is None else (pairs[2 * place], pairs[2 * place + 1])
        for place, norm in enumerate(parts.norms)
    ]


class _LeNet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: LeNetParts, *parameters: Tensor | None) -> Tensor:
        logits = x.new_empty(len(x), CLASSES)
        work = memory(x, NORM_VALUES + in_groups(len(x)) * VALUES)
        numbers = parts.numbers()
        call(
            *("lenet", parts.is_relu, parts.is_max, x.contiguous(), parameters, parts.moving()),
            *(numbers, work, logits, seconds_of(FORWARD_STAGES), len(x)),
        )
        ctx.is_relu, ctx.is_max = parts.is_relu, parts.is_max
        ctx.save_for_backward(numbers, work, *parameters)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        numbers, work, *parameters = ctx.saved_tensors
        gradients = [None if one is None else torch.empty_like(one) for one in parameters]
        gradient_work = memory(g, GRADIENT_SUMS + in_groups(len(g)) * GRADIENT_VALUES)
        call(
            *("lenet_gradient", ctx.is_relu, ctx.is_max, g.contiguous(), parameters, numbers),
            *(work, gradient_work, gradients, seconds_of(GRADIENT_STAGES), len(g)),
        )
        return None, None, *gradients


@contextlib.contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Let each call of `lenet` and of its gradient write the seconds of its stages.

    Yields a dictionary that holds those of the calls so far when the block ends, by the names of
    `FORWARD_STAGES` and `GRADIENT_STAGES`; of several calls, the last one's.
    """
    measured: dict[str, float] = {}
    token = _timings.set([])
    try:
        yield measured
        for names, seconds in _timings.get() or ():
            measured.update(zip(names, seconds.tolist(), strict=True))
    finally:
        _timings.reset(token)


def seconds_of(names: Sequence[str]) -> Tensor | None:
    """Return where a kernel writes the seconds of its stages, if somebody asks for them."""
    timings = _timings.get()
    if timings is None:
        return None
    timings.append((names, torch.zeros(len(names), dtype=torch.float64)))
    return timings[-1][1]


def in_groups(images: int) -> int:
    """Return the number of images that whole groups have, whatever the vectors of the machine."""
    return -(-images // MOST_LANES) * MOST_LANES


def memory(like: Tensor, count: int) -> Tensor:
    """Return memory for what a kernel keeps."""
    return like.new_empty(count)
