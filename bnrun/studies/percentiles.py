"""How stable the inputs of sigmoids are while a small network trains (claim C5)."""

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


def travels(norm: str, train: Split, steps: int, every: int, seed: int) -> Travels:
    """Train a network of three layers of sigmoids; return how far their inputs travel.

    The training is one of its own, and leaves nothing.

    Args:
        norm: `scratch`, or `none`.
        train: the training images.
        steps: how many steps it takes.
        every: after how many steps percentiles are taken again.
        seed: of the weights and of the order of the images.
    """
    model = _network(norm, seed)
    images, _ = train.batch(torch.arange(min(LOOKED_AT, len(train))))
    looks = [_percentiles(model, images)]
    for step, (x, labels) in enumerate(_batches(train, steps, seed), start=1):
        _descend(model, x, labels)
        if step % every == 0:
            looks.append(_percentiles(model, images))
    taken = torch.stack(looks)  # (looks, 2, percentiles, units)
    normalized, shifted = (_travel(taken[:, at]) for at in (0, 1))
    unit = int(shifted.argsort()[len(shifted) // 2])
    typical = [
        [(float(every * at), value) for at, value in enumerate(taken[:, 1, share, unit].tolist())]
        for share in range(len(SHARES))
    ]
    return Travels(float(normalized.median()), float(shifted.median()), typical)


def _network(norm: str, seed: int) -> nn.Sequential:
    """Return three blocks of a linear layer, a norm and sigmoids, and a linear layer."""
    sizes = [784] + [WIDTH] * LAYERS
    parts: list[nn.Module] = [nn.Flatten()]
    for before in sizes[:-1]:
        parts += [nn.Linear(before, WIDTH), NORMS[norm](WIDTH, 2), nn.Sigmoid()]
    parts.append(nn.Linear(WIDTH, 10))
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0.0, DEVIATION, generator=generator)
            nn.init.zeros_(part.bias)
    return nn.Sequential(*parts)


def _batches(train: Split, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of a training, epoch after epoch; a smaller last batch is left out."""
    per_epoch = len(train) // BATCH
    for step in range(steps):
        epoch, at = divmod(step, per_epoch)
        if at == 0:
            order = image_order(seed, epoch + 1, len(train))
        yield train.batch(order[at * BATCH : (at + 1) * BATCH])


def _descend(model: nn.Module, x: Tensor, labels: Tensor) -> None:
    parameters: list[Tensor] = list(model.parameters())
    gradients = torch.autograd.grad(cross_entropy(model(x), labels), parameters)
    with torch.no_grad():
        torch._foreach_add_(parameters, list(gradients), alpha=-RATE)


def _percentiles(model: nn.Sequential, images: Tensor) -> Tensor:
    """Return percentiles of what the last sigmoids get, by unit, with this batch's statistics.

    Returns:
        Of shape (2, percentiles, units): of what a batch norm makes of mean 0 and variance 1, and
        of what enters the sigmoid. Without a batch norm, of the same values twice.
    """
    with torch.no_grad():
        x = images
        for part in model[:-3]:  # up to the last linear layer before a norm
            x = _applied(part, x)
        last = model[-3]
        entering = _applied(last, x)
        normalized = entering if isinstance(last, nn.Identity) else _normalized(x)
    shares = torch.tensor(SHARES)
    return torch.stack([one.quantile(shares, dim=0) for one in (normalized, entering)])


def _applied(part: nn.Module, x: Tensor) -> Tensor:
    """Return what a part makes of x; a norm keeps its moving statistics as they are."""
    if isinstance(part, BatchNorm):
        assert part.weight is not None
        assert part.bias is not None
        return _normalized(x) * part.weight + part.bias
    y: Tensor = part(x)
    return y


def _normalized(x: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, None, None, training=True)


def _travel(taken: Tensor) -> Tensor:
    """Return each unit's travel, from percentiles of shape (looks, percentiles, units)."""
    low, median, high = taken.unbind(1)
    return (median.amax(0) - median.amin(0)) / (high - low).mean(0)
