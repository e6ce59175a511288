"""Images as tensors: whole splits on the training device, and batches of them.

The training set stays uint8, 47 MB for Fashion-MNIST. A batch is looked up by index and scaled to
[0, 1] on the device, so there are no loader processes and the host waits for nothing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnrun import kernels
from bnrun.errors import ConfigError
from bnrun.events import DataUsed

VALIDATION_SEED = 20_170_828
"""Chooses the images that are held out for validation: the same ones whatever a run's seed."""


@dataclass(frozen=True)
class Split:
    """Images, uint8 of shape (N, 1, 28, 28), and their labels, int64 of shape (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        """Return the split on a device."""
        return Split(self.images.to(device), self.labels.to(device))

    def take(self, index: Tensor) -> "Split":
        """Return the images at an index."""
        return Split(self.images[index], self.labels[index])

    def batches(
        self, batch_size: int, order: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) with images as float32 in [0, 1]; the last batch may be smaller.

        Args:
            batch_size: images in a batch.
            order: a permutation of the images, on the split's device; None keeps their order.
        """
        for start in range(0, len(self), batch_size):
            stop = start + batch_size
            if order is None:
                yield scaled(self.images[start:stop]), self.labels[start:stop]
            else:
                yield self.batch(order[start:stop])

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at an index as float32 in [0, 1], and their labels."""
        labels = self.labels.index_select(0, index)
        if kernels.supports_gather(self.images, index):
            return kernels.gather(self.images, index), labels
        return scaled(self.images.index_select(0, index)), labels


def scaled(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1], to the bit as torchvision's ToTensor does."""
    return images.float().div_(255)


@dataclass(frozen=True)
class Dataset:
    """A training split, a test split, perhaps a validation split, and where they come from.

    `verified` is true where every file has the published SHA-256, and None for generated data.
    """

    train: Split
    test: Split
    name: str
    source: str
    verified: bool | None
    validation: Split | None = None

    def describe(self) -> DataUsed:
        """Return the record of this data for a run's events and summary."""
        return DataUsed(
            name=self.name,
            source=self.source,
            verified=self.verified,
            train_images=len(self.train),
            validation_images=len(self.validation) if self.validation else 0,
            test_images=len(self.test),
        )

    def hold_out(self, count: int) -> "Dataset":
        """Return the dataset with `count` training images moved to the validation split.

        Raises:
            ConfigError: no image would be left to train on.
        """
        if count == 0:
            return self
        if count >= len(self.train):
            raise ConfigError(
                f"received {count}; it must be less than the {len(self.train):,} training images.",
                key="data.validation",
            )
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        order = torch.randperm(len(self.train), generator=generator)
        return replace(
            self, train=self.train.take(order[count:]), validation=self.train.take(order[:count])
        )

    def keep(self, count: int | None) -> "Dataset":
        """Return the dataset with its first `count` training images alone; None keeps all.

        Raises:
            ConfigError: there are fewer.
        """
        if count is None:
            return self
        if count > len(self.train):
            besides = f" besides the {len(self.validation):,} held out" if self.validation else ""
            raise ConfigError(
                f"received {count}; it must be at most {len(self.train):,}, which are all training "
                f"images{besides}.",
                key="data.images",
            )
        return replace(self, train=self.train.take(torch.arange(count)))

    def to(self, device: torch.device) -> "Dataset":
        """Return the dataset on a device."""
        return replace(
            self,
            train=self.train.to(device),
            test=self.test.to(device),
            validation=self.validation.to(device) if self.validation else None,
        )


def image_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order of an epoch's `count` images, a permutation: the same on every device."""
    # A hash of 32 bits: torch's generator on the CPU ignores the higher bits of a seed.
    digest = hashlib.sha256(f"{seed},{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4]))
    return torch.randperm(count, generator=generator)
