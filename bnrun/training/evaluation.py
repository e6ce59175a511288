"""The test accuracy of a model, by the kind of statistics that its norms predict with."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.config import STATISTICS, Config
from bnrun.data.dataset import Dataset, Split
from bnrun.errors import RunError
from bnrun.events import DataUsed
from bnrun.networks.lenet import LeNet
from bnrun.networks.whole import take_population_in_one_call
from bnrun.norms.introspection import (
    MOVING_MEAN,
    MOVING_VAR,
    MovingNames,
    MovingStatistics,
    unknown_vectors,
)
from bnrun.norms.population import batch_statistics, predicting, preserving, use_population
from bnrun.processes import ALONE, Processes
from bnrun.training.allocator import keep_freed_memory
from bnrun.training.checkpoint import require_fit, restore_model, with_model
from bnrun.training.model import build_model, wrap_model_errors
from bnrun.training.random_numbers import RandomNumbers, preserved_generators

BATCH_SIZE = 1_000
"""Images that a model predicts at once."""


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint's test accuracies by kind of statistics, and what they were measured on.

    Attributes:
        accuracies: fractions, `moving` first. A kind is None where no norm keeps moving
            statistics: the model then predicts in one way, which `moving` holds.
        keeps_moving: whether any norm keeps moving statistics.
        unknown: names of other values by channel that the norms keep, where none was found to keep
            moving statistics.
        population_images: training images that population statistics are over.
        batch_size: images of a batch whose own statistics are used for `batch`.
        recalibrated: for a checkpoint that `recalibrate` made, the number of images that its
            statistics are over; else None.
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
    unknown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun evaluate --json` prints, without the run's directory."""
        return {
            "epoch": self.epoch,
            "norm": self.norm,
            "statistics": dict(self.accuracies),
            "population_images": self.population_images,
            "batch_size": self.batch_size,
            "recalibrated": self.recalibrated,
            "device": self.device,
            "data": dataclasses.asdict(self.data),
        }


def evaluate(
    config: Config,
    checkpoint: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device,
    statistics: Iterable[str],
    moving: MovingNames | None = None,
) -> Evaluation:
    """Return a checkpoint's test accuracy by kind of statistics; `moving` is always measured.

    `moving` names the moving statistics of norms, where they are not the usual ones.

    A norm that draws random numbers draws the same ones at each evaluation, from the config's seed
    on. The caller's random generators stay as they were.

    Raises:
        NormError: the norm cannot be loaded or built.
        RunError: the checkpoint is of another model; or no norm keeps what `moving` names.
        TrainingFailed: the model raised, in a user's own layer for example.
    """
    if device.type == "cpu":
        keep_freed_memory()
    wanted = [name for name in STATISTICS if name in ("moving", *statistics)]
    model = trained_model(config, checkpoint, device)
    keeps_moving = bool(MovingStatistics.find(model, moving))
    if moving is not None and not keeps_moving:
        searched = no_moving_statistics(unknown_vectors(model), moving)
        raise RunError(f"no norm keeps such moving statistics ({searched}).", "--moving")
    random_numbers = RandomNumbers(config.training.seed, device)
    with random_numbers.in_use(), wrap_model_errors("evaluation"):
        accuracies = accuracies_by_statistics(
            model, dataset.to(device), config, wanted, moving=moving
        )
    return Evaluation(
        norm=config.model.norm_call,
        seed=config.training.seed,
        epoch=len(checkpoint["epochs"]),
        data=dataset.describe(),
        device=str(device),
        accuracies={name: accuracies.get(name) for name in wanted},
        keeps_moving=keeps_moving,
        unknown=() if keeps_moving else tuple(unknown_vectors(model)),
        population_images=_population_images(config, dataset),
        batch_size=config.training.batch_size,
        recalibrated=checkpoint.get("population_images"),
    )


def recalibrate(
    config: Config,
    checkpoint: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device,
    moving: MovingNames | None = None,
) -> dict[str, Any]:
    """Return a checkpoint in which population statistics replace the moving ones.

    They are computed over the first `training.population_images` training images. The new state
    holds their number as `population_images`. Random numbers are those of `evaluate`.

    Raises:
        NormError: the norm cannot be loaded or built.
        RunError: the checkpoint is of another model, or no norm keeps moving statistics.
        TrainingFailed: the model raised, in a user's own layer for example.
    """
    if device.type == "cpu":
        keep_freed_memory()
    model = trained_model(config, checkpoint, device)
    if not MovingStatistics.find(model, moving):
        searched = no_moving_statistics(unknown_vectors(model), moving)
        raise RunError(
            f"norm '{config.model.norm_call}' keeps no moving statistics ({searched}). There is "
            "nothing to replace."
        )
    random_numbers = RandomNumbers(config.training.seed, device)
    with random_numbers.in_use(), wrap_model_errors("recalibration"):
        images = config.training.population_images
        take_population(model, dataset.train.to(device), images, names=moving)
    return with_model(checkpoint, model) | {
        "population_images": _population_images(config, dataset)
    }


