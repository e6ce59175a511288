"""Rows of a live display, fitted to a width: a label, a bar, figures.

What does not fit gives way by importance: first the bar of all rows, then a row's figures, the
least important one first, last the end of a long label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from rich.text import Text

GAP = "  "
MAX_WIDTH = 80
"""Columns that rows use at most: a terminal that becomes narrower wraps the longer ones."""
MAX_BAR = 24
MIN_BAR = 6
FIGURES_BESIDE_BAR = 40
"""Columns that figures need before there is room for a bar."""
FIGURES_BESIDE_LABEL = 23
"""Columns that figures keep beside a long label: "01:23 left  loss 0.123"."""
MIN_LABEL = 10
PACE_SECONDS = 0.5
"""Least time from which a pace is judged."""


@dataclass(frozen=True)
class Figure:
    """A figure of a row, and its rank: the higher, the sooner it gives way."""

    text: str
    rank: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a live display.

    Attributes:
        label: what the row is of. Labels of all rows share a column.
        share: how much is done, from 0 to 1; None in a row without a bar.
        figures: in the order in which they stand.
        is_name: whether the label is a name, which may lose its middle. A count may not.
    """

    label: str = ""
    share: float | None = None
    figures: Sequence[Figure] = ()
    is_name: bool = False


def fit(rows: Sequence[Row], width: int, *, ascii_only: bool = False) -> list[Text]:
    """Return each row as one line that is narrower than a terminal of this width.

    Args:
        rows: from top to bottom.
        width: of the terminal, in columns.
        ascii_only: whether the terminal can write ASCII alone.
    """
    room = min(width, MAX_WIDTH) - 1  # a line that fills a terminal may wrap
    longest = max((len(row.label) for row in rows), default=0)
    counts = max((len(row.label) for row in rows if not row.is_name), default=0)
    label = min(longest, max(MIN_LABEL, counts, room - FIGURES_BESIDE_LABEL))
    bar = min(MAX_BAR, room - label - 2 * len(GAP) - FIGURES_BESIDE_BAR)
    if bar < MIN_BAR or all(row.share is None for row in rows):
        bar = 0
    return [_line(row, room, label, bar, ascii_only) for row in rows]


def _line(row: Row, room: int, label: int, bar: int, ascii_only: bool) -> Text:
    line = _start(row, room, label, bar, ascii_only)
    for figure in _fitting(row.figures, room - len(line)):
        line.append((GAP if line else "") + figure.text)
    if len(line) > room:
        line.truncate(room, overflow="ellipsis")
    return line


def _start(row: Row, room: int, label: int, bar: int, ascii_only: bool) -> Text:
    """Return the label and the bar of a row, in their columns; without these if that helps."""
    text = shortened(row.label, label)
    plain = Text(text, no_wrap=True)
    if not row.label and row.share is None:
        return plain
    columns = [Text(text.ljust(label))] if label else []
    columns += [_bar(row.share, bar, ascii_only)] if bar else []
    aligned = Text(GAP, no_wrap=True).join(columns)
    if row.share is None:
        helped = row.figures
    else:  # a bar, or figures below one another, are worth more than the third figure
        helped = [] if bar else [figure for figure in row.figures if figure.rank <= 1]
    starts = (aligned, plain)
    return max(starts, key=lambda start: len(_fitting(helped, room - len(start))))


def _fitting(figures: Sequence[Figure], room: int) -> list[Figure]:
    """Return the figures that there is room for, the most important one in any case."""
    kept = list(figures)
    while len(kept) > 1 and sum(len(GAP) + len(figure.text) for figure in kept) > room:
        kept.remove(max(kept, key=lambda figure: figure.rank))
    return kept


def _bar(share: float | None, width: int, ascii_only: bool) -> Text:
    if share is None:
        return Text(" " * width)
    done = round(min(max(share, 0.0), 1.0) * width)
    full, rest = ("#", "-") if ascii_only else ("━", "─")
    return Text.assemble((full * done, "bar.complete"), (rest * (width - done), "bar.back"))


def shortened(label: str, width: int) -> str:
    """Return a label without its middle where it is too long: a trial's seed is at its end."""
    if len(label) <= width:
        return label
    end = (width - 1) // 2
    return f"{label[: width - 1 - end]}…{label[len(label) - end :]}"


class TimeLeft:
    """How long counted work will still take, at the pace since its first count."""

    def __init__(self) -> None:
        self._start: tuple[float, float] | None = None
        self._seconds: float | None = None

    def count(self, done: float, total: float) -> None:
        """Take note of what is done by now."""
        now = monotonic()
        if self._start is None or done < self._start[1]:
            self._start = (now, done)
            self._seconds = None
        elif done > self._start[1] and now > self._start[0] + PACE_SECONDS:
            started, before = self._start
            self._seconds = (total - done) * (now - started) / (done - before)

    def __str__(self) -> str:
        return f"{'--:--' if self._seconds is None else duration(self._seconds)} left"


def duration(seconds: float) -> str:
    """Write a time in minutes and seconds, "01:23", with hours where it has any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def counted(done: int, total: int) -> str:
    """Write "  7/235": as wide as it will be at the end, so that nothing beside it moves."""
    return f"{done:>{len(str(total))}}/{total}"


def figures_of(*texts: str | None) -> list[Figure]:
    """Return figures in the order of their importance, those that are None left out."""
    present = (text for text in texts if text is not None)
    return [Figure(text, rank) for rank, text in enumerate(present)]
