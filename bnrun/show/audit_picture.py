"""An audit as a picture: layer by layer, how far statistics are off, and how outputs drift."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnrun.show.plot_layout import LEADER, EndLabel, Grid, label_ends, page, panel_title, size
from bnrun.show.plot_style import PANEL_INCHES, curve, stroke, style, write_instead
from bnrun.show.value_axis import settle

if TYPE_CHECKING:
    from bnrun.health.report import Audit

MEAN, DEVIATION, OUTPUT = "mean", "deviation", "output"
MOST_LETTERS = 30
"""Letters of all names up to which the axis has the names of the norms; of more, their numbers."""


def audit_picture(audit: "Audit") -> Figure:
    """Draw an audit: moving against population statistics, and drift of outputs, by norm."""
    from bnrun.health.report import parts_of_distance

    evidence = audit.evidence
    off = {norm.name: parts for norm in evidence.norms if (parts := parts_of_distance(norm))}
    statistics = {
        MEAN: {name: mean for name, (mean, _) in off.items()},
        DEVIATION: {name: deviation for name, (_, deviation) in off.items()},
    }
    title = f"{evidence.network}: {audit.verdict}"
    footer = (
        f"{sum(evidence.batches):,} examples; distances in deviations: of the population's "
        "statistics (left), of each norm's output (right)"
    )
    with style():
        right = LEADER + size(DEVIATION)[0] + 0.15
        figure, (left, axes) = page(title, footer, Grid(2, PANEL_INCHES, rights=(right, right)))
        panel_title(left, "moving against population statistics")
        panel_title(axes, "drift of outputs")
        instead = "No norm keeps moving statistics here."
        if not evidence.has_data:
            instead = "No data: add --data."
        _draw(left, statistics, instead)
        _draw(axes, {OUTPUT: evidence.outputs.drift}, instead)
    return figure


def _draw(axes: Axes, series: Mapping[str, Mapping[str, float]], instead: str) -> None:
    """Draw a curve for each series over the norms, labelled at its end; without norms, text."""
    names = list(next(iter(series.values())))
    if not names:
        write_instead(axes, instead)
        return
    ends = []
    for place, (name, values) in enumerate(series.items()):
        points = list(enumerate(values.values(), start=1))
        curve(axes, points, stroke(place))
        ends.append(EndLabel(name, *points[-1], stroke(place)))
    if len("".join(names)) <= MOST_LETTERS:
        axes.set_xticks(range(1, len(names) + 1), names)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlabel("norm")
    settle(axes, "y", is_log=False)
    axes.set_ylim(bottom=0)
    label_ends(axes, ends)
