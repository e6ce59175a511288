"""The sheet that pictures are drawn on: its head, strokes and footer; and its files' bytes.

Colours are Paul Tol's: the high-contrast scheme, which colour-blind readers tell apart and grey
copies keep apart, and the bright scheme's cyan (SRON/EPS/TN/09-002). The darker a stroke, the
thinner, and thin ones lie on wide ones: up to five curves that coincide, as those of right
implementations do, stay visible one inside the other.
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
from bnrun.summary import Summary

RED, BLUE, GREY = "#BB5566", "#004488", "#666666"
COLOURS = ("#DDAA33", RED, BLUE, "#000000", "#66CCEE")
WIDTHS = (5.0, 3.2, 2.1, 1.2, 7.5)  # of lines, in points
SIZES = (10.0, 7.6, 5.6, 3.8, 13.0)  # of markers
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ((), (5.0, 1.0), (3.0, 1.5), (1.5, 2.0), (6.0, 1.0), (6.0, 1.5, 1.0, 1.5))  # in widths

MANY = 60  # epochs, from which on lines are thin
WIDTH = 9.0  # inches
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
    "text.parse_math": False,  # the name of a user's norm is no formula
    "svg.fonttype": "path",  # looks the same where DejaVu Sans is not installed
    "svg.hashsalt": "bnrun",  # else ids, and so the file, differ each time
}

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Stroke:
    """How one of several curves is drawn. The first thirty differ in colour or dashes."""

    colour: str
    width: float
    dashes: tuple[float, ...]
    marker: str
    size: float

    @property
    def options(self) -> dict[str, Any]:
        """Return the stroke as `Axes.plot` takes it."""
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
    """Return the stroke of the curve with a number, counted from 0."""
    five = number % len(COLOURS)
    dashes, marker = DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)]
    return Stroke(COLOURS[five], WIDTHS[five], dashes, marker, SIZES[five])


def style() -> AbstractContextManager[None]:
    """Draw in bnrun's style for a while, whatever the user's own matplotlibrc says."""
    return matplotlib.style.context(["default", _STYLE])


def sheet(footer: str, *, height: float) -> Figure:
    """Return a figure with a small footer and no axes, to be filled within `style()`."""
    figure = Figure(figsize=(WIDTH, height))
    figure.set_layout_engine("constrained", h_pad=0.07, w_pad=0.07)
    figure.supxlabel(_wrapped(footer, 116), x=0.01, ha="left", fontsize=9, color="#444444")
    return figure


def head(
    figure: Figure, title: str, handles: Sequence[Artist] = (), labels: Sequence[str] = ()
) -> None:
    """Lay the title over the figure, and the key below it."""
    longest = max(map(len, labels), default=0)
    legend = figure.legend(
        handles,
        ["label"] * len(labels),
        loc="outside upper left",
        ncols=max(1, min(len(labels), 104 // (longest + 11))),
        handlelength=4,
        borderpad=0.1,
        # The title is the key's: layouts would put another one over it.
        title=_wrapped(title, 78),
        title_fontsize=13,
        alignment="left",
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # only now: before 3.10, one that begins with _ is left out


def points_of(epochs: Sequence[EpochEnded], metric: str) -> Points:
    """Return (epoch, value) wherever a metric was taken."""
    values = [(epoch.epoch, getattr(epoch, metric)) for epoch in epochs]
    return [(epoch, value) for epoch, value in values if value is not None]


def curve(axes: Axes, points: Points, drawn: Stroke) -> Line2D:
    """Draw a curve over epochs, with markers as far as they stay apart."""
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    (line,) = axes.plot(epochs, values, **drawn.options)
    line.set_markevery(max(1, len(points) // 10))
    if len(points) > MANY:
        line.set_linewidth(drawn.width / 2)
    return line


def epoch_axis(axes: Axes, last: float) -> None:
    """Count whole epochs along the axis, from 1 to `last`."""
    room = max(0.03 * last, 0.25 if last > 1 else 0.5)
    axes.set_xlim(1 - room, last + room)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def say(axes: Axes, text: str) -> None:
    """Say why there is nothing to be seen in the axes."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def provenance(n: str, trials: Sequence[Summary]) -> str:
    """Say what a picture shows of trials: how many they are, on what machine and data."""
    machines = dict.fromkeys(trial.machine for trial in trials)  # a set that keeps their order
    data = dict.fromkeys(data_name(trial.data) for trial in trials)
    return " · ".join([n, *machines, *data])


def render(figure: Figure) -> dict[str, bytes]:
    """Return the picture's files, by format. The same picture has the same bytes every time."""
    options: dict[str, dict[str, Any]] = {
        "svg": {"metadata": {"Date": None}},
        "png": {"dpi": PNG_DPI},
    }
    files = {}
    with style(), warnings.catch_warnings():
        # A user's norm may be named in a script that the font lacks: it then shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # where all things are by now: else each draw moves them
        for kind, how in options.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **how)
            files[kind] = buffer.getvalue()
    return files


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
