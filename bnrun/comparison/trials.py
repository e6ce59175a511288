"""The trials of a comparison, trained one after another, or side by side.

Side by side they are trained in a `Workplace`: the processes of this module, or the workers of a
cluster (runs/cluster_trials.py), of which each trains a trial in such a process.
"""

import contextlib
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.result import Comparison
from bnrun.errors import INTERRUPTED, BnrunError, NormError, TrainingFailed
from bnrun.events import Activity, Event, Notice, mapped
from bnrun.training_summary import Summary
from bnrun.workers import describe_exit, process_context, start_ignoring_sigint

INTERRUPT_SECONDS = 10.0
"""Time that an interrupted trial has to write down how far it came."""

FINISHED = ("completed", "diverged")
"""Statuses of a trial that is not trained again. A failed one may pass once its layer is fixed."""

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


class Workplace(Protocol):
    """Where trials are trained side by side, and how what happens there is heard of."""

    @property
    def count(self) -> int:
        """Return how many trials have been started and not ended."""

    @property
    def has_room(self) -> bool:
        """Return whether another trial may start."""

    def start(self, trial: Trial) -> Iterator[TrialMessage]:
        """Start a trial; yield what is to be said of that."""

    def receive(self) -> Iterator[TrialMessage]:
        """Wait for messages, not for long, and yield them.

        Raises:
            BnrunError: something happened that ends every trial.
        """

    def close(self) -> None:
        """End all trials that are still trained."""


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
        yield from _trial_events(trial, train_trial)


def run_side_by_side(
    trials: Sequence[Trial], place: Workplace
) -> Generator[TrialMessage, None, None]:
    """Train trials in a workplace, as many at a time as it has room for, and close it.

    Raises:
        BnrunError: (while iterating) what would end every trial, such as a full disk.
    """
    waiting = deque(trials)
    with contextlib.closing(place):
        while waiting or place.count:
            while waiting and place.has_room:
                yield from place.start(waiting.popleft())
            yield from place.receive()


def _trial_events(trial: Trial, train_trial: TrainTrial) -> Generator[TrialMessage, None, None]:
    try:
        summary = yield from mapped(train_trial(trial), lambda event: TrialEvent(trial, event))
    except (TrainingFailed, NormError) as failed:
        yield TrialFailed(trial, str(failed))
    else:
        yield TrialEnded(trial, summary)


def _processes(train_trial: TrainTrial, jobs: int) -> "TrialProcesses":
    """Return room for so many processes, which share the threads of this one."""
    import torch

    return TrialProcesses(train_trial, jobs, threads=max(1, torch.get_num_threads() // jobs))


class TrialProcesses:
    """Trains each trial in a process: one that crashes or exits takes no other with it.

    Args:
        train_trial: see `run_trials`.
        jobs: how many processes there may be at a time.
        threads: how many each one computes with.
        seconds: how long `receive` waits for a message; None waits for one.
    """

    def __init__(
        self, train_trial: TrainTrial, jobs: int, threads: int, seconds: float | None = None
    ) -> None:
        self._train_trial, self._jobs, self._threads = train_trial, jobs, threads
        self._seconds = seconds
        self._working: dict[Any, tuple[Trial, BaseProcess]] = {}  # by the pipe to read from
        self._ended: set[str] = set()

    @property
    def count(self) -> int:
        """Return how many processes there are."""
        return len(self._working)

    @property
    def has_room(self) -> bool:
        """Return whether there may be another process."""
        return self.count < self._jobs

    def start(self, trial: Trial) -> Iterator[TrialMessage]:
        """Start a process that trains a trial, and say so before."""
        yield TrialEvent(trial, Activity("starting a process"))
        context = process_context()
        receiver, sender = context.Pipe(duplex=False)
        arguments = (sender, self._train_trial, trial, self._threads)
        process = context.Process(target=_work, args=arguments)
        start_ignoring_sigint(process)
        sender.close()  # this process's copy, so that the pipe ends with the other one
        self._working[receiver] = (trial, process)

    def receive(self) -> Iterator[TrialMessage]:
        """Wait for messages, and yield one from every process that has any.

        Raises:
            BnrunError: one of them was that of an error that would end every trial.
        """
        ready: list[Any] = wait(list(self._working), self._seconds)
        for pipe in ready:
            trial, _ = self._working[pipe]
            try:
                message = pipe.recv()
            except (EOFError, OSError):  # OSError: it was killed while it sent a message
                message = self._lost(pipe)
            if isinstance(message, BnrunError):
                raise message
            if isinstance(message, TrialEnded | TrialFailed):
                self._ended.add(trial.name)
            if message is not None:
                yield message

    def close(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        for _, process in self._working.values():
            process.terminate()
        for _, process in self._working.values():
            process.join(INTERRUPT_SECONDS)
            process.kill()

    def _lost(self, pipe: Any) -> TrialFailed | None:
        """Return the failure of a trial whose process has ended; None if it sent its own result."""
        trial, process = self._working.pop(pipe)
        process.join()
        if trial.name in self._ended:
            return None
        return TrialFailed(trial, f"its process {describe_exit(process.exitcode)}")


def _work(sender: Connection, train_trial: TrainTrial, trial: Trial, threads: int) -> None:
    """Train a trial in this process, and send its events.

    Ctrl-C at a terminal reaches every process of the group. This one ignores it; the parent handles
    it, and asks this one to end by SIGTERM.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: sender.send(
        TrialEvent(trial, Notice(f"warning: {message}"))
    )
    sys.stdout = sys.stderr  # stdout is for results; a user's layer may print
    try:
        with contextlib.closing(_trial_events(trial, train_trial)) as events:
            for event in events:
                sender.send(event)
    except BnrunError as error:
        sender.send(error)
    except (KeyboardInterrupt, BrokenPipeError):  # asked to end, or nobody reads any more
        sys.exit(INTERRUPTED)
