"""The measurements of study `zoo` on its networks: under less contrast, and of time."""

import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.norms.introspection import MovingStatistics
from bnrun.studies.changed_images import changed, contrast
from bnrun.studies.own_training import take_steps
from bnrun.studies.predictions import CPU
from bnrun.training.engine import EAGER, Engine
from bnrun.training.evaluation import accuracy, take_population, trained_model
from bnrun.training.stepper import Stepper


def by_contrast(
    config: Config, state: Mapping[str, Any], dataset: Dataset, factors: Sequence[float]
) -> list[tuple[float, float]]:
    """Return (factor, test accuracy) for images whose contrast is changed by each factor.

    With population statistics of the training images as they are.

    Args:
        config, state: of a training, and a checkpoint of it.
        dataset: its images.
        factors: of the distance of each pixel to the mean of its image.
    """
    model = trained_model(config, state, CPU)
    if MovingStatistics.find(model):
        take_population(model, dataset.train, config.training.population_images)
    return [
        (factor, accuracy(model, changed(dataset.test, partial(contrast, factor=factor))))
        for factor in factors
    ]


def step_seconds(
    configs: Sequence[Config], train: Split, rounds: int, steps: int, engine: Engine = EAGER
) -> list[float]:
    """Return the seconds of a training step of each config: the median over rounds.

    The configs take turns, so that other work on the machine meets all of them.

    Args:
        configs: of trainings.
        train: the training images.
        rounds: how many; one more goes before them, and does not count.
        steps: how many of each training make a round.
        engine: executes the steps.
    """
    steppers = [Stepper(config, train, engine=engine) for config in configs]
    seconds: list[list[float]] = [[] for _ in steppers]
    for _ in range(rounds + 1):
        for taken, stepper in zip(seconds, steppers, strict=True):
            start = time.perf_counter()
            take_steps(stepper, steps)
            taken.append((time.perf_counter() - start) / steps)
    return [statistics.median(taken[1:]) for taken in seconds]
