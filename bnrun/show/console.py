"""The two streams: results on stdout; progress, notices and errors on stderr."""

import contextlib
import io
import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from bnrun.show.folding import Note, in_one_piece


def stdout() -> Console:
    """Return the console for results."""
    return Console(highlight=False)


def stderr() -> Console:
    """Return the console for progress, notices and errors: the stderr of this moment."""
    return Console(file=sys.stderr, highlight=False)


def as_text(view: RenderableType, width: int) -> str:
    """Return a view as it looks in so many columns, without colours."""
    file = io.StringIO()
    Console(file=file, width=width, no_color=True, highlight=False).print(view, crop=False)
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


def layer_output_on_stderr() -> contextlib.AbstractContextManager[object]:
    """Return a context that sends what a user's own layer prints to stderr.

    Stdout is for results: with `--json` it must stay one document.
    """
    return contextlib.redirect_stdout(sys.stderr)


def show_view(view: RenderableType) -> None:
    """Write a view to stdout; a word that is longer than a line is left whole."""
    stdout().print(view, crop=False)


def show_line(text: str) -> None:
    """Write a line of a result to stdout; it is never wrapped, so that paths can be copied."""
    stdout().print(text, soft_wrap=True, markup=False)


def show_notice(sentence: str) -> None:
    """Write a sentence to stderr: folded on a terminal, in one piece in a file or a pipe."""
    _show_sentence(Text(sentence if stderr().is_terminal else in_one_piece(sentence)))


def show_error(message: str) -> None:
    """Write an error to stderr: folded on a terminal, in one piece in a file or a pipe."""
    _show_sentence(Text("error: ", style="bold red").append(message, style="not bold default"))


def _show_sentence(text: Text) -> None:
    console = stderr()
    if console.is_terminal:
        console.print(Note(text), crop=False)
    else:
        console.print(text, soft_wrap=True)


def show_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout, without rich, which would wrap its lines."""
    print(json.dumps(document, indent=2), flush=True)
