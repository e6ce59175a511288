"""The experiments of study `predict`: trained networks that predict with other statistics."""

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.norms.introspection import MovingStatistics
from bnrun.norms.population import batch_statistics, predicting
from bnrun.training.evaluation import accuracy, take_population, trained_model

EXAMPLES = 4
"""Test images whose logits are watched."""
COMPANIES = 100
"""Random companies that each of them is put into."""
SIZES = (16, 32, 64, 128, 256)
"""Batch sizes, the image itself included."""

CPU = torch.device("cpu")


class Trained:
    """A trained network, which predicts with its own moving statistics or with others.

    Args:
        config: of its training.
        state: a checkpoint of it.
        dataset: its images. Accuracies are over the test images.
    """

    def __init__(self, config: Config, state: Mapping[str, Any], dataset: Dataset) -> None:
        self.dataset = dataset
        self._model = trained_model(config, state, CPU)

    def moving(self) -> float:
        """Return the test accuracy with the network's moving statistics."""
        return accuracy(self._model, self.dataset.test)

    def population(self, images: int, eps: float | None = None) -> float:
        """Return the test accuracy with population statistics over the first training images.

        Args:
            images: how many.
            eps: of all norms when predicting, in place of their own. The statistics are those of
                the network as it was trained.
        """
        model = copy.deepcopy(self._model)
        take_population(model, self.dataset.train, images)
        if eps is not None:
            for norm in MovingStatistics.find(model).values():
                setattr(norm.module, "eps", eps)  # noqa: B010 (of any class)
        return accuracy(model, self.dataset.test)

    def batch(self, size: int) -> float:
        """Return the test accuracy with the statistics of each batch of so many test images."""
        with batch_statistics(self._model):
            return accuracy(self._model, self.dataset.test, size)


class Predictions(Trained):
    """The trained networks of one seed.

    Attributes:
        slow: the network that was trained at a small rate.
        averaged: the mean of the weights of several epochs, with the last one's statistics.

    Args:
        config: of the training.
        states: checkpoints after its last epochs; the network is the last one.
        slow: the last checkpoint of the slow training.
        dataset: the images.
    """

    def __init__(
        self,
        config: Config,
        states: Sequence[Mapping[str, Any]],
        slow: Mapping[str, Any],
        dataset: Dataset,
    ) -> None:
        super().__init__(config, states[-1], dataset)
        self.slow = Trained(config, slow, dataset)
        self.averaged = Trained(config, states[-1], dataset)
        _average(self.averaged._model, [trained_model(config, state, CPU) for state in states])

    def depends_on_company(self) -> bool:
        """Return whether the logits of an image depend on the images that are predicted with it."""
        images, _ = next(self.dataset.test.batches(256))
        with predicting(self._model):
            alone, beside = self._model(images[:1]), self._model(images)[:1]
        return not torch.allclose(alone, beside, rtol=1e-4, atol=1e-5)

    def noise_slope(self) -> float:
        """Return the slope of the log deviation of logits against the log of the batch's size.

        The deviation of each logit of an image is over the image's companies; its RMS is taken
        over images and logits.
        """
        images, _ = next(self.dataset.test.batches(EXAMPLES))
        generator = torch.Generator().manual_seed(0)
        deviations = []
        with predicting(self._model), batch_statistics(self._model):
            for size in SIZES:
                variances = [self._variance(image, size, generator) for image in images]
                deviations.append(math.sqrt(statistics.fmean(variances)))
        slope, _ = statistics.linear_regression(
            [math.log(size) for size in SIZES], [math.log(value) for value in deviations]
        )
        return slope

    def _variance(self, image: Tensor, size: int, generator: torch.Generator) -> float:
        """Return the variance of an image's logits over random companies, its mean over logits."""
        logits = []
        for _ in range(COMPANIES):
            index = torch.randint(len(self.dataset.train), (size - 1,), generator=generator)
            others, _ = self.dataset.train.batch(index)
            logits.append(self._model(torch.cat([image[None], others]))[0])
        return float(torch.stack(logits).var(0).mean())


def _average(model: nn.Module, models: Sequence[nn.Module]) -> None:
    """Set a model's parameters to the mean of those of several models."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = [other.get_parameter(name).detach() for other in models]
            parameter.copy_(torch.stack(values).mean(0))
