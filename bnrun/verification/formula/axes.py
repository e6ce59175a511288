"""The values that share a mean and a variance: dimensions of the input, or groups of channels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Axes:
    """The dimensions of x that statistics are taken over.

    Attributes:
        of_rank: from the rank of x to its dimensions. With groups, x is seen as
            (N, groups, C / groups, ...), of a rank that is larger by 1.
        groups: how many groups the channels are cut into; 0 where they are not.
        striped: whether a group is every `groups`-th channel, not neighbors.
        of_memory: whether an example with its channels last is cut into groups as it lies in
            memory, which makes groups of positions. It is then seen as (N, groups, ...).
    """

    of_rank: Callable[[int], Dims]
    groups: int = 0
    striped: bool = False
    of_memory: bool = False

    def include(self, dim: int, rank: int) -> bool:
        """Return whether a dimension of an input without groups is one of them."""
        return dim in self.of_rank(rank)

    def count(self, x: Tensor) -> int:
        """Return how many values of x share their statistics."""
        seen = self._grouped(x)
        return math.prod(seen.shape[dim] for dim in self.of_rank(seen.dim()))

    def sum(self, x: Tensor) -> Tensor:
        """Return sums, of a shape that broadcasts over x; so do the other methods."""
        return self._over(x, torch.sum)

    def mean(self, x: Tensor) -> Tensor:
        """Return means."""
        return self._over(x, torch.mean)

    def range(self, x: Tensor) -> Tensor:
        """Return the differences of largest and smallest value."""
        return self._over(x, torch.amax) - self._over(x, torch.amin)

    def _over(self, x: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
        if not self.groups:
            return reduce(x, self.of_rank(x.dim()), keepdim=True)
        seen = self._grouped(x)
        reduced = reduce(seen, self.of_rank(seen.dim()), keepdim=True)
        if self.of_memory:
            return reduced.expand_as(seen).reshape(x.movedim(1, -1).shape).movedim(-1, 1)
        whole = reduced.expand(len(reduced), *seen.shape[1:3], *reduced.shape[3:])
        whole = whole.transpose(1, 2) if self.striped else whole
        return whole.reshape(len(reduced), x.shape[1], *reduced.shape[3:])

    def _grouped(self, x: Tensor) -> Tensor:
        """Return x of shape (N, C, ...) as (N, groups, C / groups, ...)."""
        if not self.groups:
            return x
        if self.of_memory:
            return x.movedim(1, -1).reshape(len(x), self.groups, -1)
        examples, channels, *positions = x.shape
        if self.striped:
            apart = x.reshape(examples, channels // self.groups, self.groups, *positions)
            return apart.transpose(1, 2)
        return x.reshape(examples, self.groups, channels // self.groups, *positions)
