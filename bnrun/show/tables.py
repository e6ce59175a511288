"""The one way to build a table: kinds of columns, and the space around and between them.

    found = table(label("check"), number("largest error"), gap=3)
    found.add_row("first update", "2e-16")

A label is never cut, a number stands to the right, and text folds where a line is too narrow.
"""

from collections.abc import Iterable

from rich import box
from rich.table import Column, Table
from rich.text import Text


def label(heading: str | Text = "") -> Column:
    """Return a column of words that are never wrapped or cut."""
    return Column(heading, no_wrap=True)


def number(heading: str | Text = "", *, fold: bool = False) -> Column:
    """Return a column of numbers, aligned to the right; `fold` lets them and their heading wrap."""
    if fold:
        return Column(heading, justify="right", overflow="fold")
    return Column(heading, justify="right", no_wrap=True)


def text(heading: str | Text = "", *, min_width: int | None = None) -> Column:
    """Return a column of text that wraps, and breaks words that are longer than a line."""
    return Column(heading, overflow="fold", min_width=min_width)


def table(
    *columns: Column, gap: int = 2, margin: int = 0, title: str | Text | None = None
) -> Table:
    """Build an empty table with a line below its headings.

    Args:
        columns: from `label`, `number` and `text`.
        gap: characters between two columns, at least 1.
        margin: characters left of the first column: 0, 1 or 2. A table with a margin has an empty
            line above its headings and one below its last row, too.
        title: a line above the table.
    """
    indent = max(margin - 1, 0)  # rich's edge is one character wide
    return Table(
        *columns,
        box=box.SIMPLE_HEAD,
        padding=(0, gap - 1 - indent, 0, indent),
        show_edge=margin > 0,
        pad_edge=indent > 0,
        title=title,
        title_justify="left",
    )


def pairs(rows: Iterable[tuple[str | Text, str | Text]]) -> Table:
    """Build a table without headings of names and what belongs to each."""
    grid = Table.grid(label(), text(), padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return grid
