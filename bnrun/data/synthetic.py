"""A generated stand-in: ten classes of blurred shapes, for work without any data.

It is easy (a LeNet passes .9 in a few epochs) and says nothing about real images; whatever is
trained on it is called synthetic in every title and record.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun.data.dataset import Dataset, Split

CLASSES = 10
TRAIN_IMAGES = 4_000
TEST_IMAGES = 1_000
SEED = 20_150_211


def synthetic() -> Dataset:
    """Generate the data, the same each time: (4000 + 1000) images in ten classes."""
    generator = torch.Generator().manual_seed(SEED)
    shapes = torch.rand(CLASSES, 1, 7, 7, generator=generator)
    shapes = F.interpolate(shapes, size=(28, 28), mode="bilinear", align_corners=False)
    return Dataset(
        train=_split(shapes, TRAIN_IMAGES, generator),
        test=_split(shapes, TEST_IMAGES, generator),
        name="synthetic",
        source="generated",
        verified=None,
    )


def _split(shapes: Tensor, count: int, generator: torch.Generator) -> Split:
    """Draw `count` images: a class's shape, moved by up to 3 pixels, under noise."""
    labels = torch.randint(CLASSES, (count,), generator=generator)
    moves = torch.randint(-3, 4, (count, 2), generator=generator)
    row, column = torch.arange(28).view(1, 28, 1), torch.arange(28).view(1, 1, 28)
    rows = (row - moves[:, 0].view(-1, 1, 1)) % 28
    columns = (column - moves[:, 1].view(-1, 1, 1)) % 28
    images = shapes[labels.view(-1, 1, 1), 0, rows, columns]
    noisy = images + 0.35 * torch.randn(images.shape, generator=generator)
    return Split(noisy.clamp(0, 1).mul(255).round().to(torch.uint8).unsqueeze(1), labels)
