"""The layout of a picture: title, panels, labels at the ends of curves or a legend, and a footer.

All sizes are in inches, and all texts are measured before they are placed. So nothing overlaps and
nothing leaves the canvas, however long a name is, and no layout has to be searched by drawing.
"""

import dataclasses
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bnrun.show.plot_style import PNG_DPI, TEXT_POINTS, TITLE_POINTS, Stroke

WIDTH = 12.0
"""Width of a figure."""
EDGE = 0.15
"""Room between the canvas and what is on it."""
AXIS_ROOM = 1.0
"""Room left of a panel, for its ticks and its unit."""
TITLE_ROOM, TICKS_ROOM = 0.48, 0.68
"""Room above a panel for its title, and below it for its ticks and what they count."""
LEADER, LEADER_POINTS = 0.35, 1.2
"""Length of the line from the end of a curve to its label, and its width."""
ONE_HEIGHT = 0.03
"""Curves that end so close to each other count as ending at one height."""
END_LABEL_INCHES = 1.9
"""Width to which a label at the end of a curve is wrapped."""
LEGEND_HANDLE = 0.75
"""Width of the stroke of a legend's entry, with the room around it."""

_NAME_BREAKS = (
    re.compile(r"(?<=[/:,\s-])|(?=\()"),
    re.compile(r"(?<=_)|(?<=[a-z])(?=[A-Z])"),
)
"""Where names break: between their parts; if these are too wide, between their words."""


@dataclass(frozen=True)
class Grid:
    """Panels of one height in two columns; of an odd number, the first takes a whole row.

    Attributes:
        panels: how many.
        height: of each.
        lefts, rights: room beside the panels of each column.
        side: room at the right side of the figure, for a legend.
    """

    panels: int
    height: float
    lefts: tuple[float, float] = (AXIS_ROOM, AXIS_ROOM)
    rights: tuple[float, float] = (0.15, 0.15)
    side: float = 0.0

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return (self.panels + 1) // 2

    @property
    def column_width(self) -> float:
        """Return the width of a panel."""
        return (WIDTH - 2 * EDGE - self.side - sum(self.lefts) - sum(self.rights)) / 2

    def at_least(self, height: float) -> "Grid":
        """Return the grid with panels so high that all rows together have this height."""
        least = height / self.rows - TITLE_ROOM - TICKS_ROOM
        return dataclasses.replace(self, height=max(self.height, least))

    def places(self) -> Iterator[tuple[int, float, float]]:
        """Yield the row, the left edge and the width of each panel."""
        width = self.column_width
        first = EDGE + self.lefts[0]
        second = first + width + self.rights[0] + self.lefts[1]
        cells = [(row, x, width) for row in range(self.rows) for x in (first, second)]
        if self.panels % 2:
            cells[:2] = [(0, first, second + width - first)]
        yield from cells


def page(title: str, footer: str, grid: Grid) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title, a small footer, and the axes of its panels, row by row."""
    text_width = WIDTH - 2 * EDGE
    title, footer = fitted(title, text_width, TITLE_POINTS), fitted(footer, text_width)
    above = EDGE + size(title, TITLE_POINTS)[1] + 0.1
    row = TITLE_ROOM + grid.height + TICKS_ROOM
    height = above + grid.rows * row + size(footer)[1] + EDGE + 0.05
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    left = EDGE / WIDTH
    figure.suptitle(title, x=left, y=1 - EDGE / height, ha="left", va="top", fontsize=TITLE_POINTS)
    small = {"fontsize": TEXT_POINTS, "color": "#444444"}
    figure.supxlabel(footer, x=left, y=EDGE / height, ha="left", va="bottom", **small)
    axes = []
    for place, x, width in grid.places():
        y = height - above - place * row - TITLE_ROOM - grid.height
        axes.append(figure.add_axes((x / WIDTH, y / height, width / WIDTH, grid.height / height)))
    return figure, axes


def stacked(axes: Axes, count: int) -> list[Axes]:
    """Replace axes by several, one above the other; each has its title and its ticks."""
    figure, box, (_, inches) = axes.get_figure(), axes.get_position(), _inches(axes)
    assert isinstance(figure, Figure)
    between = TITLE_ROOM + TICKS_ROOM
    height = (inches - (count - 1) * between) / count
    share = box.height / inches
    axes.remove()
    return [
        figure.add_axes(
            (box.x0, box.y0 + share * at * (height + between), box.width, share * height)
        )
        for at in reversed(range(count))
    ]


def stacked_height(count: int, height: float) -> float:
    """Return how high axes must be that `stacked` replaces by several of a height."""
    return count * height + (count - 1) * (TITLE_ROOM + TICKS_ROOM)


def panel_title(axes: Axes, title: str, unit: str = "") -> None:
    """Write a panel's title above it, and its unit beside it."""
    axes.set_title(title, x=-AXIS_ROOM / _inches(axes)[0])
    axes.set_ylabel(unit)


