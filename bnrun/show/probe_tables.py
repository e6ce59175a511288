"""What probes saw of a run, as a table: the first look, the median and the last."""

import statistics
from collections.abc import Sequence

from rich.console import RenderableType

from bnrun.events import Probed
from bnrun.show.probe_words import QUANTITIES, probes_of, series
from bnrun.show.tables import label, number, table


def probes_table(looks: Sequence[Probed]) -> RenderableType:
    """Show each quantity of each layer: after the first look, the median, and after the last."""
    numbers = map(number, ("first", "median", "last"))
    shown = table(label("probe"), label("quantity"), label("layer"), *numbers)
    for probe in probes_of(looks):
        for quantity in QUANTITIES[probe]:
            for layer, points in series(looks, probe, quantity.name):
                values = [value for _, value in points]
                cells = (values[0], statistics.median(values), values[-1])
                shown.add_row(probe, quantity.name, layer, *(f"{cell:.3g}" for cell in cells))
    return shown
