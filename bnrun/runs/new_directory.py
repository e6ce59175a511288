"""New directories for results: named after the time, and never one that exists already."""

import re
from datetime import UTC, datetime
from pathlib import Path

from bnrun.errors import RunError

TIME_FORMAT = "%Y%m%dT%H%M%SZ"
"""The UTC time at the start of a directory's name."""


def plain(text: str) -> str:
    """Return a text as directory names hold it: ASCII letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def make_directory(out: Path, stem: str, name: str, content: str) -> Path:
    """Make `<out>/<UTC time>-<stem>/` with one text file in it, and return the directory.

    A second one of the same second and stem is `<UTC time>-<stem>-2`.

    Raises:
        RunError: the directory cannot be made or written.
    """
    first = f"{datetime.now(UTC).strftime(TIME_FORMAT)}-{plain(stem)}"
    path, copies = out / first, 1
    try:
        while True:
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                if not path.exists():  # then `out`, or a folder above it, is a file
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