def no_moving_statistics(unknown: Sequence[str], names: MovingNames | None = None) -> str:
    """Say under which names norms were searched for moving statistics, and what they hold."""
    known = names or (*MOVING_MEAN[:2], *MOVING_VAR[:2])
    said = f"none named {', '.join(known[:-1])} or {known[-1]}"
    if len(unknown) < 2:
        return said
    example = next((one for one in itertools.combinations(unknown, 2) if _is_pair(*one)), None)
    option = f"--moving {','.join(example or ('MEAN', 'VARIANCE'))}"
    return f"{said}; it holds {', '.join(unknown)}: name two of them, as in {option}"


def _is_pair(mean: str, var: str) -> bool:
    return "mean" in mean and "var" in var


def trained_model(config: Config, checkpoint: Mapping[str, Any], device: torch.device) -> LeNet:
    """Build a config's model with the weights and statistics of a checkpoint.

    Raises:
        NormError: the norm cannot be loaded or built.
        RunError: the checkpoint is of another model.
    """
    with preserved_generators(device):  # constructors draw initial weights
        model = build_model(config).to(device)
    with require_fit():
        restore_model(checkpoint, model)
    return model


def accuracies_by_statistics(
    model: nn.Module,
    dataset: Dataset,
    config: Config,
    statistics: Iterable[str],
    processes: Processes = ALONE,
    moving: MovingNames | None = None,
) -> dict[str, float]:
    """Return a model's test accuracy, a fraction, by kind of statistics; `moving` always first.

    - `moving`: what the norms hold.
    - `population`: exact ones, over the first `training.population_images` training images.
    - `batch`: each test batch's own, of `training.batch_size` images.

    Where no norm keeps moving statistics, only `moving` is returned: the model predicts in one
    way. `population` and `batch` leave the model and torch's random generators as they were, so
    training continues the same whatever was evaluated. Several `processes` share the batches out.
    """
    test = dataset.test
    accuracies = {"moving": accuracy(model, test, processes=processes)}
    if not MovingStatistics.find(model, moving):
        return accuracies
    device, kinds = test.images.device, set(statistics)
    if "population" in kinds:
        with preserved_generators(device), preserving(model):
            images = config.training.population_images
            take_population(model, dataset.train, images, processes, moving)
            accuracies["population"] = accuracy(model, test, processes=processes)
    if "batch" in kinds:
        with preserved_generators(device), batch_statistics(model, moving):
            size = config.training.batch_size
            accuracies["batch"] = accuracy(model, test, size, processes)
    return accuracies


def accuracy(
    model: nn.Module, split: Split, batch_size: int = BATCH_SIZE, processes: Processes = ALONE
) -> float:
    """Return the fraction of a split's images that a model classifies correctly.

    The model predicts in evaluation mode, and without gradients, since the textbook's layer goes by
    these. Its modes are restored. Several `processes` take the batches in turns, and all of them
    get the fraction.
    """
    with predicting(model):
        correct = torch.zeros((), dtype=torch.long, device=split.labels.device)
        batches = split.batches(batch_size)
        for images, labels in itertools.islice(batches, processes.rank, None, processes.size):
            correct += (model(images).argmax(1) == labels).sum()
    processes.add([correct])
    return int(correct) / len(split)


def take_population(
    model: nn.Module,
    train: Split,
    count: int,
    processes: Processes = ALONE,
    names: MovingNames | None = None,
) -> None:
    """Replace the norms' moving statistics by exact ones over the first `count` training images."""
    images = Split(train.images[:count], train.labels[:count])

    def batches(size: int = BATCH_SIZE) -> Iterator[Tensor]:
        return (batch for batch, _ in images.batches(size))

    if type(model) is LeNet and not processes.is_distributed:
        with predicting(model):
            if take_population_in_one_call(model, next(batches(len(images)))):
                return
    use_population(model, batches, processes, names)


def _population_images(config: Config, dataset: Dataset) -> int:
    return min(config.training.population_images, len(dataset.train))