def _inches(axes: Axes) -> tuple[float, float]:
    """Return the width and the height of axes."""
    box, inch = axes.get_window_extent(), axes.get_figure().dpi  # type: ignore[union-attr]
    return box.width / inch, box.height / inch


def size(text: str, points: float = TEXT_POINTS) -> tuple[float, float]:
    """Return the width and the height of a text."""
    artist = Text(0, 0, text, fontsize=points)
    artist.set_figure(_measuring_figure())
    box = artist.get_window_extent()
    return box.width / PNG_DPI, box.height / PNG_DPI


@cache
def _measuring_figure() -> Figure:
    figure = Figure(dpi=PNG_DPI)  # letters are rounded to pixels: at 72 they were 2 % narrower
    FigureCanvasAgg(figure)
    return figure


def fitted(text: str, width: float, points: float = TEXT_POINTS) -> str:
    """Return a text with its lines wrapped to a width."""
    columns = int(width * 72 / (0.5 * points))
    while True:
        wrapped = "\n".join(textwrap.fill(line, columns) for line in text.splitlines())
        if columns == 1 or size(wrapped, points)[0] <= width:
            return wrapped
        columns -= 1


def fitted_name(name: str, width: float) -> str:
    """Return a name with its lines wrapped to a width, where a reader of code would break it."""
    for breaks in _NAME_BREAKS:
        name = "\n".join(_packed(breaks.split(line), width) for line in name.splitlines())
    return fitted(name, width)


def _packed(pieces: Sequence[str], width: float) -> str:
    """Return pieces of a name in lines that are as long as the width allows."""
    lines = [""]
    for piece in pieces:
        if size(lines[-1] + piece)[0] <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return "\n".join(filter(None, lines))


def legend(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], side: float, top: float
) -> None:
    """Put a legend of one column at the right side of the figure, in the order given."""
    drawn = figure.legend(
        handles,
        ["label"] * len(labels),
        loc="upper left",
        bbox_to_anchor=(1 - (EDGE + side) / WIDTH, top),
        handlelength=2.6,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.6,
        alignment="left",
    )
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)  # afterwards, as matplotlib before 3.10 leaves out labels with a _


@dataclass(frozen=True)
class EndLabel:
    """A label for the end of a curve, at a point of the axes' data."""

    text: str
    x: float
    y: float
    stroke: Stroke


def label_ends(axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Write labels right of the axes, each by the end of its curve, moved apart where they meet.

    The axes have their place and their limits. Of curves that end at one height, the first is
    labelled above the others.
    """
    width, height = _inches(axes)
    to_share = axes.transData + axes.transAxes.inverted()
    ends: list[float] = []
    for label in labels:
        end = height * to_share.transform((label.x, label.y))[1]
        ends.append(next((other for other in ends if abs(other - end) < ONE_HEIGHT), end))
    order = sorted(range(len(labels)), key=lambda number: (ends[number], -number))
    heights = [size(labels[number].text)[1] + 0.04 for number in order]
    centres = spread([ends[number] for number in order], heights, height)
    for number, centre in zip(order, centres, strict=True):
        label = labels[number]
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(1 + LEADER / width, centre / height),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 0,
                "color": label.stroke.colour,
                "linestyle": label.stroke.line["linestyle"],
                "linewidth": LEADER_POINTS,
            },
        )


def spread(centres: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Return centres, moved as little as needed for no overlap; both ascend from 0 to `room`.

    Neighbours that overlap become a block around the mean of their wishes (pool adjacent
    violators). Blocks stay within the room, where all of them fit.
    """
    blocks: list[list[int]] = []
    starts: list[float] = []
    for number in range(len(centres)):
        block = [number]
        start = _block_start(block, centres, heights, room)
        while blocks and start < starts[-1] + sum(heights[one] for one in blocks[-1]):
            block = blocks.pop() + block
            starts.pop()
            start = _block_start(block, centres, heights, room)
        blocks.append(block)
        starts.append(start)
    found = []
    for block, start in zip(blocks, starts, strict=True):
        for number in block:
            found.append(start + heights[number] / 2)
            start += heights[number]
    return found


def _block_start(
    block: Sequence[int], centres: Sequence[float], heights: Sequence[float], room: float
) -> float:
    """Return where a block of labels begins that is as near as can be to what they wish."""
    wishes, below = 0.0, 0.0
    for number in block:
        wishes += centres[number] - heights[number] / 2 - below
        below += heights[number]
    return max(0.0, min(wishes / len(block), room - below))
