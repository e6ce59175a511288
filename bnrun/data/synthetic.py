"""Generated images that stand in for real ones: ten classes of blurred shapes.

They are easy (a LeNet passes .9 in a few epochs) and say nothing about real images. Every title and
record of what is trained on them calls them synthetic.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun.data.dataset import Dataset, Split

CLASSES = 10
TRAIN_IMAGES = 4_000
TEST_IMAGES = 1_000
MAX_SHIFT = 3  # pixels, in each direction
NOISE = 0.35  # standard deviation, where images range from 0 to 1
SEED = 20_150_211


def synthetic() -> Dataset:
    """Generate 4,000 training and 1,000 test images in ten classes, the same ones each time."""
    return _generate(TRAIN_IMAGES, TEST_IMAGES)


def _generate(train: int, test: int) -> Dataset:
    generator = torch.Generator().manual_seed(SEED)
    shapes = torch.rand(CLASSES, 1, 7, 7, generator=generator)
    shapes = F.interpolate(shapes, size=(28, 28), mode="bilinear", align_corners=False)
    return Dataset(
        train=_split(shapes, train, generator),
        test=_split(shapes, test, generator),
        name="synthetic",
        source="generated",
        verified=None,
    )


def _split(shapes: Tensor, count: int, generator: torch.Generator) -> Split:
    """Draw images: each is its class's shape, shifted at random, with noise added."""
    labels = torch.randint(CLASSES, (count,), generator=generator)
    shifts = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (count, 2), generator=generator)
    row, column = torch.arange(28).view(1, 28, 1), torch.arange(28).view(1, 1, 28)
    rows = (row - shifts[:, 0].view(-1, 1, 1)) % 28
    columns = (column - shifts[:, 1].view(-1, 1, 1)) % 28
    images = shapes[labels.view(-1, 1, 1), 0, rows, columns]
    noisy = images + NOISE * torch.randn(images.shape, generator=generator)
    return Split(noisy.clamp(0, 1).mul(255).round().to(torch.uint8).unsqueeze(1), labels)
