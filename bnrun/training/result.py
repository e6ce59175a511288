"""The result of a training: its figures, and the trained network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bnrun.config import Config
from bnrun.config.schema import NormSource
from bnrun.errors import RunError
from bnrun.events import EpochEnded, Status
from bnrun.networks.lenet import LeNet
from bnrun.training.evaluation import trained_model
from bnrun.training_summary import Summary


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    `loss`, `train_acc` and `test_acc` raise a RunError where no epoch was finished.

    Attributes:
        summary: its figures, by epoch and in all.
        checkpoint: the state after its last finished epoch: weights, statistics, optimizer,
            random numbers. None where no epoch was finished.
        norm_source: where to load the norm from, if not from where its config says.
    """

    summary: Summary
    checkpoint: Mapping[str, Any] | None = field(repr=False)
    norm_source: NormSource | None = field(default=None, repr=False)

    @property
    def status(self) -> Status:
        """Return `completed`, or `diverged` where a loss stopped being finite."""
        return self.summary.status

    @property
    def epochs(self) -> tuple[EpochEnded, ...]:
        """Return the figures of each finished epoch. Accuracies are fractions."""
        return self.summary.epochs

    @property
    def loss(self) -> float:
        """Return the mean training loss of the last epoch."""
        return self._last().loss

    @property
    def train_acc(self) -> float:
        """Return the last epoch's training accuracy, a fraction: the mean over its steps."""
        return self._last().train_acc

    @property
    def test_acc(self) -> float:
        """Return the test accuracy after the last epoch, a fraction, with moving statistics."""
        return self._last().test_acc

    @property
    def config(self) -> Config:
        """Return the config of the training."""
        config = Config.model_validate(dict(self.summary.config))
        return config.with_norm_source(self.norm_source) if self.norm_source else config

    def model(self) -> LeNet:
        """Build the network with its trained weights and statistics, on the CPU.

        Raises:
            RunError: no epoch was finished.
        """
        return trained_model(self.config, self.state(), torch.device("cpu"))

    def state(self) -> Mapping[str, Any]:
        """Return the checkpoint.

        Raises:
            RunError: no epoch was finished, so no checkpoint exists.
        """
        if self.checkpoint is None:
            raise RunError("this training has finished no epoch: it has no checkpoint.")
        return self.checkpoint

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun train --json` prints."""
        return self.summary.to_dict()

    def _last(self) -> EpochEnded:
        if not self.epochs:
            raise RunError("this training has finished no epoch: it has no figures.")
        return self.epochs[-1]
