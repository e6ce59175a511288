"""Trainings of studies that were never trained: records of what they would have been."""

from collections.abc import Callable, Sequence

import bnrun.data.load
from bnrun.comparison.comparison_events import Trial
from bnrun.events import DataUsed, EpochEnded, Probed
from bnrun.training_summary import Summary

DATA = DataUsed("fashion-mnist", "a folder", True, 60_000, 0, 10_000)


def epoch(
    number: int,
    loss: float = 1.0,
    train: float = 0.8,
    test: float = 0.8,
    validation: float | None = None,
    population: float | None = None,
) -> EpochEnded:
    """An epoch of these losses and accuracies."""
    return EpochEnded(
        number, loss, train, test, validation, 1.0, 1.0, 1.0, test_acc_population=population
    )


def summary(trial: Trial, *epochs: EpochEnded, status: str = "completed") -> Summary:
    """The summary of a trial that had these epochs."""
    config = trial.config.to_dict()
    seed = trial.config.training.seed
    return Summary(config, config["model"]["norm"], "cpu", "a machine", seed, DATA, epochs, status)


class MadeUpLaboratory:
    """A laboratory whose trials end as `outcome` says; `asked` lists those asked for."""

    def __init__(
        self,
        outcome: Callable[[Trial], Summary],
        probed: Callable[[Trial], Sequence[Probed]] = lambda trial: (),
    ) -> None:
        self.asked: list[Trial] = []
        self.outcome, self.probed = outcome, probed

    def train(self, trials):
        """Return the outcomes at once."""
        yield from ()
        self.asked.extend(trials)
        return {trial.name: self.outcome(trial) for trial in trials}

    def compute(self, data, parts):
        """Return what the functions return of the data, one after another."""
        dataset = yield from bnrun.data.load.load(data)
        return [part(dataset) for part in parts.values()]

    def checkpoint(self, trial, epoch):
        """Return what identifies the checkpoint."""
        return trial, epoch
