"""Lines at the bottom of a terminal that are drawn again and again; what is printed stands above.

A line is never wider than the terminal, since a wrapped line could not be found again to be erased.
Where the terminal has become narrower since, it has wrapped the lines that stood there (as tmux and
today's terminals do): so many rows are erased.

A process learns of a new width late: from tmux, after up to a quarter of a second. Lines that it
draws meanwhile are too wide, and do not wrap, since wrapping is off while they are drawn. So the
rows that the resize made and those drawn since are together what the lines need at the new width,
however often they were drawn. While a window is dragged, only the start of each line is drawn, so
that it need not wrap at the next width.

One row may stay: near the top of its window, tmux moves the rows that a resize adds into its
scrollback, where nothing can be erased, and shows them again when the window grows.
"""

import sys
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Self

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderHook,
    RenderResult,
)
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.segment import ControlType, Segment
from rich.text import Text

WRAP_OFF, WRAP_ON = (
    Segment(code, None, [(ControlType.CARRIAGE_RETURN,)])  # any type: rich has none for this
    for code in ("\x1b[?7l", "\x1b[?7h")
)
SETTLE_SECONDS = 0.5
"""How long a width must stay before lines take all of it: cautious, twice what tmux waits."""


class LiveLines(RenderHook):
    """Draws lines below everything that this console, stdout and stderr print; a context manager.

    Drawn by the thread that calls `draw`, and by no other: one that drew while a line is printed
    would wipe out lines above.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lines: Sequence[Text] = ()
        self._drawn_widths: list[int] = []
        self._columns = console.width
        self._settled = 0.0

    def __enter__(self) -> Self:
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (FileProxy(self.console, stream) for stream in self._streams)
        self.console.push_render_hook(self)
        self.console.show_cursor(False)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.draw(())
        finally:  # after a second Ctrl-C, too
            self.console.show_cursor(True)
            self.console.pop_render_hook()
            sys.stdout, sys.stderr = self._streams

    def draw(self, lines: Sequence[Text]) -> None:
        """Draw these lines in place of those that are there; as many as the terminal has room for.

        Args:
            lines: each narrower than the terminal.
        """
        self._lines = lines[: max(1, self.console.height - 1)]
        with self.console:  # one write, so that nothing flickers
            self.console.print(Control())

    def print(self, view: RenderableType) -> None:
        """Print a view above the lines; a word that is longer than a line is left whole."""
        self.console.print(view, crop=False)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put what the console prints between erasing the lines and drawing them again."""
        erased = self._erased()
        lines = [line.copy() for line in self._lines]
        for line in lines:
            line.rstrip()
            line.truncate(self._room())
        self._drawn_widths = [line.cell_len for line in lines]
        return [erased, *renderables, _Drawing(lines)]

    def _room(self) -> int:
        """Return the columns that a line may take: half of a width that has just changed."""
        if self.console.width != self._columns:
            self._columns = self.console.width
            self._settled = monotonic() + SETTLE_SECONDS
        return self._columns if monotonic() >= self._settled else self._columns // 2

    def _erased(self) -> Control:
        """Return what erases the lines that were drawn, and puts the cursor where they started."""
        columns = max(1, self.console.width)
        rows = sum(max(1, -(-width // columns)) for width in self._drawn_widths)
        erase = (ControlType.ERASE_IN_LINE, 2)
        up = ((ControlType.CURSOR_UP, 1), erase) * (rows - 1)
        return Control(ControlType.CARRIAGE_RETURN, erase, *up) if rows else Control()


class _Drawing:
    """Lines without a newline after the last one, which do not wrap."""

    def __init__(self, lines: Iterable[Text]) -> None:
        self._lines = list(lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._lines:
            return
        yield WRAP_OFF
        for number, line in enumerate(self._lines):
            if number:
                yield Segment.line()
            yield from line.render(console, end="")
        yield WRAP_ON
