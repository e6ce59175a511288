"""Any view of the terminal as plain blocks, for a page: paragraphs, and tables of texts.

So a page says what the terminal says, in the same words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.show.console import as_text
from bnrun.show.folding import Indented, Items, Paragraph
from bnrun.show.tables import Table

PAGE_WIDTH = 100
"""Columns of a view that is neither a paragraph nor a table."""


@dataclass(frozen=True)
class PlainTable:
    """A table of texts.

    Attributes:
        caption: what it is about.
        headings: of the columns.
        are_numbers: for each column, whether its cells are figures.
        rows: each with a cell for each column; or one text, which stands across all columns.
    """

    caption: str
    headings: tuple[str, ...]
    are_numbers: tuple[bool, ...]
    rows: tuple[tuple[str, ...] | str, ...]

    @property
    def has_headings(self) -> bool:
        """Return whether any column has a heading."""
        return any(self.headings)


Block = str | PlainTable


def blocks(view: RenderableType, caption: str = "") -> Iterator[Block]:
    """Yield the paragraphs and tables of a view.

    Args:
        view: what a function of `show` returned.
        caption: of the tables that have no title.
    """
    match view:
        case Group():
            for part in view.renderables:
                yield from blocks(part, caption)
        case Indented():
            yield from blocks(view.view, caption)
        case Table():
            yield _plain(view, caption)
        case Items():
            yield ", ".join(view.items)
        case Paragraph() | Text() | str():
            text = _text(view.text if isinstance(view, Paragraph) else view)
            yield from [text] if text else []
        case _:
            yield as_text(view, PAGE_WIDTH)


def _plain(table: Table, caption: str) -> PlainTable:
    rows = (
        _text(row) if isinstance(row, Text) else tuple(map(_text, row)) for row in table.rows if row
    )
    return PlainTable(
        caption=_text(table.title or caption),
        headings=tuple(_text(column.heading) for column in table.columns),
        are_numbers=tuple(column.kind == "number" for column in table.columns),
        rows=tuple(row for row in rows if row),
    )


def _text(text: Text | str) -> str:
    return (text.plain if isinstance(text, Text) else text).strip()
