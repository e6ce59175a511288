"""Writing a file so that it is always whole: the old content or the new, never a part of either."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file's content at once or not at all, and force it to disk.

    Raises:
        OSError: it cannot be written. What was there before is whole.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
