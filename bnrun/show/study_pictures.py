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
    stacked,
    stacked_height,
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
from bnrun.studies.claim import Claim, ClaimResult, Part, Points
from bnrun.studies.rules import Definition, Exact, Judgment
from bnrun.studies.study import StudyResult

PART_INCHES = 3.3
"""Width to which a part's name, verdict and number are wrapped beside its row."""
BETWEEN_PARTS = 0.25
"""Room between two rows."""
ZONE = "#E2E2E2"
LEAST_ERROR = 1e-18
"""Where an error of 0, and any smaller one, is drawn on a logarithmic axis."""
EDGE_SHARE = 0.6
"""Width of the lines at both ends of a band, as a share of that of a curve."""
LINE_POINTS, SEED_POINTS, MEAN_POINTS = 3.0, 7.0, 8.0
ROW_TICKS = 4
"""Most intervals between the ticks below rows, where numbers such as -0.04 stand side by side."""
MEANS, SEED_0, ONE_SEED, EACH_SEED = "means over the seeds", "seed 0", "one seed", "each seed"
"""What the curves of a panel are taken from."""


@dataclass(frozen=True)
class Panel:
    """How the curves of a claim are drawn.

    Attributes:
        title, x, y: of the panel and its axes.
        is_log_x: whether the axis of x is logarithmic.
        x_ticks: its ticks, where powers of ten are too few.
        thin: curves whose names end like this are drawn thin, as those of the name before it.
        is_scatter: whether points are not joined.
        is_band: whether curves are pairs, "<name>, lowest" and "<name>, highest", which are drawn
            as the band between them.
        seeds: what the curves are taken from: means over the seeds, or fewer.
        prefix: of the names of the curves that are drawn here; labels leave it out.
        below: what is drawn below this panel.
    """

    title: str
    x: str
    y: str = ""
    is_log_x: bool = False
    x_ticks: tuple[float, ...] = ()
    thin: tuple[str, ...] = ()
    is_scatter: bool = False
    is_band: bool = False
    seeds: str = MEANS
    prefix: str = ""
    below: "Panel | None" = None

    @property
    def column(self) -> "list[Panel]":
        """Return this panel and those below it."""
        return [self, *(self.below.column if self.below is not None else [])]

    def chosen(self, curves: Mapping[str, Points]) -> dict[str, Points]:
        """Return the curves that are drawn here, by what their labels call them."""
        return {
            name.removeprefix(self.prefix): points
            for name, points in curves.items()
            if name.startswith(self.prefix) and points
        }


def _smoothness(title: str, scale_free: str) -> Panel:
    """Return the panels of a measure of the landscape, and of its counterpart below."""
    below = Panel(scale_free, STEP, "log10", prefix="scale-free: ")
    return Panel(title, STEP, "log10", prefix="absolute: ", below=below)


def _by_pieces(title: str) -> Panel:
    ticks = (2, 8, 32, 128)
    return Panel(title, "images normalized together", FRACTION, is_log_x=True, x_ticks=ticks)


def _band(title: str, prefix: str, below: Panel | None = None, seeds: str = MEANS) -> Panel:
    return Panel(title, STEP, NATS, is_band=True, seeds=seeds, prefix=prefix, below=below)


