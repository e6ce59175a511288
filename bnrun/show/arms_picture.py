"""The picture of arms side by side: the seeds of each and their mean, epoch by epoch."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnrun.comparison.arms import ArmResult
from bnrun.comparison.result import Comparison
from bnrun.show.arms_series import Series, series_of
from bnrun.show.arms_words import (
    WORDS_OF_CURVES,
    WORDS_OF_MANY_CURVES,
    WORDS_OF_ROWS,
    arm_remark,
    arms_footer,
    arms_title,
    seeds_and_machine,
)
from bnrun.show.plot_layout import (
    END_LABEL_INCHES,
    LEADER,
    LEGEND_HANDLE,
    EndLabel,
    Grid,
    fitted_name,
    label_ends,
    legend,
    page,
    panel_title,
    size,
)
from bnrun.show.plot_style import (
    FEW_CURVES,
    FRACTION,
    NATS,
    PANEL_INCHES,
    Stroke,
    curve,
    epoch_axis,
    stroke,
    style,
    thin_curve,
    write_instead,
)
from bnrun.show.value_axis import Scale, draw_guessing, draw_scale, scale_of

PANELS = {
    "loss": ("training loss", NATS),
    "train_acc": ("train accuracy", FRACTION),
    "validation_acc": ("held-out accuracy", FRACTION),
    "test_acc": ("test accuracy, moving statistics", FRACTION),
    "test_acc_population": ("test accuracy, population statistics", FRACTION),
}
"""Title and unit of the panel of each metric."""
BETWEEN_NAMES = 0.14
"""Room between two names, one below the other."""
LEGEND_LABEL_INCHES, ROW_LABEL_INCHES = 2.1, 3.0
"""Width to which an arm's name is wrapped: in a legend, beside its row."""
LABEL_LINES = 4
"""A label at the end of a curve has at most so many lines."""

Measured = Mapping[str, Sequence[Series]]
"""The series of each arm, by metric."""


def compare(comparison: Comparison) -> Figure:
    """Draw each metric of all arms over the epochs; after one epoch, a row of dots for each arm.

    Few seeds are thin lines around their mean; more become a mean with its 95 % interval as a
    band. Means are over the trials that completed; others are drawn to where they ended. A loss far
    above that of guessing is cut off where other losses are not.
    """
    results = comparison.arms
    measured = {metric: [series_of(result, metric) for result in results] for metric in PANELS}
    measured = {
        metric: found
        for metric, found in measured.items()
        if not all(series.is_empty for series in found)
    }
    with style():
        if "loss" not in measured:
            figure, (axes,) = page(
                arms_title(results), seeds_and_machine(results), Grid(1, PANEL_INCHES)
            )
            write_instead(axes, "No trial has finished an epoch.")
            return figure
        draw = _draw_rows if _last_epoch(results) == 1 else _draw_curves
        return draw(results, measured)


def _last_epoch(results: Sequence[ArmResult]) -> int:
    return max(len(trial.epochs) for result in results for trial in result.trials)


def _draw_curves(results: Sequence[ArmResult], measured: Measured) -> Figure:
    """Draw curves over the epochs, labelled at their ends or in a legend."""
    labels = [_label(result, END_LABEL_INCHES) for result in results]
    is_direct = _fits_at_ends(labels, measured)
    if is_direct:
        right = LEADER + _widest(labels) + 0.15
        grid = Grid(len(measured), PANEL_INCHES, rights=(right, right))
    else:
        labels = [_label(result, LEGEND_LABEL_INCHES) for result in results]
        grid = Grid(len(measured), PANEL_INCHES, side=LEGEND_HANDLE + _widest(labels))
        grid = grid.at_least(sum(size(label)[1] + BETWEEN_NAMES for label in labels))
    strokes = [stroke(number, len(results)) for number in range(len(results))]
    scales = _scales(measured)
    has_bands = len(results) <= FEW_CURVES
    words = WORDS_OF_CURVES if has_bands else WORDS_OF_MANY_CURVES
    footer = arms_footer(results, measured, scales["loss"], words)
    figure, panels = page(arms_title(results), footer, grid)
    for axes, (metric, found) in zip(panels, measured.items(), strict=True):
        panel_title(axes, *_panel_title(metric, measured))
        for series, drawn in zip(found, strokes, strict=True):
            _draw_series(axes, series, drawn, has_bands)
        if any(result.has_shortcoming for result in results):
            draw_guessing(axes, "y", metric)
        epoch_axis(axes, _last_epoch(results))
        draw_scale(axes, "y", scales[metric])
        if is_direct:
            label_ends(axes, list(_end_labels(labels, found, scales[metric])))
    if not is_direct:
        handles = [
            Line2D([], [], **({"ls": ""} if series.is_empty else drawn.marked))
            for series, drawn in zip(measured["loss"], strokes, strict=True)
        ]
        legend(figure, handles, labels, grid.side, top=panels[0].get_position().y1)
    return figure


