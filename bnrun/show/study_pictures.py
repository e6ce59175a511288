"""The picture of a claim: its parts with their seeds and rules, and what they were taken from."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnrun.show.plot_layout import (
    AXIS_ROOM,
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
    Stroke,
    curve,
    stroke,
    style,
    thin_curve,
)
from bnrun.show.study_tables import measured
from bnrun.show.value_axis import settle
from bnrun.studies.claim import ClaimResult, Part, Points
from bnrun.studies.rules import Exact, Judgment
from bnrun.studies.study import StudyResult

PART_INCHES = 3.3
"""Width to which a part's name, verdict and number are wrapped beside its row."""
BETWEEN_PARTS = 0.25
"""Room between two rows."""
ZONE = "#E2E2E2"
LEAST_ERROR = 1e-18
"""Where an error of 0, and any smaller one, is drawn on a logarithmic axis."""
LINE_POINTS, SEED_POINTS, MEAN_POINTS = 3.0, 7.0, 8.0


@dataclass(frozen=True)
class Panel:
    """How the curves of a claim are drawn.

    Attributes:
        title, x, y: of the panel and its axes.
        is_log_x: whether the axis of x is logarithmic.
        thin: curves whose names end like this are drawn thin, as those of the name before it.
        is_scatter: whether points are not joined.
    """

    title: str
    x: str
    y: str = ""
    is_log_x: bool = False
    thin: tuple[str, ...] = ()
    is_scatter: bool = False


LAYER = "layer, from the input"
PANELS: Mapping[str, Panel] = {
    "A1": Panel("gradient before each nonlinearity", LAYER, "log10 of its RMS"),
    "A2": Panel("gradient, relative to that of the last layer", LAYER, "log10 of its RMS"),
    "A3": Panel("deviation of what a layer puts out", LAYER, "log10"),
    "A4": Panel(
        "training accuracy after an epoch", "factor of the weights", FRACTION, is_log_x=True
    ),
    "S1": Panel("test accuracy by kind of statistics, seed 0", "epoch", FRACTION),
    "S3": Panel(
        "each seed's averages, by their gain",
        "error of the means",
        "test accuracy",
        is_log_x=True,
        is_scatter=True,
    ),
    "S9": Panel("deviation of an image's logits", "images in its batch", is_log_x=True),
    "C1": Panel("training accuracy", "epoch", FRACTION),
    "C2": Panel("test accuracy", "epoch", FRACTION),
    "C3": Panel("first epoch with a CKA of .95 to the last", LAYER, "epoch"),
    "C4": Panel("median cosine of the gradients", "step"),
    "C5": Panel("a sigmoid's input: 15, 50, 85 %, seed 0", "step", thin=(", 15 %", ", 85 %")),
    "C6": Panel("share of sigmoid inputs beyond ±4", "step"),
    "R1": Panel("loss of the first epoch", "log2 of the learning rate", NATS),
    "R2": Panel("training accuracy at the smallest rate", "epoch", FRACTION),
    "R3": Panel("training accuracy after an epoch", "log2 of the weights' rate", FRACTION),
    "N1": Panel("training loss", "epoch", NATS),
}
"""By the claim's id. Claims without curves have rows alone."""


def claim_picture(result: ClaimResult, study: StudyResult) -> Figure:
    """Draw a claim: a row for each part, and beside them the curves that it was taken from."""
    claim = result.claim
    curves = study.evidence[claim.id].curves
    panel = PANELS.get(claim.id) if curves else None
    with style():
        labels = [fitted(text, PART_INCHES) for text in _labels(result)]
        heights = [size(label)[1] + BETWEEN_PARTS for label in labels]
        left = max(size(label)[0] for label in labels) + 0.25
        grid = Grid(1, max(PANEL_INCHES, sum(heights)), lefts=(left, 0), rights=(0, 0.3))
        if panel is not None:
            right = LEADER + max(size(fitted(one, END_LABEL_INCHES))[0] for one in curves) + 0.15
            grid = dataclasses.replace(grid, panels=2, lefts=(left, AXIS_ROOM), rights=(0.3, right))
        figure, panels = page(f"{claim.id}  {claim.sentence}", _footer(result, study), grid)
        _draw_rows(panels[0], result, study.evidence[claim.id].values, labels, heights)
        if panel is not None:
            _draw_curves(panels[1], panel, curves)
    return figure