STEP = "step"
LAYER = "layer, from the input"
RATES = Panel(
    "accuracy on held-out images, one seed",
    "learning rate",
    FRACTION,
    is_log_x=True,
    seeds=ONE_SEED,
)
PANELS: Mapping[str, Panel] = {
    "A1": Panel("gradient before each nonlinearity", LAYER, "log10 of its RMS"),
    "A2": Panel("gradient, relative to that of the last layer", LAYER, "log10 of its RMS"),
    "A3": Panel("deviation of what a layer puts out", LAYER, "log10"),
    "A4": Panel(
        "training accuracy after an epoch", "factor of the weights", FRACTION, is_log_x=True
    ),
    "S1": Panel("test accuracy by kind of statistics, seed 0", "epoch", FRACTION, seeds=SEED_0),
    "S3": Panel(
        "each seed's averages, by their gain",
        "error of the means",
        "test accuracy",
        is_log_x=True,
        is_scatter=True,
        seeds=EACH_SEED,
    ),
    "S9": Panel("deviation of an image's logits", "images in its batch", is_log_x=True),
    "C1": Panel("training accuracy", "epoch", FRACTION),
    "C2": Panel("test accuracy", "epoch", FRACTION),
    "C3": Panel("first epoch with a CKA of .95 to the last", LAYER, "epoch"),
    "C4": Panel("median cosine of the gradients", STEP),
    "C5": Panel(
        "a sigmoid's input: 15, 50, 85 %, seed 0",
        STEP,
        thin=(", 15 %", ", 85 %"),
        seeds=SEED_0,
    ),
    "C6": Panel("share of sigmoid inputs beyond ±4", STEP),
    "R1": Panel("loss of the first epoch", "log2 of the learning rate", NATS),
    "R2": Panel("training accuracy at the smallest rate", "epoch", FRACTION),
    "R3": Panel("training accuracy after an epoch", "log2 of the weights' rate", FRACTION),
    "N1": Panel("training loss", "epoch", NATS),
    "L1": _band(
        "losses along the gradient, sigmoid",
        "sigmoid: ",
        below=_band("losses along the gradient, relu, rate 0.5", "relu: "),
    ),
    "L2": _smoothness("|g' - g| along the gradient", "|g' - g| / |g|"),
    "L3": _smoothness("|g' - g| over the step", "1 - cosine of g and g'"),
    "L4": _band(
        "often taught: 4 trainings, 4 learning rates",
        "taught: ",
        below=_band("the paper's: losses along the gradient", "paper: ", seeds=SEED_0),
        seeds=SEED_0,
    ),
    "L5": Panel("|g' - g| along the gradient, seed 0", STEP, "log10", seeds=SEED_0),
    "B1": _by_pieces("accuracy"),
    "B2": _by_pieces("test accuracy"),
    "B3": _by_pieces("test accuracy"),
    "B4": _by_pieces("test accuracy"),
    "B5": Panel("test accuracy", STEP, FRACTION),
    "B6": Panel("training loss", STEP, NATS),
    "D1": Panel(
        "training less test accuracy, seed 0",
        "-log10 of the training loss",
        FRACTION,
        seeds=SEED_0,
    ),
    "D2": Panel("test accuracy with batch norm", "probability of dropout", FRACTION),
    "D3": Panel("ratio of variances, median over units", LAYER),
    "P2": Panel("test accuracy by the place of a norm", LAYER, FRACTION),
    "P6": Panel(
        "|gamma| of the channels, in order, seed 0",
        "share of channels",
        "|gamma|",
        seeds=SEED_0,
    ),
    **{f"Z{number}": RATES for number in (1, 4, 5, 6, 7, 8)},
    "Z3": Panel("test accuracy by contrast", "factor of the contrast", FRACTION),
    "H1": Panel("test accuracy, brighter images", "added to each pixel", FRACTION),
    "H2": Panel("accuracy under attack (FGSM)", "strength", FRACTION),
    "H3": Panel("test accuracy by company", "classes that are normalized together", FRACTION),
}
"""By the claim's id. Claims without curves have rows alone."""


def claim_picture(result: ClaimResult, study: StudyResult) -> Figure:
    """Draw a claim: a row for each part, and beside them the curves that it was taken from.

    The check of a definition has no row where there are two panels of curves: they stand side by
    side.
    """
    claim = result.claim
    curves = study.evidence[claim.id].curves
    column = [panel for panel in shown_panels(claim, curves) if panel is not None]
    title = f"{claim.id}  {claim.sentence}"
    with style():
        right = _end_room(column, curves)
        if None not in shown_panels(claim, curves):
            grid = Grid(len(column), PANEL_INCHES, rights=(right, right))
            figure, panels = page(title, _footer(result, study), grid)
        else:
            figure, panels = _with_rows(result, study, title, len(column), right)
        for axes, panel in zip(panels, column, strict=True):
            _draw_curves(axes, panel, panel.chosen(curves))
    return figure


def shown_panels(claim: Claim, curves: Mapping[str, Points]) -> list[Panel | None]:
    """Return the panels of a claim's picture in their order; None stands for the rows."""
    column = PANELS[claim.id].column if curves and claim.id in PANELS else []
    return [*column] if column and _has_no_rows(claim) else [None, *column]


def _has_no_rows(claim: Claim) -> bool:
    """Return whether a claim's picture is two panels of curves side by side, and no rows."""
    is_check = all(isinstance(part.rule, Definition) for part in claim.parts)
    return is_check and claim.id in PANELS and len(PANELS[claim.id].column) == 2


def _end_room(column: Sequence[Panel], curves: Mapping[str, Points]) -> float:
    """Return the room that the labels at the ends of curves need."""
    names = [name for panel in column for name in _ends(panel, panel.chosen(curves))]
    widths = (size(fitted(one, END_LABEL_INCHES))[0] for one in names)
    return LEADER + max(widths, default=0.0) + 0.15


