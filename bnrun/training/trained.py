"""A model that has been trained: built again from its config and a checkpoint."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.config import STATISTICS, Config
from bnrun.data.dataset import Dataset
from bnrun.errors import RunError
from bnrun.events import DataUsed
from bnrun.networks.lenet import LeNet
from bnrun.norms.introspection import MovingStatistics
from bnrun.training.checkpoint import fitting, restore_model, with_model
from bnrun.training.evaluation import accuracies_by_statistics, take_population
from bnrun.training.failures import told
from bnrun.training.memory import keep_freed_memory
from bnrun.training.step import build_model


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint's test accuracies, fractions by kind of statistics, and what they are of.

    `accuracies` has what was asked for and, always and first, `moving`: what the norms hold.
    In a checkpoint that `recalibrate` made, they hold population statistics already, over
    `recalibrated` images; that is None in any other. Where no norm keeps moving statistics
    (`keeps_moving`), `moving` is the one way in which the model predicts, the others are None.
    """

    norm: str
    seed: int
    epoch: int
    data: DataUsed
    device: str
    accuracies: Mapping[str, float | None]
    keeps_moving: bool
    population_images: int
    batch_size: int
    recalibrated: int | None = None


def trained_model(config: Config, checkpoint: Mapping[str, Any], device: torch.device) -> LeNet:
    """Build a config's model with the weights and statistics of a checkpoint.

    Raises:
        NormError: the norm cannot be loaded or built.
        RunError: the checkpoint is of another model.
    """
    model = build_model(config).to(device)
    with fitting():
        restore_model(checkpoint, model)
    return model


def evaluate(
    config: Config,
    checkpoint: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device,
    statistics: Iterable[str],
) -> Evaluation:
    """Take a checkpoint's test accuracy by kind of statistics (see `accuracies_by_statistics`).

    Raises:
        NormError, RunError: see `trained_model`.
        TrainingFailed: the model raised, a user's own layer for example.
    """
    if device.type == "cpu":
        keep_freed_memory()
    asked = [name for name in STATISTICS if name in ("moving", *statistics)]
    model = trained_model(config, checkpoint, device)
    with told("evaluation"):
        found = accuracies_by_statistics(model, dataset.to(device), config, asked)
    return Evaluation(
        norm=config.model.norm,
        seed=config.training.seed,
        epoch=len(checkpoint["epochs"]),
        data=dataset.describe(),
        device=str(device),
        accuracies={name: found.get(name) for name in asked},
        keeps_moving=bool(MovingStatistics.find(model)),
        population_images=_population_images(config, dataset),
        batch_size=config.training.batch_size,
        recalibrated=checkpoint.get("population_images"),
    )


def recalibrate(
    config: Config, checkpoint: Mapping[str, Any], dataset: Dataset, device: torch.device
) -> dict[str, Any]:
    """Return a checkpoint whose norms hold population statistics instead of moving ones.

    They are taken over `training.population_images` training images; how many it were, the
    checkpoint says as `population_images`.

    Raises:
        NormError, RunError: see `trained_model`; or no norm of the model keeps moving statistics.
        TrainingFailed: the model raised, a user's own layer for example.
    """
    if device.type == "cpu":
        keep_freed_memory()
    model = trained_model(config, checkpoint, device)
    if not MovingStatistics.find(model):
        raise RunError(
            f"norm '{config.model.norm}' keeps no moving statistics (none that go by the names "
            "running_mean, running_var, moving_mean or moving_var): there is nothing to replace."
        )
    with told("recalibration"):
        take_population(model, dataset.train.to(device), config.training.population_images)
    return with_model(checkpoint, model) | {
        "population_images": _population_images(config, dataset)
    }


def _population_images(config: Config, dataset: Dataset) -> int:
    return min(config.training.population_images, len(dataset.train))
