"""The axis of a picture's values: what it holds, what it leaves out, and how it is drawn."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bnrun.learning import GUESSING_ACCURACY, GUESSING_LOSS
from bnrun.show.plot_style import GREY

ORDINARY_LOSS = 2 * GUESSING_LOSS
"""Where some losses are no higher than this, the axis ends before those that are."""
HUGE_LOSS = 100.0
"""Where no loss is ordinary and one is higher than this, the axis is logarithmic."""
FEW_TICKS, MANY_TICKS = 5.0, 100.0
"""Ratios of the ends of a logarithmic axis: below the first, its ticks are as far apart as those of
a linear one; above the second, they are powers of ten alone."""
MIN_RANGE = 0.02
"""Least range of an axis: a smaller one would magnify noise."""


@dataclass(frozen=True)
class Scale:
    """The ends of an axis of values, and whether it is logarithmic."""

    low: float
    high: float
    is_log: bool = False


def scale_of(metric: str, values: Iterable[float]) -> Scale:
    """Return the axis that holds values of a metric, of which there is at least one.

    A loss that is far above that of guessing is left out where other losses are not.
    """
    values = list(values)
    if metric == "loss":
        ordinary = [value for value in values if value <= ORDINARY_LOSS]
        if not ordinary and max(values) > HUGE_LOSS:
            low, high = math.log10(min(values)), math.log10(max(values))
            return Scale(10.0 ** math.floor(low - 0.1), 10.0 ** math.ceil(high + 0.1), is_log=True)
        values = ordinary or values
    low, high = min(values), max(values)
    margin = max(0.05 * (high - low), (MIN_RANGE - (high - low)) / 2)
    return Scale(low - margin, high + margin)


def loss_note(scale: Scale, highest: Mapping[str, float]) -> str:
    """Return a sentence on losses that the axis leaves out, or on its being logarithmic.

    Args:
        scale: the axis of the loss.
        highest: the highest loss of each curve, by its name.
    """
    if scale.is_log:
        return "The axis of the loss is logarithmic."
    out = [f"{name} reaches {_loss(loss)}" for name, loss in highest.items() if loss > scale.high]
    return f"The axis of the loss ends at {scale.high:.2g}: {', '.join(out)}." if out else ""


def _loss(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0e}"


def draw_scale(axes: Axes, name: Literal["x", "y"], scale: Scale) -> None:
    """Give an axis its limits and few, short ticks."""
    axes.set(**{f"{name}scale": "log" if scale.is_log else "linear"})
    axes.set(**{f"{name}lim": (scale.low, scale.high)})
    axis = axes.xaxis if name == "x" else axes.yaxis
    if scale.is_log:
        axis.set_major_locator(LogLocator(numticks=5))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], min_n_ticks=3))


def settle(
    axes: Axes, name: Literal["x", "y"], *, is_log: bool = False, intervals: int = 5
) -> None:
    """Fix the limits of an axis as what is drawn needs them, and give it few, short ticks.

    Args:
        axes, name: the axis.
        is_log: whether it is logarithmic.
        intervals: most intervals between the ticks of a linear axis; two ticks fewer are the least.
    """
    axes.set(**{f"{name}scale": "log" if is_log else "linear"})
    low, high = axes.get_xlim() if name == "x" else axes.get_ylim()  # scaled to what is drawn
    axes.set(**{f"{name}lim": (low, high)})
    axis = axes.xaxis if name == "x" else axes.yaxis
    if is_log:
        axis.set_minor_locator(NullLocator())
    if is_log and high / low > FEW_TICKS:
        subs = (1.0,) if high / low > MANY_TICKS else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(numticks=6, subs=subs))
    else:
        axis.set_major_locator(
            MaxNLocator(intervals, steps=[1, 2, 5, 10], min_n_ticks=intervals - 2)
        )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))


def draw_guessing(axes: Axes, name: Literal["x", "y"], metric: str) -> None:
    """Draw a dotted line at the value that guessing one of the classes reaches."""
    value = GUESSING_LOSS if metric == "loss" else GUESSING_ACCURACY
    draw = axes.axvline if name == "x" else axes.axhline
    draw(value, color=GREY, linewidth=1.5, linestyle=":", zorder=1.5)