def _with_rows(
    result: ClaimResult, study: StudyResult, title: str, panels: int, right: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row for each part; and axes beside them, one below the other.

    Args:
        result, study: of the claim.
        title: of the figure.
        panels: how many axes.
        right: room for the labels at the ends of curves.
    """
    labels = [fitted(text, PART_INCHES) for text in _labels(result)]
    heights = [size(label)[1] + BETWEEN_PARTS for label in labels]
    left = max(size(label)[0] for label in labels) + 0.25
    least = stacked_height(max(panels, 1), PANEL_INCHES)
    grid = Grid(1, max(least, sum(heights)), lefts=(left, 0), rights=(0, 0.3))
    if panels:
        grid = dataclasses.replace(grid, panels=2, lefts=(left, AXIS_ROOM), rights=(0.3, right))
    figure, (rows, *others) = page(title, _footer(result, study), grid)
    values = study.evidence[result.claim.id].values
    _draw_rows(rows, result, values, labels, heights)
    return figure, [one for axes in others for one in stacked(axes, panels)]


def _labels(result: ClaimResult) -> Iterator[str]:
    """Yield what stands beside the row of each part."""
    for part in result.claim.parts:
        judgment = result.judgments[part.name]
        number, _, _ = measured(part.rule, judgment).partition(", n =")  # n is in the footer
        yield f"{part.name}\n{number}\n{judgment.verdict.upper()}"


def _footer(result: ClaimResult, study: StudyResult) -> str:
    counts = {judgment.n for judgment in result.judgments.values()}
    n = " to ".join(map(str, sorted({min(counts), max(counts)})))
    surprise = f", {result.surprise}" if result.surprise else ""
    expected = f"expected: {result.claim.expected}{surprise}"
    return (
        f"{result.verdict} ({expected}) · n = {n} · budget {study.budget} · {study.machine}\n"
        f"Measured: {result.claim.statistic}. {marks_words(result.claim)}".strip()
    )


def marks_words(claim: Claim) -> str:
    """Write what the marks of a claim's rows are; nothing where its picture has no rows."""
    if _has_no_rows(claim):
        return ""
    if any(isinstance(part.rule, Exact) for part in claim.parts):
        return "Grey: rounding. Dashed: above this, the claim is contradicted."
    if all(isinstance(part.rule, Definition) for part in claim.parts):
        return "Circles: seeds, at 1 where the check of the definition holds, else at 0."
    return (
        "Grey: supported, where the whole interval lies in it. Circles: seeds; bar: the 95 % "
        "interval of their mean."
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
    settle(axes, "x", is_log=is_log, intervals=ROW_TICKS)
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


def _ends(panel: Panel, curves: Mapping[str, Points]) -> dict[str, str]:
    """Return the labels of a panel, each with the curve at whose end it stands."""
    ends: dict[str, str] = {}
    for name in curves:
        base = _base(name, panel)
        if not panel.is_band:
            ends |= {} if _is_thin(name, panel) else {name: name}
        elif name == f"{base}, highest":
            ends[base] = name
    return ends


def _draw_curves(axes: Axes, panel: Panel, curves: Mapping[str, Points]) -> None:
    """Draw the curves of a panel, labelled at their ends."""
    strokes: dict[str, Stroke] = {}
    for name, points in curves.items():
        drawn = strokes.setdefault(_base(name, panel), stroke(len(strokes)))
        if _is_thin(name, panel):
            thin_curve(axes, points, drawn)
            continue
        line = curve(axes, points, drawn)
        if panel.is_scatter:
            line.set(linestyle="none", markevery=1)
        if panel.is_band:
            line.set(marker="", linewidth=EDGE_SHARE * drawn.width)
    for base, drawn in strokes.items() if panel.is_band else ():
        low, high = (curves[f"{base}, {end}"] for end in ("lowest", "highest"))
        steps, lows, highs = [x for x, _ in low], [y for _, y in low], [y for _, y in high]
        axes.fill_between(steps, lows, highs, color=drawn.colour, alpha=0.3, lw=0, zorder=1)
    ends = [
        EndLabel(fitted(label, END_LABEL_INCHES), *curves[name][-1], strokes[_base(name, panel)])
        for label, name in _ends(panel, curves).items()
    ]
    panel_title(axes, panel.title, panel.y)
    axes.set_xlabel(panel.x)
    settle(axes, "x", is_log=panel.is_log_x)
    if panel.x_ticks:
        left, right = axes.get_xlim()  # ticks beyond them would widen the axis
        axes.set_xticks([tick for tick in panel.x_ticks if left <= tick <= right])
    settle(axes, "y")
    label_ends(axes, ends)


def _is_thin(name: str, panel: Panel) -> bool:
    return any(name.endswith(one) for one in panel.thin)


def _base(name: str, panel: Panel) -> str:
    """Return the name that a curve shares with those drawn beside it."""
    return name.rpartition(", ")[0] if panel.thin or panel.is_band else name
