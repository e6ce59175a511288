"""Writing a checkpoint beside those that training keeps."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnrun.errors import RunError
from bnrun.runs.atomic import replace


def write_population_checkpoint(path: Path, state: Mapping[str, Any]) -> Path:
    """Keep a state with population statistics in a run's directory; return its file.

    An older one is replaced, whole or not at all; `checkpoint.pt` stays as it is.

    Raises:
        RunError: it cannot be written.
    """
    file = path / "checkpoint-population.pt"
    try:
        replace(file, serialize(state))
    except OSError as error:
        raise RunError(f"{file} can't be written: {error.strerror or error}.") from error
    return file


def serialize(state: Mapping[str, Any]) -> bytes:
    """Return what `torch.save` writes; in memory first, where a full disk can't cut it short."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()
