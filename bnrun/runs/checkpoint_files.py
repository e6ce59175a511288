"""The checkpoint files of a run's directory, read and written.

    checkpoint.pt             after the last finished epoch
    checkpoint-epoch-<n>.pt   after epoch n, where `training.keep_every` keeps it
    checkpoint-population.pt  with population statistics, from `bnrun recalibrate`

They are loaded with torch's `weights_only=True`, which runs no code.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnrun.errors import RunError
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.metrics_file import MetricsFile

LAST = "checkpoint.pt"
POPULATION = "checkpoint-population.pt"
_OF_EPOCH = "checkpoint-epoch-"
_PARTS = {"config": dict, "epochs": list, "model": dict, "attributes": dict}
"""Parts of a checkpoint that every reader needs, and their types."""


def epoch_file(epoch: int) -> str:
    """Return the name of the checkpoint file of an epoch."""
    return f"{_OF_EPOCH}{epoch}.pt"


def read_last_checkpoint(path: Path) -> Mapping[str, Any] | None:
    """Read a run's last checkpoint, or return None where the run has not finished an epoch.

    Raises:
        RunError: it is damaged, or missing though epochs were finished.
    """
    file = path / LAST
    if file.exists():
        return _load(file)
    if MetricsFile(path).count_epochs() > 0:
        raise RunError(f"{file} is missing, though the run has finished epochs.")
    return None


def has_checkpoint(path: Path) -> bool:
    """Return whether a run has a checkpoint of any kind."""
    return bool(_existing(path))


def read_checkpoint(path: Path, which: str) -> Mapping[str, Any]:
    """Read one of a run's checkpoints.

    Args:
        path: the run's directory.
        which: `last`, `population`, or an epoch's number.

    Raises:
        RunError: the run has no such checkpoint (the message lists what it has), or it is damaged.
    """
    files = _existing(path)
    if not files:
        read_last_checkpoint(path)  # raises where there should be one
        raise RunError(f"{path} has no checkpoint: it has finished no epoch.")
    if which in files:
        return _load(files[which])
    if "last" in files:
        last = _load(files["last"])
        number = str(len(last["epochs"]))
        if which == number:
            return last
        files[number] = files["last"]
    names = ", ".join(sorted(files, key=lambda name: (not name.isdigit(), len(name), name)))
    raise RunError(
        f"{path} has no checkpoint '{which}'. It has: {names}. `training.keep_every` keeps those "
        "of more epochs; `bnrun recalibrate` makes `population`."
    )


def write_population_checkpoint(path: Path, state: Mapping[str, Any]) -> Path:
    """Write a checkpoint with population statistics into a run's directory; return its file.

    An older one is replaced, at once or not at all. `checkpoint.pt` stays as it is.

    Raises:
        RunError: it cannot be written.
    """
    return write_weights(path / POPULATION, state)


def write_weights(file: Path, state: Mapping[str, Any]) -> Path:
    """Write a network's state to a file of the user's choice; return the file.

    What is there is replaced, at once or not at all.

    Raises:
        RunError: it cannot be written.
    """
    try:
        write_atomically(file, serialize(state))
    except OSError as error:
        raise RunError(f"{file} can't be written: {error.strerror or error}.") from error
    return file


def serialize(state: Mapping[str, Any]) -> bytes:
    """Return a checkpoint as `torch.save` writes it.

    It is made in memory first, where a full disk cannot cut it short.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def _existing(path: Path) -> dict[str, Path]:
    """Return the checkpoint files that are there, by the name that a user calls them."""
    files = {"last": path / LAST, "population": path / POPULATION}
    for file in path.glob(f"{_OF_EPOCH}*.pt"):
        files[file.stem.removeprefix(_OF_EPOCH)] = file
    return {name: file for name, file in files.items() if file.is_file()}


def _load(file: Path) -> Mapping[str, Any]:
    import torch

    from bnrun.training.checkpoint import FORMAT

    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not whole
        # torch's own message advises to load the file in a way that runs code from it.
        raise RunError(
            f"{file} is damaged, or not a checkpoint of bnrun: torch cannot read it as plain data "
            f"({type(error).__name__}). It was left as it is."
        ) from error
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise RunError(f"{file} is not a checkpoint of this version of bnrun.")
    for name, kind in _PARTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise RunError(f"{file} is damaged: it has no '{name}'. It was left as it is.")
    return checkpoint
