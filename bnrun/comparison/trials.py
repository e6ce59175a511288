"""The trials of a comparison, trained one after another, or side by side.

Side by side they are trained in a `Workplace`: the processes of this module, or the workers of a
cluster (runs/cluster_trials.py), of which each trains a trial in such a process.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.result import Comparison
from bnrun.errors import NormError, TrainingFailed
from bnrun.events import Activity, Event, mapped
from bnrun.norms.user_module import is_user_norm
from bnrun.side_by_side import (
    Lost,
    Returned,
    Started,
    Task,
    TaskProcesses,
    Yielded,
    run_side_by_side,
)
from bnrun.training_summary import Summary

FINISHED = ("completed", "diverged")
"""Statuses of a trial that is not trained again. A failed one may pass once its layer is fixed."""

MOST_USUAL_JOBS = 8
"""The most trials at a time where nobody says a number: each takes half a gigabyte of memory."""

TrainTrial = Callable[[Trial], Generator[Event, None, Summary]]


@dataclass(frozen=True)
class TrialFailed:
    """A trial could not be trained to its end, and why.

    Attributes:
        worker: the address of the cluster's worker that had it; None where it was this machine.
    """

    trial: Trial
    reason: str
    worker: str | None = None


TrialMessage = TrialEvent | TrialEnded | TrialFailed
RunTrials = Callable[[Sequence[Trial]], Generator[TrialMessage, None, None]]
"""Trains trials; of each one, the last message is a TrialEnded or a TrialFailed."""


def unfinished_trials(
    comparison: Comparison, run_of: Callable[[str], str | None] = lambda name: None
) -> list[Trial]:
    """Return the trials still to be trained, seed by seed, so that pairs are complete early.

    Args:
        comparison: the plan, and the trials so far.
        run_of: gives the directory for the trial of a name.
    """
    finished = {
        (result.arm.name, trial.seed)
        for result in comparison.arms
        for trial in result.trials
        if trial.status in FINISHED
    }
    trials = [
        Trial(result.arm.name, result.arm.with_seed(seed))
        for seed in comparison.seeds
        for result in comparison.arms
        if (result.arm.name, seed) not in finished
    ]
    return [Trial(trial.arm, trial.config, run_of(trial.name)) for trial in trials]


def count_trials(comparison: Comparison) -> tuple[int, int]:
    """Return how many trials are finished, and how many are planned."""
    planned = len(comparison.arms) * len(comparison.seeds)
    return planned - len(unfinished_trials(comparison)), planned


def run_trials(
    trials: Sequence[Trial], train_trial: TrainTrial, jobs: int = 1
) -> Generator[TrialMessage, None, None]:
    """Yield the events of trials; the last one of each is a TrialEnded or a TrialFailed.

    A trial that fails does not end the others.

    Args:
        trials: in the order in which they start.
        train_trial: yields a trial's events and returns its summary. With several jobs it runs
            in other processes, so it must be picklable.
        jobs: how many trials are trained at a time. One is trained in this process; several
            share its threads among them.

    Raises:
        BnrunError: what would end every trial, such as a full disk.
    """
    if jobs > 1:
        yield from run_side_by_side(trials, _processes(train_trial, jobs))
        return
    for trial in trials:
        yield (yield from mapped(_train(trial, train_trial), partial(TrialEvent, trial)))


def usual_jobs() -> int:
    """Return how many trials train at a time where nobody says it: one for each thread of torch."""
    import torch

    return min(torch.get_num_threads(), MOST_USUAL_JOBS)


def threads_of_each(jobs: int) -> int:
    """Return with how many threads each of so many trials computes, which share those of torch."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def _processes(train_trial: TrainTrial, jobs: int) -> "TrialProcesses":
    """Return room for so many processes, which share the threads of this one."""
    return TrialProcesses(train_trial, jobs, threads_of_each(jobs))


class TrialProcesses:
    """Trains trials in processes: one that crashes or exits takes no other with it.

    Args:
        train_trial: see `run_trials`.
        jobs: how many processes there may be at a time.
        threads: how many each one computes with.
        seconds: how long `receive` waits for a message; None waits for one.
    """

    def __init__(
        self, train_trial: TrainTrial, jobs: int, threads: int, seconds: float | None = None
    ) -> None:
        self._train_trial = train_trial
        self._processes = TaskProcesses(jobs, threads, seconds)

    @property
    def count(self) -> int:
        """Return how many trials have been started and not ended."""
        return self._processes.count

    @property
    def has_room(self) -> bool:
        """Return whether another trial may start."""
        return self._processes.has_room

    def start(self, trial: Trial) -> Iterator[TrialMessage]:
        """Start to train a trial; say so before, where that starts a process."""
        work = partial(_train, trial, self._train_trial)
        is_users = is_user_norm(trial.config.model.norm)
        for message in self._processes.start(Task(trial, work, alone=is_users)):
            if isinstance(message, Started) and message.in_new_process:
                yield TrialEvent(trial, Activity("starting a process"))

    def receive(self) -> Iterator[TrialMessage]:
        """Wait for messages, and yield one from every process that has any.

        Raises:
            BnrunError: one of them was that of an error that would end every trial.
        """
        for message in self._processes.receive():
            match message:
                case Yielded(key=trial, value=event):
                    yield TrialEvent(trial, event)
                case Returned(result=end):
                    yield end
                case Lost(key=trial, reason=reason):
                    yield TrialFailed(trial, reason)

    def close(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        self._processes.close()


def _train(
    trial: Trial, train_trial: TrainTrial
) -> Generator[Event, None, TrialEnded | TrialFailed]:
    """Train a trial; yield its events, and return how it ended."""
    try:
        return TrialEnded(trial, (yield from train_trial(trial)))
    except (TrainingFailed, NormError) as failed:
        return TrialFailed(trial, str(failed))
