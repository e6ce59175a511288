"""Pictures in the directory of a run or a comparison: `<name>.svg` and `<name>.png`."""

from collections.abc import Mapping
from pathlib import Path

from bnrun.errors import RunError
from bnrun.runs.atomic_write import write_atomically


def write_picture(folder: Path, name: str, files: Mapping[str, bytes]) -> list[Path]:
    """Write a picture's files, given by format, into a directory; return their paths.

    Raises:
        RunError: one cannot be written. Each that was there before is whole.
    """
    written = []
    for extension, content in files.items():
        path = folder / f"{name}.{extension}"
        try:
            write_atomically(path, content)
        except OSError as error:
            raise RunError(
                f"the picture {path} can't be written: {error.strerror or error}. What was there "
                "before is whole. Fix: make room or allow writing, then ask for it again."
            ) from error
        written.append(path)
    return written
