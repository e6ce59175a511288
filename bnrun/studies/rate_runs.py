"""Trainings at several learning rates, as they are often taught to show a landscape (claim L4)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bnrun.config import Config
from bnrun.data.dataset import Split, image_order
from bnrun.networks.layers import cross_entropy
from bnrun.training.model import build_model

IMAGES = 256
"""Training images of the gradient that the weights are compared with: the first ones."""


@dataclass(frozen=True)
class RateRuns:
    """Trainings that differ in the rate alone.

    Attributes:
        losses: of each training, step by step.
        cosines: for each pair of trainings, that of the angle between the difference of their
            weights and the gradient at one of them: its absolute value, the larger of the two.
    """

    losses: Sequence[Sequence[float]]
    cosines: Sequence[float]


def runs_at_rates(config: Config, train: Split, rates: Sequence[float], steps: int) -> RateRuns:
    """Train with Adam at each rate, within one epoch; compare where the trainings end.

    The trainings are of their own, and leave nothing.

    Args:
        config: of the network, the batches and the seed.
        train: the training images.
        rates: the learning rates.
        steps: how many steps each takes.
    """
    losses, ends = [], []
    images, labels = train.batch(torch.arange(min(IMAGES, len(train))))
    for rate in rates:
        model = build_model(config)
        losses.append(_trained(model, config, train, rate, steps))
        parameters = list(model.parameters())
        gradient = _gradient(model, images, labels)
        ends.append((parameters_to_vector(parameters).detach(), parameters_to_vector(gradient)))
    return RateRuns(losses, [_along(*pair) for pair in itertools.combinations(ends, 2)])


def _trained(
    model: nn.Module, config: Config, train: Split, rate: float, steps: int
) -> list[float]:
    """Train a model, and return the losses of its steps."""
    settings, adam = config.training, _Adam(rate)
    order = image_order(settings.seed, 1, len(train))
    losses = []
    for images, labels in itertools.islice(train.batches(settings.batch_size, order), steps):
        loss = cross_entropy(model(images), labels)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        weights = parameters_to_vector(model.parameters()).detach()
        way = adam.step(parameters_to_vector(gradient))
        vector_to_parameters(weights - way, model.parameters())
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


class _Adam:
    """Kingma and Ba 2015, Adam, Algorithm 1 (arXiv:1412.6980), with its defaults.

    `torch.optim.Adam` computes the same; loading it takes seconds.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._steps = 0
        self._mean, self._square = torch.zeros(()), torch.zeros(())

    def step(self, gradient: Tensor) -> Tensor:
        """Return what is subtracted from the weights."""
        self._steps += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient.square()
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.999**self._steps)
        return self._rate * mean / (square.sqrt() + 1e-8)


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Sequence[Tensor]:
    return torch.autograd.grad(cross_entropy(model(images), labels), list(model.parameters()))


def _along(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Return how parallel the way from one end to another is to a gradient at either."""
    way = (a[0] - b[0]).double()
    return max(
        float(nn.functional.cosine_similarity(way, gradient.double(), dim=0).abs())
        for _, gradient in (a, b)
    )
