"""Finding a run's directory, and reading it to go on with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnrun.config import KEYS, Config, resolve
from bnrun.errors import RunError, did_you_mean
from bnrun.runs.write import Run


def find(run: str, out: Path) -> Path:
    """Return the directory of a run, given as a path or as a name below `out`.

    Raises:
        RunError: there is none.
    """
    candidates = (Path(run), out / run)
    for path in candidates:
        if (path / "config.yaml").is_file():
            return path
    if run and any(path.is_dir() for path in candidates):
        raise RunError(f"{run} is no run directory: it has no config.yaml.")
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    raise RunError(
        f"there is no run '{run}', neither as a path nor below {out}/.{did_you_mean(run, names)}"
    )


def reopen(path: Path) -> tuple[Run, Mapping[str, Any] | None]:
    """Return a run to go on with, and its checkpoint; None where no epoch was finished.

    Raises:
        ConfigError: its config.yaml is not acceptable.
        RunError: another process is training in it; or its checkpoint is missing, damaged, or of
            another config. Nothing is written.
    """
    run = Run(path, resolve(path / "config.yaml").config)
    run.hold()  # before the checkpoint is read: another process may be writing the next one
    checkpoint = read_checkpoint(path)
    if checkpoint is not None:
        _refuse_other_config(path, checkpoint, run.config)
    return run, checkpoint


def read_checkpoint(path: Path) -> Mapping[str, Any] | None:
    """Read a run's checkpoint; None where the run has not finished an epoch.

    Raises:
        RunError: it is missing though epochs were finished, or damaged.
    """
    import torch

    from bnrun.training.state import FORMAT

    file = path / "checkpoint.pt"
    if not file.exists():
        metrics = path / "metrics.jsonl"
        if metrics.exists() and b'{"event": "epoch_ended"' in metrics.read_bytes():
            raise RunError(f"{file} is missing, though the run has finished epochs.")
        return None
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not whole
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"{file} is damaged, or no checkpoint of bnrun's: {first}. It was left as it is."
        ) from error
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise RunError(f"{file} is no checkpoint of this version of bnrun's.")
    return checkpoint


def _refuse_other_config(path: Path, checkpoint: Mapping[str, Any], config: Config) -> None:
    ours, theirs, defaults = config.document(), checkpoint["config"], Config().document()
    differing = []
    for key in KEYS:
        section, name = key.split(".")
        # An older version of bnrun's may not have had the key: it then took today's default.
        if theirs.get(section, {}).get(name, defaults[section][name]) != ours[section][name]:
            differing.append(key)
    if differing:
        raise RunError(
            f"{path / 'checkpoint.pt'} is from another config: {', '.join(differing)} differ"
            f"{'s' if len(differing) == 1 else ''} from {path / 'config.yaml'}. Put the config "
            "back, or start a new run."
        )
