"""The trainings of a study: planned as configs, done once, and shared by its claims."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

from bnrun.comparison.comparison_events import Trial
from bnrun.config import Config
from bnrun.events import Activity, EpochEnded, Fetching, Notice, Probed, Stage
from bnrun.learning import GUESSING_ACCURACY
from bnrun.training_summary import Summary

TrainEvent = Stage | Fetching | Notice | Activity
Summaries = Mapping[str, Summary]
"""Of trials that completed or diverged, by the trial's name."""


class Laboratory(Protocol):
    """Where a study trains, and keeps what was trained."""

    def train(self, trials: Sequence[Trial]) -> Generator[TrainEvent, None, Summaries]:
        """Train the trials that were not trained before; return the summaries of all."""

    def checkpoint(self, trial: Trial, epoch: int) -> Mapping[str, Any]:
        """Return the state of a trained trial after an epoch.

        Raises:
            RunError: it was not kept (see `training.keep_every`).
        """

    def probed(self, trial: Trial) -> Sequence[Probed]:
        """Return what probes saw of a trained trial, each in the order of steps."""


def trial(arm: str, seed: int, **keys: Any) -> Trial:
    """Return a trial with the defaults and these config keys.

    Args:
        arm: the name of the arm; the trial's name is `<arm>-s<seed>`.
        seed: of the initial weights and the order of the images.
        keys: values of config keys, named `section__key`, such as `optimizer__lr`.
    """
    sections = Config().to_dict()
    for key, value in {"training__seed": seed, **keys}.items():
        section, name = key.split("__")
        sections[section][name] = value
    return Trial(arm, Config.model_validate(sections))


def last_epoch(summary: Summary) -> EpochEnded | None:
    """Return the last epoch of a training that completed; None for one that diverged."""
    return summary.epochs[-1] if summary.status == "completed" else None


def points_of_epochs(epochs: Sequence[EpochEnded], metric: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of each epoch that has a value of the metric."""
    values = [(float(epoch.epoch), getattr(epoch, metric)) for epoch in epochs]
    return [(epoch, value) for epoch, value in values if value is not None]


def epochs_to_reach(summary: Summary, accuracy: float) -> float:
    """Return after how many epochs the training accuracy was this high; infinite if never.

    Accuracy is taken to be `GUESSING_ACCURACY` at the start, and to grow linearly within an epoch.

    Args:
        summary: of the training.
        accuracy: a fraction, above `GUESSING_ACCURACY`.
    """
    before = GUESSING_ACCURACY
    for epoch in summary.epochs:
        if epoch.train_acc >= accuracy:
            return epoch.epoch - 1 + (accuracy - before) / (epoch.train_acc - before)
        before = max(before, epoch.train_acc)
    return float("inf")
