"""Layer, group, instance and RMS normalization: one formula, which differs in its groups.

Group normalization (Wu and He, ECCV 2018, section 3, arXiv:1803.08494) cuts the channels of each
example into groups. With one group it is layer normalization (Ba, Kiros and Hinton 2016, section 3,
arXiv:1607.06450). With a group for each channel it is instance normalization (Ulyanov, Vedaldi and
Lempitsky 2016, arXiv:1607.08022). RMS normalization (Zhang and Sennrich, NeurIPS 2019, section 3,
arXiv:1910.07467) leaves out the mean. With more than one example in a group, the same formula is
batch normalization in training, and ghost batch normalization.
"""

import math

import torch
from torch import Tensor, nn

from bnrun import kernels
from bnrun.norms.reference import widen


def grouped_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    *,
    examples: int,
    channels: int,
    center: bool = True,
    eps: float,
) -> Tensor:
    """Normalize each group of values by its own statistics, then scale and shift each channel.

    A group holds `examples` x `channels` neighbors of x at all positions. With its m values:

        mean = sum(x) / m                       (0 where `center` is false)
        var  = sum((x - mean)^2) / m            (biased)
        y    = gamma * (x - mean) / sqrt(var + eps) + beta

    | name                           | examples | channels | center |
    |--------------------------------|----------|----------|--------|
    | batch norm, in training        | N        | 1        | yes    |
    | ghost batch norm of m examples | m        | 1        | yes    |
    | layer norm                     | 1        | C        | yes    |
    | group norm of G groups         | 1        | C / G    | yes    |
    | instance norm                  | 1        | 1        | yes    |
    | RMS norm                       | 1        | C        | no     |

    Args:
        x: the input, (N, C) or (N, C, ...). Where N is no multiple of `examples`, the last group
            has fewer.
        gamma: scale, shape (C,); None means 1.
        beta: shift, shape (C,); None means 0.
        examples: how many examples are normalized together.
        channels: how many channels are normalized together; C must be a multiple of it.
        center: whether to subtract the mean, and to take the variance about it.
        eps: added to the variance, inside the root.

    Returns:
        y, of x's shape and dtype.

    Raises:
        ValueError: x has no channels, or C is no multiple of `channels`; or `center` with groups
            of one value, whose variance would be 0 whatever the value.
        NotImplementedError: x is not of a floating-point dtype.
    """
    _check(x, examples, channels, center)
    whole = len(x) - len(x) % examples
    parts = ((x[:whole], examples), (x[whole:], len(x) - whole))
    y = torch.cat([_normalize(widen(part), n, channels, center, eps) for part, n in parts if n])
    per_channel = (1, x.shape[1], *[1] * (x.dim() - 2))
    if gamma is not None:
        y = y * gamma.view(per_channel)
    if beta is not None:
        y = y + beta.view(per_channel)
    return y.to(x.dtype)


class GroupNorm(nn.Module):
    """Group normalization, a drop-in for `nn.GroupNorm`; formula: see `grouped_norm`.

    Shapes: input (N, C) or (N, C, ...) with C = `num_features`; output the same. It computes the
    same in training and in evaluation: an example's output does not depend on the others.

    Args:
        num_features: the channel count C.
        groups: how many groups the channels are cut into. 1 is layer normalization over channels
            and positions, with gamma and beta for each channel (`nn.LayerNorm` has them for each
            value); C is instance normalization.
        eps: added to the variance, inside the root.
        affine: whether to learn gamma (`weight`, starts at 1) and beta (`bias`, starts at 0), of
            shape (C,).

    Raises:
        ValueError: C is no multiple of `groups`; when called, see `grouped_norm`.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, num_features: int, groups: int = 2, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__()
        if groups < 1 or num_features % groups:
            raise ValueError(
                f"the channels (={num_features}) must be a multiple of groups (={groups})"
            )
        self.num_features = num_features
        self.groups = groups
        self.eps = eps
        self.register_parameter("weight", _vector(num_features, 1.0) if affine else None)
        self.register_parameter("bias", _vector(num_features, 0.0) if affine else None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, of shape (N, C, ...)."""
        channels = self.num_features // self.groups
        return grouped_norm(x, self.weight, self.bias, examples=1, channels=channels, eps=self.eps)

    def extra_repr(self) -> str:
        """Show the arguments, as `print(module)` lists them."""
        affine = self.weight is not None
        return f"{self.num_features}, groups={self.groups}, eps={self.eps}, affine={affine}"


class RMSNorm(nn.Module):
    """RMS normalization over channels and positions; formula: see `grouped_norm`.

    Shapes: input (N, C) or (N, C, ...) with C = `num_features`; output the same. On (N, C) it is
    `nn.RMSNorm(C)`.

    Args:
        num_features: the channel count C.
        eps: added to the mean square, inside the root. PyTorch's default is the dtype's smallest
            step from 1 (1.2e-7 in float32).
        affine: whether to learn gamma (`weight`, starts at 1), of shape (C,). There is no beta.
    """

    weight: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_parameter("weight", _vector(num_features, 1.0) if affine else None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, of shape (N, C, ...)."""
        return grouped_norm(
            x,
            self.weight,
            None,
            examples=1,
            channels=self.num_features,
            center=False,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        """Show the arguments, as `print(module)` lists them."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"


def _vector(num_features: int, value: float) -> nn.Parameter:
    return nn.Parameter(torch.full((num_features,), value))


def _normalize(x: Tensor, examples: int, channels: int, center: bool, eps: float) -> Tensor:
    """Normalize the groups of x, whose length is a multiple of `examples`."""
    n, c, *positions = x.shape
    # A group's values are then neighbors in each example. Layer norm is left to PyTorch's
    # operations, as RMS norm is, which has no kernel: study `zoo` compares their times.
    is_batch = (examples == 1 and channels < c) or channels == 1
    if center and is_batch and x.numel() and kernels.supports_batch_norm(x):
        batches = x.reshape(n, c // channels, channels * math.prod(positions))
        pieces = n // examples
        y, *_ = kernels.batch_norm(batches, *[None] * 4, momentum=0.0, eps=eps, pieces=pieces)
        return y.view(x.shape)
    groups = x.reshape(n // examples, examples, c // channels, channels, math.prod(positions))
    over = (1, 3, 4)
    if center:
        # Centering first keeps the digits that E[x^2] - E[x]^2 cancels where the mean is large.
        groups = groups - groups.mean(over, keepdim=True)
    var = groups.square().mean(over, keepdim=True)
    return (groups * torch.rsqrt(var + eps)).reshape(x.shape)


def _check(x: Tensor, examples: int, channels: int, center: bool) -> None:
    """Check that x can be normalized in such groups.

    Raises:
        ValueError, NotImplementedError: see `grouped_norm`.
    """
    if x.dim() < 2:
        raise ValueError(f"expected an input of rank 2 or more (got {x.dim()}D input)")
    if x.shape[1] % channels:
        raise ValueError(
            f"the channels (={x.shape[1]}) must be a multiple of those of a group (={channels})"
        )
    smallest = len(x) % examples or min(examples, len(x))
    values = smallest * channels * math.prod(x.shape[2:])
    if center and values == 1:
        raise ValueError(
            f"Expected more than 1 value in a group, got input size {tuple(x.shape)}: a single "
            "value is its own mean, so that the output would be 0"
        )
    if not x.is_floating_point():
        raise NotImplementedError(f"grouped_norm is not implemented for an input of {x.dtype}")
