"""A comparison as a picture: every arm's mean over the epochs, with its 95 % interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnrun.comparison.arms import ArmResult
from bnrun.comparison.estimate import Estimate, estimate
from bnrun.comparison.outcome import Comparison
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
ROOM = 0.35  # of the means' range, for intervals above and below it
BESIDE = 0.6  # of an epoch, for arms side by side
LEAST_RANGE = 0.02  # of an axis: less than that would be a picture of noise

Series = Sequence[tuple[float, Estimate]]


def compare(comparison: Comparison) -> Figure:
    """Draw each metric's mean per arm over the epochs, with its 95 % interval as a band.

    Means and bands are of the trials that completed. The frame is fitted to the means: of a few
    seeds, an interval may be many times wider than all there is to see.
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
    """Say how many seeds each arm's curve stands for, and what the bands are."""
    counts = [len(result.completed) for result in comparison.arms]
    fewest, most, asked = min(counts), max(counts), len(comparison.seeds)
    n = f"{most}" if fewest == most else f"{fewest} to {most}"
    of = "" if fewest == asked else f" of {asked}"
    listed = ", ".join(map(str, comparison.seeds))
    n = f"n = {n}{of} seed{'s' if asked != 1 else ''} per arm ({listed})"
    lines = [provenance(n, comparison.trials)]
    if most > 1:
        last = max(trial.epochs[-1].epoch for arm in comparison.arms for trial in arm.completed)
        what = "Bands" if last > 1 else "Bars, arms side by side"
        lines.append(f"{what}: 95 % interval of the mean; the frame is fitted to the means.")
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
    n, begun = len(result.completed), len(result.trials)
    lost = [trial.status for trial in result.trials if trial.status != "completed"]
    ended = ", ".join(f"{lost.count(status)} {status}" for status in dict.fromkeys(lost))
    label = f"{result.arm.name}, n = {n}" + (f" of {begun} ({ended})" if lost else "")
    return label if n else f"{label}: no curve"


def _series(result: ArmResult, metric: str) -> Series:
    """Estimate a metric in every epoch that the arm's completed trials have it in."""
    values: dict[float, list[float]] = {}
    for trial in result.completed:
        for epoch, value in points_of(trial.epochs, metric):
            values.setdefault(epoch, []).append(value)
    estimates = [(epoch, estimate(found)) for epoch, found in sorted(values.items())]
    return [(epoch, found) for epoch, found in estimates if found is not None]


def _panel(axes: Axes, arms: Sequence[Series], metric: str) -> None:
    """Draw a metric of every arm, in the stroke of the arm's place among them."""
    if not any(arms):
        write_instead(axes, "No completed trial has it.")
        return
    last = max(epoch for series in arms for epoch, _ in series)
    for number, series in enumerate(arms):
        # A single epoch has room for its arms side by side.
        aside = BESIDE * (number - (len(arms) - 1) / 2) / len(arms) if last == 1 else 0.0
        means = [(epoch + aside, found.mean) for epoch, found in series]
        curve(axes, means, stroke(number))
        _band(axes, series, stroke(number), aside)
    axes.set_ylim(_frame([found for series in arms for _, found in series], metric))
    epoch_axis(axes, last)


def _band(axes: Axes, series: Series, drawn: Stroke, aside: float) -> None:
    """Shade the intervals; that of a single epoch is a bar."""
    spread = [(epoch, *found.ci95) for epoch, found in series if found.ci95 is not None]
    if len(spread) == 1:
        ((epoch, low, high),) = spread
        axes.vlines(epoch + aside, low, high, colors=drawn.colour, linewidth=1.5)
    elif spread:
        epochs, lows, highs = zip(*spread, strict=True)
        axes.fill_between(epochs, lows, highs, color=drawn.colour, alpha=0.18, zorder=1)


def _frame(estimates: Sequence[Estimate], metric: str) -> tuple[float, float]:
    """Return the ends of a metric's axis: all means are in it, and what fits of the intervals."""
    means = [found.mean for found in estimates]
    ends = [end for found in estimates for end in found.ci95 or (found.mean, found.mean)]
    room = max(ROOM * (max(means) - min(means)), LEAST_RANGE / 2)
    low, high = max(min(ends), min(means) - room), min(max(ends), max(means) + room)
    low = max(low, 0.0)
    high = high if metric == "loss" else min(high, 1.0)
    margin = max(0.05 * (high - low), (LEAST_RANGE - (high - low)) / 2)
    return low - margin, high + margin
