"""The trainings of study `places` in which not all parameters learn alike.

Each is one of its own, takes the steps of its config, and leaves nothing. Accuracies are over the
test images, with population statistics.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bnrun.config import Config
from bnrun.data.dataset import Dataset, scaled
from bnrun.networks.lenet import LeNet
from bnrun.studies.own_training import population_accuracy, take_steps
from bnrun.training.engine import EAGER, Engine
from bnrun.training.stepper import Stepper

Learning = Literal["norms", "norms and last layer", "random weights"]
"""What learns: all gamma and beta; these and the last layer; or as many weights at random."""


@dataclass(frozen=True)
class Outcome:
    """The test accuracy of a trained network, and the gamma of all its channels."""

    test_acc: float
    gammas: tuple[float, ...] = ()


def standardized_input(config: Config, dataset: Dataset, engine: Engine = EAGER) -> Outcome:
    """Train a network whose images get the mean 0 and the deviation 1 over the training images."""
    stepper = Stepper(config, dataset.train, engine=engine)
    pixels = scaled(dataset.train.images)
    mean, deviation = float(pixels.mean()), float(pixels.std())
    stepper.model.register_forward_pre_hook(lambda _, images: (images[0] - mean) / deviation)
    return _trained(stepper, config, dataset)


def only(learning: Learning, config: Config, dataset: Dataset, engine: Engine = EAGER) -> Outcome:
    """Train some of a network's numbers; the others stay as they were drawn.

    Frankle, Schwab and Morcos 2021, "Training BatchNorm and Only BatchNorm" (arXiv:2003.00152). The
    random weights are of the convolutions and linear layers, drawn with the config's seed.

    Args:
        learning: what learns.
        config: of a network whose norms have gamma and beta.
        dataset: the images.
        engine: executes the steps.
    """
    stepper = Stepper(config, dataset.train, engine=engine)
    model = stepper.model
    norms = _norm_parameters(model)
    if learning == "random weights":
        count = sum(one.numel() for one in norms)
        learns = _some_of(_others(model, norms), count, config.training.seed)
    else:
        last = list(model.fc3.parameters()) if learning == "norms and last layer" else []
        learns = [(one, None) for one in [*norms, *last]]

    def keep_some() -> None:
        gradients = [(one, one.grad, mask) for one, mask in learns]
        stepper.optimizer.zero_grad()
        for one, gradient, mask in gradients:
            one.grad = gradient if mask is None or gradient is None else gradient * mask

    return _trained(stepper, config, dataset, keep_some)


def decaying_weights(
    decay: float, config: Config, dataset: Dataset, engine: Engine = EAGER
) -> Outcome:
    """Train a network with weight decay, but for gamma and beta."""
    stepper = Stepper(config, dataset.train, engine=engine)
    decaying = _others(stepper.model, _norm_parameters(stepper.model))

    def add_decay() -> None:
        for one in decaying:
            assert one.grad is not None
            one.grad.add_(one.detach(), alpha=decay)

    return _trained(stepper, config, dataset, add_decay)


def _trained(
    stepper: Stepper, config: Config, dataset: Dataset, change: Callable[[], None] | None = None
) -> Outcome:
    take_steps(stepper, config.training.epochs * stepper.steps_per_epoch, change)
    with stepper.computing():
        accuracy = population_accuracy(stepper.model, dataset, config.training.population_images)
    gammas = _norm_parameters(stepper.model)[::2]
    return Outcome(accuracy, tuple(torch.cat(gammas).tolist()) if gammas else ())


def _norm_parameters(model: LeNet) -> list[Tensor]:
    """Return gamma and beta of each norm, from the input up."""
    norms = (model.norm1, model.norm2, model.norm3, model.norm4)
    return [parameter for norm in norms for parameter in norm.parameters()]


def _others(model: LeNet, some: Iterable[Tensor]) -> list[Tensor]:
    """Return a model's parameters but for some."""
    excluded = set(map(id, some))
    return [one for one in model.parameters() if id(one) not in excluded]


def _some_of(parameters: list[Tensor], count: int, seed: int) -> list[tuple[Tensor, Tensor | None]]:
    """Return parameters, each with a mask: 1 for `count` numbers in all, 0 for the others."""
    total = sum(one.numel() for one in parameters)
    mask = torch.zeros(total)
    mask[torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]] = 1
    parts = torch.split(mask, [one.numel() for one in parameters])
    return [(one, part.view_as(one)) for one, part in zip(parameters, parts, strict=True)]