def _scales(measured: Measured) -> dict[str, Scale]:
    """Return the axis of each metric, for the values of all arms."""
    return {
        metric: scale_of(metric, (value for series in found for value in series.values))
        for metric, found in measured.items()
    }


def _label(result: ArmResult, width: float) -> str:
    """Return an arm's name, and below it what must be known of its trials."""
    lines = (result.arm.name, arm_remark(result))
    return "\n".join(fitted_name(line, width) for line in lines if line)


def _widest(labels: Sequence[str]) -> float:
    return max(size(label)[0] for label in labels)


def _fits_at_ends(labels: Sequence[str], measured: Measured) -> bool:
    """Return whether every arm can be labelled where its curve ends."""
    ends = {series.means[-1][0] if series.means else None for series in measured["loss"]}
    return (
        len(labels) <= FEW_CURVES
        and len(ends) == 1
        and None not in ends
        and all(label.count("\n") < LABEL_LINES for label in labels)
    )


def _panel_title(metric: str, measured: Measured) -> tuple[str, str]:
    """Return a panel's title and unit; there are two kinds of test accuracy only where both are."""
    if metric == "test_acc" and "test_acc_population" not in measured:
        return "test accuracy", FRACTION
    return PANELS[metric]


def _draw_series(axes: Axes, series: Series, drawn: Stroke, has_band: bool) -> None:
    for points in (*series.seeds, *series.lost):
        thin_curve(axes, points, drawn)
    for points in series.lost:
        axes.plot(*points[-1], "x", color=drawn.colour, markersize=9, markeredgewidth=2)
    if has_band and series.intervals:
        epochs, lows, highs = zip(*series.intervals, strict=True)
        axes.fill_between(epochs, lows, highs, color=drawn.colour, alpha=0.2, lw=0, zorder=1)
    curve(axes, series.mean_points, drawn)


def _end_labels(labels: Sequence[str], found: Sequence[Series], scale: Scale) -> Iterator[EndLabel]:
    """Yield the label of each arm that has the metric; that of one above the axis has an arrow."""
    for number, (label, series) in enumerate(zip(labels, found, strict=True)):
        if series.means:
            epoch, value = series.mean_points[-1]
            text = f"↑ {label}" if value > scale.high else label
            yield EndLabel(text, epoch, min(value, scale.high), stroke(number))


def _draw_rows(results: Sequence[ArmResult], measured: Measured) -> Figure:
    """Draw arms after one epoch: each a row, from the top, with its seeds and their mean."""
    labels = [_label(result, ROW_LABEL_INCHES) for result in results]
    heights = [size(label)[1] + BETWEEN_NAMES for label in labels]
    height = max(PANEL_INCHES, sum(heights))
    stretch = height / sum(heights)
    places = [
        height - stretch * (end - own / 2)
        for end, own in zip(accumulate(heights), heights, strict=True)
    ]
    scales = _scales(measured)
    footer = arms_footer(results, measured, scales["loss"], WORDS_OF_ROWS)
    lefts = (_widest(labels) + 0.25, 0.3)
    figure, panels = page(
        arms_title(results), footer, Grid(len(measured), height, lefts, rights=(0.3, 0.3))
    )
    first = min(axes.get_position().x0 for axes in panels)
    for axes, (metric, found) in zip(panels, measured.items(), strict=True):
        title, unit = _panel_title(metric, measured)
        axes.set_title(title)
        axes.set_xlabel(unit)
        for number, (series, place) in enumerate(zip(found, places, strict=True)):
            _draw_row(axes, series, stroke(number), place, scales[metric])
        if any(result.has_shortcoming for result in results):
            draw_guessing(axes, "x", metric)
        axes.set_ylim(0, height)
        axes.set_yticks(places, labels)
        axes.tick_params(axis="y", length=0, labelleft=axes.get_position().x0 == first)
        draw_scale(axes, "x", scales[metric])
    return figure


def _draw_row(axes: Axes, series: Series, drawn: Stroke, place: float, scale: Scale) -> None:
    for points in series.seeds:
        axes.plot(points[0][1], place, "o", color=drawn.colour, markersize=6, alpha=0.6, mew=0)
    for points in series.lost:
        axes.plot(points[0][1], place, "x", color=drawn.colour, markersize=9, markeredgewidth=2)
    for _, low, high in series.intervals:
        axes.hlines(place, low, high, colors=drawn.colour, linewidth=2)
    for _, mean in series.mean_points:
        marker = ">" if mean > scale.high else "o"
        (dot,) = axes.plot(min(mean, scale.high), place, marker, color=drawn.colour, markersize=10)
        dot.set(markeredgewidth=0, clip_on=False)
