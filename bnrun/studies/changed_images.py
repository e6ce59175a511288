"""Images of another domain: all but `noise` are functions of each image alone.

Each takes and returns uint8 images of shape (N, 1, 28, 28); strengths are of pixels in [0, 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnrun.data.dataset import Split, scaled

Change = Callable[[Tensor], Tensor]


def contrast(images: Tensor, factor: float) -> Tensor:
    """Scale the distance of each pixel to the mean of its image."""
    x = scaled(images)
    mean = x.mean((1, 2, 3), keepdim=True)
    return _pixels(mean + factor * (x - mean))


def brightness(images: Tensor, amount: float) -> Tensor:
    """Make each pixel brighter."""
    return _pixels(scaled(images) + amount)


def noise(images: Tensor, deviation: float) -> Tensor:
    """Add Gaussian noise, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    return _pixels(scaled(images) + deviation * torch.randn(images.shape, generator=generator))


def inversion(images: Tensor) -> Tensor:
    """Exchange black and white."""
    return 255 - images


def changed(split: Split, change: Change) -> Split:
    """Return a split with other images and its own labels."""
    return Split(change(split.images), split.labels)


def _pixels(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)
