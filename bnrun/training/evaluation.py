"""How well a model predicts, and with which statistics."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.norms.introspection import MovingStatistics
from bnrun.norms.population import (
    batch_statistics,
    predicting,
    restored,
    use_population,
)

BATCH_SIZE = 1_000


def accuracy(model: nn.Module, split: Split, batch_size: int = BATCH_SIZE) -> float:
    """Return the fraction of a split that the model classifies rightly.

    Norms use their moving statistics: the model is put into evaluation mode, and gradients are
    off (by which the textbook's layer knows). Its mode is restored.
    """
    with predicting(model):
        correct = torch.zeros((), dtype=torch.long, device=split.labels.device)
        for images, labels in split.batches(batch_size):
            correct += (model(images).argmax(1) == labels).sum()
    return int(correct) / len(split)


def accuracies_by_statistics(
    model: nn.Module, dataset: Dataset, config: Config, statistics: Iterable[str]
) -> dict[str, float]:
    """Return the test accuracy for each kind of statistics, `moving` always first.

    `population`: exact ones, over `training.population_images` training images. `batch`: those of
    each test batch of `training.batch_size`. Where no norm keeps moving statistics, there is but
    the one way in which the model predicts, and it is all that is returned. But for what the
    model itself does as it predicts for `moving`, it stays as it was, and so do the random
    numbers that a norm of the user's may draw: whatever is evaluated, training goes on the same.
    """
    found = {"moving": accuracy(model, dataset.test)}
    if not MovingStatistics.find(model):
        return found
    statistics = set(statistics)
    if "population" in statistics:
        with _same_random_numbers(dataset.test.images.device), restored(model):
            take_population(model, dataset.train, config.training.population_images)
            found["population"] = accuracy(model, dataset.test)
    if "batch" in statistics:
        with _same_random_numbers(dataset.test.images.device), batch_statistics(model):
            found["batch"] = accuracy(model, dataset.test, config.training.batch_size)
    return found


def take_population(model: nn.Module, train: Split, count: int) -> None:
    """Give the norms of a model population statistics over the first `count` training images."""
    images = Split(train.images[:count], train.labels[:count])

    def batches() -> Iterator[Tensor]:
        return (batch for batch, _ in images.batches(BATCH_SIZE))

    use_population(model, batches)


def _same_random_numbers(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context after which torch's generators are where they were before it."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
