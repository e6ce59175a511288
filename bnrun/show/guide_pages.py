"""The manual in a terminal: Markdown as text, in a pager where there is a screen to page."""

import os
import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from bnrun.show.console import stdout
from bnrun.show.folding import Indented
from bnrun.show.tables import pairs

MAX_WIDTH = 100
"""Columns: longer lines of prose are hard to read."""
CODE_INDENT = 4
"""Columns, less where a code block needs the width."""
_THEME = Theme({"markdown.code": "bold cyan"})  # rich's has a black ground, on white paper too

_LINK = re.compile(r"!?\[(?P<text>[^]]+)]\((?P<target>[^)\s]+)\)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def topics_view(topics: Iterable[tuple[str, str]]) -> RenderableType:
    """Return the list of topics, each with its subject."""
    heading = Text("The pages of the manual; `bnrun guide TOPIC` shows one:\n")
    return Group(heading, Indented(pairs(topics), 2))


def show_page(markdown: str) -> None:
    """Show a page: in the user's pager on a terminal, as plain text elsewhere."""
    console = stdout()
    width = min(console.width, MAX_WIDTH)
    if not console.is_terminal:
        with console.capture() as printed:
            console.print(page_view(markdown), width=width, crop=False)
        lines = (line.rstrip() for line in printed.get().splitlines())  # rich fills lines up
        console.out("\n".join(lines))
        return
    os.environ.setdefault("LESS", "-FRX")  # as git does: less shows colours only with -R
    with console.use_theme(_THEME), console.pager(styles=True):
        console.print(page_view(markdown), width=width, crop=False)


def page_view(markdown: str) -> RenderableType:
    """Return a page for the terminal, where a link to another page is the command that shows it."""
    return _Page(_for_terminal(markdown), hyperlinks=False)


def _for_terminal(markdown: str) -> str:
    parts = _FENCED.split(markdown)  # prose and code blocks take turns
    return "".join(
        part if part.startswith("```") else _LINK.sub(_spell_out, part) for part in parts
    )


def _spell_out(link: re.Match[str]) -> str:
    """Write a link or a picture as a terminal can use it: a relative path leads nowhere there."""
    text, target = link["text"], link["target"]
    if link[0].startswith("!"):
        return f"(Picture: {text}.)"
    if target.startswith("http"):
        return link[0]
    page = re.fullmatch(r"([a-z-]+)\.md(#.*)?", target)
    return f"{text} (`bnrun guide {page[1]}`)" if page else text


class _PlainHeading(Heading):
    """A heading on the left, underlined, so that it shows without colours too."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text
        if self.tag in ("h1", "h2"):
            yield Text("═" * len(self.text) if self.tag == "h1" else "─" * len(self.text))


class _PlainCode(CodeBlock):
    """A code block without a frame, indented as far as its longest line allows.

    A line that is longer than the width stays whole: it is there to be copied.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        text = Syntax("", self.lexer_name, theme="ansi_dark").highlight(code)
        text.rstrip()
        longest = max(map(len, code.splitlines()), default=0)
        indent = max(0, min(CODE_INDENT, options.max_width - longest))
        for line in text.split("\n", allow_blank=True):
            line.pad_left(indent)
            line.no_wrap, line.overflow = True, "ignore"
            yield line


class _Page(Markdown):
    elements = Markdown.elements | {
        "heading_open": _PlainHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }
