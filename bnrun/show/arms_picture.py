"""The picture of a comparison: each arm's mean over the epochs, with its 95 % interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnrun.comparison.arms import ArmResult
from bnrun.comparison.estimate import Estimate, estimate
from bnrun.comparison.result import Comparison
from bnrun.show.plot_style import (
    Stroke,
    add_title,
    curve,
    epoch_axis,
    new_figure,
    points_of,
    provenance,
    stroke,
    style,
    write_instead,
)

PANELS = {
    "loss": "training loss",
    "train_acc": "train accuracy",
    "test_acc": "test accuracy, moving statistics",
    "test_acc_population": "test accuracy, population statistics",
}
"""Title of the panel of each metric."""
INTERVAL_ROOM = 0.35
"""Room for intervals above and below the means, as a share of the range of the means."""
BAR_SPAN = 0.6
"""Width over which arms stand side by side in a picture of one epoch, in epochs."""
MIN_AXIS_RANGE = 0.02
"""Least range of a metric's axis: a smaller one would magnify noise."""

Series = Sequence[tuple[float, Estimate]]


def compare(comparison: Comparison) -> Figure:
    """Draw each metric's mean per arm over the epochs, with its 95 % interval as a band.

    Means and bands are over the trials that completed. The axes are fitted to the means: with few
    seeds, an interval may be many times wider than the range of the means.
    """
    with style():
        figure = new_figure(_note(comparison), height=7.6 + 0.12 * len(comparison.arms))
        add_title(
            figure,
            "LeNet: the mean of each arm, epoch by epoch",
            [
                Line2D([], [], **(stroke(number).options if result.completed else {"ls": ""}))
                for number, result in enumerate(comparison.arms)
            ],
            [_arm_label(result) for result in comparison.arms],
        )
        for axes, (metric, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
            axes.set_title(title)
            _panel(axes, [_series(result, metric) for result in comparison.arms], metric)
    return figure


def _note(comparison: Comparison) -> str:
    """Return the footer: how many seeds each curve stands for, and what the bands are."""
    counts = [len(result.completed) for result in comparison.arms]
    fewest, most, planned = min(counts), max(counts), len(comparison.seeds)
    n = f"{most}" if fewest == most else f"{fewest} to {most}"
    of = "" if fewest == planned else f" of {planned}"
    listed = ", ".join(map(str, comparison.seeds))
    n = f"n = {n}{of} seed{'s' if planned != 1 else ''} per arm ({listed})"
    lines = [provenance(n, comparison.trials)]
    if most > 1:
        last = max(trial.epochs[-1].epoch for arm in comparison.arms for trial in arm.completed)
        what = "Bands" if last > 1 else "Bars, arms side by side"
        lines.append(f"{what}: 95 % interval of the mean; the axes are fitted to the means.")
    elif most == 1:
        lines.append("One seed shows no spread: there are no bands.")
    lacking = [
        f"'{result.arm.name}'"
        for result in comparison.arms
        if result.completed and not _series(result, "test_acc_population")
    ]
    if lacking:
        lines.append(f"No population accuracy: {', '.join(lacking)}.")
    return "\n".join(lines)


def _arm_label(result: ArmResult) -> str:
    n, started = len(result.completed), len(result.trials)
    others = [trial.status for trial in result.trials if trial.status != "completed"]
    counts = ", ".join(f"{others.count(status)} {status}" for status in dict.fromkeys(others))
    label = f"{result.arm.name}, n = {n}" + (f" of {started} ({counts})" if others else "")
    return label if n else f"{label}: no curve"


def _series(result: ArmResult, metric: str) -> Series:
    """Return the estimate of a metric in every epoch in which completed trials have it."""
    values: dict[float, list[float]] = {}
    for trial in result.completed:
        for epoch, value in points_of(trial.epochs, metric):
            values.setdefault(epoch, []).append(value)
    estimates = [(epoch, estimate(taken)) for epoch, taken in sorted(values.items())]
    return [(epoch, one) for epoch, one in estimates if one is not None]


def _panel(axes: Axes, arms: Sequence[Series], metric: str) -> None:
    """Draw a metric of every arm; the arm's number decides its stroke."""
    if not any(arms):
        write_instead(axes, "No completed trial has it.")
        return
    last = max(epoch for series in arms for epoch, _ in series)
    for number, series in enumerate(arms):
        # In a picture of one epoch, the arms stand side by side.
        shift = BAR_SPAN * (number - (len(arms) - 1) / 2) / len(arms) if last == 1 else 0.0
        means = [(epoch + shift, one.mean) for epoch, one in series]
        curve(axes, means, stroke(number))
        _band(axes, series, stroke(number), shift)
    axes.set_ylim(_axis_limits([one for series in arms for _, one in series], metric))
    epoch_axis(axes, last)


def _band(axes: Axes, series: Series, drawn: Stroke, shift: float) -> None:
    """Draw the intervals as a shaded band; that of a single epoch as a bar."""
    spread = [(epoch, *one.ci95) for epoch, one in series if one.ci95 is not None]
    if len(spread) == 1:
        ((epoch, low, high),) = spread
        axes.vlines(epoch + shift, low, high, colors=drawn.colour, linewidth=1.5)
    elif spread:
        epochs, lows, highs = zip(*spread, strict=True)
        axes.fill_between(epochs, lows, highs, color=drawn.colour, alpha=0.18, zorder=1)


def _axis_limits(estimates: Sequence[Estimate], metric: str) -> tuple[float, float]:
    """Return the limits of a metric's axis: they hold all means, and intervals as far as fits."""
    means = [one.mean for one in estimates]
    ends = [end for one in estimates for end in one.ci95 or (one.mean, one.mean)]
    room = max(INTERVAL_ROOM * (max(means) - min(means)), MIN_AXIS_RANGE / 2)
    low, high = max(min(ends), min(means) - room), min(max(ends), max(means) + room)
    low = max(low, 0.0)
    high = high if metric == "loss" else min(high, 1.0)
    margin = max(0.05 * (high - low), (MIN_AXIS_RANGE - (high - low)) / 2)
    return low - margin, high + margin
