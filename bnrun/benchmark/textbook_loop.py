"""The textbook's training loop, as it stands in its notebook: what `bnrun bench` is held against.

*Dive into Deep Learning*, `train_ch6` and `load_data_fashion_mnist`: torchvision's dataset, each
image turned into a PIL image and by `ToTensor` into floats, a `DataLoader` with worker processes,
PyTorch's layers with the textbook's norm, and both metrics read back after every step. Our own
rendering of it.
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

WORKERS = 4  # the textbook's own number
BEFORE = 10  # batches of a block that are not timed: workers start, and fill their queues,
AFTER = 10  # and these are on their way when it ends


class _Images(FashionMNIST):  # type: ignore[misc,unused-ignore]
    """Torchvision's dataset, over images that are in memory already, as it would have read them."""

    def __init__(self, split: Split) -> None:
        VisionDataset.__init__(self, root="", transform=transforms.ToTensor())
        self.data, self.targets = split.images.squeeze(1), split.labels


class TextbookLoop:
    """Trains and evaluates as the textbook does.

    Args:
        dataset: on the CPU.
        device: to train on; batches are moved there one by one.
        batch_size, lr: as in a config.
        workers: of each loader.
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

    def train(self, steps: int, done: Callable[[str], None] = lambda phase: None) -> Reading:
        """Take steps in the middle of an epoch, and time them. `done` hears of each phase's end."""
        batches = self._batches(BEFORE + steps + AFTER)
        for _ in range(BEFORE):
            X, y = next(batches)
            self._step(X, y, lambda phase: None)
        synchronize(self._device)
        began, examples, compute = time.perf_counter(), 0, 0.0
        for _ in range(steps):
            X, y = next(batches)
            done("data")
            ready = time.perf_counter()
            self._step(X, y, done)
            compute += time.perf_counter() - ready
            examples += len(y)
        synchronize(self._device)
        return Reading(examples, time.perf_counter() - began, compute)

    def evaluate(self) -> None:
        """Take the accuracy on the test images."""
        self._net.eval()
        correct = 0.0
        with torch.no_grad():
            for X, y in self._loader(self._test):
                y = y.to(self._device)
                correct += _correct(self._net(X.to(self._device)), y)
        self._net.train()

    def _batches(self, count: int) -> Iterator[Any]:
        """Begin an epoch of a number of batches, in new worker processes."""
        sampler = RandomSampler(self._train, num_samples=count * self._batch_size)
        return iter(self._loader(self._train, sampler=sampler))

    def _loader(self, images: _Images, **settings: Any) -> DataLoader[Any]:
        # Said, since a process of a benchmark may have another way than Python's own on Linux.
        context = "fork" if self._workers and sys.platform == "linux" else None
        return DataLoader(
            images,
            self._batch_size,
            num_workers=self._workers,
            multiprocessing_context=context,
            **settings,
        )

    def _step(self, X: Tensor, y: Tensor, done: Callable[[str], None]) -> None:
        self._optimizer.zero_grad()
        X, y = X.to(self._device), y.to(self._device)
        y_hat = self._net(X)
        loss = self._loss(y_hat, y)
        done("forward")
        loss.backward()
        done("backward")
        self._optimizer.step()
        with torch.no_grad():
            metrics = (loss * X.shape[0], _correct(y_hat, y), X.shape[0])
            self._metrics = [a + float(b) for a, b in zip(self._metrics, metrics, strict=True)]
        done("optimizer")


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
