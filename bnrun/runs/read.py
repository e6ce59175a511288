"""Reading a run's directory to go on with it, and the checkpoints that it keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnrun.config import Config, resolve
from bnrun.config.difference import config_difference
from bnrun.errors import RunError
from bnrun.runs.write import Run


def reopen(path: Path, advice: str | None = None) -> tuple[Run, Mapping[str, Any] | None]:
    """Return a run to go on with, and its checkpoint; None where no epoch was finished.

    `advice` is the command that goes on with it, where that is another than `train --resume`.

    Raises:
        ConfigError: its config.yaml is not acceptable.
        RunError: another process is training in it; or its checkpoint is missing, damaged, or of
            another config. Nothing is written.
    """
    run = Run(path, resolve(path / "config.yaml").config, advice)
    run.hold()  # before the checkpoint is read: another process may be writing the next one
    checkpoint = read_checkpoint(path)
    if checkpoint is not None:
        _refuse_other_config(path, checkpoint, run.config)
    return run, checkpoint


def read_checkpoint(path: Path) -> Mapping[str, Any] | None:
    """Read a run's last checkpoint; None where the run has not finished an epoch.

    Raises:
        RunError: it is missing though epochs were finished, or damaged.
    """
    file = path / "checkpoint.pt"
    if not file.exists():
        metrics = path / "metrics.jsonl"
        if metrics.exists() and b'{"event": "epoch_ended"' in metrics.read_bytes():
            raise RunError(f"{file} is missing, though the run has finished epochs.")
        return None
    return _load_checkpoint(file)


def read_kept_checkpoint(path: Path, which: str) -> Mapping[str, Any]:
    """Read a checkpoint that a run keeps: `last`, `population`, or that of an epoch's number.

    Raises:
        RunError: the run keeps none such (the message lists those it keeps), or it is damaged.
    """
    kept = {"last": path / "checkpoint.pt", "population": path / "checkpoint-population.pt"}
    for file in path.glob("checkpoint-epoch-*.pt"):
        kept[file.stem.removeprefix("checkpoint-epoch-")] = file
    kept = {name: file for name, file in kept.items() if file.is_file()}
    if not kept:
        read_checkpoint(path)  # raises where it is missing and should be there
        raise RunError(f"{path} keeps no checkpoint: it has finished no epoch.")
    if which in kept:
        return _load_checkpoint(kept[which])
    if "last" in kept:
        last = _load_checkpoint(kept["last"])
        if which == str(len(last["epochs"])):
            return last
        kept[str(len(last["epochs"]))] = kept["last"]
    here = ", ".join(sorted(kept, key=lambda name: (not name.isdigit(), len(name), name)))
    raise RunError(
        f"{path} keeps no checkpoint '{which}'. It keeps: {here}. "
        "`training.keep_every` keeps those of more epochs; `bnrun recalibrate` makes `population`."
    )


def _load_checkpoint(file: Path) -> Mapping[str, Any]:
    import torch

    from bnrun.training.checkpoint import FORMAT

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
    # An older version of bnrun's may not have had a key: it then took today's default.
    theirs = {
        section: values | checkpoint["config"].get(section, {})
        for section, values in Config().to_dict().items()
    }
    differing = [pair.key for pair in config_difference(theirs, config.to_dict())]
    if differing:
        raise RunError(
            f"{path / 'checkpoint.pt'} is from another config: {', '.join(differing)} differ"
            f"{'s' if len(differing) == 1 else ''} from {path / 'config.yaml'}. Put the config "
            "back, or start a new run."
        )
