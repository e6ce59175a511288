"""The experiments of study `batches` on networks in memory."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split, image_order
from bnrun.studies.own_training import take_steps
from bnrun.studies.predictions import CPU, accuracy_by_batch
from bnrun.training.engine import Engine, fast_on_cpu, running
from bnrun.training.evaluation import accuracy, take_population, trained_model
from bnrun.training.stepper import Stepper

POPULATION_IMAGES = 10_000
"""Training images that population statistics are over."""
SMOOTHED = 10
"""Steps whose losses are one point of a curve."""


@dataclass(frozen=True)
class Outcome:
    """What became of a training: its test accuracy with population statistics, and its losses.

    The losses are those of the steps of its last epoch.
    """

    accuracy: float
    losses: list[float]

    def loss_curve(self) -> list[tuple[float, float]]:
        """Return means of `SMOOTHED` losses, each at the last of these steps."""
        starts = range(0, len(self.losses) - SMOOTHED + 1, SMOOTHED)
        return [
            (float(at + SMOOTHED), statistics.fmean(self.losses[at : at + SMOOTHED]))
            for at in starts
        ]


def trained(config: Config, train: Split, dataset: Dataset, steps: int, engine: Engine) -> Outcome:
    """Train a network on its own, which leaves nothing; return how it predicts.

    Args:
        config: of the training.
        train: the images to train on.
        dataset: its training images give the population statistics.
        steps: how many steps it takes.
        engine: executes the steps and the predictions.
    """
    stepper = Stepper(config, train, engine=engine)
    take_steps(stepper, steps)
    taken = (steps - 1) % stepper.steps_per_epoch + 1
    with running(engine, CPU):
        take_population(stepper.model, dataset.train, POPULATION_IMAGES)
        return Outcome(accuracy(stepper.model, dataset.test), stepper.losses[:taken].tolist())


def trained_on_few(config: Config, images: int, steps: int, dataset: Dataset) -> Outcome:
    """Train on the first images alone; see `trained`."""
    train = dataset.train.take(torch.arange(images))
    return trained(config, train, dataset, steps, fast_on_cpu())


def trained_in_order(config: Config, steps: int, dataset: Dataset, *, by_class: bool) -> Outcome:
    """Train with batches as they come, or each in order of classes; see `trained`."""
    train = dataset.train
    if by_class:
        train = in_order_of_classes(train, config.training.seed, config.training.batch_size)
    return trained(config, train, dataset, steps, fast_on_cpu())


def in_order_of_classes(train: Split, seed: int, size: int) -> Split:
    """Return the same images, so that each batch of the first epoch comes in order of classes.

    The batches have the images that they have anyway.

    Args:
        train: the training images.
        seed: of the training, which gives the order of the images.
        size: images of a batch.
    """
    order = image_order(seed, 1, len(train))
    batches = [
        batch[train.labels[batch].argsort(stable=True)] for batch in torch.split(order, size)
    ]
    index = torch.empty_like(order)
    index[order] = torch.cat(batches)
    return train.take(index)


def accuracy_in_pieces(config: Config, state: Mapping[str, Any], test: Split) -> float:
    """Return the test accuracy with the statistics of pieces as large as those of the training.

    Args:
        config: of the training.
        state: a checkpoint of it.
        test: the test images.
    """
    model = trained_model(config, state, CPU)
    with running(fast_on_cpu(), CPU):
        return accuracy_by_batch(model, test, config.training.batch_size)
