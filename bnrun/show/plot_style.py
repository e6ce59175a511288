"""The style that all pictures share: fonts, strokes, curves over epochs; and their files' bytes.

Pictures are made for slides: every text stays 7 points high or more at half the size.

The first four colours are Paul Tol's high-contrast scheme, which colour-blind readers can tell
apart, also on grey copies; the others are from his bright and muted schemes (SRON/EPS/TN/09-002).
Darker strokes are thinner and lie on wider ones. So up to four curves that coincide stay visible,
one inside the other; those of correct implementations do coincide.
"""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bnrun.events import EpochEnded
from bnrun.show.wording import data_name
from bnrun.training_summary import Summary

RED, BLUE, GREY = "#BB5566", "#004488", "#666666"
COLOURS = (
    *("#DDAA33", RED, BLUE, "#000000", "#66CCEE"),
    *("#117733", "#AA77BB", "#EE7733", "#882255"),
)
LINE_POINTS = (3.0, 2.2, 1.7, 1.2, 2.4, 2.4, 2.4, 2.4, 2.4)
"""Width of the line of each colour."""
MARKER_POINTS = (7.5, 6.0, 4.8, 3.6, 6.5, 6.5, 6.5, 6.5, 6.5)
"""Size of the markers of each colour."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ((), (5.0, 1.5), (3.0, 1.5), (2.0, 1.2), (7.0, 1.5, 1.5, 1.5))
"""Lengths of dashes and gaps, in line widths."""
FEW_CURVES = 4
"""Up to so many arms are labelled where their curves end, and have bands."""
FINE = 0.7
"""Width of the strokes of more arms than these, as a share."""
THIN = 0.4
"""Width of a line in the background, as a share of that of the stroke."""

TEXT_POINTS, PANEL_TITLE_POINTS, TITLE_POINTS = 14, 15, 18
NATS, FRACTION = "nats per image", "fraction of images"
"""The units of losses and accuracies."""
PANEL_INCHES = 2.3
"""Height of a panel of curves."""
MARKED_EPOCHS = 15
"""With more epochs than these, only a few of a curve's points are marked."""
MANY_EPOCHS = 60
"""With more epochs than these, lines are half as wide."""
PNG_DPI = 150

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": TEXT_POINTS,
    "axes.titlesize": PANEL_TITLE_POINTS,
    "axes.titlelocation": "left",
    "axes.titlepad": 13,  # the highest tick's number is under the title
    "axes.labelsize": TEXT_POINTS,
    "xtick.labelsize": TEXT_POINTS,
    "ytick.labelsize": TEXT_POINTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#E0E0E0",
    "legend.frameon": False,
    "legend.fontsize": TEXT_POINTS,
    "text.parse_math": False,  # a user's norm may have $ in its name
    "svg.fonttype": "path",  # looks the same where DejaVu Sans is not installed
    "svg.hashsalt": "bnrun",  # otherwise ids, and so the file, differ each time
}

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Stroke:
    """How one of several curves is drawn; the first 45 differ in colour or dashes."""

    colour: str
    width: float
    dashes: tuple[float, ...]
    marker: str
    size: float

    @property
    def line(self) -> dict[str, Any]:
        """Return the stroke without its markers, as keyword arguments of `Axes.plot`."""
        return {
            "color": self.colour,
            "linewidth": self.width,
            "linestyle": (0, self.dashes) if self.dashes else "-",
            "zorder": 3 - self.width / 100,
        }

    @property
    def marked(self) -> dict[str, Any]:
        """Return the stroke as keyword arguments of `Axes.plot`."""
        return self.line | {"marker": self.marker, "markersize": self.size, "markeredgewidth": 0}

    @property
    def thin(self) -> dict[str, Any]:
        """Return the stroke of a line in the background, as keyword arguments of `Axes.plot`."""
        return self.line | {
            "linewidth": THIN * self.width,
            "alpha": 0.6,
            "zorder": self.line["zorder"] - 0.5,
        }


def stroke(number: int, of: int = 1) -> Stroke:
    """Return the stroke of a curve by its number, from 0; of many curves, a finer one."""
    index, share = number % len(COLOURS), FINE if of > FEW_CURVES else 1.0
    return Stroke(
        COLOURS[index],
        share * LINE_POINTS[index],
        DASHES[number % len(DASHES)],
        MARKERS[number % len(MARKERS)],
        share * MARKER_POINTS[index],
    )


@contextmanager
def style() -> Iterator[None]:
    """Return a context that draws in bnrun's style, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # A user's norm may have a name in a script that the font lacks: it shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def points_of(epochs: Sequence[EpochEnded], metric: str) -> Points:
    """Return (epoch, value) for each epoch that has a value of the metric."""
    values = [(epoch.epoch, getattr(epoch, metric)) for epoch in epochs]
    return [(epoch, value) for epoch, value in values if value is not None and math.isfinite(value)]


def curve(axes: Axes, points: Points, stroke: Stroke) -> Line2D:
    """Draw a curve over epochs; mark every epoch, or a few where there are many."""
    (line,) = axes.plot([x for x, _ in points], [y for _, y in points], **stroke.marked)
    line.set_markevery(1 if len(points) <= MARKED_EPOCHS else len(points) // 8)
    if len(points) > MANY_EPOCHS:
        line.set_linewidth(stroke.width / 2)
    return line


def thin_curve(axes: Axes, points: Points, stroke: Stroke) -> None:
    """Draw a curve in the background, such as that of one seed beside the mean."""
    (line,) = axes.plot([x for x, _ in points], [y for _, y in points], **stroke.thin)
    if len(points) > MANY_EPOCHS:
        line.set_linewidth(THIN * stroke.width / 2)


def epoch_axis(axes: Axes, last: float) -> None:
    """Label the axis with whole epochs, from 1 to `last`."""
    margin = min(0.02 * (last - 1), 0.9) if last > 1 else 0.5
    axes.set_xlim(1 - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def write_instead(axes: Axes, text: str) -> None:
    """Write a text in place of axes that have nothing to show."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def provenance(n: str, trials: Sequence[Summary]) -> str:
    """Write where a picture's data comes from: how many trials, on what machine and data."""
    started = [trial for trial in trials if trial.machine]
    machines = dict.fromkeys(trial.machine for trial in started)  # a set that keeps the order
    data = dict.fromkeys(data_name(trial.data) for trial in started)
    return " · ".join([n, *machines, *data])


def render(figure: Figure) -> dict[str, bytes]:
    """Return a picture's files by format; the same picture has the same bytes every time."""
    options: dict[str, dict[str, Any]] = {
        "svg": {"metadata": {"Date": None}},
        "png": {"dpi": PNG_DPI},
    }
    files = {}
    with style():
        for extension, settings in options.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=extension, **settings)
            files[extension] = buffer.getvalue()
    return files
