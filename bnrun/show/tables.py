"""The one way to build a table, and the one place where a table fits the width it is printed at.

    errors = table(label("check"), number("largest error"), gap=3)
    errors.add_row("first update", "2e-16")

No figure and no word is ever cut. Where the width does not hold a table, in this order: the gaps
between columns shrink; headings fold; text folds, then labels; and in the end either each row
becomes a block of lines (a row is a record with a name), or the last columns continue in another
table below (a column is a series that is read downwards: `split=True`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from bnrun.show.folding import fold, indentation, longest_word

Kind = Literal["label", "number", "text"]
Row = tuple[Text, ...]

GAP = 2
"""Characters between two columns, where nothing else is asked."""
LEAST_FOLDED: dict[Kind, int] = {"label": 12, "number": 0, "text": 20}
"""Characters that a line of a folded cell may have at least; shorter ones are hard to read."""
INDENT = "  "
"""Indentation of a row's figures below its name, where rows are blocks of lines."""
FOLDS: tuple[tuple[Kind | Literal["heading"], ...], ...] = (
    (),
    ("heading",),
    ("heading", "text"),
    ("heading", "text", "label"),
)
"""What folds where a table is too wide: more and more."""
STEPS = ((3, 0), (2, 0), (2, 1), (2, 2), (1, 2), (1, 3))
"""How a table gives way, step by step: its largest gap, and which of `FOLDS` folds."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, and what its cells are.

    Args:
        heading: one or more lines above the cells.
        kind: a `label` folds last, a `number` never; a `text` folds first.
    """

    heading: Text
    kind: Kind

    def widths(self, cells: Sequence[Text]) -> list[int]:
        """Return the least width for each of `FOLDS`."""
        whole = _width(*cells)
        folded = max(min(whole, LEAST_FOLDED[self.kind]), longest_word(*cells))
        return [
            max(
                longest_word(self.heading) if "heading" in folds else _width(self.heading),
                folded if self.kind in folds else whole,
            )
            for folds in FOLDS
        ]


def label(heading: str | Text = "") -> Column:
    """Return a column of words, which fold only where nothing else can give way."""
    return Column(_as_text(heading), "label")


def number(heading: str | Text = "") -> Column:
    """Return a column of figures, aligned to the right, which never fold."""
    return Column(_as_text(heading), "number")


def text(heading: str | Text = "") -> Column:
    """Return a column of text, which folds between words."""
    return Column(_as_text(heading), "text")


