"""The textbook's training loop, as it stands in its notebook: the baseline of `bnrun bench`.

Source: *Dive into Deep Learning*, `train_ch6` and `load_data_fashion_mnist`. Torchvision's dataset
turns each image into a PIL image, and `ToTensor` that into floats; a `DataLoader` has worker
processes; PyTorch's layers surround the textbook's norm; and both metrics are read back after every
step. The code is bnrun's own.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import FashionMNIST, VisionDataset

from bnrun.data.dataset import Dataset, Split
from bnrun.norms.textbook import TextbookBatchNorm
from bnrun.training.device import synchronize
from bnrun.training.timing import Reading

LEAD_IN_BATCHES = 10
"""Batches before those that are timed: the workers start and fill their queues; 0 without any."""
LEAD_OUT_BATCHES = 10
"""Batches after those that are timed, so that workers stay busy until the end."""


class _Images(FashionMNIST):  # type: ignore[misc,unused-ignore]
    """Torchvision's dataset over images in memory, as it would have read them from disk."""

    def __init__(self, split: Split) -> None:
        VisionDataset.__init__(self, root="", transform=transforms.ToTensor())
        self.data, self.targets = split.images.squeeze(1), split.labels


class TextbookLoop:
    """Trains and evaluates LeNet as the textbook does.

    Args:
        dataset: on the CPU.
        device: to train on; batches are moved there one by one.
        batch_size, lr: as in a config.
        workers: worker processes of each loader.
    """

    def __init__(
        self, dataset: Dataset, device: torch.device, batch_size: int, lr: float, workers: int
    ) -> None:
        self._device, self._batch_size, self._workers = device, batch_size, workers
        self._train, self._test = _Images(dataset.train), _Images(dataset.test)
        self._net = _network().to(device)
        self._optimizer = torch.optim.SGD(self._net.parameters(), lr=lr)
        self._loss = nn.CrossEntropyLoss()
        self._metrics = [0.0, 0.0, 0.0]

    def train(self, steps: int, on_phase: Callable[[str], None] = lambda phase: None) -> Reading:
        """Take steps in the middle of an epoch, and time them.

        Args:
            steps: how many.
            on_phase: called at the end of each phase of a timed step.
        """
        lead_in, lead_out = (LEAD_IN_BATCHES, LEAD_OUT_BATCHES) if self._workers else (0, 0)
        batches = self._batches(lead_in + steps + lead_out)
        for _ in range(lead_in):
            X, y = next(batches)
            self._step(X, y, lambda phase: None)
        synchronize(self._device)
        start, examples, compute = time.perf_counter(), 0, 0.0
        for _ in range(steps):
            X, y = next(batches)
            on_phase("data")
            ready = time.perf_counter()
            self._step(X, y, on_phase)
            compute += time.perf_counter() - ready
            examples += len(y)
        synchronize(self._device)
        return Reading(examples, time.perf_counter() - start, compute)

    def evaluate(self) -> float:
        """Return the accuracy on the test images, which the textbook takes after each epoch."""
        self._net.eval()
        correct = 0.0
        with torch.no_grad():
            for X, y in self._loader(self._test):
                y = y.to(self._device)
                correct += _correct(self._net(X.to(self._device)), y)
        self._net.train()
        return correct / len(self._test)

    def _batches(self, count: int) -> Iterator[Any]:
        """Return an iterator over a number of batches, loaded by new worker processes."""
        sampler = RandomSampler(self._train, num_samples=count * self._batch_size)
        return iter(self._loader(self._train, sampler=sampler))

    def _loader(self, images: _Images, **settings: Any) -> DataLoader[Any]:
        # In a process of a benchmark, the default start method may be another one.
        context = "fork" if self._workers and sys.platform == "linux" else None
        return DataLoader(
            images,
            self._batch_size,
            num_workers=self._workers,
            multiprocessing_context=context,
            **settings,
        )

    def _step(self, X: Tensor, y: Tensor, on_phase: Callable[[str], None]) -> None:
        self._optimizer.zero_grad()
        X, y = X.to(self._device), y.to(self._device)
        y_hat = self._net(X)
        loss = self._loss(y_hat, y)
        on_phase("forward")
        loss.backward()
        on_phase("backward")
        self._optimizer.step()
        with torch.no_grad():
            metrics = (loss * X.shape[0], _correct(y_hat, y), X.shape[0])
            self._metrics = [a + float(b) for a, b in zip(self._metrics, metrics, strict=True)]
        on_phase("optimizer")


def _correct(y_hat: Tensor, y: Tensor) -> float:
    return float((y_hat.argmax(1).type(y.dtype) == y).type(y.dtype).sum())


def _network() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, kernel_size=5), TextbookBatchNorm(6, 4), nn.Sigmoid()),
        nn.AvgPool2d(kernel_size=2, stride=2),
        *(nn.Conv2d(6, 16, kernel_size=5), TextbookBatchNorm(16, 4), nn.Sigmoid()),
        *(nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten()),
        *(nn.Linear(256, 120), TextbookBatchNorm(120, 2), nn.Sigmoid()),
        *(nn.Linear(120, 84), TextbookBatchNorm(84, 2), nn.Sigmoid()),
        nn.Linear(84, 10),
    )
