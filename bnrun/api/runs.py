"""`list_runs` and `load_run`: what earlier trainings left on disk."""

import warnings
from pathlib import Path

from bnrun import runs
from bnrun.config import Config
from bnrun.runs import run_records
from bnrun.runs.norm_files import find_norm
from bnrun.runs.obstacles import no_epoch
from bnrun.runs.run_records import DamagedRun, RunRecord
from bnrun.training.result import TrainingResult

RUNS = "runs"
"""The folder that runs are in, unless another one is named."""


def list_runs(out: str | Path = RUNS, limit: int | None = None) -> list[RunRecord | DamagedRun]:
    """Return the runs directly in a folder, the newest first.

    A run is a `RunRecord`, with its `path`, `status` and `summary`. One that cannot be read is a
    `DamagedRun`, with its `path` and `problem`.

    Args:
        out: the folder.
        limit: the newest so many alone.

    Example:
        >>> import bnrun
        >>> [run.status for run in bnrun.list_runs("runs")]
        ['completed']
    """
    return run_records.list_runs(Path(out), limit)


def load_run(
    run: str | Path = "latest", *, out: str | Path = RUNS, checkpoint: str = "last"
) -> TrainingResult:
    """Load a run from its directory, as `train` would have returned it.

    Where the file of its norm moved or changed since, a warning says so, and `model`, `evaluate`
    and `recalibrate` take the run's own copy of it.

    Args:
        run: a path, a name in `out`, the start of one, or `latest`: the newest that has finished
            an epoch. A trial of a comparison is `COMPARISON/scratch-s0`.
        out: the folder that runs are in.
        checkpoint: `last`, `population` (which `bnrun recalibrate` makes), or the number of an
            epoch that was kept.

    Raises:
        RunError: there is no such run or checkpoint, or it is damaged.
        ConfigError: its config.yaml is not acceptable.

    Example:
        >>> import bnrun
        >>> result = bnrun.load_run("latest")
        >>> result.status, len(result.epochs)
        ('completed', 1)
    """
    path = runs.find(str(run), Path(out), no_epoch)
    summary = run_records.read_run(path).summary
    config, notice = find_norm(path, Config.model_validate(dict(summary.config)))
    if notice is not None:
        warnings.warn(notice, stacklevel=2)
    return TrainingResult(summary, runs.read_checkpoint(path, checkpoint), config.model.norm_source)