@dataclass
class Table:
    """A table for rich to print; built by `table` and filled by its methods."""

    columns: tuple[Column, ...]
    gap: int = GAP
    margin: int = 0
    title: Text | None = None
    split: bool = False
    rows: list[Row | Text] = field(default_factory=list)
    """The rows; a text stands across all columns: a line, or the title of a section."""

    def add_row(self, *cells: str | Text) -> None:
        """Add a row; cells that are left out at its end are empty."""
        missing = len(self.columns) - len(cells)
        self.rows.append((*map(_as_text, cells), *(Text() for _ in range(missing))))

    def add_section(self, title: str | Text = "") -> None:
        """Begin a section: after an empty line, unless it is the first, and with its title."""
        if self.rows:
            self.rows.append(Text())
        if title:
            self.rows.append(_as_text(title))

    def add_line(self, line: str | Text) -> None:
        """Add a line across all columns, on what the row before it is about."""
        self.rows.append(_as_text(line))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the table as it fits the width."""
        width = options.max_width
        if self.title is not None:
            yield from fold(self.title, width)
        if self.margin:
            yield Text()
        yield from self._lines(width, "-" if options.ascii_only else "─")
        if self.margin:
            yield Text()

    def _lines(self, width: int, rule: str) -> Iterator[Text]:
        """Yield the table in the first way that fits."""
        rows = [row for row in self.rows if not isinstance(row, Text)]
        widths = [
            column.widths([row[at] for row in rows]) for at, column in enumerate(self.columns)
        ]
        for gap, folds in STEPS:
            space = _Space(min(gap, self.gap), min(gap, self.margin))
            room = width - space.around(len(widths))
            least = [column[folds] for column in widths]
            if sum(least) <= room:
                most = [column[max(folds - 1, 0)] for column in widths]
                yield from self._grid(_shrink(most, least, room), space, width, rule)
                return
        parts = list(self._parts(width, [column[1] for column in widths]))
        if self.split and len(parts) > 1:
            for at, part in enumerate(parts):
                yield from [Text()] if at > 0 else []
                yield from part._lines(width, rule)
        else:
            yield from self._blocks(width)

    def _grid(
        self, widths: Sequence[int], space: "_Space", width: int, rule: str
    ) -> Iterator[Text]:
        """Yield the headings, a rule below them, and the rows, in columns of at most `widths`."""
        headings = _fold_row([column.heading for column in self.columns], widths)
        tallest = max(map(len, headings))
        headings = [[Text()] * (tallest - len(cell)) + cell for cell in headings]
        rows = [row if isinstance(row, Text) else _fold_row(row, widths) for row in self.rows]
        # A folded cell may need less than it was given.
        cells = [headings, *(row for row in rows if not isinstance(row, Text))]
        widths = [max(_width(*row[at]) for row in cells) for at in range(len(widths))]
        if any(column.heading for column in self.columns):
            yield from self._row_lines(headings, widths, space, "bold")
            length = sum(widths) + space.around(len(widths)) - space.before_rule
            yield Text(" " * space.before_rule + rule * length)
        for row in rows:
            if isinstance(row, Text):
                yield from fold(row, width)
            else:
                yield from self._row_lines(row, widths, space)

    def _row_lines(
        self, row: list[list[Text]], widths: Sequence[int], space: "_Space", style: str = ""
    ) -> Iterator[Text]:
        """Yield the lines of a row whose cells are folded."""
        for height in range(max(map(len, row))):
            line = Text(" " * space.margin, style=style)
            for at, (cell, column) in enumerate(zip(row, self.columns, strict=True)):
                part = cell[height].copy() if height < len(cell) else Text()
                part.align("right" if column.kind == "number" else "left", widths[at])
                line.append(" " * (space.gap if at > 0 else 0)).append_text(part)
            line.rstrip()
            yield line

    def _parts(self, width: int, widths: Sequence[int]) -> Iterator["Table"]:
        """Yield tables that fit: the first column in each, and as many others as have room."""
        first, *others = range(len(widths))
        chosen = [first]
        for at in others:
            needed = sum(widths[one] for one in [*chosen, at])
            space = _Space(1, min(self.margin, 1)).around(len(chosen) + 1)
            if len(chosen) > 1 and needed + space > width:
                yield self._part(chosen)
                chosen = [first]
            chosen.append(at)
        yield self._part(chosen)

    def _part(self, chosen: Sequence[int]) -> "Table":
        """Return the table of these columns, without rows that have nothing in them."""
        part = Table(tuple(self.columns[at] for at in chosen), self.gap, self.margin)
        for row in self.rows:
            if isinstance(row, Text):
                part.rows.append(row)
            elif any(row[at] for at in chosen[1:]):
                part.rows.append(tuple(row[at] for at in chosen))
        while part.rows and isinstance(part.rows[-1], Text):
            part.rows.pop()
        return part

    def _blocks(self, width: int) -> Iterator[Text]:
        """Yield each row as a block: its name on a line, then what the columns hold of it."""
        first, *columns = self.columns
        for row in self.rows:
            if isinstance(row, Text):
                yield from fold(row, width)
                continue
            name, *cells = row
            yield from fold(_named(first, name) if first.kind == "number" else name, width)
            indent = " " * indentation(name.plain) + INDENT
            items = [_named(*pair) for pair in zip(columns, cells, strict=True) if pair[1]]
            yield from _flow(items, indent, width)


@dataclass(frozen=True)
class _Space:
    """The space between two columns, and left of the first one."""

    gap: int
    margin: int

    @property
    def before_rule(self) -> int:
        """Return the space left of the rule, which ends as far beyond the last column."""
        return min(self.margin, 1)

    def around(self, columns: int) -> int:
        """Return all space in a line of so many columns, as long as the rule."""
        return self.gap * (columns - 1) + 2 * self.margin - self.before_rule


def table(
    *columns: Column,
    gap: int = GAP,
    margin: int = 0,
    title: str | Text | None = None,
    split: bool = False,
) -> Table:
    """Build an empty table with a line below its headings.

    Args:
        columns: from `label`, `number` and `text`.
        gap: characters between two columns: 1, 2 or 3.
        margin: characters left of the first column: 0, 1 or 2. A table with a margin has an empty
            line above its headings and one below its last row, too.
        title: a line above the table.
        split: where the width does not hold all columns, continue with the last ones in a table
            below, instead of writing each row as a block of lines.
    """
    return Table(columns, gap, margin, None if title is None else _as_text(title), split)


def pairs(rows: Iterable[tuple[str | Text, str | Text]]) -> Table:
    """Build a table without headings of names and what belongs to each."""
    shown = table(label(), text())
    for row in rows:
        shown.add_row(*row)
    return shown


def _as_text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _width(*texts: Text) -> int:
    return max((cell_len(line.plain) for text in texts for line in text.split("\n")), default=0)


def _fold_row(cells: Sequence[Text], widths: Sequence[int]) -> list[list[Text]]:
    return [fold(cell, width) for cell, width in zip(cells, widths, strict=True)]


def _shrink(most: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths that fill the room at most: the widest give way first, down to their least."""
    widths = list(most)
    while sum(widths) > room:
        wider = [at for at, width in enumerate(widths) if width > least[at]]
        widths[max(wider, key=widths.__getitem__)] -= 1
    return widths


def _named(column: Column, cell: Text) -> Text:
    """Write a cell on one line, after its column's heading."""
    line = Text(" ").join(cell.split("\n"))
    heading = " ".join(column.heading.plain.split())
    return Text(f"{heading}: ").append_text(line) if heading else line


def _flow(items: Iterable[Text], indent: str, width: int) -> Iterator[Text]:
    """Yield lines of items, as many on each as it holds; a longer item folds."""
    line = Text(indent)
    for item in items:
        between = "" if line.plain == indent else "  "
        if between and cell_len(line.plain + between + item.plain) > width:
            yield from fold(line, width)
            line, between = Text(indent), ""
        line.append(between).append_text(item)
    if line.plain != indent:
        yield from fold(line, width)
