"""A verdict that stands first, and ends the report where that is taller than the terminal."""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text


@dataclass(frozen=True)
class EndingWithVerdict:
    """A report for rich to print; where it is taller than the terminal, the verdict ends it too."""

    report: RenderableType
    verdict: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the report, and the verdict once more where it has scrolled away."""
        yield self.report
        if console.is_terminal:
            height = len(console.render_lines(self.report, options, pad=False))
            if height >= console.size.height:
                yield from (Text(), self.verdict)
