"""Pictures of what probes saw of a run: a panel for each quantity, a curve for each layer."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnrun.events import Probed
from bnrun.show.plot_layout import LEADER, EndLabel, Grid, label_ends, page, panel_title, size
from bnrun.show.plot_style import PANEL_INCHES, curve, stroke, style
from bnrun.show.probe_words import QUANTITIES, Points, Quantity, series
from bnrun.show.value_axis import settle


def probe_picture(looks: Sequence[Probed], probe: str, title: str, footer: str) -> Figure:
    """Draw what one probe saw, over the steps."""
    quantities = QUANTITIES[probe]
    drawn = {one: dict(series(looks, probe, one.name)) for one in quantities}
    layers = list(dict.fromkeys(layer for found in drawn.values() for layer in found))
    with style():
        right = LEADER + max(size(layer)[0] for layer in layers) + 0.15
        grid = Grid(len(quantities), PANEL_INCHES, rights=(right, right))
        figure, panels = page(title, footer, grid)
        for axes, (quantity, found) in zip(panels, drawn.items(), strict=True):
            panel_title(axes, quantity.title)
            _draw(axes, quantity, [(layers.index(layer), layer, found[layer]) for layer in found])
    return figure


def _draw(axes: Axes, quantity: Quantity, found: Sequence[tuple[int, str, Points]]) -> None:
    """Draw the curves of the layers, each with its stroke, labelled at its end."""
    ends = []
    for number, layer, points in found:
        shown = [
            (step, value)
            for step, value in points
            if math.isfinite(value) and (value > 0 or not quantity.is_log)
        ]
        if shown:
            curve(axes, shown, stroke(number))
            ends.append(EndLabel(layer, *shown[-1], stroke(number)))
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    settle(axes, "y", is_log=quantity.is_log)
    label_ends(axes, ends)
