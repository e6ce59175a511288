"""The audit of a network that bnrun has trained: its own images, and its own weights."""

import math
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch

from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.events import Stage
from bnrun.health.audit import audit_model
from bnrun.health.batches import Batch
from bnrun.health.report import Audit
from bnrun.health.weights import load_weights
from bnrun.training.evaluation import BATCH_SIZE, trained_model


def audit_run(
    config: Config,
    checkpoint: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device,
    *,
    name: str,
    weights: str | None = None,
    batches: int = 32,
    recalibrates: bool = False,
) -> Generator[Stage, None, tuple[Audit, dict[str, Any] | None]]:
    """Audit a checkpoint: statistics over training images, predictions of test images.

    Args:
        config: of the run.
        checkpoint: of the run.
        dataset: of the run.
        device: to run on.
        name: what the audit calls the network.
        weights: a file whose weights take the place of the checkpoint's.
        batches: of training images, of the run's size, at most.
        recalibrates: see `bnrun.health.audit.audit`.

    Raises:
        NormError: the run's norm cannot be loaded or built.
        RunError: the checkpoint is of another model.
        NetworkError: the weights do not fit.
    """
    model = trained_model(config, checkpoint, device)
    loading = None if weights is None else load_weights(model, weights)
    chosen = list(_batches(dataset, config.training.batch_size, batches))
    per_epoch = math.ceil(len(dataset.train) / config.training.batch_size)
    return (
        yield from audit_model(
            model,
            chosen,
            name=name,
            batches=len(chosen),
            steps=len(checkpoint["epochs"]) * per_epoch,
            loading=loading,
            recalibrates=recalibrates,
        )
    )


def _batches(dataset: Dataset, size: int, most: int) -> Iterator[Batch]:
    """Yield training batches to take statistics over, then all test images to predict."""
    for at, (images, labels) in enumerate(dataset.train.batches(size)):
        if at == most:
            break
        yield Batch((images,), {}, labels, len(images), predicted=False)
    for images, labels in dataset.test.batches(BATCH_SIZE):
        yield Batch((images,), {}, labels, len(images), measured=False)
