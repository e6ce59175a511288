"""How well a model predicts, and with which statistics."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.norms.parts import MovingStatistics
from bnrun.norms.statistics import batch_statistics, restored, use_population

BATCH_SIZE = 1_000


def accuracy(model: nn.Module, split: Split, batch_size: int = BATCH_SIZE) -> float:
    """Return the fraction of a split that the model classifies rightly.

    Norms use their moving statistics: the model is put into evaluation mode, and gradients are
    off (by which the textbook's layer knows). Its mode is restored.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        correct = torch.zeros((), dtype=torch.long, device=split.labels.device)
        for images, labels in split.batches(batch_size):
            correct += (model(images).argmax(1) == labels).sum()
    model.train(was_training)
    return int(correct) / len(split)


def accuracies_by_statistics(
    model: nn.Module, dataset: Dataset, config: Config, statistics: Iterable[str]
) -> dict[str, float]:
    """Return the test accuracy for each kind of statistics, `moving` always first.

    `population`: exact ones, over `training.population_images` training images. `batch`: those of
    each test batch of `training.batch_size`. Where no norm keeps moving statistics, there is but
    the one way in which the model predicts, and it is all that is returned. The model stays as
    it was.
    """
    found = {"moving": accuracy(model, dataset.test)}
    if not MovingStatistics.find(model):
        return found
    if "population" in statistics:
        with restored(model):
            take_population(model, dataset.train, config.training.population_images)
            found["population"] = accuracy(model, dataset.test)
    if "batch" in statistics:
        with batch_statistics(model):
            found["batch"] = accuracy(model, dataset.test, config.training.batch_size)
    return found


def take_population(model: nn.Module, train: Split, count: int) -> None:
    """Give the norms of a model population statistics over the first `count` training images."""
    images = Split(train.images[:count], train.labels[:count])

    def batches() -> Iterator[Tensor]:
        return (batch for batch, _ in images.batches(BATCH_SIZE))

    use_population(model, batches)
