"""The trainings of a study, each in a run directory that is made once and read again."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bnrun.comparison.cluster import Cluster
from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.trials import (
    FINISHED,
    TrialFailed,
    TrialMessage,
    threads_of_each,
    usual_jobs,
)
from bnrun.config import DataConfig, resolve
from bnrun.config.difference import config_difference
from bnrun.data.dataset import Dataset
from bnrun.data.load import load
from bnrun.errors import RunError, TrainingFailed
from bnrun.events import Probed, RunStarted, Stage
from bnrun.runs.checkpoint_files import read_checkpoint
from bnrun.runs.probe_records import read_probes
from bnrun.runs.run_records import read_run
from bnrun.runs.trial_directory import loaded, trial_runner
from bnrun.side_by_side import (
    Lost,
    Returned,
    Started,
    Task,
    TaskProcesses,
    Yielded,
    run_side_by_side,
)
from bnrun.studies.trainings import Summaries, TrainEvent
from bnrun.training.engine import fast_on_cpu
from bnrun.training_summary import Summary

Result = TypeVar("Result")


class StudyTrials:
    """The trials of a study, in a folder: a `Laboratory`.

    Args:
        folder: where each trial has its directory.
        jobs: how many are trained at a time, or the cluster that trains them; None is
            `usual_jobs`.
    """

    def __init__(self, folder: Path, jobs: int | Cluster | None = 1) -> None:
        self._folder = folder
        self._jobs = usual_jobs() if jobs is None else jobs

    def train(self, trials: Sequence[Trial]) -> Generator[TrainEvent, None, Summaries]:
        """Train trials, and read those that were trained to their end before.

        Args:
            trials: all have the data of the first; the engine is one for all.

        Returns:
            The summaries by the trials' names.

        Raises:
            BnrunError: (while iterating) the data cannot be read, a directory cannot be written or
                is of another training, or a trial fails; one that diverges is a result.
        """
        assert len({trial.config.data for trial in trials}) <= 1  # they share one dataset
        engine = _engine(self._folder)
        located = [
            Trial(trial.arm, trial.config.with_training(engine=engine), str(self._path(trial)))
            for trial in trials
        ]
        summaries = {trial.name: summary for trial in located if (summary := _finished(trial))}
        waiting = [trial for trial in located if trial.name not in summaries]
        if not waiting:
            return summaries
        dataset = yield from load(waiting[0].config.data)
        yield Stage(waiting[0].name, len(summaries), len(trials))
        with closing(trial_runner(dataset, self._jobs)(waiting)) as messages:
            for message in messages:
                summary = _result(message)
                if summary is not None:
                    summaries[message.trial.name] = summary
                if summary is not None or _starts(message):
                    yield Stage(message.trial.name, len(summaries), len(trials))
        return summaries

    def compute(
        self, data: DataConfig, parts: Mapping[str, Callable[[Dataset], Result]]
    ) -> Generator[TrainEvent, None, list[Result]]:
        """Return what functions return of the data, in their order.

        As many run at a time as trials do; with a cluster, so many as `usual_jobs` says.

        Raises:
            BnrunError: (while iterating) the data cannot be read, or one of them fails.
        """
        dataset = yield from load(data)  # fetches, so that the processes need only read
        jobs = self._jobs if isinstance(self._jobs, int) else usual_jobs()
        if jobs == 1 or len(parts) < 2:
            results: list[Result] = []
            for name, part in parts.items():
                yield Stage(name, len(results), len(parts))
                results.append(part(dataset))
            return results
        found: dict[str, Result] = {}
        tasks = [Task(name, partial(_computed, part, data)) for name, part in parts.items()]
        place = TaskProcesses(jobs, threads_of_each(jobs))
        with closing(run_side_by_side(tasks, place)) as messages:
            for message in messages:
                match message:
                    case Lost(key=name, reason=reason):
                        raise _failure(name, reason)
                    case Yielded(value=notice):
                        yield notice
                    case Returned(key=name, result=result):
                        found[name] = result
                if isinstance(message, Started | Returned):
                    yield Stage(message.key, len(found), len(parts))
        return [found[name] for name in parts]

    def checkpoint(self, trial: Trial, epoch: int) -> Mapping[str, Any]:
        """Return the state of a trained trial after an epoch.

        Raises:
            RunError: it was not kept, or its file is damaged.
        """
        return read_checkpoint(self._path(trial), str(epoch))

    def probed(self, trial: Trial) -> list[Probed]:
        """Return what probes saw of a trained trial, each in the order of steps.

        Raises:
            RunError: its metrics are damaged.
        """
        return read_probes(self._path(trial))

    def _path(self, trial: Trial) -> Path:
        return self._folder / trial.name


def _computed(
    part: Callable[[Dataset], Result], data: DataConfig
) -> Generator[TrainEvent, None, Result]:
    """Return what a function returns of the data, in a process that may keep them."""
    yield from ()
    return part(loaded(data))


def _starts(message: TrialMessage) -> bool:
    return isinstance(message, TrialEvent) and isinstance(message.event, RunStarted)


def _result(message: TrialMessage) -> Summary | None:
    """Return the summary of a trial that has ended; None while it trains.

    Raises:
        TrainingFailed: it failed.
    """
    match message:
        case TrialFailed():
            raise _failure(message.trial.name, message.reason)
        case TrialEnded(summary=Summary(status="failed") as summary):
            raise TrainingFailed(f"{message.trial.name}: {summary.reason}")
        case TrialEnded():
            return message.summary
    return None


def _failure(name: str, reason: str) -> TrainingFailed:
    """Return the failure of a trial or part, with what may help where its process was killed."""
    advice = ""
    if "SIGKILL" in reason:
        advice = ". Where memory is short, fewer --jobs may help"
    return TrainingFailed(f"{name}: {reason}{advice}")


def _engine(folder: Path) -> str:
    """Return the one engine of all trials: that of those in the folder, else the fast one.

    Left to `auto`, it could be another one for each trial.
    """
    file = min(folder.glob("*/config.yaml"), default=None)
    if file is not None:
        return resolve(file).config.training.engine
    return fast_on_cpu().name


def _finished(trial: Trial) -> Summary | None:
    """Return the summary of a trial that was trained to its end; None where it was not.

    Raises:
        RunError: the directory is of another training.
    """
    path = Path(str(trial.run))
    if not (path / "config.yaml").is_file():
        return None
    summary = read_run(path).summary
    differences = config_difference(trial.config.to_dict(), summary.config)
    if differences:
        keys = ", ".join(difference.key for difference in differences)
        raise RunError(f"{path} is another training than planned ({keys} differ): move it away.")
    return summary if summary.status in FINISHED else None
