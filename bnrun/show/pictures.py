"""Records as pictures: functions from a record to a figure, which `render` makes files of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bnrun.events import EpochEnded
from bnrun.show.arms_picture import compare
from bnrun.show.plot_style import (
    BLUE,
    GREY,
    RED,
    Points,
    add_title,
    curve,
    epoch_axis,
    new_figure,
    points_of,
    provenance,
    render,
    stroke,
    style,
    write_instead,
)
from bnrun.show.wording import training_title
from bnrun.training_summary import Summary

if TYPE_CHECKING:  # loads torch, which the curves of a run do not need
    from bnrun.training.gamma_inspection import NormLayer, Vector

__all__ = ["compare", "curves", "gamma", "render", "run_footer"]

TRAIN, MOVING, POPULATION, BATCH, HELD_OUT = range(5)
"""The strokes of one training's curves."""

CROSS: dict[str, Any] = {"marker": "x", "ls": "", "color": RED, "ms": 10, "mew": 2.2}


def curves(summary: Summary) -> Figure:
    """Draw a training: its loss and every measured accuracy over the epochs."""
    with style():
        figure = new_figure(run_footer(summary), height=4.8)
        loss, accuracy = figure.subplots(1, 2)
        if not summary.epochs:
            add_title(figure, training_title(summary))
            write_instead(loss, "No epoch has ended.")
            accuracy.set_axis_off()
            return figure
        curve(loss, points_of(summary.epochs, "loss"), stroke(TRAIN))
        accuracies = _accuracies(summary.epochs)
        lines = [curve(accuracy, points, stroke(number)) for number, points in accuracies.values()]
        add_title(figure, training_title(summary), lines, list(accuracies))
        for axes, title in ((loss, "training loss"), (accuracy, "accuracy")):
            axes.set_title(title)
            epoch_axis(axes, summary.epochs[-1].epoch)
    return figure


def gamma(layers: "Sequence[NormLayer]", title: str, footer: str) -> Figure | None:
    """Draw every norm's gamma and beta by channel; return None where no norm has either.

    Channels that are nearly off are crossed in both.
    """
    shown = [layer for layer in layers if layer.gamma is not None or layer.beta is not None]
    if not shown:
        return None
    footer = f"{footer}\nStems start at γ = 1 and β = 0. Each layer has its own scale."
    with style():
        figure = new_figure(footer, height=1.6 + 1.6 * len(shown))
        grid = figure.subplots(len(shown), 2, squeeze=False)
        for row, layer in zip(grid, shown, strict=True):
            _channels(row[0], layer.gamma, layer.nearly_off, neutral=1.0)
            _channels(row[1], layer.beta, layer.nearly_off, neutral=0.0)
            row[0].set_ylabel(layer.name)
        for axes, name in zip(grid[0], ("γ", "β"), strict=True):
            axes.set_title(name)
        for axes in grid[-1]:
            axes.set_xlabel("channel")
        figure.align_ylabels(grid[:, 0])
        if any(any(layer.nearly_off) for layer in shown):
            cross = Line2D([], [], **CROSS)
            add_title(
                figure, title, [cross], ["nearly off: |γ| at most a tenth of the layer's median"]
            )
        else:
            add_title(figure, title)
    return figure


def run_footer(summary: Summary) -> str:
    """Write the footer of a picture of one run: its seed, machine and data, and how it ended."""
    ending = "" if summary.status == "completed" else f"\n{summary.status}"
    reason = f": {summary.reason}" if ending and summary.reason else ""
    return provenance(f"n = 1 seed ({summary.seed})", [summary]) + ending + reason


def _accuracies(epochs: Sequence[EpochEnded]) -> dict[str, tuple[int, Points]]:
    """Return the stroke and the points of each measured accuracy, by its label."""
    others = any(points_of(epochs, f"test_acc_{kind}") for kind in ("population", "batch"))
    accuracies = {
        "train, while learning": (TRAIN, points_of(epochs, "train_acc")),
        "held out": (HELD_OUT, points_of(epochs, "validation_acc")),
        f"test{', moving statistics' if others else ''}": (MOVING, points_of(epochs, "test_acc")),
        "test, population statistics": (POPULATION, points_of(epochs, "test_acc_population")),
        "test, batch statistics": (BATCH, points_of(epochs, "test_acc_batch")),
    }
    return {label: (number, points) for label, (number, points) in accuracies.items() if points}


def _channels(axes: Axes, values: "Vector", nearly_off: Sequence[bool], neutral: float) -> None:
    """Draw each channel's value as a stem from the neutral value; cross those nearly off."""
    if values is None:
        write_instead(axes, "none")
        return
    places, wide = range(len(values)), len(values) < 40
    axes.axhline(neutral, color=GREY, linewidth=1)
    axes.vlines(places, neutral, values, colors=BLUE, linewidth=1)
    axes.plot(places, values, "o", color=BLUE, markersize=5 if wide else 3)
    off = [place for place in places if nearly_off[place]]
    axes.plot(off, [values[place] for place in off], **CROSS | {"ms": 10 if wide else 6})
    axes.margins(y=0.12)
    margin = 0.5 + 0.01 * len(values)
    axes.set_xlim(-margin, len(values) - 1 + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
