"""A trial at work, and its run directory, if it has one."""

import shlex
from collections.abc import Callable, Generator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnrun.comparison.comparison_events import Trial
from bnrun.comparison.trials import RunTrials, run_trials
from bnrun.config import DataConfig
from bnrun.data.dataset import Dataset
from bnrun.data.load import load
from bnrun.errors import RunError, TrainingFailed
from bnrun.events import CheckpointReady, Event, Notice, drain, mapped
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.cluster_trials import run_on_cluster
from bnrun.runs.norm_files import find_norm, norm_folder
from bnrun.runs.run_directory import Run, reopen
from bnrun.training import pick_device, train
from bnrun.training_summary import Summary

if TYPE_CHECKING:
    from bnrun.comparison.cluster import Cluster


def trial_runner(dataset: Dataset, jobs: "int | Cluster") -> RunTrials:
    """Return what trains trials: one after another here, or side by side.

    Args:
        dataset: for trials that are trained in this process. Others load the data themselves:
            pickled, it would take as long.
        jobs: how many are trained at a time, or the cluster that trains them.
    """
    if not isinstance(jobs, int):
        return partial(run_on_cluster, cluster=jobs)
    train = train_trial if jobs > 1 else partial(train_trial, dataset=dataset)
    return partial(run_trials, train_trial=train, jobs=jobs)


def train_trial(trial: Trial, dataset: Dataset | None = None) -> Generator[Event, None, Summary]:
    """Train a trial, in its run directory if it has one; yield events, return its summary.

    In a directory, it continues from where it stands.

    Args:
        trial: what to train.
        dataset: the data of its config; None loads it, for a trial that another process sent.

    Raises:
        ConfigError, RunError: (while iterating) the directory cannot be made, or not continued.
        NormError, EngineError, TrainingFailed: the training could not start. One that failed later
            is a summary of status `failed`.
    """
    if dataset is None:
        dataset = loaded(trial.config.data)
    device = pick_device(trial.config.training.device)
    if trial.run is None:
        work: Generator[Event, None, Summary] = mapped(
            train(trial.config, dataset, device), _without_checkpoints
        )
        return (yield from work)
    notices: list[str] = []
    run, checkpoint = open_trial(trial, notices.append)

    def record(event: Event) -> Event | None:
        run.record(event)
        return _without_checkpoints(event)

    try:
        with run:
            for notice in map(Notice, notices):
                run.record(notice)
                yield notice
            config = trial.config.with_norm_source(run.config.model.norm_source)
            events: Generator[Event, None, Summary] = mapped(
                train(config, dataset, device, checkpoint), record
            )
            yield from events
    except TrainingFailed:
        if run.summary is None:
            raise
    assert run.summary is not None
    return run.summary


@lru_cache(maxsize=1)  # the trials of one process have the same, as a rule
def loaded(config: DataConfig) -> Dataset:
    """Return the data of a config, which this process keeps until it loads others.

    Raises:
        DataError, ConfigError: see `load`.
    """
    return drain(load(config))


def _without_checkpoints(event: Event) -> Event | None:
    return None if isinstance(event, CheckpointReady) else event  # which are large


def _say_nothing(notice: str) -> None:
    """Pass over a notice."""


def open_trial(
    trial: Trial, on_notice: Callable[[str], object] = _say_nothing
) -> tuple[Run, Mapping[str, Any] | None]:
    """Return the run directory of a trial, made or continued, and its checkpoint, if any.

    A trial trains with the norm's file as its comparison began, whatever became of it since:
    otherwise the trials of an arm would not be of one thing.

    Args:
        trial: with its run directory.
        on_notice: is called with a sentence where that file moved or changed, unless the
            comparison has said so of the arm.

    Raises:
        ConfigError, RunError: it cannot be made, or not continued (see `reopen`).
    """
    assert trial.run is not None
    path = Path(trial.run)
    advice = f"bnrun compare --resume {shlex.quote(str(path.parents[1]))}"
    config, notice = find_norm(norm_folder(path.parents[1], trial.arm), trial.config, True)
    source = config.model.norm_source
    if notice is not None and notice != trial.config.model.norm_source.notice:
        on_notice(notice)
    if (path / "config.yaml").is_file():
        try:
            own = None if source.copy is None else source  # older comparisons have no copy
            return reopen(path, advice, on_notice=on_notice, source=own)
        except RunError as error:
            raise RunError(
                f"{error} Or move {path} away: `{advice}` then trains this trial from the start."
            ) from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "config.yaml", trial.config.yaml().encode())
    except OSError as error:
        raise RunError(f"the trial's directory {path} can't be made: {error.strerror}.") from error
    return Run(path, config, advice), None
