"""The trainings of a study: planned as configs, done once, and shared by its claims."""

import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bnrun.comparison.comparison_events import Trial
from bnrun.config import Config, DataConfig
from bnrun.events import Activity, EpochEnded, Fetching, Notice, Probed, Stage
from bnrun.learning import GUESSING_ACCURACY
from bnrun.training_summary import Summary

if TYPE_CHECKING:
    from bnrun.data.dataset import Dataset

Result = TypeVar("Result")
VALIDATION = 5_000
"""Training images that choose a learning rate: never the test images."""
CHOICE_SEED = 1_000
"""Seed of the trainings that choose a rate; it is in no other training."""

TrainEvent = Stage | Fetching | Notice | Activity
Summaries = Mapping[str, Summary]
"""Of trials that completed or diverged, by the trial's name."""
Accuracies = Mapping[str, Sequence[float | None]]
"""A fraction for each seed, by arm; None where the training diverged."""


class Laboratory(Protocol):
    """Where a study trains, and keeps what was trained."""

    def train(self, trials: Sequence[Trial]) -> Generator[TrainEvent, None, Summaries]:
        """Train the trials that were not trained before; return the summaries of all."""

    def compute(
        self, data: DataConfig, parts: Mapping[str, Callable[["Dataset"], Result]]
    ) -> Generator[TrainEvent, None, list[Result]]:
        """Return what functions return of the data, in their order; they may run side by side.

        For trainings that no config describes, and what needs seconds of computing. Nothing is
        kept.

        Args:
            data: the images.
            parts: the functions by what to call them, such as `D1, batch norm, seed 0`. They, and
                what they return, must be picklable.
        """

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


def rate_choice(arm: str, rate: float, epochs: int, **keys: Any) -> Trial:
    """Return the training of an arm that says how good a learning rate is. See `trial`."""
    return trial(
        f"choice-{arm}-lr{rate:g}",
        CHOICE_SEED,
        optimizer__lr=rate,
        training__epochs=epochs,
        data__validation=VALIDATION,
        **keys,
    )


def best_rate(choice: Mapping[float, Trial], summaries: Summaries) -> float:
    """Return the learning rate with the best accuracy on the validation images.

    Args:
        choice: trials that hold out such images, by their learning rate. One that diverged is the
            worst.
        summaries: theirs, at least.
    """

    def accuracy(rate: float) -> float:
        epoch = last_epoch(summaries[choice[rate].name])
        return -1.0 if epoch is None or epoch.validation_acc is None else epoch.validation_acc

    return max(choice, key=accuracy)


def final_accuracy(summary: Summary) -> float | None:
    """Return the test accuracy after the last epoch; None where the training diverged.

    With population statistics, where the training was evaluated with them.
    """
    epoch = last_epoch(summary)
    if epoch is None or epoch.test_acc_population is None:
        return None if epoch is None else epoch.test_acc
    return epoch.test_acc_population


def differences(a: Sequence[float | None], b: Sequence[float | None]) -> list[float]:
    """Return a less b, seed by seed; a seed that lacks one is left out."""
    pairs = zip(a, b, strict=True)
    return [one - other for one, other in pairs if one is not None and other is not None]


def as_shares(
    gains: Sequence[float], start: Sequence[float | None], end: Sequence[float | None]
) -> list[float]:
    """Return gains as shares of the way from `start` to `end`; none where that is no way up.

    The way is the mean over the seeds: that of one seed may be next to nothing.
    """
    way = differences(end, start)
    length = statistics.fmean(way) if way else 0.0
    return [gain / length for gain in gains] if length > 0 else []


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are there; None where none is."""
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there else None


def means(values: Accuracies) -> str:
    """Write the mean of each arm that has one."""
    found = {arm: mean_of(taken) for arm, taken in values.items()}
    return "; ".join(f"{arm} {mean:.3f}" for arm, mean in found.items() if mean is not None)


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
