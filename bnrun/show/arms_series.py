"""What a picture of arms shows of them: the values of a metric, epoch by epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnrun.comparison.arms import ArmResult
from bnrun.comparison.estimate import Estimate, estimate
from bnrun.show.plot_style import Points, points_of

FEW_SEEDS = 5
"""Up to this many seeds are drawn one by one; of more, the interval of their mean."""


@dataclass(frozen=True)
class Series:
    """A metric of an arm over the epochs.

    Attributes:
        means: by epoch, over the trials that completed.
        trials: the values of each of these, by epoch.
        lost: the values of each of the others, as far as it came.
    """

    means: Sequence[tuple[float, Estimate]]
    trials: Sequence[Points]
    lost: Sequence[Points]

    @property
    def is_empty(self) -> bool:
        """Return whether no trial has the metric in any epoch."""
        return not self.trials and not self.lost

    @property
    def mean_points(self) -> Points:
        """Return the means as points."""
        return [(epoch, one.mean) for epoch, one in self.means]

    @property
    def seeds(self) -> Sequence[Points]:
        """Return the trials that are drawn beside the mean: all of a few, none of more."""
        return self.trials if 1 < len(self.trials) <= FEW_SEEDS else ()

    @property
    def intervals(self) -> Sequence[tuple[float, float, float]]:
        """Return each epoch with the ends of the mean's interval; none of few seeds."""
        if len(self.trials) <= FEW_SEEDS:
            return ()
        return [(epoch, *one.ci95) for epoch, one in self.means if one.ci95 is not None]

    @property
    def values(self) -> Iterator[float]:
        """Yield the values that a picture must hold.

        These are all means, and each seed that is drawn. Intervals count as far as the seeds reach:
        the axis follows what was measured.
        """
        for points in (self.mean_points, *self.seeds, *self.lost):
            yield from (value for _, value in points)
        for epoch, low, high in self.intervals:
            taken = [value for points in self.trials for at, value in points if at == epoch]
            yield from (max(low, min(taken)), min(high, max(taken)))


def series_of(result: ArmResult, metric: str) -> Series:
    """Return a metric of an arm, in the epochs in which trials have it."""
    points = [(trial.status, points_of(trial.epochs, metric)) for trial in result.trials]
    trials = [taken for status, taken in points if status == "completed" and taken]
    lost = [taken for status, taken in points if status != "completed" and taken]
    values: dict[float, list[float]] = {}
    for epoch, value in (point for taken in trials for point in taken):
        values.setdefault(epoch, []).append(value)
    estimates = [(epoch, estimate(taken)) for epoch, taken in sorted(values.items())]
    return Series([(epoch, one) for epoch, one in estimates if one is not None], trials, lost)
