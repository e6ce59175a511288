"""Text in lines: it breaks between words, and never inside one."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

COMMAND = "bnrun "
"""How a command begins."""


def fold(text: Text, width: int) -> list[Text]:
    """Return a text as lines of at most `width` columns, all indented as its first line is.

    A word that is longer than a line stays whole, so that a path or a run's name can be copied: the
    terminal breaks it where its window ends, and a file holds it in one piece.
    """
    return [folded for line in text.split("\n", allow_blank=True) for folded in _fold(line, width)]


def _fold(line: Text, width: int) -> Iterator[Text]:
    plain = line.plain
    words = list(re.finditer(r"\S+", plain))
    indent = indentation(plain)
    breaks: list[int] = []
    for word in words[1:]:
        start = breaks[-1] if breaks else indent
        if indent + cell_len(plain[start : word.end()]) > width:
            breaks.append(word.start())
    for number, part in enumerate(line.divide(breaks)):
        part.rstrip()
        if number > 0:
            part.pad_left(indent)
        part.no_wrap, part.overflow = True, "ignore"  # rich would break or cut a long word
        yield part


def longest_word(*texts: Text) -> int:
    """Return the columns that the longest word needs, with the indentation of its line."""
    lines = (line for text in texts for line in text.plain.split("\n"))
    return max(
        (indentation(line) + cell_len(word) for line in lines for word in line.split()), default=0
    )


def indentation(line: str) -> int:
    """Return the spaces that a line begins with."""
    return len(line) - len(line.lstrip())


@dataclass(frozen=True)
class Paragraph:
    """Sentences for rich to print, folded at the width of the terminal."""

    text: str | Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        text = self.text if isinstance(self.text, Text) else Text(self.text)
        yield from fold(text, options.max_width)


@dataclass(frozen=True)
class Note:
    """A message for rich to print: folded, but a command stays whole on its line, to be copied.

    A command follows a colon and a newline: "continue with:\\nbnrun train --resume latest".
    """

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        for line in self.text.split("\n", allow_blank=True):
            if line.plain.startswith(COMMAND):
                line.no_wrap, line.overflow = True, "ignore"
                yield line
            else:
                yield from fold(line, options.max_width)


def in_one_piece(message: str) -> str:
    """Return a message with its command on the same line, for a file or a pipe."""
    return message.replace(f":\n{COMMAND}", f": {COMMAND}")


@dataclass(frozen=True)
class Items:
    """Short texts for rich to print, with commas, on as few lines as hold them; none is broken."""

    items: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        unbroken = (item.replace(" ", "\xa0") for item in self.items)  # where textwrap never breaks
        for line in textwrap.wrap(
            ", ".join(unbroken), options.max_width, break_long_words=False, break_on_hyphens=False
        ):
            yield Text(line.replace("\xa0", " "), no_wrap=True, overflow="ignore")


@dataclass(frozen=True)
class Indented:
    """A view for rich to print further to the right; rich's own padding would cut long words."""

    view: RenderableType
    columns: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        narrower = options.update(width=options.max_width - self.columns)
        for line in Segment.split_lines(console.render(self.view, narrower)):
            yield from (Segment(" " * self.columns), *line, Segment.line())
