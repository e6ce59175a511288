"""Records as pictures: functions from a record to a figure, which `render` makes files of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnrun.events import EpochEnded
from bnrun.show.arms_picture import compare
from bnrun.show.audit_picture import audit_picture
from bnrun.show.plot_layout import (
    END_LABEL_INCHES,
    LEADER,
    EndLabel,
    Grid,
    fitted,
    label_ends,
    page,
    panel_title,
    size,
)
from bnrun.show.plot_style import (
    BLUE,
    FRACTION,
    GREY,
    NATS,
    PANEL_INCHES,
    RED,
    Points,
    curve,
    epoch_axis,
    points_of,
    provenance,
    render,
    stroke,
    style,
    write_instead,
)
from bnrun.show.probe_picture import probe_picture
from bnrun.show.study_pictures import claim_picture
from bnrun.show.value_axis import draw_guessing, draw_scale, loss_note, scale_of
from bnrun.show.wording import training_title
from bnrun.training_summary import Summary

if TYPE_CHECKING:  # loads torch, which the curves of a run do not need
    from bnrun.training.gamma_inspection import NormLayer, Vector

__all__ = [
    "audit_picture",
    "claim_picture",
    "compare",
    "curves",
    "gamma",
    "probe_picture",
    "render",
    "run_footer",
]

TRAIN, MOVING, POPULATION, BATCH, HELD_OUT = range(5)
"""The strokes of one training's curves."""

GAMMA_INCHES = 1.3
"""Height of the panel of a layer's gammas."""
CROSS: dict[str, Any] = {"marker": "x", "ls": "", "color": RED, "ms": 10, "mew": 2.2}


def curves(summary: Summary) -> Figure:
    """Draw a training: its loss and every measured accuracy over the epochs."""
    title, footer = training_title(summary), run_footer(summary)
    with style():
        losses, accuracies = points_of(summary.epochs, "loss"), _accuracies(summary.epochs)
        if not losses:
            figure, (axes,) = page(title, footer, Grid(1, PANEL_INCHES))
            write_instead(axes, "No epoch has ended.")
            return figure
        scale = scale_of("loss", (value for _, value in losses))
        note = loss_note(scale, {"the loss": max(value for _, value in losses)})
        labels = [fitted(label, END_LABEL_INCHES) for label in accuracies]
        right = LEADER + max(size(label)[0] for label in labels) + 0.15
        grid = Grid(2, PANEL_INCHES, rights=(0.15, right))
        figure, (left, axes) = page(title, f"{footer}\n{note}".strip(), grid)
        curve(left, losses, stroke(TRAIN))
        draw_scale(left, "y", scale)
        for number, points in accuracies.values():
            curve(axes, points, stroke(number))
        values = (value for _, points in accuracies.values() for _, value in points)
        draw_scale(axes, "y", scale_of("test_acc", values))
        panel_title(left, "training loss", NATS)
        panel_title(axes, "accuracy", FRACTION)
        for panel, metric in ((left, "loss"), (axes, "test_acc")):
            if summary.shortcoming:
                draw_guessing(panel, "y", metric)
            epoch_axis(panel, summary.epochs[-1].epoch)
        ends = [
            EndLabel(label, *points[-1], stroke(number))
            for label, (number, points) in zip(labels, accuracies.values(), strict=True)
        ]
        label_ends(axes, ends)
    return figure


def gamma(layers: "Sequence[NormLayer]", title: str, footer: str) -> Figure | None:
    """Draw every norm's gamma and beta by channel; return None where no norm has either.

    Channels that are nearly off are crossed in both.
    """
    shown = [layer for layer in layers if layer.gamma is not None or layer.beta is not None]
    if not shown:
        return None
    notes = ["Stems start at γ = 1 and β = 0. Each layer has its own scale."]
    if any(any(layer.nearly_off) for layer in shown):
        notes.append("×: nearly off, with |γ| at most a tenth of the layer's median.")
    with style():
        grid = Grid(2 * len(shown), GAMMA_INCHES)
        figure, panels = page(title, "\n".join(filter(None, [footer, " ".join(notes)])), grid)
        for layer, left, right in zip(shown, panels[::2], panels[1::2], strict=True):
            _channels(left, "γ", layer.gamma, layer.nearly_off, neutral=1.0)
            _channels(right, "β", layer.beta, layer.nearly_off, neutral=0.0)
            panel_title(left, f"{layer.name}: γ")
            panel_title(right, f"{layer.name}: β")
        for axes in panels:
            axes.set_xlabel("channel")
    return figure


def run_footer(summary: Summary) -> str:
    """Write the footer of a picture of one run: its seed, machine and data, and how it ended."""
    ending = "" if summary.status == "completed" else f"\n{summary.status}"
    reason = f": {summary.reason}" if ending and summary.reason else ""
    lines = provenance(f"n = 1 seed ({summary.seed})", [summary]) + ending + reason
    if summary.shortcoming:
        lines += f"\n{' '.join(summary.remarks)} Dotted: guessing one of ten classes."
    return lines


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


def _channels(
    axes: Axes, name: str, values: "Vector", nearly_off: Sequence[bool], neutral: float
) -> None:
    """Draw each channel's value as a stem from the neutral value; cross those nearly off."""
    if values is None:
        write_instead(axes, f"no {name}")
        return
    places, wide = range(len(values)), len(values) < 40
    axes.axhline(neutral, color=GREY, linewidth=1)
    axes.vlines(places, neutral, values, colors=BLUE, linewidth=1)
    axes.plot(places, values, "o", color=BLUE, markersize=5 if wide else 3)
    off = [place for place in places if nearly_off[place]]
    axes.plot(off, [values[place] for place in off], **CROSS | {"ms": 10 if wide else 6})
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    margin = 0.5 + 0.01 * len(values)
    axes.set_xlim(-margin, len(values) - 1 + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