def _labels(result: ClaimResult) -> Iterator[str]:
    """Yield what stands beside the row of each part."""
    for part in result.claim.parts:
        judgment = result.judgments[part.name]
        number, _, _ = measured(part.rule, judgment).partition(", n =")  # n is in the footer
        yield f"{part.name}\n{number}\n{judgment.verdict.upper()}"


def _footer(result: ClaimResult, study: StudyResult) -> str:
    counts = {judgment.n for judgment in result.judgments.values()}
    n = " to ".join(map(str, sorted({min(counts), max(counts)})))
    expected = f"expected: {result.claim.expected}" + (", a surprise" if result.is_surprise else "")
    is_exact = any(isinstance(part.rule, Exact) for part in result.claim.parts)
    marks = (
        "Grey: rounding. Dashed: above this, the claim is contradicted."
        if is_exact
        else "Grey: supported, where the whole interval lies in it. Circles: seeds; bar: the 95 % "
        "interval of their mean."
    )
    return (
        f"{result.verdict} ({expected}) · n = {n} · budget {study.budget} · {study.machine}\n"
        f"Measured: {result.claim.statistic}. {marks}"
    )


def _draw_rows(
    axes: Axes,
    result: ClaimResult,
    values: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    heights: Sequence[float],
) -> None:
    """Draw each part as a row, from the top: its zone, its seeds, and their mean."""
    total = sum(heights)
    places = [total - sum(heights[:at]) - one / 2 for at, one in enumerate(heights)]
    parts = [(part, result.judgments[part.name]) for part in result.claim.parts]
    is_log = isinstance(parts[0][0].rule, Exact)
    shown = {
        part.name: [
            max(value, LEAST_ERROR) if is_log else value
            for value in values.get(part.name, ())
            if math.isfinite(value)
        ]
        for part, _ in parts
    }
    low, high = (LEAST_ERROR / 3, 10.0) if is_log else _limits(parts, shown)
    axes.set_xlim(low, high)
    settle(axes, "x", is_log=is_log)
    for (part, judgment), place, height in zip(parts, places, heights, strict=True):
        start, end = (min(max(edge, low), high) for edge in part.rule.zone())
        axes.barh(place, end - start, height - 0.1, left=start, color=ZONE, zorder=0)
        taken = shown[part.name]
        axes.plot(taken, [place] * len(taken), "o", ms=SEED_POINTS, mfc="none", mec=BLUE)
        if judgment.estimate is not None and judgment.ci95 is not None:
            axes.hlines(place, *judgment.ci95, colors="#000000", linewidth=LINE_POINTS)
            axes.plot(judgment.estimate, place, "D", ms=MEAN_POINTS, color="#000000", mew=0)
    if is_log:
        axes.axvline(Exact.WRONG, color=GREY, linestyle="--")
    axes.set_ylim(0, total)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _limits(
    parts: Sequence[tuple[Part, Judgment]], shown: Mapping[str, Sequence[float]]
) -> tuple[float, float]:
    """Return the ends of an axis that holds the seeds, the intervals and the edges of the zones.

    An interval of few seeds may be very wide: it counts up to one range of the rest beyond it.
    """
    edges = [edge for part, _ in parts for edge in part.rule.zone() if math.isfinite(edge)]
    held = [*edges, *(value for values in shown.values() for value in values)]
    low, high = min(held), max(held)
    reach = high - low
    ends = [end for _, judgment in parts for end in judgment.ci95 or ()]
    low = max(min([low, *ends]), low - reach)
    high = min(max([high, *ends]), high + reach)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_curves(axes: Axes, panel: Panel, curves: Mapping[str, Points]) -> None:
    """Draw the curves, labelled at their ends."""
    strokes: dict[str, Stroke] = {}
    ends = []
    for name, points in curves.items():
        if not points:
            continue
        base = _base(name, panel)
        drawn = strokes.setdefault(base, stroke(len(strokes)))
        if name != base and any(name.endswith(one) for one in panel.thin):
            thin_curve(axes, points, drawn)
            continue
        line = curve(axes, points, drawn)
        if panel.is_scatter:
            line.set(linestyle="none", markevery=1)
        ends.append(EndLabel(fitted(name, END_LABEL_INCHES), *points[-1], drawn))
    panel_title(axes, panel.title, panel.y)
    axes.set_xlabel(panel.x)
    settle(axes, "x", is_log=panel.is_log_x)
    settle(axes, "y")
    label_ends(axes, ends)


def _base(name: str, panel: Panel) -> str:
    """Return the name that a curve shares with those drawn thin beside it."""
    return name.rpartition(", ")[0] if panel.thin else name
