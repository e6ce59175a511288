"""New directories for results: named after the moment, never one that is there already."""

import re
from datetime import UTC, datetime
from pathlib import Path

from bnrun.errors import RunError


def plain(text: str) -> str:
    """Return a text as names of directories hold it: ASCII letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def make_directory(out: Path, stem: str, name: str, content: str) -> Path:
    """Make `<out>/<UTC time>-<stem>/` with one text file in it, and return it.

    A second one of the same moment and stem is `<UTC time>-<stem>-2`.

    Raises:
        RunError: the directory cannot be made or written.
    """
    first = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{plain(stem)}"
    path, copies = out / first, 1
    try:
        while True:
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                if not path.exists():  # it is `out`, or a folder above it, that is a file
                    raise
                copies += 1
                path = out / f"{first}-{copies}"
        (path / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"the directory {path} can't be made: {error.strerror or error}. "
            "`--out DIR` puts it elsewhere."
        ) from error
    return path
