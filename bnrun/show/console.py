"""The two streams: results on stdout, progress and errors on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text


def stdout() -> Console:
    """Return the console for results."""
    return Console(highlight=False)


def stderr() -> Console:
    """Return the console for progress, notices and errors.

    It keeps the stream of this moment: fetching data redirects `sys.stderr`, and the progress
    that is shown meanwhile must not go there.
    """
    return Console(file=sys.stderr, highlight=False)


def show_error(message: str) -> None:
    """Show what went wrong, on stderr."""
    text = Text("error: ", style="bold red").append(message, style="not bold default")
    stderr().print(text, soft_wrap=True)


def show_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout (rich would wrap its lines)."""
    print(json.dumps(document, indent=2), flush=True)
