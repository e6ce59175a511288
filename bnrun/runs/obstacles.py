"""Why a directory cannot be asked for something: `latest` passes over those.

Each function returns the reason in a few words, or None where the directory will do. They read
its files, and do not load torch.
"""

from pathlib import Path

from bnrun.errors import BnrunError
from bnrun.runs.checkpoint_files import has_checkpoint
from bnrun.runs.lookup import COMPARISON, TRIALS
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.run_records import read_comparison_record, read_run

_NOT_RESUMABLE = {"completed": "it is complete", "running": "a process is training in it"}
"""Why a directory of these statuses cannot be continued."""


def no_epoch(path: Path) -> str | None:
    """Return why there are no weights to look at: the run has finished no epoch."""
    if has_checkpoint(path) or MetricsFile(path).count_epochs() > 0:
        return None
    return "it has finished no epoch"


def nothing_to_draw(path: Path) -> str | None:
    """Return why there is nothing to draw of a run, or of a comparison."""
    if path not in COMPARISON:
        return no_epoch(path)
    trials = (path / TRIALS).glob("*")
    return "none of its trials has finished an epoch" if all(map(no_epoch, trials)) else None


def nothing_left_to_train(path: Path) -> str | None:
    """Return why a run, or a comparison, does not continue: it is complete, or at work.

    What is damaged has no such reason: whoever continues it is told what is damaged.
    """
    if path in COMPARISON:
        return _NOT_RESUMABLE.get(read_comparison_record(path).status or "")
    try:
        return _NOT_RESUMABLE.get(read_run(path).status)
    except BnrunError:
        return None


def fails_at_once(path: Path) -> str | None:
    """Return why a run would probably fail again: it ended before its first epoch had.

    It is no obstacle, since the user may have corrected the layer.
    """
    try:
        run = read_run(path)
    except BnrunError:
        return None
    if run.status not in ("diverged", "failed") or run.summary.epochs:
        return None
    return f"it {run.status} before an epoch was finished"
