"""How stable the inputs of sigmoids are while a small network trains (claim C5)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnrun.data.dataset import Split, image_order
from bnrun.networks.layers import cross_entropy
from bnrun.norms import NORMS
from bnrun.norms.batch_norm import BatchNorm

WIDTH, LAYERS, BATCH, RATE = 100, 3, 60, 1.0
"""The network of Ioffe and Szegedy 2015, section 4.1, and the batches there; our learning rate."""
DEVIATION = 0.1
"""Deviation of the initial weights."""
LOOKED_AT = 1_000
"""Training images over which percentiles are taken."""
SHARES = (0.15, 0.5, 0.85)


@dataclass(frozen=True)
class Travels:
    """How far the inputs of a training's sigmoids travelled.

    `normalized` is of what batch norm normalizes, `shifted` of what enters the sigmoid. Without a
    norm they are the same. `typical` has what enters the sigmoid of the unit whose travel is the
    median one: (step, value) of its 15th, 50th and 85th percentile.
    """

    normalized: float
    shifted: float
    typical: Sequence[Sequence[tuple[float, float]]]


def travels(norm: str, train: Split, steps: int, every: int, seeds: int) -> list[Travels]:
    """Train networks of three layers of sigmoids; return how far their inputs travel, by seed.

    The trainings are their own, and leave nothing. Those of all seeds go on side by side: the
    networks are so small that a step of five takes hardly longer than a step of one.

    Args:
        norm: `scratch`, or `none`.
        train: the training images.
        steps: how many steps each training takes.
        every: after how many steps percentiles are taken again.
        seeds: of the weights and of the order of the images: 0, 1 and so on.
    """
    networks = _Networks(norm, seeds)
    images, _ = train.batch(torch.arange(min(LOOKED_AT, len(train))))
    looks = [_percentiles(networks, images)]
    for step, (x, labels) in enumerate(_batches(train, steps, seeds), start=1):
        _descend(networks, x, labels)
        if step % every == 0:
            looks.append(_percentiles(networks, images))
    taken = torch.stack(looks)  # (looks, 2, percentiles, seeds, units)
    return [_travels(taken[:, :, :, seed], every) for seed in range(seeds)]


def _travels(taken: Tensor, every: int) -> Travels:
    """Return how far the inputs of one network travelled: (looks, 2, percentiles, units)."""
    normalized, shifted = (_travel(taken[:, at]) for at in (0, 1))
    unit = int(shifted.argsort()[len(shifted) // 2])
    typical = [
        [(float(every * at), value) for at, value in enumerate(taken[:, 1, share, unit].tolist())]
        for share in range(len(SHARES))
    ]
    return Travels(float(normalized.median()), float(shifted.median()), typical)


class _Networks(nn.Module):
    """A network a seed, side by side: blocks of a linear layer, a norm, sigmoids; a linear layer.

    Shapes: input (seeds, N, 784), output (seeds, N, 10). A norm gets (N, seeds * units): its
    channels are those of all networks, each normalized by itself.
    """

    def __init__(self, norm: str, seeds: int) -> None:
        super().__init__()
        sizes = [784] + [WIDTH] * LAYERS + [10]
        generators = [torch.Generator().manual_seed(seed) for seed in range(seeds)]
        shapes = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList(_weights(*shape, generators) for shape in shapes)
        self.biases = nn.ParameterList(torch.zeros(seeds, 1, after) for _, after in shapes)
        self.norms = nn.ModuleList(NORMS[norm](seeds * WIDTH, 2) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, normalizing by the batch."""
        for layer, norm in enumerate(self.norms):
            z = self.linear(layer, x)
            x = torch.sigmoid(_by_seed(norm(_side_by_side(z)), len(z)))
        return self.linear(LAYERS, x)

    def linear(self, layer: int, x: Tensor) -> Tensor:
        """Return what a linear layer makes of x."""
        return torch.baddbmm(self.biases[layer], x, self.weights[layer])


def _weights(before: int, after: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Return Gaussian weights of shape (seeds, before, after)."""
    drawn = [torch.empty(after, before).normal_(0.0, DEVIATION, generator=g) for g in generators]
    return torch.stack(drawn).transpose(1, 2).contiguous()


def _side_by_side(z: Tensor) -> Tensor:
    """Return (seeds, N, units) as (N, seeds * units)."""
    return z.transpose(0, 1).flatten(1)


def _by_seed(z: Tensor, seeds: int) -> Tensor:
    """Return (N, seeds * units) as (seeds, N, units)."""
    return z.view(len(z), seeds, -1).transpose(0, 1)


def _batches(train: Split, steps: int, seeds: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of all trainings, epoch after epoch; a smaller last batch is left out."""
    per_epoch = len(train) // BATCH
    for step in range(steps):
        epoch, at = divmod(step, per_epoch)
        if at == 0:
            orders = torch.stack([image_order(s, epoch + 1, len(train)) for s in range(seeds)])
        images, labels = train.batch(orders[:, at * BATCH : (at + 1) * BATCH].flatten())
        yield images.view(seeds, BATCH, -1), labels


def _descend(networks: _Networks, x: Tensor, labels: Tensor) -> None:
    """Take a step, each network by its own loss."""
    parameters: list[Tensor] = list(networks.parameters())
    loss = cross_entropy(networks(x).flatten(0, 1), labels) * len(x)  # the sum of the networks'
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        torch._foreach_add_(parameters, list(gradients), alpha=-RATE)


def _percentiles(networks: _Networks, images: Tensor) -> Tensor:
    """Return percentiles of what the last sigmoids get, by unit, with this batch's statistics.

    Returns:
        Of shape (2, percentiles, seeds, units): of what a batch norm makes of mean 0 and variance
        1, and of what enters the sigmoid. Without a batch norm, of the same values twice.
    """
    seeds = len(networks.biases[0])
    with torch.no_grad():
        x = images.flatten(1).expand(seeds, -1, -1)
        for layer, norm in enumerate(networks.norms):
            z = _side_by_side(networks.linear(layer, x))
            entering = _applied(norm, z)
            x = torch.sigmoid(_by_seed(entering, seeds))
        normalized = entering if isinstance(norm, nn.Identity) else _normalized(z)
    shares = torch.tensor(SHARES)
    found = torch.stack([one.quantile(shares, dim=0) for one in (normalized, entering)])
    return found.view(2, len(SHARES), seeds, WIDTH)


def _applied(norm: nn.Module, x: Tensor) -> Tensor:
    """Return what a norm makes of x; its moving statistics stay as they are."""
    if isinstance(norm, BatchNorm):
        assert norm.weight is not None
        assert norm.bias is not None
        return _normalized(x) * norm.weight + norm.bias
    return x


def _normalized(x: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, None, None, training=True)


def _travel(taken: Tensor) -> Tensor:
    """Return each unit's travel, from percentiles of shape (looks, percentiles, units)."""
    low, median, high = taken.unbind(1)
    return (median.amax(0) - median.amin(0)) / (high - low).mean(0)
