"""Images as tensors: whole splits that live on the training device, and batches of them.

The training set stays uint8 (47 MB for Fashion-MNIST); a batch is an index lookup, scaled to
[0, 1] there. No loader processes, and nothing for the host to wait on.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnrun import kernels
from bnrun.errors import ConfigError
from bnrun.events import DataUsed

# The images held out for validation are the same ones in every run, whatever its seed.
VALIDATION_SEED = 20_170_828


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
        """Yield (images, labels), images as float32 in [0, 1]; the last batch may be smaller.

        `order` is a permutation on the split's device; without it, as they lie.
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
    """Return uint8 images as float32 in [0, 1], divided as torchvision's ToTensor divides."""
    return images.float().div_(255)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, perhaps a validation split, and what they are."""

    train: Split
    test: Split
    name: str
    source: str
    verified: bool | None
    validation: Split | None = None

    def describe(self) -> DataUsed:
        """Return the record of this data that a run keeps."""
        return DataUsed(
            name=self.name,
            source=self.source,
            verified=self.verified,
            train_images=len(self.train),
            validation_images=len(self.validation) if self.validation else 0,
            test_images=len(self.test),
        )

    def hold_out(self, count: int) -> "Dataset":
        """Move `count` training images into the validation split, the same ones every time.

        Raises:
            ConfigError: that leaves no image to train on.
        """
        if count == 0:
            return self
        if count >= len(self.train):
            raise ConfigError(
                f"data.validation: received {count}; it must be less than the {len(self.train):,} "
                "training images."
            )
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        order = torch.randperm(len(self.train), generator=generator)
        return replace(
            self, train=self.train.take(order[count:]), validation=self.train.take(order[:count])
        )

    def to(self, device: torch.device) -> "Dataset":
        """Return the dataset on a device."""
        return replace(
            self,
            train=self.train.to(device),
            test=self.test.to(device),
            validation=self.validation.to(device) if self.validation else None,
        )


def image_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order in which an epoch takes its `count` images: the same on every device."""
    # Hashed to 32 bits, which is all that torch's generator takes of a seed on the CPU.
    digest = hashlib.sha256(f"{seed},{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4]))
    return torch.randperm(count, generator=generator)
