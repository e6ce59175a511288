"""The style that all pictures share: figure, title, strokes and footer; and their files' bytes.

Colours are Paul Tol's high-contrast scheme, which colour-blind readers can tell apart, also on grey
copies, and the cyan of his bright scheme (SRON/EPS/TN/09-002). Darker strokes are thinner and lie
on wider ones. So up to five curves that coincide stay visible, one inside the other; those of
correct implementations do coincide.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bnrun.events import EpochEnded
from bnrun.show.wording import data_name
from bnrun.training_summary import Summary

RED, BLUE, GREY = "#BB5566", "#004488", "#666666"
COLOURS = ("#DDAA33", RED, BLUE, "#000000", "#66CCEE")
LINE_POINTS = (5.0, 3.2, 2.1, 1.2, 7.5)
"""Width of the line of each colour."""
MARKER_POINTS = (10.0, 7.6, 5.6, 3.8, 13.0)
"""Size of the markers of each colour."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ((), (5.0, 1.0), (3.0, 1.5), (1.5, 2.0), (6.0, 1.0), (6.0, 1.5, 1.0, 1.5))
"""Lengths of dashes and gaps, in line widths."""

MANY_EPOCHS = 60
"""With more epochs than these, lines are half as wide."""
FIGURE_INCHES = 9.0
"""Width of a figure."""
PNG_DPI = 150

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E0E0E0",
    "legend.frameon": False,
    "text.parse_math": False,  # a user's norm may have $ in its name
    "svg.fonttype": "path",  # looks the same where DejaVu Sans is not installed
    "svg.hashsalt": "bnrun",  # otherwise ids, and so the file, differ each time
}

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Stroke:
    """How one of several curves is drawn; the first thirty differ in colour or dashes."""

    colour: str
    width: float
    dashes: tuple[float, ...]
    marker: str
    size: float

    @property
    def options(self) -> dict[str, Any]:
        """Return the stroke as keyword arguments of `Axes.plot`."""
        return {
            "color": self.colour,
            "linewidth": self.width,
            "linestyle": (0, self.dashes) if self.dashes else "-",
            "marker": self.marker,
            "markersize": self.size,
            "markeredgewidth": 0,
            "zorder": 3 - self.width / 100,
        }


def stroke(number: int) -> Stroke:
    """Return the stroke of a curve by its number, from 0."""
    index = number % len(COLOURS)
    dashes, marker = DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)]
    return Stroke(COLOURS[index], LINE_POINTS[index], dashes, marker, MARKER_POINTS[index])


def style() -> AbstractContextManager[None]:
    """Return a context that draws in bnrun's style, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", _STYLE])


def new_figure(footer: str, *, height: float) -> Figure:
    """Return a figure with a small footer and no axes, to be filled within `style()`.

    Args:
        footer: where the picture's data comes from.
        height: in inches.
    """
    figure = Figure(figsize=(FIGURE_INCHES, height))
    figure.set_layout_engine("constrained", h_pad=0.07, w_pad=0.07)
    figure.supxlabel(_wrapped(footer, 116), x=0.01, ha="left", fontsize=9, color="#444444")
    return figure


def add_title(
    figure: Figure, title: str, handles: Sequence[Artist] = (), labels: Sequence[str] = ()
) -> None:
    """Put the title over the figure, and below it a key that names the handles."""
    longest = max(map(len, labels), default=0)
    legend = figure.legend(
        handles,
        ["label"] * len(labels),
        loc="outside upper left",
        ncols=max(1, min(len(labels), 104 // (longest + 11))),
        handlelength=4,
        borderpad=0.1,
        # The title belongs to the key: a figure's own title would be laid over the key.
        title=_wrapped(title, 78),
        title_fontsize=13,
        alignment="left",
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # afterwards, as matplotlib before 3.10 leaves out labels with a _


def points_of(epochs: Sequence[EpochEnded], metric: str) -> Points:
    """Return (epoch, value) for each epoch that has a value of the metric."""
    values = [(epoch.epoch, getattr(epoch, metric)) for epoch in epochs]
    return [(epoch, value) for epoch, value in values if value is not None]


def curve(axes: Axes, points: Points, stroke: Stroke) -> Line2D:
    """Draw a curve over epochs, with markers that stay apart from one another."""
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    (line,) = axes.plot(epochs, values, **stroke.options)
    line.set_markevery(max(1, len(points) // 10))
    if len(points) > MANY_EPOCHS:
        line.set_linewidth(stroke.width / 2)
    return line


def epoch_axis(axes: Axes, last: float) -> None:
    """Label the axis with whole epochs, from 1 to `last`."""
    margin = max(0.03 * last, 0.25 if last > 1 else 0.5)
    axes.set_xlim(1 - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def write_instead(axes: Axes, text: str) -> None:
    """Write a text in place of axes that have nothing to show."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def provenance(n: str, trials: Sequence[Summary]) -> str:
    """Write where a picture's data comes from: how many trials, on what machine and data."""
    machines = dict.fromkeys(trial.machine for trial in trials)  # a set that keeps the order
    data = dict.fromkeys(data_name(trial.data) for trial in trials)
    return " · ".join([n, *machines, *data])


def render(figure: Figure) -> dict[str, bytes]:
    """Return a picture's files by format; the same picture has the same bytes every time."""
    options: dict[str, dict[str, Any]] = {
        "svg": {"metadata": {"Date": None}},
        "png": {"dpi": PNG_DPI},
    }
    files = {}
    with style(), warnings.catch_warnings():
        # A user's norm may have a name in a script that the font lacks: it shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # freezes the layout, which each drawing would move
        for extension, settings in options.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=extension, **settings)
            files[extension] = buffer.getvalue()
    return files


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
