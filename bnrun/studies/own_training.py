"""Trainings that no config describes: they leave a network in memory, and nothing on disk."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from bnrun.data.dataset import Dataset, Split
from bnrun.norms.population import preserving
from bnrun.training.engine import fast_on_cpu, running
from bnrun.training.evaluation import accuracy, take_population
from bnrun.training.stepper import Phase, Stepper, ignore_phase

Result = TypeVar("Result")


def with_fast_engine(function: Callable[[Dataset], Result], dataset: Dataset) -> Result:
    """Return what a function returns of the data, computed by the engine that is fast here."""
    with running(fast_on_cpu(), torch.device("cpu")):
        return function(dataset)


def on_training_images(function: Callable[[Split], Result], dataset: Dataset) -> Result:
    """Return what a function returns of the training images."""
    return function(dataset.train)


def take_steps(stepper: Stepper, steps: int, change: Callable[[], None] | None = None) -> None:
    """Take training steps.

    Args:
        stepper: of the training.
        steps: how many.
        change: called after each backward pass; it may change the gradients.
    """

    def on_phase(phase: Phase) -> None:
        if phase == "backward" and change is not None:
            change()

    with stepper.computing():
        for _ in range(steps):
            stepper.fetch()
            stepper.take(ignore_phase if change is None else on_phase)


def population_accuracy(model: nn.Module, dataset: Dataset, images: int) -> float:
    """Return a model's test accuracy with population statistics over the first training images.

    The model stays as it is. One without moving statistics predicts in its one way.
    """
    with preserving(model) as norms:
        if norms:
            take_population(model, dataset.train, images)
        return accuracy(model, dataset.test)
