"""The experiments of study `predict`: trained networks that predict with other statistics."""

import contextlib
import copy
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.norms.batch_norm import BatchNorm
from bnrun.norms.introspection import MovingStatistics
from bnrun.norms.population import predicting
from bnrun.training.evaluation import accuracy, take_population, trained_model
from bnrun.training.probes.shadow import TRACKERS, by_norm

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
        return accuracy_by_batch(self._model, self.dataset.test, size)

    def own_gain(self, weight: float) -> float:
        """Return what mixing the own example into population statistics adds to the accuracy.

        Args:
            weight: of the example's own mean and mean square.
        """
        model = copy.deepcopy(self._model)
        take_population(model, self.dataset.train, 10_000)
        without = accuracy(model, self.dataset.test)
        with own_example(model, weight):
            return accuracy(model, self.dataset.test) - without


class Predictions(Trained):
    """The trained networks of one seed.

    Attributes:
        others: networks of other trainings, by name.
        averaged: the mean of the weights of several epochs, with the last one's statistics.

    Args:
        config: of the training.
        states: checkpoints after its last epochs; the network is the last one.
        dataset: the images.
        others: see above.
    """

    def __init__(
        self,
        config: Config,
        states: Sequence[Mapping[str, Any]],
        dataset: Dataset,
        others: Mapping[str, Trained],
    ) -> None:
        super().__init__(config, states[-1], dataset)
        self.others = others
        self._config, self._states = config, states
        self.averaged = Trained(config, states[-1], dataset)
        _average(self.averaged._model, [trained_model(config, state, CPU) for state in states])

    def trackers(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return each moving average's error and test accuracy, means over the epochs.

        The error of its means is that against population statistics of 10,000 training images, in
        deviations: the RMS over channels, the mean over norms.
        """
        errors: dict[str, list[float]] = {name: [] for name in TRACKERS}
        accuracies: dict[str, list[float]] = {name: [] for name in TRACKERS}
        for state in self._states:
            model = trained_model(self._config, state, CPU)
            found = MovingStatistics.find(model)
            take_population(model, self.dataset.train, 10_000)
            exact = {path: moving.tensors() for path, moving in found.items()}
            for name in TRACKERS:
                tracked = by_norm(state["probes"]["shadow"], list(found), name)
                errors[name].append(
                    statistics.fmean(_error(tracked[path][0], *exact[path]) for path in found)
                )
                for path, moving in found.items():
                    moving.replace(*tracked[path])
                accuracies[name].append(accuracy(model, self.dataset.test))
        means = (
            {name: statistics.fmean(values) for name, values in taken.items()}
            for taken in (errors, accuracies)
        )
        return next(means), next(means)

    def depends_on_company(self) -> bool:
        """Return whether the logits of an image depend on the images that are predicted with it."""
        images, _ = next(self.dataset.test.batches(256))
        with predicting(self._model):
            alone, beside = self._model(images[:1]), self._model(images)[:1]
        return not torch.allclose(alone, beside, rtol=1e-4, atol=1e-5)

    def noise(self) -> tuple[float, list[tuple[float, float]]]:
        """Return the slope of the log deviation of logits against the log of the batch's size.

        Return, too, the points (size, deviation).

        The deviation of each logit of an image is over the image's companies; its RMS is taken
        over images and logits.
        """
        images, _ = next(self.dataset.test.batches(EXAMPLES))
        generator = torch.Generator().manual_seed(0)
        by_batch = copy.deepcopy(self._model).train()
        deviations = []
        with torch.no_grad():
            for size in SIZES:
                found = [self._variance(by_batch, image, size, generator) for image in images]
                deviations.append(math.sqrt(statistics.fmean(found)))
        slope, _ = statistics.linear_regression(
            [math.log(size) for size in SIZES], [math.log(value) for value in deviations]
        )
        return slope, list(zip(map(float, SIZES), deviations, strict=True))

    def _variance(
        self, model: nn.Module, image: Tensor, size: int, generator: torch.Generator
    ) -> float:
        """Return the variance of an image's logits over random companies, its mean over logits."""
        logits = []
        for _ in range(COMPANIES):
            index = torch.randint(len(self.dataset.train), (size - 1,), generator=generator)
            others, _ = self.dataset.train.batch(index)
            logits.append(model(torch.cat([image[None], others]))[0])
        return float(torch.stack(logits).var(0).mean())


def accuracy_by_batch(model: nn.Module, split: Split, size: int) -> float:
    """Return the accuracy of a model whose norms take the statistics of each batch, as in training.

    That is what `population.batch_statistics` gives. Here a copy of the model is in training mode:
    kernels then compute a batch in one call, since no hook replaces statistics.

    Args:
        model: with norm `scratch`, or one that normalizes a batch in pieces; it stays as it is.
        split: the images.
        size: images of a batch.
    """
    model = copy.deepcopy(model).train()
    with torch.no_grad():
        right = [
            (model(images).argmax(1) == labels).sum() for images, labels in split.batches(size)
        ]
    return int(torch.stack(right).sum()) / len(split)


@contextlib.contextmanager
def own_example(model: nn.Module, weight: float) -> Iterator[None]:
    """Let norms predict with statistics into which each example's own are mixed.

    With weight w, the norm's moving mean m and variance v, and the example's own mean and mean
    square over its positions (Summers and Dinneen 2020):

        mean = w own_mean + (1 - w) m
        var  = w own_mean_square + (1 - w) (v + m²) - mean²

    Args:
        model: its norms have gamma and beta, and moving statistics in buffers, as `scratch` has.
        weight: w.
    """
    norms = [one.module for one in MovingStatistics.find(model).values()]
    hooks = [one.register_forward_hook(_mixing(weight)) for one in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _mixing(weight: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """Return a forward hook that replaces a norm's output."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, BatchNorm)
        (x,) = inputs
        shape = (1, -1, *[1] * (x.dim() - 2))
        gamma, beta, m, v = (
            getattr(module, name).detach().view(shape)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        positions = list(range(2, x.dim()))
        own, square = (
            one.mean(positions, keepdim=True) if positions else one for one in (x, x.square())
        )
        mean = weight * own + (1 - weight) * m
        var = weight * square + (1 - weight) * (v + m.square()) - mean.square()
        y: Tensor = gamma * (x - mean) * torch.rsqrt(var.clamp_min(0) + module.eps) + beta
        return y

    return hook


def _error(mean: Tensor, exact_mean: Tensor, exact_var: Tensor) -> float:
    """Return the RMS over channels of the error of a mean, in deviations."""
    return float(((mean - exact_mean).square() / exact_var.clamp_min(1e-12)).mean().sqrt())


def _average(model: nn.Module, models: Sequence[nn.Module]) -> None:
    """Set a model's parameters to the mean of those of several models."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = [other.get_parameter(name).detach() for other in models]
            parameter.copy_(torch.stack(values).mean(0))
