"""The arms of a comparison, and the trials of each."""

from dataclasses import dataclass

from bnrun.comparison.estimate import Estimate, estimate
from bnrun.comparison.trial_metrics import last_value
from bnrun.config import Config
from bnrun.training_summary import Summary

LOST = ("diverged", "failed")
"""Statuses of a trial that ended without a result. One that was interrupted may still get one."""

MAX_TIMED_ARMS = 12
"""Most arms whose throughput is measured: each has a process with torch and the data in it."""


@dataclass(frozen=True)
class Arm:
    """One configuration being compared. A trial is one training of it with one seed."""

    name: str
    config: Config

    @property
    def engine(self) -> str:
        """Return the engine that its config names."""
        return self.config.training.engine

    def has_network_of(self, other: "Arm") -> bool:
        """Return whether both train the same network, with the same norm, by the same code.

        How many examples are normalized together belongs to the norm. Arms that differ in the
        optimizer, the epochs or the batch size alone do.
        """
        a, b = self.config, other.config
        same_pieces = a.training.norm_batch == b.training.norm_batch
        same_model = a.model.model_dump() == b.model.model_dump()  # wherever its norm's copy is
        return same_model and same_pieces and self.engine == other.engine

    def with_seed(self, seed: int) -> Config:
        """Return the config of this arm's trial with a seed."""
        return self.config.with_training(seed=seed)

    def with_engine(self, engine: str) -> "Arm":
        """Return the arm with another engine in its config."""
        return Arm(self.name, self.config.with_training(engine=engine))


@dataclass(frozen=True)
class ArmResult:
    """An arm and the trials of it that were started, in the order of their seeds."""

    arm: Arm
    trials: tuple[Summary, ...]

    @property
    def completed(self) -> tuple[Summary, ...]:
        """Return the trials that were trained to their end."""
        return tuple(trial for trial in self.trials if trial.status == "completed")

    @property
    def lost(self) -> tuple[Summary, ...]:
        """Return the trials that diverged or failed."""
        return tuple(trial for trial in self.trials if trial.status in LOST)

    @property
    def not_learned(self) -> tuple[Summary, ...]:
        """Return the trials that were trained to their end, and whose network did not learn."""
        return tuple(trial for trial in self.completed if trial.learned is False)

    @property
    def above_guessing(self) -> tuple[Summary, ...]:
        """Return the trials whose network learned, and whose loss ended above that of guessing."""
        return tuple(trial for trial in self.completed if trial.why_loss_above_guessing is not None)

    @property
    def has_shortcoming(self) -> bool:
        """Return whether a trial did not learn, or ended with a loss above that of guessing."""
        return any(trial.shortcoming for trial in self.completed)

    @property
    def keeps_moving_statistics(self) -> bool:
        """Return whether some norm of the arm keeps moving statistics, as far as trials show it."""
        return any(last_value(trial, "test_acc_population") is not None for trial in self.completed)

    def estimate(self, metric: str) -> Estimate | None:
        """Estimate a metric after the last epoch; None where no completed trial has it."""
        values = (last_value(trial, metric) for trial in self.completed)
        return estimate([value for value in values if value is not None])
