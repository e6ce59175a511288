"""A picture inside a web page: each panel of a figure as an SVG element of its own.

A figure is drawn for slides, twelve inches wide. On a page its panels stand side by side, on a
phone one below the other, in the colours and with the text of the page around them:

- black becomes `currentColor`, and every other colour a variable (`COLOURS`), which the page sets
  for light and for dark screens;
- texts stay texts: they can be searched, and the file is small;
- ids are those that something refers to, each with a prefix: a page holds many pictures.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from bnrun.show.plot_style import style

COLOURS: Mapping[str, tuple[str, str]] = {
    "#ddaa33": ("#c08a00", "#ddaa33"),
    "#bb5566": ("#bb5566", "#e88a9a"),
    "#004488": ("#004488", "#82b4ff"),
    "#66ccee": ("#2299bb", "#66ccee"),
    "#117733": ("#117733", "#5cc27e"),
    "#aa77bb": ("#9560a8", "#cfa3de"),
    "#ee7733": ("#d2601e", "#ee8a4c"),
    "#882255": ("#882255", "#de7fae"),
    "#666666": ("#666666", "#a0a4aa"),
    "#444444": ("#444444", "#c4c8cd"),
    "#e0e0e0": ("#e0e0e0", "#3a3e44"),
    "#e2e2e2": ("#e2e2e2", "#3c4149"),
}
"""The colours of pictures, and what stands for each on light and on dark ground."""

WIDEST_INCHES = 6.4
"""A wider panel is made narrower: on a phone its text would be too small."""
NARROWEST_INCHES = 2.2
"""Least width of what lies between the axes of such a panel."""
FEW_TICKS = 3
"""Ticks of such a panel."""
MARGIN_POINTS = 6.0
DECIMALS = 2
"""Of coordinates, in points."""

_NUMBER = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"#([\w-]+)")
_SPACE = re.compile(r"\s+")
_NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)")
_GEOMETRY = ("d", "x", "y", "width", "height", "transform")
_PAGE_STYLE = re.compile(r"(font-family|font-size: 14px)[^;]*(; )?")
"""What the page's style sheet says of every text of a picture."""

Box = tuple[float, float, float, float]
"""Left, top, width and height, in points from the left upper corner of the figure."""


@dataclass(frozen=True)
class Drawing:
    """A panel of a picture for a page.

    Attributes:
        title: the panel's own; may be empty.
        width, height: in points.
        content: the elements within `<svg>`.
    """

    title: str
    width: float
    height: float
    content: str


def drawings(figure: Figure, prefix: str) -> list[Drawing]:
    """Return the panels of a figure, and its legend, for a page. The figure is changed by this.

    Args:
        figure: drawn by `pictures`.
        prefix: of the ids, unique on the page.
    """
    FigureCanvasAgg(figure)
    with style(), matplotlib.rc_context({"svg.fonttype": "none"}):
        for axes in figure.axes:
            axes.tick_params(labelleft=True)  # a row's name may be left to the panel beside it
            _narrow(axes)
        boxes = [_box(figure, artist) for artist in (*figure.axes, *figure.legends)]
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    root = _without_namespaces(ET.fromstring(buffer.getvalue()))
    names = [f"axes_{number}" for number, _ in enumerate(figure.axes, start=1)]
    names += [f"legend_{number}" for number, _ in enumerate(figure.legends, start=1)]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    titles += ["legend"] * len(figure.legends)
    parts = {element.get("id", ""): element for element in root.iter()}
    return [
        Drawing(title, box[2], box[3], "".join(_content(parts, name, box, f"{prefix}-{number}-")))
        for number, (name, title, box) in enumerate(zip(names, titles, boxes, strict=True), start=1)
    ]


def _narrow(axes: Axes) -> None:
    """Make a wide panel so narrow that it fits, with what stands beside it."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    inches = figure.get_figwidth()
    (x, y, width, height) = axes.get_position().bounds
    beside = _box(figure, axes)[2] / 72 - width * inches
    if beside + width * inches > WIDEST_INCHES:
        room = max(WIDEST_INCHES - beside, NARROWEST_INCHES)
        axes.set_position((x, y, min(width, room / inches), height))
        locator = axes.xaxis.get_major_locator()
        if isinstance(locator, LogLocator):
            locator.set_params(numticks=FEW_TICKS)
        elif isinstance(locator, MaxNLocator):
            locator.set_params(nbins=FEW_TICKS)


def _box(figure: Figure, artist: Artist) -> Box:
    """Return the place of axes, or of a legend, with all that belongs to them."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    bounds = artist.get_tightbbox(renderer)
    assert bounds is not None
    points = 72 / figure.dpi
    top = 72 * figure.get_figheight() - points * bounds.y1
    left, width, height = (points * one for one in (bounds.x0, bounds.width, bounds.height))
    margin = MARGIN_POINTS
    return left - margin, top - margin, width + 2 * margin, height + 2 * margin


def _without_namespaces(root: ET.Element) -> ET.Element:
    """Return SVG as HTML holds it: names without their namespaces."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in list(element.attrib):
            element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)
    return root


def _content(parts: Mapping[str, ET.Element], name: str, box: Box, prefix: str) -> Iterator[str]:
    """Yield a part of the drawing, moved to the left upper corner, and what it refers to."""
    part = parts[name]
    inside = {element.get("id") for element in part.iter()}
    needed = dict.fromkeys(_references(part))
    yield f'<g transform="translate({-box[0]:.{DECIMALS}f} {-box[1]:.{DECIMALS}f})">'
    outside = [parts[one] for one in needed if one not in inside]
    if outside:
        yield "<defs>"
        for element in outside:
            yield from _written([element], needed, prefix)
        yield "</defs>"
    yield from _written([part], needed, prefix)
    yield "</g>"


def _references(part: ET.Element) -> Iterator[str]:
    """Yield the ids that a part refers to."""
    for element in part.iter():
        for attribute in ("href", "clip-path"):
            yield from _REFERENCE.findall(element.get(attribute, ""))


def _written(
    elements: Sequence[ET.Element], needed: Mapping[str, None], prefix: str
) -> Iterator[str]:
    """Yield elements as text; groups that say nothing are left out, but for what is in them."""
    for element in elements:
        attributes = dict(_attributes(element, needed, prefix))
        if element.tag == "g" and not attributes:
            yield from _written(list(element), needed, prefix)
            continue
        named = "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())
        text = _escaped(element.text or "") if element.tag in ("text", "tspan") else ""
        yield f"<{element.tag}{named}>{text}"
        yield from _written(list(element), needed, prefix)
        yield f"</{element.tag}>"


def _attributes(
    element: ET.Element, needed: Mapping[str, None], prefix: str
) -> Iterator[tuple[str, str]]:
    """Yield the attributes that count, short and in the page's colours."""
    for name, value in element.attrib.items():
        written = value
        if name == "id":
            written = prefix + value if value in needed else ""
        elif name in ("href", "clip-path"):
            written = value.replace("#", f"#{prefix}")
        elif name == "style":
            written = _COLOUR.sub(_page_colour, _PAGE_STYLE.sub("", value)).strip("; ")
        elif name in _GEOMETRY:
            written = _NUMBER.sub(_rounded, _SPACE.sub(" ", _NO_TURN.sub("", value)).strip())
        if written:
            yield name, written


def _page_colour(match: re.Match[str]) -> str:
    colour = match[0]
    if colour == "#000000":
        return "currentColor"
    return f"var(--c-{colour[1:]})" if colour in COLOURS else colour


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.{DECIMALS}f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    for one, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(one, written)
    return text
