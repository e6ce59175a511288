"""What norms have learned, by channel: the textbook's two vectors, then a table per norm."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table
from bnrun.show.wording import norm_name
from bnrun.training.gamma_inspection import DEFAULT_EPS, Inspection, NormLayer, Vector

BAR_WIDTH = 8
"""Characters of the longest bar of |gamma|."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SUMMARIES: tuple[tuple[str, Callable[[Sequence[float]], float]], ...] = (
    ("min", min),
    ("median", statistics.median),
    ("max", max),
)


@dataclass(frozen=True)
class GammaTables:
    """The norms of a checkpoint, for rich to print with the characters that the terminal has.

    Args:
        inspection: the norms. The two vectors at the top are the first one's.
        name: what the checkpoint is of.
    """

    inspection: Inspection
    name: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts from top to bottom."""
        plain = options.ascii_only or options.legacy_windows
        inspection = self.inspection
        yield Paragraph(f"{self.name}, after epoch {inspection.epoch}")
        if inspection.recalibrated is not None:
            yield Paragraph(
                f"moving mean and var hold population statistics over {inspection.recalibrated:,} "
                "training images"
            )
        yield Text()
        yield from _textbook_vectors(inspection.layers[0], options.max_width)
        for layer in inspection.layers:
            yield Text()
            yield Paragraph(_title(layer, norm_name(inspection.norm)))
            yield _table(layer, plain)
        yield Text()
        yield from _legend(inspection.layers, "gamma" if plain else "γ")


def _textbook_vectors(layer: NormLayer, width: int) -> Iterator[Text]:
    if layer.gamma or layer.beta:
        yield Text(f"{layer.name}, as the textbook prints it:")
    yield from _vector("gamma", layer.gamma, width)
    yield from _vector("beta", layer.beta, width)


def _legend(layers: Sequence[NormLayer], gamma: str) -> Iterator[Paragraph]:
    """Explain the words of the tables, as far as the tables have them."""
    if any(any(layer.nearly_off) for layer in layers):
        yield Paragraph(f"nearly off: |{gamma}| is at most a tenth of its layer's median")
    if any(layer.moving_var is not None for layer in layers):
        yield Paragraph(
            f"scale: {gamma} / sqrt(moving var + eps), by which prediction multiplies a channel"
        )
    assumed = [layer.name for layer in layers if not layer.eps_stated and layer.moving_var]
    if assumed:
        yield Paragraph(f"no eps is stated by {', '.join(assumed)}: scale assumes {DEFAULT_EPS:g}")


def _vector(name: str, values: Vector, width: int) -> Iterator[Text]:
    """Write a vector as the textbook prints it, flattened, in lines that fit."""
    if values is None:
        return
    cells = [_number(value) for value in values]
    longest = max(map(len, cells))
    per_line = max(1, (width - len("gamma []")) // (longest + 1))
    lines = [
        " ".join(cell.rjust(longest) for cell in cells[start : start + per_line])
        for start in range(0, len(cells), per_line)
    ]
    indent = " " * len("gamma [")
    yield Text(f"{name:5} [" + f"\n{indent}".join(lines) + "]", no_wrap=True)


def _title(layer: NormLayer, norm: str) -> str:
    off = sum(layer.nearly_off)
    channels = f"{layer.channels} channel{'s' if layer.channels != 1 else ''}"
    return f"{layer.name}: {norm}, {channels}" + (f", {off} nearly off" if off else "")


def _table(layer: NormLayer, plain: bool) -> Table:
    gamma, beta = ("gamma", "beta") if plain else ("γ", "β")
    lengths = layer.gamma or layer.effective_scale
    bar = f" |{gamma}|" if layer.gamma else " |scale|" if lengths else ""
    names = ("channel", gamma, beta, "moving\nmean", "moving\nvar", "scale")
    shown = table(*map(number, names), label(bar), label(), split=True)

    scale = layer.effective_scale
    columns = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_var, scale)
    bars = _bars(lengths, plain) if lengths else [""] * layer.channels
    for channel in range(layer.channels):
        shown.add_row(
            str(channel),
            *("-" if column is None else _number(column[channel]) for column in columns),
            bars[channel],
            "nearly off" if layer.nearly_off[channel] else "",
        )
    shown.add_section()
    for name, function in _SUMMARIES:
        shown.add_row(name, *(_summary(function, column) for column in columns))
    return shown


def _bars(values: Sequence[float], plain: bool) -> list[str]:
    """Draw the sizes of values on one scale, with a minus before negative ones."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return [("-" if value < 0 else " ") + _bar(abs(value), largest, plain) for value in values]


def _bar(size: float, largest: float, plain: bool) -> str:
    if not math.isfinite(size) or largest == 0:
        return ""
    if plain:
        return "#" * round(BAR_WIDTH * (size / largest))
    whole, rest = divmod(round(8 * BAR_WIDTH * (size / largest)), 8)
    return ("█" * whole + _EIGHTHS[rest]).rstrip()


def _summary(function: Callable[[Sequence[float]], float], column: Vector) -> str:
    if column is None:
        return "-"
    return _number(math.nan if any(map(math.isnan, column)) else function(column))


def _number(value: float) -> str:
    """Write a number in at most eight characters."""
    size = abs(value)
    if 0 < size < 0.0001 or size >= 99_999:
        return f"{value:.1e}"  # also inf and nan
    return f"{value:.4f}" if size < 99 else f"{value:.1f}"
